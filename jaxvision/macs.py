"""Multiply-accumulates of a network, counted in its traced program: nothing is computed and nothing allocated."""

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

from jaxvision.functional import to_functional
from jaxvision.nn.conv import implementation


def count_macs(model: nnx.Module, input_size: tuple[int, int, int]) -> int:
    """Multiply-accumulates of one deterministic pass over one image.

    Counted are matrix products and convolutions, attention's products among them, as papers and timm's tables do:
    one for each multiplication, whose addition comes free. Products with a convolution's zero padding count.
    Normalisation, nonlinearities, pooling and resizing do not.

    Args:
        model: an image model; it may be abstract (`nnx.eval_shape`, `Family.abstract`).
        input_size: (channels, height, width), as `ModelInfo.input_size` has it.

    Returns:
        The exact number; 1e9 of them are a GMAC, which some call a GFLOP and others half of one.
    """
    channels, height, width = input_size
    image = jax.ShapeDtypeStruct((1, height, width, channels), jnp.float32)
    apply, variables = to_functional(model)
    with implementation("native"):  # the forms that suit a CPU may multiply by zeros
        closed = jax.make_jaxpr(apply)(variables, image)
    return total(closed.jaxpr.eqns, lambda eqn: macs(eqn) or 0)


def macs(eqn: JaxprEqn) -> int | None:
    """Multiply-accumulates of a matrix product or a convolution; None for any other equation."""
    if eqn.primitive.name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        left = shape(eqn.invars[0])
        return prod(shape(eqn.outvars[0])) * prod(left[axis] for axis in contracted)
    if eqn.primitive.name == "conv_general_dilated":
        kernel = shape(eqn.invars[1])  # per group: it holds the input channels of one
        features = eqn.params["dimension_numbers"].rhs_spec[0]
        return prod(shape(eqn.outvars[0])) * prod(kernel) // kernel[features]
    return None


def total(equations: Sequence[JaxprEqn], count: Callable[[JaxprEqn], int]) -> int:
    """The sum of a count over all that a program runs, calls and loops written out.

    A loop of unknown length counts once. Of branches the most expensive counts.
    """
    return sum(_runs(eqn, count) for eqn in equations)


def _runs(eqn: JaxprEqn, count: Callable[[JaxprEqn], int]) -> int:
    bodies = [body for value in eqn.params.values() for body in _bodies(value)]
    if not bodies:
        return count(eqn)
    totals = [total(body.eqns, count) for body in bodies]
    name = eqn.primitive.name
    if name == "cond":
        return max(totals)
    if name.startswith("custom_"):  # a function that brings its derivative along: the first is what runs
        return totals[0]
    return int(eqn.params.get("length", 1)) * sum(totals)


def shape(var: Any) -> tuple[int, ...]:
    """The shape of a variable or literal of a traced program; () for what has none."""
    return tuple(getattr(var.aval, "shape", ()))


def _bodies(value: Any) -> Iterator[Jaxpr]:
    if isinstance(value, ClosedJaxpr):
        yield value.jaxpr
    elif isinstance(value, Jaxpr):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _bodies(item)
