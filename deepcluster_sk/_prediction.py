"""What a fitted estimator says of samples: clusters, probabilities, embedding, and how stable the clusters are."""

import copy
import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from deepcluster_sk._data import ArraySamples
from deepcluster_sk._distributed import ALONE, Ranks
from deepcluster_sk._drawn import DrawnAugmentation, InUnits
from deepcluster_sk._engine import Runtime, infer
from deepcluster_sk._input import Input, read_input
from deepcluster_sk._regrouping import Merge, Split
from deepcluster_sk._scaling import Scaling, check_scale
from deepcluster_sk._torch_state import computing, own_torch_state
from deepcluster_sk._validation import (
    check_fits,
    check_number,
    refuse_single_image,
)
from deepcluster_sk.augment import Augmentation, ImageAugmentation, resolve_augmentation

# From embedding (n, d) and cluster probabilities (n, n_clusters) of a batch to what is wanted of them.
Choose = Callable[[Tensor, Tensor], tuple[Tensor, ...]]


class PredictionMixin(ClassNamePrefixFeaturesOutMixin, TransformerMixin):
    """Prediction from the attributes that ``fit`` sets; a subclass says what it represents a batch by."""

    _gray_augmentation = ImageAugmentation.strong_gray()  # what "auto" takes for images of other than three channels
    network: Any
    augment: Any
    image_shape: Any
    image_size: Any
    on_error: Any
    module_: Any
    _scaling: Any
    _units: Any
    _sample_shape: tuple[int, ...]
    _seen_shape: tuple[int, ...]
    _cluster_order: list[int]
    _regroupings: list[Merge | Split]

    @abstractmethod
    def _represent(self, network: Any, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Embedding (n, d) and cluster probabilities (n, n_clusters) of a batch."""

    def _standardizes(self) -> bool:
        """Whether samples are scaled and standardised; not for a network that was trained elsewhere."""
        return True

    def _has_own_module(self) -> bool:
        """Whether the network is the user's, of which nothing is known but that it takes float32 in torch's order."""
        return isinstance(self.network, nn.Module) or getattr(self, "encoder", None) is not None

    def _samples(self, rows: Any) -> ArraySamples:
        """New samples as the network takes them."""
        return ArraySamples(rows, self._scaling, self._units)

    def _augmentation(self, samples: ArraySamples, seen_shape: tuple[int, ...]) -> Augmentation:
        """The random transform of samples; ours take them in [0, 1], or vectors of standard deviation 1."""
        augment = resolve_augmentation(self.augment, seen_shape, self._gray_augmentation)
        if samples.units is None or not isinstance(augment, DrawnAugmentation):
            return augment
        return InUnits(augment, torch.as_tensor(samples.units.offset), samples.units.scale)

    def _given_scale(self) -> Scaling | None:
        """Scale of the samples that ``fit`` was given, or None if it is not known."""
        return self._scaling if self._standardizes() else self._units

    def _transformer(self) -> Any:
        """Fitted transformer of scikit-learn that samples go through before they come to the network, or None."""
        return None

    def predict(self, X: Any, *, reject_below: float | None = None) -> NDArray[np.intp]:
        """Cluster of each sample: the most probable one.

        Parameters
        ----------
        X : array-like, path-like, list of path-like, or torch Dataset
            As in :meth:`fit`; samples of the same shape and range.
        reject_below : float or None, default=None
            Probability, in [0, 1], that the most probable cluster must have, or the sample gets -1;
            :class:`~deepcluster_sk.display.RejectionDisplay` shows what that gains. None rejects none.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int64, in [0, n_clusters)
            Of as many clusters as ``cluster_names_`` has; and -1 for samples that are rejected, and for files that
            cannot be read, where ``on_error="skip"``.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        TypeError, ValueError
            If X does not fit what the estimator was fitted on, or ``reject_below`` is no such number.
        """
        check_number("reject_below", reject_below, float, 0, 1, besides=(None,))

        def choose(embedding: Tensor, proba: Tensor) -> Tensor:
            proba = self._regrouped(embedding, proba)
            labels = proba.argmax(1)
            return labels if reject_below is None else labels.masked_fill(proba.amax(1) < reject_below, -1)

        return self._of_new(X, choose, missing=-1)

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """Probability of each cluster for each sample.

        Parameters
        ----------
        X : array-like, path-like, list of path-like, or torch Dataset
            As in :meth:`fit`; samples of the same shape and range.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_clusters), float32, rows sum to 1
            A column for each of ``cluster_names_``. ``fit`` puts clusters that hold training samples first. Files that
            cannot be read have NaN.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If X does not fit what the estimator was fitted on.
        """
        return self._of_new(X, self._regrouped, missing=math.nan)

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Embedding of each sample.

        Parameters
        ----------
        X : array-like, path-like, list of path-like, or torch Dataset
            As in :meth:`fit`; samples of the same shape and range.

        Returns
        -------
        embedding : ndarray of shape (n_samples, n_components), float32
            Files that cannot be read have NaN.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If X does not fit what the estimator was fitted on.
        """
        return self._of_new(X, lambda embedding, _: embedding, missing=math.nan)

    def augmentation_agreement(self, X: Any) -> NDArray[np.bool_]:
        """Whether each sample keeps its cluster under a random transform by ``augment``.

        Parameters
        ----------
        X : array-like, path-like, list of path-like, or torch Dataset
            As in :meth:`fit`; samples of the same shape and range.

        Returns
        -------
        kept : ndarray of shape (n_samples,), bool
            False for files that cannot be read, whose :meth:`predict` is -1. The same at every call, if ``augment``
            draws from nothing but the generator it is handed and torch's own.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If X does not fit what the estimator was fitted on, or ``augment=None``.
        """
        check_is_fitted(self, "module_")
        if self.augment is None:
            raise ValueError("augment=None must be a transform, for samples to keep their cluster under it or not.")
        given = self._read(X)
        kept = self._kept_under_transform(self._samples(given.rows))
        return given.spread(kept, missing=False)

    def _kept_under_transform(self, samples: ArraySamples, indices: Tensor | None = None) -> NDArray[np.bool_]:
        def label(embedding: Tensor, proba: Tensor) -> tuple[Tensor, ...]:
            return (self._regrouped(embedding, proba).argmax(1),)

        with own_torch_state(next(self.module_.parameters()).device):  # a user's transform may draw from torch's own
            torch.manual_seed(0)
            augment = self._augmentation(samples, self._seen_shape)
            (labels,) = self._apply(samples, label, indices=indices)
            (moved,) = self._apply(samples, label, indices=indices, augment=augment)
        return labels == moved

    def _regrouped(self, embedding: Tensor, proba: Tensor) -> Tensor:
        """Probabilities of the clusters as they are now: those in use first, then joined and divided by the user."""
        proba = proba[:, self._cluster_order]
        for step in self._regroupings:
            proba = step(embedding, proba)
        return proba

    def _of_new(self, X: Any, choose: Callable[[Tensor, Tensor], Tensor], missing: float) -> NDArray[Any]:
        """What ``choose`` takes of new samples, a row each; of files that cannot be read, ``missing``."""
        given = self._read(X, fate="They have -1 for a label, and NaN for all else.")
        # Where no file can be read, an image of zeros tells how wide the rows are that are missing.
        rows = given.rows if len(given.rows) else np.zeros((1, *self._sample_shape), np.uint8)
        samples = self._samples(rows)
        (chosen,) = self._apply(samples, lambda embedding, proba: (choose(embedding, proba),))
        return given.spread(chosen[: len(given.rows)], missing)

    def _read(self, X: Any, fate: str = "They are left out.") -> Input:
        """New samples, checked against those of ``fit``; a warning tells the ``fate`` of files that cannot be read."""
        check_is_fitted(self, "module_")
        if self.image_size is None or self.image_shape is None:
            refuse_single_image(X, self._sample_shape, any_size=self.image_size is not None)
        given = read_input(self, X, self._sample_shape, fate)
        check_fits(given.rows, self._sample_shape, type(self).__name__)
        scaling = self._given_scale()
        if scaling is not None and len(given.rows):
            check_scale(given.rows, scaling)
        return given

    def _apply(
        self,
        samples: ArraySamples,
        choose: Choose,
        *,
        network: nn.Module | None = None,
        indices: Tensor | None = None,
        augment: Augmentation | None = None,
        ranks: Ranks = ALONE,
    ) -> tuple[NDArray[Any], ...]:
        """What ``choose`` takes from the embedding and probabilities of samples, or transforms, computed in float32.

        For feature vectors the built-in networks compute them in float64, and they are rounded. ``ranks`` share the
        samples, if they all are asked for the same.
        """
        module = self.module_ if network is None else network
        dtype, own = torch.float32, self._has_own_module()
        if len(samples.sample_shape) == 1 and not own:
            # In float32 a product depends in its last bits on how many rows it has; vectors are cheap enough.
            module, dtype = copy.deepcopy(module).double(), torch.float64
        device = next(module.parameters()).device
        transform = (lambda batch, _: batch) if augment is None else augment
        runtime = Runtime(
            device, "float32", transform, torch.Generator().manual_seed(0), batch_size=2, channels_last=not own
        )
        shared = replace(runtime, ranks=ranks)

        def chosen(batch: Tensor) -> tuple[Tensor, ...]:
            seen = batch if augment is None else runtime.transform(batch, len(batch))
            embedding, proba = self._represent(module, seen.to(dtype))
            return choose(embedding.float(), proba.float())

        with torch.inference_mode(), computing():
            return tuple(output.numpy() for output in infer(module, chosen, samples, shared, indices))
