"""
DCSS in two phases: the second makes it surer, if not more right
================================================================

DCSS pretrains an autoencoder, shapes its latent space cluster by cluster (phase 1), and then learns from pairs that are
surely alike or different (phase 2). Look at the residuals, which say how far a sample's probabilities are from one
cluster alone.
"""

from sklearn.datasets import load_digits

from deepcluster_sk import DCSSClustering
from deepcluster_sk.callbacks import StageRecorder
from deepcluster_sk.display import EmbeddingDisplay, FilterDisplay, PairParticipationDisplay, ResidualDisplay
from deepcluster_sk.metrics import clustering_accuracy_score

digits = load_digits()
images, y = digits.images[:500], digits.target[:500]

# %%
# Phase 1 alone is DCSSu
# ----------------------

dcssu = DCSSClustering(n_clusters=10, second_phase=False, random_state=0).fit(images)
recorder = StageRecorder(images[:300])
dcss = DCSSClustering(n_clusters=10, random_state=0).set_callbacks(recorder).fit(images)
for name, estimator in (("phase 1", dcssu), ("both phases", dcss)):
    print(f"{name:12s} accuracy {clustering_accuracy_score(y, estimator.labels_):.3f}")

# %%
# Residuals by stage
# ------------------

ResidualDisplay.from_recorder(recorder)

# %%
# The pairs that take part in phase 2
# -----------------------------------

PairParticipationDisplay.from_estimator(dcss)

# %%
# The latent space by stage
# -------------------------
# Two principal components each; colours are the true digits.

EmbeddingDisplay.from_recorder(recorder, y[:300])

# %%
# What the first layer looks for
# ------------------------------

FilterDisplay.from_estimator(dcss)

# %%
# Phase 2 moves the residuals towards 0: nearly every sample ends in one cluster alone. Accuracy is what phase 1 had
# reached on these few images; being sure is not being right.
