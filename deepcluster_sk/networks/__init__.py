"""Networks: built from the shape of one sample, or the user's own module with the missing head put on.

:class:`ClusterNetwork` (DAC, DCCM) is a backbone with an embedding layer and a classifier; :class:`DCSSNetwork` is an
autoencoder with cluster centres and MNet. ``NETWORKS`` and ``AUTOENCODERS`` name the built-in ones; to add one, write a
builder beside those and enter it there.
"""

from deepcluster_sk.networks._autoencoder import AUTOENCODERS, Autoencoder, build_autoencoder
from deepcluster_sk.networks._cluster import NETWORKS, ClusterNetwork, Stages, build_cluster_network
from deepcluster_sk.networks._dcss import DCSSNetwork, build_mnet
from deepcluster_sk.networks._discriminator import LocalDiscriminator

__all__ = [
    "AUTOENCODERS",
    "NETWORKS",
    "Autoencoder",
    "ClusterNetwork",
    "DCSSNetwork",
    "LocalDiscriminator",
    "Stages",
    "build_autoencoder",
    "build_cluster_network",
    "build_mnet",
]
