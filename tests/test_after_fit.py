"""Clusters that are joined, divided and named after the fit, and samples that are rejected."""

import copy
import json

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from report_helpers import content_of
from scipy.ndimage import rotate
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from torch import nn

from deepcluster_sk import DACClustering, DCCMClustering, DCSSClustering, UnreadableImageWarning, load
from deepcluster_sk._regrouping import Split
from deepcluster_sk.display import ClusterSizeDisplay, RejectionDisplay
from deepcluster_sk.metrics import clustering_accuracy_score, restart_agreement_scorer, size_entropy_scorer
from deepcluster_sk.report import write_report

METHODS = [DACClustering, DCCMClustering, DCSSClustering]
each = pytest.mark.parametrize("Estimator", METHODS)


@pytest.fixture(scope="module")
def images(digits):
    """120 digits of 0 to 3, (120, 8, 8)."""
    X, y = digits
    return X[y < 4][:120]


@pytest.fixture(scope="module")
def files(images, tmp_path_factory):
    """Each estimator, fitted, as a file: tests change what they load."""
    folder = tmp_path_factory.mktemp("fitted")
    for Estimator in METHODS:
        Estimator(4, max_epochs=4, n_init=2, random_state=0).fit(images).save(folder / Estimator.__name__)
    return folder


@pytest.fixture
def fitted(files):
    return lambda Estimator: load(files / Estimator.__name__)


def assert_consistent(estimator, X):
    """All that an estimator says of the samples of fit is of the same clusters."""
    proba, n_clusters = estimator.predict_proba(X), len(estimator.cluster_names_)
    assert proba.shape == (len(X), n_clusters)
    assert_allclose(proba.sum(axis=1), 1, atol=1e-5)
    assert_array_equal(estimator.labels_, proba.argmax(axis=1))
    assert_array_equal(estimator.predict(X), estimator.labels_)
    report = estimator.fit_report_
    sizes = np.bincount(estimator.labels_, minlength=n_clusters)
    assert report["cluster_sizes"] == sizes.tolist()
    assert report["n_clusters_used"] == (sizes > 0).sum()
    assert report["largest_share"] == sizes.max() / len(X)
    assert_allclose(report["mean_confidence"], proba.max(axis=1).mean(), rtol=1e-5)
    assert report["augmentation_agreement"] == estimator.augmentation_agreement(X).mean()
    if hasattr(estimator, "cluster_centers_"):
        assert len(estimator.cluster_centers_) == n_clusters


@each
def test_merged_clusters_have_the_sum_of_their_probabilities(Estimator, fitted, images):
    estimator = fitted(Estimator)
    before, labels, embedding = estimator.predict_proba(images), estimator.labels_, estimator.transform(images)
    assert estimator.merge_clusters(images, [3, 1]) is estimator
    proba = estimator.predict_proba(images)
    assert_array_equal(proba[:, [0, 2]], before[:, [0, 2]])
    assert_allclose(proba[:, 1], before[:, 1] + before[:, 3], rtol=1e-6)
    assert estimator.cluster_names_ == ["0", "1", "2"]
    assert set(estimator.labels_[np.isin(labels, [1, 3])]) == {1}
    assert_array_equal(estimator.transform(images), embedding)
    assert estimator.fit_report_["restart_agreement"] is None
    assert_consistent(estimator, images)


@each
def test_split_cluster_divides_it_by_the_embedding_and_moves_no_other_sample(Estimator, fitted, images):
    estimator = fitted(Estimator)
    before, labels = estimator.predict_proba(images), estimator.labels_
    estimator.split_cluster(images, 1, 3, random_state=0)
    assert estimator.cluster_names_ == ["0", "1", "2", "3", "4", "5"]
    proba, parts = estimator.predict_proba(images), [1, 4, 5]
    assert_array_equal(proba[:, [0, 2, 3]], before[:, [0, 2, 3]])
    assert_array_equal(proba[:, parts].max(axis=1), before[:, 1])
    assert_array_equal(np.isin(estimator.labels_, parts), labels == 1)
    assert_consistent(estimator, images)
    sizes = np.bincount(estimator.labels_)[parts]
    assert sizes.min() > 0
    assert sizes[0] == sizes.max()
    # Each member is nearer to the mean of its part than to that of another.
    embedding = estimator._apply(estimator._training_samples(images), lambda embedding, _: (embedding,))[0]
    means = np.array([embedding[estimator.labels_ == part].mean(axis=0) for part in parts])
    members = np.isin(estimator.labels_, parts)
    nearest = np.linalg.norm(embedding[members, None] - means, axis=2).argmin(axis=1)
    assert_array_equal(np.array(parts)[nearest], estimator.labels_[members])


