"""The loop: steps, evaluations, checkpoints, and leaving at any moment so that a resumed run ends in the same bits."""

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxvision.training.checkpoint import Checkpointer
from jaxvision.training.distributed import agree_any, is_main_process
from jaxvision.training.losses import Task
from jaxvision.training.parallel import Driver
from jaxvision.training.passes import collect, with_rows
from jaxvision.training.schedules import EarlyStopping, Plateau
from jaxvision.training.signals import StopSignals
from jaxvision.training.state import TrainState
from jaxvision.training.step import EvalStep, TrainStep
from jaxvision.training.writers import Writer

Watch = Callable[[int, int, int, Mapping[str, float]], None]

logger = logging.getLogger(__name__)

_LAG = 2  # steps that the device may be ahead of the numbers that the host looks at


class DivergedError(RuntimeError):
    """The loss is not finite any more; the message says since when, and what to try."""


class TrainSource(Protocol):
    """Where training batches come from: `jaxvision.data.loader.TrainLoader` is one."""

    steps_per_epoch: int
    bad_files: dict[str, str]

    def batches(self, start_step: int = 0, stop_step: int | None = None) -> Any:
        """An iterator over the batches of the steps from ``start_step`` on, with ``get_state`` and ``close``."""
        ...

    def start_step(self, state: dict[str, Any]) -> int:
        """The step at which to go on from a saved state of the iterator."""
        ...


class EvalSource(Protocol):
    """Where batches of evaluation come from: `jaxvision.data.loader.EvalLoader` is one."""

    bad_files: dict[str, str]

    def __len__(self) -> int:
        """The number of batches."""
        ...

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        """The batches."""
        ...


@dataclass(frozen=True, kw_only=True)
class LoopOptions:
    """How a run goes.

    Attributes:
        epochs: how many.
        metric: name of the validation metric that chooses the best checkpoint, ends a run early, lowers a plateau's
            rate.
        mode: whether it is best when small or large.
        grad_accum_steps: microbatches of a step.
        log_interval: steps between two rows of the log.
        checkpoint_interval: steps between checkpoints within an epoch; 0 for none.
        nan_limit: updates in a row that may be skipped because the loss or the gradient was not finite.
        profile_steps: first and last step to trace, or None.
        profile_folder: where the trace goes.
    """

    epochs: int
    metric: str = "accuracy"
    mode: Literal["min", "max"] = "max"
    grad_accum_steps: int = 1
    log_interval: int = 50
    checkpoint_interval: int = 0
    nan_limit: int = 0
    profile_steps: tuple[int, int] | None = None
    profile_folder: str = "profile"


