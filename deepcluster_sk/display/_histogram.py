"""Displays of how sure a network is of its clusters: histograms of one value a sample, stage by stage."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepcluster_sk._validation import check_number
from deepcluster_sk.callbacks import StageRecorder
from deepcluster_sk.display._shared import as_stages, own_axes, proba_of, pyplot, readable, stages_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class _HistogramDisplay(ABC):
    """Bars of the stages side by side in every bin, in per cent of the samples of a stage.

    A subclass keeps the values under a name of its own, and says how they come from probabilities, how high they can
    be, and what they are called.
    """

    ax_: "Axes"
    figure_: Any
    stages: Sequence[str]
    _highest: ClassVar[float]
    _label: ClassVar[str]

    @abstractmethod
    def __init__(self, values: Sequence[NDArray[Any]], stages: Sequence[str]) -> None:
        """Keep the values of each stage."""

    @staticmethod
    @abstractmethod
    def _values_of(proba: NDArray[np.float64]) -> NDArray[np.float64]:
        """The value of each sample, (n,), from its probabilities (n, n_clusters)."""

    @abstractmethod
    def _drawn(self) -> Sequence[NDArray[Any]]:
        """Values of each stage."""

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
            Bins of the range of values, [0, 1] or [0, 2]; at least 1.

        Returns
        -------
        display : the class it is called of

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
            Bins of the range of values, [0, 1] or [0, 2]; at least 1.

        Returns
        -------
        display : the class it is called of

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
        return cls([cls._values_of(array) for array in arrays], names).plot(ax, n_bins=n_bins)

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
            Bins of the range of values, [0, 1] or [0, 2]; at least 1.

        Returns
        -------
        display : the class it is called of

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
            Bins of the range of values, [0, 1] or [0, 2]; at least 1.

        Returns
        -------
        self : the display
            With ``ax_`` and ``figure_`` set.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If ``n_bins`` is below 1.
        """
        check_number("n_bins", n_bins, int, 1)
        ax, stages = own_axes(ax, figsize=(6.0, 3.6)), self._drawn()
        colors = pyplot().get_cmap("cividis")(np.linspace(0.1, 0.9, len(stages)))
        pitch = self._highest / n_bins
        width = 0.9 * pitch / len(stages)
        left = np.arange(n_bins) * pitch + 0.05 * pitch
        for i, (values, name, color) in enumerate(zip(stages, self.stages, colors, strict=True)):
            # A rounding error above the highest value still belongs into the last bin.
            counts, _ = np.histogram(np.clip(values, 0, self._highest), bins=n_bins, range=(0, self._highest))
            ax.bar(left + i * width, 100 * counts / len(values), width, align="edge", color=color, label=name)
        ax.set(xlim=(0, self._highest), xlabel=self._label, ylabel="samples (%)")
        ax.set_xticks(np.linspace(0, self._highest, 6))
        if len(stages) > 1:
            ax.legend(frameon=False)
        self.ax_, self.figure_ = ax, ax.figure
        return self


class ConfidenceHistogramDisplay(_HistogramDisplay):
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

    _highest, _label = 1.0, "largest probability"

    def __init__(self, confidence: Sequence[NDArray[Any]], stages: Sequence[str]) -> None:
        self.confidence = confidence
        self.stages = stages

    @staticmethod
    def _values_of(proba: NDArray[np.float64]) -> NDArray[np.float64]:
        return proba.max(axis=1)

    def _drawn(self) -> Sequence[NDArray[Any]]:
        return self.confidence


class ResidualDisplay(_HistogramDisplay):
    r"""Histogram of :math:`\|q_i - e_i\|_1`, the distance of probabilities from the one-hot vector nearest to them.

    Parameters
    ----------
    residuals : sequence of ndarray of shape (n,), float, in [0, 2)
        Distance of each sample, an array a stage.
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
    Sadeghi and Armanfard, "Deep Clustering with Self-Supervision using Pairwise Similarities", 2024, Figure 9.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from deepcluster_sk.display import ResidualDisplay
    >>> display = ResidualDisplay([np.array([0.02, 0.05, 0.1, 1.2])], stages=["end"]).plot()
    >>> float(display.ax_.patches[0].get_height())
    75.0
    >>> plt.close()
    """

    _highest, _label = 2.0, "$L_1$ distance from one-hot"

    def __init__(self, residuals: Sequence[NDArray[Any]], stages: Sequence[str]) -> None:
        self.residuals = residuals
        self.stages = stages

    @staticmethod
    def _values_of(proba: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.abs(proba - np.eye(proba.shape[1])[proba.argmax(axis=1)]).sum(axis=1)

    def _drawn(self) -> Sequence[NDArray[Any]]:
        return self.residuals
