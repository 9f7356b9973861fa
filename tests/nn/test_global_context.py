import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxvision.nn.global_context import GlobalContext


def test_global_context_by_its_meaning():
    layer = GlobalContext(6, 4, act="relu", rngs=nnx.Rngs(0))
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 6)).astype(np.float32)
    mlp = layer.mlp_scale
    mlp.norm.scale[...] = jnp.array([1.0, 2.0, 0.5, -1.0])
    mlp.norm.bias[...] = jnp.array([0.1, -0.2, 0.3, 0.4])

    weights = np.exp(x.reshape(2, 15, 6) @ np.asarray(layer.conv_attn.kernel[0, 0, :, 0]))
    context = np.einsum("bn,bnc->bc", weights / weights.sum(1, keepdims=True), x.reshape(2, 15, 6))
    hidden = context @ np.asarray(mlp.fc1.kernel[0, 0])
    hidden = (hidden - hidden.mean(-1, keepdims=True)) / np.sqrt(hidden.var(-1, keepdims=True) + 1e-6)
    hidden = np.maximum(hidden * np.asarray(mlp.norm.scale[...]) + np.asarray(mlp.norm.bias[...]), 0)
    gate = 1 / (1 + np.exp(-hidden @ np.asarray(mlp.fc2.kernel[0, 0])))
    np.testing.assert_allclose(layer(x), x * gate[:, None, None], atol=1e-5)


def test_attention_is_float32_in_bfloat16():
    layer = GlobalContext(6, 4, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    x = jnp.ones((1, 64, 64, 6), jnp.bfloat16)  # 4096 equal weights: a sum in bfloat16 would stop growing
    plain = GlobalContext(6, 4, rngs=nnx.Rngs(0))
    y = layer(x)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(jnp.float32), plain(jnp.ones((1, 64, 64, 6))), rtol=0.03)
