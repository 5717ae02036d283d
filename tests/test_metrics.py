"""Label metrics against brute force, and the scorers inside scikit-learn's searches."""

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn import config_context
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.metrics import silhouette_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from deepcluster_sk import DACClustering
from deepcluster_sk.metrics import (
    _neighbors,
    align_labels,
    augmentation_agreement_scorer,
    bcubed_graph_precision_recall,
    bcubed_precision_recall,
    clustering_accuracy_score,
    clustering_accuracy_scorer,
    confidence_scorer,
    neighbor_agreement_score,
    neighbor_agreement_scorer,
    restart_agreement_scorer,
    silhouette_scorer,
    size_entropy_scorer,
    training_loss_scorer,
)
from deepcluster_sk.model_selection import FullData

LABEL_METRICS = [clustering_accuracy_score, align_labels, bcubed_precision_recall]

seeds = st.integers(0, 2**31 - 1)


def random_labels(seed, n, n_classes, n_clusters):
    rng = np.random.default_rng(seed)
    return rng.integers(n_classes, size=n), rng.integers(n_clusters, size=n)


@st.composite
def label_pairs(draw, max_size=10):
    n = draw(st.integers(1, max_size))
    labels = st.lists(st.integers(-2, 2), min_size=n, max_size=n)
    return draw(labels), draw(labels)


def partition(labels):
    labels = np.asarray(labels)
    return labels[:, None] == labels[None, :]


# ---- accuracy -------------------------------------------------------------------------------------------------------


def test_numbers_in_an_array_of_objects_are_numbers():
    """As a column of a data frame may hold them."""
    objects = np.array([0, 0, 1, 1], dtype=object)
    assert_array_equal(align_labels(objects, [7, 7, 3, 5]), align_labels([0, 0, 1, 1], [7, 7, 3, 5]))
    with pytest.raises(ValueError, match="labels_true must not contain NaN"):
        clustering_accuracy_score(np.array([0.0, 1.0, np.nan], dtype=object), [0, 1, 1])


@given(seed=seeds, n=st.integers(1, 12), n_classes=st.integers(1, 4), n_clusters=st.integers(1, 4))
def test_accuracy_matches_all_permutations(seed, n, n_classes, n_clusters):
    true, pred = random_labels(seed, n, n_classes, n_clusters)
    assert clustering_accuracy_score(true, pred) == reference.clustering_accuracy(true.tolist(), pred.tolist())


@pytest.mark.parametrize(
    ("true", "pred", "expected"),
    [
        ([0, 0, 1, 1], [1, 1, 0, 0], 1.0),
        ([0, 0, 1, 1], [0, 1, 2, 3], 0.5),
        ([0, 1, 2, 3], [5, 5, 5, 5], 0.25),
        (["cat", "cat", "dog"], [-1, -1, 3], 1.0),
        ([0.5, 0.5, 1.5], ["x", "y", "y"], 2 / 3),
        ([True, False], [False, True], 1.0),
        ([7], [-7], 1.0),
        (np.array(["a", "b"], dtype=object), np.array([1, 2], dtype=np.uint8), 1.0),
    ],
)
def test_accuracy_by_hand(true, pred, expected):
    assert clustering_accuracy_score(true, pred) == expected


@given(labels=label_pairs())
def test_accuracy_is_symmetric_and_blind_to_names_and_order(labels):
    true, pred = (np.array(column) for column in labels)
    accuracy = clustering_accuracy_score(true, pred)
    assert 0 < accuracy <= 1
    assert accuracy == clustering_accuracy_score(pred, true)
    assert accuracy == clustering_accuracy_score(true, [f"cluster {-3 * label}" for label in pred])
    assert accuracy == clustering_accuracy_score(true[::-1], pred[::-1])
    assert clustering_accuracy_score(true, true) == 1.0


def test_accuracy_is_a_python_float():
    assert type(clustering_accuracy_score([0, 1], [0, 1])) is float


# ---- alignment ------------------------------------------------------------------------------------------------------


@given(labels=label_pairs())
def test_aligned_labels_are_the_same_partition_and_hit_as_often_as_the_accuracy_says(labels):
    true, pred = (np.array(column) for column in labels)
    aligned = align_labels(true, pred)
    np.testing.assert_array_equal(partition(aligned), partition(pred))
    assert np.mean(aligned == true) == pytest.approx(clustering_accuracy_score(true, pred), abs=1e-15)
    surplus = max(0, len(set(labels[1])) - len(set(labels[0])))
    assert sorted(set(aligned.tolist()) - set(labels[0])) == [max(labels[0]) + 1 + i for i in range(surplus)]
    assert aligned.dtype.kind == "i"


