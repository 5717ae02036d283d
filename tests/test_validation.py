"""Bad input is refused at once, naming parameter, value got and value needed; good input is taken in every layout."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits
from sklearn.preprocessing import scale

from deepcluster_sk import DACClustering, DCCMClustering, DCSSClustering
from deepcluster_sk._data import ArraySamples
from deepcluster_sk._scaling import Scaling, check_scale, moments
from deepcluster_sk._validation import check_samples, resolve_device

ESTIMATORS = [DACClustering, DCCMClustering, DCSSClustering]
each = pytest.mark.parametrize("Estimator", ESTIMATORS)
short = pytest.mark.filterwarnings("ignore::deepcluster_sk.exceptions.CollapseWarning")


@pytest.fixture(scope="module")
def X():
    return load_digits(n_class=3).images[:60]


def samples_of(X, image_shape=None):
    return check_samples(DACClustering(), X, image_shape, reset=True)


@pytest.mark.parametrize(
    ("shape", "needed"),
    [
        ((5, 3, 9, 3), "may have its channels first or last; set image_shape"),
        ((5, 13, 9, 13), "may have its channels first or last; set image_shape"),
        ((5, 2, 3, 4, 5), r"must be \(n, n_features\), \(n, h, w\), \(n, h, w, c\) or \(n, c, h, w\)"),
    ],
)
def test_ambiguous_shapes(shape, needed):
    with pytest.raises(ValueError, match=needed):
        samples_of(np.zeros(shape))


@each
@short
def test_a_single_image_is_refused(Estimator, X):
    estimator = Estimator(3, max_epochs=1).fit(X)
    for image in (X[0], X[0][None, ..., None][0], torch.as_tensor(X[0])):
        with pytest.raises(ValueError, match=r"is a single image; X\[None\] is a batch of one"):
            estimator.predict(image)
    assert estimator.predict(X[:1]).shape == (1,)


@each
@short
@pytest.mark.parametrize(
    ("fitted_in", "predicted_in", "warned"),
    [(1.0, 1.0, False), (255.0, 1.0, True), (1.0, 255.0, True), (16.0, 15.0, False), (16.0, 1e-3, True)],
)
def test_prediction_on_another_scale_warns(Estimator, fitted_in, predicted_in, warned, X):
    estimator = Estimator(3, max_epochs=1).fit(X / X.max() * fitted_in)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator.predict(X / X.max() * predicted_in)
    assert [("unless both are on one scale" in str(warning.message)) for warning in caught] == [True] * warned


@pytest.mark.parametrize(("n_images", "warned"), [(1, False), (2, False), (3, True), (5, True)])
def test_several_images_on_a_smaller_scale_are_enough_for_a_warning_and_one_dark_image_is_not(n_images, warned, X):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_scale(X[:n_images, None] / X.max() / 16, Scaling(0.0, 1.0))
    assert len(caught) == warned


@pytest.mark.parametrize(
    ("metric", "factor", "n_vectors", "warned"),
    [
        ("euclidean", 1 / 16, 3, True),
        ("euclidean", 1 / 16, 2, False),
        ("euclidean", 30, 1, True),
        ("euclidean", 0.5, 50, False),
        ("euclidean", 2, 50, False),
        ("cosine", 1 / 16, 50, False),
    ],
)
def test_vectors_of_another_spread_warn_where_lengths_count(metric, factor, n_vectors, warned):
    vectors = scale(np.random.default_rng(0).normal(size=(50, 5)))
    dac = DACClustering(2, metric=metric, max_epochs=1, random_state=0).fit(vectors)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dac.predict(vectors[:n_vectors] * factor)
    assert [("unless both are on one scale" in str(warning.message)) for warning in caught] == [True] * warned


def test_equal_vectors_have_no_other_spread():
    vectors = np.full((20, 3), 0.1)
    check_scale(vectors, Scaling.of(vectors))


def test_the_warning_of_another_scale_names_both(X):
    estimator = DACClustering(3, max_epochs=1, random_state=0).fit((X / 16 * 255).astype(np.uint8))
    with pytest.warns(UserWarning, match=r"X has values in \[0, 1\], but was in \[0, 255\] in fit") as caught:
        estimator.predict(X / 16)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator.predict(np.zeros((1, 8, 8)))  # a black image is one on any scale


@each
@pytest.mark.parametrize(
    ("augment", "error", "needed"),
    [
        (
            lambda batch: batch[:, :, 1:],
            ValueError,
            r"augment must keep the shape of a batch: it turned \(2, 1, 8, 8\)",
        ),
        (lambda batch: batch.numpy(), TypeError, "augment must return a tensor of floats, got ndarray"),
        (lambda batch: batch > 0, TypeError, "augment must return a tensor of floats, got a tensor of torch.bool"),
        (lambda batch: batch * float("nan"), ValueError, "augment must return finite values"),
    ],
)
def test_a_faulty_augmentation_is_refused_before_training(Estimator, augment, error, needed, X, capsys):
    with pytest.raises(error, match=needed):
        Estimator(3, augment=augment, verbose=1).fit(X)
    assert capsys.readouterr().out == ""  # not an epoch


def test_shallow_layer_of_a_built_in_network(X):
    def shallow_shape(layer):
        dccm = DCCMClustering(3, shallow_layer=layer, max_epochs=1, random_state=0).fit(X)
        return tuple(dccm.module_.stages(torch.zeros(2, 1, 8, 8)).shallow.shape)

    assert shallow_shape(None) == shallow_shape("pool1") == (2, 32, 4, 4)
    assert shallow_shape("conv1_1") == (2, 32, 8, 8)
    with pytest.raises(ValueError, match=r"shallow_layer='conv9' must name a submodule of network; it has \['conv1_1'"):
        shallow_shape("conv9")


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1").index == 1
    for device in ("cuda:2", "cuda:7"):
        with pytest.raises(ValueError, match=f"device='{device}' is not available here"):
            resolve_device(device)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_every_layout_is_the_same_images(dtype):
    rng = np.random.default_rng(0)
    first = (rng.random((6, 3, 10, 12)) * 255).astype(dtype)
    last = np.ascontiguousarray(first.transpose(0, 2, 3, 1))
    for X, image_shape in [
        (first, None),
        (last, None),
        (first, (10, 12, 3)),
        (last, (10, 12, 3)),
        (last.reshape(6, -1), (10, 12, 3)),
    ]:
        samples = samples_of(X, image_shape)
        assert_array_equal(samples, first)
        assert samples.dtype == dtype


def test_other_containers():
    grey = np.arange(2 * 5 * 6, dtype=np.float64).reshape(2, 5, 6)
    for X in (grey, grey.tolist(), torch.as_tensor(grey), torch.as_tensor(grey).bfloat16()):
        assert samples_of(X).shape == (2, 1, 5, 6)
    assert_array_equal(samples_of(pd.DataFrame(grey.reshape(2, -1)), (5, 6)), grey[:, None])
    assert_array_equal(samples_of(grey.reshape(2, -1).tolist(), (5, 6)), grey[:, None])
    assert samples_of(grey[..., None].repeat(13, 3), (5, 6, 13)).shape == (2, 13, 5, 6)


def test_dark_integers_are_scaled_like_the_same_floats():
    X = (np.arange(17, dtype=np.uint8) % 17).reshape(17, 1, 1).repeat(4, 1).repeat(4, 2)
    batches = [
        ArraySamples(samples_of(array), Scaling.of(samples_of(array))).batch(torch.arange(17))
        for array in (X, X.astype(np.float64))
    ]
    assert torch.equal(*batches)
    assert batches[0].max() == 1


def test_images_are_scaled_to_the_unit_interval_and_arrays_not_copied():
    X = np.array([0, 51, 255], dtype=np.uint8).reshape(3, 1, 1).repeat(4, 1).repeat(4, 2)
    array = samples_of(X)
    assert np.shares_memory(array, X)
    batch = ArraySamples(array, Scaling.of(array)).batch(torch.tensor([1, 2]))
    assert batch.dtype == torch.float32
    assert_allclose(batch[:, 0, 0, 0].numpy(), [0.2, 1.0])
    shifted = 1000 * X.astype(np.float64) - 500
    batch = ArraySamples(samples_of(shifted), Scaling.of(samples_of(shifted))).batch(torch.tensor([1, 2]))
    assert_allclose(batch[:, 0, 0, 0].numpy(), [0.2, 1.0], rtol=1e-6)


def test_images_far_from_zero_keep_their_contrast():
    X = 123456789.3 + np.random.default_rng(0).random((50, 4, 4))
    array = samples_of(X)
    batch = ArraySamples(array, Scaling.of(array)).batch(torch.arange(50))
    assert_allclose(batch.numpy(), (array - array.min()) / (array.max() - array.min()), atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
@pytest.mark.parametrize("shape", [(20, 3), (20, 2, 4, 4)])
def test_what_is_constant_has_no_spread(value, shape):
    constant = np.full(shape, value)
    assert moments(constant)[1] == 0
    samples = ArraySamples(constant, Scaling.of(constant))
    assert samples.scaling.scale == 1
    if len(shape) == 4:
        assert samples.channel_moments()[1] == 1


def test_feature_vectors_keep_their_geometry():
    X = np.random.default_rng(0).normal(loc=1e6, scale=[1.0, 5.0, 0.1], size=(10_000, 3))
    samples = ArraySamples(X, Scaling.of(X))
    scaled = samples.batch(torch.arange(10_000)).numpy()
    assert_allclose(scaled.mean(0), 0, atol=1e-4)
    assert_allclose(scaled.std(), 1, rtol=1e-3)
    assert_allclose(scaled.std(0) / scaled.std(0)[0], X.std(0) / X.std(0)[0], rtol=1e-3)


@each
@short
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_predictions_do_not_depend_on_the_layout(Estimator, dtype, X):
    images = (X * 15).astype(dtype)
    grey = Estimator(3, max_epochs=2, random_state=0).fit(images)
    flat = Estimator(3, max_epochs=2, image_shape=(8, 8), random_state=0).fit(images.reshape(60, 64))
    assert_array_equal(grey.labels_, flat.labels_)
    assert_allclose(grey.predict_proba(images[:, None]), flat.predict_proba(images.reshape(60, 64)), atol=1e-6)
