"""Saved estimators: the same after loading, and files that are damaged or hostile are refused."""

import copy
import hashlib
import json
import random
import struct
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_digits, load_wine
from sklearn.exceptions import NotFittedError
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from hostile_files import ATTACKS

from deepcluster_sk import DACClustering, DCCMClustering, DCSSClustering, load
from deepcluster_sk.augment import ImageAugmentation

METHODS = [DACClustering, DCCMClustering, DCSSClustering]
each = pytest.mark.parametrize("Estimator", METHODS)


@pytest.fixture(scope="module")
def X():
    return load_digits().images[:60]


@pytest.fixture(scope="module")
def fitted(X):
    return {kind: kind(n_clusters=4, max_epochs=2, n_init=2, random_state=0).fit(X) for kind in METHODS}


@pytest.fixture
def path(tmp_path, fitted):
    fitted[DCSSClustering].save(tmp_path / "dcss.safetensors")
    return tmp_path / "dcss.safetensors"


@each
def test_a_loaded_estimator_is_the_one_that_was_saved(Estimator, fitted, X, tmp_path):
    one = fitted[Estimator]
    one.save(tmp_path / "one")
    again = load(tmp_path / "one")
    assert type(again) is Estimator
    assert again.get_params() == one.get_params()
    for method in ("predict", "predict_proba", "transform", "augmentation_agreement"):
        assert_array_equal(getattr(again, method)(X), getattr(one, method)(X))
    assert set(vars(again)) == set(vars(one))
    assert again.history_ == one.history_
    restart_agreement = again.fit_report_["restart_agreement"]
    assert_array_equal(restart_agreement, one.fit_report_["restart_agreement"])
    assert restart_agreement.dtype == np.float32
    assert again.fit_report_.keys() == one.fit_report_.keys()
    assert_array_equal(again.labels_, one.labels_)
    assert again.labels_.dtype == one.labels_.dtype
    again.fit(X)  # the parameters work
    assert_array_equal(again.labels_, one.labels_)


def test_feature_vectors_with_names(tmp_path):
    wine = load_wine(as_frame=True).data
    one = DACClustering(n_clusters=3, max_epochs=2, random_state=0).fit(wine)
    one.save(tmp_path / "wine")
    again = load(tmp_path / "wine")
    assert_array_equal(again.predict_proba(wine), one.predict_proba(wine))
    assert_array_equal(again.feature_names_in_, wine.columns)
    with pytest.raises(ValueError, match="feature names"):
        again.predict(pd.DataFrame(wine.to_numpy(), columns=[f"x{i}" for i in range(wine.shape[1])]))


def test_first_phase_alone(X, tmp_path):
    one = DCSSClustering(n_clusters=3, max_epochs=2, second_phase=False, random_state=0).fit(X)
    one.save(tmp_path / "one")
    assert_array_equal(load(tmp_path / "one").predict_proba(X), one.predict_proba(X))


def test_objects_of_the_users_own_are_passed_again(X, tmp_path):
    def network():
        return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU())

    one = DACClustering(n_clusters=3, network=network(), augment=ImageAugmentation(), max_epochs=2, random_state=0)
    one.fit(X).save(tmp_path / "one")
    with pytest.raises(ValueError, match=r"pass augment \(ImageAugmentation\), network \(Sequential\) again"):
        load(tmp_path / "one")
    again = load(tmp_path / "one", network=network(), augment=ImageAugmentation())
    assert_array_equal(again.predict_proba(X), one.predict_proba(X))
    with pytest.raises(ValueError, match="does not fit what it holds"):
        load(tmp_path / "one", network=nn.Conv2d(1, 9, 3), augment=ImageAugmentation())


@pytest.mark.parametrize("parameter", ["network", "encoder"])
def test_modules_of_linear_layers(parameter, tmp_path):
    wine, Estimator = load_wine().data, DCSSClustering if parameter == "encoder" else DACClustering
    one = Estimator(n_clusters=3, max_epochs=2, random_state=0, **{parameter: nn.Linear(13, 8)}).fit(wine)
    one.save(tmp_path / "one")
    again = load(tmp_path / "one", **{parameter: nn.Linear(13, 8)})
    assert_array_equal(again.predict_proba(wine), one.predict_proba(wine))


