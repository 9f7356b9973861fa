"""The one door for surgery on a finished model: run a function of one's own around any of its modules.

Feature capture, dropout injection, drop-connect, Grad-CAM and activation patching are each a small hook.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial, wraps
from typing import Any, TypeVar

from flax import nnx

from jaxvision.paths import PatternError, named_modules, select

Model = TypeVar("Model", bound=nnx.Module)

# Where a pass may enter a model; entering resets the sites' call counts.
_ENTRIES = ("__call__", "forward_features", "forward_intermediates", "forward_head", "classify")


@dataclass(eq=False)
class Site:
    """One hooked module of a view.

    Attributes:
        path: its dotted path, such as ``blocks.0.mlp``; of a shared module the first of its names.
        aliases: the other names of a shared module.
        module: the class of the module, as it was before.
        call_index: how often the module has already run in this pass: 0 but for a shared module.
        instance: the module itself while its hook runs, with its variables; None otherwise. In the pure function of
            `to_functional` it is a copy, which a hook may change.
    """

    path: str
    aliases: tuple[str, ...]
    module: type[nnx.Module]
    call_index: int = 0
    instance: nnx.Module | None = None


Hook = Callable[..., Any]
"""``hook(site, call, *args, **kwargs)``, run in place of the module's call; ``call(*args, **kwargs)`` is that call."""


@dataclass(eq=False)
class _Hooked:
    """What a hooked module carries. Compared by identity, and opaque to JAX and NNX: static as far as they can see."""

    site: Site
    hooks: tuple[Hook, ...] = ()


@dataclass(eq=False)
class _Pass:
    """What the root of a view carries: its sites, whose call counts start again with every pass."""

    sites: tuple[Site, ...]
    depth: int = field(default=0)

    @contextmanager
    def entered(self) -> Iterator[None]:
        if self.depth == 0:
            for site in self.sites:
                site.call_index = 0
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1


def intercept(model: Model, hooks: Mapping[str, Hook]) -> Model:
    """Returns a view of a model in which hooks run around the modules that patterns select.

    The view is a model of the same kind: call it, give it to `to_functional`, or intercept it again (the later hook
    is the outer one). It shares the model's variables, so that training one trains the other; the model itself, its
    paths and its variables' names stay as they are. Hooks are Python and run when a pass is traced; what they compute
    is traced with it. A module that runs under `jax.checkpoint` may be hooked too; a hook that keeps values for later
    must then say so with ``hook.keeps_values = True`` (see `capture`), so that `jaxvision.nn.Stack` runs that module
    without it.

    Args:
        model: any `nnx.Module`.
        hooks: pattern (see `jaxvision.paths`) to ``hook(site, call, *args, **kwargs)``, whose result takes the place
            of the module's. A module selected by several patterns runs them all, the last the outermost.

    Raises:
        PatternError: a pattern matches no module that can be called; the nearest paths are listed.

    Example:
        >>> half = intercept(model, {"blocks.*.mlp": lambda site, call, x, **kw: 0.5 * call(x, **kw)})  # doctest: +SKIP
    """
    view = nnx.clone(model, variables=False, graph=True)
    names: dict[int, list[str]] = {}
    modules: dict[int, nnx.Module] = {}
    for path, module in named_modules(view).items():
        if callable(module):
            names.setdefault(id(module), []).append(path)
            modules[id(module)] = module
    module_at = {path: modules[key] for key, paths in names.items() for path in paths}
    for pattern, hook in hooks.items():
        chosen = {id(module_at[path]): module_at[path] for path in select(pattern, module_at)}
        for key, module in chosen.items():
            _add_hook(module, hook, names[key])
    _mark_root(view)
    return view


def capture(model: Model, patterns: str | Sequence[str]) -> tuple[Model, dict[str, Any]]:
    """Returns a view of a model, and a dict that fills with the outputs of the selected modules when the view runs.

    Inside a traced function the values are tracers of that trace: return them from it. A shared module that runs
    again in the same pass is found under ``path#1``, ``path#2``, ...

    Raises:
        PatternError: a pattern matches no module that can be called.
    """
    captured: dict[str, Any] = {}

    def keep(site: Site, call: Hook, *args: Any, **kwargs: Any) -> Any:
        output = call(*args, **kwargs)
        captured[f"{site.path}#{site.call_index}" if site.call_index else site.path] = output
        return output

    keep.keeps_values = True  # type: ignore[attr-defined]
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    paths = select(patterns, [path for path, module in named_modules(model).items() if callable(module)])
    return intercept(model, dict.fromkeys(paths, keep)), captured


