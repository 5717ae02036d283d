"""Networks: every name builds and runs, layers are the papers', errors name what is wrong."""

import itertools
from unittest import mock

import numpy as np
import pytest
import reference
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from deepcluster_sk.networks import (
    AUTOENCODERS,
    NETWORKS,
    Autoencoder,
    ClusterNetwork,
    DCSSNetwork,
    LocalDiscriminator,
    build_autoencoder,
    build_cluster_network,
    build_mnet,
)
from deepcluster_sk.networks._layers import conv
from deepcluster_sk.pairs import fuzzy_memberships

seeds = st.integers(0, 2**31 - 1)


def rand(seed, *shape, dtype=torch.float32):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def own_shape(name, n_channels):
    entry = NETWORKS[name]
    return (n_channels, entry.side or 12, entry.side or 12) if entry.ndim == 3 else (5 * n_channels,)


def convolutions(module):
    """(in, out, kernel, padding) of every convolution, in order."""
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]
    return [(c.in_channels, c.out_channels, c.kernel_size[0], c.padding[0]) for c in layers]


def dense_shapes(module):
    return [tuple(layer.weight.shape) for layer in module.modules() if isinstance(layer, nn.Linear)]


# ---- cluster networks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_channels", [1, 3])
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_name_runs_on_its_own_size(name, n_channels):
    shape = own_shape(name, n_channels)
    network = build_cluster_network(name, shape, 7).eval()
    batch = rand(0, 2, *shape)
    stages = network.stages(batch)
    assert stages.logits.shape == (2, 7)
    assert stages.embedding.ndim == network.features(batch).ndim == 2
    assert len(stages.shallow) == len(stages.embedding) == len(network.features(batch)) == 2
    assert torch.equal(stages.logits, network(batch))
    assert stages.logits.isfinite().all()


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 8, 8), (2, 5, 31), (7, 16, 16), (1, 100, 60), (3, 3, 2), (1, 1, 1)])
def test_conv_takes_any_size_and_number_of_channels(shape):
    network = build_cluster_network("conv", shape, 3).eval()
    batch = rand(0, 2, *shape)
    stages = network.stages(batch)
    assert stages.logits.shape == (2, 3)
    assert network.features(batch).shape == (2, 128)
    assert stages.shallow.ndim == 4


@given(c=st.integers(1, 5), h=st.integers(1, 24), w=st.integers(1, 24))
def test_conv_takes_all_small_shapes(c, h, w):
    assert build_cluster_network("auto", (c, h, w), 4).eval()(rand(0, 2, c, h, w)).shape == (2, 4)


def test_auto_is_conv_for_images_and_mlp_for_vectors():
    for shape, name in [((1, 8, 8), "conv"), ((20,), "mlp")]:
        chosen, named = (str(build_cluster_network(network, shape, 3)) for network in ("auto", name))
        assert chosen == named


