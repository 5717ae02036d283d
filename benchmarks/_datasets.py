"""The data sets of the tables by name: from DIR/NAME.npz where there is such a file, else by their own loaders.

These download to DIR, but for ImageNet's, which must be put there as folders. A file holds arrays X (n, h, w) or
(n, h, w, c) and y (n,). A name may end in "-first-10000", for as many of the first images, or in "-random-3000", for
as many drawn at random, then in "-r0.1", for classes of unequal sizes, and then in "-flat", for images as vectors.
Labels come along for scoring; no fit sees them.
"""

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.datasets import fetch_openml, load_digits, load_sample_images
from torchvision.datasets import CIFAR10, CIFAR100, STL10, ImageFolder
from torchvision.transforms.functional import center_crop, resize

Images = NDArray[Any]
Labels = NDArray[np.int64]  # (n,)
Loader = Callable[[Path], tuple[Images, Labels]]

# Sizes of the classes 0 to 9 among 9,298 digits of unequal classes, 8 to 17 % each.
UNEQUAL_SIZES = (1553, 1269, 929, 824, 852, 716, 834, 792, 708, 821)


class DataSet(NamedTuple):
    """Where images come from, and what they are."""

    load: Loader
    shape: tuple[int, ...]  # of one image
    n_classes: int


def load(name: str, data_dir: str | Path) -> tuple[Images, Labels]:
    """Images and true classes of a data set or a part of it."""
    match = re.fullmatch(r"(.+?)(?:-(first|random)-(\d+))?(?:-r(0\.\d+|1))?(-flat)?", name)
    base, part, size, rate, flat = match.groups()
    if base not in DATA_SETS:
        raise ValueError(f"data set {base!r} must be one of {', '.join(DATA_SETS)}.")
    path = Path(data_dir) / f"{base.replace('-', '_')}.npz"
    if path.exists():
        with np.load(path) as file:
            X, y = file["X"], file["y"]
    else:
        X, y = DATA_SETS[base].load(Path(data_dir))
    rows = np.arange(len(X)) if part != "random" else np.random.default_rng(0).permutation(len(X))
    rows = rows[: int(size) if size else None]
    X, y = X[rows], np.asarray(y)[rows].astype(np.int64)
    X, y = thin(X, y, float(rate)) if rate else (X, y)
    return (X.reshape(len(X), -1) if flat else X), y


def thin(X: Images, y: Labels, rate: float) -> tuple[Images, Labels]:
    """Keep samples of class 0 with probability ``rate``, of the last class with 1, of those between linearly."""
    share = rate + (1 - rate) * y / y.max()
    kept = np.random.default_rng(0).random(len(y)) < share
    return X[kept], y[kept]


def _openml(name: str) -> Loader:
    def fetch(data_dir: Path) -> tuple[Images, Labels]:
        X, y = fetch_openml(name, version=1, return_X_y=True, as_frame=False, data_home=data_dir)
        return X.reshape(-1, 28, 28).astype(np.uint8), y.astype(np.int64)

    return fetch


def _two_mnist(data_dir: Path) -> tuple[Images, Labels]:
    (X, y), (fashion, fashion_y) = load("mnist", data_dir), load("fashion-mnist", data_dir)
    order = np.random.default_rng(0).permutation(len(X) + len(fashion))
    return np.concatenate([X, fashion])[order], np.concatenate([y, fashion_y + 10])[order]


def _digits(data_dir: Path) -> tuple[Images, Labels]:
    digits = load_digits()
    return digits.images, digits.target


def _unequal_mnist(data_dir: Path) -> tuple[Images, Labels]:
    """9,298 digits of 16x16 pixels in [-1, 1], classes of 8 to 17 %."""
    X, y = load("mnist", data_dir)
    rows = np.sort(np.concatenate([np.flatnonzero(y == label)[:size] for label, size in enumerate(UNEQUAL_SIZES)]))
    small = F.interpolate(torch.from_numpy(X[rows, None]).float(), size=16, mode="area")
    return (small[:, 0] / 127.5 - 1).numpy(), y[rows]