def test_aligned_labels_with_fewer_clusters_than_classes():
    assert align_labels([4, 4, 6, 6, 9], ["b", "b", "a", "a", "a"]).tolist() == [4, 4, 6, 6, 6]


def test_a_cluster_that_shares_nothing_still_gets_a_class_name():
    assert align_labels([0, 0, 1], [3, 4, 3]).tolist() in ([0, 1, 0], [1, 0, 1])


@pytest.mark.parametrize(
    ("true", "expected"),
    [
        (["b", "b", "b", "a"], ["b", "unmatched 0", "unmatched 1", "a"]),
        (["unmatched 0", "unmatched 0", "unmatched 0", "a"], ["unmatched 0", "unmatched 1", "unmatched 2", "a"]),
        ([1.5, 1.5, 1.5, -1.0], [1.5, 2.0, 3.0, -1.0]),
        ([True, True, True, False], [1, 2, 3, 0]),
        (np.array([255, 255, 255, 0], dtype=np.uint8), [255, 256, 257, 0]),
        (np.array([-3, -3, -3, -5], dtype=np.int8), [-3, -2, -1, -5]),
        (np.array(["b", "b", "b", "a"], dtype=object), ["b", "unmatched 0", "unmatched 1", "a"]),
        ([b"b", b"b", b"b", b"a"], [b"b", b"unmatched 0", b"unmatched 1", b"a"]),
    ],
)
def test_surplus_clusters_get_names_that_no_class_has(true, expected):
    assert align_labels(true, [0, 1, 2, 3]).tolist() == expected


@pytest.mark.parametrize("true", [np.array([0, 1], dtype=np.int32), np.array(["x", "yy"]), np.array([False, True])])
def test_dtype_of_the_classes_is_kept_without_surplus(true):
    aligned = align_labels(true, [8, 9])
    assert aligned.dtype == true.dtype
    np.testing.assert_array_equal(aligned, true)


# ---- BCubed ---------------------------------------------------------------------------------------------------------


@given(labels=label_pairs())
def test_bcubed_matches_pair_loop(labels):
    true, pred = labels
    expected = reference.bcubed(true, lambda i, j: pred[i] == pred[j])
    np.testing.assert_allclose(bcubed_precision_recall(true, pred), expected, rtol=1e-13)


@given(seed=seeds, n=st.integers(1, 9), density=st.floats(0, 1))
def test_graph_bcubed_matches_pair_loop(seed, n, density):
    rng = np.random.default_rng(seed)
    true, graph = rng.integers(3, size=n), rng.random((n, n)) < density
    expected = reference.bcubed(true.tolist(), lambda i, j: graph[i, j])
    np.testing.assert_allclose(bcubed_graph_precision_recall(true, graph), expected, rtol=1e-13)
    assert bcubed_graph_precision_recall(true, sparse.csr_array(graph)) == bcubed_graph_precision_recall(true, graph)
    for form in (graph, graph.tolist(), sparse.csr_array(graph)):
        assert bcubed_precision_recall(true, form) == bcubed_graph_precision_recall(true, graph)


@given(labels=label_pairs())
def test_bcubed_of_a_partition_is_that_of_its_graph(labels):
    true, pred = labels
    np.testing.assert_allclose(
        bcubed_precision_recall(true, pred), bcubed_graph_precision_recall(true, partition(pred)), rtol=1e-13
    )


@given(labels=label_pairs())
def test_bcubed_swaps_with_its_arguments(labels):
    true, pred = labels
    swapped = bcubed_precision_recall(pred, true)[::-1]
    np.testing.assert_allclose(bcubed_precision_recall(true, pred), swapped, rtol=1e-13)


@pytest.mark.parametrize(
    ("pred", "expected"), [([0, 0, 1, 1], (1.0, 1.0)), ([5, 5, 5, 5], (0.5, 1.0)), ([0, 1, 2, 3], (1.0, 0.5))]
)
def test_bcubed_by_hand(pred, expected):
    assert bcubed_precision_recall(["x", "x", "y", "y"], pred) == expected


