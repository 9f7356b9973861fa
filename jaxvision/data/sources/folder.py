"""A folder of pictures, one folder below it for each class, as timm and torchvision expect it.

Either ``root/class/picture``, or ``root/train/class/picture`` with ``val`` and ``test`` beside ``train``.
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jaxvision.data.dataset import DatasetError, ImageDataset
from jaxvision.data.images import picture_suffixes
from jaxvision.data.sources.files import FileDataset
from jaxvision.data.sources.naming import groups_from_names, listing, natural_key
from jaxvision.data.sources.options import ALL, SourceOptions, canonical_split
from jaxvision.paths import suggestion


@dataclass
class _Class:
    """The pictures below one class's folder, relative to the root, and the suffixes of all else that is there."""

    pictures: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)


def open_splits(root: Path, options: SourceOptions) -> dict[str, ImageDataset]:
    """The splits of a folder of pictures; `ALL` if it is not divided.

    Classes and files are in natural order; hidden files, and files that are no pictures by their suffix, are left out.

    Raises:
        DatasetError: the layout is not one of the two, a class is empty or alone, or the splits' classes differ.
    """
    folders = _split_folders(root)
    found = {split: _scan(root, folder) for split, folder in folders.items()}
    seen = {name for classes in found.values() for name in classes}
    class_names = options.class_names or tuple(sorted(seen, key=natural_key))
    for split, classes in found.items():
        _check(root / folders[split], classes, class_names, options)
    if not options.allow_empty and len(class_names) < 2:
        raise DatasetError(
            f"{str(root)!r} has a single class, {class_names[0]!r}: a classifier needs at least two, "
            "one folder for each"
        )
    if not options.class_names and "train" in found and not options.allow_empty:
        _check_same(folders, found)
    return {split: _dataset(root, classes, class_names, options) for split, classes in found.items()}


def _dataset(root: Path, classes: dict[str, _Class], class_names: Sequence[str], options: SourceOptions) -> FileDataset:
    names, labels = [], []
    for number, name in enumerate(class_names):
        pictures = classes[name].pictures if name in classes else []
        names += pictures
        labels += [number] * len(pictures)
    groups = None if options.group_by is None else groups_from_names(names, options.group_by)
    return FileDataset(str(root), names, labels, class_names, groups)


def _split_folders(root: Path) -> dict[str, str]:
    """Which folder below the root, ``"."`` for itself, holds the classes of each split."""
    folders, _ = _visible(root)
    splits: dict[str, str] = {}
    others = [name for name in folders if canonical_split(name) is None]
    for name in folders:
        split = canonical_split(name)
        # Beside other classes, a folder "train" with pictures in it may well be the class of trains.
        if split is None or (others and not _visible(root / name)[0]):
            continue
        if split in splits:
            raise DatasetError(f"{str(root)!r} has both {splits[split]!r} and {name!r} for {split}: keep one of them")
        splits[split] = name
    mixed = [name for name in others if splits and _pictures_below(root, name).pictures]
    if mixed:
        raise DatasetError(
            f"{str(root)!r} mixes two layouts: the splits {listing(splits.values())} and pictures in {listing(mixed)}; "
            "keep either one folder for each class, or train, val and test with the classes in them"
        )
    return splits or {ALL: "."}


def _scan(root: Path, folder: str) -> dict[str, _Class]:
    """The classes in a folder, which has nothing but them."""
    base = root / folder
    folders, files = _visible(base)
    loose = [name for name in files if _is_picture(name)]
    if loose and folders:
        raise DatasetError(
            f"{len(loose)} pictures lie beside the class folders of {str(base)!r}: {listing(loose)}; "
            "move each into the folder of its class"
        )
    if loose:
        raise DatasetError(
            f"{str(base)!r} has {len(loose)} pictures but no folder for each class: expected "
            f"{os.path.join(base, 'CLASS', loose[0])!r}; or name the classes in a CSV file with the columns file, label"
        )
    if not folders:
        raise DatasetError(f"{str(base)!r} is empty: expected one folder for each class, with its pictures")
    return {name: _pictures_below(root, os.path.normpath(os.path.join(folder, name))) for name in folders}


def _check(base: Path, classes: dict[str, _Class], class_names: Sequence[str], options: SourceOptions) -> None:
    if not any(one.pictures for one in classes.values()):
        others: Counter[str] = sum((one.others for one in classes.values()), Counter())
        raise DatasetError(
            f"no picture in the {len(classes)} folders of {str(base)!r}{_what_else(others)}; expected files such as "
            f"{os.path.join(base, next(iter(classes)), 'PICTURE.jpg')!r}"
        )
    empty = [name for name, one in classes.items() if not one.pictures]
    if empty and not options.allow_empty and not options.class_names:
        others = sum((classes[name].others for name in empty), Counter())
        what = f"class {empty[0]!r} is" if len(empty) == 1 else f"{len(empty)} classes are"
        raise DatasetError(
            f"{what} empty: no picture in {listing(os.path.join(base, name) for name in empty)}{_what_else(others)}; "
            "add some, remove the folder, or keep empty classes with allow_empty"
        )
    unknown = [name for name in classes if name not in class_names]
    if unknown:
        raise DatasetError(
            f"{str(base)!r} has folders for classes that are not among the {len(class_names)} expected: "
            f"{listing(unknown)}{suggestion(unknown[0], class_names)}"
        )


def _check_same(folders: dict[str, str], found: dict[str, dict[str, _Class]]) -> None:
    train = found["train"]
    for split, classes in found.items():
        new = [name for name in classes if name not in train]
        missing = [name for name in train if name not in classes]
        if new:
            raise DatasetError(
                f"{folders[split]!r} has classes that {folders['train']!r} has not: "
                f"{listing(new)}; rename the folder, or add pictures to train on{suggestion(new[0], missing)}"
            )
        if missing:
            raise DatasetError(
                f"{folders[split]!r} lacks classes of {folders['train']!r}: {listing(missing)}; add their folders, or "
                "go on without with allow_empty"
            )


def _what_else(others: Counter[str]) -> str:
    if not others:
        return ""
    suffixes = ", ".join(suffix or "no suffix" for suffix, _ in others.most_common(4))
    return f" (there are {others.total()} other files: {suffixes})"


def _visible(folder: Path) -> tuple[list[str], list[str]]:
    """Folders and files in a folder, in natural order, hidden ones left out."""
    folders: list[str] = []
    files: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    (folders if entry.is_dir() else files).append(entry.name)
    except OSError as error:
        raise DatasetError(f"cannot open the folder {str(folder)!r}: {error.strerror or error}") from None
    return sorted(folders, key=natural_key), sorted(files, key=natural_key)


def _pictures_below(root: Path, folder: str) -> _Class:
    """All files below a folder, however deep."""

    def refuse(error: OSError) -> None:
        raise DatasetError(f"cannot open the folder {error.filename!r}: {error.strerror or error}") from None

    found = _Class()
    for parent, folders, files in os.walk(root / folder, onerror=refuse, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        relative = os.path.relpath(parent, root).replace(os.sep, "/")
        for name in files:
            if name.startswith("."):
                continue
            if _is_picture(name):
                found.pictures.append(f"{relative}/{name}")
            else:
                found.others[os.path.splitext(name)[1].lower()] += 1
    found.pictures.sort(key=natural_key)
    return found


def _is_picture(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in picture_suffixes()
