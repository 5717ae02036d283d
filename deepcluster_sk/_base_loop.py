"""What the estimators of DAC and DCCM share: a start from k-means, then the one loop of the paper."""

from deepcluster_sk._base import BaseDeepClustering
from deepcluster_sk._data import ArraySamples
from deepcluster_sk._engine import Runtime
from deepcluster_sk._monitor import Monitor
from deepcluster_sk._start import start_from_kmeans
from deepcluster_sk._validation import check_choice, check_number
from deepcluster_sk.augment import ImageAugmentation
from deepcluster_sk.networks import ClusterNetwork


class LoopClustering(BaseDeepClustering):
    """Base of the estimators whose network is a :class:`~deepcluster_sk.networks.ClusterNetwork`."""

    _phase_name: str  # what the phase that is the paper's own is called
    # A start that is blind to light is better on clothes, but these loops then merge some of them.
    _gray_augmentation = ImageAugmentation.strong()

    def _check_params(self) -> None:
        super()._check_params()
        check_choice("lr_schedule", self.lr_schedule, ("cosine", "constant"))
        check_number("block_size", self.block_size, int, 2)
        check_number("passes_per_block", self.passes_per_block, int, 1)

    def _block_sizes(self) -> dict[str, int]:
        return {"block_size": self.block_size}

    def _phases(self, n_samples: int) -> dict[str, int]:
        warm_up = self._n_epochs("warmup_epochs", n_samples, at_500=60)
        return {
            "warm-up": warm_up,
            "label start": min(warm_up, self._n_epochs_default(n_samples, at_500=40)),
            self._phase_name: self._n_epochs("max_epochs", n_samples, at_500=20),
        }

    def _start(self, network: ClusterNetwork, samples: ArraySamples, runtime: Runtime, monitor: Monitor) -> None:
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