def test_centers_follow_the_clusters(fitted, images):
    dcss = fitted(DCSSClustering)
    before = dcss.cluster_centers_
    dcss.merge_clusters(images, [0, 2])
    assert_allclose(dcss.cluster_centers_, [(before[0] + before[2]) / 2, before[1], before[3]], rtol=1e-5)
    dcss.split_cluster(images, 0, random_state=0)
    assert_array_equal(dcss.cluster_centers_[[1, 2]], before[[1, 3]])
    assert_allclose(dcss.cluster_centers_[[0, 3]], dcss._regroupings[-1].centers, rtol=1e-6)


@each
def test_several_steps_are_saved_exported_and_reported(Estimator, fitted, images, tmp_path):
    estimator = fitted(Estimator)
    estimator.merge_clusters(images, (0, 1)).split_cluster(images, 0, random_state=1).merge_clusters(images, [1, 2])
    estimator.rename_clusters({1: "two and three"})
    assert estimator.cluster_names_ == ["0", "two and three", "2"]
    assert_consistent(estimator, images)
    proba = estimator.predict_proba(images)

    estimator.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert_array_equal(again.predict_proba(images), proba)
    assert again.cluster_names_ == estimator.cluster_names_
    assert_consistent(again, images)

    estimator.export(tmp_path / "model.pt2")
    program = torch.export.load(tmp_path / "model.pt2").module()
    for n_samples in (1, 120):
        batch = torch.as_tensor(images[:n_samples, None], dtype=torch.float32)
        assert_allclose(program(batch).numpy(), proba[:n_samples], atol=1e-5)

    write_report(estimator, images, tmp_path / "report.html")
    clusters = content_of(tmp_path / "report.html")["clusters"]
    assert [cluster["name"] for cluster in clusters] == [None, "two and three", None]
    assert [cluster["size"] for cluster in clusters] == estimator.fit_report_["cluster_sizes"]


def test_a_file_whose_steps_do_not_follow_is_refused(fitted, images, tmp_path, monkeypatch):
    dac = fitted(DACClustering).merge_clusters(images, [0, 1])
    for wrong in ([{"merge": [0, 4]}], [{"merge": [1, 0]}], [{"split": 0}], [{"merge": []}], [{"merge": [1]}], []):
        monkeypatch.setattr(
            "deepcluster_sk._regrouping.described", lambda steps, wrong=wrong: json.loads(json.dumps(wrong))
        )
        dac.save(tmp_path / "model")
        with pytest.raises(ValueError, match="cannot be loaded"):
            load(tmp_path / "model")


@pytest.mark.parametrize("rows", [0, 1, np.nan])
def test_a_file_whose_centres_are_none_is_refused(fitted, images, tmp_path, rows):
    dac = fitted(DACClustering).split_cluster(images, 0, random_state=0)
    centers = dac._regroupings[0].centers
    wrong = torch.full_like(centers, torch.nan) if np.isnan(rows) else centers[:rows]
    dac._regroupings = [Split(0, wrong)]
    dac.cluster_names_ = [str(i) for i in range(3 + len(wrong))]
    dac.save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"cannot be loaded.* are none in an embedding of 4"):
        load(tmp_path / "model")


