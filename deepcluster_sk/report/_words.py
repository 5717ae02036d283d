"""What a report says in words: how far to trust the clustering, its key figures, parameters and versions."""

import inspect
import platform
import re
from typing import Any

import numpy as np
import sklearn
import torch

from deepcluster_sk._diagnostics import NEARLY_ALL, STABLE, TOLD_BY_COLOR, reason_to_doubt
from deepcluster_sk._version import __version__
from deepcluster_sk.metrics._neighbors import beyond_chance

# Longest value of a parameter that is shown whole.
_MAX_LENGTH = 200
# Where more of the labels still change at the end, longer training is worth a try.
_UNSETTLED = 0.05


def percent(share: float | None) -> str:
    """Share as text, in per cent with one decimal."""
    return "not measured" if share is None else f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def verdict(estimator: Any) -> dict[str, Any]:
    """Whether to doubt the fit, and why, as the warnings of ``fit`` have it, with what to try.

    Returns
    -------
    verdict : dict
        "level": "collapse", "instability", "shortcut" or "none"; "heading" and "text": str; "advice": list of str.
    """
    reason = _reason(estimator)
    words = {"collapse": _collapsed, "instability": _unstable, "shortcut": _of_colors, None: _no_sign}[reason]
    return {"level": reason or "none", **words(estimator.fit_report_)}


def _collapsed(report: dict[str, Any]) -> dict[str, Any]:
    return {
        "heading": "The clusters collapsed",
        "text": f"{report['n_clusters_used']} of {len(report['cluster_sizes'])} clusters are used, and the largest "
        f"holds {percent(report['largest_share'])} of the samples. A network that puts everything into one "
        "cluster agrees with itself perfectly, so the other figures may look good all the same.",
        "advice": [
            "Look at the curve of the clusters in use, under Training: if they vanish late, stop earlier with a "
            "smaller max_epochs.",
            "Try a smaller lr, another random_state, or n_init > 1.",
            "Try fewer clusters: the data may not have as many distinct groups.",
        ],
    }


def _unstable(report: dict[str, Any]) -> dict[str, Any]:
    return {
        "heading": "The clusters are unstable",
        "text": f"Only {percent(report['augmentation_agreement'])} of the samples keep their cluster when they are "
        "randomly transformed, which is less than a third of the way from chance to always: the clusters say little "
        "about the data.",
        "advice": [
            "Try more epochs: a larger max_epochs, or None.",
            "Keep the default warm-up, if it was left out.",
            "Try an augment that changes less, or fewer clusters.",
            "compare_with_baselines shows whether k-means does better.",
        ],
    }


def _of_colors(report: dict[str, Any]) -> dict[str, Any]:
    return {
        "heading": "The clusters may be of light and colours alone",
        "text": f"Mean and spread of the channels alone tell the cluster of {percent(report['color_accuracy'])} of the "
        "images. That is right where you look for colours; else the clusters may be of the ground, say, and not of "
        "what is on it.",
        "advice": [
            "Try an augment that changes light and colours more: ImageAugmentation with larger brightness, contrast, "
            "hue and grayscale.",
            "Try n_neighbors=0: neighbours by pixels are alike in light and colours above all.",
            "Try features by embed_images, whose networks were trained to see more.",
        ],
    }


def _no_sign(report: dict[str, Any]) -> dict[str, Any]:
    n_used, n_clusters = report["n_clusters_used"], len(report["cluster_sizes"])
    agreement = report["augmentation_agreement"]
    advice = _advice_on_length(report["label_change"])
    return {
        "heading": "No sign of collapse, but labels still change" if advice else "No sign of collapse",
        "text": ("All clusters are in use" if n_used == n_clusters else f"{n_used} of {n_clusters} clusters are in use")
        + (f", and {percent(agreement)} of the samples keep theirs under a random transform." if agreement else ".")
        + " That does not make the clusters right: no true labels took part, and only looking at the samples tells "
        "whether they mean what you need.",
        "advice": advice,
    }


def _reason(estimator: Any) -> str | None:
    reason = reason_to_doubt(estimator.fit_report_, estimator.labels_)
    # The samples of the last partial_fit need not be of all clusters.
    is_part = estimator.n_samples_seen_ > len(estimator.labels_)
    return None if is_part and reason == "collapse" else reason


def _advice_on_length(label_change: float | None) -> list[str]:
    if label_change is None or label_change <= _UNSETTLED:
        return []
    return [f"Try more epochs: {percent(label_change)} of the samples still changed cluster at the last look."]


