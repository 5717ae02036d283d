"""Training of a fitted network on new samples: it learns what they look like, and forgets none of its clusters."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from deepcluster_sk._data import Samples
from deepcluster_sk._engine import Runtime, settle_batch_norm
from deepcluster_sk._monitor import Monitor
from deepcluster_sk._start import learn_labels

# Most epochs on new samples.
MORE_EPOCHS = 10
# A larger learning rate forgets more and learns less.
_LR = 3e-4


def learn_more(
    network: nn.Module,
    logits_of: Callable[[Tensor], Tensor],
    parameters: Iterable[nn.Parameter],
    samples: Samples,
    labels: Tensor,
    n_clusters: int,
    *,
    n_before: int,
    n_epochs: int,
    runtime: Runtime,
    monitor: Monitor,
) -> None:
    """Train a network to give transforms of new samples the labels that it gives to themselves.

    Then each weight is averaged with what it was, by the number of samples behind it, ``n_before``, and of these: else
    a network that sees few of the clusters forgets the others.
    """
    state = [value for value in (*network.parameters(), *network.buffers()) if value.is_floating_point()]
    before = [value.detach().clone() for value in state]
    learn_labels(
        network.train(),
        logits_of,
        parameters,
        samples,
        labels,
        n_clusters,
        n_epochs=n_epochs,
        lr=_LR,
        phase="partial fit",
        runtime=runtime,
        monitor=monitor,
    )
    settle_batch_norm(network, samples, runtime)
    with torch.no_grad():
        for value, known in zip(state, before, strict=True):
            value.lerp_(known, n_before / (n_before + len(samples)))
