"""What X may be beside an array: folders, paths, torch Datasets, memory maps, and images of another size."""

import errno
import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from torch.utils.data import Dataset, IterableDataset, TensorDataset

import deepcluster_sk._lazy
from deepcluster_sk import (
    DACClustering,
    DCCMClustering,
    DCSSClustering,
    UnreadableImageWarning,
    _validation,
    image_paths,
    load,
)
from deepcluster_sk._images import decode, resized
from deepcluster_sk._input import read_input
from deepcluster_sk._lazy import LazyArray, in_threads
from deepcluster_sk._validation import check_samples
from deepcluster_sk.display import ClusterGridDisplay
from deepcluster_sk.metrics import (
    augmentation_agreement_scorer,
    clustering_accuracy_score,
    clustering_accuracy_scorer,
    confidence_scorer,
    neighbor_agreement_scorer,
    silhouette_scorer,
    size_entropy_scorer,
)
from deepcluster_sk.model_selection import FullData, compare_with_baselines, select_n_clusters

METHODS = [DACClustering, DCCMClustering, DCSSClustering]
each = pytest.mark.parametrize("Estimator", METHODS)
SHORT = {"max_epochs": 2, "random_state": 0}
UNREADABLE = ("0003.png", "0020.jpg", "0044.png", "sub/0050.bmp")


