"""What the papers prove, as properties of the code: optima are one-hot, thresholds partition, adjacency is consistent.

The rows of the simplex used for DCSS are multiples of 1/1024, so that inner products and their comparison with the
thresholds are exact and no tolerance is needed.
"""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components

from deepcluster_sk.losses import pair_cross_entropy
from deepcluster_sk.pairs import cosine_similarity_matrix, label_features, pseudo_graph

seeds = st.integers(0, 2**31 - 1)


@st.composite
def partitions(draw, exactly=False):
    """(labels, n_clusters): up to 7 samples in at most, or in exactly, n_clusters groups."""
    n_clusters = draw(st.integers(2, 4))
    first = list(range(n_clusters if exactly else draw(st.integers(1, n_clusters))))
    rest = draw(st.lists(st.sampled_from(first), max_size=7 - len(first)))
    return torch.tensor(draw(st.permutations(first + rest))), n_clusters


def same_group(labels):
    return labels[:, None] == labels[None, :]


def softmax(logits):
    return logits.softmax(1)


def fit_free_logits(labels, n_clusters, mapping, seed, n_starts=20):
    """(loss, features) of the first start of Adam on free logits that gets to the optimum, or of the best one."""
    generator, positive = torch.Generator().manual_seed(seed), same_group(labels)
    results = []
    for _ in range(n_starts):
        logits = torch.randn(len(labels), n_clusters, generator=generator, dtype=torch.float64).requires_grad_()
        optimizer = torch.optim.Adam([logits], lr=0.2)
        for _ in range(200):
            optimizer.zero_grad()
            loss = pair_cross_entropy(cosine_similarity_matrix(mapping(logits)), positive, ~positive)
            loss.backward()
            optimizer.step()
        results.append((loss.item(), mapping(logits.detach())))
        if loss.item() < 1e-2:
            break
    return min(results, key=lambda result: result[0])


# ---- DAC, Theorem 1, and DCCM, Claim 1 ------------------------------------------------------------------------------


@pytest.mark.parametrize("mapping", [label_features, softmax])
@settings(max_examples=6)
@given(partition=partitions(exactly=True), seed=seeds)
def test_optimal_features_are_one_hot_and_equal_iff_of_one_group(mapping, partition, seed):
    labels, n_clusters = partition
    loss, features = fit_free_logits(labels, n_clusters, mapping, seed)
    assert loss < 1e-2
    hottest = features.argmax(1)
    one_hot = torch.nn.functional.one_hot(hottest, n_clusters).double()
    assert (features - one_hot).abs().max() < 0.1
    assert torch.equal(same_group(hottest), same_group(labels))


@pytest.mark.parametrize("mapping", [label_features, softmax])
@settings(max_examples=6)
@given(partition=partitions(), seed=seeds)
def test_optimal_features_are_parallel_iff_of_one_group(mapping, partition, seed):
    """With fewer groups than clusters the features need not be one-hot, only orthogonal between groups."""
    labels, n_clusters = partition
    loss, features = fit_free_logits(labels, n_clusters, mapping, seed)
    assert loss < 1e-2
    similarity = cosine_similarity_matrix(features)
    assert (similarity - same_group(labels).double()).abs().max() < 0.25
    assert torch.equal(same_group(features.argmax(1)), same_group(labels))


@given(partition=partitions(), seed=seeds)
def test_one_hot_features_of_the_partition_cost_nothing_and_no_other_one_hot_does(partition, seed):
    labels, n_clusters = partition
    positive = same_group(labels)
    generator = torch.Generator().manual_seed(seed)
    renamed = torch.randperm(n_clusters, generator=generator)[labels]
    for assignment in (renamed, torch.randint(n_clusters, labels.shape, generator=generator)):
        one_hot = torch.nn.functional.one_hot(assignment, n_clusters).double()
        loss = pair_cross_entropy(one_hot @ one_hot.T, positive, ~positive).item()
        n_wrong = (same_group(assignment) != positive).sum().item()
        assert loss == pytest.approx(100.0 * n_wrong / positive.numel(), abs=1e-12)  # logarithms are cut at -100


def test_with_fewer_groups_than_clusters_an_optimum_need_not_be_one_hot():
    features = torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    positive = same_group(torch.tensor([0, 0, 1]))
    assert pair_cross_entropy(cosine_similarity_matrix(features), positive, ~positive).item() < 1e-12


def test_more_groups_than_clusters_cannot_be_told_apart():
    loss, _ = fit_free_logits(torch.arange(3), 2, label_features, seed=0, n_starts=5)
    assert loss > 0.1


# ---- DCCM, Lemma 1 --------------------------------------------------------------------------------------------------


def component_counts(similarity):
    """Components of the pseudo-graph at every threshold that changes it, lowest first."""
    n = len(similarity)
    weights = similarity[np.triu_indices(n, 1)].sort().values
    thresholds = [*weights.tolist(), np.inf]
    return [connected_components(pseudo_graph(similarity, t).numpy(), directed=False)[0] for t in thresholds]


