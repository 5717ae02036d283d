"""Whether neighbours share a cluster, and what agreement is beyond chance; no true labels used."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from deepcluster_sk._validation import as_array, exact_float

Read = Callable[[NDArray[np.intp]], NDArray[Any]]

# Scores that take time proportional to n² are taken on this many samples, drawn by a fixed seed.
_N_SAMPLES = 10_000
# Neighbours are looked for among this many principal components.
_N_COMPONENTS = 64
_N_NEIGHBORS = 5
# These are fitted on as many samples.
_N_FITTED = 2_500


def neighbor_agreement_score(X: ArrayLike, labels: ArrayLike) -> float:
    r"""How much oftener than by chance nearest neighbours in X are in one cluster.

    .. math:: (o - e) / (1 - e)

    where o is the share of pairs of a sample and one of its five nearest neighbours that share a cluster, and e what it
    would be if neighbours were drawn at random: the sum of squared shares of the clusters.

    Parameters
    ----------
    X : array-like of n samples
        Numbers, in rows of any shape.
    labels : array-like of shape (n,)
        Clusters, by any names.

    Returns
    -------
    agreement : float, at most 1
        0 is chance, and the value for fewer than two clusters in use.

    Raises
    ------
    ValueError
        If the lengths differ, or there are fewer than two samples.

    Notes
    -----
    Neighbours are by Euclidean distance among the first 64 principal components of X itself, of 10,000 samples if there
    are more. No embedding enters, so methods and settings with the same number of clusters can be compared. Joining
    clusters that lie apart costs nothing, so it finds too few clusters rather than too many; where neighbours in X mean
    nothing, as with photographs, neither does this. Where directions count more than lengths, give unit vectors; and do
    not choose the estimators' ``metric`` by it, since it takes sides.

    Examples
    --------
    >>> from deepcluster_sk.metrics import neighbor_agreement_score
    >>> X = [[0.0], [0.1], [0.2], [0.3], [0.4], [0.5], [5.0], [5.1], [5.2], [5.3], [5.4], [5.5]]
    >>> neighbor_agreement_score(X, ["a"] * 6 + ["b"] * 6)
    1.0
    """
    samples, labels = np.asarray(as_array(X)), np.asarray(labels)
    if len(samples) != len(labels) or len(samples) < 2:
        raise ValueError(
            f"X has {len(samples)} samples and labels {len(labels)}; both need the same number, 2 or more."
        )
    return neighbor_agreement(lambda some: samples[some], labels)


def neighbor_agreement(read: Read, labels: NDArray[Any]) -> float:
    """:func:`neighbor_agreement_score` of samples that ``read`` gives by their indices, and that are not checked."""
    some = some_rows(len(labels))
    labels = labels[some]
    neighbors = _neighbors(read, some)
    return beyond_chance(float((labels[neighbors] == labels[:, None]).mean()), labels)


def _neighbors(read: Read, indices: NDArray[np.intp]) -> NDArray[np.intp]:
    """Indices (n, 5) of each sample's nearest others among the principal components."""

    def flat(portion: NDArray[np.intp]) -> NDArray[Any]:
        rows = read(portion).reshape(len(portion), -1)
        return rows.astype(exact_float(rows.dtype), copy=False)

    # A random part: the first ones may all be of one class.
    subset = flat(np.random.default_rng(0).permutation(indices)[:_N_FITTED])
    center = subset.mean(axis=0)  # float32 cannot tell apart values far from 0 that float64 can
    subset = (subset - center).astype(np.float32)
    with np.errstate(invalid="ignore"):  # samples that are all equal have no variance to take ratios of
        components = PCA(min(_N_COMPONENTS, *subset.shape), random_state=0).fit(subset)
    components.set_output(transform="default")  # whatever the user's own configuration is
    portions = np.array_split(indices, -(-len(indices) // _N_FITTED))
    points = [components.transform((flat(portion) - center).astype(np.float32)) for portion in portions]
    search = NearestNeighbors(n_neighbors=min(_N_NEIGHBORS, len(indices) - 1)).fit(np.concatenate(points))
    return search.kneighbors(return_distance=False)


def beyond_chance(observed: float, labels: NDArray[Any]) -> float:
    """Agreement less what it is by chance, for clusters of these sizes; 0 for fewer than two."""
    shares = np.unique(labels, return_counts=True)[1] / len(labels)
    expected = float(np.square(shares).sum())
    return 0.0 if len(shares) < 2 else (observed - expected) / (1 - expected)


def some_rows(n_samples: int) -> NDArray[np.intp]:
    """Indices of at most so many samples as a score is taken on, in order."""
    if n_samples <= _N_SAMPLES:
        return np.arange(n_samples)
    return np.sort(np.random.default_rng(0).choice(n_samples, _N_SAMPLES, replace=False))
