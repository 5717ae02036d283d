"""The schedules: curricula, blocks, phases, and that every variant and every network trains on its own input."""

import copy
import gc
import warnings
import weakref
from dataclasses import replace

import numpy as np
import pytest
import reference
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose
from reference import curriculum
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import euclidean_distances
from threadpoolctl import threadpool_info
from torch import nn
from torch.testing import assert_close

from deepcluster_sk import DACClustering, DCCMClustering, DCSSClustering, _start
from deepcluster_sk._data import ArraySamples, shuffled_batches
from deepcluster_sk._engine import Runtime, by_batch_statistics, infer, inference_batches, judge, make_scheduler
from deepcluster_sk._monitor import LabelTracker, Monitor, _copied
from deepcluster_sk._scaling import Scaling
from deepcluster_sk._start import (
    best_separated,
    default_epochs,
    draw_neighbors,
    kmeans_centers,
    mutual_share,
    nearest_centers,
    nearest_neighbors,
    neighbors_to_draw,
)
from deepcluster_sk._train_dac import (
    adaptive_thresholds,
    annealed_threshold,
    curriculum_after,
    label_block,
)
from deepcluster_sk._train_dac import block_step as dac_block_step
from deepcluster_sk._train_dccm import Block as DCCMBlock
from deepcluster_sk._train_dccm import block_step, correlation_loss, resolve_positions, triplet_loss
from deepcluster_sk._train_dccm import label_block as label_dccm_block
from deepcluster_sk._train_dcss import cluster_step, train_mnet, train_on_clusters, update_centers
from deepcluster_sk.augment import resolve_augmentation
from deepcluster_sk.losses import consistency_loss, pair_cross_entropy
from deepcluster_sk.metrics import clustering_accuracy_score
from deepcluster_sk.networks import (
    AUTOENCODERS,
    NETWORKS,
    DCSSNetwork,
    LocalDiscriminator,
    build_autoencoder,
    build_cluster_network,
)
from deepcluster_sk.pairs import cosine_similarity_matrix, label_features

# A few epochs on a few samples train every part; what they find is the benchmarks' business.
pytestmark = pytest.mark.filterwarnings("ignore::deepcluster_sk.exceptions.CollapseWarning")


@pytest.fixture(scope="module")
def X():
    return load_digits(n_class=3).images[:60]


@pytest.fixture
def runtime():
    generator = torch.Generator().manual_seed(0)
    return Runtime(torch.device("cpu"), "float32", lambda batch, generator: batch, generator, batch_size=20)


def samples_of(array):
    return ArraySamples(array, Scaling.of(array))


def upscaled(images, side, channels):
    enlarged = nn.functional.interpolate(torch.as_tensor(images)[:, None], size=(side, side)).numpy()
    return np.repeat(enlarged, channels, axis=1)


# ---- DAC ------------------------------------------------------------------------------------------------------------


def test_papers_curriculum_is_the_reference_and_ends_after_46_epochs():
    stages = [adaptive_thresholds(curriculum_after(epoch, rate=0.009)) for epoch in range(100)]
    thresholds = [(upper, lower) for upper, lower in stages if lower <= upper]
    assert len(thresholds) == 46
    assert_allclose(thresholds, curriculum(), atol=1e-12)


def test_dac_follows_the_curriculum_and_stops_when_the_thresholds_cross(X):
    dac = DACClustering(
        n_clusters=3, max_epochs=60, warmup_epochs=0, curriculum_rate=0.009, block_size=60, random_state=0
    ).fit(X)
    assert dac.n_iter_ == 46
    assert dac.converged_
    seen = [(record["upper_threshold"], record["lower_threshold"]) for record in dac.history_]
    assert_allclose(seen, curriculum(), atol=1e-12)
    assert all("seconds" in record for record in dac.history_)


def test_dac_default_curriculum_ends_with_the_last_epoch(X):
    dac = DACClustering(n_clusters=3, max_epochs=7, random_state=0).fit(X)
    assert [record["phase"] for record in dac.history_].count("DAC") == 7
    assert dac.converged_
    assert dac.history_[-1]["upper_threshold"] > dac.history_[-1]["lower_threshold"]


def test_dac_star_leaves_no_pair_out_and_falls_from_95_to_50(X):
    dac = DACClustering(n_clusters=3, pair_selection="all", max_epochs=5, random_state=0).fit(X)
    records = [record for record in dac.history_ if record["phase"] == "DAC"]
    assert_allclose([record["upper_threshold"] for record in records], [0.95, 0.8375, 0.725, 0.6125, 0.5])
    assert all(record["upper_threshold"] == record["lower_threshold"] for record in records)
    assert all(record["selected_share"] == 1 for record in records)
    assert annealed_threshold(0.5) == pytest.approx(0.725)


def test_pair_labels_come_from_the_block_as_it_is_and_the_loss_from_its_transforms(X, runtime):
    samples = samples_of(X[:, None])
    network = build_cluster_network("auto", (1, 8, 8), 3)
    calls = []

    def augment(batch, generator):
        calls.append(len(batch))
        return batch + 1

    runtime = Runtime(runtime.device, "float32", augment, runtime.generator, batch_size=20)
    block = label_block(network, samples, torch.arange(60), upper=0.9, lower=0.5, runtime=runtime)
    assert calls == []
    assert block.features.grad_fn is None
    step = dac_block_step(
        network, samples, block, pair_loss=pair_cross_entropy, consistency_weight=0.0, runtime=runtime
    )
    step(torch.arange(20)).backward()
    assert calls == [20]


def test_samples_are_judged_by_the_statistics_of_their_batch(X, runtime):
    samples = samples_of(X[:, None])
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 3))
    network[1].running_mean.fill_(50.0)  # as of transforms that training saw
    before = copy.deepcopy(network[1].state_dict())
    output = judge(network, samples, runtime, torch.arange(40))
    for part in torch.arange(40).split(20):
        maps = network[0](samples.batch(part))
        mean, variance = maps.mean((0, 2, 3), keepdim=True), maps.var((0, 2, 3), unbiased=False, keepdim=True)
        expected = network[4](((maps - mean) / (variance + 1e-5).sqrt()).flatten(1))
        assert_allclose(output[part].numpy(), expected.detach().numpy(), atol=1e-4)
    assert output.grad_fn is None
    assert torch.equal(network[1].running_mean, before["running_mean"])
    assert torch.equal(network[1].running_var, before["running_var"])
    assert network[1].momentum == 0.1
    assert all(layer.training for layer in network)


