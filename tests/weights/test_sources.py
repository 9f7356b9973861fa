"""Tables of renames: every source on small networks, compared with what its library says of the same weights."""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import jax
import ml_dtypes
import numpy as np
import pytest
from flax import nnx

import jaxvision
from jaxvision.functional import variables_of
from jaxvision.paths import named_variables
from jaxvision.registry import families
from jaxvision.weights import SOURCES, WeightsError, WeightsMismatchError, load_weights
from jaxvision.weights.download import cached_path
from jaxvision.weights.layout import timm_name, timm_shape
from jaxvision.weights.sources import find_source
from tests.reference.source_cases import CASES, RESIZED, SourceCase, read, weights
from tests.reference.synthetic import images
from tests.weights.torch_files import Archive, FakeStorage, tensor, torch_pickle


def lukemelas_name(name: str, blocks: list[str], expanded: set[str]) -> str:
    """timm's name to EfficientNet-PyTorch's: the table written the other way round, as a check."""
    outside = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1", "classifier": "_fc"}
    layer, _, leaf = name.rpartition(".")
    if layer in outside:
        return f"{outside[layer]}.{leaf}"
    block, inner = ".".join(layer.split(".")[:3]), layer.split(".", 3)[3]
    if block in expanded:
        inside = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1"}
        inside |= {"conv_pwl": "_project_conv", "bn3": "_bn2"}
    else:
        inside = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
    inside |= {"se.conv_reduce": "_se_reduce", "se.conv_expand": "_se_expand"}
    return f"_blocks.{blocks.index(block)}.{inside[inner]}.{leaf}"


def lukemelas_names(model: nnx.Module) -> dict[str, str]:
    """For every variable of an EfficientNet the key that EfficientNet-PyTorch has for it."""
    variables = list(named_variables(model))
    stages = [(stage, block) for stage in range(len(model.blocks)) for block in range(len(model.blocks[stage]))]
    blocks = [f"blocks.{stage}.{block}" for stage, block in stages]
    expanded = {block for block in blocks if f"{block}.conv_pwl.kernel" in variables}
    return {name: lukemelas_name(timm_name(name), blocks, expanded) for name in variables}


@pytest.mark.parametrize("name", ["tf_efficientnet_b0", "tf_efficientnet_b4", "tf_efficientnet_lite4"])
def test_lukemelas_reaches_every_variable_at_every_depth(name):
    model = nnx.eval_shape(lambda: jaxvision.create_model(name))
    variables, names = named_variables(model), lukemelas_names(model)
    file, value_of = {}, {}
    for index, (variable_name, variable) in enumerate(variables.items()):
        shape = timm_shape(variable_name, variable.get_value().shape)
        file[names[variable_name]] = np.broadcast_to(np.float32(index), shape)
        value_of[variable_name] = index
    report = load_weights(model, file)
    assert report.format == "lukemelas"
    assert len(report.loaded) == len(variables) == len(file)
    for variable_name, variable in variables.items():
        assert np.asarray(variable.get_value()).ravel()[0] == value_of[variable_name], variable_name


def test_lukemelas_knows_its_own_keys_only():
    source, other = SOURCES["lukemelas"], np.zeros(1)
    keys = ["_blocks.99._bn1.weight", "_blocks.0._strange.weight", "extra", "_other.weight", "conv_stem.weight"]
    named = list(source.to_timm(dict.fromkeys(keys, other), ["blocks.0.0.bn1.scale"]))
    assert [(name, entry.key) for name, entry in named] == [(None, key) for key in keys]


@lru_cache
def forward(model: str, options: str) -> Callable[..., Any]:
    """One compiled function for all cases of a network."""
    case = next(case for case in (*CASES, *RESIZED) if (case.model, repr(case.options)) == (model, options))
    apply, _ = jaxvision.to_functional(abstract(case))
    return jax.jit(lambda variables, x: apply(variables, x)[0])


def abstract(case: SourceCase) -> nnx.Module:
    return nnx.eval_shape(lambda: jaxvision.create_model(case.model, **case.options))


def file_of(case: SourceCase) -> dict[str, np.ndarray]:
    return weights(read(case)[0] if case in (*CASES, *RESIZED) else keys_of(case), case.gain)