def trust(estimator: Any) -> list[dict[str, Any]]:
    """Figures of ``fit_report_`` and the history, each with what it says.

    Returns
    -------
    figures : list of dict
        "name" in ``fit_report_`` or of the attribute, "label", "value" as it is there, "text" and "note".
    """
    report, n_used = estimator.fit_report_, estimator.fit_report_["n_clusters_used"]
    restarts = report["restart_agreement"]
    figures = [
        ("n_clusters_used", "Clusters in use", n_used, f"{n_used} of {len(report['cluster_sizes'])}", ""),
        (
            "largest_share",
            "Largest cluster",
            report["largest_share"],
            percent(report["largest_share"]),
            f"Share of the training samples. Above {100 * NEARLY_ALL:.0f} % counts as a collapse.",
        ),
        (
            "mean_confidence",
            "Mean confidence",
            report["mean_confidence"],
            percent(report["mean_confidence"]),
            "Probability that the network gives to the cluster it chooses. Says how sure it is, not whether it is "
            "right: networks tend to be surer than they should.",
        ),
        _stability(estimator),
        _told_by_color(estimator),
        (
            "restart_agreement",
            "Agreement of restarts",
            None if restarts is None else float(np.mean(restarts)),
            percent(None if restarts is None else float(np.mean(restarts))),
            "n_init > 1 would tell how far other restarts agree."
            if restarts is None
            else "Share of the other restarts that put a sample into the same cluster. Distrust clusters in which it "
            "is low.",
        ),
        *_course(estimator),
    ]
    return [dict(zip(("name", "label", "value", "text", "note"), figure, strict=True)) for figure in figures]


def _stability(estimator: Any) -> tuple[str, str, float | None, str, str]:
    agreement = estimator.fit_report_["augmentation_agreement"]
    note = "There is no augment to move samples by."
    if agreement is not None:
        beyond = beyond_chance(agreement, estimator.labels_)
        note = (
            "Share of the training samples that keep their cluster under a random transform. With chance at 0 % and "
            f"always at 100 %, that is {percent(beyond)}; below {percent(STABLE)} the clusters say little."
        )
    return ("augmentation_agreement", "Stability under transforms", agreement, percent(agreement), note)


def _told_by_color(estimator: Any) -> tuple[str, str, float | None, str, str]:
    accuracy = estimator.fit_report_["color_accuracy"]
    note = "Feature vectors have none."
    if accuracy is not None:
        beyond = beyond_chance(accuracy, estimator.labels_)
        note = (
            "Share of images whose cluster is that of most images next to them in mean and spread of the channels. "
            f"With chance at 0 % and always at 100 %, that is {percent(beyond)}; above {percent(TOLD_BY_COLOR)} the "
            "clusters may be of nothing else."
        )
    return ("color_accuracy", "Told by light and colours", accuracy, percent(accuracy), note)


def _course(estimator: Any) -> list[tuple[str, str, Any, str, str]]:
    """How training ended."""
    report = estimator.fit_report_
    return [
        (
            "selected_share",
            "Selected for training",
            report["selected_share"],
            percent(report["selected_share"]),
            "Share of pairs or samples that took part at the end. Should rise towards 100 %, but does so whether or "
            "not the clusters mean anything.",
        ),
        (
            "label_change",
            "Labels changed at the end",
            report["label_change"],
            percent(report["label_change"]),
            "Share of samples that changed cluster at the last look. Should be near 0; more epochs may lower it.",
        ),
        (
            "converged_",
            "Converged",
            bool(estimator.converged_),
            "yes" if estimator.converged_ else "no",
            "Whether DAC's curriculum came to its end, or at most 1 % of the labels of DCCM and DCSS changed at the "
            "last look. Says nothing of quality.",
        ),
    ]


def changed_parameters(estimator: Any) -> list[dict[str, str]]:
    """Parameters that are not what they are by default: "name", "value" and "default", as text."""
    given = estimator.get_params(deep=False)
    defaults = {name: p.default for name, p in inspect.signature(type(estimator).__init__).parameters.items()}
    shown = {name: (_text(value), _text(defaults[name])) for name, value in given.items()}
    return [
        {"name": name, "value": value, "default": default}
        for name, (value, default) in shown.items()
        if value != default
    ]


def _text(value: Any) -> str:
    """A value as Python writes it, without addresses in memory, which differ from run to run."""
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))
    return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}…"


def versions() -> list[dict[str, str]]:
    """Versions of what computed the report: "name" and "version"."""
    return [
        {"name": name, "version": version}
        for name, version in (
            ("deepcluster_sk", __version__),
            ("Python", platform.python_version()),
            ("torch", torch.__version__),
            ("scikit-learn", sklearn.__version__),
            ("NumPy", np.__version__),
        )
    ]
