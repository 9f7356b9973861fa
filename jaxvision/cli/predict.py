"""``jaxvision predict``: what is in these pictures?"""

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import tyro

from jaxvision.cli.errors import CommandError, UsageError, refused
from jaxvision.cli.files import find_pictures
from jaxvision.cli.report import Reporting
from jaxvision.version import __version__

if TYPE_CHECKING:
    from flax import nnx
    from rich.table import Table

    from jaxvision.predict import Classifier, Doubt, Prediction, Sampler, Score

COLUMNS = ("file", "rank", "class", "label", "probability")
DOUBTS = ("confidence", "entropy", "mutual_information", "flip_rate", "verdict")


@dataclass(frozen=True, kw_only=True)
class Command(Reporting):
    """Name what is in pictures.

    Prints the most probable classes of every picture with their probabilities, preprocessed as the weights want it.
    Files that cannot be read are reported on the standard error, the rest goes on, and the exit code is 1.

    JSON is {"model", "weights", "jaxvision", "predictions": [{"file", "top": [{"class", "label", "probability"}]}],
    "errors": [{"file", "message"}]}; CSV has the columns file, rank, class, label, probability.

    --uncertainty adds, of the class of rank 1, the confidence (its probability, averaged over random passes), the
    entropy and mutual information of the passes in nats, the flip rate (the share of them that name another class), and
    a verdict: "sure" if the confidence is at least 0.5 and the flip rate at most 0.1, else "unsure".
    """

    paths: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PATH...", help_behavior_hint="")]
    """Pictures, folders (with all below them), or quoted globs such as 'photos/**/*.jpg'."""
    model: str = "tf_efficientnet_lite0.in1k"
    """Name of the model and its weights (`jaxvision models` lists them), or the folder of a run."""
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
    use_test_size: bool = False
    """Take the larger size and crop that some weights are better with; --img-size is a size of one's own."""
    batch_size: int = 16
    """Pictures in one pass."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of the computation."""
    uncertainty: bool = False
    """Also say how sure the network is, by dropout that is injected into it."""
    calibration: Path | None = None
    """With --uncertainty: calibration.json of `jaxvision uncertainty` on this network, for sites, rate and temperature.
    Without it they are not tuned."""
    sites: tuple[str, ...] = ("last-stage",)
    """With --uncertainty: head, last-stage, all-blocks, or patterns of module paths."""
    rate: float = 0.05
    """With --uncertainty: the dropout rate."""
    samples: int = 100
    """With --uncertainty: random passes."""

    def run(self) -> int:
        """Runs the command."""
        for option, number in (("topk", self.topk), ("batch-size", self.batch_size)):
            if number < 1:
                raise UsageError(f"--{option} must be at least 1, got {number}")
        if not self.paths:
            raise UsageError("name at least one picture, folder or glob")
        if self.samples < 2:
            raise UsageError(f"--samples must be at least 2, got {self.samples}")
        if not 0 < self.rate < 1:
            raise UsageError(f"--rate is a probability between 0 and 1, got {self.rate:g}")
        if self.calibration is not None and not self.uncertainty:
            raise UsageError("--calibration goes with --uncertainty")
        files, problems = find_pictures(self.paths)
        for message in problems.values():
            complain(message)
        predictions = []
        if files:
            classifier = load_classifier(
                self.model,
                self.weights,
                num_classes=self.num_classes,
                img_size=self.img_size,
                use_test_size=self.use_test_size,
                dtype=self.dtype,
                labels=self.labels,
                sampler=self._sampler if self.uncertainty else None,
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
            "predictions": [
                {"file": p.source, "top": [_score(s) for s in p.scores], **_uncertainty(p.doubt)} for p in predictions
            ],
            "errors": [{"file": file, "message": message} for file, message in problems.items()],
        }
        columns = (*COLUMNS, *DOUBTS) if self.uncertainty else COLUMNS
        self.report(document, list(_rows(predictions)), columns, prediction_table(predictions))
        return 1 if problems else 0

    def _sampler(self, model: "nnx.Module") -> "Sampler":
        import jax

        from jaxvision import uncertainty as uq

        net: uq.Net | uq.Calibrated
        if self.calibration is None:
            one_logit = getattr(getattr(model, "config", None), "num_classes", 0) == 1
            net = uq.inject(model, self.sites, self.rate, task="binary" if one_logit else "classification")
        else:
            try:
                net = uq.load_calibration(self.calibration, model)
            except OSError as error:
                raise UsageError(f"cannot read {str(self.calibration)!r}: {error.strerror or error}") from None
            if net.task not in ("classification", "binary"):
                raise UsageError(f"{str(self.calibration)!r} is for a {net.task} task; pictures are named by classes")
        return lambda images, rows: cast(
            uq.ClassificationPrediction, net.predict(images, jax.random.key(0), self.samples, rows=rows)
        )