def keys_of(case: SourceCase) -> dict[str, tuple[int, ...]]:
    """The keys with their shapes in a naming that needs no library."""
    model = abstract(case)
    shapes = {name: variable.get_value().shape for name, variable in named_variables(model).items()}
    if case.format == "jaxvision":
        return shapes
    names = lukemelas_names(model) if case.format == "lukemelas" else {name: timm_name(name) for name in shapes}
    return {names[name]: timm_shape(name, shape) for name, shape in shapes.items()}


def by_id(*names: str) -> list[SourceCase]:
    cases = {case.id: case for case in CASES}
    return [cases[name] for name in names]


@pytest.mark.parametrize("case", [*CASES, *RESIZED], ids=lambda case: case.id)
def test_logits_are_those_of_the_library(case):
    file, expected = file_of(case), read(case)[1]
    model = abstract(case)
    report = load_weights(model, file)
    assert report.format == case.format
    assert report.complete
    assert report.empty == ()
    logits = forward(case.model, repr(case.options))(variables_of(model), images((2, *case.size, 3)))
    assert np.ptp(expected, axis=0).max() > 0.01  # they depend on the image
    np.testing.assert_allclose(logits, expected, rtol=0, atol=2e-6 * max(1, np.abs(expected).max()))


WITHOUT_LIBRARY = tuple(
    replace(case, id=name, format=name)
    for name, case in zip(
        ("timm", "jaxvision", "lukemelas"),
        by_id("transformers_resnet", "transformers_deit", "transformers_efficientnet"),
        strict=True,
    )
)


@pytest.mark.parametrize("case", [*CASES, *WITHOUT_LIBRARY], ids=lambda case: case.id)
def test_nothing_is_skipped_in_silence(case):
    """Of every kind of key: one that is missing, renamed or of another shape is an error that names it."""
    file, model = file_of(case), abstract(case)
    aside = load_weights(abstract(case), file).dropped
    kinds = {re.sub(r"\d+", "#", key): key for key in file if key not in aside}.values()
    assert len(kinds) > 8
    for key in kinds:
        rest = {name: array for name, array in file.items() if name != key}
        axis = 0 if key.endswith("weight") and file[key].ndim == 4 else -1  # patches may be of another size
        for broken in (rest, rest | {misspelt(key): file[key]}, rest | {key: np.repeat(file[key], 2, axis)}):
            with pytest.raises(WeightsError) as error:
                load_weights(model, broken, format=case.format)
            if broken is not rest:
                assert any((key if key in broken else misspelt(key)) in told for told in told_by(error.value)), key
    for extra in ("extra", "extra.weight", f"{key}.weight"):
        with pytest.raises(WeightsMismatchError, match=rf"unused(?s:.*){re.escape(extra)}"):
            load_weights(model, file | {extra: np.zeros(1, np.float32)})


def told_by(error: WeightsError) -> tuple[str, ...]:
    """The keys that an error complains about, all of them."""
    if not isinstance(error, WeightsMismatchError):
        return (str(error),)
    return (*error.report.unused, *(misfit.key for misfit in error.report.misshapen))


def misspelt(key: str) -> str:
    """A key with a letter too many, so that a leaf stays a leaf."""
    parts = re.split(r"([./])", key)
    place = max(0, len(parts) - 3)
    parts[place] = f"{parts[place]}x"
    return "".join(parts)


