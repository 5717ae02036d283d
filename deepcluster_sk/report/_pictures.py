"""Small pictures of samples as data URLs: single ones, and many in sheets, which cost less."""

import base64
import io
import math
from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from deepcluster_sk._images import decode, resized, sides
from deepcluster_sk._lazy import in_threads
from deepcluster_sk._scaling import Scaling

# Longest side of a picture, and pixels of all single pictures and of all in sheets; many are made smaller.
_LONGEST, _LONGEST_IN_SHEET = 96, 64
_PIXELS, _PIXELS_IN_SHEETS = 6_000_000, 10_000 * 32**2
_SHORTEST = 8
# JPEG compresses colour in blocks of 16 pixels: a picture in a sheet has blocks of its own, or it would bleed.
_BLOCK = 16
# Pixels along a side of a sheet.
_SHEET_SIDE = 512
# Rows that are scaled together.
_TOGETHER = 32
_QUALITY, _SHEET_QUALITY = 88, 78


class Pictures:
    """Makes pictures of samples as the network sees them, of files in more detail where these have it.

    Parameters
    ----------
    rows : ndarray or LazyArray of shape (n, c, h, w), uint8 or float
    scaling : Scaling
        From values to [0, 1].
    paths : list of str or None
        Files that the rows come from.
    """

    def __init__(self, rows: Any, scaling: Scaling, paths: Sequence[str] | None) -> None:
        self.rows, self.scaling, self.paths = rows, scaling, paths

    def single(self, indices: NDArray[np.intp]) -> dict[str, Any]:
        """A picture for each sample.

        Returns
        -------
        pictures : dict
            "height" and "width" in pixels, and "urls": list of str, in the order of ``indices``.
        """
        height, width = self._size(len(indices), _PIXELS, _LONGEST, self._detail(indices))
        urls = [_url(pixels, _QUALITY) for pixels in self._pixels(indices, (height, width))]
        return {"height": height, "width": width, "urls": urls}

    def sheets(self, indices: NDArray[np.intp]) -> dict[str, Any]:
        """Pictures side by side: that of the i-th sample is the i-th in reading order, sheet after sheet.

        Returns
        -------
        sheets : dict
            "height" and "width" of a picture, "cell_height" and "cell_width" from one to the next, in pixels, "columns"
            and "rows" of pictures in a sheet, and "urls" of the sheets: list of str.
        """
        height, width = self._size(len(indices), _PIXELS_IN_SHEETS, _LONGEST_IN_SHEET, max(self.rows.shape[2:]))
        cell = _up_to_blocks(height), _up_to_blocks(width)
        n_rows, n_columns = (max(1, _SHEET_SIDE // side) for side in cell)
        urls = []
        for start in range(0, len(indices), n_rows * n_columns):
            pictures = self._pixels(indices[start : start + n_rows * n_columns], (height, width))
            urls.append(_url(_arranged(pictures, cell, n_columns), _SHEET_QUALITY))
        names = ("height", "width", "cell_height", "cell_width", "columns", "rows")
        return dict(zip(names, (height, width, *cell, n_columns, n_rows), strict=True)) | {"urls": urls}

    def _size(self, n_pictures: int, n_pixels: int, longest: int, shown_at_most: int) -> tuple[int, int]:
        """Height and width in the proportions of the samples, so that all pictures have ``n_pixels`` at most."""
        full = self.rows.shape[2:]
        longest = max(_SHORTEST, min(longest, math.isqrt(n_pixels // max(1, n_pictures))))
        scale = min(longest, shown_at_most) / max(full)
        return max(1, round(full[0] * scale)), max(1, round(full[1] * scale))

    def _detail(self, indices: NDArray[np.intp]) -> int:
        """Pixels along the longer side of a picture beyond which there is nothing more to see."""
        longest = max(self.rows.shape[2:])
        if self.paths is None or len(indices) == 0:
            return longest
        return max(longest, round(median(min(sides(self.paths[i])) for i in indices)))

    def _pixels(self, indices: NDArray[np.intp], size: tuple[int, int]) -> NDArray[np.uint8]:
        """Pictures (n, height, width, 3), uint8."""
        pictures = np.empty((len(indices), *size, 3), np.uint8)
        if self.paths is not None and size != tuple(self.rows.shape[2:]):
            files = [self.paths[i] for i in indices]
            for i, image in enumerate(in_threads(lambda path: decode(path, size), files)):
                pictures[i] = image.permute(1, 2, 0)
            return pictures
        low, extent = np.float64(self.scaling.offset), self.scaling.scale
        for start in range(0, len(indices), _TOGETHER):
            rows = np.asarray(self.rows[indices[start : start + _TOGETHER]])
            for i, image in enumerate(_in_colour(((rows - low) / extent).astype(np.float32)), start):
                small = resized(torch.from_numpy(image), size).permute(1, 2, 0)
                pictures[i] = (small.clamp(0, 1) * 255).round()
        return pictures


def _in_colour(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Images (n, c, h, w) in [0, 1] as (n, 3, h, w): a fourth channel is opacity, on white; others are averaged."""
    n_channels = images.shape[1]
    if n_channels == 4:
        return images[:, :3] * images[:, 3:] + (1 - images[:, 3:])
    if n_channels == 3:
        return images
    return np.repeat(images.mean(axis=1, keepdims=True), 3, axis=1)


def _up_to_blocks(side: int) -> int:
    return -(-side // _BLOCK) * _BLOCK


def _arranged(pictures: NDArray[np.uint8], cell: tuple[int, int], n_columns: int) -> NDArray[np.uint8]:
    """Pictures (n, h, w, 3) in rows of cells; what is left of a cell repeats the edge, which compresses to nothing."""
    below, right = cell[0] - pictures.shape[1], cell[1] - pictures.shape[2]
    padded = np.pad(pictures, ((0, -len(pictures) % n_columns), (0, below), (0, right), (0, 0)), mode="edge")
    grid = padded.reshape(-1, n_columns, *cell, 3).swapaxes(1, 2)  # (rows, cell height, columns, cell width, 3)
    return grid.reshape(-1, n_columns * cell[1], 3)


def _url(pixels: NDArray[np.uint8], quality: int) -> str:
    """Pixels (h, w, 3) as a data URL: PNG where that is smaller, as it is for line art, else JPEG."""
    is_gray = bool((pixels == pixels[..., :1]).all())
    image = Image.fromarray(np.ascontiguousarray(pixels[..., 0]) if is_gray else pixels)
    encoded = {}
    for kind, options in (("jpeg", {"quality": quality}), ("png", {})):
        buffer = io.BytesIO()
        image.save(buffer, kind, optimize=True, **options)
        encoded[kind] = buffer.getvalue()
    kind = min(encoded, key=lambda kind: len(encoded[kind]))
    return f"data:image/{kind};base64,{base64.b64encode(encoded[kind]).decode('ascii')}"
