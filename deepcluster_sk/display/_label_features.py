"""Display of label features in the plane."""

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepcluster_sk.display._shared import check_labels, check_proba, draw_points, own_axes, proba_of, readable

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class LabelFeatureDisplay:
    """Label features in the plane: each cluster is a corner of a regular polygon, each sample a point within it.

    A sample lies at the mean of the corners, weighted by its probabilities, so that one-hot features lie in corners.
    DAC's label features, divided by their sum, are its probabilities.

    Parameters
    ----------
    features : ndarray of shape (n, n_clusters), float, in [0, 1]
        Label features, or probabilities.
    labels : ndarray of shape (n,), int or str
        What points are coloured by: clusters, or true classes.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the picture, after :meth:`plot`.
    figure_ : matplotlib Figure
        Figure of these axes, after :meth:`plot`.

    References
    ----------
    Chang et al., "Deep Adaptive Image Clustering", ICCV 2017, Figure 1; its mapping is in a supplement, this one is
    ours.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from deepcluster_sk.display import LabelFeatureDisplay
    >>> display = LabelFeatureDisplay(np.array([[1.0, 0, 0, 0], [0.5, 0, 0.5, 0]]), labels=np.array([0, 0])).plot()
    >>> display.ax_.collections[0].get_offsets().round(3).tolist()  # the top corner, and the middle
    [[0.0, 1.0], [0.0, 0.0]]
    >>> plt.close()
    """

    ax_: "Axes"
    figure_: Any

    def __init__(self, features: NDArray[Any], labels: NDArray[Any]) -> None:
        self.features = features
        self.labels = labels

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, y: ArrayLike | None = None, *, ax: "Axes | None" = None) -> Self:
        """Predict probabilities of some samples and draw them.

        Parameters
        ----------
        estimator : fitted estimator with ``predict_proba``
        X : array-like, or what else ``estimator`` takes
            Samples; files that cannot be read are left out.
        y : array-like of shape (n,) or None, default=None
            What to colour by instead of clusters, such as true classes.
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None makes a figure.

        Returns
        -------
        display : LabelFeatureDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If the estimator has no ``predict_proba``.
        ValueError
            If X does not fit the estimator, or y is not of its length.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.mixture import GaussianMixture
        >>> from deepcluster_sk.display import LabelFeatureDisplay
        >>> X = [[0.0], [0.1], [5.0], [5.1], [9.0], [9.1]]
        >>> mixture = GaussianMixture(3, random_state=0).fit(X)
        >>> LabelFeatureDisplay.from_estimator(mixture, X).features.shape
        (6, 3)
        >>> plt.close()
        """
        proba = proba_of(estimator, X)
        there = readable(proba)
        labels = None if y is None else check_labels("y", y, len(proba))[there]
        return cls.from_predictions(proba[there], labels, ax=ax)

    @classmethod
    def from_predictions(cls, features: ArrayLike, y: ArrayLike | None = None, *, ax: "Axes | None" = None) -> Self:
        """Draw label features, or probabilities, of any origin.

        Parameters
        ----------
        features : array-like of shape (n, n_clusters), float, in [0, 1]
            Label features, or probabilities.
        y : array-like of shape (n,) or None, default=None
            What to colour by instead of clusters, such as true classes.
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None makes a figure.

        Returns
        -------
        display : LabelFeatureDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If the features are not valid, or y is not of their length.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from deepcluster_sk.display import LabelFeatureDisplay
        >>> LabelFeatureDisplay.from_predictions([[0.6, 0.8, 0.0], [0.0, 0.0, 1.0]]).labels.tolist()
        [1, 2]
        >>> plt.close()
        """
        array = check_proba("features", features)
        labels = array.argmax(axis=1) if y is None else check_labels("y", y, len(array))
        return cls(array, labels).plot(ax)

    def plot(self, ax: "Axes | None" = None) -> Self:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None makes a figure.

        Returns
        -------
        self : LabelFeatureDisplay
            With ``ax_`` and ``figure_`` set.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        ax = own_axes(ax, figsize=(5.6, 4.8), layout="compressed")
        features = np.asarray(self.features, dtype=np.float64)
        n_clusters = features.shape[1]
        angles = np.pi / 2 - 2 * np.pi * np.arange(n_clusters) / n_clusters
        corners = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        weights = features / features.sum(axis=1, keepdims=True)
        labels = np.asarray(self.labels)
        draw_points(ax, weights @ corners, labels, np.unique(labels))
        ax.plot(*np.concatenate([corners, corners[:1]]).T, color="0.7", linewidth=0.8, zorder=0)
        for cluster, (x, y) in enumerate(1.13 * corners):
            ax.text(x, y, str(cluster), ha="center", va="center")
        if not np.array_equal(labels, features.argmax(axis=1)):  # else the corners' numbers tell the colours
            ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, markerscale=1.5)
        ax.set(xlim=(-1.25, 1.25), ylim=(-1.25, 1.25), aspect="equal")
        ax.axis("off")
        self.ax_, self.figure_ = ax, ax.figure
        return self
