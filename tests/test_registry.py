import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file

from jaxvision.catalogue import by_architecture, deprecated
from jaxvision.paths import named_variables
from jaxvision.registry import FormerNameWarning, ModelNameError, create_model, families, list_models, model_info
from jaxvision.weights import WeightsError, WeightsMismatchError, WeightsWarning, read_weights
from jaxvision.weights.layout import timm_name
from tests.compiled import run


def values(model):
    return {name: np.asarray(variable.get_value()) for name, variable in named_variables(model).items()}


def abstract(*args, **kwargs):
    return nnx.eval_shape(lambda: create_model(*args, **kwargs))


def is_in_head(name, model):
    return any(name.startswith(f"{head}.") for head in model.classifiers)


def save(model, path):
    """Writes a model's values as timm would: its names, PyTorch's layouts."""
    axes = {4: (3, 2, 0, 1), 2: (1, 0)}
    arrays = {
        timm_name(name): value.transpose(axes[value.ndim]) if name.endswith("kernel") else value
        for name, value in values(model).items()
    }
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)
    return path


# One model of every family, made small by options that have nothing to do with what is tested here.
MODELS = {
    "vit": ("vit_tiny_patch16_224", {"embed_dim": 24, "depth": 2, "num_heads": 3, "img_size": 32}),
    "swin": ("swin_tiny_patch4_window7_224", {"embed_dim": 8, "depths": (1, 1), "num_heads": (1, 2), "img_size": 56}),
    "efficientnet": ("efficientnet_lite0", {"width": 0.1, "depth": 0.1, "head_size": 80}),
    "resnet": ("resnet18", {"layers": (1, 1, 1, 1), "channels": (8, 8, 16, 16), "stem_width": 8}),
}


@pytest.fixture(scope="module", params=MODELS)
def saved(request, tmp_path_factory):
    """A model with values that no initialiser gives, and the file of them."""
    name, options = MODELS[request.param]
    model, random = abstract(name, **options), np.random.default_rng(0)
    for variable in named_variables(model).values():
        variable.set_value(jnp.asarray(random.uniform(0.1, 0.2, variable.get_value().shape), jnp.float32))
    return name, options, model, save(model, tmp_path_factory.mktemp("weights") / "model.safetensors")


def test_listing_is_in_natural_order():
    names = list_models("resnet*")
    assert names.index("resnet18") < names.index("resnet34") < names.index("resnet101")
    assert set(list_models()) == set(families())


def test_listing_weights():
    tags = list_models("resnet50", pretrained=True)
    assert tags == list_models("resnet50.*")
    assert "resnet50.a1_in1k" in tags
    assert set(tags) == {info.name for info in by_architecture()["resnet50"]}
    assert list_models("resnet50.tv*") == ["resnet50.tv2_in1k", "resnet50.tv_in1k"]
    assert all("." in name for name in list_models(pretrained=True))
    assert list_models("no_such_*") == []


def test_listing_by_several_patterns_and_without_some():
    assert list_models(["resnet18", "resnetv2_18*"]) == ["resnet18", "resnetv2_18", "resnetv2_18d"]
    assert list_models(["resnet18", "resnet18*"], exclude_filters="*d") == ["resnet18"]
    assert list_models("resnet1?", True, exclude_filters=["resnet1[04]*", "*.fb_*", "*.a?_in1k"]) == [
        "resnet18.gluon_in1k",
        "resnet18.tv_in1k",
    ]
    assert list_models("resnet18.*", exclude_filters="resnet18") == []
    assert list_models("") == list_models([]) == list_models(exclude_filters="") == list_models()


def test_a_pattern_without_a_dot_also_matches_whole_names_of_weights():
    assert "vit_base_patch16_224.dino" in list_models("*dino*", pretrained=True)
    assert list_models("resnet18*", True, exclude_filters="*in1k") == []


