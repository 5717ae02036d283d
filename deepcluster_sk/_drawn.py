"""What augmentations have in common that several processes can share a batch of, and the one that does nothing."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from torch import Generator, Tensor


class DrawnAugmentation(ABC):
    """Augmentation that draws all it needs before it looks at a batch, so that processes can share the batch."""

    @abstractmethod
    def _draw(self, shape: tuple[int, ...], generator: Generator) -> tuple[Tensor, ...]:
        """Random numbers for a batch of this shape, a row for every sample."""

    @abstractmethod
    def _transformed(self, batch: Tensor, *draws: Tensor) -> Tensor:
        """The batch as it is by what was drawn."""

    def __call__(self, batch: Tensor, generator: Generator) -> Tensor:
        return self._transformed(batch, *self._draw(tuple(batch.shape), generator))

    def of_part(self, batch: Tensor, n_samples: int, part: Callable[[Tensor], Tensor], generator: Generator) -> Tensor:
        """Transform a part of a batch as it would be within the whole."""
        draws = self._draw((n_samples, *batch.shape[1:]), generator)
        return self._transformed(batch, *map(part, draws))


@dataclass(frozen=True)
class InUnits(DrawnAugmentation):
    """Another one for batches in units of their own: they are brought to its units, transformed, and brought back."""

    augment: DrawnAugmentation
    offset: Tensor  # () or (n_features,), float64
    scale: float

    def _draw(self, shape: tuple[int, ...], generator: Generator) -> tuple[Tensor, ...]:
        return self.augment._draw(shape, generator)

    def _transformed(self, batch: Tensor, *draws: Tensor) -> Tensor:
        offset = self.offset.to(batch.device, batch.dtype)
        return self.augment._transformed((batch - offset) / self.scale, *draws) * self.scale + offset


def unchanged(batch: Tensor, generator: Generator) -> Tensor:
    """What ``augment=None`` stands for."""
    return batch
