"""What the networks' outputs say about pairs of samples: similarities, selected pairs, pseudo-labels, memberships.

Nothing here is differentiated: these functions make the *targets* that the losses then pull towards. Callers pass
detached tensors (the two mappings that are also trained through, :func:`label_features` and
:func:`cosine_similarity_matrix`, say so).
"""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from deepcluster_sk._data import to_device

__all__ = [
    "PairSample",
    "adjacent_pairs",
    "cosine_similarity_matrix",
    "fuzzy_memberships",
    "label_features",
    "pseudo_graph",
    "pseudo_labels",
    "sample_pairs",
    "select_pairs",
    "weighted_centers",
]

PairSampling = Literal["nearest-random", "nearest-farthest", "random-random", "top-random"]


def label_features(logits: Tensor) -> Tensor:
    """Non-negative rows of unit length: DAC's clustering constraint. Differentiable.

    exp(h - max h), divided by its L2 norm; the same as the L2-normalised softmax.

    Parameters
    ----------
    logits : Tensor of shape (n, n_clusters), float
        Scores before the constraint layer.

    Returns
    -------
    features : Tensor of shape (n, n_clusters), float, in [0, 1]
        Inner products of two rows are their cosine similarity, in [0, 1].

    References
    ----------
    Chang et al., "Deep Adaptive Image Clustering", ICCV 2017, Eqs. (3), (9a) and (9b).

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.pairs import label_features
    >>> label_features(torch.tensor([[0.0, -1000.0]])).tolist()
    [[1.0, 0.0]]
    """
    return F.normalize((logits - logits.amax(1, keepdim=True)).exp(), dim=1)


def cosine_similarity_matrix(features: Tensor) -> Tensor:
    """Cosine similarity of every row with every row. Differentiable.

    Parameters
    ----------
    features : Tensor of shape (n, d), float
        For example softmax outputs (DCCM) or label features (DAC).

    Returns
    -------
    similarity : Tensor of shape (n, n), float, in [-1, 1]
        In [0, 1] for non-negative features; rounding may exceed 1 in the last bit.

    References
    ----------
    Chang et al., "Deep Adaptive Image Clustering", ICCV 2017, Eq. (4); Wu et al., "Deep Comprehensive Correlation
    Mining for Image Clustering", ICCV 2019, Section 3.1.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.pairs import cosine_similarity_matrix
    >>> cosine_similarity_matrix(torch.tensor([[2.0, 0.0], [0.0, 3.0]])).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    unit = F.normalize(features, dim=1)
    return unit @ unit.T


def select_pairs(similarity: Tensor, *, upper: float, lower: float) -> tuple[Tensor, Tensor]:
    """Pairs alike enough to share a cluster, and pairs different enough not to.

    A pair is positive if its similarity is at least ``upper``, negative if it is below ``lower``, and left out
    otherwise. ``upper == lower`` leaves no pair out.

    Parameters
    ----------
    similarity : Tensor of shape (n, n), float
        Similarities.
    upper, lower : float, ``lower <= upper``
        Thresholds u and l.

    Returns
    -------
    positive, negative : Tensor of shape (n, n), bool
        Never both true.

    References
    ----------
    Chang et al., "Deep Adaptive Image Clustering", ICCV 2017, Eqs. (6) and (8).

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.pairs import select_pairs
    >>> positive, negative = select_pairs(torch.tensor([[0.9, 0.5, 0.1]]), upper=0.8, lower=0.2)
    >>> positive.tolist(), negative.tolist()
    ([[True, False, False]], [[False, False, True]])
    """
    return similarity >= upper, similarity < lower


def adjacent_pairs(proba: Tensor, *, similar: float, dissimilar: float) -> tuple[Tensor, Tensor]:
    """Pairs whose cluster probabilities have a large inner product, and pairs for which it is small.

    Parameters
    ----------
    proba : Tensor of shape (n, n_clusters), float, rows sum to 1
        Fuzzy memberships p, or MNet's output q.
    similar, dissimilar : float, ``dissimilar <= similar``
        Thresholds ζ (0.8 in the paper) and γ (0.2): adjacent pairs have p_i · p_j >= ζ, dissimilar ones <= γ.

    Returns
    -------
    adjacent, dissimilar : Tensor of shape (n, n), bool
        Pairs between the thresholds are in neither.

    References
    ----------
    Sadeghi and Armanfard, "Deep Clustering with Self-Supervision using Pairwise Similarities", 2024, Eqs. (4) and (5).

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.pairs import adjacent_pairs
    >>> adjacent, dissimilar = adjacent_pairs(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), similar=0.8, dissimilar=0.2)
    >>> adjacent.tolist(), dissimilar.tolist()
    ([[True, False], [False, True]], [[False, True], [True, False]])
    """
    similarity = proba @ proba.T
    return similarity >= similar, similarity <= dissimilar


def pseudo_graph(similarity: Tensor, threshold: float) -> Tensor:
    """Edges between samples that are at least ``threshold`` alike.

    Parameters
    ----------
    similarity : Tensor of shape (n, n), float
        Cosine similarities of the prediction features.
    threshold : float
        The fixed threshold thres1 (0.95 in the paper).

    Returns
    -------
    graph : Tensor of shape (n, n), bool
        W; false pairs are the negative ones.

    References
    ----------
    Wu et al., "Deep Comprehensive Correlation Mining for Image Clustering", ICCV 2019, Eq. (2).

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.pairs import pseudo_graph
    >>> pseudo_graph(torch.tensor([[1.0, 0.9]]), threshold=0.95).tolist()
    [[True, False]]
    """
    return similarity >= threshold


def pseudo_labels(proba: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Most probable cluster of each sample, and whether the network is sure of it.

    Parameters
    ----------
    proba : Tensor of shape (n, n_clusters), float, rows sum to 1
        Prediction features z.
    threshold : float, in [0, 1]
        The threshold thres2 on the largest probability (0.9 in the paper).

    Returns
    -------
    labels : Tensor of shape (n,), int64
        argmax of each row.
    confident : Tensor of shape (n,), bool
        V: whether the largest probability reaches the threshold.

    References
    ----------
    Wu et al., "Deep Comprehensive Correlation Mining for Image Clustering", ICCV 2019, Eqs. (7) and (8).

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.pairs import pseudo_labels
    >>> labels, confident = pseudo_labels(torch.tensor([[0.05, 0.95], [0.6, 0.4]]), threshold=0.9)
    >>> labels.tolist(), confident.tolist()
    ([1, 0], [True, False])
    """
    confidence, labels = proba.max(1)
    return labels, confidence >= threshold


