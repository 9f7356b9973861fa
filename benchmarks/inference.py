"""A forward pass: ours, ours with BatchNorm folded into convolutions, PyTorch's (timm) and plain Flax's.

    python benchmarks/inference.py [--models efficientnet_b0 ...] [--batch 1 8] [--rounds 9] [--markdown] [--json FILE]

Every contender is a process of its own and they run in turns: in each round each runs for at least half a second.
Medians; ratios are medians of the rounds' ratios to the faster of PyTorch's two layouts. Memory is what a pass needs at
its peak over what the process holds between passes.
"""

import os

from _sides import PYTORCH, arguments, compare, jax_model
from _timing import Thunk, set_up

SIDES = ("jaxvision", "fused", "plain Flax", *PYTORCH)


def make(side: str, name: str, batch: int, size: int) -> Thunk:
    """A compiled forward pass in evaluation."""
    return _torch(side, name, batch, size) if side in PYTORCH else _jax(side, name, batch, size)


def _jax(side: str, name: str, batch: int, size: int) -> Thunk:
    import jax

    import jaxvision
    from jaxvision.nn.conv import implementation

    apply, variables = jaxvision.to_functional(jax_model(side, name))
    images = jax.random.normal(jax.random.key(0), (batch, size, size, 3))
    with implementation("native" if side == "native" else "auto"):
        forward = jax.jit(lambda variables, images: apply(variables, images)[0]).lower(variables, images).compile()
    return lambda: jax.block_until_ready(forward(variables, images))


def _torch(side: str, name: str, batch: int, size: int) -> Thunk:
    import timm
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    model, images = timm.create_model(name).eval(), torch.randn(batch, 3, size, size)
    if side == "channels last":
        model, images = (x.to(memory_format=torch.channels_last) for x in (model, images))

    def forward() -> None:
        with torch.inference_mode():
            model(images)

    return forward


if __name__ == "__main__":
    set_up()
    compare(arguments(__doc__, SIDES), make)
