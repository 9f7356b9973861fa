import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxvision.nn.eca import EfficientChannelAttention, neighbours
from jaxvision.weights.load import load_weights


@pytest.mark.parametrize(("features", "size"), [(16, 3), (64, 3), (255, 5), (256, 5), (512, 5), (1024, 5), (2048, 7)])
def test_neighbours_by_the_papers_formula(features, size):
    """Figures 3 and equation 12: the nearest odd number above |log2(c) + 1| / 2, cut; at least 3."""
    assert neighbours(features) == size


def test_a_timm_file_gives_timms_gate():
    """The file's kernel has PyTorch's layout of a 1-d convolution: (1, 1, 5)."""
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 256)).astype(np.float32)
    kernel = np.array([0.5, -1.0, 2.0, 3.0, -0.25], np.float32)
    layer = EfficientChannelAttention(256, rngs=nnx.Rngs(0))
    load_weights(layer, {"conv.weight": kernel[None, None]}, format="timm")
    means = np.pad(x.mean((1, 2)), ((0, 0), (2, 2)))
    logits = sum(weight * means[:, tap : tap + 256] for tap, weight in enumerate(kernel))
    np.testing.assert_allclose(layer(x), x / (1 + np.exp(-logits))[:, None, None], rtol=1e-5)


def test_bfloat16_stays():
    layer = EfficientChannelAttention(16, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    assert layer(jnp.ones((1, 2, 2, 16), jnp.bfloat16)).dtype == jnp.bfloat16
