"""Batch norm over the batches of all ranks: torch's own on GPUs, and the same sums on CPUs, where that one refuses."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from deepcluster_sk._distributed import Ranks


@contextmanager
def synchronizing_batch_norm(network: nn.Module, ranks: Ranks) -> Iterator[None]:
    """Within, the network's layers of batch norm take the statistics of the whole batch."""
    replaced = [] if ranks.size == 1 else list(_batch_norms_within(network))
    for parent, name, layer in replaced:
        on_cpu = next(network.parameters()).device.type == "cpu"
        parent.add_module(name, _SyncedOnCPU(layer, ranks) if on_cpu else _synced_on_gpu(layer))
    try:
        yield
    finally:
        for parent, name, layer in replaced:
            parent.add_module(name, layer)


def _batch_norms_within(network: nn.Module) -> Iterator[tuple[nn.Module, str, Any]]:
    """Every layer of batch norm, with the module that it is a child of and its name there."""
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                yield parent, name, layer


def _synced_on_gpu(layer: Any) -> nn.Module:
    synced = nn.SyncBatchNorm.convert_sync_batchnorm(layer)
    return synced.train(layer.training)


class _SyncedOnCPU(nn.modules.batchnorm._BatchNorm):
    """Batch norm over the batches of all ranks, which torch's SyncBatchNorm refuses on a CPU.

    It shares the parameters and running statistics of the layer that it stands in for.
    """

    def __init__(self, layer: Any, ranks: Ranks) -> None:
        super().__init__(layer.num_features, layer.eps, layer.momentum, affine=False, track_running_stats=False)
        self.affine, self.track_running_stats = layer.affine, layer.track_running_stats
        self.weight, self.bias = layer.weight, layer.bias
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            setattr(self, name, getattr(layer, name))
        self.ranks = ranks
        self.train(layer.training)

    def _check_input_dim(self, batch: Tensor) -> None:
        """Any is right here that was right for the layer."""

    def forward(self, batch: Tensor) -> Tensor:
        if not self.training:
            return super().forward(batch)
        output, mean, variance, count = _BatchNormOverRanks.apply(batch, self.weight, self.bias, self.eps, self.ranks)
        if self.running_mean is not None and self.num_batches_tracked is not None and self.running_var is not None:
            self.num_batches_tracked.add_(1)
            momentum = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
            with torch.no_grad():
                self.running_mean.lerp_(mean, momentum)
                self.running_var.lerp_(variance * (count / (count - 1).clamp(min=1)), momentum)
        return output


class _BatchNormOverRanks(torch.autograd.Function):
    """Batch norm by the mean and variance of the rows of all ranks."""

    @staticmethod
    def forward(ctx: Any, batch: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, ranks: Ranks) -> Any:
        axes = [0, *range(2, batch.ndim)]
        n_channels, n_here = batch.shape[1], batch.numel() // batch.shape[1]
        variance, mean = torch.var_mean(batch.float(), axes, correction=0)
        told = ranks.total(torch.cat([n_here * mean, mean.new_tensor([n_here])]))
        count, mean_of_all = told[-1], told[:-1] / told[-1]
        # The spread around the mean of all, not a difference of squares, which rounding would leave little of.
        variance_of_all = ranks.total(n_here * (variance + (mean - mean_of_all).square())) / count
        ctx.save_for_backward(batch, weight, mean_of_all, variance_of_all, count)
        ctx.ranks, ctx.eps, ctx.shape = ranks, eps, (1, n_channels, *[1] * (batch.ndim - 2))
        output = nn.functional.batch_norm(batch, mean_of_all, variance_of_all, weight, bias, eps=eps)
        ctx.mark_non_differentiable(mean_of_all, variance_of_all, count)
        return output, mean_of_all, variance_of_all, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> Any:
        batch, weight, mean, variance, count = ctx.saved_tensors
        # As if the statistics did not depend on the batch, then what comes through them.
        by_batch, by_weight, by_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, batch, weight, mean, variance, None, None, False, ctx.eps, [True, True, True]
        )
        inverse = (variance + ctx.eps).rsqrt()
        scale = inverse if weight is None else inverse * weight
        of_weight, of_bias = ctx.ranks.total(torch.stack([by_weight, by_bias])) / count
        slope = scale * inverse * of_weight
        constant = scale * of_bias - slope * mean
        by_batch -= (slope.view(ctx.shape) * batch + constant.view(ctx.shape)).to(by_batch.dtype)
        return by_batch, by_weight if weight is not None else None, by_bias if weight is not None else None, None, None
