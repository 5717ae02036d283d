"""What users pass as X: arrays, a folder or paths of images, a torch Dataset; made into rows that all else works with.

Rows are an array wherever they fit into memory once images are decoded and resized, else a :class:`LazyArray`.
"""

import os
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from sklearn.pipeline import Pipeline
from torch.utils.data import Dataset

from deepcluster_sk._distributed import ALONE, Ranks
from deepcluster_sk._images import decode, image_paths, resized, sides
from deepcluster_sk._lazy import LazyArray, fits, in_threads, kept_if_it_fits
from deepcluster_sk._progress import tracked
from deepcluster_sk._validation import (
    channels_first,
    check_n_features,
    check_samples,
    check_size,
    exact_float,
    from_tensor,
    level_of_caller,
)
from deepcluster_sk.exceptions import UnreadableImageWarning

# Where ``image_size`` is not set, files get the median of the shorter sides of so many of them, and at most so much.
_N_MEASURED, _MAX_SIDE = 64, 64
# A message names so many files.
_N_NAMED = 5


@dataclass(frozen=True)
class Input:
    """Samples as the package works with them.

    Attributes
    ----------
    rows : ndarray or LazyArray of shape (n, c, h, w) or (n, n_features), uint8 or floating point
        Of the files that can be read, where X is files.
    paths : list of str or None
        Of these files.
    unreadable : dict of str to str
        The others, each with what is wrong with it.
    is_readable : ndarray of shape (n_given,), bool, or None
        Which of the files that were given can be read; None where X is no files.
    """

    rows: Any
    paths: list[str] | None = None
    unreadable: Mapping[str, str] = field(default_factory=dict)
    is_readable: NDArray[np.bool_] | None = None

    def spread(self, values: NDArray[Any], missing: float) -> NDArray[Any]:
        """One row of ``values`` for each sample that was given, with ``missing`` for files that cannot be read."""
        if not self.unreadable or self.is_readable is None:
            return values
        spread = np.full((len(self.is_readable), *values.shape[1:]), missing, dtype=values.dtype)
        spread[self.is_readable] = values
        return spread


def read_input(
    estimator: Any,
    X: Any,
    sample_shape: tuple[int, ...] | None = None,
    fate: str = "They are left out.",
    ranks: Ranks = ALONE,
) -> Input:
    """Validate X, read it, and resize images if that is asked for.

    Parameters
    ----------
    estimator : estimator
        With the parameters ``image_shape``, ``image_size``, ``on_error`` and ``verbose``.
    X : array-like, path-like, sequence of path-like, or Dataset
        As the estimators' ``fit`` describes it.
    sample_shape : tuple or None
        (c, h, w) or (n_features,) of the samples of ``fit``; None in ``fit``.
    fate : str
        What a warning says of files that cannot be read.
    ranks : Ranks
        Each decodes its part of the images, and gets those of the others.

    Raises
    ------
    TypeError, ValueError
        If X cannot be used; the message says why.
    """
    reset = sample_shape is None
    verbose = int(estimator.verbose) if reset and ranks.is_first else 0  # prediction is silent, as elsewhere
    size = check_size(estimator.image_size)
    paths = as_paths(X)
    if paths is not None:
        if sample_shape is not None and sample_shape[0] != 3 and len(sample_shape) == 3:
            raise ValueError(f"X is files, which have three channels, but fit saw images of shape {sample_shape}.")
        given = _read_files(paths, size or _size_of(paths, sample_shape), estimator.on_error, fate, verbose, ranks)
    elif _is_dataset(X):
        given = Input(_read_dataset(X, estimator.image_shape, size, verbose, ranks))
    elif size is not None:
        check = partial(check_samples, reset=reset, any_size=True, ranks=ranks)
        rows = ranks.together(lambda: check(estimator, X, estimator.image_shape))
        given = Input(_resized_rows(rows, size, verbose, ranks))
    else:
        check = partial(check_samples, reset=reset, ranks=ranks)
        return Input(ranks.together(lambda: check(estimator, X, estimator.image_shape)))
    if reset and len(given.rows) < 2:
        raise ValueError(f"X has {len(given.rows)} sample(s) that can be used, and must have 2 or more.")
    check_n_features(estimator, given.rows.shape[1:], reset=reset)
    return given


