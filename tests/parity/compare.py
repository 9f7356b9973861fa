"""One architecture against timm on random weights: names, shapes, logits."""

import contextlib
import gc
import re
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import timm
import torch
from flax import nnx
from numpy.typing import NDArray

import jaxvision
from jaxvision.paths import named_variables
from jaxvision.weights.layout import timm_name, timm_shape
from tests.compiled import run
from tests.parity.plan import Plan
from tests.parity.table import Row
from tests.reference.synthetic import images, state_dict

IMAGES = 2
Array = NDArray[np.float64] | NDArray[np.float32]

# A norm, but in a pre-activation block a convolution.
_LAST_OF_BRANCH = re.compile(
    r"((?:layer\d|blocks\.\d+)\.\d+(?=\.bn)|stages\.\d\.blocks\.\d+(?=\.conv))\.[a-z]+\d\.(weight|bias)"
)


@contextlib.contextmanager
def _uninitialised() -> Iterator[None]:
    """Leaves PyTorch's parameters as they come from memory: drawing them would take longer than all the rest."""
    names = ("normal_", "uniform_", "erfinv_")
    kept = {name: torch.Tensor.__dict__.get(name) for name in names}
    for name in names:
        setattr(torch.Tensor, name, lambda tensor, *args, **kwargs: tensor)
    try:
        yield
    finally:
        for name, method in kept.items():
            delattr(torch.Tensor, name) if method is None else setattr(torch.Tensor, name, method)


def _damped(weights: dict[str, Any]) -> dict[str, Any]:
    """Quarters what residual branches of convolutional networks add, in place: in a trained one it is little as well.

    Otherwise a hundred random blocks amplify rounding, PyTorch's own too, far beyond the bound.
    """
    last: dict[str, str] = {}
    for name in sorted(weights):
        if found := _LAST_OF_BRANCH.fullmatch(name):
            last[f"{found[1]}.{found[2]}"] = name
    for name in last.values():
        weights[name] *= 0.25
    return weights


def reference(plan: Plan) -> tuple[dict[str, Any], Array, Array, Array]:
    """timm's side.

    Returns:
        its state dict, the images (b, h, w, c), its logits in float32 and in float64.
    """
    torch.set_num_threads(1)  # images are small: more would wait for one another, up to thirty times as long
    with _uninitialised():
        model = timm.create_model(plan.name, **plan.options).eval()
    shapes = {n: tuple(v.shape) for n, v in model.state_dict().items() if not n.endswith("num_batches_tracked")}
    given = {n: torch.from_numpy(v) for n, v in _damped(state_dict(shapes)).items()}
    missing, unexpected = model.load_state_dict(given, strict=False)
    assert not unexpected, unexpected
    assert all(n.endswith("num_batches_tracked") for n in missing), missing
    batch_norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    x = images((2 * IMAGES if batch_norms else IMAGES, *plan.size, 3))
    pixels = torch.from_numpy(x).permute(0, 3, 1, 2)
    with torch.no_grad():
        if batch_norms:  # take these images' statistics, or many layers of random weights would lose them on the way
            for module in batch_norms:
                module.momentum = 1.0
            model.train()(pixels)
        x, pixels = x[:IMAGES], pixels[:IMAGES]
        single = model.eval()(pixels).numpy()
        weights = {n: v.numpy().copy() for n, v in model.state_dict().items() if n in shapes}
        double = model.double()(pixels.double()).numpy()
    return weights, x, single, double


def ours(plan: Plan, weights: dict[str, Any], x: Array) -> Array:
    """Our logits for the same weights, whose names and shapes must be exactly the model's."""
    model = nnx.eval_shape(lambda: jaxvision.create_model(plan.name, **plan.options), graph=True)
    shapes = {timm_name(n): timm_shape(n, v.get_value().shape) for n, v in named_variables(model).items()}
    assert shapes == {n: v.shape for n, v in weights.items()}
    jaxvision.load_weights(model, weights)
    weights.clear()
    return np.asarray(run(model, x))


def compare(plan: Plan) -> Row:
    """Runs both sides.

    Raises:
        AssertionError: names or shapes differ, or the logits do not depend on the image.
    """
    weights, x, single, expected = reference(plan)
    gc.collect()
    scale = np.abs(expected).max()
    assert np.isfinite(scale), "the random weights must not overflow"
    assert np.ptp(expected, axis=0).max() > 0.05 * scale, "the logits must depend on the image"
    found = ours(plan, weights, x)
    jax.clear_caches()
    assert found.shape == expected.shape
    delta, rounding = np.abs(found - expected).max(), np.abs(single - expected).max()
    height, width = plan.size
    return Row(
        name=plan.name,
        params=jaxvision.model_info(plan.name).num_params,
        structure=plan.structure,
        input=f"{height}x{width}",
        max_delta=f"{delta:.1e}",
        scale=f"{scale:.3g}",
        relative=f"{delta / scale:.1e}",
        pytorch=f"{rounding / scale:.1e}",
    )
