"""Whether feature vectors are compared by direction."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

from deepcluster_sk import DACClustering, DCCMClustering, DCSSClustering, load

METHODS = [DACClustering, DCCMClustering, DCSSClustering]
QUICK = {"max_epochs": 2, "random_state": 0}


@pytest.fixture(scope="module")
def long_vectors():
    X, _ = make_blobs(200, 64, centers=3, random_state=0)
    return X.astype(np.float32)


@pytest.fixture(scope="module")
def lengths():
    """Powers of two, by which floats are multiplied without rounding."""
    return np.float32(2.0 ** np.random.default_rng(0).integers(-3, 4, size=(200, 1)))


@pytest.mark.parametrize("method", METHODS)
def test_long_vectors_are_compared_by_direction(method, long_vectors, lengths):
    one = method(3, **QUICK).fit(long_vectors)
    other = method(3, **QUICK).fit(long_vectors * lengths)
    assert_array_equal(one.labels_, other.labels_)
    assert_allclose(one.predict_proba(long_vectors), other.predict_proba(8 * long_vectors), rtol=1e-5)
    apart = method(3, metric="euclidean", **QUICK).fit(long_vectors)
    assert np.abs(apart.transform(long_vectors) - one.transform(long_vectors)).max() > 0.01


def test_shorter_vectors_are_taken_as_they_are(long_vectors):
    short = long_vectors[:, :63]
    auto, euclidean, cosine = (
        DACClustering(3, metric=metric, **QUICK).fit(short).transform(short)
        for metric in ("auto", "euclidean", "cosine")
    )
    assert_array_equal(auto, euclidean)
    assert np.abs(auto - cosine).max() > 0.01


def test_what_differs_by_length_alone_needs_it():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 150)
    X = (1 + 2 * y)[:, None] * (1 + 0.1 * rng.normal(size=(300, 64)))
    by_length, by_direction = (
        adjusted_rand_score(y, DACClustering(2, metric=metric, random_state=0).fit_predict(X))
        for metric in ("euclidean", "cosine")
    )
    assert by_length > 0.9
    assert by_direction < 0.5


def test_images_are_taken_as_they_are():
    images = np.random.default_rng(0).random((60, 8, 8))
    one, other = (DACClustering(2, metric=metric, **QUICK).fit(images) for metric in ("cosine", "euclidean"))
    assert_array_equal(one.predict_proba(images), other.predict_proba(images))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_vector_of_zeros_and_any_dtype(dtype, long_vectors):
    X = long_vectors.astype(dtype)
    X[:2] = 0
    dac = DACClustering(3, **QUICK).fit(X)
    assert np.isfinite(dac.predict_proba(X)).all()
    assert_allclose(dac.predict_proba(X[5:]), dac.predict_proba(np.float64(X[5:]) * 1e6), rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("size", [1e-34, 1e13, 1e34])
def test_no_size_is_too_large_or_too_small(size, long_vectors):
    """Squares of these over- or underflow in float32."""
    dac = DACClustering(3, **QUICK).fit(long_vectors)
    other = DACClustering(3, **QUICK).fit(long_vectors * np.float32(size))
    for X in (long_vectors, long_vectors * np.float32(size)):
        assert_allclose(dac.predict_proba(X), dac.predict_proba(long_vectors), atol=1e-4)
        assert np.ptp(other.predict_proba(X), axis=0).max() > 0.1


@pytest.mark.filterwarnings("error")
def test_a_read_only_memory_map(long_vectors, tmp_path):
    np.save(tmp_path / "X.npy", long_vectors)
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert_array_equal(DACClustering(3, **QUICK).fit(X).labels_, DACClustering(3, **QUICK).fit(long_vectors).labels_)


def test_it_is_saved_and_exported(long_vectors, tmp_path):
    dac = DACClustering(3, **QUICK).fit(long_vectors)
    expected = dac.predict_proba(long_vectors)
    dac.save(tmp_path / "saved")
    assert_array_equal(load(tmp_path / "saved").predict_proba(4 * long_vectors), expected)
    dac.export(tmp_path / "program.pt2")
    program = torch.export.load(tmp_path / "program.pt2").module()
    assert_allclose(program(torch.from_numpy(4 * long_vectors)).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("metric", ["manhattan", None, 2])
def test_other_metrics_are_refused(metric, long_vectors):
    with pytest.raises(ValueError, match="metric="):
        DACClustering(3, metric=metric).fit(long_vectors)