def test_a_split_far_from_the_origin_is_by_the_nearest_centre():
    rng = np.random.default_rng(0)
    centers = torch.as_tensor(1e4 + rng.normal(size=(3, 16)), dtype=torch.float32)
    embedding = torch.as_tensor(1e4 + rng.normal(size=(200, 16)), dtype=torch.float32)
    parts = Split(1, centers)(embedding, torch.full((200, 2), 0.5))[:, 1:]
    assert_array_equal(parts.argmax(1), torch.cdist(embedding.double(), centers.double()).argmin(1))


def test_what_fails_midway_changes_nothing(fitted, images):
    def fail(batch):
        raise RuntimeError("no more")

    dac = fitted(DACClustering).set_params(augment=fail)
    before = dict(vars(dac))
    for change in (lambda: dac.merge_clusters(images, [0, 1]), lambda: dac.split_cluster(images, 0)):
        with pytest.raises(RuntimeError, match="no more"):
            change()
        assert vars(dac) == before


def test_names_follow_and_stay_different(fitted, images):
    dac = fitted(DACClustering).rename_clusters({0: "cat", 3: "dog"})
    assert dac.split_cluster(images, 0, random_state=0).cluster_names_ == ["cat (1)", "1", "2", "dog", "cat (2)"]
    assert dac.merge_clusters(images, [1, 2]).cluster_names_ == ["cat (1)", "1", "dog", "cat (2)"]
    assert dac.merge_clusters(images, [1, 2]).cluster_names_ == ["cat (1)", "1 + dog", "cat (2)"]
    dac.rename_clusters({0: "cat"}).rename_clusters({2: "cat (1)"})
    assert dac.split_cluster(images, 0, random_state=0).cluster_names_ == ["cat (1)", "1 + dog", "cat (1)'", "cat (2)"]


def test_scores_of_changed_clusters(files, images):
    dac = load(files / "DACClustering").split_cluster(images, 0, random_state=0)
    assert 0 < size_entropy_scorer(dac, images) <= 1
    with pytest.raises(ValueError, match="n_init=2 must be at least 2, in a fit whose clusters were not changed since"):
        restart_agreement_scorer(dac)


@pytest.mark.parametrize(
    "params",
    [
        {"network": nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU())},
        {"augment": None},
    ],
)
def test_networks_of_the_users_and_no_transform(images, params):
    dac = DACClustering(**{"n_clusters": 4, "max_epochs": 2, "random_state": 0, **params}).fit(images)
    dac.split_cluster(images, 0, random_state=0)
    sizes = dac.fit_report_["cluster_sizes"]
    dac.merge_clusters(images, [0, len(sizes) - 1])
    assert (dac.fit_report_["augmentation_agreement"] is None) == (dac.augment is None)
    assert_array_equal(dac.labels_, dac.predict(images))


def test_clusters_of_files_leave_out_those_that_cannot_be_read(images, tmp_path):
    for i, image in enumerate(images[:40]):
        Image.fromarray((image * 255).astype(np.uint8)).save(tmp_path / f"{i:02}.png")
    (tmp_path / "05.png").write_bytes(b"no image")
    with pytest.warns(UnreadableImageWarning):
        dac = DACClustering(3, max_epochs=2, on_error="skip", random_state=0).fit(tmp_path)
    for change in (lambda: dac.merge_clusters(tmp_path, [0, 1]), lambda: dac.partial_fit(tmp_path)):
        with pytest.warns(UnreadableImageWarning, match="They are left out"):
            change()
        assert len(dac.labels_) == len(dac.paths_) == 39


def test_a_new_fit_and_a_clone_know_nothing_of_it(fitted, images):
    dac = fitted(DACClustering).merge_clusters(images, [0, 1])
    assert not hasattr(clone(dac), "cluster_names_")
    dac.set_params(max_epochs=1).fit(images)
    assert dac.cluster_names_ == ["0", "1", "2", "3"]
    assert dac.predict_proba(images).shape == (120, 4)


def test_clusters_have_names(fitted, images):
    dac = fitted(DACClustering)
    assert dac.rename_clusters(["zero", "one", "two", "three"]) is dac
    assert dac.rename_clusters({2: "TWO"}).cluster_names_ == ["zero", "one", "TWO", "three"]
    assert_array_equal(dac.predict(images), dac.labels_)
    assert list(ClusterSizeDisplay.from_estimator(dac, images).clusters) == dac.cluster_names_


