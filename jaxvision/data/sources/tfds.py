"""Data sets of TensorFlow Datasets, read through `tfds.data_source`: without TensorFlow, at random.

They must have been prepared in a format with random access (ArrayRecord, Parquet); nothing is downloaded.
"""

import os
import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxvision.data.dataset import DatasetError, ImageDataset
from jaxvision.data.sources.annotations import Annotations, cached
from jaxvision.data.sources.naming import groups_from_names, listing
from jaxvision.data.sources.options import SourceOptions, canonical_split
from jaxvision.paths import suggestion

try:
    import tensorflow_datasets as tfds
except ImportError:
    raise DatasetError("TFDS is not installed: pip install 'jaxvision-zoo[tfds]'") from None

_NAME_FEATURES = ("file_name", "filename", "image/filename", "image_id", "id")
_BATCH = 256  # examples read at once for their labels


def open_splits(spec: str, options: SourceOptions) -> dict[str, ImageDataset]:
    """All splits of a prepared data set, ``"validation"`` as ``"val"``.

    Args:
        spec: ``NAME``, ``NAME/CONFIG``, either with ``:VERSION``; or the folder with its ``dataset_info.json``.
        options: ``data_dir``, ``file_column``, ``label_column`` and ``group_by`` are used.

    Raises:
        DatasetError: it is not known, not prepared, prepared as TFRecord, or its features are not as expected.
    """
    builder = _builder(spec, options.data_dir)
    features = _choose_features(spec, builder.info, options)
    return {
        canonical_split(split) or split: TfdsDataset(os.fspath(builder.data_dir), split, features)
        for split in builder.info.splits
    }


def open_split(spec: str, split: str, options: SourceOptions) -> ImageDataset:
    """One split, or a slice of one in TFDS's syntax, such as ``"train[:90%]"``.

    Raises:
        DatasetError: as `open_splits`; also if there is no such split.
    """
    builder = _builder(spec, options.data_dir)
    wanted = re.sub(r"[^\s+\[\]]+(?=\s*(\[|\+|$))", lambda word: _their_name(word[0], builder.info.splits), split)
    try:
        count = builder.info.splits[wanted].num_examples
    except (ValueError, KeyError, AssertionError):
        raise DatasetError(
            f"{spec!r} has no split {split!r}: it is divided into {listing(builder.info.splits)}, and slices are "
            f"written as 'train[:90%]'{suggestion(split, builder.info.splits)}"
        ) from None
    if not count:
        raise DatasetError(f"the split {split!r} of {spec!r} has no example")
    return TfdsDataset(os.fspath(builder.data_dir), wanted, _choose_features(spec, builder.info, options))


def _their_name(name: str, known: Iterable[str]) -> str:
    """What the data set calls a split: ours is ``"val"``, TFDS's ``"validation"``."""
    same = [other for other in known if canonical_split(other) == canonical_split(name) is not None]
    return name if name in known or not same else same[0]


class Features(NamedTuple):
    """The names of the features that are used; ``group`` may also be a pattern for ``name``."""

    image: str
    label: str
    name: str | None
    group: str | None


