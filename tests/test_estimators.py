"""The three estimators as a user of scikit-learn meets them."""

import copy
import pickle
import subprocess
import sys
import textwrap
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import partial

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.callback import ProgressBar
from sklearn.datasets import load_digits, load_wine, make_blobs
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from deepcluster_sk import (
    CollapseWarning,
    DACClustering,
    DCCMClustering,
    DCSSClustering,
    InstabilityWarning,
    UnreadableImageWarning,
)
from deepcluster_sk._data import ArraySamples
from deepcluster_sk._diagnostics import Run, fit_report
from deepcluster_sk._scaling import Scaling
from deepcluster_sk._validation import check_samples
from deepcluster_sk.metrics import (
    clustering_accuracy_score,
    clustering_accuracy_scorer,
    neighbor_agreement_score,
    silhouette_scorer,
)

ESTIMATORS = [DACClustering, DCCMClustering, DCSSClustering]
VECTORS = ArraySamples(np.zeros((2, 2)), Scaling(offset=0.0, scale=1.0))
each = pytest.mark.parametrize("Estimator", ESTIMATORS)
# Two or three epochs from random weights leave clusters empty, which is none of such a test's business.
short = pytest.mark.filterwarnings("ignore::deepcluster_sk.exceptions.CollapseWarning")


@pytest.fixture(scope="module")
def X():
    """240 real digits of four classes, (n, 8, 8) in 0..16."""
    return load_digits(n_class=4).images[:240]


@pytest.fixture(scope="module")
def y():
    return load_digits(n_class=4).target[:240]


@pytest.fixture(scope="module")
def fitted(X):
    """Each estimator fitted once by default settings."""
    return {Estimator: Estimator(n_clusters=4, random_state=0).fit(X) for Estimator in ESTIMATORS}


