"""What is done to maps of heat in the end, whatever they come from."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def finished(
    heat: Float[Array, "b h w"], size: tuple[int, int] | None = None, normalize: bool = False
) -> Float[Array, "b H W"]:
    """Resizes maps to a size, bilinearly, and scales each to [0, 1], if wanted."""
    heat = heat if size is None else resized(heat, size)
    return unit_range(heat) if normalize else heat


def resized(heat: Float[Array, "b h w"], size: tuple[int, int]) -> Float[Array, "b H W"]:
    """Maps of another size, bilinearly."""
    return jax.image.resize(heat, (heat.shape[0], *size), jax.image.ResizeMethod.LINEAR)


def unit_range(heat: Float[Array, "b h w"]) -> Float[Array, "b h w"]:
    """Each map from 0, its least value, to 1, its largest; 0 where it has only one value."""
    low, high = (f(heat, axis=(1, 2), keepdims=True) for f in (jnp.min, jnp.max))
    span = high - low
    return jnp.where(span > 0, (heat - low) / jnp.where(span > 0, span, 1), 0)
