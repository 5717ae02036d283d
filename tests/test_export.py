"""Exported programs give the probabilities of ``predict_proba``."""

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.datasets import load_digits, load_wine
from sklearn.exceptions import NotFittedError

from deepcluster_sk import DACClustering, DCCMClustering, DCSSClustering

X = load_digits().images


def run(path, samples):
    if path.suffix == ".pt2":
        return torch.export.load(path).module()(torch.from_numpy(samples)).numpy()
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"samples": samples})[0]


@pytest.mark.parametrize("ending", [".pt2", ".onnx"])
@pytest.mark.parametrize("Estimator", [DACClustering, DCCMClustering, DCSSClustering])
def test_images(Estimator, ending, tmp_path):
    fitted = Estimator(n_clusters=4, max_epochs=2, precision="float32", random_state=0).fit(X[:200])
    fitted.export(tmp_path / f"program{ending}")
    for n in (1000, 1):
        found = run(tmp_path / f"program{ending}", X[:n, None].astype(np.float32))
        assert_allclose(found, fitted.predict_proba(X[:n]), atol=1e-5)


@pytest.mark.parametrize("ending", [".pt2", ".onnx"])
def test_feature_vectors(ending, tmp_path):
    wine = load_wine().data.astype(np.float32)
    fitted = DCSSClustering(n_clusters=3, max_epochs=2, second_phase=False, random_state=0).fit(wine)
    fitted.export(tmp_path / f"program{ending}")
    assert_allclose(run(tmp_path / f"program{ending}", wine), fitted.predict_proba(wine), atol=1e-5)


@pytest.mark.parametrize("ending", [".pt2", ".onnx"])
def test_vectors_compared_by_direction(ending, tmp_path):
    vectors = X.reshape(-1, 64).astype(np.float32)
    fitted = DACClustering(n_clusters=4, max_epochs=2, random_state=0).fit(vectors[:200])
    fitted.export(tmp_path / f"program{ending}")
    some = vectors[:50] * np.logspace(-30, 30, 50, dtype=np.float32)[:, None]
    some[0] = 0
    expected = fitted.predict_proba(np.concatenate([some[:1], vectors[1:50]]))
    assert_allclose(run(tmp_path / f"program{ending}", some), expected, atol=1e-5)


def test_what_cannot_be_exported(tmp_path):
    with pytest.raises(NotFittedError):
        DACClustering().export(tmp_path / "a.onnx")
    fitted = DACClustering(n_clusters=2, max_epochs=1, random_state=0).fit(X[:20])
    with pytest.raises(ValueError, match=r"path='a\.h5' must end in \.pt2 or \.onnx"):
        fitted.export("a.h5")


def test_what_onnx_needs_is_named(tmp_path, monkeypatch):
    fitted = DACClustering(n_clusters=2, max_epochs=1, random_state=0).fit(X[:20])
    monkeypatch.setattr("deepcluster_sk._export.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "deepcluster_sk\[onnx\]"'):
        fitted.export(tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())
