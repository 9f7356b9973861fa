"""A training step (forward, backward, SGD with momentum): ours, PyTorch's (timm) and plain Flax's.

    python benchmarks/train_step.py [--models efficientnet_b0 ...] [--batch 1 8] [--rounds 9] [--markdown] [--json FILE]

In training mode, with cross-entropy. Measured as `inference.py` does.
"""

import os
from typing import Any

from _sides import PYTORCH, arguments, compare, jax_model
from _timing import Thunk, set_up

SIDES = ("jaxvision", "plain Flax", *PYTORCH)
RATE, MOMENTUM = 1e-3, 0.9


def make(side: str, name: str, batch: int, size: int) -> Thunk:
    """A compiled step that keeps its state."""
    return _torch(side, name, batch, size) if side in PYTORCH else _jax(side, name, batch, size)


def _jax(side: str, name: str, batch: int, size: int) -> Thunk:
    import jax
    import jax.numpy as jnp

    import jaxvision
    from jaxvision.nn.conv import implementation

    apply, variables = jaxvision.to_functional(jax_model(side, name))
    images = jax.random.normal(jax.random.key(0), (batch, size, size, 3))
    labels = jax.random.randint(jax.random.key(1), (batch,), 0, 1000)

    def step(params: Any, statistics: Any, velocity: Any, images: jax.Array, labels: jax.Array) -> tuple[Any, ...]:
        def loss(params: Any) -> tuple[jax.Array, Any]:
            logits, new = apply({"params": params, "batch_stats": statistics}, images, train=True)
            return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1).mean(), new

        (value, new), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        velocity = jax.tree.map(lambda v, g: MOMENTUM * v + g, velocity, gradients)
        return jax.tree.map(lambda p, v: p - RATE * v, params, velocity), new, velocity, value

    params, statistics = jax.tree.map(jnp.copy, (variables["params"], variables["batch_stats"]))  # a step donates them
    state = params, statistics, jax.tree.map(jnp.zeros_like, params)
    del variables
    with implementation("native" if side == "native" else "auto"):
        compiled = jax.jit(step, donate_argnums=(0, 1, 2)).lower(*state, images, labels).compile()

    def run() -> None:
        nonlocal state
        *state, value = compiled(*state, images, labels)
        jax.block_until_ready((state, value))

    return run


def _torch(side: str, name: str, batch: int, size: int) -> Thunk:
    import timm
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    model, images = timm.create_model(name).train(), torch.randn(batch, 3, size, size)
    if side == "channels last":
        model, images = (x.to(memory_format=torch.channels_last) for x in (model, images))
    labels = torch.randint(0, 1000, (batch,))
    optimizer = torch.optim.SGD(model.parameters(), RATE, momentum=MOMENTUM)

    def step() -> None:
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()  # last: gradients are a part of what a step needs here as well, not held between steps

    return step


if __name__ == "__main__":
    set_up()
    compare(arguments(__doc__, SIDES), make)
