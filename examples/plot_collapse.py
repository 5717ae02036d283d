"""
A collapse is announced, and seen in the cluster sizes
======================================================

Nothing in these methods keeps a cluster alive. Here a plain network without batch norm learns from random weights, at a
high learning rate, and clusters stay empty. Look at how the fit says so, at when it happens, and at what mends it.
"""

import warnings

import torch
from sklearn.datasets import load_digits
from torch import nn

from deepcluster_sk import CollapseWarning, DCCMClustering
from deepcluster_sk.display import ClusterSizeDisplay, TrainingCurveDisplay
from deepcluster_sk.metrics import clustering_accuracy_score

digits = load_digits()
images, y = digits.images[:600], digits.target[:600]

# %%
# The warning
# -----------
# ``fit`` warns with CollapseWarning, and says what to try. ``warnings.simplefilter("error", CollapseWarning)`` would
# make it an exception.

torch.manual_seed(0)
plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU())
fragile = DCCMClustering(
    n_clusters=10, network=plain, warmup_epochs=0, lr=3e-2, mi_weight=0, max_epochs=20, random_state=0
)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", CollapseWarning)
    fragile.fit(images)
for warning in caught:
    print(f"{warning.category.__name__}: {warning.message}")
print(f"accuracy {clustering_accuracy_score(y, fragile.labels_):.3f}")

# %%
# When it happens
# ---------------
# ``history_`` has the cluster sizes after each epoch. The loss does not tell.

TrainingCurveDisplay.from_estimator(fragile)

# %%
ClusterSizeDisplay.from_estimator(fragile, images)

# %%
# What mends it
# -------------
# The warm-up and k-means, which are the default, start from ten clusters that the images do have, and a smaller
# learning rate stays near them. The network is the same.

mended = DCCMClustering(n_clusters=10, network=plain, random_state=0).fit(images)
print(f"{mended.fit_report_['n_clusters_used']} clusters in use")
print(f"accuracy {clustering_accuracy_score(y, mended.labels_):.3f}")
ClusterSizeDisplay.from_estimator(mended, images)

# %%
# All ten clusters are in use, and accuracy, which no fit has seen, is about twice what it was.
