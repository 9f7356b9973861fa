"""New classifiers and poolings for models that exist."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxvision
from jaxvision.functional import to_functional
from jaxvision.models.head import MlpHead, replace_head
from jaxvision.nn.drop import DropSite
from jaxvision.paths import named_modules, named_variables
from tests.models.small import SMALL

FAMILIES = pytest.mark.parametrize("name", SMALL)
X = jax.random.normal(jax.random.key(0), (2, 32, 32, 3))


def small(name, **options):
    return jaxvision.create_model(name, **{"num_classes": 5, **SMALL[name], **options})


def abstract(name, **options):
    return nnx.eval_shape(lambda: small(name, **options))


def values(model):
    return {path: variable.get_value() for path, variable in named_variables(model).items()}


def shape(model):
    """Of what a pass gives, which is not computed."""
    apply, variables = to_functional(model)
    return jax.eval_shape(apply, variables, X)[0].shape


@FAMILIES
def test_a_new_classifier_is_the_only_thing_that_changes(name):
    model = small(name)
    before, sites = values(model), [p for p, m in named_modules(model).items() if isinstance(m, DropSite)]
    heads = model.classifiers
    assert model.reset_classifier(7, seed=3) is model
    assert (model.num_classes, model.config.num_classes, model.classifiers) == (7, 7, heads)
    for path, value in values(model).items():
        if any(path.startswith(f"{head}.") for head in heads):
            assert value.shape == (*before[path].shape[:-1], 7)
            assert path.endswith("bias") or value.std() > 0
        else:
            assert value is before[path]
    assert shape(model) == (2, 7)
    assert [p for p, m in named_modules(model).items() if isinstance(m, DropSite)] == sites
    assert all(m.path_hash is not None for m in named_modules(model).values() if isinstance(m, DropSite))


@FAMILIES
def test_the_seed_decides(name):
    model = abstract(name)
    kernel = f"{model.classifiers[-1]}.kernel"
    first, again, other = (values(model.reset_classifier(7, seed=seed))[kernel] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@FAMILIES
def test_a_classifier_goes_and_comes_back(name):
    model, names = small(name), set(values(abstract(name)))
    model.reset_classifier(0)
    assert (model.classifiers, model.num_classes) == ((), 0)
    assert set(values(model)) == set(values(abstract(name, num_classes=0)))
    assert shape(model) == (2, model.head_hidden_size)
    for changed in (model.reset_classifier(3), small(name, num_classes=0).reset_classifier(3)):
        assert set(values(changed)) == names
        assert shape(changed) == (2, 3)


def test_both_heads_of_a_distilled_model():
    model = abstract("deit_tiny_distilled_patch16_224").reset_classifier(3)
    assert model.get_classifier() == (model.head, model.head_dist)
    assert not np.array_equal(model.head.kernel[...], model.head_dist.kernel[...])
    assert model.reset_classifier(0).get_classifier() == (None, None)
    with pytest.raises(ValueError, match="distilled=True reads the class and distillation tokens"):
        model.reset_classifier(3, "avg")


@FAMILIES
def test_get_classifier(name):
    model = abstract(name)
    found = model.get_classifier()
    modules = named_modules(model)
    assert [*np.atleast_1d(np.array(found, object))] == [modules[path] for path in model.classifiers]


def test_dtypes_stay():
    model = abstract("resnet18", dtype=jnp.bfloat16, param_dtype=jnp.bfloat16).reset_classifier(3)
    assert (model.fc.kernel.get_value().dtype, model.fc.dtype) == (jnp.bfloat16, jnp.bfloat16)
    model = abstract("vit_tiny_patch16_224", dtype=jnp.bfloat16).reset_classifier(3)
    assert (model.head.kernel.get_value().dtype, model.head.dtype) == (jnp.float32, jnp.bfloat16)


def test_hooks_and_heads_of_several_layers_find_the_new_place():
    model = abstract("swin_tiny_patch4_window7_224").reset_classifier(3)
    view = jaxvision.intercept(model, {"head.fc": lambda site, call, x: 2 * call(x)})
    pooled = jnp.ones((2, model.head_hidden_size))
    np.testing.assert_array_equal(view.classify(pooled), 2 * model.classify(pooled))
    replace_head(model, MlpHead(model.head_hidden_size, 2, hidden=(4,), batch_norm=False, rngs=nnx.Rngs(0)))
    assert model.classifiers == ("head.fc",)
    assert shape(model) == (2, 2)
    assert shape(model.reset_classifier(4)) == (2, 4)


@pytest.mark.parametrize("name", [name for name in SMALL if not name.startswith(("vit", "deit"))])
def test_every_pooling_of_a_map(name):
    model, features = abstract(name), jax.random.normal(jax.random.key(1), (2, 3, 4, abstract(name).num_features))
    pooled = {
        kind: model.reset_classifier(0, kind).forward_head(features)
        for kind in ("avg", "max", "avgmax", "catavgmax", "")
    }
    np.testing.assert_allclose(pooled["avg"], features.mean((1, 2)), atol=1e-6)
    np.testing.assert_array_equal(pooled["max"], features.max((1, 2)))
    np.testing.assert_allclose(pooled["avgmax"], (pooled["avg"] + pooled["max"]) / 2, atol=1e-6)
    np.testing.assert_array_equal(pooled["catavgmax"], np.concatenate([pooled["avg"], pooled["max"]], axis=1))
    np.testing.assert_array_equal(pooled[""], features)
    assert model.reset_classifier(3, "catavgmax").head_hidden_size == 2 * model.num_features
    assert model.forward_head(features).shape == (2, 3)
    assert model.reset_classifier(3, "").forward_head(features).shape == (2, 3, 4, 3)
    built = abstract(name, global_pool="catavgmax")
    assert [v.shape for v in values(built).values()] == [
        v.shape for v in values(model.reset_classifier(5, "catavgmax")).values()
    ]


def test_poolings_of_a_vit_and_where_its_norm_stays():
    model = abstract("vit_tiny_patch16_224", num_classes=0)
    tokens = jax.random.normal(jax.random.key(1), (2, 5, 16))
    assert model.norm is not None
    assert model.fc_norm is None
    np.testing.assert_array_equal(model.forward_head(tokens), tokens[:, 0])
    for kind, pooled in {"avg": tokens[:, 1:].mean(1), "max": tokens[:, 1:].max(1), "": tokens}.items():
        model.reset_classifier(0, kind)
        np.testing.assert_allclose(model.forward_head(tokens), pooled, atol=1e-6)
        assert model.norm is not None
    assert model.config.fc_norm is False
    with pytest.raises(ValueError, match="build the model with global_pool='map'"):
        model.reset_classifier(0, "map")


def test_attention_pooling_goes_and_does_not_come_back():
    model = abstract("vit_tiny_patch16_224", global_pool="map")
    assert model.attn_pool is not None
    model.reset_classifier(5, "map").reset_classifier(5, "avg")
    assert model.attn_pool is None
    assert shape(model) == (2, 5)
    with pytest.raises(ValueError, match="weights of its own"):
        model.reset_classifier(5, "map")


def test_the_published_file_still_fits_without_the_attention_pooling():
    file = values(small("vit_tiny_patch16_224", global_pool="map"))
    built = abstract("vit_tiny_patch16_224", global_pool="avg")
    for model in (built, abstract("vit_tiny_patch16_224", global_pool="map").reset_classifier(5, "avg")):
        report = jaxvision.load_weights(model, file)
        assert {key.partition(".")[0] for key in report.dropped} == {"attn_pool"}


@FAMILIES
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((5, "mean"), r"global_pool.*'avg'"),
        ((5, "fastavg"), r"global_pool.*'avg'"),
        ((-1,), "num_classes must be 0, for no classifier, or more, got -1"),
    ],
)
def test_wrong_heads_are_refused_and_change_nothing(name, change, message):
    model = abstract(name)
    before = model.config, named_variables(model)
    with pytest.raises(ValueError, match=message):
        model.reset_classifier(*change)
    assert (model.config, named_variables(model)) == before
    if len(change) == 2:
        with pytest.raises(ValueError, match=message):
            abstract(name, global_pool=change[1])


def test_a_model_shows_its_parts_and_their_sizes():
    assert repr(abstract("resnet18")).splitlines() == [
        "ResNet: 19,045 parameters, 272 running statistics",
        "  bn1     BatchNorm    128",
        "  conv1   Conv2d     9,408",
        "  fc      Linear        85",
        "  layer1  Stack      5,744",
        "  layer2  Stack      3,680",
    ]
    assert repr(abstract("resnet18", num_classes=0)).startswith("ResNet: 18,960 parameters")
