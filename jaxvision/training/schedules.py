"""Learning rates over a run: traced functions of the number of updates, and what the host decides between epochs."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float32, Int32

from jaxvision.paths import suggestion

Schedule = Callable[[Int32[Array, ""]], Float32[Array, ""]]

SCHEDULES = ("cosine", "step", "multistep", "poly", "constant", "plateau")


def make_schedule(
    name: str,
    lr: float,
    *,
    epochs: float,
    steps_per_epoch: int,
    warmup_epochs: float = 0.0,
    warmup_lr: float = 0.0,
    min_lr: float = 0.0,
    decay_epochs: float = 30.0,
    decay_rate: float = 0.1,
    decay_milestones: Sequence[float] = (),
    power: float = 0.5,
) -> Schedule:
    """A schedule by timm's name, as a function of the number of updates done.

    All begin with a linear warm-up from ``warmup_lr`` to ``lr``. Then, over the ``epochs`` that are left:

    * ``"cosine"``: half a cosine from ``lr`` to ``min_lr`` (Loshchilov and Hutter 2017, without restarts);
    * ``"poly"``: ``min_lr + (lr - min_lr) * (1 - t) ** power``;
    * ``"step"``: times ``decay_rate`` after every ``decay_epochs``; ``"multistep"``: after each of
      ``decay_milestones``. Both count epochs from the start of the run, and neither goes below ``min_lr``;
    * ``"constant"``, and ``"plateau"``, which `Plateau` then lowers from the host.

    After ``epochs`` cosine and poly stay at ``min_lr``: a cool-down is a matter of running longer.

    Args:
        name: one of `SCHEDULES`.
        lr: the highest rate.
        epochs: length of the schedule, warm-up included, without a cool-down.
        steps_per_epoch: updates of an epoch.
        warmup_epochs: length of the warm-up; it may be a fraction.
        warmup_lr: where the warm-up starts.
        min_lr: the lowest rate.
        decay_epochs: of ``"step"``.
        decay_rate: of ``"step"`` and ``"multistep"``.
        decay_milestones: of ``"multistep"``, in epochs.
        power: of ``"poly"``.

    Raises:
        ValueError: an unknown name, or numbers that do not fit together.
    """
    if name not in SCHEDULES:
        raise ValueError(f"unknown schedule {name!r}{suggestion(name, SCHEDULES)}; there are {', '.join(SCHEDULES)}")
    if steps_per_epoch < 1 or epochs <= 0 or not 0 <= warmup_epochs <= epochs:
        raise ValueError(
            "a schedule needs epochs > 0, steps_per_epoch >= 1 and 0 <= warmup_epochs <= epochs, "
            f"got {epochs}, {steps_per_epoch} and {warmup_epochs}"
        )
    if not 0 <= min_lr <= lr or not 0 <= warmup_lr <= lr:
        raise ValueError(f"min_lr and warmup_lr must be between 0 and lr={lr}, got {min_lr} and {warmup_lr}")
    if name == "multistep" and not decay_milestones:
        raise ValueError("the multistep schedule needs decay_milestones, the epochs after which the rate drops")
    warmup, total = round(warmup_epochs * steps_per_epoch), round(epochs * steps_per_epoch)
    if name == "cosine":
        after = optax.cosine_decay_schedule(lr, max(1, total - warmup), alpha=min_lr / lr if lr else 0.0)
    elif name == "poly":
        after = optax.polynomial_schedule(lr, min_lr, power, max(1, total - warmup))
    elif name in ("step", "multistep"):
        epochs_of_drop = decay_milestones if name == "multistep" else _multiples(decay_epochs, epochs)
        drops = jnp.asarray([round(epoch * steps_per_epoch) for epoch in epochs_of_drop], jnp.int32)

        def after(count: Int32[Array, ""]) -> Float32[Array, ""]:
            return jnp.maximum(lr * decay_rate ** jnp.sum(count + warmup >= drops), min_lr)
    else:
        after = optax.constant_schedule(lr)
    if not warmup:
        return lambda step: jnp.asarray(after(step), jnp.float32)
    joined = optax.join_schedules([optax.linear_schedule(warmup_lr, lr, warmup), after], [warmup])
    return lambda step: jnp.asarray(joined(step), jnp.float32)


def _multiples(period: float, end: float) -> list[float]:
    if period <= 0:
        raise ValueError(f"decay_epochs must be above 0, got {period}")
    return [period * i for i in range(1, math.floor(end / period) + 1)]


class _Watch:
    """Follows one number a time and counts how long it has not become better."""

    def __init__(self, patience: int, mode: str):
        if mode not in ("min", "max"):
            raise ValueError(f"mode must be 'min' or 'max', got {mode!r}")
        if patience < 0:
            raise ValueError(f"patience must be at least 0, got {patience}")
        self.patience = patience
        self.mode = mode
        self.best: float | None = None
        self.bad_epochs = 0

    def _note(self, value: float, margin: float) -> None:
        """Counts a value; it is better only by more than ``margin``. What is not a number is never better."""
        gain = None if self.best is None else (value - self.best if self.mode == "max" else self.best - value)
        if not math.isnan(value) and (gain is None or gain > margin):
            self.best, self.bad_epochs = value, 0
        else:
            self.bad_epochs += 1

    def state_dict(self) -> dict[str, Any]:
        """What has been seen, as plain numbers for a checkpoint."""
        return {"best": self.best, "bad_epochs": self.bad_epochs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from `state_dict`'s result."""
        self.best, self.bad_epochs = state["best"], int(state["bad_epochs"])


