"""What PyTorch's pickles are made of: storages, dtypes and the functions that rebuild a tensor from them."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import ml_dtypes
import numpy as np

from jaxvision.weights.errors import FormatError
from jaxvision.weights.formats.pickle_machine import Constructor, Refusal, checked_key

_DTYPES = {
    dtype.name: dtype
    for dtype in map(np.dtype, ("e", "f", "d", "F", "D", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"))
}
_DTYPES["bfloat16"] = np.dtype(ml_dtypes.bfloat16)
_STORAGES = {
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Float": "float32",
    "Double": "float64",
    "ComplexFloat": "complex64",
    "ComplexDouble": "complex128",
    "Char": "int8",
    "Short": "int16",
    "Int": "int32",
    "Long": "int64",
    "Byte": "uint8",
    "Bool": "bool",
}
_FLOAT8 = ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu")


class _Untyped:
    """Stands for the class of storages whose dtype the tensor brings."""


@dataclass(frozen=True)
class _Device:
    """A device, which is of no interest here but may be mentioned."""

    name: Any


@dataclass(frozen=True)
class Storage:
    """``nbytes`` of raw memory under a key, with the dtype of its elements unless the tensor brings one."""

    key: str
    nbytes: int
    dtype: np.dtype | None

    @classmethod
    def from_persistent_id(cls, persistent_id: Any) -> "Storage":
        """Reads ``("storage", class, key, device, number of elements)``; the legacy stream adds a view of the storage.

        Raises:
            FormatError: it is something else.
        """
        if not isinstance(persistent_id, tuple) or len(persistent_id) not in (5, 6) or persistent_id[0] != "storage":
            raise FormatError("its pickle refers to something outside that is not a storage, which is refused")
        kind, key, _, count = persistent_id[1:5]
        if not isinstance(key, str) or type(count) is not int or count < 0:
            raise FormatError("its pickle refers to a storage without a proper key and size")
        if persistent_id[5:] not in ((), (None,)):
            raise FormatError("it has storages that are views of others; load it with PyTorch and save it again")
        if isinstance(kind, np.dtype):
            return cls(key, count * kind.itemsize, kind)
        if isinstance(kind, _Untyped):
            return cls(key, count, None)
        raise FormatError(f"its storage {key!r} is of a class that is not one")


@dataclass(frozen=True)
class Tensor:
    """A strided view of a storage; offset and strides count elements."""

    storage: Storage
    dtype: np.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def __post_init__(self) -> None:
        numbers = (self.offset, *self.shape, *self.strides)
        if len(self.shape) != len(self.strides) or not all(type(number) is int and number >= 0 for number in numbers):
            raise FormatError(f"it has a tensor with {self._geometry()}")
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        if 0 not in self.shape and (last + 1) * self.dtype.itemsize > self.storage.nbytes:
            nbytes, key = self.storage.nbytes, self.storage.key
            raise FormatError(f"a tensor with {self._geometry()} reaches out of its storage {key!r} of {nbytes} bytes")

    def _geometry(self) -> str:
        return f"shape {self.shape}, strides {self.strides} and offset {self.offset}"

    def array(self, raw: bytes, byteorder: str) -> np.ndarray:
        """The tensor as an array: a read-only view of ``raw``, or a copy where the byte order is not this machine's.

        Raises:
            FormatError: no array can have this shape.
        """
        itemsize = self.dtype.itemsize
        strides = tuple(stride * itemsize for stride in self.strides)
        try:
            if 0 in self.shape:
                return np.empty(self.shape, self.dtype)
            array: np.ndarray = np.ndarray(self.shape, self.dtype, raw, self.offset * itemsize, strides)
        except ValueError as error:
            raise FormatError(f"it has a tensor with {self._geometry()} ({error})") from error
        return array if byteorder == sys.byteorder else array.byteswap()


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any) -> Tensor:
    if not isinstance(storage, Storage) or storage.dtype is None:
        raise FormatError("it builds a tensor from something that is not a typed storage")
    if not isinstance(size, tuple) or not isinstance(stride, tuple):
        raise FormatError("it builds a tensor whose size and strides are not tuples")
    return Tensor(storage, storage.dtype, offset, size, stride)


def _rebuild_tensor_v2(
    storage: Any, offset: Any, size: Any, stride: Any, _requires_grad: Any, _hooks: Any, metadata: Any = None
) -> Tensor:
    if metadata:
        raise FormatError(
            "it has a tensor whose conjugation or negation is pending; save it resolved (torch.resolve_conj)"
        )
    return _rebuild_tensor(storage, offset, size, stride)


def _rebuild_tensor_v3(
    storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, hooks: Any, dtype: Any, metadata: Any = None
) -> Tensor:
    if not isinstance(storage, Storage) or not isinstance(dtype, np.dtype):
        raise FormatError("it builds a tensor from something that is not a storage and a dtype")
    typed = replace(storage, dtype=dtype)
    return _rebuild_tensor_v2(typed, offset, size, stride, requires_grad, hooks, metadata)


def _rebuild_parameter(data: Any, _requires_grad: Any, _hooks: Any) -> Any:
    return data


def _ordered_dict(items: Iterable[Any] = ()) -> dict[Any, Any]:
    """Python 2 wrote the items as an argument, a list of pairs; Python 3 fills the dictionary afterwards."""
    pairs = [tuple(item) for item in items]
    return {checked_key(key): value for key, value in pairs}


ALLOWED: Mapping[str, Any] = {
    "collections.OrderedDict": Constructor(_ordered_dict),
    "torch._utils._rebuild_tensor": Constructor(_rebuild_tensor),
    "torch._utils._rebuild_tensor_v2": Constructor(_rebuild_tensor_v2),
    "torch._utils._rebuild_tensor_v3": Constructor(_rebuild_tensor_v3),
    "torch._utils._rebuild_parameter": Constructor(_rebuild_parameter),
    "torch.Size": Constructor(tuple),
    "torch.device": Constructor(lambda *name: _Device(name)),
    "torch.storage.UntypedStorage": _Untyped(),
    **{f"torch.{name}": dtype for name, dtype in _DTYPES.items()},
    **{f"torch.{kind}Storage": _DTYPES[name] for kind, name in _STORAGES.items()},
    "torch._utils._rebuild_qtensor": Refusal("quantised tensors are not read; save them dequantised"),
    "torch._utils._rebuild_sparse_tensor": Refusal("sparse tensors are not read; save them dense (to_dense)"),
    **{f"torch.{name}": Refusal("8-bit floats are not read; save them as float16") for name in _FLOAT8},
}
"""Every global that a pickle of tensors may ask for; what is not here is refused too."""
