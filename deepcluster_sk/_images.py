"""Image files: which files of a folder are images, and how one becomes a tensor of the size that is wanted.

Pillow decodes them, as in torchvision's own ImageFolder; torchvision's decoders are deprecated. It reads every format
alike, and of a large JPEG no more than is needed for a small picture.
"""

import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

# What a file's name ends in, in letters of any case.
_SUFFIXES = {".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff"}
# JPEG files are decoded at no less than so many times the size that is wanted.
_SPARE = 2


def image_paths(folder: str | os.PathLike[str]) -> list[str]:
    """Paths of the image files in a folder and the folders in it, sorted.

    Parameters
    ----------
    folder : path-like
        Files and folders in it whose names start with a dot are left out; links to folders are followed, once each.

    Returns
    -------
    paths : list of str
        Of files named .jpg, .jpeg, .png, .gif, .webp, .bmp, .tif or .tiff, which are not opened; and of folders that
        may not be read, which count as files that cannot be.

    Raises
    ------
    ValueError
        If ``folder`` is not a folder.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from deepcluster_sk import image_paths
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("b.jpg", "a.PNG", "notes.txt"):
    ...         _ = Path(folder, name).write_bytes(b"")
    ...     [Path(path).name for path in image_paths(folder)]
    ['a.PNG', 'b.jpg']
    """
    if not os.path.isdir(folder):
        raise ValueError(f"folder={os.fspath(folder)!r} must be a folder that exists.")
    found, seen = [], {os.path.realpath(folder)}
    closed: list[OSError] = []
    for parent, folders, names in os.walk(folder, onerror=closed.append, followlinks=True):
        below = [os.path.join(parent, name) for name in folders if name[0] != "."]
        folders.clear()  # os.walk goes into what is put here
        for path in sorted(below, key=lambda path: (os.path.islink(path), path)):
            if os.path.realpath(path) not in seen:
                seen.add(os.path.realpath(path))
                folders.append(os.path.basename(path))
        found += [os.path.join(parent, name) for name in names if name[0] != "."]
    images = [path for path in found if Path(path).suffix.lower() in _SUFFIXES]
    return sorted([*images, *(error.filename for error in closed)])


def sides(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Height and width that a file says it has, which is not decoded; before it is turned upright."""
    with Image.open(path) as image:
        return image.height, image.width


def decode(path: str | os.PathLike[str], size: tuple[int, int]) -> Tensor:
    """One image in colour, upright as its EXIF data say, on white where it is transparent; the first of an animation.

    Parameters
    ----------
    path : path-like
    size : tuple (height, width)
        The image is cropped and resized to it.

    Returns
    -------
    image : Tensor of shape (3, height, width), uint8
        16 bits a colour are reduced to 8.

    Raises
    ------
    Exception
        Of many kinds, if the file cannot be read.
    """
    with Image.open(path) as file:
        file.draft("RGB", (_SPARE * max(size),) * 2)
        image = ImageOps.exif_transpose(file)
        if image.mode in ("I", "F"):
            raise ValueError(f"it has pixels of 32 bits (mode {image.mode}), whose range is not known")
        if image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        pixels = np.array(image.convert("RGB"))
    return resized(torch.from_numpy(pixels).permute(2, 0, 1), size)


def resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    """The middle of an image, as large as its proportions allow, at another size.

    Parameters
    ----------
    image : Tensor of shape (c, h, w), uint8 or floating point
    size : tuple (height, width)

    Returns
    -------
    image : Tensor of shape (c, height, width), of the same dtype
    """
    sides = tuple(image.shape[1:])
    if sides == size:
        return image
    scale = max(wanted / side for wanted, side in zip(size, sides, strict=True))
    (top, height), (left, width) = (_middle(side, wanted / scale) for side, wanted in zip(sides, size, strict=True))
    part = image[:, top : top + height, left : left + width]
    exact = part.float() if part.dtype == torch.float16 else part  # torch smooths no image of half precision on CPUs
    return F.interpolate(exact[None], size, mode="bilinear", antialias=True)[0].to(image.dtype)


def _middle(side: int, length: float) -> tuple[int, int]:
    """Start and length of the middle of a side."""
    n_pixels = min(side, max(1, round(length)))
    return (side - n_pixels) // 2, n_pixels
