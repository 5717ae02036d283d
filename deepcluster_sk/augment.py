"""Random transforms of whole batches, drawn anew for every sample.

An augmentation is any callable ``augment(batch, generator) -> batch``. Parameters are drawn on the CPU from the
explicit generator, so that every device sees the same draws, and applied on the batch's own device without a loop.
"""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from deepcluster_sk._data import to_device
from deepcluster_sk._drawn import DrawnAugmentation, unchanged
from deepcluster_sk._validation import check_choice, check_number

__all__ = ["Augmentation", "FeatureNoise", "ImageAugmentation", "check_augmentation", "resolve_augmentation"]

Augmentation = Callable[[Tensor, Generator], Tensor]
"""Type of ``augment(batch, generator)``."""


@dataclass(frozen=True)
class ImageAugmentation(DrawnAugmentation):
    """Rotation, shift, zoom, shear, intensity, colours and flip of a batch of images, each drawn per sample.

    The default is what DAC's authors use for handwritten digits and :meth:`color` their set for colour photographs;
    those called strong have wider ranges, which the contrastive warm-up thrives on.

    Parameters
    ----------
    rotation : float, default=10.0
        Largest rotation to either side, in degrees, in [0, 180].
    shift : float, default=0.1
        Largest shift along each axis, as a fraction of that side of the image, in [0, 1].
    zoom : float, default=0.05
        Largest change of size, in [0, 1): factors lie in [1 - zoom, 1 + zoom].
    shear : float, default=0.0
        Largest slant to either side, as a fraction of the height, at least 0. Not in the papers.
    intensity : float, default=0.05
        Largest value added to or taken from all pixels of an image, in [0, 1], as pixels are.
    channel_shift : float, default=0.0
        The same, drawn for every channel by itself.
    rescale : float, default=0.975
        Constant factor of all pixels, above 0.
    horizontal_flip : bool, default=False
        Whether every second image, on average, is mirrored. Wrong for digits and letters.
    brightness, contrast : float, default=0.0
        Largest change of all pixels, and of their distances to the image's mean, in [0, 1]: factors lie in
        [1 - value, 1 + value]. Neither is in the papers, nor are the next three.
    saturation : float, default=0.0
        The same of each pixel's distance to gray, in [0, 1]. Needs three channels, as the next two do.
    hue : float, default=0.0
        Largest turn of the colours to either side, in turns, in [0, 0.5]: at 1/3 red becomes green, green blue and
        blue red.
    grayscale : float, default=0.0
        Probability with which an image loses its colours, in [0, 1].

    Raises
    ------
    TypeError, ValueError
        At once, if a parameter is of another type or outside its range.

    Notes
    -----
    Pixels that come in from outside repeat the nearest border pixel. Changed colours are cut off at 0 and 1.

    References
    ----------
    Chang et al., "Deep Adaptive Image Clustering", ICCV 2017, train on augmented images; the ranges are from their
    published experiments. Those of the colours are from Chen et al., "A Simple Framework for Contrastive Learning of
    Visual Representations", ICML 2020, for CIFAR-10.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.augment import ImageAugmentation
    >>> images = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> ImageAugmentation(rotation=20)(images, torch.Generator().manual_seed(1)).shape
    torch.Size([5, 1, 8, 8])
    """

    rotation: float = 10.0
    shift: float = 0.1
    zoom: float = 0.05
    shear: float = 0.0
    intensity: float = 0.05
    channel_shift: float = 0.0
    rescale: float = 0.975
    horizontal_flip: bool = False
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    grayscale: float = 0.0

    def __post_init__(self) -> None:
        check_number("rotation", self.rotation, float, 0, 180)
        check_number("zoom", self.zoom, float, 0, 1, high_open=True)
        check_number("shear", self.shear, float, 0)
        check_number("rescale", self.rescale, float, 0, low_open=True)
        check_number("hue", self.hue, float, 0, 0.5)
        check_choice("horizontal_flip", self.horizontal_flip, (False, True))
        for name in ("shift", "intensity", "channel_shift", "brightness", "contrast", "saturation", "grayscale"):
            check_number(name, getattr(self, name), float, 0, 1)

    @classmethod
    def strong(cls) -> "ImageAugmentation":
        """Wide ranges and shear, for images of shapes that have no mirror image: digits, letters, clothes.

        Returns
        -------
        augmentation : ImageAugmentation
            Rotation ±15°, shift ±12 %, zoom 0.85 to 1.15, shear ±0.25, intensity ±0.05.
        """
        return cls(rotation=15.0, shift=0.12, zoom=0.15, shear=0.25, rescale=1.0)

    @classmethod
    def strong_gray(cls) -> "ImageAugmentation":
        """:meth:`strong` in other light each time, by as much as :meth:`strong_color` changes it.

        Returns
        -------
        augmentation : ImageAugmentation
            That of :meth:`strong`, with brightness and contrast ±40 %.
        """
        return replace(cls.strong(), brightness=0.4, contrast=0.4)

    @classmethod
    def color(cls) -> "ImageAugmentation":
        """Wider ranges and mirroring, for colour photographs.

        Returns
        -------
        augmentation : ImageAugmentation
            Rotation ±20°, shift ±18 %, zoom 0.85 to 1.15, channel shift ±0.1, horizontal flip.
        """
        return cls(
            rotation=20.0, shift=0.18, zoom=0.15, intensity=0.0, channel_shift=0.1, rescale=0.95, horizontal_flip=True
        )

    @classmethod
    def strong_color(cls) -> "ImageAugmentation":
        """Other colours each time, for photographs, which are then told apart by their shapes as well.

        Returns
        -------
        augmentation : ImageAugmentation
            Rotation ±20°, shift ±18 %, zoom 0.85 to 1.15, brightness, contrast and saturation ±40 %, hue ±0.1 turns,
            every fifth image gray, horizontal flip.
        """
        geometry = replace(cls.color(), channel_shift=0.0, rescale=1.0)
        return replace(geometry, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, grayscale=0.2)

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        """Transform every image by its own draw.

        Parameters
        ----------
        images : Tensor of shape (n, c, h, w), float, in [0, 1]
            Left as it is.
        generator : torch.Generator on the CPU
            Source of all draws.

        Returns
        -------
        transformed : Tensor of shape (n, c, h, w)
            On the device of ``images``; intensities may leave [0, 1] by as much as they were shifted.

        Raises
        ------
        ValueError
            If saturation, hue or grayscale are to change and the images have not three channels.
        """
        return super().__call__(images, generator)

    def _draw(self, shape: tuple[int, ...], generator: Generator) -> tuple[Tensor, ...]:
        if self._recolors_three_channels and shape[1] != 3:
            raise ValueError(f"saturation, hue and grayscale need images of 3 channels, got {shape[1]}.")
        geometry = torch.rand(shape[0], 7 + shape[1], generator=generator)
        return (geometry, torch.rand(shape[0], 5, generator=generator)) if self._recolors else (geometry,)

    def _transformed(self, images: Tensor, *draws: Tensor) -> Tensor:
        centered = to_device(draws[0] * 2 - 1, images.device)  # (n, 7 + c), in [-1, 1]
        theta = self._affine_matrices(centered[:, :5], centered[:, 5] < 0, aspect=images.shape[2] / images.shape[3])
        # In float32: a grid in bfloat16 is off by most of a pixel.
        grid = _affine_grid(theta, *images.shape[2:])
        moved = F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
        if self._recolors:
            moved = self._recolored(moved, to_device(draws[1], images.device))
        offset = self.intensity * centered[:, 6:7] + self.channel_shift * centered[:, 7:]  # (n, c)
        return (moved * self.rescale + offset[:, :, None, None]).to(images.dtype)

    @property
    def _recolors_three_channels(self) -> bool:
        return any((self.saturation, self.hue, self.grayscale))

    @property
    def _recolors(self) -> bool:
        return any((self.brightness, self.contrast, self._recolors_three_channels))

    def _recolored(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Images (n, c, h, w) of other brightness, contrast and colours, by ``drawn`` (n, 5), in [0, 1)."""
        centered = drawn * 2 - 1
        brightness = (1 + self.brightness * centered[:, 0])[:, None, None, None]
        contrast = (1 + self.contrast * centered[:, 1])[:, None, None, None]
        mean = images.mean(dim=(1, 2, 3), keepdim=True)
        images = brightness * (mean + contrast * (images - mean))
        if self._recolors_three_channels:
            saturation = torch.where(drawn[:, 4] < self.grayscale, 0.0, 1 + self.saturation * centered[:, 2])
            turned = _color_matrices(saturation, angle=2 * math.pi * self.hue * centered[:, 3])
            images = (turned @ images.flatten(2)).view_as(images)
        return images.clamp(0, 1)

    def _affine_matrices(self, centered: Tensor, flipped: Tensor, aspect: float) -> Tensor:
        """Matrices (n, 2, 3) from output to input coordinates, both in [-1, 1] along sides of ratio h / w."""
        angle = centered[:, 0] * math.radians(self.rotation)
        size = 1 + centered[:, 1] * self.zoom
        cos, sin = angle.cos() / size, angle.sin() / size
        mirror = torch.where(flipped & self.horizontal_flip, -1.0, 1.0)
        x = torch.stack(
            [cos * mirror, aspect * (self.shear * centered[:, 4] - sin), 2 * self.shift * centered[:, 2]], dim=1
        )
        y = torch.stack([sin * mirror / aspect, cos, 2 * self.shift * centered[:, 3]], dim=1)
        return torch.stack([x, y], dim=1)


def _affine_grid(theta: Tensor, height: int, width: int) -> Tensor:
    """``F.affine_grid`` as a sum of rows and columns, which takes a third of the time of its matrix product."""
    x = (torch.arange(width, device=theta.device) * 2 + 1) / width - 1  # (w,) centres of pixels, in (-1, 1)
    y = (torch.arange(height, device=theta.device) * 2 + 1) / height - 1
    along_x = x[:, None] * theta[:, None, :, 0]  # (n, w, 2)
    along_y = y[:, None] * theta[:, None, :, 1] + theta[:, None, :, 2]  # (n, h, 2)
    return along_y[:, :, None] + along_x[:, None]


def _color_matrices(saturation: Tensor, angle: Tensor) -> Tensor:
    """Matrices (n, 3, 3) that turn colours about the gray axis and scale their distance to it."""
    gray = torch.full((3, 3), 1 / 3, device=angle.device)  # projection to the axis
    color = torch.eye(3, device=angle.device) - gray
    quarter = (color.roll(1, 0) - color.roll(-1, 0)) / math.sqrt(3)  # turned by 90 degrees, from red towards green
    cos, sin = (saturation * angle.cos())[:, None, None], (saturation * angle.sin())[:, None, None]
    return gray + cos * color + sin * quarter


@dataclass(frozen=True)
class FeatureNoise(DrawnAugmentation):
    """Gaussian noise on feature vectors, and features hidden at random, both drawn per sample.

    Parameters
    ----------
    noise : float, default=0.1
        Standard deviation of the noise, in units of the data's overall standard deviation, at least 0.
    dropout : float, default=0.0
        Probability with which a feature is set to its mean, in [0, 1).

    Raises
    ------
    TypeError, ValueError
        At once, if a parameter is no number or outside its range.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.augment import FeatureNoise
    >>> FeatureNoise(noise=0.0)(torch.ones(2, 3), torch.Generator()).tolist()
    [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """

    noise: float = 0.1
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_number("noise", self.noise, float, 0)
        check_number("dropout", self.dropout, float, 0, 1, high_open=True)

    def __call__(self, features: Tensor, generator: Generator) -> Tensor:
        """Disturb every row by its own draw.

        Parameters
        ----------
        features : Tensor of shape (n, n_features), float, mean 0
            Left as it is.
        generator : torch.Generator on the CPU
            Source of all draws.

        Returns
        -------
        disturbed : Tensor of shape (n, n_features)
            On the device of ``features``.
        """
        return super().__call__(features, generator)

    def _draw(self, shape: tuple[int, ...], generator: Generator) -> tuple[Tensor, ...]:
        noise = torch.randn(shape, generator=generator)
        return (noise,) if self.dropout == 0 else (noise, torch.rand(shape, generator=generator) < self.dropout)

    def _transformed(self, features: Tensor, *draws: Tensor) -> Tensor:
        noise, *hidden = (to_device(draw, features.device) for draw in draws)
        disturbed = features + self.noise * noise.to(features.dtype)
        return disturbed.masked_fill(hidden[0], 0) if hidden else disturbed


def resolve_augmentation(
    augment: object, sample_shape: tuple[int, ...], gray: ImageAugmentation | None = None
) -> Augmentation:
    """Turn the estimators' ``augment`` parameter into a callable of (batch, generator).

    Parameters
    ----------
    augment : "auto", None or callable
        "auto" is :class:`FeatureNoise` for feature vectors, :meth:`ImageAugmentation.strong_color` for images of three
        channels and ``gray`` for all others; None leaves samples as they are; a callable is called as
        ``augment(batch, generator)`` if it needs two arguments, with ``generator=`` if it has one called so, else as
        ``augment(batch)``, like torchvision's transforms (which draw once a batch).
    sample_shape : tuple of int
        (c, h, w) of images, (n_features,) of feature vectors.
    gray : ImageAugmentation or None, default=None
        None is :meth:`ImageAugmentation.strong_gray`, that of DCSS; DAC and DCCM have :meth:`ImageAugmentation.strong`.

    Returns
    -------
    augmentation : callable

    Raises
    ------
    TypeError
        If ``augment`` is none of these.

    Examples
    --------
    >>> from deepcluster_sk.augment import resolve_augmentation
    >>> resolve_augmentation("auto", sample_shape=(1, 28, 28))  # doctest: +ELLIPSIS
    ImageAugmentation(rotation=15.0, shift=0.12, zoom=0.15, shear=0.25, ..., horizontal_flip=False, ...)
    """
    if augment is None:
        return unchanged
    if isinstance(augment, str) and augment == "auto":
        if len(sample_shape) == 1:
            return FeatureNoise()
        return ImageAugmentation.strong_color() if sample_shape[0] == 3 else gray or ImageAugmentation.strong_gray()
    if not callable(augment):
        raise TypeError(f"augment={augment!r} must be 'auto', None, or a callable of (batch, generator).")
    needed, takes_generator = _parameters(augment)
    if needed >= 2:
        return augment
    if takes_generator:
        return lambda batch, generator: augment(batch, generator=generator)
    return lambda batch, generator: augment(batch)


def check_augmentation(augment: Augmentation, batch: Tensor) -> None:
    """Raise unless ``augment`` gives back a batch like the one it is given.

    Parameters
    ----------
    augment : callable of (batch, generator)
        What :func:`resolve_augmentation` returned.
    batch : Tensor of shape (n, c, h, w) or (n, n_features), float32
        Samples to try it on.

    Raises
    ------
    TypeError
        If the result is no tensor of floats.
    ValueError
        If it has another shape, or values that are not finite.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.augment import check_augmentation
    >>> check_augmentation(lambda batch, generator: batch[:, :2], torch.ones(2, 3))
    Traceback (most recent call last):
    ...
    ValueError: augment must keep the shape of a batch: it turned (2, 3) into (2, 2).
    """
    result = augment(batch.clone(memory_format=torch.contiguous_format), Generator().manual_seed(0))
    if not isinstance(result, Tensor) or not result.is_floating_point():
        got = f"a tensor of {result.dtype}" if isinstance(result, Tensor) else type(result).__name__
        raise TypeError(f"augment must return a tensor of floats, got {got}.")
    if result.shape != batch.shape:
        raise ValueError(
            f"augment must keep the shape of a batch: it turned {tuple(batch.shape)} into {tuple(result.shape)}."
        )
    if not result.isfinite().all():
        raise ValueError("augment must return finite values, got NaN or infinity.")


def _parameters(function: Callable[..., Tensor]) -> tuple[int, bool]:
    """How many arguments a callable needs, and whether one is called ``generator``; of a module, by ``forward``."""
    try:
        parameters = inspect.signature(getattr(function, "forward", function)).parameters.values()
    except ValueError:  # built-in functions may have no signature
        return 1, False
    needed = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty]
    return len(needed), any(p.name == "generator" for p in parameters)
