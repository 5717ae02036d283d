"""
Embeddings: an honest comparison
================================

Before a deep method on frozen features, four that need no deep learning: k-means, k-means on principal components, a
Gaussian mixture on these components, and spectral clustering on the graph of nearest neighbours. All get the same
features and the same number of clusters, and time is that of a whole fit.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.cluster import SpectralClustering
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline

from deepcluster_sk import DACClustering, DCCMClustering, DCSSClustering
from deepcluster_sk.model_selection import compare_with_baselines

# %%
# Stand-in features: 40 principal components of the digits, in half precision as embeddings are often kept. Yours come
# from :func:`~deepcluster_sk.embed_images`.

digits = load_digits()
X, y = digits.data[:1200], digits.target[:1200]
features = PCA(40, random_state=0).fit_transform(X).astype(np.float16)

# %%
# The comparison
# --------------
# ``baselines`` takes any clusterer, so two of our own methods stand beside the third. ``y`` only scores.

others = {
    "PCA + mixture": make_pipeline(PCA(20), GaussianMixture(10, reg_covar=1e-3)),
    "spectral": SpectralClustering(10, affinity="nearest_neighbors", n_neighbors=15),
    "DCCMClustering": DCCMClustering(10),
    "DCSSClustering": DCSSClustering(10),
}
table = compare_with_baselines(DACClustering(10), features, y, baselines=others, random_states=[0])
columns = ("method", "acc", "nmi", "neighbor_agreement", "seconds")
for row in zip(*(table[column] for column in columns), strict=True):
    print("{:15s} ACC {:.3f}  NMI {:.3f}  neighbours {:.3f}  {:5.1f} s".format(*row))

# %%
# Quality against time
# --------------------

_, ax = plt.subplots(layout="constrained")
for method, acc, seconds in zip(table["method"], table["acc"], table["seconds"], strict=True):
    ax.semilogx(seconds, acc, "o" if method.endswith("Clustering") else "s")
    ax.annotate(method, (seconds, acc), xytext=(5, 3), textcoords="offset points")
ax.set(xlabel="seconds of a fit", ylabel="ACC")
ax.margins(x=0.25)

# %%
# What to conclude
# ----------------
# Without labels one may choose by the neighbours: how much oftener than by chance a sample's nearest neighbours in the
# features are in its cluster. Whether that chooses well can only be said where there are labels, as here.

chosen, best = (int(np.argmax(table[column])) for column in ("neighbor_agreement", "acc"))
is_deep = np.array([method.endswith("Clustering") for method in table["method"]])
print(f"Chosen by neighbours: {table['method'][chosen]}, ACC {table['acc'][chosen]:.3f}.")
print(f"Best by labels: {table['method'][best]}, ACC {table['acc'][best]:.3f}.")
print(f"The best that needs no deep learning: ACC {np.array(table['acc'])[~is_deep].max():.3f}.")

# %%
# One data set says little about yours. On features that separate the classes well all rows are close, and the fastest
# is the one to take; ``benchmarks/embeddings.py`` has a harder case, photographs, with five seeds.