def _color_digits(data_dir: Path) -> tuple[Images, Labels]:
    """The 1,797 digits, four times as large, in random ink on crops of scikit-learn's two photographs."""
    rng = np.random.default_rng(0)
    photographs, digits = load_sample_images().images, load_digits()
    X = np.empty((len(digits.images), 32, 32, 3), np.uint8)
    for image, digit in zip(X, digits.images, strict=True):
        photograph = photographs[rng.integers(len(photographs))]
        top, left = (rng.integers(size - 32 + 1) for size in photograph.shape[:2])
        ground = photograph[top : top + 32, left : left + 32]
        ink = rng.integers(256, size=3)
        covered = (digit / 16).repeat(4, axis=0).repeat(4, axis=1)[..., None]
        image[:] = (1 - covered) * ground + covered * ink
    return X, digits.target


def _cifar10(data_dir: Path) -> tuple[Images, Labels]:
    halves = [CIFAR10(data_dir, train=train, download=True) for train in (True, False)]
    return np.concatenate([half.data for half in halves]), np.concatenate([half.targets for half in halves])


def _cifar10_test(data_dir: Path) -> tuple[Images, Labels]:
    """The test half, from image files in DIR/cifar10-test/CLASS where there are."""
    if (data_dir / "cifar10-test").exists():
        return _folder("cifar10-test", 32)(data_dir)
    half = CIFAR10(data_dir, train=False, download=True)
    return half.data, np.array(half.targets)


def _cifar100_20(data_dir: Path) -> tuple[Images, Labels]:
    """With the 20 superclasses as classes, which torchvision leaves in the files."""
    halves = [CIFAR100(data_dir, train=train, download=True) for train in (True, False)]
    files = [data_dir / CIFAR100.base_folder / name for name in ("train", "test")]
    superclasses = [pickle.loads(file.read_bytes(), encoding="latin1")["coarse_labels"] for file in files]
    return np.concatenate([half.data for half in halves]), np.concatenate(superclasses)


def _stl10(data_dir: Path) -> tuple[Images, Labels]:
    halves = [STL10(data_dir, split=split, download=True) for split in ("train", "test")]
    images = np.concatenate([half.data for half in halves]).transpose(0, 2, 3, 1)
    return images, np.concatenate([half.labels for half in halves])


def _folder(name: str, side: int) -> Loader:
    """DIR/NAME/CLASS/IMAGE, every image resized to ``side`` along its shorter side and cropped to a square."""

    def read(data_dir: Path) -> tuple[Images, Labels]:
        folder = ImageFolder(data_dir / name)
        squares = [np.asarray(center_crop(resize(image, side), [side, side])) for image, _ in folder]
        return np.stack(squares), np.array(folder.targets)

    return read


DATA_SETS = {
    "digits": DataSet(_digits, (8, 8), 10),
    "mnist": DataSet(_openml("mnist_784"), (28, 28), 10),
    "fashion-mnist": DataSet(_openml("Fashion-MNIST"), (28, 28), 10),
    "2mnist": DataSet(_two_mnist, (28, 28), 20),
    "unequal-mnist": DataSet(_unequal_mnist, (16, 16), 10),
    "color-digits": DataSet(_color_digits, (32, 32, 3), 10),
    "cifar-10-test": DataSet(_cifar10_test, (32, 32, 3), 10),
    "cifar-10": DataSet(_cifar10, (32, 32, 3), 10),
    "cifar-100-20": DataSet(_cifar100_20, (32, 32, 3), 20),
    "stl-10": DataSet(_stl10, (96, 96, 3), 10),
    "imagenet-10": DataSet(_folder("imagenet-10", 96), (96, 96, 3), 10),
    "imagenet-dog": DataSet(_folder("imagenet-dog", 96), (96, 96, 3), 15),
    "tiny-imagenet": DataSet(_folder("tiny-imagenet", 64), (64, 64, 3), 200),
}
LARGE = ("cifar-10", "cifar-100-20", "stl-10", "imagenet-10", "imagenet-dog", "tiny-imagenet")