@dataclass(frozen=True)
class Predictions:
    """What a network says about the examples of a split, in their order; unreadable ones are left out.

    Attributes:
        index: of each example in the data set, (n,).
        logits: (n, k) float32.
        sums: the task's sums over all examples, and ``loss``, their mean.
    """

    index: Int[np.ndarray, " n"]
    logits: Float[np.ndarray, "n k"]
    sums: dict[str, float]


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        state: the last state, one copy.
        step: batches seen.
        best_metric: the best validation metric, None if it was never evaluated.
        best_step: the step of that evaluation.
        stopped: ``"finished"``, ``"early"`` or the name of the signal that asked for it.
    """

    state: TrainState
    step: int
    best_metric: float | None
    best_step: int | None
    stopped: str


@dataclass
class _Progress:
    """What the host knows of a run, beside the state: all of it goes into each checkpoint."""

    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)  # of this epoch's steps so far
    best_metric: float | None = None
    best_step: int | None = None
    finished: bool = False

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


class Loop:
    """Trains a state: ``Loop(...).run()``.

    Args:
        options: how the run goes.
        driver: spreads the steps over devices.
        train_step: from `make_train_step`.
        eval_step: from `make_eval_step`.
        state: the state to start from, one copy; it is not changed.
        train_data: the training batches.
        val_data: the validation batches, or None.
        task: names the metrics.
        checkpointer: keeps the states.
        writers: take rows of numbers; on the main process only.
        plateau: lowers the learning rate, or None.
        early_stopping: ends the run early, or None.
        val_metrics: further validation metrics, of `Predictions`, such as the balanced accuracy.
        report: takes a line of text for whoever watches.
        watch: is told after each step where the run is: step, total, epoch, and the epoch's numbers so far. With it
            the lines of the log within an epoch are left out.
        examples_per_step: over all processes, for images/s.
    """

    def __init__(
        self,
        options: LoopOptions,
        *,
        driver: Driver,
        train_step: TrainStep,
        eval_step: EvalStep,
        state: TrainState,
        train_data: TrainSource,
        val_data: EvalSource | None,
        task: Task,
        checkpointer: Checkpointer,
        examples_per_step: int,
        writers: Sequence[Writer] = (),
        plateau: Plateau | None = None,
        early_stopping: EarlyStopping | None = None,
        val_metrics: Callable[[Predictions], dict[str, float]] | None = None,
        report: Callable[[str], None] = lambda line: None,
        watch: Watch | None = None,
    ) -> None:
        self.options, self.driver, self.task = options, driver, task
        self.train_data, self.val_data = train_data, val_data
        self.checkpointer, self.writers = checkpointer, writers
        self.plateau, self.early_stopping = plateau, early_stopping
        self.examples_per_step = examples_per_step
        self._val_metrics, self._report, self._watch = val_metrics, report, watch
        self._train = driver.compile_train(train_step)
        self._evaluate = driver.compile_eval(with_rows(eval_step))
        self._initial = state
        self._progress = _Progress()
        self._last_finite: dict[str, float] = {}
        self._skipped = 0  # updates in a row
        self._speed = self._seconds = 0.0  # of the last epoch
        self._profiling = False

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch."""
        return self.train_data.steps_per_epoch

    def run(self, resume: bool = False) -> Outcome:
        """Trains until the last epoch, until the metric stops improving, or until SIGTERM or Ctrl-C.

        Args:
            resume: go on from the newest readable checkpoint.

        Raises:
            DivergedError: more updates in a row than ``nan_limit`` were not finite; the last good state is saved.
            CheckpointError: the last checkpoint could not be written, or (``resume``) none can be read.
        """
        state = self.driver.place_state(self._initial)
        if resume:
            state = self._restore(state)
        total = self.options.epochs * self.steps_per_epoch
        progress = self._progress
        stopped = "finished"
        with ExitStack() as stack:
            signals = stack.enter_context(StopSignals())
            batches = self.train_data.batches(progress.step)
            stack.callback(batches.close)
            stack.callback(self._stop_profile)
            saved_at = progress.step if resume else None
            while progress.step < total and not progress.finished:
                state, signal = self._epoch(state, batches, signals)
                if signal is not None:
                    stopped = signal
                    break
                state = self._end_epoch(state, batches)
                saved_at = progress.step
            if saved_at != progress.step:
                self._save(state, batches, wait=True)
            if progress.finished and stopped == "finished":
                stopped = "early"
        self.checkpointer.wait()
        return Outcome(self.driver.canonical(state), progress.step, progress.best_metric, progress.best_step, stopped)

    def predict(self, variables: Mapping[str, Any], data: EvalSource) -> Predictions:
        """One evaluation pass.

        Args:
            variables: of a placed state, ``state.variables()``.
            data: the batches.
        """
        rows, sums = collect(self.driver, self._evaluate, variables, data)
        sums["loss"] = sums.pop("loss_sum") / sums.pop("weight_sum")
        return Predictions(rows["index"], rows["logits"], sums)

    def _epoch(self, state: TrainState, batches: Any, signals: StopSignals) -> tuple[TrainState, str | None]:
        """Steps up to the end of the epoch that the run is in, or to a signal."""
        progress, options = self._progress, self.options
        epoch = progress.step // self.steps_per_epoch
        end = (epoch + 1) * self.steps_per_epoch
        pending: deque[tuple[int, dict[str, Any], np.ndarray]] = deque()
        started, started_at, logged = time.perf_counter(), progress.step, progress.step
        together = 1 if jax.process_count() == 1 else min(10, options.log_interval)
        while progress.step < end:
            self._profile(progress.step, state)
            batch = next(batches)
            placed = self.driver.place_batch(
                _microbatches(batch, options.grad_accum_steps), options.grad_accum_steps > 1
            )
            state, metrics = self._train(state, placed)
            progress.step += 1
            pending.append((progress.step, metrics, batch["index"]))
            while len(pending) > _LAG:
                self._take(pending.popleft(), state, batches)
            speed = (progress.step - started_at) / (time.perf_counter() - started)
            if progress.step - logged >= options.log_interval:
                logged = progress.step
                self._log(epoch, speed)
            if self._watch is not None and progress.sums:
                numbers = _means(progress.sums) | {"images_per_second": speed * self.examples_per_step}
                self._watch(progress.step, options.epochs * self.steps_per_epoch, epoch, numbers)
            if progress.step % together == 0 and agree_any(signals.received is not None):
                self._drain(pending, state, batches)
                return state, "SIGTERM" if signals.received is None else signals.received.name
            interval = options.checkpoint_interval
            if interval and progress.step % interval == 0 and progress.step < end:
                self._drain(pending, state, batches)
                self._save(state, batches)
        self._drain(pending, state, batches)
        self._seconds = time.perf_counter() - started
        self._speed = (progress.step - started_at) * self.examples_per_step / max(self._seconds, 1e-9)
        return state, None

    def _end_epoch(self, state: TrainState, batches: Any) -> TrainState:
        """Evaluates, writes the epoch's row, decides what follows, saves."""
        progress = self._progress
        epoch = progress.step // self.steps_per_epoch - 1
        row: dict[str, Any] = {"kind": "epoch", "epoch": epoch, "step": progress.step}
        row |= {f"train_{name}": value for name, value in _means(progress.sums).items()}
        row |= {"lr": self._last_finite.get("lr"), "images_per_second": self._speed, "seconds": self._seconds}
        metrics: dict[str, float] = {}
        if self.val_data is not None:
            started = time.perf_counter()
            metrics = self._metrics(self.predict(state.variables(), self.val_data))
            if state.ema is not None:
                row |= {f"val_raw_{name}": value for name, value in metrics.items()}
                metrics = self._metrics(self.predict(state.variables(ema=True), self.val_data))
            row |= {f"val_{name}": value for name, value in metrics.items()}
            row["val_seconds"] = time.perf_counter() - started
        value = metrics.get(self.options.metric)
        if self.val_data is not None and value is None:
            raise ValueError(f"the validation has no metric {self.options.metric!r}; it has {', '.join(metrics)}")
        if value is not None:
            best, better = progress.best_metric, min if self.options.mode == "min" else max
            if best is None or (value != best and better(value, best) == value):
                progress.best_metric, progress.best_step = value, progress.step
            if self.plateau is not None:
                scale = jnp.full_like(state.lr_scale, self.plateau.update(value))
                state = replace(state, lr_scale=jax.device_put(scale, state.lr_scale.sharding))
            if self.early_stopping is not None and self.early_stopping.update(value):
                progress.finished = True
        progress.sums = {}
        self._write(row)
        self._report(_epoch_line(row, self.options.epochs, best=progress.best_step == progress.step))
        ranked = {**metrics, "train_loss": row["train_loss"]}
        self._save(state, batches, ranked)
        return state

    def _metrics(self, predictions: Predictions) -> dict[str, float]:
        metrics = _means(predictions.sums)
        return metrics if self._val_metrics is None else metrics | self._val_metrics(predictions)

    def _take(self, item: tuple[int, dict[str, Any], np.ndarray], state: TrainState, batches: Any) -> None:
        """Looks at the numbers of one step."""
        step, metrics, index = item
        numbers = {name: float(value) for name, value in jax.device_get(metrics).items()}
        if numbers["finite"]:
            self._last_finite = numbers
            self._skipped = 0
            sums = self._progress.sums
            count = numbers.get("count", 1.0)
            sums["loss_sum"] = sums.get("loss_sum", 0.0) + numbers["loss"] * count
            for name, value in numbers.items():
                if name not in ("loss", "lr", "finite", "grad_norm", "penalty"):
                    sums[name] = sums.get(name, 0.0) + value
            return
        self._skipped += 1
        what = "loss" if not math.isfinite(numbers["loss"]) else "gradient"
        names = self._names(index)
        logger.warning("step %d was skipped: its %s is not finite (examples %s)", step, what, names)
        if self._skipped > self.options.nan_limit:
            self._save(state, batches, wait=True)
            before = self._last_finite
            last = (
                f"the last good step had loss {before['loss']:.4g}, gradient norm {before['grad_norm']:.4g} and "
                f"learning rate {before['lr']:.3g}"
                if before
                else "no step was good: look at the data, --mean and --std, and the initial weights first"
            )
            raise DivergedError(
                f"the {what} of step {step} is not finite (loss {numbers['loss']}, gradient norm "
                f"{numbers['grad_norm']}; examples {names}); {last}. The state before it is saved in "
                f"{self.checkpointer.directory}. Try a lower --lr, a longer --warmup-epochs, --clip-grad 1, or --dtype "
                "float32; or skip a few such steps by --nan-limit"
            )

    def _names(self, index: np.ndarray) -> str:
        shown = [str(int(i)) for i in index.ravel()[:8]]
        return ", ".join(shown) + (", ..." if index.size > 8 else "")

    def _drain(self, pending: deque[Any], state: TrainState, batches: Any) -> None:
        while pending:
            self._take(pending.popleft(), state, batches)

    def _save(
        self, state: TrainState, batches: Any, metrics: Mapping[str, float] | None = None, wait: bool = False
    ) -> None:
        host = {
            "progress": self._progress.to_json(),
            "data": batches.get_state(),
            "plateau": None if self.plateau is None else self.plateau.state_dict(),
            "early_stopping": None if self.early_stopping is None else self.early_stopping.state_dict(),
            "last": self._last_finite,
            "bad_files": self.train_data.bad_files,
        }
        self.checkpointer.save(self._progress.step, self.driver.canonical(state), host, metrics, wait=wait)

    def _restore(self, state: TrainState) -> TrainState:
        restored, host, step = self.checkpointer.restore(self.driver.abstract(state))
        self._progress = _Progress(**host["progress"])
        self._progress.step = self.train_data.start_step(host["data"])
        if self.plateau is not None and host["plateau"] is not None:
            self.plateau.load_state_dict(host["plateau"])
        if self.early_stopping is not None and host["early_stopping"] is not None:
            self.early_stopping.load_state_dict(host["early_stopping"])
        self._last_finite = host["last"]
        epoch, within = divmod(step, self.steps_per_epoch)
        self._report(f"resumed at step {step}: epoch {epoch}, {within} of {self.steps_per_epoch} steps into it")
        return self.driver.place_state(restored)

    def _log(self, epoch: int, steps_per_second: float) -> None:
        progress, last = self._progress, self._last_finite
        if not last:
            return
        speed = steps_per_second * self.examples_per_step
        left = (self.options.epochs * self.steps_per_epoch - progress.step) / steps_per_second
        means = _means(progress.sums)
        row = {"kind": "train", "epoch": epoch, "step": progress.step, "loss": last["loss"], "lr": last["lr"]}
        self._write(row | {"grad_norm": last["grad_norm"], "images_per_second": speed})
        if self._watch is not None:
            return
        accuracy = f"  accuracy {means['accuracy']:.1%}" if "accuracy" in means else ""
        within = progress.step - epoch * self.steps_per_epoch
        self._report(
            f"epoch {epoch} [{within}/{self.steps_per_epoch}]  loss {means['loss']:.4f}{accuracy}  "
            f"lr {last['lr']:.2e}  {speed:.0f} images/s  {_clock(left)} left"
        )

    def _write(self, row: Mapping[str, Any]) -> None:
        if is_main_process():
            for writer in self.writers:
                writer.write(row)

    def _profile(self, step: int, state: TrainState) -> None:
        if self.options.profile_steps is None:
            return
        first, last = self.options.profile_steps
        if step == first and not self._profiling:
            jax.profiler.start_trace(self.options.profile_folder)
            self._profiling = True
        elif step == last + 1 and self._profiling:
            jax.block_until_ready(state.step)
            self._stop_profile()

    def _stop_profile(self) -> None:
        if self._profiling:
            jax.profiler.stop_trace()
            self._profiling = False
            self._report(f"the profile is in {self.options.profile_folder}")


