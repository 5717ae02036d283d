"""
In a Pipeline and in GridSearchCV, the choice of score decides
==============================================================

The estimators are scikit-learn estimators: they go behind a scaler, and a search reaches all their parameters. Look
at which score chooses the setting: one needs true labels, the other does not.
"""

from sklearn.datasets import load_digits, load_wine
from sklearn.model_selection import GridSearchCV, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from deepcluster_sk import DCCMClustering, DCSSClustering
from deepcluster_sk.display import SearchCurveDisplay
from deepcluster_sk.metrics import clustering_accuracy_score, clustering_accuracy_scorer, silhouette_scorer

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

digits = load_digits()
images, target = digits.images[:250], digits.target[:250]
split = ShuffleSplit(n_splits=2, test_size=0.3, random_state=0)
dccm = DCCMClustering(n_clusters=10, max_epochs=10, random_state=0)
grid = {"n_neighbors": [0, 5]}  # of the warm-up
with_labels = GridSearchCV(dccm, grid, scoring=clustering_accuracy_scorer, cv=split, n_jobs=2, refit=False)
with_labels.fit(images, target)

# %%
# A search without labels
# -----------------------
# ``silhouette_scorer`` asks how well the clusters of the held-out images are apart in the embedding. No label is given.

without_labels = GridSearchCV(dccm, grid, scoring=silhouette_scorer, cv=split, n_jobs=2, refit=False)
without_labels.fit(images)

for name, search in (("accuracy", with_labels), ("silhouette", without_labels)):
    for parameters, score in zip(search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True):
        print(f"{name:10s} {score:.3f}  {parameters}")

# %%
SearchCurveDisplay.from_estimator(without_labels)

# %%
# Both scores are of images that were not fitted. Where the two disagree on the best setting, only the second could have
# been used without labels; silhouettes say how compact clusters are, not whether they mean anything.
