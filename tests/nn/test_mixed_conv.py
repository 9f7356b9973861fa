import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxvision.nn.mixed_conv import MixedConv2d, share_channels


def native(x, kernel, *, stride, same, groups):
    size = kernel.shape[0]
    padding = "SAME" if same else [(size // 2, size // 2)] * 2
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=numbers, feature_group_count=groups
    )


@pytest.mark.parametrize(("sizes", "depthwise", "out"), [((3, 5, 7), True, 11), ((1, 1), False, 6)])
@pytest.mark.parametrize(("stride", "same"), [(1, False), (2, False), (2, True)])
def test_every_share_is_convolved_by_itself(sizes, depthwise, out, stride, same):
    x = jax.random.normal(jax.random.key(0), (2, 9, 8, 11))
    layer = MixedConv2d(11, out, sizes, stride=stride, same=same, depthwise=depthwise, rngs=nnx.Rngs(1))
    parts, start = [], 0
    for conv, size, share in zip(layer, sizes, share_channels(11, len(sizes)), strict=True):
        kernel = conv.kernel[...]
        assert kernel.shape[:2] == (size, size)
        groups = share if depthwise else 1
        parts.append(native(x[..., start : start + share], kernel, stride=stride, same=same, groups=groups))
        start += share
    np.testing.assert_allclose(layer(x), jnp.concatenate(parts, -1), atol=1e-5)


def test_the_first_share_takes_what_is_left_over():
    assert share_channels(11, 3) == [5, 3, 3]
    assert share_channels(12, 4) == [3, 3, 3, 3]


def test_what_cannot_be_shared_is_told():
    with pytest.raises(ValueError, match="2 channels cannot be shared by 3"):
        MixedConv2d(2, 2, (3, 5, 7), depthwise=True, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"\(3, 4\), expected odd"):
        MixedConv2d(4, 4, (3, 4), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="4 channels in and 6 out"):
        MixedConv2d(4, 6, (3, 5), depthwise=True, rngs=nnx.Rngs(0))
