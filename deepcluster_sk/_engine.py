"""What every schedule needs and no method owns: device and precision, the step, inference, batch norm."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.optim import lr_scheduler

from deepcluster_sk._data import Samples, count_batches, shuffled_batches, to_device
from deepcluster_sk._distributed import ALONE, Ranks, Step
from deepcluster_sk._drawn import DrawnAugmentation
from deepcluster_sk._monitor import RunningMean
from deepcluster_sk.augment import Augmentation

# A forward pass without gradient takes at most so many samples, and numbers, at a time.
_INFERENCE_ROWS, _INFERENCE_NUMBERS = 1024, 2**22
# And on a CPU so many images, and pixels: beyond 32 MiB, the output of a layer is memory that the system clears for it,
# which takes as long as the layer itself. That is what so many pixels have with 64 channels in float32.
_IMAGES_ON_CPU, _PIXELS_ON_CPU = 128, 2**17
# Batches over which batch norm's statistics are averaged anew.
_SETTLING_BATCHES = 20

M = TypeVar("M", bound=nn.Module)
T = TypeVar("T")


@dataclass(frozen=True)
class Runtime:
    """Where and how precisely a network runs, and the draws and transforms of its batches.

    Attributes
    ----------
    device : torch.device
        Of the network and of every batch.
    precision : {"float32", "bfloat16"}
        Of convolutions and products in training; losses, and prediction after training, are float32.
    augment : callable of (batch, generator)
        Applied to training batches.
    generator : torch.Generator on the CPU
        Source of the order of samples and of their transforms.
    batch_size : int
        Least size of a training batch.
    channels_last : bool
        Order of images in memory. Every processor prefers channels last, but a user's ``view`` takes only torch's own.
    ranks : Ranks
        The processes that share each batch. Random draws are those of the whole batch, and the same on every rank.
    skips_layers : bool
        Whether parameters may have no part in a loss, as in a user's network, and never in the package's own.
    """

    device: torch.device
    precision: str
    augment: Augmentation
    generator: torch.Generator
    batch_size: int
    channels_last: bool = True
    ranks: Ranks = ALONE
    skips_layers: bool = False

    @property
    def fused(self) -> bool:
        """Whether torch's optimisers can update all parameters in one pass here."""
        return self.device.type in ("cpu", "cuda")

    def place(self, module: M) -> M:
        """Move a module here, its convolutions in the order of the images."""
        if not self.channels_last:
            return module.to(self.device)
        return module.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def load(self, samples: Samples, indices: Tensor) -> Tensor:
        """Read this rank's part of samples by index, onto the device."""
        return self.read(samples, self.ranks.part(indices))

    def read(self, samples: Samples, indices: Tensor) -> Tensor:
        """Read samples by index, onto the device."""
        raw = samples.raw(indices)
        if raw.is_floating_point() or raw.ndim == 2:  # in float64 some devices cannot hold it, and none can hurry it
            return self._in_order(to_device(samples.scaled(raw), self.device))
        return self._in_order(samples.scaled(to_device(raw, self.device)))

    def transform(self, batch: Tensor, n_samples: int) -> Tensor:
        """Put each sample of this rank's part of a batch of ``n_samples`` under a random transform of its own."""
        own = isinstance(self.augment, DrawnAugmentation)
        given = batch.contiguous() if own else batch.clone(memory_format=torch.contiguous_format)
        # One of the user's may work in place, or compute in another dtype.
        return self._in_order(self._transformed(given, n_samples).to(batch.dtype))

    def _transformed(self, batch: Tensor, n_samples: int) -> Tensor:
        if self.ranks.size == 1:
            return self.augment(batch, self.generator)
        if isinstance(self.augment, DrawnAugmentation):
            return self.augment.of_part(batch, n_samples, self.ranks.part, self.generator)
        # How much another callable draws is not known and may depend on the batch; the ranks must not fall out of step.
        seed = int(torch.randint(2**31, (), generator=self.generator)) + self.ranks.rank
        with torch.random.fork_rng(devices=[]):  # what draws from torch's own differs from rank to rank, too
            torch.manual_seed(seed)
            return self.augment(batch, torch.Generator().manual_seed(seed))

    def view(self, samples: Samples, indices: Tensor) -> Tensor:
        """Read this rank's part of samples by index, transformed."""
        return self.transform(self.load(samples, indices), len(indices))

    def _in_order(self, batch: Tensor) -> Tensor:
        images_last = self.channels_last and batch.ndim == 4
        return batch.contiguous(memory_format=torch.channels_last if images_last else torch.contiguous_format)

    def autocast(self) -> AbstractContextManager[Any]:
        """Context in which networks compute in the chosen precision."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bfloat16")

    def shuffled(self, n_samples: int) -> tuple[Tensor, ...]:
        """One epoch's batches of indices."""
        return shuffled_batches(n_samples, self.batch_size, self.generator)

    def parallel(self, optimizer: torch.optim.Optimizer) -> Callable[[Step[T]], Step[T]]:
        """Make losses whose gradients are those of all ranks: see :meth:`Ranks.parallel`."""
        return self.ranks.parallel(optimizer, some_unused=self.skips_layers)


