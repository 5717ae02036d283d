"""Deep Adaptive Clustering (Chang et al., ICCV 2017): the schedule, then the estimator."""

import copy
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn, optim

from deepcluster_sk._base import BaseDeepClustering
from deepcluster_sk._data import Samples, shuffled_batches
from deepcluster_sk._engine import LabelTracker, Monitor, RunningMean, Runtime, evaluating, train_on
from deepcluster_sk._start import start_from_kmeans
from deepcluster_sk._validation import check_choice, check_number
from deepcluster_sk.losses import pair_cross_entropy, pair_squared_error
from deepcluster_sk.networks import ClusterNetwork, build_cluster_network
from deepcluster_sk.pairs import cosine_similarity_matrix, label_features, select_pairs

PairLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
_PAIR_LOSSES: dict[str, PairLoss] = {"cross_entropy": pair_cross_entropy, "squared_error": pair_squared_error}


def adaptive_thresholds(curriculum: float) -> tuple[float, float]:
    """Thresholds u and l at the stage λ of the curriculum (Section 5.4); they meet at λ = 0.45."""
    return 0.95 - curriculum, 0.455 + 0.1 * curriculum


def advance_curriculum(curriculum: float, rate: float) -> float:
    """Gradient step on u(λ) - l(λ), Eqs. (11) and (12): λ grows by 1.1 times the rate."""
    gradient = -1.0 - 0.1
    return curriculum - rate * gradient


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
    with evaluating(network), runtime.autocast():
        logits = network(runtime.load(samples, indices))
    features = label_features(logits.float())
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
        features = label_features(logits.float())
        positive, negative = block.positive[rows][:, rows], block.negative[rows][:, rows]
        loss = pair_loss(cosine_similarity_matrix(features), positive, negative)
        if consistency_weight > 0:
            target = block.features[rows]
            loss = loss + consistency_weight * F.binary_cross_entropy(features.clamp(0, 1), target.clamp(0, 1))
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
    runtime: Runtime,
    monitor: Monitor,
) -> bool:
    """Algorithm 1: label the pairs of a block, train on them, take the next; once an epoch, move the thresholds.

    Returns
    -------
    converged : bool
        Whether the curriculum came to its end: l > u (DAC), or u = l = 0.5 (DAC*).
    """
    optimizer = optim.RMSprop(network.parameters(), lr=lr)
    tracker = LabelTracker.empty(len(samples), n_clusters)
    curriculum = 0.0
    for epoch in monitor.epochs("DAC", n_epochs):
        upper, lower = adaptive_thresholds(curriculum)
        if pair_selection == "all":
            upper = lower = annealed_threshold(epoch / max(n_epochs - 1, 1))
        losses, selected = RunningMean(), RunningMean()
        for indices in shuffled_batches(len(samples), block_size, runtime.generator):
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
                losses.add(*train_on(runtime.shuffled(len(indices)), step, optimizer))
        monitor.record(
            loss=losses.mean(),
            selected_share=selected.mean(),
            upper_threshold=upper,
            lower_threshold=lower,
            **tracker.summary(),
        )
        curriculum = advance_curriculum(curriculum, curriculum_rate)
        upper, lower = adaptive_thresholds(curriculum)
        if pair_selection == "adaptive" and lower > upper:
            return True
    return pair_selection == "all" and not monitor.stopped


class DACClustering(BaseDeepClustering):
    """TODO docstring."""

    def __init__(
        self,
        n_clusters: int = 10,
        *,
        network: str | nn.Module = "auto",
        image_shape: tuple[int, ...] | None = None,
        augment: Any = "auto",
        max_epochs: int | None = None,
        batch_size: int = 256,
        lr: float = 1e-4,
        n_init: int = 1,
        pair_selection: Literal["adaptive", "all"] = "adaptive",
        pair_loss: Literal["cross_entropy", "squared_error"] = "cross_entropy",
        consistency_weight: float = 0.0,
        curriculum_rate: float | None = None,
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
        self.image_shape = image_shape
        self.augment = augment
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.n_init = n_init
        self.pair_selection = pair_selection
        self.pair_loss = pair_loss
        self.consistency_weight = consistency_weight
        self.curriculum_rate = curriculum_rate
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
        check_choice("pair_selection", self.pair_selection, ("adaptive", "all"))
        check_choice("pair_loss", self.pair_loss, tuple(_PAIR_LOSSES))
        check_number("consistency_weight", self.consistency_weight, float, 0)
        if self.curriculum_rate is not None:
            check_number("curriculum_rate", self.curriculum_rate, float, 0, open="low")
        check_number("block_size", self.block_size, int, 2)
        check_number("passes_per_block", self.passes_per_block, int, 1)

    def _phases(self, n_samples: int) -> dict[str, int]:
        return {**self._start_phases(n_samples), "train": self._n_epochs("max_epochs", n_samples, at_500=20)}

    def _build_network(self, sample_shape: tuple[int, ...]) -> ClusterNetwork:
        return build_cluster_network(copy.deepcopy(self.network), sample_shape, self.n_clusters)

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
        # λ = 0.45, where the thresholds meet, is passed behind the last epoch.
        stretched_rate = 0.451 / (1.1 * phases["train"])
        return train_dac(
            network,
            samples,
            n_clusters=self.n_clusters,
            n_epochs=phases["train"],
            pair_selection=self.pair_selection,
            pair_loss=_PAIR_LOSSES[self.pair_loss],
            consistency_weight=self.consistency_weight,
            curriculum_rate=self.curriculum_rate or stretched_rate,
            block_size=self.block_size,
            passes_per_block=self.passes_per_block,
            lr=self.lr,
            runtime=runtime,
            monitor=monitor,
        )

    def _represent(self, network: ClusterNetwork, batch: Tensor) -> tuple[Tensor, Tensor]:
        logits = network(batch).float()
        return label_features(logits), logits.softmax(1)
