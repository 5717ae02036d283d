"""One fit by several processes: the same as by one, under torchrun, and nothing lost when a process dies."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from distributed_script import METHODS, digits, pictures
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import adjusted_rand_score

import deepcluster_sk
from deepcluster_sk._distributed import ALONE, Ranks

SCRIPT = Path(__file__).with_name("distributed_script.py")


def run(folder, scenario, n_ranks, *, check=True):
    """The script's processes, and what each rank wrote; one rank is no torchrun."""
    launcher = [] if n_ranks == 1 else ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n_ranks}"]
    command = [sys.executable, *launcher, str(SCRIPT), str(folder), scenario]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert not check or done.returncode == 0, done.stderr
    files = sorted(folder.glob(f"{scenario}-*-of-{n_ranks}.pt"))
    return done, [torch.load(file, weights_only=False) for file in files]


@pytest.fixture(scope="module", params=[2, 3])
def shared_parts(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    (alone,) = run(folder, "parts", 1)[1]
    return alone, run(folder, "parts", request.param)[1]


def test_losses_and_gradients_are_those_of_the_whole_batch(shared_parts):
    alone, ranks = shared_parts
    assert len(ranks) > 1
    for rank in ranks:
        assert_allclose(rank["loss"], alone["loss"], rtol=1e-6)
        largest = max(float(gradient.abs().max()) for gradient in alone["gradients"].values())
        for name, gradient in alone["gradients"].items():
            assert_allclose(rank["gradients"][name], gradient, rtol=1e-4, atol=1e-5 * largest)


def test_batch_norm_sees_the_whole_batch_and_is_itself_again_afterwards(shared_parts):
    alone, ranks = shared_parts
    for rank in ranks:
        assert rank["kinds"] == alone["kinds"] == ["Conv2d", "BatchNorm2d", "ReLU", "Flatten", "Linear", "BatchNorm1d"]
        assert rank["state"].keys() == alone["state"].keys()
        for name, value in alone["state"].items():
            assert_allclose(rank["state"][name], value, rtol=1e-5, atol=1e-6)
        assert_allclose(rank["evaluated"], alone["evaluated"], rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fits")
    return run(folder, "fits", 1)[1][0], run(folder, "fits", 2)[1]


@pytest.mark.parametrize("method", METHODS)
def test_fit_is_that_of_one_process(fitted, method):
    alone, ranks = fitted[0][method, "calm"], [rank[method, "calm"] for rank in fitted[1]]
    assert len(alone["losses"]) >= 8
    for rank in ranks:
        assert_allclose(rank["losses"], alone["losses"], rtol=3e-4)  # a pair at a threshold may fall to either side
        assert (rank["labels"] == alone["labels"]).float().mean() >= 0.998
        assert rank["kinds"] == alone["kinds"]


@pytest.mark.parametrize("method", METHODS)
def test_every_phase_begins_as_in_one_process(fitted, method):
    alone, ranks = fitted[0][method, "usual"], [rank[method, "usual"] for rank in fitted[1]]
    for rank in ranks:
        assert_allclose(rank["losses"][:4], alone["losses"][:4], rtol=1e-4)
        assert [record["phase"] for record in rank["history"]] == [record["phase"] for record in alone["history"]]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["calm", "usual"])
def test_every_rank_has_the_whole_result(fitted, method, kind):
    first, second = (rank[method, kind] for rank in fitted[1])
    assert torch.equal(first["labels"], second["labels"])
    assert torch.equal(first["predicted"], first["labels"])
    assert torch.equal(first["predicted"], second["predicted"])
    assert first["history"] == second["history"]
    assert first["report"] == second["report"]


@pytest.fixture(scope="module")
def at_the_edges(tmp_path_factory):
    folder = tmp_path_factory.mktemp("edges")
    pictures(folder / "pictures")
    done, ranks = run(folder, "edges", 2)
    return folder, done, ranks


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("other shape", "ValueError: The shape of X must be the same on every rank, got {0: (100, 1, 8, 8), 1: (101,"),
        ("other parameter", "ValueError: n_clusters must be the same on every rank, got {0: 3, 1: 4}."),
        ("none there", "ValueError: max_epochs must be the same on every rank, got {0: None, 1: 2}."),
        ("other network", "ValueError: network must be the same on every rank, got {0: 'mlp', 1: 'Linear'}."),
        ("NaN", "ValueError: Input X contains NaN"),
    ],
)
def test_what_one_rank_refuses_all_refuse(at_the_edges, case, message):
    _, _, ranks = at_the_edges
    for rank in ranks:
        assert rank[case].startswith(message)


