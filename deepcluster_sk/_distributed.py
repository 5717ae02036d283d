"""The processes of one fit: those that ``torchrun`` started, or that share a process group of the caller's.

All ranks draw the same random numbers and take the same decisions, those of rank 0 where they could differ. Of each
batch a rank reads, transforms and encodes its part only. What a loss needs is gathered with gradients, so that pairs,
graphs and memberships are those of the whole batch, and every rank computes the loss that one process would.
"""

import atexit
import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache, partial, wraps
from itertools import pairwise
from multiprocessing import current_process
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.parallel import DistributedDataParallel

# A process that is forked from one of a process group, as workers may be, is none of them.
_IMPORTED_IN = os.getpid()
# Ranks wait so long for what another has to do first: for the lock of another fit's checkpoints, say. One that dies is
# noticed at once.
_PATIENCE = timedelta(days=7)

T = TypeVar("T")
Step = Callable[[T], Tensor]


@dataclass(frozen=True)
class Ranks:
    """Place of this process among those of a fit; one that is alone gets back what it gives.

    Attributes
    ----------
    rank : int
        Number of this process, from 0.
    size : int
        Number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def n_here(self) -> int:
        """How many of them share this machine's memory."""
        return min(self.size, int(os.environ.get("LOCAL_WORLD_SIZE", 1)))

    @property
    def is_first(self) -> bool:
        """Whether this is the one rank that writes and prints."""
        return self.rank == 0

    def part(self, rows: T) -> T:
        """Take this rank's part of a tensor or sequence, by its first axis: the parts in order are the whole."""
        if self.size == 1:
            return rows
        start, stop = (self._bounds(len(rows), rank) for rank in (self.rank, self.rank + 1))  # type: ignore[arg-type]
        return rows[start:stop]  # type: ignore[index]

    def _bounds(self, n_rows: int, rank: int) -> int:
        return rank * n_rows // self.size

    def gather(self, rows: Tensor, n_rows: int) -> Tensor:
        """All ``n_rows`` rows, of which each rank has its part; a gradient comes back to the rank that made the row."""
        if self.size == 1:
            return rows
        exact = rows.float() if rows.dtype in (torch.float16, torch.bfloat16) else rows  # gloo sums no others
        return _Gather.apply(exact, self, n_rows).to(rows.dtype)

    def sum(self, values: Tensor) -> Tensor:
        """Sum of what every rank has, with gradients."""
        return values if self.size == 1 else self.gather(values[None], self.size).sum(0)

    def total(self, values: Tensor) -> Tensor:
        """Sum of what every rank has, without gradients."""
        total = values.detach().clone(memory_format=torch.contiguous_format)
        if self.size > 1:
            dist.all_reduce(total, group=_group_for(total))
        return total

    def gather_list(self, items: list[T]) -> list[T]:
        """The lists of all ranks, joined in order."""
        if self.size == 1:
            return items
        lists: list[list[T]] = [[] for _ in range(self.size)]
        dist.all_gather_object(lists, items, group=_on_cpu())
        return [item for each in lists for item in each]

    def together(self, function: Callable[[], T]) -> T:
        """What ``function`` gives on each rank; what it raises on one of them is raised everywhere."""
        if self.size == 1:
            return function()
        raised: list[Exception] = []
        try:
            value = function()
        except Exception as error:
            raised = [error]
        for each in self.gather_list(raised):
            raise each
        return value

    def from_first(self, function: Callable[[], T]) -> T:
        """What ``function`` gives on rank 0, which alone calls it; what it raises there is raised everywhere."""
        if self.size == 1:
            return function()
        told: list[Any] = [None, None]
        if self.is_first:
            try:
                told = [function(), None]
            except Exception as error:
                told = [None, error]
        dist.broadcast_object_list(told, src=0, group=_on_cpu())
        if told[1] is not None:
            raise told[1]
        return told[0]

    def agree(self, decision: T) -> T:
        """Decision of rank 0, in place of this rank's own."""
        return self.from_first(lambda: decision)

    def largest(self, number: int) -> int:
        """Largest of the numbers that the ranks have."""
        if self.size == 1:
            return number
        told = torch.tensor(number)
        dist.all_reduce(told, dist.ReduceOp.MAX, group=_on_cpu())
        return int(told)

    def device(self, device: torch.device) -> torch.device:
        """The GPU of this rank, where the fit is to run on GPUs of no number."""
        if self.size == 1 or device.type != "cuda" or device.index is not None:
            return device
        own = torch.device("cuda", int(os.environ.get("LOCAL_RANK", self.rank % torch.cuda.device_count())))
        torch.cuda.set_device(own)
        return own

    def parallel(self, optimizer: torch.optim.Optimizer, *, some_unused: bool) -> Callable[[Step[T]], Step[T]]:
        """Make losses whose gradients with respect to the optimiser's parameters are averaged over the ranks.

        The loss of all ranks together is thus the mean of what each computes: the same on all, or a share of it times
        the number of ranks. ``some_unused`` says whether some parameters may have no part in a loss.
        """
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        if self.size == 1 or not any(parameter.requires_grad for parameter in parameters):
            return lambda step: step
        averaged = DistributedDataParallel(
            _Loss(parameters), process_group=_group_for(parameters[0]), find_unused_parameters=some_unused
        )
        return lambda step: partial(averaged, step)

    def check_same(self, values: dict[str, Any]) -> None:
        """Raise on every rank if they do not all have the same ``values``, naming the first that differs."""
        each = self.gather_list([values])
        for name in values:
            if any(other[name] != values[name] for other in each):
                said = {rank: other[name] for rank, other in enumerate(each)}
                raise ValueError(f"{name} must be the same on every rank, got {said}.")

    @contextmanager
    def as_one(self) -> Iterator[None]:
        """Within, only the first rank warns, and one that loses the others says what that means."""
        try:
            with nullcontext() if self.is_first else warnings.catch_warnings(action="ignore"):
                yield
        except RuntimeError as error:
            if self.size == 1 or not (isinstance(error, dist.DistError) or "gloo" in str(error)):
                raise
            message = (
                f"Rank {self.rank} of {self.size} ends, for another process of this fit ended or does not answer; its "
                "own message says why. With checkpoint_dir the same script goes on from the last checkpoint, also with "
                "another number of processes."
            )
            logging.getLogger("deepcluster_sk").error(message)  # at once: torchrun may end this one before it can raise
            raise RuntimeError(message) from error


