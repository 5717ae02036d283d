"""Deep Clustering with Self-Supervision (Sadeghi and Armanfard, 2024): the schedule, then the estimator."""

import copy
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor, nn, optim

from deepcluster_sk._base import BaseDeepClustering
from deepcluster_sk._data import Samples, sequential_batches
from deepcluster_sk._engine import (
    INFERENCE_BATCH,
    LabelTracker,
    Monitor,
    RunningMean,
    Runtime,
    evaluating,
    infer,
    settle_batch_norm,
    train_on,
)
from deepcluster_sk._start import draw_neighbors, kmeans_labels, learn_labels, nearest_neighbors
from deepcluster_sk._validation import check_choice, check_number
from deepcluster_sk.losses import (
    cluster_centering_loss,
    cluster_reconstruction_loss,
    contrastive_loss,
    linear_pair_loss,
    reconstruction_loss,
)
from deepcluster_sk.networks import DCSSNetwork, build_autoencoder
from deepcluster_sk.pairs import weighted_centers

# Share of labels that still change in an epoch when training counts as converged.
_SETTLED = 1e-3


def pretrain(
    network: DCSSNetwork,
    samples: Samples,
    *,
    n_epochs: int,
    contrastive_weight: float,
    n_neighbors: int,
    temperature: float,
    runtime: Runtime,
    monitor: Monitor,
) -> None:
    """Train the autoencoder to give back samples from their transforms; weight 0 is reconstruction alone.

    With a weight, the latent vectors of a sample and of one of its neighbours are also drawn together, and those of
    all others pushed apart.
    """
    neighbors = nearest_neighbors(samples, n_neighbors if contrastive_weight > 0 else 0, runtime.generator)
    optimizer = optim.Adam([*network.encoder.parameters(), *network.decoder.parameters()], lr=1e-3)

    def step(indices: Tensor) -> Tensor:
        if contrastive_weight > 0:
            indices = torch.cat([indices, draw_neighbors(neighbors, indices, runtime.generator)])
        original = network.standardize(runtime.load(samples, indices))
        with runtime.autocast():
            latent = network.encode(runtime.view(samples, indices))
            reconstruction = network.decoder(latent)
        loss = reconstruction_loss(original, reconstruction.float()) / original[0].numel()
        if contrastive_weight > 0:
            loss = loss + contrastive_weight * contrastive_loss(*latent.float().chunk(2), temperature)
        return loss

    network.train()
    for _ in monitor.epochs("pretraining", n_epochs):
        loss, n_steps = train_on(runtime.shuffled(len(samples)), step, optimizer)
        monitor.record(loss=loss.item() / n_steps)


def update_centers(network: DCSSNetwork, samples: Samples, runtime: Runtime) -> Tensor:
    """Move the centres to the weighted means of all latent vectors, Eq. (3), batch by batch.

    Returns
    -------
    labels : Tensor of shape (n,), int64
        Cluster of largest membership under the old centres.
    """
    weighted_sum, total_weight = torch.zeros_like(network.centers), torch.zeros_like(network.centers[:, :1])
    labels = []
    with evaluating(network):
        for indices in sequential_batches(len(samples), INFERENCE_BATCH):
            with runtime.autocast():
                latent = network.encode(runtime.load(samples, indices)).float()
            memberships = network.memberships(latent)
            sums = weighted_centers(latent, memberships**network.fuzzifier)
            weighted_sum, total_weight = weighted_sum + sums[0], total_weight + sums[1]
            labels.append(memberships.argmax(1).cpu())
        network.centers.copy_(weighted_sum / total_weight.clamp(min=torch.finfo(torch.float32).tiny))
    return torch.cat(labels)


