"""Images to embeddings by a network that is not trained."""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor, nn

from deepcluster_sk._backbone import Backbone, features_of, resolve_backbone
from deepcluster_sk._checkpoint import claimed
from deepcluster_sk._data import to_device
from deepcluster_sk._embedding_cache import RowsInMemory, RowsOnDisk
from deepcluster_sk._engine import is_out_of_memory, resolve_precision
from deepcluster_sk._image_source import ImageSource, images_of
from deepcluster_sk._input import complain
from deepcluster_sk._lazy import in_threads
from deepcluster_sk._progress import tracked
from deepcluster_sk._torch_state import own_torch_state
from deepcluster_sk._validation import check_choice, check_number, check_size, resolve_device

_FATE = "They have NaN for an embedding."
# What rounding may add to a float image in [0, 1].
_SLACK = 1e-3


def embed_images(
    X: Any,
    backbone: str | nn.Module,
    *,
    weights: Any = "DEFAULT",
    image_shape: tuple[int, ...] | None = None,
    image_size: int | tuple[int, int] | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    batch_size: int = 64,
    dtype: DTypeLike = "float32",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    device: str | torch.device = "auto",
    cache: str | os.PathLike[str] | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    verbose: int = 0,
) -> NDArray[Any]:
    """Frozen features: what a network that is not trained further makes of each image, for any estimator to cluster.

    Parameters
    ----------
    X : array-like, path-like, list of path-like, or torch Dataset
        Images as ``fit`` of the estimators takes them: a folder, paths, a Dataset, (n, h, w), (n, h, w, c) or
        (n, c, h, w), uint8 in 0 to 255 or floating point in [0, 1], with one channel or three. Files are decoded
        batch by batch; some hundreds of images are in memory at a time.
    backbone : str or nn.Module
        - Name of a classification model of torchvision.models, such as "resnet18" or "vit_b_16". The layer that makes
          class scores is taken off: the embedding is what it gets.
        - "timm/NAME", NAME being one of timm's, such as "timm/vit_small_patch14_dinov2.lvd142m"; needs
          ``pip install "deepcluster_sk[timm]"``. The embedding is what timm gives for ``num_classes=0``.
        - Module of your own from images (n, 3, h, w) to (n, d), or to maps (n, d, h', w'), which are averaged over
          positions. It is used as it is, in evaluation mode, and a copy at that: remove a head before.
    weights : str, path-like, WeightsEnum or None, default="DEFAULT"
        For backbones by name. A name among torchvision's, such as "IMAGENET1K_V1"; for timm, whose names hold their
        weights' (timm/resnet50.a1_in1k), "DEFAULT" alone. These come from the cache of torch.hub or of Hugging Face,
        and are downloaded if they are not there. Or the path of a state dict, .safetensors or what ``torch.save``
        wrote; its head is left out. None draws random weights, the same each time, which is of use for tests.
    image_shape : tuple (h, w) or (h, w, c), or None, default=None
        As in the estimators: for flattened images, and arrays that may have their channels first or last.
    image_size : int, tuple (height, width) or None, default=None
        To which the middle of each image is resized. None resizes and crops as the weights' own preprocessing does,
        with bilinear interpolation; for random weights and those of a path as for the "DEFAULT" ones. With a module of
        your own None leaves arrays and Datasets as they are, and makes files 224 x 224.
    mean, std : float, sequence of three floats, or None, default=None
        Of pixels in [0, 1], a colour each; the network gets ``(pixel - mean) / std``. None takes those of the weights,
        and those of ImageNet, (0.485, 0.456, 0.406) and (0.229, 0.224, 0.225), for a module of your own.
    batch_size : int, default=64
        Images that pass the network together. Batches are halved where memory does not suffice for one.
    dtype : {"float32", "float16"}, default="float32"
        Of the embeddings. The estimators take both.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        That the network computes in; "auto" is bfloat16 where the hardware has it natively.
    device : str or torch.device, default="auto"
        "auto" is a GPU if there is one.
    cache : path-like or None, default=None
        A folder in which embeddings are kept, some thousand images after the other, so that a run that was killed goes
        on where it was, and one that came to its end is not repeated. In it is a folder for each combination of images,
        backbone and settings. Arrays are told apart by their values, Datasets by their attributes, and files by name
        within their common folder, size and time of change. Damaged parts are made anew, with a CheckpointWarning.
    on_error : {"raise", "skip"}, default="raise"
        For files that cannot be read: ValueError, or NaN for an embedding and an UnreadableImageWarning that names
        them. Embeddings that are in the cache when the error is raised stay there.
    verbose : int, default=0
        Progress is shown if above 0.

    Returns
    -------
    embeddings : ndarray of shape (n_samples, d), of ``dtype``
        A row for each image, in order. With ``cache`` a memory map that is only read.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not valid, an image is not as above, or the embedding of one is not finite.
    FileNotFoundError
        If weights are not in the cache of their library and cannot be downloaded; it says where to put them.
    ImportError
        If timm is wanted, and is not installed.

    Notes
    -----
    Embeddings of one image may differ in their last bits with the batch it is in, the device and the version of torch,
    and by some thousandths between precisions.

    Examples
    --------
    >>> import numpy as np
    >>> from torch import nn
    >>> from deepcluster_sk import embed_images
    >>> X = np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)
    >>> backbone = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU())  # any module; here one that gives maps
    >>> embed_images(X, backbone).shape
    (10, 16)

    In a pipeline, here with random weights:

    >>> from sklearn.cluster import KMeans
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import FunctionTransformer
    >>> settings = {"backbone": "mobilenet_v3_small", "weights": None, "image_size": 64}
    >>> embed = FunctionTransformer(embed_images, kw_args=settings)
    >>> make_pipeline(embed, KMeans(2)).fit_predict(X).shape
    (10,)
    """
    check_number("batch_size", batch_size, int, 1)
    check_choice("precision", precision, ("auto", "float32", "bfloat16"))
    check_choice("on_error", on_error, ("raise", "skip"))
    if not isinstance(verbose, bool):
        check_number("verbose", verbose, int, 0)
    dtype = _float_name(dtype)
    where = resolve_device(device)
    settings = {"image_size": check_size(image_size), "mean": _colours("mean", mean), "std": _colours("std", std)}
    network = _with_settings(resolve_backbone(backbone, weights, verbose), **settings)
    images = images_of(X, image_shape, network.resize)
    run = _Run(network, where, resolve_precision(precision, where, (3, 1, 1)), int(batch_size))
    with own_torch_state(where), torch.no_grad(), _store(cache, images, run, dtype) as store:
        _embed(images, run, store, on_error, verbose)
        embeddings = store.result()
    unreadable = {images.paths[i]: store.unreadable[i] for i in sorted(store.unreadable)}
    if unreadable:
        complain(unreadable, images.n, on_error, _FATE)
    return embeddings


