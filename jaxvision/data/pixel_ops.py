"""Operations on 8-bit pictures with Pillow's definitions, as lookup tables and OpenCV calls, which release the GIL.

All take and give uint8 (h, w, c) with one or three channels, and none writes into its argument. `contrast`, `color`,
`brightness` and `sharpness` blend the picture with a poorer one, as Pillow's `ImageEnhance` does: factor 1 changes
nothing, 0 gives the poorer one, more than 1 leads away from it.
"""

from typing import NamedTuple, TypeAlias

import cv2
import numpy as np
from jaxtyping import Float, UInt8

Pixels: TypeAlias = UInt8[np.ndarray, "h w c"]

INTERPOLATIONS = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}

_VALUES = np.arange(256)
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13  # Pillow's ImageFilter.SMOOTH


class Warp(NamedTuple):
    """How the geometric operations look up pixels: OpenCV's interpolation, and the colour of what lies outside."""

    interpolation: int
    fill: tuple[int, ...]


def resize(pixels: Pixels, size: tuple[int, int], interpolation: int) -> Pixels:
    """Resizes to (height, width).

    OpenCV's bilinear and bicubic filters look at 2 x 2 and 4 x 4 pixels whatever the scale. Where both sides shrink
    to half or less, that would skip pixels and evaluation, which does not, would see smoother pictures; areas are
    averaged there.
    """
    height, width = size
    if pixels.shape[0] >= 2 * height and pixels.shape[1] >= 2 * width:
        interpolation = cv2.INTER_AREA
    return _shaped(cv2.resize(pixels, (width, height), interpolation=interpolation))


def lookup(pixels: Pixels, table: np.ndarray) -> Pixels:
    """Maps every value by a table of (256,), or (256, c) with one for each channel; results are cut to 0..255."""
    table = np.clip(table, 0, 255).astype(np.uint8)
    return cv2.LUT(pixels, table.reshape(1, 256, -1)).reshape(pixels.shape)


def grey(pixels: Pixels) -> UInt8[np.ndarray, "h w"]:
    """Luma, ITU-R 601."""
    return pixels[..., 0] if pixels.shape[-1] == 1 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)


def grayscale(pixels: Pixels) -> Pixels:
    """The luma in every channel."""
    return pixels if pixels.shape[-1] == 1 else cv2.cvtColor(grey(pixels), cv2.COLOR_GRAY2RGB)


def histograms(pixels: Pixels) -> Float[np.ndarray, "c 256"]:
    """How often each value occurs in each channel."""
    channels = range(pixels.shape[-1])
    return np.stack([cv2.calcHist([pixels], [c], None, [256], [0, 256]).ravel() for c in channels]).astype(np.float64)


def autocontrast(pixels: Pixels) -> Pixels:
    """Stretches each channel to 0..255; one of a single value stays."""
    tables = []
    for counts in histograms(pixels):
        present = np.flatnonzero(counts)
        low, high = present[0], present[-1]
        scale = 255 / (high - low) if high > low else 1
        tables.append(np.trunc(_VALUES * scale - low * scale) if high > low else _VALUES)
    return lookup(pixels, np.stack(tables, -1))


def equalize(pixels: Pixels) -> Pixels:
    """Makes each channel's histogram flat."""
    tables = []
    for counts in histograms(pixels):
        present = np.flatnonzero(counts)
        step = (counts.sum() - counts[present[-1]]) // 255
        before = np.concatenate([[0], np.cumsum(counts)[:-1]])
        tables.append((step // 2 + before) // step if step else _VALUES)
    return lookup(pixels, np.stack(tables, -1))


def invert(pixels: Pixels) -> Pixels:
    """The negative."""
    return 255 - pixels


def posterize(pixels: Pixels, bits: int) -> Pixels:
    """Keeps the ``bits`` highest bits."""
    return pixels & np.uint8(256 - 2 ** (8 - bits))


def solarize(pixels: Pixels, threshold: int) -> Pixels:
    """Inverts the values from the threshold on."""
    return lookup(pixels, np.where(threshold > _VALUES, _VALUES, 255 - _VALUES))


def solarize_add(pixels: Pixels, amount: int, threshold: int = 128) -> Pixels:
    """Adds to the values below the threshold."""
    return lookup(pixels, np.where(threshold > _VALUES, _VALUES + amount, _VALUES))


def brightness(pixels: Pixels, factor: float) -> Pixels:
    """Blends with black."""
    return lookup(pixels, np.trunc(factor * _VALUES))


def contrast(pixels: Pixels, factor: float) -> Pixels:
    """Blends with a picture of the mean luma."""
    mean = int(cv2.mean(grey(pixels))[0] + 0.5)
    return lookup(pixels, np.trunc(mean + factor * (_VALUES - mean)))


def color(pixels: Pixels, factor: float) -> Pixels:
    """Blends with the luma (saturation)."""
    return pixels if pixels.shape[-1] == 1 else _blend(grayscale(pixels), pixels, factor)


def sharpness(pixels: Pixels, factor: float) -> Pixels:
    """Blends with the picture smoothed, but for its outermost pixels."""
    smooth = _shaped(cv2.filter2D(pixels, -1, _SMOOTH))
    for edge in (np.s_[:1], np.s_[-1:], np.s_[:, :1], np.s_[:, -1:]):
        smooth[edge] = pixels[edge]
    return _blend(smooth, pixels, factor)


def hue(pixels: Pixels, shift: float) -> Pixels:
    """Turns the hue by ``shift`` of the colour circle, -0.5 to 0.5."""
    if pixels.shape[-1] == 1:
        return pixels
    hsv = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(int(shift * 255) % 256)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


def rotate(pixels: Pixels, degrees: float, warp: Warp) -> Pixels:
    """Turns anticlockwise about the centre."""
    height, width = pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
    return _affine(pixels, cv2.invertAffineTransform(matrix), warp)


def affine(pixels: Pixels, matrix: tuple[float, float, float, float, float, float], warp: Warp) -> Pixels:
    """Takes the pixel at (x, y) from (a x + b y + c, d x + e y + f), as Pillow's ``Image.transform``.

    Pillow's coordinates have pixel centres at halves, OpenCV's at whole numbers.
    """
    a, b, c, d, e, f = matrix
    centred = np.array([[a, b, c + (a + b - 1) / 2], [d, e, f + (d + e - 1) / 2]])
    return _affine(pixels, centred, warp)


def _affine(pixels: Pixels, matrix: np.ndarray, warp: Warp) -> Pixels:
    warped = cv2.warpAffine(
        pixels,
        matrix,
        pixels.shape[1::-1],
        flags=warp.interpolation | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=warp.fill,
    )
    return _shaped(warped)


def _blend(poorer: Pixels, pixels: Pixels, factor: float) -> Pixels:
    # OpenCV rounds to nearest, Pillow down: hence (nearly) a half less.
    return _shaped(cv2.addWeighted(pixels, factor, poorer, 1 - factor, -0.4999))


def _shaped(pixels: np.ndarray) -> Pixels:
    """With the channel axis that OpenCV drops when it is one."""
    return pixels[..., None] if pixels.ndim == 2 else pixels
