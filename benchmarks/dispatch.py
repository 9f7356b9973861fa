"""Does the functional core cost anything on the host? A jitted ViT against an empty function of the same arguments.

Run: python benchmarks/dispatch.py
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

import jaxvision


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
    """Prints the table."""
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
    for call in calls.values():
        jax.block_until_ready(call())  # type: ignore[no-untyped-call]
    result = host_milliseconds(calls, rounds=20)
    print(
        f"ViT of 12 blocks, width 16, {len(jax.tree.leaves(variables))} arrays; jax {jax.__version__}; medians of 1000"
    )
    print(f"{'call':28s} {'ms':>8s} {'over the empty one':>20s}")
    for name, value in result.items():
        print(f"{name:28s} {value:8.3f} {value - result['empty function']:20.3f}")


if __name__ == "__main__":
    main()