class _Run:
    """A backbone on its device."""

    def __init__(self, backbone: Backbone, device: torch.device, precision: str, batch_size: int) -> None:
        self.backbone, self.device, self.precision, self.batch_size = backbone, device, precision, batch_size
        self.module = backbone.module.to(device)
        self._mean, self._std = (
            torch.tensor(values, dtype=torch.float32, device=device)[:, None, None]
            for values in (backbone.mean, backbone.std)
        )

    def n_features(self, shape: tuple[int, int, int]) -> int:
        """Length of the embedding of an image of this shape."""
        try:
            return self.embed(torch.zeros(1, *shape)).shape[1]
        except (TypeError, ValueError):
            raise
        except Exception as error:  # of any kind, as modules have theirs
            raise ValueError(f"backbone cannot take images of shape {shape}; see image_size. {error}") from error

    def embed(self, images: Tensor) -> Tensor:
        """Embeddings (n, d) of images (n, c, h, w), on the CPU."""
        try:
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bfloat16"):
                return features_of(self.module, self._prepared(images)).cpu()
        except RuntimeError as error:
            if len(images) == 1 or not is_out_of_memory(error):
                raise
        return torch.cat([self.embed(part) for part in images.tensor_split(2)])

    def _prepared(self, images: Tensor) -> Tensor:
        if images.is_floating_point():
            low, high = float(images.min()), float(images.max())
            if low < -_SLACK or high > 1 + _SLACK:
                raise ValueError(
                    f"X has {images.dtype} images with values in [{low:g}, {high:g}], which must lie in [0, 1]; those "
                    "of uint8 go from 0 to 255."
                )
            pixels = to_device(images.float(), self.device)
        else:
            pixels = to_device(images, self.device).float() / 255
        if self.backbone.crop is not None:
            (top, left), (height, width) = _corner(pixels, self.backbone.crop), self.backbone.crop
            pixels = pixels[:, :, top : top + height, left : left + width]
        return (pixels.expand(-1, 3, -1, -1) - self._mean) / self._std


