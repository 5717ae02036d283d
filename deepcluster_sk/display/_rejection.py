"""Display of what rejecting uncertain samples gains in accuracy."""

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepcluster_sk.display._shared import COLORS, check_labels, check_proba, own_axes, proba_of, readable
from deepcluster_sk.metrics import align_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class RejectionDisplay:
    """Accuracy of the samples that are kept, against the share that is rejected as uncertain.

    The curve rises as far as the probabilities know which samples are wrong. Were they blind to it, it would stay
    level.

    Parameters
    ----------
    reject_below : ndarray of shape (n_steps,), float, ascending, in [0, 1]
        Least probability of the most probable cluster at each step of the curve.
    rejected : ndarray of shape (n_steps,), float, ascending, in [0, 1)
        Share of samples below it.
    accuracy : ndarray of shape (n_steps,), float, in [0, 1]
        Clustering accuracy of the others, with the clusters matched to classes once, on all samples.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the picture, after :meth:`plot`.
    figure_ : matplotlib Figure
        Figure of these axes, after :meth:`plot`.

    See Also
    --------
    deepcluster_sk.DCCMClustering.predict : Its ``reject_below`` gives such samples the label -1.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from deepcluster_sk.display import RejectionDisplay
    >>> display = RejectionDisplay(np.array([0.5, 0.9]), np.array([0.0, 0.25]), np.array([0.75, 1.0])).plot()
    >>> display.ax_.lines[0].get_xydata().tolist()
    [[0.0, 0.75], [0.25, 1.0]]
    >>> plt.close()
    """

    ax_: "Axes"
    figure_: Any

    def __init__(
        self, reject_below: NDArray[np.float64], rejected: NDArray[np.float64], accuracy: NDArray[np.float64]
    ) -> None:
        self.reject_below = reject_below
        self.rejected = rejected
        self.accuracy = accuracy

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, y: ArrayLike, *, ax: "Axes | None" = None) -> Self:
        """Predict some samples whose classes are known, and draw the curve.

        Parameters
        ----------
        estimator : fitted estimator with ``predict_proba``
        X : array-like, or what else ``estimator`` takes
            Samples; files that cannot be read are left out.
        y : array-like of shape (n,)
            True classes.
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None makes a figure.

        Returns
        -------
        display : RejectionDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If the estimator has no ``predict_proba``.
        ValueError
            If X does not fit the estimator, or y has another length.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.mixture import GaussianMixture
        >>> from deepcluster_sk.display import RejectionDisplay
        >>> X, y = [[0.0], [0.1], [5.0], [5.1]], [0, 0, 1, 1]
        >>> display = RejectionDisplay.from_estimator(GaussianMixture(2, random_state=0).fit(X), X, y)
        >>> float(display.accuracy[0])
        1.0
        >>> plt.close()
        """
        proba = proba_of(estimator, X)
        is_readable = readable(proba)
        return cls.from_predictions(check_labels("y", y, len(proba))[is_readable], proba[is_readable], ax=ax)

    @classmethod
    def from_predictions(cls, y_true: ArrayLike, proba: ArrayLike, *, ax: "Axes | None" = None) -> Self:
        """Draw the curve of probabilities of any origin.

        Parameters
        ----------
        y_true : array-like of shape (n,)
            True classes.
        proba : array-like of shape (n, n_clusters), float, in [0, 1]
            Probabilities of each sample.
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None makes a figure.

        Returns
        -------
        display : RejectionDisplay
            With a step for each different value of the largest probability.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If probabilities are not valid, or there is another number of classes.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from deepcluster_sk.display import RejectionDisplay
        >>> proba = [[1.0, 0.0], [0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]
        >>> display = RejectionDisplay.from_predictions(["a", "a", "b", "b"], proba)
        >>> display.rejected.tolist(), display.accuracy.tolist()
        ([0.0, 0.25, 0.5, 0.75], [0.75, 1.0, 1.0, 1.0])
        >>> plt.close()
        """
        array = check_proba("proba", proba)
        classes = check_labels("y_true", y_true, len(array))
        confidence = array.max(axis=1)
        is_right = align_labels(classes, array.argmax(axis=1)) == classes
        order = np.argsort(confidence, kind="stable")
        values, first = np.unique(confidence[order], return_index=True)
        n_right = np.cumsum(is_right[order][::-1])[::-1]  # of this sample and all that are surer
        return cls(values, first / len(array), n_right[first] / (len(array) - first)).plot(ax)

    def plot(self, ax: "Axes | None" = None) -> Self:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None makes a figure.

        Returns
        -------
        self : RejectionDisplay
            With ``ax_`` and ``figure_`` set.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        ax = own_axes(ax, figsize=(4.8, 3.6))
        ax.step(self.rejected, self.accuracy, where="post", color=COLORS[0], label="least certain rejected")
        ax.axhline(self.accuracy[0], color=COLORS[8], linestyle=":", label="at random")
        ax.set(xlabel="share of samples rejected", ylabel="accuracy of the others", xlim=(0, 1))
        ax.set_ylim(top=1.0 + 0.02 * (1 - min(self.accuracy)))
        ax.legend()
        self.ax_, self.figure_ = ax, ax.figure
        return self
