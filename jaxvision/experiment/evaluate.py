"""Evaluating what was trained: one run or the mean of several, on any split, with or without test-time augmentation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxvision.data.dataset import ImageDataset
from jaxvision.data.loader import EvalLoader
from jaxvision.evaluation.metrics import Result
from jaxvision.experiment import assess
from jaxvision.experiment.network import prepare_images, preprocess_of
from jaxvision.experiment.splits import choose_task, open_data, open_split
from jaxvision.experiment.trained import class_names_of, load_trained, settings_of, without_weights
from jaxvision.functional import to_functional
from jaxvision.training.config import ConfigError, DataOptions, TrainConfig
from jaxvision.training.loop import Predictions
from jaxvision.training.losses import Task
from jaxvision.training.parallel import Driver, make_driver
from jaxvision.training.passes import collect, with_rows

Tta = Literal["none", "hflip", "flips"]
_VIEWS: dict[str, tuple[tuple[int, ...], ...]] = {
    "none": ((),),
    "hflip": ((), (2,)),
    "flips": ((), (2,), (1,), (1, 2)),
}


@dataclass(frozen=True)
class Evaluated:
    """The numbers, and where the report is."""

    result: Result
    report: Path
    count: int


def evaluate(
    sources: Sequence[str],
    data: DataOptions,
    *,
    split: str | None = None,
    checkpoint: str = "best",
    tta: Tta = "none",
    output: Path,
    batch_size: int = 64,
    workers: int = 2,
    threshold: str | None = None,
    driver: str = "jit",
    use_test_size: bool = False,
    say: Callable[[str], None] = print,
) -> Evaluated:
    """Evaluates trained runs, or published networks, and writes the report.

    Args:
        sources: folders of runs, or names of models with published weights. Of several, probabilities are averaged.
        data: other data than the first run's; its ``data`` may be empty.
        split: ``"train"``, ``"val"``, ``"test"`` or another name that the data have. Default: test, else val, else all.
        checkpoint: of runs: ``"best"``, ``"last"`` or a step.
        tta: also look at mirrored pictures, and average: ``"hflip"`` left to right, ``"flips"`` all four ways.
        output: folder of the report.
        batch_size: examples in a batch.
        workers: threads that read pictures.
        threshold: criterion of the threshold for two classes, chosen on the validation data of the first run.
        driver: see `jaxvision.training.parallel.make_driver`.
        use_test_size: of published networks: see `jaxvision.catalogue.ModelInfo.preprocess`.
        say: takes lines of text for whoever watches.

    Raises:
        ConfigError: a source is neither a run nor a model, or the sources or data do not fit together.
        CheckpointError: a run has no such checkpoint.
    """
    runs = [settings_of(source, use_test_size=use_test_size) for source in sources]
    if data.data:
        options = data
        dataset, name = open_split(options, split, runs[0].loss.task, class_names_of(sources[0]))
    else:
        options = runs[0].data
        if not options.data:
            raise ConfigError("a published model has no data of its own: name them by --data")
        dataset, name = _split(options, runs[0].loss.task, split)
    say(f"{name}: {len(dataset)} pictures of {options.data}")
    devices = make_driver(driver)
    tasks = [choose_task(without_weights(run.loss), run.network, dataset) for run in runs]
    members = [
        _member(source, run, task, checkpoint, tta, devices)
        for source, run, task in zip(sources, runs, tasks, strict=True)
    ]

    def assessed(examples: ImageDataset) -> assess.Assessed:
        parts = []
        for run, task, predict in zip(runs, tasks, members, strict=True):
            loader = EvalLoader(
                examples,
                preprocess_of(run.network),
                batch_size,
                workers=workers,
                process_index=jax.process_index(),
                process_count=jax.process_count(),
            )
            parts.append(assess.assess(task, examples, predict(loader), loader.bad_files))
        return assess.average(parts)

    chosen = None
    if threshold is not None:
        validation = open_data(runs[0].data if runs[0].data.data else options, runs[0].loss.task).val
        if validation is None:
            raise ConfigError("--threshold is chosen on validation data, and there are none")
        chosen = assess.pick_threshold(threshold, assessed(validation))
    notes = [f"Split: {name}."]
    if len(sources) > 1:
        notes.append(f"Probabilities are the mean of {len(sources)} networks.")
    if use_test_size:
        sizes = [preprocess_of(run.network).size for run in runs]
        at = ", ".join(f"{source} {height} x {width}" for source, (height, width) in zip(sources, sizes, strict=True))
        notes.append(f"Pictures have the weights' test size, where they have one: {at}.")
    if tta != "none":
        notes.append(f"Each picture was seen in {len(_VIEWS[tta])} mirrored versions, and the outputs averaged.")
    report, result = assess.report(
        output,
        assessed(dataset),
        title=f"{' + '.join(Path(source).name for source in sources)} on {Path(options.data).name}",
        settings={
            "sources": list(sources),
            "data": options.data,
            "split": name,
            "checkpoint": checkpoint,
            "tta": tta,
            "use_test_size": use_test_size,
        },
        threshold=chosen,
        notes=notes,
    )
    return Evaluated(result, report, len(dataset))


def _split(options: DataOptions, task: str, name: str | None) -> tuple[ImageDataset, str]:
    """The examples to evaluate: a split of the run's data, divided as the run divided them."""
    splits = open_data(options, task)
    parts = {"test": splits.test, "val": splits.val, "train": splits.train}
    if name is None:
        name = next((part for part in ("test", "val") if parts[part] is not None), "train")
    dataset = parts.get({"validation": "val"}.get(name, name))
    return (dataset, name) if dataset is not None else open_split(options, name, task)


def _member(
    source: str, run: TrainConfig, task: Task, checkpoint: str, tta: Tta, driver: Driver
) -> Callable[[EvalLoader], Predictions]:
    """A network of the ensemble, compiled once for all the data it will see."""
    network, variables = load_trained(source, run, task, checkpoint)
    apply, _ = to_functional(network.model)
    prepare = prepare_images(task, network.preprocess, run.network.dtype)
    views = _VIEWS[tta]

    def step(variables: Any, batch: Any, axis_name: Any = None) -> dict[str, Any]:
        images, _ = prepare(batch, None)
        logits = [apply(variables, jnp.flip(images, view) if view else images)[0] for view in views]
        mean = sum(view.astype(jnp.float32) for view in logits) / len(logits)
        return {"logits": mean}

    compute, placed = driver.compile_eval(with_rows(step)), driver.place_state(variables)

    def predict(loader: EvalLoader) -> Predictions:
        rows, sums = collect(driver, compute, placed, loader)
        return Predictions(rows["index"], rows["logits"], sums)

    return predict
