"""Feature maps, poolings and new heads against timm's, live: ``make parity``."""

import re

import jax
import numpy as np
import pytest

import jaxvision
from tests.compiled import run
from tests.reference.synthetic import images, state_dict

timm = pytest.importorskip("timm")
torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

VIT = {"embed_dim": 48, "depth": 4, "num_heads": 4, "img_size": (64, 96)}
SWIN = {"embed_dim": 24, "depths": (2, 2, 2, 2), "num_heads": (2, 3, 4, 8), "img_size": (96, 128)}
MODELS = {
    "vit_small_patch16_224": VIT,
    "vit_base_patch16_clip_224": VIT,
    "vit_base_patch16_siglip_224": VIT,
    "deit_small_distilled_patch16_224": VIT,
    "vit_small_patch14_reg4_dinov2": {**VIT, "img_size": (70, 98)},
    "swin_tiny_patch4_window7_224": SWIN,
    "swinv2_tiny_window8_256": {**SWIN, "window_size": 4},
    "efficientnet_b0": {},
    "efficientnetv2_rw_t": {},
    "mnasnet_small": {},
    "tf_efficientnet_b0": {"output_stride": 8},
    "mobilenetv2_100": {},
    "resnet18": {},
    "resnet26t": {},
    "resnet50d": {"output_stride": 16},
    "resnetrs50": {},
    "resnetv2_50": {},
    "resnetv2_50x1_bit": {},
    "resnetv2_50d_gn": {},
}
HERE = {name: options for name, options in MODELS.items() if name in jaxvision.list_models()}
# One of every class, for what takes long and does not depend on the variant.
CUT = ("vit_small_patch16_224", "swin_tiny_patch4_window7_224", "efficientnet_b0", "resnet18", "resnetv2_50")


def pair(name, **options):
    """timm's model, its weights by name, and images."""
    theirs = timm.create_model(name, **HERE[name], **options).eval()
    return theirs, synthetic(theirs, name), images((2, *HERE[name].get("img_size", (64, 96)), 3))


def synthetic(theirs, name):
    """Gives timm's model weights made from its names, and returns them."""
    shapes = {n: tuple(v.shape) for n, v in theirs.state_dict().items() if not n.endswith("num_batches_tracked")}
    # An EfficientNet's signal is lost without a gain; that of a V2, which is deeper, overflows its gates with as much.
    gain = 1.0 if not isinstance(theirs, timm.models.EfficientNet) else 1.2 if "v2" in name else 1.6
    weights = state_dict(shapes, gain)
    theirs.load_state_dict({n: torch.from_numpy(v) for n, v in weights.items()}, strict=False)
    return weights


def close(ours, theirs):
    theirs = np.asarray(theirs)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=2e-4 * max(1, np.abs(theirs).max()), rtol=0)


def nchw(x):
    return torch.from_numpy(x).permute(0, 3, 1, 2)


def nhwc(x):
    return x.permute(0, 2, 3, 1).numpy()


def channels_last(ours, theirs):
    """timm's map as ours is: it gives some channels first and some last."""
    return nhwc(theirs) if theirs.ndim == 4 and theirs.shape != ours.shape else theirs


@pytest.mark.parametrize(
    ("name", "out_indices"), [*((name, None) for name in HERE), *((name, (2, 0)) for name in HERE if name in CUT)]
)
def test_a_features_only_model_gives_timms_maps(name, out_indices):
    chosen = {} if out_indices is None else {"out_indices": out_indices}
    theirs, weights, x = pair(name)
    body = timm.create_model(name, **HERE[name], features_only=True, **chosen).eval()
    keys = {key.removeprefix("model."): key for key in body.state_dict()}
    keys = {re.sub("^(layers|stages|stem)_", r"\1.", n): key for n, key in keys.items()}
    body.load_state_dict({key: theirs.state_dict()[n] for n, key in keys.items()})
    with torch.no_grad():
        expected = body(nchw(x))
    ours = jaxvision.create_model(name, **HERE[name], features_only=True, **chosen)
    report = jaxvision.load_weights(ours, weights)
    if out_indices is None or "ef" not in name:  # timm keeps what EfficientNets do not need for the maps
        assert set(report.dropped) == set(weights) - set(keys)
    order = sorted(range(len(expected)), key=lambda index: body.feature_info.reduction()[index])
    assert ours.feature_info.channels() == [body.feature_info.channels()[index] for index in order]
    assert ours.feature_info.reduction() == [body.feature_info.reduction()[index] for index in order]
    every, keys = range(len(body.feature_info)), ["module", "num_chs", "reduction"]
    assert ours.feature_info.get_dicts(keys, every) == body.feature_info.get_dicts(keys, list(every))
    for map_, reference in zip(run(ours, x), expected, strict=True):
        close(map_, channels_last(map_, reference))


@pytest.mark.parametrize("name", [name for name in HERE if name in CUT])
def test_intermediates_with_the_last_norm_are_timms(name):
    theirs, weights, x = pair(name)
    with torch.no_grad():
        final, maps = theirs.forward_intermediates(nchw(x), indices=2, norm=True)
    ours = jaxvision.create_model(name, **HERE[name])
    jaxvision.load_weights(ours, weights)
    apply, variables = jaxvision.to_functional(ours, method="forward_intermediates")
    y, found = jax.jit(lambda v, x: apply(v, x, 2, norm=True)[0])(variables, x)
    for map_, reference in zip(found, maps, strict=True):
        close(map_, channels_last(map_, reference))
    close(y, channels_last(y, final))


@pytest.mark.parametrize(
    ("name", "pool"),
    [
        (name, pool)
        for name in HERE
        if name in CUT
        for pool in ("avg", "max", "avgmax", "token" if name.startswith("vit") else "catavgmax", "")
    ],
)
def test_every_pooling_is_timms(name, pool):
    theirs, weights, x = pair(name, global_pool=pool, num_classes=0)
    ours = jaxvision.create_model(name, **HERE[name], global_pool=pool, num_classes=0)
    jaxvision.load_weights(ours, weights)
    with torch.no_grad():
        features = theirs.forward_features(nchw(x))
        expected = theirs.forward_head(features)
    found = ours.forward_head(features.numpy() if features.ndim == 3 or name.startswith("swin") else nhwc(features))
    close(found, channels_last(found, expected))
    assert (ours.num_features, ours.head_hidden_size) == (theirs.num_features, theirs.head_hidden_size)


@pytest.mark.parametrize("name", [name for name in HERE if name in CUT or "distilled" in name])
def test_a_reset_is_timms(name):
    theirs, _, x = pair(name)
    ours = jaxvision.create_model(name, **HERE[name])
    for classes, pool in ((0, None), (5, "token" if "distilled" in name else "max")):
        theirs.reset_classifier(classes, pool)
        assert ours.reset_classifier(classes, pool) is ours
        weights = synthetic(theirs, name)
        jaxvision.load_weights(ours, weights)
        assert ours.num_classes == theirs.num_classes == classes
    with torch.no_grad():
        close(run(ours, x), theirs(nchw(x)))
    with pytest.raises((AssertionError, RuntimeError)):
        theirs.reset_classifier(5, "mean")
    with pytest.raises(ValueError, match="global_pool"):
        ours.reset_classifier(5, "mean")
