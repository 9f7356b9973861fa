"""Pictures in, arrays out."""

from jaxvision.data.images import ImageError, read_image
from jaxvision.data.transforms import Preprocess

__all__ = ["ImageError", "Preprocess", "read_image"]
