"""ResNet V2 (He et al. 2016b, arXiv:1603.05027) and Big Transfer (Kolesnikov et al. 2020, arXiv:1912.11370).

Norm and activation come before each convolution and none comes after the addition (figure 4e), so that a shortcut adds
up branches and does nothing else; the last feature map is normalised once more. A block that changes shape projects
what is normalised already.

Big Transfer (``_bit``) standardises the kernels and normalises over groups in place of the batch, to train in small
batches for each device and to fine-tune on few images; ``x2`` is twice as wide. The letters are those of He et al. 2019
(arXiv:1812.01187): ``d`` has three 3x3 convolutions for a stem and average pooling in the shortcut, ``t`` the same with
a tiered stem. ``_gn``, ``_evos`` and ``_frn`` replace batch normalisation.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Unpack

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from jaxvision.models.family import Family, check_choices
from jaxvision.models.feature_info import FeatureLevel
from jaxvision.models.head import ClassifierHead
from jaxvision.models.image_model import ImageModel
from jaxvision.nn.activations import Activation, activation, identity
from jaxvision.nn.conv import Conv2d
from jaxvision.nn.drop import DropPath, Rngs, name_sites, site_keys
from jaxvision.nn.evo_norm import EvoNorm2dS0
from jaxvision.nn.filter_response_norm import FilterResponseNorm
from jaxvision.nn.group_norm import GroupNorm
from jaxvision.nn.init import kaiming_fan_out, normal
from jaxvision.nn.layer_args import LayerArgs
from jaxvision.nn.norm import BatchNorm
from jaxvision.nn.pool import max_pool, shrink
from jaxvision.nn.stack import Stack
from jaxvision.nn.std_conv import StdConv2d
from jaxvision.nn.width import make_divisible

_CONVS: dict[str, Callable[..., Conv2d]] = {"plain": Conv2d, "standardised": partial(StdConv2d, eps=1e-8)}
_NORMS = {"batch": BatchNorm, "group": GroupNorm, "evonorm_s0": EvoNorm2dS0, "filter_response": FilterResponseNorm}
_ACTIVE = ("evonorm_s0", "filter_response")  # norms with a nonlinearity of their own


@dataclass(frozen=True)
class ResNetV2Config:
    """One row of the table below; the fields are the options of timm's ``ResNetV2``.

    Attributes:
        block: ``"basic"`` (two 3x3 convolutions) or ``"bottleneck"`` (1x1, 3x3, 1x1, a quarter as wide inside).
        layers: blocks per stage.
        channels: that each stage gives, before they are widened.
        width_factor: widens stem and stages.
        stem: ``"7x7"``, ``"deep"`` or ``"deep_tiered"`` (widths 3/8, 1/2 and 1 of ``stem_chs``).
        stem_chs: channels that the stem gives, before they are widened.
        stem_pool: what surrounds the image where the maximum is taken: ``"infinite"``, PyTorch's padding by minus
            infinity, or ``"zero"``, BiT's.
        avg_down: average pooling before the shortcut's projection, in place of its stride.
        conv: ``"plain"``, or ``"standardised"`` kernels (Qiao et al. 2019).
        norm: ``"batch"``, ``"group"``, ``"evonorm_s0"`` or ``"filter_response"``; the last two take the place of the
            activation too.
        output_stride: 32, 16 or 8: the last stages dilate instead of striding.
        drop_rate: dropout before the classifier.
        drop_path_rate: stochastic depth of the last block; it grows linearly from 0.
        remat: see `jaxvision.nn.Stack`, as for ``scan``.
    """

    block: str = "bottleneck"
    layers: tuple[int, ...] = (3, 4, 6, 3)
    channels: tuple[int, ...] = (256, 512, 1024, 2048)
    in_chans: int = 3
    num_classes: int = 1000
    global_pool: str = "avg"
    width_factor: int = 1
    stem: str = "7x7"
    stem_chs: int = 64
    stem_pool: str = "infinite"
    avg_down: bool = False
    conv: str = "plain"
    norm: str = "batch"
    act: str = "relu"
    output_stride: int = 32
    drop_rate: float = 0.0
    drop_path_rate: float = 0.0
    remat: str | None = None
    scan: bool = False

    def __post_init__(self) -> None:
        check_choices(
            ("block", self.block, tuple(_BLOCKS)),
            ("stem", self.stem, ("7x7", "deep", "deep_tiered")),
            ("stem_pool", self.stem_pool, ("infinite", "zero")),
            ("conv", self.conv, tuple(_CONVS)),
            ("norm", self.norm, tuple(_NORMS)),
            ("output_stride", self.output_stride, (8, 16, 32)),
        )
        if len(self.layers) != len(self.channels):
            raise ValueError(f"layers {self.layers} and channels {self.channels} must have one entry per stage")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels that the stem and each stage give."""
        return tuple(make_divisible(width * self.width_factor) for width in (self.stem_chs, *self.channels))


