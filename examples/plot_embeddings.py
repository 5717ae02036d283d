"""
Embeddings as input: first see whether k-means is enough
========================================================

X may be vectors from any source, such as the features of a pretrained network. Then the network is a multilayer
perceptron and the augmentation adds noise. Look at the k-means row: where features already put like with like, there is
little left to learn.
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from deepcluster_sk import DACClustering
from deepcluster_sk.display import EmbeddingDisplay
from deepcluster_sk.model_selection import compare_with_baselines

# %%
# Stand-in features: 24 principal components of the digits, in half precision as embeddings are often kept.

digits = load_digits()
X, y = digits.data[:1000], digits.target[:1000]
features = PCA(24, random_state=0).fit_transform(X).astype(np.float16)

# %%
# The comparison, on the same clock
# ---------------------------------
# ``y`` only scores: without it there are times, stability and neighbour agreement.

dac = DACClustering(n_clusters=10, random_state=0)
table = compare_with_baselines(dac, features, y, random_states=[0])
for row in zip(*(table[column] for column in ("method", "acc", "nmi", "seconds")), strict=True):
    print("{:16s} ACC {:.3f}  NMI {:.3f}  {:5.1f} s".format(*row))

# %%
# What was learnt
# ---------------

dac.fit(features)
EmbeddingDisplay.from_estimator(dac, features, y=y)

# %%
# Here some is left to learn beyond k-means. With features that separate the classes already, both rows are alike, and
# k-means is the one to take.
