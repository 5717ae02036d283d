"""Deep Comprehensive Correlation Mining (Wu et al., ICCV 2019): the schedule, then the estimator."""

import copy
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn, optim

from deepcluster_sk._base import BaseDeepClustering
from deepcluster_sk._data import Samples, shuffled_batches
from deepcluster_sk._engine import LabelTracker, Monitor, RunningMean, Runtime, evaluating, train_on
from deepcluster_sk._start import start_from_kmeans
from deepcluster_sk._validation import check_choice, check_number
from deepcluster_sk.losses import mutual_information_loss, pair_cross_entropy, pseudo_label_loss
from deepcluster_sk.networks import ClusterNetwork, LocalDiscriminator, Stages, build_cluster_network
from deepcluster_sk.pairs import PairSampling, cosine_similarity_matrix, pseudo_graph, pseudo_labels, sample_pairs

# Share of labels that still change in an epoch when training counts as converged.
_SETTLED = 1e-3


class Block(NamedTuple):
    """Some samples, with the pseudo-graph and pseudo-labels that the network as it stands gives them un-augmented."""

    indices: Tensor  # (m,), int64
    similarity: Tensor  # (m, m)
    graph: Tensor  # (m, m), bool: W
    labels: Tensor  # (m,), int64: y
    confident: Tensor  # (m,), bool: V


def label_block(
    network: ClusterNetwork,
    samples: Samples,
    indices: Tensor,
    *,
    graph_threshold: float,
    label_threshold: float,
    runtime: Runtime,
) -> Block:
    """Pseudo-graph and pseudo-labels of some samples, Eqs. (2), (7) and (8)."""
    with evaluating(network), runtime.autocast():
        logits = network(runtime.load(samples, indices))
    proba = logits.float().softmax(1)
    similarity = cosine_similarity_matrix(proba)
    return Block(
        indices, similarity, pseudo_graph(similarity, graph_threshold), *pseudo_labels(proba, label_threshold)
    )


def correlation_loss(logits: Tensor, block: Block, rows: Tensor, label_weight: float) -> Tensor:
    """Graph loss and α times label loss of one view, Eq. (10) on the originals and Eq. (12) on their transforms."""
    graph = block.graph[rows][:, rows]
    similarity = cosine_similarity_matrix(logits.softmax(1))
    loss = pair_cross_entropy(similarity, graph, ~graph)
    if label_weight > 0:
        loss = loss + label_weight * pseudo_label_loss(logits, block.labels[rows], block.confident[rows])
    return loss


def triplet_loss(
    discriminator: LocalDiscriminator,
    shallow: Tensor,
    deep: Tensor,
    block: Block,
    rows: Tensor,
    *,
    pair_sampling: PairSampling,
    n_positions: int | None,
    runtime: Runtime,
) -> Tensor:
    """Triplet mutual information of a batch, Eqs. (13) and (14), at some or all positions of the shallow map."""
    similarity, graph = block.similarity[rows][:, rows], block.graph[rows][:, rows]
    positive, negative = sample_pairs(similarity, graph, pair_sampling, runtime.generator)
    positions = None
    if n_positions is not None:
        n_all = shallow[0, 0].numel()
        positions = torch.randperm(n_all, generator=runtime.generator)[:n_positions].to(shallow.device)
    with runtime.autocast():
        shallow_projected, deep_projected = discriminator.project(shallow, deep, positions)
        itself = torch.arange(len(rows), device=deep.device)[:, None].expand(-1, 2)
        anchor, partner = torch.cat([itself, positive, negative]).T
        scores = discriminator(deep_projected[anchor], shallow_projected[partner]).float()
    n_joint = len(itself) + len(positive)
    return mutual_information_loss(scores[:n_joint], scores[n_joint:])


def resolve_positions(mi_positions: float | None, n_all: int) -> int | None:
    """Number of positions that a count, a fraction or None (all) stand for."""
    if mi_positions is None:
        return None
    n_positions = mi_positions if isinstance(mi_positions, int | np.integer) else round(mi_positions * n_all)
    return min(max(int(n_positions), 1), n_all)


def train_dccm(
    network: ClusterNetwork,
    samples: Samples,
    *,
    n_clusters: int,
    n_epochs: int,
    graph_threshold: float,
    label_threshold: float,
    label_weight: float,
    local_robustness: bool,
    mi_weight: float,
    mi_positions: float | None,
    pair_sampling: PairSampling,
    block_size: int,
    passes_per_block: int,
    lr: float,
    runtime: Runtime,
    monitor: Monitor,
) -> bool:
    """Algorithm 1 on blocks: take pseudo-graph and pseudo-labels, then minimise Eq. (15) on both views.

    Returns
    -------
    converged : bool
        Whether hardly any label changed in the last epoch.
    """
    with evaluating(network):
        example = network.stages(runtime.load(samples, torch.arange(2)))
    discriminator = runtime.place(LocalDiscriminator(example.shallow.shape[1], example.embedding.shape[1]))
    n_positions = resolve_positions(mi_positions, example.shallow[0, 0].numel())
    optimizer = optim.RMSprop([*network.parameters(), *discriminator.parameters()], lr=lr)
    tracker = LabelTracker.empty(len(samples), n_clusters)

    def block_step(block: Block) -> Callable[[Tensor], Tensor]:
        """Eq. (15) as a function of rows of the block."""

        def step(rows: Tensor) -> Tensor:
            indices = block.indices[rows]
            views = [runtime.load(samples, indices)]
            if local_robustness:
                views.append(runtime.view(samples, indices))
            with runtime.autocast():
                shallow, _, embedding, logits = network.stages(torch.cat(views))
            losses = [correlation_loss(part, block, rows, label_weight) for part in logits.float().split(len(rows))]
            loss = torch.stack(losses).sum()
            if mi_weight > 0:
                original = slice(len(rows))
                loss = loss + mi_weight * triplet_loss(
                    discriminator,
                    shallow[original],
                    embedding[original],
                    block,
                    rows,
                    pair_sampling=pair_sampling,
                    n_positions=n_positions,
                    runtime=runtime,
                )
            return loss

        return step

    converged = False
    for _ in monitor.epochs("DCCM", n_epochs):
        losses, confident, edges = RunningMean(), RunningMean(), RunningMean()
        for indices in shuffled_batches(len(samples), block_size, runtime.generator):
            block = label_block(
                network,
                samples,
                indices,
                graph_threshold=graph_threshold,
                label_threshold=label_threshold,
                runtime=runtime,
            )
            tracker.update(indices, block.labels)
            confident.add(block.confident.sum(), len(indices))
            edges.add(block.graph.sum(), block.graph.numel())
            step = block_step(block)
            for _ in range(passes_per_block):
                losses.add(*train_on(runtime.shuffled(len(indices)), step, optimizer))
        summary = tracker.summary()
        monitor.record(
            loss=losses.mean(), selected_share=confident.mean(), edge_share=edges.mean(), **summary
        )
        converged = summary["label_change"] <= _SETTLED
    return converged


