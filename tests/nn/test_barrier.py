"""A value that is computed once: the same in every transformation, and not computed anew by what uses it."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.nn._barrier import computed_once

pytestmark = pytest.mark.usefixtures("optimised")


def chain(x, kernels, keep=computed_once):
    for kernel in kernels:
        x = keep(jax.nn.relu(x + jnp.maximum(x @ kernel, 0)))
    return x


def arrays():
    return jax.random.normal(jax.random.key(0), (64, 32)), jax.random.normal(jax.random.key(1), (6, 32, 32))


def test_values_and_derivatives_are_unchanged() -> None:
    x, kernels = arrays()

    def plain(x, kernels):
        return chain(x, kernels, lambda x: x)

    for transform in (
        lambda f: f(x, kernels),
        lambda f: jax.jit(f)(x, kernels),
        lambda f: jax.grad(lambda *a: jnp.sin(f(*a)).sum(), (0, 1))(x, kernels),
        lambda f: jax.jvp(lambda x: f(x, kernels), (x,), (x,)),
        lambda f: jax.vmap(f, (1, None))(x.reshape(32, 2, 32), kernels),
        lambda f: jax.grad(lambda x: jax.checkpoint(f)(x, kernels).sum())(x),
    ):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), transform(chain), transform(plain))


def _most_operands(function, *arguments) -> int:
    """Of any elementwise loop in the compiled function."""
    loops = re.findall(r"= f32\S+ fusion\((.*?)\), kind=kLoop", jax.jit(function).lower(*arguments).compile().as_text())
    return max(loop.count("%") for loop in loops)


def test_a_cpu_does_not_add_up_the_blocks_before_in_each_block() -> None:
    x, kernels = arrays()
    plain = _most_operands(lambda *a: chain(*a, lambda x: x), x, kernels)
    assert _most_operands(chain, x, kernels) < plain


def test_other_platforms_see_nothing_of_it() -> None:
    traced = jax.jit(lambda x: computed_once(x) + 1).trace(jnp.ones(3))
    assert "while" in traced.lower(lowering_platforms=("cpu",)).as_text()
    for platform in ("cuda", "tpu"):
        assert "while" not in traced.lower(lowering_platforms=(platform,)).as_text()
