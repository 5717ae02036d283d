"""Device mix-ups, found without a GPU: fake CUDA tensors run through each method's step, and may not meet CPU ones."""

from typing import get_args

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from deepcluster_sk._engine import Runtime
from deepcluster_sk._monitor import LabelTracker
from deepcluster_sk._start import nearest_centers
from deepcluster_sk._train_dac import block_step as dac_step
from deepcluster_sk._train_dac import label_block as label_dac_block
from deepcluster_sk._train_dccm import block_step as dccm_step
from deepcluster_sk._train_dccm import label_block as label_dccm_block
from deepcluster_sk._train_dcss import PairStatistics, cluster_step, pair_step, pretraining_step, update_centers
from deepcluster_sk.augment import ImageAugmentation
from deepcluster_sk.losses import pair_cross_entropy
from deepcluster_sk.networks import DCSSNetwork, LocalDiscriminator, build_autoencoder, build_cluster_network
from deepcluster_sk.pairs import PairSampling

CUDA = torch.device("cuda")

pytestmark = pytest.mark.filterwarnings("ignore:.*CUDA is not available:UserWarning")


class FakeImages:
    """Bytes on the CPU that become floats wherever they are."""

    sample_shape = (1, 28, 28)

    def __len__(self):
        return 60

    def raw(self, indices):
        return torch.zeros(len(indices), *self.sample_shape, dtype=torch.uint8)

    def scaled(self, raw):
        return raw.float() / 255


@pytest.fixture
def runtime():
    """Of fake tensors; what is built under ``torch.device("cuda")`` within is on a GPU that does not exist."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield Runtime(CUDA, "bfloat16", ImageAugmentation.strong(), torch.Generator().manual_seed(0), batch_size=20)


def cluster_network(device, **options):
    with torch.device(device):
        return build_cluster_network("auto", FakeImages.sample_shape, 10, **options)


def dac_loss(runtime, network_device):
    network = cluster_network(network_device)
    block = label_dac_block(network, FakeImages(), torch.arange(60), 0.9, 0.5, runtime)
    options = {"pair_loss": pair_cross_entropy, "consistency_weight": 1.0, "runtime": runtime}
    return dac_step(network, FakeImages(), block, **options)(torch.arange(20))


def dccm_loss(runtime, network_device, pair_sampling="nearest-random"):
    network = cluster_network(network_device, embedding_dim=64)
    with torch.device(network_device):
        discriminator = LocalDiscriminator(16, 64)
    thresholds = {"graph_threshold": 0.95, "label_threshold": 0.9}
    block = label_dccm_block(network, FakeImages(), torch.arange(60), **thresholds, runtime=runtime)
    weights = {"label_weight": 5.0, "local_robustness": True, "mi_weight": 0.1}
    options = {"n_positions": 16, "pair_sampling": pair_sampling, "runtime": runtime}
    return dccm_step(network, discriminator, FakeImages(), block, **weights, **options)(torch.arange(20))


def dcss_network(device, name="autoencoder-conv"):
    with torch.device(device):
        autoencoder = build_autoencoder(name, FakeImages.sample_shape, 10)
        return DCSSNetwork(
            autoencoder.encoder, autoencoder.decoder, sample_shape=(1, 28, 28), n_clusters=3, fuzzifier=1.5
        )


def pretraining_loss(runtime, network_device):
    network = dcss_network(network_device)
    options = {"contrastive_weight": 1.0, "temperature": 0.5, "runtime": runtime}
    neighbors = torch.zeros(60, 6, dtype=torch.int32)
    return pretraining_step(network, FakeImages(), neighbors, **options)(torch.arange(20))


def phase_1_loss(runtime, network_device):
    network = dcss_network(network_device)
    step = cluster_step(network, FakeImages(), torch.arange(20), centering_weight=0.1, runtime=runtime)
    return step([0]) + step([0, 1, 2])


def phase_2_loss(runtime, network_device):
    network = dcss_network(network_device)
    statistics = PairStatistics(LabelTracker.empty(60, 3, CUDA))
    thresholds = {"similar_threshold": 0.8, "dissimilar_threshold": 0.2}
    losses = [
        pair_step(network, FakeImages(), statistics, by_memberships=judge, **thresholds, runtime=runtime)
        for judge in (True, False)
    ]
    return sum(step(torch.arange(20)) for step in losses)


def test_the_start_stays_on_its_device(runtime):
    network = cluster_network("cuda")

    def embed(batch):
        return network.features(batch)

    labels = nearest_centers(network, embed, torch.rand(10, 128), FakeImages(), runtime)
    assert (labels.device.type, labels.dtype, len(labels)) == ("cpu", torch.int64, 60)
    update = update_centers(dcss_network("cuda"), FakeImages(), runtime)
    assert (update.device.type, len(update)) == ("cuda", 60)


LOSSES = [dac_loss, dccm_loss, pretraining_loss, phase_1_loss, phase_2_loss]


@pytest.mark.parametrize("loss", LOSSES)
def test_steps_stay_on_their_device(loss, runtime):
    value = loss(runtime, "cuda")
    assert value.device.type == "cuda"
    assert value.dtype == torch.float32
    assert value.requires_grad


@pytest.mark.parametrize("loss", LOSSES)
def test_a_network_on_another_device_raises(loss, runtime):
    with pytest.raises(RuntimeError, match="same device"):
        loss(runtime, "cpu")


@pytest.mark.parametrize("pair_sampling", get_args(PairSampling))
def test_no_value_is_read_while_pairs_are_sampled(pair_sampling, runtime):
    """Fake tensors have no values: whatever reads one, for which a GPU would have to be waited for, raises."""
    assert dccm_loss(runtime, "cuda", pair_sampling).device.type == "cuda"


def test_reading_a_value_would_have_raised(runtime):
    with pytest.raises(DataDependentOutputException):
        torch.ones((), device=CUDA).item()
