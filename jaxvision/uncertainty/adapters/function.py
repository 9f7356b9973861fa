"""Any pure function whose sites are marked in it."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxvision.uncertainty.adapters.build import Sought, build, check_arrays
from jaxvision.uncertainty.adapters.marks import names_in, with_sites
from jaxvision.uncertainty.arguments import shapes_of
from jaxvision.uncertainty.draw import Outputs, SiteError
from jaxvision.uncertainty.net import Net
from jaxvision.uncertainty.plan import Mask, Plan, SiteSpec


def from_function(
    function: Outputs,
    params: Any,
    where: str | Sequence[str] | Mapping[str, float] | Plan = "**",
    rate: float = 0.05,
    *,
    example: Any,
    mask: Mask = "element",
    shared: bool = False,
    prefix_tokens: int = 0,
    num_heads: int = 1,
    task: str = "classification",
    per_example: bool = False,
) -> Net:
    """Puts dropout into any pure function that marks its sites by `drop` (or has layers wrapped by `mark`).

    Outside the passes of the returned network the marks do nothing. A function that was compiled before, or has
    compiled parts, is traced anew in them.

    Args:
        function: ``(params, inputs) -> outputs``, examples first; pure.
        params: pytree of arrays.
        where: the names to make stochastic: a pattern or several (see `jaxvision.paths`), a dict of patterns to rates,
            or a `Plan`, which gives each site its own options. Default: all.
        rate: probability of being dropped, at least 0 and below 1.
        example: an input, or its `jax.ShapeDtypeStruct` (a pytree of them), of any number of examples: the function is
            traced with it, to find its sites.
        mask: what is dropped together, see `jaxvision.uncertainty.masks`.
        shared: one mask for all examples of a pass.
        prefix_tokens: with ``"token"``: how many at the front to keep.
        num_heads: with ``"head"``: into how many the channels are divided; 0 if heads are the last axis but one.
        task: what the outputs are, see `jaxvision.uncertainty.inject`.
        per_example: the function takes one example and returns its output; it is mapped over the examples here. A site
            inside a `jax.vmap` of the function's own would not see the examples, and is refused.

    Raises:
        PatternError: a pattern selects no name.
        SiteError: there is no site, or one without an axis of examples, or one inside a `jax.vmap`.
        TypeError: ``params`` has leaves that are not arrays.
        ValueError: a wrong rate, mask, task or shape.

    Example:
        >>> def net(params, x):
        ...     hidden = uq.drop("hidden", jax.nn.relu(x @ params["w1"] + params["b1"]))
        ...     return hidden @ params["w2"] + params["b2"]
        >>> uq.from_function(net, params, rate=0.1, example=x, task="regression")  # doctest: +SKIP
    """
    check_arrays(params)
    names = names_in(function, params, shapes_of(example, per_example))
    if not names:
        raise SiteError("the function marks no site: put uq.drop(name, x) around a value in it")
    spec = SiteSpec("", mask, "output", rate, shared, prefix_tokens, num_heads)
    specs, groups = Sought(where, spec).among(dict.fromkeys(names), "site")
    return build(function, lambda specs: with_sites(function, specs), params, specs, groups, task, example, per_example)