class Downsample(nnx.Module):
    """The shortcut of a stage's first block: a projection, after `shrink` in the ``d`` networks."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        config: ResNetV2Config,
        *,
        stride: int,
        dilation: int,
        **layer: Unpack[LayerArgs],
    ):
        self.shrink = partial(shrink, stride=stride, dilation=dilation) if config.avg_down else identity
        self.conv = _conv(config, in_features, out_features, 1, stride=1 if config.avg_down else stride, **layer)

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b H W o"]:
        """Projects what the block's first norm gave."""
        return self.conv(self.shrink(x))


class _Block(nnx.Module):
    """What both blocks share: a norm and activation, then the residual branch beside a shortcut, projected or not."""

    def __init__(
        self,
        in_features: int,
        shortcut: Downsample | None,
        config: ResNetV2Config,
        drop_path: float,
        **layer: Unpack[LayerArgs],
    ):
        self.act = _act(config)
        self.norm1 = _NORMS[config.norm](in_features, **layer)
        self.downsample = shortcut
        self.drop_path = DropPath(drop_path)

    def branch(self, x: Float[Array, "b h w i"], train: bool) -> Float[Array, "b H W o"]:
        """The convolutions, and all norms but the first."""
        raise TypeError(f"{type(self).__name__} defines no residual branch")

    def __call__(self, x: Float[Array, "b h w i"], train: bool = False, rngs: Rngs = None) -> Float[Array, "b H W o"]:
        """Adds the branch to the shortcut; nothing comes after."""
        normed = self.act(self.norm1(x, train))
        shortcut = x if self.downsample is None else self.downsample(normed)
        return shortcut + self.drop_path(self.branch(normed, train), rngs)


class PreActBasic(_Block):
    """Two 3x3 convolutions (He et al. 2016b, figure 1b)."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        config: ResNetV2Config,
        *,
        stride: int,
        dilation: int,
        first_dilation: int,
        shortcut: Downsample | None,
        drop_path: float,
        **layer: Unpack[LayerArgs],
    ):
        super().__init__(in_features, shortcut, config, drop_path, **layer)
        conv, norm = partial(_conv, config, **layer), partial(_NORMS[config.norm], **layer)
        self.conv1 = conv(in_features, out_features, 3, stride=stride, dilation=first_dilation)
        self.norm2 = norm(out_features)
        self.conv2 = conv(out_features, out_features, 3, dilation=dilation)

    def branch(self, x: Float[Array, "b h w i"], train: bool) -> Float[Array, "b H W o"]:
        """3x3, 3x3."""
        return self.conv2(self.act(self.norm2(self.conv1(x), train)))


class PreActBottleneck(_Block):
    """1x1, 3x3 and 1x1 convolutions, a quarter as wide inside; the 3x3 one strides, as in ResNet v1.5."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        config: ResNetV2Config,
        *,
        stride: int,
        dilation: int,
        first_dilation: int,
        shortcut: Downsample | None,
        drop_path: float,
        **layer: Unpack[LayerArgs],
    ):
        super().__init__(in_features, shortcut, config, drop_path, **layer)
        conv, norm = partial(_conv, config, **layer), partial(_NORMS[config.norm], **layer)
        width = make_divisible(out_features / 4)
        self.conv1 = conv(in_features, width, 1)
        self.norm2 = norm(width)
        self.conv2 = conv(width, width, 3, stride=stride, dilation=first_dilation)
        self.norm3 = norm(width)
        self.conv3 = conv(width, out_features, 1)

    def branch(self, x: Float[Array, "b h w i"], train: bool) -> Float[Array, "b H W o"]:
        """1x1, 3x3, 1x1."""
        x = self.act(self.norm2(self.conv1(x), train))
        x = self.act(self.norm3(self.conv2(x), train))
        return self.conv3(x)


