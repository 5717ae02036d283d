"""How well clusters match true classes: accuracy under the best matching, and BCubed precision and recall."""

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from sklearn.metrics.cluster import contingency_matrix


def clustering_accuracy_score(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    r"""Share of samples whose cluster is matched to their class, under the best one-to-one matching.

    .. math:: \mathrm{ACC} = \max_{\text{map}} \frac{1}{n} \sum_i \delta(t_i, \text{map}(r_i))

    Parameters
    ----------
    labels_true : array-like of shape (n,), int, float, bool or str
        True classes.
    labels_pred : array-like of shape (n,), int, float, bool or str
        Clusters. Names mean nothing and need not be those of the classes; -1 is a cluster like any other.

    Returns
    -------
    accuracy : float, in (0, 1]
        Independent of the names of classes and clusters, and symmetric. Where there are more clusters than classes,
        samples of a cluster left without a class count as wrong.

    Raises
    ------
    ValueError
        If an array is empty or not one-dimensional, if it holds NaN, infinity or labels that cannot be ordered, or if
        the lengths differ.

    References
    ----------
    Wu et al., "Deep Comprehensive Correlation Mining for Image Clustering", ICCV 2019, supplement, Eqs. (4) and (5).

    Examples
    --------
    >>> from deepcluster_sk.metrics import clustering_accuracy_score
    >>> clustering_accuracy_score([0, 0, 1, 1], ["b", "b", "a", "b"])
    0.75
    """
    true, pred = _checked_pair(labels_true, labels_pred)
    contingency = contingency_matrix(true, pred)  # (n_classes, n_clusters)
    return float(contingency[linear_sum_assignment(contingency, maximize=True)].sum() / len(true))


def align_labels(labels_true: ArrayLike, labels_pred: ArrayLike) -> NDArray[Any]:
    """Rename clusters to the classes that :func:`clustering_accuracy_score` matches them to.

    Parameters
    ----------
    labels_true : array-like of shape (n,), int, float, bool or str
        True classes.
    labels_pred : array-like of shape (n,), int, float, bool or str
        Clusters.

    Returns
    -------
    labels : ndarray of shape (n,)
        The same partition as ``labels_pred``. Its dtype is that of ``labels_true``, widened where new names need it.

    Raises
    ------
    ValueError
        If an array is empty or not one-dimensional, if it holds NaN, infinity or labels that cannot be ordered, or if
        the lengths differ.

    Notes
    -----
    Where there are more clusters than classes, those left over get names that no class has, in the order of their old
    names: the integers after the largest class, or "unmatched 0", "unmatched 1", ... where classes are strings. Where
    there are not, every cluster gets a class, even one with which it shares no sample.

    Examples
    --------
    >>> from deepcluster_sk.metrics import align_labels
    >>> align_labels([0, 0, 1, 1, 1], [7, 7, -1, -1, 3])
    array([0, 0, 1, 1, 2])
    """
    true, pred = _checked_pair(labels_true, labels_pred)
    contingency = contingency_matrix(true, pred)
    matched_class, matched_cluster = linear_sum_assignment(contingency, maximize=True)
    classes, codes = np.unique(true), np.unique(pred, return_inverse=True)[1]
    n_clusters = contingency.shape[1]
    surplus = np.setdiff1d(np.arange(n_clusters), matched_cluster)
    names = np.concatenate([classes, _free_names(classes, len(surplus))])
    source = np.empty(n_clusters, dtype=np.intp)  # index into names of every cluster
    source[matched_cluster] = matched_class
    source[surplus] = len(classes) + np.arange(len(surplus))
    return names[source[codes]]


def _free_names(classes: NDArray[Any], n_names: int) -> NDArray[Any]:
    """Names that are not in ``classes``, in a dtype that classes can be joined with without loss."""
    if n_names == 0:
        return classes[:0]
    if classes.dtype.kind in "biuf":
        first = int(np.floor(classes.max())) + 1
        return np.arange(first, first + n_names)
    candidates = np.array([f"unmatched {i}" for i in range(len(classes) + n_names)], dtype=classes.dtype.kind)
    return candidates[~np.isin(candidates, classes)][:n_names]


def bcubed_precision_recall(labels_true: ArrayLike, labels_pred: ArrayLike | sparse.sparray) -> tuple[float, float]:
    """BCubed precision and recall of a partition: how pure clusters are, and how whole classes are.

    The precision of a sample is the share of its cluster that is of its class, its recall the share of its class that
    is in its cluster; the sample itself counts. Both are averaged over samples, so large classes weigh more.

    Parameters
    ----------
    labels_true : array-like of shape (n,), int, float, bool or str
        True classes.
    labels_pred : array-like of shape (n,), int, float, bool or str; or of shape (n, n), bool
        Clusters; or a graph, which :func:`bcubed_graph_precision_recall` then scores.

    Returns
    -------
    precision : float, in (0, 1]
        1 if no cluster holds two classes.
    recall : float, in (0, 1]
        1 if no class is in two clusters.

    Raises
    ------
    ValueError
        If an array is empty or of another shape, if it holds NaN, infinity or labels that cannot be ordered, or if the
        lengths differ.

    References
    ----------
    Bagga and Baldwin, "Algorithms for scoring coreference chains", LREC 1998. Wu et al., "Deep Comprehensive
    Correlation Mining for Image Clustering", ICCV 2019, follow both by epoch in their Figure 5.

    Examples
    --------
    >>> from deepcluster_sk.metrics import bcubed_precision_recall
    >>> bcubed_precision_recall([0, 0, 1, 1], [0, 0, 0, 0])
    (0.5, 1.0)
    """
    if np.ndim(labels_pred) == 2:
        return bcubed_graph_precision_recall(labels_true, labels_pred)
    true, pred = _checked_pair(labels_true, labels_pred)
    cells = sparse.coo_array(contingency_matrix(true, pred, sparse=True))  # as many cells as there are overlaps
    class_sizes = np.bincount(cells.row, weights=cells.data)
    cluster_sizes = np.bincount(cells.col, weights=cells.data)
    squared = cells.data.astype(np.float64) ** 2
    precision = (squared / cluster_sizes[cells.col]).sum() / len(true)
    recall = (squared / class_sizes[cells.row]).sum() / len(true)
    return float(precision), float(recall)


def bcubed_graph_precision_recall(labels_true: ArrayLike, graph: ArrayLike | sparse.sparray) -> tuple[float, float]:
    """BCubed precision and recall of a graph, which need not be transitive: each sample's neighbours are its cluster.

    The precision of a sample is the share of its neighbours that are of its class, its recall the share of its class
    that are its neighbours; every sample is a neighbour of itself, whatever the diagonal says.

    Parameters
    ----------
    labels_true : array-like of shape (n,), int, float, bool or str
        True classes.
    graph : array-like or sparse array of shape (n, n), bool
        Row i marks the neighbours of sample i, as :func:`deepcluster_sk.pairs.pseudo_graph` does.

    Returns
    -------
    precision : float, in (0, 1]
        1 if no edge joins two classes.
    recall : float, in (0, 1]
        1 if all samples of a class are joined.

    Raises
    ------
    ValueError
        If ``labels_true`` is empty or not one-dimensional, if it holds NaN, infinity or labels that cannot be ordered,
        or if ``graph`` is not boolean or not of shape (n, n).

    References
    ----------
    Wu et al., "Deep Comprehensive Correlation Mining for Image Clustering", ICCV 2019, Figure 5.

    Examples
    --------
    >>> import numpy as np
    >>> from deepcluster_sk.metrics import bcubed_graph_precision_recall
    >>> graph = np.array([[True, True, False], [True, True, True], [False, True, True]])
    >>> precision, recall = bcubed_graph_precision_recall([0, 0, 1], graph)
    >>> round(precision, 4), round(recall, 4)
    (0.7222, 1.0)
    """
    codes = np.unique(_checked_labels(labels_true, "labels_true"), return_inverse=True)[1]
    n = len(codes)
    anchor, neighbour = _edges(graph, n)
    other = anchor != neighbour
    anchor, neighbour = anchor[other], neighbour[other]
    same = codes[anchor] == codes[neighbour]
    n_neighbours = 1 + np.bincount(anchor, minlength=n)
    n_same = 1 + np.bincount(anchor[same], minlength=n)
    class_size = np.bincount(codes)[codes]
    return float((n_same / n_neighbours).mean()), float((n_same / class_size).mean())


def _checked_labels(labels: ArrayLike, name: str) -> NDArray[Any]:
    array = np.asarray(labels)
    if array.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, got shape {array.shape}.")
    if len(array) == 0:
        raise ValueError(f"{name} must not be empty.")
    if array.dtype.kind == "O":
        array = _of_plain_dtype(array)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{name} must not contain NaN or infinity.")
    try:
        np.unique(array)
    except TypeError as error:
        raise ValueError(f"{name} must hold labels of one kind that can be ordered: {error}.") from error
    return array


def _of_plain_dtype(objects: NDArray[np.object_]) -> NDArray[Any]:
    """Numbers that are kept as objects, as a data frame may, in the dtype that they have without that."""
    if all(isinstance(label, Real) for label in objects):
        return np.array(objects.tolist())
    return objects


def _checked_pair(labels_true: ArrayLike, labels_pred: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    true, pred = _checked_labels(labels_true, "labels_true"), _checked_labels(labels_pred, "labels_pred")
    if len(true) != len(pred):
        raise ValueError(f"labels_true has {len(true)} samples, but labels_pred has {len(pred)}.")
    return true, pred


def _edges(graph: ArrayLike | sparse.sparray, n: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the true entries."""
    array: Any = graph if sparse.issparse(graph) else np.asarray(graph)
    if array.shape != (n, n):
        raise ValueError(f"graph must be of shape {(n, n)}, as labels_true has {n} samples; got {array.shape}.")
    if array.dtype != np.bool_:
        raise ValueError(f"graph must be boolean, got dtype {array.dtype}.")
    return array.nonzero()