def inference_batches(samples: Samples, device: torch.device, indices: Tensor | None = None) -> tuple[Tensor, ...]:
    """Indices in order, of all samples by default, in batches as large as is fast and fits into memory."""
    indices = torch.arange(len(samples)) if indices is None else indices
    shape = samples.sample_shape
    n_rows = min(_INFERENCE_ROWS, _INFERENCE_NUMBERS // math.prod(shape))
    if device.type == "cpu" and len(shape) == 3:
        n_rows = min(n_rows, _IMAGES_ON_CPU, _PIXELS_ON_CPU // math.prod(shape[1:]))
    return indices.split(max(1, n_rows))


def resolve_precision(precision: str, device: torch.device, sample_shape: tuple[int, ...]) -> str:
    """Turn "auto" into bfloat16 for images on hardware that multiplies it natively, float32 elsewhere."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = device.type == "cpu" and getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return "bfloat16" if native and len(sample_shape) == 3 else "float32"


def train_on(
    batches: Iterable[T],
    step: Callable[[T], Tensor],
    optimizer: torch.optim.Optimizer,
    losses: RunningMean,
    *,
    max_gradient: float | None = None,
) -> None:
    """Take one optimiser step a batch on the loss that ``step`` computes from it, mostly from its indices.

    Gradients are shortened to a norm of ``max_gradient``, if one is given. The losses are added to ``losses``, which
    stays on the device: reading them every batch would make a GPU wait.
    """
    for batch in batches:
        loss = step(batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if max_gradient is not None:
            for group in optimizer.param_groups:
                nn.utils.clip_grad_norm_(group["params"], max_gradient)
        optimizer.step()
        losses.add(loss, 1)


def make_scheduler(optimizer: torch.optim.Optimizer, lr_schedule: str, n_steps: int) -> lr_scheduler.LRScheduler:
    """Scheduler over so many steps: of a rate that falls along half a cosine to 0 ("cosine"), or stays ("constant")."""
    if lr_schedule == "cosine":
        return lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
    return lr_scheduler.ConstantLR(optimizer, factor=1.0, total_iters=0)


def mean_over_parts(loss_of: Callable[[Tensor], Tensor], parts: Sequence[Tensor], *others: Tensor) -> Tensor:
    """Mean of a loss over the last axis of what was split into ``parts``, with the graph of one of them at a time.

    The gradients of a part are taken within the forward pass, so that its memory is free for the next part, and, on a
    CPU, still in the caches. The result cannot be differentiated twice.

    Parameters
    ----------
    loss_of : callable
        Mean loss over a part.
    parts : sequence of Tensor
        Pieces of one tensor, split along its last axis.
    *others : Tensor
        Every other tensor that the loss depends on and that may need a gradient.
    """
    n_positions = sum(part.shape[-1] for part in parts)

    def share_of(part: Tensor) -> Tensor:
        return loss_of(part) * (part.shape[-1] / n_positions)

    if len(parts) == 1 or not torch.is_grad_enabled():
        return torch.stack([share_of(part) for part in parts]).sum()
    return _SumOverParts.apply(share_of, len(parts), *parts, *others)


class _SumOverParts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loss_of: Callable[[Tensor], Tensor], n_parts: int, *tensors: Tensor) -> Tensor:
        needed = [i for i in range(len(tensors)) if ctx.needs_input_grad[i + 2]]
        gradients: list[Tensor | None] = [None] * len(tensors)
        losses = []
        for i, part in enumerate(tensors[:n_parts]):
            mine = [j for j in needed if j == i or j >= n_parts]
            with torch.set_grad_enabled(bool(mine)):
                loss = loss_of(part)
            losses.append(loss.detach())
            found = torch.autograd.grad(loss, [tensors[j] for j in mine]) if mine else ()
            for j, gradient in zip(mine, found, strict=True):
                so_far = gradients[j]
                exact = gradient.to(torch.promote_types(gradient.dtype, torch.float32))  # sums in bfloat16 would lose
                gradients[j] = exact if so_far is None else so_far + exact
        ctx.gradients = [
            None if gradient is None else gradient.to(tensor.dtype)
            for gradient, tensor in zip(gradients, tensors, strict=True)
        ]
        return torch.stack(losses).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_sum: Tensor) -> Any:
        return None, None, *(None if gradient is None else gradient * of_sum for gradient in ctx.gradients)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """No gradients, and batch norm by its running statistics, within; the module's mode is restored after."""
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train(training)


@contextmanager
def by_batch_statistics(module: nn.Module) -> Iterator[None]:
    """No gradients, and batch norm by the batch's own statistics, which it does not keep; the mode is restored after.

    Running statistics are those of the transformed samples that training sees. Under them samples as they are look like
    something else, and labels drift: of a class between two clusters, ever more to the wrong one. It is the dense
    layers that matter. The convolutions of our own networks keep running statistics: with those of the batch DCSS loses
    .012 ACC and .016 NMI on 10,000 images of Fashion-MNIST (seed 0), and nothing clearly gains.
    """
    with _batch_norms(module) as layers, evaluating(module):
        for layer in layers:
            layer.train()
            layer.momentum = 0.0
        yield


def judge(module: nn.Module, samples: Samples, runtime: Runtime, indices: Tensor) -> Tensor:
    """Output (m, ...), float32, on the device, of ``module`` for samples as they are, while it is being trained."""
    parts = indices.tensor_split(count_batches(len(indices), runtime.batch_size))
    with by_batch_statistics(module), runtime.autocast():
        outputs = [module(runtime.load(samples, part)).float() for part in parts]
    return torch.cat([runtime.ranks.gather(output, len(part)) for output, part in zip(outputs, parts, strict=True)])


def infer(
    module: nn.Module,
    function: Callable[[Tensor], tuple[Tensor, ...]],
    samples: Samples,
    runtime: Runtime,
    indices: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Apply ``function``, which runs ``module``, to all samples or those at ``indices``; each rank to its part of them.

    Returns
    -------
    outputs : tuple of Tensor of shape (n, ...), float32 or int64, on the CPU
        Each of the function's outputs, batches and parts joined.
    """
    indices = torch.arange(len(samples)) if indices is None else indices
    mine = runtime.ranks.part(indices)
    left = deque(inference_batches(samples, runtime.device, mine))
    outputs: tuple[Tensor, ...] = ()
    start = 0
    with evaluating(module), runtime.autocast():
        while left:
            rows = left.popleft()
            try:
                parts = function(runtime.read(samples, rows))
            except RuntimeError as error:
                if len(rows) == 1 or not is_out_of_memory(error):
                    raise
                left.extendleft(reversed(rows.tensor_split(2)))
                continue
            # Joining a list of parts at the end would take their memory twice, and leave holes in the heap.
            outputs = outputs or tuple(_joined_like(part, len(mine)) for part in parts)
            for output, part in zip(outputs, parts, strict=True):
                output[start : start + len(rows)] = part
            start += len(rows)
    return tuple(runtime.ranks.gather(output, len(indices)) for output in outputs)


def _joined_like(part: Tensor, n_rows: int) -> Tensor:
    """Room for so many rows such as those of ``part``, in float32 where it has floating point, on the CPU."""
    dtype = torch.float32 if part.is_floating_point() else part.dtype
    return torch.empty(n_rows, *part.shape[1:], dtype=dtype)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch raised this for want of memory, on a GPU or by the processor."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


@contextmanager
def explaining_lack_of_memory(runtime: Runtime) -> Iterator[None]:
    """Turn torch's error into a MemoryError that says what needs less."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise MemoryError(
            f"Not enough memory for training on {runtime.device} with batch_size={runtime.batch_size}. A smaller one "
            "needs less, and so does a smaller network or image."
        ) from error


@torch.no_grad()
def settle_batch_norm(module: nn.Module, samples: Samples, runtime: Runtime) -> None:
    """Set batch norm's running statistics to their mean over some batches, and leave the module in training mode.

    They start at 0 and 1, follow the weights at a distance of ten steps or so, and are of transformed samples: without
    this, a network predicts something else than it was trained to.
    """
    module.train()
    with _batch_norms(module) as layers:
        batches = runtime.shuffled(len(samples))[:_SETTLING_BATCHES] if layers else ()
        for k, indices in enumerate(batches):
            for layer in layers:
                layer.momentum = 1 / (k + 1)  # equal weight for every batch
            with runtime.autocast():
                module(runtime.load(samples, indices))


@contextmanager
def _batch_norms(module: nn.Module) -> Iterator[list[nn.modules.batchnorm._BatchNorm]]:
    """All layers of batch norm in training mode, which a frozen encoder is not in; their momenta are restored after."""
    norms = (layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm))
    layers = [layer for layer in norms if layer.training]
    momenta = [layer.momentum for layer in layers]
    try:
        yield layers
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
