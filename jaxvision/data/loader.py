"""Batches for training and evaluation, read ahead by grain in threads or processes.

Every random choice is a function of the seed and the position in the stream, and a position is found without reading
what is before it. So a run resumed at any step, with any number of threads, worker processes or hosts, sees the same
pictures to the bit.
"""

import logging
import math
import weakref
from collections.abc import Callable, Iterator
from functools import cached_property
from types import TracebackType
from typing import Any, Self

import grain
import numpy as np

from jaxvision.data.augment import TrainTransform
from jaxvision.data.dataset import ImageDataset, fingerprint
from jaxvision.data.sampling import Sampling, epoch_size
from jaxvision.data.stream import ENDLESS, Batch, EvalRows, Layout, TrainRows
from jaxvision.data.transforms import Preprocess

logger = logging.getLogger(__name__)


class BadFilesError(RuntimeError):
    """More pictures could not be read than were allowed to; the message lists them."""


class TrainLoader:
    """An endless stream of shuffled, randomly changed training batches.

    An epoch shows `steps_per_epoch` full batches; what is left of its order is dropped, and drawn anew in the next.
    A picture that cannot be read is logged and replaced by the next readable one of the order.

    OpenCV's own threads are switched off (in the whole process), for they would compete with the loader's.

    Args:
        dataset: the training examples.
        transform: the random changes; it also says the size and the number of channels.
        batch_size: examples in a step over all processes.
        seed: of everything random, 0 or more.
        sampling: `epoch_order`'s choice against imbalance.
        workers: threads that read and change pictures, in each process.
        worker_processes: where greater than 0, as many processes have ``workers`` threads each. They start in
            seconds and are seldom faster, since decoding does not hold Python's lock; a script that uses them needs
            ``if __name__ == "__main__"``.
        process_index: which rows of a batch this host reads, of ``process_count`` equal parts.
        process_count: the number of hosts.
        bad_file_limit: how many pictures may be unreadable: a number, or (a float) a fraction of the data, then at
            least 10.

    Attributes:
        bad_files: name to reason of every picture that this process could not read so far.
        steps_per_epoch: full batches in an epoch.

    Raises:
        ValueError: an epoch has less than one batch, a number is out of range, or the sampling does not fit the labels.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        transform: TrainTransform,
        *,
        batch_size: int,
        seed: int,
        sampling: Sampling = "none",
        workers: int = 2,
        worker_processes: int = 0,
        process_index: int = 0,
        process_count: int = 1,
        bad_file_limit: int | float = 0.01,
    ) -> None:
        self._layout = Layout(batch_size, process_index, process_count, workers, worker_processes)
        if seed < 0:
            raise ValueError(f"seed must be 0 or more, got {seed}")
        if not (bad_file_limit >= 0 and (isinstance(bad_file_limit, int) or bad_file_limit <= 1)):
            raise ValueError(
                f"bad_file_limit must be a number of files or a fraction from 0.0 to 1.0, got {bad_file_limit}"
            )
        size = epoch_size(dataset.labels, sampling)
        if size < batch_size:
            raise ValueError(
                f"an epoch has {size} examples, less than one batch of {batch_size}: "
                + (f"set batch_size to {size} or less, or add examples" if size else "the data set is empty")
            )
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = seed
        self.sampling = sampling
        self.steps_per_epoch = size // batch_size
        self.bad_files: dict[str, str] = {}
        if isinstance(bad_file_limit, float):
            self._bad_file_limit = max(10, math.ceil(bad_file_limit * len(dataset)))
        else:
            self._bad_file_limit = bad_file_limit
        self._rows = TrainRows(
            dataset, transform, batch_size, self.steps_per_epoch, seed, sampling, self._bad_file_limit
        )

    def batches(self, start_step: int = 0, stop_step: int | None = None) -> "Batches":
        """The batches of the steps from ``start_step`` up to ``stop_step``, or endless.

        Starting in the middle reads nothing of what comes before.

        Raises:
            ValueError: (here) a negative step. From the iterator:
            BadFilesError: more pictures than allowed could not be read.
        """
        stop_step = ENDLESS if stop_step is None else stop_step
        if not 0 <= start_step <= stop_step:
            raise ValueError(f"steps must be 0 <= start <= stop, got {start_step} and {stop_step}")
        return Batches(self._layout.open(self._rows, start_step, stop_step), start_step, self._check, self._state)

    def start_step(self, state: dict[str, Any]) -> int:
        """The step at which to go on from the state of an earlier run's `Batches`.

        The number of threads, processes and hosts may differ; what defines the stream may not.

        Raises:
            ValueError: the data, the batch size, the seed or the sampling is another; all differences are named.
        """
        return resumed_step(state, self._state(state["step"]))

    def _state(self, step: int) -> dict[str, Any]:
        return {
            "step": step,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "sampling": self.sampling,
            "dataset": self._fingerprint,
        }

    @cached_property
    def _fingerprint(self) -> str:
        return fingerprint(self.dataset)

    def _check(self, bad: dict[int, str], weight: np.ndarray) -> None:
        _note(bad, self.dataset, self.bad_files, "replaced by the next picture")
        if len(self.bad_files) > self._bad_file_limit or not weight.all():
            listed = [f"  {name}: {reason}" for name, reason in self.bad_files.items()]
            more = f"\n  ... and {len(listed) - 50} more" if len(listed) > 50 else ""
            raise BadFilesError(
                f"{len(listed)} of {len(self.dataset)} pictures cannot be read, and {self._bad_file_limit} may be "
                "(bad_file_limit): repair or remove them\n" + "\n".join(listed[:50]) + more
            )


def resumed_step(saved: dict[str, Any], current: dict[str, Any]) -> int:
    """The step of a saved position in a stream of batches, if the stream is still the same.

    Raises:
        ValueError: it is another; all differences are named.
    """
    changed = [
        f"{name} was {saved.get(name)!r} and is {value!r}"
        for name, value in current.items()
        if saved.get(name) != value
    ]
    if changed:
        raise ValueError(
            f"cannot go on in the middle of another stream of data: {'; '.join(changed)}. Use the run's settings "
            "and data, or start a new run from its weights"
        )
    return int(saved["step"])


class EvalLoader:
    """Every example once and in order, preprocessed as published accuracies are.

    The last batch is filled up with zeros of weight 0. A picture that cannot be read also gets weight 0, and is logged
    and listed in `bad_files`. All processes have the same number of batches.

    Args:
        dataset: the examples.
        preprocess: resizing and cropping; it also says the number of channels.
        batch_size: examples in a batch over all processes.
        workers: as `TrainLoader`.
        worker_processes: as `TrainLoader`.
        process_index: as `TrainLoader`.
        process_count: as `TrainLoader`.

    Attributes:
        bad_files: name to reason of every picture that this process could not read so far.

    Raises:
        ValueError: a number is out of range.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        preprocess: Preprocess,
        batch_size: int,
        *,
        workers: int = 2,
        worker_processes: int = 0,
        process_index: int = 0,
        process_count: int = 1,
    ) -> None:
        self._layout = Layout(batch_size, process_index, process_count, workers, worker_processes)
        self.dataset = dataset
        self.batch_size = batch_size
        self.bad_files: dict[str, str] = {}
        self._rows = EvalRows(dataset, preprocess, batch_size)

    def __len__(self) -> int:
        """The number of batches."""
        return -(-len(self.dataset) // self.batch_size)

    def __iter__(self) -> "Batches":
        """The batches, from the first."""
        return Batches(self._layout.open(self._rows, 0, len(self)), 0, self._check, lambda step: {"step": step})

    def _check(self, bad: dict[int, str], weight: np.ndarray) -> None:
        _note(bad, self.dataset, self.bad_files, "left out of the evaluation")


class Batches(Iterator[Batch]):
    """An iterator over batches that are read ahead; `close` it (or use ``with``) to end its threads and processes."""

    def __init__(
        self,
        iterator: grain.DatasetIterator,
        step: int,
        check: Callable[[dict[int, str], np.ndarray], None],
        state: Callable[[int], dict[str, Any]],
    ) -> None:
        self._open, self._step, self._check, self._state = [iterator], step, check, state
        # Closed and let go also when dropped, and before the interpreter ends: grain's own clean-up comes too late.
        self._close = weakref.finalize(self, _close_all, self._open)

    def __next__(self) -> Batch:
        if not self._open:
            raise ValueError("these batches are closed: ask the loader for new ones")
        batch, bad = next(self._open[0])
        self._check(bad, batch["weight"])
        self._step += 1
        return batch

    def get_state(self) -> dict[str, Any]:
        """The next step, and what the stream depends on, for `TrainLoader.start_step`; JSON can store it."""
        return self._state(self._step)

    def close(self) -> None:
        """Ends reading ahead. The iterator cannot be used any more."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()


def _close_all(iterators: list[grain.DatasetIterator]) -> None:
    while iterators:
        iterators.pop().close()


def _note(bad: dict[int, str], dataset: ImageDataset, bad_files: dict[str, str], consequence: str) -> None:
    """Adds the pictures that were not known to be bad, and logs them."""
    for index, reason in bad.items():
        name = dataset.names[index]
        if name not in bad_files:
            bad_files[name] = reason
            logger.warning("unreadable picture, %s: %s", consequence, reason)
