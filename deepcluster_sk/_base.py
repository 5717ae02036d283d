"""The edge to scikit-learn that the three estimators share: checks, restarts, prediction, diagnostics."""

import copy
import warnings
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from deepcluster_sk._data import ArraySamples, Scaling
from deepcluster_sk._engine import Monitor, Runtime, infer, resolve_precision, settle_batch_norm
from deepcluster_sk._start import default_epochs
from deepcluster_sk._torch_state import own_torch_state
from deepcluster_sk._validation import (
    check_choice,
    check_fits,
    check_number,
    check_samples,
    make_seed,
    refuse_single_image,
    resolve_device,
    warn_of_other_range,
)
from deepcluster_sk.augment import Augmentation, check_augmentation, resolve_augmentation
from deepcluster_sk.exceptions import CollapseWarning

# A cluster with a larger share than this counts as a collapse.
_NEARLY_ALL = 0.95


# From embedding (n, d) and cluster probabilities (n, n_clusters) of a batch to what is wanted of them.
Choose = Callable[[Tensor, Tensor], tuple[Tensor, ...]]


class _Run(NamedTuple):
    """One trained network, and what it makes of the samples it was trained on."""

    network: Any
    monitor: Monitor
    converged: bool
    precision: str
    n_components: int  # of the embedding
    labels: NDArray[np.intp]  # (n,), columns of the network's output
    confidence: NDArray[np.float32]  # (n,), largest probability
    sizes: NDArray[np.intp]  # (n_clusters,), samples in each of the network's clusters

    @property
    def rank(self) -> tuple[int, bool, float]:
        """Smaller is better: first clusters that stay empty, then one that holds nearly all, then the final loss.

        The loss alone would prefer a collapse, in which all pairs agree.
        """
        history = self.monitor.history
        loss = history[-1]["loss"] if history else float("inf")
        return int((self.sizes == 0).sum()), bool(self.sizes.max() > _NEARLY_ALL * len(self.labels)), loss


def own_copy(network: Any) -> Any:
    """The user's module as a copy on the CPU in float32, which training may change; anything else as it is."""
    return copy.deepcopy(network).cpu().float() if isinstance(network, nn.Module) else network


