"""Displays of probabilities, graphs and embeddings, of one fit or stage by stage."""

import inspect

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from deepcluster_sk import DACClustering, DCCMClustering
from deepcluster_sk.callbacks import StageRecorder
from deepcluster_sk.display import (
    ConfidenceHistogramDisplay,
    EmbeddingDisplay,
    GraphPrecisionRecallDisplay,
    PseudoGraphDisplay,
    ResidualDisplay,
)
from deepcluster_sk.metrics import bcubed_graph_precision_recall

matplotlib.use("agg")

FROM_RECORDER = (ConfidenceHistogramDisplay, ResidualDisplay, EmbeddingDisplay)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


class Given(ClusterMixin, BaseEstimator):
    """Estimator that says what it is told."""

    def __init__(self, proba, embedding=None, graph_threshold=0.95):
        self.proba = proba
        self.embedding = embedding
        self.graph_threshold = graph_threshold

    def predict_proba(self, X):
        return self.proba

    def predict(self, X):
        return np.argmax(self.proba, axis=1)

    def transform(self, X):
        return self.embedding


@pytest.fixture(scope="module")
def recorded(digits):
    """Recorder of every epoch of a fit, its samples' classes, and the estimator."""
    X, y = digits[0][:60], digits[1][:60]
    recorder = StageRecorder(X, epochs=1)
    estimator = DACClustering(3, max_epochs=1, random_state=0).set_callbacks(recorder).fit(X)
    return recorder, y, estimator


def heights(display, n_bins):
    """Bars, (n_stages, n_bins)."""
    return np.reshape([bar.get_height() for bar in display.ax_.patches], (-1, n_bins))


def test_bars_are_per_cent_of_the_samples_of_a_stage():
    start = [[0.5, 0.5], [0.55, 0.45], [0.28, 0.72], [0.15, 0.85]]
    end = [[1.0, 0.0], [0.02, 0.98]]
    display = ConfidenceHistogramDisplay.from_predictions([start, end], stages=["start", "end"])
    assert_allclose(
        heights(display, 10),
        [[0, 0, 0, 0, 0, 50, 0, 25, 25, 0], [0, 0, 0, 0, 0, 0, 0, 0, 0, 100]],
    )
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == ["start", "end"]
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("largest probability", "samples (%)")


def test_bars_of_a_bin_stand_side_by_side_within_it():
    display = ConfidenceHistogramDisplay.from_predictions([[[1.0, 0.0]], [[0.0, 1.0]], [[0.5, 0.5]]], n_bins=5)
    left = np.reshape([bar.get_x() for bar in display.ax_.patches], (3, 5))
    width = display.ax_.patches[0].get_width()
    assert_allclose(np.diff(left, axis=0), width)
    assert np.all(left[0] >= np.arange(5) * 0.2)
    assert np.all(left[-1] + width <= np.arange(1, 6) * 0.2 + 1e-12)


def test_one_stage_needs_no_legend():
    assert ConfidenceHistogramDisplay.from_predictions([[1.0, 0.0]]).ax_.get_legend() is None


def test_rounding_above_one_counts_as_one():
    display = ConfidenceHistogramDisplay.from_predictions([[1.000001, 0.0]])
    assert heights(display, 10)[0, -1] == 100


def test_residuals_are_l1_distances_from_one_hot():
    proba = np.array([[0.7, 0.2, 0.1], [1 / 3, 1 / 3, 1 / 3], [0.0, 0.0, 1.0]])
    display = ResidualDisplay.from_predictions(proba, n_bins=4)
    assert_allclose(display.residuals[0], [0.6, 4 / 3, 0.0], atol=1e-12)
    assert_allclose(display.residuals[0], 2 * (1 - proba.max(1)), atol=1e-12)
    assert_allclose(heights(display, 4), [[100 / 3, 100 / 3, 100 / 3, 0]])
    assert display.ax_.get_xlabel() == "$L_1$ distance from one-hot"


