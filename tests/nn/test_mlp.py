import jax
import numpy as np
import pytest
from flax import nnx

from jaxvision.nn.mlp import GluMlp, Mlp, SwiGLU

X = jax.random.normal(jax.random.key(0), (2, 5, 8))


def test_gated_mlps_are_the_same_function():
    """`SwiGLU` with the two halves of `GluMlp`'s first layer."""
    packed, apart = GluMlp(8, 24, rngs=nnx.Rngs(0)), SwiGLU(8, 12, rngs=nnx.Rngs(1))
    packed.fc1.kernel[...] = jax.random.normal(jax.random.key(1), (8, 24))
    for name, half in (("fc1_g", slice(12)), ("fc1_x", slice(12, None))):
        getattr(apart, name).kernel[...] = packed.fc1.kernel[...][:, half]
        getattr(apart, name).bias[...] = packed.fc1.bias[...][half]
    apart.fc2.kernel[...] = packed.fc2.kernel[...]
    np.testing.assert_allclose(packed(X), apart(X), atol=1e-6)
    assert np.abs(packed(X)).max() > 1e-3


def test_one_factor_starts_at_one():
    """timm's initial values: of the packed layer the second half, else the gate's layer."""
    packed, apart = GluMlp(64, 128, rngs=nnx.Rngs(0)), SwiGLU(64, 64, rngs=nnx.Rngs(0))
    kernel = packed.fc1.kernel[...]
    assert np.std(kernel[:, :64]) == pytest.approx(0.02, rel=0.1)
    assert 0 < np.std(kernel[:, 64:]) < 2e-6
    np.testing.assert_array_equal(packed.fc1.bias[...], [0] * 64 + [1] * 64)
    assert 0 < np.std(apart.fc1_g.kernel[...]) < 2e-6
    assert np.all(apart.fc1_g.bias[...] == 1)


def test_a_packed_gate_needs_two_halves():
    with pytest.raises(ValueError, match="even hidden_dim, got 7"):
        GluMlp(8, 7, rngs=nnx.Rngs(0))


def test_scale_norm_norms_the_hidden_channels():
    mlp = Mlp(8, 16, scale_norm=True, rngs=nnx.Rngs(0))
    hidden = mlp.act(mlp.fc1(X))
    centred = hidden - hidden.mean(-1, keepdims=True)
    normed = centred / np.sqrt(hidden.var(-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(mlp(X), mlp.fc2(normed), atol=1e-5)
