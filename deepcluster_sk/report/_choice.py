"""Which samples a report shows, and where on the map: from labels, probabilities and embedding alone."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from deepcluster_sk._projection import project

# Pairs of clusters that members give each other less probability than this are not worth a look.
_CONFUSABLE = 1e-3
# t-SNE of more samples than these takes minutes.
N_TSNE = 2_000
# Coordinates on the map are whole numbers from 0 to this, so that last bits of floating point do not show.
MAP_SIDE = 4095


@dataclass(frozen=True)
class Judged:
    """What an estimator says of n samples.

    Attributes
    ----------
    embedding : ndarray of shape (n, d), float32
    proba : ndarray of shape (n, n_clusters), float32, rows sum to 1
    """

    embedding: NDArray[np.float32]
    proba: NDArray[np.float32]

    @cached_property
    def labels(self) -> NDArray[np.intp]:
        """Most probable cluster of each sample."""
        return self.proba.argmax(axis=1)

    @cached_property
    def confidence(self) -> NDArray[np.float32]:
        """Largest probability of each sample."""
        return self.proba.max(axis=1)

    @cached_property
    def second(self) -> NDArray[np.intp]:
        """Second most probable cluster of each sample; the only one where there is no other."""
        others = self.proba.copy()
        if others.shape[1] > 1:
            np.put_along_axis(others, self.labels[:, None], -1.0, axis=1)
        return others.argmax(axis=1)

    @cached_property
    def distance(self) -> NDArray[np.float32]:
        """Euclidean distance of each sample from the mean embedding of its cluster."""
        distance = np.zeros(len(self.labels), np.float32)
        for cluster in range(self.proba.shape[1]):
            members = self.members(cluster)
            if len(members):
                away = self.embedding[members] - self.embedding[members].mean(axis=0, dtype=np.float64)
                distance[members] = np.linalg.norm(away, axis=1)
        return distance

    def members(self, cluster: int) -> NDArray[np.intp]:
        """Indices of the samples of a cluster, in order."""
        return np.flatnonzero(self.labels == cluster)


def gallery(judged: Judged, cluster: int, n_images: int) -> dict[str, NDArray[np.intp]]:
    """Most confident, typical and least certain members of a cluster; no sample stands in two of them.

    Parameters
    ----------
    judged : Judged
    cluster : int
    n_images : int
        Most samples of each kind; small clusters are divided among the three.

    Returns
    -------
    chosen : dict of str to ndarray of int
        "prototypes", most confident first and of equally confident ones the nearest to the mean embedding;
        "typical", from the middle of the order by confidence; "uncertain", least confident first.
    """
    members = judged.members(cluster)
    ranked = members[np.lexsort((judged.distance[members], -judged.confidence[members]))]
    n_last = min(n_images, len(ranked) // 3)
    n_first = min(n_images, len(ranked) - 2 * n_last)
    between = ranked[n_first : len(ranked) - n_last]
    start = max(0, (len(between) - n_images) // 2)
    return {
        "prototypes": ranked[:n_first],
        "typical": between[start : start + n_images],
        "uncertain": ranked[::-1][:n_last],
    }


def confusion(judged: Judged) -> NDArray[np.float64]:
    """Mean probability that the members of two clusters give to the other one of the two.

    Returns
    -------
    confusion : ndarray of shape (n_clusters, n_clusters), float64, in [0, 0.5], symmetric
        0 on the diagonal, and where both clusters are empty.
    """
    n_clusters = judged.proba.shape[1]
    sizes = np.bincount(judged.labels, minlength=n_clusters)
    given = np.zeros((n_clusters, n_clusters))
    for cluster in np.flatnonzero(sizes):
        given[cluster] = judged.proba[judged.labels == cluster].sum(axis=0, dtype=np.float64)
    mean = (given + given.T) / np.maximum(sizes[:, None] + sizes, 1)
    np.fill_diagonal(mean, 0.0)
    return mean


def confusable_pairs(judged: Judged, n_pairs: int) -> list[tuple[int, int, float]]:
    """Pairs of clusters with the largest :func:`confusion`, as (smaller, larger, confusion), largest first."""
    of_pairs = np.triu(confusion(judged), k=1)
    order = np.argsort(-of_pairs, axis=None, kind="stable")[:n_pairs]
    rows, columns = np.unravel_index(order, of_pairs.shape)
    pairs = [(int(a), int(b), float(of_pairs[a, b])) for a, b in zip(rows, columns, strict=True)]
    return [pair for pair in pairs if pair[2] >= _CONFUSABLE]


def between(judged: Judged, first: int, second: int, n_images: int) -> NDArray[np.intp]:
    """Members of two clusters that give both much probability, from the side of the first to that of the second."""
    members = np.flatnonzero(np.isin(judged.labels, (first, second)))
    pair = judged.proba[members][:, [first, second]]
    undecided = np.argsort(-pair.min(axis=1), kind="stable")[:n_images]
    return members[undecided[np.argsort(pair[undecided, 1] - pair[undecided, 0], kind="stable")]]


def map_sample(n_samples: int, max_samples: int, wanted: NDArray[np.intp]) -> NDArray[np.intp]:
    """Sorted indices of what the map shows: all samples, or a random choice, with ``wanted`` ones if all have room."""
    if n_samples <= max_samples:
        return np.arange(n_samples)
    wanted = np.unique(wanted) if len(wanted) <= max_samples else np.empty(0, np.intp)
    others = np.setdiff1d(np.arange(n_samples), wanted, assume_unique=True)
    rest = np.random.default_rng(0).choice(others, max_samples - len(wanted), replace=False)
    return np.sort(np.concatenate([wanted, rest]))


def map_coordinates(embedding: NDArray[np.float32], method: str) -> tuple[NDArray[np.intp], float | None]:
    """Two coordinates of each sample, on one scale.

    Parameters
    ----------
    embedding : ndarray of shape (n, d), float32
    method : {"pca", "tsne"}

    Returns
    -------
    coordinates : ndarray of shape (n, 2), int64, in [0, MAP_SIDE]
        In the middle along an axis of no extent.
    explained : float or None
        Share of the variance that two principal components hold; None for t-SNE.
    """
    points, explained = project(embedding, method)
    low, high = points.min(axis=0), points.max(axis=0)
    extent = float((high - low).max()) or 1.0
    centered = (points - (low + high) / 2) / extent + 0.5
    return np.rint(centered * MAP_SIDE).astype(np.intp), explained