def test_what_json_does_not_know(tmp_path):
    wine, tied = load_wine().data, nn.Linear(13, 13)
    one = DACClustering(n_clusters=3, max_epochs=2, curriculum_rate=np.float32(0.1), checkpoint_dir=tmp_path / "here")
    one.set_params(network=nn.Sequential(tied, nn.ReLU(), tied), random_state=np.random.RandomState(0))
    one.fit(wine).save(tmp_path / "one")
    again = load(tmp_path / "one", network=nn.Sequential(tied, nn.ReLU(), tied))
    assert_array_equal(again.predict(wine), one.labels_)
    assert again.random_state is again.checkpoint_dir is None


def test_unknown_objects_are_refused(path):
    with pytest.raises(ValueError, match="typo must not be passed"):
        load(path, typo=3)


def test_an_estimator_that_is_not_fitted_is_not_saved(tmp_path):
    with pytest.raises(NotFittedError):
        DACClustering().save(tmp_path / "one")
    assert not list(tmp_path.iterdir())


def test_a_failed_save_leaves_the_file_before(path, fitted, monkeypatch):
    before = path.read_bytes()

    def fail(descriptor):
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space"):
        fitted[DACClustering].save(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none")


def test_every_bit_counts(path):
    content, rng = path.read_bytes(), np.random.default_rng(0)
    n_header = int.from_bytes(content[:8], "little") + 8
    places = [*rng.integers(0, n_header, 60), *rng.integers(n_header, len(content), 60), *range(8)]
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"dcss\.safetensors"):
            load(path)


def test_truncated_files(path):
    content = path.read_bytes()
    for n_bytes in [0, 1, 7, 8, 9, 100, len(content) // 2, len(content) - 1]:
        path.write_bytes(content[:n_bytes])
        with pytest.raises(ValueError, match=r"dcss\.safetensors"):
            load(path)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_damaged_and_hostile_files_are_refused(attack, fitted, tmp_path):
    """A few of each kind of which ``benchmarks/hostile_files.py`` makes many."""
    path, canary = tmp_path / "hostile.model", tmp_path / "canary"
    contents = []
    for kind in (DACClustering, DCSSClustering):
        fitted[kind].save(path)
        contents.append(path.read_bytes())
    for i in range(8):
        content, other = contents[:: 1 if i % 2 else -1]
        path.write_bytes(attack(content, other, random.Random(i), canary))
        with pytest.raises(ValueError, match=r"hostile\.model.{20,}"):
            load(path)
    assert not canary.exists()


@pytest.mark.parametrize("n_header", [2**63, 2**40, 2**24 + 1])
def test_huge_headers_are_not_read(n_header, tmp_path):
    (tmp_path / "huge").write_bytes(struct.pack("<Q", n_header) + b"{}")
    with pytest.raises(ValueError, match=f"its header is said to have {n_header} bytes"):
        load(tmp_path / "huge")


def forge(path, **changes):
    """The file with another description, and a checksum to go with it: what somebody who means harm would write."""
    tensors = safetensors.torch.load(path.read_bytes())
    content = path.read_bytes()
    n_header = int.from_bytes(content[:8], "little")
    description = json.loads(json.loads(content[8 : 8 + n_header])["__metadata__"]["deepcluster_sk"])
    for key, value in changes.items():
        description[key] = {**description[key], **value} if isinstance(value, dict) else value
    text = json.dumps(description)
    header = {"deepcluster_sk": text, "sha256": hashlib.sha256(text.encode()).hexdigest()}
    path.write_bytes(safetensors.torch.save(tensors, metadata=header))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class": "os.system"}, r"class 'os\.system' must be one of DACClustering"),
        ({"class": ["x"]}, "must be one of"),
        ({"own": []}, "what it describes is not whole"),
        ({"own": {"network": "Own"}}, r"pass network \(Own\) again"),
        ({"fitted": {"_cluster_order": [5, 6, 7, 8]}}, "does not fit what it holds"),
        ({"feature_names_in_": 5}, "does not fit what it holds"),
        ({"extra_state": "x"}, "does not fit what it holds"),
        ({"format": 1}, "has format 1, and this version reads 2"),
        ({"params": {"n_clusters": 10**9}}, "does not fit what it holds"),
        ({"params": {"latent_dim": 10**9}}, "does not fit what it holds"),
        ({"params": {"n_clusters": "4"}}, "does not fit what it holds"),
        ({"params": {"shell": "rm"}}, "does not fit what it holds"),
        ({"params": {"network": "../../etc/passwd"}}, "does not fit what it holds"),
        ({"fitted": {"_sample_shape": [1, 10**6, 10**6]}}, "does not fit what it holds"),
        ({"fitted": {"_sample_shape": []}}, "does not fit what it holds"),
        ({"fitted": []}, "does not fit what it holds"),
        ({"tensors": {"more": [1]}}, "its tensors have other names or shapes"),
        ({"tensors_sha256": "0"}, "the checksum of its tensors is wrong"),
    ],
    ids=str,
)
def test_descriptions_that_do_not_fit_are_refused(changes, message, path):
    forge(path, **changes)
    with pytest.raises(ValueError, match=message):
        load(path)