@pytest.fixture(scope="module")
def images(digits):
    """Sixty digits of 0, 1 and 2 as bytes, (60, 8, 8)."""
    X, y = digits
    return (X[y < 3][:60] * 255).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(images, tmp_path_factory):
    """The digits as files of several formats in a folder and one in it."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "sub").mkdir()
    for i, image in enumerate(images):
        path = folder / f"{i:04}.png" if i < 50 else folder / f"sub/{i:04}.bmp"
        Image.fromarray(image).save(path)
    (folder / "notes.txt").write_text("no image")
    (folder / ".0000.png").write_text("hidden")
    (folder / ".thumbnails").mkdir()
    (folder / ".thumbnails/0000.png").write_text("hidden, too")
    return folder


@pytest.fixture
def damaged(folder, tmp_path):
    """A copy with four files that cannot be read, one of them more than there were: text, empty, cut off, a header."""
    for path in image_paths(folder):
        copied = tmp_path / Path(path).relative_to(folder)
        copied.parent.mkdir(exist_ok=True)
        copied.write_bytes(Path(path).read_bytes())
    for name, content in zip(UNREADABLE, (b"text", b"", (tmp_path / "0044.png").read_bytes()[:70], b"BM"), strict=True):
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.fixture
def without_memory(monkeypatch):
    """No images are kept."""
    monkeypatch.setattr(deepcluster_sk._lazy, "_SHARE", 0)


def in_color(images):
    return np.stack([images] * 3, axis=1)


# Files


def test_image_paths_are_sorted_and_leave_out_what_is_no_image(folder):
    names = [str(Path(path).relative_to(folder)) for path in image_paths(folder)]
    assert names == [f"{i:04}.png" for i in range(50)] + [f"sub/{i:04}.bmp" for i in range(50, 60)]
    with pytest.raises(ValueError, match="folder='nowhere' must be a folder that exists"):
        image_paths("nowhere")


@each
def test_a_folder_is_clustered_as_the_array_of_its_images(Estimator, folder, images):
    by_folder = Estimator(3, **SHORT).fit(folder)
    by_array = Estimator(3, **SHORT).fit(in_color(images))
    assert by_folder.paths_ == image_paths(folder)
    assert by_folder.unreadable_ == {}
    # The largest byte of the array is 255, so both are scaled alike.
    assert images.max() == 255
    assert_array_equal(by_folder.labels_, by_array.labels_)
    assert_array_equal(by_folder.predict(str(folder)), by_folder.labels_)
    assert_array_equal(by_folder.predict([Path(path) for path in by_folder.paths_[:7]]), by_folder.labels_[:7])
    for series in (pd.Series, pl.Series):
        assert_array_equal(by_folder.predict(series(by_folder.paths_[:7])), by_folder.labels_[:7])
    assert_allclose(by_folder.transform(folder), by_array.transform(in_color(images)))
    assert by_folder.n_features_in_ == 3 * 8 * 8


def test_paths_leave_with_the_next_fit_on_an_array(folder, images):
    dac = DACClustering(3, **SHORT).fit(folder)
    dac.fit(images)
    assert not hasattr(dac, "paths_")
    assert not hasattr(dac, "unreadable_")


@each
def test_unreadable_files_raise_before_anything_is_trained(Estimator, damaged):
    with pytest.raises(ValueError, match=r"X has 4 of 61 files that cannot be read: .*0003.png' \(.*on_error='skip'"):
        Estimator(3, **SHORT).fit(damaged)


@each
def test_unreadable_files_are_skipped_and_named(Estimator, damaged):
    estimator = Estimator(3, on_error="skip", **SHORT)
    with pytest.warns(UnreadableImageWarning, match=r"X has 4 of 61 files .* They are left out\.") as caught:
        estimator.fit(damaged)
    assert caught[0].filename == __file__
    assert [str(Path(path).relative_to(damaged)) for path in estimator.unreadable_] == list(UNREADABLE)
    assert len(estimator.paths_) == len(estimator.labels_) == 57
    assert not set(estimator.paths_) & set(estimator.unreadable_)
    assert_array_equal(estimator.predict(estimator.paths_), estimator.labels_)


def test_predictions_have_a_row_for_each_file_that_was_given(folder, damaged):
    dccm = DCCMClustering(3, on_error="skip", **SHORT).fit(folder)
    paths = image_paths(damaged)
    is_readable = ~np.isin(paths, [str(damaged / name) for name in UNREADABLE])
    for method, missing in (("predict", -1), ("predict_proba", np.nan), ("transform", np.nan)):
        with pytest.warns(UnreadableImageWarning, match="They have -1 for a label, and NaN for all else"):
            result = getattr(dccm, method)(paths)
        assert len(result) == 61
        assert_array_equal(result[~is_readable], np.full_like(result[~is_readable], missing))
        assert_array_equal(result[is_readable], getattr(dccm, method)(np.array(paths)[is_readable]))
    with pytest.warns(UnreadableImageWarning):
        assert not dccm.augmentation_agreement(paths)[~is_readable].any()


@pytest.mark.parametrize(
    ("X", "error", "needed"),
    [
        ("nowhere", ValueError, "X='nowhere' must be a folder that exists, or a list of paths of images"),
        (["nowhere.png", "either.png"], ValueError, r"X has 2 of 2 files that cannot be read: 'nowhere.png' \(FileNot"),
        (["a.png", 7], TypeError, "X must be a list of paths, and holds 7"),
    ],
)
def test_paths_that_are_none_are_refused(X, error, needed):
    with pytest.raises(error, match=needed):
        DACClustering(2, **SHORT).fit(X)


def test_a_search_over_a_folder_says_what_it_needs(folder):
    search = GridSearchCV(DACClustering(3, **SHORT), {"lr": [1e-4]}, scoring=size_entropy_scorer, error_score="raise")
    with pytest.raises(ValueError, match=r"To search with the images of a folder, pass image_paths\(folder\)"):
        search.set_params(cv=FullData()).fit("photos")


def test_files_are_no_gray_images(folder, images):
    dac = DACClustering(3, **SHORT).fit(images)
    with pytest.raises(
        ValueError, match=r"X is files, which have three channels, but fit saw images of shape \(1, 8, 8"
    ):
        dac.predict(folder)


def test_of_files_none_of_which_can_be_read_nothing_is_learnt_and_nothing_predicted(folder):
    dac = DACClustering(3, on_error="skip", **SHORT)
    with (
        pytest.warns(UnreadableImageWarning, match="X has 2 of 2 files"),
        pytest.raises(ValueError, match=r"X has 0 sample\(s\) that can be used, and must have 2"),
    ):
        dac.fit(["nowhere.png", "either.png"])
    dac.fit(folder)
    for X in (["nowhere.png"], ["nowhere.png"] * 2):
        with pytest.warns(UnreadableImageWarning):
            assert_array_equal(dac.predict(X), [-1] * len(X))
        with pytest.warns(UnreadableImageWarning):
            assert_array_equal(dac.predict_proba(X), np.full((len(X), 3), np.nan))


def test_an_empty_folder_and_a_single_image_are_refused(tmp_path, images):
    with pytest.raises(ValueError, match=r"X='.*' must have image files in it, and has none"):
        DACClustering(2, **SHORT).fit(tmp_path)
    Image.fromarray(images[0]).save(tmp_path / "one.png")
    with pytest.raises(ValueError, match=r"X has 1 sample\(s\) that can be used, and must have 2"):
        DACClustering(1, **SHORT).fit(tmp_path)


def test_files_are_refused_where_fit_had_vectors(folder, images):
    dac = DACClustering(3, **SHORT).fit(images.reshape(60, 64))
    with pytest.raises(ValueError, match=r"X must be feature vectors of shape \(64,\), as in fit, not files"):
        dac.predict(folder)


# Formats


COLOR = np.zeros((12, 20, 3), np.uint8)
COLOR[:, :10], COLOR[:, 10:] = (200, 100, 50), (10, 30, 250)


def saved(tmp_path, name, image, **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tiff", "a.gif", "a.webp", "a.jpg"])
def test_every_format_gives_the_same_picture(tmp_path, name):
    options = {"a.webp": {"lossless": True}, "a.jpg": {"quality": 100, "subsampling": 0}}.get(name, {})
    decoded = decode(saved(tmp_path, name, Image.fromarray(COLOR), **options), (12, 20))
    assert decoded.dtype == torch.uint8
    assert_allclose(decoded.permute(1, 2, 0).numpy(), COLOR, atol=8 if name == "a.jpg" else 0)


def test_gray_palette_and_two_tone_images_become_colour(tmp_path):
    gray = COLOR[..., 0]
    assert_array_equal(decode(saved(tmp_path, "gray.png", Image.fromarray(gray)), (12, 20)), np.stack([gray] * 3))
    palette = saved(tmp_path, "palette.png", Image.fromarray(COLOR).convert("P", palette=Image.Palette.ADAPTIVE))
    with Image.open(palette) as image:
        assert image.mode == "P"
    assert_array_equal(decode(palette, (12, 20)).permute(1, 2, 0), COLOR)
    two_tone = decode(saved(tmp_path, "two.png", Image.fromarray(gray).convert("1", dither=0)), (12, 20))
    assert_array_equal(two_tone, np.stack([np.where(gray > 127, 255, 0)] * 3))


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bits_become_eight(tmp_path, suffix):
    gray = np.linspace(0, 2**16 - 1, 240).reshape(12, 20).astype(np.uint16)
    decoded = decode(saved(tmp_path, f"deep.{suffix}", Image.fromarray(gray)), (12, 20))
    assert_array_equal(decoded, np.stack([gray // 256] * 3))


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_images_of_32_bits_are_refused(tmp_path, dtype):
    path = saved(tmp_path, "deep.tiff", Image.fromarray(np.linspace(0, 1, 240).reshape(12, 20).astype(dtype)))
    with pytest.raises(ValueError, match="it has pixels of 32 bits"):
        decode(path, (12, 20))


def test_transparent_pixels_are_white(tmp_path):
    opacity = np.full((12, 20, 1), 255, np.uint8)
    opacity[:, :5] = 0
    decoded = decode(saved(tmp_path, "a.png", Image.fromarray(np.dstack([COLOR, opacity]))), (12, 20))
    assert (decoded[:, :, :5] == 255).all()
    assert_array_equal(decoded[:, :, 5:].permute(1, 2, 0), COLOR[:, 5:])
    palette = Image.fromarray(COLOR).convert("P", palette=Image.Palette.ADAPTIVE)
    clear = palette.getpixel((0, 0))
    decoded = decode(saved(tmp_path, "p.png", palette, transparency=clear), (12, 20))
    assert (decoded[:, :, :10] == 255).all()
    assert_array_equal(decoded[:, :, 10:].permute(1, 2, 0), COLOR[:, 10:])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_upright(tmp_path, orientation):
    turned = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: a.transpose(1, 0, 2)[:, ::-1],
        7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
        8: lambda a: a.transpose(1, 0, 2)[::-1],
    }[orientation]
    upright = turned(COLOR)
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode(saved(tmp_path, "a.png", Image.fromarray(COLOR), exif=exif.tobytes()), upright.shape[:2])
    assert_array_equal(decoded.permute(1, 2, 0), upright)


def test_a_large_photograph_is_what_its_whole_would_give(tmp_path):
    rows, columns = np.mgrid[:900, :1200]
    photograph = np.stack([rows / 900, columns / 1200, (rows + columns) / 2100], axis=2)
    photograph = (photograph * 255).astype(np.uint8)
    decoded = decode(saved(tmp_path, "a.jpg", Image.fromarray(photograph), quality=95), (30, 30))
    whole = resized(torch.from_numpy(photograph).permute(2, 0, 1), (30, 30))
    assert_allclose(decoded.int(), whole.int(), atol=4)


# Size


def test_the_middle_is_taken_in_its_own_proportions():
    image = torch.zeros(1, 10, 40, dtype=torch.uint8)
    image[:, :, 15:25] = 200
    assert_array_equal(resized(image, (10, 10)), np.full((1, 10, 10), 200))
    assert_array_equal(resized(image, (5, 5)), np.full((1, 5, 5), 200))
    tall = image.transpose(1, 2)
    assert_array_equal(resized(tall, (5, 5)), np.full((1, 5, 5), 200))
    assert resized(image, (3, 50)).shape == (1, 3, 50)
    assert resized(image.float(), (20, 20)).dtype == torch.float32
    assert_array_equal(resized(image.half(), (5, 5)), np.full((1, 5, 5), 200, np.float16))
    assert resized(image, (10, 40)) is image


def test_shrinking_takes_means():
    image = torch.tensor([0.0, 1.0]).repeat(8, 4)[None]
    assert_allclose(resized(image, (2, 2)), np.full((1, 2, 2), 0.5), atol=0.1)


@pytest.mark.parametrize("image_size", [12, (12, 12)])
def test_files_and_arrays_are_resized_alike(image_size, folder, images):
    by_folder = DACClustering(3, image_size=image_size, **SHORT).fit(folder)
    by_array = DACClustering(3, image_size=image_size, **SHORT).fit(in_color(images))
    assert by_folder._sample_shape == (3, 12, 12)
    assert_array_equal(by_folder.labels_, by_array.labels_)
    larger = in_color(images).repeat(2, axis=2).repeat(2, axis=3)
    assert by_array.predict(larger).shape == (60,)  # of any size, as files are
    for single in (larger[0], larger[0].transpose(1, 2, 0), larger[0, 0]):
        with pytest.raises(ValueError, match="is a single image"):
            by_array.predict(single)


def test_size_of_files_is_the_median_of_their_shorter_sides(tmp_path):
    for i, shape in enumerate([(10, 30), (20, 15), (40, 40)]):
        Image.fromarray(np.full(shape, i, np.uint8)).save(tmp_path / f"{i}.png")
    paths = image_paths(tmp_path)
    assert read_input(DACClustering(2), paths).rows.shape == (3, 3, 15, 15)
    Image.fromarray(np.zeros((900, 700), np.uint8)).save(tmp_path / "large.png")
    assert read_input(DACClustering(2), [str(tmp_path / "large.png")] * 2).rows.shape == (2, 3, 64, 64)


@pytest.mark.parametrize(
    ("image_size", "error"), [(0, ValueError), ((8,), ValueError), ((8, -1), ValueError), ("8", TypeError)]
)
def test_sizes_that_are_none_are_refused(image_size, error, images):
    with pytest.raises(error, match=r"image_size=.* must be None, an integer of at least 1, or a tuple"):
        DACClustering(3, image_size=image_size, **SHORT).fit(images)
    with pytest.raises(ValueError, match="on_error='ignore' must be one of 'raise', 'skip'"):
        DACClustering(3, on_error="ignore", **SHORT).fit(images)


def test_vectors_have_no_size(images):
    with pytest.raises(ValueError, match=r"image_size=\(8, 8\) is for images, but X holds feature vectors"):
        DACClustering(3, image_size=8, **SHORT).fit(images.reshape(60, 64))


# More than memory holds


@each
def test_images_that_are_not_kept_give_the_same_clusters(Estimator, folder, without_memory):
    estimator = Estimator(3, n_init=2, **SHORT)
    assert isinstance(read_input(estimator, folder).rows, LazyArray)
    lazy = estimator.fit(folder)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(deepcluster_sk._lazy, "_SHARE", 1)
        assert isinstance(read_input(estimator, folder).rows, np.ndarray)
        kept = Estimator(3, n_init=2, **SHORT).fit(folder)
    assert_array_equal(lazy.labels_, kept.labels_)
    assert_array_equal(lazy.predict(folder), kept.labels_)


def test_checkpoints_tell_folders_apart_by_their_images(folder, damaged, tmp_path, without_memory):
    dac = DACClustering(3, on_error="skip", checkpoint_dir=tmp_path / "checkpoints", **SHORT)
    first = dac.fit(folder).labels_
    assert_array_equal(dac.fit(folder).labels_, first)
    assert len([path for path in (tmp_path / "checkpoints").iterdir() if path.is_dir()]) == 1
    with pytest.warns(UnreadableImageWarning):
        dac.fit(damaged)
    assert len([path for path in (tmp_path / "checkpoints").iterdir() if path.is_dir()]) == 2


def test_a_memory_map_is_not_copied(images, tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, images)
    mapped = np.load(path, mmap_mode="r")
    assert np.shares_memory(read_input(DACClustering(3), mapped).rows, mapped)
    assert_array_equal(DACClustering(3, **SHORT).fit(mapped).labels_, DACClustering(3, **SHORT).fit(images).labels_)


def test_rows_are_made_in_order_and_by_several_threads():
    assert list(in_threads(lambda i: 2 * i, range(1000))) == list(range(0, 2000, 2))
    array = LazyArray(lambda i: np.full(2, i), 1000, (2,), np.dtype(np.int64))
    assert_array_equal(array[np.array([999, 0, 5])], [[999, 999], [0, 0], [5, 5]])
    assert_array_equal(array[10:14][:, 0], [10, 11, 12, 13])
    assert array.nbytes == 16_000
    some = array.some()
    assert 100 <= len(some) <= 10_000
    assert_array_equal(some, array[:: 1000 // len(some)])


def test_an_error_in_a_thread_reaches_the_caller():
    def fail(i):
        raise OSError(f"row {i}")

    with pytest.raises(OSError, match="row 0"):
        list(in_threads(fail, range(10)))


def test_a_file_that_is_damaged_or_goes_away_during_training_is_named(folder, without_memory):
    rows = read_input(DACClustering(3), paths := image_paths(folder)).rows
    content = Path(paths[0]).read_bytes()
    try:
        Path(paths[0]).write_bytes(content[:70])
        with pytest.raises(OSError, match=r"0000\.png' could be read before, and cannot now \(OSError"):
            rows[:3]
        Path(paths[0]).unlink()
        with pytest.raises(OSError, match=r"0000\.png' could be read before, and cannot now \(FileNotFoundError"):
            rows[:3]
    finally:
        Path(paths[0]).write_bytes(content)


# Half precision, as embeddings are often kept


@pytest.mark.parametrize("shape", [(60, 64), (60, 8, 8)])
@each
def test_half_precision_is_not_copied_and_gives_what_its_values_give(Estimator, images, tmp_path, shape):
    exact = (images.reshape(shape) / 16.0 + 1000).astype(np.float16)  # such as half precision cannot hold the mean of
    path = tmp_path / "half.npy"
    np.save(path, exact)
    mapped = np.load(path, mmap_mode="r")
    assert np.shares_memory(check_samples(Estimator(), mapped, None, reset=True), mapped)
    fitted = Estimator(3, **SHORT).fit(mapped)
    expected = Estimator(3, **SHORT).fit(exact.astype(np.float32))
    assert_array_equal(fitted.labels_, expected.labels_)
    assert_array_equal(fitted.predict_proba(mapped), expected.predict_proba(exact.astype(np.float32)))
    of_dataset = Estimator(3, **SHORT).fit(TensorDataset(torch.from_numpy(exact)))
    assert_array_equal(of_dataset.labels_, fitted.labels_)


def test_half_precision_may_fill_its_range(images):
    wide = np.where(images > 100, 60_000, -60_000).astype(np.float16)
    dac = DACClustering(3, **SHORT).fit(wide)
    assert_array_equal(dac.predict(wide), dac.labels_)


@pytest.mark.parametrize(("wrong", "needed"), [(np.nan, "X contains NaN"), (np.inf, "X contains infinity")])
def test_half_precision_is_searched_for_what_is_not_finite_to_its_last_block(monkeypatch, wrong, needed):
    monkeypatch.setattr(_validation, "_BLOCK", 100)
    X = np.full((50, 20), 60_000, np.float16)  # whose sum is no number of half precision
    check_samples(DACClustering(), X, None, reset=True)
    X[-1, -1] = wrong
    with pytest.raises(ValueError, match=needed):
        check_samples(DACClustering(), X, None, reset=True)


def test_links_to_folders_are_followed_once(tmp_path, images):
    for name in ("a", "elsewhere/b"):
        (tmp_path / name).mkdir(parents=True)
        Image.fromarray(images[0]).save(tmp_path / name / "one.png")
    photos = tmp_path / "a"
    (photos / "b").symlink_to(tmp_path / "elsewhere" / "b")
    (photos / "again").symlink_to(tmp_path / "elsewhere" / "b")
    (photos / "b" / "back").symlink_to(photos)
    assert image_paths(photos) == [str(photos / name) for name in ("again/one.png", "one.png")]


def test_a_folder_that_may_not_be_read_counts_as_a_file_that_cannot_be(folder, monkeypatch):
    closed, scan = str(folder / "sub"), os.scandir

    def scandir(path):
        if str(path) == closed:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)  # permissions alone stop no superuser
    with pytest.raises(ValueError, match=rf"X has 1 of 51 files that cannot be read: '{closed}'"):
        DACClustering(3, **SHORT).fit(folder)
    with pytest.warns(UnreadableImageWarning):
        dac = DACClustering(3, on_error="skip", **SHORT).fit(folder)
    assert list(dac.unreadable_) == [closed]
    assert len(dac.labels_) == 50


# Datasets


class Pictures(Dataset):
    """Pairs of a picture and a label, as torchvision's data sets give them."""

    def __init__(self, pictures):
        self.pictures = pictures

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, i):
        return self.pictures[i], 0


