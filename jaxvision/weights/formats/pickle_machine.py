"""A machine for the part of pickle that PyTorch writes, which cannot run code.

A pickle is a program for a stack machine, and the standard one may import and call anything. This one knows only the
opcodes that build plain data, resolves a global only from a given table, and calls only what that table marks as
callable; whatever else a pickle asks for is refused by name. Opcodes and their arguments are parsed by `pickletools`.
"""

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from jaxvision.weights.errors import FormatError


def checked_key(key: Any) -> Any:
    """The key of a dictionary, if it is a plain value (hashing a deeply nested tuple would exhaust the stack)."""
    if not isinstance(key, str | bytes | int | float | None):
        raise FormatError(f"it has a dictionary with a {type(key).__name__} as a key, which is refused")
    return key


@dataclass(frozen=True)
class Constructor:
    """A function that a pickle may call."""

    call: Callable[..., Any]


@dataclass(frozen=True)
class Refusal:
    """A global that is refused for a reason of its own."""

    reason: str


class PickleMachine:
    """Reads one pickle.

    Args:
        allowed: full name of a global to what it stands for; only a `Constructor` can be called.
        persistent: makes the object of a persistent id.
    """

    def __init__(self, allowed: Mapping[str, Any], persistent: Callable[[Any], Any]):
        self._allowed = allowed
        self._persistent = persistent
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def load(self, stream: BinaryIO) -> Any:
        """Runs the pickle at the stream's position, and leaves the stream behind it.

        Raises:
            FormatError: the pickle is corrupt, or asks for anything but plain data and the allowed globals.
        """
        try:
            for opcode, argument, _ in pickletools.genops(stream):
                self._step(opcode.name, argument)
        except FormatError:
            raise
        except (ValueError, IndexError, OverflowError, MemoryError) as error:
            raise FormatError(f"its pickle is truncated or corrupt ({error})") from error
        if len(self._stack) != 1 or self._marks:
            raise FormatError("its pickle is corrupt (it does not end in one object)")
        return self._stack[0]

    def _step(self, name: str, argument: Any) -> None:
        if name in _PUSH_ARGUMENT:
            self._stack.append(argument)
        elif name in _PUSH_NEW:
            self._stack.append(_PUSH_NEW[name]())
        elif name in _TUPLES:
            self._stack.append(self._pop(_TUPLES[name]))
        elif name in _PUT:
            self._memo[len(self._memo) if argument is None else argument] = self._top()
        elif name in _GET:
            if argument not in self._memo:
                raise FormatError(f"its pickle is corrupt (nothing is stored under {argument})")
            self._stack.append(self._memo[argument])
        elif name in _HANDLERS:
            _HANDLERS[name](self, argument)
        elif name not in _IGNORED:
            raise FormatError(f"its pickle uses {name}, which no file of tensors needs; it is refused")

    def _floor(self) -> int:
        """How much of the stack is out of reach below the last mark."""
        return self._marks[-1] if self._marks else 0

    def _pop(self, count: int) -> tuple[Any, ...]:
        if len(self._stack) - count < self._floor():
            raise FormatError("its pickle is corrupt (it takes more than it has put)")
        start = len(self._stack) - count
        items = tuple(self._stack[start:])
        del self._stack[start:]
        return items

    def _top(self) -> Any:
        if len(self._stack) <= self._floor():
            raise FormatError("its pickle is corrupt (it takes more than it has put)")
        return self._stack[-1]

    def _pop_to_mark(self) -> tuple[Any, ...]:
        if not self._marks:
            raise FormatError("its pickle is corrupt (a mark is missing)")
        items = self._pop(len(self._stack) - self._marks[-1])
        self._marks.pop()
        return items

    def _mark(self, _: None) -> None:
        self._marks.append(len(self._stack))

    def _discard(self, _: None) -> None:
        self._pop(1)

    def _tuple(self, _: None) -> None:
        self._stack.append(self._pop_to_mark())

    def _extend(self, items: tuple[Any, ...]) -> None:
        target = self._top()
        if not isinstance(target, list):
            raise FormatError(f"its pickle is corrupt (it appends to a {type(target).__name__})")
        target.extend(items)

    def _update(self, items: tuple[Any, ...]) -> None:
        target = self._top()
        if not isinstance(target, dict) or len(items) % 2:
            raise FormatError(f"its pickle is corrupt (it sets items of a {type(target).__name__})")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[checked_key(key)] = value

    def _global(self, name: str) -> None:
        if name not in self._allowed:
            raise FormatError(
                f"it asks for the global {name!r}, which is refused: only tensors are read, and no code is run. "
                f"If you trust the file, open it with PyTorch and save its state_dict alone (torch.save or safetensors)"
            )
        value = self._allowed[name]
        if isinstance(value, Refusal):
            raise FormatError(f"it asks for {name!r}, which is refused: {value.reason}")
        self._stack.append(value)

    def _stack_global(self, _: None) -> None:
        module, name = self._pop(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise FormatError("its pickle is corrupt (the name of a global is not text)")
        self._global(f"{module}.{name}")

    def _reduce(self, _: None) -> None:
        function, arguments = self._pop(2)
        if not isinstance(function, Constructor) or not isinstance(arguments, tuple):
            raise FormatError("it calls something that is not a function for tensors, which is refused")
        try:
            self._stack.append(function.call(*arguments))
        except TypeError as error:
            raise FormatError(f"its pickle is corrupt ({error})") from error

    def _build(self, _: None) -> None:
        """Attributes of a dictionary (the `_metadata` of a state_dict) are dropped; nothing else may have any."""
        self._pop(1)
        if not isinstance(self._top(), dict):
            raise FormatError(f"it sets attributes of a {type(self._top()).__name__}, which is refused")

    def _persistent_id(self, _: None) -> None:
        self._stack.append(self._persistent(*self._pop(1)))


_PUSH_ARGUMENT = frozenset(
    (
        *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
        *("BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
        *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    )
)
_PUSH_NEW: Mapping[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PUT = frozenset(("BINPUT", "LONG_BINPUT", "MEMOIZE"))
_GET = frozenset(("BINGET", "LONG_BINGET"))
_IGNORED = frozenset(("PROTO", "FRAME", "STOP"))
_HANDLERS: Mapping[str, Callable[[PickleMachine, Any], None]] = {
    "MARK": PickleMachine._mark,
    "POP": PickleMachine._discard,
    "TUPLE": PickleMachine._tuple,
    "APPEND": lambda machine, _: machine._extend(machine._pop(1)),
    "APPENDS": lambda machine, _: machine._extend(machine._pop_to_mark()),
    "SETITEM": lambda machine, _: machine._update(machine._pop(2)),
    "SETITEMS": lambda machine, _: machine._update(machine._pop_to_mark()),
    "GLOBAL": lambda machine, argument: machine._global(argument.replace(" ", ".", 1)),
    "STACK_GLOBAL": PickleMachine._stack_global,
    "REDUCE": PickleMachine._reduce,
    "BUILD": PickleMachine._build,
    "BINPERSID": PickleMachine._persistent_id,
}
