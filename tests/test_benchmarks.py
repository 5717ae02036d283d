"""The plain transcriptions that speed is measured against compute what the package computes."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import _analyses
import _datasets
import _framework_page
import _paper_claims
import _paper_page
import _plain as plain
import _synthetic
import embeddings
import paper_tables
import plan
import tables

from deepcluster_sk import DACClustering
from deepcluster_sk._data import ArraySamples
from deepcluster_sk._diagnostics import Run
from deepcluster_sk._engine import Runtime, by_batch_statistics, settle_batch_norm
from deepcluster_sk._monitor import LabelTracker
from deepcluster_sk._scaling import Scaling
from deepcluster_sk._train_dac import block_step as dac_step
from deepcluster_sk._train_dac import label_block as label_dac_block
from deepcluster_sk._train_dccm import block_step as dccm_step
from deepcluster_sk._train_dccm import label_block as label_dccm_block
from deepcluster_sk._train_dcss import PairStatistics, cluster_step, pair_step
from deepcluster_sk.losses import pair_cross_entropy
from deepcluster_sk.metrics import clustering_accuracy_score
from deepcluster_sk.metrics._neighbors import beyond_chance
from deepcluster_sk.networks import DCSSNetwork, LocalDiscriminator, build_autoencoder, build_cluster_network
from deepcluster_sk.networks._layers import ConvBlock
from deepcluster_sk.pairs import sample_pairs

ROWS = torch.arange(20)


def test_a_fit_is_chosen_without_labels_and_only_among_all_three():
    def cell(method, seed, neighbors, transforms, acc):
        return {
            "method": method,
            "seed": seed,
            "seconds": 2.0,
            "neighbor_agreement": neighbors,
            "augmentation_agreement": transforms,
            "acc": acc,
        }

    cells = [
        {"method": "k-means", "seed": 0, "seconds": 1.0, "acc": 0.9},
        cell("DACClustering", 0, 0.5, 0.9, 0.1),
        cell("DCCMClustering", 0, 0.7, 0.8, 0.2),
        cell("DCSSClustering", 0, 0.6, 0.7, 0.3),
        cell("DACClustering", 1, 0.5, 0.9, 0.1),
    ]
    found = [(row["method"], row["chosen"], row["acc"], row["seconds"]) for row in embeddings.chosen(cells)]
    assert found == [
        ("chosen by neighbours", "DCCMClustering", 0.2, 6.0),
        ("chosen by transforms", "DACClustering", 0.1, 6.0),
    ]


@pytest.fixture
def images():
    return torch.rand(60, 1, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def samples(images):
    return ArraySamples(images.numpy(), Scaling(0.0, 1.0))


@pytest.fixture
def runtime():
    def mirror(batch, generator):
        return batch.flip(3)

    return Runtime(torch.device("cpu"), "float32", mirror, torch.Generator().manual_seed(0), batch_size=20)


def settled(network, samples, runtime):
    """In evaluation mode, so that running a network twice gives the same, and with logits that differ."""
    settle_batch_norm(network, samples, runtime)
    return network.eval()


def test_dac(images, samples, runtime):
    network = settled(build_cluster_network("auto", (1, 16, 16), 5, logit_scale=3.0), samples, runtime)
    block = label_dac_block(network, samples, torch.arange(60), 0.9, 0.5, replace(runtime, batch_size=60))
    ours = dac_step(network, samples, block, pair_loss=pair_cross_entropy, consistency_weight=0.0, runtime=runtime)(
        ROWS
    )
    with by_batch_statistics(network):
        similarity = plain.dac_similarity(network, images)
    labels, selected = similarity >= 0.9, (similarity >= 0.9) | (similarity < 0.5)
    assert 0 < selected.float().mean() < 1
    theirs = plain.dac_loss(network, images[ROWS].flip(3), labels[:20, :20].float(), selected[:20, :20])
    assert theirs.item() == pytest.approx(ours.item(), rel=1e-4)


@pytest.mark.parametrize("mi_weight", [0.0, 0.1])
def test_dccm(images, samples, runtime, mi_weight):
    network = settled(
        build_cluster_network("auto", (1, 16, 16), 5, embedding_dim=64, logit_scale=3.0), samples, runtime
    )
    factorised, joined = LocalDiscriminator(32, 64), plain.ConcatenatedDiscriminator(32, 64)
    with torch.no_grad():
        joined.joined.weight.copy_(
            torch.cat([factorised.shallow_projection.weight, factorised.deep_projection.weight], dim=1)
        )
        joined.hidden.weight.copy_(factorised.hidden.weight)
        joined.score.weight.copy_(factorised.score.weight)
    block = label_dccm_block(
        network, samples, torch.arange(60), graph_threshold=0.95, label_threshold=0.5, runtime=runtime
    )
    assert block.confident[ROWS].any()
    runtime.generator.manual_seed(1)
    ours = dccm_step(
        network,
        factorised,
        samples,
        block,
        label_weight=5.0,
        local_robustness=True,
        mi_weight=mi_weight,
        n_positions=None,
        pair_sampling="nearest-random",
        runtime=runtime,
    )(ROWS)
    inside = ROWS[:, None], ROWS
    drawn = sample_pairs(
        block.similarity[inside], block.graph[inside], "nearest-random", torch.Generator().manual_seed(1)
    )
    pairs = drawn.positive[drawn.has_positive], drawn.negative[drawn.has_negative]
    assert len(pairs[0])
    assert len(pairs[1])
    theirs = plain.dccm_loss(
        network,
        joined,
        (images[ROWS], images[ROWS].flip(3)),
        block.graph[inside],
        block.labels[ROWS],
        block.confident[ROWS],
        pairs if mi_weight else None,
        mi_weight=mi_weight,
    )
    assert theirs.item() == pytest.approx(ours.item(), rel=1e-4)


def test_nearest_pairs_are_those_of_the_package(images):
    unit = torch.nn.functional.normalize(torch.rand(12, 3, generator=torch.Generator().manual_seed(2)), dim=1)
    similarity = unit @ unit.T
    graph = similarity >= 0.9
    drawn = sample_pairs(similarity, graph, "nearest-random", torch.Generator().manual_seed(0))
    positive, negative = plain.nearest_random_pairs(similarity, graph)
    assert torch.equal(positive, drawn.positive[drawn.has_positive])
    assert torch.equal(negative[:, 0], drawn.negative[drawn.has_negative][:, 0])
    assert not graph[negative[:, 0], negative[:, 1]].any()


@pytest.fixture
def dcss_network(images, samples, runtime):
    autoencoder = build_autoencoder("autoencoder-conv", (1, 16, 16), 4)
    network = DCSSNetwork(
        autoencoder.encoder, autoencoder.decoder, sample_shape=(1, 16, 16), n_clusters=3, fuzzifier=1.5
    )
    settled(network, samples, runtime)
    with torch.no_grad():
        network.centers.copy_(network.encode(images)[:3] + 1e-3)  # samples that belong to one center alone
    return network


@pytest.mark.parametrize("name", ["autoencoder-conv", "autoencoder-residual"])
@pytest.mark.parametrize("shape", [(1, 28, 20), (3, 31, 32)])
@pytest.mark.parametrize("with_gradient", [True, False])
def test_plain_networks_give_the_same(name, shape, with_gradient):
    """Sizes that are not all twice the size before."""
    autoencoder = build_autoencoder(name, shape, 4).double()
    batch = torch.randn(3, *shape, dtype=torch.float64)
    autoencoder(batch)  # running statistics that are not 0 and 1
    autoencoder.eval()
    with torch.set_grad_enabled(with_gradient):
        ours = autoencoder(batch)
        plain.make_plain(autoencoder)
        theirs = autoencoder.double()(batch)
    kinds = [type(part) for part in autoencoder.modules()]
    assert kinds.count(plain.UpsampledConv) == 3
    assert ConvBlock not in kinds
    torch.testing.assert_close(theirs, ours)


def test_dcss_phase_1(images, samples, runtime, dcss_network):
    step = cluster_step(dcss_network, samples, ROWS, centering_weight=0.1, runtime=runtime)
    with by_batch_statistics(dcss_network):
        weights = plain.memberships(dcss_network.encode(images[ROWS]), dcss_network.centers) ** 1.5
    batch = dcss_network.standardize(images[ROWS])
    for k in range(3):
        theirs = plain.cluster_loss(dcss_network, batch, weights[:, k], dcss_network.centers[k])
        assert theirs.item() == pytest.approx(step([k]).item(), rel=1e-4)


def test_dcss_phase_2(images, samples, runtime, dcss_network):
    statistics = PairStatistics(LabelTracker.empty(60, 3, torch.device("cpu")))
    ours = pair_step(
        dcss_network,
        samples,
        statistics,
        by_memberships=True,
        similar_threshold=0.8,
        dissimilar_threshold=0.2,
        runtime=runtime,
    )(ROWS)
    with by_batch_statistics(dcss_network):
        judge = plain.memberships(dcss_network.encode(images[ROWS]), dcss_network.centers)
    theirs = plain.phase_2_loss(dcss_network, images[ROWS].flip(3), judge)
    assert theirs.item() == pytest.approx(ours.item(), rel=1e-4)
    assert 0 < statistics.summary()["selected_share"] < 1


# ---- tables ---------------------------------------------------------------------------------------------------------


def test_parts_of_a_data_set_by_name(tmp_path):
    X, y = np.arange(40_000)[:, None, None], np.arange(40_000) % 10
    np.savez(tmp_path / "fashion_mnist.npz", X=X, y=y)
    first, labels = _datasets.load("fashion-mnist-first-20000", tmp_path)
    assert_array_equal(first, X[:20_000])
    assert_array_equal(labels, y[:20_000])
    flat, _ = _datasets.load("fashion-mnist-first-20000-flat", tmp_path)
    assert_array_equal(flat, first.reshape(20000, -1))
    thinned, labels = _datasets.load("fashion-mnist-first-20000-r0.1", tmp_path)
    assert_array_equal(thinned[:, 0, 0] % 10, labels)
    np.testing.assert_allclose(np.bincount(labels) / 2000, np.linspace(0.1, 1, 10), atol=0.04)


def test_digits_of_unequal_classes(tmp_path):
    y = np.arange(16_000) % 10
    X = np.random.default_rng(0).integers(0, 256, (16_000, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "mnist.npz", X=X, y=y)
    images, labels = _datasets.load("unequal-mnist", tmp_path)
    assert images.shape == (9298, 16, 16)
    assert -1 <= images.min() < -0.5
    assert 0.5 < images.max() <= 1
    shares = np.bincount(labels) / 9298
    assert round(shares.min(), 2) == 0.08
    assert round(shares.max(), 2) == 0.17


def test_both_mnists_are_mixed(tmp_path):
    for name, value in (("mnist", 0), ("fashion_mnist", 1)):
        np.savez(tmp_path / f"{name}.npz", X=np.full((50, 28, 28), value), y=np.arange(50) % 10)
    X, y = _datasets.load("2mnist", tmp_path)
    assert_array_equal(X[:, 0, 0], y // 10)
    assert_array_equal(np.bincount(y), np.full(20, 5))
    assert len(np.unique(y[:50])) > 10


def test_unknown_data_sets_raise(tmp_path):
    with pytest.raises(ValueError, match="data set 'nothing' must be one of digits"):
        _datasets.load("nothing", tmp_path)


@pytest.mark.parametrize("name", _datasets.LARGE)
def test_large_data_sets_are_read_from_the_files_they_come_in(name, tmp_path):
    expected, labels = _synthetic.written(name, tmp_path)
    with _synthetic.unchecked():
        X, y = _datasets.load(name, tmp_path)
    assert_array_equal(X, expected)
    assert_array_equal(y, labels)
    assert len(np.unique(y)) == _datasets.DATA_SETS[name].n_classes


def test_made_data_sets_have_their_shape(tmp_path):
    for name in ("digits", "color-digits"):
        X, y = _datasets.load(name, tmp_path)
        assert X.shape == (1797, *_datasets.DATA_SETS[name].shape)
        assert len(np.unique(y)) == 10


@pytest.mark.parametrize("path", tables.PAGES)
def test_pages_are_what_the_committed_records_say(path):
    assert (tables.ROOT / path).read_text() == tables.PAGES[path]()


def test_the_plan_of_a_large_run_follows_from_what_was_measured():
    rates = {**plan.read_record("plan")["rates"], "images decoded": 100.0}
    assert plan.limits_of(rates)["decoding"] == 100_000_000 / (512 * 100)  # 64 cores for each 8 of 64 GPUs
    rows = {what: (how, much) for what, how, much in plan.arithmetic(rates)}
    assert rows["decoding files, a pass"] == ("100 a second and core", "32.6 min")
    assert plan.breaks(rates)[2].startswith("1. **Decoding then sending then the network**")


def test_every_cell_has_a_file_of_its_own():
    cells = [cell for table in paper_tables.cells([0, 1]).values() for cell in table]
    assert len({cell.path for cell in cells}) == len(cells)
    assert {cell.table for cell in cells} | set(_datasets.LARGE) == set(_paper_page.TITLES)


def test_regret_is_what_the_pick_loses_on_average():
    acc, score = np.array([0.5, 0.9, 0.7]), np.array([3.0, 1.0, 2.0])
    # Of the pairs (0 1), (0 2), (1 2) the largest score picks 0, 0, 2: .4, .2, .2 below the best.
    assert _paper_page.regret(acc, lambda rows: score[rows], 2) == pytest.approx(0.8 / 3)


def fit_cell(data, row, accuracies, agreements, warned=()):
    """A cell of the criteria of which only agreement under transforms, accuracy and warnings are given."""
    fits = [
        {
            **dict.fromkeys(_analyses.CRITERIA, float(i)),
            "acc": acc,
            "augmentation agreement": agreement,
            "cluster_sizes": [5, 5],
            "warnings": ["w"] if i in warned else [],
        }
        for i, (acc, agreement) in enumerate(zip(accuracies, agreements, strict=True))
    ]
    return {"data": data, "row": row, "fits": fits, "agreement": np.diag(np.arange(len(fits)) + 1.0).tolist()}


def test_criteria_are_averaged_by_start_and_by_when_they_were_run():
    first = fit_cell("digits", "DAC", [0.5, 0.7, 0.9], [0.1, 0.2, 0.3])  # picks the best
    later = fit_cell("color-digits", "DAC", [0.5, 0.7, 0.9], [0.3, 0.2, 0.1])  # picks the worst
    header, *lines = _paper_page.criteria([first, later])
    column = header.index("rule of n_init: rank correlation / regret")
    assert {line[0]: line[column] for line in lines} == {
        "digits, DAC": "+1.00 / 0.000",
        "color-digits, DAC": "-1.00 / 0.400",
        "mean of those it was settled on, default start": "+1.00 / 0.000",
        "mean of the others, default start": "-1.00 / 0.400",
        "mean of the others that were not run when it was settled": "-1.00 / 0.400",
    }
    assert lines[0][header.index("one at random: regret")] == "0.200"


def test_the_number_of_clusters_that_each_criterion_is_largest_for():
    def fit(n_clusters, silhouette):
        return {**dict.fromkeys(_analyses.CRITERIA, 0.1 * n_clusters), "n_clusters": n_clusters} | {
            "acc": 0.5,
            "silhouette": silhouette,
        }

    fits = [fit(3, 0.9), fit(3, 0.2), fit(4, 0.6), fit(4, 0.7), fit(5, 0.1), fit(5, 0.6)]
    cell = {"data": "digits", "row": "DAC", "fits": fits, "stability": {"3": 0.99, "4": 0.5, "5": 0.9}}
    header, *lines = _paper_page.n_clusters_criteria([cell])
    assert [line[1] for line in lines] == ["3", "4", "5", "of the largest"]
    assert lines[1][header.index("silhouette")] == "0.650"
    largest = dict(zip(header, lines[-1], strict=True))
    assert (largest["stability"], largest["silhouette"], largest["confidence"]) == ("3", "4", "5")


def test_fits_far_below_their_median_are_counted_with_their_warnings():
    cell = fit_cell("digits", "DAC", [0.9, 0.9, 0.9, 0.7, 0.6], [1.0] * 5, warned=(0, 4))
    _, line = _paper_page.warned([cell])
    assert line == ["digits, DAC", "5", "0.900", "2", "1 of 2", "1 of 3"]


def test_the_rule_of_the_tables_is_that_of_n_init():
    def run(sizes, agreement):
        labels = np.repeat(np.arange(len(sizes)), sizes)
        fields = dict.fromkeys(Run._fields)
        return Run(**{**fields, "labels": labels, "sizes": np.array(sizes), "augmentation_agreement": agreement})

    runs = [run([50, 50], 0.9), run([50, 50], 0.8), run([97, 3], 0.99), run([100, 0], 0.99), run([60, 40], 0.85)]
    by_rule = [
        _paper_page.score_of_n_init(
            {
                "cluster_sizes": each.sizes.tolist(),
                "augmentation agreement": beyond_chance(each.augmentation_agreement, each.labels),
            }
        )
        for each in runs
    ]
    assert sorted(range(5), key=lambda i: runs[i].rank) == sorted(range(5), key=lambda i: -by_rule[i])


def test_a_claim_is_confirmed_where_it_holds_from_every_seed():
    first, second, third = [0.5, 0.6], [0.6, 0.7], [0.55, 0.8]
    assert _paper_claims.verdict(first, first) == "neither"
    assert _paper_claims.verdict(first, second) == "confirmed"
    assert _paper_claims.verdict(second, first) == "refuted"
    assert _paper_claims.verdict(second, third) == "neither"


def test_claims_are_held_against_the_cells_that_exist(tmp_path, monkeypatch):
    monkeypatch.setattr(_paper_page, "PAPER", tmp_path)
    rows = [("mnist-10k", "DAC*", 0, 0.6, {"DAC": 4}), ("mnist-10k", "DAC", 0, 0.7, {"DAC": 4})]
    rows += [("mnist-10k", "DAC", 1, 0.9, {"DAC": 4})]  # no DAC* from this seed
    # What the clock ended before the phase that its row is about, on either side, says nothing.
    rows += [("fashion-mnist-10k", "DAC*", 0, 0.6, {"warm-up": 2}), ("fashion-mnist-10k", "DAC", 0, 0.7, {"DAC": 4})]
    rows += [("2mnist", "DCSSu", 0, 0.6, {"phase 1": 1}), ("2mnist", "DCSS", 0, 0.7, {"phase 1": 1})]
    # Nor does a slow row beside one that came to more than twice as many epochs.
    epochs = {"DCCM M1": 8, "DCCM M2": 4, "DCCM M3": 1}
    rows += [("mnist-10k-paper", row, 0, n / 10, {"DCCM": n}) for row, n in epochs.items()]
    rows += [("pair-sampling", f"DCCM, pair_sampling={name}-random", 0, 0.5, {}) for name in ("nearest", "top")]
    for table, row, seed, acc, epochs in rows:
        (tmp_path / table).mkdir(exist_ok=True)
        record = {"table": table, "data": "x", "row": row, "seed": seed, "acc": acc, "epochs": epochs}
        (tmp_path / table / f"{row.replace('*', 'star')}-{seed}.json").write_text(json.dumps(record))
    _, *lines = _paper_claims.claims()
    assert [line[1:] for line in lines] == [
        ["DAC > DAC*, ACC", "1", "0.7000, 0.6000", "confirmed"],
        ["DCCM M2 > DCCM M1, ACC", "1", "0.4000, 0.8000", "refuted"],
        ["nearest-random > top-random, ACC", "1", "0.5000, 0.5000", "neither"],
    ]


def test_what_mnet_adds_is_held_against_the_paper_seed_by_seed():
    accuracies = {"DEC": (0.7, 0.8), "DEC + MNet": (0.75, 0.81), "DEC + MNet, paper's settings": (0.6, 0.9)}
    cells = [
        {"row": row, "seed": seed, "acc": acc, "nmi": 0.5, "seconds": 9.6, "report": {"n_clusters_used": 10 - seed}}
        for row, pair in accuracies.items()
        for seed, acc in enumerate(pair)
    ]
    _, *lines = _framework_page.claims(cells)
    assert lines == [
        ["DEC + MNet > DEC, default settings", "+5.0, +1.0", "+4.8", "10, 9", "confirmed"],
        ["DEC + MNet > DEC, the paper's settings", "-10.0, +10.0", "+4.8", "10, 9", "neither"],
    ]
    _, line = _framework_page.summary(cells)
    assert line == ["DEC", "2", "75.0/50.0", "78.0/50.0", "75.0/50.0", "10, 10, 10", "84.3/83.7", "89.1/87.0"]


def test_a_cell_is_a_fit_without_labels_and_their_scores(tmp_path, monkeypatch):
    monkeypatch.setattr(paper_tables, "RESULTS", tmp_path)
    monkeypatch.setattr(_paper_page, "PAPER", tmp_path / "paper")
    images, y = _datasets.load("digits", tmp_path)
    np.savez(tmp_path / "digits.npz", X=images[y < 2][:60], y=y[y < 2][:60])
    measure = paper_tables.by_default("DAC", max_epochs=2)
    cell = paper_tables.Cell("mnist", "digits", "DAC", 0, measure, 1.0)
    paper_tables.run(cell, str(tmp_path))
    (record,) = _paper_page.read("mnist")
    expected = DACClustering(2, max_epochs=2, random_state=0).fit_predict(images[y < 2][:60])
    assert record["acc"] == clustering_accuracy_score(y[y < 2][:60], expected)
    assert record["epochs"] == {"warm-up": 2, "label start": 2, "DAC": 2}
    assert _paper_page.summary("mnist", [record])[1][:3] == ["DAC", "1", f"{record['acc']:.4f}"]
