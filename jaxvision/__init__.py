"""jaxvision: ViT, Swin, EfficientNet and ResNet for JAX, under timm's names and with timm's weights."""

from jaxvision.version import __version__

__all__ = ["__version__"]