@pytest.fixture(scope="module")
def brief(X):
    """Each estimator fitted by three epochs a phase, for what must hold after any number of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollapseWarning)
        return {kind: kind(n_clusters=4, max_epochs=3, random_state=0).fit(X) for kind in ESTIMATORS}


@each
def test_default_finds_the_classes_of_real_digits(Estimator, fitted, y):
    assert clustering_accuracy_score(y, fitted[Estimator].labels_) >= 0.9


@each
@pytest.mark.no_cover  # long fits, of lines that other tests run too
def test_default_reaches_its_floor_on_all_digits(Estimator):
    images, classes = load_digits().images, load_digits().target
    labels = Estimator(n_clusters=10, random_state=0).fit_predict(images)
    assert clustering_accuracy_score(classes, labels) >= (0.78 if Estimator is DCSSClustering else 0.85)


@each
def test_fitted_attributes(Estimator, fitted, X):
    estimator = fitted[Estimator]
    assert estimator.labels_.shape == (len(X),)
    assert estimator.labels_.dtype == np.int64
    assert_array_equal(np.unique(estimator.labels_), np.arange(4))
    assert estimator.n_features_in_ == 64
    assert estimator.n_iter_ == len(estimator.history_) > 0
    assert isinstance(estimator.converged_, bool)
    assert not estimator.module_.training
    assert isinstance(estimator.module_, nn.Module)
    for record in estimator.history_:
        assert {"phase", "epoch", "loss", "seconds"} <= record.keys()
        assert np.isfinite(record["loss"])
    assert sum(estimator.history_[-1]["cluster_sizes"]) == len(X)


@each
def test_report_agrees_with_the_labels(Estimator, fitted, X):
    estimator = fitted[Estimator]
    report = estimator.fit_report_
    assert report["cluster_sizes"] == np.bincount(estimator.labels_, minlength=4).tolist()
    assert report["n_clusters_used"] == 4
    assert report["largest_share"] == max(report["cluster_sizes"]) / len(X)
    assert_allclose(report["mean_confidence"], estimator.predict_proba(X).max(1).mean(), rtol=1e-5)


@each
def test_predict_agrees_with_fit_and_proba(Estimator, fitted, X):
    estimator = fitted[Estimator]
    proba = estimator.predict_proba(X)
    assert_array_equal(estimator.predict(X), estimator.labels_)
    assert_array_equal(proba.argmax(1), estimator.labels_)
    assert proba.shape == (len(X), 4)
    assert proba.dtype == np.float32
    assert_allclose(proba.sum(1), 1, atol=1e-5)


@each
def test_prediction_does_not_depend_on_the_batch(Estimator, fitted, X):
    estimator = fitted[Estimator]
    alone = np.concatenate([estimator.predict_proba(X[i : i + 1]) for i in range(20)])
    assert_allclose(alone, estimator.predict_proba(X)[:20], atol=1e-5)
    order = np.random.default_rng(0).permutation(len(X))
    assert_allclose(estimator.transform(X[order]), estimator.transform(X)[order], atol=1e-4)


def test_embeddings_are_what_the_papers_call_features(fitted, X):
    label_features = fitted[DACClustering].transform(X)
    assert label_features.shape == (len(X), 4)
    assert_allclose(np.linalg.norm(label_features, axis=1), 1, atol=1e-5)
    assert fitted[DCCMClustering].transform(X).shape == (len(X), 64)
    assert fitted[DCSSClustering].transform(X).shape == (len(X), 64)


def test_dcss_centers_are_in_label_order(X):
    first_phase = DCSSClustering(n_clusters=4, second_phase=False, random_state=0).fit(X)
    distances = np.linalg.norm(first_phase.transform(X)[:, None] - first_phase.cluster_centers_, axis=2)
    assert_array_equal(distances.argmin(1), first_phase.labels_)


@each
def test_same_seed_same_labels_in_process_and_across_processes(Estimator, fitted, X, tmp_path):
    estimator = fitted[Estimator]
    assert_array_equal(clone(estimator).fit(X).labels_, estimator.labels_)
    np.save(tmp_path / "X.npy", X)
    code = f"""
        import numpy as np, torch
        from deepcluster_sk import {Estimator.__name__}
        torch.set_num_threads(1)
        X = np.load({str(tmp_path / "X.npy")!r})
        print(*{Estimator.__name__}(n_clusters=4, random_state=0).fit_predict(X))
    """
    printed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    ).stdout
    assert_array_equal(np.array(printed.split(), dtype=int), estimator.labels_)


@short
@each
def test_same_seed_same_labels_in_joblib_workers(Estimator, brief, X):
    jobs = [joblib.delayed(clone(brief[Estimator]).fit_predict)(X) for _ in range(2)]
    for labels in joblib.Parallel(n_jobs=2)(jobs):
        assert_array_equal(labels, brief[Estimator].labels_)


@short
@each
def test_fit_leaves_the_callers_state_alone(Estimator, X):
    images = X.astype(np.float32)
    before, torch_state, numpy_state = images.copy(), torch.get_rng_state(), np.random.get_state()[1].copy()
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    images.flags.writeable = False
    Estimator(n_clusters=4, max_epochs=1, random_state=0).fit(images)
    assert_array_equal(images, before)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert_array_equal(np.random.get_state()[1], numpy_state)
    assert (torch.get_num_threads(), torch.get_default_dtype()) == (threads, dtype)


@short
@each
def test_fits_in_threads_are_those_in_turn(Estimator, brief, X):
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: clone(brief[Estimator]).fit_predict(X), range(2)))
    for labels in found:
        assert_array_equal(labels, brief[Estimator].labels_)


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        assert torch.get_default_dtype() == dtype
        torch.set_default_dtype(before)


@short
@each
@pytest.mark.parametrize(
    "callers_state",
    [
        torch.no_grad,
        torch.inference_mode,
        partial(torch.autocast, "cpu", dtype=torch.bfloat16),
        partial(default_dtype, torch.float64),
    ],
)
def test_the_callers_torch_state_changes_nothing(Estimator, X, callers_state):
    estimator = Estimator(n_clusters=4, max_epochs=1, precision="float32", random_state=0)
    expected = clone(estimator).fit(X)
    with callers_state():
        found = estimator.fit(X)
        proba = found.predict_proba(X[:20])
    assert_allclose(proba, expected.predict_proba(X[:20]), atol=1e-6)
    assert_array_equal(found.labels_, expected.labels_)


@short
@each
def test_labels_never_reach_training(Estimator, brief, X, y):
    estimator = clone(brief[Estimator])
    assert_array_equal(estimator.fit(X, y).labels_, brief[Estimator].labels_)
    assert_array_equal(estimator.fit_predict(X, y[::-1]), brief[Estimator].labels_)


@each
@pytest.mark.parametrize("dump", [pickle.dumps, None])
def test_pickle_and_joblib(Estimator, fitted, X, dump, tmp_path):
    if dump is None:
        joblib.dump(fitted[Estimator], tmp_path / "model.joblib")
        loaded = joblib.load(tmp_path / "model.joblib")
    else:
        loaded = pickle.loads(dump(fitted[Estimator]))
    assert_array_equal(loaded.predict_proba(X), fitted[Estimator].predict_proba(X))


@each
def test_set_output_and_feature_names(Estimator, fitted, X):
    estimator = fitted[Estimator]
    names = estimator.get_feature_names_out()
    assert names[0] == f"{Estimator.__name__.lower()}0"
    try:
        frame = estimator.set_output(transform="pandas").transform(X)
    finally:
        estimator.set_output(transform="default")
    assert isinstance(frame, pd.DataFrame)
    assert_array_equal(frame.columns, names)


def test_grid_search_of_dccm_with_two_jobs(X, y):
    search = GridSearchCV(
        DCCMClustering(n_clusters=4, max_epochs=10, random_state=0),
        {"label_weight": [0.0, 5.0]},
        scoring=clustering_accuracy_scorer,
        cv=2,
        n_jobs=2,
        error_score="raise",
    ).fit(X, y)
    assert (search.cv_results_["mean_test_score"] > 0.5).all()
    assert_array_equal(search.predict(X), search.best_estimator_.labels_)


@short
def test_grid_search_without_labels(X):
    everything = np.arange(len(X))
    search = GridSearchCV(
        DACClustering(max_epochs=20, random_state=0),
        {"n_clusters": [3, 4]},
        scoring=silhouette_scorer,
        cv=[(everything, everything)],
        error_score="raise",
    ).fit(X)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_pipeline_with_scaler():
    X, y = load_wine(return_X_y=True)  # features on scales from 0.1 to 1000
    pipeline = make_pipeline(StandardScaler(), DCSSClustering(n_clusters=3, random_state=0))
    labels = pipeline.fit_predict(X)
    assert clustering_accuracy_score(y, labels) >= 0.85
    assert_array_equal(pipeline.predict(X), labels)


@each
def test_feature_vectors(Estimator):
    points, groups = make_blobs(300, centers=4, n_features=6, random_state=0)
    frame = pd.DataFrame(points, columns=list("abcdef"))
    estimator = Estimator(n_clusters=4, random_state=0).fit(frame)
    assert adjusted_rand_score(groups, estimator.labels_) >= 0.9
    assert_array_equal(estimator.feature_names_in_, frame.columns)


class StopAfter:
    """Callback that stops after so many epochs and keeps what it saw."""

    def __init__(self, n_epochs):
        self.n_epochs, self.seen = n_epochs, []

    def setup(self, estimator, context):
        self.seen.clear()

    def teardown(self, estimator, context):
        self.is_torn_down = True

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, X, fitted_estimator):
        if context.task_name == "epoch":
            self.seen.append(fitted_estimator.predict(X))
            assert len(fitted_estimator.history_) == len(self.seen)
        return len(self.seen) >= self.n_epochs


@short
@each
def test_callbacks_see_a_fitted_estimator_and_can_stop(Estimator, X):
    stop = StopAfter(3)
    estimator = Estimator(n_clusters=4, random_state=0).set_callbacks(stop)
    is_without_clusters = Estimator is not DCSSClustering  # so early; k-means gives those of DCSS
    with pytest.warns(ConvergenceWarning, match="in the warm-up") if is_without_clusters else nullcontext():
        estimator.fit(X)
    assert estimator.n_iter_ == len(stop.seen) == 3
    assert not estimator.converged_
    assert all(labels.shape == (len(X),) for labels in stop.seen)
    assert_array_equal(estimator.predict(X), estimator.labels_)


@short
@each
def test_callbacks_are_torn_down_when_a_fit_fails(Estimator, X):
    def fail_at_last(batch, generator):
        if stop.seen:
            raise RuntimeError("no more")
        return batch

    stop = StopAfter(3)
    estimator = Estimator(n_clusters=4, augment=fail_at_last, random_state=0).set_callbacks(stop)
    with pytest.raises(RuntimeError, match="no more"):
        estimator.fit(X)
    assert stop.is_torn_down
    assert not hasattr(estimator, "history_")


def run_of(labels, agreement=1.0, **changes):
    """A run of a network that does not matter."""
    labels = np.array(labels)
    return Run(
        network=nn.Linear(1, 1),
        history=[{"agreement": agreement}],
        neighbor_agreement=None,
        stopped=False,
        converged=True,
        precision="float32",
        n_components=1,
        labels=labels,
        confidence=np.ones(len(labels), dtype=np.float32),
        augmentation_agreement=agreement,
        sizes=np.bincount(labels, minlength=changes.pop("n_clusters", 2)),
    )._replace(**changes)


@each
def test_unused_clusters_are_numbered_last(Estimator, fitted, X):
    """A column of the network that no sample falls into, before columns that are used."""
    estimator = copy.deepcopy(fitted[Estimator])
    network = copy.deepcopy(estimator.module_)
    output = network.mnet[-1][1] if Estimator is DCSSClustering else network.classifier[1]
    output.bias.data[1] = -1e3
    array = check_samples(estimator, X, None, reset=False)
    samples = ArraySamples(array, estimator._scaling)
    columns, confidence = estimator._apply(samples, lambda _, proba: (proba.argmax(1), proba.amax(1)), network=network)
    sizes = np.bincount(columns, minlength=estimator.n_clusters)
    assert sizes[1] == 0
    run = run_of(columns, network=network, confidence=confidence, sizes=sizes)
    with pytest.warns(CollapseWarning):
        estimator._store(run, [], samples)
    assert_array_equal(estimator.labels_, estimator.predict(X))
    assert_array_equal(np.unique(estimator.labels_), np.arange(estimator.n_clusters - 1))
    assert estimator.fit_report_["cluster_sizes"][-1] == 0


@short
@each
def test_progress_bar(Estimator, X, capsys):
    Estimator(n_clusters=4, max_epochs=2, random_state=0).set_callbacks(ProgressBar()).fit(X)
    assert Estimator.__name__ in capsys.readouterr().out


@short
@each
def test_verbose_prints_a_line_an_epoch(Estimator, X, capsys):
    estimator = Estimator(n_clusters=4, max_epochs=2, random_state=0).fit(X)
    assert capsys.readouterr().out == ""
    estimator.set_params(verbose=1).fit(X)
    assert len(capsys.readouterr().out.splitlines()) == estimator.n_iter_


@short
@each
def test_max_epochs_caps_every_phase(Estimator, X):
    history = Estimator(n_clusters=4, max_epochs=2, random_state=0).fit(X).history_
    phases = [record["phase"] for record in history]
    assert max(phases.count(phase) for phase in phases) == 2


def test_restarts_prefer_no_collapse_then_labels_that_last(X, monkeypatch):
    runs = [run_of(*given) for given in (([0] * 4, 1.0), ([0, 0, 1, 1], 0.7), ([0, 1, 1, 0], 0.9), ([1, 1, 0, 0], 0.8))]
    given = iter(runs)
    monkeypatch.setattr(DACClustering, "_run", lambda *args: next(given))
    dac = DACClustering(n_clusters=2, n_init=4).fit(X[:4])
    assert_array_equal(dac.labels_, [0, 1, 1, 0])
    assert dac.history_ == [{"agreement": 0.9}]
    # Of the others [0 0 0 0], [0 0 1 1], [1 1 0 0], the last two are one partition, matched either way round.
    assert_array_equal(sorted(dac.fit_report_["restart_agreement"]), np.float32([1 / 3, 1 / 3, 2 / 3, 2 / 3]))


def test_agreement_that_chance_gives_counts_for_nothing_among_restarts():
    equal, unequal = run_of([0] * 5 + [1] * 5, 0.9), run_of([0] * 9 + [1], 0.92)
    assert equal.rank < unequal.rank  # (.9 - .5) / .5 is more than (.92 - .82) / .18


@short
def test_restarts_without_a_transform_prefer_neighbors_together(X, monkeypatch):
    train, runs = DACClustering._run, []

    def noted(*args):
        runs.append(train(*args))
        return runs[-1]

    monkeypatch.setattr(DACClustering, "_run", noted)
    dac = DACClustering(n_clusters=4, augment=None, n_init=3, warmup_epochs=0, random_state=0).fit(X)
    assert dac.fit_report_["augmentation_agreement"] is None
    full = [run for run in runs if (run.sizes > 0).sum() == max((run.sizes > 0).sum() for run in runs)]
    best = max(full, key=lambda run: neighbor_agreement_score(X, run.labels))
    assert dac.history_ is best.history


@short
@each
def test_restart_agreement_is_a_share_of_the_other_restarts(Estimator, brief, X):
    agreement = clone(brief[Estimator]).set_params(n_init=3).fit(X).fit_report_["restart_agreement"]
    assert agreement.shape == (len(X),)
    assert set(agreement.tolist()) <= {0.0, 0.5, 1.0}
    assert agreement.mean() > 1 / 4  # what chance gives
    assert brief[Estimator].fit_report_["restart_agreement"] is None


@each
def test_augmentation_agreement(Estimator, fitted, X):
    estimator = fitted[Estimator]
    kept = estimator.augmentation_agreement(X)
    assert kept.shape == (len(X),)
    assert kept.dtype == bool
    assert_array_equal(estimator.augmentation_agreement(X), kept)
    # As many samples, but other draws, as at the end of fit.
    assert estimator.fit_report_["augmentation_agreement"] == pytest.approx(kept.mean(), abs=0.15)


def test_augmentation_agreement_is_by_the_estimators_own_transform(fitted, X):
    dac = copy.deepcopy(fitted[DACClustering])
    dac.augment = lambda batch: batch
    assert dac.augmentation_agreement(X).all()
    first = torch.as_tensor(X[:1, None] / 16, dtype=torch.float32)  # as networks see it
    dac.augment = lambda batch: first.expand_as(batch)  # the same image in place of any
    assert_array_equal(dac.augmentation_agreement(X), dac.labels_ == dac.predict(X[:1])[0])


def test_augmentation_agreement_leaves_the_random_state_alone(fitted, X):
    dac = copy.deepcopy(fitted[DACClustering])
    dac.augment = lambda batch: batch + 0.1 * torch.randn_like(batch)
    state = torch.get_rng_state()
    first = dac.augmentation_agreement(X)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(1)
    assert_array_equal(dac.augmentation_agreement(X), first)


def test_without_a_transform_there_is_no_augmentation_agreement(X):
    dac = DACClustering(n_clusters=4, augment=None, max_epochs=2, random_state=0).fit(X)
    assert dac.fit_report_["augmentation_agreement"] is None
    with pytest.raises(ValueError, match="augment=None must be a transform"):
        dac.augmentation_agreement(X)


def test_augmentation_agreement_before_fit():
    with pytest.raises(NotFittedError):
        DACClustering().augmentation_agreement(np.zeros((2, 8, 8)))


@short
def test_a_stop_ends_the_restarts_too(X):
    stop = StopAfter(2)
    with pytest.warns(ConvergenceWarning, match="in the warm-up"):
        DACClustering(n_clusters=4, n_init=3, random_state=0).set_callbacks(stop).fit(X)
    assert len(stop.seen) == 2


def test_a_stop_in_a_later_restart_ends_them_even_if_an_earlier_one_is_kept(X, monkeypatch):
    stopped = run_of([0, 0, 1, 1], 0.95, stopped=True)
    given = iter([run_of([0, 1, 1, 0], 0.8), stopped, run_of([0, 1, 0, 1], 0.9)])
    monkeypatch.setattr(DACClustering, "_run", lambda *args: next(given))
    dac = DACClustering(n_clusters=2, n_init=3).fit(X[:4])
    assert_array_equal(dac.labels_, [0, 1, 1, 0])
    assert dac.fit_report_["restart_agreement"] is None  # what was stopped midway is no second opinion
    assert next(given).history == [{"agreement": 0.9}]  # was not run


@pytest.mark.parametrize("n_epochs", [2, 3])
def test_label_change_is_that_of_the_last_epoch_that_looked_for_it(n_epochs, X):
    dcss = DCSSClustering(4, second_phase=False, pretrain_epochs=1, first_phase_epochs=n_epochs, random_state=0).fit(X)
    changes = [epoch.get("label_change") for epoch in dcss.history_]
    assert [change is None for change in changes] == [True, True, False, True][: 1 + n_epochs]
    assert dcss.fit_report_["label_change"] == changes[2]


def test_one_cluster_with_nearly_all_is_a_collapse():
    run = run_of(np.arange(3).repeat([97, 2, 1]), n_clusters=3)
    with pytest.warns(CollapseWarning, match="3 of 3 clusters are used and the largest holds 97%"):
        assert fit_report(run, [], VECTORS)["n_clusters_used"] == 3


@pytest.mark.parametrize(("agreement", "warns"), [(0.5, True), (0.6, False), (None, False)])
def test_labels_that_seldom_survive_a_transform_are_reported(agreement, warns):
    """Of three equal clusters chance keeps a third of the samples, so one third of the way to certainty is 5/9."""
    run = run_of(np.arange(3).repeat(10), n_clusters=3, augmentation_agreement=agreement)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit_report(run, [], VECTORS)
    assert [warning.category for warning in caught] == [InstabilityWarning] * warns


def test_a_fit_too_short_to_mean_anything_warns():
    X = load_digits().images[:600]
    with pytest.warns(InstabilityWarning, match="keep their cluster under a random transform"):
        DACClustering(n_clusters=10, warmup_epochs=0, max_epochs=1, random_state=0).fit(X)


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_a_collapse_is_reported_at_the_line_that_fits():
    with pytest.warns(CollapseWarning) as caught:
        DACClustering(n_clusters=3, max_epochs=1, random_state=0).fit(np.ones((20, 3)))
    assert [warning.filename for warning in caught if warning.category is CollapseWarning] == [__file__]


@each
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_precision(Estimator, precision, X, y):
    estimator = Estimator(n_clusters=4, precision=precision, random_state=0).fit(X)
    assert estimator.fit_report_["precision"] == precision
    assert clustering_accuracy_score(y, estimator.labels_) >= 0.8
    assert estimator.transform(X).dtype == np.float32


@each
def test_one_cluster(Estimator, X):
    assert_array_equal(Estimator(n_clusters=1, max_epochs=2, random_state=0).fit_predict(X[:20]), np.zeros(20))


@each
@pytest.mark.filterwarnings("ignore:Number of distinct clusters")  # of k-means, which is right
@pytest.mark.parametrize("images", [np.zeros((12, 8, 8)), np.tile(np.eye(8), (12, 1, 1))], ids=["constant", "equal"])
def test_samples_without_any_difference(Estimator, images):
    with pytest.warns(CollapseWarning, match="of 3 clusters are used"):
        estimator = Estimator(n_clusters=3, max_epochs=3, random_state=0).fit(images)
    assert np.isfinite(estimator.predict_proba(images)).all()
    assert len(np.unique(estimator.labels_)) == 1


@short
@each
@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_fewer_different_samples_than_clusters(Estimator):
    images = load_digits().images[:3].repeat(8, axis=0)
    with pytest.warns(CollapseWarning, match="of 6 clusters are used"):
        estimator = Estimator(n_clusters=6, random_state=0).fit(images)
    assert np.isfinite(estimator.predict_proba(images)).all()
    assert_array_equal(estimator.labels_, estimator.labels_[::8].repeat(8))  # equal samples share a cluster


@short
@each
@pytest.mark.filterwarnings("ignore::deepcluster_sk.exceptions.CollapseWarning")
@pytest.mark.parametrize("n_clusters", [19, 20])
def test_as_many_clusters_as_samples(Estimator, n_clusters):
    images = load_digits().images[:20]
    proba = Estimator(n_clusters=n_clusters, max_epochs=2, random_state=0).fit(images).predict_proba(images)
    assert proba.shape == (20, n_clusters)
    assert np.isfinite(proba).all()


@each
@pytest.mark.filterwarnings("ignore:Training diverged")
@pytest.mark.parametrize("parameters", [{}, {"n_init": 2}])
def test_a_learning_rate_that_makes_no_sense_ends_in_an_error_that_names_it(Estimator, parameters, X):
    with pytest.raises(ValueError, match=r"Training diverged: the loss is (nan|inf|\d).*smaller learning rate \(lr\)"):
        Estimator(n_clusters=4, lr=1e30, max_epochs=2, random_state=0, **parameters).fit(X[:100])


class Scaled(nn.Module):
    """A user's own layer, with outputs of any size."""

    def __init__(self, factor):
        super().__init__()
        self.layer, self.factor = nn.Linear(64, 4), factor

    def forward(self, batch):
        return self.layer(batch.flatten(1)) * self.factor


