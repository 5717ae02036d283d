"""Images that are read one by one and in order, wherever they are, for a single pass over them."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from deepcluster_sk._fingerprint import described, hash_of
from deepcluster_sk._input import as_paths, resized_row, samples_of, try_to_decode
from deepcluster_sk._lazy import MAX_THREADS
from deepcluster_sk._validation import check_samples

# Files need one size, and a network of the user's own does not say which.
_SIDE = 224


@dataclass(frozen=True)
class ImageSource:
    """Images that are asked for one by one.

    Attributes
    ----------
    n : int
    shape : tuple (c, h, w)
    read : callable of int
        Image (c, h, w) or None, and what is wrong with its file.
    n_threads : int
        Most that read at a time.
    paths : list of str
        Empty where they are no files.
    identity : callable
        Gives what is the same for the same images in every process.
    """

    n: int
    shape: tuple[int, int, int]
    read: Callable[[int], tuple[Any, str]]
    n_threads: int
    paths: list[str]
    identity: Callable[[], str]


def images_of(X: Any, image_shape: Any, size: tuple[int, int] | None) -> ImageSource:
    """Whatever the user passes, as images of this size or, but for files, their own.

    Raises
    ------
    TypeError, ValueError
        If X cannot be used; the message says why.
    """
    paths = as_paths(X)
    if paths is not None:
        return _from_files(paths, size or (_SIDE, _SIDE))
    if isinstance(X, Dataset):
        rows = samples_of(X, image_shape, size)
        return _from_rows(rows, size, rows.n_threads, lambda: f"{size} {described('X', X, needed_by='cache')}")
    array = check_samples("embed_images", X, image_shape, reset=False, any_size=True)
    return _from_rows(array, size, MAX_THREADS, lambda: f"{array.dtype} {array.shape} {hash_of(array)}")


def _from_files(paths: list[str], size: tuple[int, int]) -> ImageSource:
    def read(i: int) -> tuple[Any, str]:
        return try_to_decode(paths[i], size)

    return ImageSource(len(paths), (3, *size), read, MAX_THREADS, paths, lambda: _state_of(paths))


def _from_rows(rows: Any, size: tuple[int, int] | None, n_threads: int, identity: Callable[[], str]) -> ImageSource:
    if rows.ndim != 4 or rows.shape[1] not in (1, 3):
        raise ValueError(
            f"X has samples of shape {rows.shape[1:]}, and must have images of one or three channels; see image_shape."
        )
    sides = size or (rows.shape[2], rows.shape[3])

    def read(i: int) -> tuple[Tensor, str]:
        (row,) = rows[i : i + 1]
        return torch.from_numpy(np.array(row if row.shape[1:] == sides else resized_row(row, sides))), ""

    return ImageSource(len(rows), (rows.shape[1], *sides), read, n_threads, [], identity)


def _state_of(paths: list[str]) -> str:
    """SHA-256 of the names, sizes and times of files."""
    full = [os.path.abspath(path) for path in paths]
    folder = os.path.commonpath([os.path.dirname(path) for path in full])
    digest = hashlib.sha256()
    for path in full:
        state = Path(path).stat() if os.path.exists(path) else None
        size_and_time = state and (state.st_size, state.st_mtime_ns)
        digest.update(f"{os.path.relpath(path, folder)!r} {size_and_time}\n".encode())
    return digest.hexdigest()
