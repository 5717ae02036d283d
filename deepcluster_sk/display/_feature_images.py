"""Display of images beside what the network thinks of every cluster for them."""

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepcluster_sk._lazy import LazyArray
from deepcluster_sk._validation import check_number
from deepcluster_sk.display._shared import (
    COLORS,
    as_pictures,
    check_labels,
    check_proba,
    images_of,
    own_axes,
    proba_of,
    readable,
)
from deepcluster_sk.metrics import align_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class LabelFeatureImagesDisplay:
    """Images with their label features as bars beside them, in rows such as "sure and wrong".

    Parameters
    ----------
    images : ndarray of shape (n, h, w) or (n, h, w, c), uint8 or float of any range
        Images with 1, 3 or 4 channels, in the order in which they are drawn.
    features : ndarray of shape (n, n_clusters), float, in [0, 1]
        Label features, or probabilities.
    groups : sequence of str, of length n
        Row of each image.
    expected : ndarray of shape (n,), int, or None, default=None
        Cluster that the true class of each image is matched to, whose bar has another colour; -1 for none.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes around all images, after :meth:`plot`.
    axes_ : ndarray of shape (n, 2) of matplotlib Axes
        Axes of each image and of its bars, inset into ``ax_``.
    figure_ : matplotlib Figure
        Figure of these axes.

    References
    ----------
    Chang et al., "Deep Adaptive Image Clustering", ICCV 2017, Figure 3.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from deepcluster_sk.display import LabelFeatureImagesDisplay
    >>> images, features = np.zeros((2, 4, 4)), np.array([[1.0, 0.0], [0.5, 0.5]])
    >>> display = LabelFeatureImagesDisplay(images, features, groups=["sure", "undecided"]).plot()
    >>> [float(bar.get_width()) for bar in display.axes_[1, 1].patches]
    [0.5, 0.5]
    >>> plt.close()
    """

    ax_: "Axes"
    axes_: NDArray[Any]
    figure_: Any

    def __init__(
        self, images: NDArray[Any], features: NDArray[Any], groups: Any, expected: NDArray[Any] | None = None
    ) -> None:
        self.images = images
        self.features = features
        self.groups = groups
        self.expected = expected

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: ArrayLike | None = None,
        *,
        image_shape: tuple[int, ...] | None = None,
        n_images: int = 5,
        sure: float = 0.9,
        ax: "Axes | None" = None,
    ) -> Self:
        """Predict probabilities of some images and draw telling ones.

        Parameters
        ----------
        estimator : fitted estimator with ``predict_proba``
        X : array-like of images as ``estimator`` takes them, path-like, list of path-like, or torch Dataset
            Files that cannot be read are left out.
        image_shape : tuple (h, w[, c]) or None, default=None
            Shape of one image where neither X nor the estimator tells it.
        y, n_images, sure, ax
            As in :meth:`from_predictions`.

        Returns
        -------
        display : LabelFeatureImagesDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If the estimator has no ``predict_proba``, or X is files and the estimator takes none.
        ValueError
            If X does not fit the estimator or holds no images, or another parameter is not valid.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.datasets import load_digits
        >>> from sklearn.mixture import GaussianMixture
        >>> from deepcluster_sk.display import LabelFeatureImagesDisplay
        >>> X = load_digits().data[:50]
        >>> mixture = GaussianMixture(3, covariance_type="spherical", random_state=0).fit(X)
        >>> display = LabelFeatureImagesDisplay.from_estimator(mixture, X, image_shape=(8, 8), n_images=2)
        >>> display.groups
        ['most certain', 'most certain', 'least certain', 'least certain']
        >>> plt.close()
        """
        proba = proba_of(estimator, X)
        there = readable(proba)
        images = images_of(estimator, X, image_shape)
        labels = None if y is None else check_labels("y", y, len(proba))[there]
        return cls.from_predictions(images, proba[there], labels, n_images=n_images, sure=sure, ax=ax)

    @classmethod
    def from_predictions(
        cls,
        images: ArrayLike | LazyArray,
        features: ArrayLike,
        y: ArrayLike | None = None,
        *,
        n_images: int = 5,
        sure: float = 0.9,
        ax: "Axes | None" = None,
    ) -> Self:
        """Choose telling images and draw them.

        Parameters
        ----------
        images : array-like of shape (n, h, w) or (n, h, w, c), uint8 or float of any range
            Images with 1, 3 or 4 channels.
        features : array-like of shape (n, n_clusters), float, in [0, 1]
            Probabilities, or label features.
        y : array-like of shape (n,), int, float, bool or str, or None, default=None
            True classes. With them the rows are "sure and right", "sure and wrong" and "undecided", without them "most
            certain" and "least certain". A cluster is right if it is matched to the class.
        n_images : int, default=5
            Most images in one row, at least 1. First comes one of each cluster, the surest of it; of undecided and
            least certain ones, the least sure.
        sure : float, in [0, 1], default=0.9
            Smallest largest value of a sample that the network is sure of.
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None makes a figure.

        Returns
        -------
        display : LabelFeatureImagesDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If features are not valid, arrays differ in length, or another parameter is out of its range.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> import numpy as np
        >>> from deepcluster_sk.display import LabelFeatureImagesDisplay
        >>> proba = [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.6, 0.4], [1.0, 0.0]]
        >>> y = ["cat", "dog", "dog", "dog", "dog"]
        >>> LabelFeatureImagesDisplay.from_predictions(np.zeros((5, 4, 4)), proba, y).groups
        ['sure and right', 'sure and right', 'sure and right', 'sure and wrong', 'undecided']
        >>> plt.close()
        """
        check_number("n_images", n_images, int, 1)
        check_number("sure", sure, float, 0, 1)
        array = check_proba("features", features)
        pictures = images if isinstance(images, LazyArray) else np.asarray(images)
        if len(pictures) != len(array):
            raise ValueError(f"images has {len(pictures)} samples, but features has {len(array)}.")
        labels, confidence = array.argmax(axis=1), array.max(axis=1)
        expected = None
        if y is None:
            everything = np.arange(len(array))
            groups = {"most certain": everything, "least certain": everything}
        else:
            expected = _matched_clusters(check_labels("y", y, len(array)), labels)
            is_sure, is_right = confidence >= sure, expected == labels
            groups = {"sure and right": is_sure & is_right, "sure and wrong": is_sure & ~is_right}
            groups = {name: np.flatnonzero(members) for name, members in groups.items()}
            groups["undecided"] = np.flatnonzero(~is_sure)
        chosen: list[int] = []
        names: list[str] = []
        for name, members in groups.items():
            sign = 1 if name in ("undecided", "least certain") else -1
            some = _one_of_each_first(members, sign * confidence, labels if sign < 0 else None)[:n_images]
            chosen += some.tolist()
            names += [name] * len(some)
        return cls(
            pictures[np.array(chosen)], array[chosen], names, None if expected is None else expected[chosen]
        ).plot(ax)

    def plot(self, ax: "Axes | None" = None, *, cmap: str = "gray") -> Self:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None makes a figure.
        cmap : str, default="gray"
            Colour map of images with one channel.

        Returns
        -------
        self : LabelFeatureImagesDisplay
            With ``ax_``, ``axes_`` and ``figure_`` set.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If the images do not have 1, 3 or 4 channels.
        """
        names = list(dict.fromkeys(self.groups))
        place = [(names.index(group), self.groups[:i].count(group)) for i, group in enumerate(self.groups)]
        n_columns = 1 + max(column for _, column in place)
        ax = own_axes(ax, figsize=(1.6 + 2.4 * n_columns, 0.6 + 1.5 * len(names)))
        pictures = as_pictures(np.asarray(self.images))
        expected = np.full(len(pictures), -1) if self.expected is None else self.expected
        insets = []
        for (row, column), picture, values, cluster in zip(place, pictures, self.features, expected, strict=True):
            left = ax.inset_axes((column, row + 0.08, 0.44, 0.84), transform=ax.transData)
            left.imshow(picture[..., 0] if picture.shape[2] == 1 else picture, cmap=cmap, vmin=0, vmax=1)
            left.set(xticks=[], yticks=[])
            right = ax.inset_axes((column + 0.54, row + 0.08, 0.4, 0.84), transform=ax.transData)
            _draw_bars(right, values, cluster)
            insets.append((left, right))
        ax.set(xlim=(0, n_columns), ylim=(len(names), 0), xticks=[])
        ax.set_yticks(np.arange(len(names)) + 0.5, names)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        known = "" if self.expected is None else "; orange: that of the true class"
        ax.set_xlabel(f"bars: label feature of each cluster, from 0 to 1{known}")
        self.ax_, self.axes_, self.figure_ = ax, np.array(insets), ax.figure
        return self


def _draw_bars(ax: Any, values: NDArray[Any], expected: int) -> None:
    """A bar a cluster, the first on top."""
    at = np.arange(len(values))
    ax.barh(at, values, color=[COLORS[1] if k == expected else COLORS[0] for k in at])
    ax.set(xlim=(0, 1), ylim=(len(values) - 0.5, -0.5), xticks=[])
    ax.set_yticks(at if len(values) <= 12 else [int(np.argmax(values))])
    ax.tick_params(length=0, labelsize=6 if len(values) <= 12 else 8, pad=1)
    ax.spines[["top", "right"]].set_visible(False)


def _matched_clusters(classes: NDArray[Any], labels: NDArray[np.intp]) -> NDArray[np.intp]:
    """Cluster that the class of each sample is matched to; -1 for none."""
    aligned = align_labels(classes, labels)
    cluster_of = dict(zip(aligned.tolist(), labels.tolist(), strict=True))
    return np.array([cluster_of.get(name, -1) for name in classes.astype(aligned.dtype).tolist()], dtype=np.intp)


def _one_of_each_first(
    members: NDArray[np.intp], score: NDArray[np.float64], labels: NDArray[np.intp] | None
) -> NDArray[np.intp]:
    """Members by ascending score; with labels, the first of every label come before the second of any."""
    order = members[np.argsort(score[members], kind="stable")]
    if labels is None:
        return order
    n_seen = dict.fromkeys(labels[order].tolist(), 0)
    turns = []
    for label in labels[order].tolist():
        turns.append(n_seen[label])
        n_seen[label] += 1
    return order[np.argsort(turns, kind="stable")]
