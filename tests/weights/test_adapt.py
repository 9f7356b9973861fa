import numpy as np
import pytest

from jaxvision.weights import adapt_input_channels

KERNEL = np.random.default_rng(0).normal(size=(3, 3, 3, 4)).astype(np.float32)


def response(kernel: np.ndarray, picture: np.ndarray) -> np.ndarray:
    return np.einsum("hwc,hwco->o", picture, kernel)


def test_a_grey_picture_gives_what_it_gave_as_rgb():
    grey = np.random.default_rng(1).normal(size=(3, 3, 1)).astype(np.float32)
    adapted = adapt_input_channels(KERNEL, 1)
    assert adapted.shape == (3, 3, 1, 4)
    np.testing.assert_allclose(response(adapted, grey), response(KERNEL, np.repeat(grey, 3, 2)), rtol=1e-5)


@pytest.mark.parametrize("channels", [2, 4, 6, 7])
def test_other_numbers_repeat_rgb_and_keep_the_size(channels):
    adapted = adapt_input_channels(KERNEL, channels)
    assert adapted.shape == (3, 3, channels, 4)
    for channel in range(channels):
        np.testing.assert_allclose(adapted[:, :, channel], KERNEL[:, :, channel % 3] * 3 / channels, rtol=1e-6)


def test_the_type_stays():
    assert adapt_input_channels(KERNEL.astype(np.float16), 1).dtype == np.float16
    assert adapt_input_channels(KERNEL.astype(np.float16), 5).dtype == np.float16


@pytest.mark.parametrize("shape", [(3, 3, 1, 4), (3, 3, 4, 4), (27, 4)])
def test_only_kernels_for_rgb_are_adapted(shape):
    assert adapt_input_channels(np.zeros(shape), 5) is None
