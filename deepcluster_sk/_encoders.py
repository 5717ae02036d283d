"""What ``encoder=`` of DCSS may be, and how it comes between X and MNet.

- A module: it is copied and trained on. Of an autoencoder, a module with ``encoder`` and ``decoder``, the encoder is.
- A method of ClustPy: its network, which becomes such a module.
- A scikit-learn transformer: it turns samples into vectors before the network sees them, and is never trained on.
"""

import random
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from deepcluster_sk._base import BaseDeepClustering, own_copy
from deepcluster_sk._data import ArraySamples
from deepcluster_sk._distributed import Ranks
from deepcluster_sk._input import Input
from deepcluster_sk._lazy import LazyArray
from deepcluster_sk._scaling import Scaling, at_hand
from deepcluster_sk._torch_state import own_torch_state
from deepcluster_sk._validation import make_seed
from deepcluster_sk.networks import DCSSNetwork, build_autoencoder
from deepcluster_sk.networks._autoencoder import users_autoencoder

# Rows that a transformer is handed at a time.
_PORTION = 10_000


class BaseEncoderClustering(BaseDeepClustering):
    """An estimator's parameter ``encoder``, beside the ``network`` that it has without one."""

    encoder: Any
    latent_dim: int
    pretrain_epochs: int | None
    second_phase: bool
    second_phase_epochs: int | None
    encoder_lr: float
    fuzzifier: float
    logit_scale: float | None
    encoder_: Any
    _given_shape: tuple[int, ...]
    _given_scaling: Scaling

    def _check_encoder(self) -> None:
        """Raise unless ``encoder`` is one of the kinds that there are."""
        encoder = self.encoder
        if encoder is not None and not isinstance(encoder, nn.Module) and not is_estimator(encoder):
            raise TypeError(
                f"encoder={encoder!r} must be None or an nn.Module, a scikit-learn transformer, or a method of ClustPy "
                "that has a network."
            )

    def _pretrains(self) -> bool:
        """Whether the network is an autoencoder that ``fit`` is to train."""
        return self.encoder is None or (is_autoencoder(self.encoder) and bool(self.pretrain_epochs))

    def _trains_encoder(self) -> bool:
        """Whether phase 2 trains it; else batch norm and dropout in it are left alone, too."""
        return self.encoder_lr > 0 and self.second_phase and self.second_phase_epochs != 0

    def _standardizes(self) -> bool:
        return self._pretrains() and self._transformer() is None

    def _transformer(self) -> Any:
        encoder = getattr(self, "encoder_", None)
        return encoder if is_transformer(encoder) else None

    def _samples_to_fit(self, given: Input, ranks: Ranks) -> ArraySamples:
        """Samples as the network takes them, by an encoder that is fitted now unless it was."""
        if hasattr(self, "encoder_"):
            del self.encoder_
        if is_estimator(self.encoder):
            self.encoder_ = ranks.from_first(lambda: fitted(self.encoder, given.rows, self.random_state))
        if self._transformer() is None:
            return super()._samples_to_fit(given, ranks)
        self._given_shape, self._given_scaling = tuple(given.rows.shape[1:]), Scaling.of(given.rows)
        vectors = transformed(self.encoder_, given.rows)
        return ArraySamples(vectors, Scaling.of(vectors, to_unit=self._compares_directions(vectors.shape)))

    def _given_scale(self) -> Scaling | None:
        return super()._given_scale() if self._transformer() is None else self._given_scaling

    def _samples(self, rows: Any) -> ArraySamples:
        transformer = self._transformer()
        return super()._samples(rows if transformer is None else transformed(transformer, rows))

    def _fitted_attributes(self, module: Any, samples: ArraySamples, order: Sequence[int]) -> dict[str, Any]:
        attributes = super()._fitted_attributes(module, samples, order)
        if hasattr(self, "encoder_"):
            attributes["encoder_"] = self.encoder_
        if self._transformer() is not None:
            attributes["_sample_shape"] = self._given_shape
        return attributes

    def _build_network(self, sample_shape: tuple[int, ...]) -> DCSSNetwork:
        encoder, decoder = self._encoder_and_decoder(sample_shape)
        return DCSSNetwork(
            encoder,
            decoder,
            sample_shape=sample_shape,
            n_clusters=self.n_clusters,
            fuzzifier=self.fuzzifier,
            logit_scale=self.logit_scale,
            trains_encoder=self._pretrains() or self._trains_encoder(),
        )

    def _encoder_and_decoder(self, sample_shape: tuple[int, ...]) -> tuple[nn.Module, nn.Module | None]:
        if self._pretrains():
            if self.encoder is None:
                autoencoder = build_autoencoder(own_copy(self.network), sample_shape, self.latent_dim)
            else:
                autoencoder = users_autoencoder(own_copy(self.encoder), sample_shape, "encoder")
            return autoencoder.encoder, autoencoder.decoder
        return own_copy(latent_module(getattr(self, "encoder_", self.encoder))), None


