"""EfficientNet (Tan and Le 2019, arXiv:1905.11946), EfficientNet-Lite and EfficientNetV2 (2021, arXiv:2104.00298).

A network is a list of stages, scaled in width and depth. Names that begin with ``tf_`` are for the weights of the
authors' TensorFlow code: they pad as TensorFlow does (``SAME``, which depends on the input's size) and have 1e-3 for
the epsilon of batch normalisation; the others pad symmetrically and have 1e-5. The weights of one fit the other and
give worse answers.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, Unpack

from flax import nnx
from jaxtyping import Array, Float

from jaxvision.models.family import Family
from jaxvision.models.feature_info import FeatureLevel
from jaxvision.models.head import run_classifier
from jaxvision.models.image_model import ImageModel
from jaxvision.nn.activations import activation
from jaxvision.nn.conv import Conv2d, Padding
from jaxvision.nn.drop import Dropout, DropPath, Rngs, name_sites, site_keys
from jaxvision.nn.init import google_conv, google_linear
from jaxvision.nn.layer_args import LayerArgs
from jaxvision.nn.norm import BatchNorm
from jaxvision.nn.squeeze_excite import SqueezeExcite
from jaxvision.nn.stack import Stack
from jaxvision.nn.width import make_divisible


class Stage(NamedTuple):
    """Blocks of one shape, before scaling.

    Attributes:
        kind: ``"mbconv"`` (``"mbconv"`` without its first convolution if ``expand`` is 1), ``"fused"`` or ``"conv"``.
        repeats: number of blocks.
        kernel_size: of the spatial convolution.
        stride: of the first block.
        expand: channels inside a block, as a multiple of its input's.
        channels: channels out.
        se_ratio: squeeze-excite's middle as a share of the block's input; None for no squeeze-excite.
    """

    kind: str
    repeats: int
    kernel_size: int
    stride: int
    expand: int
    channels: int
    se_ratio: float | None = None


@dataclass(frozen=True)
class EfficientNetConfig:
    """One row of the table below.

    Attributes:
        stages: the blocks, before scaling.
        width: multiplies all channels, which are then rounded to multiples of 8.
        depth: multiplies the blocks of every stage, rounding up; a tuple for one multiplier a stage.
        round_limit: rounding never takes away more than this leaves of a width.
        stem_size: channels of the first convolution, before scaling.
        head_size: channels of the last convolution, before scaling.
        scale_stem: scale the first convolution too.
        scale_head: scale the last convolution too.
        scale_ends: scale the depth of the first and last stage too.
        padding: ``"symmetric"`` or ``"SAME"``.
        bn_eps: epsilon of every BatchNorm.
        drop_rate: dropout before the classifier.
        drop_path_rate: stochastic depth, growing linearly with the blocks from 0 towards this.
        remat: see `jaxvision.nn.Stack`, as for ``scan``.
    """

    stages: tuple[Stage, ...]
    width: float = 1.0
    depth: float | tuple[float, ...] = 1.0
    round_limit: float = 0.9
    in_chans: int = 3
    num_classes: int = 1000
    global_pool: str = "avg"
    stem_size: int = 32
    head_size: int = 1280
    scale_stem: bool = True
    scale_head: bool = True
    scale_ends: bool = True
    padding: str = "symmetric"
    bn_eps: float = 1e-5
    act: str = "silu"
    drop_rate: float = 0.0
    drop_path_rate: float = 0.0
    remat: str | None = None
    scan: bool = False

    def __post_init__(self) -> None:
        if self.padding not in ("symmetric", "SAME"):
            raise ValueError(f"padding must be 'symmetric' or 'SAME', got {self.padding!r}")

    def scaled(self, channels: int) -> int:
        """A number of channels at this width."""
        return make_divisible(channels * self.width, keep=self.round_limit)

    def repeats(self, index: int) -> int:
        """Blocks of a stage at this depth."""
        if not self.scale_ends and index in (0, len(self.stages) - 1):
            return self.stages[index].repeats
        depth = self.depth[index] if isinstance(self.depth, tuple) else self.depth
        return math.ceil(self.stages[index].repeats * depth)


class _Block(nnx.Module):
    """What all blocks share: their convolutions, and a shortcut where input and output have the same shape."""

    def __init__(self, in_features: int, out_features: int, stride: int, c: EfficientNetConfig, drop: float):
        self.act = activation(c.act)
        self.has_skip = stride == 1 and in_features == out_features
        self.drop_path = DropPath(drop)

    def branch(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w c"]:
        """The convolutions."""
        raise TypeError(f"{type(self).__name__} defines no branch")

    def __call__(self, x: Float[Array, "b h w c"], train: bool = False, rngs: Rngs = None) -> Float[Array, "b h w c"]:
        """Runs the convolutions, and adds the input if it has the output's shape."""
        branch = self.branch(x, train)
        return x + self.drop_path(branch, rngs) if self.has_skip else branch


