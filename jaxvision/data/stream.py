"""The stream of examples behind the loaders: what is at a position of it, and grain's pipeline that reads it ahead."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import cv2
import grain
import numpy as np
from absl import flags
from PIL import Image

from jaxvision.data.augment import TrainTransform
from jaxvision.data.dataset import ImageDataset
from jaxvision.data.decode import decode
from jaxvision.data.images import ImageError
from jaxvision.data.sampling import Sampling, epoch_order
from jaxvision.data.transforms import Preprocess

Batch: TypeAlias = dict[str, np.ndarray]
"""``image`` uint8 (b, h, w, c); ``label`` (b, ...) as the data set's; ``weight`` float32 (b,), 1 for an example and 0
for padding or an unreadable picture of an evaluation; ``index`` int32 (b,) in the data set, -1 for padding."""

_EXAMPLE_STREAM = 1  # of the streams that one seed spawns; `sampling` uses another
_CHUNK = 16  # examples that a thread makes at a time: handing over single ones costs more than a small picture
ENDLESS = 2**40  # steps


Row: TypeAlias = tuple[np.ndarray | None, int, dict[int, str]]
"""A picture or None, its index in the data set or -1, and index and reason of every picture that could not be read."""


class Rows(Protocol):
    """What stands at each place of a stream; a pure function that can be pickled."""

    dataset: ImageDataset

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the pictures."""

    def __call__(self, step: int, row: int) -> Row:
        """The example in a row of the global batch of a step."""


class TrainRows:
    """The stream of `TrainLoader`."""

    def __init__(
        self,
        dataset: ImageDataset,
        transform: TrainTransform,
        batch_size: int,
        steps_per_epoch: int,
        seed: int,
        sampling: Sampling,
        bad_file_limit: int,
    ) -> None:
        self.dataset, self.transform = dataset, transform
        self.batch_size, self.steps_per_epoch = batch_size, steps_per_epoch
        self.seed, self.sampling, self.bad_file_limit = seed, sampling, bad_file_limit
        self.shape = (*transform.size, len(transform.mean))
        self._orders: dict[int, np.ndarray] = {}

    def __call__(self, step: int, row: int) -> Row:
        """The example, or the next readable one of the epoch's order."""
        epoch, step_in_epoch = divmod(step, self.steps_per_epoch)
        order = self._order(epoch)
        place = step_in_epoch * self.batch_size + row
        stream = np.random.SeedSequence(self.seed, spawn_key=(_EXAMPLE_STREAM, step * self.batch_size + row))
        bad: dict[int, str] = {}
        for offset in range(len(order)):
            index = int(order[(place + offset) % len(order)])
            if index in bad:
                continue
            try:
                pixels = _read(self.dataset, index, self.transform.mode, fast=True)
            except OSError as error:
                bad[index] = str(error)
                if len(bad) > self.bad_file_limit:
                    break
            else:
                return self.transform(pixels, np.random.default_rng(stream)), index, bad
        return None, -1, bad

    def _order(self, epoch: int) -> np.ndarray:
        order = self._orders.get(epoch)
        if order is None:
            order = epoch_order(self.dataset.labels, self.sampling, self.seed, epoch)
            # Threads may be at the end of one epoch and the beginning of the next. The dict is replaced, not changed,
            # so that none needs a lock.
            self._orders = {e: o for e, o in self._orders.items() if e == epoch - 1} | {epoch: order}
        return order


class EvalRows:
    """The stream of `EvalLoader`."""

    def __init__(self, dataset: ImageDataset, preprocess: Preprocess, batch_size: int) -> None:
        self.dataset, self.preprocess, self.batch_size = dataset, preprocess, batch_size
        self.shape = (*preprocess.size, len(preprocess.mean))

    def __call__(self, step: int, row: int) -> Row:
        """The example; no picture if it cannot be read or there are no more."""
        index = step * self.batch_size + row
        if index >= len(self.dataset):
            return None, -1, {}
        try:
            pixels = _read(self.dataset, index, self.preprocess.mode, fast=False)
            picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
            return np.asarray(self.preprocess.crop(picture)).reshape(self.shape), index, {}
        except OSError as error:
            return None, index, {index: str(error)}


