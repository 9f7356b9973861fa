import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxvision
from jaxvision.functional import to_functional, update, variables_of
from jaxvision.paths import flatten
from tests.compiled import run

VIT = {"img_size": 32, "embed_dim": 16, "depth": 12, "num_heads": 2, "num_classes": 5}


def vit(**options):
    return jaxvision.create_model("vit_tiny_patch16_224", **{**VIT, **options})


def resnet(**options):
    return jaxvision.create_model("resnet18", num_classes=3, layers=(1, 1), channels=(8, 16), stem_width=8, **options)


def images(*shape):
    return jax.random.normal(jax.random.key(1), shape or (2, 32, 32, 3))


def test_apply_is_the_model():
    model = vit()
    apply, variables = to_functional(model)
    logits, stats = jax.jit(apply)(variables, images())
    np.testing.assert_allclose(logits, model(images()), atol=1e-6)
    assert stats == {}
    assert set(variables) == {"params", "batch_stats"}
    assert variables["params"]["blocks"]["11"]["attn"]["qkv"]["kernel"].shape == (16, 48)


def test_variables_are_taken_by_name_whatever_their_order():
    """nnx.merge goes by position: with string keys 0, 1, 10, 11, 2 it would permute twelve blocks in silence."""
    model = vit()
    apply, variables = to_functional(model)
    expected = run(model, images())
    blocks = variables["params"]["blocks"]
    shuffled = {key: blocks[key] for key in sorted(blocks, reverse=True)}
    logits, _ = jax.jit(apply)({"batch_stats": {}, "params": {**variables["params"], "blocks": shuffled}}, images())
    np.testing.assert_array_equal(logits, expected)


def test_missing_unknown_and_misshapen_variables_are_all_named():
    apply, variables = to_functional(vit())
    params = {**variables["params"], "head": {"kernal": jnp.zeros((16, 5)), "bias": jnp.zeros(4)}}
    with pytest.raises(ValueError, match="are not the model's") as error:
        apply({**variables, "params": params}, images())
    message = str(error.value)
    assert "missing params.head.kernel" in message
    assert "unknown params.head.kernal; did you mean 'params.head.kernel'?" in message
    assert "params.head.bias has shape (4,), expected (5,)" in message


def test_unknown_method_suggests():
    with pytest.raises(AttributeError, match="did you mean 'forward_features'"):
        to_functional(vit(), method="forward_feature")


def test_other_methods():
    model = vit()
    found = run(model, images(), method="forward_features")
    np.testing.assert_allclose(found, model.forward_features(images()), atol=1e-6)


def test_train_and_key_are_independent():
    model = resnet(drop_rate=0.5)
    apply, variables = to_functional(model)
    x, key = images(), jax.random.key(0)
    still, stats = apply(variables, x, key=key)
    jax.tree.map(np.testing.assert_array_equal, stats, variables["batch_stats"])
    assert np.abs(still - apply(variables, x)[0]).max() > 1e-3
    _, moved = apply(variables, x, train=True)
    assert all(np.any(a != b) for a, b in zip(jax.tree.leaves(moved), jax.tree.leaves(stats), strict=True))


def test_apply_leaves_the_model_alone():
    model = resnet()
    before = jax.tree.map(np.asarray, variables_of(model))
    apply, variables = to_functional(model)
    apply(variables, images(), train=True, key=jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, before, variables_of(model))


def test_transforms():
    model = vit(drop_rate=0.5)
    apply, variables = to_functional(model)
    x, keys = images(), jax.random.split(jax.random.key(0), 3)
    samples = jax.jit(jax.vmap(lambda key: apply(variables, x, key=key)[0]))(keys)
    one = jax.jit(lambda key: apply(variables, x, key=key)[0])
    loop = jnp.stack([one(key) for key in keys])
    np.testing.assert_allclose(samples, loop, atol=1e-5)
    assert samples.std(axis=0).max() > 0

    def loss(params):
        return apply({**variables, "params": params}, x)[0].sum()

    gradient = jax.jit(jax.grad(loss))(variables["params"])
    assert flatten(gradient).keys() == flatten(variables["params"]).keys()


def test_update_writes_back_all_or_nothing():
    model = vit()
    params = jax.tree.map(lambda value: value + 1, variables_of(model)["params"])
    update(model, {"params": params})
    jax.tree.map(np.testing.assert_array_equal, params, variables_of(model)["params"])
    with pytest.raises(ValueError, match=r"missing params\.head\.bias"):
        update(model, {"params": {**params, "head": {"kernel": params["head"]["kernel"] * 2}}})
    jax.tree.map(np.testing.assert_array_equal, params, variables_of(model)["params"])


class Foreign(nnx.Module):
    """A module of somebody else: switches inside, a stream of its own."""

    def __init__(self, rngs: nnx.Rngs):
        self.linear = nnx.Linear(3, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.drop(self.norm(self.linear(x)))


def test_foreign_modules_are_switched_from_outside():
    model = Foreign(nnx.Rngs(0))  # its stream is called "default": nnx.reseed(dropout=...) would do nothing
    apply, variables = to_functional(model)
    x = images(8, 3)
    first, stats = apply(variables, x)
    np.testing.assert_array_equal(first, apply(variables, x)[0])
    jax.tree.map(np.testing.assert_array_equal, stats, variables["batch_stats"])
    one, two = (apply(variables, x, key=jax.random.key(seed))[0] for seed in (1, 2))
    assert np.any(one != two)
    np.testing.assert_array_equal(one, apply(variables, x, key=jax.random.key(1))[0])
    assert np.any(apply(variables, x, train=True)[1]["norm"]["mean"] != stats["norm"]["mean"])
    assert "drop" in variables["other"]


def test_shared_modules_have_their_arrays_once():
    class Tied(nnx.Module):
        def __init__(self, rngs):
            self.first = nnx.Linear(3, 3, rngs=rngs)
            self.second = self.first

        def __call__(self, x):
            return self.second(self.first(x))

    model = Tied(nnx.Rngs(0))
    apply, variables = to_functional(model)
    assert variables["params"].keys() == {"first"}
    np.testing.assert_allclose(apply(variables, images(2, 3))[0], model(images(2, 3)), atol=1e-6)


def test_abstract_models_have_abstract_variables():
    model = nnx.eval_shape(lambda: vit(), graph=True)
    _, variables = to_functional(model)
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(variables))


@pytest.mark.parametrize("switch", ["nnx_graph_mode", "nnx_graph_updates"])
def test_tree_mode_changes_nothing(switch):
    """Flax plans to turn graph mode off by default (FLIP 5310)."""
    model = vit()
    expected = run(model, images())
    flax.config.update(switch, False)
    try:
        np.testing.assert_allclose(run(model, images()), expected, atol=1e-6)
        captured = jax.eval_shape(lambda: jaxvision.features(model, images(), "blocks.*"))
        assert len(captured) == 12
    finally:
        flax.config.update(switch, True)
