"""Networks: built from the shape of one sample, or the user's own module with the missing head put on.

:class:`ClusterNetwork` (DAC, DCCM) is a backbone with an embedding layer and a classifier; :class:`DCSSNetwork` is an
autoencoder with cluster centres and MNet. ``NETWORKS`` and ``AUTOENCODERS`` name the built-in ones; to add one, write a
builder below and enter it there.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from deepcluster_sk.pairs import fuzzy_memberships

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

Shape = tuple[int, ...]


class Standardize(nn.Module):
    """Subtract the mean of each channel, divide by the overall standard deviation; both fixed before training."""

    mean: Tensor
    std: Tensor

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_channels))
        self.register_buffer("std", torch.ones(()))

    def forward(self, batch: Tensor) -> Tensor:
        mean = self.mean.view(-1, *[1] * (batch.ndim - 2))
        return (batch - mean) / self.std


class Stages(NamedTuple):
    """What a :class:`ClusterNetwork` computes on the way to its output.

    Attributes
    ----------
    shallow : Tensor of shape (n, c, h, w) or (n, c)
        Early feature map (S of DCCM).
    features : Tensor of shape (n, d)
        Output of the backbone, averaged over positions where it is a map.
    embedding : Tensor of shape (n, e)
        Output of the embedding layer (D of DCCM).
    logits : Tensor of shape (n, n_clusters)
        Scores before the softmax or the constraint layer.

    Examples
    --------
    >>> from deepcluster_sk.networks import Stages
    >>> Stages._fields
    ('shallow', 'features', 'embedding', 'logits')
    """

    shallow: Tensor
    features: Tensor
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
        handle = layer.register_forward_hook(lambda module, args, output: captured.append(output))
        try:
            features = self.backbone(self.standardize(batch))
        finally:
            handle.remove()
        embedding = self.embedder(features)
        return Stages(captured[0], _pooled(features), embedding, self.classifier(embedding))

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


# ---- building blocks ------------------------------------------------------------------------------------------------


def _conv(n_in: int, n_out: int, kernel: int = 3, *, padding: int = 0) -> nn.Sequential:
    """Convolution, batch norm, ReLU; He initialisation."""
    convolution = nn.Conv2d(n_in, n_out, kernel, padding=padding, bias=False)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    return nn.Sequential(convolution, nn.BatchNorm2d(n_out), nn.ReLU())


def _dense(n_in: int, n_out: int, *, identity: bool = False) -> nn.Sequential:
    """Linear layer, batch norm, ReLU."""
    linear = nn.Linear(n_in, n_out, bias=False)
    if identity:
        nn.init.eye_(linear.weight)
    return nn.Sequential(linear, nn.BatchNorm1d(n_out), nn.ReLU())


class _Backbone(NamedTuple):
    """A built-in backbone with the name of its shallow layer and, for the papers' networks, its own head."""

    module: nn.Module
    shallow_layer: str | None = None
    embedder: nn.Module | None = None
    classifier: nn.Module | None = None


def _output_of(function: Callable[[Tensor], Tensor], module: nn.Module, sample_shape: Shape) -> Tensor:
    """What ``function``, which runs ``module``, makes of two samples; running statistics and modes stay as they are."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            return function(torch.zeros(2, *sample_shape))
    finally:
        for part, training in modes:
            part.training = training


def _output_shape(module: nn.Module, sample_shape: Shape) -> Shape:
    """Shape of one sample's output."""
    return tuple(_output_of(module, module, sample_shape).shape[1:])


# What a module raises when it is given a batch it was not made for.
_MODULE_ERRORS = (RuntimeError, ValueError, TypeError, AttributeError, IndexError)


# ---- cluster networks -----------------------------------------------------------------------------------------------


