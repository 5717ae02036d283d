"""A start that does not depend on luck: contrastive warm-up, then k-means. Shared by the three methods.

The papers start DAC and DCCM from random weights, and the result scatters with the seed. Here the network first learns
to tell samples apart, except from their own transforms and their nearest neighbours; k-means on what it learnt then
gives every sample a first cluster. ``warmup_epochs=0`` skips all of it.
"""

import math
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import euclidean_distances
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from deepcluster_sk._data import Samples, to_device
from deepcluster_sk._distributed import ALONE, Ranks
from deepcluster_sk._drawn import unchanged
from deepcluster_sk._engine import Runtime, infer, settle_batch_norm, train_on
from deepcluster_sk._monitor import Monitor, RunningMean
from deepcluster_sk._validation import level_of_caller
from deepcluster_sk.losses import contrastive_loss
from deepcluster_sk.networks import ClusterNetwork

Embed = Callable[[Tensor], Tensor]

# Neighbours that "auto" draws near each sample, and the share of them that must be mutual where samples are images, of
# so many asked.
_N_NEIGHBORS, _LEAST_MUTUAL, _N_ASKED = 5, 0.25, 20_000
# Neighbours are looked for among this many principal components, fitted on this many samples.
_N_COMPONENTS, _N_PCA_SAMPLES = 64, 2_500
# Neighbours are looked for among this many samples, or so few that all distances together are no more than this, but
# not among fewer than that.
_N_CANDIDATES, _N_DISTANCES, _LEAST_CANDIDATES = 100_000, 10**11, 20_000
# Numbers read at a time for that.
_N_READ = 2**20
# k-means takes this many samples, or this many a cluster if that is more, and so many starts.
_N_KMEANS_SAMPLES, _N_KMEANS_SAMPLES_A_CLUSTER, _N_KMEANS_STARTS = 20_000, 50, 50
# Of these it compares those whose sum of squares is at most so many times the least.
_NEAR_LEAST = 1.03
# And it takes no sample that is farther out than this: squares in float32 would overflow.
_LARGEST = 1e15
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


def nearest_neighbors(samples: Samples, n_neighbors: int, generator: torch.Generator, ranks: Ranks = ALONE) -> Tensor:
    """Indices of each sample's nearest others, by Euclidean distance of its leading principal components.

    Parameters
    ----------
    samples : Samples
        Of n samples. Beyond 100,000 of them, neighbours are looked for among a random 100,000, and beyond a million
        among fewer, down to 20,000.
    n_neighbors : int
        At most n - 1 are found.
    generator : torch.Generator on the CPU
        Draws the samples the components are fitted on, and those neighbours are looked for among.
    ranks : Ranks
        Each reads, and searches for, its part of the samples.

    Returns
    -------
    neighbors : Tensor of shape (n, n_neighbors), int32, on the CPU
        Nearest first.
    """
    n_samples = len(samples)
    n_candidates = _n_candidates(n_samples)
    n_neighbors = min(n_neighbors, n_samples - 1, n_candidates - 1)
    if n_neighbors == 0:
        return torch.empty(n_samples, 0, dtype=torch.int32)
    drawn = torch.randperm(n_samples, generator=generator)
    project = _principal_components(samples, drawn[:_N_PCA_SAMPLES], ranks)
    candidates = drawn[:n_candidates].sort().values
    points = np.concatenate([project(indices) for indices in _portions(samples, ranks.part(candidates))])
    points = ranks.gather(torch.from_numpy(points), len(candidates)).numpy()
    search = NearestNeighbors(n_neighbors=n_neighbors + 1, algorithm="brute").fit(points)
    mine = ranks.part(torch.arange(n_samples))
    neighbors = torch.empty(len(mine), n_neighbors, dtype=torch.int32)
    for indices, rows in zip(_portions(samples, mine), _portions(samples, torch.arange(len(mine))), strict=True):
        found = candidates[search.kneighbors(project(indices), return_distance=False)]  # (b, n_neighbors + 1)
        left_out = found == indices[:, None]
        left_out[:, -1] |= ~left_out.any(1)  # the farthest, where the sample is not found among its nearest
        neighbors[rows] = found[~left_out].view(len(indices), -1).int()
    return ranks.gather(neighbors, n_samples)


