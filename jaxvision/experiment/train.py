"""A run from its settings to its report."""

import dataclasses
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxvision
from jaxvision.data.dataset import ImageDataset
from jaxvision.data.loader import EvalLoader, TrainLoader
from jaxvision.evaluation.history import read_history
from jaxvision.evaluation.metrics import Result
from jaxvision.evaluation.threshold import Threshold
from jaxvision.experiment import assess
from jaxvision.experiment.features import FeatureEvalLoader, FeatureLoader
from jaxvision.experiment.holdout import HoldOut, hold_out
from jaxvision.experiment.injection import InjectionOptions
from jaxvision.experiment.network import (
    Backbone,
    Network,
    build_network,
    prepare_features,
    prepare_images,
    train_transform,
    trained_and_frozen,
)
from jaxvision.experiment.sites import inject
from jaxvision.experiment.splits import Splits, choose_task, open_data, selection
from jaxvision.experiment.trained import DESCRIPTION
from jaxvision.experiment.uncertainty import Subject, Uncertain, estimate
from jaxvision.functional import to_functional, update
from jaxvision.nn.norm import set_axis_name
from jaxvision.paths import flatten
from jaxvision.training.checkpoint import Checkpointer
from jaxvision.training.config import ConfigError, TrainConfig, changed, flat, read_config, write_config
from jaxvision.training.distributed import barrier, initialize, is_main_process
from jaxvision.training.freeze import frozen_view
from jaxvision.training.loop import EvalSource, Loop, LoopOptions, Outcome, Predictions, TrainSource, Watch
from jaxvision.training.losses import Task
from jaxvision.training.optim import make_optimizer
from jaxvision.training.parallel import Driver, make_driver
from jaxvision.training.passes import collect, with_rows
from jaxvision.training.penalties import make_penalty
from jaxvision.training.schedules import EarlyStopping, Plateau, make_schedule
from jaxvision.training.state import TrainState
from jaxvision.training.step import make_eval_step, make_train_step
from jaxvision.training.writers import FileWriter, TensorBoardWriter, WandbWriter, Writer

logger = logging.getLogger(__name__)

Report = Callable[[str], None]

UNCERTAINTY = "uncertainty"
"""The folder in a run with the report on its uncertainty."""