def load_classifier(
    model: str,
    weights: str | None = None,
    *,
    num_classes: int | None = None,
    img_size: tuple[int] | tuple[int, int] | None = None,
    use_test_size: bool = False,
    dtype: str = "float32",
    labels: Path | None = None,
    sampler: "Callable[[nnx.Module], Sampler] | None" = None,
) -> "Classifier":
    """A named model with its weights, ready to name what is in pictures.

    Args:
        model: its name, or the folder of a run.
        weights: a file or repository instead of the published weights.
        num_classes: of these.
        img_size: side, or height and width, of the input.
        use_test_size: see `jaxvision.catalogue.ModelInfo.preprocess`.
        dtype: of the computation.
        labels: file with a name for each class.
        sampler: makes what says how sure the model is.

    Raises:
        UsageError: the name, a size or the labels are wrong.
        CommandError: the weights cannot be had.
    """
    from flax import nnx

    if Path(model).is_dir():
        if weights is not None or num_classes is not None or img_size is not None or use_test_size:
            raise UsageError(
                "--weights, --num-classes, --img-size and --use-test-size go with a model's name; a run has its own"
            )
        return _run_classifier(model, labels, sampler)
    from jaxvision.catalogue import imagenet_classes
    from jaxvision.predict import Classifier
    from jaxvision.registry import create_model, model_info
    from jaxvision.weights import WeightsError, load_weights

    size = None if img_size is None else (img_size[0], img_size[-1])
    try:
        info = model_info(model)
        classes = info.num_classes if num_classes is None else num_classes
        if classes < 1:
            raise UsageError(f"{info.name!r} has no classifier: pick one with classes from `jaxvision models`")
        names = _read_labels(labels, classes) if labels else imagenet_classes() if classes == 1000 else None
        build = partial(create_model, model, num_classes=classes, img_size=size, dtype=dtype)
        if weights is None:
            if classes != info.num_classes:
                raise UsageError(f"{info.name!r} has {info.num_classes} classes: --num-classes goes with --weights")
            network = build(pretrained=True)
        else:  # strictly: a new head would know nothing
            network = nnx.eval_shape(build)
            load_weights(network, weights).tell()
        passes = None if sampler is None else sampler(network)
    except WeightsError as error:
        raise refused(error) from None
    except ValueError as error:
        raise UsageError(str(error)) from None
    return Classifier(network, info.preprocess(size, use_test_size=use_test_size), names, passes)


def _run_classifier(
    folder: str, labels: Path | None, sampler: "Callable[[nnx.Module], Sampler] | None"
) -> "Classifier":
    """The best checkpoint of a run."""
    from jaxvision.experiment.trained import open_run
    from jaxvision.predict import Classifier
    from jaxvision.training.checkpoint import CheckpointError

    try:
        network, names = open_run(folder)
        passes = None if sampler is None else sampler(network.model)
    except CheckpointError as error:
        raise CommandError(str(error)) from None
    except ValueError as error:
        raise UsageError(str(error)) from None
    given = _read_labels(labels, len(names)) if labels else list(names)
    return Classifier(network.model, network.preprocess, given, passes)


def prediction_table(predictions: Iterable["Prediction"]) -> "Table":
    """The predictions for a reader: the file once, its classes below each other."""
    from rich.table import Table
    from rich.text import Text

    predictions = list(predictions)
    doubted = any(prediction.doubt is not None for prediction in predictions)
    table = Table("file", "rank", "class", "label", "probability", *(DOUBTS if doubted else ()))
    for column in table.columns[1:3] + table.columns[4:9]:
        column.justify = "right"
    for prediction in predictions:
        for rank, score in enumerate(prediction.scores, start=1):
            file = prediction.source if rank == 1 else ""
            last = rank == len(prediction.scores)
            texts = [file, str(rank), str(score.index), score.label or "", f"{score.probability:.3f}"]
            if doubted:
                found = _uncertainty(prediction.doubt) if rank == 1 else {}
                texts += [f"{x:.3f}" if isinstance(x, float) else x for x in (found.get(name, "") for name in DOUBTS)]
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


def _uncertainty(doubt: "Doubt | None") -> dict[str, Any]:
    if doubt is None:
        return {}
    return {**vars(doubt), "verdict": "sure" if doubt.sure else "unsure"}


def _rows(predictions: Iterable["Prediction"]) -> Iterator[dict[str, Any]]:
    for prediction in predictions:
        for rank, score in enumerate(prediction.scores, start=1):
            doubt = _uncertainty(prediction.doubt) if rank == 1 else {}
            yield {"file": prediction.source, "rank": rank, **_score(score), **doubt}
