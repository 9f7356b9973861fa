"""One random pass: the key, the rows and the rates that its sites read, while the pass is traced."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxvision.uncertainty.masks import apply_mask, draw_mask, kernel_mask, mask_shape, site_key
from jaxvision.uncertainty.plan import Plan, SiteSpec

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


@dataclass
class Draw:
    """What decides all the masks of one pass.

    Attributes:
        key: of the pass.
        rows: numbers of the examples.
        rates: of each site, by path.
        given: masks to use in place of drawn ones, by path and call; for the closed form.
        probe: nothing is computed, the pass only shows what its sites are.
        visits: every masked call so far.
    """

    key: jax.Array
    rows: Int[Array, " b"]
    rates: Mapping[str, Float[Array, ""]]
    given: Mapping[tuple[str, int], Float[Array, "b ..."]] | None = None
    probe: bool = False
    visits: list[Visit] = field(default_factory=list)

    def active(self, spec: SiteSpec) -> bool:
        """Whether a site drops anything in this pass."""
        return spec.path in self.rates

    def mask(self, spec: SiteSpec, x: Float[Array, "b ..."]) -> Float[Array, "b ..."]:
        """``x`` with its mask applied.

        Raises:
            TypeError: ``x`` is not an array of floats.
        """
        if not (isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jnp.floating)):
            what = f"{x.dtype} {x.shape}" if isinstance(x, jax.Array) else type(x).__name__
            raise TypeError(f"what {spec.path!r} has at its {spec.at} is {what}, not an array of floats to mask")
        if self.probe:
            _refuse_vmap(x, spec.path)
        call = self._visit(spec, x.shape, mask_shape(spec, x.shape), x.dtype)
        if self.given is not None:
            return apply_mask(spec, x, self.given[spec.path, call])
        key = site_key(self.key, spec.path, call)
        return apply_mask(spec, x, draw_mask(spec, x.shape, self.rates[spec.path], key, self.rows))

    def kernel(self, spec: SiteSpec, kernel: Float[Array, "..."]) -> Float[Array, "..."]:
        """A kernel with its mask applied."""
        if self.probe:
            _refuse_vmap(kernel, spec.path)
        call = self._visit(spec, kernel.shape, kernel.shape, kernel.dtype)
        if self.given is not None:
            return kernel * self.given[spec.path, call].astype(kernel.dtype)
        key = site_key(self.key, spec.path, call)
        return kernel * kernel_mask(kernel.shape, self.rates[spec.path], key).astype(kernel.dtype)

    def _visit(self, spec: SiteSpec, shape: tuple[int, ...], mask: tuple[int, ...], dtype: Any) -> int:
        call = sum(visit.path == spec.path for visit in self.visits)
        self.visits.append(Visit(spec.path, call, shape, mask, dtype))
        return call


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


def current_draw() -> Draw | None:
    """The pass that is being traced; None outside one, when every site lets its values through."""
    return _current.get()


@contextmanager
def drawing(draw: Draw | None) -> Iterator[Draw | None]:
    """Makes a pass the current one. Enter it inside the function that JAX traces, never around a compiled one."""
    token = _current.set(draw)
    try:
        yield draw
    finally:
        _current.reset(token)


def random_pass(function: Outputs, active: tuple[str, ...]) -> Callable[[Any, Any], Any]:
    """A random pass as a pure function of ``(key, rates)`` and ``(variables, images, rows)``.

    Args:
        function: the network.
        active: paths of the sites that drop, in the order of the rates.

    Raises:
        SiteError: (from the pass) it does not run one of the sites.
    """

    def one(random: tuple[jax.Array, Float[Array, " sites"]], fixed: tuple[Any, Any, Int[Array, " b"]]) -> Any:
        (key, rates), (variables, images, rows) = random, fixed
        draw = Draw(key, rows, {path: rates[index] for index, path in enumerate(active)})
        with drawing(draw):
            outputs = function(variables, images)
        idle = [path for path in active if all(visit.path != path for visit in draw.visits)]
        if idle:
            raise SiteError(
                f"selected, but not run by this pass (perhaps entered by another method): {', '.join(idle)}"
            )
        return outputs

    return one


def visited(function: Outputs, plan: Plan, variables: Any, example: Any) -> list[Visit]:
    """The calls of all sites, those of rate 0 too, in a pass over inputs of these shapes. Nothing is computed."""
    visits: list[Visit] = []

    def run(variables: Any, images: Any, key: jax.Array) -> Any:
        rows = jnp.arange(jax.tree.leaves(images)[0].shape[0])
        draw = Draw(key, rows, {site.path: jnp.float32(site.rate) for site in plan.sites}, probe=True)
        with drawing(draw):
            outputs = function(variables, images)
        visits.extend(draw.visits)
        return outputs

    jax.eval_shape(run, variables, example, jax.random.key(0))
    return visits