_ADAPTIVE = ("adam", "lamb", "lars", "lion", "adan")  # timm scales their rate by the root of the batch


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Attributes:
        output: its folder.
        stopped: ``"finished"``, ``"early"``, or the signal that asked it to stop (then there is no report).
        report: path of ``report.html``.
        result: the numbers in it.
        split: what they were measured on, ``"test"`` or ``"validation"``.
        assessed: the predictions behind them.
        threshold: of two classes, how it was chosen.
        uncertainty: how sure the network is, if it was asked for.
    """

    output: Path
    stopped: str
    report: Path | None = None
    result: Result | None = None
    split: str | None = None
    assessed: assess.Assessed | None = None
    threshold: Threshold | None = None
    uncertainty: Uncertain | None = None


def run_training(config: TrainConfig, say: Report = print, watch: Watch | None = None) -> RunResult:
    """Trains, evaluates the best checkpoint on the test data (or else the validation data), and writes the report.

    Args:
        config: the settings.
        say: takes lines of text for whoever watches.
        watch: is told after each step where the run is; see `Loop`.

    Raises:
        ConfigError: settings that do not fit together, or a folder that holds another run.
        DatasetError: data that cannot be used.
        DivergedError: the loss is not finite any more.
        CheckpointError: checkpoints cannot be written or read.
    """
    _join(config)
    output = _output(config)
    resume = _prepare_output(config, output)
    if not is_main_process():
        say, watch = _silent, None
    data = open_data(config.data, config.loss.task)
    for line in data.summary().splitlines():
        say(line)
    task = choose_task(config.loss, config.network, data.train)
    # A checkpoint brings the weights; but features are computed before it is read.
    weights = not resume or config.network.cache_features
    network = build_network(config.network, task, config.job.seed, weights)
    if is_main_process():
        info = {
            "task": task.name,
            "class_names": list(data.train.class_names),
            "preprocess": dataclasses.asdict(network.preprocess),
        }
        (output / DESCRIPTION).write_text(json.dumps(info, indent=2, ensure_ascii=False), encoding="utf-8")
    run = _Run(config, output, data, task, network, say, watch)
    outcome = run.loop(resume).run(resume)
    if outcome.stopped.startswith("SIG"):
        say(f"stopped by {outcome.stopped}; all is saved: go on with --output {output} --resume auto")
        return RunResult(output, outcome.stopped)
    return run.finish(outcome)


class _Run:
    """The parts of one run."""

    def __init__(
        self,
        config: TrainConfig,
        output: Path,
        data: Splits,
        task: Task,
        network: Network,
        say: Report,
        watch: Watch | None,
    ) -> None:
        self.config, self.output, self.data, self.task = config, output, data, task
        self.network, self.say, self.watch = network, say, watch
        self.driver: Driver = make_driver(config.job.driver, fsdp=config.job.fsdp)
        self.model = network.model
        _, self.variables = to_functional(self.model)
        self.trained, self.frozen = trained_and_frozen(config.network, network, self.variables["params"])
        self._examples = config.data.batch_size * config.optim.grad_accum_steps
        self._writers: list[Writer] = []
        self._loop: Loop | None = None
        self._injection = InjectionOptions(sites=config.job.uncertainty)
        self._held_out: HoldOut | None = None
        if config.job.uncertainty:  # now, since what is wrong would else be found after the training
            inject(network, task, self._injection)
            self._held_out = hold_out(data.named(), lambda name: data.named()[name])

    def loop(self, resume: bool) -> Loop:
        """The loop, ready to run."""
        config, optim, task = self.config, self.config.optim, self.task
        cached = config.network.cache_features
        view = frozen_view(self.model, flatten(self.frozen)) if self.frozen else self.model
        if self.driver.axis_name is not None:
            view = set_axis_name(view, self.driver.axis_name)
        apply, _ = to_functional(view, method="classify" if cached else "__call__")
        if cached:
            train_data, val_data = self._feature_loaders()
            prepare = prepare_eval = prepare_features(task)
        else:
            train_data, val_data = self._image_loaders()
            dtype = config.network.dtype
            prepare = prepare_images(task, self.network.preprocess, dtype, config.augment)
            prepare_eval = prepare_images(task, self.network.preprocess, dtype)
        lr = learning_rate(config)
        schedule = make_schedule(
            optim.sched,
            lr,
            epochs=optim.epochs,
            steps_per_epoch=train_data.steps_per_epoch,
            warmup_epochs=min(optim.warmup_epochs, optim.epochs),
            warmup_lr=min(optim.warmup_lr, lr),
            min_lr=optim.min_lr,
            decay_epochs=optim.decay_epochs,
            decay_rate=optim.decay_rate,
            decay_milestones=optim.decay_milestones,
        )
        optimizer = make_optimizer(
            optim.opt,
            self.trained,
            schedule,
            weight_decay=optim.weight_decay,
            decay_rules=optim.weight_decay_rules,
            layer_decay=optim.layer_decay,
            lr_rules=optim.lr_rules,
            clip_grad=optim.clip_grad,
            clip_mode=optim.clip_mode,
            momentum=optim.momentum,
            betas=optim.opt_betas,
            eps=optim.opt_eps,
        )
        train_step = make_train_step(
            apply,
            task,
            optimizer,
            prepare,
            accum_steps=optim.grad_accum_steps,
            ema_decay=optim.model_ema_decay if optim.model_ema else None,
            ema_warmup=optim.model_ema_warmup,
            penalty=make_penalty(self.trained, l1=config.loss.l1, l2=config.loss.l2),
        )
        key = jax.random.key(config.job.seed)
        stats = self.variables["batch_stats"]
        state = TrainState.create(self.trained, self.frozen, stats, optimizer, key, ema=optim.model_ema)
        metric, mode = selection(self.config, self.task)
        watch: dict[str, Any] = {"mode": mode}
        self.checkpointer = self._checkpointer()
        steps = self.checkpointer.steps()
        if is_main_process():
            self._open_writers(steps[-1] if resume and steps else 0)
        self._loop = Loop(
            LoopOptions(
                epochs=optim.epochs + optim.cooldown_epochs,
                metric=metric,
                mode=mode,
                grad_accum_steps=optim.grad_accum_steps,
                log_interval=config.job.log_interval,
                checkpoint_interval=config.job.checkpoint_interval,
                nan_limit=config.job.nan_limit,
                profile_steps=_profile_steps(config.job.profile_steps),
                profile_folder=str(self.output / "profile"),
            ),
            driver=self.driver,
            train_step=train_step,
            eval_step=make_eval_step(apply, task, prepare_eval),
            state=state,
            train_data=train_data,
            val_data=val_data,
            task=task,
            checkpointer=self.checkpointer,
            examples_per_step=self._examples,
            writers=self._writers,
            plateau=Plateau(lr, patience=optim.patience_epochs, factor=optim.decay_rate, min_lr=optim.min_lr, mode=mode)
            if optim.sched == "plateau"
            else None,
            early_stopping=EarlyStopping(patience=optim.early_stopping, **watch) if optim.early_stopping else None,
            val_metrics=self._val_metrics,
            report=self.say,
            watch=self.watch,
        )
        count = sum(int(np.prod(value.shape)) for value in flatten(self.trained).values())
        frozen = sum(int(np.prod(value.shape)) for value in flatten(self.frozen).values())
        self.say(
            f"{config.network.model}: {count:,} parameters to train"
            + (f", {frozen:,} frozen" if frozen else "")
            + f"; {self.driver.num_devices} {jax.default_backend()} device(s) by {self.driver.name}; "
            f"{train_data.steps_per_epoch} steps of {self._examples} an epoch; lr {lr:.3g}"
        )
        return self._loop

    def finish(self, outcome: Outcome) -> RunResult:
        """Evaluates the best checkpoint, exports its weights, and writes the report."""
        assert self._loop is not None, "`loop` makes it"
        config, loop = self.config, self._loop
        state = self.driver.place_state(outcome.state)
        best = self.checkpointer.best_step()
        if best is not None and best != outcome.step:
            state = self.driver.place_state(self.checkpointer.restore(self.driver.abstract(state), best)[0])
        self.checkpointer.close()
        variables = state.variables(ema=config.optim.model_ema)
        validation = None if loop.val_data is None else self._assess(loop, variables, self.data.val, loop.val_data)
        threshold = assess.pick_threshold(config.job.threshold, validation)
        split, assessed = "validation", validation
        if self.data.test is not None:
            test_data = self._eval_loader(self.data.test)
            split, assessed = "test", self._assess(loop, variables, self.data.test, test_data)
        result = path = None
        whole = self.driver.to_host(self.driver.canonical(variables))  # on every process, which all have parts of it
        if is_main_process():
            self._export(whole)
            if assessed is None:
                self.say("there are no validation or test data, so there is no report; the weights are exported")
            else:
                path, result = self._report(assessed, split, threshold, outcome)
        sure = self._uncertainty(whole)
        for writer in self._writers:
            writer.close()
        barrier("jaxvision.finish")
        measured = split if assessed is not None else None
        return RunResult(self.output, outcome.stopped, path, result, measured, assessed, threshold, sure)

    def _uncertainty(self, variables: dict[str, Any]) -> Uncertain | None:
        """How sure the network of these variables is."""
        if self._held_out is None:
            return None
        sites = " ".join(self.config.job.uncertainty)
        if jax.process_count() > 1:
            self.say(f"uncertainty is for one process: jaxvision uncertainty {self.output} --sites {sites}")
            return None
        data = self.config.data
        update(self.model, jax.tree.map(jnp.asarray, variables))
        subject = Subject(
            network=self.network,
            task=self.task,
            batch_size=data.validation_batch_size or data.batch_size,
            workers=data.workers,
        )
        return estimate(
            subject,
            self._held_out,
            self._injection,
            output=self.output / UNCERTAINTY,
            title=f"How sure is {self.config.network.model} on {Path(data.data).name}?",
            settings={"model": self.config.network.model, "data": data.data},
            say=self.say,
        )

    def _report(self, assessed: assess.Assessed, split: str, threshold: Any, outcome: Outcome) -> tuple[Path, Result]:
        config = self.config
        history = read_history(self.output / "metrics.jsonl")
        notes = [f"Measured on the {split} data, {len(assessed.index)} pictures, with the best checkpoint of the run."]
        if split == "validation":
            notes.append("The checkpoint was chosen on the same data, so these numbers are a little optimistic.")
        if threshold is not None:
            notes.append(f"The threshold was chosen on the validation data by {threshold.criterion}.")
        if outcome.stopped == "early":
            notes.append(f"Stopped early: no improvement in {config.optim.early_stopping} epochs.")
        if self._held_out is not None:
            notes.append(f"How sure the network is, calibrated: {UNCERTAINTY}/report.html, beside this page.")
        bad = self._loop.train_data.bad_files if self._loop is not None else {}
        if bad:
            notes.append(f"{len(bad)} training pictures could not be read: {', '.join(list(bad)[:5])}")
        default = flat(TrainConfig())
        settings = {name: value for name, value in flat(config).items() if value != default[name]}
        settings |= {"model": config.network.model, "data": config.data.data, "jaxvision": jaxvision.__version__}
        return assess.report(
            self.output,
            assessed,
            title=f"{config.network.model} on {Path(config.data.data).name}",
            settings=settings,
            history=history,
            threshold=threshold,
            notes=notes,
        )

    def _assess(self, loop: Loop, variables: Any, dataset: ImageDataset | None, data: EvalSource) -> assess.Assessed:
        if dataset is None:
            raise ValueError("there is nothing to assess")
        return assess.assess(self.task, dataset, loop.predict(variables, data), data.bad_files)

    def _val_metrics(self, predictions: Predictions) -> dict[str, float]:
        if self.data.val is None:
            return {}
        return assess.headline(assess.assess(self.task, self.data.val, predictions, {}).result())

    def _checkpointer(self) -> Checkpointer:
        metric, mode = selection(self.config, self.task)
        hist = self.config.job.checkpoint_hist
        return Checkpointer(self.output / "checkpoints", keep_last=hist, keep_best=hist, metric=metric, mode=mode)

    def _open_writers(self, step: int) -> None:
        job = self.config.job
        self._writers.append(FileWriter(self.output, step))
        if job.tensorboard:
            self._writers.append(TensorBoardWriter(self.output / "tensorboard"))
        if job.wandb_project is not None:
            self._writers.append(WandbWriter(job.wandb_project, self.output.name, flat(self.config)))

    def _image_loaders(self) -> tuple[TrainSource, EvalSource | None]:
        config, data = self.config, self.config.data
        train = TrainLoader(
            self.data.train,
            train_transform(config.augment, self.network.preprocess),
            batch_size=self._examples,
            seed=config.job.seed,
            sampling=data.sampling,
            workers=data.workers,
            worker_processes=data.worker_processes,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            bad_file_limit=data.bad_file_limit,
        )
        return train, None if self.data.val is None else self._image_eval_loader(self.data.val)

    def _image_eval_loader(self, dataset: ImageDataset) -> EvalLoader:
        data = self.config.data
        return EvalLoader(
            dataset,
            self.network.preprocess,
            data.validation_batch_size or data.batch_size,
            workers=data.workers,
            worker_processes=data.worker_processes,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )

    def _eval_loader(self, dataset: ImageDataset) -> EvalSource:
        return (
            self._feature_eval_loader(dataset)
            if self.config.network.cache_features
            else self._image_eval_loader(dataset)
        )

    def _feature_loaders(self) -> tuple[TrainSource, EvalSource | None]:
        augment = self.config.augment
        if augment.mixup or augment.cutmix or augment.aa or augment.reprob or augment.rotation:
            raise ConfigError("--cache-features sees every picture once, unchanged: leave out the augmentations")
        index, features, bad = self._features(self.data.train)
        train = FeatureLoader(
            self.data.train,
            index,
            features,
            batch_size=self._examples,
            seed=self.config.job.seed,
            sampling=self.config.data.sampling,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
        train.bad_files.update(bad)
        return train, None if self.data.val is None else self._feature_eval_loader(self.data.val)

    def _feature_eval_loader(self, dataset: ImageDataset) -> FeatureEvalLoader:
        index, features, bad = self._features(dataset)
        data = self.config.data
        return FeatureEvalLoader(
            dataset,
            index,
            features,
            data.validation_batch_size or data.batch_size,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            bad_files=bad,
        )

    def _features(self, dataset: ImageDataset) -> tuple[np.ndarray, np.ndarray, dict[str, str]]:
        """What the backbone gives for every picture, on every process."""
        started = time.perf_counter()
        compute, variables = self._backbone
        loader = self._image_eval_loader(dataset)
        rows, _ = collect(self.driver, compute, variables, loader)
        seconds = time.perf_counter() - started
        self.say(f"features of {len(rows['index'])} pictures in {seconds:.0f} s")
        return rows["index"], rows["features"], loader.bad_files

    @cached_property
    def _backbone(self) -> tuple[Callable[[Any, Any], Any], Any]:
        """The compiled pass up to the classifier, and its variables on the devices."""
        apply, variables = to_functional(Backbone(self.model))
        prepare = prepare_images(self.task, self.network.preprocess, self.config.network.dtype)

        def step(variables: Any, batch: Any, axis_name: Any = None) -> dict[str, Any]:
            features, _ = apply(variables, prepare(batch, None)[0])
            return {"features": features.astype("float32")}

        return self.driver.compile_eval(with_rows(step)), self.driver.place_state(variables)

    def _export(self, variables: dict[str, Any]) -> None:
        """Writes the weights as ``model.safetensors``, which `create_model` and `load_weights` take."""
        from safetensors.numpy import save_file

        arrays = {
            name: np.ascontiguousarray(value)
            for collection in ("params", "batch_stats")
            for name, value in flatten(variables[collection]).items()
        }
        save_file(arrays, self.output / "model.safetensors", metadata={"model": self.config.network.model})


def learning_rate(config: TrainConfig) -> float:
    """``--lr``, or what ``--lr-base`` and the batch make of it, as in timm."""
    optim = config.optim
    if optim.lr is not None:
        return optim.lr
    ratio = config.data.batch_size * optim.grad_accum_steps / optim.lr_base_size
    return optim.lr_base * (ratio**0.5 if any(name in optim.opt for name in _ADAPTIVE) else ratio)


def _join(config: TrainConfig) -> None:
    job = config.job
    if job.distributed or job.coordinator is not None or job.num_processes is not None:
        initialize(job.coordinator, job.num_processes, job.process_id)


def _output(config: TrainConfig) -> Path:
    if config.job.output is not None:
        return config.job.output
    if config.job.resume == "auto":
        raise ConfigError("--resume auto goes on with the run in --output: name that folder")
    if jax.process_count() > 1:
        raise ConfigError("several processes need the same folder: give --output")
    data = Path(config.data.data).stem.replace(":", "-") or "data"
    return Path("runs") / f"{config.network.model}-{data}-{time.strftime('%Y%m%d-%H%M%S')}"


def _prepare_output(config: TrainConfig, output: Path) -> bool:
    """Makes the folder; returns whether a run is gone on with.

    Raises:
        ConfigError: the folder holds a run, and it is not asked for or has other settings.
    """
    settings = output / "args.yaml"
    found = bool(Checkpointer(output / "checkpoints").steps())
    if found and config.job.resume != "auto":
        raise ConfigError(
            f"{str(output)!r} already holds a run: go on with it by --resume auto, or give another --output"
        )
    if found and settings.exists():
        differences = changed(flat(read_config(settings, TrainConfig())), flat(config))
        if differences and not config.job.allow_changes:
            raise ConfigError(
                f"the run in {str(output)!r} had other settings: {'; '.join(differences)}. Use the run's (--config "
                f"{settings}), or pass --allow-changes to go on with the new ones"
            )
    if is_main_process():
        try:
            output.mkdir(parents=True, exist_ok=True)
            write_config(settings, config)
        except OSError as error:
            raise ConfigError(f"cannot write to {str(output)!r}: {error.strerror or error}") from None
    return found


def _profile_steps(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    first, colon, last = text.partition(":")
    if not (colon and first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
        raise ConfigError(f"--profile-steps is FIRST:LAST, such as 10:15, got {text!r}")
    return int(first), int(last)


def _silent(line: str) -> None:
    """What a process says that is not the main one."""
