"""Fingerprints: names for fits, data, networks and objects that are the same in every process."""

import hashlib
import io
import pickle
import sys
from collections.abc import Mapping
from types import CodeType, FunctionType, NoneType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepcluster_sk._data import ArraySamples
from deepcluster_sk._version import __version__

# Parameters that do not change what is learnt.
_WITHOUT_EFFECT = ("checkpoint_dir", "checkpoint_every", "on_error", "on_interrupt", "verbose")
# Packages whose classes are told apart by name, as their versions are known or do not matter.
_VERSIONED = {*sys.stdlib_module_names, "deepcluster_sk", "numpy", "scipy", "sklearn", "torch", "torchvision"}
# What of a class decides on what it does.
_METHODS, _CONSTANTS = (FunctionType, classmethod, staticmethod, property), (str, bytes, int, float, tuple, NoneType)
# Bytes of the data hashed at a time.
_HASHED = 2**24


def fingerprint(estimator: Any, samples: ArraySamples, device: torch.device) -> dict[str, Any]:
    """What makes one fit the same as another: method, parameters, data and versions."""
    array, scaling = samples.array, samples.scaling
    # Files are of 0 to 255, whatever they hold, and arrays of their own range; vectors' scaling is what they make it.
    value_range = "its own" if np.ndim(scaling.offset) else [float(scaling.offset), float(scaling.scale)]
    parameters = {
        name: value if isinstance(value, str | bool | int | float | None) else described(name, value)
        for name, value in sorted(estimator.get_params(deep=False).items())
        if name not in _WITHOUT_EFFECT
    }
    return {
        "method": type(estimator).__name__,
        **{f"parameter {name}": value for name, value in parameters.items()},
        "data": f"{array.dtype} {array.shape} {hash_of(array)}",
        "range of the data": value_range,
        "trained on": device.type,
        "version": __version__,
        "torch": str(torch.__version__),
    }


def described(name: str, value: Any, needed_by: str = "checkpoint_dir") -> str:
    """A name for an object that it has in every process, and that another object has not."""
    if isinstance(value, tuple | list | np.number | torch.device):
        return repr(value)
    pickled = io.BytesIO()
    try:
        _Describer(pickled, protocol=4).dump(value)
    except (pickle.PicklingError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{name}={value!r} cannot be told from others in another process, as {needed_by} needs it: {error}"
        ) from error
    return f"{type(value).__name__} {hashlib.sha256(pickled.getvalue()).hexdigest()}"


class _Describer(pickle.Pickler):
    """Pickles to compare, not to load: the same bytes for equal objects in every process.

    Modules are their attributes and class, tensors their values, functions their code, defaults and closure, classes of
    the user's own their functions and constants.
    """

    def __init__(self, file: io.BytesIO, protocol: int) -> None:
        super().__init__(file, protocol)
        self.fast = True  # no references to what was pickled before, which copies of an object do not share
        self._classes: set[type] = set()

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, type) and obj.__module__.partition(".")[0] not in _VERSIONED:
            return tuple, (self._parts_of(obj),)
        if isinstance(obj, classmethod | staticmethod):
            return tuple, ((type(obj).__name__, obj.__func__),)
        if isinstance(obj, property):
            return tuple, ((obj.fget, obj.fset, obj.fdel),)
        if isinstance(obj, Tensor):
            flat = obj.detach().cpu().contiguous().flatten().view(torch.uint8)
            return bytes, (repr((obj.dtype, tuple(obj.shape), obj.requires_grad)).encode() + flat.numpy().tobytes(),)
        if isinstance(obj, FunctionType):
            closure = tuple(cell.cell_contents for cell in obj.__closure__ or ())
            parts = obj.__module__, obj.__qualname__, obj.__code__, obj.__defaults__, obj.__kwdefaults__, closure
            return tuple, (parts,)
        if isinstance(obj, CodeType):
            return tuple, ((obj.co_code, obj.co_names, obj.co_varnames, obj.co_consts),)
        if isinstance(obj, set | frozenset):
            return tuple, (sorted(map(repr, obj)),)
        return NotImplemented

    def _parts_of(self, kind: type) -> tuple[Any, ...]:
        """What makes a class, at its first mention; its methods may mention it again."""
        name = kind.__module__, kind.__qualname__
        if kind in self._classes:
            return name
        self._classes.add(kind)
        methods = [(key, part) for key, part in sorted(vars(kind).items()) if isinstance(part, _METHODS)]
        constants = [(key, part) for key, part in sorted(vars(kind).items()) if isinstance(part, _CONSTANTS)]
        own = [(key, part) for key, part in constants if not key.startswith("__")]  # the others are Python's notes
        return *name, kind.__bases__, methods, own


def hash_of(array: Any) -> str:
    """SHA-256 of an array's values, read block by block."""
    digest = hashlib.sha256()
    n_rows = max(1, _HASHED * len(array) // array.nbytes)
    for start in range(0, len(array), n_rows):
        digest.update(np.ascontiguousarray(array[start : start + n_rows]).data)
    return digest.hexdigest()


def hash_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors on the CPU, with their names, dtypes and shapes."""
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
