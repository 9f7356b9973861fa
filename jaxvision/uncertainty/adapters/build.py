"""From a function with named sites to a network: which sites, and whether they are what they seem."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from jaxvision.paths import PatternError, select, suggestion
from jaxvision.uncertainty.arguments import shapes_of
from jaxvision.uncertainty.draw import Draw, Outputs, SiteError, Visit, current_draw, drawing, visited
from jaxvision.uncertainty.net import Net, make_net
from jaxvision.uncertainty.plan import Plan, SiteSpec
from jaxvision.uncertainty.where import Where, chosen_by, pattern_rates

Adapt = Callable[[Mapping[str, SiteSpec]], Outputs]
"""Makes the function with sites from their specifications."""


@dataclass(frozen=True)
class Sought:
    """What is asked for: where, and in which form.

    Attributes:
        where: as `jaxvision.uncertainty.inject` has it, without presets.
        spec: of a site, but for its path, and its rate where ``where`` has rates.
    """

    where: Where
    spec: SiteSpec

    def among(self, known: Mapping[str, Any], what: str) -> tuple[dict[str, SiteSpec], dict[str, list[str]]]:
        """The sites by path, in the order of ``known``, and the paths that each part of ``where`` selects.

        Args:
            known: what the paths lead to.
            what: they are called in an error.

        Raises:
            PatternError: a pattern, or a plan's site, is not among the known paths.
        """
        paths = [path for path in known if path]
        if isinstance(self.where, Plan):
            return _planned(self.where, paths, what)
        if callable(self.where):
            found = chosen_by(self.where, {path: known[path] for path in paths}, what)
            groups, rates = {"the given function": found}, dict.fromkeys(found, self.spec.rate)
        else:
            asked = pattern_rates(self.where, self.spec.rate, what)
            groups = {pattern: select(pattern, paths, what=what) for pattern in asked}
            rates = {path: rate for pattern, rate in asked.items() for path in groups[pattern]}
        return {path: replace(self.spec, path=path, rate=rates[path]) for path in paths if path in rates}, groups


def _planned(plan: Plan, paths: Sequence[str], what: str) -> tuple[dict[str, SiteSpec], dict[str, list[str]]]:
    specs = {site.path: site for site in plan.sites}
    for path in specs:
        if path not in paths:
            raise PatternError(f"the plan's site {path!r} is no {what} of the network{suggestion(path, paths)}")
    return {path: specs[path] for path in paths if path in specs}, {"the plan": list(specs)}


def check_arrays(params: Any) -> None:
    """Whether the leaves of a pytree are arrays.

    Raises:
        TypeError: they are not.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not hasattr(leaf, "shape"):
            raise TypeError(
                f"params must be arrays, but {jax.tree_util.keystr(path) or 'it'} is {type(leaf).__name__}: keep the "
                "rest out of params, or give the whole model to from_callable"
            )


def build(
    plain: Outputs,
    adapt: Adapt,
    params: Any,
    specs: Mapping[str, SiteSpec],
    groups: Mapping[str, Sequence[str]],
    task: str,
    example: Any,
    per_example: bool,
) -> Net:
    """A network from a function, or from one of single examples.

    Raises:
        SiteError: a site does not run, or has no axis of examples.
    """
    function = adapt(specs)
    if per_example:
        function, plain = _over_examples(function, specs), jax.vmap(plain, in_axes=(None, 0))
    net = make_net(function, plain, params, Plan(tuple(specs.values())), task, shapes_of(example), groups)
    _check_examples(net)
    return net


def _check_examples(net: Net) -> None:
    """Whether the first axis of what is masked grows with the number of examples."""
    specs = {site.path: site for site in net.plan.sites}
    two, three = (
        visited(net.function, net.plan.sites, net.variables, shapes_of(net.example, count=count)) for count in (2, 3)
    )
    if [(visit.path, visit.call) for visit in two] != [(visit.path, visit.call) for visit in three]:
        raise SiteError("how often a site runs depends on the number of examples: give the network whole batches")
    for one, other in zip(two, three, strict=True):
        spec = specs[one.path]
        same_for_all = spec.mask == "connect" or (spec.shared and one.shape[:1] == other.shape[:1] == (1,))
        if not same_for_all and one.shape[0] * 3 != other.shape[0] * 2:
            raise SiteError(
                f"{one.path!r} has shape {one.shape} for 2 examples and {other.shape} for 3: examples must come first, "
                "for each has a mask of its own"
            )


def _over_examples(function: Outputs, specs: Mapping[str, SiteSpec]) -> Outputs:
    """A function of batches from one of single examples, whose sites have the masks that they would have in a batch."""

    def run(params: Any, inputs: Any) -> Any:
        outer = current_draw()
        if outer is None:
            return jax.vmap(function, in_axes=(None, 0))(params, inputs)
        count = jax.tree.leaves(inputs)[0].shape[0]
        visits: list[Visit] = []

        def one(example: Any, masks: Any) -> Any:
            draw = _SingleDraw(masks)
            with drawing(draw):
                output = function(params, example)
            visits.extend(draw.visits)
            return output

        if outer.masks is None:  # a probe, where a vmap, ours too, would be refused
            output = one(jax.tree.map(lambda x: x[0], inputs), None)
            outputs = jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), output)
        else:
            own = {place: not _for_all(specs[place[0]]) for place in outer.masks}
            masks = {place: mask[:, None] if own[place] else mask for place, mask in outer.masks.items()}
            axes = {place: 0 if mapped else None for place, mapped in own.items()}
            outputs = jax.vmap(one, in_axes=(0, axes))(inputs, masks)
        for visit in visits:
            whole = visit if specs[visit.path].mask == "connect" else replace(visit, shape=(count, *visit.shape[1:]))
            outer.visits.append(whole)
        return outputs

    return run


def _for_all(spec: SiteSpec) -> bool:
    """Whether all examples have the same mask."""
    return spec.shared or spec.mask == "connect"


class _SingleDraw(Draw):
    """A pass over one example, whose axis of examples the function does not know."""

    def mask(self, spec: SiteSpec, x: Any) -> Any:
        return super().mask(spec, x[None])[0] if hasattr(x, "shape") else super().mask(spec, x)
