"""Models and tests compiled in less time."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax

import jaxvision


def run(model: Any, *inputs: Any, method: str = "__call__", **options: Any) -> Any:
    """What a model makes of its inputs, compiled as a whole, which is faster than compiling each operation."""
    apply, variables = jaxvision.to_functional(model, method=method)
    return jax.jit(lambda variables, inputs: apply(variables, *inputs, **options)[0])(variables, inputs)


@contextmanager
def quickly_compiled() -> Iterator[None]:
    """Small networks run in no time; most of their tests' is XLA's, which halves without its optimisations."""
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", False)
