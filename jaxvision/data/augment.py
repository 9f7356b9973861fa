"""The random changes of training pictures, on the host and in 8 bits, with timm's names and distributions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import cv2
import numpy as np

from jaxvision.data import pixel_ops as ops
from jaxvision.data.pixel_ops import INTERPOLATIONS, Pixels, Warp
from jaxvision.data.rand_augment import RandAugment
from jaxvision.paths import suggestion

_ERASING = ("const", "rand", "pixel")
_ERASED_AREA, _ERASED_ASPECT = (0.02, 1 / 3), (0.3, 1 / 0.3)


@dataclass(frozen=True)
class TrainTransform:
    """What timm's ``create_transform(is_training=True)`` does up to the normalisation, for one picture.

    In this order: a random part resized (RandomResizedCrop), flips, rotation, RandAugment or else colour jitter,
    grey, random erasing. Pixels stay 8-bit; mean and std only say with which colours holes are filled. Between equal
    generators the results are equal.

    Attributes:
        size: (height, width) of the result.
        scale: the range of the part's area over the picture's.
        ratio: the range of the part's width over its height, drawn evenly in the logarithm.
        hflip: probability of exchanging left and right.
        vflip: probability of exchanging top and bottom.
        rotation: the largest angle in degrees, either way.
        color_jitter: strengths of (brightness, contrast, saturation) or (brightness, contrast, saturation, hue), or
            one for the first three: factors are drawn from 1 - strength to 1 + strength, hue from -strength to
            strength of the circle, in random order. Not applied if ``auto_augment`` is, as in timm.
        color_jitter_prob: probability of jittering at all.
        grayscale_prob: probability of becoming grey.
        auto_augment: RandAugment in timm's notation, such as ``"rand-m9-mstd0.5-inc1"``, or None.
        interpolation: ``"bilinear"``, ``"bicubic"``, or ``"random"``, which draws one of them each time.
        reprob: probability of random erasing (Zhong et al. 2020, arXiv:1708.04896).
        remode: what is put in: the mean colour (``"const"``), one random colour (``"rand"``) or one for each pixel
            (``"pixel"``), normally distributed with ``mean`` and ``std`` and cut to the 8 bits.
        recount: the largest number of erased rectangles; they share the area.
        no_aug: only resize to ``size``, whatever the proportions.
        mean: of each channel of the data, in [0, 1]. One number makes pictures grey, with one channel.
        std: of each channel.

    Raises:
        ValueError: a field is out of range or its name is unknown.
    """

    size: tuple[int, int] = (224, 224)
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    hflip: float = 0.5
    vflip: float = 0.0
    rotation: float = 0.0
    color_jitter: float | tuple[float, ...] = 0.4
    color_jitter_prob: float = 1.0
    grayscale_prob: float = 0.0
    auto_augment: str | None = None
    interpolation: str = "random"
    reprob: float = 0.0
    remode: str = "const"
    recount: int = 1
    no_aug: bool = False
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        if len(self.size) != 2 or min(self.size) < 1:
            raise ValueError(f"size must be a (height, width) of at least one pixel, got {self.size}")
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"scale must be two areas, 0 < smallest <= largest <= 1, got {self.scale}")
        if len(self.ratio) != 2 or not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"ratio must be two proportions, 0 < smallest <= largest, got {self.ratio}")
        for name in ("hflip", "vflip", "color_jitter_prob", "grayscale_prob", "reprob"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be a probability between 0 and 1, got {getattr(self, name)}")
        if not 0 <= self.rotation <= 180:
            raise ValueError(f"rotation must be the largest angle, 0 to 180 degrees, got {self.rotation}")
        strengths = self._jitter_strengths
        if len(strengths) != 4 or min(strengths) < 0 or strengths[3] > 0.5:
            raise ValueError(
                "color_jitter must be one strength, three (brightness, contrast, saturation) or four (and hue, at "
                f"most 0.5), none negative, got {self.color_jitter}"
            )
        for name, known in (("interpolation", ("random", *INTERPOLATIONS)), ("remode", _ERASING)):
            if getattr(self, name) not in known:
                value = getattr(self, name)
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}{suggestion(value, known)}")
        if self.recount < 1:
            raise ValueError(f"recount must be 1 or more rectangles, got {self.recount}; reprob=0 erases none")
        if len(self.mean) not in (1, 3) or len(self.mean) != len(self.std):
            raise ValueError(f"mean and std need one number or three each, got {self.mean} and {self.std}")
        _ = self._rand_augment  # its errors belong here

    @property
    def mode(self) -> Literal["RGB", "L"]:
        """Pillow's mode of the pictures: colour for three channels, grey for one."""
        return "RGB" if len(self.mean) == 3 else "L"

    @cached_property
    def _rand_augment(self) -> RandAugment | None:
        return RandAugment.parse(self.auto_augment) if self.auto_augment else None

    @cached_property
    def _jitter_strengths(self) -> tuple[float, ...]:
        given = self.color_jitter
        strengths = (given,) * 3 if isinstance(given, int | float) else tuple(given)
        return strengths if len(strengths) == 4 else (*strengths, 0.0)

    @cached_property
    def _interpolations(self) -> tuple[int, ...]:
        return tuple(
            INTERPOLATIONS.values() if self.interpolation == "random" else [INTERPOLATIONS[self.interpolation]]
        )

    @cached_property
    def _fill(self) -> tuple[int, ...]:
        return tuple(min(255, round(255 * value)) for value in self.mean)

    def __call__(self, pixels: Pixels, rng: np.random.Generator) -> Pixels:
        """One training picture of ``size``, which shares no memory with ``pixels``.

        Args:
            pixels: uint8 (h, w, c) with as many channels as ``mean``.
            rng: the source of all randomness.

        Raises:
            ValueError: the pixels have another number of channels.
        """
        if pixels.shape[-1] != len(self.mean):
            raise ValueError(
                f"pixels of shape {pixels.shape} have not the {len(self.mean)} channels of mean {self.mean}: "
                f"decode them in mode {self.mode!r}"
            )
        if self.no_aug:
            return ops.resize(pixels, self.size, self._interpolations[0])
        top, left, height, width = random_resized_crop(pixels.shape[:2], self.scale, self.ratio, rng)
        part = pixels[top : top + height, left : left + width]
        pixels = ops.resize(part, self.size, self._draw_interpolation(rng))
        for flips, axis in ((self.hflip, 1), (self.vflip, 0)):
            if rng.random() < flips:
                pixels = cv2.flip(pixels, axis).reshape(pixels.shape)
        if self.rotation:
            angle = rng.uniform(-self.rotation, self.rotation)
            pixels = ops.rotate(pixels, angle, Warp(self._draw_interpolation(rng), self._fill))
        if self._rand_augment is not None:
            pixels = self._rand_augment(pixels, rng, self._fill, *self._interpolations)
        elif rng.random() < self.color_jitter_prob:
            pixels = color_jitter(pixels, self._jitter_strengths, rng)
        if rng.random() < self.grayscale_prob:
            pixels = ops.grayscale(pixels)
        if rng.random() < self.reprob:
            pixels = self._erased(pixels, rng)
        return pixels

    def _draw_interpolation(self, rng: np.random.Generator) -> int:
        return self._interpolations[rng.integers(len(self._interpolations))]

    def _erased(self, pixels: Pixels, rng: np.random.Generator) -> Pixels:
        pixels = pixels.copy()
        count = int(rng.integers(1, self.recount, endpoint=True))
        for _ in range(count):
            rectangle = erased_rectangle(pixels.shape[:2], count, rng)
            if rectangle is None:
                continue
            top, left, height, width = rectangle
            shape = {"const": (), "rand": (len(self.mean),), "pixel": (height, width, len(self.mean))}[self.remode]
            noise = rng.standard_normal(shape) if shape else np.zeros(())
            colours = np.clip(np.rint(255 * (np.array(self.mean) + np.array(self.std) * noise)), 0, 255)
            pixels[top : top + height, left : left + width] = colours.astype(np.uint8)
        return pixels


