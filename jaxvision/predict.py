"""From pictures to the most probable class names."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float, Int

from jaxvision.data.images import ImageError, ImageSource, source_name
from jaxvision.data.transforms import Preprocess
from jaxvision.functional import to_functional

if TYPE_CHECKING:
    from jaxvision.uncertainty.results import ClassificationPrediction

Sampler: TypeAlias = Callable[[jax.Array, jax.Array], "ClassificationPrediction"]
"""Pictures and their numbers, on which the masks depend, to what many random passes say of them."""

SURE_CONFIDENCE, SURE_FLIPS = 0.5, 0.1


@dataclass(frozen=True)
class Score:
    """A class and its probability; ``label`` is None where the classes have no names."""

    index: int
    label: str | None
    probability: float


@dataclass(frozen=True)
class Doubt:
    """How sure a network is of the class that it names, from many random passes. Entropies are in nats.

    Attributes:
        confidence: the class's probability, averaged over the passes.
        entropy: of the averaged probabilities.
        mutual_information: of prediction and mask: how much the passes disagree.
        flip_rate: share of the passes that name another class.
    """

    confidence: float
    entropy: float
    mutual_information: float
    flip_rate: float

    @property
    def sure(self) -> bool:
        """Whether the class is more probable than all others together, and nine of ten passes name it."""
        return self.confidence >= SURE_CONFIDENCE and self.flip_rate <= SURE_FLIPS


@dataclass(frozen=True)
class Prediction:
    """What a picture shows: the best classes first; or, if it could not be read, no scores and the error."""

    source: str
    scores: tuple[Score, ...] = ()
    error: ImageError | None = None
    doubt: Doubt | None = None


class Classifier:
    """A network with the preprocessing of its weights and the names of its classes.

    ``Classifier(model, model_info(name).preprocess(), imagenet_classes())``

    Args:
        model: pictures to logits, one for each class, or a single one, that of the second of two classes; it is
            compiled once per batch size.
        preprocess: pictures to its input.
        labels: a name for each class, or None.
        sampler: says how sure the network is, such as the ``predict`` of a `jaxvision.uncertainty.Net`, or None.
    """

    def __init__(
        self,
        model: nnx.Module,
        preprocess: Preprocess,
        labels: Sequence[str] | None = None,
        sampler: Sampler | None = None,
    ):
        self.model = model
        apply, self._variables = to_functional(model)
        self._probabilities = jax.jit(lambda variables, images: _softmax(apply(variables, images)[0]))
        self.preprocess = preprocess
        self.labels = labels
        self.sampler = sampler

    def classify(self, sources: Sequence[ImageSource], topk: int = 5, batch_size: int = 16) -> Iterator[Prediction]:
        """The ``topk`` most probable classes of every picture, in the given order, batch by batch.

        A picture that cannot be read does not stop the rest: its `Prediction` holds the error.

        Args:
            sources: paths or Pillow pictures.
            topk: how many classes; all where there are fewer.
            batch_size: pictures in one pass. The last batch is filled up, so that nothing compiles twice.

        Raises:
            ValueError: there are not as many labels as classes.
            FloatingPointError: the network's output is not finite.
        """
        size = min(batch_size, len(sources))
        with ThreadPoolExecutor() as pool:  # decoding and resizing release the interpreter's lock
            for start in range(0, len(sources), max(size, 1)):
                batch = sources[start : start + size]
                inputs = list(pool.map(self._read, batch))
                images = [image for image in inputs if not isinstance(image, ImageError)]
                numbers = [start + row for row, image in enumerate(inputs) if not isinstance(image, ImageError)]
                rows = self._predict(images, np.asarray(numbers), size) if images else iter(())
                for source, image in zip(batch, inputs, strict=True):
                    if isinstance(image, ImageError):
                        yield Prediction(source_name(source), error=image)
                    else:
                        probabilities, doubt = next(rows)
                        yield Prediction(source_name(source), self._top(probabilities, topk), doubt=doubt)

    def _read(self, source: ImageSource) -> Float[np.ndarray, "h w c"] | ImageError:
        try:
            return self.preprocess(source)
        except ImageError as error:
            return error

    def _predict(
        self, images: list[Float[np.ndarray, "h w c"]], numbers: Int[np.ndarray, " b"], size: int
    ) -> Iterator[tuple[Float[np.ndarray, " classes"], Doubt | None]]:
        """Probabilities of each picture, and the doubt about the largest."""
        place = np.minimum(np.arange(size), len(images) - 1)
        filled = np.stack(images)[place]
        probabilities = np.asarray(self._probabilities(self._variables, filled))[: len(images)]
        classes = probabilities.shape[1]
        if self.labels is not None and len(self.labels) != classes:
            raise ValueError(f"{len(self.labels)} labels for {classes} classes")
        if not np.isfinite(probabilities).all():
            raise FloatingPointError(
                "the output is not finite: are these the network's weights, and is the dtype enough?"
            )
        if self.sampler is None:
            return zip(probabilities, [None] * len(images), strict=True)
        passes = self.sampler(jnp.asarray(filled), jnp.asarray(numbers[place]))
        return zip(probabilities, _doubts(passes, probabilities.argmax(axis=1)), strict=True)

    def _top(self, probabilities: Float[np.ndarray, " classes"], topk: int) -> tuple[Score, ...]:
        best = np.argsort(-probabilities, kind="stable")[:topk]
        return tuple(
            Score(int(index), None if self.labels is None else self.labels[index], float(probabilities[index]))
            for index in best
        )


def _softmax(logits: Float[jax.Array, "b k"]) -> Float[jax.Array, "b classes"]:
    logits = logits.astype(jnp.float32)
    if logits.shape[-1] == 1:
        logits = jnp.concatenate([jnp.zeros_like(logits), logits], axis=-1)
    return jax.nn.softmax(logits, axis=-1)


def _doubts(passes: "ClassificationPrediction", named: Int[np.ndarray, " b"]) -> list[Doubt]:
    rows = np.arange(len(named))
    numbers = (
        np.asarray(passes.probs)[rows, named],
        *(np.asarray(x)[rows] for x in (passes.entropy, passes.mutual_information, passes.flip_rate)),
    )
    return [Doubt(*map(float, row)) for row in zip(*numbers, strict=True)]
