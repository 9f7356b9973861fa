"""Cuts a traced function in two: what does not depend on the random arguments, and the rest.

``f(random, fixed) = suffix(random, prefix(fixed))``. Under `jax.vmap` over the random arguments the first part would
not be repeated anyway; inside a loop over chunks of samples that is up to the compiler. The cut makes sure.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var, jaxpr_as_fun

from jaxvision.macs import macs, shape, total

_INLINED = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr", "remat2": "jaxpr"}
_INLINED |= {"checkpoint": "jaxpr", "remat": "jaxpr"}
# What only repeats its input is done anew in the suffix: cheaper than keeping the result.
_REPEATING = ("broadcast_in_dim", "iota")


@dataclass(frozen=True)
class Cut:
    """The two parts of a function.

    Attributes:
        prefix: ``prefix(fixed) -> residuals``, a list of arrays.
        suffix: ``suffix(random, residuals) -> f(random, fixed)``.
        random: the variables of the random arguments, as the suffix's equations name them.
        equations: of the suffix, in order.
        share: estimated share of the floating-point operations that lie in the suffix.
        working_set: bytes of the suffix's intermediate values at their most.
    """

    prefix: Callable[[Any], list[jax.Array]]
    suffix: Callable[[Any, Sequence[jax.Array]], Any]
    random: tuple[Var, ...]
    equations: tuple[JaxprEqn, ...]
    share: float
    working_set: int


def cut(function: Callable[[Any, Any], Any], random: Any, fixed: Any) -> Cut:
    """Cuts ``function(random, fixed)``.

    Loops (`jax.lax.scan`), branches and functions with derivatives of their own are not divided: one that depends on
    ``random`` anywhere lies in the suffix as a whole. Calls of compiled functions are.

    Args:
        function: pure; it is traced once, with the arguments' shapes.
        random: pytree of arrays or `jax.ShapeDtypeStruct`.
        fixed: likewise.
    """
    closed, out_tree = _flat(function, random, fixed)
    jaxpr: Jaxpr = closed.jaxpr
    count = len(jax.tree.leaves(random))
    random_vars, fixed_vars = jaxpr.invars[:count], jaxpr.invars[count:]
    before, after = _divided(jaxpr, set(random_vars))
    made = {var for eqn in after for var in eqn.outvars} | set(random_vars)
    wanted: dict[Var, None] = {}
    for var in (*(v for eqn in after for v in eqn.invars), *jaxpr.outvars):
        if not isinstance(var, Literal) and var not in made:
            wanted[var] = None
    constants = dict(zip(jaxpr.constvars, closed.consts, strict=True))
    residuals = [var for var in wanted if var not in constants]
    prefix_fun = _function(jaxpr, list(fixed_vars), residuals, _needed(before, residuals), constants)
    suffix_fun = _function(jaxpr, [*random_vars, *residuals], list(jaxpr.outvars), after, constants)

    def prefix(fixed: Any) -> list[jax.Array]:
        return list(prefix_fun(*jax.tree.leaves(fixed)))

    def suffix(random: Any, residuals: Sequence[jax.Array]) -> Any:
        return jax.tree.unflatten(out_tree, suffix_fun(*jax.tree.leaves(random), *residuals))

    inside, outside = operations(after), operations(before)
    share = inside / max(inside + outside, 1)
    return Cut(prefix, suffix, tuple(random_vars), tuple(after), share, _working_set(after, jaxpr.outvars))


def enters_loop(part: Cut) -> bool:
    """Whether a loop takes a random argument as it is, the same for all its rounds."""
    random = set(part.random)
    return any(
        eqn.primitive.name in ("scan", "while")
        and any(var in random for var in eqn.invars if not isinstance(var, Literal))
        for eqn in part.equations
    )


def depends(equations: Sequence[JaxprEqn], on: set[Var]) -> tuple[list[JaxprEqn], set[Var]]:
    """The equations that a set of variables reaches, and all the variables reached."""
    reached, found = set(on), []
    for eqn in equations:
        if any(var in reached for var in eqn.invars if not isinstance(var, Literal)):
            reached.update(eqn.outvars)
            found.append(eqn)
    return found, reached


def _flat(function: Callable[[Any, Any], Any], random: Any, fixed: Any) -> tuple[ClosedJaxpr, Any]:
    """The function as one list of equations: compiled functions that depend on ``random`` are written out."""
    closed, shape = jax.make_jaxpr(function, return_shape=True)(random, fixed)
    tainted = [True] * len(jax.tree.leaves(random)) + [False] * len(jax.tree.leaves(fixed))

    def written_out(*arguments: Any) -> list[Any]:
        return _evaluate(closed.jaxpr, closed.consts, arguments, tainted)

    flat = jax.make_jaxpr(written_out)(*jax.tree.leaves((random, fixed)))
    return flat, jax.tree.structure(shape)


def _evaluate(jaxpr: Jaxpr, constants: Sequence[Any], arguments: Sequence[Any], tainted: Sequence[bool]) -> list[Any]:
    values: dict[Var, Any] = dict(zip(jaxpr.constvars, constants, strict=True))
    values.update(zip(jaxpr.invars, arguments, strict=True))
    reached = {var for var, hit in zip(jaxpr.invars, tainted, strict=True) if hit}

    def read(var: Any) -> Any:
        return var.val if isinstance(var, Literal) else values[var]

    for eqn in jaxpr.eqns:
        inputs = [read(var) for var in eqn.invars]
        hits = [not isinstance(var, Literal) and var in reached for var in eqn.invars]
        body = eqn.params.get(_INLINED.get(eqn.primitive.name, ""))
        if any(hits) and body is not None:
            inner, consts = (body.jaxpr, body.consts) if isinstance(body, ClosedJaxpr) else (body, ())
            outputs = _evaluate(inner, consts, inputs, hits)
        else:
            variables = list(dict.fromkeys(var for var in eqn.invars if not isinstance(var, Literal)))
            outputs = _function(jaxpr, variables, list(eqn.outvars), [eqn], {})(*map(read, variables))
        values.update(zip(eqn.outvars, outputs, strict=True))
        if any(hits):
            reached.update(eqn.outvars)
    return [read(var) for var in jaxpr.outvars]


def _function(
    jaxpr: Jaxpr, inputs: list[Any], outputs: list[Any], equations: Sequence[JaxprEqn], constants: dict[Var, Any]
) -> Callable[..., list[Any]]:
    used = {var for eqn in equations for var in eqn.invars if not isinstance(var, Literal)}
    used |= {var for var in outputs if not isinstance(var, Literal)}
    kept = [var for var in constants if var in used]
    part = jaxpr.replace(
        constvars=kept, invars=inputs, outvars=outputs, eqns=list(equations), debug_info=_no_debug_info(jaxpr)
    )
    return jaxpr_as_fun(ClosedJaxpr(part, [constants[var] for var in kept]))


def _no_debug_info(jaxpr: Jaxpr) -> Any:
    return jaxpr.debug_info._replace(arg_names=None, result_paths=None)


def _divided(jaxpr: Jaxpr, random: set[Var]) -> tuple[list[JaxprEqn], list[JaxprEqn]]:
    """The equations before and after the cut."""
    after, _ = depends(jaxpr.eqns, random)
    late = {id(eqn) for eqn in after}
    uses: dict[Var, list[int]] = {}
    for eqn in jaxpr.eqns:
        for var in eqn.invars:
            if not isinstance(var, Literal):
                uses.setdefault(var, []).append(id(eqn))
    outputs = {var for var in jaxpr.outvars if not isinstance(var, Literal)}
    for eqn in reversed(jaxpr.eqns):
        if id(eqn) not in late and eqn.primitive.name in _REPEATING:
            users = [user for var in eqn.outvars for user in uses.get(var, [])]
            if users and all(user in late for user in users) and not outputs & set(eqn.outvars):
                late.add(id(eqn))
    before = [eqn for eqn in jaxpr.eqns if id(eqn) not in late]
    return before, [eqn for eqn in jaxpr.eqns if id(eqn) in late]


def _needed(equations: Sequence[JaxprEqn], outputs: Sequence[Var]) -> list[JaxprEqn]:
    wanted, kept = set(outputs), []
    for eqn in reversed(equations):
        if wanted & set(eqn.outvars):
            kept.append(eqn)
            wanted |= {var for var in eqn.invars if not isinstance(var, Literal)}
    return kept[::-1]


def _working_set(equations: Sequence[JaxprEqn], outputs: Sequence[Any]) -> int:
    """Bytes of the values made by the equations that are alive at once, at most."""
    last = {var: place for place, eqn in enumerate(equations) for var in eqn.invars if not isinstance(var, Literal)}
    last.update({var: len(equations) for var in outputs if not isinstance(var, Literal)})
    alive: dict[Var, int] = {}
    most = 0
    for place, eqn in enumerate(equations):
        alive.update({var: _bytes(var) for var in eqn.outvars})
        most = max(most, sum(alive.values()))
        for var in [v for v in alive if last.get(v, -1) <= place]:
            del alive[var]
    return most


def _bytes(var: Any) -> int:
    dtype = _dtype(var)
    return prod(shape(var)) * (8 if jnp.issubdtype(dtype, jax.dtypes.extended) else dtype.itemsize)


def operations(equations: Sequence[JaxprEqn]) -> int:
    """An estimate of the floating-point operations of a program; drawing random bits counts as none."""

    def count(eqn: JaxprEqn) -> int:
        products = macs(eqn)
        if products is not None:
            return 2 * products
        return sum(prod(shape(var)) for var in eqn.outvars if jnp.issubdtype(_dtype(var), jnp.inexact))

    return total(equations, count)


def _dtype(var: Any) -> Any:
    return getattr(var.aval, "dtype", jnp.dtype("int32"))
