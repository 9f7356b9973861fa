"""One's own pictures into ArrayRecord files in TFDS's layout: few large files, fast to read at random and to copy."""

import io
import os
import re
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxvision.data.dataset import DatasetError, ImageDataset, Subset, class_counts, label_kind
from jaxvision.data.images import ImageError, read_image
from jaxvision.data.sources.naming import listing
from jaxvision.data.sources.options import ALL

try:
    import tensorflow_datasets as tfds
except ImportError:
    raise DatasetError("preparing data needs TFDS: pip install 'jaxvision-zoo[tfds]'") from None

VERSION = "1.0.0"
_THEIR_SPLITS = {"val": "validation", ALL: "train"}  # "all" is reserved in TFDS


@dataclass(frozen=True)
class Prepared:
    """What was written.

    Attributes:
        folder: where it is; `open_splits` and `tfds.builder_from_directory` read it.
        name: the data set's name: ``tfds:NAME`` with the folder it was prepared in as ``data_dir``.
        splits: what each split has in it, by TFDS's names.
        unreadable: the error of each picture left out, by ``split: name``.
    """

    folder: Path
    name: str
    splits: dict[str, "SplitSummary"]
    unreadable: dict[str, str]


@dataclass(frozen=True)
class SplitSummary:
    """What is in a split.

    Attributes:
        pictures: their number.
        megabytes: their encoded size, in units of 10^6 bytes.
        classes: the number of each class; empty for regression.
    """

    pictures: int
    megabytes: float
    classes: dict[str, int] = field(default_factory=dict)


def prepare(
    splits: Mapping[str, ImageDataset],
    out: str | os.PathLike[str],
    name: str,
    *,
    max_unreadable: int = 0,
    overwrite: bool = False,
    on_picture: Callable[[], object] = lambda: None,
) -> Prepared:
    """Writes data sets as one TFDS data set of ArrayRecord files.

    The encoded bytes of files are kept as they are; pixels without a file become PNG. Every picture is decoded once
    to see that it can be. Within a split TFDS shuffles the pictures, the same way each time. The features are
    ``image``, ``label``, ``file_name`` and, where there are groups, ``group``.

    Args:
        splits: the data, as from `open_splits`.
        out: the folder for prepared data sets; this one goes to ``out/name/1.0.0``.
        name: of the data set, such as ``"pets"``; see `dataset_name`.
        max_unreadable: how many pictures may be left out because they cannot be read.
        overwrite: replace what is there.
        on_picture: called after each picture that was looked at, from this thread.

    Raises:
        DatasetError: too many pictures cannot be read, there is such a data set already, or the name is none.
    """
    if dataset_name(name) != name:
        raise DatasetError(
            f"{name!r} cannot be the name of a TFDS data set: use small letters, digits and _, as in "
            f"{dataset_name(name)!r}"
        )
    folder = Path(out).expanduser() / name / VERSION
    if folder.exists() and not overwrite:
        raise DatasetError(f"{str(folder)!r} exists: choose another name, or overwrite it")
    splits = {_THEIR_SPLITS.get(split, split): dataset for split, dataset in splits.items()}
    unreadable: dict[str, str] = {}
    good: dict[str, Subset] = {}
    sizes: dict[str, int] = {}
    for split, dataset in splits.items():
        good[split], sizes[split] = _readable(split, dataset, unreadable, max_unreadable, on_picture)
    with _quiet(), _moved_aside(folder), tempfile.TemporaryDirectory() as downloads:  # of which there are none
        builder = _builder_class(name, good)(data_dir=os.fspath(folder.parents[1]), file_format="array_record")
        builder.download_and_prepare(download_dir=downloads)
    return Prepared(
        folder,
        name,
        {
            split: SplitSummary(len(part), sizes[split] / 1e6, class_counts(part) if part.class_names else {})
            for split, part in good.items()
        },
        unreadable,
    )


def dataset_name(path: str | os.PathLike[str]) -> str:
    """A name that TFDS accepts from the name of a folder or a file: small letters, digits and ``_``."""
    stem = re.sub(r"[^a-z0-9]+", "_", Path(path).expanduser().absolute().stem.lower()).strip("_")
    return stem if stem[:1].isalpha() else f"data_{stem}".rstrip("_")