def cluster_steps(
    network: DCSSNetwork,
    samples: Samples,
    indices: Tensor,
    optimizer: optim.Optimizer,
    *,
    centering_weight: float,
    cluster_losses: str,
    runtime: Runtime,
) -> tuple[Tensor, int]:
    """One batch of phase 1: memberships once, then K times forward, loss of one cluster, backward, step.

    "aggregated" (DCSS_agg) takes K steps on the sum of the K losses instead.
    """
    batch = runtime.load(samples, indices)
    with evaluating(network), runtime.autocast():
        latent = network.encode(batch)
    weights = network.memberships(latent) ** network.fuzzifier  # (b, K)
    original = network.standardize(batch)
    n_clusters = weights.shape[1]

    def cluster_loss(latent: Tensor, reconstruction: Tensor, cluster: int) -> Tensor:
        """Eq. (1a)."""
        weight = weights[:, cluster]
        loss = cluster_reconstruction_loss(original, reconstruction, weight)
        return loss + centering_weight * cluster_centering_loss(latent, network.centers[cluster], weight)

    def step(clusters: Tensor) -> Tensor:
        with runtime.autocast():
            latent = network.encode(batch)
            reconstruction = network.decoder(latent)
        losses = [cluster_loss(latent.float(), reconstruction.float(), k) for k in clusters.tolist()]
        return torch.stack(losses).sum()

    every = torch.arange(n_clusters)
    turns = every[:, None] if cluster_losses == "successive" else every.expand(n_clusters, -1)
    return train_on(turns, step, optimizer)


def train_autoencoder(
    network: DCSSNetwork,
    samples: Samples,
    *,
    n_epochs: int,
    centering_weight: float,
    cluster_losses: str,
    center_interval: int,
    lr: float,
    runtime: Runtime,
    monitor: Monitor,
) -> bool:
    """Phase 1: cluster by cluster reconstruction and centring, Eqs. (1a) to (1c); centres every T1 epochs, Eq. (3).

    Returns
    -------
    converged : bool
        Whether hardly any label changed at the last update of the centres.
    """
    optimizer = optim.SGD([*network.encoder.parameters(), *network.decoder.parameters()], lr=lr, momentum=0.9)
    tracker = LabelTracker.empty(len(samples), len(network.centers))
    converged = False
    network.train()
    for epoch in monitor.epochs("phase 1", n_epochs):
        losses = RunningMean()
        for indices in runtime.shuffled(len(samples)):
            total, _ = cluster_steps(
                network,
                samples,
                indices,
                optimizer,
                centering_weight=centering_weight,
                cluster_losses=cluster_losses,
                runtime=runtime,
            )
            losses.add(total, len(indices))
        if (epoch + 1) % center_interval == 0:
            tracker.update(torch.arange(len(samples)), update_centers(network, samples, runtime))
            summary = tracker.summary()
            converged = summary["label_change"] <= _SETTLED
            monitor.record(**summary)
        monitor.record(loss=losses.mean())
    return converged


def train_mnet(
    network: DCSSNetwork,
    samples: Samples,
    *,
    n_epochs: int,
    membership_epochs: int,
    similar_threshold: float,
    dissimilar_threshold: float,
    encoder_lr: float,
    lr: float,
    runtime: Runtime,
    monitor: Monitor,
) -> bool:
    """Phase 2: pairs that memberships, Eq. (4), and later MNet itself, Eq. (5), find adjacent or dissimilar.

    Returns
    -------
    converged : bool
        Whether hardly any label changed in the last epoch.
    """
    optimizer = optim.Adam([
        {"params": network.encoder.parameters(), "lr": encoder_lr},
        {"params": network.mnet.parameters(), "lr": lr},
    ])
    tracker = LabelTracker.empty(len(samples), len(network.centers))
    selected = RunningMean()

    def step(indices: Tensor, by_memberships: bool) -> Tensor:
        with evaluating(network), runtime.autocast():
            latent = network.encode(runtime.load(samples, indices))
            proba = network.mnet(latent).float().softmax(1)
        tracker.update(indices, proba.argmax(1))
        judge = network.memberships(latent) if by_memberships else proba
        similarity = judge @ judge.T
        positive, negative = similarity >= similar_threshold, similarity <= dissimilar_threshold
        selected.add((positive | negative).sum(), positive.numel())
        with runtime.autocast():
            logits = network.mnet(network.encode(runtime.view(samples, indices)))
        predicted = logits.float().softmax(1)
        return linear_pair_loss(predicted @ predicted.T, positive, negative)

    converged = False
    network.train()
    for epoch in monitor.epochs("phase 2", n_epochs):
        by_memberships = epoch < membership_epochs
        selected = RunningMean()
        total, n_steps = train_on(
            runtime.shuffled(len(samples)), partial(step, by_memberships=by_memberships), optimizer
        )
        summary = tracker.summary()
        monitor.record(loss=total.item() / n_steps, selected_share=selected.mean(), **summary)
        if by_memberships:
            update_centers(network, samples, runtime)
        converged = not by_memberships and summary["label_change"] <= _SETTLED
    return converged


