"""jaxvision: ViT, Swin, EfficientNet and ResNet for JAX, under timm's names and with timm's weights."""

from jaxvision.functional import to_functional
from jaxvision.intercept import capture, features, intercept
from jaxvision.registry import create_model, list_models, model_info
from jaxvision.version import __version__
from jaxvision.weights import load_weights

__all__ = [
    "__version__",
    "capture",
    "create_model",
    "features",
    "intercept",
    "list_models",
    "load_weights",
    "model_info",
    "to_functional",
]
