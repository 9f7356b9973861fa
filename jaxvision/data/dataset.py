"""What a data set is: labels and names at hand, pictures read one at a time by index."""

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, UInt8

Kind = Literal["multiclass", "multilabel", "regression"]


class DatasetError(ValueError):
    """Data that cannot be used as they are; the message says where, what was expected, and what to do."""


@runtime_checkable
class ImageDataset(Protocol):
    """Pictures with labels, in any order, one at a time.

    It is cheap to pickle, since workers may be processes, and its order is the same each time it is opened.
    """

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes in the order of their numbers; empty for regression."""

    @property
    def labels(self) -> np.ndarray:
        """(n,) int32 classes, (n, k) float32 zeros and ones (several labels), (n,) or (n, d) float32 targets."""

    @property
    def names(self) -> Sequence[str]:
        """A file name or another identity of each example, for reports and errors."""

    @property
    def groups(self) -> np.ndarray | None:
        """(n,) str: what each example belongs to, such as a patient; splits never divide a group."""

    def __len__(self) -> int:
        """The number of examples."""

    def read(self, index: int) -> bytes | str | np.ndarray:
        """One picture: its encoded bytes, the path of its file, or uint8 pixels (h, w, c)."""


def label_kind(dataset: ImageDataset) -> Kind:
    """Which kind of labels a data set has: one class each, any number of classes each, or numbers."""
    if not dataset.class_names:
        return "regression"
    return "multilabel" if dataset.labels.ndim == 2 else "multiclass"


def class_counts(dataset: ImageDataset) -> dict[str, int]:
    """How many examples each class has; with several labels an example counts in each of its classes."""
    if dataset.labels.ndim == 2:
        counts = dataset.labels.sum(axis=0)
    else:
        counts = np.bincount(dataset.labels, minlength=len(dataset.class_names))
    return {name: int(count) for name, count in zip(dataset.class_names, counts, strict=True)}


def fingerprint(dataset: ImageDataset) -> str:
    """A hash of the names, labels and classes, to tell on resuming whether the data are still the same.

    It depends neither on where the data are nor on the process; pixels are not read.
    """
    digest = hashlib.sha256()
    for texts in (dataset.class_names, dataset.names):
        digest.update(len(texts).to_bytes(8, "little"))
        for text in texts:
            encoded = text.encode("utf-8", "surrogateescape")
            digest.update(len(encoded).to_bytes(8, "little") + encoded)
    labels = dataset.labels
    digest.update(f"{labels.dtype.newbyteorder('<').str} {labels.shape}".encode())
    digest.update(np.ascontiguousarray(labels, labels.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()[:16]


def checked_labels(labels: Any, class_names: Sequence[str], count: int) -> np.ndarray:
    """Labels in the form that `ImageDataset.labels` promises, or an error.

    Args:
        labels: anything that numpy makes an array of.
        class_names: empty for regression.
        count: the number of examples.

    Raises:
        DatasetError: the number, the range or the shape of the labels is wrong.
    """
    labels = np.asarray(labels)
    if labels.ndim == 0 or len(labels) != count:
        raise DatasetError(f"there are {count} pictures, but labels of shape {labels.shape}: give one for each picture")
    if labels.ndim > 2 or labels.dtype.kind not in "biuf":
        raise DatasetError(f"labels must be numbers of shape (n,) or (n, k), got {labels.dtype} {labels.shape}")
    if not class_names:
        if not np.all(np.isfinite(labels)):
            bad = int(np.argmin(np.isfinite(labels).reshape(count, -1).all(axis=1)))
            raise DatasetError(f"label {bad} is {labels[bad]}: regression needs finite numbers")
        return labels.astype(np.float32)
    classes = len(class_names)
    if labels.ndim == 2:
        if labels.shape[1] != classes or not np.all((labels == 0) | (labels == 1)):
            raise DatasetError(
                f"several labels for each picture must be zeros and ones of shape (n, {classes}), one column for each "
                f"class; got shape {labels.shape} and values up to {np.max(labels, initial=0)}"
            )
        return labels.astype(np.float32)
    if labels.dtype.kind == "f" and np.any(labels != np.round(labels)):
        raise DatasetError("classes must be whole numbers; for regression give no class names")
    if np.any((labels < 0) | (labels >= classes)):
        raise DatasetError(
            f"classes must be from 0 to {classes - 1}, one for each of the {classes} class names; "
            f"got {labels.min()} to {labels.max()}"
        )
    return labels.astype(np.int32)


class ArrayDataset:
    """Pictures in memory.

    Args:
        images: uint8, all of one size; without a channel axis they are grey.
        labels: (n,) classes, (n, k) zeros and ones, or numbers where ``class_names`` is empty.
        class_names: one for each class; empty for regression.
        names: identities of the examples; their numbers by default.
        groups: what each example belongs to, if anything.
        reopen: makes an equal data set in another process, so that the pixels need not be sent there.

    Raises:
        DatasetError: an array has a wrong type or shape, or a label is out of range.
    """

    def __init__(
        self,
        images: UInt8[np.ndarray, "n h w *c"],
        labels: Any,
        class_names: Sequence[str],
        names: Sequence[str] | None = None,
        groups: Sequence[str] | None = None,
        *,
        reopen: Callable[[], "ArrayDataset"] | None = None,
    ) -> None:
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.ndim not in (3, 4):
            raise DatasetError(
                f"images must be uint8 of shape (n, h, w) or (n, h, w, c), got {images.dtype} {images.shape}; "
                "scale other ranges to 0..255 first"
            )
        self.images: UInt8[np.ndarray, "n h w c"] = images[..., None] if images.ndim == 3 else images
        if self.images.shape[-1] not in (1, 3):
            raise DatasetError(f"images need 1 or 3 channels in their last axis, got {images.shape}")
        self.class_names = tuple(class_names)
        self.labels = checked_labels(labels, self.class_names, len(images))
        self.names: Sequence[str] = tuple(map(str, range(len(images)) if names is None else names))
        self.groups = None if groups is None else np.asarray(groups, dtype=np.str_)
        for what, values in (("names", self.names), ("groups", self.groups)):
            if values is not None and len(values) != len(images):
                raise DatasetError(f"there are {len(images)} pictures, but {len(values)} {what}")
        self._reopen = reopen

    def __len__(self) -> int:
        return len(self.images)

    def read(self, index: int) -> np.ndarray:
        """The pixels of one picture, uint8 (h, w, c)."""
        return self.images[index]

    def __reduce__(self) -> Any:
        if self._reopen is not None:
            return self._reopen, ()
        return type(self), (self.images, self.labels, self.class_names, self.names, self.groups)


class Subset:
    """Some examples of a data set, in the given order.

    Args:
        dataset: the whole; of another subset, its whole is taken.
        indices: positions in ``dataset``.

    Raises:
        DatasetError: an index is out of range.
    """

    def __init__(self, dataset: ImageDataset, indices: Int[np.ndarray, " m"] | Sequence[int]) -> None:
        chosen = np.asarray(indices, dtype=np.int64).reshape(-1)
        if len(chosen) and (chosen.min() < 0 or chosen.max() >= len(dataset)):
            raise DatasetError(
                f"indices must be from 0 to {len(dataset) - 1}, got {chosen.min()} to {chosen.max()}: "
                "they are positions in the data set"
            )
        self.dataset: ImageDataset = dataset.dataset if isinstance(dataset, Subset) else dataset
        self.indices: Int[np.ndarray, " m"] = dataset.indices[chosen] if isinstance(dataset, Subset) else chosen

    @property
    def class_names(self) -> tuple[str, ...]:
        """Those of the whole, also where a class has no example here."""
        return self.dataset.class_names

    @cached_property
    def labels(self) -> np.ndarray:
        """The labels of the chosen examples."""
        return self.dataset.labels[self.indices]

    @cached_property
    def names(self) -> Sequence[str]:
        """The names of the chosen examples."""
        return tuple(self.dataset.names[index] for index in self.indices)

    @cached_property
    def groups(self) -> np.ndarray | None:
        """The groups of the chosen examples."""
        return None if self.dataset.groups is None else self.dataset.groups[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, index: int) -> bytes | str | np.ndarray:
        """One picture, as the whole reads it."""
        return self.dataset.read(int(self.indices[index]))

    def __getstate__(self) -> dict[str, Any]:
        return {"dataset": self.dataset, "indices": self.indices}  # and none of what is made from them
