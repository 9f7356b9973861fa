"""How tests compile."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import pytest

import jaxvision


def run(model: Any, *inputs: Any, method: str = "__call__", **options: Any) -> Any:
    """What a model makes of its inputs, compiled as a whole, which is faster than compiling each operation."""
    apply, variables = jaxvision.to_functional(model, method=method)
    return jax.jit(lambda variables, inputs: apply(variables, *inputs, **options)[0])(variables, inputs)


@contextmanager
def as_users_do() -> Iterator[None]:
    """Compiles with all of XLA's optimisations, which the tests do without (conftest.py)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("JAX_DISABLE_MOST_OPTIMIZATIONS", raising=False)
        jax.config.update("jax_disable_most_optimizations", False)
        try:
            yield
        finally:
            jax.config.update("jax_disable_most_optimizations", True)
