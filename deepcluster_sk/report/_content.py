"""All that a page shows, as plain values: the one block of data of which its script makes the rest."""

import math
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from deepcluster_sk._input import Input
from deepcluster_sk._scaling import Scaling
from deepcluster_sk.report._choice import (
    MAP_SIDE,
    N_TSNE,
    Judged,
    between,
    confusable_pairs,
    confusion,
    gallery,
    map_coordinates,
    map_sample,
)
from deepcluster_sk.report._pictures import Pictures
from deepcluster_sk.report._words import changed_parameters, trust, verdict, versions

# Pairs of clusters that are shown, samples between the two, and most samples in all galleries together.
_N_PAIRS, _N_BETWEEN, _N_IN_GALLERIES = 6, 8, 2_400
# Unreadable files that are named.
_N_UNREADABLE = 500


def page_content(estimator: Any, X: Any, *, title: str | None, projection: str, max_samples: int) -> dict[str, Any]:
    """What a page shows of a fitted estimator and samples; parameters as :func:`write_report` describes them.

    Returns
    -------
    content : dict
        Of strings, finite numbers, None, lists and dicts.
    """
    given = estimator._read(X)
    if len(given.rows) == 0:
        raise ValueError("X must have a sample that can be read, and has none.")
    judged = judge(estimator, given)
    chosen = _Chosen(judged)
    limit = min(max_samples, N_TSNE) if projection == "tsne" else max_samples
    mapped = map_sample(len(given.rows), limit, chosen.indices)
    shown = np.union1d(chosen.indices, mapped)
    coordinates, explained = map_coordinates(judged.embedding[mapped], projection)
    is_training = _is_training_data(estimator, given, judged)
    folder = _common_folder(given.paths or [])
    content: dict[str, Any] = {
        "title": f"{type(estimator).__name__} of {len(given.rows):,} samples" if title is None else title,
        "method": type(estimator).__name__,
        "n_samples": len(given.rows),
        "is_training_data": is_training,
        "mean_confidence": float(judged.confidence.mean(dtype=np.float64)),
        "verdict": verdict(estimator),
        "trust": trust(estimator),
        "clusters": _clusters(estimator, judged, chosen, is_training),
        "pairs": chosen.pairs,
        "samples": _samples(given, judged, shown, folder),
        "map": {
            "method": projection,
            "explained": explained,
            "side": MAP_SIDE,
            "ids": mapped.tolist(),
            "x": coordinates[:, 0].tolist(),
            "y": coordinates[:, 1].tolist(),
        },
        "history": [_record(record) for record in estimator.history_],
        "parameters": changed_parameters(estimator),
        "precision": estimator.fit_report_["precision"],
        "versions": versions(),
        "folder": folder,
        **_unreadable(estimator if is_training else None, given),
    }
    content["pictures"], content["sheets"] = _pictures(estimator, given, chosen.indices, mapped)
    return _finite(content)


def judge(estimator: Any, given: Input) -> Judged:
    """Embedding and probabilities of samples, from one pass through the network."""
    samples = estimator._samples(given.rows)

    def chosen(embedding: Tensor, proba: Tensor) -> tuple[Tensor, ...]:
        return embedding, estimator._regrouped(embedding, proba)

    embedding, proba = estimator._apply(samples, chosen)
    return Judged(embedding, proba)


