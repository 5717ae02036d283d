"""Scorers of (estimator, X, y) for scikit-learn's searches: one with true labels, the others without them.

All are the better the larger they are. Which of them to choose restarts by is measured on the docs page "Results".
Where values of one can be compared between other things than restarts with the same parameters, its docstring says so.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import silhouette_score
from sklearn.pipeline import Pipeline

from deepcluster_sk._input import is_array, last_step
from deepcluster_sk.metrics._labels import clustering_accuracy_score
from deepcluster_sk.metrics._neighbors import beyond_chance, neighbor_agreement, neighbor_agreement_score, some_rows


class _Predicts(Protocol):
    def predict(self, X: object) -> ArrayLike: ...


class _Embeds(_Predicts, Protocol):
    def transform(self, X: object) -> ArrayLike: ...


class _GivesProba(Protocol):
    def predict_proba(self, X: object) -> ArrayLike: ...


def clustering_accuracy_scorer(estimator: _Predicts, X: object, y: ArrayLike) -> float:
    """:func:`clustering_accuracy_score` of the predicted clusters, which needs true labels.

    Parameters
    ----------
    estimator : fitted estimator with ``predict``
        Of any kind.
    X : array-like of n samples
        What the estimator takes.
    y : array-like of shape (n,)
        True classes.

    Returns
    -------
    accuracy : float, in [0, 1]
        Of files, of those that can be read.

    Examples
    --------
    >>> from sklearn.cluster import KMeans
    >>> from deepcluster_sk.metrics import clustering_accuracy_scorer
    >>> X = [[0.0], [0.1], [5.0], [5.1]]
    >>> clustering_accuracy_scorer(KMeans(n_clusters=2, random_state=0).fit(X), X, ["b", "b", "a", "a"])
    1.0
    """
    labels = np.asarray(estimator.predict(X))
    readable = _is_readable(X, labels)
    return clustering_accuracy_score(np.asarray(y)[readable], labels[readable])


def silhouette_scorer(estimator: _Embeds, X: object, y: object = None) -> float:
    """Silhouette of the embedding under the predicted clusters; no true labels used.

    Parameters
    ----------
    estimator : fitted estimator with ``predict`` and ``transform``
        For example a :class:`~deepcluster_sk.DACClustering`.
    X : array-like of n samples
        What the estimator takes.
    y : None
        Ignored.

    Returns
    -------
    silhouette : float, in [-1, 1]
        Of all samples, or of 10,000 of them. -1 where it is not defined: fewer than two clusters in use, or as many as
        samples.

    Notes
    -----
    Silhouettes of different embeddings are not comparable: an embedding that draws everything together into a few
    points scores high whether or not the points mean anything. So choose restarts by it, not settings or methods.

    Examples
    --------
    >>> from sklearn.cluster import KMeans
    >>> from deepcluster_sk.metrics import silhouette_scorer
    >>> X = [[0.0], [0.1], [5.0], [5.1]]
    >>> round(silhouette_scorer(KMeans(n_clusters=2, random_state=0).fit(X), X), 2)
    0.99
    """
    labels, embedding = np.asarray(estimator.predict(X)), np.asarray(estimator.transform(X))
    readable = _is_readable(X, labels)
    labels, embedding = labels[readable], embedding[readable]
    some = some_rows(len(labels))
    labels, embedding = labels[some], embedding[some]
    if not 2 <= len(np.unique(labels)) < len(labels):
        return -1.0
    return float(silhouette_score(embedding, labels))


def confidence_scorer(estimator: _GivesProba, X: object, y: object = None) -> float:
    """Mean of the largest predicted probability; no true labels used.

    Parameters
    ----------
    estimator : fitted estimator with ``predict_proba``
        For example a :class:`~deepcluster_sk.DCCMClustering`.
    X : array-like of n samples
        What the estimator takes.
    y : None
        Ignored.

    Returns
    -------
    confidence : float, in [0, 1]
        At least 1 / n_clusters. A network that puts all samples into one cluster is confident, too, so look at the
        cluster sizes as well.

    Examples
    --------
    >>> from sklearn.mixture import GaussianMixture
    >>> from deepcluster_sk.metrics import confidence_scorer
    >>> X = [[0.0], [0.1], [5.0], [5.1]]
    >>> round(confidence_scorer(GaussianMixture(n_components=2, random_state=0).fit(X), X), 4)
    1.0
    """
    return float(np.nanmean(np.asarray(estimator.predict_proba(X)).max(axis=1)))  # NaN is of files that are skipped


def augmentation_agreement_scorer(estimator: Any, X: object, y: object = None) -> float:
    r"""How much oftener than by chance samples keep their cluster under a random transform; no true labels used.

    .. math:: (o - e) / (1 - e)

    where o is the share of samples that keep it, and e what it would be if transforms were put into the clusters at
    random: the sum of squared shares of the clusters.

    Parameters
    ----------
    estimator : fitted estimator of this package, or a pipeline that ends with one
        Its ``augment`` makes the transforms, of what the other steps make of X.
    X : array-like of n samples
        What the estimator takes.
    y : None
        Ignored.

    Returns
    -------
    agreement : float, at most 1
        0 is chance, and the value for fewer than two clusters in use.

    Raises
    ------
    ValueError
        If ``augment=None``.

    Notes
    -----
    Settings and methods with the same ``augment`` and ``n_clusters`` can be compared. Weaker transforms agree more
    often, and so do fewer clusters as long as whole classes are joined.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from deepcluster_sk import DACClustering
    >>> from deepcluster_sk.metrics import augmentation_agreement_scorer
    >>> X = load_digits(n_class=2).images[:100]
    >>> dac = DACClustering(2, max_epochs=10, random_state=0).fit(X)
    >>> augmentation_agreement_scorer(dac, X) <= 1
    True
    """
    labels = np.asarray(estimator.predict(X))
    readable = _is_readable(X, labels)
    kept = last_step(estimator).augmentation_agreement(_before_last_step(estimator, X))
    return beyond_chance(float(kept[readable].mean()), labels[readable])


def neighbor_agreement_scorer(estimator: Any, X: Any, y: object = None) -> float:
    """:func:`neighbor_agreement_score` of the predicted clusters; no true labels used.

    Parameters
    ----------
    estimator : fitted estimator with ``predict``
        Of any kind.
    X : array-like of n samples
        What the estimator takes, numbers in rows of any shape.
    y : None
        Ignored.

    Returns
    -------
    agreement : float, at most 1

    Examples
    --------
    >>> from sklearn.cluster import KMeans
    >>> from deepcluster_sk.metrics import neighbor_agreement_scorer
    >>> X = [[0.0], [0.1], [0.2], [0.3], [0.4], [0.5], [5.0], [5.1], [5.2], [5.3], [5.4], [5.5]]
    >>> neighbor_agreement_scorer(KMeans(n_clusters=2, random_state=0).fit(X), X)
    1.0
    """
    labels = np.asarray(estimator.predict(X))
    if is_array(X):
        return neighbor_agreement_score(X, labels)
    given = last_step(estimator)._read(X)  # only estimators of this package take such X
    return neighbor_agreement(lambda some: given.rows[some], labels[_is_readable(X, labels)])


def size_entropy_scorer(estimator: Any, X: object, y: object = None) -> float:
    """Entropy of the shares of the clusters, in units of its maximum; no true labels used.

    Parameters
    ----------
    estimator : fitted estimator with ``predict`` and ``n_clusters``, or a pipeline that ends with one
        For example a :class:`~deepcluster_sk.DACClustering`.
    X : array-like of n samples
        What the estimator takes.
    y : None
        Ignored.

    Returns
    -------
    entropy : float, in [0, 1]
        1 for clusters of equal size and for ``n_clusters=1``.

    Notes
    -----
    It prefers equal sizes, whether or not the classes have them.

    Examples
    --------
    >>> from sklearn.cluster import KMeans
    >>> from deepcluster_sk.metrics import size_entropy_scorer
    >>> X = [[0.0], [0.1], [5.0], [5.1]]
    >>> size_entropy_scorer(KMeans(n_clusters=2, random_state=0).fit(X), X)
    1.0
    """
    labels = np.asarray(estimator.predict(X))
    labels = labels[_is_readable(X, labels)]
    shares = np.unique(labels, return_counts=True)[1] / len(labels)
    last = last_step(estimator)
    n_clusters = len(last.cluster_names_) if hasattr(last, "cluster_names_") else last.n_clusters
    return 1.0 if n_clusters == 1 else float(-(shares * np.log(shares)).sum() / np.log(n_clusters))


def training_loss_scorer(estimator: Any, X: object = None, y: object = None) -> float:
    """Loss of the last epoch of training, with its sign changed; no true labels used.

    Parameters
    ----------
    estimator : fitted estimator with ``history_``, or a pipeline that ends with one
        Trained for an epoch at least.
    X : array-like of n samples
        Ignored: the loss is that of the samples of ``fit``.
    y : None
        Ignored.

    Returns
    -------
    score : float

    Notes
    -----
    Of pair losses a collapse has the lowest, and training that ``tol`` ended early has another loss than training to
    the end.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from deepcluster_sk import DACClustering
    >>> from deepcluster_sk.metrics import training_loss_scorer
    >>> X = load_digits(n_class=2).images[:100]
    >>> dac = DACClustering(2, max_epochs=2, random_state=0).fit(X)
    >>> training_loss_scorer(dac) == -dac.history_[-1]["loss"]
    True
    """
    return -float(last_step(estimator).history_[-1]["loss"])


def restart_agreement_scorer(estimator: Any, X: object = None, y: object = None) -> float:
    """How much oftener than by chance the other restarts give a sample the cluster of the one kept; no labels used.

    The mean of ``fit_report_["restart_agreement"]``, with chance as in :func:`augmentation_agreement_scorer`.

    Parameters
    ----------
    estimator : fitted estimator of this package, or a pipeline that ends with one
        With ``n_init`` of at least 2.
    X : array-like of n samples
        Ignored: the restarts are those of ``fit``.
    y : None
        Ignored.

    Returns
    -------
    agreement : float, at most 1
        0 for fewer than two clusters in use.

    Raises
    ------
    ValueError
        If there was one restart only.

    Notes
    -----
    Clusters of two restarts are matched one to one, as for the accuracy, so that unrelated ones of few samples agree a
    little, too. Settings and methods with the same ``n_clusters`` can be compared.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from deepcluster_sk import DACClustering
    >>> from deepcluster_sk.metrics import restart_agreement_scorer
    >>> X = load_digits(n_class=2).images[:100]
    >>> dac = DACClustering(2, max_epochs=5, n_init=2, random_state=0).fit(X)
    >>> restart_agreement_scorer(dac) <= 1
    True
    """
    last = last_step(estimator)
    agreement = last.fit_report_["restart_agreement"]
    if agreement is None:
        needed = "must be at least 2, in a fit whose clusters were not changed since, for restarts to agree or not"
        raise ValueError(f"n_init={last.n_init} {needed}.")
    return beyond_chance(float(agreement.mean()), last.labels_)


def _before_last_step(estimator: Any, X: Any) -> Any:
    """What the steps of a Pipeline, or of the best of a search, make of X for the last one."""
    estimator = getattr(estimator, "best_estimator_", estimator)
    return estimator[:-1].transform(X) if isinstance(estimator, Pipeline) and len(estimator) > 1 else X


def _is_readable(X: object, labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Which samples are not files that were skipped, whose label is -1; of arrays, all."""
    return np.ones(len(labels), bool) if is_array(X) else labels >= 0
