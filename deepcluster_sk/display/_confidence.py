"""Display of how sure a network is of its clusters."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from numpy.typing import ArrayLike, NDArray

from deepcluster_sk.callbacks import StageRecorder
from deepcluster_sk.display._shared import as_stages, draw_histograms, proba_of, readable, stages_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class ConfidenceHistogramDisplay:
    """Histogram of the largest probability of each sample, stage by stage.

    Training should move it to 1: the ideal prediction of every method is one-hot.

    Parameters
    ----------
    confidence : sequence of ndarray of shape (n,), float, in [0, 1]
        Largest probability of each sample, an array a stage.
    stages : sequence of str
        Name of each stage.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the picture, after :meth:`plot`.
    figure_ : matplotlib Figure
        Figure of these axes, after :meth:`plot`.

    References
    ----------
    Wu et al., "Deep Comprehensive Correlation Mining for Image Clustering", ICCV 2019, Figure 6 (a).

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from deepcluster_sk.display import ConfidenceHistogramDisplay
    >>> display = ConfidenceHistogramDisplay([np.array([0.42, 0.97, 0.99, 1.0])], stages=["end"]).plot()
    >>> [float(bar.get_height()) for bar in display.ax_.patches][-2:]
    [0.0, 75.0]
    >>> plt.close()
    """

    ax_: "Axes"
    figure_: Any

    def __init__(self, confidence: Sequence[NDArray[Any]], stages: Sequence[str]) -> None:
        self.confidence = confidence
        self.stages = stages

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, *, ax: "Axes | None" = None, n_bins: int = 10) -> Self:
        """Predict probabilities of some samples and draw them.

        Parameters
        ----------
        estimator : fitted estimator with ``predict_proba``
        X : array-like, or what else ``estimator`` takes
            Samples.
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None makes a figure.
        n_bins : int, default=10
            Bins of [0, 1], at least 1.

        Returns
        -------
        display : ConfidenceHistogramDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If the estimator has no ``predict_proba``.
        ValueError
            If X does not fit the estimator, or ``n_bins`` is below 1.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.mixture import GaussianMixture
        >>> from deepcluster_sk.display import ConfidenceHistogramDisplay
        >>> X = [[0.0], [0.1], [5.0], [5.1]]
        >>> mixture = GaussianMixture(2, random_state=0).fit(X)
        >>> float(ConfidenceHistogramDisplay.from_estimator(mixture, X).ax_.patches[-1].get_height())
        100.0
        >>> plt.close()
        """
        proba = proba_of(estimator, X)
        return cls.from_predictions(proba[readable(proba)], ax=ax, n_bins=n_bins)

    @classmethod
    def from_predictions(
        cls,
        proba: ArrayLike | Sequence[ArrayLike],
        *,
        stages: Sequence[str] | None = None,
        ax: "Axes | None" = None,
        n_bins: int = 10,
    ) -> Self:
        """Draw probabilities of any origin.

        Parameters
        ----------
        proba : array-like of shape (n, n_clusters), float, in [0, 1]; or sequence of such
            Probabilities of each sample; of several stages, an array each.
        stages : sequence of str or None, default=None
            Name of each stage; None counts them.
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None makes a figure.
        n_bins : int, default=10
            Bins of [0, 1], at least 1.

        Returns
        -------
        display : ConfidenceHistogramDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If probabilities are not valid, there is another number of names, or ``n_bins`` is below 1.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from deepcluster_sk.display import ConfidenceHistogramDisplay
        >>> start, end = [[0.6, 0.4], [0.5, 0.5]], [[0.9, 0.1], [0.1, 0.9]]
        >>> display = ConfidenceHistogramDisplay.from_predictions([start, end], stages=["start", "end"])
        >>> [text.get_text() for text in display.ax_.get_legend().get_texts()]
        ['start', 'end']
        >>> plt.close()
        """
        arrays, names = as_stages(proba, stages)
        return cls([array.max(axis=1) for array in arrays], names).plot(ax, n_bins=n_bins)

    @classmethod
    def from_recorder(cls, recorder: StageRecorder, *, ax: "Axes | None" = None, n_bins: int = 10) -> Self:
        """Draw what a network said at the stages of its training.

        Parameters
        ----------
        recorder : StageRecorder
            After a fit.
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None makes a figure.
        n_bins : int, default=10
            Bins of [0, 1], at least 1.

        Returns
        -------
        display : ConfidenceHistogramDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If ``recorder`` is no :class:`~deepcluster_sk.callbacks.StageRecorder`.
        ValueError
            If it recorded nothing, or ``n_bins`` is below 1.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.datasets import load_digits
        >>> from deepcluster_sk import DACClustering
        >>> from deepcluster_sk.callbacks import StageRecorder
        >>> from deepcluster_sk.display import ConfidenceHistogramDisplay
        >>> X = load_digits(n_class=3).images[:50]
        >>> recorder = StageRecorder(X)
        >>> dac = DACClustering(3, max_epochs=1, random_state=0).set_callbacks(recorder).fit(X)
        >>> ConfidenceHistogramDisplay.from_recorder(recorder).stages
        ['warm-up, epoch 1', 'label start, epoch 1', 'DAC, epoch 1']
        >>> plt.close()
        """
        stages = stages_of(recorder)
        proba = [stage.proba[readable(stage.proba)] for stage in stages]
        return cls.from_predictions(proba, stages=[stage.name for stage in stages], ax=ax, n_bins=n_bins)

    def plot(self, ax: "Axes | None" = None, *, n_bins: int = 10) -> Self:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None makes a figure.
        n_bins : int, default=10
            Bins of [0, 1], at least 1.

        Returns
        -------
        self : ConfidenceHistogramDisplay
            With ``ax_`` and ``figure_`` set.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If ``n_bins`` is below 1.
        """
        self.ax_ = draw_histograms(ax, self.confidence, self.stages, n_bins, highest=1.0)
        self.ax_.set_xlabel("largest probability")
        self.figure_ = self.ax_.figure
        return self
