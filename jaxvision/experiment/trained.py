"""What was trained, found by its name: the folder of a run, or a model with published weights."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxvision.experiment.network import Network, build_network
from jaxvision.experiment.splits import selection
from jaxvision.functional import to_functional, update
from jaxvision.paths import nest
from jaxvision.registry import model_info
from jaxvision.training.checkpoint import Checkpointer, read_arrays
from jaxvision.training.config import ConfigError, LossOptions, NetworkOptions, TrainConfig, read_config
from jaxvision.training.losses import Task, make_task

DESCRIPTION = "model.json"
"""The file of a run that says what goes into its network and what comes out: classes and preprocessing."""


def settings_of(source: str, *, use_test_size: bool = False) -> TrainConfig:
    """The settings of a run, or of a published model as if it were one.

    Args:
        source: folder of a run, or name of a model.
        use_test_size: see `jaxvision.catalogue.ModelInfo.preprocess`; of published models alone.

    Raises:
        ConfigError: it is neither the folder of a run nor a model, or a run and `use_test_size` is asked for.
    """
    folder = Path(source)
    if (folder / "args.yaml").exists():
        if use_test_size:
            raise ConfigError(f"--use-test-size goes with a published model's name; {source!r} is a run")
        return read_config(folder / "args.yaml", TrainConfig())
    if folder.exists():
        raise ConfigError(f"{source!r} is not the folder of a run: it has no args.yaml")
    try:
        info = model_info(source)
    except ValueError as error:
        raise ConfigError(f"{source!r} is neither the folder of a run nor a model: {error}") from None
    network = NetworkOptions(model=source, pretrained=True)
    if use_test_size:
        larger = info.preprocess(use_test_size=True)
        network = replace(network, img_size=larger.size, crop_pct=larger.crop_pct)
    return TrainConfig(network=network)


def class_names_of(source: str) -> tuple[str, ...]:
    """The classes of a run, in the order of its outputs; none for a published model."""
    return tuple(_description(source).get("class_names", ()))


def _description(source: str) -> dict[str, Any]:
    file = Path(source) / DESCRIPTION
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else {}


def without_weights(loss: LossOptions) -> LossOptions:
    """The task without what concerns training alone: a split need not have all the classes to balance."""
    return LossOptions(task=loss.task)


def load_trained(source: str, run: TrainConfig, task: Task, checkpoint: str) -> tuple[Network, dict[str, Any]]:
    """A network and its trained variables.

    Args:
        source: folder of a run, or name of a model.
        run: its settings, from `settings_of`.
        task: of the data that it is for.
        checkpoint: of a run: ``"best"``, ``"last"`` or a step.

    Raises:
        ConfigError: there is no such checkpoint, or a published model has other classes than the data.
        CheckpointError: the checkpoint cannot be read.
    """
    trained = (Path(source) / "args.yaml").exists()
    if not trained and task.num_outputs != model_info(source).num_classes:
        raise ConfigError(
            f"{source!r} tells {model_info(source).num_classes} classes, but the data have {task.num_outputs}: "
            "fine-tune it on such data first, or evaluate it on data of its own classes"
        )
    network = build_network(run.network, task, run.job.seed, weights=not trained)
    if trained:
        return network, _checkpoint(Path(source), checkpoint, run, task)
    return network, to_functional(network.model)[1]


def open_run(folder: str | Path, checkpoint: str = "best") -> tuple[Network, tuple[str, ...]]:
    """A run's network with its trained variables, and the names of its classes, without its data.

    Raises:
        ConfigError: it is not the folder of a run, is not about classes, or has no such checkpoint.
        CheckpointError: the checkpoint cannot be read.
    """
    run, names = settings_of(str(folder)), class_names_of(str(folder))
    kind = _description(str(folder)).get("task", run.loss.task)
    if not names or kind not in ("multiclass", "binary"):
        raise ConfigError(f"the run in {str(folder)!r} does not tell classes apart: it is for {kind}")
    task = make_task(kind, len(names))
    network, variables = load_trained(str(folder), run, task, checkpoint)
    update(network.model, jax.tree.map(jnp.asarray, variables))
    return network, names


def _checkpoint(folder: Path, which: str, run: TrainConfig, task: Task) -> dict[str, Any]:
    """The variables of one of a run's checkpoints."""
    metric, mode = selection(run, task)
    checkpoints = Checkpointer(folder / "checkpoints", metric=metric, mode=mode)
    steps = checkpoints.steps()
    if not steps:
        raise ConfigError(f"{str(folder)!r} has no checkpoint")
    if which == "last":
        step = steps[-1]
    elif which == "best":
        best = checkpoints.best_step()
        step = steps[-1] if best is None else best
    elif which.isdecimal() and int(which) in steps:
        step = int(which)
    else:
        known = ", ".join(map(str, steps))
        raise ConfigError(f"{str(folder)!r} has no checkpoint {which!r}: there are best, last, {known}")
    arrays = read_arrays(checkpoints.directory, ("params.**", "frozen.**", "batch_stats.**", "ema.**"), step)
    averaged = run.optim.model_ema
    found: dict[str, dict[str, Any]] = {"params": {}, "batch_stats": {}}
    for name, value in arrays.items():
        collection, _, path = name.partition(".")
        if collection == "frozen" or (collection == "params" and not averaged):
            found["params"][path] = value
        elif collection == "batch_stats" and not averaged:
            found["batch_stats"][path] = value
        elif collection == "ema" and averaged:
            part, _, inner = path.partition(".")
            found[part][inner] = value
    return {collection: nest(values) for collection, values in found.items()}