@pytest.mark.parametrize("name", [*NETWORKS, "autoencoder-conv"])
def test_dense_layers_are_judged_by_the_statistics_of_their_batch_convolutions_by_those_kept(name, runtime):
    side = int(name.split("-")[1]) if name[-1].isdigit() else 8
    shape = (64,) if name == "mlp" else (1, side, side)
    torch.manual_seed(0)
    if name == "autoencoder-conv":
        network = build_autoencoder(name, sample_shape=shape, latent_dim=4).encoder
    else:
        network = build_cluster_network(name, sample_shape=shape, n_clusters=3)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.running_mean.fill_(5.0)  # as of transforms that training saw
    samples = samples_of(np.random.default_rng(0).random((20, *shape)))
    output = judge(network, samples, runtime, torch.arange(20))
    twin = copy.deepcopy(network).eval()
    for layer in twin.modules():
        if isinstance(layer, nn.BatchNorm1d):
            layer.train()
    expected = twin(samples.batch(torch.arange(20))).detach()
    assert_allclose(output.numpy(), expected.numpy(), rtol=1e-3, atol=1e-4)


def test_k_means_sees_the_statistics_of_samples_as_they_are(X, monkeypatch):
    seen = []

    def noted(network, embed, samples, n_clusters, runtime):
        outputs = infer(network, lambda batch: (embed(batch),), samples, runtime)[0]
        with by_batch_statistics(network):
            seen.append((outputs, embed(samples.batch(torch.arange(len(samples))))))
        return kmeans_centers(network, embed, samples, n_clusters, runtime)

    monkeypatch.setattr("deepcluster_sk._start.kmeans_centers", noted)
    DACClustering(4, augment=lambda batch: 1 - batch, max_epochs=1, precision="float32", random_state=0).fit(X)
    ((outputs, expected),) = seen
    assert (outputs * expected).sum(1).min() > 0.95  # cosine


def unequal_groups():
    """900 points of variance 1, and far away two groups of 30 points with 6 between them."""
    generator = np.random.default_rng(0)
    wide = generator.normal(size=(900, 2))
    narrow = [generator.normal((x, 12), 0.1, (30, 2)) for x in (-3.1, 3.1)]
    return np.concatenate([wide, *narrow]).astype(np.float32), np.repeat([0, 1, 2], [900, 30, 30])


@pytest.mark.parametrize(("n_threads", "expected"), [(1, 1), (2, 2), (4, 2)])
def test_first_clusters_are_by_two_threads_at_most(n_threads, expected, monkeypatch):
    """Three and more would add their sums in the order they come, and a fit would not be reproducible."""
    seen = set()

    class Noting(KMeans):
        def fit(self, X):
            seen.update(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "openmp")
            return super().fit(X)

    monkeypatch.setattr(_start, "KMeans", Noting)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(n_threads)
        best_separated(np.random.default_rng(0).normal(size=(300, 20)).astype(np.float32), 10, seed=0)
    finally:
        torch.set_num_threads(before)
    assert seen == {expected}


def test_first_clusters_do_not_divide_a_large_group_to_join_two_small_ones():
    points, y = unequal_groups()
    by_sum_of_squares = KMeans(3, n_init=50, random_state=0).fit(points)
    means = np.stack([points[y == label].mean(0) for label in range(3)])
    assert 1 < np.square(points - means[y]).sum() / by_sum_of_squares.inertia_ < 1.03
    assert clustering_accuracy_score(y, by_sum_of_squares.labels_) < 0.6
    centers = best_separated(points, 3, seed=0)
    assert clustering_accuracy_score(y, euclidean_distances(points, centers).argmin(1)) > 0.95


@pytest.mark.parametrize(("n_clusters", "n_warnings"), [(1, 0), (3, 0), (4, 1)])
def test_first_clusters_where_there_is_nothing_to_choose(n_clusters, n_warnings):
    points = np.eye(3, 5, dtype=np.float32).repeat(4, axis=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        centers = best_separated(points, n_clusters, seed=0)
    assert centers.shape == (n_clusters, 5)
    assert len(caught) == n_warnings  # of scikit-learn, on fewer points than clusters
    if n_clusters > 1:
        assert_allclose(euclidean_distances(points, centers).min(1), 0, atol=1e-6)


def test_centres_of_dcss_do_not_depend_on_statistics_of_transforms(X, runtime):
    samples = samples_of(X)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))
    network = DCSSNetwork(encoder, None, sample_shape=(8, 8), n_clusters=3, fuzzifier=1.5)
    network.centers.copy_(torch.randn(3, 4, generator=runtime.generator))
    twin = copy.deepcopy(network)
    encoder[2].running_mean.fill_(50.0)
    for each in (network, twin):
        runtime.generator.manual_seed(1)
        update_centers(each, samples, runtime)
    assert torch.equal(network.centers, twin.centers)


def test_consistency_term_draws_transforms_to_the_samples_own_features(X, runtime):
    samples = samples_of(X[:, None])
    network = build_cluster_network("auto", (1, 8, 8), 3)
    mirrored = Runtime(
        runtime.device, "float32", lambda batch, generator: batch.flip(3), runtime.generator, batch_size=20
    )
    block = label_block(network, samples, torch.arange(60), upper=0.9, lower=0.5, runtime=mirrored)
    network.eval()
    rows = torch.arange(10, 30)
    plain, weighted = [
        dac_block_step(
            network, samples, block, pair_loss=pair_cross_entropy, consistency_weight=weight, runtime=mirrored
        )(rows).item()
        for weight in (0.0, 10.0)
    ]
    images = runtime.load(samples, rows)
    expected = consistency_loss(label_features(network(images.flip(3))), block.features[rows])
    assert weighted - plain == pytest.approx(10 * expected.item(), rel=1e-4)


@pytest.mark.parametrize(
    "variant", [{"pair_loss": "squared_error"}, {"consistency_weight": 10.0}, {"passes_per_block": 3}]
)
def test_dac_variants_train(X, variant):
    plain = DACClustering(n_clusters=3, max_epochs=3, random_state=0).fit(X)
    varied = DACClustering(n_clusters=3, max_epochs=3, random_state=0, **variant).fit(X)
    assert np.isfinite(varied.history_[-1]["loss"])
    assert varied.history_[-1]["loss"] != plain.history_[-1]["loss"]


def test_label_is_the_largest_element_of_the_label_feature(X):
    dac = DACClustering(n_clusters=3, max_epochs=5, random_state=0).fit(X)
    for row, label in zip(dac.transform(X), dac.labels_, strict=True):
        assert max(range(3), key=lambda h: row[h]) == label