class ConvBnAct(_Block):
    """A plain convolution: the first stage of EfficientNetV2."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        stage: Stage,
        stride: int,
        c: EfficientNetConfig,
        drop: float,
        **layer: Unpack[LayerArgs],
    ):
        super().__init__(in_features, out_features, stride, c, drop)
        self.conv = _conv(c, in_features, out_features, stage.kernel_size, stride=stride, **layer)
        self.bn1 = BatchNorm(out_features, eps=c.bn_eps, **layer)

    def branch(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w c"]:
        """Convolution, norm, activation."""
        return self.act(self.bn1(self.conv(x), train))


class DepthwiseSeparable(_Block):
    """MBConv without expansion: depthwise convolution, squeeze-excite, 1x1 convolution."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        stage: Stage,
        stride: int,
        c: EfficientNetConfig,
        drop: float,
        **layer: Unpack[LayerArgs],
    ):
        super().__init__(in_features, out_features, stride, c, drop)
        norm = partial(BatchNorm, eps=c.bn_eps, **layer)
        self.conv_dw = _conv(c, in_features, in_features, stage.kernel_size, stride=stride, groups=in_features, **layer)
        self.bn1 = norm(in_features)
        self.se = _squeeze_excite(in_features, stage, c, **layer)
        self.conv_pw = _conv(c, in_features, out_features, 1, **layer)
        self.bn2 = norm(out_features)

    def branch(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w c"]:
        """Depthwise, squeeze-excite, linear 1x1."""
        x = self.act(self.bn1(self.conv_dw(x), train))
        x = x if self.se is None else self.se(x)
        return self.bn2(self.conv_pw(x), train)


class InvertedResidual(_Block):
    """MBConv (Sandler et al. 2018): expansion, depthwise convolution, squeeze-excite, linear projection."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        stage: Stage,
        stride: int,
        c: EfficientNetConfig,
        drop: float,
        **layer: Unpack[LayerArgs],
    ):
        super().__init__(in_features, out_features, stride, c, drop)
        norm = partial(BatchNorm, eps=c.bn_eps, **layer)
        hidden = make_divisible(in_features * stage.expand)
        self.conv_pw = _conv(c, in_features, hidden, 1, **layer)
        self.bn1 = norm(hidden)
        self.conv_dw = _conv(c, hidden, hidden, stage.kernel_size, stride=stride, groups=hidden, **layer)
        self.bn2 = norm(hidden)
        self.se = _squeeze_excite(hidden, stage, c, **layer)
        self.conv_pwl = _conv(c, hidden, out_features, 1, **layer)
        self.bn3 = norm(out_features)

    def branch(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w c"]:
        """1x1, depthwise, squeeze-excite, linear 1x1."""
        x = self.act(self.bn1(self.conv_pw(x), train))
        x = self.act(self.bn2(self.conv_dw(x), train))
        x = x if self.se is None else self.se(x)
        return self.bn3(self.conv_pwl(x), train)


class EdgeResidual(_Block):
    """Fused MBConv (Tan and Le 2021, figure 2): one full convolution for the expansion and the depthwise one."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        stage: Stage,
        stride: int,
        c: EfficientNetConfig,
        drop: float,
        **layer: Unpack[LayerArgs],
    ):
        super().__init__(in_features, out_features, stride, c, drop)
        norm = partial(BatchNorm, eps=c.bn_eps, **layer)
        hidden = make_divisible(in_features * stage.expand)
        self.conv_exp = _conv(c, in_features, hidden, stage.kernel_size, stride=stride, **layer)
        self.bn1 = norm(hidden)
        self.se = _squeeze_excite(hidden, stage, c, **layer)
        self.conv_pwl = _conv(c, hidden, out_features, 1, **layer)
        self.bn2 = norm(out_features)

    def branch(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w c"]:
        """Full convolution, squeeze-excite, linear 1x1."""
        x = self.act(self.bn1(self.conv_exp(x), train))
        x = x if self.se is None else self.se(x)
        return self.bn2(self.conv_pwl(x), train)


class EfficientNet(ImageModel):
    """EfficientNet."""

    input_conv = "conv_stem"
    heads = ("classifier",)

    def __init__(self, config: EfficientNetConfig, **layer: Unpack[LayerArgs]):
        c = self.config = config
        self.act = activation(c.act)
        features = c.scaled(c.stem_size) if c.scale_stem else c.stem_size
        self.conv_stem = _conv(c, c.in_chans, features, 3, stride=2, **layer)
        self.bn1 = BatchNorm(features, eps=c.bn_eps, **layer)
        total, done, stages = sum(c.repeats(index) for index in range(len(c.stages))), 0, []
        for index, stage in enumerate(c.stages):
            blocks = []
            for repeat in range(c.repeats(index)):
                out_features = c.scaled(stage.channels)
                stride = stage.stride if repeat == 0 else 1
                drop = c.drop_path_rate * done / total
                blocks.append(_block_type(stage)(features, out_features, stage, stride, c, drop, **layer))
                features, done = out_features, done + 1
            stages.append(Stack(blocks, remat=c.remat, scan=c.scan))
        self.blocks = nnx.List(stages)
        self.num_features = c.scaled(c.head_size) if c.scale_head else c.head_size
        self.conv_head: Conv2d | None = _conv(c, features, self.num_features, 1, **layer)
        self.bn2: BatchNorm | None = BatchNorm(self.num_features, eps=c.bn_eps, **layer)
        self.head_drop = Dropout(c.drop_rate)
        self.classifier = self.make_classifier(c.num_classes, **layer)
        name_sites(self)

    @property
    def block_paths(self) -> tuple[tuple[str, ...], ...]:
        """Paths of the blocks, stage by stage."""
        return tuple(
            tuple(f"blocks.{stage}.{index}" for index in range(len(blocks))) for stage, blocks in enumerate(self.blocks)
        )

    def feature_levels(self) -> tuple[FeatureLevel, ...]:
        """The last map of every size: of the stem, if the first stage halves it, and of each stage before a halving."""
        c, reduction = self.config, 2
        levels = [FeatureLevel("bn1", self.conv_stem.out_features, 2)] if c.stages[0].stride > 1 else []
        for index in range(len(self.blocks)):
            reduction *= c.stages[index].stride
            if index + 1 == len(c.stages) or c.stages[index + 1].stride > 1:
                levels.append(FeatureLevel(f"blocks.{index}", c.scaled(c.stages[index].channels), reduction))
        return tuple(levels)

    def feature_maps(
        self, images: Float[Array, "b h w c"], train: bool = False, rngs: Rngs = None
    ) -> Iterator[tuple[str, Float[Array, "b H W d"]]]:
        """What the stem and the stages give, one after the other."""
        keys = site_keys(rngs)
        x = self.act(self.bn1(self.conv_stem(images), train))
        yield "bn1", x
        for index, stage in enumerate(self.blocks):
            x = stage(x, train=train, rngs=keys)
            yield f"blocks.{index}", x

    def final_layers(self, x: Float[Array, "b h w c"], train: bool = False) -> Float[Array, "b h w d"]:
        """The last convolution."""
        if self.conv_head is None or self.bn2 is None:
            return x
        return self.act(self.bn2(self.conv_head(x), train))

    def keep_levels(self, count: int) -> None:
        """Removes all that the first ``count`` feature maps do not need."""
        self.reset_classifier(0)
        last = self.feature_levels()[count - 1]
        kept = 0 if last.module == "bn1" else int(last.module.removeprefix("blocks.")) + 1
        self.left_out = ("conv_head", "bn2", *(f"blocks.{index}" for index in range(kept, len(self.blocks))))
        del self.blocks[kept:]
        self.conv_head = self.bn2 = None
        self.num_features = last.num_chs

    def make_classifier(self, num_classes: int, **layer: Unpack[LayerArgs]) -> nnx.Linear | None:
        """A linear layer, initialised as the authors'; None for 0 classes."""
        width = self.head_hidden_size
        return nnx.Linear(width, num_classes, kernel_init=google_linear, **layer) if num_classes else None

    def classify(
        self, pooled: Float[Array, "b d"], train: bool = False, rngs: Rngs = None
    ) -> Float[Array, "b classes"]:
        """Logits of pooled features."""
        keys = site_keys(rngs)
        return run_classifier(self.classifier, self.head_drop(pooled, keys), train, keys)


def _block_type(
    stage: Stage,
) -> type[ConvBnAct] | type[EdgeResidual] | type[DepthwiseSeparable] | type[InvertedResidual]:
    if stage.kind == "mbconv":
        return DepthwiseSeparable if stage.expand == 1 else InvertedResidual
    return ConvBnAct if stage.kind == "conv" else EdgeResidual


def _conv(
    c: EfficientNetConfig,
    in_features: int,
    out_features: int,
    kernel_size: int,
    *,
    stride: int = 1,
    groups: int = 1,
    **layer: Unpack[LayerArgs],
) -> Conv2d:
    padding: Padding = "SAME" if c.padding == "SAME" else (kernel_size - 1) // 2
    return Conv2d(
        in_features,
        out_features,
        kernel_size,
        stride=stride,
        padding=padding,
        groups=groups,
        use_bias=False,
        kernel_init=google_conv(groups),
        **layer,
    )


def _squeeze_excite(
    features: int, stage: Stage, c: EfficientNetConfig, **layer: Unpack[LayerArgs]
) -> SqueezeExcite | None:
    if stage.se_ratio is None:
        return None
    reduced = round(features * stage.se_ratio / stage.expand)
    return SqueezeExcite(features, reduced, act=c.act, names=("conv_reduce", "conv_expand"), **layer)


def _v1_stages(se_ratio: float | None) -> tuple[Stage, ...]:
    """Table 1 of the paper."""
    return (
        Stage("mbconv", 1, 3, 1, 1, 16, se_ratio),
        Stage("mbconv", 2, 3, 2, 6, 24, se_ratio),
        Stage("mbconv", 2, 5, 2, 6, 40, se_ratio),
        Stage("mbconv", 3, 3, 2, 6, 80, se_ratio),
        Stage("mbconv", 3, 5, 1, 6, 112, se_ratio),
        Stage("mbconv", 4, 5, 2, 6, 192, se_ratio),
        Stage("mbconv", 1, 3, 1, 6, 320, se_ratio),
    )


def _v2_stages(repeats: tuple[int, ...], channels: tuple[int, ...]) -> tuple[Stage, ...]:
    """Table 4 of the V2 paper; the seventh stage is for M and larger."""
    shapes = [("conv", 1, 1, None), ("fused", 2, 4, None), ("fused", 2, 4, None), ("mbconv", 2, 4, 0.25)]
    shapes += [("mbconv", 1, 6, 0.25), ("mbconv", 2, 6, 0.25), ("mbconv", 1, 6, 0.25)]
    return tuple(
        Stage(kind, repeat, 3, stride, expand, width, se_ratio)
        for (kind, stride, expand, se_ratio), repeat, width in zip(shapes, repeats, channels, strict=False)
    )


_B0 = EfficientNetConfig(_v1_stages(0.25))
_LITE0 = EfficientNetConfig(_v1_stages(None), act="relu6", scale_stem=False, scale_head=False, scale_ends=False)
_V2_BASE = EfficientNetConfig(_v2_stages((1, 2, 2, 3, 5, 8), (16, 32, 48, 96, 112, 192)), round_limit=0.0)
_V2_S = EfficientNetConfig(_v2_stages((2, 4, 4, 6, 9, 15), (24, 48, 64, 128, 160, 256)), stem_size=24)
_V2_M = EfficientNetConfig(_v2_stages((3, 5, 5, 7, 14, 18, 5), (24, 48, 80, 160, 176, 304, 512)), stem_size=24)
_V2_L = EfficientNetConfig(_v2_stages((4, 7, 7, 10, 19, 25, 7), (32, 64, 96, 192, 224, 384, 640)))
_V2_XL = EfficientNetConfig(_v2_stages((4, 8, 8, 16, 24, 32, 8), (32, 64, 96, 192, 256, 512, 640)))
# timm's own reading of the V2 paper, from before the authors' code: a fused first stage and a wider end.
_V2_RW_S = replace(
    _V2_S,
    stages=(Stage("fused", 2, 3, 1, 1, 24), *_V2_S.stages[1:5], Stage("mbconv", 15, 3, 2, 6, 272, 0.25)),
    head_size=1792,
)

_TF: dict[str, Any] = {"padding": "SAME", "bn_eps": 1e-3}


def _both(name: str, config: EfficientNetConfig) -> dict[str, EfficientNetConfig]:
    """A variant as PyTorch pads it and as TensorFlow does."""
    return {name: config, f"tf_{name}": replace(config, **_TF)}


VARIANTS: dict[str, EfficientNetConfig] = {
    **_both("efficientnet_b0", _B0),
    **_both("efficientnet_b1", replace(_B0, width=1.0, depth=1.1)),
    **_both("efficientnet_b2", replace(_B0, width=1.1, depth=1.2)),
    **_both("efficientnet_b3", replace(_B0, width=1.2, depth=1.4)),
    **_both("efficientnet_b4", replace(_B0, width=1.4, depth=1.8)),
    **_both("efficientnet_b5", replace(_B0, width=1.6, depth=2.2)),
    **_both("efficientnet_b6", replace(_B0, width=1.8, depth=2.6)),
    **_both("efficientnet_b7", replace(_B0, width=2.0, depth=3.1)),
    **_both("efficientnet_b8", replace(_B0, width=2.2, depth=3.6)),
    **_both("efficientnet_l2", replace(_B0, width=4.3, depth=5.3)),
    **_both("efficientnet_lite0", _LITE0),
    **_both("efficientnet_lite1", replace(_LITE0, width=1.0, depth=1.1)),
    **_both("efficientnet_lite2", replace(_LITE0, width=1.1, depth=1.2)),
    **_both("efficientnet_lite3", replace(_LITE0, width=1.2, depth=1.4)),
    **_both("efficientnet_lite4", replace(_LITE0, width=1.4, depth=1.8)),
    "tf_efficientnetv2_b0": replace(_V2_BASE, **_TF),
    "tf_efficientnetv2_b1": replace(_V2_BASE, depth=1.1, **_TF),
    "tf_efficientnetv2_b2": replace(_V2_BASE, width=1.1, depth=1.2, **_TF),
    "tf_efficientnetv2_b3": replace(_V2_BASE, width=1.2, depth=1.4, **_TF),
    **_both("efficientnetv2_s", _V2_S),
    **_both("efficientnetv2_m", _V2_M),
    **_both("efficientnetv2_l", _V2_L),
    **_both("efficientnetv2_xl", _V2_XL),
    "efficientnetv2_rw_t": replace(_V2_S, width=0.8, depth=0.9),
    "efficientnetv2_rw_s": _V2_RW_S,
    "efficientnetv2_rw_m": replace(_V2_RW_S, width=1.2, depth=(1.2, 1.2, 1.2, 1.2, 1.6, 1.6)),
}

FAMILY = Family("efficientnet", VARIANTS, EfficientNet)
