"""How layers compute what they do: in the fastest form for the platform, or as XLA does it by itself."""

import contextlib
from collections.abc import Iterator
from typing import Literal, TypeAlias, get_args

import jax

Implementation: TypeAlias = Literal["auto", "native"]

_context = jax.make_user_context("auto")


@contextlib.contextmanager
def implementation(name: Implementation) -> Iterator[None]:
    """Choose how convolutions, and batch normalisation in training, compute inside a `with` block.

    The choice is part of the key of `jax.jit`'s caches: a function that was compiled outside the block is compiled
    again inside it.

    Args:
        name: "auto" for the fastest form for the platform, "native" for XLA's own operations everywhere, which can be
            differentiated in forward mode too (`jax.jvp`, `jax.jacfwd`).

    Raises:
        ValueError: if `name` is neither.
    """
    with _context(_checked(name)):
        yield


def chosen_implementation(name: Implementation | None = None) -> Implementation:
    """``name``, or the choice of the innermost `implementation` block, which is "auto" if there is none.

    Raises:
        ValueError: if ``name`` is none of them.
    """
    return _checked(_context.value if name is None else name)


def _checked(name: Implementation) -> Implementation:
    if name not in get_args(Implementation):
        raise ValueError(
            f"implementation is {name!r}, expected one of {', '.join(map(repr, get_args(Implementation)))}"
        )
    return name
