"""The cases in which our preprocessing is compared with timm's: by golden values here, live in tests/parity."""

import itertools

import numpy as np
from PIL import Image

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

PICTURE_SIZES = [(451, 300), (300, 451), (256, 256), (100, 90), (37, 600), (1, 1), (225, 223)]  # height, width
SETTINGS = [
    # size, crop_pct, crop_mode, interpolation
    *itertools.product([(224, 224)], [0.875, 0.9, 1.0, 1.1], ["center"], ["bicubic", "bilinear"]),
    *itertools.product([(160, 192), (97, 33)], [0.95], ["center", "squash", "border"], ["bicubic"]),
    *itertools.product([(224, 224)], [1.0, 0.9], ["squash", "border"], ["bicubic", "lanczos"]),
    *itertools.product([(64, 64)], [0.9], ["center"], ["nearest", "box", "hamming"]),
]
CASES = list(itertools.product(PICTURE_SIZES, SETTINGS))


def picture(height: int, width: int) -> Image.Image:
    """An RGB picture with fine and coarse structure, from integer arithmetic alone."""
    y, x, c = np.mgrid[:height, :width, :3]
    return Image.fromarray(((7 * x + 13 * y + (x * y) // 17 + 50 * c * (x // 9 % 2)) % 256).astype(np.uint8))


def summary(array: np.ndarray) -> list[float]:
    """Numbers that change if anything in an (h, w, c) array moves: its moments against position, and some elements."""
    height, width, _ = array.shape
    y, x = np.linspace(-1, 1, height)[:, None, None], np.linspace(-1, 1, width)[None, :, None]
    array = array.astype(np.float64)
    moments = [array, array**2, array * y, array * x, array * x * y]
    samples = array[:: -(-height // 3), :: -(-width // 3)]
    return [round(float(v), 6) for m in moments for v in m.mean((0, 1))] + [round(float(v), 6) for v in samples.ravel()]
