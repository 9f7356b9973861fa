"""Flax Linen: modules become sites through Linen's own method interceptor."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxvision.uncertainty.adapters.build import Sought, build
from jaxvision.uncertainty.adapters.marks import masked
from jaxvision.uncertainty.arguments import shapes_of
from jaxvision.uncertainty.draw import Draw, Outputs, current_draw, traced_anew
from jaxvision.uncertainty.net import Net
from jaxvision.uncertainty.plan import At, Mask, SiteSpec
from jaxvision.uncertainty.where import Where


def from_linen(
    module: nn.Module | Outputs,
    variables: Any,
    where: Where,
    rate: float = 0.05,
    *,
    example: Any,
    mask: Mask = "element",
    at: At = "output",
    shared: bool = False,
    prefix_tokens: int = 0,
    num_heads: int = 1,
    task: str = "classification",
    per_example: bool = False,
) -> Net:
    """Puts dropout into a Flax Linen network.

    The interceptor is entered inside every traced pass, and compiled parts are traced anew, so that nothing compiled
    before can swallow it. No collection is mutable: batch normalisation keeps its statistics, and Linen raises where a
    module would change them.

    Args:
        module: a module, or a function of variables and inputs that applies one:
            ``functools.partial(module.apply, train=False)``. It must run as in evaluation.
        variables: of the module: ``{"params": ..., "batch_stats": ...}``.
        where: patterns of the modules' paths (the names in ``variables`` joined by dots: ``encoder.Dense_0``), a dict
            of patterns to rates, a function of path and module, or a `Plan`, see `jaxvision.uncertainty.inject`.
        rate: probability of being dropped, at least 0 and below 1.
        example: an input, or its `jax.ShapeDtypeStruct` (a pytree of them), of any number of examples: the network is
            traced with it, to find its modules.
        mask: what is dropped together, see `jaxvision.uncertainty.masks`. Heads of
            ``nn.MultiHeadDotProductAttention`` are at the ``"input"`` of its ``out``, with ``num_heads=0``.
        at: mask the module's first ``"input"`` or its ``"output"``.
        shared: one mask for all examples of a pass.
        prefix_tokens: with ``"token"``: how many at the front to keep.
        num_heads: with ``"head"``: into how many the channels are divided; 0 if heads are the last axis but one.
        task: what the outputs are, see `jaxvision.uncertainty.inject`.
        per_example: the network takes one example, and is mapped over them.

    Raises:
        PatternError: a pattern selects no module.
        SiteError: a module is not called, or inside an ``nn.vmap``; (from prediction) inside an ``nn.scan``.
        ValueError: a wrong rate, mask, task or shape, or no kernel to drop weights of.

    Example:
        >>> net = uq.from_linen(module, variables, "Dense_1", at="input", example=images)  # doctest: +SKIP
    """
    apply: Outputs = module.apply if isinstance(module, nn.Module) else module
    spec = SiteSpec("", mask, at, rate, shared, prefix_tokens, num_heads)
    specs, groups = Sought(where, spec).among(_modules(apply, variables, shapes_of(example, per_example)), "module")
    leaves = flatten_dict(variables)
    for path, site in specs.items():
        if site.mask == "connect" and _kernel(path) not in leaves:
            raise ValueError(f"mask='connect' drops weights of a kernel, and {path!r} has none")
    return build(apply, lambda specs: _intercepted(apply, specs), variables, specs, groups, task, example, per_example)


def _modules(apply: Outputs, variables: Any, shapes: Any) -> dict[str, Any]:
    """The modules that a pass calls, by path, and those that only have variables, without their module."""
    found: dict[str, Any] = {}

    def note(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        if context.method_name == "__call__":
            found.setdefault(".".join(context.module.path), context.module)
        return call(*args, **kwargs)

    def run(variables: Any, inputs: Any) -> Any:
        with traced_anew(), nn.intercept_methods(note):
            return apply(variables, inputs)

    jax.eval_shape(run, variables, shapes)
    for _, *parents, _ in flatten_dict(variables):
        for depth in range(1, len(parents) + 1):
            found.setdefault(".".join(parents[:depth]), None)
    return found


def _intercepted(apply: Outputs, specs: Mapping[str, SiteSpec]) -> Outputs:
    """The network, with its sites masked in a random pass."""

    def run(variables: Any, inputs: Any) -> Any:
        draw = current_draw()
        if draw is None:
            return apply(variables, inputs)
        inside: list[str] = []
        called: set[str] = set()

        def intercept(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            path = ".".join(context.module.path)
            # A class that calls its base's __call__ comes twice.
            if context.method_name != "__call__" or path not in specs or path in inside:
                return call(*args, **kwargs)
            called.add(path)
            inside.append(path)
            try:
                if specs[path].mask == "connect":
                    return call(*args, **kwargs)
                if args:
                    args = (masked(specs, path, "input", args[0]), *args[1:])
                return masked(specs, path, "output", call(*args, **kwargs))
            finally:
                inside.pop()

        with nn.intercept_methods(intercept):
            outputs = apply(_with_dropped_weights(variables, specs, draw), inputs)
        kernels = {path for path, spec in specs.items() if spec.mask == "connect"}
        draw.visits[:] = [visit for visit in draw.visits if visit.path not in kernels - called]
        return outputs

    return run


def _with_dropped_weights(variables: Any, specs: Mapping[str, SiteSpec], draw: Draw) -> Any:
    chosen = {p: spec for p, spec in specs.items() if spec.mask == "connect" and draw.active(spec)}
    if not chosen:
        return variables
    leaves = flatten_dict(variables)
    for path, spec in chosen.items():
        leaves[_kernel(path)] = draw.kernel(spec, leaves[_kernel(path)])
    return unflatten_dict(leaves)


def _kernel(path: str) -> tuple[str, ...]:
    return ("params", *path.split("."), "kernel")
