"""Which parameters decay, and how fast each learns: rules on timm's names."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from jaxvision.paths import flatten, nest, select

# timm's `no_weight_decay` lists: what has more than one dimension and yet is no weight matrix, and SwinV2's position
# bias, a network of its own.
_NO_DECAY = frozenset(
    {"pos_embed", "cls_token", "dist_token", "reg_token", "relative_position_bias_table", "logit_scale", "cpb_mlp"}
)

# "blocks.3", "layers.1.blocks.0", "blocks.2.0", "layer1.0": stage and block, or block alone.
_BLOCK = re.compile(r"(?:^|(?<=\.))(?:blocks|layers|layer|stages)\.?(\d+)\.(?:(?:blocks\.)?(\d+)\.)?")
_STEM = re.compile(r"(?:pos_embed|[a-z]+_token|patch_embed|norm_pre|stem|conv_stem|conv1|bn1)\b")
_AFTER_BLOCKS = re.compile(r"(?:norm|conv_head|bn2)\b")


def matching(patterns: str | Iterable[str], names: Iterable[str]) -> set[str]:
    """The parameters that patterns of the glob language select, by their own names or by a module they are in.

    ``"layer1"``, ``"layer1.**"`` and ``"layer1.*.conv1"`` select parameters, as ``"**.bias"`` does.

    Raises:
        PatternError: a pattern selects none; the nearest names are listed.
    """
    names = list(names)
    paths = dict.fromkeys(path for name in names for path in _prefixes(name))
    selected = set(select([patterns] if isinstance(patterns, str) else list(patterns), paths, what="parameter"))
    return {name for name in names if selected.intersection(_prefixes(name))}


def layer_groups(names: Iterable[str]) -> dict[str, int]:
    """The depth of each parameter for layer-wise learning rates: timm's groups, by one rule on names.

    The stem and the embeddings are 0, the blocks 1, 2, ... in their order over all stages, and the head is last. What
    stands between two stages goes with the first block behind it, what follows the blocks (``norm``, ``conv_head``)
    with the last block; anything else is head, as in timm. It works within a module of any name, too
    (``backbone.blocks.0.attn``). Groups that have no parameter among ``names`` are not counted.
    """
    names = list(names)
    found = {name: match for name in names if (match := _BLOCK.search(name))}
    blocks = {name: (int(match[1]), int(match[2] or 0)) for name, match in found.items()}
    around = {name[: match.start()] for name, match in found.items()}
    last = max(blocks.values(), default=(0, 0))

    def place(name: str) -> tuple[int, ...]:
        if name in blocks:
            return (1, *blocks[name])
        local = next((name.removeprefix(prefix) for prefix in sorted(around, reverse=True) if prefix in name), None)
        if local is not None and _STEM.match(local):
            return (0,)
        if local is not None and _AFTER_BLOCKS.match(local):
            return (1, *last)
        return (2,)

    places = {name: place(name) for name in names}
    order = {key: depth for depth, key in enumerate(sorted(set(places.values())))}
    return {name: order[key] for name, key in places.items()}


def weight_decays(params: Mapping[str, Any], weight_decay: float, rules: Mapping[str, float] | None = None) -> Any:
    """The weight decay of each parameter, a tree of floats like ``params``.

    timm's rule: none for vectors (biases, the scales of norms and layers) and for position embeddings, class and
    register tokens, relative position biases and the scale of SwinV2's attention.

    Args:
        params: nested dicts of arrays.
        weight_decay: of all others.
        rules: pattern (see `matching`) to weight decay, in order: the first that selects a parameter decides.

    Raises:
        PatternError: a pattern selects no parameter.
    """
    flat = flatten(params)
    chosen = _first_rule(rules, flat)
    return nest(
        {
            name: chosen.get(name, 0.0 if array.ndim <= 1 or _NO_DECAY.intersection(name.split(".")) else weight_decay)
            for name, array in flat.items()
        }
    )


def lr_multipliers(
    params: Mapping[str, Any], layer_decay: float | None = None, rules: Mapping[str, float] | None = None
) -> Any:
    """The multiplier of each parameter's learning rate, a tree of floats like ``params``; None if all are 1.

    Args:
        params: nested dicts of arrays.
        layer_decay: a group d below the head learns ``layer_decay ** d`` times as fast (Clark et al. 2020, section 3.2;
            timm's ``--layer-decay``); see `layer_groups`.
        rules: pattern (see `matching`) to a further factor, in order: the first that selects a parameter decides.

    Raises:
        PatternError: a pattern selects no parameter.
        ValueError: ``layer_decay`` is not above 0 and at most 1.
    """
    if layer_decay is not None and not 0 < layer_decay <= 1:
        raise ValueError(f"layer_decay must be above 0 and at most 1, got {layer_decay}")
    names = list(flatten(params))
    chosen = _first_rule(rules, names)
    groups = layer_groups(names)
    top = max(groups.values(), default=0)
    decay = 1.0 if layer_decay is None else layer_decay
    multipliers = {name: decay ** (top - groups[name]) * chosen.get(name, 1.0) for name in names}
    return None if all(value == 1 for value in multipliers.values()) else nest(multipliers)


def _prefixes(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


def _first_rule(rules: Mapping[str, float] | None, names: Iterable[str]) -> dict[str, float]:
    names = list(names)
    chosen: dict[str, float] = {}
    for pattern, value in (rules or {}).items():
        for name in matching(pattern, names):
            chosen.setdefault(name, value)
    return chosen