class BaseDeepClustering(
    CallbackSupportMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
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
    def _represent(self, network: Any, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Embedding (n, d) and cluster probabilities (n, n_clusters) of a batch."""

    @abstractmethod
    def _phases(self, n_samples: int) -> dict[str, int]:
        """Most epochs of each phase by name; 0 skips it."""

    def _standardizes(self) -> bool:
        """Whether samples are scaled and standardised; not for a network that was trained elsewhere."""
        return True

    def _has_own_module(self) -> bool:
        """Whether the network is the user's, of which nothing is known but that it takes float32 in torch's order."""
        return isinstance(self.network, nn.Module) or getattr(self, "encoder", None) is not None

    def _scaling_of(self, array: NDArray[Any]) -> Scaling:
        return Scaling.of(array) if self._standardizes() else Scaling(offset=0.0, scale=1.0)

    def _check_params(self) -> None:
        """Raise for any parameter that is wrong whatever the data; subclasses add their own."""
        check_number("n_clusters", self.n_clusters, int, 1)
        if self.max_epochs is not None:
            check_number("max_epochs", self.max_epochs, int, 1)
        check_number("batch_size", self.batch_size, int, 2)
        check_number("lr", self.lr, float, 0, low_open=True)
        check_number("n_init", self.n_init, int, 1)
        check_number("n_neighbors", self.n_neighbors, int, 0)
        check_number("temperature", self.temperature, float, 0, low_open=True)
        if not isinstance(self.verbose, bool):
            check_number("verbose", self.verbose, int, 0)
        check_choice("precision", self.precision, ("auto", "float32", "bfloat16"))

    def _n_epochs(self, name: str, n_samples: int, at_500: int) -> int:
        """The parameter ``name``, or its default share of epochs where it is None; never above ``max_epochs``."""
        given = getattr(self, name)
        if given is None:
            return self._n_epochs_default(n_samples, at_500)
        check_number(name, given, int, 0)
        return int(given) if self.max_epochs is None else min(int(given), self.max_epochs)

    def _n_epochs_default(self, n_samples: int, at_500: int) -> int:
        n_epochs = default_epochs(n_samples, at_500)
        return n_epochs if self.max_epochs is None else min(n_epochs, self.max_epochs)

    @with_callbacks  # type: ignore[untyped-decorator]
    def fit(self, X: Any, y: Any = None) -> Self:
        """Cluster the samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), (n_samples, h, w), (n_samples, h, w, c) or \
(n_samples, c, h, w), uint8 or float of any range
            Images, or feature vectors. Flattened images need ``image_shape``. Never written to.
        y : ignored
            Passed on to callbacks, never to training.

        Returns
        -------
        self : object

        Raises
        ------
        TypeError, ValueError
            If a parameter or X is not valid; the message names it. Nothing is fitted then.
        """
        self._check_params()
        array = check_samples(self, X, self.image_shape, reset=True)
        if self.n_clusters > len(array):
            raise ValueError(f"n_clusters={self.n_clusters} must not exceed n_samples={len(array)}.")
        samples = ArraySamples(array, self._scaling_of(array))
        seed = make_seed(self.random_state)
        device = resolve_device(self.device)
        phases = self._phases(len(samples))
        context = self._init_callback_context(max_subtasks=self.n_init * sum(phases.values()))
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)

        with own_torch_state(device):
            best = self._run(samples, seed, device, context, X, y)
            for restart in range(1, self.n_init):
                if best.monitor.stopped:
                    break
                run = self._run(samples, seed + restart, device, context, X, y)
                best = min(best, run, key=lambda run: run.rank)
        self._store(best, samples)
        context.call_on_fit_task_end(estimator=self, X=X, y=y, reconstruction_attributes=lambda: {})
        return self

    def _checked_augmentation(self, samples: ArraySamples, device: torch.device) -> Augmentation:
        """The random transform of training samples, tried on two of them."""
        shape = samples.sample_shape
        if samples.is_gray():
            shape = (1, *shape[1:])  # however many equal channels it has
        augment = resolve_augmentation(self.augment, shape)
        check_augmentation(augment, samples.batch(torch.arange(2)).to(device))
        return augment

    def _run(self, samples: ArraySamples, seed: int, device: torch.device, context: Any, X: Any, y: Any) -> _Run:
        """Train one network from one seed."""
        torch.manual_seed(seed)
        runtime = Runtime(
            device=device,
            precision=resolve_precision(self.precision, device, samples.sample_shape),
            augment=self._checked_augmentation(samples, device),
            generator=torch.Generator().manual_seed(seed),
            batch_size=min(self.batch_size, len(samples)),
            channels_last=not self._has_own_module(),
        )
        network: Any = self._build_network(samples.sample_shape)
        if len(samples.sample_shape) == 3 and self._standardizes():
            mean, std = samples.channel_moments()
            network.standardize.mean.copy_(mean)
            network.standardize.std.copy_(std)
        runtime.place(network)

        def begin() -> Any:
            epoch = context.subcontext(task_name="epoch")
            epoch.call_on_fit_task_begin(estimator=self, X=X, y=y)
            return epoch

        def end(epoch: Any) -> bool:
            def so_far() -> dict[str, Any]:
                return self._fitted_attributes(copy.deepcopy(network).eval(), samples, range(self.n_clusters))

            return bool(epoch.call_on_fit_task_end(estimator=self, X=X, y=y, reconstruction_attributes=so_far))

        monitor = Monitor(begin, end, int(self.verbose))
        converged = self._train(network, samples, runtime, monitor)
        settle_batch_norm(network, samples, runtime)
        network.eval()
        # Sample by sample, no more than this is kept.
        widths = set()

        def judge(embedding: Tensor, proba: Tensor) -> tuple[Tensor, ...]:
            widths.add(embedding.shape[1])
            return proba.argmax(1), proba.amax(1)

        labels, confidence = self._apply(network, samples, judge)
        sizes = np.bincount(labels, minlength=self.n_clusters)
        return _Run(network, monitor, converged, runtime.precision, widths.pop(), labels, confidence, sizes)

    def _fitted_attributes(self, module: Any, samples: ArraySamples, order: Sequence[int]) -> dict[str, Any]:
        """What prediction needs."""
        return {
            "module_": module,
            "_scaling": samples.scaling,
            "_sample_shape": samples.sample_shape,
            "_cluster_order": list(order),
        }

    def _store(self, run: _Run, samples: ArraySamples) -> None:
        """Set the fitted attributes, with the clusters in use numbered first."""
        order = np.argsort(run.sizes == 0, kind="stable")  # keeps the order among equals, so ties fall as in predict
        for name, value in self._fitted_attributes(run.network, samples, order.tolist()).items():
            setattr(self, name, value)
        self.labels_ = np.argsort(order)[run.labels]
        self.history_ = run.monitor.history
        self.n_iter_ = len(self.history_)
        self.converged_ = run.converged
        self._n_features_out = run.n_components
        self.fit_report_ = self._report(run, run.sizes[order])

    def _report(self, run: _Run, sizes: NDArray[np.intp]) -> dict[str, Any]:
        """Label-free diagnostics; warns of a collapse."""
        n_used = int((sizes > 0).sum())
        last = self.history_[-1] if self.history_ else {}
        report = {
            "n_clusters_used": n_used,
            "cluster_sizes": sizes.tolist(),
            "largest_share": float(sizes.max() / sizes.sum()),
            "mean_confidence": float(run.confidence.mean()),
            "selected_share": last.get("selected_share"),
            "label_change": last.get("label_change"),
            "precision": run.precision,
        }
        if n_used < self.n_clusters or (self.n_clusters > 1 and report["largest_share"] > _NEARLY_ALL):
            warnings.warn(
                f"{n_used} of {self.n_clusters} clusters are used and the largest holds "
                f"{report['largest_share']:.0%} of the samples. X may have fewer distinct groups than n_clusters; "
                "else try another random_state, n_init > 1, or a smaller lr. fit_report_ has the figures.",
                CollapseWarning,
                stacklevel=5,
            )
        return report

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
        """
        return self.fit(X, y, **kwargs).labels_

    def predict(self, X: Any) -> NDArray[np.intp]:
        """Cluster of each sample: the most probable one.

        Parameters
        ----------
        X : array-like
            Samples of the same shape and range as in :meth:`fit`.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int64, in [0, n_clusters)

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If X does not fit what the estimator was fitted on.
        """
        (labels,) = self._apply_to_new(X, lambda _, proba: (proba[:, self._cluster_order].argmax(1),))
        return labels

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """Probability of each cluster for each sample.

        Parameters
        ----------
        X : array-like
            Samples of the same shape and range as in :meth:`fit`.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_clusters), float32, rows sum to 1
            Clusters that hold training samples come first, unused ones last.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If X does not fit what the estimator was fitted on.
        """
        (proba,) = self._apply_to_new(X, lambda _, proba: (proba[:, self._cluster_order],))
        return proba

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Embedding of each sample.

        Parameters
        ----------
        X : array-like
            Samples of the same shape and range as in :meth:`fit`.

        Returns
        -------
        embedding : ndarray of shape (n_samples, n_components), float32

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If X does not fit what the estimator was fitted on.
        """
        (embedding,) = self._apply_to_new(X, lambda embedding, _: (embedding,))
        return embedding

    def _apply_to_new(self, X: Any, choose: Choose) -> tuple[NDArray[Any], ...]:
        check_is_fitted(self, "module_")
        refuse_single_image(X, self._sample_shape)
        array = check_samples(self, X, self.image_shape, reset=False)
        check_fits(array, self._sample_shape, type(self).__name__)
        if array.ndim == 4 and self._standardizes():
            warn_of_other_range(array, self._scaling.offset, self._scaling.scale)
        return self._apply(self.module_, ArraySamples(array, self._scaling), choose)

    def _apply(self, module: nn.Module, samples: ArraySamples, choose: Choose) -> tuple[NDArray[Any], ...]:
        """What ``choose`` takes from each batch's embedding and probabilities, computed in float32.

        For feature vectors the built-in networks compute them in float64, and they are rounded.
        """
        dtype, own = torch.float32, self._has_own_module()
        if len(samples.sample_shape) == 1 and not own:
            # In float32 a product depends in its last bits on how many rows it has; vectors are cheap enough.
            module, dtype = copy.deepcopy(module).double(), torch.float64
        device = next(module.parameters()).device
        runtime = Runtime(device, "float32", lambda batch, _: batch, torch.Generator(), 2, channels_last=not own)

        def chosen(batch: Tensor) -> tuple[Tensor, ...]:
            embedding, proba = self._represent(module, batch.to(dtype))
            return choose(embedding.float(), proba.float())

        with torch.inference_mode():
            return tuple(output.numpy() for output in infer(module, chosen, samples, runtime))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        if tags.transformer_tags is not None:
            tags.transformer_tags.preserves_dtype = ["float32"]
        return tags
