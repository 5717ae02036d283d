"""The papers' training steps as a careful researcher would first ship them: what ``steps.py`` measures against.

float32 in torch's own memory layout, images converted to float32 once, the discriminator on concatenated maps at all
positions, a block labelled in one forward pass, by batch norm's running statistics; no loop over samples or pairs that
could be a matrix product. ``tests/test_benchmarks.py`` holds every loss here to the package's.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn, optim

from deepcluster_sk.networks._autoencoder import _UpsampledConv
from deepcluster_sk.networks._layers import ConvBlock

Augment = Callable[[Tensor], Tensor]


def batches_of(n: int, batch_size: int) -> tuple[Tensor, ...]:
    """All rows in random order, in batches of equal size (to one)."""
    return torch.randperm(n).tensor_split(max(1, n // batch_size))


def step_on(loss: Tensor, optimizer: optim.Optimizer) -> float:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


# ---- DAC ------------------------------------------------------------------------------------------------------------


def dac_similarity(network: nn.Module, batch: Tensor) -> Tensor:
    logits = network(batch)
    features = torch.exp(logits - logits.max(dim=1, keepdim=True).values)
    features = features / features.norm(dim=1, keepdim=True)
    return features @ features.T


def dac_loss(network: nn.Module, batch: Tensor, labels: Tensor, selected: Tensor) -> Tensor:
    similarity = dac_similarity(network, batch).clamp(0, 1)
    return F.binary_cross_entropy(similarity[selected], labels[selected])


def dac_block(
    network: nn.Module,
    images: Tensor,
    optimizer: optim.Optimizer,
    *,
    upper: float,
    lower: float,
    batch_size: int,
    augment: Augment,
) -> None:
    """Label the pairs of a block, then train on augmented batches of it."""
    network.eval()
    with torch.no_grad():
        similarity = dac_similarity(network, images)
    labels, selected = (similarity >= upper).float(), (similarity >= upper) | (similarity < lower)
    network.train()
    for rows in batches_of(len(images), batch_size):
        pairs = rows[:, None], rows[None, :]
        step_on(dac_loss(network, augment(images[rows]), labels[pairs], selected[pairs]), optimizer)


# ---- DCCM -----------------------------------------------------------------------------------------------------------


class ConcatenatedDiscriminator(nn.Module):
    """Three layers on the channels of a shallow map joined with a deep vector, which is repeated at every position."""

    def __init__(self, shallow_dim: int, deep_dim: int, hidden_dim: int = 512) -> None:
        super().__init__()
        self.joined = nn.Linear(shallow_dim + deep_dim, hidden_dim, bias=False)
        self.hidden = nn.Linear(hidden_dim, hidden_dim, bias=False)
        self.score = nn.Linear(hidden_dim, 1, bias=False)

    def project(self, shallow: Tensor, deep: Tensor) -> tuple[Tensor, Tensor]:
        """Maps as (n, n_positions, shallow_dim) and vectors as (n, 1, deep_dim): nothing is computed yet."""
        return shallow.flatten(2).transpose(1, 2), deep[:, None]

    def forward(self, deep: Tensor, shallow: Tensor) -> Tensor:
        joined = torch.cat([shallow, deep.expand(-1, shallow.shape[1], -1)], dim=2)
        return self.score(self.hidden(self.joined(joined).relu()).relu())[..., 0]


def nearest_random_pairs(similarity: Tensor, graph: Tensor) -> tuple[Tensor, Tensor]:
    """V1: each sample with its most similar neighbour in the graph, and with a random one that is none."""
    others = ~torch.eye(len(graph), dtype=torch.bool)
    positive, negative = graph & others, ~graph & others
    nearest = similarity.masked_fill(~positive, -1.0).argmax(1)
    anyone = torch.rand_like(similarity).masked_fill(~negative, -1.0).argmax(1)
    itself = torch.arange(len(graph))
    return (
        torch.stack([itself, nearest], 1)[positive.any(1)],
        torch.stack([itself, anyone], 1)[negative.any(1)],
    )


def dccm_correlation_loss(
    logits: Tensor, graph: Tensor, labels: Tensor, confident: Tensor, label_weight: float
) -> Tensor:
    proba = logits.softmax(1)
    unit = proba / proba.norm(dim=1, keepdim=True)
    loss = F.binary_cross_entropy((unit @ unit.T).clamp(0, 1), graph.float())
    if label_weight > 0 and confident.any():
        loss = loss + label_weight * F.cross_entropy(logits[confident], labels[confident])
    return loss


def dccm_loss(
    network: nn.Module,
    discriminator: nn.Module,
    views: tuple[Tensor, Tensor],
    graph: Tensor,
    labels: Tensor,
    confident: Tensor,
    pairs: tuple[Tensor, Tensor] | None,
    *,
    label_weight: float = 5.0,
    mi_weight: float = 0.1,
) -> Tensor:
    """Eq. (15) of originals and transforms; without pairs, no mutual information."""
    stages = network.stages(torch.cat(views))
    n = len(graph)
    loss = sum(
        dccm_correlation_loss(logits, graph, labels, confident, label_weight) for logits in stages.logits.split(n)
    )
    if pairs is None:
        return loss
    shallow, deep = discriminator.project(stages.shallow[:n], stages.embedding[:n])
    itself = torch.arange(n)[:, None].expand(-1, 2)
    joint, marginal = (
        discriminator(deep[chosen[:, 0]], shallow[chosen[:, 1]]) for chosen in (torch.cat([itself, pairs[0]]), pairs[1])
    )
    information = F.softplus(-joint).mean()
    if len(marginal):
        information = information + F.softplus(marginal).mean()
    return loss + mi_weight * information


def dccm_block(
    network: nn.Module,
    discriminator: nn.Module,
    images: Tensor,
    optimizer: optim.Optimizer,
    *,
    batch_size: int,
    augment: Augment,
    with_information: bool,
) -> None:
    """Pseudo-graph and pseudo-labels of a block, then train on batches of it and their transforms."""
    network.eval()
    with torch.no_grad():
        proba = network(images).softmax(1)
    unit = proba / proba.norm(dim=1, keepdim=True)
    similarity = unit @ unit.T
    graph = similarity >= 0.95
    confidence, labels = proba.max(1)
    network.train()
    for rows in batches_of(len(images), batch_size):
        batch, inside = images[rows], (rows[:, None], rows[None, :])
        pairs = nearest_random_pairs(similarity[inside], graph[inside]) if with_information else None
        views = batch, augment(batch)
        targets = graph[inside], labels[rows], confidence[rows] >= 0.9
        step_on(dccm_loss(network, discriminator, views, *targets, pairs), optimizer)


# ---- Networks -------------------------------------------------------------------------------------------------------


class UpsampledConv(nn.Module):
    """Upsampling, then convolution."""

    def __init__(self, factorised: _UpsampledConv) -> None:
        super().__init__()
        self.conv = nn.Conv2d(factorised.in_channels, factorised.out_channels, 3, padding=1)
        self.conv.load_state_dict(factorised.state_dict())
        self.height, self.width = factorised.size

    def forward(self, batch: Tensor) -> Tensor:
        doubled = F.interpolate(batch, scale_factor=2, mode="nearest")
        beyond = doubled.shape[3] - self.width, doubled.shape[2] - self.height
        if beyond == (0, 0):
            return self.conv(doubled)
        padded = F.pad(doubled, (1, 1 - beyond[0], 1, 1 - beyond[1]))
        return F.conv2d(padded, self.conv.weight, self.conv.bias)  # as large as it is to be: nothing to cut off


def make_plain(network: nn.Module) -> None:
    """Put layers that always run one by one, with the same weights, in place of those that the package joins."""
    for name, module in network.named_children():
        if isinstance(module, _UpsampledConv):
            setattr(network, name, UpsampledConv(module))
        elif isinstance(module, ConvBlock):
            setattr(network, name, nn.Sequential(*module))
        else:
            make_plain(module)


# ---- DCSS -----------------------------------------------------------------------------------------------------------


def memberships(latent: Tensor, centers: Tensor, fuzzifier: float = 1.5) -> Tensor:
    closeness = torch.cdist(latent, centers) ** (-2 / (fuzzifier - 1))
    return closeness / closeness.sum(1, keepdim=True)


def cluster_loss(
    network: nn.Module, batch: Tensor, weights: Tensor, center: Tensor, centering_weight: float = 0.1
) -> Tensor:
    """Eq. (1a) of one cluster."""
    latent = network.encoder(batch)
    errors = ((network.decoder(latent) - batch) ** 2).flatten(1).sum(1)
    return (weights * (errors + centering_weight * ((latent - center) ** 2).sum(1))).sum()


def cluster_batch(network: nn.Module, batch: Tensor, optimizer: optim.Optimizer) -> None:
    """Phase 1: memberships once a batch, then one step a cluster."""
    batch = network.standardize(batch)
    network.eval()
    with torch.no_grad():
        weights = memberships(network.encoder(batch), network.centers) ** 1.5
    network.train()
    for k, center in enumerate(network.centers):
        step_on(cluster_loss(network, batch, weights[:, k], center), optimizer)


def phase_2_loss(
    network: nn.Module, batch: Tensor, judge: Tensor, similar: float = 0.8, dissimilar: float = 0.2
) -> Tensor:
    """Eqs. (4) and (5)."""
    proba = network.mnet(network.encode(batch)).softmax(1)
    agreement, products = judge @ judge.T, proba @ proba.T
    adjacent, different = agreement >= similar, agreement <= dissimilar
    terms = torch.cat([1 - products[adjacent], products[different]])
    return terms.mean() if len(terms) else terms.sum()


def phase_2_batches(
    network: nn.Module, images: Tensor, optimizer: optim.Optimizer, *, batch_size: int, augment: Augment
) -> None:
    """Phase 2 by memberships."""
    for rows in batches_of(len(images), batch_size):
        batch = images[rows]
        network.eval()
        with torch.no_grad():
            judge = memberships(network.encode(batch), network.centers)
        network.train()
        step_on(phase_2_loss(network, augment(batch), judge), optimizer)
