"""PyTorch's files without PyTorch: the zip archive that `torch.save` writes, and the stream of before PyTorch 1.6.

Both hold a pickle, in which every tensor is a call to a rebuild function, and beside it the storages as raw bytes
(``torch/serialization.py``). The pickle runs on a `PickleMachine`, so no code in it is ever executed. Each storage is
read once, and only if a tensor of the state_dict lives in it: an optimizer's state costs nothing.
"""

import mmap
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from jaxvision.weights.errors import FormatError
from jaxvision.weights.formats.contents import Contents
from jaxvision.weights.formats.pickle_machine import PickleMachine
from jaxvision.weights.formats.rebuild import ALLOWED, Storage, Tensor
from jaxvision.weights.formats.state_dict import find_state_dict

LEGACY_MAGIC = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
"""The first pickle of the legacy stream: a number."""
_LEGACY_PROTOCOL = 1001

ZIP_ERRORS = (
    *(zipfile.BadZipFile, struct.error, zlib.error, EOFError, OSError, ValueError, KeyError, IndexError, OverflowError),
    *(NotImplementedError, RuntimeError),  # a corrupt header that asks for another compression, or a password
)
"""What `zipfile` raises on a corrupt archive."""


def read_zip(path: Path) -> Contents:
    """Reads a zip archive written by `torch.save`; the checksum of every entry read is verified.

    Raises:
        FormatError: it is corrupt, or holds anything but tensors and plain data.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read_archive(archive, path.stat().st_size)
    except FormatError:
        raise
    except ZIP_ERRORS as error:
        raise FormatError(f"the archive is truncated or corrupt ({error})") from error


def _read_archive(archive: zipfile.ZipFile, file_size: int) -> Contents:
    entries = {info.filename: info for info in archive.infolist()}
    pickles = [name for name in entries if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise FormatError(f"it is a zip archive with {len(pickles)} entries data.pkl, not one")
    root = pickles[0].removesuffix("data.pkl")
    if f"{root}constants.pkl" in entries:
        raise FormatError(
            "it is a TorchScript program, not weights; open it with torch.jit.load and torch.save its state_dict"
        )

    def read(name: str) -> bytes:
        info = entries.get(root + name)
        if info is None:
            raise FormatError(f"the archive has no entry {root + name!r}")
        if info.compress_type != zipfile.ZIP_STORED:
            raise FormatError(f"its entry {info.filename!r} is compressed, which torch.save never does; save it again")
        if info.file_size != info.compress_size or info.header_offset + info.file_size > file_size:
            raise FormatError(f"its entry {info.filename!r} has a size that cannot be")
        return archive.read(info)

    byteorder = read("byteorder").decode("latin-1") if f"{root}byteorder" in entries else "little"
    if byteorder not in ("little", "big"):
        raise FormatError(f"its byte order is {byteorder!r}, not 'little' or 'big'")
    machine = PickleMachine(ALLOWED, Storage.from_persistent_id)
    state, notes = find_state_dict(machine.load(BytesIO(read("data.pkl"))))
    return Contents(_arrays(state, lambda storage: read(f"data/{storage.key}"), byteorder), notes)


def read_legacy(path: Path) -> Contents:
    """Reads the stream that `torch.save` wrote before PyTorch 1.6: five pickles, then the storages, no checksums.

    Raises:
        FormatError: it is corrupt, or holds anything but tensors and plain data.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        stream = cast(BinaryIO, memory)
        storages: dict[str, Storage] = {}

        def persistent(persistent_id: Any) -> Storage:
            storage = Storage.from_persistent_id(persistent_id)
            if storages.setdefault(storage.key, storage) != storage:
                raise FormatError(f"its storage {storage.key!r} is described in two ways")
            return storage

        def plain() -> Any:
            return PickleMachine({}, Storage.from_persistent_id).load(stream)

        plain()  # the magic number, by which the file was recognised
        protocol = plain()
        if protocol != _LEGACY_PROTOCOL:
            raise FormatError(f"it is of version {protocol!r} of the legacy format, not {_LEGACY_PROTOCOL}")
        plain()  # sizes of C types on the machine that wrote it; storages are little-endian whatever they say
        state, notes = find_state_dict(PickleMachine(ALLOWED, persistent).load(stream))
        spans = _legacy_spans(plain(), storages, memory)
        return Contents(_arrays(state, lambda storage: memory[spans[storage.key]], "little"), notes)


def _legacy_spans(keys: Any, storages: Mapping[str, Storage], memory: mmap.mmap) -> dict[str, slice]:
    """Where each storage lies: after the pickles, in the order of ``keys``, each behind its number of elements."""
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(storages):
        raise FormatError("the storages in it are not those that its tensors need")
    spans: dict[str, slice] = {}
    position = memory.tell()
    for key in keys:
        storage = storages[key]
        itemsize = 1 if storage.dtype is None else storage.dtype.itemsize
        header = memory[position : position + 8]
        if len(header) < 8 or struct.unpack("<q", header)[0] * itemsize != storage.nbytes:
            raise FormatError(f"it is truncated or corrupt (at the head of storage {key!r})")
        spans[key] = slice(position + 8, position + 8 + storage.nbytes)
        position += 8 + storage.nbytes
    if position != len(memory):
        raise FormatError(f"it is truncated or corrupt (storages end at byte {position}, the file at {len(memory)})")
    return spans


def _arrays(state: Mapping[str, Tensor], read: Callable[[Storage], bytes], byteorder: str) -> dict[str, np.ndarray]:
    raw: dict[str, bytes] = {}
    arrays: dict[str, np.ndarray] = {}
    for name, tensor in state.items():
        storage = tensor.storage
        if storage.key not in raw:
            raw[storage.key] = read(storage)
        if len(raw[storage.key]) != storage.nbytes:
            raise FormatError(f"its storage {storage.key!r} has {len(raw[storage.key])} bytes, not {storage.nbytes}")
        arrays[name] = tensor.array(raw[storage.key], byteorder)
    return arrays
