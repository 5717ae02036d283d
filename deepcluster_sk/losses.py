"""The losses of the three papers: one pure function an equation.

Every function takes tensors, returns a scalar tensor, and knows nothing of networks, weights or schedules. A loss over
no selected pair or sample is zero with a zero gradient, so a step in which nothing is confident yet changes nothing.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "cluster_centering_loss",
    "cluster_reconstruction_loss",
    "consistency_loss",
    "contrastive_loss",
    "linear_pair_loss",
    "mutual_information_loss",
    "pair_cross_entropy",
    "pair_squared_error",
    "pseudo_label_loss",
    "reconstruction_loss",
]


def _selected_mean(values: Tensor, selected: Tensor) -> Tensor:
    """Mean of ``values`` where ``selected``; 0 (with a gradient of 0) where nothing is."""
    return (values * selected).sum() / selected.sum().clamp(min=1)


def _binary_cross_entropy(proba: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of every element, NaN where either is.

    Rounding puts similarities above 1, and a network that diverges makes NaN; torch's own raises for both, and on a GPU
    loses all that is there.
    """
    proba, target = proba.clamp(0, 1), target.clamp(0, 1)
    loss = F.binary_cross_entropy(proba.nan_to_num(), target.nan_to_num(), reduction="none")
    return torch.where((proba + target).isnan(), torch.nan, loss)


