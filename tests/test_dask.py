"""Searches and restarts on dask's workers: the scores of this process, also where a worker is killed on the way."""

import doctest
import logging
import os
import signal
import time
import warnings
from pathlib import Path

import pytest
import torch
from joblib import Parallel, delayed, parallel_config
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from deepcluster_sk import DACClustering
from deepcluster_sk.metrics import augmentation_agreement_scorer
from deepcluster_sk.model_selection import FullData

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")

ROOT = Path(__file__).parents[1]
RATES = [1e-4, 1e-3, 3e-3]


class Diary:
    """Callback that notes every epoch in a folder, and kills the process in one of them, the first time it is there."""

    def __init__(self, folder, kill=None):
        self.folder, self.kill = Path(folder), kill

    def setup(self, estimator, context):
        pass

    teardown = on_fit_task_begin = setup

    def on_fit_task_end(self, estimator, context):
        if context.task_name != "epoch":
            return
        with (self.folder / f"{os.getpid()}-{estimator.lr}").open("a") as file:
            file.write(f"{context.task_id}\n")
        if (estimator.lr, context.task_id) == self.kill and not (self.folder / "killed").exists():
            time.sleep(1)  # the other worker has nothing left to do, and may have dropped its copy of X
            (self.folder / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def epochs(self, lr):
        """Numbers of the epochs of one fit, in whatever process they were."""
        return sorted(int(line) for file in self.folder.glob(f"*-{lr}") for line in file.read_text().split())

    def processes(self):
        return {int(file.name.partition("-")[0]) for file in self.folder.glob("*-*")}


@pytest.fixture(scope="module")
def client(X, splits):
    """Two workers as the guide starts them, and a dask that looks oftener than usual for copies to drop."""
    settings = {"distributed.scheduler.active-memory-manager.interval": "50ms"}
    with pytest.MonkeyPatch.context() as patch, dask.config.set(settings):
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            patch.delenv(name, raising=False)
        cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
        with cluster, distributed.Client(cluster) as client:
            client.amm.stop()
            # What is sent again just after it was given up can be lost, so it is not given up between two tests.
            kept = client.scatter([X, *splits[0]], broadcast=True)
            yield client
            del kept


@pytest.fixture
def diary(tmp_path):
    folder = tmp_path / "diary"
    folder.mkdir()
    return Diary(folder)


@pytest.fixture(scope="module")
def X(digits):
    return digits[0][:150]


@pytest.fixture(scope="module")
def splits(X):
    return list(FullData().split(X))


def dac(**params):
    return DACClustering(4, **{"max_epochs": 3, "random_state": 0, **params})


def search_of(estimator, cv):
    return GridSearchCV(estimator, {"lr": RATES}, scoring=augmentation_agreement_scorer, cv=cv, refit=False)


@pytest.fixture(scope="module")
def local_scores(X):
    return search_of(dac(), FullData()).fit(X).cv_results_["mean_test_score"]


def scores_on(client, estimator, X, splits):
    with parallel_config("dask", client=client, scatter=[X, *splits[0]]):
        return search_of(estimator, splits).fit(X).cv_results_["mean_test_score"]


def test_tasks_have_one_thread_of_torch(client):
    workers = client.scheduler_info()["workers"]
    tasks = [client.submit(torch.get_num_threads, workers=[worker], pure=False) for worker in workers]
    assert client.gather(tasks) == [1, 1]


def test_search_gives_the_scores_of_this_process_and_sends_the_data_once(client, X, splits, local_scores, diary):
    def copies(dask_scheduler):
        return [len(task.who_has) for key, task in dask_scheduler.tasks.items() if key.startswith("ndarray")]

    assert len(set(local_scores)) > 1
    assert_array_equal(scores_on(client, dac().set_callbacks(diary), X, splits), local_scores)
    time.sleep(0.2)  # dask would have dropped a copy by now
    assert client.run_on_scheduler(copies) == [2, 2]  # X, and the indices of all samples
    assert diary.processes() == set(client.run(os.getpid).values())


@pytest.mark.parametrize("with_checkpoints", [False, True])
def test_search_survives_a_worker_that_is_killed(client, X, splits, local_scores, diary, tmp_path, with_checkpoints):
    folder = tmp_path / "checkpoints" if with_checkpoints else None
    diary.kill = RATES[-1], 4
    estimator = dac(checkpoint_dir=folder, checkpoint_every=0).set_callbacks(diary)
    assert_array_equal(scores_on(client, estimator, X, splits), local_scores)
    assert (diary.folder / "killed").exists()
    # The epoch at whose end it was killed is trained again; without checkpoints all before it, too.
    n_again = len(diary.epochs(RATES[-1])) - len(set(diary.epochs(RATES[0])))
    assert n_again in ((0, 1) if with_checkpoints else (5,))
    client.wait_for_workers(2)


def test_restarts_come_back_as_they_are_fitted_here(client, X):
    seeds = [dac(random_state=seed) for seed in range(3)]
    with parallel_config("dask", client=client, scatter=[X]):
        fits = Parallel()(delayed(estimator.fit)(X) for estimator in seeds)
    for estimator, fitted in zip(seeds, fits, strict=True):
        assert_array_equal(fitted.labels_, clone(estimator).fit(X).labels_)


def test_epochs_are_logged_where_the_search_was_started(client, X, splits, caplog):
    def log_epochs():
        logging.getLogger("deepcluster_sk").setLevel(logging.INFO)

    client.register_worker_callbacks(log_epochs)
    client.forward_logging("deepcluster_sk")
    with caplog.at_level(logging.INFO, "deepcluster_sk"):
        scores_on(client, dac(), X, splits)
        client.unforward_logging("deepcluster_sk")
    lines = [record.getMessage() for record in caplog.records if record.name == "deepcluster_sk"]
    assert sum(line.startswith("DAC epoch 3/3") for line in lines) == len(RATES)


def test_examples_of_the_guide_do_what_they_show(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    logger = logging.getLogger("deepcluster_sk")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that two epochs are few, and that another program has the dashboard's port
        result = doctest.testfile(str(ROOT / "docs/cluster.rst"), module_relative=False)
    logger.setLevel(level)
    assert result.attempted > 20
    assert result.failed == 0
