import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.nn.blur import BlurPool2d

SIDES = {3: [1, 2, 1], 4: [1, 3, 3, 1], 5: [1, 4, 6, 4, 1]}


@pytest.mark.parametrize(("size", "stride", "pad"), [(3, 2, 1), (3, 1, 1), (5, 2, 2), (4, 2, 2)])
@pytest.mark.parametrize("shape", [(2, 8, 6, 4), (1, 7, 5, 3)])
@pytest.mark.parametrize("mode", ["reflect", "constant"])
def test_blur_pool_by_its_meaning(size, stride, pad, shape, mode):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode=mode)
    side = np.array(SIDES[size]) / sum(SIDES[size])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), (1, 2))[:, ::stride, ::stride]
    expected = np.einsum("bhwcij,i,j->bhwc", windows, side, side)
    np.testing.assert_allclose(BlurPool2d(shape[-1], size, stride, pad_mode=mode)(x), expected, atol=1e-6)


def test_a_constant_stays_a_constant_up_to_the_border():
    assert np.all(np.asarray(BlurPool2d(2)(jnp.full((1, 6, 6, 2), 3.0))) == 3)


def test_what_cannot_be_blurred_is_told():
    with pytest.raises(ValueError, match="1x8 pixels cannot be reflected by 1"):
        BlurPool2d(2)(jnp.zeros((1, 1, 8, 2)))
    with pytest.raises(ValueError, match="3 channels"):
        BlurPool2d(2)(jnp.zeros((1, 8, 8, 3)))
    with pytest.raises(ValueError, match="filt_size is 1"):
        BlurPool2d(2, 1)
    with pytest.raises(ValueError, match="'zeros', expected 'reflect' or 'constant'"):
        BlurPool2d(2, pad_mode="zeros")
