"""ClusterGridDisplay and FilterDisplay: what is shown where, for every layout of images; what all displays share."""

import builtins
import inspect

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from torch import nn

from deepcluster_sk import DACClustering, _input, display
from deepcluster_sk.display import ClusterGridDisplay, FilterDisplay
from deepcluster_sk.exceptions import UnreadableImageWarning
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


def test_rows_have_the_names_of_clusters():
    display = ClusterGridDisplay(GRAY, PROBA.argmax(1), PROBA.max(1), names=["cats", "1"]).plot()
    assert labels(display) == ["cats (2)", "cluster 1 (1)"]


def test_names_are_those_of_the_estimator():
    X = load_digits(n_class=3).images[:60]
    dac = DACClustering(3, max_epochs=2, random_state=0).fit(X).rename_clusters({1: "ones"})
    display = ClusterGridDisplay.from_estimator(make_pipeline(dac), X)
    assert sorted(label.partition(" (")[0] for label in labels(display)) == ["cluster 0", "cluster 2", "ones"]


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


# One of each display, from data alone.
ONE_OF_EACH = (
    display.AlignedConfusionMatrixDisplay(np.eye(2, dtype=int), ["a", "b"], ["0", "1"]),
    ClusterGridDisplay(GRAY, np.zeros(3), np.ones(3)),
    display.ClusterSizeDisplay([0, 1], [2, 3]),
    display.ConfidenceHistogramDisplay([np.array([0.5, 1.0])], ["end"]),
    display.EmbeddingDisplay([np.zeros((2, 2))], [np.array([0, 1])]),
    FilterDisplay(np.ones((2, 1, 3, 3))),
    display.GraphPrecisionRecallDisplay([1], [0.5], [0.5]),
    display.LabelFeatureDisplay(np.eye(3), np.arange(3)),
    display.LabelFeatureImagesDisplay(GRAY, np.eye(3), ["sure"] * 3),
    display.PairParticipationDisplay([1], [0.5]),
    display.PseudoGraphDisplay(np.eye(2, dtype=bool), np.arange(2)),
    display.RejectionDisplay(np.array([0.5, 0.9]), np.array([0.0, 0.5]), np.array([0.8, 1.0])),
    display.ResidualDisplay([np.array([0.5, 1.0])], ["end"]),
    display.SearchCurveDisplay(["k"], [[1, 2]], np.ones(2), np.zeros(2)),
    display.TrainingCurveDisplay([{"phase": "DAC", "loss": 1.0}]),
)


def name_of(one):
    return type(one).__name__


def test_each_display_is_there():
    assert sorted(map(name_of, ONE_OF_EACH)) == sorted(display.__all__)


@pytest.mark.parametrize("one", ONE_OF_EACH, ids=name_of)
def test_missing_matplotlib_names_the_extra(one, monkeypatch):
    real_import = builtins.__import__

    def no_matplotlib(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_matplotlib)
    with pytest.raises(ImportError, match=r"deepcluster_sk\[plot\]"):
        one.plot()


@pytest.mark.parametrize("one", ONE_OF_EACH, ids=name_of)
def test_data_are_kept_under_their_names_and_plot_gives_the_display(one):
    before = {name: repr(value) for name, value in vars(one).items() if not name.endswith("_")}
    assert list(before) == list(inspect.signature(type(one)).parameters)
    assert one.plot() is one
    assert one.figure_ is np.ravel(one.axes_ if hasattr(one, "axes_") else one.ax_)[0].figure
    assert {name: repr(value) for name, value in vars(one).items() if not name.endswith("_")} == before


@pytest.mark.parametrize("one", ONE_OF_EACH, ids=name_of)
def test_all_that_is_drawn_lies_within_the_figure(one):
    figure = one.plot().figure_
    figure.canvas.draw()
    drawn, whole = figure.get_tightbbox(), figure.bbox_inches
    assert np.all(drawn.min >= whole.min - 0.01)
    assert np.all(drawn.max <= whole.max + 0.01)


def test_filters_stand_side_by_side_in_order():
    filters = np.arange(5.0).reshape(5, 1, 1, 1) * np.ones((1, 1, 2, 2))
    shown = picture(FilterDisplay(filters).plot(n_columns=3))
    assert shown.shape == (5, 8)
    assert_array_equal(shown[0, [0, 3, 6]], [0, 1, 2])
    assert_array_equal(shown[3, [0, 3]], [3, 4])
    assert np.isnan(shown[3, 6])
    assert np.isnan(shown[2]).all()


def test_colours_of_weights_are_centred_on_zero():
    shown = FilterDisplay(np.array([-2.0, 1.0]).reshape(2, 1, 1, 1)).plot()
    assert shown.ax_.images[0].get_clim() == (-2, 2)
    assert shown.figure_.axes[1].get_ylabel() == "weight"


