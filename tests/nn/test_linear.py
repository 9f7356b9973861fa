"""The linear layer: Flax's, with gradients that transpose nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxvision.nn.linear import Linear

pytestmark = pytest.mark.usefixtures("optimised")


def pair(**options):
    return (cls(8, 5, rngs=nnx.Rngs(0), **options) for cls in (Linear, nnx.Linear))


def test_it_is_flax_linear() -> None:
    for shape in ((8,), (3, 8), (2, 3, 8), (2, 3, 4, 8)):
        x = jax.random.normal(jax.random.key(0), shape)
        ours, flax = pair()
        np.testing.assert_allclose(ours(x), flax(x), rtol=1e-5, atol=1e-6)
        assert ours(x).shape == flax(x).shape
    for dtype in (jnp.bfloat16, jnp.float16):
        ours, flax = pair(dtype=dtype)
        assert ours(x).dtype == flax(x).dtype == dtype
    ours, flax = pair(precision="highest", preferred_element_type=jnp.float32, dtype=jnp.bfloat16)
    assert ours(x).dtype == flax(x).dtype


def test_its_product_can_be_replaced() -> None:
    layer = Linear(2, 2, dot_general=lambda x, kernel, *_, **__: jnp.zeros((*x.shape[:-1], 2)), rngs=nnx.Rngs(0))
    assert not layer(jnp.ones((1, 1, 2))).any()


def test_the_kernels_gradient_is_a_product_of_matrices() -> None:
    """Where several axes are summed over, XLA's CPU backend transposes both operands first."""
    x = jnp.ones((4, 6, 8))

    def text(layer):
        graphdef, state = nnx.split(layer)
        loss = jax.grad(lambda state: jnp.sin(nnx.merge(graphdef, state)(x)).sum())
        return str(jax.make_jaxpr(loss)(state))

    ours, flax = pair()
    assert "(([0, 1], [0, 1]), ([], []))" in text(flax)
    assert "(([0, 1], [0, 1]), ([], []))" not in text(ours)
