import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxvision.nn.attention import Attention, attend
from jaxvision.nn.drop import Dropout


def inputs(*shape):
    return [jax.random.normal(jax.random.key(index), shape) for index in range(3)]


def textbook(query, key, value, bias=0.0):
    """Softmax attention in numpy, one head at a time."""
    out = np.zeros(query.shape)
    for index in np.ndindex(*query.shape[:-3]):
        for head in range(query.shape[-2]):
            q, k, v = (np.asarray(x, np.float64)[index][:, head] for x in (query, key, value))
            logits = q @ k.T / np.sqrt(q.shape[-1])
            logits = logits + np.broadcast_to(bias, (*query.shape[:-3], query.shape[-2], *logits.shape))[index][head]
            weights = np.exp(logits - logits.max(-1, keepdims=True))
            out[index][:, head] = weights / weights.sum(-1, keepdims=True) @ v
    return out


@pytest.mark.parametrize("shape", [(2, 5, 3, 4), (2, 3, 5, 2, 4)])
@pytest.mark.parametrize("with_bias", [False, True])
def test_fused_and_written_out_are_the_textbooks(shape, with_bias):
    query, key, value = inputs(*shape)
    tokens, heads = shape[-3], shape[-2]
    bias = jax.random.normal(jax.random.key(9), (*shape[1:-3], heads, tokens, tokens)) if with_bias else None
    expected = textbook(query, key, value, 0.0 if bias is None else np.asarray(bias))
    np.testing.assert_allclose(attend(query, key, value, bias=bias), expected, atol=1e-5)
    nearly_never = Dropout(1e-9)
    written_out = attend(query, key, value, bias=bias, dropout=nearly_never, rngs=nnx.Rngs(0))
    np.testing.assert_allclose(written_out, expected, atol=1e-5)


def test_attention_dropout_has_a_mask_per_head_and_example():
    """One mask for the whole batch would make equal examples come out equal (Flax's broadcast_dropout)."""
    query, key, value = (jnp.broadcast_to(x[:1, :, :1], (4, 6, 3, 8)) for x in inputs(4, 6, 3, 8))
    out = attend(query, key, value, dropout=Dropout(0.5), rngs=nnx.Rngs(0))
    flat = np.asarray(out).transpose(0, 2, 1, 3).reshape(12, -1)
    assert len(np.unique(flat.round(5), axis=0)) == 12


def test_attention_dropout_with_a_traced_rate():
    query, key, value = inputs(2, 5, 2, 4)

    @jax.jit
    def run(rate):
        site = Dropout()
        site.rate = rate
        return attend(query, key, value, dropout=site, rngs=nnx.Rngs(0))

    np.testing.assert_allclose(run(0.0), attend(query, key, value), atol=1e-5)
    assert np.all(run(1.0) == 0)


def test_bfloat16_softmax_is_float32():
    query, key, value = (x.astype(jnp.bfloat16) for x in inputs(1, 300, 1, 8))
    out = attend(query, key, jnp.ones_like(value), dropout=Dropout(1e-9), rngs=nnx.Rngs(0))
    assert out.dtype == jnp.bfloat16
    np.testing.assert_allclose(out.astype(jnp.float32), 1, atol=5e-3)  # weights that sum to 1 but for their rounding


def test_heads_must_divide():
    with pytest.raises(ValueError, match="16 is not divisible by 3"):
        Attention(16, 3, rngs=nnx.Rngs(0))


def test_qk_norm_needs_its_weights():
    attention = Attention(16, 2, qk_norm=True, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (2, 5, 16))
    before = attention(x)
    attention.q_norm.scale[...] = 3 * attention.q_norm.scale[...]
    assert np.abs(attention(x) - before).max() > 1e-6