# ---- DCCM -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "variant",
    [
        {"local_robustness": False, "label_weight": 0, "mi_weight": 0},  # M1
        {"label_weight": 0, "mi_weight": 0},  # M2
        {"mi_weight": 0},  # M3
        {"mi_positions": None},  # M4 at all positions
        {"mi_positions": 0.25},
        {"pair_sampling": "nearest-farthest"},  # V2
        {"pair_sampling": "random-random"},  # V3
        {"pair_sampling": "top-random"},  # V4
    ],
)
def test_dccm_variants_train(X, variant):
    plain = DCCMClustering(n_clusters=3, max_epochs=3, random_state=0).fit(X)
    varied = DCCMClustering(n_clusters=3, max_epochs=3, random_state=0, **variant).fit(X)
    assert np.isfinite(varied.history_[-1]["loss"])
    assert varied.history_[-1]["loss"] != plain.history_[-1]["loss"]


def test_m1_adds_only_the_graph_loss_of_the_originals(X, runtime):
    samples = samples_of(X[:, None])
    network = build_cluster_network("auto", (1, 8, 8), 3, embedding_dim=64)
    rows = torch.arange(10, 30)
    block = label_dccm_block(network, samples, rows, graph_threshold=0.95, label_threshold=0.9, runtime=runtime)
    logits = judge(network, samples, runtime, rows)
    loss = correlation_loss(logits, block, torch.arange(20), label_weight=0.0)
    expected = pair_cross_entropy(block.similarity, block.graph, ~block.graph)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("mi_weight", [0.0, 0.1])
@pytest.mark.parametrize("local_robustness", [False, True])
def test_total_loss_is_both_views_and_the_weighted_mutual_information(X, runtime, local_robustness, mi_weight):
    samples = samples_of(X[:, None])
    network = build_cluster_network("auto", (1, 8, 8), 3, embedding_dim=64)
    discriminator = LocalDiscriminator(32, 64)
    thresholds = {"graph_threshold": 0.95, "label_threshold": 0.0}
    block = label_dccm_block(network, samples, torch.arange(60), **thresholds, runtime=runtime)
    assert block.confident.any()
    rows = torch.arange(10, 30)
    flipped = Runtime(
        runtime.device, "float32", lambda batch, generator: batch.flip(3), runtime.generator, batch_size=20
    )
    choices = {"n_positions": 4, "pair_sampling": "nearest-random", "runtime": flipped}
    step = block_step(
        network,
        discriminator,
        samples,
        block,
        label_weight=5.0,
        local_robustness=local_robustness,
        mi_weight=mi_weight,
        **choices,
    )
    network.eval()
    runtime.generator.manual_seed(1)
    total = step(rows)
    runtime.generator.manual_seed(1)
    images = runtime.load(samples, rows)
    shallow, embedding, logits = network.stages(images)
    expected = correlation_loss(logits, block, rows, label_weight=5.0)
    if local_robustness:  # graph and labels of the originals, on their mirror images
        expected = expected + correlation_loss(network(images.flip(3)), block, rows, label_weight=5.0)
    expected = expected + mi_weight * triplet_loss(discriminator, shallow, embedding, block, rows, **choices)
    assert total.item() == pytest.approx(expected.item(), rel=1e-4)


def test_triplet_information_leaves_out_partners_that_do_not_exist(X, runtime):
    """Sample 2 has no edge, so its pairs are with itself and with one it has no edge to; in loops."""
    torch.manual_seed(0)
    graph = torch.tensor([[True, True, False], [True, True, False], [False, False, True]])
    similarity = torch.tensor([[1.0, 0.9, 0.1], [0.9, 1.0, 0.2], [0.1, 0.2, 1.0]])
    block = DCCMBlock(torch.arange(3), similarity, graph, torch.zeros(3, dtype=torch.int64), torch.ones(3).bool())
    discriminator, shallow, deep = LocalDiscriminator(4, 5, hidden_dim=6), torch.randn(3, 4, 2, 2), torch.randn(3, 5)
    loss = triplet_loss(
        discriminator,
        shallow,
        deep,
        block,
        torch.arange(3),
        pair_sampling="nearest-farthest",
        n_positions=None,
        runtime=runtime,
    )
    first = torch.cat([discriminator.shallow_projection.weight, discriminator.deep_projection.weight], dim=1)
    weights = [w.detach().numpy() for w in (first, discriminator.hidden.weight, discriminator.score.weight)]
    joint, marginal = [(0, 0), (1, 1), (2, 2), (0, 1), (1, 0)], [(0, 2), (1, 2), (2, 0)]
    scores = [
        reference.discriminator_scores(weights, pairs, shallow.numpy(), deep.numpy(), range(4)).tolist()
        for pairs in (joint, marginal)
    ]
    assert loss.item() == pytest.approx(reference.mutual_information_loss(*scores), rel=1e-4)


@pytest.fixture
def triplet_inputs():
    """Discriminator, shallow maps of 5x5 positions, deep vectors, block and rows of ten samples with some edges."""
    torch.manual_seed(0)
    similarity = cosine_similarity_matrix(torch.rand(10, 3))
    labels, confident = torch.zeros(10, dtype=torch.int64), torch.ones(10).bool()
    block = DCCMBlock(torch.arange(10), similarity, similarity > 0.8, labels, confident)
    shallow, deep = torch.randn(10, 4, 5, 5, requires_grad=True), torch.randn(10, 6, requires_grad=True)
    return LocalDiscriminator(4, 6, hidden_dim=8), shallow, deep, block, torch.arange(10)


@pytest.mark.parametrize("frozen", [(), ("shallow",), ("deep",), ("discriminator",)])
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bfloat16", 3e-2)])
@pytest.mark.parametrize("device", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
def test_information_scored_part_by_part_has_the_same_value_and_gradients(
    triplet_inputs, monkeypatch, frozen, precision, tolerance, device
):
    generator = torch.Generator().manual_seed(0)
    runtime = Runtime(torch.device(device), precision, lambda batch, generator: batch, generator, batch_size=20)
    discriminator, shallow, deep, block, rows = triplet_inputs
    discriminator, block = runtime.place(discriminator), DCCMBlock(*(part.to(device) for part in block))
    discriminator.requires_grad_("discriminator" not in frozen)
    shallow.requires_grad_("shallow" not in frozen)
    deep.requires_grad_("deep" not in frozen)
    leaves = [leaf for leaf in (shallow, deep, *discriminator.parameters()) if leaf.requires_grad]

    def loss_and_gradients():
        maps, vectors = shallow.to(device).tanh(), deep.to(device).tanh()
        options = {"pair_sampling": "nearest-farthest", "n_positions": None, "runtime": runtime}
        loss = 3 * triplet_loss(discriminator, maps, vectors, block, rows.to(device), **options)
        return [loss.detach(), *torch.autograd.grad(loss, leaves)]

    whole = loss_and_gradients()
    assert all(gradient.abs().max() > 0 for gradient in whole[1:])
    score_at_a_time(30 * 7, monkeypatch)  # 25 positions: 7, 7, 7 and 4
    for ours, expected in zip(loss_and_gradients(), whole, strict=True):
        assert (ours - expected).norm() <= tolerance * expected.norm()


def score_at_a_time(n_scores, monkeypatch):
    for limit in ("_SCORED_ON_CPU", "_SCORED_ELSEWHERE"):
        monkeypatch.setattr(f"deepcluster_sk._train_dccm.{limit}", n_scores)


@pytest.mark.parametrize("layer", ["conv1_1.0", "conv1_1.1"])
def test_dccm_takes_a_layer_within_a_block_as_the_shallow_one(layer, X):
    """Blocks compute their layers as one where no gradient is needed, but not if one of them is asked for."""
    dccm = DCCMClustering(3, shallow_layer=layer, max_epochs=1, random_state=0).fit(X)
    with torch.no_grad():
        stages = dccm.module_.eval().stages(torch.rand(2, 1, 8, 8))
    assert stages.shallow.shape == (2, 32, 8, 8)
    assert stages.shallow.min() < 0  # before the ReLU


def test_dccm_trains_behind_a_shallow_layer_without_parameters(X, monkeypatch):
    """Nothing before the shallow map is trained, so it needs no gradient."""
    score_at_a_time(60, monkeypatch)
    network = nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(1, 4, 3), nn.ReLU())
    dccm = DCCMClustering(3, network=network, max_epochs=1, mi_positions=None, random_state=0).fit(X)
    assert len(dccm.labels_) == 60


