"""The three arguments that every layer takes, typed once and handed down as ``**layer``."""

from typing import TypedDict

from flax import nnx
from jax.typing import DTypeLike


class LayerArgs(TypedDict, total=False):
    """Keyword arguments common to all layers.

    Attributes:
        dtype: compute dtype; None for the promoted dtype of input and parameters.
        param_dtype: dtype of the parameters, float32 unless said.
        rngs: the stream ``params`` (or ``default``) initialises the parameters.
    """

    dtype: DTypeLike | None
    param_dtype: DTypeLike
    rngs: nnx.Rngs
