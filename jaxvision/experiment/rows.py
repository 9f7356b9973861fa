"""A data set's pictures as the rows that `jaxvision.uncertainty` works on: read anew in each pass, none kept."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, UInt64

from jaxvision import uncertainty as uq
from jaxvision.data.dataset import ImageDataset, Subset
from jaxvision.data.loader import EvalLoader
from jaxvision.experiment.network import Backbone, Network
from jaxvision.functional import to_functional
from jaxvision.uncertainty.batches import Rows, batches
from jaxvision.uncertainty.overlap import row_hashes

Watch = Callable[[str, int, int], None]
"""``watch(what, done, total)``: which pass over the data it is, and how many of its batches are done."""

Features = Callable[[jax.Array], jax.Array]
"""Normalised pictures to pooled features."""


@dataclass(frozen=True)
class Split:
    """The readable pictures of a split.

    Attributes:
        dataset: the pictures.
        rows: what the network sees of them, or of a frozen backbone's features; can be iterated over again and again.
        hashes: of what the network sees, by which equal pictures are known.
        bad_files: name to reason of the pictures that could not be read.
    """

    dataset: ImageDataset
    rows: Rows
    hashes: UInt64[np.ndarray, " n"]
    bad_files: dict[str, str]

    def only(self, chosen: Bool[np.ndarray, " n"]) -> "Split":
        """Some of the pictures."""
        index = np.flatnonzero(chosen)
        dataset = Subset(self.dataset, index)
        rows = replace(self.rows, dataset=dataset) if isinstance(self.rows, Pictures) else np.asarray(self.rows)[index]
        return Split(dataset, rows, self.hashes[chosen], self.bad_files)

    def without(self, other: "Split") -> tuple["Split", int]:
        """The pictures that are not, pixel for pixel, among another split's; and how many are.

        Raises:
            ValueError: all of them are.
        """
        twins = np.isin(self.hashes, other.hashes)
        if twins.all():
            raise ValueError(
                "every picture to measure on is among those to tune on, where the numbers would flatter: name another "
                "split by --val-split or --split"
            )
        return (self.only(~twins) if twins.any() else self), int(twins.sum())


@dataclass(frozen=True)
class Pictures:
    """Batches of normalised pictures, decoded anew each time they are iterated over; padding is left out.

    They are normalised on the host, to the bits of `Preprocess.batch`, so that a calibration knows a picture again.

    Attributes:
        dataset: the pictures.
        network: says how they are preprocessed.
        batch_size: pictures at a time.
        workers: threads that read pictures.
        name: what to tell ``watch``.
        watch: is told after each batch.
    """

    dataset: ImageDataset
    network: Network
    batch_size: int
    workers: int
    name: str
    watch: Watch

    def __iter__(self) -> Iterator[np.ndarray]:
        for images, seen, _ in self.batches(self._loader()):
            yield images[seen]

    def read(self, backbone: Features | None) -> Split:
        """Goes over the pictures once, to see which can be read, and what they are.

        Args:
            backbone: keep what it makes of them, in memory, instead of reading them again.

        Raises:
            ValueError: no picture can be read.
        """
        loader = self._loader()
        index, hashes, kept = [], [], []
        for images, seen, numbers in self.batches(loader):
            index.append(numbers[seen])
            hashes.append(row_hashes(images[seen]))
            if backbone is not None:
                kept.append(np.asarray(backbone(jnp.asarray(images)))[seen])
        found = np.concatenate(index)
        if not len(found):
            raise ValueError(f"none of the {len(self.dataset)} pictures of {self.name} can be read")
        dataset = Subset(self.dataset, found)
        rows: Rows = np.concatenate(kept) if kept else replace(self, dataset=dataset)
        return Split(dataset, rows, np.concatenate(hashes), loader.bad_files)

    def batches(self, loader: EvalLoader) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Whole batches as the network sees them, which of their rows are pictures, and the numbers of these."""
        with iter(loader) as batches:
            for number, batch in enumerate(batches, start=1):
                yield self.network.preprocess.normalize(batch["image"]), batch["weight"] > 0, batch["index"]
                self.watch(self.name, number, len(loader))

    def _loader(self) -> EvalLoader:
        return EvalLoader(self.dataset, self.network.preprocess, self.batch_size, workers=self.workers)


def predict_rows(cal: uq.Calibrated, rows: Rows, key: jax.Array, batch_size: int) -> uq.Prediction:
    """The calibrated prediction of all rows, with NumPy arrays; masks depend on the row's number, not on its batch."""
    parts = []
    for batch in batches(rows, batch_size):
        prediction = cal.predict(jnp.asarray(batch.images), key, rows=jnp.asarray(batch.rows))
        parts.append(jax.tree.map(lambda x, count=batch.count: np.asarray(x)[:count] if np.ndim(x) else x, prediction))
    joined: uq.Prediction = jax.tree.map(lambda *x: np.concatenate(x) if np.ndim(x[0]) else x[0], *parts)
    return joined


def make_backbone(network: Network) -> Features:
    """What a network's classifier sees, compiled once for all splits; in float32."""
    apply, variables = to_functional(Backbone(network.model))
    return partial(jax.jit(lambda variables, images: apply(variables, images)[0].astype("float32")), variables)