@torch.no_grad()
def test_only_a_few_positions_are_scored_at_a_time(triplet_inputs, runtime, monkeypatch):
    discriminator, *inputs = triplet_inputs
    n_scores = []
    score = discriminator.forward
    monkeypatch.setattr(discriminator, "forward", lambda *args: n_scores.append(score(*args).numel()) or score(*args))
    score_at_a_time(100, monkeypatch)
    triplet_loss(discriminator, *inputs, pair_sampling="nearest-random", n_positions=None, runtime=runtime)
    assert sum(n_scores) == 30 * 25
    assert max(n_scores) <= 100


@torch.no_grad()
def test_random_positions_are_unbiased(triplet_inputs, runtime):
    """Pairs are fixed by their rule, so only the positions are drawn."""
    options = {"pair_sampling": "nearest-farthest", "runtime": runtime}
    whole = triplet_loss(*triplet_inputs, n_positions=None, **options).item()
    draws = np.array([triplet_loss(*triplet_inputs, n_positions=3, **options).item() for _ in range(400)])
    assert draws.std() > 0
    assert abs(draws.mean() - whole) < 4 * draws.std() / 400**0.5


@pytest.mark.parametrize(("given", "n"), [(None, None), (16, 16), (1000, 49), (0.5, 24), (0.001, 1), (1.0, 49)])
def test_positions_of_the_discriminator(given, n):
    assert resolve_positions(given, n_all=49) == n


# ---- DCSS -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "variant",
    [
        {"second_phase": False},  # DCSSu
        {"cluster_losses": "aggregated"},  # DCSS_agg
        {"contrastive_weight": 0.0, "mnet_start_epochs": 0},  # the paper's start
        {"membership_epochs": 1},
    ],
)
def test_dcss_variants_train(X, variant):
    plain = DCSSClustering(n_clusters=3, max_epochs=3, random_state=0).fit(X)
    varied = DCSSClustering(n_clusters=3, max_epochs=3, random_state=0, **variant).fit(X)
    losses = [[record["loss"] for record in estimator.history_] for estimator in (plain, varied)]
    assert np.isfinite(losses[1]).all()
    assert losses[0] != losses[1]


def test_dcss_phases_in_order(X):
    history = DCSSClustering(n_clusters=3, max_epochs=2, random_state=0).fit(X).history_
    assert list(dict.fromkeys(record["phase"] for record in history)) == [
        "pretraining",
        "phase 1",
        "label start",
        "phase 2",
    ]


def test_dcss_first_phase_alone_gives_the_memberships(X):
    dcss = DCSSClustering(n_clusters=3, second_phase=False, random_state=0).fit(X)
    proba = dcss.module_.memberships(torch.as_tensor(dcss.transform(X))).numpy()
    assert_allclose(np.sort(dcss.predict_proba(X)), np.sort(proba), atol=1e-5)


def test_dcss_on_a_trained_encoder_runs_phase_2_alone():
    digits = load_digits(n_class=3)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
    given = encoder(torch.as_tensor(digits.images, dtype=torch.float32)).detach().numpy()
    frozen = DCSSClustering(n_clusters=3, encoder=encoder, max_epochs=1, encoder_lr=0, random_state=0)
    assert_allclose(frozen.fit(digits.images).transform(digits.images), given, rtol=1e-4, atol=1e-4)
    before = encoder[1].weight.clone()
    dcss = DCSSClustering(n_clusters=3, encoder=encoder, second_phase_epochs=3, random_state=0).fit(digits.images)
    assert {record["phase"] for record in dcss.history_} == {"label start", "phase 2"}
    assert dcss.transform(digits.images).shape == (len(digits.images), 5)
    assert torch.equal(encoder[1].weight, before)


@pytest.mark.parametrize("cluster_losses", ["successive", "aggregated"])
def test_a_batch_of_phase_1_takes_k_steps(X, runtime, cluster_losses):
    samples = samples_of(X.reshape(60, -1))
    linear = nn.Linear(64, 2)
    network = DCSSNetwork(linear, nn.Linear(2, 64), sample_shape=(64,), n_clusters=3, fuzzifier=1.5)
    network.centers.copy_(torch.randn(3, 2, generator=runtime.generator))
    passes = []
    linear.register_forward_hook(lambda module, args, output: passes.append(torch.is_grad_enabled()))
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-6)
    step = cluster_step(network, samples, torch.arange(20), centering_weight=0.1, runtime=runtime)
    train_on_clusters(step, optimizer, 3, cluster_losses)
    assert passes == [False, True, True, True]  # one forward for the memberships, one a step


def test_a_batch_of_phase_1_is_the_papers_in_loops(X, runtime):
    """Memberships of the batch once, then for each cluster the gradient of Eq. (1a) at the present weights."""
    samples = samples_of(X[:5].reshape(5, -1))
    network = DCSSNetwork(nn.Linear(64, 2), nn.Linear(2, 64), sample_shape=(64,), n_clusters=3, fuzzifier=1.5)
    network.centers.copy_(torch.randn(3, 2, generator=runtime.generator))
    network.standardize.std.fill_(0.5)  # errors are of pixels, not of standardised ones
    plain = copy.deepcopy(network)
    optimizer = torch.optim.SGD(network.autoencoder_parameters(), lr=1e-3)
    step = cluster_step(network, samples, torch.arange(5), centering_weight=0.1, runtime=runtime)
    train_on_clusters(step, optimizer, 3, "successive")
    points = plain.standardize(samples.batch(torch.arange(5)))
    degrees = reference.fuzzy_memberships(plain.encoder(points).detach().numpy(), plain.centers.numpy(), 1.5)
    for k in range(3):
        plain.zero_grad()
        for point, degree in zip(points, degrees[:, k], strict=True):
            latent = plain.encoder(point)
            rebuilt, centred = plain.decoder(latent) - point, latent - plain.centers[k]
            (float(degree) ** 1.5 * (0.5**2 * rebuilt.square().sum() + 0.1 * centred.square().sum())).backward()
        for parameter in plain.autoencoder_parameters():
            parameter.data -= 1e-3 * parameter.grad
    for ours, theirs in zip(network.autoencoder_parameters(), plain.autoencoder_parameters(), strict=True):
        assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("membership_epochs", [0, 1])
