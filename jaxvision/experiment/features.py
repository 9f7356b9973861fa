"""A frozen backbone's features, computed once, as the training data of its head."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxvision.data.dataset import ImageDataset, fingerprint
from jaxvision.data.loader import resumed_step
from jaxvision.data.sampling import Sampling, epoch_order, epoch_size

Batch = dict[str, np.ndarray]


class FeatureLoader:
    """Training batches out of features in memory; the same interface and the same exactness as `TrainLoader`.

    Args:
        dataset: what the features are of; labels and names come from it.
        index: of each feature in the data set, (n,).
        features: (n, d).
        batch_size: examples of a step over all processes.
        seed: of the order.
        sampling: see `jaxvision.data.sampling.epoch_order`.
        process_index: which part of each batch this process takes.
        process_count: of how many.

    Raises:
        ValueError: an epoch has less than one batch.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        index: np.ndarray,
        features: Float[np.ndarray, "n d"],
        *,
        batch_size: int,
        seed: int,
        sampling: Sampling = "none",
        process_index: int = 0,
        process_count: int = 1,
    ) -> None:
        self.features, self.index, self.labels = features, index, dataset.labels[index]
        size = epoch_size(self.labels, sampling)
        if size < batch_size:
            raise ValueError(f"an epoch has {size} examples, less than one batch: set --batch-size to {size} or less")
        self.steps_per_epoch = size // batch_size
        self.batch_size = batch_size
        self.bad_files: dict[str, str] = {}
        self._order: Callable[[int], np.ndarray] = lambda epoch: epoch_order(self.labels, sampling, seed, epoch)
        per_process = batch_size // process_count
        self._rows = slice(process_index * per_process, (process_index + 1) * per_process)
        self._identity = {"seed": seed, "batch_size": batch_size, "sampling": sampling, "data": fingerprint(dataset)}

    def batches(self, start_step: int = 0, stop_step: int | None = None) -> "FeatureBatches":
        """The batches of the steps from ``start_step`` on."""
        return FeatureBatches(self, start_step, stop_step)

    def batch(self, step: int, order: np.ndarray) -> Batch:
        """This process's rows of one step."""
        start = step % self.steps_per_epoch * self.batch_size
        chosen = order[start : start + self.batch_size][self._rows]
        return {
            "image": self.features[chosen],
            "label": self.labels[chosen],
            "weight": np.ones(len(chosen), np.float32),
            "index": self.index[chosen].astype(np.int32),
        }

    def order(self, epoch: int) -> np.ndarray:
        """The order of an epoch."""
        return self._order(epoch)

    def state(self, step: int) -> dict[str, Any]:
        """What `start_step` takes."""
        return {"step": step, **self._identity}

    def start_step(self, state: dict[str, Any]) -> int:
        """The step at which to go on.

        Raises:
            ValueError: the state is of other data or settings.
        """
        return resumed_step(state, self.state(state["step"]))


class FeatureBatches:
    """The iterator of a `FeatureLoader`."""

    def __init__(self, loader: FeatureLoader, step: int, stop: int | None) -> None:
        self._loader, self._step, self._stop = loader, step, stop
        self._epoch = -1
        self._order = np.zeros(0, np.int64)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        if self._step == self._stop:
            raise StopIteration
        epoch = self._step // self._loader.steps_per_epoch
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._loader.order(epoch)
        batch = self._loader.batch(self._step, self._order)
        self._step += 1
        return batch

    def get_state(self) -> dict[str, Any]:
        """The next step, and what the stream depends on."""
        return self._loader.state(self._step)

    def close(self) -> None:
        """Nothing is open."""


class FeatureEvalLoader:
    """Features in order, for evaluation; the last batch is filled up with zeros of weight 0."""

    def __init__(
        self,
        dataset: ImageDataset,
        index: np.ndarray,
        features: Float[np.ndarray, "n d"],
        batch_size: int,
        *,
        process_index: int = 0,
        process_count: int = 1,
        bad_files: dict[str, str] | None = None,
    ) -> None:
        self.bad_files = {} if bad_files is None else bad_files
        self._features, self._index, self._labels = features, index, dataset.labels[index]
        self._batch_size = batch_size
        per_process = batch_size // process_count
        self._rows = slice(process_index * per_process, (process_index + 1) * per_process)

    def __len__(self) -> int:
        return -(-len(self._index) // self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self._index), self._batch_size):
            part = slice(start, start + self._batch_size)
            missing = self._batch_size - len(self._index[part])
            batch = {
                "image": self._features[part],
                "label": self._labels[part],
                "weight": np.ones(self._batch_size - missing, np.float32),
                "index": self._index[part].astype(np.int32),
            }
            yield {
                name: np.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1))[self._rows]
                for name, array in batch.items()
            }
