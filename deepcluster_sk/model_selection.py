"""Choosing settings and numbers of clusters without true labels, and whether to cluster deeply at all.

Examples
--------
Search on all samples at once, as clustering is used, scored without labels:

>>> from sklearn.datasets import load_digits
>>> from sklearn.model_selection import GridSearchCV
>>> from deepcluster_sk import DACClustering
>>> from deepcluster_sk.metrics import augmentation_agreement_scorer
>>> from deepcluster_sk.model_selection import FullData
>>> X = load_digits(n_class=3).images[:100]
>>> dac = DACClustering(3, max_epochs=3, random_state=0)
>>> search = GridSearchCV(dac, {"lr": [1e-4, 1e-3]}, scoring=augmentation_agreement_scorer, cv=FullData()).fit(X)
>>> search.best_params_["lr"] in (1e-4, 1e-3)
True
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.model_selection import BaseCrossValidator
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.parallel import Parallel, delayed  # joblib's, with the user's configuration of scikit-learn
from sklearn.utils.validation import _num_samples

from deepcluster_sk._input import is_array, last_step, read_input
from deepcluster_sk._validation import as_array, check_number, exact_float
from deepcluster_sk.metrics import clustering_accuracy_score, neighbor_agreement_score, silhouette_scorer

__all__ = ["FullData", "NClustersCurve", "compare_with_baselines", "select_n_clusters"]

Scorer = Callable[..., float]


class FullData(BaseCrossValidator):
    """Cross-validator of one split whose training and test set are both all samples: ``cv=FullData()``.

    Clustering is judged on the samples it was fitted on, so a search for its settings needs no samples held out. With
    a scorer that takes true labels, the search would choose by them; see :mod:`deepcluster_sk.metrics` for others. A
    search copies the samples of each split, so these have to fit into memory twice.

    Examples
    --------
    >>> from deepcluster_sk.model_selection import FullData
    >>> [(train.tolist(), test.tolist()) for train, test in FullData().split([[1], [2], [3]])]
    [([0, 1, 2], [0, 1, 2])]
    """

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Give the one split.

        Parameters
        ----------
        X : array-like of n samples
        y, groups : ignored

        Yields
        ------
        train, test : ndarray of shape (n,), int64
            All indices, both.
        """
        indices = np.arange(_num_samples(X))
        yield indices, indices.copy()

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return 1.

        Parameters
        ----------
        X, y, groups : ignored

        Returns
        -------
        n_splits : int
        """
        return 1


@dataclass(frozen=True, eq=False)
class NClustersCurve:
    """What :func:`select_n_clusters` found, every array in ascending order of the number of clusters.

    Attributes
    ----------
    n_clusters : ndarray of shape (n_values,), int64
        Values tried.
    scores : ndarray of shape (n_values, n_repeats), float64
        Label-free score of every fit.
    stability : ndarray of shape (n_values,), float64
        Mean adjusted Rand index between the labels of every two repeats, in [-0.5, 1].
    seconds : ndarray of shape (n_values,), float64
        Mean time of a fit.
    best_n_clusters : int
        That of the largest mean score; the smaller of equals.

    Examples
    --------
    >>> import numpy as np
    >>> from deepcluster_sk.model_selection import NClustersCurve
    >>> scores = np.array([[0.2, 0.3], [0.9, 0.8]])
    >>> NClustersCurve(np.array([2, 3]), scores, np.ones(2), np.ones(2)).best_n_clusters
    3
    """

    n_clusters: NDArray[np.int64]
    scores: NDArray[np.float64]
    stability: NDArray[np.float64]
    seconds: NDArray[np.float64]

    @property
    def best_n_clusters(self) -> int:
        """Number of clusters of the largest mean score; NaN counts as the smallest."""
        return int(self.n_clusters[np.nan_to_num(self.scores.mean(axis=1), nan=-np.inf).argmax()])


def select_n_clusters(
    estimator: Any,
    X: Any,
    n_clusters: Sequence[int],
    *,
    n_repeats: int = 3,
    scoring: Scorer = silhouette_scorer,
    random_state: int = 0,
    n_jobs: int | None = None,
) -> NClustersCurve:
    """Fit for several numbers of clusters, from several seeds each, and score the results without true labels.

    Parameters
    ----------
    estimator : estimator with the parameter ``n_clusters``, or a pipeline that ends with one
        Cloned, never changed. Without a parameter ``random_state`` all repeats are equal.
    X : array-like of n samples
        What the estimator takes.
    n_clusters : sequence of int
        Values to try.
    n_repeats : int, default=3
        Fits of each, from the seeds ``random_state``, ``random_state + 1``, ...; 2 at least.
    scoring : callable of (estimator, X), default=silhouette_scorer
        What is compared between numbers of clusters; see the notes.
    random_state : int, default=0
        First seed.
    n_jobs : int or None, default=None
        Fits at a time, by joblib.

    Returns
    -------
    curve : NClustersCurve

    Raises
    ------
    TypeError, ValueError
        If a parameter is not valid, or the estimator has no parameter ``n_clusters``.

    Notes
    -----
    The silhouette finds K in an embedding that does not depend on it. A deep estimator draws its own embedding into as
    many clumps as it was asked for, so look at the stability too: where seeds disagree, K is wrong.

    Examples
    --------
    >>> from sklearn.cluster import KMeans
    >>> from sklearn.datasets import make_blobs
    >>> from deepcluster_sk.model_selection import select_n_clusters
    >>> X, _ = make_blobs(300, centers=4, cluster_std=0.5, random_state=1)
    >>> curve = select_n_clusters(KMeans(), X, [2, 3, 4, 5, 6, 7], n_repeats=2)
    >>> curve.n_clusters.shape, curve.scores.shape
    ((6,), (6, 2))
    """
    if not isinstance(n_clusters, Iterable):
        raise TypeError(f"n_clusters={n_clusters!r} must be a sequence of integers.")
    values = list(n_clusters)
    for value in values:
        check_number("n_clusters", value, int, 1)
    values = sorted(set(values))
    if not values:
        raise ValueError("n_clusters=[] must hold one value at least.")
    if not callable(scoring):
        raise TypeError(f"scoring={scoring!r} must be a function of (estimator, X): deepcluster_sk.metrics has some.")
    check_number("n_repeats", n_repeats, int, 2)
    check_number("random_state", random_state, int, 0)
    parameter = _n_clusters_parameter(estimator)

    def fit(value: int, seed: int) -> tuple[NDArray[np.intp], float, float]:
        model = _seeded(estimator, seed).set_params(**{parameter: value})
        start = time.perf_counter()
        model.fit(X)
        seconds = time.perf_counter() - start
        return _labels_of(model, X), float(scoring(model, X)), seconds

    seeds = range(random_state, random_state + n_repeats)
    fits = Parallel(n_jobs=n_jobs)(delayed(fit)(value, seed) for value in values for seed in seeds)
    of_values = [fits[start : start + n_repeats] for start in range(0, len(fits), n_repeats)]
    return NClustersCurve(
        n_clusters=np.array(values),
        scores=np.array([[score for _, score, _ in group] for group in of_values]),
        stability=np.array([_stability([labels for labels, _, _ in group]) for group in of_values]),
        seconds=np.array([np.mean([seconds for _, _, seconds in group]) for group in of_values]),
    )


def compare_with_baselines(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    embedding: Any = None,
    baselines: Mapping[str, Any] | None = None,
    n_components: int = 64,
    random_states: Sequence[int] = (0, 1, 2),
) -> dict[str, list[Any]]:
    """Whether deep clustering pays here: an estimator beside k-means and other clusterers on the same samples.

    Parameters
    ----------
    estimator : estimator with the parameter ``n_clusters``, or a pipeline that ends with one
        Cloned, never changed. The baselines get as many clusters.
    X : array-like of n samples
        What the estimator takes, numbers in rows of any shape.
    y : array-like of shape (n,) or None, default=None
        True classes, to score with; no fit sees them.
    embedding : array-like of shape (n, d) or None, default=None
        An embedding of X of your own, to run k-means on.
    baselines : mapping of str to estimator, or None, default=None
        Further clusterers by the names of their rows, each with the number of clusters that it is to find. They are
        cloned, and fitted on X in rows, as float32, or as float64 where X is; their labels are ``labels_``, or what
        ``predict`` gives.
    n_components : int, default=64
        Principal components that k-means gets; fewer where X has fewer.
    random_states : sequence of int, default=(0, 1, 2)
        Seeds; every method is fitted from each.

    Returns
    -------
    table : dict of str to list
        A column each, a row a method, as pandas.DataFrame takes it: "method"; "seconds", mean time of a fit;
        "stability", mean adjusted Rand index between the labels from every two seeds (NaN for one seed);
        "neighbor_agreement", mean of :func:`~deepcluster_sk.metrics.neighbor_agreement_score` in X; and with y "acc",
        "acc_worst" and "nmi", means and the smallest over seeds.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not valid, or lengths differ.

    Notes
    -----
    Stability near 1 says that a method finds the same clusters again, not that they are the right ones, so it is no
    reason to take one method rather than another; below a half, think twice about all. Neighbours in X say more where
    distances in X mean something, as in embeddings of a network; take differences below .005 as none. Where they mean
    little, as with pixels of photographs, they favour k-means: look at the clusters.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from deepcluster_sk import DACClustering
    >>> from deepcluster_sk.model_selection import compare_with_baselines
    >>> X = load_digits(n_class=3).images[:100]
    >>> table = compare_with_baselines(DACClustering(3, max_epochs=3), X, random_states=[0, 1])
    >>> table["method"]
    ['k-means', 'PCA + k-means', 'DACClustering']

    With a Gaussian mixture and agglomerative clustering beside it:

    >>> from sklearn.cluster import AgglomerativeClustering
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.mixture import GaussianMixture
    >>> from sklearn.pipeline import make_pipeline
    >>> others = {
    ...     "Gaussian mixture": make_pipeline(PCA(5), GaussianMixture(3, reg_covar=1e-3)),
    ...     "Ward": AgglomerativeClustering(3),
    ... }
    >>> table = compare_with_baselines(DACClustering(3, max_epochs=3), X, baselines=others, random_states=[0])
    >>> table["method"]
    ['k-means', 'PCA + k-means', 'Gaussian mixture', 'Ward', 'DACClustering']
    """
    check_number("n_components", n_components, int, 1)
    if not (baselines is None or isinstance(baselines, Mapping)):
        raise TypeError(f"baselines={baselines!r} must be a mapping of names to estimators, or None.")
    if not isinstance(random_states, Sequence | np.ndarray) or isinstance(random_states, str):
        raise TypeError(f"random_states={random_states!r} must be a sequence of integers.")
    seeds = list(random_states)
    if not seeds:
        raise ValueError("random_states=[] must hold one seed at least.")
    n_clusters = estimator.get_params()[_n_clusters_parameter(estimator)]
    samples, is_readable = _numbers(estimator, X)
    rows = samples.reshape(len(samples), -1)
    rows = rows.astype(exact_float(rows.dtype), copy=False)
    centered = (rows - rows.mean(axis=0)).astype(np.float32)  # which tells apart values however far from 0 X is
    for name, other in (("y", y), ("embedding", embedding)):
        if other is not None and _num_samples(other) != len(is_readable):
            raise ValueError(f"{name} has {_num_samples(other)} samples, but X has {len(is_readable)}.")
    y = y if y is None else np.asarray(y)[is_readable]
    embedding = embedding if embedding is None else np.asarray(embedding)[is_readable]
    k_means = KMeans(n_clusters, n_init=10)
    methods = [
        ("k-means", k_means, centered),
        ("PCA + k-means", make_pipeline(PCA(min(n_components, *rows.shape)), clone(k_means)), centered),
        *([] if embedding is None else [("embedding + k-means", clone(k_means), embedding)]),
        *((name, baseline, rows) for name, baseline in (baselines or {}).items()),
        (type(estimator).__name__, estimator, X),
    ]
    table = [_row(name, method, data, seeds, centered, y) for name, method, data in methods]
    return {column: [row[column] for row in table] for column in table[0]}


def _numbers(estimator: Any, X: Any) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Samples as an array, and which of those that were given are in it: files that cannot be read are not."""
    if is_array(X):
        samples = np.asarray(as_array(X))
        return samples, np.ones(len(samples), bool)
    given = read_input(clone(last_step(estimator)), X)  # only estimators of this package take such X
    rows = given.rows[:]
    return rows, np.ones(len(rows), bool) if given.is_readable is None else given.is_readable