@pytest.mark.parametrize(
    "name", ["hf-hub:timm/resnet50.tv_in1k", "hf_hub:timm/resnet50.tv_in1k", "timm/resnet50.tv_in1k"]
)
def test_timms_repositories_are_names(name):
    assert model_info(name) == model_info("resnet50.tv_in1k")
    assert abstract(name).config == abstract("resnet50.tv_in1k").config


def test_former_names_stand_for_those_of_today():
    for function in (model_info, abstract):
        with pytest.warns(FormerNameWarning, match="is timm's former name of 'vit_base_patch16_224.dino'") as told:
            function("vit_base_patch16_224_dino")
        assert told[0].filename == __file__
    assert not set(deprecated()) & set(list_models())
    for name, current in deprecated().items():
        if not current.endswith(".sam"):  # a tag that timm has not
            with pytest.warns(FutureWarning):
                assert model_info(name) == model_info(current)
    with (
        pytest.warns(FutureWarning),
        pytest.raises(ModelNameError, match="no weights tagged 'sam'; did you mean 'sam_"),
    ):
        model_info("vit_base_patch16_224_sam")


def test_an_architecture_stands_for_its_default_weights():
    assert model_info("resnet50").name == "resnet50.a1_in1k"
    assert model_info("resnet50.tv_in1k").tag == "tv_in1k"


def test_weights_for_research_only_are_never_a_default():
    assert by_architecture()["resnext101_32x4d"][0].license == "cc-by-nc-4.0"
    assert model_info("resnext101_32x4d").name == "resnext101_32x4d.gluon_in1k"
    assert by_architecture()["resnext101_32x16d"][0].non_commercial
    info = model_info("resnext101_32x16d")
    assert (info.name, info.tag, info.hub_id, info.pretrained) == ("resnext101_32x16d", None, None, False)
    assert not any(model_info(name).non_commercial for name in list_models())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet5O", "unknown model 'resnet5O'; did you mean 'resnet50'"),
        ("vit_bse_patch16_224", "did you mean 'vit_base_patch16_224'"),
        ("qqq", "unknown model 'qqq'$"),
        ("", "unknown model ''"),
        ("resnet18.a1_in1", "no weights tagged 'a1_in1'; did you mean 'a1_in1k'.*its tags are .*tv_in1k"),
        ("resnet18.zzz", "no weights tagged 'zzz'; its tags are a1_in1k"),
        ("seresnet18.a1_in1k", "it has no published weights"),
        ("timm/resnet5O", "unknown model 'resnet5O'; did you mean 'resnet50'"),
        ("hf-hub:facebook/deit", r"create_model\('<architecture>', pretrained='hf-hub:facebook/deit'\)"),
        ("facebook/deit", "pretrained='hf-hub:facebook/deit'"),
        ("local-dir:/deit", "pretrained='/deit'"),
    ],
)
def test_wrong_names_are_answered_with_right_ones(name, message):
    for function in (model_info, create_model):
        with pytest.raises(ModelNameError, match=message):
            function(name)


def test_every_architecture_of_the_catalogue_has_a_family_and_the_other_way_round():
    assert set(families()) == set(by_architecture())


def test_weights_of_a_file_replace_all_random_ones(saved):
    name, options, model, path = saved
    loaded = create_model(name, pretrained=path, seed=2, **options)
    assert not any(isinstance(v.get_value(), jax.ShapeDtypeStruct) for v in named_variables(loaded).values())
    images = jax.random.normal(jax.random.key(0), (2, *getattr(model.config, "img_size", (32, 32)), 3))
    np.testing.assert_array_equal(run(loaded, images), run(model, images))


