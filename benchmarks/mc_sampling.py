"""What Monte-Carlo dropout costs, in forward passes of the same network: ours, and the usual ways.

    python benchmarks/mc_sampling.py [--models resnet18 ...] [--sites head ...] [--samples 32 100] [--size 224]
                                     [--batch 8] [--rounds 3] [--patience 5] [--markdown]

Sites: the head; the last stage; one block in the middle of the network; all blocks. The contenders of ours:

* a Python loop over a compiled stochastic pass;
* one compiled pass over the batch repeated for every sample;
* with PyTorch and timm installed, timm's network with dropout at the same sites, in a Python loop;
* with torch-uncertainty installed too, its `mc_dropout` of that network, which repeats the batch.

Each computes mean and variance of the probabilities, and entropies. Costs are ratios of medians to a deterministic
pass of the same framework, timed in the same turns. Operations are XLA's count for the compiled program, with all
samples in one chunk, as XLA counts the body of a loop once; memory is XLA's for the temporary buffers of what is timed.
A contender that takes longer than the patience is timed once. All but the Python loop are timed for the fewest samples
only: they cost as many passes as there are samples.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from _timing import Thunk, print_table, set_up, torch_or_none

import jaxvision
from jaxvision import uncertainty as uq

MODELS = ["resnet18", "vit_tiny_patch16_224", "tf_efficientnet_lite0"]
SITES = ["head", "last-stage", "middle", "all-blocks"]
TORCH = ("PyTorch loop", "torch-uncertainty")
RATE = 0.1


@dataclass(frozen=True)
class Compiled:
    """A program and its arguments."""

    program: Any
    arguments: tuple[Any, ...]

    def __call__(self) -> object:
        """Runs it."""
        return jax.block_until_ready(self.program(*self.arguments))

    @property
    def operations(self) -> float:
        """Floating-point operations by XLA's count."""
        cost = self.program.cost_analysis()
        return float((cost[0] if isinstance(cost, list) else cost)["flops"])

    @property
    def megabytes(self) -> float:
        """Temporary memory."""
        return float(self.program.memory_analysis().temp_size_in_bytes / 2**20)


def compiled(function: Callable[..., Any], *arguments: Any) -> Compiled:
    """Compiles for these arguments."""
    return Compiled(jax.jit(function).lower(*arguments).compile(), arguments)


def options(name: str, size: int) -> dict[str, Any]:
    """What a model of this image size is created with."""
    return {"img_size": size} if name.startswith(("vit", "swin")) else {}


