"""From what the user passes to what the package works with; every message about bad input is written here."""

import math
import re
import sys
from collections.abc import Callable
from functools import wraps
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import assert_all_finite
from sklearn.utils.validation import check_array, check_random_state, validate_data

from deepcluster_sk._distributed import ALONE, Ranks

# Channel counts by which a 4-D array tells its layout without being asked.
_CHANNEL_COUNTS = (1, 2, 3, 4)
# Values beyond are refused: float32 could not hold their differences.
_LARGEST = 1e37
# Numbers of half precision that are looked at together for NaN and infinity: scikit-learn would look at all.
_BLOCK = 2**21
# Packages whose code may lie between a user's call and a warning.
_OWN_CODE = ("deepcluster_sk", "sklearn", "contextlib")


def all_or_nothing(fit: Callable[..., Any]) -> Callable[..., Any]:
    """Make a method that raises leave its estimator as it was, fitted before or not."""

    @wraps(fit)
    def restoring(self: BaseEstimator, *args: Any, **kwargs: Any) -> Any:
        before = dict(vars(self))
        try:
            return fit(self, *args, **kwargs)
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    return restoring


def check_number(
    name: str,
    value: object,
    kind: type,
    low: float,
    high: float = math.inf,
    *,
    low_open: bool = False,
    high_open: bool = False,
    besides: tuple[str | None, ...] = (),
) -> None:
    """Raise unless ``value`` is a finite number of ``kind`` (int or float) within [low, high], without open ends.

    What ``besides`` names, words or None, is right as well.

    Raises
    ------
    TypeError
        If ``value`` is not a number of that kind (bool is none).
    ValueError
        If it lies outside, or is not finite.
    """
    if (value is None or isinstance(value, str)) and value in besides:
        return
    what = " or ".join([*map(repr, besides), "an integer" if kind is int else "a number"])
    if not isinstance(value, Integral if kind is int else Real) or isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}={value!r} must be {what}, got {type(value).__name__}.")
    try:
        number = float(value)
    except OverflowError:  # of an integer
        number = math.inf
    above = low < number if low_open else low <= number
    below = number < high if high_open else number <= high
    if not (above and below and math.isfinite(number)):
        interval = f"{'(' if low_open else '['}{low:g}, {high:g}{')' if high_open or high == math.inf else ']'}"
        raise ValueError(f"{name}={value!r} must be {what} in {interval}.")


def check_count_or_share(name: str, value: object) -> None:
    """Raise unless ``value`` is None, an integer of at least 1, or a fraction in (0, 1]."""
    if value is None:
        return
    needed = "must be None, an integer of at least 1, or a fraction in (0, 1]"
    if not isinstance(value, Real) or isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}={value!r} {needed}, got {type(value).__name__}.")
    number = float(value)
    if not (number >= 1 if isinstance(value, Integral) else 0 < number <= 1):
        raise ValueError(f"{name}={value!r} {needed}.")


def check_cluster(name: str, cluster: Any, n_clusters: int) -> int:
    """Number of a cluster, of which there are so many.

    Raises
    ------
    TypeError, ValueError
        If it is no integer, or there is no such cluster.
    """
    check_number(name, cluster, int, 0, n_clusters - 1)
    return int(cluster)


def check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    """Raise a ValueError unless ``value`` is one of ``choices``."""
    if isinstance(value, np.bool_):
        value = bool(value)
    kinds = [type(choice) for choice in choices]  # 1 is equal to True, but is none of True and False
    if not any(isinstance(value, kind) and value == choice for kind, choice in zip(kinds, choices, strict=True)):
        raise ValueError(f"{name}={value!r} must be one of {', '.join(map(repr, choices))}.")


def make_seed(random_state: int | np.random.RandomState | None) -> int:
    """Draw the one seed that everything else is seeded from."""
    try:
        generator = check_random_state(random_state)
    except (TypeError, ValueError) as error:
        needed = "must be None, an integer in [0, 2**32 - 1], or a numpy.random.RandomState"
        raise ValueError(f"random_state={random_state!r} {needed}.") from error
    return int(generator.randint(np.iinfo(np.int32).max))


