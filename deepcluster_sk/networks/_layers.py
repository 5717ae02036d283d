"""Building blocks of the networks, and how a module is asked for the shape of its output."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

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


class ConvBlock(nn.Sequential):
    """Convolution, batch norm, perhaps ReLU: joined as far as gradients allow, unless somebody looks between them.

    Joined, they go by running statistics whatever the mode of the norm: that of the block counts.
    """

    def forward(self, batch: Tensor) -> Tensor:
        layers: Any = self
        convolution, norm, *relu = layers
        watched = any(layer._forward_hooks for layer in layers)
        if watched or self.training or torch.is_grad_enabled():
            output = norm(convolution(batch))
        else:
            output = _normed_convolution(convolution, norm, batch)
        for layer in relu:
            output = layer(output) if watched else output.relu_()  # new memory takes longer than the operation
        return output


def _normed_convolution(convolution: nn.Conv2d, norm: Any, batch: Tensor) -> Tensor:
    """Both by running statistics, as one convolution."""
    weight, bias = fuse_conv_bn_weights(
        convolution.weight,
        convolution.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )
    # Detached, or autocast would keep a copy of each for as long as it is on.
    return F.conv2d(batch, weight.detach(), bias.detach(), convolution.stride, convolution.padding)


def conv(n_in: int, n_out: int, kernel: int = 3, *, padding: int = 0) -> nn.Sequential:
    """Convolution, batch norm, ReLU; He initialisation."""
    convolution = nn.Conv2d(n_in, n_out, kernel, padding=padding, bias=False)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    return ConvBlock(convolution, nn.BatchNorm2d(n_out), nn.ReLU())


def dense(n_in: int, n_out: int, *, identity: bool = False) -> nn.Sequential:
    """Linear layer, batch norm, ReLU."""
    linear = nn.Linear(n_in, n_out, bias=False)
    if identity:
        nn.init.eye_(linear.weight)
    return nn.Sequential(linear, nn.BatchNorm1d(n_out), nn.ReLU())


def conv_backbone(sample_shape: Shape) -> nn.Sequential:
    """Padded 3x3 convolutions, halved until 2 or 3 positions a side are left, then 128 features; any image size."""
    channels, *sides = sample_shape
    width = 32 if min(sides) <= 16 else 16
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    stage, side = 0, min(sides)
    while side >= 4 or stage == 0:
        n_out = min(width * 2**stage, 128)
        for i in range(2 if stage < 2 else 1):
            layers[f"conv{stage + 1}_{i + 1}"] = conv(channels, n_out, padding=1)
            channels = n_out
        if side >= 2:
            layers[f"pool{stage + 1}"] = nn.MaxPool2d(2)
        stage, side = stage + 1, side // 2
    body = nn.Sequential(layers)
    body.add_module("flatten", nn.Flatten())
    body.add_module("dense", dense(output_shape(body, sample_shape)[0], 128))
    return body


def normed_classifier(n_features: int, n_clusters: int, logit_scale: float = 1.0) -> nn.Sequential:
    """Linear layer and batch norm: without it all samples of an untrained network are alike, and training collapses."""
    normalize = nn.BatchNorm1d(n_clusters)
    nn.init.constant_(normalize.weight, logit_scale)
    return nn.Sequential(nn.Linear(n_features, n_clusters, bias=False), normalize)


def output_of(function: Callable[[Tensor], Tensor], module: nn.Module, sample_shape: Shape) -> Tensor:
    """What ``function``, which runs ``module``, makes of two samples; running statistics and modes stay as they are."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            return function(torch.zeros(2, *sample_shape))
    finally:
        for part, training in modes:
            part.training = training


def output_shape(module: nn.Module, sample_shape: Shape) -> Shape:
    """Shape of one sample's output, which must be of torch's default dtype."""
    output = output_of(module, module, sample_shape)
    if output.dtype != torch.get_default_dtype():
        raise TypeError(f"its output is {output.dtype}, not {torch.get_default_dtype()}")
    return tuple(output.shape[1:])


# What a module raises when it is given a batch it was not made for.
MODULE_ERRORS = (RuntimeError, ValueError, TypeError, AttributeError, IndexError)
