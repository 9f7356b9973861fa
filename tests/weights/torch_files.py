"""Writers of PyTorch's two file formats, without PyTorch, so that files can be made wrong in any way wanted."""

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

DATA = Path(__file__).parent / "data"
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


@dataclass(frozen=True)
class FakeStorage:
    """A reference to a storage, pickled as a persistent id."""

    key: str
    kind: str
    numel: int


class Global:
    """Something that is pickled as the name of a global, which need not exist."""

    def __init__(self, module: str, name: str):
        self.module, self.name = module, name


class Call:
    """Something that is pickled as a call of a global."""

    def __init__(self, function: Global, *arguments: Any):
        self.function, self.arguments = function, arguments


def tensor(storage: FakeStorage, shape: Sequence[int], strides: Sequence[int], offset: int = 0) -> Call:
    """A tensor as `torch.save` pickles it."""
    rebuild = Global("torch._utils", "_rebuild_tensor_v2")
    return Call(rebuild, storage, offset, tuple(shape), tuple(strides), False, OrderedDict())


class TorchPickler(pickle._Pickler):
    """Python's pickler in Python, which can be told to write a global that is not importable."""

    dispatch: ClassVar[dict[Any, Any]] = dict(pickle._Pickler.dispatch)
    extra: tuple[Any, ...] = ()

    def persistent_id(self, thing: Any) -> Any:
        if isinstance(thing, FakeStorage):
            return ("storage", Global("torch", thing.kind), thing.key, "cpu", thing.numel, *self.extra)
        return None

    def _save_named(self, thing: Global) -> None:
        self.write(pickle.GLOBAL + f"{thing.module}\n{thing.name}\n".encode())

    def _save_call(self, thing: Call) -> None:
        self.save(thing.function)
        self.save(tuple(thing.arguments))
        self.write(pickle.REDUCE)

    dispatch[Global] = _save_named
    dispatch[Call] = _save_call


class LegacyPickler(TorchPickler):
    """The legacy stream's persistent ids have one field more."""

    extra = (None,)


def torch_pickle(thing: Any, pickler: type[TorchPickler] = TorchPickler, protocol: int = 2) -> bytes:
    """A pickle with `Global`, `Call` and `FakeStorage` in it."""
    file = io.BytesIO()
    pickler(file, protocol).dump(thing)
    return file.getvalue()


@dataclass
class Archive:
    """The entries of a zip file of `torch.save`, to be tampered with before it is written."""

    pickle: bytes
    storages: Mapping[str, bytes]
    extra: dict[str, bytes] = field(default_factory=lambda: {"byteorder": b"little", "version": b"3\n"})
    compression: int = zipfile.ZIP_STORED

    def write(self, path: Path) -> Path:
        with zipfile.ZipFile(path, "w", self.compression) as file:
            file.writestr("archive/data.pkl", self.pickle)
            for key, raw in self.storages.items():
                file.writestr(f"archive/data/{key}", raw)
            for name, content in self.extra.items():
                file.writestr(f"archive/{name}", content)
        return path


def float_archive(**arrays: np.ndarray) -> Archive:
    """An archive of float32 tensors, each in a storage of its own."""
    storages = {str(index): np.ascontiguousarray(array, np.float32) for index, array in enumerate(arrays.values())}
    tree = {
        name: tensor(
            FakeStorage(key, "FloatStorage", array.size), array.shape, [stride // 4 for stride in array.strides]
        )
        for name, (key, array) in zip(arrays, storages.items(), strict=True)
    }
    return Archive(torch_pickle(tree), {key: array.tobytes() for key, array in storages.items()})


def legacy_stream(tree: Any, storages: Mapping[str, np.ndarray], protocol: int = 1001) -> bytes:
    """A legacy file."""
    heads = (LEGACY_MAGIC, protocol, {"protocol_version": 1001, "little_endian": True, "type_sizes": {"long": 8}})
    raw = [struct.pack("<q", array.size) + array.tobytes() for array in storages.values()]
    return b"".join(
        [
            *(pickle.dumps(head, 2) for head in heads),
            torch_pickle(tree, LegacyPickler),
            pickle.dumps(list(storages), 2),
            *raw,
        ]
    )