def test_another_number_of_classes_changes_the_head_and_nothing_else(saved):
    name, options, model, path = saved
    old = values(model)
    with pytest.warns(
        WeightsWarning, match=f"{path.name}: the classifier .* is new: the file's .* 1000 classes"
    ) as told:
        changed = create_model(name, pretrained=path, num_classes=7, **options)
    assert [warning.filename for warning in told] == [__file__]
    for variable, value in values(changed).items():
        if is_in_head(variable, model):
            assert value.shape == (*old[variable].shape[:-1], 7)
        else:
            np.testing.assert_array_equal(value, old[variable], err_msg=variable)


def test_a_new_head_is_that_of_a_fresh_model(tmp_path):
    name, options = MODELS["vit"]
    path = save(create_model(name, seed=1, **options), tmp_path / "model.safetensors")
    with pytest.warns(WeightsWarning, match="is new"):
        new = create_model(name, pretrained=path, num_classes=7, seed=3, **options)
    fresh = create_model(name, num_classes=7, seed=3, **options)
    # Compiled alone or with the whole model, the last bit may differ.
    np.testing.assert_allclose(new.head.kernel.get_value(), fresh.head.kernel.get_value(), rtol=1e-5, atol=1e-8)
    assert np.std(new.head.kernel.get_value()) > 0
    assert not np.array_equal(new.patch_embed.proj.kernel.get_value(), fresh.patch_embed.proj.kernel.get_value())


def test_a_file_without_a_head_may_get_one(saved):
    name, options, model, path = saved
    file = {n: array for n, array in read_weights(path).items() if not is_in_head(n, model)}
    headless = path.with_name("headless.safetensors")
    save_file(file, headless)
    with pytest.raises(WeightsMismatchError, match="the file has no classifier"):
        create_model(name, pretrained=headless, **options)
    with pytest.warns(WeightsWarning, match="is new: the file has no classifier"):
        created = create_model(name, pretrained=headless, num_classes=7, **options)
    assert created.num_classes == 7


def test_a_head_that_is_damaged_is_not_replaced(saved):
    name, options, model, path = saved
    file = read_weights(path)
    kernel, bias = (f"{model.classifiers[0]}.{leaf}" for leaf in ("weight", "bias"))
    rest = {n: array for n, array in file.items() if n not in (kernel, bias)}
    for head in (
        {f"{kernel}x": file[kernel], bias: file[bias]},
        {kernel: file[kernel]},
        {kernel: file[kernel].repeat(3, 1), bias: file[bias]},
    ):
        damaged = path.with_name("damaged.safetensors")
        save_file(rest | head, damaged)
        for classes in (1000, 7):
            with pytest.raises(WeightsMismatchError, match=rf"{model.classifiers[0]}\.(weight|bias)"):
                create_model(name, pretrained=damaged, num_classes=classes, **options)


def test_a_new_head_may_see_another_pooling(saved):
    name, options, _, path = saved
    pool = "max" if name.startswith("vit") else "catavgmax"
    with pytest.warns(WeightsWarning, match="is new: the file's classifier is for 1000 classes"):
        created = create_model(name, pretrained=path, num_classes=7, global_pool=pool, **options)
    assert created.get_classifier().in_features == max(created.head_widths)


def test_without_classes_there_is_no_head(saved):
    name, options, model, path = saved
    loaded = create_model(name, pretrained=path, num_classes=0, **options)
    assert set(values(loaded)) == {
        v for v in values(model) if not any(v.startswith(f"{h}.") for h in model.classifiers)
    }


def test_weights_fit_other_channels_and_sizes(saved):
    name, options, _, path = saved
    loaded = create_model(name, pretrained=path, in_chans=1, **options | {"img_size": (64, 96)})
    assert np.isfinite(run(loaded, jnp.ones((1, 64, 96, 1)))).all()


def test_a_file_that_does_not_fit_is_an_error(saved):
    name, options, _, path = saved
    with pytest.raises(WeightsError, match="missing"):
        create_model("vit_tiny_patch16_224" if name == "resnet18" else "resnet18", pretrained=path)
    with pytest.raises(WeightsError, match="there is no file"):
        create_model(name, pretrained="no_such_file.safetensors", **options)


