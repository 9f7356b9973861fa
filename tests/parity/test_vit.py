"""What becomes of a ViT's weights for another size, against timm, live: ``make parity``."""

from unittest import mock

import numpy as np
import pytest

import jaxvision
from jaxvision.models.family import pair
from jaxvision.paths import named_variables
from jaxvision.weights.layout import timm_name
from tests.parity.plan import Plan
from tests.parity.table import BOUND
from tests.reference.synthetic import state_dict

pytestmark = pytest.mark.parity

SMALL = {"embed_dim": 24, "depth": 1, "num_heads": 2, "num_classes": 3}
CHANGES = [
    ("vit_small_patch16_224", {"img_size": (96, 128)}),
    ("vit_small_patch16_224", {"patch_size": 8}),
    ("vit_small_patch16_224", {"patch_size": (16, 8)}),
    ("vit_small_patch32_224", {"patch_size": 16, "img_size": (256, 320)}),
    ("vit_small_patch14_reg4_dinov2", {"img_size": 224}),
    ("vit_so150m2_patch16_reg1_gap_256", {"img_size": (320, 192)}),
    ("deit_small_distilled_patch16_224", {"img_size": 384}),
    ("flexivit_small", {"img_size": (480, 360), "patch_size": 30}),
    ("flexivit_small", {"img_size": 96, "patch_size": 12}),
    ("vit_base_patch16_radio_v3", {"img_size": (384, 640)}),
    ("vit_so400m_patch16_radio_v4", {"img_size": (640, 384)}),
    ("aimv2_large_patch14_224", {"img_size": 336}),
]

OBLONG = [
    ("vit_small_patch16_224", {**SMALL, "patch_size": (16, 8), "img_size": (64, 48)}),
    (
        "swin_tiny_patch4_window7_224",
        {"embed_dim": 24, "num_heads": (2, 2, 2, 2), "patch_size": (4, 2), "img_size": 64},
    ),
]


@pytest.mark.parametrize(("name", "options"), OBLONG, ids=str)
def test_oblong_patches_are_timms(name, options):
    pytest.importorskip("timm")
    from tests.parity.compare import compare

    row = compare(Plan(name, pair(options["img_size"]), options))
    assert float(row.relative) <= BOUND


def filter_of(name):
    """The checkpoint filter that timm's constructor of a name hands to its builder."""
    module = pytest.importorskip("timm.models.deit" if name.startswith("deit") else "timm.models.vision_transformer")
    with mock.patch.object(module, "build_model_with_cfg") as build:
        getattr(module, name)()
    return build.call_args.kwargs["pretrained_filter_fn"]


@pytest.mark.parametrize(("name", "change"), CHANGES, ids=str)
def test_weights_for_another_size_are_timms(name, change):
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")

    published = timm.create_model(name, **SMALL)
    weights = state_dict({n: tuple(v.shape) for n, v in published.state_dict().items()})
    theirs = timm.create_model(name, **SMALL, **change)
    expected = filter_of(name)({n: torch.from_numpy(v) for n, v in weights.items()}, theirs)

    ours = jaxvision.create_model(name, **SMALL, **change)
    jaxvision.load_weights(ours, weights)
    values = {n: np.asarray(v.get_value()) for n, v in named_variables(ours).items()}
    assert {timm_name(n) for n in values} == set(expected)
    for path, value in values.items():
        as_torch = np.moveaxis(value, (-1, -2), (0, 1)) if path.endswith("kernel") else value
        np.testing.assert_allclose(as_torch, expected[timm_name(path)].numpy(), atol=2e-5, err_msg=path)
