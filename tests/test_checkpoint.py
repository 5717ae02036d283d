"""Checkpoints: a fit that was killed ends as if it had not been, and nothing but its own files is taken up."""

import copy
import functools
import hashlib
import json
import shutil
import signal
import threading
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from torch import nn

from deepcluster_sk import CheckpointWarning, DACClustering, DCCMClustering, DCSSClustering, _checkpoint
from deepcluster_sk._checkpoint import Journal, claimed, parse_interval, read, write
from deepcluster_sk._data import ArraySamples
from deepcluster_sk._fingerprint import fingerprint
from deepcluster_sk._monitor import Monitor
from deepcluster_sk._scaling import Scaling
from deepcluster_sk._signals import StopRequest, noting_signals
from deepcluster_sk.metrics import silhouette_scorer

METHODS = [DACClustering, DCCMClustering, DCSSClustering]
each = pytest.mark.parametrize("Estimator", METHODS)


@pytest.fixture(autouse=True)
def _usual_signals():
    """As in a terminal; a process in the background may ignore Ctrl-C."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def X():
    return load_digits().images[:90]


def make(Estimator, folder=None, **params):
    params = {"n_clusters": 4, "max_epochs": 2, "batch_size": 20, "random_state": 0} | params
    if Estimator is not DCSSClustering:
        params = {"block_size": 30, **params}
    return Estimator(checkpoint_dir=folder, checkpoint_every=0, **params)


def kill_after(monkeypatch, n_saves, action=None):
    """End training behind the checkpoint with this number, or do something else there; gives all positions saved."""
    saved, save = [], Journal.save

    def save_and_end(self, state):
        save(self, state)
        saved.append((state["history"][-1]["phase"], state["history"][-1]["epoch"], state["n_done"]))
        if len(saved) == n_saves:
            if action is None:
                raise KilledError
            action()

    monkeypatch.setattr(Journal, "save", save_and_end)
    return saved


def weights(estimator):
    return {name: value for name, value in estimator.module_.state_dict().items() if isinstance(value, torch.Tensor)}


def assert_same(one, other):
    assert_array_equal(one.labels_, other.labels_)
    assert one.converged_ == other.converged_
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    drop = {"seconds"}
    records = [
        [{k: v for k, v in record.items() if k not in drop} for record in each.history_] for each in (one, other)
    ]
    assert records[0] == records[1]


@pytest.fixture(scope="module")
def undisturbed(X):
    return {Estimator: make(Estimator).fit(X) for Estimator in METHODS}


@each
def test_checkpoints_change_nothing(Estimator, X, tmp_path, undisturbed):
    assert_same(make(Estimator, tmp_path).fit(X), undisturbed[Estimator])


@each
@pytest.mark.parametrize("share", [0.05, 0.3, 0.55, 0.8, 1.0])
def test_a_killed_fit_ends_as_if_it_had_not_been(Estimator, share, X, tmp_path, undisturbed, monkeypatch):
    with monkeypatch.context() as patch:
        every = kill_after(patch, 0)
        make(Estimator, tmp_path / "whole").fit(X)
    n_saves = max(1, round(share * len(every)))
    with monkeypatch.context() as patch:
        kill_after(patch, n_saves)
        with pytest.raises(KilledError):
            make(Estimator, tmp_path / "killed").fit(X)
    after = kill_after(monkeypatch, 0)
    assert_same(make(Estimator, tmp_path / "killed").fit(X), undisturbed[Estimator])
    assert after == every[n_saves:]  # nothing was trained twice


@pytest.mark.parametrize("Estimator", [DACClustering, DCCMClustering])
def test_a_falling_learning_rate_goes_on_where_it_was(Estimator, X, tmp_path, undisturbed, monkeypatch):
    whole = undisturbed[Estimator]
    with monkeypatch.context() as patch:
        every = kill_after(patch, 0)
        make(Estimator, tmp_path / "whole").fit(X)
    first_of_phase = [phase for phase, *_ in every].index(whole.history_[-1]["phase"]) + 1
    assert first_of_phase + 2 < len(every)  # the rate still has far to fall
    with monkeypatch.context() as patch:
        kill_after(patch, first_of_phase)
        with pytest.raises(KilledError):
            make(Estimator, tmp_path / "killed").fit(X)
    assert_same(make(Estimator, tmp_path / "killed").fit(X), whole)


def test_killed_again_and_again(X, tmp_path, undisturbed, monkeypatch):
    for _ in range(20):
        with monkeypatch.context() as patch:
            kill_after(patch, 2)
            try:
                fitted = make(DCCMClustering, tmp_path).fit(X)
                break
            except KilledError:
                pass
    assert_same(fitted, undisturbed[DCCMClustering])


@each
def test_a_finished_fit_is_loaded(Estimator, X, tmp_path, undisturbed, monkeypatch):
    make(Estimator, tmp_path).fit(X)

    def train(*args):
        raise AssertionError("trained again")

    monkeypatch.setattr(Estimator, "_train", train)
    again = make(Estimator, tmp_path).fit(X)
    assert_same(again, undisturbed[Estimator])
    assert_array_equal(again.predict(X), again.labels_)
    assert again.fit_report_ == undisturbed[Estimator].fit_report_


def test_it_is_said_where_a_fit_goes_on(X, tmp_path, monkeypatch, capsys):
    saved = kill_after(monkeypatch, 5)
    with pytest.raises(KilledError):
        make(DACClustering, tmp_path, verbose=1).fit(X)
    assert "going on" not in capsys.readouterr().out
    monkeypatch.undo()
    phase, epoch, _ = saved[-1]
    folder = next(tmp_path.iterdir()) / "restart-0"
    make(DACClustering, tmp_path, verbose=1).fit(X)
    assert capsys.readouterr().out.startswith(f"going on in {phase} epoch {epoch + 1}, from {folder}\n")
    make(DACClustering, tmp_path, verbose=1).fit(X)
    assert capsys.readouterr().out == f"already finished in {folder}\n"
    make(DACClustering, tmp_path).fit(X)
    assert capsys.readouterr().out == ""


def test_a_finished_first_phase_alone_predicts_by_memberships(X, tmp_path):
    first = make(DCSSClustering, tmp_path, second_phase=False).fit(X)
    again = make(DCSSClustering, tmp_path, second_phase=False).fit(X)
    assert_array_equal(again.predict_proba(X), first.predict_proba(X))
    assert not again.module_.uses_mnet


def test_finished_restarts_are_not_trained_again(X, tmp_path, monkeypatch):
    whole = make(DACClustering, n_init=3).fit(X)
    with monkeypatch.context() as patch:
        every = kill_after(patch, 0)
        make(DACClustering, tmp_path / "whole", n_init=3).fit(X)
    n_saves = len(every) // 2
    with monkeypatch.context() as patch:
        kill_after(patch, n_saves)
        with pytest.raises(KilledError):
            make(DACClustering, tmp_path / "killed", n_init=3).fit(X)
    after = kill_after(monkeypatch, 0)
    resumed = make(DACClustering, tmp_path / "killed", n_init=3).fit(X)
    assert_same(resumed, whole)
    assert_array_equal(resumed.fit_report_["restart_agreement"], whole.fit_report_["restart_agreement"])
    assert after == every[n_saves:]


@pytest.mark.parametrize(
    "changes", [{"n_clusters": 3}, {"lr": 1e-3}, {"random_state": 1}, {"augment": None}, {"network": nn.Flatten()}]
)
def test_another_fit_has_a_folder_of_its_own(changes, X, tmp_path):
    make(DACClustering, tmp_path).fit(X)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    make(DACClustering, tmp_path, **changes).fit(X)
    assert len(list(tmp_path.iterdir())) == 2
    assert {path: path.read_bytes() for path in before} == before


def add(batch, generator):
    return batch + 0.01


class Noise(nn.Module):
    def __init__(self, amount):
        super().__init__()
        self.amount, self.mean = amount, torch.zeros(2)


def fingerprint_of(X, offset=0.0, scale=1.0, **params):
    return fingerprint(DACClustering(**params), ArraySamples(X, Scaling(offset, scale)), torch.device("cpu"))


def test_objects_are_told_apart_by_what_they_do(X):
    mark = functools.partial(fingerprint_of, X)

    torch.manual_seed(0)
    module = nn.Conv2d(1, 4, 3)
    assert mark(network=module) == mark(network=copy.deepcopy(module))
    assert mark(network=module) != mark(network=nn.Conv2d(1, 4, 3))  # other weights
    amounts = (0.1, 0.1, 0.2)
    one, same, other = (mark(augment=lambda batch, _, amount=amount: batch + amount) for amount in amounts)
    assert one == same != other
    one, same, other = (mark(augment=Noise(amount)) for amount in amounts)
    assert one == same != other
    one, same, other = (mark(network=Noise(amount)) for amount in amounts)
    assert one == same != other
    assert one != mark(augment=lambda batch, _: batch - 0.1)
    one, same, other = (mark(augment=functools.partial(torch.add, other=amount)) for amount in amounts)
    assert one == same != other
    assert mark(augment=add) != one
    assert mark(random_state=np.random.RandomState(0)) == mark(random_state=np.random.RandomState(0))
    assert mark(random_state=np.random.RandomState(0)) != mark(random_state=np.random.RandomState(1))


def test_files_and_the_array_of_their_pixels_are_two_fits(X, tmp_path):
    """Files are of 0 to 255, whatever they hold."""
    dark = (100 + 2 * X).astype(np.uint8)
    dark = dark[..., None].repeat(3, axis=3)
    paths = [tmp_path / f"{i:02}.png" for i in range(len(dark))]
    for path, pixels in zip(paths, dark, strict=True):
        Image.fromarray(pixels).save(path)
    make(DACClustering, tmp_path / "fits", n_clusters=2).fit(paths)
    again = make(DACClustering, tmp_path / "fits", n_clusters=2).fit(dark)
    assert_array_equal(again.predict_proba(dark), make(DACClustering, n_clusters=2).fit(dark).predict_proba(dark))


def own_module(amount, name="Own", base=nn.Module):
    """A class as another process, or a changed program, would define it."""

    class Own(base):
        size = 3 if amount > 1 else 2

        def __init__(self):
            super().__init__()

        def forward(self, batch):
            return self.shifted(batch) * type(self).size

        if amount == 0:

            @staticmethod
            def shifted(batch):
                return batch

        else:

            @staticmethod
            def shifted(batch):
                return batch + 0.5

    Own.__qualname__ = name
    return Own()


def test_classes_are_told_apart_by_what_their_methods_do(X):
    def mark(module):
        return fingerprint_of(X, network=module)

    assert mark(own_module(1)) == mark(own_module(1))
    others = [own_module(0), own_module(2), own_module(1, name="Other"), own_module(1, base=nn.Identity)]
    assert all(mark(own_module(1)) != mark(other) for other in others)


def test_an_object_without_a_name_is_refused(X, tmp_path):
    class Local:
        def __init__(self):
            self.lock = threading.Lock()

        def __call__(self, batch):
            return batch

    with pytest.raises(ValueError, match=r"augment=.* cannot be told from others in another process"):
        make(DACClustering, tmp_path, augment=Local()).fit(X)
    assert not list(tmp_path.iterdir())


def test_other_data_have_a_folder_of_their_own(X, tmp_path):
    make(DACClustering, tmp_path).fit(X)
    other = X.copy()
    other[-1, -1, -1] += 1
    make(DACClustering, tmp_path).fit(other)
    assert len(list(tmp_path.iterdir())) == 2


def test_what_does_not_change_the_result_does_not_change_the_folder(X, tmp_path, capsys):
    make(DACClustering, tmp_path).fit(X)
    make(DACClustering, tmp_path).set_params(checkpoint_every="1 epoch", verbose=1, on_interrupt="keep").fit(X)
    assert len(list(tmp_path.iterdir())) == 1
    assert "epoch" not in capsys.readouterr().out  # none was trained


def test_a_drawn_seed_is_kept(X, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        kill_after(patch, 3)
        with pytest.raises(KilledError):
            make(DACClustering, tmp_path, random_state=None).fit(X)
    first = make(DACClustering, tmp_path, random_state=None).fit(X)
    assert_same(make(DACClustering, tmp_path, random_state=None).fit(X), first)


def test_a_folder_with_another_fingerprint_is_refused(X, tmp_path):
    make(DACClustering, tmp_path).fit(X)
    (path,) = tmp_path.glob("*/fingerprint.json")
    mark = json.loads(path.read_text())
    path.write_text(json.dumps(mark | {"parameter n_clusters": 7}))
    with pytest.raises(ValueError, match="parameter n_clusters is 7 there and 4 here"):
        make(DACClustering, tmp_path).fit(X)
    path.write_text("{")
    with pytest.raises(ValueError, match=r"fingerprint\.json cannot be read"):
        make(DACClustering, tmp_path).fit(X)


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_numbers_of_numpy_are_numbers(X, tmp_path, monkeypatch):
    params = {"lr": np.float64(1e-3), "curriculum_rate": np.float64(0.02)}
    with monkeypatch.context() as patch:
        kill_after(patch, 20)
        with pytest.raises(KilledError):
            make(DACClustering, tmp_path, **params).fit(X)
    first = make(DACClustering, tmp_path, **params).fit(X)
    assert_same(make(DACClustering, tmp_path, **params).fit(X), first)


@pytest.mark.parametrize("tol", [0.0, 0.95])
def test_first_phase_alone_remembers_that_it_converged(tol, X, tmp_path, monkeypatch):
    """The centres, and with them the labels, are looked at every other epoch only."""
    params = {"second_phase": False, "max_epochs": 5, "tol": tol}
    whole = make(DCSSClustering, **params).fit(X)
    with monkeypatch.context() as patch:
        every = kill_after(patch, 0)
        make(DCSSClustering, tmp_path / "whole", **params).fit(X)
    with monkeypatch.context() as patch:
        kill_after(patch, len(every) - 1)
        with pytest.raises(KilledError):
            make(DCSSClustering, tmp_path / "killed", **params).fit(X)
    assert_same(make(DCSSClustering, tmp_path / "killed", **params).fit(X), whole)


def test_a_diverged_epoch_begins_at_its_start_after_a_kill_too(tmp_path):
    def train(folder, kill_at=None):
        layer = nn.Linear(1, 1, bias=False)
        layer.weight.data.fill_(1.0)
        optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
        journal = Journal(folder, (0.0, None))
        monitor = Monitor(lambda: None, lambda context: False, generator=torch.Generator(), journal=journal)
        n_batches = 0
        for epoch in monitor.epochs("warm-up", 3):
            for _ in monitor.batches(lambda: [0, 1, 2], layer=layer, optimizer=optimizer):
                if n_batches == kill_at:
                    raise KilledError
                layer.weight.data += optimizer.param_groups[0]["lr"]
                n_batches += 1
            monitor.record(loss=float("nan") if epoch == 1 and optimizer.param_groups[0]["lr"] == 1 else 0.0)
        return layer.weight.item()

    with pytest.warns(ConvergenceWarning, match="diverged"):
        whole = train(tmp_path / "whole")
    assert whole == pytest.approx(4.6)
    with pytest.raises(KilledError):
        train(tmp_path / "killed", kill_at=5)  # in the epoch that is to diverge
    with pytest.warns(ConvergenceWarning, match="diverged"), pytest.raises(KilledError):
        train(tmp_path / "killed", kill_at=3)  # while it is trained again
    assert train(tmp_path / "killed") == whole


@pytest.mark.parametrize("names", [["state.ckpt"], ["state.ckpt", "state.ckpt.previous"]])
def test_a_damaged_checkpoint_is_not_taken_up(names, X, tmp_path, undisturbed, monkeypatch):
    """The one before is, or none."""
    with monkeypatch.context() as patch:
        every = kill_after(patch, 8)
        with pytest.raises(KilledError):
            make(DACClustering, tmp_path).fit(X)
    for name in names:
        (path,) = tmp_path.glob(f"*/restart-0/{name}")
        damage(path)
    after = kill_after(monkeypatch, 0)
    with pytest.warns(CheckpointWarning, match=r"state\.ckpt.* is damaged"):
        resumed = make(DACClustering, tmp_path).fit(X)
    assert_same(resumed, undisturbed[DACClustering])
    assert after[0] == (every[-1] if len(names) == 1 else every[0])


def test_files_hold_no_code(tmp_path):
    write(tmp_path / "state.ckpt", {"code": nn.Linear(1, 1)})
    with pytest.warns(CheckpointWarning, match="is damaged"):
        assert read(tmp_path / "state.ckpt") is None


@pytest.mark.filterwarnings("ignore:Detected pickle protocol 5")
@pytest.mark.parametrize("payload", [b"", b"PK", b"\x80\x05.", b"\x80\x02cos\nsystem\n.", bytes(100)], ids=repr)
def test_content_that_is_none_is_damage_whatever_its_checksum(payload, tmp_path):
    (tmp_path / "a.ckpt").write_bytes(hashlib.sha256(payload).digest() + payload)
    with pytest.warns(CheckpointWarning, match=r"a\.ckpt is damaged"):
        assert read(tmp_path / "a.ckpt") is None


def test_a_failed_write_leaves_the_file_before(tmp_path, monkeypatch):
    write(tmp_path / "a.ckpt", 1)

    def fail(descriptor):
        raise OSError("No space left on device")

    monkeypatch.setattr(_checkpoint.os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write(tmp_path / "a.ckpt", 2)
    assert read(tmp_path / "a.ckpt") == 1


@each
def test_training_goes_on_without_room(Estimator, X, tmp_path, undisturbed, monkeypatch):
    write, calls = _checkpoint.write, []

    def fail_later(path, content):
        calls.append(path)
        if len(calls) > 5:
            raise OSError("No space left on device")
        write(path, content)

    monkeypatch.setattr(_checkpoint, "write", fail_later)
    with pytest.warns(CheckpointWarning, match="No space left on device") as caught:
        fitted = make(Estimator, tmp_path).fit(X)
    assert len([each for each in caught if issubclass(each.category, CheckpointWarning)]) == 1
    assert_same(fitted, undisturbed[Estimator])


@contextmanager
def file_size_limit(n_bytes):
    """As on a disk that is full: a file that would grow beyond raises OSError."""
    resource = pytest.importorskip("resource")  # not on Windows
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def last_state(folder):
    (path,) = folder.glob("*/restart-0/state.ckpt")
    return read(path)


@each
def test_on_a_full_disk_the_checkpoint_before_stays(Estimator, X, tmp_path, undisturbed, monkeypatch):
    with ExitStack() as stack:
        saved = kill_after(monkeypatch, 3, action=lambda: stack.enter_context(file_size_limit(10_000)))
        with pytest.warns(CheckpointWarning, match="could not be written .*File too large"):
            fitted = make(Estimator, tmp_path).fit(X)
    assert_same(fitted, undisturbed[Estimator])
    state = last_state(tmp_path)
    assert (state["history"][-1]["phase"], state["history"][-1]["epoch"], state["n_done"]) == saved[2]
    monkeypatch.undo()
    assert_same(make(Estimator, tmp_path).fit(X), undisturbed[Estimator])


@each
@pytest.mark.parametrize("then", ["nothing", "a file"])
def test_training_goes_on_when_the_folder_vanishes(Estimator, then, X, tmp_path, undisturbed, monkeypatch):
    folder = tmp_path / "checkpoints"

    def vanish():
        shutil.rmtree(folder)
        if then == "a file":
            folder.write_text("in the way")

    kill_after(monkeypatch, 3, action=vanish)
    with pytest.warns(CheckpointWarning, match="could not be written"):
        fitted = make(Estimator, folder).fit(X)
    assert_same(fitted, undisturbed[Estimator])


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)], ids=["INT", "TERM"]
)
def test_a_signal_is_obeyed_behind_a_checkpoint(number, error, X, tmp_path, undisturbed, monkeypatch):
    with monkeypatch.context() as patch:
        every = kill_after(patch, 4, lambda: signal.raise_signal(number))
        with pytest.raises(error):
            make(DCSSClustering, tmp_path).fit(X)
    assert len(every) in (4, 5)
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
    after = kill_after(monkeypatch, 0)
    assert_same(make(DCSSClustering, tmp_path).fit(X), undisturbed[DCSSClustering])
    assert not set(after) & set(every)


def test_a_signal_behind_the_last_batch_is_obeyed():
    with pytest.raises(KeyboardInterrupt), noting_signals(StopRequest()):
        signal.raise_signal(signal.SIGINT)


def test_what_was_learnt_is_kept_where_that_is_asked_for(X, tmp_path, undisturbed, monkeypatch):
    with monkeypatch.context() as patch:
        kill_after(patch, 4, lambda: signal.raise_signal(signal.SIGINT))
        with pytest.warns(ConvergenceWarning, match="stopped in the warm-up"):
            partly = make(DACClustering, tmp_path, on_interrupt="keep").fit(X)
    assert partly.n_iter_ < undisturbed[DACClustering].n_iter_
    assert_array_equal(partly.predict(X), partly.labels_)
    assert_same(make(DACClustering, tmp_path, on_interrupt="keep").fit(X), undisturbed[DACClustering])


def test_signals_are_left_alone_in_other_threads_and_where_the_caller_handles_them():
    seen = []
    usual = signal.signal(signal.SIGTERM, lambda *args: seen.append("caller's"))
    try:
        request = StopRequest()
        with noting_signals(request):
            signal.raise_signal(signal.SIGTERM)
        assert seen == ["caller's"]
        assert request.signal is None
    finally:
        signal.signal(signal.SIGTERM, usual)

    def in_thread():
        with noting_signals(StopRequest()):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()
    assert seen[-1] == signal.default_int_handler


def test_the_second_signal_acts_at_once():
    request = StopRequest(keep=True)
    with noting_signals(request):
        signal.raise_signal(signal.SIGINT)
        assert request.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_killed_search_goes_on(X, tmp_path, monkeypatch):
    def search(folder):
        grid = {"lr": [1e-4, 1e-3], "n_clusters": [3, 4]}
        return GridSearchCV(make(DACClustering, folder), grid, scoring=silhouette_scorer, cv=2)

    expected = search(None).fit(X)
    n_fits, finish = [], Journal.finish

    def finish_and_end(self, result):
        finish(self, result)
        n_fits.append(self.folder)
        if len(n_fits) == 4:
            raise KilledError

    monkeypatch.setattr(Journal, "finish", finish_and_end)
    with pytest.raises(KilledError):
        search(tmp_path).set_params(error_score="raise").fit(X)
    resumed = search(tmp_path).fit(X)
    assert_array_equal(resumed.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"])
    assert len(n_fits) == len(set(n_fits)) == 9  # each candidate on each fold, and the refit, once


@pytest.mark.parametrize(
    ("value", "expected"),
    [(60, (60.0, None)), (0.5, (0.5, None)), ("1 epoch", (np.inf, 1)), ("12 epochs", (np.inf, 12))],
)
def test_intervals(value, expected):
    assert parse_interval(value) == expected


@pytest.mark.parametrize(
    ("value", "error"), [(-1, ValueError), ("often", ValueError), ("0 epochs", ValueError), (None, TypeError)]
)
def test_bad_intervals_raise(value, error, X):
    with pytest.raises(error, match=r"checkpoint_every=.* must be a number of seconds >= 0, or a string such as"):
        DACClustering(checkpoint_every=value).fit(X)


def test_checkpoints_by_epochs(X, tmp_path, monkeypatch):
    saved = kill_after(monkeypatch, 0)
    make(DACClustering, tmp_path, max_epochs=4).set_params(checkpoint_every="2 epochs").fit(X)
    assert [(epoch, n_done) for phase, epoch, n_done in saved if phase == "DAC"] == [(1, 3), (3, 3)]


def test_a_folder_that_cannot_be_made_is_refused(X, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"checkpoint_dir=.*file.* must be a folder to write to"):
        make(DACClustering, tmp_path / "file").fit(X)
    with pytest.raises(TypeError, match=r"checkpoint_dir=5 must be None or the path of a folder"):
        make(DACClustering, 5).fit(X)


def test_of_many_that_begin_together_each_waits_for_its_turn(tmp_path):
    """The first one writes the fingerprint; none finds it half written, or takes the folder while another has it."""
    n, inside, most = 16, [], []
    barrier = threading.Barrier(n)

    def claim(i):
        barrier.wait()
        with claimed("checkpoint_dir", tmp_path, {"method": "DAC"}):
            inside.append(i)
            most.append(len(inside))
            inside.remove(i)

    threads = [threading.Thread(target=claim, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * n


def test_a_folder_in_the_place_of_a_checkpoint_is_put_aside(tmp_path):
    (tmp_path / "latest.ckpt").mkdir()
    with pytest.warns(CheckpointWarning, match="damaged"):
        assert read(tmp_path / "latest.ckpt") is None
    assert (tmp_path / "latest.ckpt.damaged").is_dir()
