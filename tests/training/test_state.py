import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxvision.training.optim import Optimizer
from jaxvision.training.state import TrainState, merged

OPTIMIZER = Optimizer(optax.trace(0.9), lambda step: 0.1)


def create(**options):
    params = {"layer": {"0": {"kernel": jnp.ones((2, 2))}}, "head": {"bias": jnp.zeros(2)}}
    frozen = {"layer": {"1": {"kernel": jnp.full((2, 2), 3.0)}}}
    stats = {"bn": {"mean": jnp.zeros(2)}}
    state = TrainState.create(params, frozen, stats, OPTIMIZER, jax.random.key(0), **options)
    return state, params, frozen, stats


def test_variables_hold_trained_and_frozen_parameters_under_their_names():
    state, params, frozen, stats = create()
    variables = state.variables()
    assert variables["params"]["layer"].keys() == {"0", "1"}
    np.testing.assert_array_equal(variables["params"]["layer"]["1"]["kernel"], frozen["layer"]["1"]["kernel"])
    assert variables["batch_stats"].keys() == stats.keys()
    assert params["layer"].keys() == {"0"}  # merging changes neither


def test_averages_start_at_the_values_and_cover_what_moves():
    state, *_ = create(ema=True)
    assert state.ema.keys() == {"params", "batch_stats"}
    jax.tree.map(np.testing.assert_array_equal, state.variables(ema=True), state.variables())
    state, *_ = create()
    with pytest.raises(ValueError, match="ema=True"):
        state.variables(ema=True)


def test_it_is_a_pytree_of_arrays_that_does_not_share_the_models_own():
    state, params, frozen, stats = create(ema=True)
    leaves, treedef = jax.tree.flatten(state)
    assert all(isinstance(leaf, jax.Array) for leaf in leaves)
    assert isinstance(jax.tree.unflatten(treedef, leaves), TrainState)
    jax.jit(lambda state: jax.tree.map(lambda x: x, state), donate_argnums=0)(state)  # no buffer is in it twice
    for leaf in jax.tree.leaves((params, frozen, stats)):
        assert not leaf.is_deleted()


def test_it_can_be_made_abstractly():
    _, params, frozen, stats = create()
    abstract = jax.eval_shape(lambda p: TrainState.create(p, frozen, stats, OPTIMIZER, jax.random.key(0)), params)
    assert abstract.params["layer"]["0"]["kernel"] == jax.ShapeDtypeStruct((2, 2), jnp.float32)


def test_a_name_that_is_trained_and_frozen_is_refused():
    with pytest.raises(ValueError, match=r"both trained and frozen: layer\.0\.kernel"):
        merged({"layer": {"0": {"kernel": 1}}}, {"layer": {"0": {"kernel": 2}}, "head": 3})
    assert merged({"a": {"b": 1}}, {"a": {"c": 2}, "d": 3}) == {"a": {"b": 1, "c": 2}, "d": 3}


def test_an_old_style_key_is_refused():
    with pytest.raises(TypeError, match="typed key"):
        TrainState.create({"w": jnp.ones(1)}, {}, {}, OPTIMIZER, jax.random.PRNGKey(0))
