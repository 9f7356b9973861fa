"""Callable pytrees, such as Equinox's modules: their layers become sites without an edit of their source."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax

from jaxvision.uncertainty.adapters.build import Sought, build
from jaxvision.uncertainty.adapters.marks import visit, with_sites
from jaxvision.uncertainty.net import Net
from jaxvision.uncertainty.plan import At, Mask, SiteSpec
from jaxvision.uncertainty.where import Where


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Marked:
    """A layer whose first input and output are sites. Its other attributes are the layer's."""

    marked_layer: Any
    marked_name: str = field(metadata={"static": True})

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the layer."""
        if args:
            args = (visit(self.marked_name, "input", args[0]), *args[1:])
        return visit(self.marked_name, "output", self.marked_layer(*args, **kwargs))

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__") or attribute == "marked_layer":  # the latter while it is being made
            raise AttributeError(attribute)
        return getattr(self.marked_layer, attribute)


def mark(name: str, layer: Callable[..., Any]) -> Marked:
    """Wraps a layer so that what it returns is a site, for `jaxvision.uncertainty.from_function`.

    Args:
        name: of the site.
        layer: any callable; where it is a pytree, so is the result.

    Example:
        >>> model = eqx.tree_at(lambda m: m.fc1, model, uq.mark("fc1", model.fc1))  # doctest: +SKIP
    """
    return Marked(layer, name)


def from_callable(
    model: Callable[[Any], Any],
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
    per_example: bool = True,
) -> Net:
    """Puts dropout into a callable pytree, such as an Equinox module in inference mode.

    Layers are the callable nodes of the pytree, functions among its leaves included, under the dotted path that leads
    to them: ``layers.0``. The model is not changed. Its arrays are the network's variables; the other leaves stay as
    they are.

    Args:
        model: ``model(x) -> output``. What needs more arguments: `from_function`, with its layers wrapped by `mark`.
        where: patterns of paths, a dict of patterns to rates, a function of path and layer, or a `Plan`, see
            `jaxvision.uncertainty.inject`.
        rate: probability of being dropped, at least 0 and below 1.
        example: see `from_function`: with an axis of examples, also where the model takes one at a time.
        mask: see `from_function`; ``"connect"`` only there.
        at: mask the layer's first ``"input"`` or its ``"output"``.
        shared: see `from_function`.
        prefix_tokens: see `from_function`.
        num_heads: see `from_function`.
        task: see `from_function`.
        per_example: the model takes one example, as Equinox's do, and is mapped over them; False if it takes batches.

    Raises:
        PatternError: a pattern selects no layer.
        SiteError: a layer is not called, or called inside a `jax.vmap` of the model.
        ValueError: a wrong rate, mask, task or shape.

    Example:
        >>> model = eqx.nn.MLP(8, 1, width_size=50, depth=2, key=key)  # doctest: +SKIP
        >>> net = uq.from_callable(model, "layers.1", at="input", example=x, task="regression")  # doctest: +SKIP
    """
    if mask == "connect":
        raise ValueError("mask='connect' needs to know the weights: use from_function and uq.drop(name, weights)")
    layers = _layers(model, "")
    spec = SiteSpec("", mask, at, rate, shared, prefix_tokens, num_heads)
    specs, groups = Sought(where, spec).among(layers, "layer")
    params = jax.tree.map(lambda leaf: leaf if hasattr(leaf, "shape") else None, model)
    static = jax.tree.map(lambda leaf: None if hasattr(leaf, "shape") else leaf, model)

    def marked(params: Any, x: Any, wrap: Mapping[str, SiteSpec]) -> Any:
        whole = jax.tree.map(lambda a, b: b if a is None else a, params, static, is_leaf=lambda leaf: leaf is None)
        return _rebuilt(whole, "", wrap)(x)

    def adapt(specs: Mapping[str, SiteSpec]) -> Any:
        return with_sites(lambda params, x: marked(params, x, specs), specs)

    return build(lambda params, x: marked(params, x, {}), adapt, params, specs, groups, task, example, per_example)


def _children(node: Any) -> tuple[list[tuple[str, Any]], Any]:
    """The parts of one level of a pytree, by name, and how to put them together again; no parts of a leaf."""
    parts, structure = jax.tree_util.tree_flatten_with_path(node, is_leaf=lambda part: part is not node)
    return [(_name(keys[0]), part) for keys, part in parts if keys], structure


def _name(key: Any) -> str:
    return str(next(getattr(key, name) for name in ("name", "key", "idx") if hasattr(key, name)))


def _layers(node: Any, path: str) -> dict[str, Any]:
    """The callable nodes below a node, itself first."""
    found = {path: node} if callable(node) else {}
    for name, part in _children(node)[0]:
        found |= _layers(part, f"{path}.{name}" if path else name)
    return found


def _rebuilt(node: Any, path: str, wrap: Mapping[str, SiteSpec]) -> Any:
    """The same pytree with the layers at the paths of ``wrap`` marked."""
    parts, structure = _children(node)
    if parts:
        node = structure.unflatten([_rebuilt(part, f"{path}.{name}" if path else name, wrap) for name, part in parts])
    return Marked(node, path) if path in wrap else node
