"""How users say where to drop: patterns, patterns with rates, a function of path and part, or a plan."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxvision.paths import PatternError
from jaxvision.uncertainty.plan import Plan

Where = str | Sequence[str] | Mapping[str, float] | Callable[[str, Any], bool] | Plan


def pattern_rates(where: str | Sequence[str] | Mapping[str, float], rate: float, what: str) -> dict[str, float]:
    """Patterns with their rates, in their order; ``rate`` for those that have none of their own.

    Raises:
        PatternError: there is no pattern.
    """
    asked = where if isinstance(where, Mapping) else dict.fromkeys([where] if isinstance(where, str) else where, rate)
    if not asked:
        raise PatternError(f"no pattern given: name at least one {what}")
    return dict(asked)


def chosen_by(function: Callable[[str, Any], bool], known: Mapping[str, Any], what: str) -> list[str]:
    """The paths for which a user's function of path and part is true.

    Raises:
        PatternError: for none.
    """
    found = [path for path, part in known.items() if function(path, part)]
    if not found:
        raise PatternError(f"the given function selects no {what}")
    return found
