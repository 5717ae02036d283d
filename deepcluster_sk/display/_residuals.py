"""Display of how far probabilities are from one-hot."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepcluster_sk.callbacks import StageRecorder
from deepcluster_sk.display._shared import as_stages, draw_histograms, proba_of, readable, stages_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class ResidualDisplay:
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

    ax_: "Axes"
    figure_: Any

    def __init__(self, residuals: Sequence[NDArray[Any]], stages: Sequence[str]) -> None:
        self.residuals = residuals
        self.stages = stages

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, *, ax: "Axes | None" = None, n_bins: int = 10) -> Self:
        """Predict probabilities of some samples and draw how far they are from one-hot.

        Parameters
        ----------
        estimator, X, ax, n_bins
            As in :meth:`ConfidenceHistogramDisplay.from_estimator`; bins are of [0, 2].

        Returns
        -------
        display : ResidualDisplay

        Raises
        ------
        ImportError, TypeError, ValueError
            As there.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.mixture import GaussianMixture
        >>> from deepcluster_sk.display import ResidualDisplay
        >>> X = [[0.0], [0.1], [5.0], [5.1]]
        >>> mixture = GaussianMixture(2, random_state=0).fit(X)
        >>> float(ResidualDisplay.from_estimator(mixture, X).ax_.patches[0].get_height())
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
        """Draw how far probabilities of any origin are from one-hot.

        Parameters
        ----------
        proba, stages, ax, n_bins
            As in :meth:`ConfidenceHistogramDisplay.from_predictions`; bins are of [0, 2].

        Returns
        -------
        display : ResidualDisplay

        Raises
        ------
        ImportError, ValueError
            As there.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from deepcluster_sk.display import ResidualDisplay
        >>> ResidualDisplay.from_predictions([[0.75, 0.25], [0.5, 0.5]]).residuals[0].tolist()
        [0.5, 1.0]
        >>> plt.close()
        """
        arrays, names = as_stages(proba, stages)
        one_hots = [np.eye(array.shape[1])[array.argmax(axis=1)] for array in arrays]
        residuals = [np.abs(array - one_hot).sum(axis=1) for array, one_hot in zip(arrays, one_hots, strict=True)]
        return cls(residuals, names).plot(ax, n_bins=n_bins)

    @classmethod
    def from_recorder(cls, recorder: StageRecorder, *, ax: "Axes | None" = None, n_bins: int = 10) -> Self:
        """Draw how far from one-hot a network was at the stages of its training.

        Parameters
        ----------
        recorder, ax, n_bins
            As in :meth:`ConfidenceHistogramDisplay.from_recorder`; bins are of [0, 2].

        Returns
        -------
        display : ResidualDisplay

        Raises
        ------
        ImportError, TypeError, ValueError
            As there.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.datasets import load_digits
        >>> from deepcluster_sk import DACClustering
        >>> from deepcluster_sk.callbacks import StageRecorder
        >>> from deepcluster_sk.display import ResidualDisplay
        >>> X = load_digits(n_class=3).images[:50]
        >>> recorder = StageRecorder(X)
        >>> dac = DACClustering(3, max_epochs=1, random_state=0).set_callbacks(recorder).fit(X)
        >>> ResidualDisplay.from_recorder(recorder).stages[-1]
        'DAC, epoch 1'
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
            Bins of [0, 2], at least 1.

        Returns
        -------
        self : ResidualDisplay
            With ``ax_`` and ``figure_`` set.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If ``n_bins`` is below 1.
        """
        self.ax_ = draw_histograms(ax, self.residuals, self.stages, n_bins, highest=2.0)
        self.ax_.set_xlabel("$L_1$ distance from one-hot")
        self.figure_ = self.ax_.figure
        return self