def test_filters_of_colour_images_are_shown_in_colour_each_in_its_range():
    filters = np.random.default_rng(0).normal(size=(2, 3, 4, 4)) * np.array([1, 100]).reshape(2, 1, 1, 1)
    filters[0] = np.clip(filters[0], -1, 1)
    shown = np.asarray(FilterDisplay(filters).plot().ax_.images[0].get_array())
    for i, weights in enumerate(filters):
        tile = shown[:, 5 * i : 5 * i + 4]
        expected = (weights - weights.min()) / (weights.max() - weights.min())
        assert_allclose(tile[..., :3], expected.transpose(1, 2, 0))
        assert_array_equal(tile[..., 3], 1)
    assert_array_equal(shown[:, 4], 0)


def test_filters_of_other_images_are_averaged_over_channels():
    filters = np.random.default_rng(0).normal(size=(1, 5, 3, 3))
    assert_allclose(picture(FilterDisplay(filters).plot()), filters.mean(1)[0])


def test_filters_of_an_estimator_are_those_of_its_first_convolution(digits):
    dac = DACClustering(3, max_epochs=1, random_state=0).fit(digits[0][:50])
    shown = FilterDisplay.from_estimator(dac)
    first = next(layer for layer in dac.module_.modules() if isinstance(layer, nn.Conv2d))
    assert_array_equal(shown.filters, first.weight.detach().numpy())


def test_estimators_without_filters_raise(digits):
    with pytest.raises(NotFittedError):
        FilterDisplay.from_estimator(DACClustering(3))
    with pytest.raises(TypeError, match="GaussianMixture must have the attribute module_"):
        FilterDisplay.from_estimator(GaussianMixture(1).fit([[0.0], [1.0]]))
    vectors = DACClustering(3, max_epochs=1, random_state=0).fit(digits[0][:50].reshape(50, -1))
    with pytest.raises(ValueError, match="convolution of images"):
        FilterDisplay.from_estimator(vectors)


@pytest.mark.parametrize(
    ("filters", "n_columns", "match"), [(np.ones((2, 3)), 1, "filters"), (np.ones((2, 1, 3, 3)), 0, "n_columns")]
)
def test_bad_filters_raise(filters, n_columns, match):
    with pytest.raises(ValueError, match=match):
        FilterDisplay(filters).plot(n_columns=n_columns)


def test_folder_with_an_unreadable_file_is_drawn_without_it(tmp_path, digits):
    for i, image in enumerate(digits[0][:12]):
        Image.fromarray((255 * image).astype(np.uint8)).save(tmp_path / f"{i:02}.png")
    (tmp_path / "05.png").write_bytes(b"no image")
    dac = DACClustering(3, max_epochs=1, on_error="skip", random_state=0)
    with pytest.warns(UnreadableImageWarning):
        dac.fit(tmp_path)
    with pytest.warns(UnreadableImageWarning):
        shown = ClusterGridDisplay.from_estimator(dac, tmp_path)
    assert shown.images.shape == (11, 8, 8, 3)
    assert_array_equal(shown.labels, dac.labels_)
    with pytest.warns(UnreadableImageWarning), pytest.raises(ValueError, match="X must have an image that can be read"):
        ClusterGridDisplay.from_estimator(dac, [tmp_path / "05.png"])


@pytest.mark.parametrize(
    ("shown", "n_drawn"), [(ClusterGridDisplay, 6), (display.LabelFeatureImagesDisplay, 4)], ids=["grid", "features"]
)
def test_only_images_that_are_drawn_are_read_where_all_do_not_fit_into_memory(
    shown, n_drawn, tmp_path, digits, monkeypatch
):
    for i, image in enumerate(digits[0][:40]):
        Image.fromarray((255 * image).astype(np.uint8)).save(tmp_path / f"{i:02}.png")
    dac = DACClustering(3, max_epochs=1, random_state=0).fit(tmp_path)
    kept = picture_of(shown.from_estimator(dac, tmp_path, n_images=2))
    monkeypatch.setattr("deepcluster_sk._lazy._SHARE", 0)
    decode, n_decoded = _input.decode, []
    monkeypatch.setattr(_input, "decode", lambda *given: n_decoded.append(1) or decode(*given))
    dac.predict_proba(tmp_path)
    n_to_predict = len(n_decoded)
    assert_array_equal(picture_of(shown.from_estimator(dac, tmp_path, n_images=2)), kept)
    # All files once, to know which can be read; then those that are drawn.
    assert len(n_decoded) - 2 * n_to_predict <= 40 + n_drawn


def picture_of(shown):
    """Pixels of the whole figure."""
    shown.figure_.canvas.draw()
    return np.asarray(shown.figure_.canvas.buffer_rgba())


def test_files_for_an_estimator_that_reads_none_raise():
    with pytest.raises(TypeError, match="GivenProba reads no files"):
        ClusterGridDisplay.from_estimator(GivenProba(PROBA), ["a.png", "b.png", "c.png"])


def test_images_that_the_estimator_resizes_are_drawn_as_it_sees_them(digits):
    dac = DACClustering(3, image_size=6, max_epochs=1, random_state=0).fit(digits[0][:50])
    assert ClusterGridDisplay.from_estimator(dac, digits[0][:20]).images.shape == (20, 6, 6, 1)