def neighbors_to_draw(samples: Samples, n_neighbors: int | Literal["auto"], runtime: Runtime) -> Tensor:
    """:func:`nearest_neighbors` that a warm-up is to draw near each sample.

    Where nearness says little of what an image shows, as among photographs, a few dull images are near to all others,
    and few neighbours have each other. "auto" then takes none, if there are transforms to learn from instead, and five
    otherwise. Feature vectors always have five: in so many dimensions there are such samples within good clusters, too.

    Returns
    -------
    neighbors : Tensor of shape (n, n_neighbors), int32, on the CPU
    """
    n_wanted = _N_NEIGHBORS if n_neighbors == "auto" else n_neighbors
    neighbors = nearest_neighbors(samples, n_wanted, runtime.generator, runtime.ranks)
    may_have_none = n_neighbors == "auto" and len(samples.sample_shape) == 3 and runtime.augment is not unchanged
    return neighbors[:, :0] if may_have_none and mutual_share(neighbors) < _LEAST_MUTUAL else neighbors


def mutual_share(neighbors: Tensor) -> float:
    """Share of neighbours that have the sample as a neighbour as well; those that could not are left out.

    Parameters
    ----------
    neighbors : Tensor of shape (n, n_neighbors), int32
        As :func:`nearest_neighbors` gives them.
    """
    n_samples = len(neighbors)
    some = torch.arange(0, n_samples, max(1, n_samples // _N_ASKED))
    they_have = neighbors[neighbors[some].long()]  # (m, n_neighbors, n_neighbors)
    is_mutual = (they_have == some[:, None, None]).any(2)
    could_be = min(1.0, _n_candidates(n_samples) / n_samples)  # the others are nobody's neighbour
    return is_mutual.double().mean().item() / could_be


def _n_candidates(n_samples: int) -> int:
    return min(_N_CANDIDATES, max(_LEAST_CANDIDATES, _N_DISTANCES // n_samples))


def _principal_components(samples: Samples, fitted_on: Tensor, ranks: Ranks) -> Callable[[Tensor], NDArray[np.float32]]:
    """Function from indices to coordinates (n, d) along the axes of largest variance."""
    parts = [_flat(samples, indices) for indices in _portions(samples, ranks.part(fitted_on))]
    subset = ranks.gather(torch.cat(parts), len(fitted_on))
    with np.errstate(invalid="ignore"):  # samples that are all equal have no variance to take ratios of
        pca = PCA(min(_N_COMPONENTS, *subset.shape), random_state=0)
        components = ranks.from_first(lambda: pca.fit(subset.numpy()))
    components.set_output(transform="default")  # whatever the user's own configuration is
    return lambda indices: components.transform(_flat(samples, indices).numpy()).astype(np.float32)


def _portions(samples: Samples, indices: Tensor) -> tuple[Tensor, ...]:
    return indices.split(max(1, _N_READ // math.prod(samples.sample_shape)))


def _flat(samples: Samples, indices: Tensor) -> Tensor:
    batch = samples.batch(indices)
    if batch.ndim == 4 and max(batch.shape[2:]) > _NEIGHBOR_SIDE:
        batch = F.adaptive_avg_pool2d(batch, _NEIGHBOR_SIDE)
    return batch.flatten(1)


def draw_neighbors(neighbors: Tensor, indices: Tensor, generator: torch.Generator) -> Tensor:
    """For each index itself or one of its row of ``neighbors``, with equal probability."""
    choices = torch.cat([indices[:, None], neighbors[indices].long()], dim=1)
    column = torch.randint(choices.shape[1], (len(indices), 1), generator=generator)
    return choices.gather(1, column)[:, 0]


def contrastive_warm_up(
    network: ClusterNetwork,
    samples: Samples,
    *,
    n_epochs: int,
    n_neighbors: int | Literal["auto"],
    temperature: float,
    runtime: Runtime,
    monitor: Monitor,
) -> Embed:
    """Train the backbone to embed a sample near its transforms and neighbours, away from all others.

    Returns
    -------
    embed : callable
        From a batch to its place in the end, (n, 64), rows of unit length.
    """
    neighbors = monitor.once("neighbors", lambda: neighbors_to_draw(samples, n_neighbors, runtime))
    n_features = network.features(runtime.read(samples, torch.arange(2))).shape[1]
    projection = runtime.place(nn.Linear(n_features, _PROJECTION_DIM))
    parameters = [*network.backbone.parameters(), *projection.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=_LR, fused=runtime.fused)

    @runtime.parallel(optimizer)
    def step(indices: Tensor) -> Tensor:
        indices = torch.cat([indices, draw_neighbors(neighbors, indices, runtime.generator)])
        views = runtime.view(samples, indices)
        with runtime.autocast():
            embedding = projection(network.features(views)).float()
        first, second = runtime.ranks.gather(embedding, len(indices)).chunk(2)
        return contrastive_loss(first, second, temperature)

    network.train()
    for _ in monitor.epochs("warm-up", n_epochs):
        losses = RunningMean()
        batches = monitor.batches(
            lambda: runtime.shuffled(len(samples)),
            network=network,
            projection=projection,
            optimizer=optimizer,
            losses=losses,
        )
        train_on(batches, step, optimizer, losses)
        monitor.record(loss=losses.mean(), n_neighbors=neighbors.shape[1])
    return lambda batch: F.normalize(projection(network.features(batch)).float(), dim=1)


def kmeans_centers(module: nn.Module, embed: Embed, samples: Samples, n_clusters: int, runtime: Runtime) -> Tensor:
    """Centres that :func:`best_separated` finds where ``embed``, which runs ``module``, puts many samples.

    Returns
    -------
    centers : Tensor of shape (n_clusters, d), float32, on the CPU

    Raises
    ------
    ValueError
        If the embedding has NaN, or values whose squares overflow.
    """
    indices = torch.arange(len(samples))
    n_taken = max(_N_KMEANS_SAMPLES, _N_KMEANS_SAMPLES_A_CLUSTER * n_clusters)
    if len(samples) > n_taken:
        indices = torch.randperm(len(samples), generator=runtime.generator)[:n_taken]
    (embedding,) = infer(module, lambda batch: (embed(batch),), samples, runtime, indices)
    largest = float(embedding.abs().max())  # NaN, if there is one
    if not largest <= _LARGEST:
        raise ValueError(
            f"The network puts samples at {largest:g}, and must give finite numbers in [-{_LARGEST:g}, {_LARGEST:g}]: "
            "see what a module of your own makes of X."
        )
    seed = runtime.generator.initial_seed()
    return torch.as_tensor(runtime.ranks.from_first(lambda: best_separated(embedding.numpy(), n_clusters, seed)))


def best_separated(points: NDArray[np.float32], n_clusters: int, seed: int) -> NDArray[np.float32]:
    """Centres of that one of many good runs of k-means whose clusters are farthest apart for their width.

    Good are those whose sum of squares is near the least, and of these it is the one of the largest simplified
    silhouette, 1 - d1 / d2 on average, of the distances to the nearest and second nearest centre. The sum of squares
    alone falls most where a large cluster is divided; by it two small classes may share a cluster.

    Parameters
    ----------
    points : ndarray of shape (n, d), float32
    n_clusters : int
    seed : int

    Returns
    -------
    centers : ndarray of shape (n_clusters, d), float32
    """
    random_state = np.random.RandomState(seed)
    has_choice = 1 < n_clusters < len(np.unique(points, axis=0))
    starts = range(_N_KMEANS_STARTS if has_choice else 1)
    with few_threads():
        runs = [KMeans(n_clusters, n_init=1, random_state=random_state).fit(points) for _ in starts]
    least = min(run.inertia_ for run in runs)
    good = [run.cluster_centers_ for run in runs if run.inertia_ <= _NEAR_LEAST * least]
    return max(good, key=partial(_simplified_silhouette, points)) if has_choice else good[0]


def few_threads() -> threadpool_limits:
    """For k-means, to be reproducible: three threads and more would add their sums in the order they come."""
    return threadpool_limits(min(2, torch.get_num_threads()), "openmp")


def _simplified_silhouette(points: NDArray[np.float32], centers: NDArray[np.float32]) -> float:
    nearest, second = np.partition(euclidean_distances(points, centers), 1, axis=1)[:, :2].T
    return float(np.mean(1 - np.divide(nearest, second, out=np.ones_like(nearest), where=second > 0)))


def nearest_centers(module: nn.Module, embed: Embed, centers: Tensor, samples: Samples, runtime: Runtime) -> Tensor:
    """Label (n,), int64, of the centre nearest to where ``embed`` puts each sample; no embedding is kept."""
    centers = centers.to(runtime.device)
    (labels,) = infer(module, lambda batch: (torch.cdist(embed(batch).float(), centers).argmin(1),), samples, runtime)
    return labels


def learn_labels(
    network: nn.Module,
    logits_of: Callable[[Tensor], Tensor],
    parameters: Iterable[nn.Parameter],
    samples: Samples,
    labels: Tensor,
    n_clusters: int,
    *,
    n_epochs: int,
    lr: float = _LR,
    phase: str = "label start",
    runtime: Runtime,
    monitor: Monitor,
) -> None:
    """Train ``logits_of``, a part of ``network``, until it gives transformed samples the labels they were given.

    It ends early once nearly all are right: the method that follows is to correct the labels, not to defend them.
    """
    optimizer = torch.optim.Adam(parameters, lr=lr, fused=runtime.fused)
    labels = labels.to(runtime.device)
    agreement = RunningMean()

    @runtime.parallel(optimizer)
    def step(indices: Tensor) -> Tensor:
        with runtime.autocast():
            logits = logits_of(runtime.view(samples, indices)).float()
        logits = runtime.ranks.gather(logits, len(indices))
        targets = labels[to_device(indices, runtime.device)]
        agreement.add((logits.argmax(1) == targets).sum(), len(indices))
        return F.cross_entropy(logits, targets)

    for _ in monitor.epochs(phase, n_epochs):
        agreement.reset()
        losses = RunningMean()
        batches = monitor.batches(
            lambda: runtime.shuffled(len(samples)),
            network=network,
            optimizer=optimizer,
            labels=labels,
            agreement=agreement,
            losses=losses,
        )
        train_on(batches, step, optimizer, losses)
        cluster_sizes = labels.bincount(minlength=n_clusters).tolist()
        monitor.record(loss=losses.mean(), agreement=agreement.mean(), cluster_sizes=cluster_sizes)
        if agreement.mean() >= _LEARNT:
            monitor.end_phase()


def start_from_kmeans(
    network: ClusterNetwork,
    samples: Samples,
    n_clusters: int,
    *,
    n_epochs: tuple[int, int],
    n_neighbors: int | Literal["auto"],
    temperature: float,
    runtime: Runtime,
    monitor: Monitor,
) -> None:
    """Warm the network up and teach it the clusters of k-means, for so many epochs each; 0 leaves it as it is."""
    warmup_epochs, label_epochs = n_epochs
    if warmup_epochs > 0:
        embed = contrastive_warm_up(
            network,
            samples,
            n_epochs=warmup_epochs,
            n_neighbors=n_neighbors,
            temperature=temperature,
            runtime=runtime,
            monitor=monitor,
        )
        if monitor.stopped:
            warnings.warn(
                "Training was stopped in the warm-up, before the network had learnt any clusters: labels mean nothing "
                "yet. Let it come to the label start.",
                ConvergenceWarning,
                stacklevel=level_of_caller(),
            )
            return
        settle_batch_norm(network, samples, runtime)
        centers = monitor.once("centers", lambda: kmeans_centers(network, embed, samples, n_clusters, runtime))
        labels = nearest_centers(network, embed, centers, samples, runtime)
        learn_labels(
            network,
            network,
            network.parameters(),
            samples,
            labels,
            n_clusters,
            n_epochs=label_epochs,
            runtime=runtime,
            monitor=monitor,
        )
