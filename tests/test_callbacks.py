"""StageRecorder: what it keeps of a fit, which it does not change, and how it fares in clones, searches and pickles."""

import gc
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.callback import FitCallback
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from deepcluster_sk import DACClustering, DCCMClustering, DCSSClustering
from deepcluster_sk.callbacks import Stage, StageRecorder
from deepcluster_sk.metrics import confidence_scorer
from deepcluster_sk.model_selection import FullData

METHODS = (DACClustering, DCCMClustering, DCSSClustering)


@pytest.fixture(scope="module")
def X(digits):
    return digits[0][:60]


def short(method=DACClustering, **params):
    return method(3, **{"max_epochs": 2, "random_state": 0, **params})


class Quiet:
    """Callback that does nothing before an epoch's end."""

    def setup(self, estimator, context):
        pass

    teardown = on_fit_task_begin = setup


class KilledError(Exception):
    pass


class Kill(Quiet):
    """Ends a fit with an error after the epoch of this number."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_fit_task_end(self, estimator, context):
        if context.task_name == "epoch" and context.task_id == self.epoch:
            raise KilledError


def names(stages):
    return [stage.name for stage in stages]


def test_it_follows_the_protocol():
    assert isinstance(StageRecorder(np.zeros((2, 2))), FitCallback)


@pytest.mark.parametrize("method", METHODS)
def test_fit_is_the_same_with_and_without(method, X):
    plain, watched = short(method).fit(X), short(method).set_callbacks(StageRecorder(X[:20], epochs=1)).fit(X)
    assert_array_equal(watched.labels_, plain.labels_)
    assert [record["loss"] for record in watched.history_] == [record["loss"] for record in plain.history_]
    assert_array_equal(watched.predict_proba(X), plain.predict_proba(X))


@pytest.mark.parametrize("method", METHODS)
def test_last_stage_is_that_of_the_fitted_estimator(method, X):
    recorder = StageRecorder(X[:20])
    estimator = short(method).set_callbacks(recorder).fit(X)
    last = recorder.stages[-1]
    assert_array_equal(last.proba, estimator.predict_proba(X[:20]))
    assert_array_equal(last.embedding, estimator.transform(X[:20]))
    assert (last.phase, last.epoch) == (estimator.history_[-1]["phase"], estimator.history_[-1]["epoch"])
    assert last.n_iter == estimator.n_iter_


def test_every_epoch_is_kept_and_named_as_in_the_history(X):
    recorder = StageRecorder(X, epochs=1)
    dac = short().set_callbacks(recorder).fit(X)
    assert [(stage.phase, stage.epoch) for stage in recorder.stages] == [
        (record["phase"], record["epoch"]) for record in dac.history_
    ]
    assert [stage.n_iter for stage in recorder.stages] == list(range(1, dac.n_iter_ + 1))
    assert all(stage.proba.shape == (60, 3) for stage in recorder.stages)
    assert_allclose([stage.proba.sum(1) for stage in recorder.stages], 1, rtol=1e-5)


def test_phases_are_the_first_epoch_and_the_last_of_each(X):
    every, recorder = StageRecorder(X, epochs=1), StageRecorder(X)
    short(max_epochs=3).set_callbacks(every, recorder).fit(X)
    assert names(recorder.stages) == [
        "warm-up, epoch 1",
        "warm-up, epoch 3",
        "label start, epoch 3",
        "DAC, epoch 3",
    ]
    by_name = {stage.name: stage for stage in every.stages}
    for stage in recorder.stages:
        assert_array_equal(stage.proba, by_name[stage.name].proba)


def test_of_a_phase_no_more_than_one_epoch_is_held(X):
    held = []

    class Watch(Quiet):
        def on_fit_task_end(self, estimator, context):
            held.append([stage.n_iter for stages in recorder._fits.values() for stage in stages])

    recorder = StageRecorder(X)
    short(max_epochs=3).set_callbacks(recorder, Watch()).fit(X)
    assert held[:-1] == [[1], [1, 2], [1, 3], [1, 3, 4], [1, 3, 5], [1, 3, 6], [1, 3, 6, 7], [1, 3, 6, 8], [1, 3, 6, 9]]


def test_every_kth_epoch_and_the_last_are_kept(X):
    recorder = StageRecorder(X, epochs=4)
    dac = short().set_callbacks(recorder).fit(X)
    assert dac.n_iter_ == 6
    assert [stage.n_iter for stage in recorder.stages] == [1, 5, 6]


def test_stages_before_the_end_are_what_a_shorter_fit_would_have_said(X):
    recorder = StageRecorder(X, epochs=1)
    params = {"warmup_epochs": 0, "lr_schedule": "constant"}
    short(max_epochs=3, **params).set_callbacks(recorder).fit(X)
    shorter = StageRecorder(X, epochs=1)
    short(max_epochs=2, **params).set_callbacks(shorter).fit(X)
    assert_array_equal(recorder.stages[0].embedding, shorter.stages[0].embedding)


def test_columns_are_those_of_the_fitted_estimator_which_puts_clusters_in_use_first():
    class Fitted:
        history_ = ({"phase": "DAC", "epoch": 0}, {"phase": "DAC", "epoch": 1})
        _cluster_order = (2, 0, 1)  # the network's cluster 1 is not in use

        def predict_proba(self, X):
            return np.array([[0.7, 0.2, 0.1]])

        def transform(self, X):
            return np.array([[5.0]])

    before = Stage("DAC", 0, 1, proba=np.array([[0.3, 0.1, 0.6]]), embedding=np.array([[4.0]]))
    first, last = StageRecorder(np.zeros((1, 2)))._stages_of([before], Fitted())
    assert_array_equal(first.proba, [[0.6, 0.3, 0.1]])
    assert_array_equal(last.proba, [[0.7, 0.2, 0.1]])


def test_clone_shares_the_recorder_and_each_fit_is_a_run(X):
    recorder = StageRecorder(X, epochs=100)
    dac = short().set_callbacks(recorder)
    dac.fit(X)
    clone(dac).set_params(random_state=1).fit(X)
    assert len(recorder.runs) == 2
    assert recorder.stages is recorder.runs[1]
    assert not np.array_equal(recorder.runs[0][0].proba, recorder.runs[1][0].proba)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_search_records_every_fit_wherever_it_runs_and_the_best_one_last(n_jobs, X):
    recorder = StageRecorder(X, epochs=100)
    dac = short().set_callbacks(recorder)
    grid = {"max_epochs": [1, 2]}
    search = GridSearchCV(dac, grid, scoring=confidence_scorer, cv=FullData(), n_jobs=n_jobs).fit(X)
    assert sorted(run[-1].n_iter for run in recorder.runs[:2]) == [3, 6]
    assert len(recorder.runs) == 3
    assert_array_equal(recorder.stages[-1].proba, search.best_estimator_.predict_proba(X))


def test_inner_estimator_of_a_pipeline_can_be_recorded(X):
    recorder = StageRecorder(X, epochs=100)
    pipeline = make_pipeline(FunctionTransformer(), short().set_callbacks(recorder)).fit(X)
    assert_array_equal(recorder.stages[-1].proba, pipeline.predict_proba(X))


def test_callback_that_stops_the_fit_leaves_the_stages_of_what_was_run(X):
    class Stop(Quiet):
        def on_fit_task_end(self, estimator, context):
            return context.task_name == "epoch" and context.task_id == 2

    recorder = StageRecorder(X, epochs=1)
    short().set_callbacks(recorder, Stop()).fit(X)
    assert names(recorder.stages) == ["warm-up, epoch 1", "warm-up, epoch 2", "label start, epoch 1"]


def test_resumed_fit_names_epochs_as_the_history_does(X, tmp_path):
    dac = short(checkpoint_dir=str(tmp_path), checkpoint_every="1 epoch")
    recorder = StageRecorder(X, epochs=1)
    with pytest.raises(KilledError):
        dac.set_callbacks(recorder, Kill(4)).fit(X)
    assert recorder.runs == []
    dac.set_callbacks(recorder).fit(X)
    assert names(recorder.stages)[-1] == "DAC, epoch 2"
    assert [stage.n_iter for stage in recorder.stages] == list(range(7 - len(recorder.stages), 7))
    assert len(recorder.stages) < 6


def test_resumed_fit_keeps_the_epochs_that_it_would_have_kept_at_once(X, tmp_path):
    dac = short(checkpoint_dir=str(tmp_path), checkpoint_every="1 epoch")
    recorder = StageRecorder(X, epochs=4)
    with pytest.raises(KilledError):
        dac.set_callbacks(Kill(3)).fit(X)
    dac.set_callbacks(recorder).fit(X)
    assert [stage.n_iter for stage in recorder.stages] == [5, 6]


def test_failed_fit_leaves_nothing_behind(X):
    recorder = StageRecorder(np.zeros((3, 5, 5)))  # of another shape than X
    with pytest.raises(ValueError, match="5"):
        short().set_callbacks(recorder).fit(X)
    gc.collect()
    assert recorder.runs == []
    assert len(recorder._fits) == 0


def test_pickled_recorder_keeps_its_runs_and_records_on_its_own(X):
    recorder = StageRecorder(X, epochs=100)
    short().set_callbacks(recorder).fit(X)
    copied = pickle.loads(pickle.dumps(recorder))
    assert_array_equal(copied.stages[0].proba, recorder.stages[0].proba)
    short().set_callbacks(copied).fit(X)
    assert (len(recorder.runs), len(copied.runs)) == (1, 2)


def test_listener_is_closed_with_the_recorder():
    from sklearn.callback._transport import _listeners

    recorder = StageRecorder(np.zeros((2, 2)))
    address = recorder._listener.address
    assert address in _listeners
    del recorder
    gc.collect()
    assert address not in _listeners


def test_stages_before_a_fit_raise():
    with pytest.raises(ValueError, match="set_callbacks"):
        _ = StageRecorder(np.zeros((2, 2))).stages


@pytest.mark.parametrize(
    ("epochs", "error"), [("all", ValueError), (0, ValueError), (1.5, TypeError), (True, TypeError)]
)
def test_bad_epochs_raise(epochs, error):
    with pytest.raises(error, match="epochs"):
        StageRecorder(np.zeros((2, 2)), epochs)


def test_several_restarts_raise(X):
    with pytest.raises(ValueError, match="n_init=2"):
        short(n_init=2).set_callbacks(StageRecorder(X)).fit(X)


def test_other_estimators_raise(X):
    pipeline = make_pipeline(StandardScaler()).set_callbacks(StageRecorder(X))
    with pytest.raises(TypeError, match="Pipeline"):
        pipeline.fit(X.reshape(60, -1))


def test_name_of_a_stage_counts_epochs_from_one():
    assert Stage("phase 2", 0, 7, np.ones((1, 1)), np.ones((1, 1))).name == "phase 2, epoch 1"
