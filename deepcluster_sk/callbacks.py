"""Callbacks for ``set_callbacks`` of the estimators, in scikit-learn's own (experimental) callback protocol."""

from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from deepcluster_sk._base import BaseDeepClustering
from deepcluster_sk._validation import check_number

__all__ = ["Stage", "StageRecorder"]


@dataclass(frozen=True, eq=False)
class Stage:
    """What a network said of some samples after an epoch.

    Attributes
    ----------
    phase : str
        Phase of the epoch, as in ``history_``.
    epoch : int
        Number of the epoch within its phase, from 0.
    n_iter : int
        Epochs run by then, all phases together, from 1.
    proba : ndarray of shape (n, n_clusters), float32, rows sum to 1
        Cluster probabilities; columns are those of the fitted estimator.
    embedding : ndarray of shape (n, n_components), float32
        What ``transform`` gives.

    Examples
    --------
    >>> import numpy as np
    >>> from deepcluster_sk.callbacks import Stage
    >>> Stage("DCCM", epoch=4, n_iter=12, proba=np.ones((1, 1)), embedding=np.zeros((1, 2))).name
    'DCCM, epoch 5'
    """

    phase: str
    epoch: int
    n_iter: int
    proba: NDArray[Any]
    embedding: NDArray[Any]

    @property
    def name(self) -> str:
        """Phase and epoch, counted from 1, as a picture's legend has them."""
        return f"{self.phase}, epoch {self.epoch + 1}"


