"""Autoencoders, MNet, and the network of DCSS that they make up."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepcluster_sk.networks._layers import (
    MODULE_ERRORS,
    ConvBlock,
    Shape,
    Standardize,
    conv,
    dense,
    normed_classifier,
    output_shape,
)
from deepcluster_sk.pairs import fuzzy_memberships


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
    for n_in, n_out in pairwise(widths):
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
            conv(n_channels, half, 1),
            conv(half, half, 3, padding=1),
            ConvBlock(nn.Conv2d(half, n_channels, 1, bias=False), nn.BatchNorm2d(n_channels)),
        )

    def forward(self, batch: Tensor) -> Tensor:
        return (self.body(batch) + batch).relu_()  # in the memory order of the convolutions, whatever that of the batch


class _UpsampledConv(nn.Conv2d):
    """Each pixel doubled in height and width, a 3x3 convolution, and what is beyond ``size`` cut off.

    Computed as one transposed convolution: of the nine products for each pixel those that share a factor are one, which
    leaves four, and there is no enlarged map.
    """

    def __init__(self, n_in: int, n_out: int, size: tuple[int, int]) -> None:
        super().__init__(n_in, n_out, 3, padding=1)
        self.size = size

    def forward(self, batch: Tensor) -> Tensor:
        height, width = self.size
        # Every 2x2 window of the mirrored kernel, summed: what a pixel and its copies give to each pixel around them.
        kernel = F.avg_pool2d(self.weight.flip(2, 3), 2, stride=1, padding=1, divisor_override=1)
        doubled = F.conv_transpose2d(batch, kernel.transpose(0, 1), self.bias, stride=2, padding=1)
        cropped = doubled[..., :height, :width]
        return cropped if cropped.shape == doubled.shape else cropped.clone()  # gaps in memory make batch norm slow


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
        encoder += [
            ConvBlock(nn.Conv2d(n_in, n_out, 3, stride=2, padding=1), nn.BatchNorm2d(n_out), nn.ReLU()),
            _Bottleneck(n_out),
        ]
        up = [_Bottleneck(n_out), _UpsampledConv(n_out, n_in, size)]
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
        latent_shape = output_shape(encoder, sample_shape)
        decoded_shape = output_shape(decoder, latent_shape)
    except MODULE_ERRORS as error:
        raise ValueError(f"{needed}; it raised: {error}") from error
    if len(latent_shape) != 1 or decoded_shape != tuple(sample_shape):
        raise ValueError(f"{needed}; it encodes to {latent_shape} and decodes to {decoded_shape}.")
    return Autoencoder(encoder, decoder)


def build_mnet(latent_dim: int, n_clusters: int, logit_scale: float | None = None) -> nn.Sequential:
    """MNet of DCSS: latent - 128 - 128 - n_clusters with batch norm and ReLU; gives logits.

    Parameters
    ----------
    latent_dim : int
        Length of the latent vector u.
    n_clusters : int
        Number of outputs.
    logit_scale : float or None, default=None
        Standard deviation over the batch that each logit starts with, by a batch norm behind the last layer; None
        leaves that out, as the paper does.

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
    last = nn.Linear(128, n_clusters) if logit_scale is None else normed_classifier(128, n_clusters, logit_scale)
    return nn.Sequential(dense(latent_dim, 128), dense(128, 128), last)


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
    logit_scale : float or None, default=None
        As in :func:`build_mnet`.

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
        self,
        encoder: nn.Module,
        decoder: nn.Module | None,
        *,
        sample_shape: Shape,
        n_clusters: int,
        fuzzifier: float,
        logit_scale: float | None = None,
    ) -> None:
        super().__init__()
        needed = f"encoder={type(encoder).__name__} must give a vector for a sample of shape {sample_shape}"
        try:
            latent_shape = output_shape(encoder, sample_shape)
        except MODULE_ERRORS as error:
            raise ValueError(f"{needed}; it raised: {error}") from error
        if len(latent_shape) != 1:
            raise ValueError(f"{needed}; it gives shape {latent_shape}.")
        self.standardize = Standardize(sample_shape[0])
        self.encoder = encoder
        self.decoder: nn.Module = decoder if decoder is not None else nn.Identity()
        self.mnet = build_mnet(latent_shape[0], n_clusters, logit_scale)
        self.fuzzifier = fuzzifier
        self.uses_mnet = True
        self.register_buffer("centers", torch.zeros(n_clusters, latent_shape[0]))

    def autoencoder_parameters(self) -> list[nn.Parameter]:
        """Parameters of encoder and decoder.

        Returns
        -------
        parameters : list of nn.Parameter
        """
        return [*self.encoder.parameters(), *self.decoder.parameters()]

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
        return fuzzy_memberships(latent, self.centers, self.fuzzifier)

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
        return self.mnet(latent).softmax(1) if self.uses_mnet else self.memberships(latent)

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
