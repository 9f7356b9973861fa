"""A linear layer whose gradients XLA computes without transposing what it stores."""

from typing import Any

from flax import nnx
from jax import lax
from jaxtyping import Array, Float


def rows_dot_general(
    lhs: Float[Array, "... i"], rhs: Float[Array, "i o"], dimension_numbers: Any, **options: Any
) -> Float[Array, "... o"]:
    """`jax.lax.dot_general` of what `nnx.Linear` multiplies, as a product of two matrices.

    The gradient by the kernel sums over all axes of the input but the last. XLA's CPU backend transposes both operands
    for it where these are several, which took a quarter of a ViT's training step.
    """
    if lhs.ndim <= 2 or options.get("out_sharding") is not None:  # which names axes of the result as it is
        return lax.dot_general(lhs, rhs, dimension_numbers, **options)
    rows = lax.dot_general(lhs.reshape(-1, lhs.shape[-1]), rhs, (((1,), (0,)), ((), ())), **options)
    return rows.reshape(*lhs.shape[:-1], rhs.shape[-1])


class Linear(nnx.Linear):
    """`nnx.Linear` with `rows_dot_general` for its product; the arguments are its."""

    def __init__(self, in_features: int, out_features: int, *, dot_general: Any = rows_dot_general, **options: Any):
        super().__init__(in_features, out_features, dot_general=dot_general, **options)
