"""Reports: which samples are shown, what the page says, and that a file holds all of it, escaped."""

import base64
import hashlib
import io
import re
import tomllib
import warnings
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from report_helpers import (
    HOSTILE,
    content_of,
    fitted_on_digits,
    fitted_on_files,
    fitted_on_vectors,
    report_of,
    write_images,
)
from sklearn.cluster import KMeans
from sklearn.exceptions import NotFittedError
from torch import nn

import deepcluster_sk
from deepcluster_sk import (
    CollapseWarning,
    DACClustering,
    InstabilityWarning,
    ShortcutWarning,
    UnreadableImageWarning,
    _diagnostics,
)
from deepcluster_sk._scaling import Scaling
from deepcluster_sk.report import write_report
from deepcluster_sk.report._choice import (
    MAP_SIDE,
    Judged,
    between,
    confusable_pairs,
    confusion,
    gallery,
    map_coordinates,
    map_sample,
)
from deepcluster_sk.report._content import _common_folder
from deepcluster_sk.report._pictures import Pictures
from deepcluster_sk.report._words import changed_parameters, verdict
from deepcluster_sk.report._write import _PARTS

pytestmark = pytest.mark.filterwarnings("ignore::deepcluster_sk.exceptions.CollapseWarning")


@pytest.fixture(scope="module")
def images(digits):
    return digits[0][:240]


@pytest.fixture(scope="module")
def dac(images):
    return fitted_on_digits(images)


@pytest.fixture(scope="module")
def dcss(images):
    return fitted_on_vectors(images)


@pytest.fixture(scope="module")
def content(dac, images, tmp_path_factory):
    return report_of(dac, images, tmp_path_factory.mktemp("report"))[1]


def random_judged(seed, n, k):
    rng = np.random.default_rng(seed)
    proba = rng.dirichlet(np.ones(k), n).astype(np.float32)
    return Judged(rng.normal(size=(n, 5)).astype(np.float32), proba)


# Which samples are shown


@given(seed=st.integers(0, 2**31 - 1), n=st.integers(1, 60), k=st.integers(1, 5), n_images=st.integers(1, 8))
def test_gallery_holds_each_member_at_most_once_and_in_order(seed, n, k, n_images):
    judged = random_judged(seed, n, k)
    for cluster in range(k):
        chosen = gallery(judged, cluster, n_images)
        ids = np.concatenate(list(chosen.values()))
        members = np.flatnonzero(judged.labels == cluster)
        assert len(set(ids)) == len(ids) == min(len(members), sum(map(len, chosen.values())))
        assert set(ids) <= set(members)
        assert max(map(len, chosen.values())) <= n_images
        assert len(ids) == min(len(members), 3 * n_images) or len(members) < 3 * n_images
        confidence = judged.confidence
        rest = np.setdiff1d(members, chosen["prototypes"])
        if len(chosen["prototypes"]) and len(rest):
            assert confidence[chosen["prototypes"]].min() >= confidence[rest].max()
        assert (np.diff(confidence[chosen["prototypes"]]) <= 0).all()
        assert (np.diff(confidence[chosen["uncertain"]]) >= 0).all()


def test_gallery_of_a_large_cluster():
    confidence = np.linspace(0.5, 0.9, 101, dtype=np.float32)
    judged = Judged(np.zeros((101, 2), np.float32), np.column_stack([confidence, 1 - confidence]))
    chosen = gallery(judged, 0, 3)
    assert_array_equal(chosen["prototypes"], [100, 99, 98])
    assert_array_equal(chosen["typical"], [51, 50, 49])
    assert_array_equal(chosen["uncertain"], [0, 1, 2])


def test_equally_confident_prototypes_are_ordered_by_distance_from_the_mean_embedding():
    judged = Judged(np.array([[9.0], [1.0], [0.0], [-4.0]], np.float32), np.full((4, 1), 1.0, np.float32))
    assert_array_equal(gallery(judged, 0, 2)["prototypes"], [1, 2])  # the mean is 1.5
    assert_allclose(judged.distance, [7.5, 0.5, 1.5, 5.5])


