"""What options a config has, apart from its numbers."""

import dataclasses
from typing import Any

_WAYS_TO_RUN = ("remat", "scan")


def options(config: Any) -> set[tuple[str, str]]:
    """(field, value) of a family's config; all numbers and all tables of them count as the same value."""
    return {
        (field.name, _kind(getattr(config, field.name)))
        for field in dataclasses.fields(config)
        if field.name not in _WAYS_TO_RUN
    }


def _kind(value: Any) -> str:
    return repr(value) if isinstance(value, str | bool) or value is None else "some"
