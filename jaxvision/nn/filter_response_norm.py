"""Filter response normalisation and its thresholded linear unit (Singh and Krishnan 2020, arXiv:1911.09737)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxvision.nn.init import constant


class FilterResponseNorm(nnx.Module):
    """``max(x / rms(x) * scale + bias, tau)``, the root mean square over space: a norm and its activation.

    Args:
        num_features: channels.
        eps: added to the mean square.
        apply_act: whether the threshold ``tau`` is there (section 3.2).
    """

    def __init__(
        self,
        num_features: int,
        *,
        eps: float = 1e-5,
        apply_act: bool = True,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.eps = eps
        self.dtype = dtype
        self.scale = nnx.Param(constant(1, num_features, param_dtype))
        self.bias = nnx.Param(constant(0, num_features, param_dtype))
        self.tau = nnx.Param(constant(0, num_features, param_dtype)) if apply_act else None

    def __call__(self, x: Float[Array, "b h w c"], train: bool = False) -> Float[Array, "b h w c"]:
        """Normalises and thresholds; ``train`` changes nothing and is there because batch normalisation has it."""
        dtype = self.dtype or jnp.promote_types(x.dtype, self.scale[...].dtype)
        mean_square = jnp.mean(jnp.square(x.astype(jnp.float32)), (1, 2), keepdims=True)
        multiplier = self.scale[...].astype(jnp.float32) * jax.lax.rsqrt(mean_square + self.eps)
        x = x * multiplier + self.bias[...].astype(jnp.float32)
        return (x if self.tau is None else jnp.maximum(x, self.tau[...].astype(jnp.float32))).astype(dtype)
