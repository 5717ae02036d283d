"""The scale of samples: that of ``fit``, which all later ones are brought to, and what tells that they have another."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from deepcluster_sk._distributed import ALONE, Ranks
from deepcluster_sk._lazy import LazyArray
from deepcluster_sk._validation import level_of_caller

# Numbers read at a time where statistics of all samples are taken.
_BLOCK = 2**21
# New samples are refused that are so many times the spread of those of ``fit`` away: float32 overflows in a network.
_FARTHEST = 1e12
# So many of them are looked at for their spread.
_N_LOOKED_AT = 1000


@dataclass(frozen=True)
class Scaling:
    """``(raw - offset) / scale``: images to [0, 1], feature vectors to mean 0 and overall standard deviation 1.

    For images, offset and offset + scale are the smallest and the largest value seen, whatever the dtype; for files
    they are 0 and 255. One scale for all features keeps the distances between samples what they were, up to a factor.
    With ``to_unit``, raw is first divided by its length.
    """

    offset: float | NDArray[np.float64]  # () or (n_features,)
    scale: float
    to_unit: bool = False

    @classmethod
    def of(cls, rows: NDArray[Any] | LazyArray, ranks: Ranks = ALONE, *, to_unit: bool = False) -> "Scaling":
        """Scaling of training data by their range (images) or their moments (vectors)."""
        array = at_hand(rows)
        if array.ndim == 2:
            mean, std = moments(array, ranks, to_unit=to_unit)
            return cls(mean, std or 1.0, to_unit)
        mine = ranks.part(array)
        low, high = min(ranks.gather_list([float(mine.min())])), max(ranks.gather_list([float(mine.max())]))
        return cls(low, (high - low) or 1.0)


def at_hand(rows: NDArray[Any] | LazyArray) -> NDArray[Any]:
    """What statistics of all rows are taken of: these, or some of them if they are made anew each time."""
    return rows.some() if isinstance(rows, LazyArray) else rows


def directions(vectors: Tensor) -> Tensor:
    """Vectors (n, d) divided by their lengths, in float64, as squares might overflow in float32.

    Those of length 0 stay so, and any shorter than 1e-37 are close to it: squares of less might underflow in float64.
    """
    return F.normalize(vectors.double(), eps=1e-37)


def moments(array: NDArray[Any], ranks: Ranks = ALONE, *, to_unit: bool = False) -> tuple[NDArray[np.float64], float]:
    """Mean of each channel (axis 1) and standard deviation around it, over all; each rank reads its blocks.

    They are those of vectors divided by their lengths with ``to_unit``.
    """

    def read(block: slice) -> NDArray[Any]:
        rows = array[block]
        return directions(torch.from_numpy(rows.astype(np.float64))).numpy() if to_unit else rows

    axes = (0, *range(2, array.ndim))
    n_rows = max(1, _BLOCK * len(array) // array.size)
    blocks = ranks.part([slice(start, start + n_rows) for start in range(0, len(array), n_rows)])
    total = np.zeros(array.shape[1])
    for block in blocks:
        total += read(block).sum(axis=axes, dtype=np.float64)
    total = ranks.sum(torch.from_numpy(total)).numpy()
    mean = total * array.shape[1] / array.size
    centers = mean.reshape(-1, *[1] * (array.ndim - 2))
    squares = sum(ranks.gather_list([float(np.square(read(block) - centers).sum()) for block in blocks]))
    std = float(np.sqrt(squares / array.size))
    # What rounding leaves of samples that are all equal, or have all one direction, is no spread.
    rounding = np.finfo(array.dtype).eps if to_unit and array.dtype.kind == "f" else 0.0
    least = max(1e-12 * np.abs(mean).max(), rounding * np.sqrt(np.square(mean).mean()))
    return mean, std if std > least else 0.0


def check_scale(rows: NDArray[Any] | LazyArray, scaling: Scaling) -> None:
    """Raise for samples too far from those of ``fit`` to compute anything; warn if they seem to be on another scale."""
    if scaling.to_unit:  # no direction is far from another
        return
    array = at_hand(rows)
    _refuse_far_values(array, scaling)
    if array.ndim == 4:
        _warn_of_other_range(array, scaling)
    else:
        _warn_of_other_spread(array, scaling)


def _refuse_far_values(array: NDArray[Any], scaling: Scaling) -> None:
    axis = 0 if array.ndim == 2 else None  # of vectors, each feature has its offset
    low, high = np.float64(array.min(axis)), np.float64(array.max(axis))  # differences of float16 may overflow
    farthest = float(max(np.max(high - scaling.offset), np.max(scaling.offset - low))) / scaling.scale
    if farthest > _FARTHEST:
        raise ValueError(
            f"X is {farthest:.0e} times the spread of the samples of fit away from them, and must be within "
            f"{_FARTHEST:.0e} times; scale both alike."
        )


def _warn_of_other_range(images: NDArray[Any], scaling: Scaling) -> None:
    lowest, highest = float(images.min()), float(images.max())
    low, high = float(scaling.offset), float(scaling.offset) + scaling.scale
    far_outside = max(low - lowest, highest - high) > scaling.scale
    # One image may be dark; several are not all so.
    hardly_filled = 0 < highest - lowest < (0.005 if len(images) < 3 else 0.1) * scaling.scale
    if far_outside or hardly_filled:
        _warn(
            f"X has values in [{lowest:g}, {highest:g}], but was in [{low:g}, {high:g}] in fit: predictions mean "
            "little unless both are on one scale (0 to 255, or 0 to 1, ..)."
        )


def _warn_of_other_spread(vectors: NDArray[Any], scaling: Scaling) -> None:
    some = np.float64(vectors[:: max(1, len(vectors) // _N_LOOKED_AT)])
    spread = float(np.sqrt(np.square(some - scaling.offset).mean()))
    # One or two vectors may be where the mean of all was; what rounding leaves of such ones is no spread.
    rounding = 1e-6 * float(np.abs(scaling.offset).max())
    if spread > 10 * scaling.scale or (len(vectors) >= 3 and rounding < spread < 0.1 * scaling.scale):
        _warn(
            f"X is {spread:g} from the mean of the samples of fit, which were {scaling.scale:g} from it (root mean "
            "square): predictions mean little unless both are on one scale."
        )


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=level_of_caller())
