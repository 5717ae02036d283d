"""Similarities, pair selection, pseudo-graph, sampling and memberships against their loops, and at the edges."""

import math

import numpy as np
import pytest
import reference
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

from deepcluster_sk.pairs import (
    adjacent_pairs,
    cosine_similarity_matrix,
    fuzzy_memberships,
    label_features,
    pseudo_graph,
    pseudo_labels,
    sample_pairs,
    select_pairs,
    weighted_centers,
)

STRATEGIES = ["nearest-random", "nearest-farthest", "random-random", "top-random"]

seeds = st.integers(0, 2**31 - 1)
sizes = st.integers(1, 8)
widths = st.integers(1, 5)


def randn(seed, *shape, scale=1.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_similarity(seed, n):
    return cosine_similarity_matrix(randn(seed, n, 3))


def random_order(seed, n):
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


def pair_set(mask):
    return {(i, j) for i, j in mask.nonzero().tolist()}


def as_pairs(indices):
    return [(i, j) for i, j in indices.tolist()]


# ---- label features and similarities --------------------------------------------------------------------------------


@given(seed=seeds, n=sizes, k=widths, scale=st.sampled_from([0.1, 1.0, 30.0]))
def test_label_features_match_loop(seed, n, k, scale):
    logits = randn(seed, n, k, scale=scale)
    features = label_features(logits)
    np.testing.assert_allclose(features, reference.label_features(logits.numpy()), rtol=1e-12, atol=1e-14)
    softmax = logits.softmax(1)
    np.testing.assert_allclose(features, softmax / softmax.norm(dim=1, keepdim=True), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("logits", [[[1e30, 0.0], [-1e30, 0.0]], [[1e4, 1e4]], [[0.0, 0.0, 0.0]], [[5.0]]])
def test_label_features_are_nonnegative_and_of_unit_length_for_extreme_logits(logits):
    features = label_features(torch.tensor(logits))
    assert (features >= 0).all()
    torch.testing.assert_close(features.norm(dim=1), torch.ones(len(logits)))


@given(seed=seeds, n=sizes, d=widths)
def test_cosine_similarity_matches_loop(seed, n, d):
    features = randn(seed, n, d)
    similarity = cosine_similarity_matrix(features)
    np.testing.assert_allclose(similarity, reference.cosine_similarities(features.numpy()), rtol=1e-11, atol=1e-12)


@given(seed=seeds, n=sizes, k=widths)
def test_cosine_similarity_of_label_features_is_their_inner_product(seed, n, k):
    features = label_features(randn(seed, n, k))
    np.testing.assert_allclose(
        cosine_similarity_matrix(features), reference.inner_products(features.numpy()), rtol=1e-11, atol=1e-12
    )


@given(seed=seeds, n=sizes, k=widths)
def test_cosine_similarity_is_symmetric_bounded_and_one_on_the_diagonal(seed, n, k):
    similarity = cosine_similarity_matrix(randn(seed, n, k).softmax(1))
    torch.testing.assert_close(similarity, similarity.T, rtol=0, atol=1e-15)
    torch.testing.assert_close(similarity.diagonal(), torch.ones(n, dtype=torch.float64), rtol=0, atol=1e-14)
    assert (similarity >= 0).all()
    assert (similarity <= 1 + 1e-14).all()


@given(seed=seeds, n=sizes, k=widths)
def test_order_of_samples_carries_over(seed, n, k):
    logits, order = randn(seed, n, k), random_order(seed, n)
    torch.testing.assert_close(label_features(logits[order]), label_features(logits)[order], rtol=0, atol=1e-15)
    similarity = cosine_similarity_matrix(logits)
    permuted = cosine_similarity_matrix(logits[order])
    torch.testing.assert_close(permuted, similarity[order][:, order], rtol=0, atol=1e-14)


def test_constant_and_duplicate_rows_are_fully_similar():
    similarity = cosine_similarity_matrix(torch.full((3, 4), 0.25, dtype=torch.float64))
    torch.testing.assert_close(similarity, torch.ones(3, 3, dtype=torch.float64), rtol=0, atol=1e-15)


def test_zero_rows_are_similar_to_nothing():
    assert torch.equal(cosine_similarity_matrix(torch.zeros(2, 3)), torch.zeros(2, 2))


@pytest.mark.parametrize("mapping", [label_features, cosine_similarity_matrix])
def test_gradients(mapping):
    assert gradcheck(mapping, randn(0, 4, 3).requires_grad_())


# ---- selection ------------------------------------------------------------------------------------------------------


@given(seed=seeds, n=sizes, upper=st.floats(0.0, 1.0), gap=st.floats(0.0, 1.0))
def test_select_pairs_matches_loop(seed, n, upper, gap):
    similarity = random_similarity(seed, n)
    positive, negative = select_pairs(similarity, upper=upper, lower=upper - gap)
    expected = reference.labelled_pairs(similarity.numpy(), upper, upper - gap)
    assert (pair_set(positive), pair_set(negative)) == expected
    assert not (positive & negative).any()


def test_equal_thresholds_leave_no_pair_out():
    positive, negative = select_pairs(random_similarity(0, 6), upper=0.3, lower=0.3)
    assert (positive ^ negative).all()


def test_thresholds_themselves_are_positive_and_left_out():
    similarity = torch.tensor([[0.75, 0.25]])
    positive, negative = select_pairs(similarity, upper=0.75, lower=0.25)
    assert positive.tolist() == [[True, False]]
    assert negative.tolist() == [[False, False]]


def test_inner_products_at_the_thresholds_are_adjacent_and_dissimilar():
    proba = torch.tensor([[0.5, 0.5], [1.0, 0.0]])  # inner products of 0.5 but for that of the second with itself
    adjacent, dissimilar = adjacent_pairs(proba, similar=0.5, dissimilar=0.5)
    assert adjacent.all()
    assert dissimilar.tolist() == [[True, True], [True, False]]


@given(seed=seeds, n=sizes, threshold=st.floats(-1.0, 1.0))
def test_pseudo_graph_matches_loop(seed, n, threshold):
    similarity = random_similarity(seed, n)
    assert pair_set(pseudo_graph(similarity, threshold)) == reference.pseudo_graph(similarity.numpy(), threshold)


def test_pseudo_graph_has_an_edge_at_the_threshold():
    assert pseudo_graph(torch.tensor([[0.5]]), 0.5).item() is True


@given(seed=seeds, n=sizes, k=widths, threshold=st.floats(0.0, 1.0))
def test_pseudo_labels_match_loop(seed, n, k, threshold):
    proba = randn(seed, n, k, scale=2.0).softmax(1)
    labels, confident = pseudo_labels(proba, threshold)
    assert (labels.tolist(), confident.tolist()) == reference.pseudo_labels(proba.tolist(), threshold)
    assert labels.dtype == torch.int64


def test_one_cluster_is_always_confident():
    labels, confident = pseudo_labels(torch.ones(3, 1), 1.0)
    assert labels.tolist() == [0, 0, 0]
    assert confident.all()


# ---- pair sampling --------------------------------------------------------------------------------------------------


def real(pairs):
    """The positive and the negative pairs that exist."""
    return pairs.positive[pairs.has_positive], pairs.negative[pairs.has_negative]


def draw(similarity, graph, strategy, seed=0):
    return sample_pairs(similarity, graph, strategy, torch.Generator().manual_seed(seed))


@given(seed=seeds, n=sizes, threshold=st.floats(-0.5, 1.0))
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_sampled_pairs_are_those_the_strategy_allows(strategy, seed, n, threshold):
    similarity = random_similarity(seed, n)
    graph = pseudo_graph(similarity, threshold)
    pairs = draw(similarity, graph, strategy, seed)
    positive, negative = map(as_pairs, real(pairs))
    partners = [reference.allowed_partners(graph, i) for i in range(n)]
    if strategy.startswith("nearest"):
        assert positive == reference.nearest_positives(similarity, graph)
    elif strategy.startswith("top"):
        assert positive == reference.top_positives(similarity, graph)
    else:
        assert [i for i, _ in positive] == [i for i in range(n) if partners[i][0]]
        assert all(j in partners[i][0] for i, j in positive)
    if strategy.endswith("farthest"):
        assert negative == reference.farthest_negatives(similarity, graph)
    else:
        assert [i for i, _ in negative] == [i for i in range(n) if partners[i][1]]
        assert all(j in partners[i][1] for i, j in negative)


def test_nearest_positive_is_not_off_by_one():
    similarity = torch.tensor([[1.0, 0.1, 0.2, 0.9], [0.1, 1.0, 0.8, 0.3], [0.2, 0.8, 1.0, 0.4], [0.9, 0.3, 0.4, 1.0]])
    pairs = draw(similarity, torch.ones(4, 4, dtype=torch.bool), "nearest-random")
    assert as_pairs(pairs.positive) == [(0, 3), (1, 2), (2, 1), (3, 0)]
    assert not pairs.has_negative.any()


def test_random_partners_are_uniform_over_those_allowed():
    graph = torch.tensor([[True, True, True, False, False, False]] * 6)
    similarity = torch.eye(6)
    generator, n_draws = torch.Generator().manual_seed(0), 600
    counts = torch.zeros(2, 6, 6)
    for _ in range(n_draws):
        for kind, pairs in enumerate(real(sample_pairs(similarity, graph, "random-random", generator))):
            counts[kind][pairs[:, 0], pairs[:, 1]] += 1
    for kind, allowed in enumerate([graph, ~graph]):
        allowed = allowed & ~torch.eye(6, dtype=torch.bool)
        expected = n_draws * allowed / allowed.sum(1, keepdim=True)
        assert (counts[kind][~allowed] == 0).all()
        deviation = (counts[kind] - expected)[allowed] / (expected[allowed] ** 0.5)
        assert deviation.abs().max() < 4


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_sampling_is_repeatable_and_leaves_the_global_generator_alone(strategy):
    similarity = random_similarity(0, 6)
    graph, state = pseudo_graph(similarity, 0.2), torch.get_rng_state()
    first, again = draw(similarity, graph, strategy, seed=7), draw(similarity, graph, strategy, seed=7)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("n", [1, 4])
def test_graph_without_edges_has_no_positive_pair(strategy, n):
    pairs = draw(torch.eye(n), torch.eye(n, dtype=torch.bool), strategy)
    assert not pairs.has_positive.any()
    assert pairs.has_negative.all() == (n > 1)
    assert pairs.positive.dtype == pairs.negative.dtype == torch.int64


def test_top_pairs_are_at_most_n_and_most_similar_first():
    similarity = random_similarity(1, 6)
    pairs = draw(similarity, torch.ones(6, 6, dtype=torch.bool), "top-random").positive
    drawn = similarity[pairs[:, 0], pairs[:, 1]]
    assert len(pairs) == 6
    assert (drawn.diff() <= 0).all()
    left_out = similarity.triu(1).flatten().sort(descending=True).values[6]
    assert drawn.min() >= left_out


def test_top_pairs_that_are_equally_similar_come_in_order():
    pairs = draw(torch.ones(50, 50), torch.ones(50, 50, dtype=torch.bool), "top-random").positive
    assert as_pairs(pairs) == [(0, j) for j in range(1, 50)] + [(1, 2)]


# ---- memberships and centres ----------------------------------------------------------------------------------------


@given(seed=seeds, n=sizes, k=widths, d=widths, fuzzifier=st.sampled_from([1.2, 1.5, 2.0, 5.0]))
def test_fuzzy_memberships_match_loop(seed, n, k, d, fuzzifier):
    latent, centers = randn(seed, n, d), randn(seed + 1, k, d)
    memberships = fuzzy_memberships(latent, centers, fuzzifier)
    expected = reference.fuzzy_memberships(latent.numpy(), centers.numpy(), fuzzifier)
    np.testing.assert_allclose(memberships, expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("fuzzifier", [1.5, 1000.0])
def test_sample_on_a_centre_belongs_to_it_alone(dtype, offset, fuzzifier):
    centers = torch.tensor([[0.0, 0.0], [3.0, 4.0], [1.0, 1.0]], dtype=dtype) + offset
    memberships = fuzzy_memberships(centers.repeat(10, 1), centers, fuzzifier)
    torch.testing.assert_close(memberships, torch.eye(3, dtype=dtype).repeat(10, 1), rtol=0, atol=1e-12)


def test_sample_at_distance_one_is_not_on_the_centre():
    memberships = fuzzy_memberships(torch.tensor([[1.0]]), torch.tensor([[0.0], [3.0]]), 1.5)
    torch.testing.assert_close(memberships, torch.tensor([[16.0, 1.0]]) / 17)


def test_memberships_are_the_same_in_an_exported_program(monkeypatch):
    latent, centers = randn(0, 5, 3), randn(1, 4, 3)
    memberships = fuzzy_memberships(latent, centers, 1.5)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    torch.testing.assert_close(fuzzy_memberships(latent, centers, 1.5), memberships)


def test_equal_centres_share_the_sample_that_is_on_both():
    centers = torch.tensor([[1.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
    memberships = fuzzy_memberships(torch.ones(1, 2), centers, 1.5)
    torch.testing.assert_close(memberships, torch.tensor([[0.5, 0.5, 0.0]]), rtol=0, atol=1e-7)


def test_samples_far_from_every_centre_have_finite_memberships():
    latent = torch.tensor([[1e15], [-1e15], [1e-25]])
    memberships = fuzzy_memberships(latent, torch.tensor([[0.0], [1.0]]), 1.1)
    assert memberships.isfinite().all()
    torch.testing.assert_close(memberships.sum(1), torch.ones(3))


def test_one_centre_takes_everything():
    assert torch.equal(fuzzy_memberships(randn(0, 4, 2), torch.zeros(1, 2).double(), 1.5), torch.ones(4, 1).double())


def test_fuzzifier_runs_from_crisp_to_equal_shares():
    latent, centers = torch.tensor([[0.4]], dtype=torch.float64), torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    crisp, soft = (fuzzy_memberships(latent, centers, m)[0, 0].item() for m in (1.01, 1e6))
    assert crisp == pytest.approx(1.0, abs=1e-12)
    assert soft == pytest.approx(0.5, abs=1e-6)


@given(seed=seeds, n=sizes, k=widths)
def test_memberships_follow_the_order_of_samples_and_centres(seed, n, k):
    latent, centers = randn(seed, n, 3), randn(seed + 1, k, 3)
    rows, columns = random_order(seed, n), random_order(seed + 1, k)
    memberships = fuzzy_memberships(latent, centers, 1.5)
    permuted = fuzzy_memberships(latent[rows], centers[columns], 1.5)
    torch.testing.assert_close(permuted, memberships[rows][:, columns], rtol=0, atol=1e-13)


def test_memberships_gradient():
    inputs = randn(0, 4, 2).requires_grad_(), randn(1, 3, 2).requires_grad_()
    assert gradcheck(lambda latent, centers: fuzzy_memberships(latent, centers, 1.5), inputs)


@given(seed=seeds, n=sizes, k=widths, fuzzifier=st.sampled_from([1.2, 1.5, 2.0]))
def test_weighted_centers_match_loop_and_add_up_over_batches(seed, n, k, fuzzifier):
    latent, memberships = randn(seed, n, 3), randn(seed + 1, n, k).softmax(1)
    weighted_sum, total_weight = weighted_centers(latent, memberships**fuzzifier)
    expected = reference.weighted_centers(latent.numpy(), memberships.numpy(), fuzzifier)
    np.testing.assert_allclose(weighted_sum / total_weight, expected, rtol=1e-10, atol=1e-12)
    parts = (slice(0, n // 2), slice(n // 2, n))
    halves = [weighted_centers(latent[part], memberships[part] ** fuzzifier) for part in parts]
    torch.testing.assert_close(halves[0][0] + halves[1][0], weighted_sum, rtol=0, atol=1e-12)
    torch.testing.assert_close(halves[0][1] + halves[1][1], total_weight, rtol=0, atol=1e-12)


def test_one_hot_weights_give_the_means():
    latent = torch.tensor([[0.0], [2.0], [5.0]])
    weighted_sum, total_weight = weighted_centers(latent, torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    assert torch.equal(weighted_sum / total_weight, torch.tensor([[1.0], [5.0]]))


def test_curriculum_of_the_paper_lasts_46_epochs():
    thresholds = np.array(reference.curriculum())
    epochs = np.arange(46)
    np.testing.assert_allclose(thresholds[:, 0], 0.95 - 0.0099 * epochs, rtol=1e-12)
    np.testing.assert_allclose(thresholds[:, 1], 0.455 + 0.00099 * epochs, rtol=1e-12)
    assert math.isclose(thresholds[0, 0] - thresholds[0, 1], 0.495)