@given(seed=seeds, n=st.integers(2, 8), d=st.integers(2, 4))
def test_some_threshold_gives_any_number_of_components(seed, n, d):
    features = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    similarity = cosine_similarity_matrix(features)
    similarity = (similarity + similarity.T) / 2
    assume(len(similarity[np.triu_indices(n, 1)].unique()) == n * (n - 1) // 2)  # the lemma's premise
    counts = component_counts(similarity)
    assert counts[0] == 1
    assert set(np.diff(counts)) <= {0, 1}
    assert counts[-1] == n


def test_with_equal_similarities_a_number_of_components_may_be_out_of_reach():
    assert set(component_counts(torch.full((3, 3), 0.5))) == {1, 3}


# ---- DCSS, Theorems 1 to 3 and their corollaries --------------------------------------------------------------------


@st.composite
def simplex_rows(draw, n_rows=12):
    """(n_rows, k) multiples of 1/1024, from nearly uniform to nearly one-hot rows, as float64."""
    k = draw(st.integers(2, 6))
    rng = np.random.default_rng(draw(seeds))
    rows = []
    for _ in range(n_rows):
        concentration = rng.choice([0.02, 0.1, 0.5, 5.0])
        weights = rng.gamma(concentration, size=k) + 1e-12
        rows.append(rng.multinomial(1024, weights / weights.sum()) / 1024)
    return torch.tensor(np.array(rows))


def dyadic(low, high):
    return st.integers(int(low * 1024), int(high * 1024)).map(lambda numerator: numerator / 1024)


@st.composite
def valid_thresholds(draw, above=0.0):
    """Adjacency threshold above ``above`` and a dissimilarity threshold below its square, both multiples of 2^-20."""
    upper = draw(dyadic(above, 1).filter(lambda value: value > above))
    lower = draw(st.integers(0, int(upper**2 * 2**20) - 1)) / 2**20
    assert lower < upper**2
    return upper, lower


def adjacent_to_another(adjacent):
    return (adjacent & ~torch.eye(len(adjacent), dtype=torch.bool)).any(1)


@given(proba=simplex_rows())
def test_theorem_1_inner_product_is_at_most_the_smaller_maximum(proba):
    largest = proba.amax(1)
    assert (proba @ proba.T <= torch.minimum(largest[:, None], largest[None, :])).all()


@given(proba=simplex_rows(), thresholds=valid_thresholds())
def test_corollary_1_2_adjacent_samples_have_a_maximum_of_at_least_the_threshold(proba, thresholds):
    upper, _ = thresholds
    paired = adjacent_to_another(proba @ proba.T >= upper)
    assume(paired.any())
    assert (proba.amax(1)[paired] >= upper).all()


@given(proba=simplex_rows(), thresholds=valid_thresholds(above=0.5))
def test_theorem_2_adjacent_samples_share_a_cluster(proba, thresholds):
    adjacent = proba @ proba.T >= thresholds[0]
    assume(adjacent_to_another(adjacent).any())
    assert same_group(proba.argmax(1))[adjacent].all()


def test_theorem_2_is_false_for_a_threshold_below_one_half():
    proba = torch.tensor([[0.625, 0.375], [0.375, 0.625]], dtype=torch.float64)
    assert (proba @ proba.T)[0, 1] >= 0.46
    assert proba.argmax(1).tolist() == [0, 1]


@given(proba=simplex_rows(n_rows=20), thresholds=valid_thresholds())
def test_corollary_1_3_dissimilar_samples_with_adjacent_ones_are_in_different_clusters(proba, thresholds):
    upper, lower = thresholds
    similarity = proba @ proba.T
    paired = adjacent_to_another(similarity >= upper)
    dissimilar = (similarity <= lower) & paired[:, None] & paired[None, :]
    assume(dissimilar.any())
    assert not same_group(proba.argmax(1))[dissimilar].any()


def test_corollary_1_3_is_false_for_samples_without_an_adjacent_one():
    proba = torch.tensor([[0.19] + [0.09] * 9] * 2, dtype=torch.float64)
    similarity = proba @ proba.T
    assert not adjacent_to_another(similarity >= 0.8).any()
    assert similarity[0, 1] <= 0.2 < 0.8**2
    assert proba.argmax(1).tolist() == [0, 0]


@given(proba=simplex_rows(), thresholds=valid_thresholds(above=0.5))
def test_theorem_3_two_neighbours_of_a_sample_share_its_cluster_and_are_not_dissimilar(proba, thresholds):
    upper, lower = thresholds
    similarity = proba @ proba.T
    adjacent = similarity >= upper
    assume(adjacent_to_another(adjacent).any())
    common_neighbour = (adjacent.T.double() @ adjacent.double()) > 0  # of j and k
    assert (similarity[common_neighbour] > lower).all()
    assert same_group(proba.argmax(1))[common_neighbour].all()


def test_theorem_3_is_false_for_a_dissimilarity_threshold_above_the_square():
    proba = torch.tensor([[0.75, 0.25, 0.0], [0.75, 0.0, 0.25], [1.0, 0.0, 0.0]], dtype=torch.float64)
    similarity = proba @ proba.T
    assert (similarity[2, :2] >= 0.75).all()
    assert similarity[0, 1] == 0.75**2 <= 0.6