def _read(dataset: ImageDataset, index: int, mode: Any, fast: bool) -> np.ndarray:
    name = dataset.names[index]
    try:
        return decode(dataset.read(index), mode, fast, name=name)
    except ImageError:
        raise
    except OSError as error:
        raise ImageError(f"cannot read {name!r}: {error}") from error


class _Chunks:
    """grain's random access source: a chunk of the rows that one process reads of a batch."""

    def __init__(self, rows: Rows, first_row: int, count: int) -> None:
        self.rows, self.first_row, self.count = rows, first_row, count
        self.chunks_per_step = -(-count // _CHUNK)

    def __len__(self) -> int:
        return ENDLESS * self.chunks_per_step

    def __getitem__(self, position: Any) -> tuple[Batch, dict[int, str]]:
        step, chunk = divmod(int(position), self.chunks_per_step)
        begin, end = chunk * _CHUNK, min((chunk + 1) * _CHUNK, self.count)
        labels = self.rows.dataset.labels
        batch = {
            "image": np.zeros((end - begin, *self.rows.shape), np.uint8),
            "label": np.zeros((end - begin, *labels.shape[1:]), labels.dtype),
            "weight": np.zeros(end - begin, np.float32),
            "index": np.full(end - begin, -1, np.int32),
        }
        bad: dict[int, str] = {}
        for place, row in enumerate(range(begin, end)):
            image, index, unreadable = self.rows(step, self.first_row + row)
            bad |= unreadable
            batch["index"][place] = index
            if index >= 0:
                batch["label"][place] = labels[index]
            if image is not None:
                batch["image"][place] = image
                batch["weight"][place] = 1
        return batch, bad


def _joined(chunks: Sequence[tuple[Batch, dict[int, str]]]) -> tuple[Batch, dict[int, str]]:
    batch = {name: np.concatenate([batch[name] for batch, _ in chunks]) for name in chunks[0][0]}
    return batch, {index: reason for _, bad in chunks for index, reason in bad.items()}


@dataclass(frozen=True)
class Layout:
    """Who reads which rows, and how many at a time."""

    batch_size: int
    process_index: int
    process_count: int
    workers: int
    worker_processes: int

    def __post_init__(self) -> None:
        if not 0 <= self.process_index < self.process_count:
            raise ValueError(f"process_index must be from 0 to {self.process_count - 1}, got {self.process_index}")
        if self.batch_size < 1 or self.batch_size % self.process_count:
            raise ValueError(
                f"batch_size must be a positive multiple of the {self.process_count} processes, got {self.batch_size}"
            )
        if self.workers < 1 or self.worker_processes < 0:
            raise ValueError(
                "there must be 1 or more workers (threads) and 0 or more worker_processes, "
                f"got {self.workers} and {self.worker_processes}"
            )

    def open(self, rows: Rows, start_step: int, stop_step: int) -> grain.DatasetIterator:
        """Starts reading the batches of some steps."""
        count = self.batch_size // self.process_count
        chunks = _Chunks(rows, self.process_index * count, count)
        per_step = chunks.chunks_per_step
        ahead = max(2 * per_step, 2 * self.workers)
        data = grain.MapDataset.source(chunks).slice(slice(start_step * per_step, stop_step * per_step))
        data = data.to_iter_dataset(grain.ReadOptions(num_threads=self.workers, prefetch_buffer_size=ahead))
        _one_opencv_thread()
        if self.worker_processes:
            if not flags.FLAGS.is_parsed():
                flags.FLAGS.mark_as_parsed()  # grain reads absl's flags, and we have none
            data = data.mp_prefetch(
                grain.MultiprocessingOptions(num_workers=self.worker_processes, per_worker_buffer_size=per_step),
                worker_init_fn=_one_opencv_thread,
            )
        data = data.batch(per_step, batch_fn=_joined)
        return iter(grain.experimental.ThreadPrefetchIterDataset(data, prefetch_buffer_size=1))


def _one_opencv_thread(*_: int) -> None:
    cv2.setNumThreads(0)
