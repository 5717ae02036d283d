"""Pictures of a clustering, in the manner of scikit-learn's Displays."""

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.pipeline import Pipeline

from deepcluster_sk._input import is_array
from deepcluster_sk._validation import check_number, check_samples

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ClusterGridDisplay"]

# Pixels between two images, filled with transparency.
_GAP = 1


class ClusterGridDisplay:
    """One row a cluster: its most confident images, from left to right.

    Make it with :meth:`from_estimator`, or from labels of any origin with the constructor.

    Parameters
    ----------
    images : ndarray of shape (n, h, w) or (n, h, w, c), uint8 or float of any range
        Images with 1, 3 or 4 channels.
    labels : ndarray of shape (n,), int
        Cluster of each image.
    confidence : ndarray of shape (n,), float
        By which the images of a cluster are ordered, largest first.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the picture, after :meth:`plot`.
    figure_ : matplotlib Figure
        Figure of these axes, after :meth:`plot`.

    See Also
    --------
    deepcluster_sk.metrics.align_labels : Gives clusters the names of classes, where true labels are known.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> import numpy as np
    >>> from deepcluster_sk.display import ClusterGridDisplay
    >>> images = np.array([[[0, 9], [9, 0]], [[9, 0], [0, 9]], [[0, 8], [8, 0]]], dtype=np.uint8)
    >>> display = ClusterGridDisplay(images, labels=np.array([0, 1, 0]), confidence=np.array([0.6, 0.9, 0.7]))
    >>> display.plot().ax_.get_yticklabels()[0].get_text()
    'cluster 0 (2)'
    """

    ax_: "Axes"
    figure_: Any

    def __init__(self, images: NDArray[Any], labels: NDArray[Any], confidence: NDArray[Any]) -> None:
        self.images = images
        self.labels = labels
        self.confidence = confidence

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        *,
        image_shape: tuple[int, ...] | None = None,
        ax: "Axes | None" = None,
        n_images: int = 12,
        cmap: str = "gray",
    ) -> Self:
        """Predict the clusters of some images and draw them.

        Parameters
        ----------
        estimator : fitted estimator with ``predict_proba``
            For example a :class:`~deepcluster_sk.DCCMClustering`, or a Pipeline that ends with one.
        X : array-like of shape (n, h, w), (n, h, w, c), (n, c, h, w) or (n, n_features), uint8 or float
            Images as ``estimator`` takes them.
        image_shape : tuple (h, w[, c]) or None, default=None
            Shape of one image where X does not tell it; None takes the parameter of that name of ``estimator``, of the
            last step of a Pipeline, or of the best estimator of a search, if there is one.
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None makes a figure.
        n_images : int, default=12
            Most images of one cluster, at least 1.
        cmap : str, default="gray"
            Colour map of images with one channel.

        Returns
        -------
        display : ClusterGridDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If X does not fit the estimator, or holds no images.

        Examples
        --------
        >>> import matplotlib
        >>> matplotlib.use("agg")
        >>> from sklearn.datasets import load_digits
        >>> from sklearn.mixture import GaussianMixture
        >>> from deepcluster_sk.display import ClusterGridDisplay
        >>> X = load_digits().data[:50]
        >>> mixture = GaussianMixture(2, covariance_type="spherical", random_state=0).fit(X)
        >>> display = ClusterGridDisplay.from_estimator(mixture, X, image_shape=(8, 8), n_images=5)
        >>> len(display.ax_.get_yticks())
        2
        """
        proba = np.asarray(estimator.predict_proba(X))
        shape = _image_shape_of(estimator) if image_shape is None else image_shape
        samples = check_samples(estimator, X, shape, reset=False) if is_array(X) else estimator._read(X).rows[:]
        if samples.ndim != 4:
            raise ValueError(f"X of shape {np.shape(X)} holds feature vectors, not images; set image_shape.")
        display = cls(samples.transpose(0, 2, 3, 1), proba.argmax(axis=1), proba.max(axis=1))
        return display.plot(ax, n_images=n_images, cmap=cmap)

    def plot(self, ax: "Axes | None" = None, *, n_images: int = 12, cmap: str = "gray") -> Self:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None makes a figure.
        n_images : int, default=12
            Most images of one cluster, at least 1.
        cmap : str, default="gray"
            Colour map of images with one channel.

        Returns
        -------
        self : ClusterGridDisplay
            With ``ax_`` and ``figure_`` set.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If the images do not have 1, 3 or 4 channels, or ``n_images`` is below 1.

        Examples
        --------
        >>> import matplotlib
        >>> matplotlib.use("agg")
        >>> import numpy as np
        >>> from deepcluster_sk.display import ClusterGridDisplay
        >>> display = ClusterGridDisplay(np.zeros((3, 4, 4)), labels=np.array([0, 0, 1]), confidence=np.ones(3))
        >>> display.plot(n_images=2, cmap="gray_r").figure_ is display.ax_.figure
        True
        """
        try:
            import matplotlib.pyplot as plt
        except ImportError as error:
            raise ImportError("Drawing needs matplotlib: pip install 'deepcluster_sk[plot]'.") from error
        check_number("n_images", n_images, int, 1)
        clusters, sizes = np.unique(self.labels, return_counts=True)
        rows = [self._most_confident(cluster, n_images) for cluster in clusters]
        grid = _grid(np.asarray(self.images), rows)
        if ax is None:
            width = 2.0 + 0.5 * max(map(len, rows))
            _, ax = plt.subplots(figsize=(width, 0.5 + 0.5 * len(rows)), layout="compressed")
        ax.imshow(grid[..., 0] if grid.shape[2] == 1 else grid, cmap=cmap, interpolation="nearest")
        pitch = self.images.shape[1] + _GAP
        ax.set_yticks(
            np.arange(len(rows)) * pitch + (pitch - _GAP - 1) / 2,
            [f"cluster {cluster} ({size})" for cluster, size in zip(clusters, sizes, strict=True)],
        )
        ax.set_xticks([])
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _most_confident(self, cluster: int, n_images: int) -> NDArray[np.intp]:
        """Indices of a cluster's images, most confident first; equally confident ones in their own order."""
        members = np.flatnonzero(self.labels == cluster)
        return members[np.argsort(-self.confidence[members], kind="stable")[:n_images]]


