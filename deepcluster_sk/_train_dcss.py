"""Deep Clustering with Self-Supervision (Sadeghi and Armanfard, 2024): the schedule of the paper."""

import warnings
from collections.abc import Callable
from typing import Any, Literal

import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor, optim

from deepcluster_sk._data import Samples
from deepcluster_sk._engine import (
    Runtime,
    by_batch_statistics,
    evaluating,
    inference_batches,
    settle_batch_norm,
    train_on,
)
from deepcluster_sk._monitor import LabelTracker, Monitor, RunningMean
from deepcluster_sk._start import draw_neighbors, neighbors_to_draw
from deepcluster_sk._validation import level_of_caller
from deepcluster_sk.losses import (
    cluster_centering_loss,
    cluster_reconstruction_loss,
    contrastive_loss,
    linear_pair_loss,
    reconstruction_loss,
)
from deepcluster_sk.networks import DCSSNetwork
from deepcluster_sk.pairs import adjacent_pairs, weighted_centers


def check_thresholds(similar: float, dissimilar: float) -> None:
    """Raise for thresholds of phase 2 that contradict each other, and warn of those that guarantee nothing."""
    if dissimilar > similar:
        raise ValueError(f"dissimilar_threshold={dissimilar} must not exceed similar_threshold={similar}.")
    if similar <= 0.5 or dissimilar >= similar**2:
        warnings.warn(
            f"similar_threshold={similar} and dissimilar_threshold={dissimilar} lose the guarantees of the method: "
            "adjacent samples share a cluster only if similar_threshold > 0.5 (Theorem 2), and dissimilar ones are "
            "kept apart only if dissimilar_threshold < similar_threshold ** 2 (Corollary 1.3, Theorem 3).",
            ConvergenceWarning,
            stacklevel=level_of_caller(),
        )


def pretraining_step(
    network: DCSSNetwork,
    samples: Samples,
    neighbors: Tensor,
    *,
    contrastive_weight: float,
    temperature: float,
    runtime: Runtime,
) -> Callable[[Tensor], Tensor]:
    """Loss of giving back samples from their transforms, as a function of their indices.

    With a weight, the latent vectors of a sample and of one of its neighbours are also drawn together, and those of
    all others pushed apart.
    """

    def step(indices: Tensor) -> Tensor:
        if contrastive_weight > 0:
            indices = torch.cat([indices, draw_neighbors(neighbors, indices, runtime.generator)])
        original = runtime.load(samples, indices)
        with runtime.autocast():
            latent = network.encode(runtime.transform(original, len(indices)))
            reconstruction = network.decoder(latent)
        error = reconstruction_loss(network.standardize(original), reconstruction.float()) / original[0].numel()
        loss = runtime.ranks.sum(error * (len(original) / len(indices)))
        if contrastive_weight > 0:
            first, second = runtime.ranks.gather(latent.float(), len(indices)).chunk(2)
            loss = loss + contrastive_weight * contrastive_loss(first, second, temperature)
        return loss

    return step


def pretrain(
    network: DCSSNetwork,
    samples: Samples,
    *,
    n_epochs: int,
    contrastive_weight: float,
    n_neighbors: int | Literal["auto"],
    temperature: float,
    runtime: Runtime,
    monitor: Monitor,
) -> None:
    """Train the autoencoder on reconstruction, and with a weight on the contrastive loss of its latent vectors."""
    n_neighbors = n_neighbors if contrastive_weight > 0 else 0
    neighbors = monitor.once("neighbors", lambda: neighbors_to_draw(samples, n_neighbors, runtime))
    optimizer = optim.Adam(network.autoencoder_parameters(), lr=1e-3, fused=runtime.fused)
    step = pretraining_step(
        network,
        samples,
        neighbors,
        contrastive_weight=contrastive_weight,
        temperature=temperature,
        runtime=runtime,
    )
    step = runtime.parallel(optimizer)(step)
    network.train()
    for _ in monitor.epochs("pretraining", n_epochs):
        losses = RunningMean()
        batches = monitor.batches(
            lambda: runtime.shuffled(len(samples)), network=network, optimizer=optimizer, losses=losses
        )
        train_on(batches, step, optimizer, losses)
        monitor.record(loss=losses.mean(), n_neighbors=neighbors.shape[1])