def _conv_network(sample_shape: Shape, n_clusters: int) -> _Backbone:
    """Padded 3x3 convolutions, halved until 2 or 3 positions a side are left, then 128 features; any image size."""
    channels, *sides = sample_shape
    width = 32 if min(sides) <= 16 else 16
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    stage, side = 0, min(sides)
    while side >= 4 or stage == 0:
        n_out = min(width * 2**stage, 128)
        for i in range(2 if stage < 2 else 1):
            layers[f"conv{stage + 1}_{i + 1}"] = _conv(channels, n_out, padding=1)
            channels = n_out
        if side >= 2:
            layers[f"pool{stage + 1}"] = nn.MaxPool2d(2)
        stage, side = stage + 1, side // 2
    body = nn.Sequential(layers)
    body.add_module("flatten", nn.Flatten())
    body.add_module("dense", _dense(_output_shape(body, sample_shape)[0], 128))
    return _Backbone(body, "pool1" if "pool1" in layers else "conv1_1")


def _mlp_network(sample_shape: Shape, n_clusters: int) -> _Backbone:
    """Two hidden layers of 256 and 128 units for feature vectors."""
    return _Backbone(
        nn.Sequential(OrderedDict(dense1=_dense(sample_shape[0], 256), dense2=_dense(256, 128))), "dense1"
    )


