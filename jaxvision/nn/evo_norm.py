"""EvoNorm-S0 (Liu et al. 2020, arXiv:2004.02967): normalisation and nonlinearity in one, found by evolution."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxvision.nn.group_norm import count_groups, group_statistics
from jaxvision.nn.init import constant


class EvoNorm2dS0(nnx.Module):
    """``x sigmoid(v x) / std(x's group) * scale + bias`` (table 1): takes the place of a norm and its activation.

    Args:
        num_features: channels.
        groups: how many groups they are divided into.
        group_size: channels of a group instead; it wins over ``groups``.
        eps: added to the variance.
        apply_act: without it only scale and bias are left, as in timm: the paper has no normalisation of its own.

    Raises:
        ValueError: the channels cannot be divided so.
    """

    def __init__(
        self,
        num_features: int,
        groups: int = 32,
        *,
        group_size: int | None = None,
        eps: float = 1e-5,
        apply_act: bool = True,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.groups = count_groups(num_features, groups, group_size)
        self.eps = eps
        self.dtype = dtype
        self.scale = nnx.Param(constant(1, num_features, param_dtype))
        self.bias = nnx.Param(constant(0, num_features, param_dtype))
        self.v = nnx.Param(constant(1, num_features, param_dtype)) if apply_act else None

    def __call__(self, x: Float[Array, "b h w c"], train: bool = False) -> Float[Array, "b h w c"]:
        """Normalises and activates; ``train`` changes nothing and is there because batch normalisation has it."""
        dtype = self.dtype or jnp.promote_types(x.dtype, self.scale[...].dtype)
        multiplier = self.scale[...].astype(jnp.float32)
        if self.v is not None:
            _, var = group_statistics(x, self.groups)
            multiplier = multiplier * jax.lax.rsqrt(var + self.eps)
            x = x * jax.nn.sigmoid(x * self.v[...].astype(x.dtype))
        return (x * multiplier + self.bias[...].astype(jnp.float32)).astype(dtype)