@pytest.mark.parametrize("method", ["from_estimator", "from_predictions", "from_recorder", "plot"])
def test_histograms_are_drawn_by_the_same_code(method):
    first, second = (getattr(display, method) for display in (ConfidenceHistogramDisplay, ResidualDisplay))
    assert getattr(first, "__func__", first) is getattr(second, "__func__", second)
    assert inspect.getdoc(first)


@pytest.mark.parametrize("display", [ConfidenceHistogramDisplay, ResidualDisplay])
def test_histograms_of_an_estimator_leave_out_unreadable_files(display):
    proba = np.array([[0.9, 0.1], [np.nan, np.nan], [0.2, 0.8]])
    shown = display.from_estimator(Given(proba), ["a", "b", "c"])
    assert heights(shown, 10).sum() == pytest.approx(100)
    assert_array_equal(heights(shown, 10), heights(display.from_predictions(proba[[0, 2]]), 10))


@pytest.mark.parametrize("display", [ConfidenceHistogramDisplay, ResidualDisplay])
def test_histograms_refuse_what_they_cannot_draw(display):
    with pytest.raises(ValueError, match=r"proba has values in \[-1, 2\]"):
        display.from_predictions([[-1.0, 2.0]])
    with pytest.raises(ValueError, match=r"proba of shape \(2,\)"):
        display.from_predictions(np.array([0.1, 0.9]))
    with pytest.raises(ValueError, match=r"proba has values in \[nan"):
        display.from_predictions([[np.nan, 0.5]])
    with pytest.raises(ValueError, match="proba is empty"):
        display.from_predictions([])
    with pytest.raises(ValueError, match="stages has 2 names, and must have 1"):
        display.from_predictions([[0.1, 0.9]], stages=["a", "b"])
    with pytest.raises(ValueError, match="n_bins=0"):
        display.from_predictions([[0.1, 0.9]], n_bins=0)
    with pytest.raises(TypeError, match="KMeans must have predict_proba"):
        display.from_estimator(KMeans(1).fit([[0.0]]), [[0.0]])


@pytest.mark.parametrize("display", FROM_RECORDER)
def test_recorded_stages_are_drawn_under_their_names(display, recorded):
    names = ["warm-up, epoch 1", "label start, epoch 1", "DAC, epoch 1"]
    assert list(display.from_recorder(recorded[0]).stages) == names


@pytest.mark.parametrize("display", FROM_RECORDER)
def test_recorders_that_are_none_or_empty_raise(display):
    with pytest.raises(TypeError, match="recorder of type list must be a StageRecorder"):
        display.from_recorder([])
    with pytest.raises(ValueError, match="no stages"):
        display.from_recorder(StageRecorder(np.zeros((2, 2))))


def test_recorded_histogram_ends_with_that_of_the_estimator(recorded, digits):
    recorder, _, estimator = recorded
    last = heights(ConfidenceHistogramDisplay.from_recorder(recorder), 10)[-1]
    assert_array_equal(last, heights(ConfidenceHistogramDisplay.from_estimator(estimator, digits[0][:60]), 10)[0])


PROBA = np.array([[0.98, 0.02], [0.03, 0.97], [0.95, 0.05], [0.6, 0.4]])


def shown(display):
    return np.asarray(display.ax_.images[0].get_array()).astype(bool)


def test_graph_is_ordered_by_cluster():
    display = PseudoGraphDisplay.from_predictions(PROBA)
    # Samples 0, 2 and 3 are cluster 0, of which the last is alike to none.
    assert_array_equal(shown(display), np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=bool))
    assert [label.get_text() for label in display.ax_.get_xticklabels()] == ["0", "1"]
    assert_allclose(display.ax_.get_xticks(), [1, 3])
    assert [line.get_ydata()[0] for line in display.ax_.lines][:1] == [2.5]


def test_graph_can_be_ordered_by_class():
    display = PseudoGraphDisplay.from_predictions(PROBA, ["dog", "cat", "cat", "dog"])
    assert_array_equal(display.labels, ["dog", "cat", "cat", "dog"])
    assert_array_equal(shown(display)[0], [True, False, False, False])  # sample 1: none of 2, 0, 3
    assert_array_equal(shown(display)[1], [False, True, True, False])  # sample 2: alike to sample 0
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == ["cat", "dog"]


