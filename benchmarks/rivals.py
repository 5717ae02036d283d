"""The three default estimators beside k-means and ClustPy: python benchmarks/rivals.py --data mnist.npz

The file holds arrays X (n, 28, 28) uint8 and y (n,); without it, scikit-learn's digits. Every method gets the same
images, the number of classes as the number of clusters, and as many torch threads; labels only score the results.

k-means and mini-batch k-means, ten starts each, cluster the pixels and their first 64 principal components, which count
as part of the fit. ClustPy's DEC, IDEC and DCN by default settings get the flat pixels in [0, 1]. ClustPy is built
from source and so needs a compiler: put it into a virtual environment of its own (``pip install clustpy torch
torchvision``) and give that environment's Python as ``--clustpy``. Each of its fits has a process of its own, whose
start is not timed, and is stopped after ``--limit`` seconds. Results go to benchmarks/results/rivals-NAME.json.
"""

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch
from _methods import ClusteringPipeline
from _results import fit_cell, summarize, write_record
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from deepcluster_sk import DACClustering, DCCMClustering, DCSSClustering

WORKER = Path(__file__).parent / "_clustpy_worker.py"
CLUSTPY_METHODS = ("DEC", "IDEC", "DCN")
CLUSTPY_VERSIONS = """
import json
from importlib.metadata import version
import clustpy.deep
print(json.dumps({package: version(package) for package in ("clustpy", "torch", "scikit-learn", "numpy")}))
"""


class ClustPy:
    """A ClustPy method as an estimator whose process has started and loaded the samples before ``fit``.

    Parameters
    ----------
    python : str
        Path of the Python that has ClustPy.
    method : str
        Name in ``clustpy.deep``.
    folder : Path
        Holds samples.npz with an array X, and takes the labels.
    limit : float
        Seconds after which a fit is stopped.
    """

    def __init__(self, python: str, method: str, *, n_clusters: int, seed: int, folder: Path, limit: float) -> None:
        self.limit = limit
        self.labels_file = folder / f"{method}-{seed}.npy"
        arguments = [method, n_clusters, seed, torch.get_num_threads(), folder / "samples.npz", self.labels_file]
        self.process = subprocess.Popen(
            [python, WORKER, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TQDM_DISABLE": "1"},
        )
        if self.process.stdout.readline() != "ready\n":
            raise RuntimeError(f"{WORKER.name} did not start; its error is above.")

    def fit(self, X: np.ndarray) -> "ClustPy":
        """Fit on the samples in the folder; ``X`` stands only for scikit-learn's signature."""
        try:
            self.process.communicate("go\n", timeout=self.limit)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"stopped after {self.limit:.0f} s") from None
        finally:
            self.process.kill()
            self.process.wait()
        if self.process.returncode:
            raise RuntimeError(f"ended with exit status {self.process.returncode}")
        self.labels_ = np.load(self.labels_file)
        return self


def k_means_cells(flat: np.ndarray, y: np.ndarray, seeds: list[int]) -> list[dict]:
    """k-means and mini-batch k-means, on pixels and on principal components."""
    n_clusters, n_components = len(np.unique(y)), min(64, *flat.shape)
    cells = []
    for name, method in (("k-means", KMeans), ("mini-batch k-means", MiniBatchKMeans)):
        for seed in seeds:
            model = method(n_clusters, n_init=10, random_state=seed)
            cells.append(fit_cell(f"{name}, pixels", seed, model, flat, y))
        for seed in seeds:
            model = method(n_clusters, n_init=10, random_state=seed)
            pipeline = ClusteringPipeline([("pca", PCA(n_components, random_state=seed)), ("clusters", model)])
            cells.append(fit_cell(f"{name}, PCA", seed, pipeline, flat, y))
    return cells


def our_cells(images: np.ndarray, y: np.ndarray, seeds: list[int]) -> list[dict]:
    """The three estimators by default settings."""
    n_clusters = len(np.unique(y))
    return [
        fit_cell(method.__name__, seed, method(n_clusters, random_state=seed), images, y)
        for method in (DACClustering, DCCMClustering, DCSSClustering)
        for seed in seeds
    ]


def clustpy_cells(
    python: str, flat: np.ndarray, y: np.ndarray, seeds: list[int], limit: float
) -> tuple[list[dict], list[dict]]:
    """ClustPy's methods: the fits that ended, and those that did not, with the reason."""
    cells, unfinished = [], []
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "samples.npz", X=flat)
        for method in CLUSTPY_METHODS:
            for seed in seeds:
                name = f"ClustPy {method}"
                try:
                    model = ClustPy(
                        python, method, n_clusters=len(np.unique(y)), seed=seed, folder=Path(folder), limit=limit
                    )
                    cells.append(fit_cell(name, seed, model, flat, y))
                except RuntimeError as error:
                    print(f"{name:24s} seed {seed}  {error}", flush=True)
                    unfinished.append({"method": name, "seed": seed, "reason": str(error)})
    return cells, unfinished


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="an .npz file with X and y")
    parser.add_argument("--n-samples", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--clustpy", metavar="PYTHON", help="path of the Python that has ClustPy")
    parser.add_argument("--limit", type=float, default=1200, help="seconds for each fit of ClustPy")
    parser.add_argument("--name", help="of the results file; default: mnist with --data, else digits")
    options = parser.parse_args()
    figures = {}
    if options.clustpy:  # now, so that a wrong path is known before the long fits
        asked = subprocess.run([options.clustpy, "-c", CLUSTPY_VERSIONS], check=True, stdout=subprocess.PIPE)
        figures["clustpy_versions"] = json.loads(asked.stdout)
    if options.data:
        data = np.load(options.data)
        images, y = data["X"], data["y"]
    else:
        digits = load_digits()
        images, y = digits.images, digits.target
    images, y = images[: options.n_samples], y[: options.n_samples]
    flat = images.reshape(len(y), -1).astype(np.float32) / images.max()

    cells = k_means_cells(flat, y, options.seeds) + our_cells(images, y, options.seeds)
    if options.clustpy:
        finished, figures["unfinished"] = clustpy_cells(options.clustpy, flat, y, options.seeds, options.limit)
        cells += finished
    name = options.name or ("mnist" if options.data else "digits")
    write_record(f"rivals-{name}", cells=cells, summary=summarize(cells), n_samples=len(y), **figures)


if __name__ == "__main__":
    main()