def test_graph_diagonal_does_not_matter():
    graph = np.array([[False, True, False], [True, False, True], [False, True, False]])
    with_loops = graph | np.eye(3, dtype=bool)
    assert bcubed_graph_precision_recall([0, 0, 1], graph) == bcubed_graph_precision_recall([0, 0, 1], with_loops)


# ---- validation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", LABEL_METRICS)
@pytest.mark.parametrize(
    ("true", "pred", "message"),
    [
        ([], [], r"labels_true must not be empty"),
        ([0], [], r"labels_pred must not be empty"),
        ([0, 1], [0], r"labels_true has 2 samples, but labels_pred has 1"),
        ([[0, 1]], [0, 1], r"labels_true must be one-dimensional, got shape \(1, 2\)"),
        (3, [0], r"labels_true must be one-dimensional"),
        ([0], [[[0]]], r"labels_pred must be one-dimensional"),
        ([0.0, np.nan], [0, 1], r"labels_true must not contain NaN"),
        ([0, 1], [0.0, np.inf], r"labels_pred must not contain NaN or infinity"),
        ([0, 1], np.array([0, "a"], dtype=object), r"labels_pred must hold labels of one kind"),
        (np.array([None, 1], dtype=object), [0, 1], r"labels_true must hold labels of one kind"),
    ],
)
def test_bad_labels_raise_and_name_the_parameter(metric, true, pred, message):
    with pytest.raises(ValueError, match=message):
        metric(true, pred)


@pytest.mark.parametrize("metric", [clustering_accuracy_score, align_labels])
def test_probabilities_in_place_of_labels_raise(metric):
    with pytest.raises(ValueError, match=r"labels_pred must be one-dimensional, got shape \(2, 2\)"):
        metric([0, 1], [[0.2, 0.8], [0.7, 0.3]])


@pytest.mark.parametrize(
    ("true", "graph", "message"),
    [
        ([0, 1], np.ones((2, 3), dtype=bool), r"graph must be of shape \(2, 2\), as labels_true has 2"),
        ([0, 1], np.ones(2, dtype=bool), r"graph must be of shape"),
        ([0, 1], np.full((2, 2), 0.9), r"graph must be boolean, got dtype float64"),
        ([0, 1], sparse.eye_array(2), r"graph must be boolean"),
        ([], np.ones((0, 0), dtype=bool), r"labels_true must not be empty"),
    ],
)
def test_bad_graphs_raise(true, graph, message):
    with pytest.raises(ValueError, match=message):
        bcubed_graph_precision_recall(true, graph)


