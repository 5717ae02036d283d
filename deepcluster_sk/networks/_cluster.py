"""Cluster networks of DAC and DCCM: a backbone with an embedding layer and a classifier."""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from deepcluster_sk.networks._layers import (
    MODULE_ERRORS,
    Shape,
    Standardize,
    conv,
    conv_backbone,
    dense,
    normed_classifier,
    output_of,
    output_shape,
)


class Stages(NamedTuple):
    """What a :class:`ClusterNetwork` computes on the way to its output.

    Attributes
    ----------
    shallow : Tensor of shape (n, c, h, w) or (n, c)
        Early feature map (S of DCCM).
    embedding : Tensor of shape (n, e)
        Output of the embedding layer (D of DCCM).
    logits : Tensor of shape (n, n_clusters)
        Scores before the softmax or the constraint layer.

    Examples
    --------
    >>> from deepcluster_sk.networks import Stages
    >>> Stages._fields
    ('shallow', 'embedding', 'logits')
    """

    shallow: Tensor
    embedding: Tensor
    logits: Tensor


class ClusterNetwork(nn.Module):
    """Backbone, embedding layer and classifier.

    Parameters
    ----------
    backbone : nn.Module
        Maps a batch to feature vectors or maps.
    embedder : nn.Module
        Maps the backbone's output to (n, e).
    classifier : nn.Module
        Maps the embedding to (n, n_clusters) logits.
    n_channels : int
        Channels of images, or number of features: what the input is standardised over.
    shallow_layer : str or None, default=None
        Name of the backbone's submodule whose output is the shallow map; None takes its first child.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from deepcluster_sk.networks import ClusterNetwork
    >>> network = ClusterNetwork(nn.Linear(4, 8), nn.Identity(), nn.Linear(8, 3), n_channels=4)
    >>> network(torch.zeros(2, 4)).shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        backbone: nn.Module,
        embedder: nn.Module,
        classifier: nn.Module,
        *,
        n_channels: int,
        shallow_layer: str | None = None,
    ) -> None:
        super().__init__()
        self.standardize = Standardize(n_channels)
        self.backbone = backbone
        self.embedder = embedder
        self.classifier = classifier
        first_child = next((name for name, _ in backbone.named_children()), "")
        self.shallow_layer = first_child if shallow_layer is None else shallow_layer

    def forward(self, batch: Tensor) -> Tensor:
        """Logits of a batch.

        Parameters
        ----------
        batch : Tensor of shape (n, c, h, w) or (n, n_features), float32
            Images in [0, 1], or feature vectors.

        Returns
        -------
        logits : Tensor of shape (n, n_clusters)
        """
        return self.classifier(self.embedder(self.backbone(self.standardize(batch))))

    def stages(self, batch: Tensor) -> Stages:
        """Logits together with what led to them.

        Parameters
        ----------
        batch : Tensor of shape (n, c, h, w) or (n, n_features), float32
            Images in [0, 1], or feature vectors.

        Returns
        -------
        stages : Stages
        """
        captured: list[Tensor] = []
        layer = self.backbone.get_submodule(self.shallow_layer)
        # A copy, since the layer behind may work in place.
        handle = layer.register_forward_hook(lambda module, args, output: captured.append(output.clone()))
        try:
            embedding = self.embedder(self.backbone(self.standardize(batch)))
        finally:
            handle.remove()
        return Stages(captured[0], embedding, self.classifier(embedding))

    def features(self, batch: Tensor) -> Tensor:
        """Output of the backbone alone, averaged over positions.

        Parameters
        ----------
        batch : Tensor of shape (n, c, h, w) or (n, n_features), float32
            Images in [0, 1], or feature vectors.

        Returns
        -------
        features : Tensor of shape (n, d)
        """
        return _pooled(self.backbone(self.standardize(batch)))


def _pooled(features: Tensor) -> Tensor:
    """Average over positions; vectors stay as they are."""
    return features.flatten(2).mean(2) if features.ndim > 2 else features


class _Backbone(NamedTuple):
    """A built-in backbone with the name of its shallow layer and, for the papers' networks, its own head."""

    module: nn.Module
    shallow_layer: str | None = None
    embedder: nn.Module | None = None
    classifier: nn.Module | None = None


def _conv_network(sample_shape: Shape, n_clusters: int) -> _Backbone:
    """The network of :func:`conv_backbone`."""
    body = conv_backbone(sample_shape)
    return _Backbone(body, "pool1" if hasattr(body, "pool1") else "conv1_1")