@short
@each
@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("factor", [1e19, 1e30, np.nan])
def test_outputs_of_ones_own_module_that_overflow_are_refused(Estimator, factor, X):
    own = {"encoder" if Estimator is DCSSClustering else "network": Scaled(factor)}
    with pytest.raises(ValueError, match=r"outputs overflow|must give finite numbers|Training diverged"):
        Estimator(n_clusters=4, max_epochs=1, random_state=0, **own).fit(X[:100])


@short
@each
def test_two_samples(Estimator):
    estimator = Estimator(n_clusters=2, random_state=0).fit(load_digits().images[:2])
    assert np.isfinite(estimator.predict_proba(load_digits().images[:2])).all()


@each
def test_prediction_before_fit_raises(Estimator, X):
    for method in ("predict", "predict_proba", "transform"):
        with pytest.raises(NotFittedError):
            getattr(Estimator(), method)(X)


@short
@pytest.mark.parametrize(("similar", "dissimilar"), [(0.5, 0.2), (0.8, 0.65)])
def test_thresholds_outside_the_theorems_warn(X, similar, dissimilar):
    estimator = DCSSClustering(
        n_clusters=4, max_epochs=1, similar_threshold=similar, dissimilar_threshold=dissimilar, random_state=0
    )
    with pytest.warns(ConvergenceWarning, match="Theorem 2") as record:
        estimator.fit(X)
    assert record[0].filename == __file__