@each
def test_a_dataset_is_clustered_as_the_array_of_its_images(Estimator, images):
    expected = Estimator(3, **SHORT).fit(images).labels_
    fitted = Estimator(3, **SHORT).fit(Pictures([Image.fromarray(image) for image in images]))
    assert_array_equal(fitted.labels_, expected)
    assert_array_equal(fitted.predict(Pictures(images)), expected)
    tensors = TensorDataset(torch.from_numpy(images)[:, None])
    assert_array_equal(Estimator(3, **SHORT).fit(tensors).labels_, expected)


def test_a_dataset_may_hold_vectors_floats_and_images_of_several_sizes(images, without_memory):
    vectors = images.reshape(60, 64) / np.float32(255)
    expected = DACClustering(3, **SHORT).fit(vectors)
    fitted = DACClustering(3, **SHORT).fit(TensorDataset(torch.from_numpy(vectors)))
    assert_array_equal(fitted.labels_, expected.labels_)
    assert fitted._sample_shape == (64,)
    halves = torch.from_numpy(vectors).bfloat16()  # NumPy has no such numbers
    labels = [DACClustering(3, **SHORT).fit(X).labels_ for X in (halves, TensorDataset(halves), halves.float())]
    assert_array_equal(labels[0], labels[2])
    assert_array_equal(labels[1], labels[2])
    of_float = DACClustering(3, **SHORT).fit(TensorDataset(torch.from_numpy(images / np.float64(255))[:, None]))
    assert of_float._sample_shape == (1, 8, 8)
    pictures = Pictures([Image.fromarray(image).resize((8 + i % 3, 9)) for i, image in enumerate(images)])
    with pytest.raises(ValueError, match=r"X\[1\] is of shape \(1, 9, 9\) .* image_size brings images to one size"):
        DACClustering(3, **SHORT).fit(pictures)
    assert DACClustering(3, image_size=8, **SHORT).fit(pictures).labels_.shape == (60,)


