"""Where batches come from, once X is rows that can be asked for by number.

Everything behind it asks a :class:`Samples` for a batch by index. Arrays and memory maps are one source; files, torch
Datasets and images to be resized come as a :class:`~deepcluster_sk._lazy.LazyArray` if memory cannot hold them.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from deepcluster_sk._distributed import ALONE, Ranks
from deepcluster_sk._lazy import LazyArray

# Numbers read at a time where statistics of all samples are taken.
_BLOCK = 2**21


class Samples(Protocol):
    """A data set that gives any of its samples, first as they are stored, then as networks take them.

    Between the two they may move to another device: an image of one byte a pixel travels four times as fast.
    """

    sample_shape: tuple[int, ...]  # (c, h, w) or (n_features,)

    def __len__(self) -> int:
        """Number of samples."""

    def raw(self, indices: Tensor) -> Tensor:
        """Samples at ``indices`` (n,), int64: of shape (n, *sample_shape) and any dtype, on the CPU."""

    def scaled(self, raw: Tensor) -> Tensor:
        """What :meth:`raw` gave as float32 and scaled; bytes on any device, floats on the CPU."""

    def batch(self, indices: Tensor) -> Tensor:
        """Scaled samples on the CPU."""


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy to a device without waiting for the copy to end, which a GPU allows from pinned memory only."""
    if device.type == "cuda" and torch.cuda.is_available():
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


@dataclass(frozen=True)
class Scaling:
    """``(raw - offset) / scale``: images to [0, 1], feature vectors to mean 0 and overall standard deviation 1.

    For images, offset and offset + scale are the smallest and the largest value seen, whatever the dtype; for files
    they are 0 and 255. One scale for all features keeps the distances between samples what they were, up to a factor.
    With ``to_unit``, raw is first divided by its length.
    """

    offset: float | NDArray[np.float64]  # () or (n_features,)
    scale: float
    to_unit: bool = False

    @classmethod
    def of(cls, rows: NDArray[Any] | LazyArray, ranks: Ranks = ALONE, *, to_unit: bool = False) -> "Scaling":
        """Scaling of training data by their range (images) or their moments (vectors)."""
        array = at_hand(rows)
        if array.ndim == 2:
            mean, std = moments(array, ranks, to_unit=to_unit)
            return cls(mean, std or 1.0, to_unit)
        mine = ranks.part(array)
        low, high = min(ranks.gather_list([float(mine.min())])), max(ranks.gather_list([float(mine.max())]))
        return cls(low, (high - low) or 1.0)


def at_hand(rows: NDArray[Any] | LazyArray) -> NDArray[Any]:
    """What statistics of all rows are taken of: these, or some of them if they are made anew each time."""
    return rows.some() if isinstance(rows, LazyArray) else rows


def directions(vectors: Tensor) -> Tensor:
    """Vectors (n, d) divided by their lengths, in float64, as squares might overflow in float32.

    Those of length 0 stay so, and any shorter than 1e-37 are close to it: squares of less might underflow in float64.
    """
    return F.normalize(vectors.double(), eps=1e-37)


def moments(array: NDArray[Any], ranks: Ranks = ALONE, *, to_unit: bool = False) -> tuple[NDArray[np.float64], float]:
    """Mean of each channel (axis 1) and standard deviation around it, over all; each rank reads its blocks.

    They are those of vectors divided by their lengths with ``to_unit``.
    """

    def read(block: slice) -> NDArray[Any]:
        rows = array[block]
        return directions(torch.from_numpy(rows.astype(np.float64))).numpy() if to_unit else rows

    axes = (0, *range(2, array.ndim))
    n_rows = max(1, _BLOCK * len(array) // array.size)
    blocks = ranks.part([slice(start, start + n_rows) for start in range(0, len(array), n_rows)])
    total = np.zeros(array.shape[1])
    for block in blocks:
        total += read(block).sum(axis=axes, dtype=np.float64)
    total = ranks.sum(torch.from_numpy(total)).numpy()
    mean = total * array.shape[1] / array.size
    centers = mean.reshape(-1, *[1] * (array.ndim - 2))
    squares = sum(ranks.gather_list([float(np.square(read(block) - centers).sum()) for block in blocks]))
    std = float(np.sqrt(squares / array.size))
    # What rounding leaves of samples that are all equal, or have all one direction, is no spread.
    rounding = np.finfo(array.dtype).eps if to_unit and array.dtype.kind == "f" else 0.0
    return mean, std if std > max(1e-12, rounding) * np.abs(mean).max() else 0.0


class ArraySamples:
    """Samples of an array, scaled as they are read.

    Parameters
    ----------
    array : ndarray or LazyArray of shape (n, c, h, w) or (n, n_features), uint8 or floating point
        Never written to, and copied only batch by batch.
    scaling : Scaling
        Taken from the training data.
    """

    def __init__(self, array: NDArray[Any] | LazyArray, scaling: Scaling) -> None:
        self.array = array
        self.scaling = scaling
        self.sample_shape = tuple(array.shape[1:])
        self._offset = torch.tensor(scaling.offset, dtype=torch.float64)

    def __len__(self) -> int:
        return len(self.array)

    def raw(self, indices: Tensor) -> Tensor:
        return torch.from_numpy(self.array[indices.numpy()])

    def scaled(self, raw: Tensor) -> Tensor:
        # In float64 what is: float32 cannot tell apart values far from 0 that float64 can.
        if self.scaling.to_unit:
            raw = directions(raw)
        exact = raw if raw.dtype == torch.float64 else raw.float()
        return ((exact - self._offset.to(exact.dtype)) / self.scaling.scale).float()

    def batch(self, indices: Tensor) -> Tensor:
        return self.scaled(self.raw(indices))

    @cached_property
    def seen_shape(self) -> tuple[int, ...]:
        """Shape of a sample, with one channel where all of a thousand images are equal: as augmentations see it."""
        some = self.array[:: max(1, len(self.array) // 1000)]
        is_gray = some.ndim == 4 and bool((some == some[:, :1]).all())
        return (1, *self.sample_shape[1:]) if is_gray else self.sample_shape

    def channel_moments(self, ranks: Ranks = ALONE) -> tuple[Tensor, Tensor]:
        """Mean of each channel (c,) and overall standard deviation () of the scaled samples, float32."""
        mean, std = moments(at_hand(self.array), ranks)
        shifted = (mean - self.scaling.offset) / self.scaling.scale
        return torch.as_tensor(shifted, dtype=torch.float32), torch.tensor(std / self.scaling.scale or 1.0)


def shuffled_batches(n_samples: int, batch_size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """All indices in random order, in batches of equal size (to one): at least ``batch_size``, less than twice it.

    No batch is smaller, because batch norm cannot train on one sample and pair losses need pairs.
    """
    return torch.randperm(n_samples, generator=generator).tensor_split(count_batches(n_samples, batch_size))


def count_batches(n_samples: int, batch_size: int) -> int:
    """How many batches :func:`shuffled_batches` makes."""
    return max(1, n_samples // batch_size)
