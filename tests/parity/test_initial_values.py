"""Initial values of every parameter against timm's, as distributions, live: ``make parity``."""

from typing import Any

import numpy as np
import pytest
from flax import nnx

import jaxvision
from jaxvision.paths import named_variables
from jaxvision.weights.layout import timm_name

pytestmark = pytest.mark.parity

VIT = {"depth": 2, "embed_dim": 192, "num_heads": 3}
MODELS: dict[str, dict[str, Any]] = {
    "vit_tiny_patch16_224": VIT,
    "vit_base_patch16_siglip_224": VIT,
    "vit_small_patch14_reg4_dinov2": VIT,
    "vit_giant_patch14_dinov2": VIT,
    "aimv2_large_patch14_224": VIT,
    "vit_base_patch16_rpn_224": VIT,
    "vit_base_patch16_xp_224": VIT,
    "vit_dlittle_patch16_reg1_gap_256": {**VIT, "num_heads": 2},
    "vit_dpwee_patch16_reg1_gap_256": {**VIT, "num_heads": 2},
    "deit_tiny_distilled_patch16_224": VIT,
    "swin_tiny_patch4_window7_224": {"depths": (1, 1, 1, 1)},
    "swinv2_tiny_window8_256": {"depths": (1, 1, 1, 1)},
    "efficientnet_b0": {},
    "tf_efficientnet_cc_b0_4e": {},
    "tf_mixnet_s": {},
    "efficientnet_x_b3": {"se_layer": "gc"},
    "test_efficientnet_evos": {},
    "resnet50": {},
    "seresnext26t_32x4d": {},
    "ecaresnet26t": {},
    "resnetv2_50": {},
    "resnetv2_50x1_bit": {},
    "resnetv2_50d_frn": {},
}


def unlike(ours: np.ndarray, theirs: np.ndarray) -> str:
    """In what two samples of one size differ by more than chance; nothing if in nothing."""
    if np.ptp(ours) == 0 or np.ptp(theirs) == 0:
        return "" if np.array_equal(ours, theirs) else "constant"
    both, count = np.concatenate([ours, theirs]), ours.size
    scaled = (both - both.mean()) / both.std()
    one, other = scaled[:count], scaled[count:]
    # A statistic's variance in a sample of both, times 2 / count: that of the difference between the halves.
    for name, of in (("mean", scaled), ("deviation", scaled**2), ("tails", np.abs(scaled) > 2)):
        difference = of[:count].mean(dtype=float) - of[count:].mean(dtype=float)
        if abs(difference) > 5.5 * np.sqrt(2 * (of.var(dtype=float) + 1 / count) / count):
            return name
    places = np.sort(scaled)
    steps = [np.searchsorted(np.sort(sample), places, side="right") / count for sample in (one, other)]
    return "shape" if np.abs(steps[0] - steps[1]).max() > 3 * np.sqrt(2 / count) else ""  # Kolmogorov and Smirnov


@pytest.mark.parametrize("name", MODELS)
def test_initial_values_are_drawn_as_timms(name: str) -> None:
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    torch.manual_seed(0)
    reference = timm.create_model(name, num_classes=100, **MODELS[name]).named_parameters()
    # timm's normal numbers are -2 once in 2^24: its uniform ones include -1, at which their quantile is infinite.
    theirs = {path: np.where(value.detach() == -2, 0, value.detach()).ravel() for path, value in reference}
    model = jaxvision.create_model(name, num_classes=100, **MODELS[name])
    found = {
        timm_name(path): np.asarray(variable.get_value()).ravel()
        for path, variable in named_variables(model).items()
        if isinstance(variable, nnx.Param)
    }
    assert {path: reason for path in theirs if (reason := unlike(found[path], theirs[path]))} == {}


def test_what_is_drawn_otherwise_is_told() -> None:
    random = np.random.default_rng(0)
    normal, again, uniform = *random.normal(size=(2, 40_000)), random.uniform(-(3**0.5), 3**0.5, 40_000)
    cut = normal[np.abs(normal) < 2]
    assert unlike(normal, again) == ""
    assert unlike(normal, 0 * normal) == "constant"
    assert unlike(normal, again + 0.1) == "mean"
    assert unlike(normal, 1.1 * again) == "deviation"
    assert unlike(normal, uniform) == "tails"
    assert unlike(cut, again[: cut.size]) == "deviation"
    assert unlike(normal, np.where(np.abs(again) < 0.1, 0.1, again)) == "shape"
