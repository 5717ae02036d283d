"""Every loss against its double loop in float64, and at the edges."""

import math

import numpy as np
import pytest
import reference
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

from deepcluster_sk.losses import (
    cluster_centering_loss,
    cluster_reconstruction_loss,
    consistency_loss,
    contrastive_loss,
    linear_pair_loss,
    mutual_information_loss,
    pair_cross_entropy,
    pair_squared_error,
    pseudo_label_loss,
    reconstruction_loss,
)
from deepcluster_sk.networks import LocalDiscriminator
from deepcluster_sk.pairs import (
    adjacent_pairs,
    cosine_similarity_matrix,
    fuzzy_memberships,
    label_features,
    pseudo_graph,
    pseudo_labels,
    select_pairs,
)

PAIR_LOSSES = [pair_cross_entropy, pair_squared_error, linear_pair_loss]

seeds = st.integers(0, 2**31 - 1)
sizes = st.integers(1, 7)
widths = st.integers(1, 5)


def randn(seed, *shape, scale=1.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rand(seed, *shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pair_set(mask):
    return {(i, j) for i, j in mask.nonzero().tolist()}


def random_masks(seed, n):
    """Disjoint positive and negative pairs, a third of all pairs each."""
    kind = torch.randint(3, (n, n), generator=torch.Generator().manual_seed(seed))
    return kind == 0, kind == 1


def close(loss, expected):
    assert loss.shape == ()
    np.testing.assert_allclose(loss.item(), expected, rtol=1e-11, atol=1e-12)


# ---- DAC ------------------------------------------------------------------------------------------------------------


@given(seed=seeds, n=sizes)
def test_pair_cross_entropy_matches_loop(seed, n):
    similarity, (positive, negative) = rand(seed, n, n), random_masks(seed, n)
    expected = reference.pair_cross_entropy(similarity.numpy(), pair_set(positive), pair_set(negative))
    close(pair_cross_entropy(similarity, positive, negative), expected)


@given(seed=seeds, n=sizes)
def test_pair_squared_error_matches_loop(seed, n):
    similarity, (positive, negative) = rand(seed, n, n), random_masks(seed, n)
    expected = reference.pair_squared_error(similarity.numpy(), pair_set(positive), pair_set(negative))
    close(pair_squared_error(similarity, positive, negative), expected)


@given(seed=seeds, n=sizes, k=widths, upper=st.floats(0.5, 1.0), lower=st.floats(0.0, 0.5))
def test_dac_objective_matches_loop_from_logits(seed, n, k, upper, lower):
    logits = randn(seed, n, k, scale=3.0)
    similarity = cosine_similarity_matrix(label_features(logits))
    loss = pair_cross_entropy(similarity, *select_pairs(similarity, upper=upper, lower=lower))
    pairs = reference.labelled_pairs(similarity.numpy(), upper, lower)  # of the same bits, so that ties fall alike
    expected = reference.pair_cross_entropy(
        reference.inner_products(reference.label_features(logits.numpy())).clip(0, 1), *pairs
    )
    np.testing.assert_allclose(loss.item(), expected, rtol=1e-10, atol=1e-10)


@given(seed=seeds, n=sizes, k=widths)
def test_consistency_loss_matches_loop(seed, n, k):
    features, target = label_features(randn(seed, n, k, scale=3.0)), label_features(randn(seed + 1, n, k, scale=3.0))
    close(consistency_loss(features, target), reference.consistency_loss(features.numpy(), target.numpy()))


def test_consistency_loss_of_one_hot_features():
    same, other = torch.tensor([[1.0000001, -1e-7]]), torch.tensor([[0.0, 1.0]])
    assert consistency_loss(same, same).item() == 0.0
    assert consistency_loss(same, other).item() == 100.0


def test_consistency_loss_gradient():
    target = label_features(randn(1, 4, 3))
    assert gradcheck(lambda logits: consistency_loss(label_features(logits), target), randn(0, 4, 3).requires_grad_())


@pytest.mark.parametrize(("similarity", "positive"), [(0.0, True), (1.0, False)])
def test_pair_cross_entropy_is_cut_at_100(similarity, positive):
    mask = torch.tensor([[positive]])
    assert pair_cross_entropy(torch.tensor([[similarity]]), mask, ~mask).item() == 100.0


def test_pair_cross_entropy_takes_similarities_that_rounding_put_above_one():
    mask = torch.tensor([[True]])
    assert pair_cross_entropy(torch.tensor([[1.0000001]]), mask, ~mask).item() == 0.0


@pytest.mark.parametrize("loss", [*PAIR_LOSSES, lambda similarity, *masks: consistency_loss(similarity, similarity)])
def test_what_is_not_a_number_has_a_loss_that_is_none(loss):
    """A network that diverges is to be told by its loss; torch's own cross-entropy raises, and ends a GPU's context."""
    similarity = torch.tensor([[1.0, torch.nan], [0.5, 1.0]], requires_grad=True)
    same = torch.eye(2, dtype=torch.bool)
    value = loss(similarity, same, ~same)
    value.backward()
    assert value.isnan()


@pytest.mark.parametrize("loss", PAIR_LOSSES)
class TestPairLosses:
    def test_no_pair_gives_zero_loss_and_zero_gradient(self, loss):
        similarity = torch.tensor([[1.0, 0.0], [0.5, 1.0]], requires_grad=True)
        nothing = torch.zeros(2, 2, dtype=torch.bool)
        value = loss(similarity, nothing, nothing)
        value.backward()
        assert value.item() == 0.0
        assert torch.equal(similarity.grad, torch.zeros(2, 2))

    @pytest.mark.parametrize("which", ["positive", "negative"])
    def test_all_pairs_of_one_kind_is_the_plain_mean(self, loss, which):
        similarity = rand(1, 4, 4)
        everything, nothing = torch.ones(4, 4, dtype=torch.bool), torch.zeros(4, 4, dtype=torch.bool)
        masks = (everything, nothing) if which == "positive" else (nothing, everything)
        error = 1 - similarity if which == "positive" else similarity
        expected = {
            pair_cross_entropy: -torch.log1p(-error).mean(),
            pair_squared_error: (error**2).mean(),
            linear_pair_loss: error.mean(),
        }
        close(loss(similarity, *masks), expected[loss].item())

    def test_perfect_similarities_cost_nothing(self, loss):
        same = torch.eye(3, dtype=torch.bool)
        assert loss(same.double(), same, ~same).item() == 0.0

    def test_single_sample(self, loss):
        only = torch.ones(1, 1, dtype=torch.bool)
        expected = {pair_cross_entropy: math.log(2), pair_squared_error: 0.25, linear_pair_loss: 0.5}
        close(loss(torch.full((1, 1), 0.5, dtype=torch.float64), only, ~only), expected[loss])

    @given(seed=seeds, n=sizes)
    def test_order_of_samples_does_not_matter(self, loss, seed, n):
        similarity, (positive, negative) = rand(seed, n, n), random_masks(seed, n)
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
        permuted = [matrix[order][:, order] for matrix in (similarity, positive, negative)]
        close(loss(*permuted), loss(similarity, positive, negative).item())

    def test_left_out_pairs_have_no_gradient(self, loss):
        similarity, (positive, negative) = rand(3, 5, 5).requires_grad_(), random_masks(3, 5)
        loss(similarity, positive, negative).backward()
        left_out = ~(positive | negative)
        assert left_out.any()
        assert (similarity.grad[left_out] == 0).all()
        assert (similarity.grad[positive] < 0).all()
        assert (similarity.grad[negative] > 0).all()

    def test_gradient(self, loss):
        similarity, (positive, negative) = (0.1 + 0.8 * rand(0, 4, 4)).requires_grad_(), random_masks(0, 4)
        assert gradcheck(lambda s: loss(s, positive, negative), similarity)


# ---- DCCM -----------------------------------------------------------------------------------------------------------


@given(seed=seeds, n=sizes, k=widths, threshold=st.floats(0.3, 0.99))
def test_graph_loss_matches_loop_from_logits(seed, n, k, threshold):
    proba = randn(seed, n, k, scale=2.0).softmax(1)
    similarity = cosine_similarity_matrix(proba)
    graph = pseudo_graph(similarity, threshold)
    edges = reference.pseudo_graph(similarity.numpy(), threshold)
    expected = reference.pair_cross_entropy(
        reference.cosine_similarities(proba.numpy()).clip(0, 1), edges, reference.non_edges(edges, n)
    )
    np.testing.assert_allclose(pair_cross_entropy(similarity, graph, ~graph).item(), expected, rtol=1e-10, atol=1e-10)


@given(seed=seeds, n=sizes, k=widths, threshold=st.floats(0.0, 1.0))
def test_pseudo_label_loss_matches_loop(seed, n, k, threshold):
    logits = randn(seed, n, k, scale=2.0)
    labels, confident = pseudo_labels(logits.softmax(1), threshold)
    expected = reference.pseudo_label_loss(logits.numpy(), labels.tolist(), confident.tolist())
    close(pseudo_label_loss(logits, labels, confident), expected)


@given(seed=seeds, n=st.integers(2, 7), k=st.integers(2, 5))
def test_robustness_loss_matches_loop(seed, n, k):
    logits, transformed = randn(seed, n, k, scale=3.0), randn(seed + 1, n, k, scale=3.0)
    graph = pseudo_graph(cosine_similarity_matrix(logits.softmax(1)), 0.95)
    labels, confident = pseudo_labels(logits.softmax(1), 0.9)
    similarity = cosine_similarity_matrix(transformed.softmax(1))
    loss = pair_cross_entropy(similarity, graph, ~graph) + 5 * pseudo_label_loss(transformed, labels, confident)
    expected = reference.robustness_loss(logits.tolist(), transformed.tolist(), 0.95, 0.9, 5)
    np.testing.assert_allclose(loss.item(), expected, rtol=1e-10, atol=1e-10)


def test_no_confident_sample_gives_zero_loss_and_zero_gradient():
    logits = torch.tensor([[1000.0, -1000.0], [0.0, 0.0]], requires_grad=True)
    value = pseudo_label_loss(logits, torch.tensor([1, 0]), torch.tensor([False, False]))
    value.backward()
    assert value.item() == 0.0
    assert torch.equal(logits.grad, torch.zeros(2, 2))


def test_pseudo_label_loss_of_one_cluster_is_zero():
    assert pseudo_label_loss(randn(0, 3, 1), torch.zeros(3, dtype=torch.int64), torch.ones(3).bool()).item() == 0.0


def test_pseudo_label_loss_gradient():
    labels, confident = torch.tensor([0, 2, 1]), torch.tensor([True, False, True])
    assert gradcheck(lambda logits: pseudo_label_loss(logits, labels, confident), randn(0, 3, 3).requires_grad_())


@given(seed=seeds, n_joint=st.integers(0, 4), n_marginal=st.integers(0, 4), n_positions=st.integers(1, 5))
def test_mutual_information_loss_matches_loop(seed, n_joint, n_marginal, n_positions):
    joint, marginal = randn(seed, n_joint, n_positions), randn(seed + 1, n_marginal, n_positions)
    expected = reference.mutual_information_loss(joint.tolist(), marginal.tolist())
    close(mutual_information_loss(joint, marginal), expected)
    masks = [torch.rand(n, generator=torch.Generator().manual_seed(seed)) < 0.5 for n in (n_joint, n_marginal)]
    expected = reference.mutual_information_loss(joint[masks[0]].tolist(), marginal[masks[1]].tolist())
    close(mutual_information_loss(joint, marginal, *masks), expected)


@given(seed=seeds, n=st.integers(2, 4), k=st.integers(2, 3))
def test_triplet_mutual_information_matches_loop_with_concatenated_discriminator(seed, n, k):
    deep, shallow = randn(seed, n, k), randn(seed + 1, n, 3, 2, 3)
    graph = pseudo_graph(cosine_similarity_matrix(deep.softmax(1)), 0.9)
    joint, marginal = graph.nonzero(), (~graph).nonzero()  # the diagonal of the graph is "the same image"
    discriminator = LocalDiscriminator(3, k, hidden_dim=4).double()
    weights = draw_weights(discriminator, seed)
    shallow_projected, deep_projected = discriminator.project(shallow, deep)
    loss = mutual_information_loss(
        *(discriminator(deep_projected[p[:, 0]], shallow_projected[p[:, 1]]) for p in (joint, marginal))
    )
    scores = [
        reference.discriminator_scores(weights, pairs.tolist(), shallow.numpy(), deep.numpy(), range(6)).tolist()
        for pairs in (joint, marginal)
    ]
    close(loss, reference.mutual_information_loss(*scores))


def draw_weights(discriminator, seed):
    """Fill the discriminator; return its layers' weights, the first as [W_s W_d]."""
    with torch.no_grad():
        for offset, parameter in enumerate(discriminator.parameters()):
            parameter.copy_(randn(seed + offset, *parameter.shape))
    layers = discriminator.shallow_projection.weight, discriminator.deep_projection.weight
    joined = torch.cat(layers, dim=1)
    return [w.detach().numpy() for w in (joined, discriminator.hidden.weight, discriminator.score.weight)]


def test_mutual_information_loss_of_no_pairs_has_zero_gradient():
    scores = torch.zeros(0, 3, requires_grad=True)
    value = mutual_information_loss(scores, scores)
    value.backward()
    assert value.item() == 0.0
    assert scores.grad.shape == (0, 3)


def test_mutual_information_loss_of_large_scores_is_finite():
    assert mutual_information_loss(torch.full((1, 1), -1e6), torch.full((1, 1), 1e6)).item() == 2e6
    assert mutual_information_loss(torch.full((1, 1), 1e6), torch.full((1, 1), -1e6)).item() == 0.0


def test_mutual_information_loss_gradient():
    assert gradcheck(mutual_information_loss, (randn(0, 3, 2).requires_grad_(), randn(1, 2, 2).requires_grad_()))


@given(seed=seeds, n=st.integers(2, 5))
def test_dccm_total_is_the_weighted_sum_of_its_terms(seed, n):
    logits, transformed = randn(seed, n, 3, scale=3.0), randn(seed + 1, n, 3, scale=3.0)
    joint, marginal = randn(seed + 2, n, 4), randn(seed + 3, n, 4)
    graph = pseudo_graph(cosine_similarity_matrix(logits.softmax(1)), 0.95)
    labels, confident = pseudo_labels(logits.softmax(1), 0.9)
    total = 0.1 * mutual_information_loss(joint, marginal)
    for view in (logits, transformed):
        total = total + pair_cross_entropy(cosine_similarity_matrix(view.softmax(1)), graph, ~graph)
        total = total + 5 * pseudo_label_loss(view, labels, confident)
    original, moved = logits.tolist(), transformed.tolist()
    expected = reference.dccm_total(original, moved, joint.tolist(), marginal.tolist(), (0.95, 0.9), (5, 0.1))
    np.testing.assert_allclose(total.item(), expected, rtol=1e-10, atol=1e-10)


# ---- DCSS -----------------------------------------------------------------------------------------------------------


@given(seed=seeds, n=sizes, k=widths, fuzzifier=st.sampled_from([1.2, 1.5, 2.0, 4.0]))
def test_cluster_losses_match_loops(seed, n, k, fuzzifier):
    images, reconstruction = randn(seed, n, 2, 3, 3), randn(seed + 1, n, 2, 3, 3)
    latent, centers = randn(seed + 2, n, 4), randn(seed + 3, k, 4)
    memberships = fuzzy_memberships(latent, centers, fuzzifier)
    arrays = [tensor.numpy() for tensor in (images, reconstruction, latent, centers, memberships)]
    for cluster in range(k):
        weights = memberships[:, cluster] ** fuzzifier
        rebuilding = cluster_reconstruction_loss(images, reconstruction, weights)
        centering = cluster_centering_loss(latent, centers[cluster], weights)
        pixels, made, codes, middles, degrees = arrays
        close(rebuilding, reference.cluster_reconstruction_loss(pixels, made, degrees, cluster, fuzzifier))
        close(centering, reference.cluster_centering_loss(codes, middles, degrees, cluster, fuzzifier))
        close(rebuilding + 0.1 * centering, reference.cluster_loss(*arrays, cluster, fuzzifier, 0.1))


@given(seed=seeds, n=sizes, k=widths, upper=st.floats(0.4, 1.0), lower=st.floats(0.0, 0.39))
def test_second_phase_loss_matches_loop(seed, n, k, upper, lower):
    proba, memberships = randn(seed, n, k, scale=2.0).softmax(1), randn(seed + 1, n, k, scale=2.0).softmax(1)
    for deciding in (memberships, proba):  # Eq. (4), then Eq. (5)
        loss = linear_pair_loss(proba @ proba.T, *adjacent_pairs(deciding, similar=upper, dissimilar=lower))
        close(loss, reference.pairwise_loss(proba.tolist(), deciding.tolist(), upper, lower))


@given(seed=seeds, n=sizes)
def test_reconstruction_loss_matches_loop(seed, n):
    images, reconstruction = randn(seed, n, 1, 3, 2), randn(seed + 1, n, 1, 3, 2)
    close(
        reconstruction_loss(images, reconstruction),
        reference.reconstruction_loss(images.numpy(), reconstruction.numpy()),
    )


def test_memberships_of_zero_take_no_part():
    latent = randn(0, 3, 2).requires_grad_()
    cluster_centering_loss(latent, torch.zeros(2, dtype=torch.float64), torch.tensor([1.0, 0.0, 0.5])).backward()
    assert torch.equal(latent.grad[1], torch.zeros(2, dtype=torch.float64))
    assert (latent.grad[[0, 2]] != 0).all()


def test_phase_one_gradients():
    images, made = randn(0, 3, 4).requires_grad_(), randn(1, 3, 4).requires_grad_()
    weights, center = rand(2, 3), randn(3, 4).requires_grad_()
    assert gradcheck(reconstruction_loss, (images, made))
    assert gradcheck(lambda a, b: cluster_reconstruction_loss(a, b, weights), (images, made))
    assert gradcheck(lambda a, b: cluster_centering_loss(a, b, weights), (made, center))


# ---- numbers that exponentials do not bear ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e2, 1e4, 1e30])
@pytest.mark.parametrize(
    "loss",
    [
        lambda logits, own: pair_cross_entropy(cosine_similarity_matrix(label_features(logits)), own, ~own),
        lambda logits, own: pair_squared_error(cosine_similarity_matrix(logits.softmax(1)), own, ~own),
        lambda logits, own: linear_pair_loss(logits.softmax(1) @ logits.softmax(1).T, own, ~own),
        lambda logits, own: consistency_loss(label_features(logits), label_features(-logits).detach()),
        lambda logits, own: pseudo_label_loss(logits, logits.argmin(1), own.any(1)),
        lambda logits, own: mutual_information_loss(logits, -logits),
        lambda logits, own: contrastive_loss(logits, -logits, 0.5),
    ],
    ids=["cross-entropy", "squared", "linear", "consistency", "pseudo-label", "mutual information", "contrastive"],
)
def test_extreme_logits_have_finite_losses_and_gradients(loss, scale, dtype):
    logits = (scale * randn(0, 4, 3)).to(dtype).requires_grad_()
    value = loss(logits, torch.eye(4, dtype=torch.bool))
    value.backward()
    assert value.isfinite()
    assert logits.grad.isfinite().all()


# ---- contrastive ----------------------------------------------------------------------------------------------------


@given(seed=seeds, n=sizes, d=widths, temperature=st.sampled_from([0.1, 0.5, 1.0]))
def test_contrastive_loss_matches_loop(seed, n, d, temperature):
    first, second = randn(seed, n, d), randn(seed + 1, n, d)
    close(
        contrastive_loss(first, second, temperature),
        reference.contrastive_loss(first.tolist(), second.tolist(), temperature),
    )


def test_contrastive_loss_of_one_sample_is_zero():
    assert contrastive_loss(randn(0, 1, 3), randn(1, 1, 3), 0.5).item() == 0.0


def test_contrastive_loss_of_constant_views_is_log_of_their_number():
    views = torch.ones(4, 3, dtype=torch.float64)
    close(contrastive_loss(views, views, 0.5), math.log(7))


def test_contrastive_loss_is_symmetric_in_its_views():
    first, second = randn(0, 4, 3), randn(1, 4, 3)
    close(contrastive_loss(first, second, 0.5), contrastive_loss(second, first, 0.5).item())


def test_contrastive_loss_gradient():
    views = randn(0, 3, 2).requires_grad_(), randn(1, 3, 2).requires_grad_()
    assert gradcheck(lambda first, second: contrastive_loss(first, second, 0.5), views)
