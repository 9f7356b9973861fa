import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxvision
from jaxvision.models.head import MlpHead, replace_head
from jaxvision.paths import flatten
from tests.models.small import SMALL

MODELS = {name: options for name, options in SMALL.items() if "distilled" not in name}
X = jax.random.normal(jax.random.key(0), (4, 32, 32, 3))


def with_head(name: str, **options) -> nnx.Module:
    model = jaxvision.create_model(name, num_classes=5, **MODELS[name])
    return replace_head(model, MlpHead(model.head_hidden_size, 3, hidden=(8, 6), rngs=nnx.Rngs(1), **options))


@pytest.mark.parametrize("name", MODELS)
def test_a_head_of_several_layers_takes_the_classifiers_place(name):
    model = with_head(name)
    apply, variables = jaxvision.to_functional(model)
    logits = jax.jit(apply)(variables, X)[0]
    assert logits.shape == (4, 3)
    assert model.num_classes == model.config.num_classes == 3
    apply, variables = jaxvision.to_functional(jaxvision.create_model(name, num_classes=0, **MODELS[name]))
    pooled = jax.jit(apply)(variables, X)[0]
    np.testing.assert_allclose(model.classify(pooled), logits, atol=1e-6)
    place = model.classifiers[0]
    names = {n for n in flatten(jaxvision.to_functional(model)[1]["params"]) if n.startswith(f"{place}.")}
    assert names == {
        f"{place}.{n}"
        for n in (
            "hidden.0.linear.kernel",
            "hidden.0.linear.bias",
            "hidden.0.norm.scale",
            "hidden.0.norm.bias",
            "hidden.1.linear.kernel",
            "hidden.1.linear.bias",
            "out.kernel",
            "out.bias",
        )
    }


def test_train_and_rngs_reach_the_head_through_the_whole_model():
    model = with_head("vit_tiny_patch16_224")
    apply, variables = jaxvision.to_functional(model)
    _, stats = apply(variables, X, train=True)
    assert not np.allclose(
        stats["head"]["hidden"]["0"]["norm"]["mean"], variables["batch_stats"]["head"]["hidden"]["0"]["norm"]["mean"]
    )
    first, second = (apply(variables, X, key=jax.random.key(k))[0] for k in (0, 1))
    assert not jnp.allclose(first, second), "dropout in the head is on iff a key is given"
    np.testing.assert_array_equal(apply(variables, X)[0], apply(variables, X)[0])


def test_the_head_is_what_it_says():
    head = MlpHead(4, 1, hidden=(256, 128), batch_norm=(True, False), drop=0.5, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (3, 4))
    first, second = head.hidden
    y = jax.nn.relu(x @ first.linear.kernel[...] + first.linear.bias[...])
    y = y / jnp.sqrt(1 + 1e-5)  # fresh statistics: mean 0, variance 1
    y = jax.nn.relu(y @ second.linear.kernel[...] + second.linear.bias[...])
    np.testing.assert_allclose(head(x), y @ head.out.kernel[...] + head.out.bias[...], rtol=1e-5)
    assert second.norm is None


def test_errors_name_the_mismatch():
    with pytest.raises(ValueError, match="1 values for 2 hidden layers"):
        MlpHead(4, 1, hidden=(8, 8), batch_norm=(True,), rngs=nnx.Rngs(0))
    model = jaxvision.create_model("resnet18", num_classes=0, layers=(1, 1, 1, 1), channels=(8, 8, 8, 16))
    with pytest.raises(ValueError, match="this model has 0"):
        replace_head(model, MlpHead(16, 1, rngs=nnx.Rngs(0)))
