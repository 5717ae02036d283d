"""Whether feature vectors are compared by direction."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import make_blobs
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import FunctionTransformer

from deepcluster_sk import DACClustering, DCCMClustering, DCSSClustering, _base, load
from deepcluster_sk._scaling import moments

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


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_what_rounding_makes_of_one_direction_is_no_spread(dtype):
    rng = np.random.default_rng(0)
    direction, lengths = rng.uniform(1, 2, size=64), rng.uniform(1, 3, size=(200, 1))
    assert moments((lengths * direction).astype(dtype), to_unit=True)[1] == 0
    directions = direction + 0.01 * rng.normal(size=(200, 64))
    assert moments((lengths * directions).astype(dtype), to_unit=True)[1] > 0
    with pytest.warns(ConvergenceWarning):
        DACClustering(2, random_state=0).fit((lengths * direction).astype(dtype))


def test_half_precision_with_one_large_feature_has_a_spread():
    """As embeddings of transformers may have: directions are close, and yet tell clusters apart."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 4096))
    X[:, 7] = 900
    spreads = [moments(X.astype(dtype), to_unit=True)[1] for dtype in (np.float16, np.float64)]
    assert spreads[0] == pytest.approx(spreads[1], rel=0.01)


def test_restarts_are_judged_by_the_metric(long_vectors, lengths, monkeypatch):
    """Where nothing is transformed, by the nearest neighbours."""
    seen = []
    monkeypatch.setattr(_base, "neighbor_agreement", lambda read, labels: seen.append(read(np.arange(9))) or 0.0)
    for X in (long_vectors, long_vectors * lengths):
        DACClustering(3, augment=None, n_init=2, **QUICK).fit(X)
    for vectors in seen[1:]:
        assert_allclose(vectors, seen[0], atol=1e-6)


@pytest.mark.parametrize("encoder", [FunctionTransformer(), PCA(3)])
def test_of_a_transformer_its_vectors_are_compared(encoder, long_vectors, lengths):
    def embedding(X, metric):
        fitted = DCSSClustering(3, encoder=encoder, metric=metric, **QUICK).fit(X)
        return fitted.transform(X)

    by_direction = embedding(long_vectors, "cosine")
    is_long = isinstance(encoder, FunctionTransformer)
    assert_array_equal(embedding(long_vectors, "auto") == by_direction, is_long)
    if is_long:
        assert_allclose(embedding(long_vectors * lengths, "auto"), by_direction, atol=1e-5)


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


def test_a_vector_that_is_nearly_zeros_spoils_no_other(long_vectors):
    X = np.float64(long_vectors)
    X[7] = 0
    expected = DACClustering(3, **QUICK).fit_predict(X)
    X[7] = 1e-170  # its square is 0
    dac = DACClustering(3, **QUICK).fit(X)
    assert_array_equal(dac.labels_, expected)
    assert np.isfinite(dac.predict_proba(X * 1e-100)).all()


@pytest.mark.parametrize("size", [1e-34, 1e13, 1e34])
def test_no_size_is_too_large_or_too_small(size, long_vectors):
    """Squares of these over- or underflow in float32."""
    dac = DACClustering(3, **QUICK).fit(long_vectors)
    other = DACClustering(3, **QUICK).fit(long_vectors * np.float32(size))
    for X in (long_vectors, long_vectors * np.float32(size)):
        assert_allclose(dac.predict_proba(X), dac.predict_proba(long_vectors), atol=1e-4)
        assert np.ptp(other.predict_proba(X), axis=0).max() > 0.1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_read_only_memory_map(dtype, long_vectors, tmp_path):
    np.save(tmp_path / "X.npy", long_vectors.astype(dtype))
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert_array_equal(DACClustering(3, **QUICK).fit(X).labels_, DACClustering(3, **QUICK).fit(np.array(X)).labels_)


def test_it_is_saved(long_vectors, tmp_path):
    dac = DACClustering(3, **QUICK).fit(long_vectors)
    dac.save(tmp_path / "saved")
    saved = load(tmp_path / "saved")
    assert_array_equal(saved.predict_proba(4 * long_vectors), dac.predict_proba(long_vectors))


@pytest.mark.parametrize("metric", ["manhattan", None, 2])
def test_other_metrics_are_refused(metric, long_vectors):
    with pytest.raises(ValueError, match="metric="):
        DACClustering(3, metric=metric).fit(long_vectors)