def resolve_device(device: object) -> torch.device:
    """Turn "auto", a name or a torch.device into a device that exists here."""
    if isinstance(device, str) and device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)  # type: ignore[call-overload]
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device={device!r} must be 'auto' or a torch device such as 'cpu' or 'cuda:0'.") from error
    if not _is_available(resolved):
        raise ValueError(f"device={device!r} is not available here; device='auto' takes what there is.")
    return resolved


def _is_available(device: torch.device) -> bool:
    if device.type == "cuda":
        return (device.index or 0) < torch.cuda.device_count()
    try:
        torch.zeros(1, device=device).tolist()  # "meta", for one, has no values
    except (RuntimeError, AssertionError, ImportError):  # what torch raises for a missing backend: mps, xpu, hpu
        return False
    return True


def check_samples(
    estimator: BaseEstimator | str,
    X: Any,
    image_shape: object,
    *,
    reset: bool,
    any_size: bool = False,
    ranks: Ranks = ALONE,
) -> NDArray[Any]:
    """Validate X and give it the layout the package works with.

    Parameters
    ----------
    estimator : BaseEstimator or str
        Whose ``n_features_in_`` and ``feature_names_in_`` are set (``reset``) or compared; with ``any_size``, a name.
    X : array-like
        (n, n_features), (n, h, w), (n, h, w, c) or (n, c, h, w).
    image_shape : None or tuple (h, w[, c])
        Shape of one image; needed for flattened images and ambiguous 4-D arrays.
    reset : bool
        True in ``fit``.
    any_size : bool, default=False
        Whether images are resized later: what the estimator knows of features is neither set nor compared.
    ranks : Ranks
        Each reads its part of the values.

    Returns
    -------
    samples : ndarray of shape (n, n_features) or (n, c, h, w), uint8, float16, float32 or float64
        A view of X if that is its dtype.

    Raises
    ------
    ValueError
        If the shape is ambiguous or does not fit ``image_shape``, values are not finite, or n < 2.
    """
    X = as_array(X)
    shape = _check_image_shape(image_shape)
    if shape is not None and not hasattr(X, "shape"):
        X = np.asarray(X)
    ndim = getattr(X, "ndim", 2)
    if ndim <= 2 and shape is None:
        return _validated(estimator, X, reset=reset, any_size=any_size, ranks=ranks)
    layout = _image_layout(X.shape, shape)
    flat = X.reshape(len(X), math.prod(X.shape[1:])) if ndim > 2 else X  # -1 cannot be told for no samples
    return layout.applied(_validated(estimator, flat, reset=reset, any_size=any_size, ranks=ranks))


def channels_first(image: NDArray[Any], image_shape: object) -> NDArray[Any]:
    """One image as (c, h, w), or a vector as it is; see :func:`check_samples`."""
    shape = _check_image_shape(image_shape)
    if image.ndim == 1 and shape is None:
        return image
    return _image_layout((1, *image.shape), shape).applied(image[None])[0]


def check_size(image_size: object) -> tuple[int, int] | None:
    """Normalise ``image_size`` to (height, width) or None."""
    if image_size is None:
        return None
    sides = image_size if isinstance(image_size, tuple | list) else (image_size, image_size)
    is_whole = all(isinstance(side, Integral) and not isinstance(side, bool) for side in sides)
    if len(sides) != 2 or not is_whole or min(sides) < 1:
        needed = "must be None, an integer of at least 1, or a tuple (height, width) of such"
        raise (ValueError if is_whole else TypeError)(f"image_size={image_size!r} {needed}.")
    return int(sides[0]), int(sides[1])


def check_n_features(estimator: BaseEstimator, sample_shape: tuple[int, ...], *, reset: bool) -> None:
    """Set the estimator's ``n_features_in_`` (``reset``), or raise a ValueError if samples have another number."""
    validate_data(estimator, np.empty((1, math.prod(sample_shape)), np.uint8), reset=reset, skip_check_array=True)


