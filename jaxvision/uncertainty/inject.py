"""Dropout for a network that was trained without it (Ledda, Fumera and Roli 2023): which sites, and the hooks there."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxvision.functional import to_functional
from jaxvision.interception import Hook, Site, intercept
from jaxvision.models.image_model import ImageModel
from jaxvision.nn.drop import DropPath
from jaxvision.paths import PatternError, named_modules, named_variables, select, suggestion
from jaxvision.uncertainty.arguments import shapes_of
from jaxvision.uncertainty.draw import current_draw
from jaxvision.uncertainty.net import Net, make_net
from jaxvision.uncertainty.plan import At, Mask, Plan, SiteSpec
from jaxvision.uncertainty.presets import PRESETS, Place, preset_sites
from jaxvision.uncertainty.where import Where, chosen_by, pattern_rates


def inject(
    model: nnx.Module,
    where: Where,
    rate: float = 0.05,
    *,
    mask: Mask | None = None,
    at: At = "output",
    shared: bool = False,
    prefix_tokens: int | None = None,
    task: str = "classification",
    example: Any = None,
) -> Net:
    """Puts dropout into a trained network, for prediction only (Ledda, Fumera and Roli 2023, section 3).

    The model is not changed, nor are its variables or their names, and all else runs as in evaluation: batch
    normalisation keeps its statistics. With all rates 0 the output is the model's, bit for bit.

    Args:
        model: any `nnx.Module`.
        where: what becomes stochastic: a pattern of module paths or several (see `jaxvision.paths`), a dict of
            patterns to rates, a function of path and module, a `Plan`, or a preset: ``"head"``, ``"last-stage"``,
            ``"all-blocks"`` (see `jaxvision.uncertainty.presets`; a module that is itself called ``head`` is
            ``"re:head"``). A site that several patterns select takes the last one's rate. A `Dropout`, `DropPath` or
            `nnx.Dropout` that is selected is switched on.
        rate: probability of being dropped, at least 0 and below 1.
        mask: what is dropped together: ``"element"``, ``"channel"``, ``"token"``, ``"head"`` (of attention modules),
            ``"depth"`` (on a residual branch; of a block, its `DropPath`s), ``"connect"`` (weights of the kernel),
            ``"gaussian"`` (see `jaxvision.uncertainty.masks`). Default: ``"element"``, ``"depth"`` at a `DropPath`.
        at: mask the module's first ``"input"`` or its ``"output"``.
        shared: one mask for all examples of a pass.
        prefix_tokens: with ``"token"``: how many class and register tokens to keep. Default: all that the model has;
            0 to drop them too.
        task: what the outputs are: ``"classification"`` (or ``"multiclass"``), ``"binary"`` (one logit),
            ``"multilabel"``, ``"regression"``, or ``"heteroscedastic"`` (means, then log variances).
        example: input to try the sites with, an array or its `jax.ShapeDtypeStruct` (of any number of examples): sites
            that never run are found at once. Models of this library need none.

    Returns:
        A network whose `Net.predict` says how sure it is.

    Raises:
        PatternError: a pattern selects no module; the nearest paths are listed.
        SiteError: a selected module is not run by a pass, or the mask cannot be applied there.
        ValueError: a wrong rate, mask, task or place.

    Example:
        >>> net = uq.inject(model, "head", rate=0.1)  # doctest: +SKIP
        >>> net.predict(images, jax.random.key(0), num_samples=100).mutual_information  # doctest: +SKIP
    """
    modules = {path: module for path, module in named_modules(model).items() if callable(module)}
    if isinstance(where, Plan):
        missing = [site.path for site in where.sites if site.path not in modules]
        if missing:
            raise PatternError(
                f"the plan's sites are not the model's: {', '.join(missing[:5])}{suggestion(missing[0], modules)}"
            )
        groups, specs = {"the plan": [s.path for s in where.sites]}, {s.path: s for s in where.sites}
    else:
        groups, specs = {}, {}
        for label, places, own_rate in _places(model, modules, where, rate):
            found = [s for p in places for s in _specs(p, label in PRESETS, model, modules, own_rate, mask, at)]
            found = [replace(spec, shared=shared) for spec in found]
            if prefix_tokens is not None:
                found = [replace(spec, prefix_tokens=prefix_tokens) for spec in found]
            groups[label] = [spec.path for spec in found]
            specs.update({spec.path: spec for spec in found})
    order = [path for path in modules if path in specs]
    plan = Plan(tuple(specs[path] for path in order))
    _check_kernels(model, plan)
    view = intercept(model, {f"re:{re.escape(spec.path)}": _hook(spec) for spec in plan.sites})
    function, variables = to_functional(view)
    plain, _ = to_functional(model)
    return make_net(_outputs(function), _outputs(plain), variables, plan, task, _example(model, example), groups)


def _places(
    model: nnx.Module, modules: Mapping[str, nnx.Module], where: Any, rate: float
) -> list[tuple[str, list[Place | str], float]]:
    """What is asked for, with the paths or places it selects, and its rate."""
    if callable(where):
        return [("the given function", list(chosen_by(where, modules, "module")), rate)]
    found: list[tuple[str, list[Place | str], float]] = []
    for pattern, own in pattern_rates(where, rate, "module").items():
        if pattern in PRESETS and not (pattern in modules and not isinstance(model, ImageModel)):
            found.append((pattern, list(preset_sites(model, pattern)), own))
        else:
            found.append((pattern, list(_selected(pattern, modules)), own))
    return found


def _selected(pattern: str, modules: Mapping[str, nnx.Module]) -> list[str]:
    try:
        return select(pattern, [path for path in modules if path])
    except PatternError as error:
        presets = suggestion(pattern, PRESETS) or f"; presets are {', '.join(PRESETS)}"
        raise PatternError(f"{error}{presets}") from None


def _specs(
    place: Place | str,
    preset: bool,
    model: nnx.Module,
    modules: Mapping[str, nnx.Module],
    rate: float,
    mask: Mask | None,
    at: At,
) -> list[SiteSpec]:
    """The sites that a selected module means."""
    if isinstance(place, Place):
        path, mask, at = place.path, mask or place.mask, place.at
    else:
        path = place
    module = modules[path]
    if mask is None:
        mask = "depth" if isinstance(module, DropPath) else "element"
    if mask == "depth":
        inside = [p for p in modules if p.rpartition(".")[0] == path and isinstance(modules[p], DropPath)]
        return [SiteSpec(p, "depth", "output", rate) for p in inside or [path]]
    if mask == "head":
        return [_heads(path, modules, rate)]
    prefix = getattr(getattr(model, "config", None), "num_prefix_tokens", 0) if mask == "token" else 0
    return [SiteSpec(path, mask, at, rate, prefix_tokens=prefix)]


def _heads(path: str, modules: Mapping[str, nnx.Module], rate: float) -> SiteSpec:
    """Heads are dropped where they lie side by side: before the output projection of the attention module."""
    heads = getattr(modules[path], "num_heads", None)
    for name, folded in (("proj", True), ("out", False)):
        if isinstance(heads, int) and f"{path}.{name}" in modules:
            return SiteSpec(f"{path}.{name}", "head", "input", rate, num_heads=heads if folded else 0)
    raise ValueError(
        f"mask='head' is for attention modules, with num_heads and an output projection 'proj' or 'out'; {path!r} is "
        f"{type(modules[path]).__name__}"
    )


def _check_kernels(model: nnx.Module, plan: Plan) -> None:
    names = set(named_variables(model))
    for spec in plan.sites:
        if spec.mask == "connect" and f"{spec.path}.kernel".lstrip(".") not in names:
            raise ValueError(f"mask='connect' drops weights of a kernel, and {spec.path!r} has none")


def _hook(spec: SiteSpec) -> Hook:
    """What runs around a module: nothing but the module outside a random pass."""

    def hook(site: Site, call: Hook, *args: Any, **kwargs: Any) -> Any:
        draw = current_draw()
        if draw is None or not draw.active(spec):
            return call(*args, **kwargs)
        if spec.mask == "connect":
            kernel = site.instance.kernel  # type: ignore[union-attr]
            whole = kernel.get_value()
            kernel.set_value(draw.kernel(spec, whole))
            try:
                return call(*args, **kwargs)
            finally:
                kernel.set_value(whole)
        if spec.at == "input":
            if not args:
                raise TypeError(f"{spec.path!r} is called without positional arguments: inject at its output")
            return call(draw.mask(spec, args[0]), *args[1:], **kwargs)
        return draw.mask(spec, call(*args, **kwargs))

    hook.unfuses = True  # type: ignore[attr-defined]
    return hook


def _outputs(apply: Callable[..., tuple[Any, Any]]) -> Callable[[Any, Any], Any]:
    return lambda variables, images: apply(variables, images)[0]


def _example(model: nnx.Module, example: Any) -> Any:
    if example is not None:
        return shapes_of(example)
    if not isinstance(model, ImageModel):
        return None
    size = getattr(model.config, "img_size", 224)
    height, width = (size, size) if isinstance(size, int) else size
    return jax.ShapeDtypeStruct((2, height, width, model.config.in_chans), jnp.float32)
