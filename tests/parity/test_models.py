"""Every registered variant against timm, live: ``make parity``."""

import jax
import numpy as np
import pytest

import jaxvision
from jaxvision.paths import named_variables
from jaxvision.weights.layout import timm_name, timm_shape
from tests.reference.synthetic import images, state_dict

pytestmark = pytest.mark.parity

LIMIT = 150e6  # parameters: what two cores compare in seconds; larger variants differ from these in numbers only


@pytest.mark.parametrize("name", jaxvision.list_models())
def test_logits_are_timms(name):
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")

    info = jaxvision.model_info(name)
    if info.num_params > LIMIT:
        pytest.skip(f"{info.num_params / 1e6:.0f}M parameters: more than {LIMIT / 1e6:.0f}M")
    size = info.input_size[1:] if hasattr(jaxvision.registry.families()[name].variants[name], "img_size") else (96, 64)
    reference = timm.create_model(name, num_classes=10).eval()
    shapes = {n: tuple(v.shape) for n, v in reference.state_dict().items() if not n.endswith("num_batches_tracked")}
    reference.load_state_dict({n: torch.from_numpy(v) for n, v in state_dict(shapes).items()}, strict=False)
    batch_norms = [module for module in reference.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    x = images((4 if batch_norms else 2, *size, 3))
    pixels = torch.from_numpy(x).permute(0, 3, 1, 2)
    with torch.no_grad():
        if batch_norms:  # take the statistics of these images, or a deep network of random weights would forget them
            for module in batch_norms:
                module.momentum = 1.0
            reference.train()(pixels)
        theirs = reference.eval()(pixels).numpy()
    assert np.ptp(theirs, axis=0).max() > 1e-2, "the logits must depend on the image"
    weights = {n: v.numpy() for n, v in reference.state_dict().items() if n in shapes}
    with torch.no_grad():
        expected = reference.double()(pixels.double()).numpy()
    # Random weights make 152 layers amplify rounding: what PyTorch itself loses to float32 is the measure there.
    rounding = np.abs(theirs - expected).max()

    model = jaxvision.create_model(name, num_classes=10)
    assert {timm_name(n): timm_shape(n, v.get_value().shape) for n, v in named_variables(model).items()} == shapes
    jaxvision.load_weights(model, weights)
    apply, variables = jaxvision.to_functional(model)
    logits, _ = jax.jit(apply)(variables, x)
    error = np.abs(np.asarray(logits) - expected).max()
    print(f"{name}: max |delta logit| {error:.1e}, PyTorch's own {rounding:.1e}, |logit| {np.abs(expected).max():.1f}")
    assert error < max(1e-4 * max(1.0, np.abs(expected).max()), 4 * rounding)
