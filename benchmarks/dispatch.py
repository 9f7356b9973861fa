"""What does a call cost on the host? A jitted ViT and its training step against empty functions of the same arguments.

Run: python benchmarks/dispatch.py
"""

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import jaxvision
from jaxvision.training.losses import make_task
from jaxvision.training.optim import make_optimizer
from jaxvision.training.parallel import make_driver
from jaxvision.training.schedules import make_schedule
from jaxvision.training.state import TrainState
from jaxvision.training.step import Apply, make_train_step


def host_milliseconds(calls: dict[str, Callable[[], Any]], rounds: int, calls_a_round: int = 50) -> dict[str, float]:
    """Median time until a call returns, its result not waited for; the functions take turns, a round each.

    XLA's CPU backend runs a small program before the call returns, so that this includes the ViT's own arithmetic.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            for _ in range(calls_a_round):
                start = time.perf_counter()
                result = call()
                times[name].append(1e3 * (time.perf_counter() - start))
                jax.block_until_ready(result)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    """Prints the tables."""
    model = jaxvision.create_model(
        "vit_tiny_patch16_224", img_size=16, embed_dim=16, depth=12, num_heads=2, num_classes=10
    )
    images = jnp.ones((1, 16, 16, 3))
    apply, variables = jaxvision.to_functional(model)
    ours = jax.jit(apply)
    empty = jax.jit(lambda variables, images: (images[:, 0, 0, :1], {}), keep_unused=True)
    through_nnx: Callable[..., Any] = nnx.jit(lambda model, images: model(images))
    calls = {
        "empty function": lambda: empty(variables, images),
        "jaxvision, jax.jit": lambda: ours(variables, images),
        "the same through nnx.jit": lambda: through_nnx(model, images),
    }
    print_differences(
        f"ViT of 12 blocks, width 16, {len(jax.tree.leaves(variables))} arrays; jax {jax.__version__}; medians of 1000",
        calls,
    )
    print_differences("its training step with AdamW", training_steps(apply, variables))


def training_steps(apply: Apply, variables: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """One step of the trainer, the batch's way to the device included, and an empty step of the same state."""
    task = make_task("multiclass", 10)
    params = variables["params"]
    optimizer = make_optimizer("adamw", params, make_schedule("constant", 1e-3, epochs=1, steps_per_epoch=1))
    batch: dict[str, np.ndarray] = {
        "image": np.zeros((1, 16, 16, 3), np.uint8),
        "label": np.zeros(1, np.int32),
        "weight": np.ones(1, np.float32),
        "index": np.zeros(1, np.int32),
    }

    def prepare(batch: Any, key: Any) -> tuple[jax.Array, jax.Array]:
        return batch["image"].astype(jnp.float32), task.targets(batch["label"])

    def nothing(state: TrainState, batch: Any, axis_name: Any = None) -> tuple[TrainState, dict[str, jax.Array]]:
        return dataclasses.replace(state, step=state.step + 1), {"loss": batch["weight"][0]}

    def runner(step: Any) -> Callable[[], Any]:
        driver = make_driver()
        compiled = driver.compile_train(step)
        key = jax.random.key(0)
        state = driver.place_state(TrainState.create(params, {}, variables["batch_stats"], optimizer, key))
        holder = [state]

        def call() -> Any:
            holder[0], metrics = compiled(holder[0], driver.place_batch(batch))
            return metrics

        return call

    return {"empty step": runner(nothing), "jaxvision": runner(make_train_step(apply, task, optimizer, prepare))}


def print_differences(title: str, calls: dict[str, Callable[[], Any]]) -> None:
    """Times the calls, the first of which is the empty one, and prints a row for each."""
    for call in calls.values():
        jax.block_until_ready(call())
    result = host_milliseconds(calls, rounds=20)
    print(f"\n{title}")
    print(f"{'call':28s} {'ms':>8s} {'over the empty one':>20s}")
    nothing = next(iter(result.values()))
    for name, value in result.items():
        print(f"{name:28s} {value:8.3f} {value - nothing:20.3f}")


if __name__ == "__main__":
    main()
