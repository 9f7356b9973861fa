"""What can be said about a source of data, and the names that splits have."""

from dataclasses import dataclass
from pathlib import Path

from jaxvision.data.dataset import Kind

ALL = "all"
"""The name of the one split of a source that is not divided."""

_ALIASES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
_CANONICAL = {alias: name for name, aliases in _ALIASES.items() for alias in aliases}


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """How to read a source of data. What a source has no use for, it ignores."""

    data_dir: Path | None = None
    """Where prepared TFDS data sets, or the files of Fashion-MNIST, are. Default: their usual place."""
    file_column: str | None = None
    """The CSV column, or TFDS feature, with the picture. Default: file; TFDS: its only picture."""
    label_column: tuple[str, ...] = ()
    """The CSV columns, or the TFDS feature, with the labels. Default: label; TFDS: what it is supervised by."""
    split_column: str | None = None
    """The CSV column with the splits' names. Default: split, if there is one."""
    group_by: str | None = None
    r"""What splits must not divide: a CSV column or TFDS feature, or a regular expression with one group for the file
    names, such as 'patient(\d+)'. Default: the column or feature group, if there is one."""
    kind: Kind | None = None
    """What the labels of a CSV file or of arrays are. Default: classes; several, where a label has a | or ; in it."""
    class_names: tuple[str, ...] = ()
    """The classes in the order of a model's outputs. Default: those found, in natural order."""
    allow_empty: bool = False
    """Keep classes without a picture, and go on with a single class."""


def canonical_split(name: str) -> str | None:
    """``"train"``, ``"val"`` or ``"test"`` for their usual names, in any case; None for other names."""
    return _CANONICAL.get(name.lower())
