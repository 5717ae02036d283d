"""Data larger than memory should hold: python benchmarks/large.py

memmap: 40,000 uint8 images of 224x224x3 in a file of 6 GB, at image_size=32.
folder: 50,000 JPEG files of 320x240, seven of them damaged, at image_size=32.
embeddings: 5,000,000 vectors of 256 numbers in half precision, in a file of 2.6 GB.

Images are made anew in a temporary folder from crops of scikit-learn's two sample photographs, vectors around a hundred
random centres. They are clustered for one epoch a phase in a process of its own, whose private memory (RssAnon, of
Linux) is read every tenth of a second. ``--uncached`` keeps no decoded images, as if they did not fit into memory.
Results go to benchmarks/results/large.json.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import numpy as np
from _results import read_record, update_record
from PIL import Image
from sklearn.datasets import load_sample_images

import deepcluster_sk
import deepcluster_sk._lazy

METHODS = ("DACClustering", "DCCMClustering", "DCSSClustering")
N_MAPPED, N_FILES, N_DAMAGED = 40_000, 50_000, 7
N_VECTORS, N_DIMENSIONS, N_CENTERS = 5_000_000, 256, 100
# Seconds and bytes that a fit may take.
TARGETS = {"memmap": (2400, 1.5e9), "folder": (2400, 1.5e9), "embeddings": (1800, 2**31)}


def crops(n: int, height: int, width: int):
    """Random crops of the photographs, mirrored at random."""
    photographs, rng = load_sample_images().images, np.random.default_rng(0)
    for _ in range(n):
        photograph = photographs[rng.integers(len(photographs))]
        top, left = rng.integers(photograph.shape[0] - height), rng.integers(photograph.shape[1] - width)
        yield photograph[top : top + height, left : left + width][:, :: rng.choice((1, -1))]


def make_memmap(folder: Path) -> str:
    path = folder / "images.npy"
    mapped = np.lib.format.open_memmap(path, "w+", np.uint8, (N_MAPPED, 224, 224, 3))
    for i, crop in enumerate(crops(N_MAPPED, 224, 224)):
        mapped[i] = crop
    mapped.flush()
    return str(path)


def make_folder(folder: Path) -> str:
    for i, crop in enumerate(crops(N_FILES, 240, 320)):
        path = folder / f"{i % 100:02}" / f"{i:05}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(crop).save(path, quality=85)
        if i % (N_FILES // N_DAMAGED) == 100:
            path.write_bytes(path.read_bytes()[:500])
    return str(folder)


def make_embeddings(folder: Path) -> str:
    path, rng = folder / "embeddings.npy", np.random.default_rng(0)
    mapped = np.lib.format.open_memmap(path, "w+", np.float16, (N_VECTORS, N_DIMENSIONS))
    centers = rng.standard_normal((N_CENTERS, N_DIMENSIONS), np.float32)
    for rows in np.split(np.arange(N_VECTORS), 100):
        mapped[rows] = centers[rng.integers(N_CENTERS, size=len(rows))]
        mapped[rows] += rng.standard_normal((len(rows), N_DIMENSIONS), np.float32).astype(np.float16)
    mapped.flush()
    return str(path)


MAKE = {"memmap": make_memmap, "folder": make_folder, "embeddings": make_embeddings}


def private_bytes() -> int:
    """Memory of this process that no file is behind."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return int(status["RssAnon"].split()[0]) * 1024


def fit(path: str, method: str, *, uncached: bool) -> None:
    """Print seconds, peak of private memory and what was left out."""
    peak, done = [private_bytes()], threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            peak[0] = max(peak[0], private_bytes())

    threading.Thread(target=watch).start()
    if uncached:
        deepcluster_sk._lazy._SHARE = 0.0
    X = np.load(path, mmap_mode="r") if path.endswith(".npy") else path
    of_images = {} if getattr(X, "ndim", 0) == 2 else {"image_size": 32, "on_error": "skip"}
    estimator = getattr(deepcluster_sk, method)(10, max_epochs=1, random_state=0, **of_images)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(X)
    seconds = time.perf_counter() - start
    done.set()
    unreadable = [Path(path).name for path in getattr(estimator, "unreadable_", ())]
    print(json.dumps({"n": len(estimator.labels_), "seconds": seconds, "peak": peak[0], "unreadable": unreadable}))


def measure(kind: str, methods: list[str], *, uncached: bool) -> dict[str, dict]:
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = MAKE[kind](Path(folder))
        for method in methods:
            command = [sys.executable, __file__, "--child", path, method, *["--uncached"] * uncached]
            run = subprocess.run(command, capture_output=True, text=True, check=True)
            found[method] = json.loads(run.stdout.splitlines()[-1])
            seen = found[method]
            named = f", left out: {', '.join(seen['unreadable'])}" if seen["unreadable"] else ""
            seconds, peak = TARGETS[kind]
            met = seen["seconds"] < seconds and seen["peak"] < peak
            print(
                f"{kind:10s} {method:16s} {seen['n']:7d} samples {seen['seconds'] / 60:5.1f} min "
                f"({seen['seconds'] / seen['n'] * 1e6:.0f} s a million), {seen['peak'] / 1e9:.2f} GB private, targets "
                f"{seconds // 60} min and {peak / 1e9:.2f} GB: {'met' if met else 'NOT met'}{named}",
                flush=True,
            )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=tuple(MAKE), nargs="*", default=list(MAKE))
    parser.add_argument("--methods", choices=METHODS, nargs="*", default=list(METHODS))
    parser.add_argument("--uncached", action="store_true", help="decode in every epoch")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        fit(*options.child, uncached=options.uncached)
        return
    for kind in options.only:
        part = f"{kind}, decoded in every epoch" if options.uncached else kind
        so_far = read_record("large").get(part, {})
        update_record("large", part, {**so_far, **measure(kind, options.methods, uncached=options.uncached)})


if __name__ == "__main__":
    main()