ALONE = Ranks()


def join_ranks() -> Ranks:
    """Rank of this process: among those ``torchrun`` started, or of the caller's process group; else it is alone.

    Workers of joblib, which inherit the environment of a rank, and threads are alone too.
    """
    in_main = os.getpid() == _IMPORTED_IN and threading.current_thread() is threading.main_thread()
    if not (dist.is_available() and in_main):
        return ALONE
    if not dist.is_initialized():
        is_worker = current_process().name != "MainProcess"
        if is_worker or not dist.is_torchelastic_launched() or int(os.environ["WORLD_SIZE"]) == 1:
            return ALONE
        dist.init_process_group()
        atexit.register(_leave)
    return Ranks(dist.get_rank(), dist.get_world_size())


def by_all_ranks(fit: Callable[..., T]) -> Callable[..., T]:
    """Run a method as :meth:`Ranks.as_one` says."""

    @wraps(fit)
    def joined(*args: Any, **kwargs: Any) -> T:
        with join_ranks().as_one():
            return fit(*args, **kwargs)

    return joined


def is_first_rank() -> bool:
    """Whether this process writes files: all but those of a process group that are not its first."""
    return not (dist.is_available() and dist.is_initialized() and dist.get_rank() > 0)


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _on_cpu() -> Any:
    """Group that exchanges what is on the CPU, whatever the caller's own group can."""
    return _gloo_group(dist.group.WORLD)


@lru_cache(maxsize=1)
def _gloo_group(world: Any) -> Any:
    return dist.new_group(backend="gloo", timeout=_PATIENCE)


def _group_for(tensor: Tensor) -> Any:
    return _on_cpu() if tensor.device.type == "cpu" else dist.group.WORLD


def _joined(rows: Tensor, ranks: Ranks, n_rows: int) -> Tensor:
    """Rows of all ranks, which differ by one at most in how many they have."""
    most = -(-n_rows // ranks.size)
    sent = rows.new_zeros(most, *rows.shape[1:])
    sent[: len(rows)] = rows
    received = [torch.empty_like(sent) for _ in range(ranks.size)]
    dist.all_gather(received, sent, group=_group_for(sent))
    bounds = [ranks._bounds(n_rows, rank) for rank in range(ranks.size + 1)]
    return torch.cat([each[: stop - start] for each, (start, stop) in zip(received, pairwise(bounds), strict=True)])


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, ranks: Ranks, n_rows: int) -> Tensor:
        ctx.ranks = ranks
        return _joined(rows.detach().contiguous(), ranks, n_rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        """What the losses of all ranks, each of the whole batch, have to say of this rank's rows."""
        return ctx.ranks.part(ctx.ranks.total(gradient)), None, None


class _Loss(nn.Module):
    """A loss as a module, as DistributedDataParallel wants it: of these parameters, and given with each batch."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        super().__init__()
        self.trained = nn.ParameterList(parameters)

    def forward(self, step: Callable[[Any], Tensor], batch: Any) -> Tensor:
        return step(batch)