def test_the_loss_of_phase_2_is_that_of_the_loop(X, runtime, membership_epochs):
    """Eq. (4) while memberships judge the pairs, Eq. (5) when MNet does."""
    samples = samples_of(X[:20].reshape(20, -1))
    network = DCSSNetwork(nn.Linear(64, 2), None, sample_shape=(64,), n_clusters=3, fuzzifier=1.5)
    network.centers.copy_(torch.randn(3, 2, generator=runtime.generator))
    network.mnet[-1].weight.data *= 8  # so that some pairs are sure
    twin = copy.deepcopy(network)
    with by_batch_statistics(twin):
        latent = twin.encode(samples.batch(torch.arange(20)))
        proba = twin.mnet(latent).softmax(1).tolist()
        judges = twin.memberships(latent).tolist() if membership_epochs else proba
    monitor = Monitor(lambda: None, lambda context: False)
    train_mnet(
        network,
        samples,
        n_epochs=1,
        membership_epochs=membership_epochs,
        similar_threshold=0.6,
        dissimilar_threshold=0.34,
        encoder_lr=1e-5,
        lr=1e-3,
        tol=0.0,
        runtime=runtime,
        monitor=monitor,
    )
    expected = reference.pairwise_loss(proba, judges, 0.6, 0.34)
    assert monitor.history[0]["loss"] == pytest.approx(expected, rel=1e-4)
    assert 0 < monitor.history[0]["selected_share"] < 1


def test_memberships_judge_pairs_in_the_first_epochs_of_phase_2_only(X, runtime, monkeypatch):
    samples = samples_of(X.reshape(60, -1))
    network = DCSSNetwork(nn.Linear(64, 2), None, sample_shape=(64,), n_clusters=3, fuzzifier=1.5)
    network.centers.copy_(torch.randn(3, 2, generator=runtime.generator))
    calls, memberships, by_epoch = [], network.memberships, []
    monkeypatch.setattr(network, "memberships", lambda latent: calls.append(1) or memberships(latent))
    monitor = Monitor(lambda: calls.clear(), lambda context: by_epoch.append(len(calls)))
    train_mnet(
        network,
        samples,
        n_epochs=4,
        membership_epochs=2,
        similar_threshold=0.8,
        dissimilar_threshold=0.2,
        encoder_lr=1e-5,
        lr=1e-3,
        tol=0.0,
        runtime=runtime,
        monitor=monitor,
    )
    assert by_epoch == [4, 4, 0, 0]  # three batches and the update of the centres; then MNet's own output


def test_centers_streamed_in_batches_are_those_of_all_data(X, runtime):
    samples = samples_of(np.tile(X.reshape(60, -1), (40, 1)))  # 2,400 rows: three batches
    network = DCSSNetwork(nn.Linear(64, 2), None, sample_shape=(64,), n_clusters=3, fuzzifier=1.5)
    network.centers.copy_(torch.randn(3, 2, generator=runtime.generator))
    with torch.no_grad():
        latent = network.encode(samples.batch(torch.arange(len(samples))))
        weights = network.memberships(latent) ** 1.5
    expected = (weights.T @ latent) / weights.sum(0)[:, None]
    update_centers(network, samples, runtime)
    assert_allclose(network.centers.numpy(), expected.numpy(), rtol=1e-4)


# ---- the start ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("Estimator", [DACClustering, DCCMClustering])
def test_no_warm_up_is_the_papers_start(Estimator, X):
    history = Estimator(n_clusters=3, max_epochs=2, warmup_epochs=0, random_state=0).fit(X).history_
    assert len({record["phase"] for record in history}) == 1


def test_warm_up_is_worth_its_time():
    digits = load_digits(n_class=5)
    X, y = digits.images[:400], digits.target[:400]
    plain = DACClustering(n_clusters=5, warmup_epochs=0, random_state=0).fit(X)
    warm = DACClustering(n_clusters=5, random_state=0).fit(X)
    assert clustering_accuracy_score(y, warm.labels_) >= max(0.9, clustering_accuracy_score(y, plain.labels_))


def test_neighbors_are_those_of_a_double_loop(runtime):
    points = np.random.default_rng(0).normal(size=(30, 5))
    found = nearest_neighbors(samples_of(points), 3, runtime.generator).numpy()
    for i in range(30):
        distances = [np.inf if j == i else ((points[i] - points[j]) ** 2).sum() for j in range(30)]
        assert set(found[i]) == set(np.argsort(distances)[:3])


def test_neighbors_within_tight_groups(runtime):
    groups = np.arange(200) % 2
    points = np.where(groups, 1.0, -1.0)[:, None] + 1e-2 * np.random.default_rng(0).normal(size=(200, 2))
    found = nearest_neighbors(samples_of(points), 5, runtime.generator)
    distances = ((points[:, None] - points) ** 2).sum(2) + 1e9 * np.eye(200)
    true = [set(row[:5]) for row in distances.argsort(1)]
    hits = sum(len(set(row.tolist()) & expected) for row, expected in zip(found, true, strict=True))
    assert hits >= 0.99 * 1000


def test_components_are_fitted_without_all_their_samples_at_full_size(runtime, monkeypatch):
    samples, sizes = samples_of(np.random.default_rng(0).random((50, 3, 40, 40))), []
    raw = samples.raw
    monkeypatch.setattr(samples, "raw", lambda indices: sizes.append(len(indices)) or raw(indices))
    monkeypatch.setattr("deepcluster_sk._start._N_READ", 10 * 3 * 40 * 40)
    assert nearest_neighbors(samples, 2, runtime.generator).shape == (50, 2)
    assert max(sizes) == 10