@given(seed=st.integers(0, 2**31 - 1), n=st.integers(1, 20), k=st.integers(1, 5))
def test_confusion_matches_double_loop(seed, n, k):
    judged = random_judged(seed, n, k)
    expected = np.zeros((k, k))
    for a in range(k):
        for b in range(k):
            given_to_other = [
                float(judged.proba[i, b if judged.labels[i] == a else a])
                for i in range(n)
                if judged.labels[i] in (a, b) and a != b
            ]
            if given_to_other:
                expected[a, b] = np.mean(given_to_other)
    assert_allclose(confusion(judged), expected, atol=1e-7)
    assert (confusion(judged) <= 0.5 + 1e-6).all()


def test_confusable_pairs_are_the_largest_and_leave_out_what_is_nothing():
    proba = np.array([[0.6, 0.4, 0.0], [0.4, 0.6, 0.0], [0.0, 0.05, 0.95]], np.float32)
    judged = Judged(np.zeros((3, 1), np.float32), proba)
    assert_allclose(confusable_pairs(judged, 5), [(0, 1, 0.4), (1, 2, 0.025)], atol=1e-6)
    assert len(confusable_pairs(judged, 1)) == 1


def test_samples_between_two_clusters_go_from_one_side_to_the_other():
    first = np.array([0.99, 0.6, 0.45, 0.3, 0.02], np.float32)
    judged = Judged(np.zeros((5, 1), np.float32), np.column_stack([first, 1 - first]))
    assert_array_equal(between(judged, 0, 1, 3), [1, 2, 3])


def test_second_choice():
    judged = Judged(np.zeros((2, 1), np.float32), np.array([[0.5, 0.2, 0.3], [0.1, 0.9, 0.0]], np.float32))
    assert_array_equal(judged.second, [2, 0])
    assert_array_equal(Judged(judged.embedding, np.ones((2, 1), np.float32)).second, [0, 0])


def test_map_sample_is_all_or_a_choice_with_what_is_wanted():
    assert_array_equal(map_sample(5, 5, np.array([2])), np.arange(5))
    chosen = map_sample(1000, 50, np.array([7, 3, 999]))
    assert len(np.unique(chosen)) == 50
    assert {3, 7, 999} <= set(chosen)
    assert_array_equal(chosen, map_sample(1000, 50, np.array([7, 3, 999])))
    assert len(np.unique(map_sample(100, 2, np.array([7, 3, 9])))) == 2


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_projection_is_within_bounds_and_the_same_each_time(method):
    embedding = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    points, explained = map_coordinates(embedding, method)
    assert points.min() == 0
    assert points.max() == MAP_SIDE
    assert (explained is None) == (method == "tsne")
    assert_array_equal(points, map_coordinates(embedding, method)[0])


@pytest.mark.parametrize("shape", [(1, 4), (2, 1), (2, 6), (3, 2), (5, 1)])
def test_tsne_of_few_samples_or_one_dimension(shape):
    points, _ = map_coordinates(np.random.default_rng(0).normal(size=shape).astype(np.float32), "tsne")
    assert points.shape == (shape[0], 2)
    assert ((points >= 0) & (points <= MAP_SIDE)).all()


def test_projection_keeps_proportions():
    embedding = np.array([[0.0, 0], [4, 0], [0, 2], [4, 2]], np.float32)
    points, explained = map_coordinates(embedding, "pca")
    assert_allclose(sorted(np.ptp(points, axis=0)), [MAP_SIDE / 2, MAP_SIDE], atol=1)
    assert explained == pytest.approx(1.0)


@pytest.mark.parametrize("shape", [(1, 3), (4, 3), (5, 1)])
def test_projection_of_what_has_no_two_dimensions(shape):
    embedding = np.zeros(shape, np.float32)
    if shape[1] == 1:
        embedding[:, 0] = np.arange(5)
    points, _ = map_coordinates(embedding, "pca")
    assert_array_equal(points[:, 1], np.full(shape[0], round(MAP_SIDE / 2)))


