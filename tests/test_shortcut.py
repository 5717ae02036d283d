"""Whether light and colours alone tell the clusters of images, and what is said of it."""

import warnings

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, load_sample_images

from deepcluster_sk import DACClustering, InstabilityWarning, ShortcutWarning
from deepcluster_sk._data import ArraySamples
from deepcluster_sk._diagnostics import TOLD_BY_COLOR, color_accuracy
from deepcluster_sk._scaling import Scaling
from deepcluster_sk.metrics._neighbors import beyond_chance


def samples_of(rows):
    return ArraySamples(rows, Scaling.of(rows))


@pytest.fixture(scope="module")
def crops():
    """400 pieces of two photographs, (n, 3, 16, 16) uint8."""
    rng = np.random.default_rng(0)
    photographs = np.stack([image[:400, :600] for image in load_sample_images().images])
    places = zip(rng.integers(2, size=400), rng.integers(384, size=400), rng.integers(584, size=400), strict=True)
    pieces = [photographs[i, top : top + 16, left : left + 16] for i, top, left in places]
    return np.stack(pieces).transpose(0, 3, 1, 2)


def by_color(images, n_clusters):
    colors = images.mean(axis=(2, 3))
    return KMeans(n_clusters, n_init=3, random_state=0).fit_predict(colors).astype(np.intp)


def test_clusters_of_colors_are_told_by_colors(crops):
    labels = by_color(crops, 6)
    assert beyond_chance(color_accuracy(samples_of(crops), labels), labels) > 0.85


def test_random_clusters_are_told_by_chance(crops):
    labels = np.random.default_rng(1).integers(6, size=len(crops))
    assert abs(beyond_chance(color_accuracy(samples_of(crops), labels), labels)) < 0.1


def test_digits_are_not_told_by_their_ink():
    images, digits = load_digits(return_X_y=True)
    told = color_accuracy(samples_of(images.reshape(-1, 1, 8, 8)), digits)
    assert 0.15 < told < 0.35  # more than chance: a 1 has less ink than an 8


def test_names_of_clusters_and_scale_of_pixels_do_not_matter(crops):
    labels = by_color(crops, 5)
    told = color_accuracy(samples_of(crops), labels)
    assert color_accuracy(samples_of(crops), 4 - labels) == pytest.approx(told)
    assert color_accuracy(samples_of(crops * 1e6 + 1e9), labels) == pytest.approx(told, abs=0.01)


def test_images_that_are_all_equal_tell_nothing():
    labels = np.arange(20) % 2
    assert color_accuracy(samples_of(np.ones((20, 1, 4, 4))), labels) <= 0.5
    assert color_accuracy(samples_of(np.ones((2, 1, 4, 4))), labels[:2]) == 0


def test_feature_vectors_have_no_colors():
    assert color_accuracy(samples_of(np.eye(4)), np.arange(4)) is None
    assert DACClustering(2, max_epochs=1, random_state=0).fit(np.eye(20)).fit_report_["color_accuracy"] is None


@pytest.mark.parametrize(("n_clusters", "warns"), [(6, True), (3, False)])
def test_a_fit_that_finds_colors_warns(crops, n_clusters, warns):
    """Fewer than four clusters may well differ in light, and are not warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dac = DACClustering(n_clusters, max_epochs=5, n_neighbors=5, random_state=0).fit(crops)
    assert beyond_chance(dac.fit_report_["color_accuracy"], dac.labels_) > TOLD_BY_COLOR
    assert [warning.category for warning in caught] == [ShortcutWarning] * warns
    assert all(f"{dac.fit_report_['color_accuracy']:.0%} of the images" in str(w.message) for w in caught)


def test_a_fit_of_digits_does_not():
    images = load_digits().images[:500]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dac = DACClustering(10, random_state=0).fit(images)
    samples = ArraySamples(images[:, None], dac._scaling)
    assert dac.fit_report_["color_accuracy"] == pytest.approx(color_accuracy(samples, dac.labels_))
    assert dac.fit_report_["color_accuracy"] < 0.5


@pytest.mark.filterwarnings("ignore::deepcluster_sk.exceptions.ShortcutWarning")
def test_clusters_that_are_joined_are_told_anew(crops):
    dac = DACClustering(6, max_epochs=5, n_neighbors=5, random_state=0).fit(crops)
    before = dac.fit_report_["color_accuracy"]
    dac.merge_clusters(crops, [0, 1])
    samples = ArraySamples(crops, dac._scaling)
    assert dac.fit_report_["color_accuracy"] == color_accuracy(samples, dac.labels_) != before


def test_an_unstable_fit_is_called_that(crops):
    """The graver reason is told, and it alone."""
    with pytest.warns(InstabilityWarning) as caught:
        DACClustering(6, augment=lambda batch: batch.flip(0), max_epochs=5, random_state=0).fit(crops)
    assert [warning.category for warning in caught] == [InstabilityWarning]
