"""jaxvision: ViT, Swin, EfficientNet and ResNet for JAX, under timm's names and with timm's weights.

Importing it imports nothing: a name's module, and JAX with it, is imported when the name is first used (PEP 562).
"""

import importlib
from typing import TYPE_CHECKING, Any

from jaxvision.version import __version__

if TYPE_CHECKING:
    from jaxvision import explain, uncertainty
    from jaxvision.functional import to_functional
    from jaxvision.fuse import fuse_batchnorm
    from jaxvision.interception import capture, features, intercept
    from jaxvision.registry import create_model, list_models, model_info
    from jaxvision.weights import load_weights, save_weights

__all__ = [
    "__version__",
    "capture",
    "create_model",
    "explain",
    "features",
    "fuse_batchnorm",
    "intercept",
    "list_models",
    "load_weights",
    "model_info",
    "save_weights",
    "to_functional",
    "uncertainty",
]

# Where each name is; None for one that is a module itself.
_HOME = {
    "capture": "interception",
    "create_model": "registry",
    "explain": None,
    "features": "interception",
    "fuse_batchnorm": "fuse",
    "intercept": "interception",
    "list_models": "registry",
    "load_weights": "weights",
    "model_info": "registry",
    "save_weights": "weights",
    "to_functional": "functional",
    "uncertainty": None,
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOME[name]
    if home is None:
        return importlib.import_module(f"{__name__}.{name}")
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
