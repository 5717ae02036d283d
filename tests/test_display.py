"""ClusterGridDisplay: what is shown where, for every layout of images."""

import builtins

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from deepcluster_sk import DACClustering
from deepcluster_sk.display import ClusterGridDisplay
from deepcluster_sk.metrics import confidence_scorer

matplotlib.use("agg")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


class GivenProba(ClusterMixin, BaseEstimator):
    """Estimator that predicts what it is told."""

    def __init__(self, proba, image_shape=None):
        self.proba = proba
        self.image_shape = image_shape

    def predict_proba(self, X):
        return self.proba


def picture(display):
    return np.asarray(display.ax_.images[0].get_array().filled(np.nan))


def labels(display):
    return [label.get_text() for label in display.ax_.get_yticklabels()]


# Three images of 2x3 pixels of one value each, so that a picture shows which image is where.
VALUES = np.array([0.25, 1.0, 0.0], dtype=np.float32)
GRAY = np.ones((3, 2, 3), dtype=np.float32) * VALUES[:, None, None]
PROBA = np.array([[0.7, 0.3], [0.9, 0.1], [0.2, 0.8]])


def test_rows_are_clusters_and_the_most_confident_image_comes_first():
    display = ClusterGridDisplay(GRAY, PROBA.argmax(1), PROBA.max(1)).plot()
    gap = np.nan
    row = [[1, 1, 1, gap, 0.25, 0.25, 0.25]] * 2
    between = [[gap] * 7]
    last = [[0, 0, 0, gap, gap, gap, gap]] * 2
    assert_array_equal(picture(display), np.array(row + between + last))
    assert labels(display) == ["cluster 0 (2)", "cluster 1 (1)"]
    assert_allclose(display.ax_.get_yticks(), [0.5, 3.5])  # the middle of each row


def test_equally_confident_images_keep_their_order():
    display = ClusterGridDisplay(GRAY, np.zeros(3, dtype=int), np.ones(3)).plot()
    assert_array_equal(picture(display)[0, [0, 4, 8]], VALUES)


def test_n_images_cuts_rows_but_not_the_stated_size():
    display = ClusterGridDisplay(GRAY, PROBA.argmax(1), PROBA.max(1)).plot(n_images=1)
    assert picture(display).shape == (5, 3)
    assert labels(display)[0] == "cluster 0 (2)"


@pytest.mark.parametrize(
    ("X", "image_shape"),
    [
        (GRAY, None),
        (GRAY[..., None], (2, 3)),
        (GRAY[:, None], (2, 3, 1)),
        (GRAY.reshape(3, 6), (2, 3)),
        (GRAY.tolist(), None),
    ],
    ids=["(n, h, w)", "channels last", "channels first", "flattened", "lists"],
)
def test_every_layout_gives_the_same_picture(X, image_shape):
    display = ClusterGridDisplay.from_estimator(GivenProba(PROBA, image_shape), X)
    expected = ClusterGridDisplay(GRAY, PROBA.argmax(1), PROBA.max(1)).plot()
    assert_array_equal(picture(display), picture(expected))


@pytest.mark.parametrize("channels_first", [False, True])
@pytest.mark.parametrize("n_channels", [3, 4])
def test_colours_are_kept_and_gaps_are_transparent(channels_first, n_channels):
    images = np.random.default_rng(0).integers(0, 256, (3, 5, 6, n_channels), dtype=np.uint8)
    X = images.transpose(0, 3, 1, 2) if channels_first else images
    display = ClusterGridDisplay.from_estimator(GivenProba(PROBA), X)
    shown = picture(display)
    assert_allclose(shown[:5, :6, :n_channels] * 255, images[1], atol=1e-10)
    if n_channels == 3:
        assert_array_equal(shown[:5, :6, 3], 1)
    assert_array_equal(shown[5], 0)


def test_image_shape_of_the_call_goes_before_that_of_the_estimator():
    estimator = GivenProba(PROBA, image_shape=(6, 1))
    display = ClusterGridDisplay.from_estimator(estimator, GRAY.reshape(3, 6), image_shape=(2, 3))
    assert picture(display).shape == (5, 7)


def test_pipeline_of_scikit_learn(digits):
    X = digits[0][:60].reshape(60, -1)
    pipeline = make_pipeline(StandardScaler(), GaussianMixture(3, covariance_type="spherical", random_state=0)).fit(X)
    display = ClusterGridDisplay.from_estimator(pipeline, X, image_shape=(8, 8), n_images=4)
    assert len(labels(display)) == 3
    assert_array_equal(display.labels, pipeline.predict(X))


def test_image_shape_is_that_of_a_pipelines_last_step_or_of_a_searchs_best(digits):
    X = digits[0][:60].reshape(60, -1)
    dac = DACClustering(3, image_shape=(8, 8), max_epochs=1, random_state=0)
    pipeline = make_pipeline(FunctionTransformer(), dac)
    search = GridSearchCV(pipeline, {"dacclustering__max_epochs": [1]}, scoring=confidence_scorer, cv=2)
    for estimator in (pipeline, search):
        display = ClusterGridDisplay.from_estimator(estimator.fit(X), X)
        assert display.images.shape == (60, 8, 8, 1)


@pytest.mark.parametrize("n_images", [1, 3, 12])
def test_row_labels_lie_within_the_figure(n_images):
    display = ClusterGridDisplay(np.zeros((1200, 4, 4)), np.arange(1200) // 100, np.ones(1200)).plot(n_images=n_images)
    display.figure_.canvas.draw()
    width = display.figure_.bbox.width
    for label in display.ax_.get_yticklabels():
        box = label.get_window_extent()
        assert 0 <= box.x0 < box.x1 <= width


def test_own_axes_are_used_and_data_left_alone():
    _, ax = plt.subplots()
    before = GRAY.copy()
    display = ClusterGridDisplay.from_estimator(GivenProba(PROBA), GRAY, ax=ax, cmap="gray_r")
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    assert display.ax_.images[0].get_cmap().name == "gray_r"
    assert_array_equal(GRAY, before)


def test_constant_images_can_be_drawn():
    display = ClusterGridDisplay(np.full((2, 2, 2), 7.0), np.array([0, 0]), np.ones(2)).plot()
    assert_array_equal(picture(display)[:, :2], 0)


def test_label_names_of_any_origin():
    display = ClusterGridDisplay(GRAY, np.array([-1, 5, 5]), np.ones(3)).plot()
    assert labels(display) == ["cluster -1 (1)", "cluster 5 (2)"]


def test_feature_vectors_raise():
    with pytest.raises(ValueError, match="image_shape"):
        ClusterGridDisplay.from_estimator(GivenProba(PROBA), GRAY.reshape(3, 6))


def test_two_channels_raise():
    with pytest.raises(ValueError, match="1, 3 or 4"):
        ClusterGridDisplay(np.zeros((3, 4, 4, 2)), np.zeros(3), np.ones(3)).plot()


def test_no_images_asked_for_raises():
    with pytest.raises(ValueError, match="n_images"):
        ClusterGridDisplay(GRAY, np.zeros(3), np.ones(3)).plot(n_images=0)


def test_unfitted_estimator_raises():
    with pytest.raises(NotFittedError):
        ClusterGridDisplay.from_estimator(DACClustering(2), GRAY)


def test_missing_matplotlib_names_the_extra(monkeypatch):
    real_import = builtins.__import__

    def no_matplotlib(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_matplotlib)
    with pytest.raises(ImportError, match=r"deepcluster_sk\[plot\]"):
        ClusterGridDisplay(GRAY, np.zeros(3), np.ones(3)).plot()
