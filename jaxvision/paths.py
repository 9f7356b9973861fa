r"""Dotted paths to modules and variables, and the one glob language that selects them.

A path is the attribute names from the root joined by dots, list indices included: ``blocks.0.attn.qkv``. These are
timm's names. A variable's path ends in its Flax leaf name: ``blocks.0.attn.qkv.kernel``.

Patterns, everywhere in the library (features, injection, freezing, rules):

* ``*``, ``?`` and ``[...]`` as in `fnmatch`, each within one segment: ``blocks.*.mlp``;
* ``**`` for any number of segments, none included: ``**.attn``, ``layer3.**``;
* ``re:`` and a regular expression for the whole path: ``re:blocks\.(0|11)\..*``.
"""

import difflib
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import translate
from functools import lru_cache
from typing import Any

import jax
from flax import nnx


class PatternError(ValueError):
    """A pattern that selects nothing, or that cannot be read."""


def _children(node: Any) -> Iterator[tuple[str, Any]]:
    """Named children of a module or container.

    Modules' in the order of their names, since Flax does not keep the order of definition when it copies a module.
    """
    if isinstance(node, nnx.Pytree):
        items: Iterable[tuple[Any, Any]] = sorted(vars(node).items(), key=lambda item: _natural(item[0]))
    elif isinstance(node, Mapping):
        items = node.items()
    elif isinstance(node, list | tuple):
        items = enumerate(node)
    else:
        return
    for key, value in items:
        name = str(key)
        if not name.startswith("_pytree__"):
            yield name, value


def _natural(name: str) -> tuple[Any, ...]:
    """Sorts ``blocks.2`` before ``blocks.10``."""
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name))


def _walk(node: Any, path: str, ancestors: tuple[int, ...]) -> Iterator[tuple[str, Any]]:
    """Every (path, object) below and including ``node``; an object with several names comes once under each."""
    yield path, node
    if id(node) in ancestors:  # a module that holds a reference to its parent
        return
    for name, child in _children(node):
        yield from _walk(child, f"{path}.{name}" if path else name, (*ancestors, id(node)))


def named_modules(model: nnx.Module) -> dict[str, nnx.Module]:
    """All modules of a model by path, the root as ``""``; a shared module under each of its names."""
    return {path: node for path, node in _walk(model, "", ()) if isinstance(node, nnx.Module)}


def named_variables(model: nnx.Module) -> dict[str, nnx.Variable]:
    """All variables of a model by path, as ``blocks.0.attn.qkv.kernel``; a shared one under its first name only."""
    seen: set[int] = set()
    variables: dict[str, nnx.Variable] = {}
    for path, node in _walk(model, "", ()):
        if isinstance(node, nnx.Variable) and id(node) not in seen:
            seen.add(id(node))
            variables[path] = node
    return variables


@lru_cache(maxsize=1024)
def _matcher(pattern: str) -> Callable[[str], bool]:
    if pattern.startswith("re:"):
        try:
            expression = re.compile(pattern[3:])
        except re.error as error:
            raise PatternError(f"{pattern!r} is not a regular expression: {error}") from None
        return lambda path: expression.fullmatch(path) is not None
    segments = [None if segment == "**" else re.compile(translate(segment)) for segment in pattern.split(".")]

    def matches(parts: tuple[str, ...], start: int = 0) -> bool:
        for index in range(start, len(segments)):
            segment = segments[index]
            if segment is None:
                return any(matches(parts[skip:], index + 1) for skip in range(len(parts) + 1))
            if not parts or segment.match(parts[0]) is None:
                return False
            parts = parts[1:]
        return not parts

    return lambda path: matches(tuple(path.split(".")) if path else ("",) if pattern == "" else ())


def matches(pattern: str, path: str) -> bool:
    """Whether a dotted path matches a pattern of the glob language."""
    return _matcher(pattern)(path)


def did_you_mean(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The ``count`` known names nearest to ``name``, best first; possibly none."""
    return difflib.get_close_matches(name, list(known), n=count, cutoff=0.5)


def suggestion(name: str, known: Iterable[str], count: int = 3) -> str:
    """The end of an error message: ``; did you mean 'a' or 'b'?``, or nothing where no known name is near."""
    near = [repr(other) for other in did_you_mean(name, known, count)]
    return f"; did you mean {' or '.join(near)}?" if near else ""


def select(patterns: str | Sequence[str], paths: Iterable[str], *, what: str = "module") -> list[str]:
    """The paths that match at least one pattern, in their own order.

    Args:
        patterns: one pattern or several.
        paths: the candidates.
        what: the kind of thing the paths name, for the error message.

    Raises:
        PatternError: a pattern matches none of the paths; the nearest ones are listed.
    """
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    if not patterns:
        raise PatternError(f"no pattern given: name at least one {what}")
    paths = list(paths)
    for pattern in patterns:
        if not any(matches(pattern, path) for path in paths):
            raise PatternError(f"no {what} matches {pattern!r}{_nearest(pattern, paths)}")
    return [path for path in paths if any(matches(pattern, path) for pattern in patterns)]


def _nearest(pattern: str, paths: Sequence[str]) -> str:
    """Names the existing paths nearest to a pattern, as patterns where the paths differ in indices only."""
    numbered = re.compile(r"(?<=\.)\d+(?=\.|$)")
    general = dict.fromkeys(numbered.sub("*", path) for path in paths if path)
    near = suggestion(pattern.removeprefix("re:"), general)
    if near:
        return near
    shown = ", ".join(repr(path) for path in list(general)[:8])
    return f"; there are {shown}{', ...' if len(general) > 8 else ''}" if shown else "; there is none"


def path_hash(path: str) -> int:
    """A 32-bit number that is a path's in every process (Python's own `hash` is not)."""
    return zlib.crc32(path.encode())


def fold_path(key: jax.Array, path: str) -> jax.Array:
    """The key of one site: ``key`` with the path folded in, whatever other sites there are."""
    return jax.random.fold_in(key, path_hash(path))


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """``{"a.b": x}`` to ``{"a": {"b": x}}``."""
    nested: dict[str, Any] = {}
    for path, value in flat.items():
        *parents, leaf = path.split(".")
        node = nested
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return nested


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"a": {"b": x}}`` to ``{"a.b": x}``."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        path = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, Mapping):
            flat.update(flatten(value, path))
        else:
            flat[path] = value
    return flat
