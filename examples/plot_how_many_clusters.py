"""
How many clusters? Stability narrows it down
============================================

No score finds the number of clusters by itself. What can be measured without labels is whether other seeds find the
same clusters again, and a score of your choice. Look for the largest number that is still stable; here there are four
digits.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits

from deepcluster_sk import DACClustering
from deepcluster_sk.metrics import neighbor_agreement_scorer
from deepcluster_sk.model_selection import select_n_clusters

digits = load_digits(n_class=4)
images = digits.images[:400]

# %%
# Two fits of each number, from two seeds
# ---------------------------------------

curve = select_n_clusters(
    DACClustering(max_epochs=8),
    images,
    n_clusters=range(2, 8),
    n_repeats=2,
    scoring=neighbor_agreement_scorer,
    n_jobs=2,
)
for k, stability, scores in zip(curve.n_clusters, curve.stability, curve.scores, strict=True):
    print(f"{k} clusters: stability {stability:.2f}, neighbour agreement {scores.mean():.2f}")

# %%
_, ax = plt.subplots(layout="constrained")
ax.plot(curve.n_clusters, curve.stability, marker="o", label="stability: adjusted Rand index between seeds")
ax.plot(curve.n_clusters, curve.scores.mean(axis=1), marker="s", label="neighbour agreement")
ax.axvline(4, color="gray", linestyle="--", label="digits there are")
ax.set(xlabel="number of clusters", ylim=(0, 1.05))
ax.legend()
plt.show()