_BLOCKS: dict[str, type[PreActBasic] | type[PreActBottleneck]] = {"basic": PreActBasic, "bottleneck": PreActBottleneck}


class Stage(nnx.Module):
    """Blocks of one resolution, but for the first, which may halve it."""

    def __init__(self, blocks: Stack):
        self.blocks = blocks

    def __call__(self, x: Float[Array, "b h w i"], train: bool = False, rngs: Rngs = None) -> Float[Array, "b H W o"]:
        """Runs the blocks."""
        return self.blocks(x, train=train, rngs=rngs)


class Stem(nnx.Module):
    """One 7x7 convolution of stride 2."""

    first, last = "conv", "conv"

    def __init__(self, config: ResNetV2Config, **layer: Unpack[LayerArgs]):
        self.conv = _conv(config, config.in_chans, config.widths[0], 7, stride=2, **layer)

    def __call__(self, images: Float[Array, "b h w c"], train: bool = False) -> Float[Array, "b h/2 w/2 d"]:
        """Convolves."""
        return self.conv(images)


class DeepStem(nnx.Module):
    """Three 3x3 convolutions, the first of stride 2 (He et al. 2019, figure 2b)."""

    first, last = "conv1", "conv3"

    def __init__(self, config: ResNetV2Config, **layer: Unpack[LayerArgs]):
        conv, norm = partial(_conv, config, **layer), partial(_NORMS[config.norm], **layer)
        width = config.widths[0]
        first = 3 * width // 8 if config.stem == "deep_tiered" else width // 2
        self.act = _act(config)
        self.conv1 = conv(config.in_chans, first, 3, stride=2)
        self.norm1 = norm(first)
        self.conv2 = conv(first, width // 2, 3)
        self.norm2 = norm(width // 2)
        self.conv3 = conv(width // 2, width, 3)

    def __call__(self, images: Float[Array, "b h w c"], train: bool = False) -> Float[Array, "b h/2 w/2 d"]:
        """Convolves; the norm after the last convolution is the first block's."""
        x = self.act(self.norm1(self.conv1(images), train))
        x = self.act(self.norm2(self.conv2(x), train))
        return self.conv3(x)


class PointwiseClassifier(Conv2d):
    """A linear classifier kept as a 1x1 convolution, as BiT's files have it."""

    def __init__(self, in_features: int, num_classes: int, **layer: Unpack[LayerArgs]):
        super().__init__(in_features, num_classes, 1, kernel_init=normal(0.01), **layer)

    def __call__(self, x: Float[Array, "b *space d"]) -> Float[Array, "b *space classes"]:
        """Logits of pooled features, or of each pixel of a map."""
        return super().__call__(x) if x.ndim == 4 else super().__call__(x[:, None, None])[:, 0, 0]


class ResNetV2(ImageModel):
    """ResNet V2."""

    heads = ("head.fc",)

    def __init__(self, config: ResNetV2Config, **layer: Unpack[LayerArgs]):
        c = self.config = config
        self.num_features = c.widths[-1]
        self.act = _act(c)
        self.stem = Stem(c, **layer) if c.stem == "7x7" else DeepStem(c, **layer)
        self.input_conv = f"stem.{self.stem.first}"
        rates = iter(np.linspace(0, c.drop_path_rate, sum(c.layers)).tolist())
        stages, reduction, dilation = [], 4, 1
        for stage, depth in enumerate(c.layers):
            stride = 1 if stage == 0 else 2
            if reduction >= c.output_stride:
                stride, dilation = 1, dilation * stride
            reduction *= stride
            blocks = [self._block(stage, index, stride, dilation, next(rates), **layer) for index in range(depth)]
            stages.append(Stage(Stack(blocks, remat=c.remat, scan=c.scan)))
        self.stages = nnx.List(stages)
        self.norm = _NORMS[c.norm](self.num_features, **layer)
        self.head = ClassifierHead(self.make_classifier(c.num_classes, **layer), drop_rate=c.drop_rate)
        name_sites(self)

    def _block(
        self, stage: int, index: int, stride: int, dilation: int, drop_path: float, **layer: Unpack[LayerArgs]
    ) -> PreActBasic | PreActBottleneck:
        c = self.config
        before, out_features = c.widths[stage : stage + 2]
        block = partial(_BLOCKS[c.block], config=c, dilation=dilation, drop_path=drop_path, **layer)
        if index:
            return block(out_features, out_features, stride=1, first_dilation=dilation, shortcut=None)
        first_dilation = max(dilation // 2, 1)  # a stage that dilates begins as the stage before it ended
        shortcut = None
        if c.block == "bottleneck" or (stride, first_dilation, before) != (1, dilation, out_features):
            shortcut = Downsample(before, out_features, c, stride=stride, dilation=dilation, **layer)
        return block(before, out_features, stride=stride, first_dilation=first_dilation, shortcut=shortcut)

    @property
    def block_paths(self) -> tuple[tuple[str, ...], ...]:
        """Paths of the blocks, stage by stage."""
        return tuple(
            tuple(f"stages.{index}.blocks.{block}" for block in range(len(stage.blocks)))
            for index, stage in enumerate(self.stages)
        )

    def feature_levels(self) -> tuple[FeatureLevel, ...]:
        """Every feature map that the network makes."""
        c, reduction = self.config, 4
        levels = [FeatureLevel(f"stem.{self.stem.last}", c.widths[0], 2)]
        for stage in range(len(self.stages)):
            levels.append(FeatureLevel(f"stages.{stage}", c.widths[stage + 1], reduction))
            reduction = min(2 * reduction, c.output_stride)
        return tuple(levels)

    def feature_maps(
        self, images: Float[Array, "b h w c"], train: bool = False, rngs: Rngs = None
    ) -> Iterator[tuple[str, Float[Array, "b H W d"]]]:
        """What the stem, before its pooling, and the stages give, one after the other, without the last norm."""
        keys = site_keys(rngs)
        x = self.stem(images, train)
        yield f"stem.{self.stem.last}", x
        x = pool_stem(x, self.config.stem_pool)
        for index, stage in enumerate(self.stages):
            x = stage(x, train=train, rngs=keys)
            yield f"stages.{index}", x

    def final_layers(self, x: Float[Array, "b h w d"], train: bool = False) -> Float[Array, "b h w d"]:
        """The norm after the last stage, and its activation."""
        return self.final_norm(x, train)

    def final_norm(self, x: Float[Array, "b h w d"], train: bool = False) -> Float[Array, "b h w d"]:
        """The norm after the last stage, and its activation."""
        return x if self.norm is None else self.act(self.norm(x, train))

    def keep_levels(self, count: int) -> None:
        """Removes all that the first ``count`` feature maps do not need."""
        self.reset_classifier(0)
        self.left_out = ("norm", *(f"stages.{stage}" for stage in range(count - 1, len(self.stages))))
        del self.stages[count - 1 :]
        self.norm, self.num_features = None, self.feature_levels()[-1].num_chs

    def make_classifier(self, num_classes: int, **layer: Unpack[LayerArgs]) -> PointwiseClassifier | None:
        """A 1x1 convolution; None for 0 classes."""
        return PointwiseClassifier(self.head_hidden_size, num_classes, **layer) if num_classes else None

    def classify(
        self, pooled: Float[Array, "b d"], train: bool = False, rngs: Rngs = None
    ) -> Float[Array, "b classes"]:
        """Logits of pooled features."""
        return self.head(pooled, train, site_keys(rngs))


def pool_stem(x: Float[Array, "b h w c"], border: str) -> Float[Array, "b h/2 w/2 c"]:
    """Maximum over 3x3 windows of stride 2; with a ``"zero"`` border no less than 0 there, as in BiT."""
    if border == "zero":
        return max_pool(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), 3, stride=2)
    return max_pool(x, 3, stride=2, padding=1)


def _conv(
    c: ResNetV2Config,
    in_features: int,
    out_features: int,
    kernel_size: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    **layer: Unpack[LayerArgs],
) -> Conv2d:
    return _CONVS[c.conv](
        in_features,
        out_features,
        kernel_size,
        stride=stride,
        padding=dilation * (kernel_size // 2),
        dilation=dilation,
        use_bias=False,
        kernel_init=kaiming_fan_out,
        **layer,
    )


def _act(c: ResNetV2Config) -> Activation:
    return identity if c.norm in _ACTIVE else activation(c.act)


def _bottleneck(*layers: int, **options: Any) -> ResNetV2Config:
    return ResNetV2Config(layers=layers, **options)


def _basic(*layers: int, **options: Any) -> ResNetV2Config:
    return ResNetV2Config(block="basic", layers=layers, channels=(64, 128, 256, 512), **options)


_18, _34 = _basic(2, 2, 2, 2), _basic(3, 4, 6, 3)
_50, _101, _152 = _bottleneck(3, 4, 6, 3), _bottleneck(3, 4, 23, 3), _bottleneck(3, 8, 36, 3)

_BIT: dict[str, Any] = {"conv": "standardised", "norm": "group", "stem_pool": "zero"}
_D: dict[str, Any] = {"stem": "deep", "avg_down": True}
_T: dict[str, Any] = {"stem": "deep_tiered", "avg_down": True}

VARIANTS: dict[str, ResNetV2Config] = {
    "resnetv2_18": _18,
    "resnetv2_18d": replace(_18, **_D),
    "resnetv2_34": _34,
    "resnetv2_34d": replace(_34, **_D),
    "resnetv2_50": _50,
    "resnetv2_50d": replace(_50, **_D),
    "resnetv2_50d_gn": replace(_50, **_D, norm="group"),
    "resnetv2_50d_evos": replace(_50, **_D, norm="evonorm_s0"),
    "resnetv2_50d_frn": replace(_50, **_D, norm="filter_response"),
    "resnetv2_50t": replace(_50, **_T),
    "resnetv2_101": _101,
    "resnetv2_101d": replace(_101, **_D),
    "resnetv2_152": _152,
    "resnetv2_152d": replace(_152, **_D),
    "resnetv2_50x1_bit": replace(_50, **_BIT),
    "resnetv2_50x3_bit": replace(_50, **_BIT, width_factor=3),
    "resnetv2_101x1_bit": replace(_101, **_BIT),
    "resnetv2_101x3_bit": replace(_101, **_BIT, width_factor=3),
    "resnetv2_152x2_bit": replace(_152, **_BIT, width_factor=2),
    "resnetv2_152x4_bit": replace(_152, **_BIT, width_factor=4),
}

FAMILY = Family("resnetv2", VARIANTS, ResNetV2)