@pytest.mark.parametrize("as_sample", [Image.fromarray, lambda image: torch.from_numpy(image)[None]])
def test_a_search_takes_a_dataset_with_labels(as_sample, images):
    dataset = Pictures([as_sample(image) for image in images])
    dac, seen = DACClustering(3, **SHORT), []

    def score(estimator, X, y=None):
        seen.append(estimator._sample_shape)
        return silhouette_scorer(estimator, X) + neighbor_agreement_scorer(estimator, X)

    search = GridSearchCV(dac, {"lr": [1e-3]}, scoring=score, cv=FullData(), error_score="raise").fit(dataset)
    assert seen == [(1, 8, 8)]
    assert search.best_score_ == score(clone(search.best_estimator_).fit(images), images)


def test_a_search_takes_a_dataset_of_vectors(images):
    vectors = images.reshape(60, 64) / np.float32(255)
    dataset = TensorDataset(torch.from_numpy(vectors))
    search = GridSearchCV(DACClustering(3, **SHORT), {"lr": [1e-3]}, scoring=silhouette_scorer, cv=FullData())
    assert search.fit(dataset).best_score_ == silhouette_scorer(search.best_estimator_, vectors)


class Endless(IterableDataset):
    def __iter__(self):
        yield torch.zeros(1, 8, 8)