class Plateau(_Watch):
    """Lowers the learning rate when a metric stops improving: PyTorch's ``ReduceLROnPlateau``.

    Args:
        lr: the schedule's rate, to which ``min_lr`` refers.
        patience: epochs without an improvement that are let pass; the one after lowers the rate.
        factor: what the rate is then multiplied by.
        min_lr: the lowest rate.
        mode: ``"min"`` if a smaller metric is better, else ``"max"``.
        threshold: what counts as better, relative to the best.

    Attributes:
        scale: the factor for ``TrainState.lr_scale``.

    Raises:
        ValueError: an argument out of range.
    """

    def __init__(
        self,
        lr: float,
        *,
        patience: int = 10,
        factor: float = 0.1,
        min_lr: float = 0.0,
        mode: str = "min",
        threshold: float = 1e-4,
    ):
        super().__init__(patience, mode)
        if not 0 < factor < 1:
            raise ValueError(f"factor must be between 0 and 1, got {factor}")
        self.factor = factor
        self.min_scale = min_lr / lr
        self.threshold = threshold
        self.scale = 1.0

    def update(self, value: float) -> float:
        """Takes an epoch's metric; returns the scale for the next."""
        self._note(value, 0.0 if self.best is None else self.threshold * abs(self.best))
        if self.bad_epochs > self.patience:
            self.scale, self.bad_epochs = max(self.scale * self.factor, self.min_scale), 0
        return self.scale

    def state_dict(self) -> dict[str, Any]:
        """What has been seen, and the scale."""
        return {**super().state_dict(), "scale": self.scale}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from `state_dict`'s result."""
        super().load_state_dict(state)
        self.scale = float(state["scale"])


class EarlyStopping(_Watch):
    """Says when a metric has not improved for ``patience`` epochs.

    Args:
        patience: epochs without an improvement after which to stop.
        min_delta: what counts as better, absolute.
        mode: ``"min"`` if a smaller metric is better, else ``"max"``.

    Raises:
        ValueError: an argument out of range.
    """

    def __init__(self, *, patience: int, min_delta: float = 0.0, mode: str = "min"):
        super().__init__(patience, mode)
        if patience < 1:
            raise ValueError(f"patience must be at least 1, got {patience}")
        if min_delta < 0:
            raise ValueError(f"min_delta must be at least 0, got {min_delta}")
        self.min_delta = min_delta

    def update(self, value: float) -> bool:
        """Takes an epoch's metric; returns whether to stop."""
        self._note(value, self.min_delta)
        return self.bad_epochs >= self.patience