@pytest.mark.parametrize(
    ("shape", "on_cpu", "elsewhere"),
    [((1, 28, 28), 128, 1024), ((3, 96, 96), 14, 151), ((512,), 1024, 1024), ((3, 4096, 4096), 1, 1)],
)
def test_inference_takes_what_is_fast_on_a_device(shape, on_cpu, elsewhere):
    samples = ArraySamples(np.broadcast_to(np.uint8(0), (2000, *shape)), Scaling(0.0, 1.0))
    for device, n_rows in (("cpu", on_cpu), ("cuda", elsewhere)):
        batches = inference_batches(samples, torch.device(device))
        assert len(batches[0]) == n_rows
        assert torch.equal(torch.cat(batches), torch.arange(2000))


def test_outputs_come_in_the_order_asked_for_from_batches_of_at_most_128(X, runtime):
    sizes, order = [], torch.randperm(300, generator=torch.Generator().manual_seed(0)) % 60
    module = nn.Flatten()

    def first_pixels(batch):
        sizes.append(len(batch))
        return (module(batch)[:, 10:12],)

    samples = samples_of(X[:, None])
    (found,) = infer(module, first_pixels, samples, runtime, order)
    assert torch.equal(found, samples.batch(torch.arange(60)).flatten(1)[order, 10:12])
    assert sizes == [128, 128, 44]


def test_outputs_are_freed_with_their_last_name_and_not_at_the_next_collection(X, runtime):
    gc.disable()
    try:
        (outputs,) = infer(nn.Flatten(), lambda batch: (batch,), samples_of(X[:, None]), runtime)
        seen = weakref.ref(outputs)
        del outputs
        assert seen() is None
    finally:
        gc.enable()


def test_neighbors_of_duplicates_and_of_few_samples(runtime):
    found = nearest_neighbors(samples_of(np.zeros((4, 3))), 5, runtime.generator).numpy()
    assert found.shape == (4, 3)
    assert all(set(row) == {0, 1, 2, 3} - {i} for i, row in enumerate(found))


def test_neighbors_are_found_in_parts_and_among_a_random_share_of_many(runtime, monkeypatch):
    points = np.random.default_rng(0).normal(size=(60, 5))
    whole = nearest_neighbors(samples_of(points), 3, runtime.generator)
    monkeypatch.setattr("deepcluster_sk._start._N_READ", 7 * 5)
    assert torch.equal(nearest_neighbors(samples_of(points), 3, runtime.generator), whole)
    monkeypatch.setattr("deepcluster_sk._start._N_CANDIDATES", 20)
    found = nearest_neighbors(samples_of(points), 3, runtime.generator)
    assert len(found.unique()) <= 20
    assert (found != torch.arange(60)[:, None]).all()


def hubs(shape):
    """60 samples of which six are nearest to all others, as plain gray images are among photographs."""
    n_features = int(np.prod(shape))
    points = 10 * np.eye(60, n_features)
    points[:6] *= 0.1
    return samples_of(points.reshape(60, *shape))


@pytest.mark.parametrize(("shape", "n_neighbors"), [((1, 8, 8), 0), ((3, 5, 5), 0), ((64,), 5)])
def test_images_whose_neighbors_are_seldom_mutual_have_none_by_default(shape, n_neighbors, runtime):
    samples = hubs(shape)
    assert mutual_share(nearest_neighbors(samples, 5, runtime.generator)) < 0.25
    assert neighbors_to_draw(samples, "auto", runtime).shape == (60, n_neighbors)
    assert neighbors_to_draw(samples, 3, runtime).shape == (60, 3)
    without_transforms = replace(runtime, augment=resolve_augmentation(None, shape))
    assert neighbors_to_draw(samples, "auto", without_transforms).shape == (60, 5)


def test_digits_have_five_neighbors_by_default(runtime):
    samples = samples_of(load_digits().images[:600, None])
    nearest = nearest_neighbors(samples, 5, torch.Generator().manual_seed(0))  # as runtime's is
    assert mutual_share(nearest) > 0.5
    assert torch.equal(neighbors_to_draw(samples, "auto", runtime), nearest)


@given(neighbors=arrays(np.int32, (30, 3), elements=st.integers(0, 29)))
def test_mutual_share_is_that_of_a_double_loop(neighbors):
    mutual = [i in neighbors[j] for i in range(30) for j in neighbors[i]]
    assert mutual_share(torch.from_numpy(neighbors)) == pytest.approx(np.mean(mutual))


def test_mutual_share_is_that_of_all_where_neighbors_are_looked_for_among_some(runtime, monkeypatch):
    samples = samples_of(load_digits().images[:600, None])
    whole = mutual_share(nearest_neighbors(samples, 5, runtime.generator))
    monkeypatch.setattr("deepcluster_sk._start._N_CANDIDATES", 300)
    monkeypatch.setattr("deepcluster_sk._start._LEAST_CANDIDATES", 300)
    assert mutual_share(nearest_neighbors(samples, 5, runtime.generator)) == pytest.approx(whole, abs=0.08)
    monkeypatch.setattr("deepcluster_sk._start._N_CANDIDATES", 600)
    monkeypatch.setattr("deepcluster_sk._start._N_ASKED", 200)
    assert mutual_share(nearest_neighbors(samples, 5, runtime.generator)) == pytest.approx(whole, abs=0.05)


@pytest.mark.parametrize("Estimator", [DACClustering, DCCMClustering, DCSSClustering])
def test_history_tells_how_many_neighbors_were_drawn(Estimator, X):
    images = hubs((1, 8, 8)).batch(torch.arange(60))[:, 0].numpy()
    for given_to_fit, n_neighbors in ((images, 0), (X, 5)):
        first = Estimator(3, max_epochs=1, random_state=0).fit(given_to_fit).history_[0]
        assert first["n_neighbors"] == n_neighbors


def test_a_neighbor_or_the_sample_itself_is_drawn_equally_often():
    neighbors = torch.tensor([[1, 2], [0, 2], [0, 1]], dtype=torch.int32)
    drawn = draw_neighbors(neighbors, torch.zeros(3000, dtype=torch.int64), torch.Generator().manual_seed(0))
    counts = drawn.bincount()
    assert len(counts) == 3
    assert (counts - 1000).abs().max() < 4 * (1000 * 2 / 3) ** 0.5


def test_kmeans_on_a_share_of_the_samples_labels_all_of_them(runtime, monkeypatch):
    monkeypatch.setattr("deepcluster_sk._start._N_KMEANS_SAMPLES", 50)
    monkeypatch.setattr("deepcluster_sk._start._N_KMEANS_SAMPLES_A_CLUSTER", 1)
    groups = np.arange(200) % 4
    samples = samples_of(np.random.default_rng(0).normal(size=(200, 5)) + 20 * np.eye(5)[groups])
    module = nn.Identity()
    centers = kmeans_centers(module, module, samples, 4, runtime)
    labels = nearest_centers(module, module, centers, samples, runtime)
    assert centers.shape == (4, 5)
    assert clustering_accuracy_score(groups, labels.numpy()) == 1


