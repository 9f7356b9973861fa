"""The table of models, and every model that is registered against it."""

import csv
from importlib import resources
from pathlib import Path

import jax
import pytest
from flax import nnx

from jaxvision import catalogue
from jaxvision.catalogue import by_architecture, entries, imagenet_classes
from jaxvision.data.transforms import Preprocess
from jaxvision.models.feature_net import features_only
from jaxvision.paths import named_variables
from jaxvision.registry import create_model, families, list_models, model_info
from tests.reference.features import features

EVERY_HEAD = sorted(
    {
        (info.architecture, info.num_classes): info.name
        for architecture in families()
        for info in by_architecture().get(architecture, ())
    }.values()
)


with (Path(__file__).parent / "reference" / "architectures.csv").open(newline="") as file:
    ARCHITECTURES = {row["name"]: row for row in csv.DictReader(file)}


def measure(name):
    """Of a model, built without memory: parameters, BatchNorm statistics, feature maps, parameters that these need.

    And the width of its features and the number of entries in timm's state dict.
    """
    found = {}

    def sizes(model, kind):
        return sum(v.get_value().size for v in named_variables(model).values() if isinstance(v, kind))

    def build():
        model = create_model(name)
        found["counts"] = sizes(model, nnx.Param), sizes(model, nnx.BatchStat)
        variables = named_variables(model)
        norms = sum(path.endswith(".mean") for path in variables)  # timm's also count their batches
        found["architecture"] = {"num_features": model.num_features, "state_dict_keys": len(variables) + norms}
        found["features"] = tuple(tuple(level) for level in model.feature_info), sizes(features_only(model), nnx.Param)

    jax.eval_shape(build)
    return found["counts"], found["architecture"], found["features"]


def test_everything_that_timm_has_is_here():
    assert len(list_models()) == len(ARCHITECTURES) == 416
    assert set(list_models()) == set(ARCHITECTURES) == set(by_architecture())
    assert len(list_models(pretrained=True)) == len(list_models("*.*")) == 657


@pytest.mark.parametrize("architecture", list(families()))
def test_every_registered_name_is_a_model_of_timm(architecture):
    assert architecture in by_architecture()
    info = model_info(architecture)
    assert info.family == families()[architecture].name


@pytest.mark.parametrize("name", EVERY_HEAD)
def test_every_registered_model_has_exactly_timms_counts_and_feature_maps(name):
    """Every architecture, with every size of head that its weights come with."""
    info = model_info(name)
    counts, architecture, (levels, size) = measure(name)
    assert counts == (info.num_params, info.num_batch_stats)
    reference = ARCHITECTURES[info.architecture]
    assert architecture["num_features"] == int(reference["num_features"])
    timms, timms_size = features()[info.architecture]
    assert levels == timms
    if info == by_architecture()[info.architecture][0]:  # the size of image that the reference is for
        assert size == timms_size
        assert architecture["state_dict_keys"] == int(reference["state_dict_keys"])


def test_the_counts_are_not_all_alike():
    assert len({info.num_params for info in entries().values()}) > 300


def test_rows_are_facts_of_timm():
    """Spot checks against what timm documents; the numbers are written out here on purpose."""
    info = entries()["vit_base_patch16_224.augreg2_in21k_ft_in1k"]
    assert info.num_params == 86_567_656
    assert info.num_batch_stats == 0
    assert info.input_size == (3, 224, 224)
    assert (info.mean, info.std) == ((0.5,) * 3, (0.5,) * 3)
    assert info.hub_id == "timm/vit_base_patch16_224.augreg2_in21k_ft_in1k"
    info = entries()["resnet50.tv_in1k"]
    assert (info.num_params, info.num_batch_stats) == (25_557_032, 53_120)
    assert (info.interpolation, info.crop_pct, info.license) == ("bilinear", 0.875, "bsd-3-clause")
    assert entries()["vit_base_patch16_224.augreg_in21k"].num_classes == 21843
    assert entries()["vit_base_patch16_224.dino"].num_classes == 0
    assert entries()["efficientnet_b6"].tag is None