def test_edges_are_cosine_similarities_above_the_threshold():
    unit = PROBA / np.linalg.norm(PROBA, axis=1, keepdims=True)
    for threshold in (0.05, 0.8, 0.95):
        display = PseudoGraphDisplay.from_predictions(PROBA, threshold=threshold)
        assert_array_equal(display.graph, unit @ unit.T >= threshold)


def test_threshold_is_the_estimators_own_unless_given(digits):
    X = digits[0][:60]
    dccm = DCCMClustering(3, max_epochs=1, graph_threshold=0.6, random_state=0).fit(X)
    own = PseudoGraphDisplay.from_estimator(dccm, X)
    assert_array_equal(own.graph, PseudoGraphDisplay.from_predictions(dccm.predict_proba(X), threshold=0.6).graph)
    given = PseudoGraphDisplay.from_estimator(dccm, X, threshold=0.99)
    assert given.graph.sum() < own.graph.sum()
    mixture = GaussianMixture(2, random_state=0).fit([[0.0], [0.1], [5.0], [5.1]])
    assert PseudoGraphDisplay.from_estimator(mixture, [[0.0], [5.0]]).graph.tolist() == [[True, False], [False, True]]


def test_some_samples_are_drawn_of_many():
    proba = np.random.default_rng(0).dirichlet([0.3] * 4, 50)
    display = PseudoGraphDisplay.from_predictions(proba, n_samples=20)
    assert display.graph.shape == (20, 20)
    assert_array_equal(display.graph, PseudoGraphDisplay.from_predictions(proba, n_samples=20).graph)
    other = PseudoGraphDisplay.from_predictions(proba, n_samples=20, random_state=1)
    assert not np.array_equal(display.labels, other.labels)


def test_graph_of_files_leaves_out_unreadable_ones():
    proba = np.array([[0.9, 0.1], [np.nan, np.nan], [0.2, 0.8]])
    display = PseudoGraphDisplay.from_estimator(Given(proba), ["a", "b", "c"], ["x", "y", "z"])
    assert_array_equal(display.labels, ["x", "z"])


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"threshold": 1.5}, "threshold=1.5"),
        ({"n_samples": 0}, "n_samples=0"),
        ({"y": [0, 1]}, r"y of shape \(2,\) must be of shape \(4,\)"),
    ],
)
def test_bad_graphs_raise(params, match):
    with pytest.raises(ValueError, match=match):
        PseudoGraphDisplay.from_predictions(PROBA, **params)


def test_precision_and_recall_of_graphs_by_epoch():
    y = [0, 1, 0, 1]
    start, end = np.full((4, 2), 0.5), PROBA
    display = GraphPrecisionRecallDisplay.from_predictions([start, end], y, epochs=[1, 7])
    precision, recall = display.ax_.lines
    graph = PseudoGraphDisplay.from_predictions(end).graph
    expected = bcubed_graph_precision_recall(y, graph)
    # At the start all are joined, half of them rightly.
    assert_allclose(precision.get_ydata(), [0.5, expected[0]])
    assert_allclose(recall.get_ydata(), [1.0, expected[1]])
    assert_array_equal(precision.get_xdata(), [1, 7])
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == ["precision", "recall"]


def test_precision_and_recall_of_recorded_stages(recorded):
    recorder, y, _ = recorded
    display = GraphPrecisionRecallDisplay.from_recorder(recorder, y, threshold=0.8)
    assert display.epochs == [1, 2, 3]
    graph = PseudoGraphDisplay.from_predictions(recorder.stages[-1].proba, threshold=0.8).graph
    assert (display.precision[-1], display.recall[-1]) == bcubed_graph_precision_recall(y, graph)


