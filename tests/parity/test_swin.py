"""Swins on images of other sizes than they are built for, live: ``make parity``."""

import numpy as np
import pytest

import jaxvision
from tests.compiled import run
from tests.reference.synthetic import images, state_dict

pytestmark = pytest.mark.parity

OPTIONS = {"embed_dim": 24, "depths": (2, 2, 1, 1), "num_heads": (2, 3, 4, 8), "num_classes": 10}


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "swinv2_base_window12to16_192to256"])
@pytest.mark.parametrize("size", [(64, 100), (20, 12), (180, 136)])
def test_images_of_any_size(name, size):
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    built = {**OPTIONS, "img_size": (128, 160), "window_size": (6, 8)}
    reference = timm.create_model(name, strict_img_size=False, **built).eval()
    weights = state_dict({n: tuple(v.shape) for n, v in reference.state_dict().items()})
    reference.load_state_dict({n: torch.from_numpy(v) for n, v in weights.items()})
    x = images((2, *size, 3))
    with torch.no_grad():
        expected = reference.double()(torch.from_numpy(x).permute(0, 3, 1, 2).double()).numpy()
    model = jaxvision.create_model(name, **built)
    jaxvision.load_weights(model, weights)
    assert np.abs(run(model, x) - expected).max() < 1e-5