def inject(name: str, size: int, site: str) -> uq.Net:
    """A network of random weights with dropout at one of `SITES`."""
    model: Any = jaxvision.create_model(name, **options(name, size))
    if site != "middle":
        return uq.inject(model, site, RATE)
    blocks = [path for stage in model.block_paths for path in stage]
    middle = blocks[len(blocks) // 2]
    plan = uq.inject(model, "all-blocks", RATE).plan
    return uq.inject(model, uq.Plan(tuple(s for s in plan.sites if f"{s.path}.".startswith(f"{middle}."))))


def summary(probs: jax.Array) -> tuple[jax.Array, ...]:
    """What a prediction tells of the samples on the first axis."""
    mean = probs.mean(0)
    entropies = jax.scipy.special.entr(probs).sum(-1).mean(0)
    return mean, probs.var(0, ddof=1), jax.scipy.special.entr(mean).sum(-1), entropies


def loop(net: uq.Net, images: jax.Array, samples: int) -> tuple[Thunk, Compiled]:
    """A Python loop over a compiled stochastic pass."""
    keys = list(jax.random.split(jax.random.key(0), samples))
    one = compiled(lambda net, images, key: jax.nn.softmax(net.sample(images, key)), net, images, keys[0])
    end = jax.jit(lambda probs: summary(jnp.stack(probs)))
    return lambda: jax.block_until_ready(end([one.program(net, images, key) for key in keys])), one


def repeated(net: uq.Net, images: jax.Array, samples: int) -> Compiled:
    """One pass over the batch repeated for every sample."""

    def run(net: uq.Net, images: jax.Array, key: jax.Array) -> tuple[jax.Array, ...]:
        many = jnp.tile(images, (samples, 1, 1, 1))
        probs = jax.nn.softmax(net.sample(many, key))
        return summary(probs.reshape(samples, len(images), -1))

    return compiled(run, net, images, jax.random.key(0))


def torch_contenders(name: str, size: int, batch: int, net: uq.Net, samples: int) -> dict[str, Thunk]:
    """The same of timm's network."""
    import timm
    import torch
    from torch import nn

    def dropping(mask: str) -> nn.Module:
        return nn.Dropout2d(RATE) if mask == "channel" else nn.Dropout(RATE)

    model = timm.create_model(name, **options(name, size)).eval()
    images = torch.randn(batch, 3, size, size)

    def plain() -> object:
        with torch.inference_mode():
            return model(images).softmax(-1)

    def run(wrapped: Callable[[torch.Tensor], torch.Tensor], passes: int) -> object:
        with torch.inference_mode():
            logits = torch.cat([wrapped(images) for _ in range(passes)])
            probs = logits.reshape(samples, batch, -1).softmax(-1)
            mean = probs.mean(0)
            return mean, probs.var(0), torch.special.entr(mean).sum(-1), torch.special.entr(probs).sum(-1).mean(0)

    wrapped: dict[str, Thunk] = {"PyTorch pass": plain}
    dropped = timm.create_model(name, **options(name, size)).eval()
    for site in net.plan.sites:
        module = dropped.get_submodule(site.path)
        module.mc_dropout = dropping(site.mask)
        if site.at == "input":
            module.register_forward_pre_hook(lambda module, inputs: (module.mc_dropout(inputs[0]), *inputs[1:]))
        else:
            module.register_forward_hook(lambda module, inputs, output: module.mc_dropout(output))
        module.mc_dropout.train()
    wrapped["PyTorch loop"] = lambda: run(dropped, samples)
    try:
        from torch_uncertainty.methods import mc_dropout  # type: ignore[import-not-found]
    except ImportError as error:
        print(f"{error}: no torch-uncertainty column", file=sys.stderr)
        return wrapped
    repeating = mc_dropout(dropped, num_estimators=samples, on_batch=True).eval()
    wrapped["torch-uncertainty"] = lambda: run(repeating, 1)
    return wrapped


def medians(contenders: dict[str, Thunk], rounds: int, patience: float) -> dict[str, float]:
    """Median seconds; all take turns, those that outlast the patience only one."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds + 1):
        for name, run in contenders.items():
            if times[name] and times[name][0] > patience:
                continue
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds[1:] or seconds) for name, seconds in times.items()}


def row(args: argparse.Namespace, name: str, site: str, samples: int, with_torch: bool) -> list[object]:
    """Everything about one network, site and number of samples."""
    net = inject(name, args.size, site)
    images = jax.random.normal(jax.random.key(1), (args.batch, args.size, args.size, 3))
    key = jax.random.key(0)
    one = compiled(lambda net, images: jax.nn.softmax(net.plain(net.variables, images)), net, images)
    whole = (args.batch, samples)
    counted = compiled(lambda net, images, key: net.predict(images, key, samples, chunk=whole), net, images, key)
    ours = compiled(lambda net, images, key: net.predict(images, key, samples), net, images, key)
    looped, stochastic = loop(net, images, samples)
    many = repeated(net, images, samples)
    contenders: dict[str, Thunk] = {"pass": one, "ours": ours, "loop": looped}
    if samples == min(args.samples):
        contenders["repeated"] = many
        contenders |= torch_contenders(name, args.size, args.batch, net, samples) if with_torch else {}
    seconds = medians(contenders, args.rounds, args.patience)
    times: list[object] = []
    for way in ("ours", "loop", "repeated", *(TORCH if with_torch else ())):
        unit = "PyTorch pass" if way in TORCH else "pass"
        times.append(seconds[way] / seconds[unit] if way in seconds else "-")
    milliseconds = [seconds["pass"] * 1e3, *([seconds["PyTorch pass"] * 1e3] if "PyTorch pass" in seconds else ["-"])]
    memory = [program.megabytes for program in (one, ours, stochastic, many)]
    head = [f"{name} {site}, T={samples}", f"{net.sites.share:.1%}", counted.operations / one.operations]
    return [*head, *times, *memory, *milliseconds[: 1 + with_torch]]


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--sites", nargs="+", choices=SITES, default=SITES)
    parser.add_argument("--samples", nargs="+", type=int, default=[32, 100])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--patience", type=float, default=5, help="seconds")
    parser.add_argument("--markdown", action="store_true")
    args = parser.parse_args()
    with_torch = torch_or_none("timm")
    header = ["network and sites", "share repeated", "operations, ours", "time, ours", "Python loop", "repeated batch"]
    header += list(TORCH) if with_torch else []
    header += ["MB: a pass", "ours", "loop", "repeated batch", "ms: a pass", *(["PyTorch"] if with_torch else [])]
    rows = []
    for name in args.models:
        for site in args.sites:
            for samples in args.samples:
                rows.append(row(args, name, site, samples, with_torch))
                print(rows[-1], file=sys.stderr, flush=True)
    print(f"batch {args.batch}, {args.size} px; operations and times in passes\n")
    print_table(header, rows, args.markdown)


if __name__ == "__main__":
    set_up(passive=True)
    main()
