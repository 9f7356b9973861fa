"""Group normalisation (Wu and He 2018, arXiv:1803.08494)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxvision.nn.init import constant


class GroupNorm(nnx.Module):
    """Normalises each image over groups of neighbouring channels, with a scale and bias per channel.

    Args:
        num_features: channels.
        num_groups: how many groups they are divided into.
        group_size: channels of a group instead; it wins over ``num_groups``.
        eps: added to the variance.
        zero_scale: starts with a scale of 0, for the last norm of a residual branch.

    Raises:
        ValueError: the channels cannot be divided so.
    """

    def __init__(
        self,
        num_features: int,
        num_groups: int = 32,
        *,
        group_size: int | None = None,
        eps: float = 1e-5,
        zero_scale: bool = False,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.groups = count_groups(num_features, num_groups, group_size)
        self.eps = eps
        self.dtype = dtype
        self.scale = nnx.Param(constant(0 if zero_scale else 1, num_features, param_dtype))
        self.bias = nnx.Param(constant(0, num_features, param_dtype))

    def __call__(self, x: Float[Array, "b *space c"], train: bool = False) -> Float[Array, "b *space c"]:
        """Normalises; ``train`` changes nothing and is there because batch normalisation has it."""
        mean, var = group_statistics(x, self.groups)
        multiplier = self.scale[...].astype(jnp.float32) * jax.lax.rsqrt(var + self.eps)
        shift = self.bias[...].astype(jnp.float32) - mean * multiplier
        dtype = self.dtype or jnp.promote_types(x.dtype, self.scale[...].dtype)
        return (x * multiplier + shift).astype(dtype)


def count_groups(num_features: int, num_groups: int, group_size: int | None) -> int:
    """The number of groups, from their number or their size.

    Raises:
        ValueError: it does not divide the channels.
    """
    name, value = ("num_groups", num_groups) if group_size is None else ("group_size", group_size)
    if value < 1 or num_features % value:
        raise ValueError(f"{name} is {value}, expected a divisor of the {num_features} channels")
    return num_groups if group_size is None else num_features // group_size


def group_statistics(
    x: Float[Array, "b *space c"], groups: int
) -> tuple[Float[Array, "b *ones c"], Float[Array, "b *ones c"]]:
    """Mean and biased variance, float32, of the group that each channel is in."""
    space = tuple(range(1, x.ndim - 1))
    size = x.shape[-1] // groups

    def over_group(values: Array) -> Array:
        # First over space, channel by channel: the array stays as it lies in memory, and what is left is small.
        means = jnp.mean(values, space, keepdims=True)
        means = jnp.mean(means.reshape(*means.shape[:-1], groups, size), -1)
        return jnp.repeat(means, size, axis=-1)

    x = x.astype(jnp.float32)
    mean = over_group(x)
    return mean, over_group(jnp.square(x - mean))
