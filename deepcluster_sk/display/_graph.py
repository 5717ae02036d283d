"""Displays of the pseudo-graph: which samples a network takes to be of one cluster, and how right it is."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state

from deepcluster_sk._input import last_step
from deepcluster_sk._validation import check_number
from deepcluster_sk.callbacks import StageRecorder
from deepcluster_sk.display._shared import (
    COLORS,
    as_stages,
    check_labels,
    check_proba,
    own_axes,
    proba_of,
    readable,
    stages_of,
    use_whole_numbers,
)
from deepcluster_sk.metrics import bcubed_graph_precision_recall
from deepcluster_sk.pairs import cosine_similarity_matrix, pseudo_graph

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# DCCM's threshold on the cosine similarity of probabilities.
_THRESHOLD = 0.95


class PseudoGraphDisplay:
    """Pseudo-graph of some samples as a matrix, ordered by cluster: black where two samples have an edge.

    Blocks on the diagonal are clusters whose samples are all alike; black beside them joins clusters, white within them
    are samples the network is not sure of.

    Parameters
    ----------
    graph : ndarray of shape (n, n), bool
        Edges, in any order of samples.
    labels : ndarray of shape (n,), int or str
        What samples are ordered by: clusters, or true classes.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the picture, after :meth:`plot`.
    figure_ : matplotlib Figure
        Figure of these axes, after :meth:`plot`.

    References
    ----------
    Wu et al., "Deep Comprehensive Correlation Mining for Image Clustering", ICCV 2019, Eq. (2).

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from deepcluster_sk.display import PseudoGraphDisplay
    >>> graph = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]], dtype=bool)
    >>> display = PseudoGraphDisplay(graph, labels=np.array([0, 1, 0])).plot()
    >>> display.ax_.images[0].get_array().astype(int).tolist()
    [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    >>> plt.close()
    """

    ax_: "Axes"
    figure_: Any

    def __init__(self, graph: NDArray[np.bool_], labels: NDArray[Any]) -> None:
        self.graph = graph
        self.labels = labels

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: ArrayLike | None = None,
        *,
        threshold: float | None = None,
        n_samples: int = 500,
        random_state: Any = 0,
        ax: "Axes | None" = None,
    ) -> Self:
        """Predict probabilities of some samples and draw the graph that follows from them.

        Parameters
        ----------
        estimator : fitted estimator with ``predict_proba``
        X : array-like, or what else ``estimator`` takes
            Samples; files that cannot be read are left out.
        y : array-like of shape (n,) or None, default=None
            What to order by instead of clusters, such as true classes.
        threshold : float, in [0, 1], or None, default=None
            Cosine similarity of probabilities from which on there is an edge; None takes the estimator's
            ``graph_threshold``, or 0.95.
        n_samples : int, default=500
            Most samples that are drawn, at least 1.
        random_state : int, RandomState or None, default=0
            Chooses them where there are more.
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None makes a figure.

        Returns
        -------
        display : PseudoGraphDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If the estimator has no ``predict_proba``.
        ValueError
            If X does not fit the estimator, y is not of its length, or another parameter is out of its range.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.mixture import GaussianMixture
        >>> from deepcluster_sk.display import PseudoGraphDisplay
        >>> X = [[0.0], [0.1], [5.0], [5.1]]
        >>> mixture = GaussianMixture(2, random_state=0).fit(X)
        >>> PseudoGraphDisplay.from_estimator(mixture, X).graph.astype(int).tolist()
        [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]
        >>> plt.close()
        """
        proba = proba_of(estimator, X)
        there = readable(proba)
        labels = None if y is None else check_labels("y", y, len(proba))[there]
        if threshold is None:
            threshold = getattr(last_step(estimator), "graph_threshold", _THRESHOLD)
        some = {"n_samples": n_samples, "random_state": random_state}
        return cls.from_predictions(proba[there], labels, threshold=threshold, **some, ax=ax)

    @classmethod
    def from_predictions(
        cls,
        proba: ArrayLike,
        y: ArrayLike | None = None,
        *,
        threshold: float = _THRESHOLD,
        n_samples: int = 500,
        random_state: Any = 0,
        ax: "Axes | None" = None,
    ) -> Self:
        """Draw the graph that follows from probabilities of any origin.

        Parameters
        ----------
        proba : array-like of shape (n, n_clusters), float, in [0, 1]
            Cluster probabilities.
        y, n_samples, random_state, ax
            As in :meth:`from_estimator`.
        threshold : float, in [0, 1], default=0.95
            Cosine similarity of probabilities from which on there is an edge.

        Returns
        -------
        display : PseudoGraphDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If probabilities are not valid, y is not of their length, or another parameter is out of its range.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from deepcluster_sk.display import PseudoGraphDisplay
        >>> PseudoGraphDisplay.from_predictions([[0.9, 0.1], [0.1, 0.9], [0.8, 0.2]]).graph.astype(int).tolist()
        [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
        >>> plt.close()
        """
        check_number("threshold", threshold, float, 0, 1)
        check_number("n_samples", n_samples, int, 1)
        array = check_proba("proba", proba)
        labels = array.argmax(axis=1) if y is None else check_labels("y", y, len(array))
        if len(array) > n_samples:
            some = np.sort(check_random_state(random_state).permutation(len(array))[:n_samples])
            array, labels = array[some], labels[some]
        return cls(_graph(array, threshold), labels).plot(ax)

    def plot(self, ax: "Axes | None" = None) -> Self:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None makes a figure.

        Returns
        -------
        self : PseudoGraphDisplay
            With ``ax_`` and ``figure_`` set.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        ax = own_axes(ax, figsize=(5.0, 5.0))
        order = np.argsort(self.labels, kind="stable")
        names, sizes = np.unique(self.labels, return_counts=True)
        ax.imshow(np.asarray(self.graph)[np.ix_(order, order)], cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
        ends = np.cumsum(sizes)
        for end in ends[:-1]:
            ax.axhline(end - 0.5, color=COLORS[6], linewidth=0.6)
            ax.axvline(end - 0.5, color=COLORS[6], linewidth=0.6)
        middles = ends - (sizes + 1) / 2
        ax.set_xticks(middles, [str(name) for name in names])
        ax.set_yticks(middles, [str(name) for name in names])
        ax.tick_params(length=0)
        ax.set(xlabel="samples, by cluster or class", ylabel="samples, by cluster or class")
        self.ax_, self.figure_ = ax, ax.figure
        return self


class GraphPrecisionRecallDisplay:
    """BCubed precision and recall of the pseudo-graph against true classes, by epoch.

    Parameters
    ----------
    epochs : array-like of shape (n_stages,), int
        Epochs, counted from 1 over all phases.
    precision, recall : array-like of shape (n_stages,), float, in (0, 1]
        As :func:`~deepcluster_sk.metrics.bcubed_graph_precision_recall` defines them.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the picture, after :meth:`plot`.
    figure_ : matplotlib Figure
        Figure of these axes, after :meth:`plot`.

    References
    ----------
    Wu et al., "Deep Comprehensive Correlation Mining for Image Clustering", ICCV 2019, Figure 5.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from deepcluster_sk.display import GraphPrecisionRecallDisplay
    >>> display = GraphPrecisionRecallDisplay([1, 5], precision=[0.5, 0.8], recall=[0.2, 0.6]).plot()
    >>> [(line.get_label(), line.get_ydata().tolist()) for line in display.ax_.lines]
    [('precision', [0.5, 0.8]), ('recall', [0.2, 0.6])]
    >>> plt.close()
    """

    ax_: "Axes"
    figure_: Any

    def __init__(self, epochs: ArrayLike, precision: ArrayLike, recall: ArrayLike) -> None:
        self.epochs = epochs
        self.precision = precision
        self.recall = recall

    @classmethod
    def from_predictions(
        cls,
        proba: Sequence[ArrayLike],
        y: ArrayLike,
        *,
        epochs: Sequence[int] | None = None,
        threshold: float = _THRESHOLD,
        ax: "Axes | None" = None,
    ) -> Self:
        """Draw how right the graphs are that follow from the probabilities of several epochs.

        Parameters
        ----------
        proba : sequence of array-like of shape (n, n_clusters), float, in [0, 1]
            Cluster probabilities, an array an epoch. Memory for n x n numbers is needed.
        y : array-like of shape (n,), int, float, bool or str
            True classes.
        epochs : sequence of int or None, default=None
            Epoch of each array; None counts from 1.
        threshold : float, in [0, 1], default=0.95
            Cosine similarity of probabilities from which on there is an edge.
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None makes a figure.

        Returns
        -------
        display : GraphPrecisionRecallDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If probabilities are not valid, y or epochs are not of their length, or ``threshold`` is out of its range.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from deepcluster_sk.display import GraphPrecisionRecallDisplay
        >>> start, end = [[0.5, 0.5], [0.5, 0.5]], [[0.9, 0.1], [0.1, 0.9]]
        >>> display = GraphPrecisionRecallDisplay.from_predictions([start, end], ["cat", "dog"])
        >>> display.precision, display.recall
        ([0.5, 1.0], [1.0, 1.0])
        >>> plt.close()
        """
        check_number("threshold", threshold, float, 0, 1)
        arrays, _ = as_stages(proba, None)
        counted = list(range(1, len(arrays) + 1)) if epochs is None else list(epochs)
        if len(counted) != len(arrays):
            raise ValueError(f"epochs has {len(counted)} numbers, and must have {len(arrays)}, one for each array.")
        graphs = (_graph(array, threshold) for array in arrays)
        classes = check_labels("y", y, len(arrays[0]))
        scores = [bcubed_graph_precision_recall(classes, graph) for graph in graphs]
        return cls(counted, [precision for precision, _ in scores], [recall for _, recall in scores]).plot(ax)

    @classmethod
    def from_recorder(
        cls, recorder: StageRecorder, y: ArrayLike, *, threshold: float = _THRESHOLD, ax: "Axes | None" = None
    ) -> Self:
        """Draw how right the graph was at the stages of training.

        Parameters
        ----------
        recorder : StageRecorder
            After a fit.
        y : array-like of shape (n,), int, float, bool or str
            True classes of the recorder's samples.
        threshold, ax
            As in :meth:`from_predictions`.

        Returns
        -------
        display : GraphPrecisionRecallDisplay

        Raises
        ------
        ImportError, ValueError
            As there; and if nothing was recorded.
        TypeError
            If ``recorder`` is no :class:`~deepcluster_sk.callbacks.StageRecorder`.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.datasets import load_digits
        >>> from deepcluster_sk import DACClustering
        >>> from deepcluster_sk.callbacks import StageRecorder
        >>> from deepcluster_sk.display import GraphPrecisionRecallDisplay
        >>> digits = load_digits()
        >>> recorder = StageRecorder(digits.images[:50], epochs=1)
        >>> dac = DACClustering(3, max_epochs=1, random_state=0).set_callbacks(recorder).fit(digits.images[:50])
        >>> GraphPrecisionRecallDisplay.from_recorder(recorder, digits.target[:50]).epochs
        [1, 2, 3]
        >>> plt.close()
        """
        stages = stages_of(recorder)
        there = readable(stages[-1].proba)
        classes = check_labels("y", y, len(there))[there]
        epochs = [stage.n_iter for stage in stages]
        proba = [stage.proba[there] for stage in stages]
        return cls.from_predictions(proba, classes, epochs=epochs, threshold=threshold, ax=ax)

    def plot(self, ax: "Axes | None" = None) -> Self:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None makes a figure.

        Returns
        -------
        self : GraphPrecisionRecallDisplay
            With ``ax_`` and ``figure_`` set.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        axis = own_axes(ax, figsize=(6.0, 3.6))
        epochs = np.asarray(self.epochs)
        axis.plot(epochs, np.asarray(self.precision), marker="o", color=COLORS[0], label="precision")
        axis.plot(epochs, np.asarray(self.recall), marker="s", linestyle="--", color=COLORS[2], label="recall")
        axis.set(xlabel="epoch (all phases together)", ylabel="BCubed score of the pseudo-graph", ylim=(0, 1.05))
        use_whole_numbers(axis.xaxis)
        axis.legend(frameon=False)
        self.ax_, self.figure_ = axis, axis.figure
        return self


def _graph(proba: NDArray[np.float64], threshold: float) -> NDArray[np.bool_]:
    """Edges between samples whose probabilities have a cosine similarity of at least ``threshold``."""
    return pseudo_graph(cosine_similarity_matrix(torch.from_numpy(proba)), threshold).numpy()
