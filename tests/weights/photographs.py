"""The photographs that scikit-learn and scikit-image bring along, prepared for EfficientNet-Lite0."""

import numpy as np
from PIL import Image
from skimage import data
from sklearn.datasets import load_sample_image

NAMES = ("chelsea", "coffee", "flower", "china")


def photograph(name: str) -> np.ndarray:
    """(224, 224, 3): shorter side to 256 by Pillow's bicubic filter, centre crop, mean = std = 0.5."""
    pixels = load_sample_image(f"{name}.jpg") if name in ("flower", "china") else getattr(data, name)()
    picture = Image.fromarray(pixels)
    scale = 256 / min(picture.size)
    picture = picture.resize((int(picture.width * scale), int(picture.height * scale)), Image.Resampling.BICUBIC)
    left, top = round((picture.width - 224) / 2), round((picture.height - 224) / 2)
    crop = np.asarray(picture.crop((left, top, left + 224, top + 224)), np.float32)
    return (crop / 255 - 0.5) / 0.5


def photographs() -> np.ndarray:
    """(4, 224, 224, 3), in the order of ``NAMES``."""
    return np.stack([photograph(name) for name in NAMES])
