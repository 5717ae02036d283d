"""The papers' equations as plain loops over Python floats: slow, obvious, without torch.

Equation numbers are those of the tables in the documentation. Sets of pairs hold (i, j) tuples. Where the papers write
a sum and the package takes a mean over selected pairs or samples, so does this file.
"""

import itertools
import math

import numpy as np

Pairs = set[tuple[int, int]]


def dot(first, second) -> float:
    return math.fsum(float(a) * float(b) for a, b in zip(first, second, strict=True))


def norm(vector) -> float:
    return math.sqrt(dot(vector, vector))


def mean(values) -> float:
    values = list(values)
    return math.fsum(values) / max(len(values), 1)


def log(value: float) -> float:
    """Logarithm, cut at -100."""
    return max(math.log(value), -100.0) if value > 0 else -100.0


def softplus(value: float) -> float:
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))


def softmax(logits) -> list[float]:
    powers = [math.exp(h - max(logits)) for h in logits]
    return [power / math.fsum(powers) for power in powers]


# ---- DAC ------------------------------------------------------------------------------------------------------------


def label_features(logits) -> np.ndarray:
    """Eqs. (3), (9a), (9b)."""
    features = np.zeros_like(logits)
    for i, row in enumerate(logits):
        powers = [math.exp(h - max(row)) for h in row]  # (9a)
        for h, power in enumerate(powers):
            features[i, h] = power / norm(powers)  # (9b)
    return features


def inner_products(features) -> np.ndarray:
    """Eq. (4), and p_i · p_j, q_i · q_j of DCSS."""
    return np.array([[dot(first, second) for second in features] for first in features])


def pair_label(similarity: float, upper: float, lower: float) -> int | None:
    """Eq. (6); None is the label of a pair that is left out."""
    if similarity >= upper:
        return 1
    if similarity < lower:
        return 0
    return None


def pair_indicator(label: int | None) -> int:
    """Eq. (8)."""
    return 1 if label in (0, 1) else 0


def labelled_pairs(similarity, upper: float, lower: float) -> tuple[Pairs, Pairs]:
    positive, negative = set(), set()
    for i, j in np.ndindex(similarity.shape):
        label = pair_label(similarity[i, j], upper, lower)
        if pair_indicator(label):
            (positive if label == 1 else negative).add((i, j))
    return positive, negative


def binary_cross_entropy(label: int, similarity: float) -> float:
    """Eq. (2)."""
    return -label * log(similarity) - (1 - label) * log(1 - similarity)


def pair_cross_entropy(similarity, positive: Pairs, negative: Pairs) -> float:
    """Eq. (10), and Eq. (3) of DCCM."""
    return mean(binary_cross_entropy(int(pair in positive), similarity[pair]) for pair in positive | negative)


def pair_squared_error(similarity, positive: Pairs, negative: Pairs) -> float:
    """The released program's loss on MNIST."""
    return mean((similarity[pair] - int(pair in positive)) ** 2 for pair in positive | negative)


def curriculum() -> list[tuple[float, float]]:
    """(upper, lower) of every epoch: Eqs. (7), (11) and (12)."""
    adaptive, rate, thresholds = 0.0, 0.009, []
    while True:
        upper, lower = 0.95 - adaptive, 0.455 + 0.1 * adaptive
        if lower > upper:
            return thresholds
        thresholds.append((upper, lower))
        slope_of_gap = -1.0 - 0.1  # d(upper - lower) / d(adaptive)
        adaptive -= rate * slope_of_gap


def consistency_loss(features, target) -> float:
    """The authors' addition for STL-10: each element of a label feature as a probability of its own."""
    return mean(
        -target[i, h] * log(features[i, h]) - (1 - target[i, h]) * log(1 - features[i, h])
        for i, h in np.ndindex(features.shape)
    )


# ---- DCCM -----------------------------------------------------------------------------------------------------------


def cosine_similarities(features) -> np.ndarray:
    """Section 3.1."""
    return np.array([[dot(a, b) / (norm(a) * norm(b)) for b in features] for a in features])


def pseudo_graph(similarity, threshold: float) -> Pairs:
    """Eq. (2): the pairs with W_ij = 1."""
    return {(i, j) for i, j in np.ndindex(similarity.shape) if similarity[i, j] >= threshold}


def non_edges(graph: Pairs, n: int) -> Pairs:
    return {(i, j) for i in range(n) for j in range(n)} - graph


def pseudo_labels(proba, threshold: float) -> tuple[list[int], list[bool]]:
    """Eqs. (7) and (8)."""
    labels = [max(range(len(row)), key=lambda k, row=row: row[k]) for row in proba]
    return labels, [row[label] >= threshold for row, label in zip(proba, labels, strict=True)]