class DCSSClustering(BaseDeepClustering):
    """TODO docstring."""

    def __init__(
        self,
        n_clusters: int = 10,
        *,
        network: str | nn.Module = "auto",
        encoder: nn.Module | None = None,
        latent_dim: int = 10,
        image_shape: tuple[int, ...] | None = None,
        augment: Any = "auto",
        max_epochs: int | None = None,
        pretrain_epochs: int | None = None,
        first_phase_epochs: int | None = None,
        second_phase_epochs: int | None = None,
        batch_size: int = 256,
        lr: float = 1e-3,
        first_phase_lr: float = 1e-7,
        encoder_lr: float = 1e-5,
        n_init: int = 1,
        fuzzifier: float = 1.5,
        centering_weight: float = 0.1,
        cluster_losses: Literal["successive", "aggregated"] = "successive",
        center_interval: int = 2,
        second_phase: bool = True,
        mnet_start_epochs: int | None = None,
        membership_epochs: int = 5,
        similar_threshold: float = 0.8,
        dissimilar_threshold: float = 0.2,
        contrastive_weight: float = 1.0,
        n_neighbors: int = 5,
        temperature: float = 0.5,
        precision: Literal["auto", "float32", "bfloat16"] = "auto",
        device: Any = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.n_clusters = n_clusters
        self.network = network
        self.encoder = encoder
        self.latent_dim = latent_dim
        self.image_shape = image_shape
        self.augment = augment
        self.max_epochs = max_epochs
        self.pretrain_epochs = pretrain_epochs
        self.first_phase_epochs = first_phase_epochs
        self.second_phase_epochs = second_phase_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.first_phase_lr = first_phase_lr
        self.encoder_lr = encoder_lr
        self.n_init = n_init
        self.fuzzifier = fuzzifier
        self.centering_weight = centering_weight
        self.cluster_losses = cluster_losses
        self.center_interval = center_interval
        self.second_phase = second_phase
        self.mnet_start_epochs = mnet_start_epochs
        self.membership_epochs = membership_epochs
        self.similar_threshold = similar_threshold
        self.dissimilar_threshold = dissimilar_threshold
        self.contrastive_weight = contrastive_weight
        self.n_neighbors = n_neighbors
        self.temperature = temperature
        self.precision = precision
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def _check_params(self) -> None:
        super()._check_params()
        check_number("latent_dim", self.latent_dim, int, 1)
        check_number("first_phase_lr", self.first_phase_lr, float, 0, open="low")
        check_number("encoder_lr", self.encoder_lr, float, 0)
        check_number("fuzzifier", self.fuzzifier, float, 1, open="low")
        check_number("centering_weight", self.centering_weight, float, 0)
        check_choice("cluster_losses", self.cluster_losses, ("successive", "aggregated"))
        check_number("center_interval", self.center_interval, int, 1)
        check_choice("second_phase", self.second_phase, (True, False))
        check_number("membership_epochs", self.membership_epochs, int, 0)
        check_number("similar_threshold", self.similar_threshold, float, 0, 1)
        check_number("dissimilar_threshold", self.dissimilar_threshold, float, 0, 1)
        check_number("contrastive_weight", self.contrastive_weight, float, 0)
        if self.encoder is not None and not isinstance(self.encoder, nn.Module):
            raise TypeError(f"encoder={self.encoder!r} must be None or an nn.Module.")
        self._check_thresholds()

    def _check_thresholds(self) -> None:
        similar, dissimilar = self.similar_threshold, self.dissimilar_threshold
        if dissimilar > similar:
            raise ValueError(f"dissimilar_threshold={dissimilar} must not exceed similar_threshold={similar}.")
        if similar <= 0.5 or dissimilar >= similar**2:
            warnings.warn(
                f"similar_threshold={similar} and dissimilar_threshold={dissimilar} lose the guarantees of the method: "
                "adjacent samples share a cluster only if similar_threshold > 0.5 (Theorem 2), and dissimilar ones are "
                "kept apart only if dissimilar_threshold < similar_threshold ** 2 (Corollary 1.3, Theorem 3).",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _phases(self, n_samples: int) -> dict[str, int]:
        phases = {
            "pretraining": self._n_epochs("pretrain_epochs", n_samples, at_500=60),
            "phase 1": self._n_epochs("first_phase_epochs", n_samples, at_500=8),
            "label start": self._n_epochs("mnet_start_epochs", n_samples, at_500=10),
            "phase 2": self._n_epochs("second_phase_epochs", n_samples, at_500=20),
        }
        if self.encoder is not None:
            phases |= {"pretraining": 0, "phase 1": 0}
        if not self.second_phase:
            phases |= {"label start": 0, "phase 2": 0}
        return phases

    def _build_network(self, sample_shape: tuple[int, ...]) -> DCSSNetwork:
        if self.encoder is None:
            autoencoder = build_autoencoder(copy.deepcopy(self.network), sample_shape, self.latent_dim)
            encoder, decoder = autoencoder.encoder, autoencoder.decoder
        else:
            encoder, decoder = copy.deepcopy(self.encoder), None
        return DCSSNetwork(
            encoder, decoder, sample_shape=sample_shape, n_clusters=self.n_clusters, fuzzifier=self.fuzzifier
        )

    def _train(self, network: DCSSNetwork, samples: Samples, runtime: Runtime, monitor: Monitor) -> bool:
        phases = self._phases(len(samples))
        if phases["pretraining"]:
            pretrain(
                network,
                samples,
                n_epochs=phases["pretraining"],
                contrastive_weight=self.contrastive_weight,
                n_neighbors=self.n_neighbors,
                temperature=self.temperature,
                runtime=runtime,
                monitor=monitor,
            )
        else:
            settle_batch_norm(network, samples, runtime)
        (latent,) = infer(network, lambda batch: (network.encode(batch),), samples, runtime)
        _, centers = kmeans_labels(latent, self.n_clusters, seed=runtime.generator.initial_seed() % 2**32)
        network.centers.copy_(centers)
        network.uses_mnet = False
        converged = train_autoencoder(
            network,
            samples,
            n_epochs=phases["phase 1"],
            centering_weight=self.centering_weight,
            cluster_losses=self.cluster_losses,
            center_interval=self.center_interval,
            lr=self.first_phase_lr,
            runtime=runtime,
            monitor=monitor,
        )
        if not phases["phase 2"] or monitor.stopped:
            return converged
        labels = update_centers(network, samples, runtime)
        network.uses_mnet = True
        learn_labels(
            lambda batch: network.mnet(network.encode(batch)),
            network.mnet.parameters(),
            samples,
            labels,
            n_epochs=phases["label start"],
            runtime=runtime,
            monitor=monitor,
        )
        return train_mnet(
            network,
            samples,
            n_epochs=phases["phase 2"],
            membership_epochs=self.membership_epochs,
            similar_threshold=self.similar_threshold,
            dissimilar_threshold=self.dissimilar_threshold,
            encoder_lr=self.encoder_lr,
            lr=self.lr,
            runtime=runtime,
            monitor=monitor,
        )

    def _represent(self, network: DCSSNetwork, batch: Tensor) -> tuple[Tensor, Tensor]:
        latent = network.encode(batch)
        return latent, network.cluster_proba(latent)
