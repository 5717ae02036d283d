"""What a user makes of the clusters after the fit: steps from their probabilities to those of other clusters."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Merge:
    """Some clusters become the first of them, with the sum of their probabilities; higher numbers close up.

    Attributes
    ----------
    clusters : tuple of int
        Ascending, at least two.
    """

    clusters: tuple[int, ...]

    def __call__(self, embedding: Tensor, proba: Tensor) -> Tensor:
        """Probabilities (n, k - n_merged + 1) from an embedding (n, d) and probabilities (n, k)."""
        first, *others = self.clusters
        joined = proba[:, list(self.clusters)].sum(1, keepdim=True)
        above = [cluster for cluster in range(first + 1, proba.shape[1]) if cluster not in others]
        return torch.cat([proba[:, :first], joined, proba[:, above]], dim=1)

    def of_centers(self, centers: NDArray[Any]) -> NDArray[Any]:
        """Centre of the new cluster: the mean of theirs."""
        first, *others = self.clusters
        moved = centers.copy()
        moved[first] = centers[list(self.clusters)].mean(axis=0)
        return np.delete(moved, others, axis=0)


@dataclass(frozen=True, eq=False)
class Split:
    """All of a cluster's probability goes to one of several, by the nearest of their centres in the embedding.

    The first of them keeps its number, the others get new ones, behind all that there are. So no sample moves between
    this cluster and any other.

    Attributes
    ----------
    cluster : int
    centers : Tensor of shape (n_parts, d), float32
    """

    cluster: int
    centers: Tensor

    def __call__(self, embedding: Tensor, proba: Tensor) -> Tensor:
        """Probabilities (n, k + n_parts - 1) from an embedding (n, d) and probabilities (n, k)."""
        middle = self.centers.to(embedding).mean(0)  # near 0 float32 tells more apart
        centers = self.centers.to(embedding) - middle
        # Half the squared distance, turned round, less what is the same for all: cdist cannot be exported.
        nearest = ((embedding - middle) @ centers.T - centers.square().sum(1) / 2).argmax(1)
        parts = proba[:, [self.cluster]] * F.one_hot(nearest, len(self.centers)).to(proba)
        return torch.cat([proba[:, : self.cluster], parts[:, :1], proba[:, self.cluster + 1 :], parts[:, 1:]], dim=1)

    def of_centers(self, centers: NDArray[Any]) -> NDArray[Any]:
        """Centres of the parts in place of the cluster's own."""
        parts = self.centers.numpy().astype(centers.dtype)
        moved = np.concatenate([centers, parts[1:]])
        moved[self.cluster] = parts[0]
        return moved


def described(steps: list[Merge | Split]) -> list[dict[str, Any]]:
    """Steps as plain values, for a file."""
    return [{"merge": list(step.clusters)} if isinstance(step, Merge) else {"split": step.cluster} for step in steps]


def tensors_of(steps: list[Merge | Split]) -> dict[str, Tensor]:
    """What else a file needs of them."""
    return {f"regrouping.{i}": step.centers for i, step in enumerate(steps) if isinstance(step, Split)}


def restored(
    plain: list[dict[str, Any]], tensors: dict[str, Tensor], n_clusters: int, n_components: int
) -> tuple[list[Merge | Split], int]:
    """The steps of :func:`described` and :func:`tensors_of`, and how many clusters it leaves of so many.

    Raises
    ------
    ValueError
        If steps name clusters that there are not, or centres are of another embedding.
    """
    steps: list[Merge | Split] = []
    for i, step in enumerate(plain):
        chosen = step["merge"] if "merge" in step else [step["split"]]
        if not all(type(cluster) is int for cluster in chosen) or sorted(set(chosen)) != chosen:
            raise ValueError(f"clusters {chosen} are no ascending numbers")
        if not (chosen and chosen[0] >= 0 and chosen[-1] < n_clusters):
            raise ValueError(f"clusters {chosen} are not among {n_clusters}")
        if "merge" in step and len(chosen) < 2:
            raise ValueError(f"clusters {chosen} are not two or more")
        if "merge" in step:
            steps.append(Merge(tuple(chosen)))
            n_clusters -= len(chosen) - 1
        else:
            centers = tensors[f"regrouping.{i}"]
            is_whole = centers.dtype == torch.float32 and bool(centers.isfinite().all())
            if not is_whole or centers.ndim != 2 or len(centers) < 2 or centers.shape[1] != n_components:
                raise ValueError(f"centres of shape {tuple(centers.shape)} are none in an embedding of {n_components}")
            steps.append(Split(chosen[0], centers))
            n_clusters += len(centers) - 1
    return steps, n_clusters
