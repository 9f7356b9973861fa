"""Fits weights to a model of another number of input channels."""

import numpy as np

RGB = 3


def adapt_input_channels(kernel: np.ndarray, channels: int) -> np.ndarray | None:
    """A first convolution's kernel for RGB pictures, made one for another number of channels, as timm does.

    One channel gets the sum over RGB, so that a grey picture gives what it gave as RGB. Other numbers repeat RGB in
    turn, scaled by 3 over the number, so that activations keep their size.

    Args:
        kernel: (height, width, 3, out).
        channels: wanted.

    Returns:
        The kernel, (height, width, channels, out), or None where the given one is not for RGB.
    """
    if kernel.ndim != 4 or kernel.shape[2] != RGB:
        return None
    if channels == 1:
        return kernel.astype(np.float32).sum(axis=2, keepdims=True).astype(kernel.dtype)
    repeated = np.take(kernel, np.arange(channels) % RGB, axis=2)
    return (repeated.astype(np.float32) * (RGB / channels)).astype(kernel.dtype)