def random_resized_crop(
    shape: Sequence[int], scale: tuple[float, float], ratio: tuple[float, float], rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Draws (top, left, height, width) as torchvision's and timm's RandomResizedCrop (Szegedy et al. 2015).

    After ten draws that do not fit it is the largest part in the middle whose proportions are in ``ratio``.
    """
    height, width = shape[:2]
    for _ in range(10):
        area = height * width * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        part_width, part_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < part_width <= width and 0 < part_height <= height:
            top = int(rng.integers(0, height - part_height, endpoint=True))
            left = int(rng.integers(0, width - part_width, endpoint=True))
            return top, left, part_height, part_width
    part_height = max(1, min(height, round(width / ratio[0])))
    part_width = max(1, min(width, round(height * ratio[1])))
    return (height - part_height) // 2, (width - part_width) // 2, part_height, part_width


def color_jitter(pixels: Pixels, strengths: Sequence[float], rng: np.random.Generator) -> Pixels:
    """Changes brightness, contrast, saturation and hue at random and in random order, as torchvision's ColorJitter.

    Args:
        pixels: uint8 (h, w, c).
        strengths: of brightness, contrast, saturation and hue.
        rng: the source of all randomness.
    """
    changes = (ops.brightness, ops.contrast, ops.color, ops.hue)
    for index in rng.permutation(4):
        strength = strengths[index]
        if strength:
            low, high = (-strength, strength) if changes[index] is ops.hue else (max(0, 1 - strength), 1 + strength)
            pixels = changes[index](pixels, rng.uniform(low, high))
    return pixels


def erased_rectangle(shape: Sequence[int], count: int, rng: np.random.Generator) -> tuple[int, int, int, int] | None:
    """Draws (top, left, height, width) of one of ``count`` rectangles to erase, as timm; None after ten misses."""
    height, width = shape[:2]
    for _ in range(10):
        area = rng.uniform(*_ERASED_AREA) * height * width / count
        aspect = math.exp(rng.uniform(math.log(_ERASED_ASPECT[0]), math.log(_ERASED_ASPECT[1])))
        part_height, part_width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if part_width < width and part_height < height:
            top = int(rng.integers(0, height - part_height, endpoint=True))
            left = int(rng.integers(0, width - part_width, endpoint=True))
            return top, left, part_height, part_width
    return None
