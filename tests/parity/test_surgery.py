"""Weights loaded into a model of other channels, another size or another head, against timm's own loading, live."""

import numpy as np
import pytest
from safetensors.numpy import save_file

import jaxvision
from jaxvision.paths import named_variables
from tests.compiled import run
from tests.reference.synthetic import images, state_dict

timm = pytest.importorskip("timm")
torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

VIT = {"embed_dim": 48, "depth": 2, "num_heads": 4}
SWIN = {"embed_dim": 24, "depths": (2, 2, 2, 2), "num_heads": (2, 3, 4, 8)}
# The model, what makes it small, the size of the weights, and the sizes to load them at.
MODELS = {
    "vit_small_patch16_224": (VIT, (128, 128), [(96, 160), (256, 256)]),
    "deit_small_distilled_patch16_224": (VIT, (128, 128), [(96, 160)]),
    "deit3_small_patch16_224": (VIT, (128, 128), [(96, 160)]),
    "vit_base_patch16_siglip_224": (VIT, (128, 128), [(160, 96)]),
    "swin_tiny_patch4_window7_224": (SWIN, (224, 224), [(96, 160), (64, 64), (256, 224)]),
    "swin_base_patch4_window12_384": (SWIN, (192, 192), [(128, 224)]),
    "swin_s3_tiny_224": (SWIN, (224, 224), [(160, 96)]),
    "swinv2_tiny_window8_256": (SWIN, (256, 256), [(128, 192), (64, 96), (320, 256)]),
    "swinv2_base_window12to16_192to256": (SWIN, (256, 256), [(128, 192)]),
    "efficientnet_b0": ({}, None, [(96, 64)]),
    "tf_efficientnet_b0": ({}, None, [(75, 65)]),
    "resnet18": ({}, None, [(75, 65)]),
    "resnet26t": ({}, None, [(96, 64)]),
    "resnetv2_50": ({}, None, [(96, 64)]),
    "resnetv2_50x1_bit": ({}, None, [(96, 64)]),
}
HERE = {name: row for name, row in MODELS.items() if name in jaxvision.list_models()}


@pytest.fixture
def loaded(tmp_path):
    """Both libraries' models from one file of RGB weights, with the changes made by their own loading."""

    def load(name, **change):
        options, size, _ = HERE[name]
        sized = {} if size is None else {"img_size": size}
        published = timm.create_model(name, **options, **sized)
        shapes = {n: tuple(v.shape) for n, v in published.state_dict().items()}
        path = tmp_path / "model.safetensors"
        gain = 1.6 if "efficientnet" in name else 1.0  # or the signal dies out in so deep a network
        save_file({n: v for n, v in state_dict(shapes, gain).items() if not n.endswith("num_batches_tracked")}, path)
        change = {**sized, **change} if size is not None else {k: v for k, v in change.items() if k != "img_size"}
        theirs = timm.create_model(
            name, pretrained=True, pretrained_cfg_overlay={"file": str(path)}, **options, **change
        )
        return theirs.eval(), jaxvision.create_model(name, pretrained=path, **options, **change)

    return load


def compare(theirs, ours, size, channels=3):
    x = images((2, *size, channels))
    with torch.no_grad():
        expected = theirs(torch.from_numpy(x).permute(0, 3, 1, 2)).numpy()
    found = run(ours, x)
    assert np.ptp(expected, axis=0).max() > 1e-3, "the result must depend on the image"
    np.testing.assert_allclose(found, expected, atol=1e-4 * max(1, np.abs(expected).max()), rtol=0)


@pytest.mark.parametrize("channels", [1, 2, 4, 6, 13])
@pytest.mark.parametrize("name", HERE)
def test_any_number_of_input_channels(name, channels, loaded):
    theirs, ours = loaded(name, in_chans=channels)
    expected = theirs.get_parameter(f"{ours.input_conv}.weight").detach().numpy()
    kernel = named_variables(ours)[f"{ours.input_conv}.kernel"].get_value()
    np.testing.assert_allclose(kernel, expected.transpose(2, 3, 1, 0), rtol=1e-6)


@pytest.mark.parametrize(("name", "size"), [(name, size) for name, (_, _, sizes) in HERE.items() for size in sizes])
def test_any_size_of_image(name, size, loaded):
    compare(*loaded(name, img_size=size), size)


@pytest.mark.parametrize("name", HERE)
def test_no_head_and_all_changes_at_once(name, loaded):
    size = HERE[name][2][0]
    compare(*loaded(name, num_classes=0, in_chans=1, img_size=size), size, 1)
