"""The result of tuning: a network with its rate and scale, that predicts, measures itself and goes into a JSON file."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Shaped

from jaxvision.uncertainty import metrics
from jaxvision.uncertainty.batches import Rows, batches, map_rows
from jaxvision.uncertainty.candidates import Candidate, Center, candidate_table
from jaxvision.uncertainty.net import Net
from jaxvision.uncertainty.overlap import RowSketch, row_hashes
from jaxvision.uncertainty.results import ClassificationPrediction, Prediction, RegressionPrediction
from jaxvision.uncertainty.sample import Chunk
from jaxvision.uncertainty.scale import Scale
from jaxvision.uncertainty.tune_classification import class_labels
from jaxvision.uncertainty.tune_regression import value_labels
from jaxvision.version import __version__

FORMAT = "jaxvision-calibration"
SCHEMA = 1


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Calibrated:
    """A tuned network: what `tune` returns. A pytree, so that it may be an argument of `jax.jit`.

    Attributes:
        net: the network, at the chosen rate.
        result: the chosen predictive distribution.
        sweep: the same at every rate that was tried.
        candidates: everything it was compared with, the baselines first, and itself.
        num_samples: passes that it was tuned with.
        split: which rows it was tuned and tested on, in a sentence.
        sketch: by which it knows the rows it was tuned on.
        test_metrics: names and values on the test rows, none without any.
    """

    net: Net
    result: Candidate = field(metadata={"static": True})
    sweep: tuple[Candidate, ...] = field(metadata={"static": True})
    candidates: tuple[Candidate, ...] = field(metadata={"static": True})
    num_samples: int = field(metadata={"static": True})
    split: str = field(metadata={"static": True})
    sketch: RowSketch = field(metadata={"static": True})
    test_metrics: tuple[tuple[str, float], ...] = field(metadata={"static": True}, default=())

    @property
    def task(self) -> str:
        """What the outputs are."""
        return self.net.task

    @property
    def rate(self) -> float:
        """The chosen rate: of the site with the largest; the others' are in proportion."""
        return self.net.rate

    @property
    def scale(self) -> Scale | None:
        """Of a regression's variance; None for a classification."""
        return self.result.scale

    @property
    def center(self) -> Center | None:
        """Of a regression: ``"mc"`` or ``"deterministic"``."""
        return self.result.center

    @property
    def temperature(self) -> float | None:
        """Of a classification; None for a regression."""
        return self.result.temperature

    @property
    def baselines(self) -> dict[str, dict[str, float | None]]:
        """What tuning has to beat, by name: ``nll`` on the tuning rows, ``test_nll``, ``rate`` and ``temperature``."""
        names = ("nll", "test_nll", "rate", "temperature")
        return {c.name: {name: getattr(c, name) for name in names} for c in self.candidates if c.baseline}

    @property
    def test(self) -> dict[str, float]:
        """Metrics on the test rows; empty without any."""
        return dict(self.test_metrics)

    def predict(
        self,
        images: Any,
        key: jax.Array,
        num_samples: int | None = None,
        *,
        rows: Int[Array, " b"] | None = None,
        chunk: Chunk = "auto",
        keep: str | Sequence[str] = (),
    ) -> Prediction:
        """The calibrated prediction.

        Of a regression ``mean`` is the chosen centre, ``epistemic`` the scaled variance of the passes, and
        ``aleatoric`` what the scale adds to it (None if nothing); kept samples are as they were drawn.

        Args:
            images: the network's input, examples first.
            key: a threefry key; the same key gives the same answer.
            num_samples: passes. Default: as many as it was tuned with.
            rows: see `Net.predict`.
            chunk: see `Net.predict`.
            keep: see `Net.predict`.
        """
        prediction = self.net.predict(
            images,
            key,
            self.num_samples if num_samples is None else num_samples,
            temperature=self.temperature or 1.0,
            rows=rows,
            chunk=chunk,
            keep=keep,
        )
        if not isinstance(prediction, RegressionPrediction) or self.scale is None:
            return prediction
        epistemic, aleatoric = self.scale.parts(prediction.epistemic, prediction.aleatoric)
        mean = prediction.mean if self.center == "mc" else prediction.deterministic
        return replace(prediction, mean=mean, epistemic=epistemic, aleatoric=aleatoric)

    def evaluate(
        self,
        x: Rows,
        y: Any,
        key: jax.Array,
        *,
        num_samples: int | None = None,
        batch_size: int = 64,
        allow_overlap: bool = False,
    ) -> dict[str, float]:
        """Metrics on rows that it was not tuned on; see `metrics.classification_metrics` and `regression_metrics`.

        A classification also has ``flipped``, the share of predictions that differ from the deterministic network's.
        Labels of a multi-label task count one by one.

        Args:
            x: images, an array or batches that can be iterated over more than once.
            y: their labels, all of them, in order.
            key: of the passes.
            num_samples: passes. Default: as many as it was tuned with.
            batch_size: rows at a time.
            allow_overlap: evaluate on rows that it was tuned on too.

        Raises:
            OverlapError: some of the rows were tuned on; it says how many.
            ValueError: labels that do not fit the outputs or the rows.
        """
        hashes = map_rows(x, row_hashes, batch_size)
        if not allow_overlap:
            self.sketch.check(hashes)
        return self.measure(x, checked_rows(y, len(hashes)), key, num_samples=num_samples, batch_size=batch_size)

    def measure(
        self,
        x: Rows,
        y: Shaped[np.ndarray, "n ..."],
        key: jax.Array,
        *,
        num_samples: int | None = None,
        batch_size: int = 64,
        chosen: Bool[np.ndarray, " n"] | None = None,
    ) -> dict[str, float]:
        """What `evaluate` computes, without asking whether the rows are known, on the chosen ones of them."""
        numeric = self.result.scale is not None
        labels = (value_labels if numeric else class_labels)(self.net, x, y)
        labels = labels if chosen is None else labels[chosen]
        parts: list[tuple[np.ndarray, ...]] = []
        for batch in batches(x, batch_size, chosen):
            prediction = self.predict(jnp.asarray(batch.images), key, num_samples, rows=jnp.asarray(batch.rows))
            arrays: tuple[Array, ...]
            if isinstance(prediction, ClassificationPrediction):
                arrays = (prediction.probs, prediction.log_probs, prediction.flipped)
            else:
                arrays = (prediction.mean, prediction.variance)
            parts.append(tuple(np.asarray(array)[: batch.count] for array in arrays))
        first, second, *flipped = (np.concatenate(part) for part in zip(*parts, strict=True))
        if numeric:
            found = metrics.regression_metrics(first, second, labels)
        else:
            found = metrics.classification_metrics(first, labels, log_probs=second)
            found["flipped"] = flipped[0].mean()
        return {name: float(value) for name, value in found.items()}

    def table(self) -> str:
        """The result beside its baselines and the other scales, as aligned text; an arrow marks the result."""
        return candidate_table(self.candidates, self.result.name).text()

    def __str__(self) -> str:
        test = ", ".join(f"{name} {value:.4g}" for name, value in self.test_metrics)
        lines = [f"{self.task}, {self.num_samples} samples; {self.split}", self.table().rstrip()]
        return "\n".join([*lines, *([f"on the test rows: {test}"] if test else [])])

    def to_json(self) -> dict[str, Any]:
        """A document of all but the network's weights; `load_calibration` reads it from a file."""
        return {
            "format": FORMAT,
            "schema": SCHEMA,
            "jaxvision": __version__,
            "task": self.task,
            "plan": self.net.plan.to_json(),
            "num_samples": self.num_samples,
            "result": self.result.to_json(),
            "sweep": [candidate.to_json() for candidate in self.sweep],
            "candidates": [candidate.to_json() for candidate in self.candidates],
            "split": self.split,
            "sketch": self.sketch.to_json(),
            "test": dict(self.test_metrics),
        }

    def save(self, path: str | Path) -> None:
        """Writes a JSON file, without the network's weights."""
        Path(path).write_text(json.dumps(self.to_json(), indent=1) + "\n")


def checked_rows(y: Any, count: int) -> np.ndarray:
    """Labels as an array, one for each row.

    Raises:
        ValueError: there is another number of them, or they hold NaN.
    """
    labels = np.asarray(y)
    if labels.ndim == 0 or len(labels) != count:
        raise ValueError(f"there are {count} rows in x, but y has the shape {labels.shape}: one label a row is needed")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise ValueError("y is not finite everywhere")
    return labels
