"""What `inference.py` and `train_step.py` share: the contenders of a model, and the tables of the results."""

import argparse
import functools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from _children import Result, alternate, ratio
from _timing import Thunk, print_table

MODELS = (
    "vit_base_patch16_224",
    "swin_tiny_patch4_window7_224",
    "efficientnet_b0",
    "tf_efficientnetv2_s",
    "resnet101",
)
FLAX_PEER = "efficientnet_b0"
PYTORCH = ("PyTorch", "channels last")


def jax_model(side: str, name: str) -> Any:
    """Ours, or Flax's own layers with XLA's own convolutions."""
    if side == "plain Flax":
        from flax import nnx
        from peers import EfficientNetB0

        return EfficientNetB0(rngs=nnx.Rngs(0))
    import jaxvision

    model = jaxvision.create_model(name)
    return jaxvision.fuse_batchnorm(model) if side == "fused" else model


def image_size(name: str, size: int | None) -> int:
    """The pixels of a model's input; the same for both sides."""
    import jaxvision

    return size or jaxvision.model_info(name).input_size[-1]


def has_batchnorm(name: str) -> bool:
    """Whether there is anything to fuse."""
    import jaxvision

    return jaxvision.model_info(name).num_batch_stats > 0


def arguments(doc: str | None, sides: Sequence[str]) -> argparse.Namespace:
    """The command line of both scripts."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--size", type=int, help="pixels; default: the model's own")
    parser.add_argument("--sides", nargs="+", default=sides, choices=(*sides, "native"), help="contenders")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--at-least", type=float, default=0.5, help="seconds of each turn")
    parser.add_argument("--threads", type=int, help="cores that each side may use; default: all")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--json", type=Path, help="write every time and peak to this file")
    return parser.parse_args()


def compare(args: argparse.Namespace, make: Callable[[str, str, int, int], Thunk]) -> None:
    """Runs every model and batch, prints a table, and writes the file.

    Args:
        args: of `arguments`.
        make: (side, model, batch, pixels) to what is timed.
    """
    sides = [side for side in args.sides if side not in PYTORCH or (find_spec("torch") and find_spec("timm"))]
    if len(sides) < len(args.sides):
        print("torch and timm are not both installed: no PyTorch columns", file=sys.stderr)
    rows, records = [], []
    for name in args.models:
        size = image_size(name, args.size)
        for batch in args.batch:
            contenders = {
                side: functools.partial(make, side, name, batch, size)
                for side in sides
                if (side != "plain Flax" or name == FLAX_PEER) and (side != "fused" or has_batchnorm(name))
            }
            results = alternate(contenders, args.rounds, args.at_least, args.threads)
            rows.append(_row(name, batch, sides, results))
            records.append(
                {
                    "model": name,
                    "batch": batch,
                    "size": size,
                    "ms": {side: result.ms for side, result in results.items()},
                    "mb": {side: round(result.mb, 1) for side, result in results.items()},
                }
            )
            if args.json:
                args.json.write_text(json.dumps(records, indent=1) + "\n")
            print(f"{name}, batch {batch}: done", file=sys.stderr)
    ours = [side for side in sides if side not in PYTORCH]
    ratios = [f"{side} / PyTorch" for side in ours] if len(ours) < len(sides) else []
    print_table(
        ["model, batch", *[f"{s}, ms" for s in sides], *ratios, *[f"{s}, MB" for s in sides]], rows, args.markdown
    )


def _row(name: str, batch: int, sides: Sequence[str], results: Mapping[str, Result]) -> list[object]:
    """Times, ratios to the faster PyTorch, memory."""
    torch = [results[side] for side in PYTORCH if side in results]
    row: list[object] = [f"{name}, {batch}"]
    row += [results[side].median if side in results else "" for side in sides]
    if torch:
        best = min(torch, key=lambda result: result.median)
        row += [ratio(results[s], best) if s in results else "" for s in sides if s not in PYTORCH]
    return row + [results[side].mb if side in results else "" for side in sides]
