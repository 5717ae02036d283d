"""The rows of the tables by name: each method and variant by default settings, or by the papers' own."""

from typing import Any

import numpy as np
from _paper import paper_estimator
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from deepcluster_sk import DACClustering, DCCMClustering, DCSSClustering

GRAPH_ONLY = {"local_robustness": False, "label_weight": 0.0, "mi_weight": 0.0}
AUTOENCODER_ONLY = {"contrastive_weight": 0.0, "first_phase_epochs": 0, "second_phase": False}
VARIANTS: dict[str, tuple[type, dict[str, Any]]] = {
    "DAC*": (DACClustering, {"pair_selection": "all"}),
    "DAC": (DACClustering, {}),
    "DCCM M1": (DCCMClustering, GRAPH_ONLY),
    "DCCM M2": (DCCMClustering, {"label_weight": 0.0, "mi_weight": 0.0}),
    "DCCM M3": (DCCMClustering, {"mi_weight": 0.0}),
    "DCCM": (DCCMClustering, {}),
    "AE + k-means": (DCSSClustering, AUTOENCODER_ONLY),
    "pretraining + k-means": (DCSSClustering, {"first_phase_epochs": 0, "second_phase": False}),  # ours, contrastive
    "DCSS_agg": (DCSSClustering, {"cluster_losses": "aggregated", "second_phase": False}),
    "DCSSu": (DCSSClustering, {"second_phase": False}),
    "DCSS": (DCSSClustering, {}),
}
# By the papers' settings DCSS begins with the pretraining of "AE + k-means", which 20 minutes do not end.
PAPER_VARIANTS = tuple(name for name in VARIANTS if name != "pretraining + k-means" and "DCSS" not in name)
PAPER_METHODS = {DACClustering: "DAC", DCCMClustering: "DCCM", DCSSClustering: "DCSS"}


def default(method: str, n_clusters: int, seed: int, **params: Any) -> Any:
    """A row by our settings, with some parameters changed."""
    if method in BASELINES:
        return BASELINES[method](n_clusters, seed)
    kind, variant = VARIANTS[method]
    return kind(n_clusters, random_state=seed, **{**variant, **params})


def paper(method: str, n_clusters: int, seed: int) -> Any:
    """A row by the paper's settings."""
    kind, variant = VARIANTS[method]
    return paper_estimator(PAPER_METHODS[kind], seed).set_params(n_clusters=n_clusters, **variant)


def images_for(method: str, X: np.ndarray) -> np.ndarray:
    """Images of 28x28 pixels with the border that the network of DCCM's paper needs."""
    return np.pad(X, ((0, 0), (2, 2), (2, 2))) if method.startswith("DCCM") else X


class ClusteringPipeline(Pipeline):
    """Pipeline with the labels of its last step."""

    @property
    def labels_(self) -> np.ndarray:
        return self[-1].labels_


def k_means(n_clusters: int, seed: int, *steps: Any) -> ClusteringPipeline:
    """k-means of ten starts on flat pixels, or on what ``steps`` make of them."""
    clusters = KMeans(n_clusters, n_init=10, random_state=seed)
    return ClusteringPipeline(
        [(str(i), step) for i, step in enumerate((FunctionTransformer(_flatten), *steps, clusters))]
    )


def _flatten(X: np.ndarray) -> np.ndarray:
    return X.reshape(len(X), -1).astype(np.float32)


BASELINES = {
    "k-means": k_means,
    "PCA + k-means": lambda n_clusters, seed: k_means(n_clusters, seed, PCA(64, random_state=seed)),
}
