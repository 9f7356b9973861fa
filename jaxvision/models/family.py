"""What a family file hands to the registry."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from jaxvision.models.image_model import ImageModel


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
    build: Callable[..., ImageModel]

    def abstract(
        self, config: Any, *, dtype: DTypeLike | None = None, param_dtype: DTypeLike = jnp.float32
    ) -> ImageModel:
        """The module with `jax.ShapeDtypeStruct` in place of arrays: shapes and names without memory."""

        def build() -> ImageModel:
            return self.build(config, rngs=_OneKey(), dtype=dtype, param_dtype=param_dtype)

        model: ImageModel = nnx.eval_shape(build, graph=True)
        return model


class _OneKey:
    """Stands in for `nnx.Rngs` where no number is drawn; counting keys would take most of an abstract build's time."""

    def __init__(self) -> None:
        self._key = jax.random.key(0)

    def params(self) -> jax.Array:
        return self._key


def check_choices(*choices: tuple[str, Any, Collection[Any]]) -> None:
    """Refuses settings that are none of the known ones.

    Args:
        choices: name, value and known values of each.

    Raises:
        ValueError: names the setting, its known values and what was given.
    """
    for name, value, known in choices:
        if value not in known:
            *others, last = map(repr, known)
            raise ValueError(f"{name} must be {', '.join(others)} or {last}, got {value!r}")


def pair(size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width, from both or from the side of a square."""
    return (size, size) if isinstance(size, int) else size
