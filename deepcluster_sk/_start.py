"""A start that does not depend on luck: contrastive warm-up, then k-means. Shared by the three methods.

The papers start DAC and DCCM from random weights, and the result scatters with the seed. Here the network first learns
to tell samples apart, except from their own transforms and their nearest neighbours; k-means on what it learnt then
gives every sample a first cluster. ``warmup_epochs=0`` skips all of it.
"""

from collections.abc import Callable, Iterable

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn

from deepcluster_sk._data import Samples, to_device
from deepcluster_sk._engine import Monitor, RunningMean, Runtime, infer, inference_batches, settle_batch_norm, train_on
from deepcluster_sk.losses import contrastive_loss
from deepcluster_sk.networks import ClusterNetwork

# Neighbours are looked for among this many principal components, fitted on this many samples.
_N_COMPONENTS, _N_PCA_SAMPLES = 64, 10_000
# Images are averaged down to this side before that.
_NEIGHBOR_SIDE = 32
_PROJECTION_DIM = 64
# Learning rate of Adam in both steps.
_LR = 1e-3
# Share of k-means' labels that the network must reproduce before the method proper begins.
_LEARNT = 0.95


def default_epochs(n_samples: int, at_500: int) -> int:
    """Epochs that shrink with the square root of n, so that the number of steps still grows with it.

    Parameters
    ----------
    n_samples : int
        Size of the data set.
    at_500 : int
        Epochs for 500 samples and fewer.
    """
    return max(2, round(at_500 * min(1.0, 500 / n_samples) ** 0.5))


def nearest_neighbors(samples: Samples, n_neighbors: int, generator: torch.Generator) -> Tensor:
    """Indices of each sample's nearest others, by Euclidean distance of its leading principal components.

    Parameters
    ----------
    samples : Samples
        Of n samples.
    n_neighbors : int
        At most n - 1 are found.
    generator : torch.Generator
        Draws the samples that the components are fitted on.

    Returns
    -------
    neighbors : Tensor of shape (n, 1 + n_neighbors), int32
        First the sample itself.
    """
    n_samples = len(samples)
    itself = torch.arange(n_samples, dtype=torch.int32)[:, None]
    n_neighbors = min(n_neighbors, n_samples - 1)
    if n_neighbors == 0:
        return itself
    subset = torch.randperm(n_samples, generator=generator)[:_N_PCA_SAMPLES]
    fitted_on = _flat(samples, subset)
    with np.errstate(invalid="ignore"):  # samples that are all equal have no variance to take ratios of
        components = PCA(min(_N_COMPONENTS, *fitted_on.shape), random_state=0).fit(fitted_on.numpy())
    points = np.concatenate(
        [components.transform(_flat(samples, indices).numpy()) for indices in inference_batches(samples)]
    )
    # Without a query set scikit-learn leaves each point itself out, even among duplicates.
    found = NearestNeighbors(n_neighbors=n_neighbors, algorithm="brute").fit(points).kneighbors(return_distance=False)
    return torch.cat([itself, torch.as_tensor(found, dtype=torch.int32)], dim=1)


def _flat(samples: Samples, indices: Tensor) -> Tensor:
    batch = samples.batch(indices)
    if batch.ndim == 4 and max(batch.shape[2:]) > _NEIGHBOR_SIDE:
        batch = F.adaptive_avg_pool2d(batch, _NEIGHBOR_SIDE)
    return batch.flatten(1)


def draw_neighbors(neighbors: Tensor, indices: Tensor, generator: torch.Generator) -> Tensor:
    """For each index one of its row of ``neighbors``, itself included, with equal probability."""
    column = torch.randint(neighbors.shape[1], (len(indices),), generator=generator)
    return neighbors[indices, column].long()


