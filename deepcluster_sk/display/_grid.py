"""Displays made of small pictures side by side: the clusters' images, and a network's first filters."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted
from torch import nn

from deepcluster_sk._input import last_step
from deepcluster_sk._lazy import LazyArray
from deepcluster_sk._validation import check_number
from deepcluster_sk.display._shared import as_pictures, images_of, own_axes, proba_of, readable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
    names : sequence of str or None, default=None
        Name of each of the clusters 0, 1, ..., as ``cluster_names_`` has them; None calls them by their numbers.

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

    def __init__(
        self,
        images: NDArray[Any] | LazyArray,
        labels: NDArray[Any],
        confidence: NDArray[Any],
        names: Sequence[str] | None = None,
    ) -> None:
        self.images = images
        self.labels = labels
        self.confidence = confidence
        self.names = names

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
        X : array-like of shape (n, h, w), (n, h, w, c), (n, c, h, w) or (n, n_features), uint8 or float; path-like; \
list of path-like; or torch Dataset
            Images as ``estimator`` takes them; files that cannot be read are left out.
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
            Where X does not fit into memory, it reads just the images that it draws, when it draws them.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        NotFittedError
            If the estimator is not fitted.
        TypeError
            If the estimator has no ``predict_proba``, or X is files and the estimator takes none.
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
        proba = proba_of(estimator, X)
        proba = proba[readable(proba)]
        images = images_of(estimator, X, image_shape)
        names = getattr(last_step(estimator), "cluster_names_", None)
        display = cls(images, proba.argmax(axis=1), proba.max(axis=1), names)
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
        check_number("n_images", n_images, int, 1)
        clusters, sizes = np.unique(self.labels, return_counts=True)
        rows = [self._most_confident(cluster, n_images) for cluster in clusters]
        grid = _grid(self.images, rows)
        size = 2.0 + 0.5 * max(map(len, rows)), 0.5 + 0.5 * len(rows)
        ax = own_axes(ax, figsize=size, layout="compressed")
        ax.imshow(grid[..., 0] if grid.shape[2] == 1 else grid, cmap=cmap, interpolation="nearest")
        pitch = self.images.shape[1] + _GAP
        ax.set_yticks(
            np.arange(len(rows)) * pitch + (pitch - _GAP - 1) / 2,
            [f"{self._name(cluster)} ({size})" for cluster, size in zip(clusters, sizes, strict=True)],
        )
        ax.set_xticks([])
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _name(self, cluster: int) -> str:
        """What the user calls a cluster, or else its number."""
        name = str(cluster) if self.names is None else self.names[cluster]
        return f"cluster {cluster}" if name == str(cluster) else name

    def _most_confident(self, cluster: int, n_images: int) -> NDArray[np.intp]:
        """Indices of a cluster's images, most confident first; equally confident ones in their own order."""
        members = np.flatnonzero(self.labels == cluster)
        return members[np.argsort(-self.confidence[members], kind="stable")[:n_images]]


