"""Parts of a model that are not trained: their parameters are constants, and they run as in evaluation."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from flax import nnx

from jaxvision.interception import Hook, Site, intercept
from jaxvision.nn.drop import DropSite
from jaxvision.nn.norm import BatchNorm
from jaxvision.paths import PatternError, flatten, named_modules, named_variables, nest
from jaxvision.training.groups import matching

Model = TypeVar("Model", bound=nnx.Module)


def split_params(
    params: Mapping[str, Any], freeze: str | Sequence[str] = (), train_only: str | Sequence[str] = ()
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Splits parameters into those to train and those to leave alone.

    Args:
        params: nested dicts by timm's names.
        freeze: patterns (see `groups.matching`) of what is not trained: ``"layer1"``, ``"blocks.[0-5]"``.
        train_only: patterns of what is; all else is frozen. With both, ``freeze`` is taken away from it.

    Returns:
        ``(trained, frozen)``, nested dicts; together they are ``params``.

    Raises:
        PatternError: a pattern selects no parameter, or nothing is left to train.
    """
    flat = flatten(params)
    trained = matching(train_only, flat) if train_only else set(flat)
    if freeze:
        trained -= matching(freeze, flat)
    if not trained:
        raise PatternError("every parameter is frozen: leave at least the head to train")
    return (
        nest({name: value for name, value in flat.items() if name in trained}),
        nest({name: value for name, value in flat.items() if name not in trained}),
    )


def frozen_view(model: Model, frozen: Iterable[str]) -> Model:
    """A view of a model whose frozen parts run as in evaluation, whatever ``train`` and ``rngs`` they are called with.

    Batch normalisation there uses its running statistics and leaves them as they are; dropout and stochastic depth do
    nothing. This goes for our layers and for Flax's. The view shares the model's variables; a model of which nothing is
    frozen comes back as it is.

    A module is frozen if all the parameters it goes with are: its own; if it has none, those beside it that share the
    first part of its name (``pos_drop`` goes with ``pos_embed``, ``head_drop`` with ``head``); if there are none, those
    of the nearest module around it that has any (``drop_path1`` goes with its block).

    Args:
        model: any `nnx.Module`.
        frozen: names of the parameters that are not trained: ``flatten(state.frozen)``.

    Raises:
        ValueError: a name is not that of a parameter of the model.
    """
    frozen = set(frozen)
    names = [name for name, variable in named_variables(model).items() if isinstance(variable, nnx.Param)]
    unknown = sorted(frozen.difference(names))
    if unknown:
        raise ValueError(f"not parameters of the model: {', '.join(unknown[:8])}")
    if not frozen:
        return model
    view = nnx.clone(model, variables=False, graph=True)
    norms: dict[str, Hook] = {}
    for path, module in named_modules(view).items():
        if isinstance(module, DropSite | nnx.Dropout | BatchNorm | nnx.BatchNorm) and _goes_with(path, names) <= frozen:
            if isinstance(module, DropSite | nnx.Dropout):
                module.rate = 0.0
            else:
                norms[path] = _evaluate if isinstance(module, BatchNorm) else _evaluate_flax
    return intercept(view, norms) if norms else view


def _goes_with(path: str, names: Sequence[str]) -> set[str]:
    """The parameters that decide whether a module is frozen: see `frozen_view`."""
    own = {name for name in names if name.startswith(f"{path}.")}
    if own:
        return own
    parents, _, leaf = path.rpartition(".")
    around = f"{parents}." if parents else ""
    kin = {name for name in names if name.startswith(around) and _first_part(name[len(around) :]) == _first_part(leaf)}
    while not kin:
        kin = {name for name in names if name.startswith(around)}
        around = around[:-1].rpartition(".")[0] + "." if "." in around[:-1] else ""
    return kin


def _first_part(name: str) -> str:
    return name.split(".")[0].split("_")[0]


def _evaluate(site: Site, call: Hook, x: Any, *args: Any, **kwargs: Any) -> Any:
    return call(x, train=False)


def _evaluate_flax(site: Site, call: Hook, x: Any, *args: Any, **kwargs: Any) -> Any:
    return call(x, **{**kwargs, "use_running_average": True})