def test_accuracies_are_those_published():
    info = entries()["resnet50.a1_in1k"]
    assert (info.top1, info.top5) == (80.382, 94.598)
    assert [(r.img_size, r.crop_pct, r.top1) for r in info.results] == [(224, 0.95, 80.382), (288, 1.0, 81.24)]
    assert entries()["vit_base_patch16_224.augreg_in21k"].top1 is None
    assert sum(info.top1 is not None for info in entries().values()) == 418
    assert all(info.num_classes == 1000 and info.top5 > info.top1 for info in entries().values() if info.results)


def test_weights_for_research_only_are_known():
    assert entries()["resnet50.fb_swsl_ig1b_ft_in1k"].non_commercial
    assert entries()["vit_large_patch14_clip_224.apple_mclip2_dfndr2b"].non_commercial
    assert not entries()["resnet50.tv_in1k"].non_commercial


def test_rows_of_an_architecture_keep_timms_order():
    assert [info.tag for info in by_architecture()["resnet50"]][:3] == ["a1_in1k", "a1h_in1k", "a2_in1k"]
    assert sum(map(len, by_architecture().values())) == len(entries())


def test_every_row_has_a_preprocessing():
    for info in entries().values():
        assert isinstance(info.preprocess(), Preprocess)
        assert info.preprocess().size == info.input_size[1:]


def test_preprocessing_for_other_sizes_and_channels():
    info = entries()["resnet50.a1_in1k"]
    assert info.preprocess(img_size=160).size == (160, 160)
    assert info.preprocess(img_size=(160, 192)).size == (160, 192)
    grey = info.preprocess(in_chans=1)
    assert grey.mean == pytest.approx((0.449,), abs=1e-3)
    assert grey.std == pytest.approx((0.226,), abs=1e-3)
    with pytest.raises(ValueError, match="1 or 3 channels, got in_chans=4"):
        info.preprocess(in_chans=4)


def test_some_weights_are_better_with_larger_images():
    info = entries()["resnet50.a1_in1k"]
    assert (info.test_input_size, info.test_crop_pct) == ((3, 288, 288), 1.0)
    preprocess = info.preprocess(use_test_size=True)
    assert (preprocess.size, preprocess.crop_pct) == ((288, 288), 1.0)
    assert info.preprocess(img_size=320, use_test_size=True).size == (320, 320)
    same = entries()["resnet50.tv_in1k"]
    assert same.test_input_size is None
    assert same.preprocess(use_test_size=True) == same.preprocess()
    same_crop = entries()["efficientnet_h_b5.sw_r448_e450_in1k"]
    assert (same_crop.crop_pct, same_crop.test_crop_pct, same_crop.test_input_size) == (1.0, None, (3, 576, 576))
    assert same_crop.preprocess(use_test_size=True).crop_pct == 1.0
    families = [info.family for info in entries().values() if info.test_input_size is not None]
    assert (set(families), len(families)) == ({"efficientnet", "resnet", "resnetv2"}, 163)


def test_info_prints_what_one_wants_to_know():
    text = str(entries()["resnet50.a1_in1k"])
    for fact in ("resnet50.a1_in1k", "25,557,032", "53,120", "224 x 224", "bicubic", "apache-2.0", "timm/resnet50"):
        assert fact in text
    for fact in ("288 x 288, crop 1.0", "4.09", "80.38, 94.60 at 224 (crop 0.95)", "81.24, 95.11 at 288 (crop 1.0)"):
        assert fact in text


def test_imagenet_names():
    names = imagenet_classes()
    assert len(names) == 1000
    expected = {281: "tabby", 282: "tiger cat", 285: "Egyptian cat", 698: "palace", 967: "espresso", 985: "daisy"}
    assert {index: names[index] for index in expected} == expected


def test_imagenet_synsets_are_in_the_order_of_training():
    rows = list(csv.DictReader(resources.files(catalogue).joinpath("imagenet1k.csv").read_text().splitlines()))
    assert [int(row["index"]) for row in rows] == list(range(1000))
    synsets = [row["synset"] for row in rows]
    assert synsets == sorted(synsets)
    assert synsets[0] == "n01440764"
