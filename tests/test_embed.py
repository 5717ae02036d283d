"""Embeddings of images: backbones, what they get of an image, and the cache."""

import json
import math
import sys
import urllib.error
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import TensorDataset
from torchvision import models

from deepcluster_sk import embed_images
from deepcluster_sk._backbone import head_of
from deepcluster_sk._embedding_cache import RowsOnDisk
from deepcluster_sk.exceptions import CheckpointWarning, UnreadableImageWarning

# One of each family, and the length of what its head gets.
FAMILIES = {
    "alexnet": 4096,
    "convnext_tiny": 768,
    "densenet121": 1024,
    "efficientnet_b0": 1280,
    "efficientnet_v2_s": 1280,
    "googlenet": 1024,
    "inception_v3": 2048,
    "maxvit_t": 512,
    "mnasnet0_5": 1280,
    "mobilenet_v2": 1280,
    "mobilenet_v3_small": 1024,
    "resnet18": 512,
    "resnext50_32x4d": 2048,
    "shufflenet_v2_x0_5": 1024,
    "squeezenet1_1": 512,
    "swin_t": 768,
    "swin_v2_t": 768,
    "vgg11_bn": 4096,
    "vit_b_32": 768,
    "wide_resnet50_2": 2048,
}
EXACT = {"precision": "float32", "device": "cpu"}


class MeanColour(nn.Module):
    """From images to the mean of each colour; it counts images, and is interrupted at one if told so."""

    def forward(self, batch):
        if SEEN["n"] + len(batch) > SEEN["stop_at"]:
            raise KeyboardInterrupt
        SEEN["n"] += len(batch)
        return batch.mean((2, 3))


SEEN = {"n": 0, "stop_at": math.inf}


@contextmanager
def interrupted_at(n):
    SEEN["stop_at"] = n
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        SEEN.update(n=0, stop_at=math.inf)