def test_published_weights_come_from_the_installed_package():
    model = create_model("tf_efficientnet_lite0", pretrained=True)
    assert values(model)["bn1.var"].std() > 0.1
    with warnings.catch_warnings():
        warnings.simplefilter("error", WeightsWarning)  # a new head was asked for
        ten = create_model("tf_efficientnet_lite0.in1k", pretrained=True, num_classes=10)
    assert ten.classifier.kernel.get_value().shape == (1280, 10)
    np.testing.assert_array_equal(values(ten)["conv_stem.kernel"], values(model)["conv_stem.kernel"])


def test_no_weights_are_invented():
    with pytest.raises(ModelNameError, match="'seresnet18' has no published weights"):
        create_model("seresnet18", pretrained=True)
    with pytest.raises(ModelNameError, match=r"name one of 'resnext101_32x16d.fb_wsl_ig1b_ft_in1k' \(cc-by-nc-4.0\)"):
        create_model("resnext101_32x16d", pretrained=True)


def test_a_seed_is_a_model():
    name, options = MODELS["vit"]
    first, again, other = (values(create_model(name, seed=seed, **options)) for seed in (0, 0, 1))
    for path, value in first.items():
        np.testing.assert_array_equal(value, again[path])
    assert not np.array_equal(first["pos_embed"], other["pos_embed"])


def test_the_keys_are_those_of_nnx():
    name, options = MODELS["vit"]
    model, family = create_model(name, seed=7, **options), families()[name]
    plain = values(family.build(model.config, rngs=nnx.Rngs(7), dtype=None, param_dtype=jnp.float32))
    for path, value in values(model).items():
        np.testing.assert_array_equal(value, plain[path])


def test_a_tag_brings_its_head_and_its_size():
    assert abstract("vit_base_patch16_224").config.num_classes == 1000
    assert abstract("vit_base_patch16_224.augreg_in21k").config.num_classes == 21843
    assert abstract("vit_base_patch16_224.dino").config.num_classes == 0
    assert abstract("vit_base_patch16_224.dino", num_classes=5).config.num_classes == 5
    assert abstract("vit_base_patch14_dinov2").config.img_size == (518, 518)


def test_settings_reach_the_config():
    model = abstract("vit_tiny_patch16_224", in_chans=2, img_size=(32, 64), drop_rate=0.1, drop_path_rate=0.2, depth=1)
    config = model.config
    assert (config.in_chans, config.img_size, config.depth) == (2, (32, 64), 1)
    assert (config.drop_rate, config.drop_path_rate) == (0.1, 0.2)
    assert abstract("resnet10t", img_size=64).config == families()["resnet10t"].variants["resnet10t"]


def test_none_keeps_a_setting():
    assert abstract("resnet10t", drop_rate=None).config == abstract("resnet10t").config


@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224"])
def test_unknown_settings_are_refused(name):
    with pytest.raises(TypeError, match=r"no setting 'drop_pth_rate'; did you mean 'drop_path_rate'.*, in_chans"):
        create_model(name, drop_pth_rate=0.1)
    with pytest.raises(TypeError, match=r"no setting 'zzzz'; there are .*num_classes"):
        create_model(name, zzzz=None)
    with pytest.raises(ValueError, match="img_size must be at least one pixel"):
        create_model(name, img_size=0)


def test_dtypes():
    name, options = MODELS["vit"]
    model = abstract(name, dtype=jnp.bfloat16, **options)
    assert {variable.get_value().dtype for variable in named_variables(model).values()} == {jnp.dtype("float32")}
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    assert jax.eval_shape(lambda model, images: model(images), model, images).dtype == jnp.bfloat16
    model = abstract(name, param_dtype=jnp.bfloat16, **options)
    assert {variable.get_value().dtype for variable in named_variables(model).values()} == {jnp.dtype("bfloat16")}