def update_centers(network: DCSSNetwork, samples: Samples, runtime: Runtime) -> Tensor:
    """Move the centres to the weighted means of all latent vectors, Eq. (3), batch by batch.

    Batch norm's statistics are first taken anew, from samples as they are: see :func:`by_batch_statistics`.

    Returns
    -------
    labels : Tensor of shape (n,), int64
        Cluster of largest membership under the old centres.
    """
    weighted_sum, total_weight = torch.zeros_like(network.centers), torch.zeros_like(network.centers[:, :1])
    labels, ranks = [], runtime.ranks
    settle_batch_norm(network, samples, runtime)
    with evaluating(network):
        for indices in inference_batches(samples, runtime.device, ranks.part(torch.arange(len(samples)))):
            with runtime.autocast():
                latent = network.encode(runtime.read(samples, indices)).float()
            memberships = network.memberships(latent)
            sums = weighted_centers(latent, memberships**network.fuzzifier)
            weighted_sum, total_weight = weighted_sum + sums[0], total_weight + sums[1]
            labels.append(memberships.argmax(1))
        weighted_sum, total_weight = ranks.sum(weighted_sum), ranks.sum(total_weight)
        means = weighted_sum / total_weight.clamp(min=torch.finfo(torch.float32).tiny)
        network.centers.copy_(torch.where(total_weight > 0, means, network.centers))  # one without samples stays
    return ranks.gather(torch.cat(labels), len(samples))


def cluster_step(
    network: DCSSNetwork, samples: Samples, indices: Tensor, *, centering_weight: float, runtime: Runtime
) -> Callable[[list[int]], Tensor]:
    """Loss of a batch, Eq. (1a), as a function of the clusters to take; its memberships are found once, here."""
    original = network.standardize(runtime.load(samples, indices))
    with by_batch_statistics(network), runtime.autocast():
        latent = network.encoder(original)
    weights = network.memberships(latent.float()) ** network.fuzzifier  # (b, K)
    variance = network.standardize.std.square()  # turns errors of standardised pixels into errors of pixels

    def step(clusters: list[int]) -> Tensor:
        with runtime.autocast():
            latent = network.encoder(original)
            reconstruction = network.decoder(latent)
        latent, reconstruction = latent.float(), reconstruction.float()
        losses = [
            variance * cluster_reconstruction_loss(original, reconstruction, weights[:, k])
            + centering_weight * cluster_centering_loss(latent, network.centers[k], weights[:, k])
            for k in clusters
        ]
        return runtime.ranks.sum(torch.stack(losses).sum())

    return step


def train_on_clusters(
    step: Callable[[list[int]], Tensor], optimizer: optim.Optimizer, n_clusters: int, cluster_losses: str
) -> Tensor:
    """One batch of phase 1: K times forward, loss of one cluster, backward, step; gives the sum of the losses.

    "aggregated" (DCSS_agg) takes K steps on the sum of the K losses instead.
    """
    losses = RunningMean()
    every = list(range(n_clusters))
    turns = [[k] for k in every] if cluster_losses == "successive" else [every] * n_clusters
    # Batch norm over equal samples blows gradients up; no gradient is to move the weights by more than 1.
    train_on(turns, step, optimizer, losses, max_gradient=1 / optimizer.param_groups[0]["lr"])
    return torch.as_tensor(losses.total * n_clusters / sum(map(len, turns)))


def train_autoencoder(
    network: DCSSNetwork,
    samples: Samples,
    *,
    n_epochs: int,
    centering_weight: float,
    cluster_losses: str,
    center_interval: int,
    lr: float,
    tol: float,
    runtime: Runtime,
    monitor: Monitor,
) -> bool:
    """Phase 1: cluster by cluster reconstruction and centring, Eqs. (1a) to (1c); centres every T1 epochs, Eq. (3).

    Returns
    -------
    converged : bool
        Whether hardly any label changed at the last update of the centres.
    """
    optimizer = optim.SGD(network.autoencoder_parameters(), lr=lr, momentum=0.9, fused=runtime.fused)
    in_parallel = runtime.parallel(optimizer)
    tracker = LabelTracker.empty(len(samples), len(network.centers), runtime.device)
    network.train()
    for epoch in monitor.epochs("phase 1", n_epochs):
        losses = RunningMean()
        batches = monitor.batches(
            lambda: runtime.shuffled(len(samples)), network=network, optimizer=optimizer, tracker=tracker, losses=losses
        )
        for indices in batches:
            step = cluster_step(network, samples, indices, centering_weight=centering_weight, runtime=runtime)
            total = train_on_clusters(in_parallel(step), optimizer, len(network.centers), cluster_losses)
            losses.add(total, len(indices))
        if (epoch + 1) % center_interval == 0:
            tracker.update(torch.arange(len(samples)), update_centers(network, samples, runtime))
            summary = tracker.summary()
            monitor.record(**summary)
            monitor.settle(summary["label_change"], tol)
        monitor.record(loss=losses.mean())
    return monitor.is_settled


