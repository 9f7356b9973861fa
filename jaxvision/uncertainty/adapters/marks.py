"""Sites that a function marks itself."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax
from jaxtyping import Array, Float

from jaxvision.uncertainty.draw import Outputs, current_draw, traced_anew
from jaxvision.uncertainty.plan import At, SiteSpec

Visitor = Callable[[str, At, Any], Any]
"""Takes a site's name, the place and the value there, and returns what is to go on."""

_visitor: ContextVar[Visitor | None] = ContextVar("jaxvision_visitor", default=None)


def drop(name: str, x: Float[Array, "b ..."]) -> Float[Array, "b ..."]:
    """Marks a value of a function as a site, for `jaxvision.uncertainty.from_function`.

    Args:
        name: of the site, dotted like a module's path where there are many. A name that is used several times in a
            pass is one site with several masks.
        x: examples first, or one example in a function of one. With ``mask="connect"`` any weights.

    Returns:
        ``x`` itself, and in a random pass of a network that selected the name, ``x`` with its mask.
    """
    return visit(name, "output", x)


def visit(name: str, at: At, x: Any) -> Any:
    """Shows a value to the current visitor, if there is one."""
    visitor = _visitor.get()
    return x if visitor is None else visitor(name, at, x)


@contextmanager
def visiting(visitor: Visitor | None) -> Iterator[None]:
    """Makes a visitor the current one. Enter it inside the function that JAX traces, and that is traced anew."""
    token = _visitor.set(visitor)
    try:
        yield
    finally:
        _visitor.reset(token)


def names_in(function: Outputs, params: Any, example: Any) -> list[str]:
    """The names that a function marks, in their order. Nothing is computed."""
    names: dict[str, None] = {}

    def note(name: str, at: At, x: Any) -> Any:
        names[name] = None
        return x

    def run(params: Any, example: Any) -> Any:
        with traced_anew(), visiting(note):
            return function(params, example)

    jax.eval_shape(run, params, example)
    return list(names)


def masked(specs: Mapping[str, SiteSpec], name: str, at: At, x: Any) -> Any:
    """``x`` with the mask of the current pass, if a site of this name is there; of a tuple its first element."""
    draw, spec = current_draw(), specs.get(name)
    if draw is None or spec is None or spec.at != at or not draw.active(spec):
        return x
    if spec.mask == "connect":
        return draw.kernel(spec, x)
    return draw.mask(spec, x)


def with_sites(function: Outputs, specs: Mapping[str, SiteSpec]) -> Outputs:
    """A function whose marked values are masked in a random pass."""

    def run(params: Any, inputs: Any) -> Any:
        if current_draw() is None:
            return function(params, inputs)
        with visiting(lambda name, at, x: masked(specs, name, at, x)):
            return function(params, inputs)

    return run