def _microbatches(batch: dict[str, np.ndarray], accum_steps: int) -> dict[str, np.ndarray]:
    if accum_steps == 1:
        return batch
    return {name: array.reshape(accum_steps, -1, *array.shape[1:]) for name, array in batch.items()}


def _means(sums: Mapping[str, float]) -> dict[str, float]:
    """Metrics by the names that users know, from a task's sums."""
    count = sums.get("count", 0.0)
    means = {"loss": sums["loss"] if "loss" in sums else sums.get("loss_sum", math.nan) / max(count, 1.0)}
    names = {"correct": "accuracy", "top5": "top5_accuracy", "squared_error": "mse", "absolute_error": "mae"}
    means |= {names[name]: sums[name] / count for name in names if name in sums and count}
    if "mse" in means:
        means["rmse"] = math.sqrt(means["mse"])
    return means


def _epoch_line(row: Mapping[str, Any], epochs: int, best: bool) -> str:
    parts = [f"epoch {row['epoch'] + 1}/{epochs}"]
    for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_balanced_accuracy", "val_rmse"):
        if row.get(name) is not None:
            value = f"{row[name]:.1%}" if name.endswith("accuracy") else f"{row[name]:.4f}"
            parts.append(f"{name.replace('_', ' ')} {value}")
    parts.append(f"{row['images_per_second']:.0f} images/s")
    return "  ".join(parts) + ("  best" if best else "")


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
