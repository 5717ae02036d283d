"""What a schedule reports to and draws its batches from: history, progress, early stopping, checkpoints."""

import copy
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from deepcluster_sk._checkpoint import Journal
from deepcluster_sk._data import to_device
from deepcluster_sk._distributed import ALONE, Ranks
from deepcluster_sk._signals import StopRequest
from deepcluster_sk._validation import level_of_caller

# Share of labels that still change in an epoch when training counts as converged.
_SETTLED = 1e-2
# A loss so many times that of the phase's first epoch has exploded; the learning rate is then lowered by this factor.
_EXPLODED, _LOWERED = 1e3, 0.1

T = TypeVar("T")


class RunningMean:
    """Mean of sums that arrive batch by batch and stay on their device until it is asked for."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all that was added."""
        self.total: Tensor | float = 0.0
        self.count = 0

    def add(self, total: Tensor, count: int) -> None:
        """Add a sum over ``count`` things."""
        self.total, self.count = self.total + total.detach(), self.count + count

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"total": torch.as_tensor(self.total), "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what a checkpoint kept."""
        self.total, self.count = state["total"], state["count"]

    def mean(self) -> float:
        """Mean of all that was added; 0.0 of nothing."""
        return float(self.total) / max(self.count, 1)


@dataclass
class LabelTracker:
    """Cluster of every sample as the schedule last saw it, for the sizes and the rate of change of an epoch."""

    labels: Tensor  # (n,), int64, on the device; -1 where not seen yet
    n_clusters: int
    changed: RunningMean

    @classmethod
    def empty(cls, n_samples: int, n_clusters: int, device: torch.device) -> "LabelTracker":
        """Tracker that has seen nothing."""
        return cls(torch.full((n_samples,), -1, device=device), n_clusters, RunningMean())

    def update(self, indices: Tensor, labels: Tensor) -> None:
        """Note the present labels of some samples."""
        indices = to_device(indices, labels.device)
        self.changed.add((self.labels[indices] != labels).sum(), len(labels))
        self.labels[indices] = labels

    def summary(self) -> dict[str, Any]:
        """Sizes and share of changed labels since the last call."""
        sizes = torch.bincount(self.labels[self.labels >= 0], minlength=self.n_clusters)
        change = self.changed.mean()
        self.changed.reset()
        return {"cluster_sizes": sizes.tolist(), "label_change": change}

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"labels": self.labels, "changed": self.changed.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what a checkpoint kept."""
        self.labels.copy_(state["labels"])
        self.changed.load_state_dict(state["changed"])


@dataclass
class Monitor:
    """History, progress, early stopping and checkpoints: what a schedule reports to, and draws its batches through.

    A schedule that is resumed runs again from its first line. Phases that are over have no epochs then, and the first
    batches of the phase that was under way put everything that is trained into its state at the checkpoint.

    Attributes
    ----------
    begin, end : callable
        Called before and after each epoch; ``end`` returns True if training is to stop.
    show : callable
        Called after each epoch, with its record and the most epochs of its phase.
    history : list of dict
        One record an epoch.
    stopped : bool
        Whether ``end`` asked for a stop; no epoch starts after that.
    phase_is_over : bool
        Whether the schedule ended the phase; the next phase starts all the same.
    is_settled : bool
        Whether hardly any label changed when the phase last looked.
    generator : torch.Generator or None
        Source of the order of the batches; needed with a journal.
    journal : Journal or None
        Where checkpoints go, and come from.
    stop_request : StopRequest
        Whether the process was asked to stop.
    ranks : Ranks
        The processes of the fit, which do what the first of them decides, and stop if one of them is asked to.
    """

    begin: Callable[[], Any]
    end: Callable[[Any], bool]
    show: Callable[[dict[str, Any], int], None] = lambda record, n_epochs: None
    history: list[dict[str, Any]] = field(default_factory=list)
    stopped: bool = False
    phase_is_over: bool = False
    is_settled: bool = False
    generator: torch.Generator | None = None
    journal: Journal | None = None
    stop_request: StopRequest = field(default_factory=StopRequest)
    ranks: Ranks = ALONE

    def __post_init__(self) -> None:
        self._resumed = None if self.journal is None else self.journal.last()
        self._began = 0.0
        self._parts: dict[str, Any] = {}
        self._good: dict[str, Any] = {}  # states of the parts before the epoch
        self._diverged, self._lowered = False, False
        if self._resumed is not None:
            self.history[:], self._lowered = self._resumed["history"], self._resumed["lowered"]
            self.is_settled = self._resumed["is_settled"]

    def epochs(self, phase: str, n_epochs: int) -> Iterator[int]:
        """Count epochs 0, 1, .. of a phase; the body of the loop calls :meth:`record` and never leaves the loop."""
        self.phase_is_over = False
        first = 0
        if self._resumed is None:
            self.is_settled = False
        if self._resumed is not None:
            under_way = self.history[-1]
            first = under_way["epoch"] if under_way["phase"] == phase else n_epochs
        for epoch in range(first, n_epochs):
            if self.stopped or self.phase_is_over:
                return
            context, self._began = self.begin(), time.perf_counter()
            if self._resumed is None:
                self.history.append({"phase": phase, "epoch": epoch})
            yield epoch
            if self._diverged:
                self._go_back()
                yield epoch
            self.history[-1]["seconds"] = time.perf_counter() - self._began
            self.show(self.history[-1], n_epochs)
            self.stopped = self.end(context) or self.stopped
            decided = self.stopped, self.phase_is_over, self.is_settled
            self.stopped, self.phase_is_over, self.is_settled = self.ranks.agree(decided)

    def batches(self, draw: Callable[[], Sequence[T]], **parts: Any) -> Iterator[T]:
        """Batches of the epoch under way, with a checkpoint behind one of them now and then.

        Parameters
        ----------
        draw : callable
            Draws the batches of the epoch.
        **parts
            All that the batches change: tensors, and whatever has a ``state_dict`` and loads it in place.
        """
        self._parts = parts
        if self.journal is None or self.generator is None:
            self._good = {name: _copied(_state(part)) for name, part in parts.items()}
            for batch in draw():
                yield batch
                if self._is_asked_to_stop():
                    return self._stop()
            return
        resumed, self._resumed, done = self._resumed, None, 0
        if resumed is not None:
            self.generator.set_state(resumed["drawn_from"])
        drawn_from = self.generator.get_state()
        batches = draw()
        if resumed is not None:
            _load(parts, resumed["parts"])
            _set_random_states(self.generator, resumed["random"])
            done = resumed["n_done"]
            self._began = time.perf_counter() - resumed["seconds"]
        good = {name: _copied(_state(part)) for name, part in parts.items()}
        self._good = good if resumed is None else resumed["good"]
        for n_done, batch in enumerate(batches[done:], done + 1):
            yield batch
            to_stop = self._is_asked_to_stop()
            if to_stop or self.journal.is_due(self.history[-1]["epoch"], n_done == len(batches)):
                self.journal.save(
                    {
                        "history": self.history,
                        "lowered": self._lowered,
                        "is_settled": self.is_settled,
                        "good": self._good,
                        "n_done": n_done,
                        "seconds": time.perf_counter() - self._began,
                        "drawn_from": drawn_from,
                        "random": _random_states(self.generator),
                        "parts": {name: _state(part) for name, part in parts.items()},
                    }
                )
            if to_stop:
                return self._stop()

    def _is_asked_to_stop(self) -> bool:
        """Whether a signal came to this rank or another, and is as if it had come to all."""
        signal = self.ranks.largest(self.stop_request.signal or 0)
        if signal > 0:
            self.stop_request.signal = signal
        return signal > 0

    def _stop(self) -> None:
        self.stop_request.obey()  # raises unless what was learnt so far is to be kept
        self.stopped = True

    def once(self, name: str, compute: Callable[[], Tensor]) -> Tensor:
        """What ``compute`` gives; a resumed run takes it from the journal instead.

        After a stop nothing is kept: it would come from a network that training has yet to go on with.
        """
        if self.journal is None or self.generator is None or self.stopped:
            return compute()
        kept = self.journal.value(name)
        if kept is None:
            value = compute()
            kept = {"value": value, "random": _random_states(self.generator)}
            if self._resumed is None:  # else what it is computed from is not there yet
                self.journal.keep(name, kept)
        _set_random_states(self.generator, kept["random"])
        return kept["value"]

    def end_phase(self) -> None:
        """Make the epoch under way the last of its phase."""
        self.phase_is_over = True

    def settle(self, label_change: float, tol: float) -> None:
        """Note whether hardly any label changes any more; the phase ends if it is less than a share ``tol`` of them."""
        if label_change < tol:
            self.end_phase()
        self.is_settled = label_change <= max(tol, _SETTLED)

    def record(self, **values: Any) -> None:
        """Add values to the record of the epoch under way.

        Where the loss is not finite, or far beyond that of the phase's first epoch, the epoch is trained again from
        its start at a tenth of the learning rate.

        Raises
        ------
        ValueError
            If that has happened before.
        """
        record = self.history[-1]
        record.update(self.ranks.agree(values))
        if not self._exploded(record.get("loss", 0.0)):
            return
        what = f"the loss is {record['loss']} in epoch {record['epoch'] + 1} of phase {record['phase']!r}"
        if self._lowered or not self._good:
            again = ", at a tenth of the learning rate" if self._lowered else ""
            raise ValueError(f"Training diverged: {what}{again}. A smaller learning rate (lr) may help.")
        warnings.warn(
            f"Training diverged: {what}. It goes on from before the epoch, at a tenth of the learning rate.",
            ConvergenceWarning,
            stacklevel=level_of_caller(),
        )
        self._diverged = self._lowered = True

    def _exploded(self, loss: float) -> bool:
        first = next(record.get("loss", 0.0) for record in self.history if record["phase"] == self.history[-1]["phase"])
        return not math.isfinite(loss) or abs(loss) > _EXPLODED * max(1.0, abs(first))

    def _go_back(self) -> None:
        """Put everything that is trained into its state before the epoch, and lower the learning rate."""
        _load(self._parts, self._good)
        for part in self._parts.values():
            for group in getattr(part, "param_groups", []):
                group["lr"] *= _LOWERED
        self.phase_is_over = self._diverged = False
        record = self.history[-1]
        self.history[-1] = {"phase": record["phase"], "epoch": record["epoch"]}


def _state(part: Any) -> Any:
    return part if isinstance(part, Tensor) else part.state_dict()


def _copied(state: Any) -> Any:
    """Deep copy, several times faster than Python's where a state holds many small tensors."""
    if isinstance(state, Tensor):
        return state.detach().clone()
    if not isinstance(state, dict):
        return copy.deepcopy(state)
    copied = copy.copy(state)  # of the same class, with the versions of modules that torch hangs on it
    copied.update((key, _copied(value)) for key, value in state.items())
    return copied


def _load(parts: dict[str, Any], states: dict[str, Any]) -> None:
    for name, part in parts.items():
        if isinstance(part, Tensor):
            part.copy_(states[name])
        else:
            part.load_state_dict(states[name])


def _random_states(generator: torch.Generator) -> dict[str, Any]:
    """Of the run's own generator, and of torch's, which layers such as dropout draw from."""
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return {"own": generator.get_state(), "cpu": torch.get_rng_state(), "gpus": gpus}


def _set_random_states(generator: torch.Generator, states: dict[str, Any]) -> None:
    generator.set_state(states["own"])
    torch.set_rng_state(states["cpu"])
    if states["gpus"] and len(states["gpus"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["gpus"])
