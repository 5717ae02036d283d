"""The edge to scikit-learn that the three estimators share: checks, restarts, prediction, diagnostics."""

import copy
import os
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.utils import Tags
from torch import Tensor, nn

from deepcluster_sk._checkpoint import Journal, opened, parse_interval, plain
from deepcluster_sk._data import ArraySamples
from deepcluster_sk._diagnostics import N_TRANSFORMED, Run, fit_report, used_first
from deepcluster_sk._distributed import Ranks, by_all_ranks, join_ranks
from deepcluster_sk._engine import Runtime, explaining_lack_of_memory, resolve_precision, settle_batch_norm
from deepcluster_sk._fingerprint import fingerprint
from deepcluster_sk._input import Input, read_input
from deepcluster_sk._monitor import Monitor
from deepcluster_sk._partial_fit import PartialFitMixin
from deepcluster_sk._progress import note, training
from deepcluster_sk._scaling import Scaling
from deepcluster_sk._signals import StopRequest, noting_signals
from deepcluster_sk._start import default_epochs
from deepcluster_sk._synced_batch_norm import synchronizing_batch_norm
from deepcluster_sk._torch_state import own_torch_state
from deepcluster_sk._validation import (
    all_or_nothing,
    check_choice,
    check_number,
    check_size,
    make_seed,
    resolve_device,
)
from deepcluster_sk.augment import Augmentation, check_augmentation
from deepcluster_sk.metrics._neighbors import neighbor_agreement

# Parameters that ranks may have their own of: the seed is that of rank 0, which alone prints and writes.
_OF_EACH_RANK = ("device", "verbose", "random_state", "checkpoint_dir", "checkpoint_every")
# Vectors of so many features are compared by direction unless the user says otherwise.
_LONG = 64


def own_copy(network: Any) -> Any:
    """The user's module as a copy on the CPU in float32, which training may change; anything else as it is."""
    return copy.deepcopy(network).cpu().float() if isinstance(network, nn.Module) else network


def comparable(value: Any) -> Any:
    """What ranks compare of a parameter: a number, name or size itself, of anything else the type."""
    value = tuple(value) if isinstance(value, list) else value
    told = value is None or isinstance(value, str | int | float | tuple | np.generic)
    return plain(value) if told else type(value).__name__