def last_step(estimator: Any) -> Any:
    """What a Pipeline, or the best of a search, ends with."""
    estimator = getattr(estimator, "best_estimator_", estimator)
    return estimator[-1] if isinstance(estimator, Pipeline) else estimator


def is_array(X: Any) -> bool:
    """Whether X is neither files nor a Dataset, so that it is an array or can be made one."""
    return not (_is_files(X) or _is_dataset(X))


def _is_dataset(X: Any) -> bool:
    """Whether X is a Dataset, or a list of what one with labels gives, as a search takes it from one."""
    first = X[0] if isinstance(X, list) and X else None
    sample = first[0] if isinstance(first, tuple) and first else None
    return isinstance(X, Dataset) or isinstance(sample, Image) or (isinstance(sample, torch.Tensor) and sample.ndim > 0)


def _is_files(X: Any) -> bool:
    """Whether X is the path of a folder, or paths of files."""
    if isinstance(X, str | os.PathLike):
        return True
    is_flat = isinstance(X, list | tuple) or len(getattr(X, "shape", ())) == 1
    return is_flat and len(X) > 0 and isinstance(next(iter(X)), str | os.PathLike)


def as_paths(X: Any) -> list[str] | None:
    """Paths of the files that X is; None where it is no files."""
    if not _is_files(X):
        return None
    if isinstance(X, str | os.PathLike):
        if not os.path.isdir(X):
            raise ValueError(f"X={os.fspath(X)!r} must be a folder that exists, or a list of paths of images.")
        paths = image_paths(X)
        if not paths:
            raise ValueError(f"X={os.fspath(X)!r} must have image files in it, and has none.")
        return paths
    others = [path for path in X if not isinstance(path, str | os.PathLike)]
    if others:
        raise TypeError(f"X must be a list of paths, and holds {others[0]!r}.")
    return [str(os.fspath(path)) for path in X]