def test_inputs_are_left_alone():
    true, pred, graph = np.array([0, 0, 1]), np.array([1, 2, 2]), np.zeros((3, 3), dtype=bool)
    copies = [array.copy() for array in (true, pred, graph)]
    for metric in LABEL_METRICS:
        metric(true, pred)
    bcubed_graph_precision_recall(true, graph)
    for array, copy in zip((true, pred, graph), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


# ---- scorers --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def blobs():
    return make_blobs(60, centers=[[0, 0], [10, 0], [0, 10]], cluster_std=0.5, random_state=0)


def test_scorers_compute_what_they_say(blobs):
    X, y = blobs
    kmeans = KMeans(3, n_init=1, random_state=0).fit(X)
    mixture = GaussianMixture(3, random_state=0).fit(X)
    assert clustering_accuracy_scorer(kmeans, X, y) == clustering_accuracy_score(y, kmeans.predict(X))
    assert silhouette_scorer(kmeans, X) == silhouette_score(kmeans.transform(X), kmeans.predict(X))
    between = np.linspace(X.min(0), X.max(0), 30)  # where the mixture is not sure
    assert confidence_scorer(mixture, between) == np.mean([row.max() for row in mixture.predict_proba(between)])
    assert confidence_scorer(mixture, between) < 0.999


def test_label_free_scorers_ignore_true_labels(blobs):
    X, y = blobs
    kmeans, mixture = KMeans(3, n_init=1, random_state=0).fit(X), GaussianMixture(3, random_state=0).fit(X)
    assert silhouette_scorer(kmeans, X, y[::-1]) == silhouette_scorer(kmeans, X)
    assert confidence_scorer(mixture, X, y[::-1]) == confidence_scorer(mixture, X)


def test_accuracy_scorer_needs_true_labels(blobs):
    with pytest.raises(TypeError, match="'y'"):
        clustering_accuracy_scorer(KMeans(3, n_init=1, random_state=0).fit(blobs[0]), blobs[0])


@pytest.mark.parametrize("scorer", [clustering_accuracy_scorer, silhouette_scorer])
def test_grid_search_finds_the_planted_number_of_clusters(scorer, blobs):
    X, y = blobs
    search = GridSearchCV(
        KMeans(n_init=3, random_state=0), {"n_clusters": [2, 3, 6]}, scoring=scorer, cv=2, error_score="raise"
    )
    assert search.fit(X, y).best_params_ == {"n_clusters": 3}


def test_grid_search_with_a_label_free_scorer_needs_no_labels(blobs):
    search = GridSearchCV(
        GaussianMixture(random_state=0), {"n_components": [1, 3]}, scoring=confidence_scorer, cv=2, error_score="raise"
    )
    search.fit(blobs[0])
    assert search.cv_results_["mean_test_score"][0] == 1.0


@pytest.mark.parametrize("n_clusters", [1, 4])
def test_silhouette_is_minus_one_where_it_is_not_defined(n_clusters):
    X = np.array([[0.0], [1.0], [3.0], [7.0]])
    assert silhouette_scorer(KMeans(n_clusters, n_init=1, random_state=0).fit(X), X) == -1.0


# ---- label-free scores ----------------------------------------------------------------------------------------------


@given(seed=seeds, n=st.integers(2, 15), n_clusters=st.integers(1, 4))
def test_neighbor_agreement_matches_pair_loop(seed, n, n_clusters):
    rng = np.random.default_rng(seed)
    X, labels = rng.normal(size=(n, 2, 3)), rng.integers(n_clusters, size=n)
    expected = reference.neighbor_agreement(X.reshape(n, 6).astype(np.float32).tolist(), labels.tolist(), n_neighbors=5)
    assert neighbor_agreement_score(X, labels) == pytest.approx(expected)


def test_neighbor_agreement_is_one_for_planted_clusters_and_chance_for_shuffled_ones(blobs):
    X, y = blobs
    assert neighbor_agreement_score(X, y) == 1.0
    assert neighbor_agreement_score(X, [f"cluster {label}" for label in y]) == 1.0
    assert abs(neighbor_agreement_score(X, np.random.default_rng(0).permutation(y))) < 0.1
    assert neighbor_agreement_score(X, np.zeros(len(X))) == 0.0


def test_many_samples_are_represented_by_the_same_ones_each_time():
    some = _neighbors.some_rows(12_000)
    assert len(np.unique(some)) == len(some) == 10_000
    np.testing.assert_array_equal(some, np.sort(some))
    np.testing.assert_array_equal(some, _neighbors.some_rows(12_000))


def test_neighbor_agreement_takes_some_of_many_samples():
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=12_000)
    assert neighbor_agreement_score(rng.normal(size=(12_000, 2)) / 20 + y[:, None], y) == 1.0


@pytest.mark.parametrize(("X", "labels"), [(np.zeros((3, 1)), [0, 1]), (np.zeros((1, 1)), [0])])
def test_neighbor_agreement_needs_as_many_labels_and_two_samples(X, labels):
    with pytest.raises(ValueError, match=rf"X has {len(X)} samples and labels {len(labels)}; both need the same .* 2"):
        neighbor_agreement_score(X, labels)


def test_neighbors_are_looked_for_among_the_first_principal_components(monkeypatch):
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 100)
    X = np.column_stack([rng.permutation(200.0 * np.arange(200)), 1e4 * y])  # the second varies less, and tells
    assert neighbor_agreement_score(X, y) > 0.8
    monkeypatch.setattr(_neighbors, "_N_COMPONENTS", 1)
    assert neighbor_agreement_score(X, y) < 0.2


def test_neighbor_agreement_is_the_same_each_time_and_whatever_the_global_configuration():
    X = np.random.default_rng(0).normal(size=(600, 800))  # so many that components are found at random
    labels = (X[:, 0] > 0).astype(int)
    score = neighbor_agreement_score(X, labels)
    assert neighbor_agreement_score(X, labels) == score
    with config_context(transform_output="pandas"):
        assert neighbor_agreement_score(X, labels) == score


