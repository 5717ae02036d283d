"""Fitted estimators as files that hold numbers and text, and nothing that could be run.

A file is in the safetensors format: a header in JSON, then tensors. Text in the header describes the estimator, with
the SHA-256 of itself and of the tensors. Loading builds the network that the text describes without memory, compares it
with the tensors, and only then takes these.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor

from deepcluster_sk._checkpoint import plain, write_bytes
from deepcluster_sk._data import Scaling
from deepcluster_sk._version import __version__

# Changes when a file of today could not be read tomorrow.
_FORMAT = 1
_MAX_HEADER = 2**26
# Attributes that are plain values, and arrays.
_PLAIN = (
    "history_",
    "n_iter_",
    "converged_",
    "fit_report_",
    "n_features_in_",
    "_n_features_out",
    "_sample_shape",
    "_seen_shape",
    "_cluster_order",
)
_ARRAYS = ("labels_", "cluster_centers_")
_TUPLES = ("image_shape", "_sample_shape", "_seen_shape")


def save(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted estimator to a file, whole or not at all."""
    state = estimator.module_.state_dict()
    unknown = [name for name, value in state.items() if not isinstance(value, Tensor) and name != "_extra_state"]
    if unknown:
        raise ValueError(f"The network has state that is no tensor, which a file cannot hold: {', '.join(unknown)}.")
    tensors = {f"module.{name}": value for name, value in state.items() if isinstance(value, Tensor)}
    tensors |= {name: torch.from_numpy(getattr(estimator, name)) for name in _ARRAYS if hasattr(estimator, name)}
    fitted = {name: getattr(estimator, name) for name in _PLAIN}
    agreement = fitted["fit_report_"]["restart_agreement"]
    if agreement is not None:
        tensors["restart_agreement"] = torch.from_numpy(agreement)
        fitted["fit_report_"] = {**fitted["fit_report_"], "restart_agreement": None}
    offset = estimator._scaling.offset
    if isinstance(offset, np.ndarray):
        tensors["offset"] = torch.from_numpy(offset)
        offset = None
    params = {**estimator.get_params(deep=False), "checkpoint_dir": None}  # a folder of this machine
    if isinstance(params["random_state"], np.random.RandomState):
        params["random_state"] = None
    own = sorted(name for name, value in params.items() if not _is_plain(value))
    tensors = {name: value.cpu().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}
    description = {
        "format": _FORMAT,
        "class": type(estimator).__name__,
        "versions": {"deepcluster_sk": __version__, **{name: version(name) for name in ("torch", "scikit-learn")}},
        "params": {name: _text(plain(value)) for name, value in params.items() if name not in own},
        "own": {name: type(params[name]).__name__ for name in own},
        "fitted": plain(fitted),
        "feature_names_in_": list(getattr(estimator, "feature_names_in_", [])),
        "scaling": {"offset": offset, "scale": estimator._scaling.scale},
        "extra_state": state.get("_extra_state"),
        "tensors": _layout(tensors),
    }
    text = json.dumps(description)
    if len(text) > _MAX_HEADER // 2:  # quotes in it are escaped once more
        raise ValueError(f"The description of the estimator has {len(text)} characters, more than a file can hold.")
    header = {"deepcluster_sk": text, "sha256": _digest(text, tensors)}
    write_bytes(Path(path), safetensors.torch.save(tensors, metadata=header))


def load(path: str | os.PathLike[str], classes: Mapping[str, type], own: Mapping[str, Any]) -> Any:
    """Estimator that :func:`save` wrote, of one of ``classes``; ``own`` are the objects of the user's that it had."""
    description, tensors = _read(Path(path))
    refused = f"{os.fspath(path)!r} cannot be loaded"
    try:
        kind, needed = str(description["class"]), {str(name): str(what) for name, what in description["own"].items()}
    except (KeyError, AttributeError) as error:
        raise ValueError(f"{refused}: what it describes is not whole ({error}).") from error
    if kind not in classes:
        raise ValueError(f"{refused}: class {kind!r} must be one of {', '.join(classes)}.")
    missing = [f"{name} ({what})" for name, what in needed.items() if name not in own]
    if missing:
        raise ValueError(f"{refused}: it was fitted with objects of your own; pass {', '.join(missing)} again.")
    extra = sorted(own.keys() - needed.keys())
    if extra:
        raise ValueError(f"{refused}: {', '.join(extra)} must not be passed; it was not an object of your own.")
    try:
        return _rebuilt(classes[kind], description, tensors, own)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
        raise ValueError(f"{refused}: what it describes does not fit what it holds ({error}).") from error


