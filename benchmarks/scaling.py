"""How speed, memory and time grow, on made-up images: python benchmarks/scaling.py

throughput: images a second of ``predict``, against the bare forward pass of the same network.
memory: highest resident size of ``fit`` and ``predict`` in a new process, against the number of images n.
time: seconds of ``fit`` with one epoch a phase, against n, the number of clusters K, and the side of the images.

Results go to benchmarks/results/scaling.json; ``--only`` and ``--methods`` replace just their own entries there.
"""

import argparse
import os
import resource
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from _results import read_record, update_record

import deepcluster_sk
from deepcluster_sk.exceptions import CollapseWarning

METHODS = ["DACClustering", "DCCMClustering", "DCSSClustering"]
# 2,560 and not 2,500: every training batch then has 256 images, so that none costs buffers or kernels of its own.
BASE, FACTORS = 2_560, (1, 4, 16)
CLUSTERS, SIDES = (5, 10, 20, 40, 80), (16, 32, 64)
# Sizes of batch for the bare forward pass, of which the faster counts.
BARE_ROWS = (128, 1024)
RATIO, EXPONENT, BYTES = ">= 0.9", "<= 1.1", "<= 100"


def blobs(n: int, n_clusters: int = 10, side: int = 28) -> np.ndarray:
    """Smooth random prototypes plus noise, uint8; filled a few at a time, so that making them sets no memory peak."""
    rng = np.random.default_rng(0)
    waves = np.cos(np.pi * np.outer((np.arange(side) + 0.5) / side, np.arange(4)))  # (side, 4)
    prototypes = 128 + 40 * waves @ rng.normal(size=(n_clusters, 4, 4)) @ waves.T
    X = np.empty((n, side, side), np.uint8)
    for rows in np.array_split(np.arange(n), n // 256 + 1):
        noisy = prototypes[rows % n_clusters] + 20 * rng.normal(size=(len(rows), side, side))
        X[rows[0] : rows[-1] + 1] = noisy.clip(0, 255)
    return X


def fitted(method: str, X: np.ndarray, n_clusters: int = 10, n_neighbors: int = 5):
    """The default estimator after one epoch of each of its phases."""
    estimator = getattr(deepcluster_sk, method)(n_clusters, max_epochs=1, n_neighbors=n_neighbors, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollapseWarning)
        return estimator.fit(X)


def seconds_of(function, *args) -> float:
    start = time.perf_counter()
    function(*args)
    return time.perf_counter() - start


def exponent(x, y) -> float:
    """Slope of the least-squares line through the logarithms: y grows as x to this power."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def judge(what: str, value: float, target: str) -> bool:
    """Say whether a target such as "<= 1.1" is met."""
    sign, bound = target.split()
    met = bool(value >= float(bound) if sign == ">=" else value <= float(bound))
    print(f"    {what}: {value:.2f}, target {target}: {'met' if met else 'NOT met'}", flush=True)
    return met


@torch.inference_mode()
def forward(module: torch.nn.Module, batches) -> None:
    for batch in batches:
        module(batch)


def throughput(method: str, scale: float, repeats: int) -> dict:
    """Predict and the bare forward in turns; medians, after one untimed round."""
    X = blobs(round(10_000 * scale))
    estimator = fitted(method, X[:1_000])
    images = torch.from_numpy(X[:, None]).float() / 255
    images = images.contiguous(memory_format=torch.channels_last)
    rounds = [
        (
            seconds_of(estimator.predict, X),
            *(seconds_of(forward, estimator.module_, images.split(rows)) for rows in BARE_ROWS),
        )
        for _ in range(1 + max(5, repeats))
    ]
    predict, *bare = np.array(rounds[1:]).T
    bare = min(bare, key=np.median)
    speeds = {"predict": len(X) / np.median(predict), "bare": len(X) / np.median(bare)}
    ratio = speeds["predict"] / speeds["bare"]
    print(f"{method}, {len(X)} images: predict {speeds['predict']:.0f}/s, bare forward {speeds['bare']:.0f}/s")
    raw = {"n": len(X), "predict_seconds": predict.tolist(), "bare_seconds": bare.tolist()}
    return {**raw, "images_per_second": speeds, "ratio": ratio, "target_met": judge("ratio", ratio, RATIO)}


def peak_bytes() -> int:
    """Highest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def peak_of(method: str, task: str, n: int, n_small: int) -> dict:
    """Peaks of this process, which must be new: with X and the libraries, after the task on a few of X, and on X."""
    X = blobs(n)
    peaks = {"n": n, "start": peak_bytes()}
    fit = partial(fitted, method, n_clusters=2)  # since DCSS takes as many steps a batch as there are clusters
    estimator = fit(X[:n_small])
    peaks["baseline"] = peak_bytes()
    # Linux hands the parent's peak on to its children; if it is above theirs, nothing can be measured.
    if peaks["baseline"] == peaks["start"]:
        raise RuntimeError("The small fit did not raise the peak; start this from a smaller process.")
    if task == "fit":
        fit(X)
    else:
        if sys.platform == "linux":  # lets the peak fall back to the present size; that of fit would hide predict's
            Path("/proc/self/clear_refs").write_text("5")
        estimator.predict(X[:n_small])
        peaks["baseline"] = peak_bytes()
        estimator.predict(X)
    return {**peaks, "peak": peak_bytes()}


def memory(method: str, scale: float, repeats: int) -> dict:
    """Medians of at least five processes for each task and n; a single one is some MiB off by chance."""
    # Without a fixed threshold glibc keeps freed blocks, and whether they can be used again is chance: tens of MiB.
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"
    result = {}
    for task in ("fit", "predict"):
        cells = []
        n = np.array([round(BASE * scale) * factor for factor in FACTORS])
        for size in n.tolist() * max(5, repeats):
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                cells.append(pool.submit(peak_of, method, task, size, round(BASE * scale) // 2).result())
        beyond = np.array([cell["peak"] - cell["baseline"] for cell in cells]).reshape(-1, len(n))
        beyond = np.median(beyond, axis=0)  # (len(n),)
        figures = {
            "bytes_beyond_data": dict(zip(n.tolist(), beyond.tolist(), strict=True)),
            "bytes_per_sample_beyond_data": float(np.polyfit(n, beyond, 1)[0]),
            # What is bounded, such as the 20,000 samples for k-means, counts for less here.
            "bytes_per_sample_last_step": float((beyond[-1] - beyond[-2]) / (n[-1] - n[-2])),
            "exponent": exponent(n, beyond + n * 28 * 28),
        }
        sizes = ", ".join(f"{a}: {b / 2**20:.1f}" for a, b in zip(n, beyond, strict=True))
        print(f"{method}, {task}, MiB beyond data by n: {sizes}")
        print(f"    bytes a sample between the last two: {figures['bytes_per_sample_last_step']:.0f}")
        figures["exponent_met"] = judge("exponent of peak with data", figures["exponent"], EXPONENT)
        if task == "fit":
            per_sample = figures["bytes_per_sample_beyond_data"]
            figures["bytes_met"] = judge("bytes a sample beyond data", per_sample, BYTES)
        result[task] = {"cells": cells, **figures}
    return result


def series(method: str, name: str, values, settings, repeats: int) -> dict:
    """Median seconds of a fit for each value, of which ``settings`` makes X and parameters; the largest n runs once."""
    cells = []
    for value in values:
        X, parameters = settings(value)
        for _ in range(1 if name == "n" and value == max(values) else repeats):
            cells.append({name: value, "seconds": seconds_of(fitted, method, X, *parameters)})
    medians = {v: float(np.median([cell["seconds"] for cell in cells if cell[name] == v])) for v in values}
    power = exponent(list(medians), list(medians.values()))
    shown = ", ".join(f"{value}: {seconds:.2f}" for value, seconds in medians.items())
    print(f"{method}, seconds by {name}: {shown}; exponent {power:.2f}", flush=True)
    return {"cells": cells, "median_seconds": medians, "exponent": power}


def fit_time(method: str, scale: float, repeats: int) -> dict:
    """Against n, with and without the search for neighbours, against K and against the side."""
    base, n_side = round(BASE * scale), round(1_000 * scale)
    sizes = [base * factor for factor in FACTORS]
    fitted(method, blobs(n_side))  # so that no library starts up within the first measurement
    by_n = series(method, "n", sizes, lambda n: (blobs(n), ()), repeats)
    by_n["target_met"] = judge("exponent in n", by_n["exponent"], EXPONENT)
    print("  n_neighbors=0, without the exact search for neighbours, which is expected to be quadratic in n:")
    return {
        "n": by_n,
        "n_without_neighbors": series(method, "n", sizes, lambda n: (blobs(n), (10, 0)), repeats),
        "n_clusters": series(method, "n_clusters", CLUSTERS, lambda k: (blobs(base, k), (k,)), repeats),
        "side": series(method, "side", SIDES, lambda side: (blobs(n_side, side=side), ()), repeats),
    }


# Memory comes first, while this process is small: see peak_of.
PARTS = {"memory": memory, "throughput": throughput, "time": fit_time}


def save(name: str, part: str, entries: dict) -> None:
    """Put entries, by method, beside those that the file holds."""
    update_record(name, part, {**read_record(name).get(part, {}), **entries})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=sorted(PARTS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--repeats", type=int, default=3, help="of a time; of predict and of memory at least five")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies every n; below 1 for a trial run")
    parser.add_argument("--name", default="scaling", help="of the results file")
    options = parser.parse_args()
    start = time.perf_counter()
    for part in [options.only] if options.only else PARTS:
        print(f"\n{part}\n{'-' * len(part)}")
        for method in options.methods:
            entry = {"scale": options.scale, **PARTS[part](method, options.scale, options.repeats)}
            save(options.name, part, {method: entry})
    print(f"the whole run took {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
