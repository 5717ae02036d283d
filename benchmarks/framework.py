"""DCSS as a general framework (DCSS, Table 4): python benchmarks/framework.py --data-dir DIR --seeds 0 1 2

A plain autoencoder with k-means, and ClustPy's DEC, IDEC, DCN and DKM, on the first 10,000 MNIST images, which
``_datasets.py`` looks for in DIR: each alone, and with MNet on the representation that it has learnt, which is the
second phase of ``DCSSClustering(encoder=...)``, by its default settings and by the paper's. Phase 2 starts from k-means
in the latent space. A method alone is scored by its own assignment, not by the k-means that ClustPy ends with. Pixels
are in [0, 1].

From each seed one autoencoder, 784-500-500-2000-10, is trained, and is where all five begin. Epochs are fewer than
ClustPy's default 100 and 150, and the same for a method alone and with MNet, which takes over its very fit. Fits are
kept in ``--fits`` and each cell in benchmarks/results/framework; a cell that has its file is not run again. Seconds are
those of the processor. Labels score the results; no fit sees them. Needs ``pip install "deepcluster_sk[clustpy]"``.
"""

import argparse
import json
import time
from collections.abc import Callable
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from _datasets import load
from _paper import paper_estimator
from _results import RESULTS, conditions, params_of, scores
from clustpy import deep
from clustpy.deep.neural_networks import FeedforwardAutoencoder
from sklearn.cluster import KMeans

from deepcluster_sk import DCSSClustering

FOLDER = RESULTS / "framework"
AUTOENCODER = "autoencoder"
# Methods, with the attribute that has their own assignment; ``labels_`` is a last k-means of ClustPy's.
METHODS = {"DEC": "dec_labels_", "IDEC": "dec_labels_", "DCN": "dcn_labels_", "DKM": "dkm_labels_"}
LAYERS = (784, 500, 500, 2000, 10)
BATCH_SIZE = 256  # ClustPy's default
DATA, N_CLUSTERS = "mnist-first-10000", 10


class Fits:
    """What ClustPy fits, kept in a folder.

    Parameters
    ----------
    folder : Path
    flat : ndarray of shape (n, 784), float32, in [0, 1]
    pretrain_epochs, clustering_epochs : int
        Of the autoencoder, and of each method that begins with it.
    """

    def __init__(self, folder: Path, flat: np.ndarray, pretrain_epochs: int, clustering_epochs: int) -> None:
        self.folder, self.flat = folder, flat
        self.epochs = {"pretraining": pretrain_epochs, "clustering": clustering_epochs}
        folder.mkdir(parents=True, exist_ok=True)

    def epochs_of(self, method: str) -> dict[str, int]:
        """Epochs of each phase of the autoencoder alone, or of a method that begins with it."""
        return {phase: n for phase, n in self.epochs.items() if method != AUTOENCODER or phase == "pretraining"}

    def get(self, method: str, seed: int) -> dict[str, Any]:
        """Fitted autoencoder or method, labels by k-means on its embedding, and the processor seconds of its fit."""
        epochs = "-".join(map(str, self.epochs.values()))
        path = self.folder / f"{method}-{seed}-{epochs}.joblib"
        if not path.exists():
            fit = self._autoencoder(seed) if method == AUTOENCODER else self._method(method, seed)
            joblib.dump(fit, path)
        return joblib.load(path)

    def _autoencoder(self, seed: int) -> dict[str, Any]:
        torch.manual_seed(seed)
        network = FeedforwardAutoencoder(list(LAYERS), random_state=seed)
        start = time.process_time()
        network.fit(n_epochs=self.epochs["pretraining"], batch_size=BATCH_SIZE, data=self.flat)
        embedding = network.transform(self.flat)
        labels = KMeans(N_CLUSTERS, n_init=10, random_state=seed).fit(embedding).labels_
        return {"fitted": network, "labels": labels, "seconds": time.process_time() - start}

    def _method(self, name: str, seed: int) -> dict[str, Any]:
        method = getattr(deep, name)(
            n_clusters=N_CLUSTERS,
            neural_network=self.get(AUTOENCODER, seed)["fitted"],
            clustering_epochs=self.epochs["clustering"],
            batch_size=BATCH_SIZE,
            initial_clustering_params={"n_init": 10},
            random_state=seed,
        )
        start = time.process_time()
        method.fit(self.flat.copy())
        return {"fitted": method, "labels": method.labels_, "seconds": time.process_time() - start}