def pseudo_label_loss(logits, labels, confident) -> float:
    """Eq. (9)."""
    return mean(-math.log(softmax(logits[i])[labels[i]]) for i in range(len(logits)) if confident[i])


def robustness_loss(logits, transformed_logits, graph_threshold, label_threshold, label_weight) -> float:
    """Eq. (12): losses of the transformed images against W, V and y of the original ones."""
    proba = [softmax(row) for row in logits]
    graph = pseudo_graph(cosine_similarities(proba), graph_threshold)
    labels, confident = pseudo_labels(proba, label_threshold)
    similarity = cosine_similarities([softmax(row) for row in transformed_logits])
    graph_loss = pair_cross_entropy(similarity, graph, non_edges(graph, len(logits)))
    return graph_loss + label_weight * pseudo_label_loss(transformed_logits, labels, confident)


def discriminator_score(first_weight, hidden_weight, last_weight, shallow, deep) -> float:
    """T(d, s) of Eq. (13) at one position: three layers without bias on the concatenated vector."""
    joined = [*shallow, *deep]
    first = [max(dot(row, joined), 0.0) for row in first_weight]
    hidden = [max(dot(row, first), 0.0) for row in hidden_weight]
    return dot(last_weight[0], hidden)


def discriminator_scores(weights, pairs, shallow_maps, deep_vectors, positions) -> np.ndarray:
    """Scores of (deep i, shallow j) for every pair (i, j) and position, shape (n_pairs, n_positions)."""
    width = shallow_maps.shape[3]
    scores = np.zeros((len(pairs), len(positions)))
    for row, (i, j) in enumerate(pairs):
        for column, position in enumerate(positions):
            local = shallow_maps[j, :, position // width, position % width]
            scores[row, column] = discriminator_score(*weights, local, deep_vectors[i])
    return scores


def mutual_information_loss(joint_scores, marginal_scores) -> float:
    """Eqs. (13) and (14), negated."""
    joint = mean(softplus(-score) for row in joint_scores for score in row)
    return joint + mean(softplus(score) for row in marginal_scores for score in row)


def dccm_total(logits, transformed_logits, joint_scores, marginal_scores, thresholds, weights) -> float:
    """Eq. (15): graph and label losses of the original and the transformed images, and mutual information."""
    label_weight, information_weight = weights
    original = robustness_loss(logits, logits, *thresholds, label_weight)
    transformed = robustness_loss(logits, transformed_logits, *thresholds, label_weight)
    return original + transformed + information_weight * mutual_information_loss(joint_scores, marginal_scores)


def allowed_partners(graph, i: int) -> tuple[list[int], list[int]]:
    """Positive and negative partners of an anchor, itself in neither."""
    others = [j for j in range(len(graph)) if j != i]
    return [j for j in others if graph[i, j]], [j for j in others if not graph[i, j]]


def nearest_positives(similarity, graph) -> list[tuple[int, int]]:
    """V1 and V2, one pair for every anchor that has one."""
    partners = [(i, allowed_partners(graph, i)[0]) for i in range(len(graph))]
    return [(i, max(allowed, key=lambda j, i=i: similarity[i, j])) for i, allowed in partners if allowed]


def farthest_negatives(similarity, graph) -> list[tuple[int, int]]:
    """V2, one pair for every anchor that has one."""
    partners = [(i, allowed_partners(graph, i)[1]) for i in range(len(graph))]
    return [(i, min(allowed, key=lambda j, i=i: similarity[i, j])) for i, allowed in partners if allowed]


def top_positives(similarity, graph) -> list[tuple[int, int]]:
    """V4: the n most similar of all pairs."""
    pairs = [(i, j) for i, j in itertools.combinations(range(len(graph)), 2) if graph[i, j]]
    return sorted(pairs, key=lambda pair: -similarity[pair])[: len(graph)]


# ---- DCSS -----------------------------------------------------------------------------------------------------------


def squared_distance(first, second) -> float:
    return math.fsum((float(a) - float(b)) ** 2 for a, b in zip(np.ravel(first), np.ravel(second), strict=True))


def fuzzy_memberships(latent, centers, fuzzifier: float) -> np.ndarray:
    """Eq. (2)."""
    memberships = np.zeros((len(latent), len(centers)))
    for i, u in enumerate(latent):
        closeness = [math.sqrt(squared_distance(u, center)) ** (-2 / (fuzzifier - 1)) for center in centers]
        for k in range(len(centers)):
            memberships[i, k] = closeness[k] / math.fsum(closeness)
    return memberships


def cluster_reconstruction_loss(images, reconstruction, memberships, k: int, fuzzifier: float) -> float:
    """Eq. (1b), summed."""
    return math.fsum(
        memberships[i, k] ** fuzzifier * squared_distance(images[i], reconstruction[i]) for i in range(len(images))
    )


def cluster_centering_loss(latent, centers, memberships, k: int, fuzzifier: float) -> float:
    """Eq. (1c), summed."""
    return math.fsum(
        memberships[i, k] ** fuzzifier * squared_distance(latent[i], centers[k]) for i in range(len(latent))
    )


def cluster_loss(images, reconstruction, latent, centers, memberships, k, fuzzifier, centering_weight) -> float:
    """Eq. (1a)."""
    centering = cluster_centering_loss(latent, centers, memberships, k, fuzzifier)
    return cluster_reconstruction_loss(images, reconstruction, memberships, k, fuzzifier) + centering_weight * centering


def weighted_centers(latent, memberships, fuzzifier: float) -> np.ndarray:
    """Eq. (3)."""
    n, d = latent.shape
    centers = np.zeros((memberships.shape[1], d))
    for k, feature in np.ndindex(centers.shape):
        weights = [memberships[i, k] ** fuzzifier for i in range(n)]
        centers[k, feature] = dot(weights, latent[:, feature]) / math.fsum(weights)
    return centers


def pairwise_loss(proba, deciding, adjacent_threshold: float, dissimilar_threshold: float) -> float:
    """Eq. (4) with memberships p in ``deciding``, Eq. (5) with q itself."""
    terms = []
    for i, j in itertools.product(range(len(proba)), repeat=2):
        similarity = dot(deciding[i], deciding[j])
        if similarity >= adjacent_threshold:
            terms.append(1 - dot(proba[i], proba[j]))
        elif similarity <= dissimilar_threshold:
            terms.append(dot(proba[i], proba[j]))
    return mean(terms)


# ---- beyond the tables ----------------------------------------------------------------------------------------------


def reconstruction_loss(images, reconstruction) -> float:
    return mean(squared_distance(image, made) for image, made in zip(images, reconstruction, strict=True))


def contrastive_loss(first, second, temperature: float) -> float:
    """NT-Xent, Eq. (1) of Chen et al. (ICML 2020), averaged over the 2 n ordered positive pairs."""
    n, views = len(first), [*first, *second]

    def score(i: int, j: int) -> float:
        return dot(views[i], views[j]) / (norm(views[i]) * norm(views[j])) / temperature

    losses = []
    for i in range(2 * n):
        partner = i + n if i < n else i - n
        others = math.fsum(math.exp(score(i, j)) for j in range(2 * n) if j != i)
        losses.append(-math.log(math.exp(score(i, partner)) / others))
    return mean(losses)


def clustering_accuracy(labels_true, labels_pred) -> float:
    """The best of all one-to-one mappings of clusters to classes."""
    classes, clusters = sorted(set(labels_true)), sorted(set(labels_pred))
    targets = [*classes, *[None] * len(clusters)]  # any cluster may go without a class
    best = 0
    for chosen in itertools.permutations(range(len(targets)), len(clusters)):
        name = {cluster: targets[target] for cluster, target in zip(clusters, chosen, strict=True)}
        hits = sum(name[r] is not None and name[r] == t for t, r in zip(labels_true, labels_pred, strict=True))
        best = max(best, hits)
    return best / len(labels_true)


def bcubed(labels_true, related) -> tuple[float, float]:
    """Precision and recall, where ``related(i, j)`` says whether j is in the cluster (or a neighbour) of i."""
    n = len(labels_true)
    precisions, recalls = [], []
    for i in range(n):
        cluster = [j for j in range(n) if j == i or related(i, j)]
        classmates = [j for j in range(n) if labels_true[j] == labels_true[i]]
        both = len(set(cluster) & set(classmates))
        precisions.append(both / len(cluster))
        recalls.append(both / len(classmates))
    return mean(precisions), mean(recalls)


def neighbor_agreement(points, labels, n_neighbors):
    """Share of nearest neighbours of one label, less what chance gives, by a loop over pairs."""
    n = len(points)
    together = total = 0
    for i in range(n):
        others = sorted((math.dist(points[i], points[j]), j) for j in range(n) if j != i)
        for _, j in others[:n_neighbors]:
            together += labels[i] == labels[j]
            total += 1
    chance = sum((labels.count(label) / n) ** 2 for label in set(labels))
    return 0.0 if chance == 1 else (together / total - chance) / (1 - chance)
