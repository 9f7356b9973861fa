"""Feature maps: which there are, how they are had, and models that make nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxvision
from jaxvision.functional import to_functional
from jaxvision.models.feature_info import FeatureInfo, FeatureLevel, take_indices
from jaxvision.models.feature_net import FeatureNet, features_only
from jaxvision.paths import named_variables
from tests.compiled import run
from tests.models.small import SMALL
from tests.reference.features import features, pack, unpack

FAMILIES = pytest.mark.parametrize("name", SMALL)
X = jax.random.normal(jax.random.key(0), (2, 32, 32, 3))


def small(name, **options):
    return jaxvision.create_model(name, **{**SMALL[name], **options})


@pytest.fixture(scope="module", params=SMALL)
def whole(request):
    """A model with its features and all its maps, from one pass."""
    model = small(request.param, num_classes=3)
    return request.param, model, *run(model, X, method="forward_intermediates")


def test_the_maps_are_as_they_are_described(whole):
    _, model, final, maps = whole
    assert [level.num_chs for level in model.feature_info] == [m.shape[-1] for m in maps]
    assert [m.shape[:3] for m in maps] == [(2, 32 // r, 32 // r) for r in model.feature_info.reduction()]
    np.testing.assert_allclose(run(model, X, method="forward_features"), final, atol=1e-6)


def test_a_model_of_features_gives_the_same_maps_and_has_nothing_else(whole):
    name, model, _, maps = whole
    body = small(name, features_only=True, out_indices=(1, 0))
    assert isinstance(body, FeatureNet | type(model))
    assert body.feature_info.info == model.feature_info.info
    assert body.feature_info.out_indices == (0, 1)
    assert body.feature_info.channels() == model.feature_info.channels((0, 1))
    for map_, expected in zip(run(body, X), maps[:2], strict=True):
        np.testing.assert_allclose(map_, expected, atol=1e-6)
    used = named_variables(body)
    assert set(used) < set(named_variables(model))
    zeros = [jnp.zeros_like(m) for m in maps[:2]]

    def loss(params):
        apply, variables = to_functional(body)
        return sum(jnp.vdot(m, z + 1) for m, z in zip(apply({**variables, "params": params}, X)[0], zeros, strict=True))

    gradient = jax.eval_shape(jax.grad(loss), to_functional(body)[1]["params"])
    assert len(jax.tree.leaves(gradient)) == sum(isinstance(v, nnx.Param) for v in used.values())
    assert body.classifiers == ()
    assert body.num_features == body.feature_info[1].num_chs
    blocks = {path for stage in model.block_paths for path in stage}
    assert {path for stage in body.block_paths for path in stage} <= blocks


def test_files_of_whole_models_load_into_models_of_features(whole, tmp_path):
    name, model, *_ = whole
    path = tmp_path / "model.safetensors"
    jaxvision.save_weights(model, path)
    body = nnx.eval_shape(lambda: small(name, features_only=True, out_indices=(0,)))
    report = jaxvision.load_weights(body, path)
    told = {*report.loaded, *(key for key in report.dropped if not key.endswith("num_batches_tracked"))}
    assert len(told) == len(named_variables(model))
    named = small(name, pretrained=path, features_only=True, out_indices=[0])
    expected = named_variables(model)
    for found in (named_variables(body), named_variables(named)):
        assert set(found) == set(report.loaded)
        for path, variable in found.items():
            np.testing.assert_array_equal(variable.get_value(), expected[path].get_value())


def test_stopping_early_runs_no_more_than_it_must(whole):
    _, model, *_ = whole
    last, ran = model.block_paths[-1][-1], []

    def note(site, call, *args, **kwargs):
        ran.append(site.path)
        return call(*args, **kwargs)

    view = jaxvision.intercept(model, {last: note})
    images = jax.ShapeDtypeStruct(X.shape, X.dtype)
    for options, expected in (({"stop_early": True}, []), ({"intermediates_only": True}, []), ({}, [last])):
        ran.clear()
        jax.eval_shape(lambda x, options=options: view.forward_intermediates(x, (0,), **options), images)
        assert ran == expected


def test_the_last_norm_where_it_fits(whole):
    name, model, _, maps = whole
    normed = run(model, X, method="forward_intermediates", norm=True, intermediates_only=True)
    changed = [not np.allclose(a, b, atol=1e-4) for a, b in zip(normed, maps, strict=True)]
    if name.startswith(("vit", "deit")):
        assert all(changed)
    else:
        assert changed == [False] * (len(maps) - 1) + [name.startswith(("swin", "resnetv2"))]


def test_tokens_before_the_patches():
    model = small("deit_tiny_distilled_patch16_224")
    (maps, prefix), *_ = run(
        model, X, indices=1, method="forward_intermediates", return_prefix_tokens=True, intermediates_only=True
    )
    tokens = jax.jit(lambda x: jaxvision.features(model, x, "blocks.1"))(X)["blocks.1"]
    np.testing.assert_allclose(prefix, tokens[:, :2], atol=1e-5)
    np.testing.assert_allclose(maps.reshape(2, 4, 16), tokens[:, 2:], atol=1e-5)


def test_a_dict_of_maps_has_timms_keys():
    def maps(model, **options):
        return jax.eval_shape(lambda x: model.forward_intermediates(x, 1, output_dict=True, **options), X)

    resnet, vit = small("resnet18"), small("vit_tiny_patch16_224")
    assert {key: jax.tree.map(jnp.shape, value) for key, value in maps(resnet).items()} == {
        "image_features": (2, 4, 4, 16),
        "image_intermediates": [(2, 4, 4, 16)],
    }
    assert set(maps(resnet, intermediates_only=True)) == {"image_intermediates"}
    tokens = maps(vit, output_fmt="NLC", return_prefix_tokens=True, intermediates_only=True)
    assert {key: value[0].shape for key, value in tokens.items()} == {
        "image_intermediates": (2, 4, 16),
        "image_intermediates_prefix": (2, 1, 16),
    }
    with pytest.raises(ValueError, match="output_fmt must be 'NHWC' or 'NLC', got 'NCHW'"):
        maps(vit, output_fmt="NCHW")


@pytest.mark.parametrize("options", [{"scan": True}, {"remat": "full"}])
def test_maps_do_not_depend_on_how_blocks_run(options):
    plain, other = (run(small("vit_tiny_patch16_224", features_only=True, **o), X) for o in ({}, options))
    assert len(plain) == 3
    for a, b in zip(plain, other, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_maps_by_name_are_the_same_maps():
    model = small("resnet18")
    names = model.feature_info.module_name()
    assert names == ["act1", "layer1", "layer2"]
    by_name = jax.jit(lambda x: jaxvision.features(model, x, names[1:]))(X)
    maps = run(model, X, indices=2, method="forward_intermediates", intermediates_only=True)
    for name, expected in zip(names[1:], maps, strict=True):
        np.testing.assert_allclose(by_name[name], expected, atol=1e-5)


def test_feature_info_answers_as_timms():
    info = FeatureInfo(
        (FeatureLevel("stem", 8, 2), FeatureLevel("layer1", 16, 4), FeatureLevel("layer2", 32, 8)), (0, 2)
    )
    assert (info.channels(), info.reduction(), info.module_name()) == ([8, 32], [2, 8], ["stem", "layer2"])
    assert (info.channels(1), info.reduction(-1), info.module_name((1, 0))) == (16, 8, ["layer1", "stem"])
    assert (len(info), info[1].num_chs, info[1]["num_chs"], list(info)[-1]) == (3, 16, 16, ("layer2", 32, 8))
    assert info.get_dicts(["module"]) == [{"module": "stem"}, {"module": "layer2"}]
    assert info.get_dicts(idx=-1) == {"module": "layer2", "num_chs": 32, "reduction": 8, "index": 2}
    with pytest.raises(KeyError, match="channels"):
        info[0]["channels"]


@pytest.mark.parametrize(
    ("indices", "taken"),
    [(None, (0, 1, 2, 3)), (2, (2, 3)), ((0, -1), (0, 3)), ([2, 1, 2], (1, 2)), (range(1, 3), (1, 2))],
)
def test_indices(indices, taken):
    assert take_indices(4, indices) == taken


@pytest.mark.parametrize("indices", [0, 5, -1, (), (4,), (-5,), (0, 7)], ids=str)
def test_indices_that_do_not_exist_are_refused(indices):
    with pytest.raises(ValueError, match="there are 4 feature maps"):
        take_indices(4, indices)


def test_wrong_requests_are_told():
    with pytest.raises(ValueError, match="out_indices chooses among feature maps: it needs features_only=True"):
        small("resnet18", out_indices=(1,))
    with pytest.raises(ValueError, match="a model of features has no classifier: leave out num_classes=3"):
        small("resnet18", features_only=True, num_classes=3)
    with pytest.raises(ValueError, match=r"there are 3 feature maps.*got \(5,\)"):
        small("resnet18", features_only=True, out_indices=(5,))


def test_classes_are_made_once():
    one, two = (type(features_only(nnx.eval_shape(lambda: small("resnet18")))) for _ in range(2))
    assert one is two
    assert (one.__name__, one.__doc__) == ("ResNetFeatures", "The feature maps of a ResNet.")


def test_the_reference_holds_every_architecture():
    assert set(features()) >= set(jaxvision.list_models())
    for levels, _ in features().values():
        assert unpack(pack(levels)) == levels
