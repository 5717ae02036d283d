"""
Clusters of handwritten digits are digits, without a label
==========================================================

DCCM clusters scikit-learn's 1,797 handwritten digits of 8x8 pixels. No label takes part in the fit; labels only score
the result, beside that of k-means on the same pixels. Look for ten rows of one digit each in the picture.
"""

from pathlib import Path

import matplotlib.pyplot as plt
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from deepcluster_sk import DCCMClustering
from deepcluster_sk.display import ClusterGridDisplay
from deepcluster_sk.metrics import clustering_accuracy_score

# %%
# Images in, clusters out
# -----------------------
# The estimator takes images as they are: here (1797, 8, 8), gray. All settings but the seed are defaults.

digits = load_digits()
images = digits.images
print(f"Clustering {len(images):,} images of {images.shape[1]}x{images.shape[2]} pixels; this takes about a minute.")
dccm = DCCMClustering(n_clusters=10, random_state=0).fit(images)
kmeans = KMeans(n_clusters=10, n_init=10, random_state=0).fit(digits.data)

# %%
# Scores
# ------
# Clusters have no names, so accuracy (ACC) is that under the best matching of clusters to digits. NMI and ARI compare
# partitions without a matching. All are 1 for a perfect result.

print(f"\n{'':8s} {'ACC':>6s} {'NMI':>6s} {'ARI':>6s}")
for name, labels in (("DCCM", dccm.labels_), ("k-means", kmeans.labels_)):
    accuracy = clustering_accuracy_score(digits.target, labels)
    nmi = normalized_mutual_info_score(digits.target, labels)
    ari = adjusted_rand_score(digits.target, labels)
    print(f"{name:8s} {accuracy:6.3f} {nmi:6.3f} {ari:6.3f}")

# %%
# The clusters
# ------------
# Each row is a cluster, with its size and its most confident images.

display = ClusterGridDisplay.from_estimator(dccm, images, n_images=20, cmap="gray_r")
picture = Path("digits-clusters.png").resolve()
display.figure_.savefig(picture, dpi=100)
print(f"\nPicture of the clusters: {picture}")
plt.show()

# %%
# Every row shows one digit, and each digit has its row. Accuracy is well above that of k-means on the pixels, which
# splits some digits and merges others.
