"""Displays of clusters against classes, of their sizes, and of label features."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.cluster import KMeans
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from deepcluster_sk import DACClustering
from deepcluster_sk.display import (
    AlignedConfusionMatrixDisplay,
    ClusterSizeDisplay,
    LabelFeatureDisplay,
    LabelFeatureImagesDisplay,
)
from deepcluster_sk.metrics import clustering_accuracy_score

matplotlib.use("agg")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


class Given(ClusterMixin, BaseEstimator):
    """Estimator that says what it is told, -1 of files that cannot be read."""

    def __init__(self, proba):
        self.proba = proba

    def predict(self, X):
        return np.where(np.isnan(self.proba[:, 0]), -1, np.nan_to_num(self.proba).argmax(1))

    def predict_proba(self, X):
        return self.proba


NAN_PROBA = np.array([[0.9, 0.1], [np.nan, np.nan], [0.2, 0.8]])


def ticks(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def test_clusters_stand_below_the_classes_they_are_matched_to():
    display = AlignedConfusionMatrixDisplay.from_predictions(["cat"] * 3 + ["dog"] * 2, [5, 5, 2, 2, 2])
    assert_array_equal(display.confusion_matrix, [[2, 1], [0, 2]])
    assert_array_equal(display.ax_.images[0].get_array(), [[2, 1], [0, 2]])
    assert (ticks(display.ax_.yaxis), ticks(display.ax_.xaxis)) == (["cat", "dog"], ["5", "2"])
    assert (display.ax_.get_ylabel(), display.ax_.get_xlabel()) == ("true class", "cluster")
    assert [text.get_text() for text in display.ax_.texts] == ["2", "1", "", "2"]  # nothing is written for none


def test_diagonal_is_the_accuracy(digits):
    labels = KMeans(10, random_state=0).fit_predict(digits[0].reshape(len(digits[0]), -1))
    matrix = AlignedConfusionMatrixDisplay.from_predictions(digits[1], labels).confusion_matrix
    assert matrix.sum() == len(labels)
    assert np.trace(matrix) / matrix.sum() == pytest.approx(clustering_accuracy_score(digits[1], labels))


@pytest.mark.parametrize("classes", [[0, 1], [0.5, 1.5], ["a", "b"], ["x", "y"]])
def test_clusters_left_over_have_no_class(classes):
    display = AlignedConfusionMatrixDisplay.from_predictions(np.repeat(classes, 2), [7, 7, 3, 5])
    assert display.classes == [*map(str, classes), "no class"]
    assert display.clusters == ["7", "3", "5"]
    assert_array_equal(display.confusion_matrix, [[2, 0, 0], [0, 1, 1], [0, 0, 0]])


def test_classes_left_over_have_no_cluster():
    display = AlignedConfusionMatrixDisplay.from_predictions([0, 0, 1, 2], ["x", "x", "y", "y"])
    assert display.clusters.count("no cluster") == 1
    assert display.confusion_matrix.sum() == 4


def test_confusion_matrix_of_an_estimator(digits):
    X, y = digits[0][:60].reshape(60, -1), digits[1][:60]
    pipeline = make_pipeline(StandardScaler(), KMeans(4, random_state=0)).fit(X)
    display = AlignedConfusionMatrixDisplay.from_estimator(pipeline, X, y)
    expected = AlignedConfusionMatrixDisplay.from_predictions(y, pipeline.predict(X))
    assert_array_equal(display.confusion_matrix, expected.confusion_matrix)
    files = AlignedConfusionMatrixDisplay.from_estimator(Given(NAN_PROBA), ["a", "b", "c"], [0, 1, 1])
    assert_array_equal(files.confusion_matrix, np.eye(2))


def test_cluster_of_minus_one_is_one_like_any_other_of_arrays():
    display = AlignedConfusionMatrixDisplay.from_estimator(Given(NAN_PROBA), np.zeros((3, 2)), [0, 1, 2])
    assert sorted(display.clusters) == ["-1", "0", "1"]


def test_bad_confusion_matrices_raise():
    with pytest.raises(ValueError, match=r"y of shape \(2,\) must be of shape \(3,\)"):
        AlignedConfusionMatrixDisplay.from_estimator(Given(NAN_PROBA), np.zeros((3, 2)), [0, 1])
    with pytest.raises(ValueError, match="labels_true has 1 samples"):
        AlignedConfusionMatrixDisplay.from_predictions([0], [0, 1])
    with pytest.raises(TypeError, match="StandardScaler must have predict"):
        AlignedConfusionMatrixDisplay.from_estimator(StandardScaler(), np.zeros((3, 2)), [0, 1, 2])


def bars(ax):
    return [bar.get_height() for bar in ax.patches]


def test_sizes_and_mean_confidence_of_probabilities():
    proba = [[0.9, 0.1, 0], [0.7, 0.3, 0], [0, 0.4, 0.6]]
    display = ClusterSizeDisplay.from_predictions(proba)
    assert bars(display.ax_) == [2, 0, 1]
    assert [text.get_text() for text in display.ax_.texts] == ["0.80", "", "0.60"]
    assert ticks(display.ax_.xaxis) == ["0", "1", "2"]
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("cluster", "samples")
    cividis = plt.get_cmap("cividis")
    assert_allclose(display.ax_.patches[0].get_facecolor(), cividis(0.8))
    assert_allclose(display.ax_.patches[2].get_facecolor(), cividis(0.6))
    assert display.figure_.axes[1].get_ylabel() == "mean largest probability"


def test_sizes_of_labels_have_no_confidence():
    display = ClusterSizeDisplay.from_predictions(["b", "a", "b"])
    assert bars(display.ax_) == [1, 2]
    assert ticks(display.ax_.xaxis) == ["a", "b"]
    assert display.confidence is None
    assert len(display.figure_.axes) == 1


def test_sizes_of_estimators_with_and_without_probabilities():
    X = [[0.0], [0.1], [5.0]]
    assert sorted(bars(ClusterSizeDisplay.from_estimator(KMeans(2, random_state=0).fit(X), X).ax_)) == [1, 2]
    mixture = ClusterSizeDisplay.from_estimator(GaussianMixture(2, random_state=0).fit(X), X)
    assert_allclose(mixture.confidence, [1, 1])
    assert_array_equal(ClusterSizeDisplay.from_estimator(Given(NAN_PROBA), ["a", "b", "c"]).sizes, [1, 1])


@pytest.mark.parametrize("predictions", [[], [[0.5, 1.5]], np.zeros((2, 2, 2))])
def test_bad_sizes_raise(predictions):
    with pytest.raises(ValueError, match="predictions"):
        ClusterSizeDisplay.from_predictions(predictions)


def points(display):
    return {group.get_label(): group.get_offsets() for group in display.ax_.collections}


def test_one_hot_features_lie_in_corners_and_equal_ones_in_the_middle():
    features = np.vstack([np.eye(4), np.full((1, 4), 0.5)])
    found = points(LabelFeatureDisplay.from_predictions(features, ["a", "b", "c", "d", "middle"]))
    assert_allclose(np.vstack(list(found.values())), [[0, 1], [1, 0], [0, -1], [-1, 0], [0, 0]], atol=1e-12)


@pytest.mark.parametrize("n_clusters", [1, 2, 3, 7, 10])
def test_points_lie_within_the_polygon_of_as_many_corners(n_clusters):
    features = np.random.default_rng(0).dirichlet(np.ones(n_clusters), 50)
    display = LabelFeatureDisplay.from_predictions(features)
    outline = display.ax_.lines[0].get_xydata()
    assert len(outline) == n_clusters + 1
    assert_allclose(np.linalg.norm(outline, axis=1), 1)
    # A point is the mean of the corners, weighted by its probabilities.
    for label, offsets in points(display).items():
        assert_allclose(offsets, features[display.labels == int(label)] @ outline[:-1], atol=1e-12)
    numbers = {text.get_text(): text.get_position() for text in display.ax_.texts}
    assert_allclose([numbers[str(k)] for k in range(n_clusters)], 1.13 * outline[:-1])


def test_dacs_label_features_and_its_probabilities_are_drawn_alike(digits):
    X = digits[0][:60]
    dac = DACClustering(3, max_epochs=1, random_state=0).fit(X)
    by_proba = points(LabelFeatureDisplay.from_estimator(dac, X))
    by_feature = points(LabelFeatureDisplay.from_predictions(dac.transform(X)))
    assert by_proba.keys() == by_feature.keys()
    for label in by_proba:
        assert_allclose(by_proba[label], by_feature[label], atol=1e-5)


def test_classes_are_told_by_a_legend_and_clusters_by_their_corners():
    features = np.eye(3)
    assert LabelFeatureDisplay.from_predictions(features).ax_.get_legend() is None
    legend = LabelFeatureDisplay.from_predictions(features, ["x", "y", "x"]).ax_.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["x", "y"]


def test_label_features_leave_out_unreadable_files_and_refuse_what_does_not_fit():
    display = LabelFeatureDisplay.from_estimator(Given(NAN_PROBA), ["a", "b", "c"], ["x", "y", "z"])
    assert_array_equal(display.labels, ["x", "z"])
    with pytest.raises(ValueError, match=r"y of shape \(2,\)"):
        LabelFeatureDisplay.from_estimator(Given(NAN_PROBA), ["a", "b", "c"], [0, 1])
    with pytest.raises(ValueError, match="features has values"):
        LabelFeatureDisplay.from_predictions([[3.0, 0.0]])
    with pytest.raises(NotFittedError):
        LabelFeatureDisplay.from_estimator(DACClustering(2), np.zeros((3, 8, 8)))


# Six images of one value each, so that a picture shows which image is where.
IMAGES = np.ones((6, 2, 2)) * np.linspace(0, 1, 6)[:, None, None]
FEATURES = np.array([[0.95, 0.05], [0.99, 0.01], [0.04, 0.96], [0.03, 0.97], [0.6, 0.4], [0.45, 0.55]])
CLASSES = ["a", "a", "b", "a", "a", "b"]


def values(display):
    """Value of the image in each place, read from the picture."""
    return [float(left.images[0].get_array()[0, 0]) for left, _ in display.axes_]


def test_failure_modes_are_rows():
    display = LabelFeatureImagesDisplay.from_predictions(IMAGES, FEATURES, CLASSES)
    assert display.groups == ["sure and right"] * 3 + ["sure and wrong"] + ["undecided"] * 2
    # Right: of each cluster the surest (1 and 2), then the next (0). Undecided: the least sure first.
    assert_allclose(values(display), np.array([1, 2, 0, 3, 5, 4]) / 5)
    assert ticks(display.ax_.yaxis) == ["sure and right", "sure and wrong", "undecided"]


def test_bars_are_label_features_and_that_of_the_true_class_stands_out():
    display = LabelFeatureImagesDisplay.from_predictions(IMAGES, FEATURES, CLASSES)
    wrong = display.axes_[3, 1]
    assert_allclose([bar.get_width() for bar in wrong.patches], FEATURES[3])
    right = display.axes_[0, 1]
    assert_allclose([bar.get_width() for bar in right.patches], FEATURES[1])
    expected, other = (bar.get_facecolor() for bar in right.patches)  # both are of class a, matched to cluster 0
    assert [bar.get_facecolor() for bar in wrong.patches] == [expected, other]
    assert expected != other
    assert wrong.get_ylim() == (1.5, -0.5)  # cluster 0 on top
    assert display.axes_[0, 1].get_xlim() == (0, 1)


def test_rows_without_classes_are_most_and_least_certain():
    display = LabelFeatureImagesDisplay.from_predictions(IMAGES, FEATURES, n_images=2)
    assert display.groups == ["most certain"] * 2 + ["least certain"] * 2
    assert_array_equal(display.images, IMAGES[[1, 3, 5, 4]])
    assert display.expected is None


def test_sure_is_a_matter_of_the_threshold():
    display = LabelFeatureImagesDisplay.from_predictions(IMAGES, FEATURES, CLASSES, sure=0.96)
    assert display.groups == ["sure and right"] * 2 + ["sure and wrong"] + ["undecided"] * 3


def test_rows_of_which_there_are_none_are_left_out():
    display = LabelFeatureImagesDisplay.from_predictions(IMAGES[:3], FEATURES[:3], CLASSES[:3])
    assert ticks(display.ax_.yaxis) == ["sure and right"]


def test_images_lie_in_their_rows_and_columns():
    _, ax = plt.subplots()
    display = LabelFeatureImagesDisplay.from_predictions(IMAGES, FEATURES, CLASSES, ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    display.figure_.canvas.draw()
    boxes = [ax.transData.inverted().transform(left.get_window_extent().get_points()) for left, _ in display.axes_]
    middles = [box.mean(0) for box in boxes]
    assert [(int(y), int(x)) for x, y in middles] == [(0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (2, 1)]


def test_colours_and_files_and_estimators(digits):
    rgb = np.random.default_rng(0).integers(0, 256, (6, 3, 3, 3), dtype=np.uint8)
    display = LabelFeatureImagesDisplay.from_predictions(rgb, FEATURES, n_images=1)
    assert_allclose(display.axes_[0, 0].images[0].get_array() * 255, rgb[1], atol=1e-9)
    X = digits[0][:60]
    dac = DACClustering(3, max_epochs=1, random_state=0).fit(X)
    display = LabelFeatureImagesDisplay.from_estimator(dac, X, n_images=1)
    surest = dac.predict_proba(X).max(1).argmax()
    assert_allclose(display.images[0][..., 0], X[surest])


def test_many_clusters_name_only_the_likeliest():
    features = np.random.default_rng(0).dirichlet(np.ones(30), 4)
    display = LabelFeatureImagesDisplay.from_predictions(np.zeros((4, 2, 2)), features, n_images=1)
    assert ticks(display.axes_[0, 1].yaxis) == [str(features[features.max(1).argmax()].argmax())]


@pytest.mark.parametrize(
    ("images", "params", "match"),
    [
        (IMAGES[:5], {}, "images has 5 samples, but features has 6"),
        (np.zeros((6, 2, 2, 2)), {}, "1, 3 or 4"),
        (IMAGES, {"n_images": 0}, "n_images=0"),
        (IMAGES, {"sure": 1.5}, "sure=1.5"),
        (IMAGES, {"y": [0, 1]}, r"y of shape \(2,\)"),
    ],
)
def test_bad_label_feature_images_raise(images, params, match):
    with pytest.raises(ValueError, match=match):
        LabelFeatureImagesDisplay.from_predictions(images, FEATURES, **params)


def test_feature_vectors_are_no_images():
    with pytest.raises(ValueError, match="image_shape"):
        LabelFeatureImagesDisplay.from_estimator(Given(FEATURES), np.zeros((6, 4)))
    display = LabelFeatureImagesDisplay.from_estimator(Given(FEATURES), IMAGES.reshape(6, 4), image_shape=(2, 2))
    assert display.images.shape[1:] == (2, 2, 1)


@pytest.mark.parametrize(
    "draw",
    [
        lambda ax: AlignedConfusionMatrixDisplay.from_predictions([0, 1], [1, 0], ax=ax),
        lambda ax: ClusterSizeDisplay.from_predictions(FEATURES, ax=ax),
        lambda ax: LabelFeatureDisplay.from_predictions(FEATURES, ax=ax),
    ],
)
def test_axes_of_ones_own(draw):
    _, ax = plt.subplots()
    display = draw(ax)
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
