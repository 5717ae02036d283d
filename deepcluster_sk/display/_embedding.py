"""Display of the embedding in two dimensions."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state

from deepcluster_sk._projection import project
from deepcluster_sk._validation import check_choice, check_number
from deepcluster_sk.callbacks import StageRecorder
from deepcluster_sk.display._shared import check_labels, draw_points, method_of, own_panels, stages_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_AXIS = {"pca": "principal component", "tsne": "t-SNE dimension"}


class EmbeddingDisplay:
    """Embedding in two dimensions, by PCA or t-SNE, coloured by cluster or true class; one panel a stage.

    Parameters
    ----------
    positions : sequence of ndarray of shape (n, 2), float
        Where samples lie, an array a panel.
    labels : sequence of ndarray of shape (n,), int or str
        What they are coloured by, an array a panel.
    stages : sequence of str or None, default=None
        Name of each panel.
    method : {"pca", "tsne"}, default="pca"
        How positions were made, for the names of the axes.

    Attributes
    ----------
    axes_ : ndarray of shape (n_panels,) of matplotlib Axes
        Axes of each panel, after :meth:`plot`.
    figure_ : matplotlib Figure
        Figure of these axes, after :meth:`plot`.

    References
    ----------
    Wu et al., "Deep Comprehensive Correlation Mining for Image Clustering", ICCV 2019, Figure 3.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from deepcluster_sk.display import EmbeddingDisplay
    >>> display = EmbeddingDisplay([np.array([[0.0, 1.0], [2.0, 3.0]])], labels=[np.array(["cat", "dog"])]).plot()
    >>> [text.get_text() for text in display.axes_[0].get_legend().get_texts()]
    ['cat', 'dog']
    >>> plt.close()
    """

    axes_: NDArray[Any]
    figure_: Any

    def __init__(
        self,
        positions: Sequence[NDArray[Any]],
        labels: Sequence[NDArray[Any]],
        stages: Sequence[str] | None = None,
        method: str = "pca",
    ) -> None:
        self.positions = positions
        self.labels = labels
        self.stages = stages
        self.method = method

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: ArrayLike | None = None,
        *,
        method: str = "pca",
        n_samples: int = 2000,
        random_state: Any = 0,
        ax: "Axes | None" = None,
    ) -> Self:
        """Embed some samples and draw where they lie.

        Parameters
        ----------
        estimator : fitted estimator with ``transform`` and ``predict``
        X : array-like, or what else ``estimator`` takes
            Samples; files that cannot be read are left out.
        y : array-like of shape (n,) or None, default=None
            What to colour by instead of clusters, such as true classes.
        method, n_samples, random_state, ax
            As in :meth:`from_predictions`.

        Returns
        -------
        display : EmbeddingDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If the estimator has no ``transform`` or no ``predict``.
        ValueError
            If X does not fit the estimator, y is not of its length, or another parameter is not valid.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.cluster import KMeans
        >>> from sklearn.datasets import load_digits
        >>> from deepcluster_sk.display import EmbeddingDisplay
        >>> X = load_digits().data[:50]
        >>> EmbeddingDisplay.from_estimator(KMeans(3, random_state=0).fit(X), X).positions[0].shape
        (50, 2)
        >>> plt.close()
        """
        embedding = np.asarray(method_of(estimator, "transform")(X))
        there = np.isfinite(embedding).all(axis=1)
        labels = np.asarray(method_of(estimator, "predict")(X)) if y is None else check_labels("y", y, len(there))
        some = {"n_samples": n_samples, "random_state": random_state}
        return cls.from_predictions(embedding[there], labels[there], method=method, **some, ax=ax)

    @classmethod
    def from_predictions(
        cls,
        embedding: ArrayLike,
        labels: ArrayLike,
        *,
        method: str = "pca",
        n_samples: int = 2000,
        random_state: Any = 0,
        ax: "Axes | None" = None,
    ) -> Self:
        """Draw an embedding of any origin.

        Parameters
        ----------
        embedding : array-like of shape (n, d), float
            Embedding of each sample.
        labels : array-like of shape (n,), int or str
            What samples are coloured by.
        method : {"pca", "tsne"}, default="pca"
            scikit-learn's PCA, which keeps distances as far as two dimensions can, or its t-SNE, which keeps
            neighbours, and takes a minute for some thousand samples.
        n_samples : int, default=2000
            Most samples that are drawn, at least 2.
        random_state : int, RandomState or None, default=0
            Chooses them where there are more, and seeds t-SNE.
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None makes a figure.

        Returns
        -------
        display : EmbeddingDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If the embedding is not finite numbers (n, d), labels are not of its length, or another parameter is not
            valid.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from deepcluster_sk.display import EmbeddingDisplay
        >>> display = EmbeddingDisplay.from_predictions([[0.0, 0.0, 2.0], [0.0, 0.0, 6.0]], [0, 1])
        >>> abs(display.positions[0]).round(3).tolist()
        [[2.0, 0.0], [2.0, 0.0]]
        >>> plt.close()
        """
        check_choice("method", method, tuple(_AXIS))
        points = np.asarray(embedding, dtype=np.float64)
        if points.ndim != 2 or len(points) < 2:
            raise ValueError(f"embedding of shape {points.shape} must be of shape (n, d) with n of at least 2.")
        if not np.isfinite(points).all():
            raise ValueError("embedding holds NaN or infinity, and must be finite.")
        names = check_labels("labels", labels, len(points))
        some = _some(len(points), n_samples, random_state)
        positions, _ = project(points[some], method, random_state)
        return cls([positions], [names[some]], method=method).plot(ax)

    @classmethod
    def from_recorder(
        cls,
        recorder: StageRecorder,
        y: ArrayLike | None = None,
        *,
        method: str = "pca",
        n_samples: int = 2000,
        random_state: Any = 0,
        ax: "Sequence[Axes] | None" = None,
    ) -> Self:
        """Draw the embedding at the stages of training, each in a panel and by a projection of its own.

        Parameters
        ----------
        recorder : StageRecorder
            After a fit.
        y : array-like of shape (n,) or None, default=None
            What to colour the recorder's samples by instead of the clusters of each stage, such as true classes.
        method, n_samples, random_state
            As in :meth:`from_predictions`.
        ax : sequence of matplotlib Axes or None, default=None
            Axes to draw into, one a stage; None makes a figure.

        Returns
        -------
        display : EmbeddingDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If ``recorder`` is no :class:`~deepcluster_sk.callbacks.StageRecorder`.
        ValueError
            If it recorded nothing, y is not of the length of its samples, or another parameter is not valid.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.datasets import load_digits
        >>> from deepcluster_sk import DACClustering
        >>> from deepcluster_sk.callbacks import StageRecorder
        >>> from deepcluster_sk.display import EmbeddingDisplay
        >>> X = load_digits(n_class=3).images[:50]
        >>> recorder = StageRecorder(X)
        >>> dac = DACClustering(3, max_epochs=1, random_state=0).set_callbacks(recorder).fit(X)
        >>> [axes.get_title() for axes in EmbeddingDisplay.from_recorder(recorder).axes_]
        ['warm-up, epoch 1', 'label start, epoch 1', 'DAC, epoch 1']
        >>> plt.close()
        """
        check_choice("method", method, tuple(_AXIS))
        stages = stages_of(recorder)
        there = np.flatnonzero(np.isfinite(stages[-1].embedding).all(axis=1))
        some = there[_some(len(there), n_samples, random_state)]
        classes = None if y is None else check_labels("y", y, len(stages[-1].embedding))[some]
        positions = [project(stage.embedding[some].astype(np.float64), method, random_state)[0] for stage in stages]
        labels = [stage.proba[some].argmax(axis=1) if classes is None else classes for stage in stages]
        return cls(positions, labels, [stage.name for stage in stages], method).plot(ax)

    def plot(self, ax: "Axes | Sequence[Axes] | None" = None) -> Self:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib Axes, sequence of such, or None, default=None
            Axes to draw into, one a panel; None makes a figure.

        Returns
        -------
        self : EmbeddingDisplay
            With ``axes_`` and ``figure_`` set.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If ``ax`` holds another number of axes, or ``method`` is none of those.
        """
        check_choice("method", self.method, tuple(_AXIS))
        n_panels = len(self.positions)
        n_columns = 2 if n_panels == 4 else min(n_panels, 3)
        n_rows = -(-n_panels // n_columns)
        names = np.unique(np.concatenate([np.asarray(labels) for labels in self.labels]))
        n_legend_columns = -(-len(names) // 12)
        figsize = 0.4 + 0.8 * n_legend_columns + 3.6 * n_columns, 3.8 * n_rows
        panels = own_panels(ax, n_panels, (n_rows, n_columns), figsize=figsize)
        titles = [""] * n_panels if self.stages is None else self.stages
        for panel, positions, labels, title in zip(panels, self.positions, self.labels, titles, strict=True):
            draw_points(panel, positions, np.asarray(labels), names)
            panel.set_title(title, fontsize="medium")
            panel.set(xticks=[], yticks=[], xlabel=f"{_AXIS[self.method]} 1", ylabel=f"{_AXIS[self.method]} 2")
        legend = panels[min(n_panels, n_columns) - 1].legend
        legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, ncols=n_legend_columns, markerscale=1.5)
        self.axes_, self.figure_ = panels, panels[0].figure
        return self


def _some(n: int, n_samples: int, random_state: Any) -> NDArray[np.intp]:
    """Indices of at most ``n_samples`` of n samples, in ascending order."""
    check_number("n_samples", n_samples, int, 2)
    if n <= n_samples:
        return np.arange(n)
    return np.sort(check_random_state(random_state).permutation(n)[:n_samples])