def test_parameters_may_be_written_otherwise(at_the_edges):
    _, _, (first, second) = at_the_edges
    assert_array_equal(first["written otherwise"], second["written otherwise"])


def test_a_process_group_of_the_callers_is_joined_and_left_as_it_was(at_the_edges, tmp_path):
    command = [sys.executable, str(SCRIPT), str(tmp_path), "own_group"]
    own = {**os.environ, "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}  # one thread, as torchrun gives each rank
    ranks = [subprocess.Popen(command, env={**own, "RANK": str(rank)}) for rank in range(2)]
    assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]
    first, second = (torch.load(tmp_path / f"own_group-{rank}-of-2.pt") for rank in range(2))
    assert first["total"] == second["total"] == 2
    assert torch.equal(first["labels"], second["labels"])
    _, _, (launched, _) = at_the_edges
    assert torch.equal(first["labels"], launched["three clusters"])


def test_no_seed_is_one_seed(at_the_edges):
    _, _, (first, second) = at_the_edges
    assert torch.equal(first["no seed"], second["no seed"])


def test_rank_0_alone_prints_and_warns(at_the_edges):
    _, done, (first, second) = at_the_edges
    assert done.stdout.count("DAC epoch 1/1") == 1
    assert "CollapseWarning" in first["warned"]
    assert second["warned"] == []


def test_each_rank_decodes_its_part(at_the_edges):
    _, _, (first, second) = at_the_edges
    assert len(first["decoded"]) == len(second["decoded"]) == 6
    assert not set(first["decoded"]) & set(second["decoded"])
    assert len(first["files"]) == 11
    assert torch.equal(first["files"], second["files"])
    for rank in (first, second):
        (named,) = rank["unreadable"]
        assert named.endswith("03.png")


def test_workers_of_a_rank_are_alone(at_the_edges):
    _, _, ranks = at_the_edges
    assert [rank["workers"] for rank in ranks] == [[1, 1], [1, 1]]


def test_new_samples_and_own_transforms_keep_ranks_in_step(at_the_edges):
    folder, _, (first, second) = at_the_edges
    assert torch.equal(first["more"], second["more"])
    assert torch.equal(first["more of DCSS"], second["more of DCSS"])
    assert torch.equal(first["skipping"], second["skipping"])
    assert first["seen"] == 250
    loaded = deepcluster_sk.load(folder / "saved-2", augment=None)
    assert_array_equal(loaded.predict(digits(200)), first["more"])


def test_a_killed_rank_ends_all_and_another_number_goes_on(tmp_path):
    whole, rest = tmp_path / "whole", tmp_path / "rest"
    whole.mkdir()
    rest.mkdir()
    (undisturbed,) = run(whole, "killed", 1)[1]
    began = time.monotonic()
    done, ranks = run(rest, "killed", 2, check=False)
    assert done.returncode != 0
    assert not ranks
    assert time.monotonic() - began < 60
    assert "Rank 0 of 2 ends, for another process of this fit ended or does not answer" in done.stderr
    before = {path.name for path in rest.rglob("*.ckpt")}
    assert "state.ckpt" in before
    (resumed,) = run(rest, "killed", 1)[1]
    assert len(resumed["history"]) == len(undisturbed["history"])
    assert adjusted_rand_score(resumed["labels"], undisturbed["labels"]) > 0.9


@pytest.mark.parametrize("n_rows", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("size", [1, 2, 3, 64])
def test_parts_are_the_whole_and_even(n_rows, size):
    parts = [Ranks(rank, size).part(torch.arange(n_rows)) for rank in range(size)]
    assert torch.equal(torch.cat(parts), torch.arange(n_rows))
    lengths = [len(part) for part in parts]
    assert max(lengths) - min(lengths) <= 1


def test_one_process_gets_back_what_it_gives():
    rows = torch.rand(3, requires_grad=True)
    assert all(same is rows for same in (ALONE.gather(rows, 3), ALONE.part(rows), ALONE.sum(rows)))
    assert ALONE.largest(4) == 4
    assert ALONE.gather_list([1]) == [1]