def _mlp_network(sample_shape: Shape, n_clusters: int) -> _Backbone:
    """Two hidden layers of 256 and 128 units for feature vectors."""
    return _Backbone(nn.Sequential(OrderedDict(dense1=dense(sample_shape[0], 256), dense2=dense(256, 128))), "dense1")


def _dac_network(sample_shape: Shape, n_clusters: int, n_groups: int) -> _Backbone:
    """The all-convolutional network of the DAC paper: groups of three unpadded convolutions, each halved."""
    channels = sample_shape[0]
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for group in range(n_groups):
        n_out = 64 * 2**group
        for i in range(3):
            layers[f"conv{group + 1}_{i + 1}"] = conv(channels, n_out)
            channels = n_out
        layers[f"pool{group + 1}"] = nn.MaxPool2d(2)
    embedder = nn.Sequential(
        conv(channels, n_clusters, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        dense(n_clusters, n_clusters, identity=True),
    )
    return _Backbone(nn.Sequential(layers), "pool1", embedder, dense(n_clusters, n_clusters, identity=True))


def _dccm_network(
    sample_shape: Shape, n_clusters: int, *, kernel: int, pool: int, average: tuple[int, int], embedding_dim: int
) -> _Backbone:
    """The shallow networks of the DCCM paper (Table 1 of its supplement)."""
    large = kernel == 5  # the 64x64 and 96x96 columns: a second layer of 128, and S behind the pooling
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv1_1"] = conv(sample_shape[0], 64, kernel)
    layers["conv1_2"] = conv(64, 64, kernel)
    layers["pool1"] = nn.MaxPool2d(pool)
    layers["conv2_1"] = conv(64, 128)
    if large:
        layers["conv2_2"] = conv(128, 128)
    layers["pool2"] = nn.MaxPool2d(pool)
    layers["conv3"] = conv(128, 256, 1 if large else 3)
    layers["average"] = nn.AvgPool2d(average[0], average[1])
    layers["flatten"] = nn.Flatten()
    return _Backbone(
        nn.Sequential(layers),
        "conv2_1" if large else "conv1_2",
        dense(256, embedding_dim),
        normed_classifier(embedding_dim, n_clusters),
    )


class _Entry(NamedTuple):
    build: Callable[[Shape, int], _Backbone]
    side: int | None  # the only image side it takes; None: any
    ndim: int  # of one sample


NETWORKS: dict[str, _Entry] = {
    "conv": _Entry(_conv_network, None, 3),
    "mlp": _Entry(_mlp_network, None, 1),
    "dac-28": _Entry(partial(_dac_network, n_groups=2), 28, 3),
    "dac-32": _Entry(partial(_dac_network, n_groups=2), 32, 3),
    "dac-64": _Entry(partial(_dac_network, n_groups=3), 64, 3),
    "dac-96": _Entry(partial(_dac_network, n_groups=3), 96, 3),
    "dccm-32": _Entry(partial(_dccm_network, kernel=3, pool=2, average=(4, 2), embedding_dim=64), 32, 3),
    "dccm-64": _Entry(partial(_dccm_network, kernel=5, pool=4, average=(2, 2), embedding_dim=256), 64, 3),
    "dccm-96": _Entry(partial(_dccm_network, kernel=5, pool=4, average=(4, 4), embedding_dim=64), 96, 3),
}


def build_cluster_network(
    network: str | nn.Module,
    sample_shape: Shape,
    n_clusters: int,
    *,
    embedding_dim: int | None = None,
    shallow_layer: str | None = None,
    logit_scale: float = 1.0,
) -> ClusterNetwork:
    """Build the network of DAC or DCCM for samples of a shape.

    Parameters
    ----------
    network : str or nn.Module
        "auto" ("conv" for images, "mlp" for feature vectors), a key of ``NETWORKS``, or a module that maps a batch to
        features of shape (n, d) or (n, d, h, w), on which the head is put.
    sample_shape : tuple of int
        (c, h, w) of images, (n_features,) of feature vectors.
    n_clusters : int
        Number of outputs.
    embedding_dim : int or None, default=None
        Width of a dense layer between backbone and classifier; None has none. The papers' networks have their own head.
    shallow_layer : str or None, default=None
        Submodule of the backbone that gives the shallow map; None is a user's module's first child, and a layer of its
        own for each of ``NETWORKS``.
    logit_scale : float, default=1.0
        Standard deviation over the batch that each logit starts with. At 1, ten equal and perfectly separated clusters
        have a confidence of .76, at 2 of .99. The papers' networks have 1.

    Returns
    -------
    network : ClusterNetwork

    Raises
    ------
    TypeError
        If ``network`` is neither a string nor a module.
    ValueError
        If the name is unknown or does not fit ``sample_shape``, a user's module does not give one row of features a
        sample, or no layer is called ``shallow_layer``.

    Examples
    --------
    >>> from deepcluster_sk.networks import build_cluster_network
    >>> network = build_cluster_network("auto", sample_shape=(1, 8, 8), n_clusters=10)
    >>> network.classifier[0]
    Linear(in_features=128, out_features=10, bias=False)
    """
    if isinstance(network, nn.Module):
        parts = _Backbone(network)
    else:
        name = network
        if name == "auto":
            name = "mlp" if len(sample_shape) == 1 else "conv"
        parts = _look_up(name, NETWORKS, sample_shape).build(sample_shape, n_clusters)
    names = [name for name, _ in parts.module.named_modules() if name]
    if shallow_layer is not None and shallow_layer not in names:
        raise ValueError(f"shallow_layer={shallow_layer!r} must name a submodule of network; it has {names}.")
    embedder, classifier = parts.embedder, parts.classifier
    if embedder is None or classifier is None:
        n_features = _feature_width(parts.module, sample_shape)
        embedder, classifier = _head(n_features, n_clusters, embedding_dim, logit_scale)
    built = ClusterNetwork(
        parts.module,
        embedder,
        classifier,
        n_channels=sample_shape[0],
        shallow_layer=shallow_layer or parts.shallow_layer,
    )
    if isinstance(network, nn.Module) and embedding_dim is not None:
        _check_shallow_layer(built, sample_shape)
    return built


def _check_shallow_layer(network: ClusterNetwork, sample_shape: Shape) -> None:
    needed = "must name a submodule that gives one tensor (n, c, ...) a batch (None takes the first)"
    try:
        shallow = output_of(lambda batch: network.stages(batch).shallow, network, sample_shape)
    except (*MODULE_ERRORS, KeyError) as error:
        raise ValueError(f"shallow_layer={network.shallow_layer!r} {needed}; it raised: {error}") from error
    if shallow.ndim < 2:
        raise ValueError(f"shallow_layer={network.shallow_layer!r} {needed}.")


class _Pool(nn.Module):
    """:func:`_pooled` as a layer."""

    def forward(self, features: Tensor) -> Tensor:
        return _pooled(features)


def _head(
    n_features: int, n_clusters: int, embedding_dim: int | None, logit_scale: float
) -> tuple[nn.Module, nn.Module]:
    if embedding_dim is None:
        return _Pool(), normed_classifier(n_features, n_clusters, logit_scale)
    embedder = nn.Sequential(_Pool(), dense(n_features, embedding_dim))
    return embedder, normed_classifier(embedding_dim, n_clusters, logit_scale)


def _feature_width(module: nn.Module, sample_shape: Shape) -> int:
    try:
        shape = output_shape(module, sample_shape)
    except MODULE_ERRORS as error:
        raise ValueError(
            f"network={type(module).__name__} must map a batch of shape (n, {', '.join(map(str, sample_shape))}) "
            f"to features of shape (n, d) or (n, d, h, w); it raised: {error}"
        ) from error
    if len(shape) not in (1, 3):
        raise ValueError(
            f"network={type(module).__name__} gives samples of shape {shape}; it must give (d,) or (d, h, w)."
        )
    return shape[0]


def _look_up(name: object, registry: dict[str, _Entry], sample_shape: Shape) -> _Entry:
    if not isinstance(name, str):
        raise TypeError(f"network={name!r} must be a string or an nn.Module.")
    if name not in registry:
        raise ValueError(f"network={name!r} must be an nn.Module, 'auto' or one of {sorted(registry)}.")
    entry = registry[name]
    kind = "images" if entry.ndim == 3 else "feature vectors"
    if len(sample_shape) != entry.ndim:
        raise ValueError(f"network={name!r} takes {kind}, but samples have shape {sample_shape}; see image_shape.")
    if entry.side is not None and set(sample_shape[1:]) != {entry.side}:
        raise ValueError(
            f"network={name!r} takes images of {entry.side}x{entry.side} pixels, got "
            f"{sample_shape[1]}x{sample_shape[2]}; network='conv' takes any size."
        )
    return entry
