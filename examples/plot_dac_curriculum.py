"""
DAC's curriculum: first the sure pairs, at last all
===================================================

DAC trains on pairs of images that it is sure are alike, or different. The threshold for "alike" falls and that for
"different" rises, until they meet and every pair takes part. Look at the share of pairs, and at label features that
move into the corners.
"""

from sklearn.datasets import load_digits

from deepcluster_sk import DACClustering
from deepcluster_sk.callbacks import StageRecorder
from deepcluster_sk.display import (
    ConfidenceHistogramDisplay,
    LabelFeatureDisplay,
    LabelFeatureImagesDisplay,
    PairParticipationDisplay,
)
from deepcluster_sk.metrics import clustering_accuracy_score

digits = load_digits()
images, y = digits.images[:800], digits.target[:800]
recorder = StageRecorder(images[:400])
dac = DACClustering(n_clusters=10, random_state=0).set_callbacks(recorder).fit(images)
print(f"accuracy {clustering_accuracy_score(y, dac.labels_):.3f}")

# %%
# The pairs that take part
# ------------------------

PairParticipationDisplay.from_estimator(dac)

# %%
# Certainty grows by stages
# -------------------------

ConfidenceHistogramDisplay.from_recorder(recorder)

# %%
# Label features, with a corner for each cluster
# ----------------------------------------------
# Colours are the true digits. What lies between corners is undecided.

LabelFeatureDisplay.from_estimator(dac, images, y)

# %%
# Where it is wrong
# -----------------
# Images beside their label features: right and sure, wrong though sure, and undecided.

LabelFeatureImagesDisplay.from_estimator(dac, images, y)

# %%
# The share of pairs ends near 100 %, and most label features lie in a corner. What is wrong lies between two digits
# that are written alike, or is sure of the wrong one.