def _corner(pixels: Tensor, crop: tuple[int, int]) -> tuple[int, int]:
    """Top and left of the middle."""
    return (pixels.shape[2] - crop[0]) // 2, (pixels.shape[3] - crop[1]) // 2


def _embed(images: ImageSource, run: _Run, store: RowsInMemory | RowsOnDisk, on_error: str, verbose: int) -> None:
    """Fill the rows that are still missing."""
    pending = store.pending()
    numbers = [i for part in pending for i in part]
    read = in_threads(images.read, numbers, images.n_threads)
    stream = tracked(read, len(numbers), "embedding images", verbose) if numbers else iter(())
    for part in pending:
        rows = np.full((len(part), store.n_columns), np.nan, store.dtype)
        unreadable: dict[int, str] = {}
        for start in range(0, len(part), run.batch_size):
            batch = list(islice(stream, min(run.batch_size, len(part) - start)))
            readable = [start + i for i, (image, _) in enumerate(batch) if image is not None]
            unreadable |= {part[start + i]: reason for i, (image, reason) in enumerate(batch) if image is None}
            if unreadable and on_error == "raise":
                complain({images.paths[i]: reason for i, reason in unreadable.items()}, images.n, on_error, _FATE)
            if readable:
                embedded = run.embed(torch.stack([image for image, _ in batch if image is not None]))
                rows[readable] = _checked(embedded, store.dtype)
        store.put(part, rows, unreadable)
    next(stream, None)  # lets a bar come to its end


def _checked(embedded: Tensor, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Embeddings in the dtype that is wanted, if they are finite."""
    with np.errstate(over="ignore"):
        rows = embedded.numpy().astype(dtype)
    if not np.isfinite(rows).all():
        largest = float(embedded.abs().max())
        raise ValueError(
            f"backbone gives embeddings of up to {largest:g}, and must give finite ones of at most "
            f"{np.finfo(dtype).max:g} for dtype='{dtype}'."
        )
    return rows


@contextmanager
def _store(cache: Any, images: ImageSource, run: _Run, dtype: str) -> Iterator[RowsInMemory | RowsOnDisk]:
    n_columns = run.n_features(images.shape)
    if cache is None:
        yield RowsInMemory(images.n, n_columns, dtype)
        return
    backbone = run.backbone
    fingerprint = {
        "method": "embed_images",
        "format": 1,  # to be raised where the same settings come to mean something else
        "images": images.identity(),
        "backbone": backbone.identity,
        **{name: repr(getattr(backbone, name)) for name in ("resize", "crop", "mean", "std")},
        "precision": run.precision,
        "dtype": dtype,
    }
    with claimed("cache", cache, fingerprint) as folder:
        yield RowsOnDisk(folder, images.n, n_columns, dtype)


def _with_settings(backbone: Backbone, image_size: Any, mean: Any, std: Any) -> Backbone:
    """A backbone with what the user sets in place of its own."""
    if image_size is not None:
        backbone = replace(backbone, resize=image_size, crop=None)
    return replace(backbone, mean=mean or backbone.mean, std=std or backbone.std)


def _colours(name: str, value: Any) -> tuple[float, ...] | None:
    """Three numbers, if any."""
    if value is None:
        return None
    values = tuple(value) if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str) else (value,) * 3
    if len(values) != 3:
        raise ValueError(f"{name}={value!r} must be a number, three numbers, or None.")
    for number in values:
        check_number(name, number, float, 0 if name == "std" else -math.inf, low_open=name == "std")
    return tuple(map(float, values))


def _float_name(dtype: Any) -> str:
    try:
        name = np.dtype(dtype).name
    except TypeError:
        name = None
    if name not in ("float32", "float16"):
        raise ValueError(f"dtype={dtype!r} must be 'float32' or 'float16'.")
    return name
