"""Deep Adaptive Clustering (Chang et al., ICCV 2017): the schedule of the paper."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from torch import Tensor, optim

from deepcluster_sk._data import Samples, count_batches, shuffled_batches, to_device
from deepcluster_sk._engine import Runtime, judge, make_scheduler, train_on
from deepcluster_sk._monitor import LabelTracker, Monitor, RunningMean
from deepcluster_sk.losses import consistency_loss
from deepcluster_sk.networks import ClusterNetwork
from deepcluster_sk.pairs import cosine_similarity_matrix, label_features, select_pairs

PairLoss = Callable[[Tensor, Tensor, Tensor], Tensor]


def adaptive_thresholds(curriculum: float) -> tuple[float, float]:
    """Thresholds u and l at the stage λ of the curriculum (Section 5.4); they meet at λ = 0.45."""
    return 0.95 - curriculum, 0.455 + 0.1 * curriculum


def curriculum_after(n_epochs: int, rate: float) -> float:
    """Stage λ after so many gradient steps on u(λ) - l(λ), Eqs. (11) and (12): each adds 1.1 times the rate."""
    gradient = -1.0 - 0.1
    return -n_epochs * rate * gradient


def annealed_threshold(progress: float) -> float:
    """The one threshold of DAC*, from 0.95 to 0.5 as ``progress`` goes from 0 to 1 (Section 5.4)."""
    return 0.95 - 0.45 * progress


class Block(NamedTuple):
    """Some samples, with what the network as it stands says of them un-augmented."""

    indices: Tensor  # (m,), int64
    features: Tensor  # (m, n_clusters) label features
    positive: Tensor  # (m, m), bool: r = 1
    negative: Tensor  # (m, m), bool: r = 0


def label_block(
    network: ClusterNetwork, samples: Samples, indices: Tensor, upper: float, lower: float, runtime: Runtime
) -> Block:
    """Select the training pairs among some samples, Eqs. (6) and (8)."""
    features = label_features(judge(network, samples, runtime, indices))
    return Block(indices, features, *select_pairs(cosine_similarity_matrix(features), upper=upper, lower=lower))


def block_step(
    network: ClusterNetwork,
    samples: Samples,
    block: Block,
    *,
    pair_loss: PairLoss,
    consistency_weight: float,
    runtime: Runtime,
) -> Callable[[Tensor], Tensor]:
    """Loss of augmented samples under the block's pair labels, Eq. (10), as a function of their rows in the block."""

    def step(rows: Tensor) -> Tensor:
        with runtime.autocast():
            logits = network(runtime.view(samples, block.indices[rows]))
        features = label_features(runtime.ranks.gather(logits.float(), len(rows)))
        here = to_device(rows, features.device)
        positive, negative = block.positive[here[:, None], here], block.negative[here[:, None], here]
        loss = pair_loss(cosine_similarity_matrix(features), positive, negative)
        if consistency_weight > 0:
            loss = loss + consistency_weight * consistency_loss(features, block.features[here])
        return loss

    return step


def train_dac(
    network: ClusterNetwork,
    samples: Samples,
    *,
    n_clusters: int,
    n_epochs: int,
    pair_selection: str,
    pair_loss: PairLoss,
    consistency_weight: float,
    curriculum_rate: float,
    block_size: int,
    passes_per_block: int,
    lr: float,
    lr_schedule: str,
    tol: float,
    runtime: Runtime,
    monitor: Monitor,
) -> bool:
    """Algorithm 1: label the pairs of a block, train on them, take the next; once an epoch, move the thresholds.

    Returns
    -------
    converged : bool
        Whether the curriculum came to its end, l > u (DAC) or u = l = 0.5 (DAC*), or less than a share ``tol`` of the
        labels changed in an epoch of DAC.
    """
    optimizer = optim.RMSprop(network.parameters(), lr=lr, foreach=True)
    scheduler = make_scheduler(optimizer, lr_schedule, n_epochs * count_batches(len(samples), block_size))
    tracker = LabelTracker.empty(len(samples), n_clusters, runtime.device)
    in_parallel = runtime.parallel(optimizer)
    trained = {"network": network, "optimizer": optimizer, "scheduler": scheduler, "tracker": tracker}
    draw_blocks = partial(shuffled_batches, len(samples), block_size, runtime.generator)
    converged = False
    for epoch in monitor.epochs("DAC", n_epochs):
        upper, lower = adaptive_thresholds(curriculum_after(epoch, curriculum_rate))
        if pair_selection == "all":
            upper = lower = annealed_threshold(epoch / max(n_epochs - 1, 1))
        losses, selected = RunningMean(), RunningMean()
        for indices in monitor.batches(draw_blocks, **trained, losses=losses, selected=selected):
            block = label_block(network, samples, indices, upper, lower, runtime)
            tracker.update(indices, block.features.argmax(1))
            selected.add((block.positive | block.negative).sum(), block.positive.numel())
            step = block_step(
                network,
                samples,
                block,
                pair_loss=pair_loss,
                consistency_weight=consistency_weight,
                runtime=runtime,
            )
            for _ in range(passes_per_block):
                train_on(runtime.shuffled(len(indices)), in_parallel(step), optimizer, losses)
            scheduler.step()
        summary = tracker.summary()
        monitor.record(
            loss=losses.mean(),
            selected_share=selected.mean(),
            upper_threshold=upper,
            lower_threshold=lower,
            **summary,
        )
        upper, lower = adaptive_thresholds(curriculum_after(epoch + 1, curriculum_rate))
        converged = pair_selection == "adaptive" and (lower > upper or summary["label_change"] < tol)
        if converged:
            monitor.end_phase()
    return converged or (pair_selection == "all" and not monitor.stopped)
