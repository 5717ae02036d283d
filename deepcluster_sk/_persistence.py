"""Fitted estimators as files that hold numbers and text, and nothing that could be run.

A file is in the safetensors format: a header in JSON, then tensors. A text in the header describes the estimator, and
beside it is its SHA-256; the text holds that of the tensors. Loading builds the network that the text describes without
memory, compares it with the shapes of the tensors, and only then reads these.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from deepcluster_sk import _regrouping
from deepcluster_sk._checkpoint import plain, write_bytes
from deepcluster_sk._fingerprint import hash_of_tensors
from deepcluster_sk._scaling import Scaling
from deepcluster_sk._torch_state import own_torch_state
from deepcluster_sk._validation import check_number
from deepcluster_sk._version import __version__

# Changes when a file of today could not be read tomorrow.
_FORMAT = 2
# JSON of so many bytes may take twenty times as many once it is read.
_MAX_HEADER = 2**22
# Attributes that are plain values, with their types in JSON, and arrays.
_PLAIN = {
    "n_iter_": int,
    "n_samples_seen_": int,
    "converged_": bool,
    "fit_report_": dict,
    "n_features_in_": int,
    "_n_features_out": int,
    "_sample_shape": list,
    "_seen_shape": list,
    "_cluster_order": list,
    "cluster_names_": list,
}
_ARRAYS = ("labels_", "cluster_centers_")
_SCALINGS = ("scaling", "units")
_TUPLES = ("image_shape", "image_size", "_sample_shape", "_seen_shape")
# Names of files are a tensor of bytes, with this between them: no name has it, and a header is too short for many.
_BETWEEN_PATHS = "\0"


def save(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted estimator to a file, whole or not at all."""
    state = estimator.module_.state_dict()
    unknown = [name for name, value in state.items() if not isinstance(value, Tensor) and name != "_extra_state"]
    if unknown:
        raise ValueError(f"The network has state that is no tensor, which a file cannot hold: {', '.join(unknown)}.")
    tensors = {f"module.{name}": value for name, value in state.items() if isinstance(value, Tensor)}
    tensors |= {**_fitted_tensors(estimator), "history": _bytes(json.dumps(plain(estimator.history_)).encode())}
    fitted = {name: getattr(estimator, name) for name in _PLAIN}
    agreement = fitted["fit_report_"]["restart_agreement"]
    if agreement is not None:
        tensors["restart_agreement"] = torch.from_numpy(agreement)
        fitted["fit_report_"] = {**fitted["fit_report_"], "restart_agreement": None}
    scalings = {name: getattr(estimator, f"_{name}") for name in _SCALINGS}
    offsets = {name: scaling.offset for name, scaling in scalings.items() if scaling is not None}
    tensors |= {f"{name}.offset": torch.from_numpy(each) for name, each in offsets.items() if np.ndim(each)}
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
        "regroupings": _regrouping.described(estimator._regroupings),
        "feature_names_in_": list(getattr(estimator, "feature_names_in_", [])),
        **{name: _scaling_described(scaling) for name, scaling in scalings.items()},
        "extra_state": state.get("_extra_state"),
        "tensors": {name: list(value.shape) for name, value in tensors.items()},
        "tensors_sha256": hash_of_tensors(tensors),
    }
    _check_unchanged(estimator, state)
    text = json.dumps(description)
    if len(text) > _MAX_HEADER // 2:  # quotes in it are escaped once more
        raise ValueError(f"The description of the estimator has {len(text)} characters, more than a file can hold.")
    header = {"deepcluster_sk": text, "sha256": hashlib.sha256(text.encode()).hexdigest()}
    write_bytes(Path(path), safetensors.torch.save(tensors, metadata=header))


def _check_unchanged(estimator: Any, state: Mapping[str, Any]) -> None:
    """Raise if the parameters, as ``set_params`` may have changed them, describe another network than was trained."""
    with own_torch_state(torch.device("cpu")), _without_values(estimator):
        described = estimator._build_network(estimator._sample_shape)
    shapes = [
        {name: tuple(value.shape) for name, value in each.items() if isinstance(value, Tensor)}
        for each in (described.state_dict(), state)
    ]
    fuzzifiers = {getattr(network, "fuzzifier", None) for network in (described, estimator.module_)}
    if shapes[0] != shapes[1] or len(fuzzifiers) > 1:
        raise ValueError(
            "Parameters that make the network, as n_clusters and network do, have been changed since fit: fit again, "
            "or set them back, for a file holds both."
        )


