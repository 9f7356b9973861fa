"""Other libraries' weights into our models, and ours into timm, live: ``make parity``."""

from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

import jaxvision
from jaxvision.functional import variables_of
from jaxvision.paths import named_variables
from jaxvision.weights import load_weights, save_weights
from jaxvision.weights.layout import BUFFERS, to_flax, to_timm
from jaxvision.weights.sources import find_source
from tests.compiled import run
from tests.reference.source_cases import CASES, RESIZED, weights
from tests.reference.synthetic import images

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

TORCHVISION: dict[str, tuple[str, dict[str, Any]]] = {
    "vit_b_16": ("vit_base_patch16_224", {}),
    "vit_b_32": ("vit_base_patch32_224", {}),
    "vit_l_16": ("vit_large_patch16_224", {}),
    "vit_l_32": ("vit_large_patch32_224", {}),
    "vit_h_14": ("vit_huge_patch14_224", {}),
    "swin_t": ("swin_tiny_patch4_window7_224", {}),
    "swin_s": ("swin_small_patch4_window7_224", {}),
    "swin_b": ("swin_base_patch4_window7_224", {}),
    "swin_v2_t": ("swinv2_tiny_window8_256", {}),
    "swin_v2_s": ("swinv2_small_window8_256", {}),
    "swin_v2_b": ("swinv2_base_window8_256", {}),
    **{f"efficientnet_b{size}": (f"efficientnet_b{size}", {}) for size in range(5)},
    **{f"efficientnet_b{size}": (f"efficientnet_b{size}", {"bn_eps": 1e-3}) for size in range(5, 8)},
    **{f"efficientnet_v2_{size}": (f"efficientnetv2_{size}", {"bn_eps": 1e-3}) for size in "sml"},
    **{f"resnet{depth}": (f"resnet{depth}", {}) for depth in (18, 34, 50, 101, 152)},
    "resnext50_32x4d": ("resnext50_32x4d", {}),
    "resnext101_32x8d": ("resnext101_32x8d", {}),
    "resnext101_64x4d": ("resnext101_64x4d", {}),
    "wide_resnet50_2": ("wide_resnet50_2", {}),
    "wide_resnet101_2": ("wide_resnet101_2", {}),
}
RUN = ("vit_b_32", "swin_t", "efficientnet_b0", "efficientnet_v2_s", "resnext50_32x4d")

_VIT_SIZES = {"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768, "num_labels": 1000}
_DINOV2 = {"patch_size": 14, "image_size": 518}
_EFFICIENTNETS = {"b0": (1.0, 1.0, 1280), "b3": (1.2, 1.4, 1536), "b7": (2.0, 3.1, 2560)}
TRANSFORMERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "vit_tiny_patch16_224": ("ViTForImageClassification", "ViTConfig", _VIT_SIZES),
    "deit_tiny_distilled_patch16_224": ("DeiTForImageClassificationWithTeacher", "DeiTConfig", _VIT_SIZES),
    "swin_tiny_patch4_window7_224": ("SwinForImageClassification", "SwinConfig", {"num_labels": 1000}),
    "swinv2_tiny_window8_256": (
        "Swinv2ForImageClassification",
        "Swinv2Config",
        {"image_size": 256, "window_size": 8, "num_labels": 1000},
    ),
    "vit_base_patch14_dinov2": ("Dinov2Model", "Dinov2Config", _DINOV2),
    "vit_giant_patch14_reg4_dinov2": (
        "Dinov2WithRegistersModel",
        "Dinov2WithRegistersConfig",
        _DINOV2 | {"hidden_size": 1536, "num_hidden_layers": 40, "num_attention_heads": 24, "use_swiglu_ffn": True},
    ),
    "resnet50": ("ResNetForImageClassification", "ResNetConfig", {"num_labels": 1000}),
    **{
        f"tf_efficientnet_{size}": (
            "EfficientNetForImageClassification",
            "EfficientNetConfig",
            {"width_coefficient": width, "depth_coefficient": depth, "hidden_dim": features, "num_labels": 1000},
        )
        for size, (width, depth, features) in _EFFICIENTNETS.items()
    },
}
SAVED: dict[str, tuple[int, dict[str, Any]]] = {
    "vit_base_patch16_siglip_224": (224, {"depth": 2}),
    "swin_tiny_patch4_window7_224": (224, {"depths": (2, 2, 2, 2)}),
    "swinv2_tiny_window8_256": (256, {"depths": (2, 2, 2, 2)}),
    "tf_efficientnetv2_b0": (64, {}),
    "resnet50d": (64, {}),
    "resnetv2_50x1_bit": (64, {}),
}


