"""What a whole model costs: with our convolutions, with XLA's own, and as timm's PyTorch model if it is installed.

    python benchmarks/models.py [--models efficientnet_b0 ...] [--passes forward step] [--batch 8] [--markdown]

A step is forward and backward in training mode, with cross-entropy and SGD with momentum. Milliseconds a batch.
"""

import argparse
from typing import Any

import jax
import jax.numpy as jnp
from _timing import Thunk, interleaved, print_table, set_up, torch_or_none

import jaxvision
from jaxvision.nn.conv import Implementation, implementation

MODELS = ["efficientnet_b0", "resnet101", "vit_small_patch16_224", "swin_tiny_patch4_window7_224"]
RATE, MOMENTUM = 1e-3, 0.9


def jax_thunk(name: str, kind: str, batch: int, convolutions: Implementation) -> Thunk:
    """A compiled forward pass or training step of our model."""
    model = jaxvision.create_model(name)
    size = jaxvision.model_info(name).input_size[-1]
    apply, variables = jaxvision.to_functional(model)
    images = jax.random.normal(jax.random.key(0), (batch, size, size, 3))
    labels = jax.random.randint(jax.random.key(1), (batch,), 0, 1000)

    def step(
        params: Any, batch_stats: Any, velocity: Any, images: jax.Array, labels: jax.Array
    ) -> tuple[Any, Any, Any, jax.Array]:
        def loss(params: Any) -> tuple[jax.Array, Any]:
            variables = {"params": params, "batch_stats": batch_stats}
            logits, new_stats = apply(variables, images, train=True)
            return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1).mean(), new_stats

        (value, batch_stats_), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        velocity = jax.tree.map(lambda v, g: MOMENTUM * v + g, velocity, gradients)
        return jax.tree.map(lambda p, v: p - RATE * v, params, velocity), batch_stats_, velocity, value

    with implementation(convolutions):
        if kind == "forward":
            forward = jax.jit(lambda variables, images: apply(variables, images)[0]).lower(variables, images).compile()
            return lambda: jax.block_until_ready(forward(variables, images))
        # Copies, for the step donates its state.
        state = jax.tree.map(jnp.copy, (variables["params"], variables["batch_stats"], variables["params"]))
        compiled = jax.jit(step, donate_argnums=(0, 1, 2)).lower(*state, images, labels).compile()

    def run() -> None:
        nonlocal state
        *state, value = compiled(*state, images, labels)
        jax.block_until_ready((state, value))

    return run


def torch_thunk(name: str, kind: str, batch: int) -> Thunk:
    """The same of timm's model."""
    import timm
    import torch

    model = timm.create_model(name)
    size = model.default_cfg["input_size"][-1]
    images, labels = torch.randn(batch, 3, size, size), torch.randint(0, 1000, (batch,))
    if kind == "forward":
        model.eval()

        def forward() -> None:
            with torch.inference_mode():
                model(images)

        return forward
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), RATE, momentum=MOMENTUM)

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return step


def main() -> None:
    """Prints one row for each model and pass."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--passes", nargs="+", choices=["forward", "step"], default=["forward", "step"])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--markdown", action="store_true")
    args = parser.parse_args()
    with_torch = torch_or_none("timm")
    rows: list[list[object]] = []
    for name in args.models:
        for kind in args.passes:
            contenders = {
                "native": jax_thunk(name, kind, args.batch, "native"),
                "ours": jax_thunk(name, kind, args.batch, "auto"),
            }
            if with_torch:
                contenders["PyTorch"] = torch_thunk(name, kind, args.batch)
            ms = interleaved(contenders, args.rounds)
            ratios = [ms["native"] / ms["ours"], *([ms["ours"] / ms["PyTorch"]] if with_torch else [])]
            rows.append([f"{name} {kind}", *ms.values(), *ratios])
    sides = ["native convolutions", "ours", *(["PyTorch, timm"] if with_torch else [])]
    print(f"batch {args.batch}, ms\n")
    print_table(["model", *sides, "native / ours", *(["ours / PyTorch"] if with_torch else [])], rows, args.markdown)


if __name__ == "__main__":
    set_up()
    main()
