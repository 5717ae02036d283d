"""Deep Comprehensive Correlation Mining (Wu et al., ICCV 2019): the schedule of the paper."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, optim

from deepcluster_sk._data import Samples, count_batches, shuffled_batches, to_device
from deepcluster_sk._engine import (
    Runtime,
    evaluating,
    judge,
    make_scheduler,
    mean_over_parts,
    train_on,
)
from deepcluster_sk._monitor import LabelTracker, Monitor, RunningMean
from deepcluster_sk.losses import mutual_information_loss, pair_cross_entropy, pseudo_label_loss
from deepcluster_sk.networks import ClusterNetwork, LocalDiscriminator
from deepcluster_sk.pairs import PairSampling, cosine_similarity_matrix, pseudo_graph, pseudo_labels, sample_pairs

# Pairs times positions that the discriminator scores in one go: what is fast on a CPU, and fits into a GPU.
_SCORED_ON_CPU, _SCORED_ELSEWHERE = 2**14, 2**18


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
    proba = judge(network, samples, runtime, indices).softmax(1)
    similarity = cosine_similarity_matrix(proba)
    return Block(indices, similarity, pseudo_graph(similarity, graph_threshold), *pseudo_labels(proba, label_threshold))


def correlation_loss(logits: Tensor, block: Block, rows: Tensor, label_weight: float) -> Tensor:
    """Graph loss and α times label loss of one view, Eq. (10) on the originals and Eq. (12) on their transforms."""
    graph = block.graph[rows[:, None], rows]
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
    """Triplet mutual information of a batch, Eqs. (13) and (14), at some or all positions of the shallow map.

    A few positions are scored at a time: the hidden layers of all pairs at all positions may be gigabytes.
    """
    ranks = runtime.ranks
    similarity, graph = block.similarity[rows[:, None], rows], block.graph[rows[:, None], rows]
    pairs = sample_pairs(similarity, graph, pair_sampling, runtime.generator)
    maps = shallow.reshape(*shallow.shape[:2], -1)  # (b, c, h * w); a vector is a map of one position
    if n_positions is not None:
        positions = torch.randperm(maps.shape[2], generator=runtime.generator)[:n_positions]
        maps = maps.index_select(2, to_device(positions, maps.device))
    maps, deep = ranks.gather(maps, len(rows)), ranks.gather(deep, len(rows))
    itself = torch.arange(len(rows), device=deep.device)[:, None].expand(-1, 2)
    all_pairs = torch.cat([itself, pairs.positive, pairs.negative])
    anchor, partner = ranks.part(all_pairs).T
    joint = torch.cat([torch.ones_like(pairs.has_positive), pairs.has_positive])
    n_joint = len(joint)

    def loss_at(some_positions: Tensor) -> Tensor:
        with runtime.autocast():
            shallow_projected, deep_projected = discriminator.project(some_positions, deep)
            scores = discriminator(deep_projected.index_select(0, anchor), shallow_projected.index_select(0, partner))
        scores = ranks.gather(scores.float(), len(all_pairs))
        return mutual_information_loss(scores[:n_joint], scores[n_joint:], joint, pairs.has_negative)

    n_scored = _SCORED_ON_CPU if maps.device.type == "cpu" else _SCORED_ELSEWHERE
    parts = maps.split(max(1, n_scored // len(all_pairs)), dim=2)
    return mean_over_parts(loss_at, parts, deep, *discriminator.parameters())


def resolve_positions(mi_positions: float | None, n_all: int) -> int | None:
    """Number of positions that a count, a fraction or None (all) stand for."""
    if mi_positions is None:
        return None
    n_positions = mi_positions if isinstance(mi_positions, int | np.integer) else round(mi_positions * n_all)
    return min(max(int(n_positions), 1), n_all)


def block_step(
    network: ClusterNetwork,
    discriminator: LocalDiscriminator,
    samples: Samples,
    block: Block,
    *,
    label_weight: float,
    local_robustness: bool,
    mi_weight: float,
    n_positions: int | None,
    pair_sampling: PairSampling,
    runtime: Runtime,
) -> Callable[[Tensor], Tensor]:
    """Total loss of a batch, Eq. (15), as a function of its rows in the block."""

    def step(rows: Tensor) -> Tensor:
        views = [runtime.load(samples, block.indices[rows])]
        if local_robustness:
            views.append(runtime.transform(views[0], len(rows)))
        with runtime.autocast():
            shallow, embedding, logits = network.stages(torch.cat(views))
        rows, n_mine = to_device(rows, logits.device), len(views[0])
        of_views = [runtime.ranks.gather(part, len(rows)) for part in logits.float().split(n_mine)]
        losses = [correlation_loss(part, block, rows, label_weight) for part in of_views]
        if mi_weight > 0:
            triplet = triplet_loss(
                discriminator,
                shallow[:n_mine],  # of the originals
                embedding[:n_mine],
                block,
                rows,
                pair_sampling=pair_sampling,
                n_positions=n_positions,
                runtime=runtime,
            )
            losses.append(mi_weight * triplet)
        return torch.stack(losses).sum()

    return step


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
    lr_schedule: str,
    tol: float,
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
        example = network.stages(runtime.read(samples, torch.arange(2)))
    discriminator = runtime.place(LocalDiscriminator(example.shallow.shape[1], example.embedding.shape[1]))
    n_positions = resolve_positions(mi_positions, example.shallow[0, 0].numel())
    in_use = [*network.parameters(), *(discriminator.parameters() if mi_weight > 0 else ())]
    optimizer = optim.RMSprop(in_use, lr=lr, foreach=True)
    scheduler = make_scheduler(optimizer, lr_schedule, n_epochs * count_batches(len(samples), block_size))
    tracker = LabelTracker.empty(len(samples), n_clusters, runtime.device)
    trained = {"network": network, "discriminator": discriminator, "tracker": tracker}
    trained |= {"optimizer": optimizer, "scheduler": scheduler}
    in_parallel = runtime.parallel(optimizer)
    draw_blocks = partial(shuffled_batches, len(samples), block_size, runtime.generator)
    thresholds = {"graph_threshold": graph_threshold, "label_threshold": label_threshold}
    weights = {"label_weight": label_weight, "mi_weight": mi_weight}

    for _ in monitor.epochs("DCCM", n_epochs):
        losses, confident, edges = RunningMean(), RunningMean(), RunningMean()
        for indices in monitor.batches(draw_blocks, **trained, losses=losses, confident=confident, edges=edges):
            block = label_block(network, samples, indices, **thresholds, runtime=runtime)
            tracker.update(indices, block.labels)
            confident.add(block.confident.sum(), len(indices))
            edges.add(block.graph.sum(), block.graph.numel())
            step = block_step(
                network,
                discriminator,
                samples,
                block,
                **weights,
                local_robustness=local_robustness,
                n_positions=n_positions,
                pair_sampling=pair_sampling,
                runtime=runtime,
            )
            for _ in range(passes_per_block):
                train_on(runtime.shuffled(len(indices)), in_parallel(step), optimizer, losses)
            scheduler.step()
        summary = tracker.summary()
        monitor.record(loss=losses.mean(), selected_share=confident.mean(), edge_share=edges.mean(), **summary)
        monitor.settle(summary["label_change"], tol)
    return monitor.is_settled