@pytest.mark.parametrize(
    ("dataset", "error", "needed"),
    [
        (Pictures([]), ValueError, "X=Pictures must have samples, and has none"),
        (Endless(), TypeError, "X=Endless must be a Dataset with a length"),
        (Pictures(["a", "b"]), TypeError, r"X\[0\] of type str must be an image or a vector of numbers"),
        (TensorDataset(torch.full((4, 1, 8, 8), torch.nan)), ValueError, r"X\[0\] contains NaN or infinity"),
        (
            TensorDataset(torch.eye(4).to_sparse()),
            TypeError,
            r"X\[0\] of torch.float32 and torch.sparse_coo",
        ),
        (TensorDataset(torch.zeros(4, 1, 2, 3, 4)), TypeError, r"X\[0\] of type Tensor must be an image"),
        (TensorDataset(torch.zeros(1, 1, 8, 8)), ValueError, r"X has 1 sample\(s\) that can be used, and must have 2"),
    ],
)
def test_datasets_that_cannot_be_used_are_refused(dataset, error, needed):
    with pytest.raises(error, match=needed):
        DACClustering(1, **SHORT).fit(dataset)


# What takes X, too


SCORERS = {
    "accuracy": clustering_accuracy_scorer,
    "augmentation": augmentation_agreement_scorer,
    "neighbors": neighbor_agreement_scorer,
    "silhouette": silhouette_scorer,
    "confidence": confidence_scorer,
    "entropy": size_entropy_scorer,
}


