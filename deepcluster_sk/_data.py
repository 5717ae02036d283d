"""Where batches come from, once X is rows that can be asked for by number.

Everything behind it asks a :class:`Samples` for a batch by index. Arrays and memory maps are one source; files, torch
Datasets and images to be resized come as a :class:`~deepcluster_sk._lazy.LazyArray` if memory cannot hold them.
"""

from functools import cached_property
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor

from deepcluster_sk._distributed import ALONE, Ranks
from deepcluster_sk._lazy import LazyArray
from deepcluster_sk._scaling import Scaling, at_hand, directions, moments


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


class ArraySamples:
    """Samples of an array, scaled as they are read.

    Parameters
    ----------
    array : ndarray or LazyArray of shape (n, c, h, w) or (n, n_features), uint8 or floating point
        Never written to, and copied only batch by batch.
    scaling : Scaling
        Taken from the training data.
    units : Scaling or None, default=None
        Where ``scaling`` leaves samples as they are: what else it would have been, for augmentations of ours.
    """

    def __init__(self, array: NDArray[Any] | LazyArray, scaling: Scaling, units: Scaling | None = None) -> None:
        self.array = array
        self.scaling = scaling
        self.units = units
        self.sample_shape = tuple(array.shape[1:])
        self._offset = torch.tensor(scaling.offset, dtype=torch.float64, device="cpu")

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
        """Shape of a sample as augmentations see it: with one channel where those of some thousand images are equal."""
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