def test_epochs_shrink_as_data_grows_but_steps_do_not():
    sizes = [50, 500, 1797, 10_000, 70_000, 10**6]
    epochs = [default_epochs(n, at_500=60) for n in sizes]
    assert epochs == sorted(epochs, reverse=True)
    assert epochs[0] == 60
    steps = [n * n_epochs for n, n_epochs in zip(sizes, epochs, strict=True)]
    assert steps == sorted(steps)


# ---- engine ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_samples", [2, 3, 7, 20, 39, 40, 1797])
def test_batches_are_a_partition_and_none_is_small(n_samples):
    batches = shuffled_batches(n_samples, min(20, n_samples), torch.Generator().manual_seed(0))
    assert sorted(torch.cat(batches).tolist()) == list(range(n_samples))
    assert all(min(20, n_samples) <= len(batch) < 40 for batch in batches)


def test_monitor_counts_records_and_stops():
    ended = []
    monitor = Monitor(lambda: "context", lambda context: len(ended.append(context) or ended) == 4)
    for epoch in monitor.epochs("first", 5):
        monitor.record(loss=float(epoch))
        if epoch == 1:
            monitor.end_phase()
    for _ in monitor.epochs("second", 5):
        monitor.record(loss=0.0)
    assert [(record["phase"], record["epoch"]) for record in monitor.history] == [
        ("first", 0),
        ("first", 1),
        ("second", 0),
        ("second", 1),
    ]
    assert monitor.stopped
    assert list(monitor.epochs("third", 5)) == []


def test_a_loss_that_is_not_finite_ends_training():
    monitor = Monitor(lambda: None, lambda context: False)
    next(monitor.epochs("warm-up", 3))
    with pytest.raises(ValueError, match=r"the loss is nan in epoch 1 of phase 'warm-up'. A smaller learning rate"):
        monitor.record(loss=float("nan"))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 5e3])
def test_a_diverged_epoch_is_trained_again_from_its_start_at_a_lower_rate(bad):
    layer = nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(1.0)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    monitor = Monitor(lambda: None, lambda context: False)
    losses, seen = iter([1.0, bad, 0.5, bad]), []

    def train():
        for epoch in monitor.epochs("warm-up", 5):
            seen.append((epoch, layer.weight.item(), optimizer.param_groups[0]["lr"]))
            for _ in monitor.batches(lambda: [0], layer=layer, optimizer=optimizer):
                layer.weight.data += 1
            monitor.record(loss=next(losses))

    with (
        pytest.warns(ConvergenceWarning, match=r"in epoch 2 of phase 'warm-up'\. It goes on from before the epoch"),
        pytest.raises(ValueError, match=r"in epoch 3 of phase 'warm-up', at a tenth of the learning rate\. A smaller"),
    ):
        train()
    assert seen == [(0, 1.0, 1.0), (1, 2.0, 1.0), (1, 2.0, 0.1), (2, 3.0, 0.1)]
    assert [record["loss"] for record in monitor.history[:2]] == [1.0, 0.5]


@pytest.mark.parametrize("Optimizer", [torch.optim.Adam, torch.optim.RMSprop])
def test_a_copied_state_is_a_deep_copy(Optimizer):
    """Of nested dicts and lists, with the versions of modules that ``load_state_dict`` looks for."""
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    optimizer = Optimizer(network.parameters(), lr=0.1)

    def step():
        network(torch.rand(4, 3)).square().sum().backward()
        optimizer.step()

    step()
    before = copy.deepcopy([network.state_dict(), optimizer.state_dict()])
    copied = [_copied(part.state_dict()) for part in (network, optimizer)]
    assert copied[0]._metadata == before[0]._metadata
    step()
    assert not torch.equal(network[0].weight, before[0]["0.weight"])
    assert_close(copied[0], before[0], rtol=0, atol=0)
    assert_close(copied[1]["state"], before[1]["state"], rtol=0, atol=0)
    assert copied[1]["param_groups"] == before[1]["param_groups"]
    copied[1]["param_groups"][0]["lr"] = 3.0
    assert optimizer.param_groups[0]["lr"] == 0.1


@pytest.mark.parametrize(
    ("lr_schedule", "expected"),
    [("constant", [2.0, 0.2, 0.2, 0.2]), ("cosine", [1 + 0.5**0.5, 0.1, 0.1 * (1 - 0.5**0.5), 0.0])],
)
def test_learning_rate_by_schedule_and_after_it_was_lowered(lr_schedule, expected):
    layer = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(layer.parameters(), lr=2.0)
    scheduler, rates = make_scheduler(optimizer, lr_schedule, 4), []
    for k in range(4):
        optimizer.step()
        scheduler.step()
        if k == 1:
            optimizer.param_groups[0]["lr"] *= 0.1
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("Estimator", [DACClustering, DCCMClustering])
def test_learning_rate_has_fallen_to_nothing_behind_the_last_block(Estimator, X, monkeypatch):
    made = []

    def noted(*args):
        made.append((args[0], make_scheduler(*args)))
        return made[-1][1]

    monkeypatch.setattr(f"{Estimator._train.__module__.replace('._', '._train_')}.make_scheduler", noted)
    Estimator(4, max_epochs=2, warmup_epochs=0, block_size=30, random_state=0).fit(X)
    ((optimizer, scheduler),) = made
    assert scheduler.T_max == scheduler.last_epoch == 2 * (len(X) // 30) > 2
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-12)


def test_label_tracker():
    tracker = LabelTracker.empty(4, 3, torch.device("cpu"))
    tracker.update(torch.arange(4), torch.tensor([0, 0, 1, 1]))
    assert tracker.summary() == {"cluster_sizes": [2, 2, 0], "label_change": 1.0}
    tracker.update(torch.tensor([3, 0]), torch.tensor([2, 0]))
    assert tracker.summary() == {"cluster_sizes": [2, 1, 1], "label_change": 0.5}


# ---- networks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("Estimator", [DACClustering, DCCMClustering])
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_cluster_network_is_fitted_on_its_own_size(Estimator, name, X):
    side = NETWORKS[name].side or 8
    images = X[:8].reshape(8, -1) if NETWORKS[name].ndim == 1 else upscaled(X[:8], side, channels=3)
    estimator = Estimator(n_clusters=3, network=name, max_epochs=1, warmup_epochs=0, random_state=0).fit(images)
    assert np.isfinite(estimator.predict_proba(images)).all()
    assert estimator.n_iter_ == 1


@pytest.mark.parametrize("name", sorted(AUTOENCODERS))
@pytest.mark.parametrize("shape", [(8, 8), (16, 16), (28, 28, 3), (64,)])
def test_every_autoencoder_is_fitted(name, shape):
    if AUTOENCODERS[name].ndim == 3 and len(shape) == 1:
        shape = (9, 7)
    data = np.random.default_rng(0).random((12, *shape))
    estimator = DCSSClustering(n_clusters=2, network=name, max_epochs=1, random_state=0).fit(data)
    assert np.isfinite(estimator.predict_proba(data)).all()


