"""What a fit says of itself without true labels: which restart is kept, and how far to trust it."""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn

from deepcluster_sk._data import Samples
from deepcluster_sk._validation import level_of_caller
from deepcluster_sk.exceptions import CollapseWarning, InstabilityWarning, ShortcutWarning
from deepcluster_sk.metrics import align_labels
from deepcluster_sk.metrics._neighbors import beyond_chance

# Samples whose transforms tell how stable labels are.
N_TRANSFORMED = 10_000
# A cluster with a larger share than this counts as a collapse.
NEARLY_ALL = 0.95
# Clusters that keep samples under a transform less often than this, of the way from chance (0) to always (1), say
# little. Of 221 short fits of digits with equal and unequal classes, those below had an ACC of .26 to .71, those above
# of .45 to .96.
STABLE = 1 / 3
# Clusters that light and colours alone tell more often than this, of the way from chance (0) to always (1), need not be
# of what the images show: those of digits in random ink on photographs, right on .14, have .75; others, of digits,
# clothes and photographs, .15 to .45. Four true classes, in sixty draws from each, have .61 at most, two or three .97:
# fewer clusters may well differ in light, and are not asked.
TOLD_BY_COLOR, FEWEST_TOLD = 2 / 3, 4
# Images that are looked at for that, so many at a time, and neighbours of each that vote.
_N_COLORED, _N_TOGETHER, _N_VOTES = 2_000, 64, 10


class Run(NamedTuple):
    """One trained network, and what it makes of the samples it was trained on."""

    network: Any
    history: list[dict[str, Any]]
    stopped: bool  # before its end
    converged: bool
    precision: str
    n_components: int  # of the embedding
    labels: NDArray[np.intp]  # (n,), columns of the network's output
    confidence: NDArray[np.float32]  # (n,), largest probability
    augmentation_agreement: float | None  # share of samples that keep their label under a random transform
    sizes: NDArray[np.intp]  # (n_clusters,), samples in each of the network's clusters
    neighbor_agreement: float | None  # of restarts that have no transform, for want of better

    @property
    def rank(self) -> tuple[int, bool, float]:
        """Smaller is better: clusters that stay empty, then one that holds nearly all, then labels that do not last."""
        n_empty, has_giant = int((self.sizes == 0).sum()), bool(self.sizes.max() > NEARLY_ALL * len(self.labels))
        if self.augmentation_agreement is None:
            return n_empty, has_giant, -(self.neighbor_agreement or 0.0)
        return n_empty, has_giant, -beyond_chance(self.augmentation_agreement, self.labels)

    def saved(self) -> dict[str, Any]:
        """As tensors and plain values, for a checkpoint."""
        fields = {
            name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
            for name, value in self._asdict().items()
        }
        return {**fields, "network": self.network.state_dict()}

    @classmethod
    def restored(cls, network: nn.Module, saved: dict[str, Any]) -> "Run":
        """What :meth:`saved` gave, with ``network`` as it was trained."""
        network.load_state_dict(saved["network"])
        fields: dict[str, Any] = {
            name: value.numpy() if isinstance(value, Tensor) else value for name, value in saved.items()
        }
        return cls(**{**fields, "network": network.eval()})


def used_first(sizes: NDArray[np.intp]) -> NDArray[np.intp]:
    """Clusters with those in use first, else in the order they have, so that ties fall as in prediction."""
    return np.argsort(sizes == 0, kind="stable")


def restart_agreement(labels: NDArray[np.intp], others: Sequence[NDArray[np.intp]]) -> NDArray[np.float32] | None:
    """Share of the other restarts that put each sample into the cluster it has in ``labels``; None without others.

    Returns
    -------
    agreement : ndarray of shape (n,), float32, in [0, 1], or None
    """
    if not others:
        return None
    return np.mean([align_labels(labels, other) == labels for other in others], axis=0, dtype=np.float32)


def color_accuracy(samples: Samples, labels: NDArray[np.intp]) -> float | None:
    """Share of images whose cluster most of their ten nearest neighbours in light and colours have.

    These are the mean and the standard deviation of each channel, known as colour moments.

    Parameters
    ----------
    samples : Samples
        Of n samples; 2,000 are looked at.
    labels : ndarray of shape (n,), int

    Returns
    -------
    accuracy : float in [0, 1], or None
        None for feature vectors.
    """
    if len(samples.sample_shape) != 3:
        return None
    some = torch.from_numpy(np.random.default_rng(0).permutation(len(samples))[:_N_COLORED])
    parts = [samples.batch(part).double().flatten(2) for part in some.split(_N_TOGETHER)]
    moments = torch.cat([torch.cat([part.mean(2), part.std(2, correction=0)], dim=1) for part in parts]).numpy()
    spread = moments.std(axis=0)
    moments = (moments - moments.mean(axis=0)) / np.where(spread > 0, spread, 1)
    search = NearestNeighbors(n_neighbors=min(_N_VOTES, len(some) - 1)).fit(moments)
    labels = labels[some.numpy()]
    votes = labels[search.kneighbors(return_distance=False)]  # (m, n_votes)
    counts = (votes[:, :, None] == votes[:, None, :]).sum(axis=2)  # how often each is among them
    most = counts.max(axis=1)
    n_tied = (counts == most[:, None]).sum(axis=1) / most  # clusters, one of which is drawn
    return float((((votes == labels[:, None]).sum(axis=1) == most) / n_tied).mean())


