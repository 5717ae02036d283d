"""
After the fit: clusters that show one thing are joined by hand, and doubtful images left out
=============================================================================================

Nobody knows the number of clusters. Ask for too many rather than too few: what one class was cut into can be joined
afterwards, while classes that share a cluster cannot be told apart so easily. Nothing is trained again for it.
"""

import numpy as np
from sklearn.datasets import load_digits

from deepcluster_sk import DACClustering
from deepcluster_sk.display import ClusterGridDisplay, ClusterSizeDisplay, RejectionDisplay
from deepcluster_sk.metrics import clustering_accuracy_score

# %%
# Twelve clusters of ten digits: some digit is in several.

X, y = load_digits(return_X_y=True)
images = X.reshape(-1, 8, 8)
dac = DACClustering(n_clusters=12, random_state=0).fit(images)
ClusterGridDisplay.from_estimator(dac, images)
print(f"ACC {clustering_accuracy_score(y, dac.labels_):.3f} with 12 clusters")

# %%
# Look, name and join
# -------------------
# A glance at the pictures tells what each cluster shows. Here the labels of a cluster's three surest images stand in
# for your eyes.

proba = dac.predict_proba(images)
surest = proba.argsort(axis=0)[-3:]  # (3, 12)
shown = [int(np.bincount(y[indices]).argmax()) for indices in surest.T]
print("shown:", shown)

for digit in sorted(set(shown)):
    alike = [cluster for cluster, name in enumerate(shown) if name == digit]
    if len(alike) > 1:
        dac.merge_clusters(images, alike)
        shown = [name for cluster, name in enumerate(shown) if cluster not in alike[1:]]
dac.rename_clusters([f"digit {digit}" for digit in shown])
ClusterSizeDisplay.from_estimator(dac, images)
print(f"ACC {clustering_accuracy_score(y, dac.labels_):.3f} with {len(shown)} clusters")

# %%
# What came together wrongly can be divided again, by k-means in the embedding: ``dac.split_cluster(images, 3)``.
#
# Leave out what is unsure
# ------------------------
# ``predict`` gives -1 to images whose cluster has less probability than it is told. How much is enough differs between
# methods, so let the data say: here a tenth of them is left out. The curve is what that gains; were the probabilities
# blind to mistakes, it would stay level.

least = np.quantile(dac.predict_proba(images).max(axis=1), 0.1)
kept = dac.predict(images, reject_below=least) >= 0
print(f"{kept.mean():.0%} kept, whose ACC is {clustering_accuracy_score(y[kept], dac.labels_[kept]):.3f}")
RejectionDisplay.from_estimator(dac, images, y)

# %%
# All of it is saved with the estimator, and stands in its report.
