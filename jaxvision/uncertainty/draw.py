"""One pass and the masks that its sites read while it is traced: drawn before, so that a pass is a function of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxvision.uncertainty.masks import apply_mask, draw_mask, kernel_mask, mask_shape, site_key
from jaxvision.uncertainty.plan import SiteSpec

Outputs = Callable[[Any, Any], Any]
"""``(variables, images) -> outputs``; its sites read `current_draw`."""


class SiteError(ValueError):
    """A site that cannot be stochastic: it never runs, or a mask cannot be drawn for it."""


@dataclass(frozen=True)
class Visit:
    """A site's call in a pass: the shape of what is masked, and of one example's mask (or of the kernel's)."""

    path: str
    call: int
    shape: tuple[int, ...]
    mask: tuple[int, ...]
    dtype: Any


Masks = dict[tuple[str, int], Float[Array, "..."]]
"""The masks of a pass, by a site's path and which of its calls it is."""


@dataclass
class Draw:
    """One pass: the masks that its sites apply.

    Attributes:
        masks: of all sites that drop; None for a probe, which only shows what the sites are and masks nothing.
        visits: every call of a site so far.
    """

    masks: Mapping[tuple[str, int], Float[Array, "..."]] | None
    visits: list[Visit] = field(default_factory=list)

    @property
    def probe(self) -> bool:
        """Whether this pass only shows what its sites are."""
        return self.masks is None

    def active(self, spec: SiteSpec) -> bool:
        """Whether a site takes part: one of rate 0 does not, but in a probe."""
        return self.masks is None or any(path == spec.path for path, _ in self.masks)

    def mask(self, spec: SiteSpec, x: Any) -> Any:
        """``x``, examples first, with its mask applied; of a tuple its first element.

        Raises:
            TypeError: ``x`` is not an array of floats.
        """
        if isinstance(x, tuple):
            return (self.mask(spec, x[0]), *x[1:])
        if not (isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jnp.floating)):
            what = f"{x.dtype} {x.shape}" if isinstance(x, jax.Array) else type(x).__name__
            raise TypeError(f"what {spec.path!r} has at its {spec.at} is {what}, not an array of floats to mask")
        mask = self._visit(spec, x, mask_shape(spec, x.shape))
        return x if mask is None else apply_mask(spec, x, mask)

    def kernel(self, spec: SiteSpec, kernel: Float[Array, "..."]) -> Float[Array, "..."]:
        """A kernel with its mask applied."""
        mask = self._visit(spec, kernel, kernel.shape)
        return kernel if mask is None else kernel * mask.astype(kernel.dtype)

    def _visit(self, spec: SiteSpec, x: Array, shape: tuple[int, ...]) -> Float[Array, "..."] | None:
        call = sum(visit.path == spec.path for visit in self.visits)
        self.visits.append(Visit(spec.path, call, x.shape, shape, x.dtype))
        if self.masks is None:
            _refuse_vmap(x, spec.path)
            return None
        return self.masks[spec.path, call]


def _refuse_vmap(x: Array, path: str) -> None:
    """Raises if the network itself maps over ``x``: a site does not see the mapped axis, and would draw one mask."""

    @jax.custom_batching.custom_vmap
    def unmapped(x: Array) -> Array:
        return x

    @unmapped.def_vmap
    def refuse(axis_size: int, in_batched: Any, x: Array) -> Any:
        raise SiteError(
            f"{path!r} lies inside a jax.vmap of the network, where all {axis_size} would have the same mask: give the "
            "network whole batches (or, to an adapter, the function of one example and per_example=True), or inject "
            "outside"
        )

    unmapped(jax.lax.stop_gradient(x))


_current: ContextVar[Draw | None] = ContextVar("jaxvision_draw", default=None)
# Part of the key of jax.jit's caches: a compiled function inside a network, traced before without masks or with those
# of another pass, would otherwise be taken from the cache, and its sites be silent.
_tracing = jax.make_user_context(0)
_numbers = count(1)


def current_draw() -> Draw | None:
    """The pass that is being traced; None outside one, when every site lets its values through."""
    return _current.get()


@contextmanager
def traced_anew() -> Iterator[None]:
    """Within it nothing is taken from `jax.jit`'s caches that was traced outside."""
    with _tracing(next(_numbers)):
        yield


@contextmanager
def drawing(draw: Draw | None) -> Iterator[Draw | None]:
    """Makes a pass the current one. Enter it inside the function that JAX traces, never around a compiled one."""
    token = _current.set(draw)
    try:
        with traced_anew():
            yield draw
    finally:
        _current.reset(token)


def visited(function: Outputs, sites: Sequence[SiteSpec], variables: Any, images: Any) -> list[Visit]:
    """The calls of some sites in a pass over inputs of these shapes. Nothing is computed."""
    draw = Draw(None)

    def run(variables: Any, images: Any) -> Any:
        with drawing(draw):
            return function(variables, images)

    jax.eval_shape(run, variables, images)
    paths = {site.path for site in sites}
    return [visit for visit in draw.visits if visit.path in paths]


def draw_masks(
    sites: Sequence[SiteSpec],
    visits: Sequence[Visit],
    key: jax.Array,
    rates: Float[Array, " sites"],
    rows: Int[Array, " b"],
) -> Masks:
    """The masks of one pass.

    Args:
        sites: those that drop.
        visits: their calls, from `visited`.
        key: of the pass.
        rates: of the sites.
        rows: numbers of the examples.

    Raises:
        SiteError: a site is never called.
    """
    idle = [site.path for site in sites if all(visit.path != site.path for visit in visits)]
    if idle:
        raise SiteError(f"selected, but not run by this pass (perhaps entered by another method): {', '.join(idle)}")
    places = {site.path: place for place, site in enumerate(sites)}
    masks = {}
    for visit in visits:
        spec, rate = sites[places[visit.path]], rates[places[visit.path]]
        own = site_key(key, visit.path, visit.call)
        masks[visit.path, visit.call] = (
            kernel_mask(visit.shape, rate, own)
            if spec.mask == "connect"
            else draw_mask(spec, visit.shape, rate, own, rows)
        )
    return masks


def masked_pass(function: Outputs) -> Callable[[Masks, tuple[Any, Any]], Any]:
    """A pass as a pure function of its masks, and of ``(variables, images)``."""

    def run(masks: Masks, fixed: tuple[Any, Any]) -> Any:
        with drawing(Draw(masks)):
            return function(*fixed)

    return run
