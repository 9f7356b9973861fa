"""jaxvision: ViT, Swin, EfficientNet and ResNet for JAX, under timm's names and with timm's weights.

Importing it imports nothing: a name's module, and JAX with it, is imported when the name is first used (PEP 562).
"""

import importlib
from typing import TYPE_CHECKING, Any

from jaxvision.version import __version__

if TYPE_CHECKING:
    from jaxvision import catalogue, data, explain, macs, models, nn, paths, training, uncertainty, weights
    from jaxvision.functional import to_functional
    from jaxvision.fuse import fuse_batchnorm
    from jaxvision.interception import capture, features, intercept
    from jaxvision.registry import create_model, list_models, model_info
    from jaxvision.weights import load_weights, save_weights

__all__ = [
    "__version__",
    "capture",
    "catalogue",
    "create_model",
    "data",
    "explain",
    "features",
    "fuse_batchnorm",
    "intercept",
    "list_models",
    "load_weights",
    "macs",
    "model_info",
    "models",
    "nn",
    "paths",
    "save_weights",
    "to_functional",
    "training",
    "uncertainty",
    "weights",
]

# Where each name is; None for one that is a module itself.
_HOME = {
    "capture": "interception",
    "catalogue": None,
    "create_model": "registry",
    "data": None,
    "explain": None,
    "features": "interception",
    "fuse_batchnorm": "fuse",
    "intercept": "interception",
    "list_models": "registry",
    "load_weights": "weights",
    "macs": None,
    "model_info": "registry",
    "models": None,
    "nn": None,
    "paths": None,
    "save_weights": "weights",
    "to_functional": "functional",
    "training": None,
    "uncertainty": None,
    "weights": None,
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