def _dac_network(sample_shape: Shape, n_clusters: int, n_groups: int) -> _Backbone:
    """The all-convolutional network of the DAC paper: groups of three unpadded convolutions, each halved."""
    channels = sample_shape[0]
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for group in range(n_groups):
        n_out = 64 * 2**group
        for i in range(3):
            layers[f"conv{group + 1}_{i + 1}"] = _conv(channels, n_out)
            channels = n_out
        layers[f"pool{group + 1}"] = nn.MaxPool2d(2)
    embedder = nn.Sequential(
        _conv(channels, n_clusters, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        _dense(n_clusters, n_clusters, identity=True),
    )
    return _Backbone(nn.Sequential(layers), "pool1", embedder, _dense(n_clusters, n_clusters, identity=True))


def _dccm_network(
    sample_shape: Shape, n_clusters: int, *, kernel: int, pool: int, average: tuple[int, int], embedding_dim: int
) -> _Backbone:
    """The shallow networks of the DCCM paper (Table 1 of its supplement)."""
    large = kernel == 5  # the 64x64 and 96x96 columns: a second layer of 128, and S behind the pooling
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv1_1"] = _conv(sample_shape[0], 64, kernel)
    layers["conv1_2"] = _conv(64, 64, kernel)
    layers["pool1"] = nn.MaxPool2d(pool)
    layers["conv2_1"] = _conv(64, 128)
    if large:
        layers["conv2_2"] = _conv(128, 128)
    layers["pool2"] = nn.MaxPool2d(pool)
    layers["conv3"] = _conv(128, 256, 1 if large else 3)
    layers["average"] = nn.AvgPool2d(average[0], average[1])
    layers["flatten"] = nn.Flatten()
    return _Backbone(
        nn.Sequential(layers),
        "conv2_1" if large else "conv1_2",
        _dense(256, embedding_dim),
        nn.Linear(embedding_dim, n_clusters),
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
        Submodule of a user's module that gives the shallow map; None is its first child.

    Returns
    -------
    network : ClusterNetwork

    Raises
    ------
    TypeError
        If ``network`` is neither a string nor a module.
    ValueError
        If the name is unknown or does not fit ``sample_shape``, or a user's module does not give one row of features
        a sample or has no layer called ``shallow_layer``.

    Examples
    --------
    >>> from deepcluster_sk.networks import build_cluster_network
    >>> network = build_cluster_network("auto", sample_shape=(1, 8, 8), n_clusters=10)
    >>> network.classifier
    Linear(in_features=128, out_features=10, bias=True)
    """
    if isinstance(network, nn.Module):
        parts = _Backbone(network, shallow_layer)
        if shallow_layer is not None and shallow_layer not in dict(network.named_modules()):
            raise ValueError(f"shallow_layer={shallow_layer!r} must name a submodule of network.")
    else:
        name = network
        if name == "auto":
            name = "mlp" if len(sample_shape) == 1 else "conv"
        parts = _look_up(name, NETWORKS, sample_shape).build(sample_shape, n_clusters)
    embedder, classifier = parts.embedder, parts.classifier
    if embedder is None or classifier is None:
        n_features = _feature_width(parts.module, sample_shape)
        embedder, classifier = _head(n_features, n_clusters, embedding_dim)
    built = ClusterNetwork(
        parts.module, embedder, classifier, n_channels=sample_shape[0], shallow_layer=parts.shallow_layer
    )
    if isinstance(network, nn.Module):
        _check_shallow_layer(built, sample_shape)
    return built


def _check_shallow_layer(network: ClusterNetwork, sample_shape: Shape) -> None:
    needed = "must name a submodule that gives one tensor (n, c, ...) a batch"
    try:
        shallow = _output_of(lambda batch: network.stages(batch).shallow, network, sample_shape)
    except (*_MODULE_ERRORS, KeyError) as error:
        raise ValueError(f"shallow_layer={network.shallow_layer!r} {needed}; it gave none.") from error
    if not isinstance(shallow, Tensor) or shallow.ndim < 2:
        raise ValueError(f"shallow_layer={network.shallow_layer!r} {needed}.")


class _Pool(nn.Module):
    """:func:`_pooled` as a layer."""

    def forward(self, features: Tensor) -> Tensor:
        return _pooled(features)


def _head(n_features: int, n_clusters: int, embedding_dim: int | None) -> tuple[nn.Module, nn.Module]:
    if embedding_dim is None:
        return _Pool(), nn.Linear(n_features, n_clusters)
    embedder = nn.Sequential(_Pool(), _dense(n_features, embedding_dim))
    return embedder, nn.Linear(embedding_dim, n_clusters)


def _feature_width(module: nn.Module, sample_shape: Shape) -> int:
    try:
        shape = _output_shape(module, sample_shape)
    except _MODULE_ERRORS as error:
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


# ---- DCCM's discriminator -------------------------------------------------------------------------------------------


class LocalDiscriminator(nn.Module):
    """Scores whether a deep vector and a shallow map come from the same image, at every position of the map.

    Three 1x1 convolutions, (shallow + deep) → hidden → hidden → 1, ReLU between, no bias. The first is applied to the
    two parts separately and added, W [s; d] = W_s s + W_d d, so that each image is projected once however many pairs it
    is in.

    Parameters
    ----------
    shallow_dim : int
        Channels of the shallow map.
    deep_dim : int
        Length of the deep vector.
    hidden_dim : int, default=512
        Width of the two hidden layers.

    References
    ----------
    Wu et al., "Deep Comprehensive Correlation Mining for Image Clustering", ICCV 2019, T in Eq. (13).

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.networks import LocalDiscriminator
    >>> discriminator = LocalDiscriminator(shallow_dim=3, deep_dim=2)
    >>> shallow, deep = discriminator.project(torch.zeros(4, 3, 5, 5), torch.zeros(4, 2))
    >>> discriminator(deep[[0, 1]], shallow[[1, 0]]).shape  # two pairs, 25 positions
    torch.Size([2, 25])
    """

    def __init__(self, shallow_dim: int, deep_dim: int, hidden_dim: int = 512) -> None:
        super().__init__()
        self.shallow_projection = nn.Linear(shallow_dim, hidden_dim, bias=False)
        self.deep_projection = nn.Linear(deep_dim, hidden_dim, bias=False)
        self.hidden = nn.Linear(hidden_dim, hidden_dim, bias=False)
        self.score = nn.Linear(hidden_dim, 1, bias=False)

    def project(self, shallow: Tensor, deep: Tensor, positions: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Apply the two halves of the first layer, once an image.

        Parameters
        ----------
        shallow : Tensor of shape (n, shallow_dim, h, w) or (n, shallow_dim)
            Shallow maps; a vector is a map of one position.
        deep : Tensor of shape (n, deep_dim)
            Deep vectors.
        positions : Tensor of shape (n_positions,), int64, or None, default=None
            Positions of the flattened map to use; None uses all.

        Returns
        -------
        shallow_projected : Tensor of shape (n, n_positions, hidden_dim)
        deep_projected : Tensor of shape (n, 1, hidden_dim)
        """
        maps = shallow.reshape(*shallow.shape[:2], -1)  # (n, c, h * w)
        if positions is not None:
            maps = maps[:, :, positions]
        return self.shallow_projection(maps.transpose(1, 2)), self.deep_projection(deep)[:, None]

    def forward(self, deep_projected: Tensor, shallow_projected: Tensor) -> Tensor:
        """Score pairs of projected vectors and maps.

        Parameters
        ----------
        deep_projected : Tensor of shape (n_pairs, 1, hidden_dim)
            Deep part of each pair.
        shallow_projected : Tensor of shape (n_pairs, n_positions, hidden_dim)
            Shallow part of each pair.

        Returns
        -------
        scores : Tensor of shape (n_pairs, n_positions)
            Large where the pair seems to belong together.
        """
        hidden = self.hidden((deep_projected + shallow_projected).relu()).relu()
        return self.score(hidden)[..., 0]


# ---- autoencoders and MNet ------------------------------------------------------------------------------------------


class Autoencoder(nn.Module):
    """Encoder to a latent vector and decoder back to the sample.

    Parameters
    ----------
    encoder : nn.Module
        Maps a batch to (n, latent_dim).
    decoder : nn.Module
        Maps (n, latent_dim) to the shape of the batch.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from deepcluster_sk.networks import Autoencoder
    >>> Autoencoder(nn.Linear(4, 2), nn.Linear(2, 4))(torch.zeros(3, 4)).shape
    torch.Size([3, 4])
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, batch: Tensor) -> Tensor:
        """Reconstruct a batch.

        Parameters
        ----------
        batch : Tensor of shape (n, ...), float32
            Standardised samples.

        Returns
        -------
        reconstruction : Tensor of shape (n, ...)
        """
        return self.decoder(self.encoder(batch))


def _dense_stack(widths: Sequence[int]) -> list[nn.Module]:
    """Linear layers with ReLU between, none behind the last; He initialisation."""
    layers: list[nn.Module] = []
    for n_in, n_out in zip(widths[:-1], widths[1:], strict=True):
        linear = nn.Linear(n_in, n_out)
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.ReLU()]
    return layers[:-1]


def _fc_autoencoder(sample_shape: Shape, latent_dim: int, hidden: Sequence[int]) -> Autoencoder:
    """Fully connected autoencoder; images are flattened and put back into shape."""
    n_features = int(torch.Size(sample_shape).numel())
    widths = [n_features, *hidden, latent_dim]
    return Autoencoder(
        nn.Sequential(nn.Flatten(), *_dense_stack(widths)),
        nn.Sequential(*_dense_stack(widths[::-1]), nn.Unflatten(1, sample_shape)),
    )


class _Bottleneck(nn.Module):
    """Residual block: 1x1 to half the channels, 3x3, 1x1 back."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        half = n_channels // 2
        self.body = nn.Sequential(
            _conv(n_channels, half, 1),
            _conv(half, half, 3, padding=1),
            nn.Conv2d(half, n_channels, 1, bias=False),
            nn.BatchNorm2d(n_channels),
        )

    def forward(self, batch: Tensor) -> Tensor:
        return (batch + self.body(batch)).relu()


def _conv_autoencoder(sample_shape: Shape, latent_dim: int) -> Autoencoder:
    """Stages of 32, 64 and 128 channels, each halving the image and with one residual bottleneck; any size."""
    channels, height, width = sample_shape
    sizes, widths = [(height, width)], [channels]
    for n_out in (32, 64, 128):
        if min(sizes[-1]) < 2:
            break
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
        widths.append(n_out)
    encoder: list[nn.Module] = []
    decoder: list[nn.Module] = []
    for n_in, n_out, size in zip(widths[:-1], widths[1:], sizes[:-1], strict=True):
        encoder += [nn.Conv2d(n_in, n_out, 3, stride=2, padding=1), nn.BatchNorm2d(n_out), nn.ReLU(), _Bottleneck(n_out)]
        up = [_Bottleneck(n_out), nn.Upsample(size=size, mode="nearest"), nn.Conv2d(n_out, n_in, 3, padding=1)]
        outermost = not decoder
        decoder = up + ([] if outermost else [nn.BatchNorm2d(n_in), nn.ReLU()]) + decoder
    innermost = (widths[-1], *sizes[-1])
    n_inner = int(torch.Size(innermost).numel())
    return Autoencoder(
        nn.Sequential(*encoder, nn.Flatten(), nn.Linear(n_inner, latent_dim)),
        nn.Sequential(nn.Linear(latent_dim, n_inner), nn.Unflatten(1, innermost), nn.ReLU(), *decoder),
    )


class _AutoencoderEntry(NamedTuple):
    build: Callable[[Shape, int], Autoencoder]
    ndim: int | None  # of one sample; None: any


AUTOENCODERS: dict[str, _AutoencoderEntry] = {
    "autoencoder-fc": _AutoencoderEntry(partial(_fc_autoencoder, hidden=(500, 500, 2000)), None),
    "autoencoder-fc-small": _AutoencoderEntry(partial(_fc_autoencoder, hidden=(128, 128, 256)), None),
    "autoencoder-conv": _AutoencoderEntry(_conv_autoencoder, 3),
}


def build_autoencoder(network: str | nn.Module, sample_shape: Shape, latent_dim: int) -> Autoencoder:
    """Build the autoencoder of DCSS for samples of a shape.

    Parameters
    ----------
    network : str or nn.Module
        "auto" ("autoencoder-conv" for images, "autoencoder-fc" for 64 features or more, "autoencoder-fc-small" below),
        a key of ``AUTOENCODERS``, or a module with the submodules ``encoder`` and ``decoder``.
    sample_shape : tuple of int
        (c, h, w) of images, (n_features,) of feature vectors.
    latent_dim : int
        Length of the latent vector; a user's module decides it itself.

    Returns
    -------
    autoencoder : Autoencoder

    Raises
    ------
    TypeError
        If ``network`` is neither a string nor a module, or a module without ``encoder`` and ``decoder``.
    ValueError
        If the name is unknown or does not fit ``sample_shape``, or the module does not give back the shape it was
        given.

    Examples
    --------
    >>> from deepcluster_sk.networks import build_autoencoder
    >>> autoencoder = build_autoencoder("auto", sample_shape=(1, 8, 8), latent_dim=10)
    >>> autoencoder.encoder[-1].out_features
    10
    """
    if isinstance(network, nn.Module):
        return _users_autoencoder(network, sample_shape)
    if not isinstance(network, str):
        raise TypeError(f"network={network!r} must be a string or an nn.Module.")
    name = network
    if name == "auto" and len(sample_shape) == 1:
        name = "autoencoder-fc" if sample_shape[0] >= 64 else "autoencoder-fc-small"
    elif name == "auto":
        name = "autoencoder-conv"
    if name not in AUTOENCODERS:
        raise ValueError(f"network={network!r} must be an nn.Module, 'auto' or one of {sorted(AUTOENCODERS)}.")
    entry = AUTOENCODERS[name]
    if entry.ndim is not None and entry.ndim != len(sample_shape):
        raise ValueError(f"network={name!r} takes images, but samples have shape {sample_shape}; see image_shape.")
    return entry.build(sample_shape, latent_dim)


def _users_autoencoder(network: nn.Module, sample_shape: Shape) -> Autoencoder:
    encoder, decoder = (getattr(network, name, None) for name in ("encoder", "decoder"))
    if not isinstance(encoder, nn.Module) or not isinstance(decoder, nn.Module):
        raise TypeError(f"network={type(network).__name__} must have the submodules 'encoder' and 'decoder'.")
    needed = f"network={type(network).__name__} must encode samples of shape {sample_shape} to vectors and decode back"
    try:
        latent_shape = _output_shape(encoder, sample_shape)
        decoded_shape = _output_shape(decoder, latent_shape)
    except _MODULE_ERRORS as error:
        raise ValueError(f"{needed}; it raised: {error}") from error
    if len(latent_shape) != 1 or decoded_shape != tuple(sample_shape):
        raise ValueError(f"{needed}; it encodes to {latent_shape} and decodes to {decoded_shape}.")
    return Autoencoder(encoder, decoder)


def build_mnet(latent_dim: int, n_clusters: int) -> nn.Sequential:
    """MNet of DCSS: latent - 128 - 128 - n_clusters with batch norm and ReLU; gives logits.

    Parameters
    ----------
    latent_dim : int
        Length of the latent vector u.
    n_clusters : int
        Number of outputs.

    Returns
    -------
    mnet : nn.Sequential
        Maps (n, latent_dim) to (n, n_clusters).

    References
    ----------
    Sadeghi and Armanfard, "Deep Clustering with Self-Supervision using Pairwise Similarities", 2024, Section 3.2.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.networks import build_mnet
    >>> build_mnet(10, 3)(torch.zeros(2, 10)).shape
    torch.Size([2, 3])
    """
    return nn.Sequential(_dense(latent_dim, 128), _dense(128, 128), nn.Linear(128, n_clusters))


class DCSSNetwork(nn.Module):
    """Encoder, decoder, cluster centres and MNet.

    Parameters
    ----------
    encoder : nn.Module
        Maps standardised samples to latent vectors (n, latent_dim).
    decoder : nn.Module or None
        Back again; None where the encoder was trained elsewhere.
    sample_shape : tuple of int
        (c, h, w) of images, (n_features,) of feature vectors.
    n_clusters : int
        Number of centres and of MNet's outputs.
    fuzzifier : float
        m of the memberships.

    Attributes
    ----------
    centers : Tensor of shape (n_clusters, latent_dim)
        Cluster centres in the latent space.
    uses_mnet : bool
        Whether the cluster probabilities are MNet's output, or else the memberships.

    Raises
    ------
    ValueError
        If the encoder does not give one vector a sample.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from deepcluster_sk.networks import DCSSNetwork
    >>> network = DCSSNetwork(nn.Linear(4, 2), None, sample_shape=(4,), n_clusters=3, fuzzifier=1.5)
    >>> network(torch.zeros(5, 4)).shape
    torch.Size([5, 3])
    """

    centers: Tensor

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module | None, *, sample_shape: Shape, n_clusters: int, fuzzifier: float
    ) -> None:
        super().__init__()
        needed = f"encoder={type(encoder).__name__} must give a vector for a sample of shape {sample_shape}"
        try:
            latent_shape = _output_shape(encoder, sample_shape)
        except _MODULE_ERRORS as error:
            raise ValueError(f"{needed}; it raised: {error}") from error
        if len(latent_shape) != 1:
            raise ValueError(f"{needed}; it gives shape {latent_shape}.")
        self.standardize = Standardize(sample_shape[0])
        self.encoder = encoder
        self.decoder = decoder
        self.mnet = build_mnet(latent_shape[0], n_clusters)
        self.fuzzifier = fuzzifier
        self.uses_mnet = True
        self.register_buffer("centers", torch.zeros(n_clusters, latent_shape[0]))

    def encode(self, batch: Tensor) -> Tensor:
        """Latent vectors u.

        Parameters
        ----------
        batch : Tensor of shape (n, c, h, w) or (n, n_features), float32
            Images in [0, 1], or feature vectors.

        Returns
        -------
        latent : Tensor of shape (n, latent_dim)
        """
        return self.encoder(self.standardize(batch))

    def memberships(self, latent: Tensor) -> Tensor:
        """Memberships p of latent vectors in the clusters, Eq. (2).

        Parameters
        ----------
        latent : Tensor of shape (n, latent_dim)
            Latent vectors.

        Returns
        -------
        memberships : Tensor of shape (n, n_clusters), float32, rows sum to 1
        """
        return fuzzy_memberships(latent.float(), self.centers, self.fuzzifier)

    def cluster_proba(self, latent: Tensor) -> Tensor:
        """Probabilities of the clusters: MNet's softmax q, or the memberships p before MNet is trained.

        Parameters
        ----------
        latent : Tensor of shape (n, latent_dim)
            Latent vectors.

        Returns
        -------
        proba : Tensor of shape (n, n_clusters), float32, rows sum to 1
        """
        return self.mnet(latent).float().softmax(1) if self.uses_mnet else self.memberships(latent)

    def forward(self, batch: Tensor) -> Tensor:
        """Probabilities of the clusters.

        Parameters
        ----------
        batch : Tensor of shape (n, c, h, w) or (n, n_features), float32
            Images in [0, 1], or feature vectors.

        Returns
        -------
        proba : Tensor of shape (n, n_clusters), float32, rows sum to 1
        """
        return self.cluster_proba(self.encode(batch))
