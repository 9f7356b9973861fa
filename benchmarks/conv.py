"""What each convolution of a network costs: XLA's own, ours, and PyTorch's if it is installed.

    python benchmarks/conv.py [--models efficientnet_b0 resnet101] [--batch 8] [--size 224] [--rounds 7] [--markdown]

Every distinct convolution of the models is timed forward, by its input's gradient and by its kernel's, in milliseconds;
the last row of each table weighs them by how often the model has them.
"""

import argparse
import collections
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from _timing import Thunk, interleaved, print_table, set_up, torch_or_none

import jaxvision
from jaxvision.nn.conv import Conv2d, Implementation, Padding, conv2d
from jaxvision.paths import named_modules

DIRECTIONS = ("forward", "input gradient", "kernel gradient")


@dataclasses.dataclass(frozen=True)
class Layer:
    """One kind of convolution in a model."""

    image: tuple[int, int]
    in_features: int
    out_features: int
    window: tuple[int, int]
    stride: tuple[int, int]
    padding: Padding
    groups: int

    def __str__(self) -> str:
        kind = (
            "depthwise " if self.groups == self.in_features > 1 else f"{self.groups} groups " if self.groups > 1 else ""
        )
        stride = f" / {self.stride[0]}" if self.stride != (1, 1) else ""
        return (
            f"{self.image[0]}x{self.image[1]} {kind}{self.window[0]}x{self.window[1]}{stride} "
            f"{self.in_features}->{self.out_features}"
        )


def layers(name: str, size: int) -> collections.Counter[Layer]:
    """Counts the convolutions that a model runs on square images, by tracing it."""
    model = jaxvision.create_model(name)
    convolutions = {path: module for path, module in named_modules(model).items() if isinstance(module, Conv2d)}
    found: collections.Counter[Layer] = collections.Counter()

    def note(site: Any, call: Any, x: jax.Array, *args: Any, **kwargs: Any) -> jax.Array:
        conv = convolutions[site.path]
        found[
            Layer(
                image=(x.shape[1], x.shape[2]),
                in_features=conv.in_features,
                out_features=conv.out_features,
                window=conv.kernel_size,
                stride=conv.stride,
                padding=conv.padding,
                groups=conv.groups,
            )
        ] += 1
        result: jax.Array = call(x, *args, **kwargs)
        return result

    jax.eval_shape(jaxvision.intercept(model, dict.fromkeys(convolutions, note)), jnp.zeros((1, size, size, 3)))
    return found


def jax_thunks(layer: Layer, batch: int, implementation: Implementation) -> list[Thunk]:
    """The three directions, compiled."""

    def forward(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return conv2d(
            x,
            kernel,
            stride=layer.stride,
            padding=layer.padding,
            groups=layer.groups,
            implementation=implementation,
        )

    def input_gradient(x: jax.Array, kernel: jax.Array, g: jax.Array) -> jax.Array:
        return jax.vjp(lambda x: forward(x, kernel), x)[1](g)[0]

    def kernel_gradient(x: jax.Array, kernel: jax.Array, g: jax.Array) -> jax.Array:
        return jax.vjp(lambda kernel: forward(x, kernel), kernel)[1](g)[0]

    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (batch, *layer.image, layer.in_features))
    kernel = jax.random.normal(keys[1], (*layer.window, layer.in_features // layer.groups, layer.out_features))
    g = jax.random.normal(keys[2], jax.eval_shape(forward, x, kernel).shape)

    def thunk(f: Any, *args: jax.Array) -> Thunk:
        compiled = jax.jit(f).lower(*args).compile()
        return lambda: jax.block_until_ready(compiled(*args))

    return [thunk(forward, x, kernel), thunk(input_gradient, x, kernel, g), thunk(kernel_gradient, x, kernel, g)]


def torch_thunks(layer: Layer, batch: int) -> list[Thunk]:
    """The same three in PyTorch (NCHW, oneDNN), without autograd's bookkeeping."""
    import torch

    if layer.padding == "SAME":
        raise ValueError(f"PyTorch has no strided SAME padding: {layer}")
    padding = (layer.padding,) * 2 if isinstance(layer.padding, int) else layer.padding
    x = torch.randn(batch, layer.in_features, *layer.image)
    kernel = torch.randn(layer.out_features, layer.in_features // layer.groups, *layer.window)

    def forward() -> torch.Tensor:
        with torch.inference_mode():
            return torch.nn.functional.conv2d(x, kernel, stride=layer.stride, padding=padding, groups=layer.groups)

    g = torch.randn(forward().shape)

    def backward(by_input: bool) -> object:
        by = [by_input, not by_input, False]
        return torch.ops.aten.convolution_backward(
            g, x, kernel, None, layer.stride, padding, [1, 1], False, [0, 0], layer.groups, by
        )

    return [forward, lambda: backward(True), lambda: backward(False)]


def main() -> None:
    """Prints one table a model and direction."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["efficientnet_b0", "resnet101"])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--markdown", action="store_true")
    args = parser.parse_args()
    with_torch = torch_or_none()
    sides = ["native", "ours", *(["PyTorch"] if with_torch else [])]
    header = ["layer", "count", *sides, "native / ours", *(["ours / PyTorch"] if with_torch else [])]
    for name in args.models:
        counts = layers(name, args.size)
        times: dict[Layer, list[dict[str, float]]] = {}
        for layer in counts:
            thunks = {"native": jax_thunks(layer, args.batch, "native"), "ours": jax_thunks(layer, args.batch, "auto")}
            if with_torch:
                thunks["PyTorch"] = torch_thunks(layer, args.batch)
            times[layer] = [
                interleaved({side: thunks[side][n] for side in sides}, args.rounds) for n in range(len(DIRECTIONS))
            ]
        for n, direction in enumerate(DIRECTIONS):
            total = {side: sum(count * times[layer][n][side] for layer, count in counts.items()) for side in sides}
            rows = [[str(layer), count, *_columns(times[layer][n])] for layer, count in counts.items()]
            rows.append(["all", counts.total(), *_columns(total)])
            print(f"\n{name}, {direction}, batch {args.batch}, {args.size} px, ms\n")
            print_table(header, rows, args.markdown)


def _columns(ms: dict[str, float]) -> list[float]:
    ratios = [ms["native"] / ms["ours"], *([ms["ours"] / ms["PyTorch"]] if "PyTorch" in ms else [])]
    return [*ms.values(), *ratios]


if __name__ == "__main__":
    set_up(passive=True)
    main()
