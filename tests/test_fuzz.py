"""Any parameters on any data: a method works, or an error says what was wrong with which parameter.

A hundred examples in a normal run; ``python -m pytest -s tests/test_fuzz.py --fuzz-minutes 10`` goes on with others.
"""

import re
import signal
import sys
import time
import warnings
from collections import Counter
from contextlib import contextmanager

import hypothesis.extra.numpy as hnp
import numpy as np
import pandas as pd
import torch
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from deepcluster_sk import DACClustering, DCCMClustering, DCSSClustering

METHODS = [DACClustering, DCCMClustering, DCSSClustering]
SMALL = {"n_clusters": 3, "max_epochs": 1, "n_neighbors": 2, "device": "cpu"}
# A text would be the name of a folder that is made, of a device or a file that is opened.
PATHS = {"checkpoint_dir"}
LONGEST = 120  # seconds until a call counts as hanging

odd_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 9),
    st.floats(),
    st.floats(0, 1),
    st.text(max_size=8),
    st.sampled_from(
        ["auto", "float32", "bfloat16", "cpu", "keep", "raise", "conv", "linear", "V1", "1 epoch", [], {}, (8, 8)]
    ),
    st.sampled_from([np.float32(0.5), np.int64(3), np.nan, np.bool_(True), 1j, torch.nn.Flatten(), len, object()]),
    st.tuples(st.integers(-1, 9), st.integers(-1, 9)),
)
dtypes = st.sampled_from([np.uint8, np.int64, np.float16, np.float32, np.float64, bool, complex, object, "U3", "S2"])
shapes = st.one_of(
    hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=7),
    st.tuples(st.integers(2, 30), st.integers(1, 20)),
    st.tuples(st.integers(2, 30), st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(2, 20), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3])),
)


@st.composite
def arrays(draw):
    """Mostly numbers in a sensible range, sometimes of any dtype and value."""
    shape = draw(shapes)
    if draw(st.booleans()):
        values = np.random.default_rng(draw(st.integers(0, 99))).normal(size=shape) * 10.0 ** draw(st.integers(-40, 40))
        with np.errstate(over="ignore"):
            array = np.asarray(values).astype(draw(st.sampled_from([np.float32, np.float64])))
    else:
        dtype = draw(dtypes)
        elements = st.one_of(st.floats(), st.text(max_size=2), st.none()) if dtype is object else None
        array = draw(hnp.arrays(dtype, shape, elements=elements))
    layout = draw(st.sampled_from(["as it is", "fortran", "read-only", "backwards", "tensor", "list", "frame"]))
    if layout == "fortran":
        return np.asfortranarray(array)
    if layout == "read-only":
        array.flags.writeable = False
    if layout == "backwards" and array.ndim:
        return array[::-1]
    if layout == "tensor" and array.dtype.kind in "biufc":
        return torch.as_tensor(np.ascontiguousarray(array))
    if layout == "list":
        return array.tolist()
    if layout == "frame" and array.ndim == 2:
        return pd.DataFrame(array)
    return array


@st.composite
def estimators(draw):
    Estimator = draw(st.sampled_from(METHODS))
    names = sorted(Estimator().get_params())
    chosen = draw(st.one_of(st.just([]), st.lists(st.sampled_from(names), max_size=3, unique=True)))
    params = {name: draw(odd_values) for name in chosen}
    return Estimator(**{**SMALL, **{k: None if k in PATHS and isinstance(v, str) else v for k, v in params.items()}})


@contextmanager
def no_hang():
    def alarm(number, frame):
        raise AssertionError(f"not done after {LONGEST} s")

    before = signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, LONGEST)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def attempt(estimator, method, X, seen):
    """Result of the method, or None if it refused."""
    before, begun, refusal = dict(vars(estimator)), time.perf_counter(), None
    try:
        with no_hang():
            result = getattr(estimator, method)(X)
    except (TypeError, ValueError) as error:
        refusal = str(error)
    if refusal is None:
        seen["done"] += 1
        return result
    named = "|".join(["X", *estimator.get_params()])
    assert re.search(rf"\b({named})\b", refusal), f"names no parameter: {refusal}"
    assert vars(estimator).keys() == before.keys()
    assert all(vars(estimator)[name] is value for name, value in before.items())
    seen["refused"] += 1
    seen["slowest refusal, seconds"] = max(seen["slowest refusal, seconds"], time.perf_counter() - begun)
    return None


def test_fuzz(request):
    seen = Counter()

    def example(estimator, X, other):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if attempt(estimator, "fit", X, seen) is None:
                return
            assert estimator.labels_.shape == (len(X),)
            assert set(estimator.labels_) <= set(range(estimator.n_clusters))
            proba = attempt(estimator, "predict_proba", X, seen)
            np.testing.assert_allclose(proba.sum(1), 1, rtol=1e-4)
            proba = attempt(estimator, "predict_proba", other, seen)
            assert proba is None or np.isfinite(proba).all()

    minutes = request.config.getoption("--fuzz-minutes")
    options = {"max_examples": 100, "suppress_health_check": list(HealthCheck), "derandomize": False, "database": None}
    end, n_rounds = time.monotonic() + 60 * (minutes or 0), 0
    while n_rounds == 0 or time.monotonic() < end:
        seed(n_rounds)(settings(**options)(given(estimators(), arrays(), arrays())(example)))()
        n_rounds += 1
    sys.stdout.write(f"\n{n_rounds} rounds of 100 examples: {dict(seen)}\n")
    assert seen["refused"]
    assert seen["done"]
