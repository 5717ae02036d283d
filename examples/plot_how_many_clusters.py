"""
How many clusters? Stability says where to look, not where to stop
==================================================================

No score finds the number of clusters by itself. What can be measured without labels is whether other seeds find the
same clusters again, and whether neighbours share them. Here there are four digits. Look at the numbers where both are
high, and at what happens beyond.
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

# %%
# Four is among the best by both, but five and six are nearly as stable: they split a digit into two ways of writing it,
# which are there. Two and three join digits. Only the pictures say which of these you want.
