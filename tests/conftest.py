"""Shared fixtures and settings of the whole test run."""

import numpy as np
import pytest
import torch
from hypothesis import settings
from sklearn.datasets import load_digits

# Sums over another number of threads differ in the last bits, and thresholds turn last bits into labels.
torch.set_num_threads(1)

settings.register_profile("deepcluster_sk", deadline=None, max_examples=30, derandomize=True)
settings.load_profile("deepcluster_sk")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fuzz-minutes", type=float, help="draw random examples for so long, in tests/test_fuzz.py")


@pytest.fixture(scope="session")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Handwritten digits of scikit-learn: images (1797, 8, 8) float32 in [0, 1], steps of 1/16, and labels (1797,)."""
    data = load_digits()
    return (data.images / 16).astype(np.float32), data.target


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Untrained networks have the same weights whichever tests ran before."""
    torch.manual_seed(0)
