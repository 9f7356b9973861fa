"""What keeps XLA's CPU backend from computing one thing several times."""

from typing import Any

import numpy as np
from jax.extend.core import Primitive
from jax.extend.mlir import ir
from jax.extend.mlir.dialects import stablehlo
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

_computed_once = Primitive("computed_once")


def computed_once(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The array itself, and on a CPU a buffer of its own.

    The CPU backend fuses sums into everything that uses them. Along residual connections each block would so add up
    what all before it gave, and in the backward pass all behind it: quadratic in the depth. It takes out
    `jax.lax.optimization_barrier` before it fuses.
    """
    return _computed_once.bind(x)


def _lower_on_cpu(context: Any, x: Any) -> Any:
    # A loop that is never entered, which the compiler cannot know, and that would change what goes through it.
    unsigned = ir.IntegerType.get_unsigned(32)
    loop = stablehlo.WhileOp([x.type], [x])
    condition = loop.regions[0].blocks.append(x.type)
    with ir.InsertionPoint(condition):
        most = ir.DenseElementsAttr.get(np.array(2**31, np.uint32), type=unsigned, shape=())
        greater = stablehlo.ComparisonDirectionAttr.get("GT")
        compare = stablehlo.CompareOp(stablehlo.ReplicaIdOp().result, stablehlo.ConstantOp(most).result, greater)
        stablehlo.ReturnOp([compare.result])
    body = loop.regions[1].blocks.append(x.type)
    with ir.InsertionPoint(body):
        stablehlo.ReturnOp([stablehlo.AddOp(body.arguments[0], body.arguments[0]).result])
    return loop.results


_computed_once.def_impl(lambda x: x)
_computed_once.def_abstract_eval(lambda x: x)
ad.deflinear2(_computed_once, lambda g, _: [computed_once(g)])
batching.primitive_batchers[_computed_once] = lambda args, axes: (computed_once(args[0]), axes[0])
mlir.register_lowering(_computed_once, lambda context, x: [x])
mlir.register_lowering(_computed_once, _lower_on_cpu, platform="cpu")