@pytest.mark.parametrize(
    ("names", "kind", "needed"),
    [
        (["a", "b", "c"], ValueError, "names has 3 names, and must have 4"),
        ({4: "a"}, ValueError, r"names=4 must be an integer in \[0, 3\]"),
        ({"0": "a"}, TypeError, "names='0' must be an integer"),
        ({0: 1}, TypeError, "must be texts, got 1"),
        ({0: " "}, ValueError, "must be texts that are not empty, got ' '"),
        ({0: "1"}, ValueError, "names must be different, got 1 twice; merge_clusters joins clusters"),
        ("abcd", TypeError, "must be a mapping from cluster to name, or a sequence of names"),
        (3, TypeError, "must be a mapping from cluster to name, or a sequence of names"),
    ],
)
def test_wrong_names_are_refused(fitted, names, kind, needed):
    dac = fitted(DACClustering)
    with pytest.raises(kind, match=needed):
        dac.rename_clusters(names)
    assert dac.cluster_names_ == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("clusters", "kind", "needed"),
    [
        ([0], ValueError, r"clusters=\[0\] must be two or more different clusters"),
        ([0, 0], ValueError, "must be two or more different clusters"),
        ([0, 4], ValueError, r"clusters=4 must be an integer in \[0, 3\]"),
        ([0, 1.0], TypeError, "clusters=1.0 must be an integer"),
        (0, TypeError, "clusters=0 must be a sequence"),
    ],
)
def test_clusters_that_cannot_be_merged_are_refused(fitted, images, clusters, kind, needed):
    dac = fitted(DACClustering)
    before = dict(vars(dac))
    with pytest.raises(kind, match=needed):
        dac.merge_clusters(images, clusters)
    assert vars(dac) == before


@pytest.mark.parametrize(
    ("cluster", "n_parts", "needed"),
    [
        (4, 2, r"cluster=4 must be an integer in \[0, 3\]"),
        (0, 1, r"n_parts=1 must be an integer in \[2, inf\)"),
        (0, 100, r"cluster=0 must hold n_parts=100 different samples or more, and holds \d+\."),
    ],
)
def test_clusters_that_cannot_be_split_are_refused(fitted, images, cluster, n_parts, needed):
    dac = fitted(DACClustering)
    before = dict(vars(dac))
    with pytest.raises(ValueError, match=needed):
        dac.split_cluster(images, cluster, n_parts)
    assert vars(dac) == before


def test_samples_that_are_alike_cannot_be_split(digits):
    images = np.repeat(digits[0][:2], 20, axis=0)
    dac = DACClustering(2, max_epochs=2, random_state=0).fit(images)
    with pytest.raises(ValueError, match=r"cluster=0 must hold n_parts=2 different samples or more, and all of its"):
        dac.split_cluster(images, 0)


def test_only_the_samples_of_fit_will_do(fitted, images):
    dac = fitted(DACClustering)
    with pytest.raises(ValueError, match="X has 119 samples, and must be the 120 that labels_ are of"):
        dac.merge_clusters(images[1:], [0, 1])
    with pytest.raises(ValueError, match=r"X must be the samples that labels_ are of, in their order, but \d+ of"):
        dac.split_cluster(images[::-1], 0)
    with pytest.raises(NotFittedError):
        DACClustering().merge_clusters(images, [0, 1])
    with pytest.raises(NotFittedError):
        DACClustering().rename_clusters(["a"])


# New samples


@pytest.fixture(scope="module")
def trained(digits):
    """Digits of before and after, and each estimator fitted on the first."""
    X, y = digits
    kept = {Estimator: Estimator(10, random_state=0).fit(X[:600]) for Estimator in METHODS}
    return (X[:600], y[:600]), (X[600:1200], y[600:1200]), kept


