"""Displays of history and searches: TrainingCurveDisplay, PairParticipationDisplay, SearchCurveDisplay."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.cluster import KMeans
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from deepcluster_sk import DACClustering, DCCMClustering
from deepcluster_sk.display import PairParticipationDisplay, SearchCurveDisplay, TrainingCurveDisplay
from deepcluster_sk.metrics import confidence_scorer, silhouette_scorer
from deepcluster_sk.model_selection import FullData

matplotlib.use("agg")

HISTORY = [
    {"phase": "warm-up", "epoch": 0, "loss": 4.0},
    {"phase": "warm-up", "epoch": 1, "loss": 3.0},
    {"phase": "DAC", "epoch": 0, "loss": 2.0, "label_change": 1.0, "cluster_sizes": [5, 5, 0], "selected_share": 0.25},
    {"phase": "DAC", "epoch": 1, "loss": 1.0, "label_change": 0.2, "cluster_sizes": [4, 5, 1], "selected_share": 0.5},
    {"phase": "DAC", "epoch": 2, "loss": 0.5, "label_change": 0.1, "cluster_sizes": [0, 0, 10], "selected_share": 1.0},
]


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def dac(digits):
    return DACClustering(3, max_epochs=2, random_state=0).fit(digits[0][:60])


def curves(ax):
    """(label, x, y) of each line but the upright ones that part phases."""
    lines = [line for line in ax.lines if not line.get_label().startswith("_")]
    return [(line.get_label(), list(line.get_xdata()), np.round(line.get_ydata(), 9).tolist()) for line in lines]


def test_each_phase_is_a_line_over_epochs_counted_from_one():
    loss, change, used = TrainingCurveDisplay.from_history(HISTORY).axes_
    assert curves(loss) == [("warm-up", [1, 2], [4, 3]), ("DAC", [3, 4, 5], [2, 1, 0.5])]
    assert curves(change) == [("DAC", [4, 5], [20, 10])]  # nothing to compare the first labels with
    assert curves(used) == [("DAC", [3, 4, 5], [2, 3, 1])]
    assert [ax.get_ylabel() for ax in (loss, change, used)] == ["loss", "labels changed (%)", "clusters in use"]
    assert used.get_xlabel() == "epoch (all phases together)"


def test_phases_are_named_and_parted():
    loss = TrainingCurveDisplay.from_history(HISTORY).axes_[0]
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["warm-up", "DAC"]
    parting = [line for line in loss.lines if line.get_label().startswith("_")]
    assert [list(line.get_xdata()) for line in parting] == [[2.5, 2.5]]
    assert len({line.get_color() for line in loss.lines}) == 3


def test_first_labels_of_a_phase_are_drawn_where_some_stayed():
    history = [{"phase": "DAC", "loss": 1.0, "label_change": 0.25}]
    assert curves(TrainingCurveDisplay.from_history(history).axes_[1]) == [("DAC", [1], [25])]


@pytest.mark.parametrize(
    ("losses", "scale"), [([4.0, 0.5], "linear"), ([100.0, 0.5], "log"), ([100.0, 0.0], "linear"), ([9, -1], "linear")]
)
def test_loss_is_drawn_on_a_logarithmic_scale_where_it_spans_much(losses, scale):
    history = [{"phase": "DAC", "loss": loss} for loss in losses]
    assert TrainingCurveDisplay.from_history(history).axes_[0].get_yscale() == scale


def test_history_without_anything_to_draw_is_empty():
    axes = TrainingCurveDisplay.from_history([{"phase": "DAC"}]).axes_
    assert [len(ax.lines) for ax in axes] == [0, 0, 0]


@pytest.mark.parametrize("wrapped", [False, "pipeline", "search"])
def test_history_of_an_estimator_wherever_it_stands(wrapped, digits):
    dac = DACClustering(3, image_shape=(8, 8), max_epochs=1, random_state=0)
    estimator = make_pipeline(FunctionTransformer(), dac) if wrapped else dac
    if wrapped == "search":
        grid = {"dacclustering__max_epochs": [1]}
        estimator = GridSearchCV(estimator, grid, scoring=confidence_scorer, cv=FullData())
    estimator.fit(digits[0][:50].reshape(50, -1))
    display = TrainingCurveDisplay.from_estimator(estimator)
    assert [label for label, _, _ in curves(display.axes_[0])] == ["warm-up", "label start", "DAC"]
    assert PairParticipationDisplay.from_estimator(estimator).epochs.tolist() == [3]


def test_axes_of_ones_own(dac):
    _, axes = plt.subplots(3)
    display = TrainingCurveDisplay.from_estimator(dac, ax=axes)
    assert list(display.axes_) == list(axes)
    assert display.figure_ is axes[0].figure
    _, ax = plt.subplots()
    assert PairParticipationDisplay.from_estimator(dac, ax=ax).ax_ is ax
    with pytest.raises(ValueError, match="ax holds 1 axes, and must hold 3"):
        TrainingCurveDisplay.from_estimator(dac, ax=ax)


def test_bad_histories_raise():
    with pytest.raises(ValueError, match="history has no records"):
        TrainingCurveDisplay.from_history([])
    with pytest.raises(ValueError, match=r"history\[1\]=.* must have 'phase'"):
        TrainingCurveDisplay.from_history([{"phase": "DAC"}, {"loss": 1.0}])
    with pytest.raises(ValueError, match="'selected_share'"):
        PairParticipationDisplay.from_history(HISTORY[:2])


@pytest.mark.parametrize("display", [TrainingCurveDisplay, PairParticipationDisplay])
def test_estimators_without_a_history_raise(display):
    with pytest.raises(NotFittedError):
        display.from_estimator(DACClustering(2))
    with pytest.raises(TypeError, match="KMeans must have the attribute history_"):
        display.from_estimator(KMeans(1).fit([[0.0]]))


def test_share_of_pairs_by_epoch():
    display = PairParticipationDisplay.from_history(HISTORY)
    (line,) = display.ax_.lines
    assert_array_equal(line.get_xdata(), [3, 4, 5])
    assert_array_equal(line.get_ydata(), [25, 50, 100])
    assert display.ax_.get_ylabel() == "pairs taking part (%)"
    assert display.ax_.get_legend() is None


def test_dccm_shows_samples_and_edges(digits):
    dccm = DCCMClustering(3, max_epochs=2, random_state=0).fit(digits[0][:60])
    display = PairParticipationDisplay.from_estimator(dccm)
    own = [record for record in dccm.history_ if record["phase"] == "DCCM"]
    samples, edges = display.ax_.lines
    assert_allclose(samples.get_ydata(), [100 * record["selected_share"] for record in own])
    assert_allclose(edges.get_ydata(), [100 * record["edge_share"] for record in own])
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts == ["samples taking part", "pairs with an edge"]


def results(candidates, means, deviations=None, name="score"):
    deviations = np.zeros(len(means)) if deviations is None else deviations
    return {"params": candidates, f"mean_test_{name}": np.array(means), f"std_test_{name}": np.array(deviations)}


def test_one_hyperparameter_is_a_line_in_ascending_order():
    found = results([{"k": 5}, {"k": 2}, {"k": 3}], [0.5, 0.2, 0.3])
    display = SearchCurveDisplay.from_cv_results(found)
    (line,) = display.ax_.lines
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([2, 3, 5], [0.2, 0.3, 0.5])
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("k", "score")
    assert len(display.ax_.collections) == 0  # no spread, no band


def test_band_is_one_standard_deviation_to_each_side():
    display = SearchCurveDisplay.from_cv_results(results([{"k": 1}, {"k": 2}], [0.5, 0.75], [0.25, 0.125]))
    corners = {tuple(corner) for corner in display.ax_.collections[0].get_paths()[0].vertices.tolist()}
    assert {(1, 0.25), (1, 0.75), (2, 0.625), (2, 0.875)} <= corners


@pytest.mark.parametrize(("values", "scale"), [([0.001, 1.0], "log"), ([0.5, 1.0], "linear"), ([0, 100], "linear")])
def test_numbers_that_span_much_are_on_a_logarithmic_scale(values, scale):
    display = SearchCurveDisplay.from_cv_results(results([{"lr": value} for value in values], [0.1, 0.2]))
    assert display.ax_.get_xscale() == scale


def test_values_that_are_no_numbers_are_named_in_their_order():
    found = results([{"augment": value} for value in ("auto", None, True, 1)], [0.1, 0.2, 0.3, 0.4])
    display = SearchCurveDisplay.from_cv_results(found)
    assert [label.get_text() for label in display.ax_.get_xticklabels()] == ["auto", "None", "True", "1"]
    assert display.scores.tolist() == [0.1, 0.2, 0.3, 0.4]


def test_two_hyperparameters_are_a_map_that_tells_its_scores():
    candidates = [{"lr": lr, "k": k} for lr in (0.2, 0.1) for k in (3, 2)][:3]
    display = SearchCurveDisplay.from_cv_results(results(candidates, [0.9, 0.8, 0.7]), params=["lr", "k"])
    shown = display.ax_.images[0].get_array()
    assert_array_equal(np.ma.filled(shown, np.nan), [[np.nan, 0.8], [0.7, 0.9]])  # k upwards, lr to the right
    assert {text.get_position(): text.get_text() for text in display.ax_.texts} == {
        (0, 1): "0.7",
        (1, 0): "0.8",
        (1, 1): "0.9",
    }
    assert [label.get_text() for label in display.ax_.get_xticklabels()] == ["0.1", "0.2"]
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == ["2", "3"]
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("lr", "k")


def test_of_candidates_that_differ_in_others_the_best_is_drawn_with_its_spread():
    candidates = [{"lr": lr, "k": k} for lr in (1, 2) for k in (2, 3)]
    display = SearchCurveDisplay.from_cv_results(results(candidates, [1, 4, 3, 2], [10, 20, 30, 40]), params="lr")
    assert display.scores.tolist() == [4, 3]
    assert display.deviations.tolist() == [20, 30]


def test_failed_fits_leave_gaps():
    display = SearchCurveDisplay.from_cv_results(results([{"k": 1}, {"k": 2}], [np.nan, 0.5]))
    assert_array_equal(display.ax_.lines[0].get_ydata(), [np.nan, 0.5])


def test_constant_hyperparameters_are_not_drawn_against():
    display = SearchCurveDisplay.from_cv_results(results([{"a": 1, "k": 1}, {"a": 1, "k": 2}], [0.1, 0.2]))
    assert display.names == ["k"]


def test_search_of_scikit_learn_with_several_scores(digits):
    X = digits[0][:60].reshape(60, -1)
    scoring = {"a": silhouette_scorer, "b": silhouette_scorer}
    search = GridSearchCV(KMeans(random_state=0), {"n_clusters": [2, 3]}, scoring=scoring, refit="a", cv=2).fit(X)
    display = SearchCurveDisplay.from_estimator(search, score="b")
    assert_array_equal(display.ax_.lines[0].get_ydata(), search.cv_results_["mean_test_b"])
    assert display.ax_.get_ylabel() == "b"
    with pytest.raises(ValueError, match=r"score='score' must be .* a, b"):
        SearchCurveDisplay.from_estimator(search)


@pytest.mark.parametrize("params", ["c", [], ["a", "a"], ["a", "b", "k"]])
def test_parameters_that_cannot_be_drawn_against_raise(params):
    found = results([{"a": 1, "b": 1, "k": 1}], [0.1])
    with pytest.raises(ValueError, match=r"params=.* must be one or two of those of the search: a, b, k"):
        SearchCurveDisplay.from_cv_results(found, params=params)


def test_search_over_three_hyperparameters_asks_for_two():
    found = results([{"a": 1, "b": 1, "k": 1}, {"a": 2, "b": 2, "k": 2}], [0.1, 0.2])
    with pytest.raises(ValueError, match="varies a, b, k; params must name one or two"):
        SearchCurveDisplay.from_cv_results(found)


def test_unfitted_search_raises():
    with pytest.raises(NotFittedError):
        SearchCurveDisplay.from_estimator(GridSearchCV(KMeans(), {}))
