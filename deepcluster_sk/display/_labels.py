"""Displays of the clusters as such: how large they are, and which classes they hold."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix

from deepcluster_sk._input import is_array, last_step
from deepcluster_sk.display._shared import (
    check_labels,
    check_proba,
    method_of,
    name_ticks,
    own_axes,
    proba_of,
    pyplot,
    readable,
    use_whole_numbers,
)
from deepcluster_sk.metrics import align_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class AlignedConfusionMatrixDisplay:
    """Confusion matrix of true classes and clusters, with each cluster below the class that it is matched to.

    Its diagonal holds the samples that :func:`~deepcluster_sk.metrics.clustering_accuracy_score` counts as right.

    Parameters
    ----------
    confusion_matrix : ndarray of shape (n_labels, n_labels), int
        Samples of each class (rows) in each cluster (columns).
    classes : sequence of str, of length n_labels
        Name of each row; "no class" where a cluster is left without one.
    clusters : sequence of str, of length n_labels
        Name of each column; "no cluster" where a class is left without one.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the picture, after :meth:`plot`.
    figure_ : matplotlib Figure
        Figure of these axes, after :meth:`plot`.

    See Also
    --------
    deepcluster_sk.metrics.align_labels : Matches clusters to classes.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from deepcluster_sk.display import AlignedConfusionMatrixDisplay
    >>> matrix = np.array([[5, 1], [0, 4]])
    >>> display = AlignedConfusionMatrixDisplay(matrix, classes=["cat", "dog"], clusters=["1", "0"]).plot()
    >>> [label.get_text() for label in display.ax_.get_xticklabels()]
    ['1', '0']
    >>> plt.close()
    """

    ax_: "Axes"
    figure_: Any

    def __init__(self, confusion_matrix: NDArray[Any], classes: Any, clusters: Any) -> None:
        self.confusion_matrix = confusion_matrix
        self.classes = classes
        self.clusters = clusters

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: ArrayLike, *, ax: "Axes | None" = None, cmap: str = "Blues"
    ) -> Self:
        """Predict the clusters of some samples and draw how they fit true classes.

        Parameters
        ----------
        estimator : fitted estimator with ``predict``
        X : array-like, or what else ``estimator`` takes
            Samples; files that cannot be read are left out.
        y : array-like of shape (n,), int, float, bool or str
            True classes.
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None makes a figure.
        cmap : str, default="Blues"
            Colour map.

        Returns
        -------
        display : AlignedConfusionMatrixDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If the estimator has no ``predict``.
        ValueError
            If X does not fit the estimator, or y is not one class a sample.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.cluster import KMeans
        >>> from deepcluster_sk.display import AlignedConfusionMatrixDisplay
        >>> X = [[0.0], [0.1], [5.0], [5.1]]
        >>> kmeans = KMeans(2, random_state=0).fit(X)
        >>> AlignedConfusionMatrixDisplay.from_estimator(kmeans, X, ["a", "a", "b", "b"]).confusion_matrix.tolist()
        [[2, 0], [0, 2]]
        >>> plt.close()
        """
        labels = np.asarray(method_of(estimator, "predict")(X))
        classes = check_labels("y", y, len(labels))
        if not is_array(X):  # of files that cannot be read, the label is -1
            classes, labels = classes[labels >= 0], labels[labels >= 0]
        return cls.from_predictions(classes, labels, ax=ax, cmap=cmap)

    @classmethod
    def from_predictions(
        cls, labels_true: ArrayLike, labels_pred: ArrayLike, *, ax: "Axes | None" = None, cmap: str = "Blues"
    ) -> Self:
        """Draw how clusters of any origin fit true classes.

        Parameters
        ----------
        labels_true : array-like of shape (n,), int, float, bool or str
            True classes.
        labels_pred : array-like of shape (n,), int, float, bool or str
            Clusters.
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None makes a figure.
        cmap : str, default="Blues"
            Colour map.

        Returns
        -------
        display : AlignedConfusionMatrixDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If labels are not valid, as in :func:`~deepcluster_sk.metrics.align_labels`.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from deepcluster_sk.display import AlignedConfusionMatrixDisplay
        >>> display = AlignedConfusionMatrixDisplay.from_predictions([0, 0, 1, 1], [7, 7, 3, 5])
        >>> display.classes, display.clusters
        (['0', '1', 'no class'], ['7', '3', '5'])
        >>> plt.close()
        """
        true, pred = np.asarray(labels_true), np.asarray(labels_pred)
        aligned = align_labels(true, pred)
        known = np.unique(true.astype(aligned.dtype))
        names = np.concatenate([known, np.setdiff1d(aligned, known)])
        place = {name: i for i, name in enumerate(names.tolist())}  # classes may be numbers that are no integers
        codes = [[place[name] for name in labels.tolist()] for labels in (true.astype(aligned.dtype), aligned)]
        matrix = confusion_matrix(*codes, labels=np.arange(len(names)))
        classes = [str(name) for name in known] + ["no class"] * (len(names) - len(known))
        # Each name stands for one cluster at most, so that its first sample tells which.
        first = [np.flatnonzero(aligned == name)[:1] for name in names]
        clusters = [str(pred[at[0]]) if len(at) else "no cluster" for at in first]
        return cls(matrix, classes, clusters).plot(ax, cmap=cmap)

    def plot(self, ax: "Axes | None" = None, *, cmap: str = "Blues") -> Self:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None makes a figure.
        cmap : str, default="Blues"
            Colour map.

        Returns
        -------
        self : AlignedConfusionMatrixDisplay
            With ``ax_`` and ``figure_`` set.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        side = 1.8 + 0.45 * len(self.classes)
        ax = own_axes(ax, figsize=(side + 0.8, side), layout="compressed")
        inner = ConfusionMatrixDisplay(np.asarray(self.confusion_matrix))
        inner.plot(ax=ax, cmap=cmap, values_format="d", text_kw={"fontsize": "small"})
        for i, j in np.argwhere(inner.confusion_matrix == 0):
            inner.text_[i, j].set_text("")
        name_ticks(ax, self.clusters)
        ax.set_yticks(range(len(self.classes)), self.classes)
        ax.set(xlabel="cluster", ylabel="true class")
        inner.im_.colorbar.set_label("samples")
        self.ax_, self.figure_ = ax, ax.figure
        return self


class ClusterSizeDisplay:
    """Number of samples in each cluster, as bars, coloured by how sure the network is of them.

    Parameters
    ----------
    clusters : sequence of int or str, of length n_clusters
        Name of each cluster.
    sizes : array-like of shape (n_clusters,), int
        Samples in each cluster.
    confidence : array-like of shape (n_clusters,), float, in [0, 1], or None, default=None
        Mean of the largest probability over the samples of each cluster; NaN where it is empty.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the picture, after :meth:`plot`.
    figure_ : matplotlib Figure
        Figure of these axes, after :meth:`plot`.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from deepcluster_sk.display import ClusterSizeDisplay
    >>> display = ClusterSizeDisplay([0, 1], sizes=[30, 10], confidence=[0.9, 0.6]).plot()
    >>> [int(bar.get_height()) for bar in display.ax_.patches]
    [30, 10]
    >>> [text.get_text() for text in display.ax_.texts]
    ['0.90', '0.60']
    >>> plt.close()
    """

    ax_: "Axes"
    figure_: Any

    def __init__(self, clusters: Any, sizes: ArrayLike, confidence: ArrayLike | None = None) -> None:
        self.clusters = clusters
        self.sizes = sizes
        self.confidence = confidence

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, *, ax: "Axes | None" = None) -> Self:
        """Predict the clusters of some samples and draw their sizes.

        Parameters
        ----------
        estimator : fitted estimator with ``predict_proba``, or at least ``predict``
        X : array-like, or what else ``estimator`` takes
            Samples; files that cannot be read are left out.
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None makes a figure.

        Returns
        -------
        display : ClusterSizeDisplay
            With confidence where the estimator has ``predict_proba``.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If the estimator has neither method.
        ValueError
            If X does not fit the estimator.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.cluster import KMeans
        >>> from deepcluster_sk.display import ClusterSizeDisplay
        >>> X = [[0.0], [0.1], [5.0]]
        >>> sorted(ClusterSizeDisplay.from_estimator(KMeans(2, random_state=0).fit(X), X).sizes.tolist())
        [1, 2]
        >>> plt.close()
        """
        if not hasattr(estimator, "predict_proba"):
            labels = np.asarray(method_of(estimator, "predict")(X))
            return cls.from_predictions(labels if is_array(X) else labels[labels >= 0], ax=ax)
        proba = proba_of(estimator, X)
        names = getattr(last_step(estimator), "cluster_names_", None)
        return cls._of_proba(proba[readable(proba)], names).plot(ax)

    @classmethod
    def from_predictions(cls, predictions: ArrayLike, *, ax: "Axes | None" = None) -> Self:
        """Draw the sizes of clusters of any origin.

        Parameters
        ----------
        predictions : array-like of shape (n,), int or str; or of shape (n, n_clusters), float, in [0, 1]
            Cluster of each sample; or probabilities, of which the largest tells the cluster and the confidence. Only
            probabilities tell of clusters that are empty.
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None makes a figure.

        Returns
        -------
        display : ClusterSizeDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If ``predictions`` are neither labels nor probabilities.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from deepcluster_sk.display import ClusterSizeDisplay
        >>> display = ClusterSizeDisplay.from_predictions([[0.75, 0.25, 0.0], [1.0, 0.0, 0.0], [0.0, 0.5, 0.5]])
        >>> display.sizes.tolist(), display.confidence.tolist()
        ([2, 1, 0], [0.875, 0.5, nan])
        >>> plt.close()
        """
        array = np.asarray(predictions)
        if array.ndim == 1 and len(array):
            return cls(*np.unique(array, return_counts=True)).plot(ax)
        return cls._of_proba(check_proba("predictions", array), None).plot(ax)

    @classmethod
    def _of_proba(cls, proba: NDArray[np.float64], names: Sequence[str] | None) -> Self:
        n_clusters = proba.shape[1]
        labels, largest = proba.argmax(axis=1), proba.max(axis=1)
        sizes = np.bincount(labels, minlength=n_clusters)
        total = np.bincount(labels, weights=largest, minlength=n_clusters)
        confidence = np.divide(total, sizes, out=np.full(n_clusters, np.nan), where=sizes > 0)
        return cls(np.arange(n_clusters) if names is None else names, sizes, confidence)

    def plot(self, ax: "Axes | None" = None) -> Self:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None makes a figure.

        Returns
        -------
        self : ClusterSizeDisplay
            With ``ax_`` and ``figure_`` set.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        plt = pyplot()
        sizes = np.asarray(self.sizes)
        axis = own_axes(ax, figsize=(min(2.0 + 0.5 * len(sizes), 16.0), 3.4))
        at = np.arange(len(sizes))
        if self.confidence is None:
            axis.bar(at, sizes, color="0.6")
        else:
            confidence = np.asarray(self.confidence, dtype=np.float64)
            scale = plt.cm.ScalarMappable(plt.Normalize(0, 1), cmap="cividis")
            bars = axis.bar(at, sizes, color=scale.to_rgba(np.nan_to_num(confidence)))
            names = ["" if np.isnan(value) else f"{value:.2f}" for value in confidence]
            axis.bar_label(bars, names, padding=2, fontsize="small")
            axis.figure.colorbar(scale, ax=axis, label="mean largest probability")
            axis.margins(y=0.1)
        name_ticks(axis, [str(name) for name in self.clusters])
        axis.set(xlabel="cluster", ylabel="samples")
        use_whole_numbers(axis.yaxis)
        self.ax_, self.figure_ = axis, axis.figure
        return self
