"""Activations by timm's names.

GELU is the exact (erf) one unless its name says otherwise, as in PyTorch and unlike JAX.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import jax
from jaxtyping import Array, Float

from jaxvision.paths import suggestion

Activation: TypeAlias = Callable[[Float[Array, "..."]], Float[Array, "..."]]


def quick_gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """``x * sigmoid(1.702 x)``, OpenAI CLIP's approximation of GELU (Hendrycks and Gimpel 2016, section 2)."""
    return x * jax.nn.sigmoid(1.702 * x)


def identity(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """``x``: no activation, after a norm that is one itself."""
    return x


ACTIVATIONS: dict[str, Activation] = {
    "gelu": partial(jax.nn.gelu, approximate=False),
    "gelu_tanh": partial(jax.nn.gelu, approximate=True),
    "quick_gelu": quick_gelu,
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "silu": jax.nn.silu,
    "sigmoid": jax.nn.sigmoid,
    "hard_sigmoid": jax.nn.hard_sigmoid,
    "hard_swish": jax.nn.hard_swish,
    "tanh": jax.nn.tanh,
    "identity": identity,
}


def activation(name: str) -> Activation:
    """The activation of that name.

    Raises:
        ValueError: there is none; the nearest names are given.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"unknown activation {name!r}{suggestion(name, ACTIVATIONS)}; there are {sorted(ACTIVATIONS)}")
    return ACTIVATIONS[name]
