"""Display of a search's scores against one hyperparameter, or two."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from deepcluster_sk.display._shared import COLORS, own_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Values that span more than this factor are drawn on a logarithmic scale.
_WIDE = 50


class SearchCurveDisplay:
    """Score of a search against one hyperparameter, as a line, or against two, as a heat map.

    Parameters
    ----------
    names : sequence of one or two str
        Hyperparameters.
    values : sequence of as many sequences
        Values of each.
    scores : ndarray of shape (n_values,) or (n_first_values, n_second_values), float
        Mean score over the splits; NaN where there is none.
    deviations : ndarray of the shape of ``scores``, float
        Standard deviation over the splits.
    score_name : str, default="score"
        What the score is.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the picture, after :meth:`plot`.
    figure_ : matplotlib Figure
        Figure of these axes, after :meth:`plot`.

    See Also
    --------
    deepcluster_sk.model_selection.FullData : Cross-validator for clustering.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from deepcluster_sk.display import SearchCurveDisplay
    >>> scores = np.array([0.5, 0.75])
    >>> display = SearchCurveDisplay(["lr"], [[0.001, 0.1]], scores, deviations=np.zeros(2)).plot()
    >>> display.ax_.lines[0].get_ydata().tolist(), display.ax_.get_xscale()
    ([0.5, 0.75], 'log')
    >>> plt.close()
    """

    ax_: "Axes"
    figure_: Any

    def __init__(
        self,
        names: Sequence[str],
        values: Sequence[Sequence[Any]],
        scores: NDArray[Any],
        deviations: NDArray[Any],
        score_name: str = "score",
    ) -> None:
        self.names = names
        self.values = values
        self.scores = scores
        self.deviations = deviations
        self.score_name = score_name

    @classmethod
    def from_estimator(
        cls,
        search: Any,
        *,
        params: str | Sequence[str] | None = None,
        score: str = "score",
        ax: "Axes | None" = None,
    ) -> Self:
        """Draw a fitted search.

        Parameters
        ----------
        search : fitted GridSearchCV, RandomizedSearchCV or the like
        params, score, ax
            As in :meth:`from_cv_results`.

        Returns
        -------
        display : SearchCurveDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        NotFittedError
            If the search is not fitted.
        ValueError
            If it has no such parameters or score.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.cluster import KMeans
        >>> from sklearn.model_selection import GridSearchCV
        >>> from deepcluster_sk.display import SearchCurveDisplay
        >>> from deepcluster_sk.metrics import silhouette_scorer
        >>> from deepcluster_sk.model_selection import FullData
        >>> X = [[0.0], [0.1], [5.0], [5.1]]
        >>> grid = {"n_clusters": [2, 3]}
        >>> search = GridSearchCV(KMeans(random_state=0), grid, scoring=silhouette_scorer, cv=FullData()).fit(X)
        >>> display = SearchCurveDisplay.from_estimator(search)
        >>> display.names, display.values, int(display.scores.argmax())
        (['n_clusters'], [[2, 3]], 0)
        >>> plt.close()
        """
        check_is_fitted(search, "cv_results_")
        return cls.from_cv_results(search.cv_results_, params=params, score=score, ax=ax)

    @classmethod
    def from_cv_results(
        cls,
        cv_results: Mapping[str, Any],
        *,
        params: str | Sequence[str] | None = None,
        score: str = "score",
        ax: "Axes | None" = None,
    ) -> Self:
        """Draw the results of a search.

        Parameters
        ----------
        cv_results : dict
            ``cv_results_`` of a search.
        params : str, sequence of one or two str, or None, default=None
            Hyperparameters to draw against, the first along x; None takes those with several values. Of candidates
            that differ in others only, the best is drawn.
        score : str, default="score"
            Which score, where the search has several.
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None makes a figure.

        Returns
        -------
        display : SearchCurveDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If the results have no such parameters or score, or ``params`` are not one or two.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from deepcluster_sk.display import SearchCurveDisplay
        >>> tried = [{"lr": 0.1, "n_clusters": 2}, {"lr": 0.1, "n_clusters": 3}, {"lr": 0.2, "n_clusters": 2}]
        >>> results = {"params": tried, "mean_test_score": [0.5, 0.6, 0.7], "std_test_score": [0.0, 0.0, 0.0]}
        >>> SearchCurveDisplay.from_cv_results(results).scores.tolist()
        [[0.5, 0.6], [0.7, nan]]
        >>> SearchCurveDisplay.from_cv_results(results, params="lr").scores.tolist()
        [0.6, 0.7]
        >>> plt.close("all")
        """
        candidates = list(cv_results.get("params", []))
        if f"mean_test_{score}" not in cv_results:
            there = [key.removeprefix("mean_test_") for key in cv_results if key.startswith("mean_test_")]
            raise ValueError(f"score={score!r} must be one that the search has: {', '.join(there) or 'it has none'}.")
        means = np.asarray(cv_results[f"mean_test_{score}"], dtype=np.float64)
        spread = np.asarray(cv_results.get(f"std_test_{score}", np.zeros(len(means))), dtype=np.float64)
        names = _chosen(params, candidates)
        values = [_distinct([candidate[name] for candidate in candidates if name in candidate]) for name in names]
        scores = np.full([len(each) for each in values], np.nan)
        deviations = scores.copy()
        for candidate, mean, deviation in zip(candidates, means, spread, strict=True):
            if all(name in candidate for name in names):
                at = tuple(_index(each, candidate[name]) for name, each in zip(names, values, strict=True))
                if np.isnan(scores[at]) or mean > scores[at]:
                    scores[at], deviations[at] = mean, deviation
        return cls(names, values, scores, deviations, score).plot(ax)

    def plot(self, ax: "Axes | None" = None, *, cmap: str = "cividis") -> Self:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None makes a figure.
        cmap : str, default="cividis"
            Colour map of a heat map.

        Returns
        -------
        self : SearchCurveDisplay
            With ``ax_`` and ``figure_`` set.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        scores = np.asarray(self.scores, dtype=np.float64)
        if scores.ndim == 1:
            ax = own_axes(ax, figsize=(5.4, 3.6))
            self._draw_line(ax, scores)
        else:
            ax = own_axes(ax, figsize=(2.6 + 0.8 * len(scores), 1.6 + 0.6 * scores.shape[1]))
            self._draw_map(ax, scores, cmap)
        ax.set_xlabel(self.names[0])
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _draw_line(self, ax: Any, scores: NDArray[np.float64]) -> None:
        values = list(self.values[0])
        is_numeric = all(isinstance(value, int | float | np.number) and not isinstance(value, bool) for value in values)
        at = np.array(values, dtype=np.float64) if is_numeric else np.arange(len(values))
        if is_numeric and at.min() > 0 and at.max() > _WIDE * at.min():
            ax.set_xscale("log")
        if not is_numeric:
            ax.set_xticks(at, [str(value) for value in values])
        ax.plot(at, scores, marker="o", color=COLORS[0])
        deviations = np.asarray(self.deviations, dtype=np.float64)
        if np.nansum(deviations) > 0:
            label = "± standard deviation over splits"
            ax.fill_between(at, scores - deviations, scores + deviations, color=COLORS[0], alpha=0.2, label=label)
            ax.legend(frameon=False)
        ax.set_ylabel(self.score_name)

    def _draw_map(self, ax: Any, scores: NDArray[np.float64], cmap: str) -> None:
        """Second hyperparameter upwards; each cell tells its score."""
        image = ax.imshow(scores.T, cmap=cmap, origin="lower", aspect="auto")
        middle = (np.nanmin(scores) + np.nanmax(scores)) / 2 if np.isfinite(scores).any() else 0.0
        for (i, j), score in np.ndenumerate(scores):
            if np.isfinite(score):
                color = "white" if score < middle else "black"
                ax.text(i, j, f"{score:.3g}", ha="center", va="center", color=color, fontsize="small")
        ax.set_xticks(range(len(self.values[0])), [str(value) for value in self.values[0]])
        ax.set_yticks(range(len(self.values[1])), [str(value) for value in self.values[1]])
        ax.set_ylabel(self.names[1])
        ax.figure.colorbar(image, ax=ax, label=self.score_name)


def _chosen(params: str | Sequence[str] | None, candidates: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the one or two hyperparameters to draw against."""
    known = list(dict.fromkeys(name for candidate in candidates for name in candidate))
    if params is None:
        tried = {name: [candidate[name] for candidate in candidates if name in candidate] for name in known}
        chosen = [name for name in known if len(_distinct(tried[name])) > 1] or known[:1]
        needed = f"params=None, but the search varies {', '.join(chosen) or 'nothing'}; params must name one or two."
    else:
        chosen = [params] if isinstance(params, str) else list(params)
        needed = f"params={params!r} must be one or two of those of the search: {', '.join(known)}."
    if len(chosen) not in (1, 2) or len(set(chosen)) != len(chosen) or not set(chosen) <= set(known):
        raise ValueError(needed)
    return chosen


def _index(values: Sequence[Any], value: Any) -> int:
    """Place of a value; True is not 1, and objects are looked for by identity first."""
    return next(i for i, other in enumerate(values) if type(other) is type(value) and _same(other, value))


def _same(one: Any, other: Any) -> bool:
    return one is other or bool(np.all(one == other))


def _distinct(values: Sequence[Any]) -> list[Any]:
    """Values, each once; sorted where they are numbers, else in their order."""
    found: list[Any] = []
    for value in values:
        if not any(type(other) is type(value) and _same(other, value) for other in found):
            found.append(value)
    is_numeric = all(isinstance(value, int | float | np.number) and not isinstance(value, bool) for value in found)
    return sorted(found) if is_numeric else found
