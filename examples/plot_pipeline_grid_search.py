"""
In a Pipeline and in GridSearchCV, the choice of score decides
==============================================================

The estimators are scikit-learn estimators: they go behind a scaler, and a search reaches all their parameters. Look
at which score chooses the setting: one needs true labels, the other does not.
"""

from sklearn.datasets import load_digits, load_wine
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from deepcluster_sk import DCCMClustering, DCSSClustering
from deepcluster_sk.display import SearchCurveDisplay
from deepcluster_sk.metrics import (
    augmentation_agreement_scorer,
    clustering_accuracy_score,
    clustering_accuracy_scorer,
)
from deepcluster_sk.model_selection import FullData

# %%
# Feature vectors in a Pipeline
# -----------------------------
# Thirteen chemical measurements of 178 wines, on very different scales. DCSS compresses them by an autoencoder.

X, y = load_wine(return_X_y=True)
pipeline = make_pipeline(StandardScaler(), DCSSClustering(n_clusters=3, random_state=0))
labels = pipeline.fit_predict(X)
print(f"wines: accuracy {clustering_accuracy_score(y, labels):.3f}")
print(f"embedding of the first wine: {pipeline.transform(X[:1]).round(2)}")

# %%
# A search that uses true labels
# ------------------------------
# ``clustering_accuracy_scorer`` compares with ``y``. The fit never sees ``y``, but the *choice* does, so what comes out
# is no longer unsupervised: a fair use is to ask how much a parameter matters where labels happen to be known.
# ``FullData`` fits and scores all images: clusters are wanted of these, and nothing is held out.

digits = load_digits()
images, target = digits.images[:250], digits.target[:250]
dccm = DCCMClustering(n_clusters=10, max_epochs=10, random_state=0)
grid = {"n_neighbors": [0, 5]}  # of the warm-up
with_labels = GridSearchCV(dccm, grid, scoring=clustering_accuracy_scorer, cv=FullData(), n_jobs=2, refit=False)
with_labels.fit(images, target)

# %%
# A search without labels
# -----------------------
# ``augmentation_agreement_scorer`` asks how many images keep their cluster under a random transform. No label is given.

without_labels = GridSearchCV(dccm, grid, scoring=augmentation_agreement_scorer, cv=FullData(), n_jobs=2, refit=False)
without_labels.fit(images)

for name, search in (("accuracy", with_labels), ("agreement", without_labels)):
    for parameters, score in zip(search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True):
        print(f"{name:10s} {score:.3f}  {parameters}")

# %%
SearchCurveDisplay.from_estimator(without_labels)

# %%
# Where the two disagree on the best setting, only the second could have been used without labels. It says how steady
# clusters are, not whether they mean anything, and differences of a few hundredths mean nothing.
