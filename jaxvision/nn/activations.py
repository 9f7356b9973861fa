"""Activations by timm's names.

GELU is the exact (erf) one unless its name says otherwise, as in PyTorch and unlike JAX.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxvision.paths import suggestion

Activation: TypeAlias = Callable[[Float[Array, "..."]], Float[Array, "..."]]


@jax.custom_jvp
def silu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """``x * sigmoid(x)`` (Elfwing et al. 2017), also known as swish."""
    return jax.nn.silu(x)


@silu.defjvp
def _silu_tangent(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    # The sigmoid is written in another way than in the forward pass, or XLA would take it from there: it would be kept
    # in memory between the passes, and be written and read in passes of its own, where computing it anew costs nothing
    # beside what comes before or after it.
    (x,), (tangent,) = primals, tangents
    x = jnp.asarray(x)
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    power = jnp.exp(jnp.minimum(wide, 80))  # beyond, the sigmoid is 1 to the last digit
    sigmoid = power / (1 + power)
    return silu(x), tangent * (sigmoid * (1 + wide * (1 - sigmoid))).astype(x.dtype)


@jax.custom_jvp
def gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """``x`` times the normal distribution's share below it (Hendrycks and Gimpel 2016), by the error function."""
    return jax.nn.gelu(x, approximate=False)


@gelu.defjvp
def _gelu_tangent(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    # As `silu`'s: the share below is written by another function than in the forward pass, which has `erfc`.
    (x,), (tangent,) = primals, tangents
    x = jnp.asarray(x)
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    below = 0.5 + 0.5 * jax.lax.erf(wide * math.sqrt(0.5))
    density = jnp.exp(-0.5 * jnp.square(wide)) / math.sqrt(2 * math.pi)
    return gelu(x), tangent * (below + wide * density).astype(x.dtype)


def quick_gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """``x * sigmoid(1.702 x)``, OpenAI CLIP's approximation of GELU (Hendrycks and Gimpel 2016, section 2)."""
    return x * jax.nn.sigmoid(1.702 * x)


def identity(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """``x``: no activation, after a norm that is one itself."""
    return x


ACTIVATIONS: dict[str, Activation] = {
    "gelu": gelu,
    "gelu_tanh": partial(jax.nn.gelu, approximate=True),
    "quick_gelu": quick_gelu,
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "silu": silu,
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