@pytest.mark.parametrize("Estimator", [DACClustering, DCCMClustering])
def test_users_network_is_trained_on_a_copy(Estimator, X):
    backbone = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
    before = backbone[0].weight.clone()
    estimator = Estimator(n_clusters=3, network=backbone, max_epochs=2, random_state=0).fit(X)
    assert torch.equal(backbone[0].weight, before)
    assert not torch.equal(estimator.module_.backbone[0].weight, before)


def test_users_autoencoder_and_augmentation(X):
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
            self.decoder = nn.Sequential(nn.Linear(3, 64), nn.Unflatten(1, (1, 8, 8)))

    seen = []

    def augment(batch):
        seen.append(batch.shape[1:])
        return batch

    dcss = DCSSClustering(n_clusters=3, network=Plain(), augment=augment, max_epochs=1, random_state=0).fit(X)
    assert dcss.transform(X).shape == (60, 3)
    assert set(seen) == {(1, 8, 8)}


class Viewing(nn.Module):
    """Flattens with ``view``, which takes torch's own order of memory only."""

    def __init__(self):
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 4, 3), nn.Linear(144, 6)

    def forward(self, batch):
        maps = self.conv(batch).relu()
        return self.linear(maps.view(len(maps), -1))


@pytest.mark.parametrize(
    "estimator",
    [
        DACClustering(3, network=Viewing(), max_epochs=1),
        DCCMClustering(3, network=Viewing(), max_epochs=1),
        DCSSClustering(3, encoder=Viewing(), max_epochs=1),
        DACClustering(3, max_epochs=1, augment=lambda batch: (2 * batch.view(len(batch), -1)).view(batch.shape)),
    ],
    ids=["DAC", "DCCM", "DCSS", "augment"],
)
@pytest.mark.parametrize("channels", ["first", "last"])
def test_users_modules_get_torchs_own_order_of_memory(estimator, channels, X):
    images = X[..., None].repeat(3, axis=3) if channels == "last" else X[:, None].repeat(3, axis=1)
    labels = estimator.fit(images).labels_
    assert np.array_equal(labels, estimator.predict(images))


def test_users_module_for_vectors_stays_in_float32():
    class Casting(nn.Linear):
        def forward(self, batch):
            return super().forward(batch.float())

    vectors = np.random.default_rng(0).normal(size=(30, 5))
    estimator = DACClustering(2, network=Casting(5, 4), max_epochs=1, random_state=0).fit(vectors)
    assert np.array_equal(estimator.labels_, estimator.predict(vectors))


# ---- tol ------------------------------------------------------------------------------------------------------------


def n_epochs_of(estimator, phase):
    return [record["phase"] for record in estimator.history_].count(phase)


@pytest.mark.parametrize(("tol", "expected"), [(1.0, 2), (0.0, 6)])
def test_tol_ends_the_loop_once_less_than_that_share_of_labels_changes(X, tol, expected):
    """At the first look every label counts as changed, at the second some are as they were."""
    dac = DACClustering(n_clusters=3, max_epochs=6, tol=tol, random_state=0).fit(X)
    assert n_epochs_of(dac, "DAC") == expected
    assert dac.converged_
    dccm = DCCMClustering(n_clusters=3, max_epochs=6, tol=tol, random_state=0).fit(X)
    assert n_epochs_of(dccm, "DCCM") == expected
    dcss = DCSSClustering(n_clusters=3, max_epochs=6, tol=tol, center_interval=1, membership_epochs=1, random_state=0)
    dcss.fit(X)
    assert n_epochs_of(dcss, "phase 1") == expected
    assert n_epochs_of(dcss, "phase 2") == expected


def test_dac_star_goes_through_all_its_thresholds_whatever_tol(X):
    dac = DACClustering(n_clusters=3, pair_selection="all", max_epochs=4, tol=1.0, random_state=0).fit(X)
    assert n_epochs_of(dac, "DAC") == 4


def test_memberships_judge_for_as_long_as_asked_whatever_tol(X):
    dcss = DCSSClustering(n_clusters=3, max_epochs=5, tol=1.0, membership_epochs=4, random_state=0).fit(X)
    assert n_epochs_of(dcss, "phase 2") == 5


# ---- memory ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("message", [None, "[enforce fail] DefaultCPUAllocator: can't allocate memory"])
def test_prediction_takes_smaller_batches_where_memory_is_short(message, X, runtime):
    error = torch.OutOfMemoryError("CUDA out of memory") if message is None else RuntimeError(message)
    samples, layer, sizes = samples_of(X.reshape(60, -1)), nn.Linear(64, 2), []

    def short_of_memory(batch):
        sizes.append(len(batch))
        if len(batch) > 20:
            raise error
        return (layer(batch),)

    (outputs,) = infer(layer, short_of_memory, samples, runtime)
    assert sizes == [60, 30, 15, 15, 30, 15, 15]
    torch.testing.assert_close(outputs, layer(samples.batch(torch.arange(60))).detach())

    def otherwise(batch):
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        infer(layer, otherwise, samples, runtime)


def test_training_that_lacks_memory_says_what_needs_less(X, monkeypatch):
    def train(*args):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(DACClustering, "_train", train)
    with pytest.raises(MemoryError, match=r"Not enough memory for training on cpu with batch_size=20\. A"):
        DACClustering(3, batch_size=20).fit(X)


def test_a_center_without_samples_stays_where_it_is(runtime):
    samples = samples_of(np.random.default_rng(0).random((40, 2)))
    network = DCSSNetwork(nn.Flatten(), None, sample_shape=(2,), n_clusters=3, fuzzifier=1.1)
    network.centers.copy_(torch.tensor([[-1.0, 0.0], [1.0, 0.0], [900.0, 900.0]]))
    update_centers(network, samples, runtime)
    assert network.centers[2].tolist() == [900.0, 900.0]
    assert network.centers[:2].abs().max() < 3


def test_losses_of_both_kinds_of_phase_1_are_on_one_scale(X, runtime):
    samples = samples_of(X.reshape(60, -1))
    network = DCSSNetwork(nn.Linear(64, 2), nn.Linear(2, 64), sample_shape=(64,), n_clusters=3, fuzzifier=1.5)
    network.centers.copy_(torch.randn(3, 2, generator=runtime.generator))
    step = cluster_step(network, samples, torch.arange(20), centering_weight=0.1, runtime=runtime)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-12)
    losses = [float(train_on_clusters(step, optimizer, 3, kind)) for kind in ("successive", "aggregated")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