class PairStatistics:
    """What phase 2 tells about an epoch: the labels, and the share of pairs that took part."""

    def __init__(self, labels: LabelTracker) -> None:
        self.labels, self.selected = labels, RunningMean()

    def summary(self) -> dict[str, Any]:
        """Figures since the last call."""
        selected_share = self.selected.mean()
        self.selected.reset()
        return {"selected_share": selected_share, **self.labels.summary()}


def pair_step(
    network: DCSSNetwork,
    samples: Samples,
    statistics: PairStatistics,
    *,
    by_memberships: bool,
    similar_threshold: float,
    dissimilar_threshold: float,
    runtime: Runtime,
) -> Callable[[Tensor], Tensor]:
    """Loss of transformed samples on the pairs that the samples themselves make, as a function of their indices.

    Pairs are judged by the memberships, Eq. (4), or by MNet's own output, Eq. (5).
    """

    def step(indices: Tensor) -> Tensor:
        original = runtime.load(samples, indices)
        with by_batch_statistics(network), runtime.autocast():
            latent = network.encode(original)
            proba = network.mnet(latent).float().softmax(1)
        proba = runtime.ranks.gather(proba, len(indices))
        judge = proba
        if by_memberships:
            judge = runtime.ranks.gather(network.memberships(latent.float()), len(indices))
        positive, negative = adjacent_pairs(judge, similar=similar_threshold, dissimilar=dissimilar_threshold)
        statistics.labels.update(indices, proba.argmax(1))
        statistics.selected.add((positive | negative).sum(), positive.numel())
        with runtime.autocast():
            logits = network.mnet(network.encode(runtime.transform(original, len(indices))))
        predicted = runtime.ranks.gather(logits.float().softmax(1), len(indices))
        return linear_pair_loss(predicted @ predicted.T, positive, negative)

    return step


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
    tol: float,
    runtime: Runtime,
    monitor: Monitor,
) -> bool:
    """Phase 2: pairs that memberships, Eq. (4), and later MNet itself, Eq. (5), find adjacent or dissimilar.

    Returns
    -------
    converged : bool
        Whether hardly any label changed in the last epoch, under Eq. (5).
    """
    optimizer = optim.Adam(
        [
            {"params": network.encoder.parameters(), "lr": encoder_lr},
            {"params": network.mnet.parameters(), "lr": lr},
        ],
        fused=runtime.fused,
    )
    in_parallel = runtime.parallel(optimizer)
    statistics = PairStatistics(LabelTracker.empty(len(samples), len(network.centers), runtime.device))
    network.train()
    for epoch in monitor.epochs("phase 2", n_epochs):
        by_memberships = epoch < membership_epochs
        step = pair_step(
            network,
            samples,
            statistics,
            by_memberships=by_memberships,
            similar_threshold=similar_threshold,
            dissimilar_threshold=dissimilar_threshold,
            runtime=runtime,
        )
        losses = RunningMean()
        batches = monitor.batches(
            lambda: runtime.shuffled(len(samples)),
            network=network,
            optimizer=optimizer,
            labels=statistics.labels,
            selected=statistics.selected,
            losses=losses,
        )
        train_on(batches, in_parallel(step), optimizer, losses)
        summary = statistics.summary()
        monitor.record(loss=losses.mean(), **summary)
        if by_memberships:
            update_centers(network, samples, runtime)
        if not by_memberships:
            monitor.settle(summary["label_change"], tol)
    return monitor.is_settled
