"""From pictures to the most probable class names."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float

from jaxvision.data.images import ImageError, ImageSource, source_name
from jaxvision.data.transforms import Preprocess
from jaxvision.functional import to_functional


@dataclass(frozen=True)
class Score:
    """A class and its probability; ``label`` is None where the classes have no names."""

    index: int
    label: str | None
    probability: float


@dataclass(frozen=True)
class Prediction:
    """What a picture shows: the best classes first; or, if it could not be read, no scores and the error."""

    source: str
    scores: tuple[Score, ...] = ()
    error: ImageError | None = None


class Classifier:
    """A network with the preprocessing of its weights and the names of its classes.

    ``Classifier(model, model_info(name).preprocess(), imagenet_classes())``

    Args:
        model: pictures to logits; it is compiled once per batch size.
        preprocess: pictures to its input.
        labels: a name for each class, or None.
    """

    def __init__(self, model: nnx.Module, preprocess: Preprocess, labels: Sequence[str] | None = None):
        apply, self._variables = to_functional(model)
        self._probabilities = jax.jit(lambda variables, images: _softmax(apply(variables, images)[0]))
        self.preprocess = preprocess
        self.labels = labels

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
                rows = iter(self._predict(images, size) if images else ())
                for source, image in zip(batch, inputs, strict=True):
                    if isinstance(image, ImageError):
                        yield Prediction(source_name(source), error=image)
                    else:
                        yield Prediction(source_name(source), self._top(next(rows), topk))

    def _read(self, source: ImageSource) -> Float[np.ndarray, "h w c"] | ImageError:
        try:
            return self.preprocess(source)
        except ImageError as error:
            return error

    def _predict(self, images: list[Float[np.ndarray, "h w c"]], size: int) -> Float[np.ndarray, "b classes"]:
        filled = np.stack(images + [images[-1]] * (size - len(images)))
        probabilities = np.asarray(self._probabilities(self._variables, filled))[: len(images)]
        classes = probabilities.shape[1]
        if self.labels is not None and len(self.labels) != classes:
            raise ValueError(f"{len(self.labels)} labels for {classes} classes")
        if not np.isfinite(probabilities).all():
            raise FloatingPointError(
                "the output is not finite: are these the network's weights, and is the dtype enough?"
            )
        return probabilities

    def _top(self, probabilities: Float[np.ndarray, " classes"], topk: int) -> tuple[Score, ...]:
        best = np.argsort(-probabilities, kind="stable")[:topk]
        return tuple(
            Score(int(index), None if self.labels is None else self.labels[index], float(probabilities[index]))
            for index in best
        )


def _softmax(logits: Float[jax.Array, "b classes"]) -> Float[jax.Array, "b classes"]:
    return jax.nn.softmax(logits.astype(jnp.float32), axis=-1)