def features(model: nnx.Module, images: Any, patterns: str | Sequence[str], **kwargs: Any) -> dict[str, Any]:
    """The outputs of the modules that patterns select, from one pass.

    Args:
        model: any `nnx.Module`.
        images: the model's input, ``Float[Array, "b h w c"]`` for the models of this library.
        patterns: one pattern or several (see `jaxvision.paths`), such as ``"layers.*"``.
        **kwargs: further arguments of the model's call, such as ``train`` and ``rngs``.

    Returns:
        path to output, in the order in which the modules finished.

    Raises:
        PatternError: a pattern matches no module, or a selected module did not run.
    """
    view, captured = capture(model, patterns)
    view(images, **kwargs)
    idle = [site.path for site in sites(view) if site.path not in captured]
    if idle:
        raise PatternError(f"selected, but not run by this pass (perhaps entered by another method): {', '.join(idle)}")
    return captured


def sites(view: nnx.Module) -> tuple[Site, ...]:
    """The hooked modules of a view, in the order of their paths in the model; none if it is a plain model."""
    return tuple({id(m): m._hooked.site for m in named_modules(view).values() if isinstance(m, _HookedCall)}.values())


def unfuses(module: nnx.Module) -> bool:
    """Whether a module carries a hook with ``hook.unfuses = True``.

    Such a hook must run also where the module would otherwise be left out, as the dropout of attention's weights is
    where attention is computed by a fused kernel.
    """
    return isinstance(module, _HookedCall) and any(getattr(hook, "unfuses", False) for hook in module._hooked.hooks)


def is_hooked(module: nnx.Module) -> bool:
    """Whether a module, or any module inside it, carries a hook."""
    return any(isinstance(node, _HookedCall) for node in named_modules(module).values())


def keeps_values(module: nnx.Module) -> bool:
    """Whether a module, or any module inside it, carries a hook that keeps values of the pass for later."""
    return any(
        getattr(hook, "keeps_values", False)
        for node in named_modules(module).values()
        if isinstance(node, _HookedCall)
        for hook in node._hooked.hooks
    )


class _HookedCall(nnx.Module):
    """Mixed into the class of a hooked module."""

    _hooked: _Hooked

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        hooked = self._hooked
        call: Hook = super().__call__
        for hook in hooked.hooks:
            call = partial(hook, hooked.site, call)
        outer, hooked.site.instance = hooked.site.instance, self
        try:
            return call(*args, **kwargs)
        finally:
            hooked.site.instance = outer
            hooked.site.call_index += 1


class _ViewRoot(nnx.Module):
    """Mixed into the class of a view's root."""

    _pass: _Pass


def _entry(base: type[nnx.Module], name: str) -> Callable[..., Any]:
    @wraps(getattr(base, name))  # with its signature, by which `to_functional` knows whether it takes train and rngs
    def enter(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self._pass.entered():
            return getattr(super(self._view_class, self), name)(*args, **kwargs)

    return enter


def _named_like(base: type[nnx.Module]) -> dict[str, Any]:
    return {"__module__": base.__module__, "__qualname__": base.__qualname__, "__doc__": base.__doc__}


# One subclass per class, kept: Flax registers every subclass for good.
@cache
def _hooked_class(base: type[nnx.Module]) -> type[nnx.Module]:
    @wraps(base.__call__)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return _HookedCall.__call__(self, *args, **kwargs)

    return type(base.__name__, (_HookedCall, base), {**_named_like(base), "__call__": call})


@cache
def _view_class(base: type[nnx.Module]) -> type[nnx.Module]:
    entries = {name: _entry(base, name) for name in _ENTRIES if hasattr(base, name)}
    cls = type(base.__name__, (_ViewRoot, base), {**_named_like(base), **entries})
    cls._view_class = cls  # type: ignore[attr-defined]
    return cls


def _add_hook(module: nnx.Module, hook: Hook, names: Sequence[str]) -> None:
    if isinstance(module, _HookedCall):  # the copy of a view: its record is the view's own, so make another
        hooked = _Hooked(module._hooked.site, (*module._hooked.hooks, hook))
    else:
        hooked = _Hooked(Site(names[0], tuple(names[1:]), type(module)), (hook,))
        module.__class__ = _hooked_class(type(module))
    setattr(module, "_hooked", hooked)  # noqa: B010 - the class has just been swapped for one that has it


def _mark_root(view: nnx.Module) -> None:
    if not isinstance(view, _ViewRoot):
        view.__class__ = _view_class(type(view))
    setattr(view, "_pass", _Pass(sites(view)))  # noqa: B010 - the class has just been swapped for one that has it
