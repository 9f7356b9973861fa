"""EfficientNet-B0 as one writes it in Flax: its own layers, and with them XLA's own convolutions.

What `inference.py` and `train_step.py` compare with where no JAX zoo has the network's weights and padding right.
"""

import math

import jax
from flax import nnx

# Table 1 of Tan and Le (2019): expansion, channels, repeats, stride, kernel size.
STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)


class ConvNorm(nnx.Module):
    """Convolution, BatchNorm and, but for projections, SiLU."""

    def __init__(
        self, i: int, o: int, kernel: int, stride: int = 1, groups: int = 1, act: bool = True, *, rngs: nnx.Rngs
    ):
        pad = kernel // 2
        self.conv = nnx.Conv(
            i,
            o,
            (kernel, kernel),
            strides=stride,
            padding=((pad, pad), (pad, pad)),
            feature_group_count=groups,
            use_bias=False,
            rngs=rngs,
        )
        self.norm = nnx.BatchNorm(o, momentum=0.9, rngs=rngs)
        self.act = act

    def __call__(self, x: jax.Array) -> jax.Array:
        """(b, h, w, i) -> (b, h / stride, w / stride, o)."""
        x = self.norm(self.conv(x))
        return nnx.silu(x) if self.act else x


class MBConv(nnx.Module):
    """Expansion, depthwise convolution, squeeze-excite, projection."""

    def __init__(self, i: int, o: int, expand: int, kernel: int, stride: int, *, rngs: nnx.Rngs):
        hidden = i * expand
        self.expand = ConvNorm(i, hidden, 1, rngs=rngs) if expand > 1 else None
        self.depthwise = ConvNorm(hidden, hidden, kernel, stride, groups=hidden, rngs=rngs)
        self.squeeze = nnx.Conv(hidden, i // 4, (1, 1), rngs=rngs)
        self.excite = nnx.Conv(i // 4, hidden, (1, 1), rngs=rngs)
        self.project = ConvNorm(hidden, o, 1, act=False, rngs=rngs)
        self.shortcut = stride == 1 and i == o

    def __call__(self, x: jax.Array) -> jax.Array:
        """One block."""
        y = self.depthwise(x if self.expand is None else self.expand(x))
        gate = self.excite(nnx.silu(self.squeeze(y.mean((1, 2), keepdims=True))))
        y = self.project(y * nnx.sigmoid(gate))
        return x + y if self.shortcut else y


class EfficientNetB0(nnx.Module):
    """The network, 1000 classes."""

    def __init__(self, *, rngs: nnx.Rngs):
        self.stem = ConvNorm(3, 32, 3, 2, rngs=rngs)
        blocks, features = [], 32
        for expand, channels, repeats, stride, kernel in STAGES:
            for index in range(repeats):
                blocks.append(MBConv(features, channels, expand, kernel, stride if index == 0 else 1, rngs=rngs))
                features = channels
        self.blocks = nnx.List(blocks)
        self.head = ConvNorm(features, 1280, 1, rngs=rngs)
        self.classifier = nnx.Linear(1280, 1000, kernel_init=nnx.initializers.uniform(2 / math.sqrt(1280)), rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Logits."""
        x = self.stem(images)
        for block in self.blocks:
            x = block(x)
        return self.classifier(self.head(x).mean((1, 2)))