def _readable(
    split: str,
    dataset: ImageDataset,
    unreadable: dict[str, str],
    max_unreadable: int,
    on_picture: Callable[[], object],
) -> tuple[Subset, int]:
    """The pictures that can be decoded, and the bytes they have together; the others' errors go to ``unreadable``."""
    indices, size = [], 0
    for index, result in enumerate(_in_threads(lambda index: _encoded_size(dataset, index), len(dataset))):
        if isinstance(result, ImageError):
            unreadable[f"{split}: {dataset.names[index]}"] = str(result)
            if len(unreadable) > max_unreadable:
                raise DatasetError(
                    f"{len(unreadable)} pictures cannot be read, at most {max_unreadable} may be left out, and nothing "
                    f"was written: {'; '.join(unreadable.values()) if len(unreadable) < 4 else listing(unreadable)}"
                )
        else:
            indices.append(index)
            size += result
        on_picture()
    return Subset(dataset, indices), size


def _in_threads(function: Callable[[int], Any], count: int) -> Iterator[Any]:
    """``function`` of 0, 1, ... in order, a few ahead; Pillow decodes outside Python's lock."""
    workers = os.cpu_count() or 1
    waiting: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for index in range(count):
                waiting.append(pool.submit(function, index))
                if len(waiting) > 4 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _encoded_size(dataset: ImageDataset, index: int) -> int | ImageError:
    """The size of a picture in bytes, or why it cannot be decoded."""
    record = dataset.read(index)
    try:
        if isinstance(record, str):
            read_image(record)
            return os.path.getsize(record)
        data = _encoded(record)
        if isinstance(record, bytes):
            with Image.open(io.BytesIO(record)) as picture:
                read_image(picture)
        return len(data)
    except ImageError as error:
        return error
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged data
        return ImageError(f"{dataset.names[index]!r} cannot be decoded ({error})")


def _encoded(record: bytes | str | np.ndarray) -> bytes:
    if isinstance(record, bytes):
        return record
    if isinstance(record, str):
        return Path(record).read_bytes()
    buffer = io.BytesIO()
    Image.fromarray(record[..., 0] if record.shape[-1] == 1 else record).save(buffer, "PNG")
    return buffer.getvalue()


@contextmanager
def _moved_aside(folder: Path) -> Iterator[None]:
    """What a folder holds is deleted if all goes well, and put back if it does not."""
    if not folder.exists():
        yield
        return
    aside = folder.with_name(f"{folder.name}.replaced")
    folder.rename(aside)
    try:
        yield
    except BaseException:
        aside.rename(folder)
        raise
    shutil.rmtree(aside)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without TFDS's bars and messages, which it writes to the standard output."""
    tfds.disable_progress_bar()
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.enable_progress_bar()


def _builder_class(name: str, splits: Mapping[str, Subset]) -> Any:
    """A TFDS builder of these data; it is not registered, since the written description is enough to read them."""
    first = next(iter(splits.values()))
    kind = label_kind(first)
    features: dict[str, Any] = {"image": tfds.features.Image(), "file_name": tfds.features.Text()}
    if kind == "regression":
        features["label"] = tfds.features.Tensor(shape=first.labels.shape[1:], dtype=np.float32)
    else:
        label = tfds.features.ClassLabel(names=list(first.class_names))
        features["label"] = tfds.features.Sequence(label) if kind == "multilabel" else label
    grouped = first.groups is not None
    if grouped:
        features["group"] = tfds.features.Text()

    class Own(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
        VERSION = tfds.core.Version(VERSION)
        code_path = None  # nothing is downloaded, so there are no checksums to be found beside the code

        def _info(self) -> Any:
            return tfds.core.DatasetInfo(
                builder=self,
                description=f"{name}, prepared by jaxvision",
                features=tfds.features.FeaturesDict(features),
                supervised_keys=("image", "label"),
            )

        def _split_generators(self, dl_manager: Any) -> Any:
            return {split: self._generate_examples(part) for split, part in splits.items()}

        def _generate_examples(self, part: Subset) -> Iterator[tuple[int, dict[str, Any]]]:
            for index in range(len(part)):
                label = part.labels[index]
                example = {
                    "image": io.BytesIO(_encoded(part.read(index))),  # TFDS takes a file's bytes as they are
                    "label": np.flatnonzero(label).tolist() if kind == "multilabel" else label,
                    "file_name": part.names[index],
                }
                if grouped:
                    example["group"] = str(part.groups[index])  # type: ignore[index]
                yield index, example

    Own.name = name
    return Own