def by_default(seed: int) -> DCSSClustering:
    """MNet by our settings."""
    return DCSSClustering(N_CLUSTERS, random_state=seed)


def by_paper(seed: int) -> DCSSClustering:
    """MNet by the paper's settings."""
    return paper_estimator("DCSS", seed).set_params(n_clusters=N_CLUSTERS, pretrain_epochs=None)


SETTINGS = {" + MNet": by_default, " + MNet, paper's settings": by_paper}


def with_mnet(
    make: Callable[[int], DCSSClustering], fits: Fits, method: str, seed: int, images: np.ndarray
) -> tuple[np.ndarray, dict[str, Any]]:
    """Labels of phase 2 on what a method has learnt, and what to record."""
    dcss = make(seed).set_params(encoder=fits.get(method, seed)["fitted"])
    params = params_of(make(seed))
    start = time.process_time()
    dcss.fit(images)
    report = {key: value for key, value in dcss.fit_report_.items() if key != "restart_agreement"}
    epochs = [record["phase"] for record in dcss.history_]
    return dcss.labels_, {
        "seconds": time.process_time() - start,
        "epochs": {phase: epochs.count(phase) for phase in dict.fromkeys(epochs)},
        "report": report,
        "params": params,
    }


def run(row: str, seed: int, fits: Fits, images: np.ndarray, y: np.ndarray) -> None:
    """Measure a cell that has no file yet."""
    path = FOLDER / f"{row.replace(' ', '_').replace(',', '').replace(chr(39), '')}--{seed}.json"
    if path.exists():
        return
    method = row.partition(" + ")[0]
    if method == row:
        fit = fits.get(method, seed)
        labels = fit["labels"] if method == AUTOENCODER else getattr(fit["fitted"], METHODS[method])
        figures = {"seconds": fit["seconds"], "epochs": fits.epochs_of(method), "k_means": scores(y, fit["labels"])}
    else:
        labels, figures = with_mnet(SETTINGS[row.removeprefix(method)], fits, method, seed, images)
    cell = {"data": DATA, "row": row, "seed": seed, "n_samples": len(images), **scores(y, labels), **figures}
    made_under = conditions()
    made_under["versions"]["clustpy"] = version("clustpy")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**cell, **made_under}, indent=1) + "\n")
    print(
        f"{row:40s} seed {seed}  ACC {cell['acc']:.4f}  NMI {cell['nmi']:.4f}  {cell['seconds']:6.1f} s  "
        f"{cell['epochs']}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--pretrain-epochs", type=int, default=50)
    parser.add_argument("--clustering-epochs", type=int, default=30)
    parser.add_argument("--fits", type=Path, help="folder for what ClustPy fits; default: DIR/framework")
    options = parser.parse_args()
    images, y = load(DATA, options.data_dir)
    images = (images / np.float32(255)).astype(np.float32)
    fits = Fits(
        options.fits or options.data_dir / "framework",
        images.reshape(len(images), -1),
        options.pretrain_epochs,
        options.clustering_epochs,
    )
    first, *others = SETTINGS
    for suffixes in (("", first), others):
        for seed, suffix, method in product(options.seeds, suffixes, (AUTOENCODER, *METHODS)):
            run(f"{method}{suffix}", seed, fits, images, y)


if __name__ == "__main__":
    main()