def _without_values(estimator: Any) -> AbstractContextManager[Any]:
    """A description of something huge takes no memory before it is found not to fit; the user's own module is here."""
    return nullcontext() if estimator._has_own_module() else torch.device("meta")


def _fitted_tensors(estimator: Any) -> dict[str, Tensor]:
    """Fitted attributes that are long."""
    tensors = {name: torch.from_numpy(getattr(estimator, name)) for name in _ARRAYS if hasattr(estimator, name)}
    tensors |= _regrouping.tensors_of(estimator._regroupings)
    if hasattr(estimator, "paths_"):
        tensors |= {"paths": _packed(estimator.paths_), "unreadable": _packed(estimator.unreadable_)}
        tensors["reasons"] = _packed(estimator.unreadable_.values())
    return tensors


def load(path: str | os.PathLike[str], classes: Mapping[str, type], own: Mapping[str, Any]) -> Any:
    """Estimator that :func:`save` wrote, of one of ``classes``; ``own`` are the objects of the user's that it had."""
    path = Path(path)
    description = _read_description(path)
    refused = f"{str(path)!r} cannot be loaded"
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
        estimator, network = _outlined(classes[kind], description, own)
        tensors = _read_tensors(path, description, network)
        _fill(estimator, network, description, tensors)
    except (SafetensorError, LookupError, TypeError, ValueError, RuntimeError, AttributeError, OverflowError) as error:
        raise ValueError(f"{refused}: what it describes does not fit what it holds ({error}).") from error
    return estimator


def _outlined(kind: type, description: dict[str, Any], own: Mapping[str, Any]) -> tuple[Any, Any]:
    """The estimator, and its network; of a built-in one, without values."""
    params = {name: _untupled(name, value) for name, value in description["params"].items()}
    estimator = kind(**params, **{name: own[name] for name in description["own"]})
    estimator._check_params()
    with own_torch_state(torch.device("cpu")), _without_values(estimator):
        network = estimator._build_network(_untupled("_sample_shape", description["fitted"]["_sample_shape"]))
    return estimator, network


