"""Displays of how a fit went, from the records that it keeps of every epoch."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepcluster_sk.display._shared import COLORS, history_of, own_axes, own_panels, use_whole_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

History = Sequence[Mapping[str, Any]]
_EPOCH = "epoch (all phases together)"
# A loss that spans more than this factor over the phases is drawn on a logarithmic scale.
_WIDE = 50


class TrainingCurveDisplay:
    """Loss, share of labels that changed, and clusters in use by epoch, in one colour a phase.

    Losses of different phases are of different kinds, so only their course within a phase means something. Where a
    phase looks at labels for the first time, none is drawn as changed.

    Parameters
    ----------
    history : sequence of dict
        Records as in ``history_``: each has ``phase``, and what it has of ``loss``, ``label_change`` and
        ``cluster_sizes`` is drawn.

    Attributes
    ----------
    axes_ : ndarray of shape (3,) of matplotlib Axes
        Axes with loss, label change and clusters in use, after :meth:`plot`.
    figure_ : matplotlib Figure
        Figure of these axes, after :meth:`plot`.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from deepcluster_sk.display import TrainingCurveDisplay
    >>> history = [{"phase": "warm-up", "loss": 3.0}, {"phase": "DAC", "loss": 1.0}, {"phase": "DAC", "loss": 0.5}]
    >>> display = TrainingCurveDisplay(history).plot()
    >>> [(line.get_label(), line.get_ydata().tolist()) for line in display.axes_[0].lines[:2]]
    [('warm-up', [3.0]), ('DAC', [1.0, 0.5])]
    >>> plt.close()
    """

    axes_: NDArray[Any]
    figure_: Any

    def __init__(self, history: History) -> None:
        self.history = history

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: "Sequence[Axes] | None" = None) -> Self:
        """Draw the history of a fitted estimator.

        Parameters
        ----------
        estimator : fitted estimator with ``history_``, a Pipeline that ends with one, or a search for one
        ax : sequence of three matplotlib Axes or None, default=None
            Axes to draw into; None makes a figure.

        Returns
        -------
        display : TrainingCurveDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        NotFittedError
            If the estimator is not fitted.
        TypeError
            If it keeps no history.
        ValueError
            If ``ax`` holds another number of axes.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.datasets import load_digits
        >>> from deepcluster_sk import DACClustering
        >>> from deepcluster_sk.display import TrainingCurveDisplay
        >>> dac = DACClustering(3, max_epochs=1, random_state=0).fit(load_digits().images[:50])
        >>> display = TrainingCurveDisplay.from_estimator(dac)
        >>> [axes.get_ylabel() for axes in display.axes_]
        ['loss', 'labels changed (%)', 'clusters in use']
        >>> plt.close()
        """
        return cls.from_history(history_of(estimator), ax=ax)

    @classmethod
    def from_history(cls, history: History, *, ax: "Sequence[Axes] | None" = None) -> Self:
        """Draw records of any origin, such as a ``history_`` that was kept.

        Parameters
        ----------
        history : sequence of dict
            As in the class.
        ax : sequence of three matplotlib Axes or None, default=None
            Axes to draw into; None makes a figure.

        Returns
        -------
        display : TrainingCurveDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If the history is empty or a record has no phase, or ``ax`` holds another number of axes.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from deepcluster_sk.display import TrainingCurveDisplay
        >>> history = [{"phase": "DAC", "loss": 1.0, "label_change": 0.25, "cluster_sizes": [3, 0, 5]}]
        >>> display = TrainingCurveDisplay.from_history(history)
        >>> [axes.lines[0].get_ydata().tolist() for axes in display.axes_]
        [[1.0], [25.0], [2]]
        >>> plt.close()
        """
        return cls(history).plot(ax)

    def plot(self, ax: "Sequence[Axes] | None" = None) -> Self:
        """Draw the picture.

        Parameters
        ----------
        ax : sequence of three matplotlib Axes or None, default=None
            Axes to draw into; None makes a figure.

        Returns
        -------
        self : TrainingCurveDisplay
            With ``axes_`` and ``figure_`` set.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If the history is empty or a record has no phase, or ``ax`` holds another number of axes.
        """
        phases = _phases(self.history)
        axes = own_panels(ax, 3, (3, 1), figsize=(6.4, 6.0), sharex=True)
        from matplotlib.lines import Line2D

        handles = []
        for i, (phase, epochs) in enumerate(phases):
            records = [self.history[epoch - 1] for epoch in epochs]
            style: dict[str, Any] = {"color": COLORS[i % len(COLORS)], "label": phase, "marker": "o", "markersize": 3}
            handles.append(Line2D([], [], **style))
            _line(axes[0], epochs, [record.get("loss") for record in records], **style)
            _line(axes[1], epochs, _label_changes(records), **style)
            sizes = [record.get("cluster_sizes") for record in records]
            _line(axes[2], epochs, [None if n is None else int(np.count_nonzero(n)) for n in sizes], **style)
        for axis, label in zip(axes, ("loss", "labels changed (%)", "clusters in use"), strict=True):
            axis.set_ylabel(label)
            for _, epochs in phases[1:]:
                axis.axvline(epochs[0] - 0.5, color="0.8", linewidth=0.8, zorder=0)
        losses = [record["loss"] for record in self.history if "loss" in record]
        if losses and min(losses) > 0 and max(losses) > _WIDE * min(losses):
            _use_log_scale(axes[0])
        axes[0].legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False)
        axes[1].set_ylim(bottom=0)
        axes[2].set_ylim(bottom=0)
        use_whole_numbers(axes[2].yaxis)
        use_whole_numbers(axes[2].xaxis)
        axes[2].set_xlabel(_EPOCH)
        self.axes_, self.figure_ = axes, axes[0].figure
        return self


class PairParticipationDisplay:
    """Share of the pairs, or samples, that take part in training, by epoch.

    DAC and DCSS leave out pairs that are neither alike nor different enough, DCCM's label loss samples it is not sure
    of. As training goes on, more take part.

    Parameters
    ----------
    epochs : array-like of shape (n,), int
        Epochs, counted from 1 over all phases.
    selected_share : array-like of shape (n,), float, in [0, 1]
        Share that takes part: pairs for DAC and DCSS, samples for DCCM.
    edge_share : array-like of shape (n,), float, in [0, 1], or None, default=None
        Share of pairs with an edge of DCCM's pseudo-graph.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the picture, after :meth:`plot`.
    figure_ : matplotlib Figure
        Figure of these axes, after :meth:`plot`.

    References
    ----------
    Sadeghi and Armanfard, "Deep Clustering with Self-Supervision using Pairwise Similarities", 2024, Figure 11 (a).

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from deepcluster_sk.display import PairParticipationDisplay
    >>> display = PairParticipationDisplay([1, 2, 3], [0.125, 0.5, 1.0]).plot()
    >>> display.ax_.lines[0].get_ydata().tolist()
    [12.5, 50.0, 100.0]
    >>> plt.close()
    """

    ax_: "Axes"
    figure_: Any

    def __init__(self, epochs: ArrayLike, selected_share: ArrayLike, edge_share: ArrayLike | None = None) -> None:
        self.epochs = epochs
        self.selected_share = selected_share
        self.edge_share = edge_share

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: "Axes | None" = None) -> Self:
        """Draw the history of a fitted estimator.

        Parameters
        ----------
        estimator : fitted estimator with ``history_``, a Pipeline that ends with one, or a search for one
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None makes a figure.

        Returns
        -------
        display : PairParticipationDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        NotFittedError
            If the estimator is not fitted.
        TypeError
            If it keeps no history.
        ValueError
            If no record of it has ``selected_share``.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.datasets import load_digits
        >>> from deepcluster_sk import DACClustering
        >>> from deepcluster_sk.display import PairParticipationDisplay
        >>> dac = DACClustering(3, max_epochs=1, random_state=0).fit(load_digits().images[:50])
        >>> PairParticipationDisplay.from_estimator(dac).epochs.tolist()  # the start has no pairs
        [3]
        >>> plt.close()
        """
        return cls.from_history(history_of(estimator), ax=ax)

    @classmethod
    def from_history(cls, history: History, *, ax: "Axes | None" = None) -> Self:
        """Draw records of any origin, such as a ``history_`` that was kept.

        Parameters
        ----------
        history : sequence of dict
            Records as in ``history_``, one an epoch; those with ``selected_share`` are drawn.
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None makes a figure.

        Returns
        -------
        display : PairParticipationDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If no record has ``selected_share``.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from deepcluster_sk.display import PairParticipationDisplay
        >>> history = [{"phase": "warm-up"}, {"phase": "DAC", "selected_share": 0.5}]
        >>> PairParticipationDisplay.from_history(history).epochs.tolist()
        [2]
        >>> plt.close()
        """
        epochs = [i for i, record in enumerate(history, 1) if "selected_share" in record]
        if not epochs:
            raise ValueError(f"history has {len(history)} records, and must have some with 'selected_share'.")
        shown = [history[i - 1] for i in epochs]
        selected = np.array([record["selected_share"] for record in shown])
        edges = np.array([record.get("edge_share", np.nan) for record in shown])
        return cls(np.array(epochs), selected, None if np.isnan(edges).all() else edges).plot(ax)

    def plot(self, ax: "Axes | None" = None) -> Self:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None makes a figure.

        Returns
        -------
        self : PairParticipationDisplay
            With ``ax_`` and ``figure_`` set.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        axis = own_axes(ax, figsize=(6.0, 3.6))
        epochs, share = np.asarray(self.epochs), np.asarray(self.selected_share)
        axis.plot(epochs, 100 * share, marker="o", markersize=4, color=COLORS[0], label="samples taking part")
        axis.set_ylabel("pairs taking part (%)")
        if self.edge_share is not None:
            style = {"marker": "s", "markersize": 4, "linestyle": "--", "color": COLORS[2]}
            axis.plot(epochs, 100 * np.asarray(self.edge_share), label="pairs with an edge", **style)
            axis.set_ylabel("share (%)")
            axis.legend(frameon=False)
        axis.set(xlabel=_EPOCH, ylim=(0, 105))
        use_whole_numbers(axis.xaxis)
        self.ax_, self.figure_ = axis, axis.figure
        return self


def _phases(history: History) -> list[tuple[str, list[int]]]:
    """Name and epochs, counted from 1, of each phase."""
    if not len(history):
        raise ValueError("history has no records, and must have one an epoch.")
    lacking = next((i for i, record in enumerate(history) if "phase" not in record), None)
    if lacking is not None:
        raise ValueError(f"history[{lacking}]={history[lacking]!r} must have 'phase'.")
    numbered = groupby(enumerate(history, 1), key=lambda pair: pair[1]["phase"])
    return [(phase, [epoch for epoch, _ in pairs]) for phase, pairs in numbered]


def _label_changes(records: History) -> list[float | None]:
    """Changes in per cent; None for the first look of a phase, which has nothing to compare labels with."""
    changes = [record.get("label_change") for record in records]
    first = next((i for i, change in enumerate(changes) if change is not None), 0)
    return [
        None if change is None or (i == first and change == 1) else 100 * change for i, change in enumerate(changes)
    ]


def _line(ax: Any, epochs: list[int], values: Sequence[float | None], **style: Any) -> None:
    """A line through the values that are there; none where none is."""
    there = [(epoch, value) for epoch, value in zip(epochs, values, strict=True) if value is not None]
    if there:
        ax.plot(*map(list, zip(*there, strict=True)), **style)


def _use_log_scale(ax: Any) -> None:
    """Logarithmic scale with plain numbers, at most three a decade."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
