"""Searches on all samples, the number of clusters, and the baselines; and that no choice looks at true labels."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn import config_context
from sklearn.base import BaseEstimator, ClusterMixin, clone
from sklearn.cluster import DBSCAN, AgglomerativeClustering, KMeans, SpectralClustering
from sklearn.compose import make_column_transformer
from sklearn.datasets import make_blobs
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from deepcluster_sk import DACClustering, DCCMClustering, DCSSClustering, metrics
from deepcluster_sk.metrics import (
    augmentation_agreement_scorer,
    clustering_accuracy_score,
    neighbor_agreement_score,
    restart_agreement_scorer,
    silhouette_scorer,
)
from deepcluster_sk.model_selection import FullData, compare_with_baselines, select_n_clusters

each = pytest.mark.parametrize("Estimator", [DACClustering, DCCMClustering, DCSSClustering])


@pytest.fixture(scope="module")
def blobs():
    return make_blobs(200, centers=4, cluster_std=0.4, random_state=1)


@pytest.fixture(scope="module")
def few(digits):
    images, y = digits
    return images[y < 3][:60], y[y < 3][:60]


class Raising:
    """True labels that cannot be looked at."""

    def __array__(self, *args, **kwargs):
        raise AssertionError("y was looked at")

    __len__ = __iter__ = __getitem__ = __array__


# ---- FullData -------------------------------------------------------------------------------------------------------


def test_full_data_trains_and_tests_on_everything():
    ((train, test),) = FullData().split(["a.png", "b.png", "c.png"])
    assert_array_equal(train, [0, 1, 2])
    assert_array_equal(test, [0, 1, 2])
    assert FullData().get_n_splits() == 1


def test_full_data_gives_the_search_the_labels_of_a_plain_fit(blobs):
    X, _ = blobs
    k_means = KMeans(n_clusters=2, n_init=1, random_state=0)
    search = GridSearchCV(k_means, {"n_clusters": [2, 4]}, scoring=silhouette_scorer, cv=FullData()).fit(X)
    assert search.best_params_ == {"n_clusters": 4}
    plain = KMeans(n_clusters=4, n_init=1, random_state=0).fit(X)
    assert_array_equal(search.best_estimator_.labels_, plain.labels_)
    assert search.best_score_ == silhouette_scorer(plain, X)


# ---- number of clusters ---------------------------------------------------------------------------------------------


def test_curve_has_every_fit_and_its_pick_is_the_planted_number(blobs):
    X, _ = blobs
    curve = select_n_clusters(KMeans(n_init=10), X, [6, 2, 4, 3, 5, 4], n_repeats=3)
    assert_array_equal(curve.n_clusters, [2, 3, 4, 5, 6])
    assert curve.best_n_clusters == 4
    for i, value in enumerate(curve.n_clusters):
        fits = [KMeans(value, n_init=10, random_state=seed).fit(X) for seed in range(3)]
        assert curve.scores[i].tolist() == [silhouette_scorer(fit, X) for fit in fits]
        pairs = [adjusted_rand_score(one.labels_, other.labels_) for one, other in combinations(fits, 2)]
        assert curve.stability[i] == pytest.approx(np.mean(pairs))
    assert (curve.seconds > 0).all()


def test_curve_of_a_pipeline_finds_its_parameter(blobs):
    X, _ = blobs
    pipeline = make_pipeline(StandardScaler(), KMeans(n_init=3))
    curve = select_n_clusters(pipeline, X, iter([3, 4]), n_repeats=2)
    assert curve.best_n_clusters == 4
    assert pipeline[-1].n_clusters == 8


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_curve_by_several_processes_is_under_the_users_configuration(n_jobs, blobs):
    X = pd.DataFrame(blobs[0], columns=["a", "b"])
    one = make_column_transformer(("passthrough", ["a"]))
    pipeline = make_pipeline(StandardScaler(), one, KMeans(n_init=1))
    with config_context(transform_output="pandas"):
        curve = select_n_clusters(pipeline, X, [2], n_repeats=2, scoring=lambda *_: 0.0, n_jobs=n_jobs)
    assert curve.stability[0] == 1


def test_a_parameter_of_an_encoder_is_not_the_number_of_clusters(few):
    X, _ = few
    dcss = DCSSClustering(3, encoder=KMeans(20, n_init=1), max_epochs=1)
    assert select_n_clusters(dcss, X, [2, 3], n_repeats=2).scores.shape == (2, 2)
    assert select_n_clusters(make_pipeline(dcss), X, [2], n_repeats=2).scores.shape == (1, 2)
    assert compare_with_baselines(dcss, X, random_states=[0])["method"][-1] == "DCSSClustering"


def test_curve_of_a_deep_estimator(few):
    X, _ = few
    curve = select_n_clusters(DACClustering(max_epochs=2), X, [2, 3], n_repeats=2)
    assert curve.scores.shape == (2, 2)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"n_clusters": []}, ValueError, "must hold one value at least"),
        ({"n_clusters": [0]}, ValueError, "n_clusters=0 must be an integer"),
        ({"n_clusters": [2.5]}, TypeError, "n_clusters=2.5 must be an integer"),
        ({"n_repeats": 1}, ValueError, "n_repeats=1 must be"),
        ({"random_state": None}, TypeError, "random_state=None must be"),
        ({"n_clusters": 5}, TypeError, "n_clusters=5 must be a sequence"),
        ({"n_clusters": [2, "3"]}, TypeError, "n_clusters='3' must be an integer"),
        ({"scoring": "silhouette"}, TypeError, "scoring='silhouette' must be a function"),
        ({"estimator": DBSCAN()}, ValueError, "estimator=DBSCAN must have one parameter n_clusters"),
    ],
)
def test_bad_curves_raise(blobs, wrong, error, message):
    with pytest.raises(error, match=message):
        select_n_clusters(**{"estimator": KMeans(), "X": blobs[0], "n_clusters": [2], **wrong})


# ---- baselines ------------------------------------------------------------------------------------------------------


class Planted(ClusterMixin, BaseEstimator):
    """Estimator that gives the labels it is told, for its seed."""

    def __init__(self, labels=None, n_clusters=3, random_state=None):
        self.labels, self.n_clusters, self.random_state = labels, n_clusters, random_state

    def fit(self, X, y=None):
        assert y is None
        self.labels_ = np.asarray(self.labels)[self.random_state]
        return self


def test_baselines_stand_beside_the_estimator_with_scores_of_their_labels(few):
    X, y = few
    rng = np.random.default_rng(0)
    labels = np.stack([y, rng.permutation(y)])
    table = compare_with_baselines(Planted(labels), X, y, embedding=np.eye(3)[y], random_states=[0, 1])
    assert table["method"] == ["k-means", "PCA + k-means", "embedding + k-means", "Planted"]
    assert table["acc"][2:] == [1.0, np.mean([clustering_accuracy_score(y, each) for each in labels])]
    assert table["acc_worst"][3] == clustering_accuracy_score(y, labels[1])
    assert table["stability"][2:] == [1.0, adjusted_rand_score(*labels)]
    flat = X.reshape(len(X), -1)
    assert table["neighbor_agreement"][3] == np.mean([neighbor_agreement_score(flat, each) for each in labels])
    k_means = [KMeans(3, n_init=10, random_state=seed).fit(flat).labels_ for seed in (0, 1)]
    assert table["acc"][0] == np.mean([clustering_accuracy_score(y, each) for each in k_means])


def test_further_baselines_get_rows_and_the_seed(few):
    X, y = few
    flat = X.reshape(len(X), -1).astype(np.float32)
    mixture = make_pipeline(PCA(5), GaussianMixture(3, reg_covar=1e-2))
    others = {"mixture": mixture, "Ward": AgglomerativeClustering(3)}
    table = compare_with_baselines(KMeans(3, n_init=1), flat, y, baselines=others, random_states=[1])
    assert table["method"] == ["k-means", "PCA + k-means", "mixture", "Ward", "KMeans"]
    expected = [
        clone(mixture).set_params(pca__random_state=1, gaussianmixture__random_state=1).fit_predict(flat),
        AgglomerativeClustering(3).fit_predict(flat),
    ]
    assert table["acc"][2:4] == [clustering_accuracy_score(y, labels) for labels in expected]
    with pytest.raises(TypeError, match="baselines"):
        compare_with_baselines(KMeans(3), X, baselines=[mixture])


def test_baselines_without_labels_and_with_one_seed(few):
    X, _ = few
    table = compare_with_baselines(DACClustering(3, max_epochs=2), X, random_states=[0])
    assert table["method"] == ["k-means", "PCA + k-means", "DACClustering"]
    assert "acc" not in table
    assert np.isnan(table["stability"]).all()
    assert len({len(column) for column in table.values()}) == 1


def test_baselines_tell_apart_values_far_from_0_as_well(blobs):
    X, y = blobs
    mixture = GaussianMixture(4)
    far = compare_with_baselines(KMeans(4, n_init=5), X + 1e8, y, baselines={"mixture": mixture}, random_states=[0])
    assert far["acc"] == [1.0] * 4
    assert far["neighbor_agreement"] == [1.0] * 4


def test_a_pipeline_is_compared_too(blobs):
    X, y = blobs
    table = compare_with_baselines(make_pipeline(StandardScaler(), KMeans(4, n_init=5)), X, y, random_states=[0])
    assert table["method"][-1] == "Pipeline"
    assert table["acc"][-1] == 1.0


def test_an_estimator_without_predict_is_compared_too(few):
    X, _ = few
    spectral = SpectralClustering(3, affinity="nearest_neighbors", n_neighbors=15)
    flat = X.reshape(len(X), -1)
    assert compare_with_baselines(spectral, flat, random_states=[0])["method"][-1] == "SpectralClustering"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"y": [0, 1]}, "y has 2 samples, but X has 60"),
        ({"embedding": np.ones((2, 2))}, "embedding has 2 samples, but X has 60"),
        ({"random_states": []}, "must hold one seed at least"),
        ({"n_components": 0}, "n_components=0 must be"),
    ],
)
def test_bad_comparisons_raise(few, wrong, message):
    with pytest.raises(ValueError, match=message):
        compare_with_baselines(DACClustering(3), few[0], **wrong)


@pytest.mark.parametrize("wrong", [0, "01", None])
def test_seeds_that_are_no_sequence_raise(few, wrong):
    with pytest.raises(TypeError, match=r"random_states=.* must be a sequence of integers"):
        compare_with_baselines(DACClustering(3), few[0], random_states=wrong)


# ---- no choice by labels --------------------------------------------------------------------------------------------


@each
def test_true_labels_do_not_change_a_fit(Estimator, few):
    X, y = few
    expected = Estimator(3, max_epochs=2, n_init=2, random_state=0).fit(X).labels_
    rng = np.random.default_rng(0)
    for wrong in (y, rng.permutation(y), np.full(len(X), np.nan), "no labels", Raising()):
        assert_array_equal(Estimator(3, max_epochs=2, n_init=2, random_state=0).fit_predict(X, wrong), expected)


@each
def test_no_scorer_without_labels_looks_at_them(Estimator, few):
    X, _ = few
    estimator = Estimator(3, max_epochs=1, n_init=2, random_state=0).fit(X, Raising())
    names = [name for name in metrics.__all__ if name.endswith("_scorer") and "accuracy" not in name]
    assert len(names) == 7
    for name in names:
        scorer = getattr(metrics, name)
        assert scorer(estimator, X, Raising()) == scorer(estimator, X)


@each
@pytest.mark.no_cover  # many fits, of lines that other tests run too
@pytest.mark.parametrize("scorer", [augmentation_agreement_scorer, restart_agreement_scorer])
def test_true_labels_do_not_change_a_search_by_a_label_free_scorer(Estimator, scorer, few):
    X, y = few
    found = []
    for wrong in (None, y, np.random.default_rng(0).permutation(y), np.full(len(X), np.nan)):
        estimator = Estimator(3, max_epochs=1, n_init=2, random_state=0)
        search = GridSearchCV(estimator, {"lr": [1e-4, 1e-3]}, scoring=scorer, cv=FullData(), error_score="raise")
        search.fit(X, wrong)
        found.append(
            (search.best_params_, search.cv_results_["mean_test_score"].tolist(), search.best_estimator_.labels_)
        )
    for params, test_scores, labels in found[1:]:
        assert params == found[0][0]
        assert test_scores == found[0][1]
        assert_array_equal(labels, found[0][2])


def test_cross_validate_takes_full_data_and_several_label_free_scorers(few):
    X, _ = few
    scoring = {"agreement": augmentation_agreement_scorer, "silhouette": silhouette_scorer}
    result = cross_validate(DACClustering(3, max_epochs=2, random_state=0), X, scoring=scoring, cv=FullData())
    assert result["test_agreement"].shape == result["test_silhouette"].shape == (1,)