def move_running_statistics(module):
    """As training would: without, batch norm in eval mode is the identity."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.running_mean.copy_(rand(1, layer.num_features) - 0.5)
            layer.running_var.copy_(rand(2, layer.num_features) + 0.5)


@pytest.mark.parametrize("name", sorted(NETWORKS))
@torch.no_grad()
def test_eval_output_of_a_row_does_not_depend_on_the_batch(name):
    shape = own_shape(name, 1)
    network = build_cluster_network(name, shape, 3).double().eval()
    move_running_statistics(network)
    batch = rand(0, 2, *shape, dtype=torch.float64)
    torch.testing.assert_close(network(batch)[:1], network(batch[:1]), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("name", "shallow"),
    [
        ("dac-28", (64, 11, 11)),
        ("dac-32", (64, 13, 13)),
        ("dac-64", (64, 29, 29)),
        ("dac-96", (64, 45, 45)),
        ("dccm-32", (64, 28, 28)),
        ("dccm-64", (128, 12, 12)),
        ("dccm-96", (128, 20, 20)),
    ],
)
def test_shallow_map_of_the_papers_networks(name, shallow):
    shape = own_shape(name, 3)
    assert build_cluster_network(name, shape, 3).eval().stages(rand(0, 1, *shape)).shallow.shape[1:] == shallow


@pytest.mark.parametrize(("name", "n_groups"), [("dac-28", 2), ("dac-32", 2), ("dac-64", 3), ("dac-96", 3)])
def test_layers_of_dac(name, n_groups):
    network = build_cluster_network(name, own_shape(name, 1), 10)
    widths = [1] + [64] * 3 + [128] * 3 + [256] * 3
    expected = [(widths[i], widths[i + 1], 3, 0) for i in range(3 * n_groups)]
    assert convolutions(network) == [*expected, (widths[3 * n_groups], 10, 1, 0)]
    assert dense_shapes(network) == [(10, 10), (10, 10)]
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            assert torch.equal(layer.weight, torch.eye(10))
    kinds = [type(layer) for layer in network.modules()]
    n_layers = 3 * n_groups + 3
    assert kinds.count(nn.ReLU) == kinds.count(nn.BatchNorm2d) + kinds.count(nn.BatchNorm1d) == n_layers
    assert kinds.count(nn.MaxPool2d) == n_groups
    assert (network(rand(0, 2, *own_shape(name, 1))) >= 0).all()


@pytest.mark.parametrize(
    ("name", "expected_convolutions", "expected_dense", "pool"),
    [
        ("dccm-32", [(3, 64, 3, 0), (64, 64, 3, 0), (64, 128, 3, 0), (128, 256, 3, 0)], [(64, 256), (10, 64)], 2),
        (
            "dccm-64",
            [(3, 64, 5, 0), (64, 64, 5, 0), (64, 128, 3, 0), (128, 128, 3, 0), (128, 256, 1, 0)],
            [(256, 256), (10, 256)],
            4,
        ),
        (
            "dccm-96",
            [(3, 64, 5, 0), (64, 64, 5, 0), (64, 128, 3, 0), (128, 128, 3, 0), (128, 256, 1, 0)],
            [(64, 256), (10, 64)],
            4,
        ),
    ],
)
def test_layers_of_dccm(name, expected_convolutions, expected_dense, pool):
    network = build_cluster_network(name, own_shape(name, 3), 10)
    assert convolutions(network) == expected_convolutions
    assert dense_shapes(network) == expected_dense
    pools = [layer.kernel_size for layer in network.modules() if isinstance(layer, nn.MaxPool2d)]
    assert pools == [pool, pool]
    image = rand(0, 1, *own_shape(name, 3))
    stages = network.eval().stages(image)
    assert network.features(image).shape == (1, 256)
    assert stages.embedding.shape == (1, expected_dense[0][0])


def test_number_of_parameters_of_dac_28():
    convolved = 9 * (64 + 64 * 64 * 2 + 64 * 128 + 128 * 128 * 2) + 128 * 10
    normalised = 2 * (3 * 64 + 3 * 128 + 3 * 10)
    network = build_cluster_network("dac-28", (1, 28, 28), 10)
    assert sum(p.numel() for p in network.parameters()) == convolved + 2 * 10 * 10 + normalised


def test_standardize_takes_the_mean_of_each_channel_and_one_deviation():
    network = build_cluster_network("conv", (2, 4, 4), 3)
    network.standardize.mean.copy_(torch.tensor([1.0, -2.0]))
    network.standardize.std.fill_(4.0)
    images = rand(0, 3, 2, 4, 4)
    expected = (images.numpy() - np.array([1.0, -2.0]).reshape(1, 2, 1, 1)) / 4
    np.testing.assert_allclose(network.standardize(images), expected, rtol=1e-6)


# ---- the user's module ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "shape", "n_features"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(48, 6)), (3, 4, 4), 6),
        (nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU()), (3, 6, 6), 5),
        (nn.Linear(4, 6), (4,), 6),
    ],
)
@pytest.mark.parametrize("embedding_dim", [None, 9])
def test_users_module_gets_a_head(module, shape, n_features, embedding_dim):
    network = build_cluster_network(module, shape, 3, embedding_dim=embedding_dim).eval()
    batch = rand(0, 2, *shape)
    stages = network.stages(batch)
    assert network.backbone is module
    assert network.features(batch).shape == (2, n_features)
    assert stages.embedding.shape == (2, embedding_dim or n_features)
    assert stages.logits.shape == (2, 3)
    torch.testing.assert_close(network.features(batch), module(batch).reshape(2, n_features, -1).mean(2))


def test_shallow_layer_may_be_named():
    module = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 4, 1), nn.Flatten())
    batch = rand(0, 2, 1, 3, 3)
    for name, n_channels in [(None, 2), ("0", 2), ("1", 4)]:
        network = build_cluster_network(module, (1, 3, 3), 3, shallow_layer=name)
        assert network.stages(batch).shallow.shape == (2, n_channels, 3, 3)


def test_the_shallow_map_is_what_its_layer_gave_even_where_the_next_works_in_place():
    in_place, out_of_place = (nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=inplace)) for inplace in (True, False))
    in_place.load_state_dict(out_of_place.state_dict())
    batch = rand(0, 5, 4) - 0.5
    found, expected = (
        build_cluster_network(module, (4,), 3, shallow_layer="0").eval().stages(batch).shallow
        for module in (in_place, out_of_place)
    )
    assert (expected < 0).any()
    assert torch.equal(found, expected)


class Halved(nn.Linear):
    def forward(self, batch):
        return super().forward(batch).bfloat16()


def test_users_module_must_give_float32():
    needed = r"network=Halved must map .* its output is torch.bfloat16, not torch.float32"
    with pytest.raises(ValueError, match=needed):
        build_cluster_network(Halved(4, 6), (4,), 3)
    with pytest.raises(ValueError, match=r"encoder=Halved .* its output is torch.bfloat16"):
        DCSSNetwork(Halved(4, 6), None, sample_shape=(4,), n_clusters=3, fuzzifier=1.5)


def test_building_leaves_mode_and_statistics_of_the_users_module_alone():
    module = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6)).train()
    build_cluster_network(module, (4,), 3)
    assert module.training
    assert torch.equal(module[1].running_mean, torch.zeros(6))


def test_hook_of_the_shallow_layer_is_removed():
    network = build_cluster_network("mlp", (4,), 3).eval()
    network.stages(rand(0, 2, 4))
    assert not any(layer._forward_hooks for layer in network.modules())


def test_gradient_reaches_every_parameter_through_stages():
    network = build_cluster_network("conv", (1, 8, 8), 3, embedding_dim=5)
    stages = network.stages(rand(0, 4, 1, 8, 8))
    (stages.logits.square().sum() + stages.shallow.sum()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


class Map3d(nn.Module):
    def forward(self, batch):
        return batch[..., None]


@pytest.mark.parametrize(
    ("network", "shape", "error", "message"),
    [
        ("resnet", (1, 8, 8), ValueError, r"network='resnet' must be an nn.Module, 'auto' or one of \['conv'"),
        (3, (1, 8, 8), TypeError, r"network=3 must be a string or an nn.Module"),
        (None, (8,), TypeError, r"network=None must be a string or an nn.Module"),
        ("conv", (8,), ValueError, r"network='conv' takes images, but samples have shape \(8,\); see image_shape"),
        ("mlp", (1, 8, 8), ValueError, r"network='mlp' takes feature vectors, but samples have shape \(1, 8, 8\)"),
        ("dac-28", (1, 32, 32), ValueError, r"network='dac-28' takes images of 28x28 pixels, got 32x32"),
        ("dccm-32", (3, 32, 28), ValueError, r"takes images of 32x32 pixels, got 32x28; network='conv' takes any"),
        (nn.Linear(5, 2), (4,), ValueError, r"network=Linear must map a batch of shape \(n, 4\).*it raised"),
        (Map3d(), (1, 4, 4), ValueError, r"network=Map3d gives samples of shape \(1, 4, 4, 1\)"),
    ],
)
def test_bad_networks_raise(network, shape, error, message):
    with pytest.raises(error, match=message):
        build_cluster_network(network, shape, 3)


def test_unknown_shallow_layer_raises():
    with pytest.raises(ValueError, match=r"shallow_layer='conv9' must name a submodule"):
        build_cluster_network(nn.Sequential(nn.Linear(4, 2)), (4,), 3, shallow_layer="conv9")


def test_bare_cluster_network_takes_its_first_child_or_itself_as_shallow():
    network = ClusterNetwork(nn.Linear(4, 8), nn.Identity(), nn.Linear(8, 3), n_channels=4)
    assert network.stages(torch.zeros(2, 4)).shallow.shape == (2, 8)


# ---- discriminator --------------------------------------------------------------------------------------------------


@given(seed=seeds, n=st.integers(1, 3), c=st.integers(1, 3), d=st.integers(1, 3))
def test_factorised_discriminator_is_the_concatenated_one(seed, n, c, d):
    generator = torch.Generator().manual_seed(seed)
    discriminator = LocalDiscriminator(c, d, hidden_dim=4).double()
    with torch.no_grad():
        for parameter in discriminator.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    shallow = torch.randn(n, c, 3, 2, generator=generator, dtype=torch.float64)
    deep = torch.randn(n, d, generator=generator, dtype=torch.float64)
    pairs = torch.randint(n, (5, 2), generator=generator)
    shallow_projected, deep_projected = discriminator.project(shallow, deep)
    scores = discriminator(deep_projected[pairs[:, 0]], shallow_projected[pairs[:, 1]])
    first = torch.cat([discriminator.shallow_projection.weight, discriminator.deep_projection.weight], dim=1)
    weights = [w.detach().numpy() for w in (first, discriminator.hidden.weight, discriminator.score.weight)]
    expected = reference.discriminator_scores(weights, pairs.tolist(), shallow.numpy(), deep.numpy(), range(6))
    np.testing.assert_allclose(scores.detach(), expected, rtol=1e-11, atol=1e-12)


def test_a_convolution_without_gradient_is_one_with_the_norm_in_its_weights():
    block = conv(2, 3, padding=1).double().eval()
    move_running_statistics(block)
    batch = rand(0, 4, 2, 5, 5, dtype=torch.float64)
    expected = block(batch)
    norm = mock.Mock(side_effect=AssertionError("batch norm ran"))
    with torch.no_grad(), mock.patch.object(nn.BatchNorm2d, "forward", norm):
        torch.testing.assert_close(block(batch), expected.detach())
        with pytest.raises(AssertionError, match="batch norm ran"):
            block.train()(batch)


@pytest.mark.parametrize("training", [True, False])
def test_whoever_looks_between_sees_the_norm_before_relu(training):
    block = conv(2, 3, padding=1).train(training)
    batch = rand(0, 4, 2, 5, 5)
    seen = []
    handle = block[1].register_forward_hook(lambda module, args, output: seen.append(output))
    with torch.set_grad_enabled(training):
        watched = block(batch)
        handle.remove()
        torch.testing.assert_close(block(batch), watched)
    assert (seen[0] < 0).any()
    assert torch.equal(seen[0].relu(), watched)


def test_autocast_keeps_no_copy_of_the_weights_of_every_batch():
    """It keeps one of each that needs a gradient until it ends, which is after all batches."""
    block = conv(2, 3).eval()
    with torch.no_grad(), mock.patch.object(F, "conv2d", wraps=F.conv2d) as convolve:
        block(rand(0, 1, 2, 5, 5))
    _, weight, bias, *_ = convolve.call_args.args
    assert not weight.requires_grad
    assert not bias.requires_grad


def test_a_shallow_vector_is_a_map_of_one_position():
    discriminator = LocalDiscriminator(3, 2, hidden_dim=4)
    vector, deep = rand(0, 5, 3), rand(1, 5, 2)
    as_vector = discriminator(*discriminator.project(vector, deep)[::-1])
    as_map = discriminator(*discriminator.project(vector[:, :, None, None], deep)[::-1])
    assert as_vector.shape == (5, 1)
    assert torch.equal(as_vector, as_map)


def test_discriminator_has_three_layers_of_512_without_bias():
    shapes = {name: tuple(p.shape) for name, p in LocalDiscriminator(64, 10).named_parameters()}
    assert shapes == {
        "shallow_projection.weight": (512, 64),
        "deep_projection.weight": (512, 10),
        "hidden.weight": (512, 512),
        "score.weight": (1, 512),
    }


# ---- autoencoders and MNet ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (1, 28, 28), (3, 9, 14), (2, 1, 1), (5, 4, 3)])
@pytest.mark.parametrize("name", sorted(AUTOENCODERS))
def test_every_autoencoder_gives_back_the_shape_of_images(name, shape):
    autoencoder = build_autoencoder(name, shape, latent_dim=6).eval()
    batch = rand(0, 2, *shape)
    assert autoencoder.encoder(batch).shape == (2, 6)
    assert autoencoder(batch).shape == batch.shape


@pytest.mark.parametrize("name", [name for name, entry in AUTOENCODERS.items() if entry.ndim is None])
@pytest.mark.parametrize("n_features", [1, 3, 70])
def test_fully_connected_autoencoders_take_vectors(name, n_features):
    batch = rand(0, 2, n_features)
    assert build_autoencoder(name, (n_features,), latent_dim=4)(batch).shape == batch.shape


@pytest.mark.parametrize(
    ("shape", "name"),
    [((1, 8, 8), "autoencoder-conv"), ((64,), "autoencoder-fc"), ((63,), "autoencoder-fc-small")],
)
def test_auto_autoencoder(shape, name):
    chosen, named = (str(build_autoencoder(network, shape, 4)) for network in ("auto", name))
    assert chosen == named


def test_fully_connected_autoencoder_is_the_custom_of_dec():
    autoencoder = build_autoencoder("autoencoder-fc", (784,), latent_dim=10)
    widths = [784, 500, 500, 2000, 10]
    encoder = [(n_out, n_in) for n_in, n_out in itertools.pairwise(widths)]
    assert dense_shapes(autoencoder.encoder) == encoder
    assert dense_shapes(autoencoder.decoder) == [shape[::-1] for shape in encoder[::-1]]
    assert isinstance(autoencoder.encoder[-1], nn.Linear)  # no ReLU on the latent vector


def test_convolutional_autoencoder_shares_its_encoder_with_the_other_methods():
    encoder = build_autoencoder("autoencoder-conv", (1, 28, 28), latent_dim=10).encoder
    backbone = build_cluster_network("conv", (1, 28, 28), n_clusters=10).backbone
    assert str(encoder[:-2]) == str(backbone)
    assert dense_shapes(encoder[-2:]) == [(10, 128)]


def test_convolutional_autoencoder_has_latent_vectors_of_unit_length():
    encoder = build_autoencoder("autoencoder-conv", (1, 28, 28), latent_dim=10).encoder
    torch.testing.assert_close(encoder(rand(0, 5, 1, 28, 28)).norm(dim=1), torch.ones(5))


@pytest.mark.parametrize("name", ["autoencoder-conv", "autoencoder-residual"])
@pytest.mark.parametrize("shape", [(9, 7), (16, 8), (8, 16), (12, 3), (8, 8), (2, 5)])
def test_no_map_of_an_autoencoder_is_a_single_row_or_column(name, shape):
    autoencoder = build_autoencoder(name, (1, *shape), latent_dim=4)
    sides = []
    for layer in autoencoder.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda _, inputs, output: sides.extend([inputs[0].shape[2:], output.shape[2:]]))
    images = torch.zeros(2, 1, *shape)
    assert autoencoder.decoder(autoencoder.encoder(images)).shape == images.shape
    assert all(min(side) > 1 or max(side) == 1 for side in sides)


def test_residual_autoencoder_has_stages_of_32_64_and_128_channels():
    autoencoder = build_autoencoder("autoencoder-residual", (1, 28, 28), latent_dim=10)
    strided = [c.out_channels for c in autoencoder.encoder.modules() if isinstance(c, nn.Conv2d) and c.stride == (2, 2)]
    assert strided == [32, 64, 128]
    assert autoencoder.encoder[-1].in_features == 128 * 4 * 4


@pytest.mark.parametrize("name", sorted(AUTOENCODERS))
def test_eval_reconstruction_of_a_row_does_not_depend_on_the_batch(name):
    autoencoder = build_autoencoder(name, (1, 8, 8), latent_dim=4).double().eval()
    move_running_statistics(autoencoder)
    batch = rand(0, 3, 1, 8, 8, dtype=torch.float64)
    alone = torch.cat([autoencoder(row) for row in batch.split(1)])
    torch.testing.assert_close(autoencoder(batch), alone, rtol=1e-10, atol=1e-10)


def test_users_autoencoder_is_taken_apart_and_kept():
    class Mine(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = nn.Linear(4, 2), nn.Linear(2, 4)

    mine = Mine()
    autoencoder = build_autoencoder(mine, (4,), latent_dim=99)
    assert autoencoder.encoder is mine.encoder
    assert autoencoder.decoder is mine.decoder


@pytest.mark.parametrize(
    ("network", "shape", "error", "message"),
    [
        ("vae", (4,), ValueError, r"network='vae' must be an nn.Module, 'auto' or one of \['autoencoder-conv'"),
        (1.5, (4,), TypeError, r"network=1.5 must be a string or an nn.Module"),
        ("autoencoder-conv", (4,), ValueError, r"takes images, but samples have shape \(4,\); see image_shape"),
        (nn.Linear(4, 2), (4,), TypeError, r"network=Linear must have the submodules 'encoder' and 'decoder'"),
        (Autoencoder(nn.Linear(4, 2), nn.Linear(2, 5)), (4,), ValueError, r"must encode samples of shape \(4,\)"),
        (Autoencoder(nn.Identity(), nn.Identity()), (1, 2, 2), ValueError, r"it encodes to \(1, 2, 2\)"),
    ],
)
def test_bad_autoencoders_raise(network, shape, error, message):
    with pytest.raises(error, match=message):
        build_autoencoder(network, shape, latent_dim=2)


def test_mnet_is_128_128_with_batch_norm_and_relu():
    mnet = build_mnet(10, 7)
    assert dense_shapes(mnet) == [(128, 10), (128, 128), (7, 128)]
    kinds = [type(layer) for layer in mnet.modules()]
    assert kinds.count(nn.BatchNorm1d) == kinds.count(nn.ReLU) == 2


def test_mnet_may_norm_its_logits():
    mnet = build_mnet(10, 7, logit_scale=1.5)
    assert dense_shapes(mnet) == [(128, 10), (128, 128), (7, 128)]
    logits = mnet(rand(0, 50, 10))
    np.testing.assert_allclose(logits.std(0, correction=0).detach().numpy(), np.full(7, 1.5), rtol=1e-2)


def dcss_network(n_clusters=3):
    autoencoder = build_autoencoder("autoencoder-fc-small", (4,), latent_dim=2)
    network = DCSSNetwork(
        autoencoder.encoder, autoencoder.decoder, sample_shape=(4,), n_clusters=n_clusters, fuzzifier=1.5
    )
    network.centers.copy_(rand(0, n_clusters, 2))
    return network.eval()


def test_dcss_network_gives_probabilities_of_mnet_or_memberships():
    network, batch = dcss_network(), rand(1, 5, 4)
    latent = network.encode(batch)
    torch.testing.assert_close(network(batch), network.mnet(latent).softmax(1))
    network.uses_mnet = False
    assert torch.equal(network(batch), fuzzy_memberships(latent, network.centers, 1.5))


@pytest.mark.parametrize("uses_mnet", [True, False])
def test_dcss_probabilities_sum_to_one_even_on_the_centres(uses_mnet):
    network, batch = dcss_network(), rand(1, 3, 4)
    network.uses_mnet = uses_mnet
    network.centers.copy_(network.encode(batch).detach())
    proba = network(batch)
    torch.testing.assert_close(proba.sum(1), torch.ones(3))
    if not uses_mnet:
        torch.testing.assert_close(proba, torch.eye(3), rtol=0, atol=1e-6)


def test_memberships_use_the_papers_equation():
    network, batch = dcss_network(), rand(1, 5, 4)
    latent = network.encode(batch).detach()
    expected = reference.fuzzy_memberships(latent.double().numpy(), network.centers.double().numpy(), 1.5)
    np.testing.assert_allclose(network.memberships(latent), expected, atol=1e-5)


def test_width_of_centres_and_mnet_is_the_encoders():
    network = DCSSNetwork(nn.Linear(4, 6), None, sample_shape=(4,), n_clusters=3, fuzzifier=1.5)
    assert network.centers.shape == (3, 6)
    assert dense_shapes(network.mnet)[0] == (128, 6)
    assert network.standardize.mean.shape == (4,)


def test_encoder_to_maps_raises():
    needed = r"encoder=Conv2d must give a vector for a sample of shape \(1, 4, 4\); it gives shape \(2, 4, 4\)"
    with pytest.raises(ValueError, match=needed):
        DCSSNetwork(nn.Conv2d(1, 2, 1), None, sample_shape=(1, 4, 4), n_clusters=3, fuzzifier=1.5)
