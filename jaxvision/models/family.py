"""What a family file hands to the registry."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flax import nnx


@dataclass(frozen=True)
class Family:
    """A model family: its variants, one frozen config a row, and the module that a config describes.

    Attributes:
        name: the family's name, such as ``"vit"``.
        variants: timm's architecture name to config.
        build: ``build(config, *, rngs, dtype, param_dtype) -> module``.
    """

    name: str
    variants: Mapping[str, Any]
    build: Callable[..., nnx.Module]
