"""What a fit shows as it goes, and what it tells logging."""

import contextlib
import logging
import re
import sys

import numpy as np
import pytest
from PIL import Image

import deepcluster_sk._progress
from deepcluster_sk import DACClustering, DCCMClustering, DCSSClustering
from deepcluster_sk._progress import tracked, training

METHODS = [DACClustering, DCCMClustering, DCSSClustering]
each = pytest.mark.parametrize("Estimator", METHODS)
SHORT = {"max_epochs": 2, "random_state": 0}
RECORD = {"phase": "DAC", "epoch": 1, "loss": 0.25, "cluster_sizes": [3, 0, 5], "label_change": 0.5}


@pytest.fixture
def X(digits):
    return digits[0][digits[1] < 3][:60]


@pytest.fixture
def terminal(monkeypatch):
    """Rich takes the output for a terminal of 120 columns."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")


@pytest.fixture
def without_rich(monkeypatch):
    for name in ("rich", "rich.console", "rich.progress"):
        monkeypatch.setitem(sys.modules, name, None)


def text(captured):
    """What a terminal shows, without its control sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", captured)


@each
def test_a_bar_shows_phase_loss_clusters_and_time_left(Estimator, X, terminal, capsys):
    estimator = Estimator(3, n_init=2, verbose=1, **SHORT).fit(X)
    shown = text(capsys.readouterr().out)
    last = estimator.history_[-1]["phase"]
    assert re.search(
        rf"fit 2/2, {last} epoch 2/2, loss [-\d.e]+, \d clusters in use ━+ \d:\d\d:\d\d left 0:00:00", shown
    )
    assert "label_change" not in shown


def test_a_bar_of_files_comes_before(X, terminal, capsys, tmp_path):
    for i, image in enumerate(X):
        Image.fromarray((image * 255).astype(np.uint8)).save(tmp_path / f"{i}.png")
    dac = DACClustering(3, **SHORT).fit(tmp_path)
    assert capsys.readouterr().out == ""
    dac.set_params(verbose=1).fit(tmp_path)
    shown = text(capsys.readouterr().out)
    assert shown.index("reading images (60)") < shown.index("DAC epoch 1/2")


@each
def test_lines_where_rich_is_missing(Estimator, X, terminal, without_rich, capsys):
    estimator = Estimator(3, verbose=1, **SHORT).fit(X)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == estimator.n_iter_
    assert re.match(rf"{estimator.history_[-1]['phase']} epoch 2/2, loss .*, \d clusters in use, .*seconds", lines[-1])


@each
def test_lines_where_output_is_no_terminal(Estimator, X, capsys):
    estimator = Estimator(3, verbose=1, **SHORT).fit(X)
    assert len(capsys.readouterr().out.splitlines()) == estimator.n_iter_


@each
def test_nothing_is_printed_and_everything_logged(Estimator, X, capsys, caplog):
    with caplog.at_level(logging.INFO, logger="deepcluster_sk"):
        estimator = Estimator(3, **SHORT).fit(X)
    assert capsys.readouterr() == ("", "")
    assert [record.getMessage().split(",")[0] for record in caplog.records] == [
        f"{record['phase']} epoch {record['epoch'] + 1}/2" for record in estimator.history_
    ]


def test_logging_is_left_as_it_was(X):
    DACClustering(3, **SHORT).fit(X)
    logger = logging.getLogger("deepcluster_sk")
    assert logger.handlers == []
    assert logger.level == logging.NOTSET


def test_the_line_of_an_epoch(capsys):
    with training(1, {"warm-up": 3, "DAC": 2}, 1) as show:
        show(0, RECORD, 2)
    assert capsys.readouterr().out == "DAC epoch 2/2, loss 0.25, 2 clusters in use, label_change 0.5\n"
    with training(0, {"warm-up": 3, "DAC": 2}, 1) as show:
        show(0, RECORD, 2)
    assert capsys.readouterr().out == ""


class Bar(contextlib.nullcontext):
    """A bar that notes what it was told."""

    def add_task(self, what, total):
        self.total, self.completed = total, []
        return 0

    def update(self, task, completed, description="", refresh=False):
        self.completed.append(completed)


def test_the_bar_jumps_over_epochs_that_were_not_needed(monkeypatch):
    bar = Bar()
    monkeypatch.setattr(deepcluster_sk._progress, "_bar", lambda: bar)
    with training(1, {"warm-up": 3, "DAC": 5}, 2) as show:
        show(0, {**RECORD, "phase": "warm-up", "epoch": 0}, 3)
        show(0, {**RECORD, "epoch": 0}, 5)
        show(1, {**RECORD, "epoch": 1}, 5)
    assert bar.total == 16
    assert bar.completed == [1, 4, 13, 16]


@pytest.mark.parametrize("verbose", [0, 1])
def test_tracked_items_are_what_they_were(verbose, capsys):
    assert list(tracked(iter("abc"), 3, "letters", verbose)) == ["a", "b", "c"]
    assert capsys.readouterr().out == ("letters: 3\n" if verbose else "")
