"""Deep Clustering with Self-Supervision (Sadeghi and Armanfard, 2024): the schedule of the paper."""

from functools import partial

import torch
from torch import Tensor, optim

from deepcluster_sk._data import Samples
from deepcluster_sk._engine import (
    SETTLED,
    LabelTracker,
    Monitor,
    RunningMean,
    Runtime,
    evaluating,
    inference_batches,
    keep_batch_norm_settled,
    train_on,
)
from deepcluster_sk._start import draw_neighbors, nearest_neighbors
from deepcluster_sk.losses import (
    cluster_centering_loss,
    cluster_reconstruction_loss,
    contrastive_loss,
    linear_pair_loss,
    reconstruction_loss,
)
from deepcluster_sk.networks import DCSSNetwork
from deepcluster_sk.pairs import adjacent_pairs, weighted_centers


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
    optimizer = optim.Adam(network.autoencoder_parameters(), lr=1e-3, fused=runtime.fused)

    def step(indices: Tensor) -> Tensor:
        if contrastive_weight > 0:
            indices = torch.cat([indices, draw_neighbors(neighbors, indices, runtime.generator)])
        original = network.standardize(runtime.load(samples, indices))
        with runtime.autocast():
            latent = network.encode(runtime.view(samples, indices))
            reconstruction = network.decoder(latent)
        loss = reconstruction_loss(original, reconstruction.float()) / original[0].numel()
        if contrastive_weight > 0:
            first, second = latent.float().chunk(2)
            loss = loss + contrastive_weight * contrastive_loss(first, second, temperature)
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
        for indices in inference_batches(samples):
            with runtime.autocast():
                latent = network.encode(runtime.load(samples, indices)).float()
            memberships = network.memberships(latent)
            sums = weighted_centers(latent, memberships**network.fuzzifier)
            weighted_sum, total_weight = weighted_sum + sums[0], total_weight + sums[1]
            labels.append(memberships.argmax(1))
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
    original = network.standardize(runtime.load(samples, indices))
    with evaluating(network), runtime.autocast():
        latent = network.encoder(original)
    weights = network.memberships(latent.float()) ** network.fuzzifier  # (b, K)
    n_clusters = weights.shape[1]

    def cluster_loss(latent: Tensor, reconstruction: Tensor, cluster: int) -> Tensor:
        """Eq. (1a)."""
        weight = weights[:, cluster]
        loss = cluster_reconstruction_loss(original, reconstruction, weight)
        return loss + centering_weight * cluster_centering_loss(latent, network.centers[cluster], weight)

    def step(clusters: Tensor) -> Tensor:
        with runtime.autocast():
            latent = network.encoder(original)
            reconstruction = network.decoder(latent)
        losses = [cluster_loss(latent.float(), reconstruction.float(), k) for k in clusters.tolist()]
        return torch.stack(losses).sum()

    every = torch.arange(n_clusters)
    turns = every[:, None] if cluster_losses == "successive" else every.expand(n_clusters, -1)
    # Batch norm over equal samples blows gradients up; no step of SGD is to be longer than 1.
    return train_on(turns, step, optimizer, max_gradient=1 / optimizer.param_groups[0]["lr"])


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
    optimizer = optim.SGD(network.autoencoder_parameters(), lr=lr, momentum=0.9, fused=runtime.fused)
    tracker = LabelTracker.empty(len(samples), len(network.centers), runtime.device)
    converged = False
    network.train()
    for epoch in monitor.epochs("phase 1", n_epochs):
        keep_batch_norm_settled(network, samples, runtime)
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
            converged = summary["label_change"] <= SETTLED
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
    optimizer = optim.Adam(
        [
            {"params": network.encoder.parameters(), "lr": encoder_lr},
            {"params": network.mnet.parameters(), "lr": lr},
        ],
        fused=runtime.fused,
    )
    tracker = LabelTracker.empty(len(samples), len(network.centers), runtime.device)
    selected = RunningMean()

    def step(indices: Tensor, by_memberships: bool) -> Tensor:
        with evaluating(network), runtime.autocast():
            latent = network.encode(runtime.load(samples, indices))
            proba = network.mnet(latent).float().softmax(1)
        tracker.update(indices, proba.argmax(1))
        judge = network.memberships(latent.float()) if by_memberships else proba
        positive, negative = adjacent_pairs(judge, similar=similar_threshold, dissimilar=dissimilar_threshold)
        selected.add((positive | negative).sum(), positive.numel())
        with runtime.autocast():
            logits = network.mnet(network.encode(runtime.view(samples, indices)))
        predicted = logits.float().softmax(1)
        return linear_pair_loss(predicted @ predicted.T, positive, negative)

    converged = False
    network.train()
    for epoch in monitor.epochs("phase 2", n_epochs):
        keep_batch_norm_settled(network, samples, runtime)
        by_memberships = epoch < membership_epochs
        selected = RunningMean()
        total, n_steps = train_on(
            runtime.shuffled(len(samples)), partial(step, by_memberships=by_memberships), optimizer
        )
        summary = tracker.summary()
        monitor.record(loss=total.item() / n_steps, selected_share=selected.mean(), **summary)
        if by_memberships:
            update_centers(network, samples, runtime)
        converged = not by_memberships and summary["label_change"] <= SETTLED
    return converged