def abstract(name: str, **options: Any) -> nnx.Module:
    return nnx.eval_shape(lambda: jaxvision.create_model(name, **options))


def shapes_of(module: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def on_meta(build: Any) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return shapes_of(build())


def assert_names_fit(shapes: dict[str, tuple[int, ...]], model: nnx.Module, format: str) -> None:
    """That a file of these keys has exactly the model's variables, and that nothing speaks against it."""
    file = {key: np.broadcast_to(np.float16(0), shape) for key, shape in shapes.items()}
    source = find_source(None, file)
    assert source.name == format
    assert source.objection(model.config, file) is None
    expected = {name: variable.get_value().shape for name, variable in named_variables(model).items()}
    named = list(source.to_timm(file, expected))
    aside = [entry.key for name, entry in named if name is None]
    assert all(source.leaves_aside(key) or key.endswith(BUFFERS) for key in aside), aside
    entries = to_flax(((name, entry) for name, entry in named if name is not None), expected)
    found = {name: entry.array.shape for name, entry in entries.items()}
    assert {name: shape for name, shape in found.items() if not name.endswith(BUFFERS)} == expected


def randomise(module: Any, pixels: Any) -> None:
    """Leaves no parameter at a default and gives BatchNorm the statistics of these images: all of it matters."""
    with torch.no_grad():
        for value in module.parameters():
            if value.ndim == 4:
                torch.nn.init.kaiming_normal_(value)
            elif value.numel() > 1 and value.min() == value.max():
                value.add_(0.05 * torch.randn_like(value))
        norms = [part for part in module.modules() if isinstance(part, torch.nn.BatchNorm2d)]
        for part in norms:
            part.momentum = 1.0
            part.weight.uniform_(0.8, 1.2)
        if norms:
            module.train()(pixels)
    module.eval()


def logits_of(model: nnx.Module, x: np.ndarray) -> np.ndarray:
    return np.asarray(run(model, x))


def assert_close(ours: np.ndarray, theirs: np.ndarray, what: str, rounding: float = 0.0) -> None:
    """Within 1e-4 of the logits' scale, or a few times what PyTorch itself loses to float32."""
    scale = np.abs(theirs).max()
    error = np.abs(ours - theirs).max()
    own = f", PyTorch's own {rounding:.1e}" if rounding else ""
    print(f"{what}: max |delta logit| {error:.1e} of {scale:.2f}{own}")
    assert np.ptp(theirs, axis=0).max() > 1e-3 * scale, "the logits must depend on the image"
    assert error <= max(1e-4 * scale, 4 * rounding)


@pytest.mark.parametrize("case", [*CASES, *RESIZED], ids=lambda case: case.id)
def test_every_naming_gives_the_librarys_logits(case):
    pytest.importorskip("transformers")
    from tests.reference.make_source_keys import MAKERS

    shapes, expected = MAKERS[case.id](case)
    model = abstract(case.model, **case.options)
    assert load_weights(model, weights(shapes, case.gain)).format == case.format
    assert_close(logits_of(model, images((2, *case.size, 3))), expected, case.id)


@pytest.mark.parametrize("name", TORCHVISION)
def test_names_of_torchvision(name):
    torchvision = pytest.importorskip("torchvision")
    ours, options = TORCHVISION[name]
    format = "timm" if "res" in name else "torchvision"
    assert_names_fit(
        on_meta(lambda: torchvision.models.get_model(name)), abstract(ours, num_classes=1000, **options), format
    )


@pytest.mark.parametrize("name", RUN)
def test_logits_of_torchvision(name):
    torchvision = pytest.importorskip("torchvision")
    ours, options = TORCHVISION[name]
    size = (224, 224) if name.startswith(("vit", "swin")) else (96, 64)
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(name)
    x = images((4, *size, 3))
    pixels = torch.from_numpy(x).permute(0, 3, 1, 2)
    randomise(theirs, pixels)
    with torch.no_grad():
        expected = theirs(pixels).numpy()
    model = abstract(ours, **options)
    load_weights(model, {key: value.numpy() for key, value in theirs.state_dict().items()})
    assert_close(logits_of(model, x), expected, name)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_names_of_transformers(name):
    transformers = pytest.importorskip("transformers")
    module, config, options = TRANSFORMERS[name]
    shapes = on_meta(lambda: getattr(transformers, module)(getattr(transformers, config)(**options)))
    assert_names_fit(shapes, abstract(name), "transformers")


@pytest.mark.parametrize("name", ["tf_efficientnet_b0", "resnet50", "swin_tiny_patch4_window7_224"])
def test_logits_of_transformers(name, tmp_path):
    transformers = pytest.importorskip("transformers")
    module, config, options = TRANSFORMERS[name]
    torch.manual_seed(0)
    theirs = getattr(transformers, module)(getattr(transformers, config)(**options))
    x = images((4, 224, 224, 3))
    pixels = torch.from_numpy(x).permute(0, 3, 1, 2)
    randomise(theirs, pixels)
    theirs.save_pretrained(tmp_path)
    with torch.no_grad():
        expected = theirs(pixels).logits.numpy()
    model = abstract(name)
    load_weights(model, tmp_path)  # the file, with the names that the hub has
    assert_close(logits_of(model, x), expected, name)


@pytest.mark.parametrize("name", [name for name in jaxvision.list_models("vit_*.*") if name.endswith("ijepa")])
def test_of_i_jepas_two_encoders_we_take_timms(name, tmp_path):
    timm = pytest.importorskip("timm")
    options = {"img_size": 32, "embed_dim": 16, "depth": 2, "num_heads": 2}
    file = {
        f"module.{key}": torch.from_numpy(v)
        for key, v in weights(shapes_of(timm.create_model(name, **options))).items()
    }
    average = {key: 0.5 * value for key, value in file.items()}
    torch.save({"target_encoder": average, "encoder": file, "predictor": {}, "epoch": 3}, tmp_path / "file.pth")
    theirs = timm.create_model(name, True, pretrained_cfg_overlay={"file": str(tmp_path / "file.pth")}, **options)
    x = images((2, 32, 32, 3))
    with torch.no_grad():
        expected = theirs.eval()(torch.from_numpy(x).permute(0, 3, 1, 2)).numpy()
    assert_close(logits_of(jaxvision.create_model(name, tmp_path / "file.pth", **options), x), expected, name)


@pytest.mark.parametrize("name", SAVED)
def test_timm_loads_what_we_save(name, tmp_path):
    timm = pytest.importorskip("timm")
    from safetensors.torch import load_file

    size, options = SAVED[name]
    model = jaxvision.create_model(name, num_classes=10, seed=1, **options)
    save_weights(model, tmp_path / "model.safetensors")
    theirs = timm.create_model(name, num_classes=10, **options).eval()
    theirs.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=True)
    assert {n: tuple(v.shape) for n, v in load_file(tmp_path / "model.safetensors").items()} == shapes_of(theirs)
    x = images((2, size, size, 3))
    pixels = torch.from_numpy(x).permute(0, 3, 1, 2)
    with torch.no_grad():
        single = theirs(pixels).numpy()
        expected = theirs.double()(pixels.double()).numpy()
    assert_close(logits_of(model, x), expected, name, np.abs(single - expected).max())
    again = abstract(name, num_classes=10, **options)
    load_weights(again, {key: value.numpy() for key, value in theirs.float().state_dict().items()})
    jax.tree.map(np.testing.assert_array_equal, variables_of(again), variables_of(model))


@pytest.mark.parametrize("name", jaxvision.list_models())
def test_what_we_would_save_has_timms_names_and_shapes(name):
    timm = pytest.importorskip("timm")
    values = {name: variable.get_value() for name, variable in named_variables(abstract(name)).items()}
    written = to_timm({name: np.broadcast_to(np.float16(0), value.shape) for name, value in values.items()})
    assert {name: array.shape for name, array in written.items()} == on_meta(lambda: timm.create_model(name))
    recognised = find_source(None, written)
    assert recognised.name == "timm"
