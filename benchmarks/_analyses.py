"""What the papers look at beside the final scores, each a function of images, classes and a seed."""

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from _methods import default
from _results import params_of, scores
from sklearn.cluster import AgglomerativeClustering, KMeans, SpectralClustering
from sklearn.decomposition import NMF
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from deepcluster_sk import DACClustering, DCCMClustering, DCSSClustering, exceptions, metrics
from deepcluster_sk._data import ArraySamples, Scaling
from deepcluster_sk._engine import Runtime, settle_batch_norm, train_on
from deepcluster_sk._monitor import RunningMean
from deepcluster_sk._train_dccm import label_block, triplet_loss
from deepcluster_sk.networks import LocalDiscriminator
from deepcluster_sk.pairs import pseudo_graph

Figures = dict[str, Any]
OURS = tuple(getattr(exceptions, name) for name in exceptions.__all__)
CRITERIA = {
    "training loss": metrics.training_loss_scorer,
    "confidence": metrics.confidence_scorer,
    "augmentation agreement": metrics.augmentation_agreement_scorer,
    "neighbor agreement": metrics.neighbor_agreement_scorer,
    "size entropy": metrics.size_entropy_scorer,
    "silhouette": metrics.silhouette_scorer,
}


class EachEpoch:
    """Callback that notes what ``look`` sees in the estimator as it stands after each epoch."""

    def __init__(self, look: Callable[[Any], Figures]) -> None:
        self.look = look

    def setup(self, estimator, context):
        self.seen = []

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        if context.task_name == "epoch":
            self.seen.append(self.look(fitted_estimator))


def by_epoch(
    estimator: Any, X: np.ndarray, y: np.ndarray, look: Callable[[Any], Figures], phases: tuple[str, ...]
) -> Figures:
    """Scores of a fit, and what was seen after each epoch of some phases."""
    callback = EachEpoch(look)
    estimator.set_callbacks(callback).fit(X)
    epochs = [
        {"phase": record["phase"], "epoch": record["epoch"], **seen}
        for record, seen in zip(estimator.history_, callback.seen, strict=True)
        if record["phase"] in phases
    ]
    return {**scores(y, estimator.labels_), "by_epoch": epochs}


def bcubed_by_epoch(X: np.ndarray, y: np.ndarray, seed: int) -> Figures:
    """BCubed precision and recall of the pseudo-graph, DCCM's Figure 5."""

    def look(dccm: DCCMClustering) -> Figures:
        proba = torch.from_numpy(dccm.predict_proba(X))
        unit = proba / proba.norm(dim=1, keepdim=True)
        graph = pseudo_graph(unit @ unit.T, dccm.graph_threshold).numpy()
        precision, recall = metrics.bcubed_graph_precision_recall(y, graph)
        return {"precision": precision, "recall": recall}

    return by_epoch(default("DCCM", 10, seed), X, y, look, ("label start", "DCCM"))


def elements_by_epoch(X: np.ndarray, y: np.ndarray, seed: int) -> Figures:
    """Histogram of the elements of all label features in ten bins, DAC's Figure 4."""

    def look(dac: DACClustering) -> Figures:
        counts, _ = np.histogram(dac.transform(X), bins=10, range=(0, 1))
        return {"share_of_bin": (counts / counts.sum()).tolist()}

    return by_epoch(default("DAC", 10, seed), X, y, look, ("label start", "DAC"))


def without_neighbor_by_epoch(X: np.ndarray, y: np.ndarray, seed: int) -> Figures:
    """Share of samples that no other is adjacent to, DCSS's Figure 3; with MNet from random weights, as there."""

    def look(dcss: DCSSClustering) -> Figures:
        proba = dcss.predict_proba(X)
        similarity = proba @ proba.T
        np.fill_diagonal(similarity, 0)
        return {"share_without_neighbor": float((similarity.max(axis=1) < dcss.similar_threshold).mean())}

    return by_epoch(default("DCSS", 10, seed, mnet_start_epochs=0), X, y, look, ("phase 2",))


