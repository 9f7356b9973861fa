"""``jaxvision explain``: where in these pictures does the network look?"""

import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from jaxvision.cli.errors import CommandError, UsageError
from jaxvision.cli.files import find_pictures
from jaxvision.cli.predict import complain, load_classifier

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from jaxvision.predict import Classifier, Prediction, Score

    Explain = Callable[[np.ndarray, int], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Command:
    """Show where in pictures a network looks.

    Draws beside every picture, as the network sees it, the same with a map of heat over it, and the most probable
    classes above. Grad-CAM shows what speaks for one class; attention rollout, for ViTs and Swins, what the network
    attends to, for no class in particular. Files that cannot be read are reported on the standard error, the rest goes
    on, and the exit code is 1.
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
    img_size: tuple[int] | tuple[int, int] | None = None
    """Side, or height and width, of the network's input. Default: that of the weights."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of the computation."""
    method: Literal["grad-cam", "rollout"] = "grad-cam"
    """Grad-CAM, for all networks; or attention rollout, for ViTs and Swins."""
    target: str | None = None
    """With grad-cam: the class to explain, by its name or number. Default: the one that the network names."""
    layer: str | None = None
    """With grad-cam: path or pattern of the layer whose map is taken. Default: the last stage."""
    head_fusion: Literal["mean", "max", "min"] = "mean"
    """With rollout: how attention's heads are made one."""
    discard_ratio: float = 0.0
    """With rollout: share of the smallest attention weights to leave out, from 0 to below 1."""
    topk: int = 3
    """How many classes to name above each picture."""
    output: Path | None = None
    """PNG file to write; for more than one picture, or if it does not end in .png, a folder. Default: the current
    folder, where NAME-explain.png is written."""

    def run(self) -> int:
        """Runs the command."""
        self._check()
        _need_plots()
        files, problems = find_pictures(self.paths)
        for message in problems.values():
            complain(message)
        if not files:
            return 1
        classifier = load_classifier(
            self.model,
            self.weights,
            num_classes=self.num_classes,
            img_size=self.img_size,
            dtype=self.dtype,
            labels=self.labels,
        )
        target = None if self.target is None else _class_index(self.target, classifier)
        explain, outputs = self._explainer(classifier), self._outputs(files)
        for file, output, prediction in zip(files, outputs, _classified(classifier, files, self.topk), strict=True):
            if prediction.error is not None:
                complain(problems.setdefault(file, str(prediction.error)))
                continue
            picture = classifier.preprocess.crop(file)
            best = prediction.scores[0].index if target is None else target
            try:
                heat = explain(classifier.preprocess(file)[None], best)[0]
            except ValueError as error:
                raise UsageError(str(error)) from None
            names = ", ".join(f"{_name(score)} {score.probability:.3f}" for score in prediction.scores)
            what = "attention rollout" if self.method == "rollout" else f"Grad-CAM of {_label(classifier, best)}"
            _draw(picture, heat, names, what, output)
            sys.stdout.write(f"{file}: {names}; {what} in {output}\n")
        return 1 if problems else 0

    def _check(self) -> None:
        if not self.paths:
            raise UsageError("name at least one picture, folder or glob")
        if self.topk < 1:
            raise UsageError(f"--topk must be at least 1, got {self.topk}")
        if not 0 <= self.discard_ratio < 1:
            raise UsageError(f"--discard-ratio is a share from 0 to below 1, got {self.discard_ratio:g}")
        given = {
            "grad-cam": {"--target": self.target is not None, "--layer": self.layer is not None},
            "rollout": {"--head-fusion": self.head_fusion != "mean", "--discard-ratio": self.discard_ratio > 0},
        }
        for method, options in given.items():
            for option, used in options.items():
                if used and self.method != method:
                    raise UsageError(f"{option} goes with --method {method}")

    def _explainer(self, classifier: "Classifier") -> "Explain":
        """A compiled function from a network's input and a class to a map of heat."""
        import jax
        import numpy as np
        from flax import nnx

        from jaxvision.explain import attention_rollout, grad_cam

        graphdef, state = nnx.split(classifier.model, graph=True)

        @jax.jit
        def heat(state: Any, images: jax.Array, target: jax.Array) -> jax.Array:
            model: Any = nnx.merge(graphdef, state, copy=True)
            if self.method == "rollout":
                return attention_rollout(
                    model, images, head_fusion=self.head_fusion, discard_ratio=self.discard_ratio, upsample=True
                )
            return grad_cam(model, images, target, self.layer, upsample=True)

        return lambda images, target: np.asarray(heat(nnx.to_pure_dict(state), images, np.int32(target)))

    def _outputs(self, files: Sequence[str]) -> list[Path]:
        """The file to write for each picture; two pictures of one name in different folders get numbers."""
        output = self.output
        if output is not None and output.suffix.lower() == ".png" and len(files) == 1:
            return [output]
        folder, taken = output or Path(), dict[str, int]()
        outputs = []
        for file in files:
            stem = Path(file).stem
            taken[stem] = taken.get(stem, 0) + 1
            number = f"-{taken[stem]}" if taken[stem] > 1 else ""
            outputs.append(folder / f"{stem}-explain{number}.png")
        return outputs


def _need_plots() -> None:
    """Raises CommandError if what draws is not installed: before anything is computed."""
    try:
        importlib.import_module("jaxvision.evaluation.plots.style")
    except ModuleNotFoundError as error:
        raise CommandError(f"{error}: explain needs `pip install 'jaxvision-zoo[plots]'`") from None


def _classified(classifier: "Classifier", files: Sequence[str], topk: int) -> "list[Prediction]":
    try:
        return list(classifier.classify(files, topk, batch_size=1))
    except FloatingPointError as error:
        raise CommandError(str(error)) from None


def _class_index(word: str, classifier: "Classifier") -> int:
    """The class that a word names: by one of the labels, whatever its case, or by its number."""
    labels = list(classifier.labels or ())
    known = {label.lower(): index for index, label in reversed(list(enumerate(labels)))}
    if word.lower() in known:
        return known[word.lower()]
    classes = max(2, classifier.model.num_classes)  # type: ignore[attr-defined]
    if word.isdecimal():
        if int(word) < classes:
            return int(word)
        raise UsageError(f"--target {word}: the network has {classes} classes, 0 to {classes - 1}")
    if not labels:
        raise UsageError(f"--target {word!r}: the classes have no names here; give a number, or --labels")
    from jaxvision.paths import suggestion

    raise UsageError(f"--target {word!r} is none of the {len(labels)} classes{suggestion(word.lower(), known)}")


def _label(classifier: "Classifier", index: int) -> str:
    return f"class {index}" if classifier.labels is None else repr(classifier.labels[index])


def _name(score: "Score") -> str:
    return f"class {score.index}" if score.label is None else score.label


def _draw(picture: "Image.Image", heat: "np.ndarray", title: str, what: str, output: Path) -> None:
    """Writes the picture and, beside it, the picture with its heat."""
    import numpy as np
    from matplotlib.figure import Figure

    from jaxvision.evaluation.plots.style import save, styled
    from jaxvision.explain import overlay

    @styled
    def figure() -> Figure:
        drawn = Figure(figsize=(6.4, 3.7))
        pixels = np.asarray(picture.convert("RGB"))
        for axes, shown, name in zip(
            drawn.subplots(1, 2), (pixels, overlay(pixels, heat)), ("what the network sees", what), strict=True
        ):
            axes.imshow(shown)
            axes.set_title(name)
            axes.set_axis_off()
        drawn.suptitle(title, fontsize=10, wrap=True)
        return drawn

    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        save(figure(), output)
    except OSError as error:
        raise CommandError(f"cannot write {str(output)!r}: {error.strerror or error}") from None