def _rebuilt(kind: type, description: dict[str, Any], tensors: dict[str, Tensor], own: Mapping[str, Any]) -> Any:
    params = {name: _untupled(name, value) for name, value in description["params"].items()}
    estimator = kind(**params, **{name: own[name] for name in description["own"]})
    estimator._check_params()
    fitted = {name: _untupled(name, description["fitted"][name]) for name in _PLAIN}
    # A description of something huge takes no memory before it is found not to fit; the user's own module is here.
    with nullcontext() if estimator._has_own_module() else torch.device("meta"):
        network = estimator._build_network(fitted["_sample_shape"])
    state = {name.removeprefix("module."): value for name, value in tensors.items() if name.startswith("module.")}
    if description["extra_state"] is not None:
        state["_extra_state"] = description["extra_state"]
    network.load_state_dict(state, assign=True)
    if not estimator._has_own_module():
        network.to(memory_format=torch.channels_last)
    estimator.module_ = network.eval()
    order, names, extra = fitted["_cluster_order"], description["feature_names_in_"], description["extra_state"]
    if sorted(order) != list(range(estimator.n_clusters)) or not all(isinstance(name, str) for name in names):
        raise ValueError("its clusters or features are not named as they are after a fit")
    if extra is not None and not isinstance(extra, bool):
        raise TypeError(f"its extra state is {extra!r}")
    for name, value in fitted.items():
        setattr(estimator, name, value)
    for name in _ARRAYS:
        if name in tensors:
            setattr(estimator, name, tensors[name].numpy())
    if "restart_agreement" in tensors:
        estimator.fit_report_["restart_agreement"] = tensors["restart_agreement"].numpy()
    if description["feature_names_in_"]:
        estimator.feature_names_in_ = np.array(description["feature_names_in_"], dtype=object)
    offset: float | NDArray[np.float64] | None = description["scaling"]["offset"]
    offset = tensors["offset"].numpy() if offset is None else offset
    estimator._scaling = Scaling(offset, description["scaling"]["scale"])
    return estimator


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Description and tensors of a file, checked against its digest."""
    refused = f"{os.fspath(path)!r} is not a whole file of a saved estimator"
    with path.open("rb") as file:
        n_header = int.from_bytes(file.read(8), "little")
        if n_header > min(_MAX_HEADER, path.stat().st_size):
            raise ValueError(f"{refused}: its header is said to have {n_header} bytes.")
        content = file.read(n_header)
    try:
        header = json.loads(content)["__metadata__"]
        text, digest = header["deepcluster_sk"], header["sha256"]
        description = json.loads(text)
        written = description["format"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{refused}: its header cannot be read ({type(error).__name__}: {error}).") from error
    if written != _FORMAT:
        raise ValueError(
            f"{os.fspath(path)!r} has format {written!r}, and this version reads {_FORMAT}. It was written by "
            f"{description.get('versions')}: use that version, or a later one."
        )
    try:
        tensors = safetensors.torch.load(path.read_bytes())
    except (SafetensorError, ValueError, KeyError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{refused}: {error}") from error
    if _layout(tensors) != description.get("tensors") or _digest(text, tensors) != digest:
        raise ValueError(f"{refused}: its checksum is wrong.")
    return description, tensors


def _layout(tensors: Mapping[str, Tensor]) -> dict[str, list[Any]]:
    return {name: [str(value.dtype), list(value.shape)] for name, value in sorted(tensors.items())}


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for _, value in sorted(tensors.items()):
        digest.update(value.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | bool | int | float | np.generic | os.PathLike | torch.device)


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, os.PathLike | torch.device) else value


def _untupled(name: str, value: Any) -> Any:
    """JSON has lists where there were tuples."""
    return tuple(value) if name in _TUPLES and value is not None else value