def _size_of(paths: list[str], sample_shape: tuple[int, ...] | None) -> tuple[int, int]:
    """That of the samples of ``fit``; within it, the square of the median of the shorter sides of some files."""
    if sample_shape is not None:
        if len(sample_shape) != 3:
            raise ValueError(f"X must be feature vectors of shape {sample_shape}, as in fit, not files of images.")
        return sample_shape[1], sample_shape[2]
    shorter = []
    for path in paths[:: -(-len(paths) // _N_MEASURED)]:
        with suppress(Exception):  # decoding is to say what is wrong with it
            shorter.append(min(sides(path)))
    side = min(_MAX_SIDE, round(median(shorter))) if shorter else _MAX_SIDE
    return side, side


def try_to_decode(path: str, size: tuple[int, int]) -> tuple[Any, str]:
    """Image or None, and what is wrong with the file."""
    try:
        return decode(path, size), ""
    except Exception as error:  # of any kind: decoders have theirs, and a file must not cost the others
        return None, f"{type(error).__name__}: {error}".replace(f" {path!r}", "").splitlines()[0]


def _read_files(paths: list[str], size: tuple[int, int], on_error: str, fate: str, verbose: int, ranks: Ranks) -> Input:
    """Decode every file once, to know which can be read, and keep the images if they fit into memory."""
    shape = (3, *size)
    ranks.check_same({"The number of files of X": len(paths)})
    mine = ranks.part(paths)
    is_kept = fits(len(paths) * int(np.prod(shape)), ranks)
    images = np.empty((len(mine), *shape), np.uint8) if is_kept else None
    reasons: list[str] = []
    decoded = in_threads(lambda path: try_to_decode(path, size), mine)
    for i, (image, reason) in enumerate(tracked(decoded, len(mine), "reading images", verbose)):
        reasons.append(reason)
        if image is not None and images is not None:
            images[i] = image
    told = list(zip(paths, ranks.gather_list(reasons), strict=True))
    readable, unreadable = [path for path, reason in told if not reason], dict(pair for pair in told if pair[1])
    is_readable = np.array([not reason for _, reason in told])
    rows = None if images is None else ranks.gather(torch.from_numpy(images), len(paths)).numpy()
    if unreadable:
        complain(unreadable, len(paths), on_error, fate)
    if rows is not None:
        return Input(rows[is_readable] if unreadable else rows, readable, unreadable, is_readable)
    again = LazyArray(lambda i: _decode_again(readable[i], size), len(readable), shape, np.dtype(np.uint8))
    return Input(again, readable, unreadable, is_readable)


def _decode_again(path: str, size: tuple[int, int]) -> NDArray[np.uint8]:
    image, reason = try_to_decode(path, size)
    if image is None:
        raise OSError(f"{path!r} could be read before, and cannot now ({reason}).")
    return image.numpy()


def complain(unreadable: Mapping[str, str], n_files: int, on_error: str, fate: str) -> None:
    """Name files that cannot be read, by a ValueError or a warning as ``on_error`` says."""
    named = "; ".join(f"{path!r} ({reason})" for path, reason in list(unreadable.items())[:_N_NAMED])
    rest = len(unreadable) - _N_NAMED
    message = f"X has {len(unreadable)} of {n_files} files that cannot be read: {named}"
    message += f"; and {rest} more." if rest > 0 else "."
    if on_error == "raise":
        if all(len(path) == 1 for path in unreadable):  # as a search takes a text apart
            message += " To search with the images of a folder, pass image_paths(folder)."
        raise ValueError(f"{message} on_error='skip' leaves them out.")
    warnings.warn(UnreadableImageWarning(f"{message} {fate}", unreadable), stacklevel=level_of_caller())


def _read_dataset(dataset: Any, image_shape: Any, size: tuple[int, int] | None, verbose: int, ranks: Ranks) -> Any:
    samples = ranks.together(lambda: samples_of(dataset, image_shape, size))
    return kept_if_it_fits(samples, "reading samples", verbose, ranks)


def samples_of(dataset: Any, image_shape: Any, size: tuple[int, int] | None) -> LazyArray:
    """Samples of a torch Dataset, without their labels. It is asked for one after the other, in this thread."""
    name = type(dataset).__name__
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise TypeError(f"X={name} must be a Dataset with a length, which is indexed by numbers.")
    if len(dataset) == 0:
        raise ValueError(f"X={name} must have samples, and has none.")
    first = _sample(dataset, 0, image_shape, size)

    def row(i: int) -> NDArray[Any]:
        sample = _sample(dataset, i, image_shape, size)
        if sample.shape != first.shape or sample.dtype != first.dtype:
            raise ValueError(
                f"X[{i}] is of shape {sample.shape} and {sample.dtype}, but X[0] of {first.shape} and {first.dtype}; "
                "image_size brings images to one size."
            )
        if not np.isfinite(sample).all():
            raise ValueError(f"X[{i}] contains NaN or infinity.")
        return sample

    return LazyArray(row, len(dataset), first.shape, first.dtype, n_threads=1)


def _sample(dataset: Any, i: int, image_shape: Any, size: tuple[int, int] | None) -> NDArray[Any]:
    """One sample, (c, h, w) or (n_features,), of uint8, float16, float32 or float64."""
    sample = dataset[i]
    if isinstance(sample, tuple | list):
        sample = sample[0]
    is_tensor = isinstance(sample, torch.Tensor)
    row = from_tensor(sample, f"X[{i}]") if is_tensor else np.asarray(sample)
    if row.dtype.kind not in "biuf" or row.ndim not in (1, 2, 3):
        raise TypeError(f"X[{i}] of type {type(sample).__name__} must be an image or a vector of numbers.")
    if not (is_tensor and row.ndim == 3 and image_shape is None):  # torch's images have their channels first
        row = channels_first(row, image_shape)
    if row.dtype not in (np.uint8, np.float16):
        row = row.astype(exact_float(row.dtype), copy=False)
    return row if size is None else resized_row(row, size)


def _resized_rows(rows: NDArray[Any], size: tuple[int, int], verbose: int, ranks: Ranks) -> Any:
    array = LazyArray(lambda i: resized_row(rows[i], size), len(rows), (rows.shape[1], *size), rows.dtype)
    return kept_if_it_fits(array, "resizing images", verbose, ranks)


def resized_row(row: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """One image (c, h, w) at another size."""
    if row.ndim != 3:
        raise ValueError(f"image_size={size} is for images, but X holds feature vectors of shape {row.shape}.")
    return resized(torch.from_numpy(np.array(row)), size).numpy()