class StageRecorder:
    """Keeps what the network says of some samples after some epochs of ``fit``, which it does not change.

    True labels are neither needed nor kept.

    Parameters
    ----------
    X : array-like, path-like, list of path-like, or torch Dataset
        Samples as the estimator takes them; those of ``fit``, some of them, or others. Predicted twice an epoch, so
        some hundred are better than all.
    epochs : "phases" or int, default="phases"
        "phases" keeps the first epoch, and the last one of each phase. An integer k, at least 1, keeps the first epoch,
        every k-th after it, and the last. A fit that was resumed from its checkpoint has none of the epochs before.

    Attributes
    ----------
    stages : list of Stage
        Of the fit that ended last, in the order of epochs. The last stage is that of the fitted estimator.
    runs : list of list of Stage
        Of every fit that ended since the recorder was made, in the order in which they ended.

    See Also
    --------
    deepcluster_sk.display.EmbeddingDisplay : Draws them, as do others with ``from_recorder``.

    Notes
    -----
    As with scikit-learn's ``ScoringMonitor``, ``clone`` shares the recorder, and worker processes send what they saw to
    it. So ``stages`` of a search with ``refit=True`` are those of its best estimator. It has to be set on the estimator
    itself, not on a Pipeline or search around it.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from deepcluster_sk import DACClustering
    >>> from deepcluster_sk.callbacks import StageRecorder
    >>> X = load_digits(n_class=3).images[:50]
    >>> recorder = StageRecorder(X)
    >>> dac = DACClustering(3, max_epochs=1, random_state=0).set_callbacks(recorder).fit(X)
    >>> [stage.name for stage in recorder.stages]
    ['warm-up, epoch 1', 'label start, epoch 1', 'DAC, epoch 1']
    >>> recorder.stages[-1].proba.shape
    (50, 3)
    """

    def __init__(self, X: Any, epochs: str | int = "phases") -> None:
        # scikit-learn keeps it private; should it move, only this class breaks.
        from sklearn.callback._transport import open_listener

        if isinstance(epochs, str):
            if epochs != "phases":
                raise ValueError(f"epochs={epochs!r} must be 'phases' or an integer of at least 1.")
        else:
            check_number("epochs", epochs, int, 1)
        self.X = X
        self.epochs = epochs
        self._runs: list[list[Stage]] = []
        # By context, since threads may fit several clones at a time; weak, so that a fit that fails leaves nothing.
        self._fits: WeakKeyDictionary[Any, list[Stage]] = WeakKeyDictionary()
        # Opened here and not in fit: worker processes get a pickled copy, which sends what it sees to this listener.
        self._listener = open_listener(self._runs.append, owner=self)

    @property
    def stages(self) -> list[Stage]:
        """Stages of the fit that ended last.

        Raises
        ------
        ValueError
            If none has ended.
        """
        if not self._runs:
            raise ValueError("StageRecorder has no stages: fit an estimator that was given it by set_callbacks.")
        return self._runs[-1]

    @property
    def runs(self) -> list[list[Stage]]:
        """Stages of every fit that ended."""
        return list(self._runs)

    def setup(self, estimator: Any, context: Any) -> None:
        """Begin a fit.

        Parameters
        ----------
        estimator : estimator
        context : sklearn.callback.CallbackContext

        Raises
        ------
        TypeError
            If the estimator is none of this package.
        ValueError
            If it has several restarts: it is not known before the end which one's stages are wanted.
        """
        if not isinstance(estimator, BaseDeepClustering):
            raise TypeError(
                f"StageRecorder was set on {type(estimator).__name__}, and must be set on an estimator of "
                "deepcluster_sk itself."
            )
        if estimator.n_init != 1:
            raise ValueError(f"n_init={estimator.n_init!r} must be 1: StageRecorder keeps the stages of one restart.")
        self._fits[context] = []

    def teardown(self, estimator: Any, context: Any) -> None:
        """Forget a fit, whether it ended or failed.

        Parameters
        ----------
        estimator : estimator
        context : sklearn.callback.CallbackContext
        """
        self._fits.pop(context, None)

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Do nothing; the protocol asks for it.

        Parameters
        ----------
        estimator : estimator
        context : sklearn.callback.CallbackContext
        """

    def on_fit_task_end(self, estimator: Any, context: Any, *, fitted_estimator: Any = None) -> None:
        """Keep what the network says after an epoch, if it is asked for; at the end of the fit, send it all.

        Parameters
        ----------
        estimator : estimator
        context : sklearn.callback.CallbackContext
            Of an epoch, or of the fit.
        fitted_estimator : estimator
            As it would be if training ended here.
        """
        from sklearn.callback._transport import send

        if context in self._fits:
            send(self._listener, self._stages_of(self._fits[context], fitted_estimator))
            return
        stages, history = self._fits[context.parent], fitted_estimator.history_
        if self.epochs == "phases":
            # The epoch before was not the last of its phase, and is kept only if it was the first of all.
            if stages and stages[-1].n_iter > 1 and stages[-1].phase == history[-1]["phase"]:
                stages.pop()
        elif (len(history) - 1) % int(self.epochs):
            return
        stages.append(self._stage(fitted_estimator))

    def _stage(self, fitted: Any) -> Stage:
        """What the network says now."""
        history = fitted.history_
        proba, embedding = np.asarray(fitted.predict_proba(self.X)), np.asarray(fitted.transform(self.X))
        return Stage(history[-1]["phase"], history[-1]["epoch"], len(history), proba, embedding)

    def _stages_of(self, stages: list[Stage], fitted: Any) -> list[Stage]:
        """Stages that were kept, with the columns of the fitted estimator, and that of itself in place of the last."""
        # Columns are the network's own until fit ends; then clusters in use come first.
        order, n_iter = list(fitted._cluster_order), len(fitted.history_)
        before = [replace(stage, proba=stage.proba[:, order]) for stage in stages if stage.n_iter < n_iter]
        return [*before, self._stage(fitted)]

    def __getstate__(self) -> dict[str, Any]:
        # The listener's thread may add to the list of runs while another thread pickles it.
        return {**self.__dict__, "_runs": list(self._runs), "_fits": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        from sklearn.callback._transport import can_reuse_listener, open_listener

        self.__dict__.update(state)
        self._fits = WeakKeyDictionary()
        if not can_reuse_listener(self._listener):
            self._listener = open_listener(self._runs.append, owner=self)
