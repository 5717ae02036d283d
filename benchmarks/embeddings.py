"""The three estimators beside other methods on frozen features: python benchmarks/embeddings.py --data FILE.npz

The file holds arrays X (n, n_features), float16 or float32, and y (n,). All methods get the same features and the
number of classes as the number of clusters: k-means of ten starts, the same on 50 principal components, a Gaussian
mixture with full covariances on these components, spectral clustering on the graph of 15 neighbours, each also on unit
vectors, and DAC, DCCM and DCSS by default settings.

"chosen by neighbours" is, for each seed, that one of our three fits whose clusters agree best with the nearest
neighbours in the features (``metrics.neighbor_agreement_score``), which needs no label; this rule was fixed before the
first run. Beside it is "chosen by transforms", the one that keeps most labels under random transforms, by which
``n_init`` keeps a restart. Rows of ``metric="euclidean"`` take no part in that. Cells of the same data and versions
that results/NAME.json holds are not run again.
"""

import argparse
import hashlib
from pathlib import Path

import numpy as np
from _methods import ClusteringPipeline
from _results import conditions, fit_cell, read_record, summarize, write_record
from sklearn.cluster import KMeans, SpectralClustering
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import normalize

from deepcluster_sk import DACClustering, DCCMClustering, DCSSClustering
from deepcluster_sk.metrics import neighbor_agreement_score

N_COMPONENTS, N_NEIGHBORS = 50, 15
OURS = {method.__name__: method for method in (DACClustering, DCCMClustering, DCSSClustering)}
UNIT, EUCLIDEAN = ", unit vectors", ', metric="euclidean"'
RULES = {"chosen by neighbours": "neighbor_agreement", "chosen by transforms": "augmentation_agreement"}


class LabelledMixture(GaussianMixture):
    """Gaussian mixture in float64, which its covariances need, with the attribute ``labels_`` of clusterers."""

    def fit(self, X, y=None):
        X = np.float64(X)
        super().fit(X)
        self.labels_ = self.predict(X)
        return self


def on_components(clusters, seed: int) -> ClusteringPipeline:
    return ClusteringPipeline([("pca", PCA(N_COMPONENTS, random_state=seed)), ("clusters", clusters)])


def k_means(n_clusters: int, seed: int) -> KMeans:
    return KMeans(n_clusters, n_init=10, random_state=seed)


BASELINES = {
    "k-means": k_means,
    "PCA + k-means": lambda k, seed: on_components(k_means(k, seed), seed),
    "PCA + Gaussian mixture": lambda k, seed: on_components(LabelledMixture(k, random_state=seed), seed),
    "spectral clustering": lambda k, seed: SpectralClustering(
        k, affinity="nearest_neighbors", n_neighbors=N_NEIGHBORS, random_state=seed
    ),
}


def cell_of(name: str, seed: int, X: np.ndarray, y: np.ndarray) -> dict:
    """One fit, with the label-free figures of ours by which one may choose."""
    n_clusters, method = len(np.unique(y)), name.removesuffix(UNIT).removesuffix(EUCLIDEAN)
    if method in BASELINES:
        features = X.astype(np.float32)
        features = normalize(features) if name.endswith(UNIT) else features
        return fit_cell(name, seed, BASELINES[method](n_clusters, seed), features, y)
    metric = "euclidean" if name.endswith(EUCLIDEAN) else "auto"
    estimator = OURS[method](n_clusters, metric=metric, random_state=seed)
    cell = fit_cell(name, seed, estimator, X, y)
    agreement = {
        "neighbor_agreement": neighbor_agreement_score(X, estimator.labels_),
        "augmentation_agreement": estimator.fit_report_["augmentation_agreement"],
    }
    print(", ".join(f"{key} {value:.4f}" for key, value in agreement.items()), flush=True)
    return {**cell, **agreement}


def chosen(cells: list[dict]) -> list[dict]:
    """By each rule, the best fit of each seed for which all three were fitted; seconds are of all three."""
    best = []
    for rule, criterion in RULES.items():
        for seed in dict.fromkeys(cell["seed"] for cell in cells):
            mine = [cell for cell in cells if cell["seed"] == seed and cell["method"] in OURS]
            if len(mine) == len(OURS):
                first = max(mine, key=lambda cell: cell[criterion])
                together = {"chosen": first["method"], "seconds": sum(cell["seconds"] for cell in mine)}
                best.append({**first, "method": rule, **together})
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="an .npz file with X and y")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--n-samples", type=int, help="only the first so many")
    parser.add_argument("--name", default="embeddings", help="of the results file")
    options = parser.parse_args()
    data = np.load(options.data)
    X, y = data["X"][: options.n_samples], data["y"][: options.n_samples]
    content = hashlib.sha256(np.ascontiguousarray(X).data).hexdigest()[:16]
    what = {"data": Path(options.data).name, "sha256": content, "shape": list(X.shape), "dtype": str(X.dtype)}

    record = read_record(options.name)
    is_same = record.get("features") == what and record.get("versions") == conditions()["versions"]
    kept = {(cell["method"], cell["seed"]): cell for cell in record["cells"]} if is_same else {}
    names = [*BASELINES, *(method + UNIT for method in BASELINES), *OURS, *(method + EUCLIDEAN for method in OURS)]
    for seed in options.seeds:
        for name in names:
            if (name, seed) in kept:
                continue
            kept[name, seed] = cell_of(name, seed, X, y)
            cells = sorted(kept.values(), key=lambda cell: (names.index(cell["method"]), cell["seed"]))
            write_record(options.name, features=what, cells=cells, summary=[])
    cells = sorted(kept.values(), key=lambda cell: (names.index(cell["method"]), cell["seed"]))
    summary = summarize(cells + chosen(cells))
    write_record(options.name, features=what, cells=cells, chosen=chosen(cells), summary=summary)


if __name__ == "__main__":
    main()