def _validated(estimator: BaseEstimator | str, X: Any, *, reset: bool, any_size: bool, ranks: Ranks) -> NDArray[Any]:
    """scikit-learn's checks on two dimensions, of finite numbers, feature names and counts; messages name X."""
    is_half = getattr(X, "dtype", None) == np.float16
    is_kept = is_half or getattr(X, "dtype", None) == np.uint8
    in_blocks = is_half or ranks.size > 1
    exact = exact_float(getattr(X, "dtype", None))
    wanted: dict[str, Any] = {
        "dtype": None if is_kept else [exact, np.float32, np.float64],
        "order": None,
        "ensure_min_samples": 2 if reset else 1,
        "ensure_all_finite": not in_blocks,
    }
    try:
        if any_size:
            X = check_array(X, estimator=estimator, input_name="X", **wanted)
        else:
            X = validate_data(estimator, X, reset=reset, **wanted)
        X = X if X.dtype.isnative else X.astype(X.dtype.newbyteorder("="))  # of a data frame
        mine = ranks.part(X)
        for block in np.array_split(mine, -(-mine.size // _BLOCK)) if in_blocks and mine.size else ():
            name = estimator if isinstance(estimator, str) else type(estimator).__name__
            assert_all_finite(block, estimator_name=name, input_name="X")
    except (TypeError, ValueError, OverflowError) as error:
        if re.search(r"\bX\b", str(error)):
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"X must hold real, finite numbers, one row a sample. {error}") from error
    largest = 0.0 if is_kept else float(max(-mine.min(initial=0), mine.max(initial=0)))
    if largest > _LARGEST:
        raise ValueError(f"X has values as large as {largest:g}, and must lie in [-{_LARGEST:g}, {_LARGEST:g}].")
    return X


def exact_float(dtype: Any) -> type[np.floating[Any]]:
    """The narrower of float32 and float64 that holds all numbers of a dtype; float64 for what is none."""
    return np.float32 if isinstance(dtype, np.dtype) and np.can_cast(dtype, np.float32) else np.float64


def as_array(X: Any) -> Any:
    """Tensors and nested lists become arrays; data frames and sparse matrices are left to scikit-learn's checks.

    Raises
    ------
    TypeError, ValueError
        For what NumPy would take as numbers without a word, or refuse without a word about X.
    """
    if isinstance(X, torch.Tensor):
        return from_tensor(X)
    if np.ma.is_masked(X):
        raise ValueError("X is an array with masked values, and must have none: fill them first.")
    dtype = getattr(X, "dtype", None)
    if isinstance(dtype, np.dtype) and dtype.kind not in "biufcO":
        raise TypeError(f"X of dtype {dtype} must hold numbers.")
    if hasattr(X, "ndim") or not (isinstance(X, list | tuple) and X and _n_dimensions(X[0]) >= 2):
        return X
    try:
        return np.asarray(X)
    except ValueError as error:
        raise ValueError(f"X must hold images of one shape. {error}") from error


def from_tensor(X: torch.Tensor, name: str = "X") -> NDArray[Any]:
    """Array of a tensor's values, in float32 those that NumPy has no type for."""
    try:
        X = X.detach().cpu()
        return X.float().numpy() if X.dtype == torch.bfloat16 else X.numpy()
    except (TypeError, RuntimeError) as error:  # sparse, quantised, without values
        raise TypeError(f"{name} of {X.dtype} and {X.layout} on {X.device} must be a dense tensor. {error}") from error


def _n_dimensions(image: Any) -> int:
    try:
        return np.ndim(image)
    except ValueError:  # rows of different lengths
        return 0


def check_fits(samples: NDArray[Any], fitted_on: tuple[int, ...], name: str) -> None:
    """Raise unless samples have the shape of those that the estimator called ``name`` was fitted on."""
    if samples.shape[1:] != fitted_on:
        raise ValueError(
            f"X has samples of shape {samples.shape[1:]}, but {name} was fitted on samples of shape {fitted_on}; "
            "reshape X, or see image_shape."
        )


def refuse_single_image(X: Any, fitted_on: tuple[int, ...], *, any_size: bool) -> None:
    """Raise if X is one image such as those (c, h, w) that an estimator was fitted on, not a batch of them.

    If images have ``any_size``, before they are resized, its dimensions have to tell.
    """
    if len(fitted_on) != 3:
        return
    channels, *sides = fitted_on
    X_shape = tuple(getattr(X, "shape", ()))
    is_batch = math.prod(X_shape[1:]) == math.prod(fitted_on)
    is_single = not is_batch and X_shape in ((*sides,), (*sides, channels), (channels, *sides))
    if any_size:
        is_single = len(X_shape) == 2 or (len(X_shape) == 3 and (X_shape[2] in (3, 4) or X_shape[0] == channels > 1))
    if is_single:
        raise ValueError(f"X of shape {X_shape} is a single image; X[None] is a batch of one.")


def level_of_caller() -> int:
    """``stacklevel`` by which a warning of the function that asks is shown where the user called the package."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _OWN_CODE:
        level, frame = level + 1, frame.f_back
    return level


class _Layout:
    def __init__(self, height: int, width: int, channels: int, *, channels_first: bool) -> None:
        self.height, self.width, self.channels, self.channels_first = height, width, channels, channels_first

    def applied(self, X: NDArray[Any]) -> NDArray[Any]:
        """Images of this layout as (n, c, h, w)."""
        if self.channels_first:
            return X.reshape(len(X), self.channels, self.height, self.width)
        return X.reshape(len(X), self.height, self.width, self.channels).transpose(0, 3, 1, 2)


def _check_image_shape(image_shape: object) -> tuple[int, int, int] | None:
    """Normalise (h, w) and (h, w, c) to (h, w, c)."""
    if image_shape is None:
        return None
    needed = "must be None or a tuple (height, width) or (height, width, channels) of positive integers"
    if not isinstance(image_shape, tuple | list) or len(image_shape) not in (2, 3):
        raise ValueError(f"image_shape={image_shape!r} {needed}.")
    if not all(isinstance(side, Integral) and int(side) > 0 for side in image_shape):
        raise ValueError(f"image_shape={image_shape!r} {needed}.")
    height, width, channels = (*image_shape, 1)[:3]
    return int(height), int(width), int(channels)


def _image_layout(X_shape: tuple[int, ...], shape: tuple[int, int, int] | None) -> _Layout:
    sample = X_shape[1:]
    if shape is None:
        return _guessed_layout(X_shape)
    height, width, channels = shape
    if len(sample) == 1 and sample[0] != height * width * channels:
        raise ValueError(
            f"image_shape=({height}, {width}, {channels}) (height, width, channels) needs "
            f"{height * width * channels} features a sample, X has shape {X_shape}."
        )
    if len(sample) == 1 or sample == shape or (channels == 1 and sample == shape[:2]):
        return _Layout(*shape, channels_first=False)
    if sample == (channels, height, width):
        return _Layout(*shape, channels_first=True)
    raise ValueError(f"image_shape={shape} (height, width, channels) does not fit X of shape {X_shape}.")


def _guessed_layout(X_shape: tuple[int, ...]) -> _Layout:
    sample = X_shape[1:]
    if len(sample) == 2:
        return _Layout(*sample, 1, channels_first=False)
    if len(sample) != 3:
        raise ValueError(f"X of shape {X_shape} must be (n, n_features), (n, h, w), (n, h, w, c) or (n, c, h, w).")
    first, last = sample[0] in _CHANNEL_COUNTS, sample[2] in _CHANNEL_COUNTS
    if first == last:
        raise ValueError(
            f"X of shape {X_shape} may have its channels first or last; set image_shape=(height, width, channels)."
        )
    if first:
        return _Layout(sample[1], sample[2], sample[0], channels_first=True)
    return _Layout(*sample, channels_first=False)