@each
def test_partial_fit_on_a_few_classes_forgets_no_other_and_keeps_the_numbers(Estimator, trained):
    (old, y_old), (new, y_new), kept = trained
    estimator = copy.deepcopy(kept[Estimator])
    module, before, n_iter = estimator.module_, estimator.labels_, estimator.n_iter_
    few = new[y_new < 3]
    predicted = estimator.predict(few)
    for call in (1, 2, 3):
        assert estimator.partial_fit(few) is estimator
        assert estimator.n_samples_seen_ == 600 + call * len(few)
    assert estimator.module_ is not module
    assert estimator.n_iter_ == len(estimator.history_) > n_iter
    assert {record["phase"] for record in estimator.history_[n_iter:]} == {"partial fit"}
    assert_consistent(estimator, few)
    assert np.mean(estimator.labels_ == predicted) > 0.95
    assert np.mean(estimator.predict(old) == before) > 0.95
    assert clustering_accuracy_score(y_old, estimator.predict(old)) > clustering_accuracy_score(y_old, before) - 0.02


@each
def test_partial_fit_learns_what_new_samples_look_like(Estimator, trained):
    (_, _), (new, y), kept = trained
    turned = np.stack([rotate(image, 25, reshape=False, order=1) for image in new])
    estimator = copy.deepcopy(kept[Estimator])
    before = clustering_accuracy_score(y[300:], estimator.predict(turned[300:]))
    for _ in range(3):
        estimator.partial_fit(turned[:300])
    assert clustering_accuracy_score(y[300:], estimator.predict(turned[300:])) > before + 0.05


def test_partial_fit_is_weighed_by_the_numbers_of_samples(trained):
    (old, _), (new, _), kept = trained
    moved = []
    for n_seen in (600, 600_000):
        estimator = copy.deepcopy(kept[DACClustering])
        estimator.n_samples_seen_ = n_seen
        estimator.partial_fit(new[:100])
        moved.append(float(np.abs(estimator.predict_proba(old) - kept[DACClustering].predict_proba(old)).mean()))
    assert 0 < moved[1] < moved[0] / 20


def test_partial_fit_keeps_merged_clusters_and_names(fitted, images, tmp_path):
    dcss = fitted(DCSSClustering).merge_clusters(images, [0, 2]).rename_clusters({1: "one"})
    centers = dcss.cluster_centers_
    dcss.partial_fit(images[:50])
    assert dcss.cluster_names_ == ["0", "one", "2"]
    assert_array_equal(dcss.cluster_centers_, centers)
    assert_consistent(dcss, images[:50])
    dcss.save(tmp_path / "model")
    assert load(tmp_path / "model").n_samples_seen_ == 170


def test_partial_fit_is_repeatable_and_changes_nothing_if_it_fails(fitted, images):
    first, second = fitted(DACClustering), fitted(DACClustering)
    assert_array_equal(
        first.partial_fit(images).predict_proba(images), second.partial_fit(images).predict_proba(images)
    )
    before = dict(vars(first))
    with pytest.raises(ValueError, match=r"X has 1 sample\(s\) that can be used, and must have 2 or more"):
        first.partial_fit(images[:1])
    first.augment = lambda batch: batch * (np.nan if len(batch) > 2 else 1)
    with pytest.warns(ConvergenceWarning), pytest.raises(ValueError, match="Training diverged"):
        first.partial_fit(images)
    assert vars(first) == {**before, "augment": first.augment}
    second.split_cluster(images, 0, random_state=0)
    with pytest.raises(ValueError, match="partial_fit cannot train clusters that split_cluster made"):
        second.partial_fit(images)


def test_partial_fit_leaves_an_encoder_alone_that_fit_left_alone(images):
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 8))
    dcss = DCSSClustering(4, encoder=encoder, encoder_lr=0, max_epochs=3, random_state=0).fit(images)
    n_iter = dcss.n_iter_
    embedding = dcss.transform(images)
    dcss.partial_fit(images[::-1].copy())
    assert_array_equal(dcss.transform(images), embedding)
    assert dcss.n_iter_ <= n_iter + 3


