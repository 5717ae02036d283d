"""Deep image clustering that a scikit-learn user can trust."""

from deepcluster_sk import augment, callbacks, display, losses, metrics, model_selection, networks, pairs, report
from deepcluster_sk._dac import DACClustering
from deepcluster_sk._dccm import DCCMClustering
from deepcluster_sk._dcss import DCSSClustering
from deepcluster_sk._embed import embed_images
from deepcluster_sk._images import image_paths
from deepcluster_sk._load import load
from deepcluster_sk._version import __version__ as __version__
from deepcluster_sk.exceptions import (
    CheckpointWarning,
    CollapseWarning,
    InstabilityWarning,
    ShortcutWarning,
    UnreadableImageWarning,
)

__all__ = [
    "CheckpointWarning",
    "CollapseWarning",
    "DACClustering",
    "DCCMClustering",
    "DCSSClustering",
    "InstabilityWarning",
    "ShortcutWarning",
    "UnreadableImageWarning",
    "augment",
    "callbacks",
    "display",
    "embed_images",
    "image_paths",
    "load",
    "losses",
    "metrics",
    "model_selection",
    "networks",
    "pairs",
    "report",
]