class _Chosen:
    """Samples of galleries and between pairs."""

    def __init__(self, judged: Judged) -> None:
        n_clusters = judged.proba.shape[1]
        n_images = int(np.clip(_N_IN_GALLERIES // (3 * n_clusters), 2, 8))
        self.galleries = [gallery(judged, cluster, n_images) for cluster in range(n_clusters)]
        self.pairs = [
            {"first": a, "second": b, "confusion": value, "ids": between(judged, a, b, _N_BETWEEN).tolist()}
            for a, b, value in confusable_pairs(judged, _N_PAIRS)
        ]
        ids = [part for chosen in self.galleries for part in chosen.values()]
        self.indices = np.unique(np.concatenate([*ids, *(pair["ids"] for pair in self.pairs)]).astype(np.intp))


def _clusters(estimator: Any, judged: Judged, chosen: _Chosen, is_training: bool) -> list[dict[str, Any]]:
    agreement = estimator.fit_report_["restart_agreement"] if is_training else None
    names = estimator._given_names()
    confused = confusion(judged)
    clusters = []
    for cluster, groups in enumerate(chosen.galleries):
        members = judged.members(cluster)
        is_used = len(members) > 0
        nearest = members[np.argsort(judged.distance[members], kind="stable")[:8]]
        clusters.append(
            {
                "name": names[cluster],
                "size": len(members),
                "confidence": float(judged.confidence[members].mean(dtype=np.float64)) if is_used else None,
                "agreement": float(np.mean(agreement[members])) if is_used and agreement is not None else None,
                "confused_with": int(confused[cluster].argmax()) if confused[cluster].any() else None,
                "nearest": nearest.tolist(),
                "groups": {name: ids.tolist() for name, ids in groups.items()},
            }
        )
    return clusters


def _samples(given: Input, judged: Judged, shown: NDArray[np.intp], folder: str) -> dict[str, Any]:
    """Columns, a value for each sample that is shown; "id" counts readable samples, "index" all that were given.

    A "path" is what follows ``folder``.
    """
    second = judged.second[shown]
    second_share = np.take_along_axis(judged.proba[shown], second[:, None], axis=1)[:, 0]
    index = shown if given.is_readable is None else np.flatnonzero(given.is_readable)[shown]
    return {
        "id": shown.tolist(),
        "index": index.tolist(),
        "cluster": judged.labels[shown].tolist(),
        "confidence": _rounded(judged.confidence[shown]),
        "second": second.tolist(),
        "second_confidence": _rounded(second_share),
        "path": None if given.paths is None else [given.paths[i][len(folder) :] for i in shown],
    }


def _rounded(shares: NDArray[np.float32]) -> list[float]:
    return np.round(shares.astype(np.float64), 4).tolist()


def _unreadable(fitted: Any, given: Input) -> dict[str, Any]:
    """Files that could not be read, now or by the ``fit`` of these samples (or None), the first of them by name."""
    unreadable = {**getattr(fitted, "unreadable_", {}), **given.unreadable}
    named = [{"path": path, "reason": reason} for path, reason in list(unreadable.items())[:_N_UNREADABLE]]
    return {"n_unreadable": len(unreadable), "unreadable": named}


def _common_folder(paths: list[str]) -> str:
    """Beginning that all paths share, up to and with a separator; empty if they share no folder but the root.

    ``os.path.commonpath`` would tidy it up, so that it were no beginning any more, and refuses paths of two drives.
    """
    folders = [os.path.dirname(path) + os.sep for path in paths] or [""]
    first, last = min(folders), max(folders)  # what these two share, all share
    n_shared = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    shared = first[: first.rfind(os.sep, 0, n_shared) + 1]
    return "" if shared == os.sep else shared


def _pictures(estimator: Any, given: Input, single: NDArray[np.intp], mapped: NDArray[np.intp]) -> tuple[Any, Any]:
    """Pictures of galleries and of the map, or None for feature vectors."""
    if len(given.rows.shape) != 4:
        return None, None
    scaling = estimator._scaling if estimator._standardizes() else Scaling.of(given.rows)
    pictures = Pictures(given.rows, scaling, given.paths)
    return {**pictures.single(single), "ids": single.tolist()}, pictures.sheets(mapped)


def _is_training_data(estimator: Any, given: Input, judged: Judged) -> bool:
    """Whether these are, for all that can be told, the samples of ``fit``."""
    return given.paths == getattr(estimator, "paths_", None) and np.array_equal(judged.labels, estimator.labels_)


def _record(record: dict[str, Any]) -> dict[str, Any]:
    """An epoch of the history, with the number of clusters in use in place of their sizes."""
    plain = {name: value for name, value in record.items() if isinstance(value, str | int | float)}
    if "cluster_sizes" in record:
        plain["clusters_in_use"] = sum(size > 0 for size in record["cluster_sizes"])
    return plain


def _finite(content: Any) -> Any:
    """The same with None for numbers that are not finite, which JSON has no words for."""
    if isinstance(content, dict):
        return {name: _finite(value) for name, value in content.items()}
    if isinstance(content, list):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
