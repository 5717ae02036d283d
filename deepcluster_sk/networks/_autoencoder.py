"""Autoencoders of DCSS: fully connected ones, and convolutional ones for images."""

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
    conv,
    conv_backbone,
    output_shape,
)


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


class _UnitLength(nn.Module):
    """Vectors of length 1: their length is noise to k-means, as the contrastive loss sees directions alone."""

    def forward(self, latent: Tensor) -> Tensor:
        return F.normalize(latent.to(torch.promote_types(latent.dtype, torch.float32)), dim=1)


def _conv_autoencoder(sample_shape: Shape, latent_dim: int) -> Autoencoder:
    """The network of :func:`conv_backbone` to unit vectors, and stages of 128, 64 and 32 channels back; any size."""
    encoder = conv_backbone(sample_shape)
    encoder.add_module("latent", nn.Linear(output_shape(encoder, sample_shape)[0], latent_dim))
    encoder.add_module("unit", _UnitLength())
    stages = _halved_stages(sample_shape)
    return Autoencoder(encoder, _conv_decoder(stages, latent_dim, residual=False))


def _residual_autoencoder(sample_shape: Shape, latent_dim: int) -> Autoencoder:
    """Stages of 32, 64 and 128 channels, each halving the image and with one residual bottleneck; any size."""
    stages = _halved_stages(sample_shape)
    encoder: list[nn.Module] = []
    for (n_in, *_), (n_out, *_) in pairwise(stages):
        encoder += [
            ConvBlock(nn.Conv2d(n_in, n_out, 3, stride=2, padding=1), nn.BatchNorm2d(n_out), nn.ReLU()),
            _Bottleneck(n_out),
        ]
    n_inner = int(torch.Size(stages[-1]).numel())
    return Autoencoder(
        nn.Sequential(*encoder, nn.Flatten(), nn.Linear(n_inner, latent_dim)),
        _conv_decoder(stages, latent_dim, residual=True),
    )


def _halved_stages(sample_shape: Shape) -> list[Shape]:
    """Shapes (c, h, w) of a sample and of its maps with 32, 64 and 128 channels, as many as can be halved.

    No map is a single row or column: for the bfloat16 gradients of such, torch 2.14 reads memory on processors with AMX
    that nothing was written to.
    """
    stages = [sample_shape]
    for n_out in (32, 64, 128):
        _, height, width = stages[-1]
        half = (height + 1) // 2, (width + 1) // 2
        if min(height, width) < 2 or min(half) == 1 < max(half):
            break
        stages.append((n_out, *half))
    return stages


def _conv_decoder(stages: Sequence[Shape], latent_dim: int, *, residual: bool) -> nn.Sequential:
    """From a latent vector through the maps of ``stages``, the last first, perhaps each with a residual bottleneck."""
    layers: list[nn.Module] = [
        nn.Linear(latent_dim, int(torch.Size(stages[-1]).numel())),
        nn.Unflatten(1, stages[-1]),
    ]
    for (n_in, *_), (n_out, *size) in pairwise(reversed(stages)):
        layers += [nn.BatchNorm2d(n_in), nn.ReLU()]
        if residual:
            layers.append(_Bottleneck(n_in))
        layers.append(_UpsampledConv(n_in, n_out, (size[0], size[1])))
    return nn.Sequential(*layers)


class _AutoencoderEntry(NamedTuple):
    build: Callable[[Shape, int], Autoencoder]
    ndim: int | None  # of one sample; None: any


AUTOENCODERS: dict[str, _AutoencoderEntry] = {
    "autoencoder-fc": _AutoencoderEntry(partial(_fc_autoencoder, hidden=(500, 500, 2000)), None),
    "autoencoder-fc-small": _AutoencoderEntry(partial(_fc_autoencoder, hidden=(128, 128, 256)), None),
    "autoencoder-conv": _AutoencoderEntry(_conv_autoencoder, 3),
    "autoencoder-residual": _AutoencoderEntry(_residual_autoencoder, 3),
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
    >>> import torch
    >>> from deepcluster_sk.networks import build_autoencoder
    >>> autoencoder = build_autoencoder("auto", sample_shape=(1, 8, 8), latent_dim=10)
    >>> autoencoder.encoder(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """
    if isinstance(network, nn.Module):
        return users_autoencoder(network, sample_shape)
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


def users_autoencoder(network: nn.Module, sample_shape: Shape, parameter: str = "network") -> Autoencoder:
    """Encoder and decoder of a module that was passed as ``parameter``, if they fit samples of this shape."""
    given = f"{parameter}={type(network).__name__}"
    encoder, decoder = (getattr(network, name, None) for name in ("encoder", "decoder"))
    if not isinstance(encoder, nn.Module) or not isinstance(decoder, nn.Module):
        raise TypeError(f"{given} must have the submodules 'encoder' and 'decoder'.")
    needed = f"{given} must encode samples of shape {sample_shape} to vectors and decode back"
    try:
        latent_shape = output_shape(encoder, sample_shape)
        decoded_shape = output_shape(decoder, latent_shape)
    except MODULE_ERRORS as error:
        raise ValueError(f"{needed}; it raised: {error}") from error
    if len(latent_shape) != 1 or decoded_shape != tuple(sample_shape):
        raise ValueError(f"{needed}; it encodes to {latent_shape} and decodes to {decoded_shape}.")
    return Autoencoder(encoder, decoder)