WHOLE = {"cv": FullData(), "error_score": "raise"}


def test_grid_search_over_paths(damaged):
    paths, y = image_paths(damaged), np.arange(61) % 3
    dac = DACClustering(3, on_error="skip", **SHORT)
    search = GridSearchCV(
        dac, {"lr": [1e-4, 1e-3]}, scoring=SCORERS, refit="neighbors", cv=FullData(), error_score="raise"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnreadableImageWarning)
        search.fit(paths, y)
        readable = search.best_estimator_.paths_
    y_readable = y[np.isin(paths, readable)]
    of_readable = {name: scorer(search.best_estimator_, readable, y_readable) for name, scorer in SCORERS.items()}
    for name, score in of_readable.items():
        assert_allclose(search.cv_results_[f"mean_test_{name}"][search.best_index_], score, rtol=1e-6)


def test_accuracy_of_files(folder, digits):
    y = digits[1][digits[1] < 3][:60]
    search = GridSearchCV(
        DACClustering(3, **SHORT),
        {"lr": [1e-4]},
        scoring=clustering_accuracy_scorer,
        cv=FullData(),
        error_score="raise",
    )
    search.fit(image_paths(folder), y)
    assert search.best_score_ > 0.5


def test_pictures_of_clusters_of_files(folder):
    dac = DACClustering(3, **SHORT).fit(folder)
    display = ClusterGridDisplay.from_estimator(dac, folder)
    assert display.images.shape == (60, 8, 8, 3)


