"""Checkpoints of a run: the whole state and the loop's own notes in one directory that is either complete or not there.

Orbax writes and reads them. What it does not do is here: arrays go by name, so that a checkpoint of another model is
refused with the names that differ; an unreadable checkpoint falls back to the one before; a full disk costs a
checkpoint, not the run.
"""

import json
import logging
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import jax
import orbax.checkpoint as ocp

from jaxvision.training.checkpoint_files import (
    HOST,
    REPLACED,
    STATE,
    CheckpointError,
    CheckpointMismatchError,
    find_steps,
    forget_failed_read,
    quiet_orbax,
    read_arrays,
    read_checkpoint,
    read_metrics,
    reason,
)
from jaxvision.training.distributed import agree_any, barrier, is_main_process
from jaxvision.training.leaves import named_leaves

__all__ = ["CheckpointError", "CheckpointMismatchError", "Checkpointer", "read_arrays"]

State = TypeVar("State")

logger = logging.getLogger(__name__)

_UNREADABLE = ".unreadable"


class Checkpointer:
    """Writes and reads the checkpoints of one run.

    Attributes:
        directory: where they are, one sub-directory a step.
        failures: how many checkpoints could not be written.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        keep_last: int = 2,
        keep_best: int = 1,
        metric: str = "loss",
        mode: Literal["min", "max"] = "min",
        asynchronous: bool = True,
    ):
        """Opens a directory; nothing is written, renamed or removed before the first `save`.

        Args:
            directory: a local or mounted directory.
            keep_last: how many of the newest checkpoints stay, at least 1.
            keep_best: how many of the best by ``metric`` stay besides.
            metric: the entry of ``metrics`` that ranks checkpoints; one without it, or where it is NaN, ranks last.
            mode: whether the smallest or the largest is best.
            asynchronous: write in the background. `save` returns when the values are safe from the next step.

        Raises:
            ValueError: ``keep_last`` or ``keep_best`` is too small, or ``mode`` is neither.
        """
        if keep_last < 1 or keep_best < 0:
            raise ValueError(f"keep_last must be at least 1 and keep_best at least 0, got {keep_last} and {keep_best}")
        if mode not in ("min", "max"):
            raise ValueError(f"mode must be 'min' or 'max', got {mode!r}")
        self.directory = Path(directory).absolute()
        self.failures = 0
        self._metric, self._sign = metric, 1.0 if mode == "max" else -1.0
        policies = ocp.checkpoint_managers
        keep = policies.AnyPreservationPolicy(
            [
                policies.LatestN(keep_last),
                policies.BestN(get_metric_fn=self._score, n=keep_best, keep_checkpoints_without_metrics=False),
            ]
        )
        self._options = ocp.CheckpointManagerOptions(
            best_fn=self._score,  # without it Orbax does not write the metrics that its policy reads
            preservation_policy=keep,
            enable_async_checkpointing=asynchronous,
            # Else a directory that cannot be made leaves threads waiting for it, and the process at its end for them.
            async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
            cleanup_tmp_directories=True,
            save_root_metadata=False,
        )
        self._manager: ocp.CheckpointManager | None = None
        self._pending: int | None = None
        self._unsaved: CheckpointError | None = None
        self._unreadable: set[int] = set()
        quiet_orbax()

    def save(
        self,
        step: int,
        state: Any,
        host: Mapping[str, Any],
        metrics: Mapping[str, float] | None = None,
        wait: bool = False,
    ) -> None:
        """Saves a state; on several processes all call it.

        The values are those at the time of the call, even if the next step is given the state's memory. A checkpoint
        of the same step is replaced. If it cannot be written (disk full, directory gone), the run goes on: a warning
        says why, what was written is removed, the earlier checkpoints stay, `failures` counts. A failure in the
        background is noticed by the next `save`, `wait` or `close`.

        Args:
            step: the optimiser updates done.
            state: any pytree of arrays.
            host: what the loop must know to go on, as JSON.
            metrics: what ranks this checkpoint.
            wait: return when it is on disk.

        Raises:
            TypeError: ``host`` cannot be written as JSON.
            CheckpointError: with ``wait``, or on several processes (where the others would wait for the one that
                failed): it could not be written.
        """
        try:
            host = json.loads(json.dumps(host))  # a copy: the loop goes on counting while the background writes
        except (TypeError, ValueError) as error:
            raise TypeError(f"the host's part of a checkpoint must be JSON: {error}") from None
        numbers = None if metrics is None else {name: float(value) for name, value in metrics.items()}
        self._settle()
        try:
            self._make_room(step)
            self._pending = step
            items = {STATE: ocp.args.StandardSave(named_leaves(state)), HOST: ocp.args.JsonSave(host)}
            self._open().save(step, args=ocp.args.Composite(**items), metrics=numbers, force=True)
        except Exception as error:
            self._failed(step, error)
        if wait:
            self._settle()
            if self._unsaved is not None:
                raise self._unsaved

    def restore(self, abstract_state: State, step: int | None = None) -> tuple[State, dict[str, Any], int]:
        """Reads the newest checkpoint, or that of a step.

        If the newest cannot be read, a warning says why and the one before is taken, and so on; the next `save` puts
        ``.unreadable`` behind the name of those, so that they do not count any more.

        Args:
            abstract_state: the state expected, of arrays or `jax.ShapeDtypeStruct`s. A leaf with a ``sharding`` is
                restored with that one, on whatever number of devices it was saved; one without as a numpy array.
            step: a step out of `steps`; no other one is tried then.

        Returns:
            ``(state, host, step)``.

        Raises:
            CheckpointError: there is none, or none is readable; every one is listed with its reason.
            CheckpointMismatchError: it is of another state; the names are listed.
        """
        self._settle()
        paths = find_steps(self.directory)
        if not paths:
            raise CheckpointError(f"there is no checkpoint in {self.directory}")
        if step is not None and step not in paths:
            raise CheckpointError(f"there is no checkpoint of step {step} in {self.directory}, only of {[*paths]}")
        problems = []
        for candidate in reversed(paths) if step is None else [step]:
            result, why = None, "another process could not read it"
            try:
                result = read_checkpoint(paths[candidate], abstract_state)
            except CheckpointMismatchError:
                raise
            except Exception as error:
                why = reason(error)
            if not agree_any(result is None) and result is not None:
                return *result, candidate
            forget_failed_read()
            problems.append(f"{paths[candidate]}: {why}")
            self._unreadable.add(candidate)
            logger.warning("checkpoint %s cannot be read (%s)", paths[candidate], why)
        raise CheckpointError("no checkpoint can be read:\n  " + "\n  ".join(problems))

    def steps(self) -> list[int]:
        """The steps of the checkpoints on disk, oldest first; one that is still being written is not among them."""
        return [*find_steps(self.directory)]

    def best_step(self) -> int | None:
        """The step of the best checkpoint on disk by the metric, the newest of equals; None if none has it."""
        scores = {step: self._score(read_metrics(path)) for step, path in find_steps(self.directory).items()}
        best = max(scores, key=lambda step: (scores[step], step), default=None)
        return None if best is None or scores[best] == -math.inf else best

    def wait(self) -> None:
        """Returns when no save is under way; if the last one failed, a warning has said so."""
        self._settle()

    def close(self) -> None:
        """Waits and lets go of Orbax's threads.

        Raises:
            CheckpointError: the last checkpoint asked for could not be written.
        """
        self._settle()
        self._release()
        if self._unsaved is not None:
            raise self._unsaved

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except CheckpointError:
            if error is None:
                raise

    def _open(self) -> ocp.CheckpointManager:
        """Orbax's manager, made at the first save: it removes what an interrupted save left."""
        if self._manager is None:
            self._manager = ocp.CheckpointManager(self.directory, options=self._options, item_names=(STATE, HOST))
        return self._manager

    def _release(self) -> None:
        manager, self._manager = self._manager, None
        if manager is not None:
            manager.close()

    def _settle(self) -> None:
        """Waits for the save under way, and notices if it failed."""
        step = self._pending
        if step is None or self._manager is None:
            return
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            self._failed(step, error)
        else:
            self._pending, self._unsaved = None, None
            if is_main_process():
                shutil.rmtree(self.directory / f"{step}{REPLACED}", ignore_errors=True)

    def _failed(self, step: int, error: Exception) -> None:
        self.failures += 1
        self._pending = None
        self._unsaved = CheckpointError(f"checkpoint {self.directory / str(step)} was not written: {reason(error)}")
        self._unsaved.__cause__ = error
        try:
            self._release()  # a manager that failed once would raise the same error again
        except Exception as again:
            logger.debug("closing after a failed save: %s", again)
        if jax.process_count() > 1:
            raise self._unsaved
        for partial in self.directory.glob(f"{step}.orbax-checkpoint-tmp*"):
            shutil.rmtree(partial, ignore_errors=True)
        self._undo_replacement()
        kept = ", ".join(map(str, self.steps())) or "none"
        logger.warning("%s. The run goes on; checkpoints on disk: %s", self._unsaved, kept)

    def _make_room(self, step: int) -> None:
        """Renames what was unreadable, and an older checkpoint of this step until the new one is there."""
        renamed = {step: REPLACED, **dict.fromkeys(self._unreadable, _UNREADABLE)}
        if is_main_process():
            if self._manager is None:
                self._undo_replacement()
            for other, path in find_steps(self.directory).items():
                if other in renamed:
                    target = path.with_name(f"{other}{renamed[other]}")
                    shutil.rmtree(target, ignore_errors=True)
                    path.rename(target)
        barrier(f"jaxvision.checkpoint.make_room.{step}")
        if self._manager is not None and not renamed.keys().isdisjoint(self._manager.all_steps()):
            self._manager.reload()
        self._unreadable.clear()

    def _undo_replacement(self) -> None:
        """Gives a checkpoint its name back whose replacement was never finished."""
        for path in self.directory.glob(f"*{REPLACED}"):
            if path.with_suffix("").exists():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.rename(path.with_suffix(""))

    def _score(self, metrics: Mapping[str, float] | None) -> float:
        value = None if metrics is None else metrics.get(self._metric)
        return -math.inf if value is None or math.isnan(value) else self._sign * value
