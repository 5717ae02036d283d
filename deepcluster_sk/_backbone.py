"""Networks that turn images into embeddings: torchvision's and timm's by name, and the user's own."""

import copy
import difflib
import math
import os
import pickle
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.func import functional_call

from deepcluster_sk._fingerprint import described, hash_of_tensors
from deepcluster_sk._torch_state import own_torch_state

# What torchvision's weights and most others were trained on.
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_WEIGHT_FILES = (".pth", ".pt", ".bin", ".safetensors")
# What reading a file of weights raises where it is no such file.
_NO_WEIGHTS = RuntimeError, pickle.UnpicklingError, EOFError, ValueError, SafetensorError

Size = tuple[int, int]


@dataclass(frozen=True)
class Backbone:
    """A network, and what it wants of images.

    Attributes
    ----------
    module : nn.Module
        In evaluation mode, on the CPU; from images (n, 3, h, w) to (n, d) or (n, d, h', w').
    resize : tuple (height, width) or None
        Size that images get; None where they may keep theirs.
    crop : tuple (height, width) or None
        Middle that is cut from these; None for all.
    mean, std : tuple of three floats
        Of each colour, in [0, 1].
    identity : str
        The same for the same function of images in every process.
    """

    module: nn.Module
    resize: Size | None
    crop: Size | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    identity: str


def resolve_backbone(backbone: Any, weights: Any, verbose: int) -> Backbone:
    """Turn what the user calls a backbone into one.

    Raises
    ------
    TypeError, ValueError
        If there is no such network, or weights do not fit it.
    FileNotFoundError
        If weights are neither here nor can be downloaded.
    ImportError
        If timm is wanted, and is not installed.
    """
    if isinstance(backbone, nn.Module):
        if not (isinstance(weights, str) and weights == "DEFAULT"):
            raise ValueError(f"weights={weights!r} is for backbones by name; a module of your own has its weights.")
        module = copy.deepcopy(backbone).cpu().requires_grad_(False).eval()
        identity = described("backbone", module, needed_by="cache")
        return Backbone(module, None, None, _IMAGENET_MEAN, _IMAGENET_STD, identity)
    if not isinstance(backbone, str):
        raise TypeError(f"backbone={backbone!r} must be a name or a torch.nn.Module, got {type(backbone).__name__}.")
    if not (weights is None or isinstance(weights, str | os.PathLike | Enum)):
        raise TypeError(f"weights={weights!r} must be a name, a path or None, got {type(weights).__name__}.")
    resolve = _from_timm if backbone.startswith("timm/") else _from_torchvision
    with own_torch_state(torch.device("cpu")), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The default weight initialization of", FutureWarning)
        torch.manual_seed(0)  # weights=None is the same network in every process
        found = resolve(backbone, weights, verbose)
    found.module.requires_grad_(False).eval()
    return found


def features_of(module: nn.Module, batch: Tensor) -> Tensor:
    """What a network makes of images, (n, d) float32; maps are averaged over positions.

    Raises
    ------
    TypeError, ValueError
        If that is no such thing.
    """
    output = module(batch)
    if not (isinstance(output, Tensor) and output.is_floating_point()):
        raise TypeError(f"backbone must give a tensor of floating point, and gave {type(output).__name__}.")
    if output.ndim not in (2, 4) or len(output) != len(batch):
        raise ValueError(
            f"backbone must turn images {tuple(batch.shape)} into (n, d) or (n, d, h, w), not {tuple(output.shape)}."
        )
    return output.float() if output.ndim == 2 else output.float().mean((2, 3))


def head_of(module: nn.Module, size: Size) -> str:
    """Name of the layer that makes class scores: the last linear one, or convolution, that runs."""
    layers = {layer: name for name, layer in module.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)}
    ran: list[str] = []
    hooks = [layer.register_forward_hook(lambda layer, *_: ran.append(layers[layer])) for layer in layers]
    without_numbers = {name: tensor.to("meta") for name, tensor in module.state_dict().items()}
    try:
        with torch.no_grad():
            functional_call(module.eval(), without_numbers, torch.zeros(1, 3, *size, device="meta"))
    finally:
        for hook in hooks:
            hook.remove()
    return ran[-1]


def _from_torchvision(name: str, weights: Any, verbose: int) -> Backbone:
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        close = difflib.get_close_matches(name, known) or ["resnet18", "vit_b_16"]
        raise ValueError(
            f"backbone={name!r} must be a classification model of torchvision.models (such as {', '.join(close)}), "
            "'timm/NAME', or a torch.nn.Module."
        )
    path = _path_of(weights)
    choices = models.get_model_weights(name)
    if weights is None or path is not None:
        module, chosen = models.get_model(name, weights=None), choices["DEFAULT"]
    else:
        chosen = _choice(name, weights, choices)
        module = _fetched(
            lambda: models.get_model(name, weights=chosen, progress=verbose > 0),
            weights,
            chosen.url,
            Path(torch.hub.get_dir(), "checkpoints"),
            f"put them there as {os.path.basename(chosen.url)}",
        )
    preset = chosen.transforms()
    side = int(getattr(module, "image_size", preset.crop_size[0]))  # a vision transformer has but one
    margin = preset.resize_size[0] if side == preset.crop_size[0] else side
    head = head_of(module, (side, side))
    module.set_submodule(head, nn.Identity())
    if path is not None:
        _load(module, path, head)
        if hasattr(module, "transform_input"):  # torchvision's own weights of Inception were made for it
            module.transform_input = True
    return Backbone(
        module,
        (margin, margin),
        (side, side),
        tuple(preset.mean),
        tuple(preset.std),
        f"{name} {hash_of_tensors(module.state_dict())}",
    )


