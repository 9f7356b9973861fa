import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxvision.interception import intercept
from jaxvision.nn.attention import Attention, attend
from jaxvision.nn.diff_attention import DiffAttention
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


def test_differential_attention_is_the_papers():
    """Ye et al. 2024, eq. 1 to 3, one head at a time; the first channels of a head's queries and keys are one map's."""
    dim, heads, index = 16, 2, 3
    attention = DiffAttention(dim, heads, index=index, rngs=nnx.Rngs(0))
    attention.sub_norm.scale[...] = jnp.linspace(0.5, 1.5, dim // heads)
    x = jax.random.normal(jax.random.key(0), (5, dim))
    q, k, v = np.split(np.asarray(attention.qkv(4 * x), np.float64), 3, axis=-1)
    start = 0.8 - 0.6 * np.exp(-0.3 * index)
    q1, k1, q2, k2 = (np.asarray(getattr(attention, f"lambda_{name}")[...]) for name in ("q1", "k1", "q2", "k2"))
    factor = np.exp(q1 @ k1) - np.exp(q2 @ k2) + start

    def softmax(logits):
        return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)

    out = np.zeros((5, dim))
    for head in range(heads):
        first, second, whole = (
            slice(8 * head, 8 * head + 4),
            slice(8 * head + 4, 8 * head + 8),
            slice(8 * head, 8 * head + 8),
        )
        maps = [softmax(q[:, part] @ k[:, part].T / 2) for part in (first, second)]
        y = (maps[0] - factor * maps[1]) @ v[:, whole]
        y = y / np.sqrt((y**2).mean(-1, keepdims=True) + 1e-5) * np.asarray(attention.sub_norm.scale[...])
        out[:, whole] = (1 - start) * y
    np.testing.assert_allclose(attention(4 * x[None])[0], attention.proj(jnp.asarray(out, jnp.float32)), atol=1e-5)


def test_hooks_see_both_maps_of_differential_attention():
    attention = DiffAttention(16, 2, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (3, 5, 16))
    seen = []

    def hook(site, call, weights, *args):
        seen.append(weights)
        return call(weights, *args)

    hook.unfuses = True
    np.testing.assert_allclose(intercept(attention, {"attn_drop": hook})(x), attention(x), atol=1e-6)
    assert [weights.shape for weights in seen] == [(3, 4, 5, 5)]
    np.testing.assert_allclose(seen[0].sum(-1), 1, atol=1e-5)


def test_differential_heads_need_two_maps():
    with pytest.raises(ValueError, match="12 is not divisible by 4 heads of 2 attention maps"):
        DiffAttention(12, 4, rngs=nnx.Rngs(0))


def test_a_mask_holds_for_both_maps():
    attention = DiffAttention(16, 2, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (1, 5, 16))
    mask = jnp.where(jnp.arange(5) < 3, 0.0, -jnp.inf) * jnp.ones((2, 5, 1))
    np.testing.assert_allclose(attention(x, bias=mask)[:, :3], attention(x[:, :3]), atol=1e-6)