def pair_cross_entropy(similarity: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    r"""Mean binary cross-entropy over the selected pairs.

    .. math:: -\frac{1}{|P| + |N|} \Big(\sum_{(i,j) \in P} \log s_{ij} + \sum_{(i,j) \in N} \log (1 - s_{ij})\Big)

    Parameters
    ----------
    similarity : Tensor of shape (n, n), float, in [0, 1]
        Similarities of the samples; values that rounding put outside [0, 1] are clamped.
    positive, negative : Tensor of shape (n, n), bool
        The pairs said to share a cluster, and those said not to. The rest is left out.

    Returns
    -------
    loss : Tensor of shape (), in [0, 100]
        Logarithms are cut at -100, so one wrong pair cannot make the mean infinite.

    References
    ----------
    Chang et al., "Deep Adaptive Image Clustering", ICCV 2017, Eqs. (2), (8) and (10); Wu et al., "Deep Comprehensive
    Correlation Mining for Image Clustering", ICCV 2019, Eq. (3) and its footnote.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import pair_cross_entropy
    >>> similarity = torch.tensor([[1.0, 0.5], [0.5, 1.0]])
    >>> same = torch.eye(2, dtype=torch.bool)
    >>> round(pair_cross_entropy(similarity, same, ~same).item(), 4)
    0.3466
    """
    return _selected_mean(_binary_cross_entropy(similarity, positive.to(similarity.dtype)), positive | negative)


def pair_squared_error(similarity: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """Mean squared error (s - r)² over the selected pairs, the bounded alternative to :func:`pair_cross_entropy`.

    Parameters
    ----------
    similarity : Tensor of shape (n, n), float, in [0, 1]
        Similarities of the samples.
    positive, negative : Tensor of shape (n, n), bool
        The pairs said to share a cluster (target 1), and those said not to (target 0).

    Returns
    -------
    loss : Tensor of shape (), in [0, 1]

    Notes
    -----
    Not in the DAC paper; its authors report MNIST results with this loss.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import pair_squared_error
    >>> similarity = torch.tensor([[1.0, 0.5], [0.5, 1.0]])
    >>> same = torch.eye(2, dtype=torch.bool)
    >>> pair_squared_error(similarity, same, ~same).item()
    0.125
    """
    return _selected_mean((similarity - positive.to(similarity.dtype)).square(), positive | negative)


def consistency_loss(features: Tensor, target: Tensor) -> Tensor:
    r"""Mean binary cross-entropy between the label features of transformed samples and of the samples themselves.

    .. math:: -\frac{1}{n K} \sum_{i, h} \big(t_{ih} \log l_{ih} + (1 - t_{ih}) \log (1 - l_{ih})\big)

    Parameters
    ----------
    features : Tensor of shape (n, n_clusters), float, in [0, 1]
        Label features l of the transformed samples; values that rounding put outside [0, 1] are clamped.
    target : Tensor of shape (n, n_clusters), float, in [0, 1]
        Label features t of the samples as they are, detached.

    Returns
    -------
    loss : Tensor of shape (), in [0, 100]
        Logarithms are cut at -100.

    Notes
    -----
    Not in the DAC paper; its authors add it, with a weight of 10, for STL-10.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import consistency_loss
    >>> round(consistency_loss(torch.tensor([[0.6, 0.8]]), torch.tensor([[0.0, 1.0]])).item(), 4)
    0.5697
    """
    return _binary_cross_entropy(features, target).mean()


def linear_pair_loss(similarity: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """Mean of 1 - s over the adjacent pairs and of s over the dissimilar ones, taken together.

    Parameters
    ----------
    similarity : Tensor of shape (n, n), float, in [0, 1]
        Inner products q_i · q_j of the predicted probabilities.
    positive, negative : Tensor of shape (n, n), bool
        Adjacent and dissimilar pairs; pairs between are left out.

    Returns
    -------
    loss : Tensor of shape (), in [0, 1]

    References
    ----------
    Sadeghi and Armanfard, "Deep Clustering with Self-Supervision using Pairwise Similarities", 2024, Eqs. (4) and (5),
    which differ only in what the masks are made from.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import linear_pair_loss
    >>> similarity = torch.tensor([[0.75, 0.25], [0.25, 0.75]])
    >>> same = torch.eye(2, dtype=torch.bool)
    >>> linear_pair_loss(similarity, same, ~same).item()
    0.25
    """
    return _selected_mean(torch.where(positive, 1 - similarity, similarity), positive | negative)


def pseudo_label_loss(logits: Tensor, labels: Tensor, confident: Tensor) -> Tensor:
    """Mean cross-entropy against the pseudo-labels of the confident samples.

    Parameters
    ----------
    logits : Tensor of shape (n, n_clusters), float
        Scores before the softmax.
    labels : Tensor of shape (n,), int64, in [0, n_clusters)
        Pseudo-labels.
    confident : Tensor of shape (n,), bool
        The samples whose pseudo-label is used.

    Returns
    -------
    loss : Tensor of shape (), >= 0

    References
    ----------
    Wu et al., "Deep Comprehensive Correlation Mining for Image Clustering", ICCV 2019, Eqs. (9) and (12).

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import pseudo_label_loss
    >>> loss = pseudo_label_loss(torch.zeros(2, 4), torch.tensor([0, 3]), torch.tensor([True, False]))
    >>> round(loss.item(), 4)  # log 4
    1.3863
    """
    return _selected_mean(F.cross_entropy(logits, labels, reduction="none"), confident)


def mutual_information_loss(
    joint_scores: Tensor, marginal_scores: Tensor, joint: Tensor | None = None, marginal: Tensor | None = None
) -> Tensor:
    """Negative Jensen-Shannon estimate of the mutual information between deep and shallow features.

    E_J[softplus(-T)] + E_M[softplus(T)] for discriminator scores T of pairs from the joint distribution J (same image,
    or a positive pair of the pseudo-graph) and from the product of marginals M (a negative pair).

    Parameters
    ----------
    joint_scores : Tensor of shape (n_joint, n_positions), float
        Scores of (deep, shallow) pairs that belong together.
    marginal_scores : Tensor of shape (n_marginal, n_positions), float
        Scores of pairs that do not. Either may be empty; its expectation is then left out.
    joint : Tensor of shape (n_joint,), bool, or None, default=None
        Which of the pairs to take; None takes all.
    marginal : Tensor of shape (n_marginal,), bool, or None, default=None
        Likewise.

    Returns
    -------
    loss : Tensor of shape (), >= 0

    References
    ----------
    Wu et al., "Deep Comprehensive Correlation Mining for Image Clustering", ICCV 2019, Eqs. (13) and (14).

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import mutual_information_loss
    >>> round(mutual_information_loss(torch.zeros(3, 2), torch.zeros(1, 2)).item(), 4)  # 2 log 2
    1.3863
    """
    joint_means, marginal_means = F.softplus(-joint_scores).mean(1), F.softplus(marginal_scores).mean(1)  # of a pair
    joint = torch.ones_like(joint_means, dtype=torch.bool) if joint is None else joint
    marginal = torch.ones_like(marginal_means, dtype=torch.bool) if marginal is None else marginal
    return _selected_mean(joint_means, joint) + _selected_mean(marginal_means, marginal)


def reconstruction_loss(images: Tensor, reconstruction: Tensor) -> Tensor:
    """Squared error of each sample's reconstruction, summed over its pixels and averaged over the batch.

    Parameters
    ----------
    images, reconstruction : Tensor of shape (n, ...), float
        The originals and what the decoder made of them.

    Returns
    -------
    loss : Tensor of shape (), >= 0

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import reconstruction_loss
    >>> reconstruction_loss(torch.zeros(2, 1, 2, 2), torch.ones(2, 1, 2, 2)).item()
    4.0
    """
    return _squared_errors(images, reconstruction).mean()


def _squared_errors(first: Tensor, second: Tensor) -> Tensor:
    """‖first_i - second_i‖² of every row, shape (n,)."""
    difference = (first - second).flatten(1)
    return torch.linalg.vecdot(difference, difference)


def cluster_reconstruction_loss(images: Tensor, reconstruction: Tensor, weights: Tensor) -> Tensor:
    r"""Reconstruction error of one cluster, :math:`\sum_i p_{ik}^m \|x_i - \hat x_i\|^2`.

    Parameters
    ----------
    images, reconstruction : Tensor of shape (n, ...), float
        The originals and what the decoder made of them.
    weights : Tensor of shape (n,), float, in [0, 1]
        Memberships of the samples in cluster k, raised to the fuzzifier: p_ik^m.

    Returns
    -------
    loss : Tensor of shape (), >= 0
        Summed over samples and pixels, as the paper's learning rate assumes.

    References
    ----------
    Sadeghi and Armanfard, "Deep Clustering with Self-Supervision using Pairwise Similarities", 2024, Eq. (1b).

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import cluster_reconstruction_loss
    >>> cluster_reconstruction_loss(torch.zeros(2, 4), torch.ones(2, 4), torch.tensor([1.0, 0.5])).item()
    6.0
    """
    return (weights * _squared_errors(images, reconstruction)).sum()


def cluster_centering_loss(latent: Tensor, center: Tensor, weights: Tensor) -> Tensor:
    r"""Spread of one cluster around its centre, :math:`\sum_i p_{ik}^m \|u_i - \mu_k\|^2`.

    Parameters
    ----------
    latent : Tensor of shape (n, d), float
        Latent vectors u.
    center : Tensor of shape (d,), float
        Centre of cluster k.
    weights : Tensor of shape (n,), float, in [0, 1]
        Memberships of the samples in cluster k, raised to the fuzzifier: p_ik^m.

    Returns
    -------
    loss : Tensor of shape (), >= 0
        Summed over samples.

    References
    ----------
    Sadeghi and Armanfard, "Deep Clustering with Self-Supervision using Pairwise Similarities", 2024, Eq. (1c).

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import cluster_centering_loss
    >>> cluster_centering_loss(torch.ones(2, 3), torch.zeros(3), torch.tensor([1.0, 0.0])).item()
    3.0
    """
    return (weights * _squared_errors(latent, center.expand_as(latent))).sum()


def contrastive_loss(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Normalised temperature-scaled cross-entropy between two views of every sample.

    The two views of a sample are to be more alike, by cosine, than any two views of different samples.

    Parameters
    ----------
    first, second : Tensor of shape (n, d), float
        Embeddings of the two views; row i of one belongs to row i of the other.
    temperature : float, > 0
        Divisor of the cosine similarities.

    Returns
    -------
    loss : Tensor of shape (), >= 0

    References
    ----------
    Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020, Eq. (1).

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import contrastive_loss
    >>> views = torch.eye(2)
    >>> round(contrastive_loss(views, views, temperature=1.0).item(), 4)  # log(1 + 2 / e)
    0.5514
    """
    views = F.normalize(torch.cat([first, second]), dim=1)  # (2 n, d)
    scores = views @ views.T / temperature
    scores = scores.masked_fill(torch.eye(len(views), dtype=torch.bool, device=views.device), float("-inf"))
    partner = torch.arange(len(views), device=views.device).roll(len(first))
    return F.cross_entropy(scores, partner)