def _from_timm(backbone: str, weights: Any, verbose: int) -> Backbone:
    try:
        import timm
    except ImportError as error:
        raise ImportError(f"backbone={backbone!r} needs timm: pip install 'deepcluster_sk[timm]'.") from error
    name, path = backbone.removeprefix("timm/"), _path_of(weights)
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models())
        also = f", such as {', '.join(close)}" if close else ""
        raise ValueError(f"backbone={backbone!r} must be 'timm/' and a name that timm.list_models() has{also}.")
    if path is None and weights not in (None, "DEFAULT"):
        raise ValueError(
            f"weights={weights!r} must be 'DEFAULT', a path or None: timm's names have their weights in them, as in "
            "'timm/resnet50.a1_in1k'."
        )
    sketch = timm.create_model(name, pretrained=False, num_classes=0)
    module = sketch
    if path is not None:
        _load(module, path, *_heads(sketch.pretrained_cfg))
    elif weights is not None:
        url = sketch.pretrained_cfg.get("hf_hub_id") or sketch.pretrained_cfg.get("url")
        module = _fetched(
            lambda: timm.create_model(name, pretrained=True, num_classes=0),
            weights,
            f"https://huggingface.co/{url}" if url and "://" not in url else str(url),
            Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"), "hub"),
            "copy what that adds to this folder",
        )
    config = timm.data.resolve_model_data_config(module)
    crop = tuple(config["input_size"][1:])
    resize = tuple(math.floor(side / config["crop_pct"]) for side in crop)
    return Backbone(
        module,
        resize,
        crop,
        tuple(config["mean"]),
        tuple(config["std"]),
        f"{name} {hash_of_tensors(module.state_dict())}",
    )


def _heads(config: dict[str, Any]) -> tuple[str, ...]:
    """Names of the layers that make class scores in files of timm's weights."""
    heads = config.get("classifier") or ()
    return (heads,) if isinstance(heads, str) else tuple(heads)


def _path_of(weights: Any) -> str | None:
    """Path that ``weights`` is; None for names."""
    if isinstance(weights, os.PathLike):
        return os.fspath(weights)
    if isinstance(weights, Enum) or weights is None:
        return None
    is_path = os.path.basename(weights) != weights or weights.endswith(_WEIGHT_FILES) or os.path.isfile(weights)
    return weights if is_path else None


def _choice(name: str, weights: Any, choices: Any) -> Any:
    if isinstance(weights, Enum):
        if isinstance(weights, choices):
            return weights
    elif weights in choices.__members__:
        return choices[weights]
    names = ", ".join(repr(choice) for choice in choices.__members__)
    raise ValueError(
        f"weights={weights!r} must be one of {names} for backbone={name!r}, the path of a file, or None (random)."
    )


def _fetched(make: Callable[[], Any], weights: Any, url: str, folder: Path, by_hand: str) -> Any:
    """What ``make`` makes of weights it finds in a folder or downloads; an error says how to go on ``by_hand``."""
    try:
        return make()
    except OSError as error:
        raise FileNotFoundError(
            f"weights={weights!r} are not in {folder}, and could not be downloaded from {url} "
            f"({type(error).__name__}: {error}). Download them elsewhere and {by_hand}, or pass the path of the "
            "file as weights."
        ) from error
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise ValueError(
            f"weights={weights!r} from {folder} or {url} cannot be used ({error}). Remove the file if it is damaged."
        ) from error


def _load(module: nn.Module, path: str, *heads: str) -> None:
    """Put the weights in a file into a network, but for its ``heads``, which it no longer has."""
    if not os.path.isfile(path):
        raise ValueError(f"weights={path!r} must be the path of a file that exists.")
    try:
        state = load_file(path) if path.endswith(".safetensors") else torch.load(path, "cpu", weights_only=True)
        if not (isinstance(state, dict) and all(isinstance(value, Tensor) for value in state.values())):
            raise ValueError(f"it holds {type(state).__name__}, and not only tensors by name")
        without = {key: value for key, value in state.items() if key.rpartition(".")[0] not in heads}
        module.load_state_dict(without)
    except _NO_WEIGHTS as error:
        raise ValueError(f"weights={path!r} must be a state dict of tensors that fits the backbone: {error}") from error
