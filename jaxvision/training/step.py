"""The training step: one pure function of a state and a batch, which any driver can run."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float32

from jaxvision.training.ema import ema_decay as decay_at
from jaxvision.training.ema import move_averages
from jaxvision.training.losses import Task
from jaxvision.training.optim import Optimizer
from jaxvision.training.state import TrainState, Tree, merged

Batch: TypeAlias = Mapping[str, Array]
Metrics: TypeAlias = dict[str, Float32[Array, ""]]
AxisName: TypeAlias = str | tuple[str, ...] | None
Apply: TypeAlias = Callable[..., tuple[Array, Tree]]
Prepare: TypeAlias = Callable[[Batch, jax.Array | None], tuple[Array, Array]]
Penalty: TypeAlias = Callable[[Tree], Float32[Array, ""]]


class TrainStep(Protocol):
    """``step(state, batch, axis_name=None) -> (state, metrics)``."""

    def __call__(self, state: TrainState, batch: Batch, axis_name: AxisName = None) -> tuple[TrainState, Metrics]:
        """One update."""
        ...


class EvalStep(Protocol):
    """``step(variables, batch, axis_name=None) -> outputs``."""

    def __call__(self, variables: Mapping[str, Tree], batch: Batch, axis_name: AxisName = None) -> dict[str, Array]:
        """One pass."""
        ...


def make_train_step(
    apply: Apply,
    task: Task,
    optimizer: Optimizer,
    prepare: Prepare,
    *,
    accum_steps: int = 1,
    ema_decay: float | None = None,
    ema_warmup: bool = False,
    penalty: Penalty | None = None,
) -> TrainStep:
    """The step that trains: gradient, optimiser, moving averages.

    Gradients are taken with respect to ``state.params`` only; frozen parameters are constants, and nothing is
    differentiated on their account. If the loss or the gradient is not finite, the state comes back as it was, but for
    ``skipped``, which counts such batches in a row; so does a batch whose weights are all 0.

    The step runs as it is under `jax.jit`, sharded or not. Under `jax.pmap` and `jax.shard_map` the driver names the
    mapped axis. The gradient is then that of the global batch whether or not the axis is tracked (``check_vma``): the
    differentiated function is the local sum of the losses, its parameters are cast to varying over the axis, and the
    sum over the axis is taken once, outside. Batch statistics are averaged by the modules (``BatchNorm.axis_name``).

    Args:
        apply: `jaxvision.to_functional`'s; of a view of the model if parts are frozen (see `freeze.frozen_view`).
        task: targets' loss and metrics.
        optimizer: updates, with their learning rate.
        prepare: ``(batch, key) -> (images, targets)``: normalisation, mixup and the like.
        accum_steps: microbatches of one update. If more than 1, every array of a batch is (accum_steps, b, ...). The
            gradient is that of one batch of all the examples, but for batch statistics, which move at each microbatch.
        ema_decay: moves ``state.ema`` by this decay; None leaves it.
        ema_warmup: see `ema.ema_decay`.
        penalty: ``penalty(params)`` is added to the loss (see `penalties.make_penalty`).

    Returns:
        ``step(state, batch, axis_name=None) -> (state, metrics)``. Metrics are float32 scalars over the global batch:
        ``loss`` (weighted mean, without the penalty), the task's sums (``correct``, ``count``, ...), ``grad_norm``
        (before clipping), ``lr``, ``finite`` (1 or 0), and ``penalty`` if there is one.

    Raises:
        ValueError: ``accum_steps`` below 1; (from the step) a batch that is not split into ``accum_steps``.
    """
    if accum_steps < 1:
        raise ValueError(f"accum_steps must be at least 1, got {accum_steps}")

    def step(state: TrainState, batch: Batch, axis_name: AxisName = None) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        params, frozen = state.params, state.frozen
        if axis_name is not None:
            key = jax.random.fold_in(key, jax.lax.axis_index(axis_name))
            params, frozen = jax.lax.pcast((params, frozen), axis_name, to="varying")

        def total_loss(params: Tree, stats: Tree, batch: Batch, key: jax.Array) -> tuple[Array, tuple[Tree, Metrics]]:
            prepare_key, dropout_key = jax.random.split(key)
            images, targets = prepare(batch, prepare_key)
            variables = {"params": merged(params, frozen), "batch_stats": stats}
            logits, stats = apply(variables, images, train=True, key=dropout_key)
            sums, _ = _sums(task, logits, targets, batch["weight"])
            return sums["loss_sum"], (stats, sums)

        gradient = jax.grad(total_loss, has_aux=True)
        if accum_steps == 1:
            grads, (stats, sums) = gradient(params, state.batch_stats, batch, key)
        else:
            _check_microbatches(batch, accum_steps)

            def microbatch(carry: tuple[Tree, Tree], inputs: tuple[Batch, Array]) -> tuple[tuple[Tree, Tree], Metrics]:
                grads, stats = carry
                batch, index = inputs
                more, (stats, sums) = gradient(params, stats, batch, jax.random.fold_in(key, index))
                return (jax.tree.map(jnp.add, grads, more), stats), sums

            start = jax.tree.map(jnp.zeros_like, params), state.batch_stats
            (grads, stats), parts = jax.lax.scan(microbatch, start, (batch, jnp.arange(accum_steps)))
            sums = jax.tree.map(lambda values: jnp.sum(values, 0), parts)

        if axis_name is not None:
            grads, sums = jax.lax.psum((grads, sums), axis_name)
        weight = sums.pop("weight_sum")
        loss = sums.pop("loss_sum") / weight
        grads = jax.tree.map(lambda g: g / weight.astype(g.dtype), grads)
        metrics = {"loss": loss, **sums}
        if penalty is not None:
            metrics["penalty"], more = jax.value_and_grad(penalty)(state.params)
            grads = jax.tree.map(jnp.add, grads, more)
        metrics["grad_norm"] = optax.tree.norm(grads)
        finite = jnp.isfinite(loss) & jnp.isfinite(metrics["grad_norm"])
        metrics["finite"] = finite.astype(jnp.float32)

        new, metrics["lr"] = _updated(state, grads, stats)
        return _kept_unless(finite, new, state), metrics

    def _updated(state: TrainState, grads: Tree, stats: Tree) -> tuple[TrainState, Float32[Array, ""]]:
        updates, opt_state, lr = optimizer.update(grads, state.opt_state, state.params, state.step, state.lr_scale)
        params = optax.apply_updates(state.params, updates)
        ema = state.ema
        if ema_decay is not None and ema is not None:
            decay = decay_at(state.step + 1, ema_decay, ema_warmup)
            ema = move_averages(ema, {"params": params, "batch_stats": stats}, decay)
        new = TrainState(
            step=state.step + 1,
            params=params,
            frozen=state.frozen,
            batch_stats=stats,
            opt_state=opt_state,
            ema=ema,
            key=state.key,
            lr_scale=state.lr_scale,
            skipped=jnp.zeros_like(state.skipped),
        )
        return new, lr

    return step


def make_eval_step(apply: Apply, task: Task, prepare: Prepare) -> EvalStep:
    """The step that evaluates: no dropout, running statistics, ``prepare`` without a key.

    Returns:
        ``step(variables, batch, axis_name=None)`` with ``state.variables()``. It gives ``logits`` (b, k) and ``loss``
        (b,) of the batch's (or the shard's) examples, and scalars over the global batch: ``loss_sum`` and
        ``weight_sum``, whose ratio is the mean loss, and the task's sums. All are float32.
    """

    def step(variables: Mapping[str, Tree], batch: Batch, axis_name: AxisName = None) -> dict[str, Array]:
        images, targets = prepare(batch, None)
        logits, _ = apply(variables, images, train=False, key=None)
        sums, losses = _sums(task, logits, targets, batch["weight"])
        if axis_name is not None:
            sums = jax.lax.psum(sums, axis_name)
        return {"logits": logits.astype(jnp.float32), "loss": losses, **sums}

    return step


def _sums(task: Task, logits: Array, targets: Array, weight: Array) -> tuple[Metrics, Float32[Array, " b"]]:
    """Sums over the batch at hand, and the losses of its examples."""
    logits = logits.astype(jnp.float32)
    losses = task.loss(logits, targets)
    sums = {
        "loss_sum": jnp.sum(weight * losses),
        "weight_sum": jnp.sum(weight * task.example_weight(targets)),
        **task.metrics(jax.lax.stop_gradient(logits), targets, weight),
    }
    return sums, losses


def _kept_unless(finite: Array, new: TrainState, old: TrainState) -> TrainState:
    """``new`` if ``finite``, else ``old`` with one more skipped update."""

    def choose(new: Any, old: Any) -> Any:
        return jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, old)

    return TrainState(
        step=choose(new.step, old.step),
        params=choose(new.params, old.params),
        frozen=old.frozen,
        batch_stats=choose(new.batch_stats, old.batch_stats),
        opt_state=choose(new.opt_state, old.opt_state),
        ema=choose(new.ema, old.ema),
        key=old.key,
        lr_scale=old.lr_scale,
        skipped=choose(new.skipped, old.skipped + 1),
    )


def _check_microbatches(batch: Batch, accum_steps: int) -> None:
    wrong = [f"{name} {array.shape}" for name, array in batch.items() if array.shape[:1] != (accum_steps,)]
    if wrong:
        raise ValueError(f"with accum_steps={accum_steps} a batch's arrays are ({accum_steps}, b, ...), got {wrong}")