def fit_report(run: Run, others: Sequence[NDArray[np.intp]], samples: Samples) -> dict[str, Any]:
    """Diagnostics of the run that is kept, beside the labels of the other restarts; warns if it cannot be trusted.

    Returns
    -------
    report : dict
        What the estimators' ``fit_report_`` holds.
    """
    report = {
        **figures(
            run.sizes[used_first(run.sizes)],
            run.confidence,
            run.augmentation_agreement,
            color_accuracy(samples, run.labels),
            run.history,
        ),
        "restart_agreement": restart_agreement(run.labels, others),
        "precision": run.precision,
    }
    warning = warning_of(report, run.labels)
    if warning is not None:
        warnings.warn(warning, stacklevel=level_of_caller())
    return report


def figures(
    sizes: NDArray[np.intp],
    confidence: NDArray[np.float32],
    agreement: float | None,
    told_by_color: float | None,
    history: list[dict[str, Any]],
) -> dict[str, Any]:
    """What ``fit_report_`` says of labels, whatever made them."""
    last = history[-1] if history else {}
    of_phase = [epoch.get("label_change") for epoch in history if epoch.get("phase") == last.get("phase")]
    changes = [change for change in of_phase if change is not None]  # not every epoch of phase 1 looks for it
    return {
        "n_clusters_used": int((sizes > 0).sum()),
        "cluster_sizes": sizes.tolist(),
        "largest_share": float(sizes.max() / sizes.sum()),
        "mean_confidence": float(confidence.mean()),
        "augmentation_agreement": agreement,
        "color_accuracy": told_by_color,
        "selected_share": last.get("selected_share"),
        "label_change": changes[-1] if changes else None,
    }


def reason_to_doubt(report: dict[str, Any], labels: NDArray[np.intp]) -> str | None:
    """The gravest reason not to trust a fit, from its ``fit_report_`` and labels.

    Returns
    -------
    reason : {"collapse", "instability", "shortcut"} or None
    """
    n_clusters, agreement = len(report["cluster_sizes"]), report["augmentation_agreement"]
    if report["n_clusters_used"] < n_clusters or (n_clusters > 1 and report["largest_share"] > NEARLY_ALL):
        return "collapse"
    if n_clusters > 1 and agreement is not None and beyond_chance(agreement, labels) < STABLE:
        return "instability"
    told_by_color = report["color_accuracy"]
    if n_clusters >= FEWEST_TOLD and told_by_color is not None and beyond_chance(told_by_color, labels) > TOLD_BY_COLOR:
        return "shortcut"
    return None


def warning_of(report: dict[str, Any], labels: NDArray[np.intp]) -> Warning | None:
    """:func:`reason_to_doubt` as a warning that says what to try."""
    reason = reason_to_doubt(report, labels)
    if reason == "collapse":
        return CollapseWarning(
            f"{report['n_clusters_used']} of {len(report['cluster_sizes'])} clusters are used and the largest holds "
            f"{report['largest_share']:.0%} of the samples. X may have fewer distinct groups than n_clusters; "
            "else try another random_state, n_init > 1, or a smaller lr. fit_report_ has the figures."
        )
    if reason == "instability":
        return InstabilityWarning(
            f"Only {report['augmentation_agreement']:.0%} of the samples keep their cluster under a random transform: "
            "the clusters say little about X. Try more epochs (a larger max_epochs, or None), the default warm-up if "
            "it was left out, an augment that changes less, or fewer clusters; compare_with_baselines shows whether "
            "k-means does better."
        )
    if reason == "shortcut":
        return ShortcutWarning(
            f"Light and colours alone tell the cluster of {report['color_accuracy']:.0%} of the images: the clusters "
            "may be of nothing else. If that is not what you want, try an augment that changes them more "
            "(ImageAugmentation with larger brightness, contrast, hue, grayscale), n_neighbors=0, or features by "
            "embed_images."
        )
    return None
