"""Random images in the files that each large data set comes in, for ``paper_tables.py --smoke`` to read."""

import pickle
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from _datasets import DATA_SETS
from numpy.typing import NDArray
from PIL import Image
from torchvision.datasets import CIFAR10, CIFAR100, STL10

Images = NDArray[np.uint8]  # (n, h, w, 3)
Labels = NDArray[np.int64]  # (n,)


def written(name: str, folder: Path) -> tuple[Images, Labels]:
    """Write 32 random images, or one of each class if there are more, in the order their loader gives them."""
    _, shape, n_classes = DATA_SETS[name]
    n = max(32, n_classes)
    X = np.random.default_rng(0).integers(256, size=(n, *shape), dtype=np.uint8)
    y = np.sort(np.arange(n) % n_classes)
    WRITERS.get(name, _write_folder(name))(X, y, folder)
    return X, y


@contextmanager
def unchecked() -> Iterator[None]:
    """Let torchvision take files that are not the published ones."""
    with ExitStack() as stack:
        for module in ("cifar", "stl10"):
            stack.enter_context(patch(f"torchvision.datasets.{module}.check_integrity", return_value=True))
        yield


def _write_folder(name: str) -> Callable[[Images, Labels, Path], None]:
    def write(X: Images, y: Labels, folder: Path) -> None:
        for i, (image, label) in enumerate(zip(X, y, strict=True)):
            path = folder / name / f"class_{label:03d}" / f"{i:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)

    return write


def _write_cifar(kind: type[CIFAR10], key: str) -> Callable[[Images, Labels, Path], None]:
    """Rows of 3,072 bytes, channels first, with labels under ``key``."""

    def write(X: Images, y: Labels, folder: Path) -> None:
        base = folder / kind.base_folder
        base.mkdir()
        names = [name for name, _ in (*kind.train_list, *kind.test_list)]
        rows = X.transpose(0, 3, 1, 2).reshape(len(X), -1)
        for name, part in zip(names, np.array_split(np.arange(len(X)), len(names)), strict=True):
            labels: dict[str, Any] = {key: y[part].tolist(), "fine_labels": y[part].tolist()}
            (base / name).write_bytes(pickle.dumps({"data": rows[part], **labels}))
        (base / kind.meta["filename"]).write_bytes(pickle.dumps({kind.meta["key"]: []}))

    return write


def _write_stl10(X: Images, y: Labels, folder: Path) -> None:
    """Columns before rows, channels first, classes from 1."""
    base = folder / STL10.base_folder
    base.mkdir()
    (base / STL10.class_names_file).write_text("")
    for split, part in zip(("train", "test"), np.array_split(np.arange(len(X)), 2), strict=True):
        (base / f"{split}_X.bin").write_bytes(X[part].transpose(0, 3, 2, 1).tobytes())
        (base / f"{split}_y.bin").write_bytes((y[part] + 1).astype(np.uint8).tobytes())


WRITERS = {
    "cifar-10": _write_cifar(CIFAR10, "labels"),
    "cifar-100-20": _write_cifar(CIFAR100, "coarse_labels"),
    "stl-10": _write_stl10,
}
