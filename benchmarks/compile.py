"""What ``scan=True`` saves in compiling and costs in running: one block compiled for all that are alike.

    python benchmarks/compile.py [--models vit_large_patch16_224 ...] [--batch 8] [--rounds 3] [--markdown]

A forward pass and a training step (forward and backward in training mode), unrolled and scanned, each in processes of
its own, in turns; medians. Seconds for tracing and for compiling, milliseconds for a run, MB of temporary memory.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from typing import Any

from _timing import print_table, set_up

MODELS = ["vit_large_patch16_224", "resnet101"]
PASSES = ["forward", "step"]


def measure(name: str, kind: str, scan: bool, batch: int) -> dict[str, float]:
    """Traces, compiles and runs once in this process."""
    import jax
    import jax.numpy as jnp

    import jaxvision

    apply, variables = jaxvision.to_functional(jaxvision.create_model(name, scan=scan))
    size = jaxvision.model_info(name).input_size[-1]
    images = jnp.zeros((batch, size, size, 3))

    def forward(variables: Any, images: jax.Array) -> jax.Array:
        return apply(variables, images)[0]

    def step(variables: Any, images: jax.Array) -> Any:
        def loss(params: Any) -> tuple[jax.Array, Any]:
            logits, stats = apply({**variables, "params": params}, images, train=True)
            return jax.nn.logsumexp(logits, -1).mean(), stats

        return jax.value_and_grad(loss, has_aux=True)(variables["params"])

    start = time.perf_counter()
    lowered = jax.jit(forward if kind == "forward" else step).lower(variables, images)
    traced = time.perf_counter()
    compiled = lowered.compile()
    done = time.perf_counter()
    jax.block_until_ready(compiled(variables, images))
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        jax.block_until_ready(compiled(variables, images))
        times.append((time.perf_counter() - begin) * 1e3)
    analysis = compiled.memory_analysis()
    memory = float("nan") if analysis is None else analysis.temp_size_in_bytes / 1e6
    return {"trace": traced - start, "compile": done - traced, "run": statistics.median(times), "memory": memory}


def child(name: str, kind: str, scan: bool, batch: int) -> dict[str, float]:
    """`measure` in a process that has compiled nothing yet."""
    command = [sys.executable, __file__, "--child", json.dumps([name, kind, scan, batch])]
    result: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return result


def main() -> None:
    """Prints one row for each model and pass."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--passes", nargs="+", default=PASSES, choices=PASSES)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(*json.loads(options.child))))
        return
    rows = []
    for name in options.models:
        for kind in options.passes:
            taken: dict[bool, list[dict[str, float]]] = {False: [], True: []}
            for _ in range(options.rounds):
                for scan, results in taken.items():
                    results.append(child(name, kind, scan, options.batch))
            row: list[object] = [f"{name} {kind}"]
            for what in ("trace", "compile", "run", "memory"):
                row += [statistics.median(result[what] for result in results) for results in taken.values()]
            rows.append(row)
    columns = ["trace s", "compile s", "run ms", "temporary MB"]
    header = [f"{column}, {way}" for column in columns for way in ("unrolled", "scanned")]
    print_table([f"batch {options.batch}", *header], rows, options.markdown)


if __name__ == "__main__":
    set_up()
    main()
