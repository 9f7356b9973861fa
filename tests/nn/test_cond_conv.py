import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxvision.nn.cond_conv import CondConv2d
from jaxvision.nn.conv import conv2d

SHAPES = pytest.mark.parametrize(
    ("in_features", "out_features", "size", "options"),
    [
        (6, 4, 1, {}),
        (6, 6, 3, {"stride": 2, "padding": "SAME", "groups": 6}),
        (6, 6, 5, {"padding": 2, "groups": 6}),
        (4, 6, 3, {"padding": 1, "groups": 2}),
    ],
)


def experts_one_by_one(layer, x, routing):
    """Equation 1's other side: convolution is linear in its kernel, so the experts' outputs may be mixed instead."""
    total = 0.0
    for expert, row in enumerate(layer.weight[...]):
        kernel = row.reshape(layer.kernel_shape).transpose(2, 3, 1, 0)
        y = conv2d(x, kernel, stride=layer.stride, padding=layer.padding, groups=layer.groups)
        total += routing[:, expert, None, None, None] * y
    return total


@SHAPES
def test_a_mixed_kernel_gives_the_mixed_outputs(in_features, out_features, size, options):
    layer = CondConv2d(in_features, out_features, size, num_experts=3, rngs=nnx.Rngs(0), **options)
    x = jax.random.normal(jax.random.key(1), (3, 7, 8, in_features))
    routing = jax.nn.sigmoid(jax.random.normal(jax.random.key(2), (3, 3)))
    graphdef, state = nnx.split(layer)

    def loss(function):
        def value(state, x, routing):
            y = function(nnx.merge(graphdef, state), x, routing)
            return jnp.sum(jnp.sin(y)), y

        return jax.jit(jax.value_and_grad(value, argnums=(0, 1, 2), has_aux=True))

    (_, y), gradients = loss(CondConv2d.__call__)(state, x, routing)
    (_, expected), expected_gradients = loss(experts_one_by_one)(state, x, routing)
    np.testing.assert_allclose(y, expected, atol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3), gradients, expected_gradients)


def test_it_is_one_grouped_convolution_where_that_is_fast():
    layer = CondConv2d(4, 4, 3, num_experts=2, padding=1, groups=4, rngs=nnx.Rngs(0))
    x, routing = jnp.ones((3, 5, 5, 4)), jnp.ones((3, 2))
    lowered = jax.jit(lambda x, routing: layer(x, routing)).trace(x, routing).lower(lowering_platforms=("cuda",))
    text = lowered.as_text()
    assert text.count("stablehlo.convolution") == 1
    assert "feature_group_count = 12" in text
    assert "stablehlo.while" not in text


def test_passes_with_other_routings_are_one_vmap():
    layer = CondConv2d(4, 4, 3, num_experts=2, padding=1, groups=4, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (3, 5, 5, 4))
    routings = jax.random.uniform(jax.random.key(1), (6, 3, 2))
    together = jax.vmap(lambda routing: layer(x, routing))(routings)
    np.testing.assert_allclose(together[4], layer(x, routings[4]), atol=1e-5)


@pytest.mark.parametrize("groups", [1, 32])
def test_every_expert_starts_as_a_convolution_of_its_own(groups):
    layer = CondConv2d(32, 32, 3, num_experts=4, groups=groups, rngs=nnx.Rngs(0))
    assert layer.weight.shape == (4, 32 * 32 // groups * 9)
    expected = np.sqrt(2 / (9 * 32 / groups))
    np.testing.assert_allclose(layer.weight[...].std(1), np.full(4, expected), rtol=0.2)


def test_groups_must_fit():
    with pytest.raises(ValueError, match="groups=4 must divide in_features=6"):
        CondConv2d(6, 8, 1, num_experts=2, groups=4, rngs=nnx.Rngs(0))