def test_no_file_is_of_two_sources():
    for case in CASES:
        keys = list(read(case)[0])
        assert [name for name, source in SOURCES.items() if source.recognises(keys)] == [case.format], case.id
    for name in ("vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "efficientnet_b0", "resnet18", "resnet50d"):
        keys = list(named_variables(nnx.eval_shape(lambda name=name: jaxvision.create_model(name))))
        for form, found in ((timm_name, "timm"), (str, "jaxvision")):
            assert [n for n, s in SOURCES.items() if s.recognises(list(map(form, keys)))] == [found], name
    assert {case.format for case in (*CASES, *WITHOUT_LIBRARY)} == set(SOURCES)


def test_a_source_that_is_not_known_shows_the_names_and_what_would_tell_one():
    with pytest.raises(WeightsError) as error:
        load_weights(abstract(CASES[0]), {f"stage{index}.strange": np.zeros(1) for index in range(9)})
    message = str(error.value)
    assert "a dictionary: no source recognises the names" in message
    assert "stage0.strange\n" in message
    assert "... and 3 more" in message
    for source in SOURCES.values():
        assert source.name in message
        assert source.marks[0] in message
    with pytest.raises(WeightsError, match=r"(?s)its names:\n    \(none\)"):
        find_source(None, [])
    with pytest.raises(WeightsMismatchError, match=r"stage0\.strange"):
        load_weights(abstract(CASES[0]), {"stage0.strange": np.zeros(1)}, format="timm")


def test_names_that_could_be_of_two_sources_need_a_word():
    with pytest.raises(WeightsError, match="format='timm' or 'lukemelas'"):
        find_source(None, ["conv_stem.weight", "_conv_stem.weight"])


def test_what_a_model_has_no_place_for_is_dropped_and_told():
    dino, mae, dinov2, backbone, clip = by_id("dino", "mae", "dinov2", "transformers_vit_backbone", "openai_clip")
    dropped = {
        dino.id: {"head.mlp.0.weight", "head.last_layer.weight_v"},
        mae.id: {"mask_token", "decoder_embed.weight", "decoder_pos_embed"},
        dinov2.id: {"mask_token"},
        backbone.id: {"pooler.dense.weight", "pooler.dense.bias"},
    }
    for case in (dino, mae, dinov2, backbone):
        assert set(load_weights(abstract(case), file_of(case)).dropped) == dropped[case.id]
    text = load_weights(abstract(clip), file_of(clip)).dropped
    assert text
    assert not any(key.startswith("visual.") for key in text)


def test_a_mismatch_inside_joined_weights_is_told_before_they_are_joined():
    (case,) = by_id("transformers_vit")
    file = file_of(case)
    key = "vit.encoder.layer.0.attention.attention.key.weight"
    with pytest.raises(WeightsError, match=rf"'{re.escape(key)}' \(16, 9\).*do not fit"):
        load_weights(abstract(case), file | {key: np.zeros((16, 9), np.float32)})


def test_classifiers_are_reset_for_another_number_of_classes():
    names = ("torchvision_vit", "transformers_vit", "transformers_deit", "google_vit", "openai_clip", "microsoft_swin")
    for case in by_id(*names):
        other = replace(case, options=case.options | {"num_classes": 3})
        file = file_of(case)
        with pytest.raises(WeightsMismatchError, match="reset_head=True"):
            load_weights(abstract(other), file)
        assert load_weights(abstract(other), file, reset_head=True).empty != ()
        headless = replace(case, options=case.options | {"num_classes": 0})
        assert load_weights(abstract(headless), file).complete


def test_a_layer_before_the_classifier_goes_with_it():
    """Google's and torchvision's older ViTs have a representation layer, which no model here has."""
    for case, key in zip(
        by_id("torchvision_vit", "google_vit"), ("heads.pre_logits.bias", "pre_logits/bias"), strict=True
    ):
        file = file_of(case) | {key: np.zeros(16, np.float32)}
        with pytest.raises(WeightsMismatchError, match=rf"unused(?s:.*){key}"):
            load_weights(abstract(case), file)
        other = replace(case, options=case.options | {"num_classes": 3})
        assert key in load_weights(abstract(other), file, reset_head=True).dropped


@pytest.mark.parametrize(
    ("name", "options", "wanted"),
    [
        ("torchvision_efficientnet", {"bn_eps": 1e-3}, "bn_eps=1e-05"),
        ("torchvision_efficientnet", {"padding": "SAME"}, "padding='symmetric'"),
        ("torchvision_efficientnetv2", {"bn_eps": 1e-5}, "bn_eps=0.001"),
        ("transformers_efficientnet", {"padding": "symmetric"}, "padding='SAME'"),
    ],
)
def test_settings_that_the_weights_need_are_asked_for(name, options, wanted):
    (case,) = by_id(name)
    other, file = replace(case, options=case.options | options), file_of(case)
    with pytest.raises(WeightsError, match=rf"create_model\(\.\.\., {re.escape(wanted)}\)"):
        load_weights(abstract(other), file)
    with pytest.warns(UserWarning, match="worse answers"):
        load_weights(abstract(other), file, strict=False)


def test_the_wider_efficientnets_of_torchvision_have_another_epsilon():
    objection, b0 = SOURCES["torchvision"].objection, families()["efficientnet_b0"].variants["efficientnet_b0"]
    for widest, eps in ((1792, 1e-5), (2048, 1e-3)):
        keys = ("features.1.0.block.0.0.weight", "features.1.0.block.1.fc1.weight", "features.8.1.bias")
        file = dict.fromkeys(keys, np.zeros(widest))
        right, wrong = (replace(b0, bn_eps=value) for value in (eps, 2e-3))
        assert objection(right, file) is None
        assert f"bn_eps={eps!r}" in objection(wrong, file)


def test_an_epsilon_that_only_a_configuration_tells_is_remarked_on():
    for case in by_id("transformers_vit", "transformers_vit_module", "transformers_deit"):
        report = load_weights(abstract(case), file_of(case))
        assert re.search(r"config\.json.*1e-06", report.remarks[0])
        assert report.remarks[0] in str(report)
        same = replace(case, options=case.options | {"norm_eps": 1e-12})
        assert load_weights(abstract(same), file_of(case)).remarks == ()
    for case in by_id("transformers_swin", "transformers_dinov2", "torchvision_vit"):
        assert load_weights(abstract(case), file_of(case)).remarks == ()


def test_the_half_precision_of_big_vision_is_read(tmp_path):
    (case,) = by_id("google_siglip")
    file = {key: array.astype(ml_dtypes.bfloat16) for key, array in file_of(case).items()}
    np.savez(tmp_path / "model.npz", **file)
    model = abstract(case)
    load_weights(model, tmp_path / "model.npz")
    given = file["params/img/embedding/kernel"].astype(np.float32)
    np.testing.assert_array_equal(model.patch_embed.proj.kernel.get_value(), given)


def test_googles_files_are_loaded_by_the_name_of_the_weights(tmp_path, monkeypatch):
    """The address in the catalogue is of Google's own file; here it is in the cache of downloads already."""
    monkeypatch.setenv("JAXVISION_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (case,) = by_id("google_vit")
    info = jaxvision.model_info("vit_tiny_patch16_224.augreg_in21k_ft_in1k")
    assert info.custom_load
    path = cached_path(info.url, tmp_path)
    path.parent.mkdir(parents=True)
    file = file_of(case)
    with path.open("wb") as opened:
        np.savez(opened, **file)
    model = jaxvision.create_model(info.name, pretrained=True, **case.options)
    np.testing.assert_array_equal(model.cls_token.get_value(), file["cls"])
    np.testing.assert_array_equal(model.head.kernel.get_value(), file["head/kernel"])


def checkpoint(**parts: dict[str, np.ndarray]) -> Archive:
    """What a training script saves: networks under keys, and how far it is."""
    arrays = {f"{part}/{key}": array for part, file in parts.items() for key, array in file.items()}
    tree: dict[str, Any] = {part: {} for part in parts} | {"epoch": 3}
    for name, array in arrays.items():
        part, _, key = name.partition("/")
        strides = [stride // 4 for stride in array.strides]
        tree[part][key] = tensor(FakeStorage(name, "FloatStorage", array.size), array.shape, strides)
    return Archive(torch_pickle(tree), {name: array.tobytes() for name, array in arrays.items()})


def wrapped(file: dict[str, np.ndarray], factor: float = 1.0) -> dict[str, np.ndarray]:
    return {f"module.{key}": factor * array for key, array in file.items()}


def test_a_checkpoint_of_dinos_training_gives_its_teacher(write):
    (case,) = by_id("dino")
    file = file_of(case)
    model = abstract(case)
    report = load_weights(model, write(checkpoint(student=wrapped(file, 2), teacher=file)))
    assert report.format == "dino"
    assert report.notes == ("took the weights under 'teacher', left aside student, epoch",)
    np.testing.assert_array_equal(model.cls_token.get_value(), file["backbone.cls_token"])


def test_a_checkpoint_of_i_jepas_training_gives_what_timm_takes(write):
    """The encoder, not its average, whichever comes first; `make parity` asks timm."""
    (case,) = by_id("dino")
    file = {k.removeprefix("backbone."): v for k, v in file_of(case).items() if k.startswith("backbone.")}
    for order in (("encoder", "target_encoder"), ("target_encoder", "encoder")):
        parts = {name: wrapped(file, 1.0 if name == "encoder" else 2.0) for name in order}
        model = abstract(case)
        report = load_weights(model, write(checkpoint(**parts, predictor={"module.norm.bias": np.zeros(1, "f4")})))
        assert report.notes[0].startswith("took the weights under 'encoder', left aside ")
        np.testing.assert_array_equal(model.cls_token.get_value(), file["cls_token"])
