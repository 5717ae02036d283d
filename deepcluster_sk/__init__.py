"""Deep image clustering that a scikit-learn user can trust."""

from deepcluster_sk import augment, display, losses, metrics, model_selection, networks, pairs
from deepcluster_sk._dac import DACClustering
from deepcluster_sk._dccm import DCCMClustering
from deepcluster_sk._dcss import DCSSClustering
from deepcluster_sk.exceptions import CollapseWarning

__all__ = [
    "CollapseWarning",
    "DACClustering",
    "DCCMClustering",
    "DCSSClustering",
    "augment",
    "display",
    "losses",
    "metrics",
    "model_selection",
    "networks",
    "pairs",
]
__version__ = "0.1.0.dev0"
