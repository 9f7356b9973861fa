"""The order of names, the groups in them, and how messages list them."""

import re
from collections.abc import Iterable, Sequence

import numpy as np

from jaxvision.data.dataset import DatasetError
from jaxvision.paths import suggestion


def natural_key(name: str) -> tuple[tuple[int | str, ...], str]:
    """Sorts ``img2`` before ``img10``, whatever the case, as timm sorts classes and files."""
    parts = re.split(r"(\d+)", name.lower())
    return tuple(int(part) if index % 2 else part for index, part in enumerate(parts)), name


def listing(names: Iterable[str], limit: int = 4) -> str:
    """Names for a message: the first ones quoted, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(repr(name) for name in names[:limit]) + more


def groups_from_names(names: Sequence[str], pattern: str, columns: Iterable[str] = ()) -> np.ndarray:
    r"""The group of each name: what the one group of a pattern matches in it.

    Args:
        names: file names.
        pattern: a regular expression with one group, searched anywhere in the name: ``patient(\d+)``.
        columns: what could have been meant instead, for the error message.

    Raises:
        DatasetError: the pattern is no such expression, or a name does not match it.
    """
    example = r"a regular expression with one group, such as 'patient(\d+)'"
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise DatasetError(f"cannot group by {pattern!r}, it is not a regular expression: {error}") from None
    if expression.groups != 1:
        columns = list(columns)
        there = f"neither a column ({listing(columns, 8)}) nor" if columns else "not"
        raise DatasetError(f"cannot group by {pattern!r}: it is {there} {example}{suggestion(pattern, columns)}")
    found = [expression.search(name) for name in names]
    missing = [name for name, match in zip(names, found, strict=True) if match is None or not match[1]]
    if missing:
        raise DatasetError(
            f"{len(missing)} of {len(names)} file names have no group by {pattern!r}: {listing(missing)}; "
            "every one must match, since a file without a group could be on both sides of a split"
        )
    return np.array([match[1] for match in found if match is not None], dtype=np.str_)