def contrastive_warm_up(
    network: ClusterNetwork,
    samples: Samples,
    *,
    n_epochs: int,
    n_neighbors: int,
    temperature: float,
    runtime: Runtime,
    monitor: Monitor,
) -> Tensor:
    """Train the backbone to embed a sample near its transforms and neighbours, away from all others.

    Returns
    -------
    embedding : Tensor of shape (n, 64), float32, rows of unit length
        Where the samples lie at the end.
    """
    neighbors = nearest_neighbors(samples, n_neighbors, runtime.generator)
    n_features = network.features(runtime.load(samples, torch.arange(2))).shape[1]
    projection = runtime.place(nn.Linear(n_features, _PROJECTION_DIM))
    parameters = [*network.backbone.parameters(), *projection.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=_LR, fused=runtime.fused)

    def step(indices: Tensor) -> Tensor:
        partners = draw_neighbors(neighbors, indices, runtime.generator)
        views = runtime.view(samples, torch.cat([indices, partners]))
        with runtime.autocast():
            embedding = projection(network.features(views)).float()
        first, second = embedding.chunk(2)
        return contrastive_loss(first, second, temperature)

    network.train()
    for _ in monitor.epochs("warm-up", n_epochs):
        loss, n_steps = train_on(runtime.shuffled(len(samples)), step, optimizer)
        monitor.record(loss=loss.item() / n_steps)
    (embedding,) = infer(network, lambda batch: (projection(network.features(batch)),), samples, runtime)
    return F.normalize(embedding, dim=1)


def kmeans_labels(embedding: Tensor, n_clusters: int, seed: int) -> tuple[Tensor, Tensor]:
    """Best of ten runs of k-means.

    Returns
    -------
    labels : Tensor of shape (n,), int64
    centers : Tensor of shape (n_clusters, d), float32
    """
    kmeans = KMeans(n_clusters, n_init=10, random_state=seed).fit(embedding.numpy())
    return torch.as_tensor(kmeans.labels_, dtype=torch.int64), torch.as_tensor(kmeans.cluster_centers_)


def learn_labels(
    logits_of: Callable[[Tensor], Tensor],
    parameters: Iterable[nn.Parameter],
    samples: Samples,
    labels: Tensor,
    n_clusters: int,
    *,
    n_epochs: int,
    runtime: Runtime,
    monitor: Monitor,
) -> None:
    """Train ``logits_of``, by its ``parameters``, until it gives transformed samples the labels they were given.

    It ends early once nearly all are right: the method that follows is to correct the labels, not to defend them.
    """
    optimizer = torch.optim.Adam(parameters, lr=_LR, fused=runtime.fused)
    labels = labels.to(runtime.device)
    cluster_sizes = labels.bincount(minlength=n_clusters).tolist()
    agreement = RunningMean()

    def step(indices: Tensor) -> Tensor:
        with runtime.autocast():
            logits = logits_of(runtime.view(samples, indices)).float()
        targets = labels[to_device(indices, runtime.device)]
        agreement.add((logits.argmax(1) == targets).sum(), len(indices))
        return F.cross_entropy(logits, targets)

    for _ in monitor.epochs("label start", n_epochs):
        agreement.reset()
        loss, n_steps = train_on(runtime.shuffled(len(samples)), step, optimizer)
        monitor.record(loss=loss.item() / n_steps, agreement=agreement.mean(), cluster_sizes=cluster_sizes)
        if agreement.mean() >= _LEARNT:
            monitor.end_phase()


def start_from_kmeans(
    network: ClusterNetwork,
    samples: Samples,
    n_clusters: int,
    *,
    n_epochs: tuple[int, int],
    n_neighbors: int,
    temperature: float,
    runtime: Runtime,
    monitor: Monitor,
) -> None:
    """Warm the network up and teach it the clusters of k-means, for so many epochs each; 0 leaves it as it is."""
    warmup_epochs, label_epochs = n_epochs
    if warmup_epochs > 0:
        embedding = contrastive_warm_up(
            network,
            samples,
            n_epochs=warmup_epochs,
            n_neighbors=n_neighbors,
            temperature=temperature,
            runtime=runtime,
            monitor=monitor,
        )
        labels, _ = kmeans_labels(embedding, n_clusters, seed=runtime.generator.initial_seed())
        learn_labels(
            network,
            network.parameters(),
            samples,
            labels,
            n_clusters,
            n_epochs=label_epochs,
            runtime=runtime,
            monitor=monitor,
        )
    settle_batch_norm(network, samples, runtime)