def test_a_device_that_is_not_here_is_no_obstacle(path, X, fitted):
    forge(path, params={"device": "cuda:0"})
    loaded = load(path)
    assert loaded.device == "cuda:0"
    assert_array_equal(loaded.predict(X), fitted[DCSSClustering].labels_)


@pytest.mark.parametrize(
    ("Estimator", "changed"),
    [(DACClustering, {"n_clusters": 5}), (DCCMClustering, {"n_clusters": 3}), (DCSSClustering, {"latent_dim": 7})],
)
def test_an_estimator_whose_network_is_described_otherwise_is_not_saved(Estimator, changed, fitted, tmp_path):
    estimator = copy.deepcopy(fitted[Estimator]).set_params(**changed)
    with pytest.raises(ValueError, match="changed since fit"):
        estimator.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())
    copy.deepcopy(fitted[Estimator]).set_params(verbose=1).save(tmp_path / "model")


def test_a_long_history_is_saved(fitted, tmp_path):
    estimator = copy.deepcopy(fitted[DACClustering])
    estimator.history_ = estimator.history_ * 5000
    estimator.save(tmp_path / "model")
    assert load(tmp_path / "model").history_ == estimator.history_


def test_loading_leaves_torch_as_it_was_and_needs_no_state_of_it(X, tmp_path):
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.ReLU())
    dac = DACClustering(4, network=network, max_epochs=1, random_state=0).fit(X)
    dac.save(tmp_path / "model")
    state = torch.get_rng_state()
    torch.set_default_dtype(torch.float64)
    try:
        again = load(tmp_path / "model", network=network)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(torch.get_rng_state(), state)
    assert_array_equal(again.predict(X), dac.labels_)


@pytest.mark.parametrize(
    ("estimator", "changed"),
    [
        (DACClustering(4, network=nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.ReLU())), {"n_clusters": 5}),
        (DCSSClustering(4, encoder=nn.Sequential(nn.Flatten(), nn.Linear(64, 20))), {"logit_scale": None}),
        (DCSSClustering(4, second_phase=False), {"fuzzifier": 2.0}),
    ],
    ids=str,
)
def test_nor_is_one_with_a_module_of_your_own_or_other_memberships(estimator, changed, X, tmp_path):
    estimator = clone(estimator).set_params(max_epochs=1, random_state=0).fit(X)
    state = torch.get_rng_state()
    estimator.save(tmp_path / "model")
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(ValueError, match="changed since fit"):
        estimator.set_params(**changed).save(tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
