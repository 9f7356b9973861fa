from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.uncertainty.cut import cut, enters_loop

W = jnp.full((3, 3), 0.3)


def network(random: Any, fixed: Any) -> dict[str, jax.Array]:
    (key, rate), x = random, fixed

    def block(h: jax.Array) -> jax.Array:
        return jax.nn.gelu(h @ W)

    @jax.jit
    def tail(h: jax.Array, key: jax.Array) -> jax.Array:
        h = jnp.tanh(h @ W)  # before the mask, though in a function that takes the key
        return jax.nn.softmax(jnp.where(jax.random.uniform(key, h.shape) < rate, h, 0) @ W + jnp.ones((2, 3)))

    return {"twice": tail(tail(jax.checkpoint(block)(jax.nn.relu(x @ W)), key), key), "input": x}


RANDOM = (jax.random.key(0), jnp.float32(0.5))
X = jax.random.normal(jax.random.key(1), (2, 3))


def test_the_parts_together_are_the_function() -> None:
    part = cut(network, RANDOM, X)
    residuals = part.prefix(X)
    expected = network(RANDOM, X)
    for name, value in part.suffix(RANDOM, residuals).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-6)
    other = (jax.random.key(5), jnp.float32(0.3))
    np.testing.assert_allclose(jax.jit(part.suffix)(other, residuals)["twice"], network(other, X)["twice"], rtol=1e-6)


def test_what_comes_before_the_key_is_in_the_prefix() -> None:
    part = cut(network, RANDOM, X)
    names = [eqn.primitive.name for eqn in part.equations]
    # Of six matrix products three come before the first mask, one of them inside a compiled function.
    assert names.count("dot_general") == 3
    assert 0 < part.share < 1
    assert part.working_set > 0


def test_without_dependence_all_is_prefix() -> None:
    part = cut(lambda random, x: x @ W, RANDOM, X)
    assert part.share == 0
    np.testing.assert_array_equal(part.suffix(RANDOM, part.prefix(X)), X @ W)


def test_shapes_will_do() -> None:
    part = cut(network, RANDOM, jax.ShapeDtypeStruct(X.shape, X.dtype))
    assert part.share > 0


def test_a_loop_that_takes_a_random_argument_is_seen() -> None:
    def looped(mask: jax.Array, x: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda x, _: (jnp.tanh(x) * mask.astype(x.dtype), None), x, None, length=3)[0]

    def before(mask: jax.Array, x: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda x, _: (jnp.tanh(x), None), x * mask, None, length=3)[0]

    assert enters_loop(cut(looped, X, X))
    assert not enters_loop(cut(before, X, X))