@pytest.fixture
def seen():
    """Number of images that MeanColour saw."""
    SEEN["n"] = 0
    return SEEN


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 40, 50, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path, images):
    """Five images, and between them a file that is none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, image in zip("abdef", images, strict=True):
        Image.fromarray(image).save(folder / f"{name}.png")
    (folder / "c.png").write_text("no image")
    return folder


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr("deepcluster_sk._embedding_cache._TOGETHER", 2)


def cached(X, cache, module=None, **settings):
    return embed_images(X, module or MeanColour(), cache=cache, batch_size=1, mean=0, std=1, **EXACT, **settings)


def record_of(cache):
    (path,) = cache.glob("*/progress.json")
    return path, json.loads(path.read_text())


# ---- Backbones ------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:The default weight initialization")
@pytest.mark.parametrize(("name", "n_features"), FAMILIES.items())
def test_the_head_is_found_in_every_family(name, n_features):
    with torch.device("meta"):
        model = models.get_model(name, weights=None)
    side = models.get_model_weights(name)["DEFAULT"].transforms().crop_size[0]
    head = head_of(model, (side, side))
    model.set_submodule(head, nn.Identity())
    assert model(torch.zeros(2, 3, side, side, device="meta")).shape == (2, n_features)
    assert not any(layer._forward_hooks for layer in model.modules())


@pytest.mark.parametrize(
    ("name", "head"), [("resnet18", "fc"), ("regnet_y_400mf", "fc"), ("mobilenet_v2", "classifier")]
)
def test_the_head_of_an_embedding_gives_the_scores(images, tmp_path, name, head):
    model = models.get_model(name, weights=None).eval()
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    embedding = embed_images(images, name, weights=tmp_path / "weights.pth", image_size=64, mean=0, std=1, **EXACT)
    batch = torch.from_numpy(embed_images(images, nn.Flatten(), image_size=64, mean=0, std=1)).view(-1, 3, 64, 64)
    with torch.no_grad():
        scores, ours = model(batch), model.get_submodule(head)(torch.from_numpy(embedding))
    assert_allclose(ours, scores, atol=1e-4)


def test_images_are_prepared_as_torchvision_does(folder):
    (folder / "c.png").unlink()
    preset = models.ResNet18_Weights.DEFAULT.transforms()
    torch.manual_seed(0)
    model = models.resnet18(weights=None).eval()
    model.fc = nn.Identity()
    with torch.no_grad():
        theirs = model(torch.stack([preset(Image.open(path)) for path in sorted(folder.iterdir())]))
    ours = torch.from_numpy(embed_images(folder, "resnet18", weights=None, **EXACT))
    assert torch.cosine_similarity(ours, theirs).min() > 0.999
    whole = torch.from_numpy(embed_images(folder, "resnet18", weights=None, image_size=224, **EXACT))
    assert torch.cosine_similarity(ours, whole).min() < 0.999  # so that the line above can tell a margin


def test_weights_of_another_number_of_classes(images, tmp_path):
    state = models.mobilenet_v3_small(num_classes=7).state_dict()
    torch.save(state, tmp_path / "weights.pth")
    save_file(state, tmp_path / "weights.safetensors")
    first, second = (
        embed_images(images, "mobilenet_v3_small", weights=str(tmp_path / f"weights.{ending}"), image_size=32)
        for ending in ("pth", "safetensors")
    )
    assert_array_equal(first, second)


def test_random_weights_are_the_same_each_time_and_draw_nothing_of_the_callers(images):
    before = torch.random.get_rng_state()
    first, second = (embed_images(images, "resnet18", weights=None, image_size=32) for _ in range(2))
    assert_array_equal(first, second)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_module_is_neither_changed_nor_trained(images):
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    embedding = embed_images(images, module)
    assert embedding.shape == (5, 4)
    assert module.training
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


def test_a_missing_download_says_so(images, monkeypatch, tmp_path):
    def refuse(url, *_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    with pytest.raises(
        FileNotFoundError, match=r"resnet18-f37072fd\.pth.*no network.*put them there as resnet18-f37"
    ) as e:
        embed_images(images, "resnet18")
    assert str(tmp_path / "checkpoints") in str(e.value)


def test_a_damaged_download_says_so(images, monkeypatch, tmp_path):
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "resnet18-f37072fd.pth").write_text("half of it")
    with pytest.raises(ValueError, match=r"resnet18-f37072fd.*cannot be used.*Remove"):
        embed_images(images, "resnet18")


def test_weights_in_the_users_cache_are_taken(images, monkeypatch, tmp_path):
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    name, choice = "mobilenet_v3_small", models.MobileNet_V3_Small_Weights.DEFAULT
    path = tmp_path / "checkpoints" / choice.url.rpartition("/")[2]
    torch.save(models.get_model(name, weights=None).state_dict(), path)
    expected = embed_images(images, name, weights=path, image_size=32)
    for weights in ("DEFAULT", "IMAGENET1K_V1", choice):
        assert_array_equal(embed_images(images, name, weights=weights, image_size=32), expected)


def test_without_timm_the_extra_is_named(images, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"deepcluster_sk\[timm\]"):
        embed_images(images, "timm/resnet18")


def test_timm(images):
    pytest.importorskip("timm")
    assert embed_images(images, "timm/resnet10t", weights=None, image_size=32).shape == (5, 512)
    with pytest.raises(ValueError, match=r"timm\.list_models"):
        embed_images(images, "timm/nothing", weights=None)


# ---- Images ---------------------------------------------------------------------------------------------------------


def test_layouts_and_kinds_of_images_give_the_same(images):
    expected = images.mean((1, 2)) / 255
    first = images.transpose(0, 3, 1, 2)
    for X in (images, first, images / 255, np.float16(images / 255), torch.from_numpy(first.copy())):
        assert_allclose(embed_images(X, MeanColour(), mean=0, std=1, **EXACT), expected, atol=1e-3)
    X = TensorDataset(torch.from_numpy(first / 255), torch.zeros(5))
    assert_allclose(embed_images(X, MeanColour(), mean=0, std=1, **EXACT), expected, atol=1e-6)
    flat = images.reshape(5, -1)
    assert_allclose(
        embed_images(flat, MeanColour(), image_shape=(40, 50, 3), mean=0, std=1, **EXACT), expected, atol=1e-6
    )


def test_gray_images_get_three_equal_channels(images):
    embedding = embed_images(images[..., 0], MeanColour(), mean=0, std=1, **EXACT)
    assert_array_equal(embedding, embedding[:, :1].repeat(3, 1))


def test_mean_and_std(images):
    plain, centred = (embed_images(images, MeanColour(), **s, **EXACT) for s in ({"mean": 0, "std": 1}, {}))
    assert_allclose(centred, (plain - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225], atol=1e-5)


def test_a_file_that_cannot_be_read_has_nan(folder, images):
    with pytest.warns(UnreadableImageWarning, match=r"1 of 6 files.*c\.png.*NaN") as warned:
        embedding = embed_images(folder, MeanColour(), image_size=(40, 50), mean=0, std=1, on_error="skip", **EXACT)
    assert warned[0].filename == __file__
    assert np.isnan(embedding[2]).all()
    assert_allclose(embedding[[0, 1, 3, 4, 5]], images.mean((1, 2)) / 255, atol=1e-6)
    with pytest.raises(ValueError, match=r"c\.png"):
        embed_images(folder, MeanColour())


def test_no_file_can_be_read(tmp_path):
    (tmp_path / "a.png").write_text("no image")
    with pytest.warns(UnreadableImageWarning):
        embedding = embed_images(tmp_path, MeanColour(), on_error="skip")
    assert embedding.shape == (1, 3)
    assert np.isnan(embedding).all()


def test_half_precision(images):
    full = embed_images(images, MeanColour(), **EXACT)
    half = embed_images(images, MeanColour(), dtype=np.float16, **EXACT)
    assert half.dtype == np.float16
    assert_allclose(half, full, rtol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone": "resnet19"}, "resnet18"),
        ({"backbone": "resnet18", "weights": "V9"}, "IMAGENET1K_V1"),
        ({"backbone": "resnet18", "weights": models.ResNet34_Weights.DEFAULT}, "IMAGENET1K_V1"),
        ({"backbone": "resnet18", "weights": "missing.pth"}, "exists"),
        ({"backbone": nn.Linear(9, 2)}, "backbone cannot take"),
        ({"weights": None}, "module of your own"),
        ({"backbone": nn.Flatten(0)}, "backbone must turn"),
        ({"X": np.zeros((3, 12))}, "image_shape"),
        ({"X": np.zeros((3, 4, 8, 8))}, "one or three channels"),
        ({"X": np.full((3, 8, 8), 9.0)}, r"\[9, 9\]"),
        ({"mean": (0, 0)}, "mean"),
        ({"std": 0}, "std"),
        ({"dtype": "int8"}, "dtype"),
        ({"batch_size": 0}, "batch_size"),
        ({"on_error": "ignore"}, "on_error"),
        ({"precision": "half"}, "precision"),
        ({"std": 1e-6, "dtype": "float16"}, "float16"),
        ({"std": 1e-300}, "finite"),
    ],
)
def test_bad_parameters_are_named(images, change, message):
    with pytest.raises(ValueError, match=message):
        embed_images(**{"X": images, "backbone": MeanColour(), **EXACT, **change})


@pytest.mark.parametrize("change", [{"backbone": 3}, {"backbone": "resnet18", "weights": 3}, {"batch_size": 2.0}])
def test_bad_types_are_named(images, change):
    with pytest.raises(TypeError, match=next(reversed(change))):
        embed_images(**{"X": images, "backbone": MeanColour(), **change})


def test_a_batch_too_large_for_memory_is_halved(images):
    class Hungry(nn.Module):
        def forward(self, batch):
            if len(batch) > 2:
                raise torch.OutOfMemoryError
            return batch.mean((2, 3))

    assert_array_equal(embed_images(images, Hungry(), **EXACT), embed_images(images, MeanColour(), **EXACT))


# ---- The cache ------------------------------------------------------------------------------------------------------


def test_the_cache_is_read_only_and_saves_the_second_run(images, tmp_path, seen):
    first = cached(images, tmp_path)
    assert isinstance(first, np.memmap)
    assert not first.flags.writeable
    assert seen["n"] == 6  # with one that tells how long an embedding is
    assert_array_equal(cached(images, tmp_path), first)
    assert seen["n"] == 7
    assert_array_equal(embed_images(images, MeanColour(), mean=0, std=1, **EXACT), first)


def test_a_run_that_was_stopped_goes_on_where_it_was(images, tmp_path, seen, small_parts):
    with interrupted_at(4):  # in the second part
        cached(images, tmp_path)
    assert len(record_of(tmp_path)[1]["parts"]) == 1
    assert not list(tmp_path.glob("*/embeddings.npy"))
    embedding = cached(images, tmp_path)
    assert seen["n"] == 1 + 3
    assert_allclose(embedding, images.mean((1, 2)) / 255, atol=1e-6)


def test_other_images_settings_and_weights_have_other_caches(images, tmp_path):
    module = nn.Sequential(nn.Flatten(), nn.Linear(6000, 3))
    cached(images, tmp_path, module)
    others = [images[:, ::-1], images[:4], images.astype(np.float32) / 255]
    for other in others:
        cached(other, tmp_path, module)
    cached(images, tmp_path, module, dtype="float16")
    with torch.no_grad():
        module[1].weight.add_(1)
    cached(images, tmp_path, module)
    assert len(list(tmp_path.iterdir())) == 6


def test_the_cache_of_files(folder, tmp_path, seen):
    (folder / "c.png").unlink()
    cache = tmp_path / "cache"
    first = cached(folder, cache, image_size=8)
    seen["n"] = 0
    moved = folder.rename(tmp_path / "moved")
    assert_array_equal(cached([str(path) for path in sorted(moved.iterdir())], cache, image_size=8), first)
    assert seen["n"] == 1
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(moved / "a.png")
    assert not np.array_equal(cached(moved, cache, image_size=8), first)


def test_unreadable_files_are_named_again(folder, tmp_path, seen):
    cache = tmp_path / "cache"
    for n_seen in (6, 7):
        with pytest.warns(UnreadableImageWarning, match=r"c\.png"):
            embedding = cached(folder, cache, image_size=8, on_error="skip")
        assert np.isnan(embedding[2]).all()
        assert seen["n"] == n_seen
    with pytest.raises(ValueError, match=r"c\.png"):
        cached(folder, cache, image_size=8)


def test_a_dataset_is_known_by_its_attributes(images, tmp_path, seen):
    for n_seen in (6, 7):
        cached(TensorDataset(torch.from_numpy(images / 255).permute(0, 3, 1, 2)), tmp_path)
        assert seen["n"] == n_seen


@pytest.mark.parametrize("whole", [True, False])
def test_a_damaged_part_is_made_anew(images, tmp_path, seen, small_parts, whole):
    if whole:
        expected = np.array(cached(images, tmp_path))
    else:
        with interrupted_at(5):
            cached(images, tmp_path)
        expected = images.mean((1, 2)) / 255
    (path,) = tmp_path.glob("*/embeddings.npy*")
    rows = np.load(path, mmap_mode="r+")
    rows[0, 0] += 1
    rows.flush()
    seen["n"] = 0
    with pytest.warns(CheckpointWarning, match="1 part"):
        embedding = cached(images, tmp_path)
    assert seen["n"] == 1 + 2 + (0 if whole else 1)
    assert_allclose(embedding, expected, atol=1e-6)


@pytest.mark.parametrize("name", ["embeddings.npy", "progress.json"])
def test_a_damaged_cache_is_made_anew(images, tmp_path, name):
    expected = np.array(cached(images, tmp_path))
    (path,) = tmp_path.glob(f"*/{name}")
    path.write_bytes(path.read_bytes()[:20])
    with pytest.warns(CheckpointWarning, match="damaged"):
        assert_array_equal(cached(images, tmp_path), expected)
    assert_array_equal(cached(images, tmp_path), expected)  # and without a warning from then on


def test_a_cache_of_other_work_is_refused(images, tmp_path):
    cached(images, tmp_path)
    (path,) = tmp_path.glob("*/fingerprint.json")
    path.write_text(path.read_text().replace("float32", "float16"))
    with pytest.raises(ValueError, match=r"cache: .* holds other work than its name says: precision"):
        cached(images, tmp_path)


def test_a_cache_that_is_no_folder_is_refused(images, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match=r"cache=.* must be a folder to write to"):
        cached(images, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_leaves_what_was_done(images, tmp_path, seen, small_parts, monkeypatch):
    written = RowsOnDisk.put

    def full(self, part, *rest):
        if part.start:
            raise OSError(28, "No space left on device")
        written(self, part, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(RowsOnDisk, "put", full)
        with pytest.raises(OSError, match="No space"):
            cached(images, tmp_path)
    seen["n"] = 0
    assert cached(images, tmp_path).shape == (5, 3)
    assert seen["n"] == 1 + 3