class DCCMClustering(BaseDeepClustering):
    """TODO docstring."""

    def __init__(
        self,
        n_clusters: int = 10,
        *,
        network: str | nn.Module = "auto",
        shallow_layer: str | None = None,
        image_shape: tuple[int, ...] | None = None,
        augment: Any = "auto",
        max_epochs: int | None = None,
        batch_size: int = 256,
        lr: float = 1e-4,
        n_init: int = 1,
        graph_threshold: float = 0.95,
        label_threshold: float = 0.9,
        label_weight: float = 5.0,
        local_robustness: bool = True,
        mi_weight: float = 0.1,
        mi_positions: float | None = 16,
        pair_sampling: PairSampling = "nearest-random",
        block_size: int = 1000,
        passes_per_block: int = 1,
        warmup_epochs: int | None = None,
        n_neighbors: int = 5,
        temperature: float = 0.5,
        precision: Literal["auto", "float32", "bfloat16"] = "auto",
        device: Any = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.n_clusters = n_clusters
        self.network = network
        self.shallow_layer = shallow_layer
        self.image_shape = image_shape
        self.augment = augment
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.n_init = n_init
        self.graph_threshold = graph_threshold
        self.label_threshold = label_threshold
        self.label_weight = label_weight
        self.local_robustness = local_robustness
        self.mi_weight = mi_weight
        self.mi_positions = mi_positions
        self.pair_sampling = pair_sampling
        self.block_size = block_size
        self.passes_per_block = passes_per_block
        self.warmup_epochs = warmup_epochs
        self.n_neighbors = n_neighbors
        self.temperature = temperature
        self.precision = precision
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def _check_params(self) -> None:
        super()._check_params()
        check_number("graph_threshold", self.graph_threshold, float, 0, 1)
        check_number("label_threshold", self.label_threshold, float, 0, 1)
        check_number("label_weight", self.label_weight, float, 0)
        check_number("mi_weight", self.mi_weight, float, 0)
        check_choice("local_robustness", self.local_robustness, (True, False))
        choices = ("nearest-random", "nearest-farthest", "random-random", "top-random")
        check_choice("pair_sampling", self.pair_sampling, choices)
        if isinstance(self.mi_positions, float):
            check_number("mi_positions", self.mi_positions, float, 0, 1, open="low")
        elif self.mi_positions is not None:
            check_number("mi_positions", self.mi_positions, int, 1)
        check_number("block_size", self.block_size, int, 2)
        check_number("passes_per_block", self.passes_per_block, int, 1)

    def _phases(self, n_samples: int) -> dict[str, int]:
        return {**self._start_phases(n_samples), "train": self._n_epochs("max_epochs", n_samples, at_500=20)}

    def _build_network(self, sample_shape: tuple[int, ...]) -> ClusterNetwork:
        return build_cluster_network(
            copy.deepcopy(self.network), sample_shape, self.n_clusters, embedding_dim=64, shallow_layer=self.shallow_layer
        )

    def _train(self, network: ClusterNetwork, samples: Samples, runtime: Runtime, monitor: Monitor) -> bool:
        phases = self._phases(len(samples))
        start_from_kmeans(
            network,
            samples,
            self.n_clusters,
            n_epochs=(phases["warm-up"], phases["label start"]),
            n_neighbors=self.n_neighbors,
            temperature=self.temperature,
            runtime=runtime,
            monitor=monitor,
        )
        return train_dccm(
            network,
            samples,
            n_clusters=self.n_clusters,
            n_epochs=phases["train"],
            graph_threshold=self.graph_threshold,
            label_threshold=self.label_threshold,
            label_weight=self.label_weight,
            local_robustness=self.local_robustness,
            mi_weight=self.mi_weight,
            mi_positions=self.mi_positions,
            pair_sampling=self.pair_sampling,
            block_size=self.block_size,
            passes_per_block=self.passes_per_block,
            lr=self.lr,
            runtime=runtime,
            monitor=monitor,
        )

    def _represent(self, network: ClusterNetwork, batch: Tensor) -> tuple[Tensor, Tensor]:
        stages: Stages = network.stages(batch)
        return stages.embedding.flatten(1), stages.logits.float().softmax(1)