class PairSample(NamedTuple):
    """Index pairs drawn from a pseudo-graph, n of each kind, and which of them are real.

    Their number never depends on the graph, because finding out how many there are would make a GPU wait.

    Attributes
    ----------
    positive, negative : Tensor of shape (n, 2), int64
        Rows (anchor, partner): pairs with an edge, and pairs without.
    has_positive, has_negative : Tensor of shape (n,), bool
        False where there is no such pair; what ``positive`` or ``negative`` has there is to be left out.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.pairs import PairSample
    >>> real = torch.tensor([True])
    >>> PairSample(torch.tensor([[0, 1]]), torch.tensor([[0, 2]]), real, real).positive.tolist()
    [[0, 1]]
    """

    positive: Tensor
    negative: Tensor
    has_positive: Tensor
    has_negative: Tensor


def sample_pairs(similarity: Tensor, graph: Tensor, strategy: PairSampling, generator: torch.Generator) -> PairSample:
    """Draw up to n positive and n negative pairs from the pseudo-graph of n samples.

    Parameters
    ----------
    similarity : Tensor of shape (n, n), float
        Similarities that decide what is nearest and farthest.
    graph : Tensor of shape (n, n), bool
        Pseudo-graph W. Its diagonal is ignored: a sample is no partner of its own.
    strategy : {"nearest-random", "nearest-farthest", "random-random", "top-random"}
        V1 to V4 of the paper: how the positive, then the negative partner of each anchor is chosen. "top" takes the n
        most similar pairs of the whole graph (each pair once), so that not every sample need be an anchor.
    generator : torch.Generator on the CPU
        Source of the random partners.

    Returns
    -------
    pairs : PairSample
        Anchors without a partner of a kind have no real pair of that kind.

    References
    ----------
    Wu et al., "Deep Comprehensive Correlation Mining for Image Clustering", ICCV 2019, supplement, Table 3.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.pairs import sample_pairs
    >>> similarity = torch.tensor([[1.0, 0.9, 0.1], [0.9, 1.0, 0.2], [0.1, 0.2, 1.0]])
    >>> pairs = sample_pairs(similarity, similarity > 0.5, "nearest-farthest", torch.Generator())
    >>> pairs.positive.tolist(), pairs.negative.tolist()
    ([[0, 1], [1, 0], [2, 0]], [[0, 2], [1, 2], [2, 0]])
    >>> pairs.has_positive.tolist()  # sample 2 has no edge
    [True, True, False]
    """
    diagonal = torch.eye(len(graph), dtype=torch.bool, device=graph.device)
    positive_rule, negative_rule = strategy.split("-")

    def random() -> Tensor:
        return to_device(torch.rand(graph.shape, generator=generator), similarity.device)

    if positive_rule == "top":
        positive, has_positive = _top_pairs(similarity, graph)
    else:
        score = similarity if positive_rule == "nearest" else random()
        positive, has_positive = _best_partners(score, graph & ~diagonal)
    score = -similarity if negative_rule == "farthest" else random()
    negative, has_negative = _best_partners(score, ~graph & ~diagonal)
    return PairSample(positive, negative, has_positive, has_negative)


