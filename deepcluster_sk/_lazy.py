"""Arrays whose rows are made when they are asked for, on worker threads, and kept where memory suffices."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import joblib
import numpy as np
import torch
from numpy.typing import NDArray

from deepcluster_sk._distributed import ALONE, Ranks
from deepcluster_sk._progress import tracked

T = TypeVar("T")

# Share of the memory that kept rows may take.
_SHARE = 1 / 4
# Bytes of memory where the system does not tell.
_MEMORY = 2**33
# Statistics of rows that are not kept are those of so many bytes of them, and of so many rows.
_SOME_BYTES, _SOME_ROWS = 2**26, 10_000
# Where Linux says how much memory a container has, by the second version of control groups and by the first.
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
MAX_THREADS = 8
# Rows that are under way together: an interrupt waits for these.
_TOGETHER = 256


class LazyArray:
    """What is indexed like an array of shape (n, ...) by a slice or by row numbers, and makes these rows then.

    Parameters
    ----------
    make_row : callable
        From a row's number to the row; it may be called from several threads at once.
    n_rows : int
    row_shape : tuple of int
    dtype : dtype
    n_threads : int
        Most that make rows at a time.
    """

    def __init__(
        self,
        make_row: Callable[[int], NDArray[Any]],
        n_rows: int,
        row_shape: tuple[int, ...],
        dtype: np.dtype[Any],
        n_threads: int = MAX_THREADS,
    ) -> None:
        self.make_row = make_row
        self.n_threads = n_threads
        self.shape = (n_rows, *row_shape)
        self.ndim = len(self.shape)
        self.dtype = dtype
        self.size = int(np.prod(self.shape, dtype=np.int64))
        self.nbytes = self.size * dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: slice | NDArray[np.intp]) -> NDArray[Any]:
        indices = np.arange(len(self))[key]
        rows = np.empty((len(indices), *self.shape[1:]), self.dtype)
        for i, row in enumerate(in_threads(self.make_row, indices.tolist(), self.n_threads)):
            rows[i] = row
        return rows

    def some(self) -> NDArray[Any]:
        """Rows at equal distances, as many as statistics are taken of."""
        n_rows = min(_SOME_ROWS, max(100, _SOME_BYTES * len(self) // self.nbytes))
        return self[:: -(-len(self) // n_rows)]


def kept_if_it_fits(array: LazyArray, what: str, verbose: int, ranks: Ranks = ALONE) -> Any:
    """All rows as an array, where that takes no more than a quarter of the memory; else what was given."""
    ranks.check_same({"The shape of X": array.shape})
    if not fits(array.nbytes, ranks):
        return array

    def made() -> NDArray[Any]:
        mine = ranks.part(range(len(array)))
        rows = np.empty((len(mine), *array.shape[1:]), array.dtype)
        for i, row in enumerate(tracked(in_threads(array.make_row, mine, array.n_threads), len(mine), what, verbose)):
            rows[i] = row
        return rows

    return ranks.gather(torch.from_numpy(ranks.together(made)), len(array)).numpy()


def fits(n_bytes: int, ranks: Ranks = ALONE) -> bool:
    """Whether so many bytes may be kept by every rank, on each of their machines."""
    return ranks.largest(int(n_bytes * ranks.n_here > _SHARE * _memory())) == 0


def in_threads(function: Callable[[Any], T], items: Sequence[Any], n_threads: int = MAX_THREADS) -> Iterator[T]:
    """What ``function`` makes of each item, in order; at most a few hundred are under way or wait."""
    n_threads = min(n_threads, joblib.cpu_count(), len(items))
    if n_threads < 2:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(n_threads) as pool:
        for start in range(0, len(items), _TOGETHER):
            yield from pool.map(function, items[start : start + _TOGETHER])


def _memory() -> int:
    """Bytes of memory of the machine, or of the container that the process is in."""
    known = []
    if hasattr(os, "sysconf"):  # not on Windows
        known.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for limit in map(Path, _LIMITS):
        text = limit.read_text().strip() if limit.exists() else ""
        if text.isdigit():  # and not "max"
            known.append(int(text))
    return min(known, default=_MEMORY)