def test_neighbor_agreement_does_not_depend_on_the_order_of_samples():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 2500)
    X = rng.normal(size=(5000, 70))
    X[:, :66] *= 10  # what the first class varies in
    X[y == 1, :66] = 0
    X[y == 1, 66:] += 30 * rng.choice([-1, 1], size=(2500, 1))
    mixed = rng.permutation(5000)
    assert neighbor_agreement_score(X, y) == pytest.approx(neighbor_agreement_score(X[mixed], y[mixed]), abs=0.02)


def test_neighbor_agreement_tells_apart_values_far_from_0(blobs):
    X, y = blobs
    assert neighbor_agreement_score(np.float64(X) + 1.7e9, y) == 1.0


def test_neighbor_agreement_of_equal_samples_is_a_number():
    assert -1 < neighbor_agreement_score(np.ones((20, 3)), np.arange(20) % 2) < 1


def test_silhouette_takes_some_of_many_samples():
    X = np.random.default_rng(0).normal(size=(12_000, 2))
    kmeans = KMeans(2, n_init=1, random_state=0).fit(X)
    whole = silhouette_score(kmeans.transform(X), kmeans.labels_)
    assert silhouette_scorer(kmeans, X) == pytest.approx(whole, abs=0.01)


class Told:
    """Fitted estimator with what it is told."""

    def __init__(self, labels=(), n_clusters=2, **attributes):
        self.labels, self.n_clusters = np.asarray(labels), n_clusters
        vars(self).update(attributes)

    def predict(self, X):
        assert len(X) == len(self.labels)
        return self.labels


@pytest.mark.parametrize(
    ("labels", "n_clusters", "expected"),
    [([0, 1], 2, 1.0), ([0, 0], 2, 0.0), ([0, 0], 1, 1.0), ([0, 0, 3, 3], 4, 0.5), ([0, 0, 0, 1], 2, 0.8112781245)],
)
def test_size_entropy_by_hand(labels, n_clusters, expected):
    assert size_entropy_scorer(Told(labels, n_clusters), np.zeros(len(labels))) == pytest.approx(expected)


def test_training_loss_and_restart_agreement_are_those_of_the_fit():
    told = Told(
        labels_=np.array([0, 1]),
        history_=[{"loss": 3.0}, {"loss": 2.0}, {"loss": 0.25}],
        fit_report_={"restart_agreement": np.float32([1, 0.5])},
        n_init=3,
    )
    assert training_loss_scorer(told) == -0.25
    assert restart_agreement_scorer(told) == pytest.approx((0.75 - 0.5) / (1 - 0.5))


def test_restart_agreement_needs_restarts():
    with pytest.raises(ValueError, match="n_init=1 must be at least 2"):
        restart_agreement_scorer(Told(fit_report_={"restart_agreement": None}, n_init=1))


@pytest.mark.parametrize(
    ("labels", "kept", "expected"),
    [([0, 0, 1, 1], [1, 1, 1, 1], 1.0), ([0, 0, 1, 1], [1, 0, 1, 0], 0.0), ([3, 3, 3, 3], [1, 1, 1, 1], 0.0)],
)
def test_augmentation_agreement_scorer_is_0_by_chance_and_for_one_cluster(labels, kept, expected):
    told = Told(labels, augmentation_agreement=lambda X: np.array(kept, dtype=bool)[list(X)])
    assert augmentation_agreement_scorer(told, np.arange(4)) == expected


def test_scorers_take_a_pipeline_and_the_best_of_a_search(blobs):
    X, y = blobs
    dac = DACClustering(4, max_epochs=2, n_init=2, random_state=0)
    pipeline = make_pipeline(StandardScaler(), dac).fit(X)
    search = GridSearchCV(pipeline, {"dacclustering__lr": [1e-3]}, scoring=silhouette_scorer, cv=FullData()).fit(X)
    scaled = StandardScaler().fit_transform(X)
    for scorer in (
        *(augmentation_agreement_scorer, restart_agreement_scorer, size_entropy_scorer, training_loss_scorer),
        *(confidence_scorer, silhouette_scorer),
    ):
        assert scorer(pipeline, X, y) == scorer(pipeline[-1], scaled, y)
        assert scorer(search, X, y) == scorer(search.best_estimator_[-1], scaled, y)


def test_neighbor_agreement_scorer_scores_the_prediction(blobs):
    X, y = blobs
    assert neighbor_agreement_scorer(Told(y % 2), X, y) == neighbor_agreement_score(X, y % 2)