# Pictures


def decoded(url):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB"))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 28, 28), (3, 32, 32), (3, 20, 50), (4, 16, 16), (2, 9, 9)])
def test_picture_stands_where_a_sheet_says(shape):
    n = 700
    values = np.linspace(0, 1, n, dtype=np.float32)
    rows = np.broadcast_to(values[:, None, None, None], (n, *shape)).copy()
    if shape[0] == 4:
        rows[:, 3] = 1.0
    sheets = Pictures(rows, Scaling(0.0, 1.0), None).sheets(np.arange(n))
    decoded_sheets = [decoded(url) for url in sheets["urls"]]
    in_sheet = sheets["columns"] * sheets["rows"]
    assert len(decoded_sheets) == -(-n // in_sheet)
    for i in range(n):
        row, column = divmod(i % in_sheet, sheets["columns"])
        top, left = row * sheets["cell_height"], column * sheets["cell_width"]
        picture = decoded_sheets[i // in_sheet][top : top + sheets["height"], left : left + sheets["width"]]
        assert picture.shape[:2] == (sheets["height"], sheets["width"])
        assert_allclose(picture, 255 * values[i], atol=3)


def test_pictures_are_scaled_as_in_fit_and_keep_proportions():
    rows = np.stack([np.full((1, 10, 40), value, np.int16) for value in (-100, 100)]).astype(np.float64)
    pictures = Pictures(rows, Scaling(-100.0, 200.0), None).single(np.array([1, 0]))
    assert (pictures["height"], pictures["width"]) == (10, 40)
    assert_array_equal(decoded(pictures["urls"][0]), 255)
    assert_array_equal(decoded(pictures["urls"][1]), 0)


def test_large_images_are_made_smaller_and_many_pictures_smaller_still():
    rows = np.zeros((1, 3, 300, 150), np.uint8)
    pictures = Pictures(rows, Scaling(0.0, 255.0), None)
    assert pictures.single(np.array([0]))["height"] == 96
    assert pictures.single(np.array([0]))["width"] == 48
    assert pictures.single(np.zeros(3000, int))["height"] == 44


def test_files_are_shown_in_more_detail_than_the_network_sees(tmp_path):
    paths = write_images(tmp_path, ["a.png"], side=80)
    rows = np.zeros((1, 3, 16, 16), np.uint8)
    pictures = Pictures(rows, Scaling(0.0, 255.0), paths)
    assert pictures.single(np.array([0]))["height"] == 80
    assert decoded(pictures.single(np.array([0]))["urls"][0]).std() > 0
    assert pictures.sheets(np.array([0]))["height"] == 16


def test_transparent_pixels_are_white():
    rows = np.zeros((1, 4, 8, 8), np.uint8)
    assert_array_equal(decoded(Pictures(rows, Scaling(0.0, 255.0), None).single(np.array([0]))["urls"][0]), 255)


# What the page says


def test_figures_are_those_of_the_fit_report(content, dac):
    figures = {figure["name"]: figure for figure in content["trust"]}
    for name in ("n_clusters_used", "largest_share", "mean_confidence", "augmentation_agreement", "label_change"):
        assert figures[name]["value"] == dac.fit_report_[name]
    assert figures["selected_share"]["value"] == dac.fit_report_["selected_share"]
    assert figures["restart_agreement"]["value"] == pytest.approx(dac.fit_report_["restart_agreement"].mean())
    assert figures["mean_confidence"]["text"] == f"{100 * dac.fit_report_['mean_confidence']:.1f}\xa0%"
    assert [cluster["size"] for cluster in content["clusters"]] == dac.fit_report_["cluster_sizes"]
    assert content["mean_confidence"] == pytest.approx(dac.fit_report_["mean_confidence"])
    assert content["is_training_data"]


def test_samples_have_what_the_estimator_says_of_them(content, dac, images):
    proba = dac.predict_proba(images)
    samples = content["samples"]
    assert samples["id"] == samples["index"] == list(range(len(images)))
    assert_array_equal(samples["cluster"], dac.labels_)
    assert_allclose(samples["confidence"], proba.max(axis=1), atol=1e-4)
    assert_allclose(samples["second_confidence"], np.sort(proba, axis=1)[:, -2], atol=1e-4)
    assert samples["path"] is None
    for number, cluster in enumerate(content["clusters"]):
        members = dac.labels_ == number
        agreement = dac.fit_report_["restart_agreement"][members].mean()
        assert cluster["agreement"] == pytest.approx(agreement)
        assert cluster["confidence"] == pytest.approx(proba[members].max(axis=1).mean(), abs=1e-5)
        assert members[cluster["nearest"]].all()


def test_history_has_clusters_in_use_in_place_of_sizes(content, dac):
    assert len(content["history"]) == len(dac.history_)
    for shown, record in zip(content["history"], dac.history_, strict=True):
        assert shown["loss"] == record["loss"]
        assert "cluster_sizes" not in shown
        if "cluster_sizes" in record:
            assert shown["clusters_in_use"] == np.count_nonzero(record["cluster_sizes"])


def test_new_samples_are_told_from_training_samples(dac, images, tmp_path):
    content = report_of(dac, images[:50], tmp_path)[1]
    assert not content["is_training_data"]
    assert [cluster["agreement"] for cluster in content["clusters"]] == [None] * 4
    assert sum(cluster["size"] for cluster in content["clusters"]) == 50


@pytest.mark.parametrize("agreement", [None, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("sizes", [[50, 50], [100, 0], [97, 3], [100], [25, 25, 25, 25]])
@pytest.mark.parametrize("color_accuracy", [None, 0.5, 0.9])
def test_verdict_is_that_of_the_warning(sizes, color_accuracy, agreement):
    sizes = np.array(sizes)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    report = {
        "n_clusters_used": int((sizes > 0).sum()),
        "cluster_sizes": sizes.tolist(),
        "largest_share": float(sizes.max() / 100),
        "augmentation_agreement": agreement,
        "color_accuracy": color_accuracy,
        "label_change": 0.3,
    }
    warned = _diagnostics.warning_of(report, labels)
    found = verdict(SimpleNamespace(fit_report_=report, labels_=labels, n_samples_seen_=len(labels)))
    levels = {CollapseWarning: "collapse", InstabilityWarning: "instability", ShortcutWarning: "shortcut"}
    assert found["level"] == levels.get(type(warned), "none")
    assert (found["level"] == "shortcut") == (len(sizes) == 4 and color_accuracy == 0.9 and agreement != 0.2)
    assert found["advice"]


@pytest.mark.parametrize(
    ("limit", "value", "level"),
    [("NEARLY_ALL", 0.2, "collapse"), ("STABLE", 0.9, "instability"), ("TOLD_BY_COLOR", 0.3, "shortcut")],
)
def test_one_rule_decides_on_verdict_and_warning(limit, value, level, monkeypatch):
    report = {
        "n_clusters_used": 4,
        "cluster_sizes": [25, 25, 25, 25],
        "largest_share": 0.25,
        "augmentation_agreement": 0.9,
        "color_accuracy": 0.5,
        "label_change": 0.0,
    }
    labels = np.arange(4).repeat(25)
    fitted = SimpleNamespace(fit_report_=report, labels_=labels, n_samples_seen_=len(labels))
    assert verdict(fitted)["level"] == "none"
    assert _diagnostics.warning_of(report, labels) is None
    monkeypatch.setattr(_diagnostics, limit, value)
    assert verdict(fitted)["level"] == level
    assert _diagnostics.warning_of(report, labels) is not None


def test_changed_parameters_show_no_addresses():
    estimator = DACClustering(n_clusters=3, augment=lambda images, generator: images, network=nn.Linear(2, 3))
    changed = {p["name"]: p for p in changed_parameters(estimator)}
    assert set(changed) == {"n_clusters", "augment", "network"}
    assert changed["n_clusters"] == {"name": "n_clusters", "value": "3", "default": "10"}
    assert "0x" not in changed["augment"]["value"]


# Whole reports


def test_unreadable_files_are_named_with_what_is_wrong(tmp_path):
    paths = write_images(tmp_path, [f"{i}.png" for i in range(12)])
    bad = tmp_path / 'bad "one".png'
    bad.write_bytes(b"no image")
    with pytest.warns(UnreadableImageWarning):
        estimator = fitted_on_files([paths[0], str(bad), *paths[1:]])
    with pytest.warns(UnreadableImageWarning):
        content = report_of(estimator, [paths[0], str(bad), *paths[1:]], tmp_path)[1]
    assert content["n_unreadable"] == 1
    assert content["unreadable"][0]["path"] == str(bad)
    assert "UnidentifiedImageError" in content["unreadable"][0]["reason"]
    assert content["is_training_data"]
    assert content["samples"]["index"] == [0, *range(2, 13)]
    assert [content["folder"] + path for path in content["samples"]["path"]] == paths
    content = report_of(estimator, paths, tmp_path)[1]  # that of fit is still named
    assert content["n_unreadable"] == 1
    content = report_of(estimator, paths[:5], tmp_path)[1]  # it is none of these
    assert not content["is_training_data"]
    assert (content["n_unreadable"], content["unreadable"]) == (0, [])
    with pytest.warns(UnreadableImageWarning), pytest.raises(ValueError, match="X must have a sample that can be read"):
        report_of(estimator, [str(bad)], tmp_path)


def test_hostile_names_and_title_stay_text(tmp_path):
    paths = write_images(tmp_path, [*HOSTILE, *(f"{i}.png" for i in range(8))])
    estimator = fitted_on_files(paths)
    title = "</title><script>alert(5)</script>"
    path, content = report_of(estimator, paths, tmp_path, title=title)
    text = path.read_text("ascii")
    assert text.count("<script") == text.count("</script>") == 2
    assert "<!--" not in text
    assert set(HOSTILE) <= set(content["samples"]["path"])
    assert content["title"] == title


def test_names_that_are_no_unicode(tmp_path):
    paths = write_images(tmp_path, [f"{i}.png" for i in range(8)])
    odd = Path(paths[0]).rename(tmp_path / "\udcff.png")
    estimator = fitted_on_files([str(odd), *paths[1:]])
    assert "\udcff.png" in report_of(estimator, [str(odd), *paths[1:]], tmp_path)[1]["samples"]["path"]


@pytest.mark.parametrize(
    ("paths", "folder"),
    [
        ([], ""),
        (["/a/b/c.png"], "/a/b/"),
        (["/a/bc/1.png", "/a/bd/2.png"], "/a/"),
        (["/a/b/1.png", "/a/b/c/2.png"], "/a/b/"),
        (["/a/1.png", "/b/2.png"], ""),
        (["a/1.png", "/a/2.png"], ""),
        (["a//1.png", "a//2.png"], "a/"),
        (["1.png", "2.png"], ""),
    ],
)
def test_common_folder(paths, folder):
    assert _common_folder(paths) == folder
    assert all(path.startswith(folder) for path in paths)


def test_same_bytes_each_time_and_after_loading(dac, images, tmp_path):
    write_report(dac, images, tmp_path / "a.html")
    write_report(dac, images, tmp_path / "b.html")
    dac.save(tmp_path / "dac")
    write_report(deepcluster_sk.load(tmp_path / "dac"), images, tmp_path / "c.html")
    first, *others = ((tmp_path / f"{name}.html").read_bytes() for name in "abc")
    assert others == [first, first]


def test_estimator_and_samples_stay_what_they_are(dac, images, tmp_path):
    before, attributes = images.copy(), set(vars(dac))
    write_report(dac, images, tmp_path / "a.html")
    assert_array_equal(images, before)
    assert set(vars(dac)) == attributes


def test_feature_vectors_have_no_pictures(dcss, images, tmp_path):
    content = report_of(dcss, images.reshape(len(images), -1), tmp_path)[1]
    assert content["pictures"] is None
    assert content["sheets"] is None
    for number, cluster in enumerate(content["clusters"]):
        assert (dcss.labels_[cluster["nearest"]] == number).all()
        assert len(cluster["nearest"]) == min(8, cluster["size"])


def test_tsne_takes_at_most_its_number_of_samples(dac, images, tmp_path, monkeypatch):
    monkeypatch.setattr("deepcluster_sk.report._content.N_TSNE", 100)
    content = report_of(dac, images, tmp_path, projection="tsne")[1]
    assert content["map"]["method"] == "tsne"
    assert len(content["map"]["ids"]) == 100


def test_map_takes_a_sample_and_galleries_take_all(dac, images, tmp_path):
    content = report_of(dac, images, tmp_path, max_samples=20)[1]
    whole = report_of(dac, images, tmp_path)[1]
    assert len(content["map"]["ids"]) == len(content["map"]["x"]) == 20
    assert content["clusters"] == whole["clusters"]
    shown = {i for cluster in content["clusters"] for ids in cluster["groups"].values() for i in ids}
    shown |= {i for pair in content["pairs"] for i in pair["ids"]}
    assert shown <= set(content["pictures"]["ids"])
    assert set(content["pictures"]["ids"]) | set(content["map"]["ids"]) == set(content["samples"]["id"])


def colours():
    """A network of next to no cost: the mean colour of an image."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


def test_ten_thousand_images_of_noise_stay_below_20_megabytes(tmp_path):
    X = np.random.default_rng(0).integers(0, 256, (10_000, 32, 32, 3), dtype=np.uint8)
    estimator = DACClustering(
        10, network=colours(), max_epochs=1, warmup_epochs=0, augment=None, random_state=0, batch_size=256
    ).fit(X[:300])
    path, content = report_of(estimator, X, tmp_path)
    assert path.stat().st_size < 20e6
    assert len(content["map"]["ids"]) == 10_000
    assert content["sheets"]["width"] == 32


def test_a_single_sample_and_a_single_cluster(dac, images, tmp_path):
    assert report_of(dac, images[:1], tmp_path)[1]["n_samples"] == 1
    single = DACClustering(1, max_epochs=1, warmup_epochs=0, random_state=0).fit(images[:50])
    content = report_of(single, images[:50], tmp_path)[1]
    assert content["pairs"] == []
    assert content["samples"]["second"] == content["samples"]["cluster"]


def test_datasets_and_own_encoders(images, tmp_path):
    class Images:
        def __len__(self):
            return 30

        def __getitem__(self, i):
            return images[i], 0

    import torch

    dataset = type("Images", (Images, torch.utils.data.Dataset), {})()
    estimator = DACClustering(2, max_epochs=1, warmup_epochs=0, random_state=0).fit(dataset)
    assert report_of(estimator, dataset, tmp_path)[1]["is_training_data"]


# The file


def test_bad_input_is_named(dac, images, tmp_path):
    path = tmp_path / "report.html"
    with pytest.raises(TypeError, match=r"estimator=KMeans must be a fitted DACClustering"):
        write_report(KMeans(), images, path)
    with pytest.raises(NotFittedError):
        write_report(DACClustering(), images, path)
    with pytest.raises(TypeError, match=r"path=3 must be the path of a file, got int"):
        write_report(dac, images, 3)
    for wrong in (tmp_path, tmp_path / "no" / "report.html"):
        with pytest.raises(ValueError, match=r"path='.*' must be a file in a folder that exists"):
            write_report(dac, images, wrong)
    with pytest.raises(TypeError, match=r"title=3 must be None or a string, got int"):
        write_report(dac, images, path, title=3)
    with pytest.raises(ValueError, match=r"title=' ' must be"):
        write_report(dac, images, path, title=" ")
    with pytest.raises(ValueError, match=r"projection='umap' must be one of 'pca', 'tsne'"):
        write_report(dac, images, path, projection="umap")
    with pytest.raises(ValueError, match=r"max_samples=0 must be an integer in \[1, inf\)"):
        write_report(dac, images, path, max_samples=0)
    with pytest.raises(ValueError, match="X"):
        write_report(dac, images[:, :5], path)
    assert not path.exists()


def test_a_report_that_cannot_be_written_leaves_the_one_before(dac, images, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("before")

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_report(dac, images, path)
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    assert path.read_text() == "before"


def test_matplotlib_is_not_needed(dac, images, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_report(dac, images, str(tmp_path / "report.html"))


class Page(HTMLParser):
    """Elements of a page, and the text of its script."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.scripts, self._in_script = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._in_script = tag == "script" and "type" not in dict(attrs)

    def handle_data(self, data):
        if self._in_script:
            self.scripts.append(data)
            self._in_script = False

    def attribute(self, name):
        return [attributes[name] for _, attributes in self.elements if name in attributes]


@pytest.fixture(scope="module")
def page(dac, images, tmp_path_factory):
    return Page(report_of(dac, images, tmp_path_factory.mktemp("page"), title="Digits")[0].read_text("ascii"))


def test_page_refers_to_nothing_outside(page):
    assert [link for link in page.attribute("href") if not link.startswith(("#", "data:"))] == []
    assert page.attribute("src") == []


def test_page_allows_its_own_script_and_nothing_from_elsewhere(page):
    (script,) = page.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [a["content"] for tag, a in page.elements if tag == "meta" and "http-equiv" in a]
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy


def test_page_has_language_landmarks_and_labels(page):
    tags = [tag for tag, _ in page.elements]
    assert all(tags.count(tag) == 1 for tag in ("header", "nav", "main", "footer", "h1", "title"))
    assert page.attribute("lang") == ["en"]
    ids = page.attribute("id")
    assert len(set(ids)) == len(ids)
    named = page.attribute("aria-labelledby") + page.attribute("aria-describedby")
    assert set(named) <= set(ids)
    assert {link[1:] for link in page.attribute("href") if link[0] == "#"} <= set(ids)


def luminance(colour):
    channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(first, second):
    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [r":root", r':root\[data-theme="dark"\]'])
def test_contrast_is_that_of_wcag_aa(theme):
    style = (Path(deepcluster_sk.__file__).parent / "report" / "page.css").read_text("utf-8")
    block = re.search(theme + r" \{(.*?)\}", style, flags=re.DOTALL)[1]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
    marks = [colours[f"c{i}"] for i in range(10)]
    for behind in ("page", "card", "shade"):
        for name in ("text", "quiet", "link", "good", "warn", "bad"):
            assert contrast(colours[name], colours[behind]) >= 4.5, (name, behind)
        for colour in (*marks, colours["focus"], colours["bar"], colours["strong-line"]):
            assert contrast(colour, colours[behind]) >= 3, (colour, behind)


def test_page_files_are_ascii_and_packaged():
    folder = Path(deepcluster_sk.__file__).parent / "report"
    parts = {path.name for path in folder.iterdir() if path.suffix not in (".py", "")}
    assert parts == set(_PARTS)
    assert all((folder / name).read_bytes().isascii() for name in parts)
    project = tomllib.loads((folder.parents[1] / "pyproject.toml").read_text("utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["deepcluster_sk.report"]
    assert parts == {path.name for pattern in patterns for path in folder.glob(pattern)}


def test_content_of_helper_reads_what_was_written(dac, images, tmp_path):
    path, content = report_of(dac, images, tmp_path, title="A")
    assert content == content_of(path)