def _row(name: str, method: Any, data: Any, seeds: list[int], X: NDArray[np.float32], y: Any) -> dict[str, Any]:
    """One method, fitted from every seed."""
    partitions, seconds = [], []
    for seed in seeds:
        model = _seeded(method, seed)
        start = time.perf_counter()
        model.fit(data)
        seconds.append(time.perf_counter() - start)
        partitions.append(_labels_of(model, data))
    row = {
        "method": name,
        "seconds": float(np.mean(seconds)),
        "stability": _stability(partitions),
        "neighbor_agreement": float(np.mean([neighbor_agreement_score(X, labels) for labels in partitions])),
    }
    if y is not None:
        accuracies = [clustering_accuracy_score(y, labels) for labels in partitions]
        row |= {
            "acc": float(np.mean(accuracies)),
            "acc_worst": min(accuracies),
            "nmi": float(np.mean([normalized_mutual_info_score(y, labels) for labels in partitions])),
        }
    return row


def _stability(partitions: Sequence[NDArray[Any]]) -> float:
    """Mean adjusted Rand index between every two partitions; NaN of one."""
    indices = [adjusted_rand_score(first, second) for first, second in combinations(partitions, 2)]
    return float(np.mean(indices)) if indices else float("nan")


def _seeded(estimator: Any, seed: int) -> Any:
    """Clone whose parameters called ``random_state``, at any depth, are ``seed``."""
    model = clone(estimator)
    names = [name for name in model.get_params() if name.rsplit("__", 1)[-1] == "random_state"]
    return model.set_params(**dict.fromkeys(names, seed))


def _n_clusters_parameter(estimator: Any) -> str:
    """Name of the parameter ``n_clusters``: the last step's, or the only one at any depth."""
    params = estimator.get_params()
    of_last = f"{estimator.steps[-1][0]}__n_clusters" if isinstance(estimator, Pipeline) else "n_clusters"
    if of_last in params:
        return of_last
    names = [name for name in params if name.rsplit("__", 1)[-1] == "n_clusters"]
    if len(names) != 1:
        raise ValueError(f"estimator={type(estimator).__name__} must have one parameter n_clusters, it has {names}.")
    return str(names[0])


def _labels_of(model: Any, X: Any) -> NDArray[Any]:
    """Labels of the samples a model, or a pipeline, was fitted on."""
    last = model[-1] if hasattr(model, "steps") else model
    return np.asarray(last.labels_ if hasattr(last, "labels_") else model.predict(X))
