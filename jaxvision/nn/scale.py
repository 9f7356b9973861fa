"""LayerScale."""

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxvision.nn.init import constant


class LayerScale(nnx.Module):
    """A learnt factor per channel on a residual branch (Touvron et al. 2021, section 2).

    Attributes:
        gamma: parameter, (dim,).
    """

    def __init__(self, dim: int, init_value: float, *, param_dtype: DTypeLike = jnp.float32):
        self.gamma = nnx.Param(constant(init_value, dim, param_dtype))

    def __call__(self, x: Float[Array, "... c"]) -> Float[Array, "... c"]:
        """Scales the last axis."""
        return x * self.gamma[...].astype(x.dtype)
