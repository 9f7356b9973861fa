"""Initialisers of the papers.

Each is compiled as one function per shape: building a network is then one call a parameter instead of a dozen, and
building it abstractly (`nnx.eval_shape`) traces each shape once.
"""

from functools import cache, partial

import jax
from flax import nnx

_compiled = partial(jax.jit, static_argnums=(1, 2))

trunc_normal: nnx.Initializer = _compiled(nnx.initializers.truncated_normal(stddev=0.02))
"""Normal of standard deviation 0.02 cut at two deviations: every projection of ViT, DeiT and Swin."""

nearly_zero: nnx.Initializer = _compiled(nnx.initializers.normal(stddev=1e-6))
"""Normal of standard deviation 1e-6: class and register tokens."""

kaiming_fan_out: nnx.Initializer = _compiled(nnx.initializers.variance_scaling(2.0, "fan_out", "normal"))
"""Normal of variance ``2 / fan_out`` for convolution kernels (He et al. 2015, eq. 14)."""

torch_linear: nnx.Initializer = _compiled(nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform"))
"""Uniform within ``1 / sqrt(fan_in)``: PyTorch's default, and so the classifiers of ResNets."""

google_linear: nnx.Initializer = _compiled(nnx.initializers.variance_scaling(1 / 3, "fan_out", "uniform"))
"""Uniform within ``1 / sqrt(fan_out)``: the classifiers of EfficientNets."""


@cache
def google_conv(groups: int = 1) -> nnx.Initializer:
    """Normal of variance ``2 groups / fan_out``: He's for one group, so that depthwise convolutions keep the scale."""
    return _compiled(nnx.initializers.variance_scaling(2.0 * groups, "fan_out", "normal"))
