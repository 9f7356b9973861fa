"""``jaxvision predict``: what is in these pictures?"""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from jaxvision.cli.errors import CommandError, UsageError
from jaxvision.cli.files import find_pictures
from jaxvision.cli.report import Reporting
from jaxvision.version import __version__

if TYPE_CHECKING:
    from rich.table import Table

    from jaxvision.predict import Classifier, Prediction, Score

COLUMNS = ("file", "rank", "class", "label", "probability")


@dataclass(frozen=True, kw_only=True)
class Command(Reporting):
    """Name what is in pictures.

    Prints the most probable classes of every picture with their probabilities, preprocessed as the weights want it.
    Files that cannot be read are reported on the standard error, the rest goes on, and the exit code is 1.

    JSON is {"model", "weights", "jaxvision", "predictions": [{"file", "top": [{"class", "label", "probability"}]}],
    "errors": [{"file", "message"}]}; CSV has the columns file, rank, class, label, probability.
    """

    paths: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PATH...", help_behavior_hint="")]
    """Pictures, folders (with all below them), or quoted globs such as 'photos/**/*.jpg'."""
    model: str = "tf_efficientnet_lite0.in1k"
    """Name of the model and its weights; `jaxvision models` lists them."""
    weights: str | None = None
    """A weights file, or a repository of the Hugging Face hub, instead of the published weights."""
    num_classes: int | None = None
    """Number of classes of --weights, if it is not that of the published ones."""
    labels: Path | None = None
    """Text file with one name a line, in the order of the classes. Default: ImageNet's where there are 1000."""
    topk: int = 5
    """How many classes to show for each picture."""
    img_size: tuple[int] | tuple[int, int] | None = None
    """Side, or height and width, of the network's input. Default: that of the weights."""
    batch_size: int = 16
    """Pictures in one pass."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of the computation."""

    def run(self) -> int:
        """Runs the command."""
        for option, number in (("topk", self.topk), ("batch-size", self.batch_size)):
            if number < 1:
                raise UsageError(f"--{option} must be at least 1, got {number}")
        if not self.paths:
            raise UsageError("name at least one picture, folder or glob")
        files, problems = find_pictures(self.paths)
        for message in problems.values():
            complain(message)
        predictions = []
        if files:
            classifier = load_classifier(
                self.model,
                self.weights,
                num_classes=self.num_classes,
                img_size=None if self.img_size is None else (self.img_size[0], self.img_size[-1]),
                dtype=self.dtype,
                labels=self.labels,
            )
            try:
                for prediction in _progress(classifier.classify(files, self.topk, self.batch_size), len(files)):
                    if prediction.error is None:
                        predictions.append(prediction)
                    else:
                        complain(problems.setdefault(prediction.source, str(prediction.error)))
            except FloatingPointError as error:
                raise CommandError(f"{error} (--model {self.model} --dtype {self.dtype})") from None
        document = {
            "model": self.model,
            "weights": self.weights,
            "jaxvision": __version__,
            "predictions": [{"file": p.source, "top": [_score(s) for s in p.scores]} for p in predictions],
            "errors": [{"file": file, "message": message} for file, message in problems.items()],
        }
        self.report(document, list(_rows(predictions)), COLUMNS, prediction_table(predictions))
        return 1 if problems else 0


def load_classifier(
    model: str,
    weights: str | None = None,
    *,
    num_classes: int | None = None,
    img_size: tuple[int, int] | None = None,
    dtype: str = "float32",
    labels: Path | None = None,
) -> "Classifier":
    """A named model with its weights, ready to name what is in pictures.

    Raises:
        UsageError: the name, a size or the labels are wrong.
        CommandError: the weights cannot be had.
    """
    from flax import nnx

    from jaxvision.catalogue import imagenet_classes
    from jaxvision.predict import Classifier
    from jaxvision.registry import create_model, model_info
    from jaxvision.weights import WeightsError, load_weights

    try:
        info = model_info(model)
        classes = info.num_classes if num_classes is None else num_classes
        if classes < 1:
            raise UsageError(f"{info.name!r} has no classifier: pick one with classes from `jaxvision models`")
        names = _read_labels(labels, classes) if labels else imagenet_classes() if classes == 1000 else None
        build = partial(create_model, model, num_classes=classes, img_size=img_size, dtype=dtype)
        if weights is None:
            if classes != info.num_classes:
                raise UsageError(f"{info.name!r} has {info.num_classes} classes: --num-classes goes with --weights")
            network = build(pretrained=True)
        else:  # strictly: a new head would know nothing
            network = nnx.eval_shape(build)
            load_weights(network, weights)
    except WeightsError as error:
        raise CommandError(str(error)) from None
    except ValueError as error:
        raise UsageError(str(error)) from None
    return Classifier(network, info.preprocess(img_size), names)


def prediction_table(predictions: Iterable["Prediction"]) -> "Table":
    """The predictions for a reader: the file once, its classes below each other."""
    from rich.table import Table
    from rich.text import Text

    table = Table("file", "rank", "class", "label", "probability")
    for column in table.columns[1:3] + table.columns[4:]:
        column.justify = "right"
    for prediction in predictions:
        for rank, score in enumerate(prediction.scores, start=1):
            file = prediction.source if rank == 1 else ""
            last = rank == len(prediction.scores)
            texts = (file, str(rank), str(score.index), score.label or "", f"{score.probability:.3f}")
            table.add_row(*(Text(text, overflow="fold") for text in texts), end_section=last)
    return table


def complain(message: str) -> None:
    """Writes one line to the standard error."""
    sys.stderr.write(f"jaxvision: {message}\n")


def _read_labels(file: Path, classes: int) -> list[str]:
    try:
        labels = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the labels {str(file)!r}: {error}") from None
    if len(labels) != classes:
        raise UsageError(f"{str(file)!r} has {len(labels)} lines, expected one for each of the {classes} classes")
    return labels


def _progress(predictions: Iterator["Prediction"], total: int) -> Iterable["Prediction"]:
    """The predictions, with a bar on the standard error if someone is watching."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(predictions, "Looking", total, console=console, transient=True, disable=not console.is_terminal)


def _score(score: "Score") -> dict[str, Any]:
    return {"class": score.index, "label": score.label, "probability": score.probability}


def _rows(predictions: Iterable["Prediction"]) -> Iterator[dict[str, Any]]:
    for prediction in predictions:
        for rank, score in enumerate(prediction.scores, start=1):
            yield {"file": prediction.source, "rank": rank, **_score(score)}
