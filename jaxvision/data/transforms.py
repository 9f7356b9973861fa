"""Evaluation preprocessing, to the pixel what timm and torchvision do (Pillow resizing, their roundings)."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from jaxvision.data.images import ImageError, ImageSource, read_image, source_name

_FILTERS = {filter.name.lower(): filter for filter in Image.Resampling}
_CROP_MODES = ("center", "squash", "border")


@dataclass(frozen=True)
class Preprocess:
    """Resize, centre crop, scale to [0, 1], normalise: what a network's published accuracy was measured with.

    The scaled size is ``floor(size / crop_pct)``; from it the middle is cut. ``crop_mode`` says how it is reached:

    * ``"center"``: the picture covers the scaled size, keeping its proportions; what sticks out is lost;
    * ``"squash"``: both sides are resized to it, whatever the proportions;
    * ``"border"``: the picture fits inside it, keeping its proportions; the rest has the colour of the mean.

    Attributes:
        size: (height, width) of the result.
        crop_pct: side of the crop over the side resized to.
        crop_mode: see above.
        interpolation: Pillow's filter by name: ``"bicubic"``, ``"bilinear"``, ``"nearest"``, ``"box"``, ``"hamming"``
            or ``"lanczos"``.
        mean: of each channel, in [0, 1]. One number gives grey pictures of one channel.
        std: of each channel.

    Raises:
        ValueError: a field is out of range or its name is unknown.
    """

    size: tuple[int, int] = (224, 224)
    crop_pct: float = 0.875
    crop_mode: str = "center"
    interpolation: str = "bicubic"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        if len(self.size) != 2 or min(self.size) < 1:
            raise ValueError(f"size must be a (height, width) of at least one pixel, got {self.size}")
        if not self.crop_pct > 0:
            raise ValueError(f"crop_pct must be greater than 0, got {self.crop_pct}")
        if self.crop_mode not in _CROP_MODES:
            raise ValueError(f"crop_mode must be one of {', '.join(_CROP_MODES)}, got {self.crop_mode!r}")
        if self.interpolation not in _FILTERS:
            raise ValueError(f"interpolation must be one of {', '.join(_FILTERS)}, got {self.interpolation!r}")
        if len(self.mean) not in (1, 3) or len(self.mean) != len(self.std):
            raise ValueError(f"mean and std need one number or three each, got {self.mean} and {self.std}")
        if not min(self.std) > 0:
            raise ValueError(f"std must be greater than 0, got {self.std}")

    @property
    def mode(self) -> Literal["RGB", "L"]:
        """Pillow's mode of the pictures: colour for three channels, grey for one."""
        return "RGB" if len(self.mean) == 3 else "L"

    def __call__(self, source: ImageSource) -> Float[np.ndarray, "h w c"]:
        """The network's input for one picture: float32, channels last.

        Raises:
            ImageError: as `crop`.
        """
        return self.normalize(np.asarray(self.crop(source)))

    def batch(self, sources: Iterable[ImageSource]) -> Float[np.ndarray, "b h w c"]:
        """The network's input for several pictures.

        Raises:
            ImageError: one of them cannot be read.
        """
        return np.stack([self(source) for source in sources])

    def crop(self, source: ImageSource) -> Image.Image:
        """The picture resized and cropped to `size`, before normalisation.

        Raises:
            ImageError: the picture cannot be read, or is so elongated that resizing it would exhaust memory.
        """
        picture = read_image(source, self.mode)
        height, width = self._resized(picture.height, picture.width)
        if height * width > 4 * (Image.MAX_IMAGE_PIXELS or math.inf):
            raise ImageError(
                f"{source_name(source)!r} is too elongated: {picture.width} x {picture.height} pixels would become "
                f"{width} x {height}; cut out the part that matters"
            )
        picture = picture.resize((width, height), _FILTERS[self.interpolation])
        top, left = (_offset(*sides) for sides in zip((height, width), self.size, strict=True))
        fill = tuple(round(255 * value) for value in self.mean) if self.crop_mode == "border" else 0
        canvas = Image.new(self.mode, self.size[::-1], fill)
        canvas.paste(picture, (-left, -top))
        return canvas

    def normalize(self, pixels: UInt8[np.ndarray, "*b h w c"] | UInt8[np.ndarray, "h w"]) -> Float[np.ndarray, "..."]:
        """8-bit pixels to float32 numbers of the given mean and std; grey ones get their channel axis."""
        if pixels.ndim == 2:
            pixels = pixels[..., None]
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        return (pixels.astype(np.float32) / np.float32(255) - mean) / std

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) that a picture is resized to, with torchvision's and timm's roundings."""
        target_height, target_width = (math.floor(side / self.crop_pct) for side in self.size)
        if self.crop_mode == "squash":
            return target_height, target_width
        if self.crop_mode == "center" and target_height == target_width:
            # torchvision's Resize rounds the long side down, ...
            scaled = int(target_height * max(height, width) / min(height, width))
            return (scaled, target_width) if height > width else (target_height, scaled)
        # ... timm's own resizing, for targets that are not square and for borders, rounds to nearest.
        ratios = height / target_height, width / target_width
        ratio = min(ratios) if self.crop_mode == "center" else max(ratios)
        return max(1, round(height / ratio)), max(1, round(width / ratio))


def _offset(side: int, crop: int) -> int:
    """Where a centred crop begins; negative where the picture is smaller and is padded, with torchvision's rounding."""
    return round((side - crop) / 2) if side >= crop else -((crop - side) // 2)