def test_precision_and_recall_refuse_what_does_not_fit(recorded):
    with pytest.raises(ValueError, match=r"y of shape \(3,\) must be of shape \(60,\)"):
        GraphPrecisionRecallDisplay.from_recorder(recorded[0], [0, 1, 2])
    with pytest.raises(ValueError, match="epochs has 1 numbers, and must have 2"):
        GraphPrecisionRecallDisplay.from_predictions([PROBA, PROBA], [0, 1, 0, 1], epochs=[3])
    with pytest.raises(ValueError, match="threshold=-1"):
        GraphPrecisionRecallDisplay.from_predictions([PROBA], [0, 1, 0, 1], threshold=-1)


def offsets(ax):
    return {points.get_label(): points.get_offsets() for points in ax.collections}


def test_points_are_principal_components_coloured_by_label():
    embedding = np.random.default_rng(0).normal(size=(30, 5)) * [5, 3, 1, 1, 1]
    labels = np.arange(30) % 3
    display = EmbeddingDisplay.from_predictions(embedding, labels)
    expected = PCA(2).fit_transform(embedding)
    points = offsets(display.axes_[0])
    assert list(points) == ["0", "1", "2"]
    for label in range(3):
        assert_allclose(points[str(label)], expected[labels == label])
    assert len({tuple(group.get_facecolor()[0]) for group in display.axes_[0].collections}) == 3
    assert display.axes_[0].get_xlabel() == "principal component 1"


def test_clusters_beyond_the_colours_have_other_markers():
    display = EmbeddingDisplay.from_predictions(np.random.default_rng(0).normal(size=(24, 2)), np.arange(24))
    styles = {
        (tuple(group.get_facecolor()[0]), len(group.get_paths()[0].vertices)) for group in display.axes_[0].collections
    }
    assert len(styles) == 24


def test_one_dimension_is_drawn_on_a_line():
    (positions,) = EmbeddingDisplay.from_predictions([[1.0], [3.0]], ["a", "b"]).positions
    assert_allclose(np.abs(positions), [[1, 0], [1, 0]])


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_samples_that_are_all_the_same_are_drawn_on_one_point(method):
    (positions,) = EmbeddingDisplay.from_predictions(np.full((5, 3), 7.0), [0, 1, 0, 1, 0], method=method).positions
    assert_array_equal(positions, np.zeros((5, 2)))


def test_principal_components_of_a_large_embedding_are_the_same_each_time():
    """scikit-learn chooses a solver for this shape that draws from NumPy's own random numbers."""
    embedding = np.random.default_rng(0).normal(size=(600, 600))
    first, again = (EmbeddingDisplay.from_predictions(embedding, np.zeros(600)).positions[0] for _ in range(2))
    assert_array_equal(first, again)


@pytest.mark.parametrize("n", [2, 5, 50])
def test_tsne_keeps_groups_apart_and_repeats_itself(n):
    embedding = np.repeat([[0.0, 0.0, 0.0], [50.0, 50.0, 50.0]], n, axis=0)
    embedding += np.random.default_rng(0).normal(size=embedding.shape)
    labels = np.repeat(["a", "b"], n)
    display = EmbeddingDisplay.from_predictions(embedding, labels, method="tsne")
    assert display.axes_[0].get_ylabel() == "t-SNE dimension 2"
    again = EmbeddingDisplay.from_predictions(embedding, labels, method="tsne")
    assert_array_equal(display.positions[0], again.positions[0])
    if n == 50:
        assert KMeans(2, random_state=0).fit_predict(display.positions[0])[[0, n]].tolist() in ([0, 1], [1, 0])


def test_estimator_gives_positions_and_clusters(digits):
    X = digits[0][:50].reshape(50, -1)
    kmeans = KMeans(3, random_state=0).fit(X)
    display = EmbeddingDisplay.from_estimator(kmeans, X)
    assert_array_equal(display.labels[0], kmeans.labels_)
    assert_allclose(display.positions[0], PCA(2).fit_transform(kmeans.transform(X).astype(np.float64)), atol=1e-5)
    assert_array_equal(EmbeddingDisplay.from_estimator(kmeans, X, digits[1][:50]).labels[0], digits[1][:50])


