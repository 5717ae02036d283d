"""How good a clustering is: against true labels, and without them.

Scores take label arrays; scorers take a fitted estimator and go into ``scoring=`` of scikit-learn's searches. One of
them, ``clustering_accuracy_scorer``, needs true labels, so a search that uses it is no longer unsupervised.

Examples
--------
>>> from sklearn.cluster import KMeans
>>> from deepcluster_sk.metrics import clustering_accuracy_scorer
>>> X, y = [[0.0], [0.1], [5.0], [5.1]], [1, 1, 0, 0]
>>> clustering_accuracy_scorer(KMeans(n_clusters=2, random_state=0).fit(X), X, y)
1.0
"""

from deepcluster_sk.metrics._labels import (
    align_labels,
    bcubed_graph_precision_recall,
    bcubed_precision_recall,
    clustering_accuracy_score,
)
from deepcluster_sk.metrics._neighbors import neighbor_agreement_score
from deepcluster_sk.metrics._scorers import (
    augmentation_agreement_scorer,
    clustering_accuracy_scorer,
    confidence_scorer,
    neighbor_agreement_scorer,
    restart_agreement_scorer,
    silhouette_scorer,
    size_entropy_scorer,
    training_loss_scorer,
)

__all__ = [
    "align_labels",
    "augmentation_agreement_scorer",
    "bcubed_graph_precision_recall",
    "bcubed_precision_recall",
    "clustering_accuracy_score",
    "clustering_accuracy_scorer",
    "confidence_scorer",
    "neighbor_agreement_score",
    "neighbor_agreement_scorer",
    "restart_agreement_scorer",
    "silhouette_scorer",
    "size_entropy_scorer",
    "training_loss_scorer",
]
