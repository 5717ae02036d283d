"""Many threads, other processes, and many fits in one process."""

import os
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_all_start_methods
from pathlib import Path

import pytest
from numpy.testing import assert_array_equal
from sklearn.datasets import load_digits

from deepcluster_sk import DACClustering, DCCMClustering, DCSSClustering

METHODS = [DACClustering, DCCMClustering, DCSSClustering]
each = pytest.mark.parametrize("Estimator", METHODS)
N_THREADS = 8


@pytest.fixture(scope="module")
def X():
    return load_digits().images[:200]


@pytest.fixture(scope="module")
def fitted(X):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {kind: kind(n_clusters=4, max_epochs=1, random_state=0).fit(X[:60]) for kind in METHODS}


@each
@pytest.mark.parametrize("method", ["predict", "predict_proba", "transform", "augmentation_agreement"])
def test_prediction_from_many_threads_is_the_serial_one(Estimator, method, fitted, X):
    predict = getattr(fitted[Estimator], method)
    shares = [X[i :: 2 * N_THREADS] for i in range(2 * N_THREADS)]
    expected = [predict(share) for share in shares]
    begin = threading.Barrier(N_THREADS)

    def repeated(thread):
        begin.wait()
        return [predict(share) for share in shares[thread:] + shares[:thread]]

    with ThreadPoolExecutor(N_THREADS) as pool:
        for thread, found in enumerate(pool.map(repeated, range(N_THREADS))):
            for one, other in zip(found, expected[thread:] + expected[:thread], strict=True):
                assert_array_equal(one, other)


IN_ANOTHER = """
import sys, warnings
from faulthandler import dump_traceback_later
from multiprocessing import get_context
import torch
from sklearn.datasets import load_digits
from deepcluster_sk import DACClustering, DCCMClustering, DCSSClustering
torch.set_num_threads(2)
X = load_digits().images[:200]
warnings.simplefilter("ignore")
shared = dict(n_clusters=4, max_epochs=1, random_state=0)
fitted = [Estimator(**shared).fit(X[:60]) for Estimator in (DACClustering, DCCMClustering, DCSSClustering)]
with get_context(sys.argv[1]).Pool(1, dump_traceback_later, (100,)) as pool:
    for estimator in fitted:
        found = pool.apply_async(estimator.predict, (X,)).get(timeout=120)
        assert (found == estimator.predict(X)).all()
        assert len(pool.apply_async(estimator.fit_predict, (X,)).get(timeout=120)) == len(X)
"""


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_prediction_and_fit_in_another_process(start_method):
    """Which has none of the two threads by which this one computed, and would wait for them without end."""
    if start_method not in get_all_start_methods():
        pytest.skip("there is no fork here")
    command = [sys.executable, "-c", IN_ANOTHER, start_method]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


HELD = """
import os, signal, threading
import torch
from deepcluster_sk._torch_state import own_torch_state
cpu, inside, leave = torch.device("cpu"), threading.Event(), threading.Event()

def fit():
    with own_torch_state(cpu):
        inside.set()
        leave.wait()

thread = threading.Thread(target=fit)
thread.start()
inside.wait()
child = os.fork()
if child == 0:
    signal.alarm(30)
    with own_torch_state(cpu):
        os._exit(7)
leave.set()
thread.join()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_process_forked_while_another_thread_fits_can_fit():
    command = [sys.executable, "-W", "ignore", "-c", HELD]
    assert subprocess.run(command, capture_output=True, text=True, timeout=100, check=True).stdout == "7\n"


MANY_FITS = """
import gc, os, sys, threading, warnings
import torch
from pathlib import Path
from sklearn.datasets import load_digits
import deepcluster_sk
torch.set_num_threads(1)
warnings.simplefilter("ignore")
X = load_digits().images[:40]

def in_use():
    gc.collect()
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return [int(status["RssAnon"].split()[0]), int(status["Threads"]), len(os.listdir("/proc/self/fd"))]

for n_fits in (60, 140):
    for i in range(n_fits):
        fitted = getattr(deepcluster_sk, sys.argv[1])(n_clusters=3, max_epochs=1, n_neighbors=2, random_state=i).fit(X)
        fitted.predict(X)
    print(*in_use())
"""


@each
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux alone says what is in use")
def test_two_hundred_fits_leave_nothing_behind(Estimator):
    command = [sys.executable, "-c", MANY_FITS, Estimator.__name__]
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "100000"}
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=500).stdout
    before, after = ([int(word) for word in line.split()] for line in output.splitlines())
    assert after[1:] == before[1:]  # threads and open files
    assert after[0] - before[0] < 140 * 50  # KiB: networks that were never freed would take many times as much