class TfdsDataset:
    """A split of a prepared data set.

    Files are opened when they are first needed, in every process anew. The labels take one pass over the data, which
    is done when they are first asked for, and remembered in the cache folder where there are many.

    Args:
        folder: that with ``dataset_info.json``.
        split: a split or a slice of one.
        features: which features to use.
    """

    def __init__(self, folder: str, split: str, features: Features) -> None:
        self.folder = folder
        self.split = split
        self.features = features

    @cached_property
    def _info(self) -> Any:
        return tfds.builder_from_directory(self.folder).info

    @cached_property
    def _source(self) -> Any:
        skipped = {
            name: tfds.decode.SkipDecoding()
            for name, feature in self._info.features.items()
            if isinstance(feature, tfds.features.Image)
        }
        return tfds.builder_from_directory(self.folder).as_data_source(self.split, decoders=skipped)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The names of the class feature; empty for regression."""
        feature = _class_label(self._info.features[self.features.label])
        return () if feature is None else tuple(feature.names)

    @cached_property
    def _annotations(self) -> Annotations:
        stamp = Path(self.folder, "dataset_info.json").stat().st_mtime_ns
        identity = (os.path.realpath(self.folder), str(stamp), self.split, *map(str, self.features))
        return cached(identity, len(self), self._read_annotations)

    @property
    def labels(self) -> np.ndarray:
        """As for `ImageDataset`."""
        return self._annotations.labels

    @property
    def names(self) -> tuple[str, ...]:
        """The names that the data set gives its pictures, else the split and a number."""
        return self._annotations.names

    @property
    def groups(self) -> np.ndarray | None:
        """The values of the group feature, or what a pattern finds in the names."""
        return None if self.features.group is None else self._annotations.groups

    def __len__(self) -> int:
        return int(self._info.splits[self.split].num_examples)

    def read(self, index: int) -> bytes | np.ndarray:
        """The encoded bytes of one picture; its pixels where the data set has no encoded ones."""
        picture: bytes | np.ndarray = self._source[int(index)][self.features.image]
        return picture

    def __reduce__(self) -> Any:
        annotations = self.__dict__.get("_annotations")
        return type(self), (self.folder, self.split, self.features), annotations and {"_annotations": annotations}

    def _read_annotations(self) -> Annotations:
        _, label, name, group = self.features
        group_is_feature = group in self._info.features
        labels: list[Any] = []
        names: list[str] = []
        groups: list[str] = []
        for start in range(0, len(self), _BATCH):
            indices = list(range(start, min(start + _BATCH, len(self))))
            for index, example in zip(indices, self._source.__getitems__(indices), strict=True):
                labels.append(example[label])
                names.append(f"{self.split}/{index}" if name is None else _text(example[name]))
                if group_is_feature:
                    groups.append(_text(example[group]))
        found = np.array(groups, dtype=np.str_) if group_is_feature else None
        if group is not None and not group_is_feature:
            found = groups_from_names(names, group, self._info.features)
        return Annotations(self._as_array(labels), tuple(names), found)

    def _as_array(self, labels: list[Any]) -> np.ndarray:
        if not self.class_names:
            return np.asarray(labels, dtype=np.float32)
        if isinstance(self._info.features[self.features.label], tfds.features.ClassLabel):
            classes = np.asarray(labels, dtype=np.int32)
            if np.any(classes < 0):
                raise DatasetError(
                    f"the split {self.split!r} in {self.folder!r} has {np.sum(classes < 0)} examples without a class: "
                    "choose another split"
                )
            return classes
        hot = np.zeros((len(labels), len(self.class_names)), np.float32)
        for row, classes_of_one in enumerate(labels):
            hot[row, np.asarray(classes_of_one, dtype=np.int64)] = 1
        return hot


def _text(value: Any) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


def _class_label(feature: Any) -> Any:
    """The classes of a feature of one class or of a sequence of classes; None for numbers."""
    inner = getattr(feature, "feature", feature)
    return inner if isinstance(inner, tfds.features.ClassLabel) else None


def _builder(spec: str, data_dir: Path | None) -> Any:
    folder = Path(spec).expanduser()
    try:
        if (folder / "dataset_info.json").is_file():
            builder = tfds.builder_from_directory(folder)
        else:
            builder = tfds.builder(spec, data_dir=None if data_dir is None else Path(data_dir).expanduser())
    except tfds.core.registered.DatasetNotFoundError:
        prepared = [] if data_dir is None or not data_dir.is_dir() else os.listdir(data_dir)
        name = re.split("[/:]", spec)[0]
        if name in prepared:
            found = listing(sorted(os.listdir(Path(data_dir or "", name))))
            raise DatasetError(f"{spec!r} is not prepared in {str(data_dir)!r}: of {name!r} there is {found}") from None
        where = f" in {str(data_dir)!r}" if data_dir is not None else "; a prepared one is found in its data_dir"
        near = suggestion(name, (*prepared, *tfds.list_builders(with_community_datasets=False)))
        raise DatasetError(f"TFDS knows no data set {spec!r}{where}{near}") from None
    except (ValueError, AssertionError, OSError) as error:  # no such version or configuration, a damaged description
        raise DatasetError(f"TFDS cannot open {spec!r}: {error}") from None
    remedy = (
        f"prepare it with tfds.builder({spec!r}, data_dir=NEW_FOLDER, file_format='array_record')"
        ".download_and_prepare() in Python, then give that data_dir"
    )
    if not builder.info.splits:
        raise DatasetError(f"{spec!r} is not prepared in {os.fspath(builder.data_dir)!r}: {remedy}")
    formats = builder.info.available_file_formats()
    if not formats & tfds.core.FileFormat.with_random_access():
        raise DatasetError(
            f"{spec!r} in {os.fspath(builder.data_dir)!r} is prepared as {listing(one.value for one in formats)}, "
            f"which only TensorFlow reads, and only in order: {remedy}"
        )
    return builder


def _choose_features(spec: str, info: Any, options: SourceOptions) -> Features:
    features = info.features

    def choose(what: str, option: str, given: str | None, candidates: list[str]) -> str:
        if given is not None and given not in features:
            raise DatasetError(
                f"{spec!r} has no feature {given!r}, it has {listing(features, 12)}{suggestion(given, features)}"
            )
        if given is None and len(candidates) != 1:
            raise DatasetError(
                f"{spec!r} has {len(candidates)} features that could be the {what}, of {listing(features, 12)}: "
                f"name it with {option}"
            )
        return candidates[0] if given is None else given

    if len(options.label_column) > 1:
        raise DatasetError(f"{spec!r}: name one label feature, got {listing(options.label_column)}")
    supervised = [name for name in (info.supervised_keys or ()) if isinstance(name, str)]
    pictures = [name for name, feature in features.items() if isinstance(feature, tfds.features.Image)]
    labels = [name for name, feature in features.items() if _class_label(feature) is not None]
    named = [name for name in supervised if name in features]
    image = choose("picture", "file_column", options.file_column, [n for n in named if n in pictures] or pictures)
    targets = [name for name in named if name != image and name not in pictures]
    label = choose("label", "label_column", next(iter(options.label_column), None), targets or labels)
    name = next((name for name in _NAME_FEATURES if name in features), None)
    group = options.group_by or ("group" if "group" in features else None)
    return Features(image, label, name, group)
