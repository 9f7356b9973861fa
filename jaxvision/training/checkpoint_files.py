"""What is on disk: which checkpoints there are, what they hold, and reading them, without a word from Orbax."""

import gc
import logging
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxvision.paths import matches, suggestion
from jaxvision.training.leaves import is_key, named_leaves

State = TypeVar("State")

STATE, HOST, METRICS = "state", "host", "metrics"
REPLACED = ".replaced"
"""Suffix of a checkpoint while another of the same step is written; it counts until that one is there."""


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written, or none can be read."""


class CheckpointMismatchError(ValueError):
    """A checkpoint is readable, but of another state: other names, shapes or dtypes."""


def find_steps(directory: Path) -> dict[int, Path]:
    """The complete checkpoints of a directory by step, oldest first."""
    if not directory.is_dir():
        return {}
    folders = [path for path in directory.iterdir() if path.is_dir()]
    found = {int(path.stem): path for path in folders if path.stem.isdecimal() and path.suffix == REPLACED}
    found |= {int(path.name): path for path in folders if path.name.isdecimal()}
    return dict(sorted(found.items()))


def read_checkpoint(path: Path, abstract_state: State) -> tuple[State, dict[str, Any]]:
    """The state, placed as the abstract one says, and the host's notes.

    Raises:
        CheckpointMismatchError: it is of another state; the names are listed.
        Exception: whatever Orbax and tensorstore make of damaged files.
    """
    expected = {name: struct(leaf) for name, leaf in named_leaves(abstract_state).items()}
    _check_same(expected, _stored(path), path)
    flat = ocp.StandardCheckpointHandler().restore(path / STATE, args=ocp.args.StandardRestore(expected))
    other = [name for name, leaf in expected.items() if is_key(leaf) and flat[name].dtype != leaf.dtype]
    if other:
        kinds = [f"{name} is {flat[name].dtype}, expected {expected[name].dtype}" for name in other]
        raise CheckpointMismatchError(f"{path} has random keys of another kind: {', '.join(kinds)}")
    host = ocp.JsonCheckpointHandler().restore(path / HOST)
    return jax.tree.unflatten(jax.tree.structure(abstract_state), [flat[name] for name in expected]), dict(host)


def read_metrics(path: Path) -> dict[str, float] | None:
    """The metrics that a checkpoint was saved with; None if there are none, or none that can be read."""
    try:
        return dict(ocp.JsonCheckpointHandler(filename=METRICS).restore(path / METRICS))
    except (OSError, ValueError):
        return None


def read_arrays(
    directory: str | Path, patterns: str | Sequence[str] = "**", step: int | None = None
) -> dict[str, np.ndarray]:
    """Arrays of a checkpoint by dotted name (``params.head.kernel``), without knowing the rest of the state.

    Args:
        directory: the directory of a `Checkpointer`.
        patterns: which ones, as in `jaxvision.paths`: ``("params.**", "batch_stats.**")``. Random keys come as their
            raw words.
        step: of which step; the newest by default.

    Raises:
        CheckpointError: there is no such checkpoint, or it cannot be read.
    """
    quiet_orbax()
    directory = Path(directory).absolute()
    paths = find_steps(directory)
    step = max(paths, default=None) if step is None else step
    if step is None or step not in paths:
        raise CheckpointError(f"there is no checkpoint {'' if step is None else f'of step {step} '}in {directory}")
    patterns = [patterns] if isinstance(patterns, str) else patterns
    why = ""
    try:
        names = [name for name in _stored(paths[step]) if any(matches(pattern, name) for pattern in patterns)]
        args = ocp.args.PyTreeRestore(
            dict.fromkeys(names, 0),
            restore_args=dict.fromkeys(names, ocp.RestoreArgs(restore_type=np.ndarray)),
            partial_restore=True,
        )
        return dict(ocp.PyTreeCheckpointHandler().restore(paths[step] / STATE, args=args))
    except Exception as error:
        why = reason(error)
    forget_failed_read()
    raise CheckpointError(f"checkpoint {paths[step]} cannot be read: {why}")


def struct(leaf: Any) -> jax.ShapeDtypeStruct:
    """Shape, dtype and, if it has one, sharding of a leaf."""
    leaf = leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=getattr(leaf, "sharding", None))


def reason(error: BaseException) -> str:
    """Why, in one line: the operating system's word if there is one, else the innermost exception's.

    Tensorstore's messages are pages long, with the cause at the end.
    """
    while error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split())
    code = re.search(r"os_error_code='(\d+)'", text)
    if code is not None:
        return os.strerror(int(code.group(1)))
    return f"{type(error).__name__}: {text if len(text) <= 200 else '...' + text[-200:]}"


def forget_failed_read() -> None:
    """Collects what a failed read has left behind; the exception must be gone already.

    Each of Orbax's unfinished coroutines would print pages about itself when it is collected, much later.
    """
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        gc.collect()
    finally:
        sys.unraisablehook = hook


def quiet_orbax() -> None:
    """Drops Orbax's own log messages; what matters of them is raised or logged here, in one line."""
    absl = logging.getLogger("absl")
    if not any(isinstance(existing, _NotOrbax) for existing in absl.filters):
        absl.addFilter(_NotOrbax())


class _NotOrbax(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return "orbax" not in record.pathname


def _stored(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and dtype of the arrays in a checkpoint, by name; a random key's raw words."""
    tree = ocp.StandardCheckpointHandler().metadata(path / STATE).tree
    return {name: (tuple(array.shape), np.dtype(array.dtype)) for name, array in tree.items()}


def _check_same(expected: Mapping[str, jax.ShapeDtypeStruct], stored: Mapping[str, Any], path: Path) -> None:
    problems = [f"missing {name}{suggestion(name, stored, 1)}" for name in expected if name not in stored]
    problems += [f"unknown {name}{suggestion(name, expected, 1)}" for name in stored if name not in expected]
    for name, leaf in expected.items():
        if name in stored:
            raw = jax.eval_shape(jax.random.key_data, leaf) if is_key(leaf) else leaf
            shape, dtype = stored[name]
            if (shape, dtype) != (raw.shape, raw.dtype):
                problems.append(f"{name} is {dtype}{list(shape)}, expected {raw.dtype}{list(raw.shape)}")
    if problems:
        more = f"\n  ... and {len(problems) - 20} more" if len(problems) > 20 else ""
        raise CheckpointMismatchError(
            f"{path} is a checkpoint of another model, optimiser or setting:\n  "
            + "\n  ".join(problems[:20])
            + f"{more}\nresume with the settings of the run that wrote it, or start in another directory"
        )