def other_clusterers(X: np.ndarray, y: np.ndarray, seed: int) -> Figures:
    """Other clusterers on the pixels and on DAC's label features, DAC's Table 3."""
    dac = default("DAC", 10, seed).fit(X)
    spaces = {"pixels": X.reshape(len(X), -1), "label features": dac.transform(X).astype(np.float64)}
    clusterers = {
        "k-means": KMeans(10, n_init=10, random_state=seed),
        "Gaussian mixture": GaussianMixture(10, covariance_type="diag", n_init=3, random_state=seed),
        "spectral": SpectralClustering(10, affinity="nearest_neighbors", random_state=seed),
        "agglomerative, Ward": AgglomerativeClustering(10),
        "agglomerative, average": AgglomerativeClustering(10, linkage="average"),
    }
    found = {
        f"{name}, {space}": scores(y, clusterer.fit_predict(points))
        for name, clusterer in clusterers.items()
        for space, points in spaces.items()
    }
    parts = {space: NMF(10, init="nndsvda", max_iter=1000).fit_transform(points) for space, points in spaces.items()}
    found |= {f"NMF, {space}": scores(y, weights.argmax(1)) for space, weights in parts.items()}
    return {**scores(y, dac.labels_), "clusterers": found}


def transfer(method: str) -> Callable[[np.ndarray, np.ndarray, int], Figures]:
    """Accuracy of an MLP with 200 hidden units on frozen features, on a fifth held out: DCCM's Figure 4."""

    def measure(X: np.ndarray, y: np.ndarray, seed: int) -> Figures:
        estimator = default(method, 10, seed).fit(X)
        held_out = {
            "pixels": probe(X.reshape(len(X), -1), y, seed),
            "embedding": probe(estimator.transform(X), y, seed),
        }
        if hasattr(estimator.module_, "backbone"):
            held_out["backbone"] = probe(backbone_features(estimator, X), y, seed)
        return {**scores(y, estimator.labels_), "probe": held_out}

    return measure


def probe(features: np.ndarray, y: np.ndarray, seed: int) -> float:
    """Accuracy on a fifth of the samples of a classifier trained on the others."""
    train, test, y_train, y_test = train_test_split(features, y, test_size=0.2, random_state=seed, stratify=y)
    classifier = make_pipeline(StandardScaler(), MLPClassifier((200,), max_iter=300, random_state=seed))
    return float(classifier.fit(train, y_train).score(test, y_test))


def backbone_features(estimator: Any, X: np.ndarray) -> np.ndarray:
    """Output of all layers before those of the method."""
    samples = ArraySamples(X[:, None], Scaling.of(X))
    with torch.inference_mode():
        parts = torch.arange(len(X)).split(128)
        return torch.cat([estimator.module_.features(samples.batch(part)).flatten(1) for part in parts]).numpy()