def test_numbers_of_clusters_and_baselines_of_files(folder, images):
    dac = DACClustering(3, **SHORT)
    curve = select_n_clusters(dac, image_paths(folder), [2, 3], n_repeats=2)
    assert curve.scores.shape == (2, 2)
    table = compare_with_baselines(dac, folder, random_states=[0])
    expected = compare_with_baselines(dac, in_color(images), random_states=[0])
    assert table["method"] == ["k-means", "PCA + k-means", "DACClustering"]
    assert_allclose(table["neighbor_agreement"], expected["neighbor_agreement"])


def test_baselines_leave_out_what_cannot_be_read(damaged):
    y = np.arange(61) % 3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnreadableImageWarning)
        table = compare_with_baselines(DACClustering(3, on_error="skip", **SHORT), damaged, y, random_states=[0])
    assert len(table["acc"]) == 3


def test_pipelines_of_files(folder):
    pipeline = Pipeline([("dac", DACClustering(3, **SHORT))])
    paths = image_paths(folder)
    curve = select_n_clusters(pipeline, paths, [2, 3], n_repeats=2, scoring=neighbor_agreement_scorer)
    assert np.isfinite(curve.scores).all()
    assert compare_with_baselines(pipeline, paths, random_states=[0])["method"][-1] == "Pipeline"