class FilterDisplay:
    """Filters of the first convolution of a network, side by side.

    Filters for colour images are shown in colour, each in its own range; others by their weights, averaged over
    channels, from negative (purple) to positive (orange).

    Parameters
    ----------
    filters : ndarray of shape (n_filters, n_channels, h, w), float
        Weights.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the picture, after :meth:`plot`.
    figure_ : matplotlib Figure
        Figure of these axes, after :meth:`plot`.

    References
    ----------
    Sadeghi and Armanfard, "Deep Clustering with Self-Supervision using Pairwise Similarities", 2024, Figure 13.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from deepcluster_sk.display import FilterDisplay
    >>> display = FilterDisplay(np.random.default_rng(0).normal(size=(6, 1, 3, 3))).plot(n_columns=3)
    >>> display.ax_.images[0].get_array().shape  # two rows of three, with a gap between
    (7, 11)
    >>> plt.close()
    """

    ax_: "Axes"
    figure_: Any

    def __init__(self, filters: NDArray[Any]) -> None:
        self.filters = filters

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: "Axes | None" = None, n_columns: int = 8) -> Self:
        """Draw the filters of a fitted estimator.

        Parameters
        ----------
        estimator : fitted estimator with ``module_``, a Pipeline that ends with one, or a search for one
            Its network has a convolution of images.
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None makes a figure.
        n_columns : int, default=8
            Filters in one row, at least 1.

        Returns
        -------
        display : FilterDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        NotFittedError
            If the estimator is not fitted.
        TypeError
            If the estimator has no ``module_``.
        ValueError
            If its network has no convolution of images, or ``n_columns`` is below 1.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.datasets import load_digits
        >>> from deepcluster_sk import DACClustering
        >>> from deepcluster_sk.display import FilterDisplay
        >>> dac = DACClustering(3, max_epochs=1, random_state=0).fit(load_digits().images[:50])
        >>> FilterDisplay.from_estimator(dac).filters.shape[1:]
        (1, 3, 3)
        >>> plt.close()
        """
        step = last_step(estimator)
        check_is_fitted(step)
        if not hasattr(step, "module_"):
            raise TypeError(f"estimator of type {type(step).__name__} must have the attribute module_, and has not.")
        first = next((layer for layer in step.module_.modules() if isinstance(layer, nn.Conv2d)), None)
        if first is None:
            raise ValueError("estimator must have a network with a convolution of images (nn.Conv2d), and has none.")
        return cls(first.weight.detach().cpu().float().numpy()).plot(ax, n_columns=n_columns)

    def plot(self, ax: "Axes | None" = None, *, n_columns: int = 8) -> Self:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None makes a figure.
        n_columns : int, default=8
            Filters in one row, at least 1.

        Returns
        -------
        self : FilterDisplay
            With ``ax_`` and ``figure_`` set.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If the filters are not of shape (n_filters, n_channels, h, w), or ``n_columns`` is below 1.
        """
        check_number("n_columns", n_columns, int, 1)
        filters = np.asarray(self.filters, dtype=np.float64)
        if filters.ndim != 4 or 0 in filters.shape:
            raise ValueError(f"filters of shape {filters.shape} must be of shape (n_filters, n_channels, h, w).")
        n_columns = min(n_columns, len(filters))
        n_rows = -(-len(filters) // n_columns)
        ax = own_axes(ax, figsize=(1.5 + 0.6 * n_columns, 0.5 + 0.6 * n_rows), layout="compressed")
        rows = np.split(np.arange(len(filters)), range(n_columns, len(filters), n_columns))
        if filters.shape[1] == 3:
            low = filters.min(axis=(1, 2, 3), keepdims=True)
            extent = np.ptp(filters, axis=(1, 2, 3), keepdims=True)
            shown = (filters - low) / np.where(extent > 0, extent, 1)
            opaque = np.concatenate([shown, np.ones_like(shown[:, :1])], axis=1)
            ax.imshow(_tiled(opaque.transpose(0, 2, 3, 1), rows), interpolation="nearest")
        else:
            grid = _tiled(filters.mean(axis=1)[..., None], rows)[..., 0]
            largest = float(np.nanmax(np.abs(grid))) or 1.0
            image = ax.imshow(grid, cmap="PuOr_r", vmin=-largest, vmax=largest, interpolation="nearest")
            ax.figure.colorbar(image, ax=ax, label="weight")
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _grid(images: NDArray[Any] | LazyArray, rows: list[NDArray[np.intp]]) -> NDArray[np.float64]:
    """Put images (n, h, w[, c]), named by index, side by side, scaled to [0, 1]."""
    shown = as_pictures(images[np.concatenate(rows)])
    if shown.shape[3] == 3:
        shown = np.concatenate([shown, np.ones_like(shown[..., :1])], axis=3)
    ends = np.cumsum([len(row) for row in rows])
    return _tiled(shown, np.split(np.arange(len(shown)), ends[:-1]))


def _tiled(pictures: NDArray[np.float64], rows: Sequence[NDArray[np.intp]]) -> NDArray[np.float64]:
    """Pictures (n, h, w, c), named by index, side by side: (H, W, 1) with NaN between them, or (H, W, 4) with 0."""
    height, width, n_channels = pictures.shape[1:]
    shape = (len(rows) * (height + _GAP) - _GAP, max(map(len, rows)) * (width + _GAP) - _GAP, n_channels)
    grid = np.full(shape, np.nan if n_channels == 1 else 0.0)
    for i, row in enumerate(rows):
        for j, index in enumerate(row):
            top, left = i * (height + _GAP), j * (width + _GAP)
            grid[top : top + height, left : left + width] = pictures[index]
    return grid