def _fill(estimator: Any, network: Any, description: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Set what ``fit`` sets."""
    fitted, extra = _plain_attributes(estimator, description), description["extra_state"]
    state = {name.removeprefix("module."): value for name, value in tensors.items() if name.startswith("module.")}
    network.load_state_dict(state if extra is None else {**state, "_extra_state": extra}, assign=True)
    if not estimator._has_own_module():
        network.to(memory_format=torch.channels_last)
    estimator.module_ = network.eval()
    for name, value in fitted.items():
        setattr(estimator, name, value)
    estimator.history_ = json.loads(tensors["history"].numpy().tobytes())
    if not isinstance(estimator.history_, list):
        raise TypeError(f"history_ is {estimator.history_!r}")
    for name in _ARRAYS:
        if name in tensors:
            setattr(estimator, name, tensors[name].numpy())
    if "paths" in tensors:
        estimator.paths_ = _unpacked(tensors["paths"])
        estimator.unreadable_ = dict(zip(*map(_unpacked, (tensors["unreadable"], tensors["reasons"])), strict=True))
    if "restart_agreement" in tensors:
        estimator.fit_report_["restart_agreement"] = tensors["restart_agreement"].numpy()
    if description["feature_names_in_"]:
        estimator.feature_names_in_ = np.array(description["feature_names_in_"], dtype=object)
    estimator._scaling = _scaling("scaling", description, tensors)
    estimator._units = None if description["units"] is None else _scaling("units", description, tensors)
    sizes = estimator.n_clusters, estimator._n_features_out
    estimator._regroupings, n_clusters = _regrouping.restored(description["regroupings"], tensors, *sizes)
    if len(estimator.cluster_names_) != n_clusters:
        raise ValueError(f"it names {len(estimator.cluster_names_)} clusters of {n_clusters}")


def _plain_attributes(estimator: Any, description: dict[str, Any]) -> dict[str, Any]:
    """Attributes that are plain values, if they are of the types that they have after a fit."""
    for name, kind in _PLAIN.items():
        if not isinstance(description["fitted"][name], kind):
            raise TypeError(f"{name} is {description['fitted'][name]!r}")
    fitted = {name: _untupled(name, description["fitted"][name]) for name in _PLAIN}
    names, extra = description["feature_names_in_"], description["extra_state"]
    is_named = sorted(fitted["_cluster_order"]) == list(range(estimator.n_clusters))
    texts = [*names, *fitted["cluster_names_"]]
    if not (is_named and isinstance(names, list) and all(isinstance(text, str) for text in texts)):
        raise ValueError("its clusters or features are not named as they are after a fit")
    if extra is not None and not isinstance(extra, bool):
        raise TypeError(f"its extra state is {extra!r}")
    return fitted


def _scaling_described(scaling: Scaling | None) -> dict[str, Any] | None:
    """Plain values; an offset for each feature is a tensor beside them."""
    return None if scaling is None else {**vars(scaling), "offset": None if np.ndim(scaling.offset) else scaling.offset}


def _scaling(name: str, description: dict[str, Any], tensors: dict[str, Tensor]) -> Scaling:
    offset, scale, to_unit = (description[name][each] for each in ("offset", "scale", "to_unit"))
    offset = tensors[f"{name}.offset"].numpy() if offset is None else offset
    check_number("scale", scale, float, 0, low_open=True)
    if not np.isfinite(offset).all():
        raise ValueError(f"offset is {offset}")
    if not isinstance(to_unit, bool):
        raise TypeError(f"to_unit is {to_unit!r}")
    return Scaling(offset, scale, to_unit)


def _read_description(path: Path) -> dict[str, Any]:
    """What the header says, checked against its digest."""
    refused = f"{str(path)!r} is not a whole file of a saved estimator"
    with path.open("rb") as file:
        n_header = int.from_bytes(file.read(8), "little")
        if n_header > min(_MAX_HEADER, path.stat().st_size):
            raise ValueError(f"{refused}: its header is said to have {n_header} bytes.")
        content = file.read(n_header)
    try:
        header = json.loads(content)["__metadata__"]
        text, digest = header["deepcluster_sk"], header["sha256"]
        is_whole = hashlib.sha256(text.encode()).hexdigest() == digest
        description = json.loads(text)
        written, versions = description["format"], description["versions"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{refused}: its header cannot be read ({type(error).__name__}: {error}).") from error
    if not is_whole:
        raise ValueError(f"{refused}: the checksum of its header is wrong.")
    if written != _FORMAT:
        raise ValueError(
            f"{str(path)!r} has format {written!r}, and this version reads {_FORMAT}. It was written by {versions}: "
            "use that version, or a later one."
        )
    return dict(description)


def _read_tensors(path: Path, description: dict[str, Any], network: Any) -> dict[str, Tensor]:
    """The tensors, once their shapes are those of the description and of the network, checked against their digest."""
    with safetensors.safe_open(path, "pt") as file:
        names = file.keys()
        shapes = {name: file.get_slice(name).get_shape() for name in names}
    needed = {f"module.{k}": list(v.shape) for k, v in network.state_dict().items() if isinstance(v, Tensor)}
    if shapes != description["tensors"] or any(shapes.get(name) != shape for name, shape in needed.items()):
        raise ValueError("its tensors have other names or shapes")
    tensors = safetensors.torch.load(path.read_bytes())
    if hash_of_tensors(tensors) != description["tensors_sha256"]:
        raise ValueError("the checksum of its tensors is wrong")
    return tensors


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | bool | int | float | np.generic | os.PathLike | torch.device)


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, os.PathLike | torch.device) else value


def _packed(texts: Iterable[str]) -> Tensor:
    joined = "".join(text.replace(_BETWEEN_PATHS, " ") + _BETWEEN_PATHS for text in texts)
    return _bytes(joined.encode("utf-8", "surrogateescape"))


def _bytes(content: bytes) -> Tensor:
    return torch.from_numpy(np.frombuffer(content, np.uint8).copy())


def _unpacked(packed: Tensor) -> list[str]:
    return packed.numpy().tobytes().decode("utf-8", "surrogateescape").split(_BETWEEN_PATHS)[:-1]


def _untupled(name: str, value: Any) -> Any:
    """JSON has lists where there were tuples."""
    return tuple(value) if name in _TUPLES and isinstance(value, list) else value
