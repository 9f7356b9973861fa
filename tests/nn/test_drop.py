import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxvision
from jaxvision.functional import to_functional
from jaxvision.nn.drop import Dropout, DropPath, SiteKeys, drop, name_sites

X = jnp.ones((64, 32))


class Net(nnx.Module):
    def __init__(self, rates):
        self.sites = nnx.List([Dropout(rate) for rate in rates])

    def __call__(self, x, rngs=None):
        return jnp.stack([site(x, rngs) for site in self.sites])


def test_rates_and_scale():
    y = Dropout(0.25)(jnp.ones((400, 400)), nnx.Rngs(dropout=0))
    assert set(np.unique(y)) == {0, np.float32(1 / 0.75)}
    assert abs(float((y == 0).mean()) - 0.25) < 0.01


@pytest.mark.parametrize("kind", [Dropout, DropPath])
def test_no_rngs_and_rate_0_are_the_identity(kind):
    assert kind(0.9)(X) is X
    assert kind(0.0)(X, nnx.Rngs(0)) is X


def test_rate_1_drops_everything_without_nan():
    assert np.all(Dropout(1.0)(X, nnx.Rngs(0)) == 0)
    gradient = jax.grad(lambda x: Dropout(1.0)(x, nnx.Rngs(0)).sum())(X)
    assert np.all(gradient == 0)


@pytest.mark.parametrize("rate", [-0.1, 1.1])
def test_a_rate_is_a_probability(rate):
    with pytest.raises(ValueError, match="between 0 and 1"):
        Dropout(rate)


def test_drop_path_drops_whole_examples():
    y = DropPath(0.5)(X, nnx.Rngs(0))
    assert np.all(y == y[:, :1])
    assert 0 < (y[:, 0] == 0).sum() < 64


def test_a_traced_rate_compiles_once():
    traces = []

    @jax.jit
    def run(rate):
        traces.append(rate)
        return drop(X, rate, jax.random.key(0), X.shape)

    for rate in (0.0, 0.1, 0.5, 1.0):
        np.testing.assert_allclose(run(rate), drop(X, rate, jax.random.key(0), X.shape))
    assert len(traces) == 1


def test_masks_are_nested_in_the_rate():
    low, high = (drop(X, rate, jax.random.key(3), X.shape) == 0 for rate in (0.2, 0.6))
    assert np.all(high[low])


def test_a_sites_mask_does_not_depend_on_which_others_are_on():
    def masks(*rates):
        net = Net(rates)
        name_sites(net)
        return net(X, SiteKeys(jax.random.key(0)))

    both, second = masks(0.5, 0.5), masks(0.0, 0.5)
    np.testing.assert_array_equal(both[1], second[1])
    assert np.any(both[0] != both[1]), "two sites, two masks"


def test_to_functional_names_the_sites_of_a_composed_model():
    apply, variables = to_functional(Net((0.5, 0.5)))
    one, _ = apply(variables, X, key=jax.random.key(0))
    assert np.any(one[0] != one[1])
    off, _ = to_functional(Net((0.0, 0.5)))[0](variables, X, key=jax.random.key(0))
    np.testing.assert_array_equal(one[1], off[1])


def test_apply_draws_what_the_module_itself_would():
    net = Net((0.5, 0.5))
    name_sites(net)
    apply, variables = to_functional(net)
    key = jax.random.key(0)
    np.testing.assert_array_equal(apply(variables, X, key=key)[0], net(X, SiteKeys(nnx.Rngs(dropout=key).dropout())))


def test_a_shared_site_gets_another_mask_every_call():
    site = Dropout(0.5)
    site.path_hash = 7
    keys = SiteKeys(jax.random.key(0))
    assert np.any(site(X, keys) != site(X, keys))


def test_layers_by_themselves_take_any_rngs():
    rngs = nnx.Rngs(0)  # a stream called "default"
    site = Dropout(0.5)
    assert np.any(site(X, rngs) != site(X, rngs))


def test_the_same_rngs_object_advances_from_pass_to_pass():
    model = jaxvision.create_model(
        "vit_tiny_patch16_224", img_size=32, embed_dim=16, depth=2, num_heads=2, num_classes=5, drop_path_rate=0.5
    )
    rngs, images = nnx.Rngs(dropout=0), jnp.ones((4, 32, 32, 3))
    assert np.any(model(images, rngs=rngs) != model(images, rngs=rngs))
    np.testing.assert_array_equal(model(images, rngs=nnx.Rngs(dropout=0)), model(images, rngs=nnx.Rngs(dropout=0)))