def test_warnings_are_shown_where_the_user_called(damaged, folder):
    dac = DACClustering(3, on_error="skip", **SHORT).fit(folder)
    for method in (dac.predict, dac.transform, dac.fit, dac.fit_predict):
        with pytest.warns(UnreadableImageWarning) as caught:
            method(damaged)
        assert [warning.filename for warning in caught if warning.category is UnreadableImageWarning] == [__file__]


def test_a_saved_estimator_knows_its_files(folder, tmp_path):
    dac = DACClustering(3, image_size=(8, 8), **SHORT).fit(folder)
    dac.save(tmp_path / "dac.safetensors")
    again = load(tmp_path / "dac.safetensors")
    assert again.paths_ == dac.paths_
    assert again.unreadable_ == {}
    assert again.image_size == (8, 8)
    assert_array_equal(again.predict(folder), dac.labels_)


@pytest.mark.parametrize("kind", ["int64", "longdouble", ">f8", "list", "DataFrame", "Dataset"])
def test_differences_far_from_0_are_kept_whatever_holds_them(kind):
    groups = np.repeat([0, 40, 90], 30)
    X = (10**10 + groups[:, None] + np.random.default_rng(0).integers(0, 5, (90, 3))).astype(np.int64)
    given = {"list": X.tolist, "DataFrame": lambda: pd.DataFrame(X), "Dataset": lambda: TensorDataset(torch.tensor(X))}
    given = given[kind]() if kind in given else X.astype(kind)
    labels = DACClustering(3, max_epochs=2, random_state=0).fit_predict(given)
    assert clustering_accuracy_score(groups, labels) > 0.95


@pytest.mark.parametrize("dtype", [">f4", ">f8"])
def test_data_frames_of_the_other_byte_order(dtype):
    X = np.random.default_rng(0).random((40, 3))
    fits = [
        DACClustering(2, max_epochs=1, random_state=0).fit(pd.DataFrame(X.astype(kind))) for kind in (dtype, dtype[1:])
    ]
    assert_array_equal(fits[0].predict(pd.DataFrame(X.astype(dtype))), fits[1].labels_)
