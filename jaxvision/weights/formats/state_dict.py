"""Finds the state_dict inside whatever a training script saved."""

from collections.abc import Mapping
from typing import Any

from jaxvision.weights.errors import FormatError
from jaxvision.weights.formats.rebuild import Tensor

CONTAINERS = (
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "module",
    "teacher",
    "encoder",  # before I-JEPA's average, its target_encoder: timm takes this one, and its logits are the promise
    "target_encoder",
    "student",
)
"""Keys under which training scripts keep the weights, the most wanted first: averaged weights before plain ones, but
I-JEPA's."""


def find_state_dict(tree: Any) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors of a checkpoint by name, and a note for whatever was opened up or left aside.

    Raises:
        FormatError: there is no state_dict at the top, nor under a usual key.
    """
    notes: list[str] = []
    container = next((key for key in CONTAINERS if _is_state_dict(tree, key)), None)
    if container is not None:
        others = [str(key) for key in tree if key != container]
        aside = f", left aside {_listing(others)}" if others else ""
        notes.append(f"took the weights under {container!r}{aside}")
        tree = tree[container]
    if not _has_tensors(tree):
        raise FormatError(
            f"it holds no state_dict: {_describe(tree)}; looked at the top and under {', '.join(CONTAINERS)}"
        )
    state = {name: value for name, value in tree.items() if isinstance(name, str) and isinstance(value, Tensor)}
    rest = [str(name) for name in tree if name not in state]
    if rest:
        notes.append(f"left aside what is not a tensor: {_listing(rest)}")
    return state, tuple(notes)


def _has_tensors(tree: Any) -> bool:
    return isinstance(tree, Mapping) and any(isinstance(value, Tensor) for value in tree.values())


def _is_state_dict(tree: Any, key: str) -> bool:
    return isinstance(tree, Mapping) and _has_tensors(tree.get(key))


def _listing(names: list[str], limit: int = 8) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def _describe(tree: Any) -> str:
    if isinstance(tree, Mapping):
        return f"a dictionary of {_listing([str(key) for key in tree])}" if tree else "an empty dictionary"
    return f"a {type(tree).__name__.lower()}"
