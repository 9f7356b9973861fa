"""Exact mean and variance without sampling, where the output is linear in the masks.

Of ``y = f0 + sum_i J_i (m_i - 1)`` with independent masks of mean 1 and variance p / (1 - p), the mean is the
deterministic output and ``Var y_k = p / (1 - p) sum_i J_ki^2``. So it is behind the last nonlinearity: for dropout
before a final linear layer with kernel W, ``p / (1 - p) sum_i h_i^2 W_ik^2``. The same holds for whole channels before
pooling and a linear layer, and for dropout before a convolution that gives a map.

Whether it is so is read off the traced function: every operation that the masks reach must be linear in them.
"""

from collections.abc import Sequence
from functools import lru_cache, partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import JaxprEqn, Literal, Var
from jaxtyping import Array, Float, Int

from jaxvision.uncertainty.cut import cut, depends
from jaxvision.uncertainty.draw import Outputs, masked_pass, visited
from jaxvision.uncertainty.plan import SiteSpec

# Linear in each operand by itself: of these one operand may depend on the masks.
_BILINEAR = ("mul", "dot_general", "conv_general_dilated")
# Linear in all operands together.
_LINEAR = (
    "add", "sub", "add_any", "neg", "reshape", "transpose", "broadcast_in_dim", "squeeze", "expand_dims", "reduce_sum",
    "slice", "concatenate", "pad", "rev", "copy", "copy_p", "cumsum", "reduce_window_sum", "real", "stop_gradient",
    "computed_once",
)  # fmt: skip
# Linear in their first operand, the others being the same for every mask.
_LINEAR_IN_FIRST = ("div", "dynamic_slice", "gather", "convert_element_type")
_MOST_OUTPUTS = 2048  # an output costs one transposed pass of the tail


def is_affine(function: Outputs, sites: tuple[SiteSpec, ...], variables: Any, images: Any) -> bool:
    """Whether the network's outputs are linear in the masks of its sites, for inputs of these shapes.

    Never of dropped weights, whose masks are too many, nor of maps of over 2048 numbers, where sampling is cheaper.
    """
    leaves, structure = jax.tree.flatten((variables, images))
    return _is_affine(function, sites, structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves))


@lru_cache(maxsize=64)
def _is_affine(
    function: Outputs, sites: tuple[SiteSpec, ...], structure: Any, shapes: tuple[tuple[tuple[int, ...], Any], ...]
) -> bool:
    variables, images = jax.tree.unflatten(structure, [jax.ShapeDtypeStruct(*shape) for shape in shapes])
    if any(site.mask == "connect" for site in sites):
        return False
    masks = _masks(function, sites, variables, images)
    part = cut(masked_pass(function), masks, (variables, images))
    outputs = jax.eval_shape(masked_pass(function), masks, (variables, images))
    few = isinstance(outputs, jax.ShapeDtypeStruct) and prod(outputs.shape[1:]) <= _MOST_OUTPUTS
    return few and _affine(part.equations, set(part.random))


def _affine(equations: Sequence[JaxprEqn], masks: set[Var]) -> bool:
    """Whether every operation that the masks reach is linear in what it takes of them."""
    found, reached = depends(equations, masks)
    for eqn in found:
        hit = [not isinstance(var, Literal) and var in reached for var in eqn.invars]
        name = eqn.primitive.name
        if name == "select_n":
            linear = not hit[0]
        elif name == "convert_element_type":
            linear = jnp.issubdtype(eqn.params["new_dtype"], jnp.floating)
        elif name in _BILINEAR:
            linear = sum(hit) == 1
        elif name in _LINEAR_IN_FIRST:
            linear = hit[0] and not any(hit[1:])
        else:
            linear = name in _LINEAR
        if not linear:
            return False
    return True


@partial(jax.jit, static_argnames=("function", "sites"))
def closed_form(
    function: Outputs, sites: tuple[SiteSpec, ...], variables: Any, images: Any, grid: Float[Array, "r sites"]
) -> tuple[Float[Array, "b ..."], Float[Array, "r b ..."]]:
    """Exact mean, and variance at each of several rates, of outputs that are linear in the masks.

    Args:
        function: the network.
        sites: those that drop.
        variables: of the network.
        images: its input.
        grid: their rates.

    Returns:
        the mean, which is the deterministic output and the same for all rates; and the variances.
    """
    masks = jax.tree.map(lambda mask: jnp.ones(mask.shape), _masks(function, sites, variables, images))
    part = cut(masked_pass(function), masks, (variables, images))
    residuals = part.prefix((variables, images))
    mean, transposed = jax.vjp(lambda masks: part.suffix(masks, residuals).astype(jnp.float32), masks)
    examples, inner = mean.shape[0], mean.shape[1:]
    specs = {site.path: site for site in sites}

    def squares(output: Int[Array, ""]) -> Float[Array, "sites b"]:
        chosen = jax.nn.one_hot(output, prod(inner)).reshape(inner)
        (slopes,) = transposed(jnp.broadcast_to(chosen, mean.shape))
        sums = dict.fromkeys(specs, jnp.zeros(examples))
        for (path, _), slope in slopes.items():
            kept = specs[path].prefix_tokens
            slope = slope.at[:, :kept].set(0) if kept else slope
            sums[path] += jnp.square(slope).reshape(examples, -1).sum(1)
        return jnp.stack([sums[path] for path in specs])

    each = jax.lax.map(squares, jnp.arange(prod(inner)), batch_size=min(prod(inner), 8))
    variance = jnp.einsum("rs,ksb->rbk", grid / (1 - grid), each)
    return mean, variance.reshape(len(grid), examples, *inner)


def _masks(
    function: Outputs, sites: tuple[SiteSpec, ...], variables: Any, images: Any
) -> dict[tuple[str, int], jax.ShapeDtypeStruct]:
    """The shapes of all masks of a pass, one for each example."""
    visits = visited(function, sites, variables, images)
    return {(v.path, v.call): jax.ShapeDtypeStruct((v.shape[0], *v.mask), jnp.float32) for v in visits}
