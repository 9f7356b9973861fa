"""From a module to a pure function of plain nested dicts, on which everything else in the library is built."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
from flax import nnx

from jaxvision.nn.drop import PassRngs, name_sites
from jaxvision.paths import flatten, fold_path, named_variables, nest, suggestion

Variables = dict[str, dict[str, Any]]
Apply = Callable[..., tuple[Any, dict[str, Any]]]

_COLLECTIONS = (("params", nnx.Param), ("batch_stats", nnx.BatchStat), ("other", nnx.Variable))


def to_functional(model: nnx.Module, *, method: str = "__call__") -> tuple[Apply, Variables]:
    """Splits a model into a pure function and the arrays it needs.

    ``apply(variables, *args, train=False, key=None, **kwargs)`` returns ``(output, batch_stats)``. It has no side
    effect and takes ``variables`` as plain nested dicts keyed by timm's names, so it can go under `jax.jit`,
    `jax.grad`, `jax.vmap` and the like. ``key`` switches dropout on, ``train`` makes BatchNorm use and update the
    statistics of the batch; the two are independent. Without ``train`` the returned ``batch_stats`` are the given
    ones.

    It works on any `nnx.Module`. Where the method has no ``train`` or no ``rngs`` argument (a module that is not
    ours), the same is said through `nnx.view`: ``use_running_average=not train``, ``deterministic=key is None``, and
    every random stream inside the module starts from ``key``.

    Args:
        model: the model; it is not changed, and ``variables`` holds its arrays, not copies. It may be abstract.
        method: the method to make pure, such as ``"forward_features"``.

    Returns:
        ``(apply, variables)`` with ``variables = {"params": {...}, "batch_stats": {...}}``, and ``"other"`` if the
        model has variables that are neither (random streams, caches); what a pass does to those is dropped.

    Raises:
        AttributeError: the model has no such method.
        ValueError: (from ``apply``) a variable is missing, not the model's, or of another shape; all are named.
    """
    call = getattr(type(model), method, None)
    if call is None:
        known = [name for name in dir(type(model)) if not name.startswith("_")]
        raise AttributeError(f"{type(model).__name__} has no method {method!r}{suggestion(method, known)}")
    arguments = inspect.signature(call).parameters
    takes_train, takes_rngs = "train" in arguments, "rngs" in arguments

    model = nnx.clone(model, variables=False, graph=True)
    name_sites(model)
    graphdef, state = nnx.split(model, graph=True)
    named = named_variables(model)
    name_of = {id(variable): name for name, variable in named.items()}
    # nnx.merge fills leaves by position. The position is looked up by name here, once, so that the order, and the
    # type, of the keys in `variables` never matter.
    node_paths = [(path, name_of[id(node)]) for path, node in nnx.iter_graph(model, graph=True) if id(node) in name_of]
    collection_of = {name: _collection(variable) for name, variable in named.items()}
    shapes = {name: variable.get_value().shape for name, variable in named.items()}
    del state

    def apply(
        variables: Mapping[str, Mapping[str, Any]],
        *args: Any,
        train: bool = False,
        key: jax.Array | None = None,
        **kwargs: Any,
    ) -> tuple[Any, dict[str, Any]]:
        values = _checked(variables, collection_of, shapes)
        module = nnx.merge(graphdef, _nested_state({path: values[name] for path, name in node_paths}), copy=True)
        if not (takes_train and takes_rngs):
            settings = {} if takes_train else {"use_running_average": not train}
            settings |= {} if takes_rngs else {"deterministic": key is None}
            module = nnx.view(module, raise_if_not_found=False, graph=True, **settings)
        if takes_train:
            kwargs["train"] = train
        if takes_rngs:
            kwargs["rngs"] = None if key is None else PassRngs(key)
        elif key is not None:
            _restart_streams(module, key)
        output = getattr(module, method)(*args, **kwargs)
        stats = {
            name: variable.get_value()
            for name, variable in named_variables(module).items()
            if collection_of.get(name) == "batch_stats"
        }
        return output, nest(stats)

    return apply, variables_of(model)


def variables_of(model: nnx.Module) -> Variables:
    """The arrays of a model as plain nested dicts, by collection: ``{"params": {...}, "batch_stats": {...}}``."""
    flat: dict[str, dict[str, Any]] = {"params": {}, "batch_stats": {}}
    for name, variable in named_variables(model).items():
        flat.setdefault(_collection(variable), {})[name] = variable.get_value()
    return {collection: nest(values) for collection, values in flat.items()}


def update(model: nnx.Module, variables: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes arrays into a model in place: the way back from the functional core.

    Args:
        model: the model that `to_functional` was given.
        variables: the collections to write, such as ``{"params": params}``, each complete.

    Raises:
        ValueError: a variable is missing, not the model's, or of another shape; all are named and nothing is written.
    """
    named = {name: variable for name, variable in named_variables(model).items() if _collection(variable) in variables}
    collection_of = {name: _collection(variable) for name, variable in named.items()}
    shapes = {name: variable.get_value().shape for name, variable in named.items()}
    for name, value in _checked(variables, collection_of, shapes).items():
        named[name].set_value(value)


def _collection(variable: nnx.Variable) -> str:
    return next(collection for collection, kind in _COLLECTIONS if isinstance(variable, kind))


def _checked(
    variables: Mapping[str, Mapping[str, Any]], collection_of: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Any]:
    """The arrays by name, if they are exactly the ones expected."""
    expected = {f"{collection}.{name}": name for name, collection in collection_of.items()}
    given = flatten(variables)
    problems = [f"missing {path}" for path in expected if path not in given]
    problems += [f"unknown {path}{suggestion(path, expected, 1)}" for path in given if path not in expected]
    problems += [
        f"{path} has shape {jax.numpy.shape(given[path])}, expected {shapes[name]}"
        for path, name in expected.items()
        if path in given and jax.numpy.shape(given[path]) != shapes[name]
    ]
    if problems:
        more = f"\n  ... and {len(problems) - 20} more" if len(problems) > 20 else ""
        raise ValueError("these variables are not the model's:\n  " + "\n  ".join(problems[:20]) + more)
    return {name: given[path] for path, name in expected.items()}


def _nested_state(flat: Mapping[tuple[Any, ...], Any]) -> dict[Any, Any]:
    nested: dict[Any, Any] = {}
    for (*parents, leaf), value in flat.items():
        node = nested
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return nested


def _restart_streams(module: nnx.Module, key: jax.Array) -> None:
    """Starts every random stream that a module of another library carries from ``key``.

    `nnx.reseed` would do nothing for streams under another name than the one asked for.
    """
    for path, node in nnx.iter_graph(module, graph=True):
        if isinstance(node, nnx.RngStream):
            node.key.set_value(fold_path(key, ".".join(map(str, path))))
            node.count.set_value(jax.numpy.zeros_like(node.count.get_value()))