def _best_partners(score: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
    """(anchor, partner) of highest score among the allowed, for every anchor, and whether it has any."""
    partner = score.masked_fill(~allowed, float("-inf")).argmax(1)
    return torch.stack([torch.arange(len(partner), device=partner.device), partner], dim=1), allowed.any(1)


def _top_pairs(similarity: Tensor, graph: Tensor) -> tuple[Tensor, Tensor]:
    """The n most similar pairs i < j with an edge, most similar first, and whether there are so many."""
    n = len(graph)
    score = similarity.masked_fill(~graph.triu(1), float("-inf")).flatten()
    order = score.argsort(descending=True, stable=True)[:n]
    return torch.stack([order // n, order % n], dim=1), score[order] > float("-inf")


def fuzzy_memberships(latent: Tensor, centers: Tensor, fuzzifier: float) -> Tensor:
    r"""Degree to which each sample belongs to each centre.

    .. math:: p_{ik} = \|u_i - \mu_k\|^{-2/(m-1)} \Big/ \sum_j \|u_i - \mu_j\|^{-2/(m-1)}

    Parameters
    ----------
    latent : Tensor of shape (n, d), float
        Latent vectors u.
    centers : Tensor of shape (n_clusters, d), float
        Centres.
    fuzzifier : float, > 1
        m; near 1 memberships are crisp, large m makes them equal.

    Returns
    -------
    memberships : Tensor of shape (n, n_clusters), float, rows sum to 1
        A sample that lies on a centre belongs to it alone (shared equally with any equal centre).

    References
    ----------
    Sadeghi and Armanfard, "Deep Clustering with Self-Supervision using Pairwise Similarities", 2024, Eq. (2).

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.pairs import fuzzy_memberships
    >>> fuzzy_memberships(torch.tensor([[0.0], [0.5]]), torch.tensor([[0.0], [1.0]]), fuzzifier=1.5).tolist()
    [[1.0, 0.0], [0.5, 0.5]]
    """
    # Differences, not the expanded product: that one loses the distance of a sample that sits on its centre.
    if torch.compiler.is_exporting():  # ONNX has no cdist
        squared = (latent[:, None] - centers).square().sum(2)
    else:
        squared = torch.cdist(latent, centers, compute_mode="donot_use_mm_for_euclid_dist").square()
    # A softmax of logarithms neither divides by zero nor overflows.
    tiny = torch.finfo(squared.dtype).tiny
    memberships = torch.softmax(-squared.clamp(min=tiny).log() / (fuzzifier - 1), dim=1)
    on_center = (squared == 0).to(squared.dtype)
    n_centers = on_center.sum(1, keepdim=True)
    return torch.where(n_centers > 0, on_center / n_centers.clamp(min=1), memberships)


def weighted_centers(latent: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    r"""Numerator and denominator of the centres :math:`\mu_k = \sum_i p_{ik}^m u_i / \sum_i p_{ik}^m`.

    Both are sums over samples, so batches can be added up before the division.

    Parameters
    ----------
    latent : Tensor of shape (n, d), float
        Latent vectors u.
    weights : Tensor of shape (n, n_clusters), float, in [0, 1]
        Memberships raised to the fuzzifier, p^m.

    Returns
    -------
    weighted_sum : Tensor of shape (n_clusters, d)
        Numerators.
    total_weight : Tensor of shape (n_clusters, 1)
        Denominators.

    References
    ----------
    Sadeghi and Armanfard, "Deep Clustering with Self-Supervision using Pairwise Similarities", 2024, Eq. (3).

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.pairs import weighted_centers
    >>> weighted_sum, total_weight = weighted_centers(torch.tensor([[1.0], [3.0]]), torch.tensor([[1.0], [0.5]]))
    >>> round((weighted_sum / total_weight).item(), 4)
    1.6667
    """
    return weights.T @ latent, weights.sum(0)[:, None]