def pair_sampling_probe(pair_sampling: str) -> Callable[[np.ndarray, np.ndarray, int], Figures]:
    """The supplement's protocol: a network trained on mutual information alone, on a fixed graph, then a classifier."""

    def measure(X: np.ndarray, y: np.ndarray, seed: int, n_epochs: int = 20, batch_size: int = 128) -> Figures:
        teacher = default("DCCM M3", 10, seed, device="cpu").fit(X)
        samples = ArraySamples(X[:, None], Scaling.of(X))
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        runtime = Runtime(torch.device("cpu"), "float32", lambda batch, _: batch, generator, batch_size)
        everything = torch.arange(len(X))
        thresholds = {"graph_threshold": 0.95, "label_threshold": 0.9}
        block = label_block(teacher.module_, samples, everything, **thresholds, runtime=runtime)
        student = DCCMClustering(10)._build_network(samples.sample_shape).train()
        student.standardize.load_state_dict(teacher.module_.standardize.state_dict())
        stages = student.stages(runtime.load(samples, everything[:2]))
        discriminator = LocalDiscriminator(stages.shallow.shape[1], stages.embedding.shape[1])

        def step(rows: torch.Tensor) -> torch.Tensor:
            stages = student.stages(runtime.load(samples, rows))
            maps = discriminator, stages.shallow, stages.embedding
            return triplet_loss(*maps, block, rows, pair_sampling=pair_sampling, n_positions=None, runtime=runtime)

        parameters = [*student.parameters(), *discriminator.parameters()]
        optimizer = torch.optim.RMSprop(parameters, lr=1e-4)
        for _ in range(n_epochs):
            train_on(runtime.shuffled(len(X)), step, optimizer, RunningMean())
        settle_batch_norm(student, samples, runtime)
        student.eval()
        with torch.inference_mode():
            embedding = torch.cat([student.stages(samples.batch(part)).embedding for part in everything.split(128)])
        return {**scores(y, teacher.labels_), "probe": {"embedding": probe(embedding.flatten(1).numpy(), y, seed)}}

    return measure


def of_fit(estimator: Any, X: np.ndarray, y: np.ndarray) -> Figures:
    """Scores and every label-free criterion of one fit, with the warnings of the package that it gave."""
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator.fit(X)
    seconds = time.perf_counter() - start
    report = estimator.fit_report_
    defined = [name for name in CRITERIA if name != "augmentation agreement" or estimator.augment is not None]
    return {
        "params": params_of(estimator),
        "seed": estimator.random_state,
        "n_clusters": estimator.n_clusters,
        "seconds": seconds,
        **scores(y, estimator.labels_),
        **{name: CRITERIA[name](estimator, X) for name in defined},
        **{key: report[key] for key in ("n_clusters_used", "cluster_sizes", "selected_share", "label_change")},
        "warnings": [str(each.message) for each in caught if issubclass(each.category, OURS)],
    }


def setting(method: str, **params: Any) -> Callable[[np.ndarray, np.ndarray, int], Figures]:
    """Scores and every label-free criterion of our settings with some changed."""
    return lambda X, y, seed: of_fit(default(method, len(np.unique(y)), seed, **params), X, y)


def criteria(method: str, n_restarts: int = 10, **params: Any) -> Callable[[np.ndarray, np.ndarray, int], Figures]:
    """Every label-free criterion and the accuracy of several restarts, and how far these agree with each other."""

    def measure(X: np.ndarray, y: np.ndarray, seed: int) -> Figures:
        n_clusters = len(np.unique(y))
        seeds = range(100 * seed, 100 * seed + n_restarts)
        estimators = [default(method, n_clusters, restart, **params) for restart in seeds]
        fits = [of_fit(estimator, X, y) for estimator in estimators]
        labels = [estimator.labels_ for estimator in estimators]
        agreement = [[metrics.clustering_accuracy_score(one, other) for other in labels] for one in labels]
        return {"acc": float(np.mean([fit["acc"] for fit in fits])), "fits": fits, "agreement": agreement}

    return measure


def n_clusters_criteria(method: str, values: tuple[int, ...]) -> Callable[[np.ndarray, np.ndarray, int], Figures]:
    """Every label-free criterion for several numbers of clusters, and how far two seeds agree for each."""

    def measure(X: np.ndarray, y: np.ndarray, seed: int) -> Figures:
        fits, stability = [], {}
        n_classes = len(np.unique(y))
        for n_clusters in values:
            twins = [default(method, n_clusters, seed + i) for i in (0, 1)]
            fits += [of_fit(twin, X, y) for twin in twins]
            stability[n_clusters] = float(adjusted_rand_score(*(twin.labels_ for twin in twins)))
        acc = np.mean([fit["acc"] for fit in fits if fit["n_clusters"] == n_classes])
        return {"acc": float(acc), "fits": fits, "stability": stability}

    return measure