class BaseDeepClustering(
    CallbackSupportMixin,
    PartialFitMixin,
    ClusterMixin,
    BaseEstimator,
    metaclass=ABCMeta,
):
    """Base of the estimators: a subclass builds a network, trains it, and says what it represents a batch by."""

    @abstractmethod
    def _build_network(self, sample_shape: tuple[int, ...]) -> nn.Module:
        """Untrained network for samples of this shape, with a ``standardize`` layer."""

    @abstractmethod
    def _train(self, network: Any, samples: ArraySamples, runtime: Runtime, monitor: Monitor) -> bool:
        """Train in place; return whether the method's own stopping rule was met."""

    @abstractmethod
    def _phases(self, n_samples: int) -> dict[str, int]:
        """Most epochs of each phase by name; 0 skips it."""

    def _samples_to_fit(self, given: Input, ranks: Ranks) -> ArraySamples:
        if not self._standardizes():
            return ArraySamples(given.rows, Scaling(offset=0.0, scale=1.0), units=Scaling.of(given.rows, ranks))
        return ArraySamples(given.rows, self._scaling_of(given, ranks))

    def _scaling_of(self, given: Input, ranks: Ranks) -> Scaling:
        if given.paths is not None:
            return Scaling(offset=0.0, scale=255.0)
        return Scaling.of(given.rows, ranks, to_unit=self._compares_directions(given.rows.shape))

    def _compares_directions(self, shape: tuple[int, ...]) -> bool:
        """Whether samples, of this shape in all, are vectors whose lengths do not count."""
        is_long = len(shape) == 2 and shape[1] >= _LONG
        return self.metric == "cosine" or (self.metric == "auto" and is_long)

    def _check_params(self) -> None:
        """Raise for any parameter that is wrong whatever the data; subclasses add their own."""
        check_number("n_clusters", self.n_clusters, int, 1)
        check_number("max_epochs", self.max_epochs, int, 1, besides=(None,))
        check_number("batch_size", self.batch_size, int, 2)
        check_number("lr", self.lr, float, 0, low_open=True)
        check_number("tol", self.tol, float, 0, 1)
        check_number("n_init", self.n_init, int, 1)
        check_number("n_neighbors", self.n_neighbors, int, 0, besides=("auto",))
        check_number("temperature", self.temperature, float, 0, low_open=True)
        if not isinstance(self.verbose, bool):
            check_number("verbose", self.verbose, int, 0)
        check_choice("metric", self.metric, ("auto", "cosine", "euclidean"))
        check_choice("precision", self.precision, ("auto", "float32", "bfloat16"))
        check_choice("on_interrupt", self.on_interrupt, ("raise", "keep"))
        check_choice("on_error", self.on_error, ("raise", "skip"))
        check_size(self.image_size)
        parse_interval(self.checkpoint_every)
        if self.checkpoint_dir is not None and not isinstance(self.checkpoint_dir, str | os.PathLike):
            raise TypeError(f"checkpoint_dir={self.checkpoint_dir!r} must be None or the path of a folder.")

    def _n_epochs(self, name: str, n_samples: int, at_500: int) -> int:
        """The parameter ``name``, or its default share of epochs where it is None; never above ``max_epochs``."""
        given = getattr(self, name)
        check_number(name, given, int, 0, besides=(None,))
        if given is None:
            return self._n_epochs_default(n_samples, at_500)
        return int(given) if self.max_epochs is None else min(int(given), self.max_epochs)

    def _n_epochs_default(self, n_samples: int, at_500: int) -> int:
        n_epochs = default_epochs(n_samples, at_500)
        return n_epochs if self.max_epochs is None else min(n_epochs, self.max_epochs)

    @all_or_nothing  # outside, for callbacks are torn down by an attribute that it takes away
    @with_callbacks  # type: ignore[untyped-decorator]
    @by_all_ranks
    def fit(self, X: Any, y: Any = None) -> Self:
        """Cluster the samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), (n_samples, h, w), (n_samples, h, w, c) or \
(n_samples, c, h, w), uint8 or float of any range; path-like; list of path-like; or torch Dataset
            Images, or feature vectors; flattened images need ``image_shape``. A path is that of a folder of images. A
            Dataset has a length and gives images or vectors, or tuples that begin with one. Never written to.
        y : ignored
            Passed on to callbacks, never to training.

        Returns
        -------
        self : object

        Raises
        ------
        TypeError, ValueError
            If a parameter or X is not valid; the message names it. The estimator stays what it was.
        """
        self._check_params()
        ranks = join_ranks()
        given = read_input(self, X, ranks=ranks)
        self._check_ranks(given.rows.shape, ranks)
        if self.n_clusters > len(given.rows):
            raise ValueError(f"n_clusters={self.n_clusters} must not exceed n_samples={len(given.rows)}.")
        samples = self._samples_to_fit(given, ranks)
        seed = ranks.from_first(lambda: make_seed(self.random_state))
        device = ranks.device(resolve_device(self.device))
        phases = self._phases(len(samples))
        context = self._init_callback_context(max_subtasks=self.n_init * sum(phases.values()))
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)

        stop_request = StopRequest(keep=self.on_interrupt == "keep")
        mark = partial(fingerprint, self, samples, device)
        folder = opened(self.checkpoint_dir, self.checkpoint_every, mark, ranks)

        shown = training(int(self.verbose) if ranks.is_first else 0, phases, self.n_init)
        with own_torch_state(device), folder as checkpoints, noting_signals(stop_request), shown as show:
            seed = seed if checkpoints is None else checkpoints.seed(seed)

            def run(restart: int) -> Run:
                journal = None if checkpoints is None else checkpoints.journal(restart)
                told = context, X, y, partial(show, restart)
                return self._run(samples, seed + restart, device, ranks, told, journal, stop_request)

            best = last = run(0)
            others: list[NDArray[np.intp]] = []
            while len(others) + 1 < self.n_init and not last.stopped:
                last = run(len(others) + 1)
                if not last.stopped:  # else it has no word beside those that came to their end
                    best, other = sorted((best, last), key=lambda run: run.rank)
                    others.append(other.labels)
        self._store(best, others, samples)
        self._store_paths(given)
        context.call_on_fit_task_end(estimator=self, X=X, y=y, reconstruction_attributes=lambda: {})
        return self

    def _check_ranks(self, X_shape: tuple[int, ...], ranks: Ranks) -> None:
        """Raise if the ranks do not have the same parameters and X, or too little of it for each to have a part."""
        params = {name: comparable(value) for name, value in self.get_params(deep=False).items()}
        shared = {name: value for name, value in params.items() if name not in _OF_EACH_RANK}
        ranks.check_same({"The shape of X": X_shape, **shared})
        for name, value in {"n_samples": X_shape[0], "batch_size": self.batch_size, **self._block_sizes()}.items():
            if value < ranks.size:
                raise ValueError(f"{name}={value} must not be less than {ranks.size}, the processes of the fit.")

    def _block_sizes(self) -> dict[str, int]:
        """Further parameters that are numbers of samples trained on together."""
        return {}

    def _checked_augmentation(self, samples: ArraySamples, device: torch.device) -> Augmentation:
        """The random transform of training samples, tried on two of them."""
        augment = self._augmentation(samples, samples.seen_shape)
        check_augmentation(augment, samples.batch(torch.arange(2)).to(device))
        return augment

    def _runtime(self, samples: ArraySamples, seed: int, device: torch.device, ranks: Ranks) -> Runtime:
        torch.manual_seed(seed)
        return Runtime(
            device=device,
            precision=resolve_precision(self.precision, device, samples.sample_shape),
            augment=self._checked_augmentation(samples, device),
            generator=torch.Generator().manual_seed(seed),
            batch_size=min(self.batch_size, len(samples)),
            channels_last=not self._has_own_module(),
            ranks=ranks,
            skips_layers=self._has_own_module(),
        )

    def _prepared(self, samples: ArraySamples, seed: int, device: torch.device, ranks: Ranks) -> tuple[Runtime, Any]:
        """Runtime and untrained network of one restart."""
        runtime = self._runtime(samples, seed, device, ranks)
        network: Any = self._build_network(samples.sample_shape)
        if len(samples.sample_shape) == 3 and self._standardizes():
            mean, std = samples.channel_moments(ranks)
            network.standardize.mean.copy_(mean)
            network.standardize.std.copy_(std)
        return runtime, runtime.place(network)

    def _run(
        self,
        samples: ArraySamples,
        seed: int,
        device: torch.device,
        ranks: Ranks,
        told: tuple[Any, Any, Any, Callable[[dict[str, Any], int], None]],
        journal: Journal | None,
        stop_request: StopRequest,
    ) -> Run:
        """Train one network from one seed, from where the journal left off.

        Callbacks are ``told`` of it through their context, with X and y, and the user by a function of the record.
        """
        runtime, network = self._prepared(samples, seed, device, ranks)
        verbose = int(self.verbose) if ranks.is_first else 0
        finished = None if journal is None else journal.finished()
        if journal is not None and finished is not None:
            note(f"already finished in {journal.folder}", verbose)
            return Run.restored(network, finished)
        context, X, y, show = told
        history: list[dict[str, Any]] = []  # the monitor itself, asked from within, would outlive the fit in a cycle

        def begin() -> Any:
            epoch = context.subcontext(task_name="epoch")
            epoch.call_on_fit_task_begin(estimator=self, X=X, y=y)
            return epoch

        def end(epoch: Any) -> bool:
            def so_far() -> dict[str, Any]:
                fitted = self._fitted_attributes(copy.deepcopy(network).eval(), samples, range(self.n_clusters))
                return {**fitted, "history_": list(history)}

            return bool(epoch.call_on_fit_task_end(estimator=self, X=X, y=y, reconstruction_attributes=so_far))

        journaled: dict[str, Any] = {"generator": runtime.generator, "journal": journal, "stop_request": stop_request}
        monitor = Monitor(begin, end, show, history, **journaled, ranks=ranks)
        if journal is not None and history:
            note(f"going on in {history[-1]['phase']} epoch {history[-1]['epoch'] + 1}, from {journal.folder}", verbose)
        with explaining_lack_of_memory(runtime), synchronizing_batch_norm(network, ranks):
            converged = self._train(network, samples, runtime, monitor)
            settle_batch_norm(network, samples, runtime)
        network.eval()
        run = self._judged(network, samples, runtime, monitor, converged)
        if journal is not None and not run.stopped:
            journal.finish(run.saved())
        return run

    def _judged(self, network: Any, samples: ArraySamples, runtime: Runtime, monitor: Monitor, converged: bool) -> Run:
        """What a trained network makes of the samples; of each of them, no more is kept."""
        widths = set()

        def judge(embedding: Tensor, proba: Tensor) -> tuple[Tensor, ...]:
            widths.add(embedding.shape[1])
            return proba.argmax(1), proba.amax(1)

        apply = partial(self._apply, samples, judge, network=network)
        labels, confidence = apply(ranks=runtime.ranks)
        if not np.isfinite(confidence).all():
            raise ValueError(
                "The trained network gives NaN for probabilities: its outputs overflow. A smaller learning rate (lr) "
                "may help, or a module of your own whose outputs are smaller."
            )
        agreement, of_neighbors = None, None
        if self.augment is not None:
            some = torch.randperm(len(samples), generator=runtime.generator)[:N_TRANSFORMED]
            (moved, _) = apply(indices=some, augment=runtime.augment)
            agreement = float((labels[some.numpy()] == moved).mean())
        elif self.n_init > 1:

            def read(some: NDArray[np.intp]) -> NDArray[np.float32]:
                return samples.batch(torch.from_numpy(some)).numpy()

            of_neighbors = runtime.ranks.from_first(lambda: neighbor_agreement(read, labels))
        return Run(
            network=network,
            history=monitor.history,
            stopped=monitor.stopped,
            converged=converged,
            precision=runtime.precision,
            n_components=widths.pop(),
            labels=labels,
            confidence=confidence,
            augmentation_agreement=agreement,
            sizes=np.bincount(labels, minlength=self.n_clusters),
            neighbor_agreement=of_neighbors,
        )

    def _fitted_attributes(self, module: Any, samples: ArraySamples, order: Sequence[int]) -> dict[str, Any]:
        """What prediction needs."""
        return {
            "module_": module,
            "_scaling": samples.scaling,
            "_units": samples.units,
            "_sample_shape": samples.sample_shape,
            "_seen_shape": samples.seen_shape,
            "_cluster_order": list(order),
            "_regroupings": [],
        }

    def _store(self, run: Run, others: Sequence[NDArray[np.intp]], samples: ArraySamples) -> None:
        """Set the fitted attributes, with the clusters in use numbered first."""
        order = used_first(run.sizes)
        for name, value in self._fitted_attributes(run.network, samples, order.tolist()).items():
            setattr(self, name, value)
        self.labels_ = np.argsort(order)[run.labels]
        self.cluster_names_ = [str(cluster) for cluster in range(self.n_clusters)]
        self.history_ = run.history
        self.n_iter_ = len(self.history_)
        self.n_samples_seen_ = len(samples)
        self.converged_ = run.converged
        self._n_features_out = run.n_components
        self.fit_report_ = fit_report(run, others, samples)

    def _store_paths(self, given: Input) -> None:
        """Set what tells of files, or take it away."""
        for name in ("paths_", "unreadable_"):
            if hasattr(self, name):
                delattr(self, name)
        if given.paths is not None:
            self.paths_, self.unreadable_ = given.paths, dict(given.unreadable)

    def fit_predict(self, X: Any, y: Any = None, **kwargs: Any) -> NDArray[np.intp]:
        """Cluster the samples and return their labels.

        Parameters
        ----------
        X : array-like
            As in :meth:`fit`.
        y : ignored
            Passed on to callbacks.
        **kwargs : dict
            Passed on to :meth:`fit`.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int64, in [0, n_clusters)
            ``labels_``: without files that cannot be read, unlike those of :meth:`predict`.
        """
        return self.fit(X, y, **kwargs).labels_

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        if tags.transformer_tags is not None:
            tags.transformer_tags.preserves_dtype = ["float32"]
        return tags