@pytest.mark.parametrize("X", [load_digits(n_class=3).images[:60], load_wine().data[:60]])
def test_a_transform_may_compute_in_another_dtype(X):
    for Estimator in (DACClustering, DCSSClustering):
        estimator = Estimator(3, augment=lambda batch: batch.double() * 1.01, max_epochs=1, random_state=0)
        assert len(estimator.fit(X).labels_) == 60


@pytest.mark.filterwarnings("ignore::deepcluster_sk.exceptions.CollapseWarning")
@pytest.mark.parametrize("Estimator", [DACClustering, DCCMClustering, DCSSClustering])
def test_the_callers_default_device_has_no_part_in_it(Estimator):
    X = load_digits(n_class=3).images[:60]
    expected = Estimator(3, max_epochs=1, random_state=0, device="cpu").fit(X)
    with torch.device("meta"):
        estimator = Estimator(3, max_epochs=1, random_state=0, device="cpu").fit(X)
        assert_array_equal(estimator.predict(X), expected.labels_)
        assert torch.empty(1).is_meta


def test_warnings_of_files_can_be_copied_and_sent():
    warning = UnreadableImageWarning("One file.", {"a.png": "is empty"})
    for twin in (copy.copy(warning), pickle.loads(pickle.dumps(warning))):
        assert (str(twin), twin.unreadable) == ("One file.", {"a.png": "is empty"})