class ClustPyEncoder(nn.Module):
    """A network of ClustPy, from samples to latent vectors; images are flattened for it."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Tensor) -> Tensor:
        """Latent vectors (n, d) of samples (n, c, h, w) or (n, n_features)."""
        if batch.ndim == 4 and not getattr(self.network, "allow_nd_input", False):
            batch = batch.movedim(1, -1).flatten(1)
        return self.network.encode(batch)


def is_autoencoder(encoder: Any) -> bool:
    """Whether this is a module with the submodules ``encoder`` and ``decoder``."""
    parts = (getattr(encoder, name, None) for name in ("encoder", "decoder"))
    return isinstance(encoder, nn.Module) and all(isinstance(part, nn.Module) for part in parts)


def is_estimator(encoder: Any) -> bool:
    """Whether this is a scikit-learn transformer or a method of ClustPy."""
    is_module = isinstance(encoder, nn.Module)
    return isinstance(encoder, BaseEstimator) and not is_module and hasattr(encoder, "transform")


def is_transformer(encoder: Any) -> bool:
    """Whether this is a scikit-learn transformer without a network that could be trained on."""
    return is_estimator(encoder) and not _is_of_clustpy(encoder)


def _is_of_clustpy(encoder: Any) -> bool:
    """Whether this is a network of ClustPy or a method with one."""
    encoder = encoder.estimator if isinstance(encoder, FrozenEstimator) else encoder
    roots = {kind.__module__.partition(".")[0] for kind in type(encoder).__mro__}
    return "clustpy" in roots and any(hasattr(encoder, name) for name in ("neural_network", "encode"))


def latent_module(encoder: Any) -> nn.Module:
    """What gives latent vectors by an encoder that is trained, of whatever kind."""
    if is_transformer(encoder):
        return nn.Identity()  # samples are its vectors already
    if _is_of_clustpy(encoder):
        return ClustPyEncoder(encoder if isinstance(encoder, nn.Module) else _trained_network(encoder))
    return encoder.encoder if is_autoencoder(encoder) else encoder


def _trained_network(method: Any) -> nn.Module:
    method = method.estimator if isinstance(method, FrozenEstimator) else method
    network = getattr(method, "neural_network_trained_", None)
    if not isinstance(network, nn.Module):
        raise ValueError(f"encoder={type(method).__name__} must be fitted, for its fit makes the network.")
    return network


def is_fitted(estimator: Any) -> bool:
    """Whether it can be used as it is."""
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return False
    return True


def fitted(estimator: Any, rows: NDArray[Any] | LazyArray, random_state: Any) -> Any:
    """A copy, fitted as it is or else to these samples, or many of them, without labels.

    Raises
    ------
    ValueError
        If it cannot be fitted to these; the message has its own.
    """
    if is_fitted(estimator):
        return deepcopy(estimator)
    copy = clone(estimator)
    unset = [name for name, value in copy.get_params().items() if _is_seed(name) and value is None]
    if unset:
        seed = make_seed(random_state)
        copy.set_params(**dict.fromkeys(unset, seed))
    samples = flat(at_hand(rows))
    if _is_of_clustpy(copy):
        samples = samples.astype(np.float32)  # a copy, since ClustPy may write to what it is given
    state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with own_torch_state(torch.device("cpu")):
            return copy.fit(samples)
    except (ValueError, TypeError) as error:
        name = type(estimator).__name__
        raise ValueError(f"encoder={name} cannot be fitted to X as rows of shape {samples.shape}: {error}") from error
    finally:  # ClustPy seeds Python's and NumPy's global generators, which are the caller's
        random.setstate(state)
        np.random.set_state(numpy_state)  # noqa: NPY002


def _is_seed(name: str) -> bool:
    return name.rpartition("__")[2] == "random_state"


def flat(rows: NDArray[Any]) -> NDArray[Any]:
    """Samples (n, c, h, w) or (n, n_features) as rows that cannot be written to; images in the order (h, w, c)."""
    if rows.ndim == 4:
        rows = rows.transpose(0, 2, 3, 1).reshape(len(rows), -1)
    rows = rows.view(np.ndarray)
    rows.flags.writeable = False
    return rows


def transformed(transformer: Any, rows: NDArray[Any] | LazyArray) -> NDArray[Any]:
    """Vectors (n, d) that a fitted transformer makes of samples.

    Raises
    ------
    ValueError
        If it cannot, or gives something else.
    """
    needed = f"encoder={type(transformer).__name__} must turn X, as rows, into vectors"
    try:
        starts = range(0, len(rows), _PORTION)
        portions = [transformer.transform(flat(rows[start : start + _PORTION])) for start in starts]
        vectors: NDArray[Any] = np.concatenate([check_array(part, dtype=np.float32) for part in portions])
    except (ValueError, TypeError) as error:
        raise ValueError(f"{needed}: {error}") from error
    if len(vectors) != len(rows):
        raise ValueError(f"{needed}: it gives {len(vectors)} for {len(rows)} samples.")
    return vectors
