"""What checkpoints cost: python benchmarks/checkpoint_cost.py --data mnist.npz

Each method is fitted to all images of the file with ``checkpoint_dir`` and the default interval, and the seconds that
go into fingerprints and files are summed up beside those of the fit. The record is
benchmarks/results/checkpoint-cost.json.
"""

import argparse
import tempfile
import time
import warnings
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import numpy as np
from _results import read_record, update_record

import deepcluster_sk
from deepcluster_sk import _base, _checkpoint
from deepcluster_sk._checkpoint import Journal
from deepcluster_sk.metrics import clustering_accuracy_score

METHODS = ["DACClustering", "DCCMClustering", "DCSSClustering"]


class Clock:
    """Adds up the seconds within the functions that it times."""

    def __init__(self) -> None:
        self.seconds, self.calls = 0.0, 0

    def timed(self, function):
        def run(*args, **kwargs):
            start = time.perf_counter()
            result = function(*args, **kwargs)
            self.seconds += time.perf_counter() - start
            self.calls += 1
            return result

        return run


def measure(method: str, X: np.ndarray, y: np.ndarray, seed: int, max_epochs: int | None) -> dict:
    written, marked, saves = Clock(), Clock(), Clock()
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(mock.patch.object(_checkpoint, "write", written.timed(_checkpoint.write)))
        stack.enter_context(mock.patch.object(_base, "fingerprint", marked.timed(_base.fingerprint)))
        stack.enter_context(mock.patch.object(Journal, "save", saves.timed(Journal.save)))
        estimator = getattr(deepcluster_sk, method)(random_state=seed, max_epochs=max_epochs, checkpoint_dir=folder)
        start = time.perf_counter()
        estimator.fit(X)
        seconds = time.perf_counter() - start
        size = max((path.stat().st_size for path in Path(folder).rglob("*.ckpt")), default=0)
    share = (written.seconds + marked.seconds) / seconds
    accuracy = clustering_accuracy_score(y, estimator.labels_)
    print(
        f"{method}, seed {seed}: ACC {accuracy:.4f}, fit {seconds:.0f} s, {saves.calls} checkpoints, "
        f"{written.calls} files in {written.seconds:.2f} s, fingerprint {marked.seconds:.2f} s: "
        f"{share:.2%}; largest file left {size / 2**20:.1f} MiB",
        flush=True,
    )
    return {
        "n_samples": len(X),
        "seed": seed,
        "max_epochs": max_epochs,
        "seconds": seconds,
        "acc": accuracy,
        "checkpoints": saves.calls,
        "write_seconds": written.seconds,
        "fingerprint_seconds": marked.seconds,
        "share": share,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", required=True, help="an .npz file with X (n, h, w) uint8 and y, which scores the fits"
    )
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-epochs", type=int, help="fewer than the default, for a trial")
    options = parser.parse_args()
    with np.load(options.data) as file:
        X, y = file["X"], file["y"]
    for method in options.methods:
        made = {method: measure(method, X, y, options.seed, options.max_epochs)}
        update_record("checkpoint-cost", "methods", {**read_record("checkpoint-cost").get("methods", {}), **made})


if __name__ == "__main__":
    main()