def test_partial_fit_averages_a_layer_that_is_used_twice_once(images):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(64, 64)
            self.second = self.first

        def forward(self, batch):
            return self.second(self.first(batch.flatten(1)).relu())

    dac = DACClustering(4, network=Twice(), max_epochs=3, random_state=0).fit(images)
    moved = []
    for n_seen in (1, 120):
        twin = copy.deepcopy(dac)
        twin.n_samples_seen_ = n_seen
        twin.partial_fit(images)
        after = next(value for name, value in twin.module_.named_parameters() if name.endswith("first.weight"))
        start = next(value for name, value in dac.module_.named_parameters() if name.endswith("first.weight"))
        moved.append(float((after - start).detach().abs().mean()))
    assert moved[1] == pytest.approx(moved[0] * (120 / 240) / (120 / 121), rel=1e-3)


def test_partial_fit_on_a_few_clusters_is_no_collapse_in_a_report(trained, tmp_path):
    (_, _), (new, y), kept = trained
    dac = copy.deepcopy(kept[DACClustering])
    few = new[y < 2]
    write_report(dac.partial_fit(few), few, tmp_path / "report.html")
    verdict = content_of(tmp_path / "report.html")["verdict"]
    assert verdict["level"] == "none"
    assert "of 10 clusters are in use" in verdict["text"]


def test_partial_fit_of_what_is_not_fitted_is_a_fit(images):
    params = {"max_epochs": 2, "random_state": 0}
    labels = DACClustering(4, **params).partial_fit(images).labels_
    assert_array_equal(labels, DACClustering(4, **params).fit(images).labels_)


# Rejection


@each
def test_uncertain_samples_are_rejected(Estimator, fitted, images):
    estimator = fitted(Estimator)
    confidence = estimator.predict_proba(images).max(axis=1)
    least = float(np.median(confidence))
    labels = estimator.predict(images, reject_below=least)
    assert_array_equal(labels, np.where(confidence < np.float32(least), -1, estimator.labels_))
    assert (labels == -1).any()
    assert_array_equal(estimator.predict(images, reject_below=0.0), estimator.labels_)


@pytest.mark.parametrize(
    ("value", "kind"), [(1.1, ValueError), (-0.1, ValueError), (np.nan, ValueError), ("0.5", TypeError)]
)
def test_a_probability_that_is_none_is_refused(fitted, images, value, kind):
    with pytest.raises(kind, match=r"reject_below=.* must be None or a number"):
        fitted(DACClustering).predict(images, reject_below=value)


def test_rejection_curve_is_that_of_a_loop():
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=200)
    logits = rng.normal(size=(200, 3)) + 2 * np.eye(3)[y]
    proba = np.round(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), 2)  # with ties
    display = RejectionDisplay.from_predictions(y, proba)
    confidence, labels = proba.max(axis=1), proba.argmax(axis=1)
    assert_array_equal(display.reject_below, np.unique(confidence))
    for least, rejected, accuracy in zip(display.reject_below, display.rejected, display.accuracy, strict=True):
        kept = confidence >= least
        assert rejected == np.mean(~kept)
        assert accuracy == np.mean(y[kept] == labels[kept])
    assert_array_equal(display.ax_.lines[0].get_ydata(), display.accuracy)


def test_rejection_curve_leaves_out_what_cannot_be_read(fitted, images):
    class Half:
        def predict_proba(self, X):
            return np.array([[1.0, 0.0], [np.nan, np.nan], [0.4, 0.6]])

    display = RejectionDisplay.from_estimator(Half(), images[:3], ["a", "a", "b"])
    assert display.accuracy.tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match=r"y of shape \(2,\) must be of shape \(3,\)"):
        RejectionDisplay.from_estimator(Half(), images[:3], ["a", "b"])


@pytest.mark.parametrize("encoder", [PCA(3), nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).requires_grad_(False)])
def test_partial_fit_needs_something_to_train(encoder):
    X = load_digits(n_class=3).images[:60].reshape(60, 64)
    dcss = DCSSClustering(3, encoder=encoder, second_phase=False, max_epochs=1, random_state=0).fit(X)
    before = dcss.labels_
    with pytest.raises(ValueError, match="nothing to train"):
        dcss.partial_fit(X[:20])
    assert dcss.labels_ is before