def _image_shape_of(estimator: Any) -> Any:
    estimator = getattr(estimator, "best_estimator_", estimator)
    if isinstance(estimator, Pipeline):
        estimator = estimator[-1]
    return getattr(estimator, "image_shape", None)


def _grid(images: NDArray[Any], rows: list[NDArray[np.intp]]) -> NDArray[np.float64]:
    """Put images (n, h, w[, c]), named by index, side by side: (H, W, 1) with NaN between them, or (H, W, 4)."""
    height, width, *channels = images.shape[1:]
    if channels not in ([], [1], [3], [4]):
        raise ValueError(f"images of shape {images.shape} must be (n, h, w) or (n, h, w, c) with c of 1, 3 or 4.")
    n_channels = channels[0] if channels else 1
    shown = images[np.concatenate(rows)].astype(np.float64).reshape(-1, height, width, n_channels)
    low, high = (0.0, 255.0) if images.dtype == np.uint8 else (float(shown.min()), float(shown.max()))
    shown = (shown - low) / ((high - low) or 1.0)
    if n_channels == 3:
        shown = np.concatenate([shown, np.ones_like(shown[..., :1])], axis=3)
    shape = (len(rows) * (height + _GAP) - _GAP, max(map(len, rows)) * (width + _GAP) - _GAP, shown.shape[3])
    grid = np.full(shape, np.nan if n_channels == 1 else 0.0)
    at = iter(shown)
    for i, row in enumerate(rows):
        for j in range(len(row)):
            top, left = i * (height + _GAP), j * (width + _GAP)
            grid[top : top + height, left : left + width] = next(at)
    return grid