def test_embedding_leaves_out_unreadable_files():
    embedding = np.array([[0.0, 1.0], [np.nan, np.nan], [2.0, 3.0]])
    display = EmbeddingDisplay.from_estimator(Given(PROBA[:3], embedding), ["a", "b", "c"], ["x", "y", "z"])
    assert_array_equal(display.labels[0], ["x", "z"])


def test_one_panel_a_stage_with_the_clusters_of_then(recorded):
    recorder, y, _ = recorded
    display = EmbeddingDisplay.from_recorder(recorder)
    assert len(display.axes_) == 3
    for labels, stage in zip(display.labels, recorder.stages, strict=True):
        assert_array_equal(labels, stage.proba.argmax(1))
    for labels in EmbeddingDisplay.from_recorder(recorder, y, n_samples=30).labels:
        assert len(labels) == 30
        assert set(labels) <= set(y)


def test_a_label_has_one_colour_in_all_panels():
    positions = [np.zeros((2, 2))] * 2
    display = EmbeddingDisplay(positions, [np.array([0, 1]), np.array([1, 1])]).plot()
    first, second = (
        {g.get_label(): tuple(g.get_facecolor()[0]) for g in ax.collections if len(g.get_offsets())}
        for ax in display.axes_
    )
    assert second["1"] == first["1"] != first["0"]


@pytest.mark.parametrize(("n_panels", "n_rows"), [(1, 1), (3, 1), (4, 2), (5, 2)])
def test_panels_fill_a_grid(n_panels, n_rows):
    display = EmbeddingDisplay([np.zeros((2, 2))] * n_panels, [np.array([0, 1])] * n_panels).plot()
    assert len(display.axes_) == len(display.figure_.axes) == n_panels
    assert len({ax.get_subplotspec().rowspan.start for ax in display.axes_}) == n_rows


def test_axes_of_ones_own(recorded):
    recorder, y, _ = recorded
    _, axes = plt.subplots(1, 3)
    assert list(EmbeddingDisplay.from_recorder(recorder, ax=axes).axes_) == list(axes)
    with pytest.raises(ValueError, match="ax holds 1 axes, and must hold 3"):
        EmbeddingDisplay.from_recorder(recorder, ax=axes[0])
    _, ax = plt.subplots()
    assert EmbeddingDisplay.from_predictions([[0.0], [1.0]], [0, 1], ax=ax).axes_[0] is ax
    for display in (
        ConfidenceHistogramDisplay.from_recorder(recorder, ax=ax),
        ResidualDisplay.from_recorder(recorder, ax=ax),
        GraphPrecisionRecallDisplay.from_recorder(recorder, y, ax=ax),
        PseudoGraphDisplay.from_predictions(PROBA, ax=ax),
    ):
        assert display.ax_ is ax
        assert display.figure_ is ax.figure


@pytest.mark.parametrize(
    ("embedding", "labels", "params", "match"),
    [
        (np.zeros(3), [0, 1, 2], {}, r"embedding of shape \(3,\)"),
        ([[0.0]], [0], {}, "n of at least 2"),
        ([[0.0], [np.inf]], [0, 1], {}, "embedding holds NaN or infinity"),
        ([[0.0], [1.0]], [0], {}, r"labels of shape \(1,\) must be of shape \(2,\)"),
        ([[0.0], [1.0]], [0, 1], {"method": "umap"}, "method='umap' must be one of 'pca', 'tsne'"),
        ([[0.0], [1.0]], [0, 1], {"n_samples": 1}, "n_samples=1"),
    ],
)
def test_bad_embeddings_raise(embedding, labels, params, match):
    with pytest.raises(ValueError, match=match):
        EmbeddingDisplay.from_predictions(embedding, labels, **params)


def test_estimator_without_an_embedding_raises():
    mixture = GaussianMixture(1).fit([[0.0], [1.0]])
    with pytest.raises(TypeError, match="GaussianMixture must have transform"):
        EmbeddingDisplay.from_estimator(mixture, [[0.0], [1.0]])
