"""EfficientNet (Tan and Le 2019, arXiv:1905.11946), V2 (2021, arXiv:2104.00298) and the other networks of MBConvs.

A network is a list of stages, scaled in width and depth. Names that begin with ``tf_`` are for the weights of the
authors' TensorFlow code: they pad as TensorFlow does (``SAME``, which depends on the input's size) and have 1e-3 for
the epsilon of batch normalisation; the others pad symmetrically and have 1e-5. The weights of one fit the other and
give worse answers.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias, Unpack

from flax import nnx
from jaxtyping import Array, Float

from jaxvision.models._mbconv import (
    ActivatedSeparable,
    BlockLayers,
    BlockShape,
    CondConvResidual,
    ConvBnAct,
    DepthwiseSeparable,
    EdgeResidual,
    InvertedResidual,
    KernelSize,
    MobileBlock,
    PackedSeparable,
)
from jaxvision.models.family import Family, check_choices
from jaxvision.models.feature_info import FeatureLevel
from jaxvision.models.head import run_classifier
from jaxvision.models.image_model import ImageModel
from jaxvision.nn.drop import Dropout, Rngs, name_sites, site_keys
from jaxvision.nn.init import google_linear
from jaxvision.nn.layer_args import LayerArgs
from jaxvision.nn.linear import Linear
from jaxvision.nn.stack import Stack
from jaxvision.nn.width import make_divisible
from jaxvision.paths import suggestion

BlockType: TypeAlias = Callable[..., MobileBlock]

Plan: TypeAlias = tuple[tuple[tuple[BlockType, BlockShape], ...], ...]
"""Class and shape of every block, stage by stage."""

_BLOCKS: dict[str, BlockType] = {
    "conv": ConvBnAct,
    "separable": DepthwiseSeparable,
    "mobilenet": ActivatedSeparable,
    "mbconv": InvertedResidual,
    "fused": EdgeResidual,
}


class Stage(NamedTuple):
    """Blocks of one shape, before scaling.

    Attributes:
        kind: ``"mbconv"``, ``"fused"``, ``"separable"`` (an MBConv without its first convolution), ``"mobilenet"``
            (MobileNetV1's) or ``"conv"``.
        repeats: number of blocks.
        kernel_size: of the spatial convolution; several for shares of the channels (MixNet).
        stride: of the first block.
        expand: channels inside a block, as a multiple of its input's.
        channels: channels out.
        se_ratio: squeeze-excite's middle as a share of the block's input; None for no squeeze-excite.
        act: the activation; None for the network's.
        skip: shortcuts where input and output have the same shape.
        expand_kernel: of an MBConv's first convolution.
        project_kernel: of the last convolution.
        expand_base: what ``expand`` multiplies in place of the input's channels, before scaling.
        group_size: channels that the spatial convolution mixes; None for one, or all in a fused block.
        experts: kernels of every convolution that are mixed for each image (CondConv); 0 for plain convolutions.
        space_to_depth: the first block packs 2x2 pixels into channels; the next stride is then a matter of channels.
    """

    kind: str
    repeats: int
    kernel_size: KernelSize
    stride: int
    expand: float
    channels: int
    se_ratio: float | None = None
    act: str | None = None
    skip: bool = True
    expand_kernel: KernelSize = 1
    project_kernel: KernelSize = 1
    expand_base: int | None = None
    group_size: int | None = None
    experts: int = 0
    space_to_depth: bool = False


Stages: TypeAlias = tuple[Stage | tuple[Stage, ...], ...]
"""The stages of a network; one of blocks of several shapes is a tuple of them."""

Pruned: TypeAlias = tuple[tuple[int, tuple[int, ...], tuple[int, ...]], ...]


@dataclass(frozen=True)
class EfficientNetConfig:
    """One row of the table below.

    Attributes:
        stages: the blocks, before scaling.
        width: multiplies all channels, which are then rounded to multiples of ``divisor``.
        depth: multiplies the blocks of every stage; a tuple for one multiplier a stage.
        divisor: of channels.
        round_limit: rounding never takes away more than this leaves of a width.
        round_depth: round the blocks of a stage to the nearest number instead of up.
        stem_size: channels of the first convolution, before scaling.
        stem_kernel: of the first convolution.
        head_size: channels of the last convolution, before scaling; 0 for no last convolution.
        scale_stem: scale the first convolution too.
        scale_head: scale the last convolution too.
        scale_ends: scale the depth of the first and last stage too.
        pruned: for each stage the channels out of its blocks, and those inside each block and inside its
            squeeze-excite, in place of the scaled.
        padding: ``"symmetric"`` or ``"SAME"``.
        norm: ``"batch"``, ``"group"``, ``"layer"`` or ``"evo"`` (EvoNorm-S0).
        norm_group_size: channels of a group, for group norm and EvoNorm.
        bn_eps: epsilon of every norm.
        aa_layer: ``"blurpc"`` to blur and subsample in place of the blocks' strides (Zhang 2019), with zeros around.
        se_layer: ``"se"``, or ``"gc"`` for global context in the place of squeeze-excite.
        output_stride: 32, 16, 8, 4 or 2: stages dilate instead of striding beyond it.
        drop_rate: dropout before the classifier.
        drop_path_rate: stochastic depth, growing linearly with the blocks from 0 towards this.
        remat: see `jaxvision.nn.Stack`, as for ``scan``.
    """

    stages: Stages
    width: float = 1.0
    depth: float | tuple[float, ...] = 1.0
    divisor: int = 8
    round_limit: float = 0.9
    round_depth: bool = False
    in_chans: int = 3
    num_classes: int = 1000
    global_pool: str = "avg"
    stem_size: int = 32
    stem_kernel: int = 3
    head_size: int = 1280
    scale_stem: bool = True
    scale_head: bool = True
    scale_ends: bool = True
    pruned: Pruned | None = None
    padding: str = "symmetric"
    norm: str = "batch"
    norm_group_size: int = 8
    bn_eps: float = 1e-5
    act: str = "silu"
    aa_layer: str | None = None
    se_layer: str = "se"
    output_stride: int = 32
    drop_rate: float = 0.0
    drop_path_rate: float = 0.0
    remat: str | None = None
    scan: bool = False

    def __post_init__(self) -> None:
        check_choices(("output_stride", self.output_stride, (2, 4, 8, 16, 32)))
        self.plan()
        self.block_layers()

    def scaled(self, channels: int) -> int:
        """A number of channels at this width."""
        return make_divisible(channels * self.width, self.divisor, keep=self.round_limit)

    @property
    def stem_features(self) -> int:
        """Channels of the first convolution."""
        return self.scaled(self.stem_size) if self.scale_stem else self.stem_size

    @property
    def head_features(self) -> int:
        """Channels of the last convolution; 0 if there is none."""
        return self.scaled(self.head_size) if self.head_size and self.scale_head else self.head_size

    def block_layers(self) -> BlockLayers:
        """What makes the layers of this network."""
        return BlockLayers(self.padding, self.norm, self.norm_group_size, self.bn_eps, self.aa_layer, self.se_layer)

    def plan(self) -> Plan:
        """Class and shape of every block, stage by stage, at this width and depth.

        Raises:
            ValueError: an unknown kind of block, or ``pruned`` that has not one width for each block.
        """
        return _dilate(self._striding(), self.output_stride)

    @property
    def strides(self) -> tuple[int, ...]:
        """The stride of every stage: of one that dilates, the stride that it would have otherwise."""
        return tuple(stage[0][1].stride for stage in self._striding())

    def _striding(self) -> Plan:
        """The plan without dilation."""
        rows = [self._rows(index) for index in range(len(self.stages))]
        total, done = sum(map(len, rows)), 0
        features, packed = self.stem_features, False
        plan = []
        for stage in rows:
            blocks = []
            for index, row in enumerate(stage):
                stride = row.stride if index == 0 else 1
                packs, unpacks = row.space_to_depth and not packed, packed and stride > 1
                packed = packs or (packed and not unpacks)
                expand = row.expand / 4 if unpacks else row.expand
                hidden = features
                if row.kind in ("mbconv", "fused"):
                    hidden = make_divisible((self.scaled(row.expand_base) if row.expand_base else features) * expand)
                shape = BlockShape(
                    in_features=features,
                    hidden=hidden,
                    out_features=self.scaled(row.channels) * (4 if packed else 1),
                    kernel_size=row.kernel_size,
                    stride=2 if packs else 1 if unpacks else stride,
                    group_size=row.group_size,
                    expand_kernel=row.expand_kernel,
                    project_kernel=row.project_kernel,
                    squeeze=None if row.se_ratio is None else self._squeezed(hidden, row.se_ratio / expand),
                    experts=row.experts,
                    act=row.act or self.act,
                    skip=row.skip,
                    drop_path=self.drop_path_rate * done / total,
                )
                blocks.append((_block_type(row, packs), shape))
                features, done = shape.out_features, done + 1
            plan.append(tuple(blocks))
        return tuple(plan) if self.pruned is None else _prune(plan, self.pruned, self.stem_features)

    def _rows(self, index: int) -> list[Stage]:
        """What each block of a stage is at this depth: rows of one stage share its blocks as they did before."""
        entry = self.stages[index]
        rows = (entry,) if isinstance(entry, Stage) else entry
        depth = self.depth[index] if isinstance(self.depth, tuple) else self.depth
        if not self.scale_ends and index in (0, len(self.stages) - 1):
            depth = 1.0
        left = sum(row.repeats for row in rows)
        blocks_left = max(1, round(left * depth)) if self.round_depth else math.ceil(left * depth)
        blocks: list[Stage] = []
        for row in reversed(rows):
            repeats = max(1, round(row.repeats / left * blocks_left))
            blocks = [row] * repeats + blocks
            left, blocks_left = left - row.repeats, blocks_left - repeats
        return blocks

    def _squeezed(self, hidden: int, ratio: float) -> int:
        return round(hidden * ratio) if self.se_layer == "se" else make_divisible(hidden * ratio, 1, keep=0.0)


def _block_type(row: Stage, packs: bool) -> BlockType:
    if row.kind not in _BLOCKS:
        raise ValueError(f"unknown kind of block {row.kind!r}{suggestion(row.kind, _BLOCKS)}; there are {[*_BLOCKS]}")
    if row.space_to_depth and row.kind != "separable":
        raise ValueError(f"space_to_depth is for 'separable' blocks, got {row.kind!r}")
    if row.experts and row.kind != "mbconv":
        raise ValueError(f"experts are for 'mbconv' blocks, got {row.kind!r}")
    if packs:
        return PackedSeparable
    return CondConvResidual if row.experts else _BLOCKS[row.kind]


def _dilate(plan: Plan, output_stride: int) -> Plan:
    """The plan with dilation in place of strides beyond ``output_stride``.

    A block that would have strided sees what the blocks before it saw; those after it are twice as far apart.
    """
    reduction, dilation, stages = 2, 1, []
    for stage in plan:
        blocks = []
        for block_type, shape in stage:
            shape = shape._replace(dilation=dilation)
            if block_type is not PackedSeparable and reduction * shape.stride > output_stride:
                dilation, shape = dilation * shape.stride, shape._replace(stride=1)
            reduction *= shape.stride
            blocks.append((block_type, shape))
        stages.append(tuple(blocks))
    return tuple(stages)


def _prune(plan: Sequence[tuple[tuple[BlockType, BlockShape], ...]], pruned: Pruned, features: int) -> Plan:
    """The plan with other channels."""
    if [len(hidden) for _, hidden, _ in pruned] != [len(stage) for stage in plan]:
        raise ValueError(
            f"pruned has widths for {[len(hidden) for _, hidden, _ in pruned]} blocks a stage, "
            f"expected {[len(stage) for stage in plan]}"
        )
    stages = []
    for stage, (width, hiddens, squeezes) in zip(plan, pruned, strict=True):
        blocks = []
        for (block_type, shape), hidden, squeeze in zip(stage, hiddens, squeezes, strict=True):
            shape = shape._replace(in_features=features, hidden=hidden, squeeze=squeeze, out_features=width)
            blocks.append((block_type, shape))
            features = width
        stages.append(tuple(blocks))
    return tuple(stages)


class EfficientNet(ImageModel):
    """EfficientNet."""

    input_conv = "conv_stem"
    heads = ("classifier",)

    def __init__(self, config: EfficientNetConfig, **layer: Unpack[LayerArgs]):
        c = self.config = config
        make, features = c.block_layers(), c.stem_features
        self.act = make.make_act(c.act)
        self.conv_stem = make.make_conv(c.in_chans, features, c.stem_kernel, stride=2, **layer)
        self.bn1 = make.make_norm(features, **layer)
        stages = []
        for stage in c.plan():
            blocks = [block_type(shape, make, **layer) for block_type, shape in stage]
            stages.append(Stack(blocks, remat=c.remat, scan=c.scan))
            features = stage[-1][1].out_features
        self.blocks = nnx.List(stages)
        head = c.head_features
        self.num_features = head or features
        self.conv_head = make.make_conv(features, head, 1, **layer) if head else None
        self.bn2 = make.make_norm(head, **layer) if head else None
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
        """The last map of every size: of the stem, if the first stage halves it, and of each stage before a halving.

        Stages that dilate instead of halving are levels all the same.
        """
        plan, strides, reduction = self.config.plan(), self.config.strides, 2
        levels = [FeatureLevel("bn1", self.config.stem_features, 2)] if strides[0] > 1 else []
        for index in range(len(self.blocks)):
            reduction *= plan[index][0][1].stride
            if index + 1 == len(plan) or strides[index + 1] > 1:
                levels.append(FeatureLevel(f"blocks.{index}", plan[index][-1][1].out_features, reduction))
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
        """The last convolution, if there is one."""
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

    def make_classifier(self, num_classes: int, **layer: Unpack[LayerArgs]) -> Linear | None:
        """A linear layer, initialised as the authors'; None for 0 classes."""
        width = self.head_hidden_size
        return Linear(width, num_classes, kernel_init=google_linear, **layer) if num_classes else None

    def classify(
        self, pooled: Float[Array, "b d"], train: bool = False, rngs: Rngs = None
    ) -> Float[Array, "b classes"]:
        """Logits of pooled features."""
        keys = site_keys(rngs)
        return run_classifier(self.classifier, self.head_drop(pooled, keys), train, keys)


def _v1(se_ratio: float | None = 0.25, **options: Any) -> tuple[Stage, ...]:
    """Table 1 of the paper."""
    rows = (
        Stage("separable", 1, 3, 1, 1, 16, se_ratio),
        Stage("mbconv", 2, 3, 2, 6, 24, se_ratio),
        Stage("mbconv", 2, 5, 2, 6, 40, se_ratio),
        Stage("mbconv", 3, 3, 2, 6, 80, se_ratio),
        Stage("mbconv", 3, 5, 1, 6, 112, se_ratio),
        Stage("mbconv", 4, 5, 2, 6, 192, se_ratio),
        Stage("mbconv", 1, 3, 1, 6, 320, se_ratio),
    )
    return tuple(row._replace(**options) for row in rows)


def _v2(repeats: tuple[int, ...], channels: tuple[int, ...]) -> tuple[Stage, ...]:
    """Table 4 of the V2 paper; the seventh stage is for M and larger."""
    shapes = [("conv", 1, 1, None), ("fused", 2, 4, None), ("fused", 2, 4, None), ("mbconv", 2, 4, 0.25)]
    shapes += [("mbconv", 1, 6, 0.25), ("mbconv", 2, 6, 0.25), ("mbconv", 1, 6, 0.25)]
    return tuple(
        Stage(kind, repeat, 3, stride, expand, width, se_ratio)
        for (kind, stride, expand, se_ratio), repeat, width in zip(shapes, repeats, channels, strict=False)
    )


def _x(early_expand: int) -> tuple[Stage, ...]:
    """EfficientNet-X (Li et al. 2021, arXiv:2102.05610): space-to-depth, then fused blocks with ReLU."""
    v1 = _v1()
    return (
        v1[0]._replace(space_to_depth=True),
        *(row._replace(kind="fused", expand=early_expand, act="relu") for row in v1[1:3]),
        v1[3]._replace(expand=early_expand),
        *v1[4:],
    )


def _condconv(experts: int) -> tuple[Stage, ...]:
    """CondConv (Yang et al. 2019, arXiv:1904.04971): experts in the last three stages."""
    return (*_v1()[:4], *_v1(experts=experts)[4:])


def _edgetpu_v2(channels: tuple[int, ...], group_size: int = 64) -> Stages:
    """MobileNet-EdgeTPU V2 (TensorFlow model garden, official/projects/edgetpu/vision)."""
    grouped: dict[str, Any] = {"group_size": group_size}
    return (
        Stage("conv", 1, 1, 1, 1, channels[0], skip=False),
        (Stage("fused", 1, 3, 2, 8, channels[1]), Stage("fused", 1, 3, 1, 4, channels[1], **grouped)),
        (
            Stage("fused", 1, 3, 2, 8, channels[2]),
            Stage("fused", 1, 3, 1, 4, channels[2], **grouped),
            Stage("fused", 1, 3, 1, 4, channels[2]),
            Stage("fused", 1, 3, 1, 4, channels[2], **grouped),
        ),
        (Stage("fused", 1, 3, 2, 8, channels[3]), Stage("mbconv", 3, 3, 1, 4, channels[3])),
        (Stage("mbconv", 1, 3, 1, 8, channels[4]), Stage("mbconv", 3, 3, 1, 4, channels[4])),
        (Stage("mbconv", 1, 3, 2, 8, channels[5]), Stage("mbconv", 3, 3, 1, 4, channels[5])),
        Stage("mbconv", 1, 3, 1, 8, channels[6]),
    )


_B0 = EfficientNetConfig(_v1())
_LITE0 = EfficientNetConfig(_v1(None), act="relu6", scale_stem=False, scale_head=False, scale_ends=False)
_V2_BASE = EfficientNetConfig(_v2((1, 2, 2, 3, 5, 8), (16, 32, 48, 96, 112, 192)), round_limit=0.0)
_V2_S = EfficientNetConfig(_v2((2, 4, 4, 6, 9, 15), (24, 48, 64, 128, 160, 256)), stem_size=24)
_V2_M = EfficientNetConfig(_v2((3, 5, 5, 7, 14, 18, 5), (24, 48, 80, 160, 176, 304, 512)), stem_size=24)
_V2_L = EfficientNetConfig(_v2((4, 7, 7, 10, 19, 25, 7), (32, 64, 96, 192, 224, 384, 640)))
_V2_XL = EfficientNetConfig(_v2((4, 8, 8, 16, 24, 32, 8), (32, 64, 96, 192, 256, 512, 640)))
# timm's own reading of the V2 paper, from before the authors' code: a fused first stage and a wider end.
_V2_RW_S = replace(
    _V2_S,
    stages=(
        Stage("fused", 2, 3, 1, 1, 24),
        *_v2((2, 4, 4, 6, 9), (24, 48, 64, 128, 160))[1:],
        Stage("mbconv", 15, 3, 2, 6, 272, 0.25),
    ),
    head_size=1792,
)
# EfficientNet-EdgeTPU (Gupta and Akin 2020, arXiv:2003.02838). Its first expansion is of 24 channels, not the stem's.
_EDGE = EfficientNetConfig(
    (
        Stage("fused", 1, 3, 1, 4, 24, skip=False, expand_base=24),
        Stage("fused", 2, 3, 2, 8, 32),
        Stage("fused", 4, 3, 2, 8, 48),
        Stage("mbconv", 5, 5, 2, 8, 96),
        Stage("mbconv", 4, 5, 1, 8, 144),
        Stage("mbconv", 2, 5, 2, 8, 192),
    ),
    act="relu",
)
_X = EfficientNetConfig(_x(6))
_TINYNET = replace(_B0, round_depth=True, scale_stem=False, scale_head=False)
_TEST = EfficientNetConfig(
    (
        Stage("conv", 1, 3, 1, 1, 16),
        Stage("fused", 1, 3, 2, 4, 24),
        Stage("fused", 1, 3, 2, 4, 32),
        Stage("mbconv", 1, 3, 2, 4, 48, 0.25),
        Stage("mbconv", 1, 3, 2, 4, 64, 0.25),
    ),
    round_limit=0.0,
    stem_size=24,
    head_size=256,
)

# MobileNetV1 (Howard et al. 2017, arXiv:1704.04861), table 1.
_MOBILENET_V1 = EfficientNetConfig(
    (
        Stage("mobilenet", 1, 3, 1, 1, 64),
        Stage("mobilenet", 2, 3, 2, 1, 128),
        Stage("mobilenet", 2, 3, 2, 1, 256),
        Stage("mobilenet", 6, 3, 2, 1, 512),
        Stage("mobilenet", 2, 3, 2, 1, 1024),
    ),
    act="relu6",
    head_size=0,
    scale_head=False,
)
# MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381), table 2.
_MOBILENET_V2 = EfficientNetConfig(
    (
        Stage("separable", 1, 3, 1, 1, 16),
        Stage("mbconv", 2, 3, 2, 6, 24),
        Stage("mbconv", 3, 3, 2, 6, 32),
        Stage("mbconv", 4, 3, 2, 6, 64),
        Stage("mbconv", 3, 3, 1, 6, 96),
        Stage("mbconv", 3, 3, 2, 6, 160),
        Stage("mbconv", 1, 3, 1, 6, 320),
    ),
    act="relu6",
    scale_head=False,
)
_MOBILENET_V2_DEEP = replace(_MOBILENET_V2, scale_stem=False, scale_ends=False)
_EDGETPU_V1 = EfficientNetConfig(
    (
        Stage("conv", 1, 1, 1, 1, 16, skip=False),
        (Stage("fused", 1, 3, 2, 8, 32), Stage("fused", 3, 3, 1, 4, 32)),
        (Stage("fused", 1, 3, 2, 8, 48), Stage("fused", 3, 3, 1, 4, 48)),
        (Stage("mbconv", 1, 3, 2, 8, 96), Stage("mbconv", 3, 3, 1, 4, 96)),
        (Stage("mbconv", 1, 3, 1, 8, 96, skip=False), Stage("mbconv", 3, 3, 1, 4, 96)),
        (Stage("mbconv", 1, 5, 2, 8, 160), Stage("mbconv", 3, 5, 1, 4, 160)),
        Stage("mbconv", 1, 3, 1, 8, 192),
    ),
    act="relu",
    scale_head=False,
)
_EDGETPU_V2_XS = replace(_EDGETPU_V1, stages=_edgetpu_v2((16, 32, 48, 96, 144, 160, 192)))
_EDGETPU_V2_S = replace(_EDGETPU_V1, stages=_edgetpu_v2((24, 48, 64, 128, 160, 192, 256)), stem_size=64, stem_kernel=5)

# MnasNet (Tan et al. 2019, arXiv:1807.11626): B1, A1 (with squeeze-excite) and the small one of its code.
_MNASNET_B1 = EfficientNetConfig(
    (
        Stage("separable", 1, 3, 1, 1, 16, skip=False),
        Stage("mbconv", 3, 3, 2, 3, 24),
        Stage("mbconv", 3, 5, 2, 3, 40),
        Stage("mbconv", 3, 5, 2, 6, 80),
        Stage("mbconv", 2, 3, 1, 6, 96),
        Stage("mbconv", 4, 5, 2, 6, 192),
        Stage("mbconv", 1, 3, 1, 6, 320, skip=False),
    ),
    act="relu",
    scale_head=False,
)
_MNASNET_A1 = replace(
    _MNASNET_B1,
    stages=(
        Stage("separable", 1, 3, 1, 1, 16, skip=False),
        Stage("mbconv", 2, 3, 2, 6, 24),
        Stage("mbconv", 3, 5, 2, 3, 40, 0.25),
        Stage("mbconv", 4, 3, 2, 6, 80),
        Stage("mbconv", 2, 3, 1, 6, 112, 0.25),
        Stage("mbconv", 3, 5, 2, 6, 160, 0.25),
        Stage("mbconv", 1, 3, 1, 6, 320),
    ),
)
_MNASNET_SMALL = replace(
    _MNASNET_B1,
    stages=(
        Stage("separable", 1, 3, 1, 1, 8),
        Stage("mbconv", 1, 3, 2, 3, 16),
        Stage("mbconv", 2, 3, 2, 6, 16),
        Stage("mbconv", 4, 5, 2, 6, 32, 0.25),
        Stage("mbconv", 3, 3, 1, 6, 32, 0.25),
        Stage("mbconv", 3, 5, 2, 6, 88, 0.25),
        Stage("mbconv", 1, 3, 1, 6, 144),
    ),
    stem_size=8,
)
# Single-Path NAS (Stamoulis et al. 2019, arXiv:1904.02877).
_SPNASNET = replace(
    _MNASNET_B1,
    stages=(
        Stage("separable", 1, 3, 1, 1, 16, skip=False),
        Stage("mbconv", 3, 3, 2, 3, 24),
        (Stage("mbconv", 1, 5, 2, 6, 40), Stage("mbconv", 3, 3, 1, 3, 40)),
        (Stage("mbconv", 1, 5, 2, 6, 80), Stage("mbconv", 3, 3, 1, 3, 80)),
        (Stage("mbconv", 1, 5, 1, 6, 96), Stage("mbconv", 3, 5, 1, 3, 96)),
        Stage("mbconv", 4, 5, 2, 6, 192),
        Stage("mbconv", 1, 3, 1, 6, 320, skip=False),
    ),
)
# FBNet-C (Wu et al. 2019, arXiv:1812.03443). Its weights were trained with TensorFlow's epsilon.
_FBNET_C = replace(
    _MNASNET_B1,
    stages=(
        Stage("mbconv", 1, 3, 1, 1, 16),
        (Stage("mbconv", 1, 3, 2, 6, 24), Stage("mbconv", 2, 3, 1, 1, 24)),
        (
            Stage("mbconv", 1, 5, 2, 6, 32),
            Stage("mbconv", 1, 5, 1, 3, 32),
            Stage("mbconv", 1, 5, 1, 6, 32),
            Stage("mbconv", 1, 3, 1, 6, 32),
        ),
        (Stage("mbconv", 1, 5, 2, 6, 64), Stage("mbconv", 1, 5, 1, 3, 64), Stage("mbconv", 2, 5, 1, 6, 64)),
        (Stage("mbconv", 3, 5, 1, 6, 112), Stage("mbconv", 1, 5, 1, 3, 112)),
        Stage("mbconv", 4, 5, 2, 6, 184),
        Stage("mbconv", 1, 3, 1, 6, 352),
    ),
    stem_size=16,
    head_size=1984,
    bn_eps=1e-3,
)

# MixNet (Tan and Le 2019, arXiv:1907.09595). Its 1x1 convolutions may be of two halves of the channels.
_E: dict[str, Any] = {"expand_kernel": (1, 1)}
_P: dict[str, Any] = {"project_kernel": (1, 1)}
_SILU: dict[str, Any] = {"act": "silu"}
_MIXNET_S = replace(
    _MNASNET_B1,
    stages=(
        Stage("separable", 1, 3, 1, 1, 16),
        (Stage("mbconv", 1, 3, 2, 6, 24, **_E, **_P), Stage("mbconv", 1, 3, 1, 3, 24, **_E, **_P)),
        (
            Stage("mbconv", 1, (3, 5, 7), 2, 6, 40, 0.5, **_SILU),
            Stage("mbconv", 3, (3, 5), 1, 6, 40, 0.5, **_SILU, **_E, **_P),
        ),
        (
            Stage("mbconv", 1, (3, 5, 7), 2, 6, 80, 0.25, **_SILU, **_P),
            Stage("mbconv", 2, (3, 5), 1, 6, 80, 0.25, **_SILU, **_P),
        ),
        (
            Stage("mbconv", 1, (3, 5, 7), 1, 6, 120, 0.5, **_SILU, **_E, **_P),
            Stage("mbconv", 2, (3, 5, 7, 9), 1, 3, 120, 0.5, **_SILU, **_E, **_P),
        ),
        (
            Stage("mbconv", 1, (3, 5, 7, 9, 11), 2, 6, 200, 0.5, **_SILU),
            Stage("mbconv", 2, (3, 5, 7, 9), 1, 6, 200, 0.5, **_SILU, **_P),
        ),
    ),
    stem_size=16,
    head_size=1536,
)
_MIXNET_M = replace(
    _MIXNET_S,
    stages=(
        Stage("separable", 1, 3, 1, 1, 24),
        (Stage("mbconv", 1, (3, 5, 7), 2, 6, 32, **_E, **_P), Stage("mbconv", 1, 3, 1, 3, 32, **_E, **_P)),
        (
            Stage("mbconv", 1, (3, 5, 7, 9), 2, 6, 40, 0.5, **_SILU),
            Stage("mbconv", 3, (3, 5), 1, 6, 40, 0.5, **_SILU, **_E, **_P),
        ),
        (
            Stage("mbconv", 1, (3, 5, 7), 2, 6, 80, 0.25, **_SILU),
            Stage("mbconv", 3, (3, 5, 7, 9), 1, 6, 80, 0.25, **_SILU, **_E, **_P),
        ),
        (
            Stage("mbconv", 1, 3, 1, 6, 120, 0.5, **_SILU),
            Stage("mbconv", 3, (3, 5, 7, 9), 1, 3, 120, 0.5, **_SILU, **_E, **_P),
        ),
        (
            Stage("mbconv", 1, (3, 5, 7, 9), 2, 6, 200, 0.5, **_SILU),
            Stage("mbconv", 3, (3, 5, 7, 9), 1, 6, 200, 0.5, **_SILU, **_P),
        ),
    ),
    stem_size=24,
    round_depth=True,
)

# Pruned by Aflalo et al. 2020 (arXiv:2002.08258); printed by tests/reference/make_pruned.py.
_B1_PRUNED = (
    (16, (32, 16), (8, 4)),
    (12, (48, 62, 48), (4, 6, 6)),
    (35, (70, 61, 51), (6, 10, 10)),
    (74, (175, 188, 137, 164), (10, 20, 20, 20)),
    (67, (399, 201, 160, 213), (20, 28, 28, 28)),
    (192, (637, 806, 798, 891, 990), (27, 48, 48, 48, 48)),
    (320, (1152, 1912), (48, 80)),
)
_B2_PRUNED = (
    (16, (32, 16), (8, 4)),
    (17, (54, 69, 61), (4, 6, 6)),
    (42, (86, 72, 98), (6, 12, 12)),
    (85, (245, 274, 254, 292), (12, 22, 22, 22)),
    (116, (502, 315, 354, 443), (22, 30, 30, 30)),
    (208, (719, 1148, 1160, 1182, 1228), (30, 52, 52, 52, 52)),
    (352, (1248, 2112), (52, 88)),
)
_B3_PRUNED = (
    (24, (40, 24), (10, 6)),
    (12, (27, 49, 48), (6, 8, 8)),
    (40, (83, 90, 85), (8, 12, 12)),
    (93, (215, 261, 219, 254, 236), (12, 24, 24, 24, 24)),
    (120, (480, 235, 217, 226, 340), (24, 34, 34, 33, 34)),
    (232, (802, 1030, 924, 1016, 1130, 1266), (34, 58, 58, 58, 58, 58)),
    (384, (1392, 2301), (58, 96)),
)

_TF: dict[str, Any] = {"padding": "SAME", "bn_eps": 1e-3}
_1: dict[str, Any] = {"width": 1.0, "depth": 1.1}
_2: dict[str, Any] = {"width": 1.1, "depth": 1.2}
_3: dict[str, Any] = {"width": 1.2, "depth": 1.4}
_4: dict[str, Any] = {"width": 1.4, "depth": 1.8}
_5: dict[str, Any] = {"width": 1.6, "depth": 2.2}
_GN: dict[str, Any] = {"norm": "group"}


def _both(name: str, config: EfficientNetConfig) -> dict[str, EfficientNetConfig]:
    """A variant as PyTorch pads it and as TensorFlow does."""
    return {name: config, f"tf_{name}": replace(config, **_TF)}


VARIANTS: dict[str, EfficientNetConfig] = {
    **_both("efficientnet_b0", _B0),
    **_both("efficientnet_b1", replace(_B0, **_1)),
    **_both("efficientnet_b2", replace(_B0, **_2)),
    **_both("efficientnet_b3", replace(_B0, **_3)),
    **_both("efficientnet_b4", replace(_B0, **_4)),
    **_both("efficientnet_b5", replace(_B0, **_5)),
    **_both("efficientnet_b6", replace(_B0, width=1.8, depth=2.6)),
    **_both("efficientnet_b7", replace(_B0, width=2.0, depth=3.1)),
    **_both("efficientnet_b8", replace(_B0, width=2.2, depth=3.6)),
    **_both("efficientnet_l2", replace(_B0, width=4.3, depth=5.3)),
    "efficientnet_b1_pruned": replace(_B0, **_1, **_TF, pruned=_B1_PRUNED),
    "efficientnet_b2_pruned": replace(_B0, **_2, **_TF, pruned=_B2_PRUNED),
    "efficientnet_b3_pruned": replace(_B0, **_3, **_TF, pruned=_B3_PRUNED),
    "efficientnet_blur_b0": replace(_B0, aa_layer="blurpc"),
    "efficientnet_b0_gn": replace(_B0, **_GN),
    "efficientnet_b0_g8_gn": replace(_B0, stages=_v1(group_size=8), **_GN),
    "efficientnet_b0_g16_evos": replace(_B0, stages=_v1(group_size=16), divisor=16),  # batch norm in timm too
    "efficientnet_b3_gn": replace(_B0, **_3, **_GN, norm_group_size=16, divisor=16),
    "efficientnet_b3_g8_gn": replace(_B0, **_3, **_GN, stages=_v1(group_size=8), norm_group_size=16, divisor=16),
    **_both("efficientnet_cc_b0_4e", replace(_B0, stages=_condconv(4))),
    **_both("efficientnet_cc_b0_8e", replace(_B0, stages=_condconv(8))),
    **_both("efficientnet_cc_b1_8e", replace(_B0, **_1, stages=_condconv(8))),
    **_both("efficientnet_es", _EDGE),
    **_both("efficientnet_em", replace(_EDGE, **_1)),
    **_both("efficientnet_el", replace(_EDGE, **_3)),
    "efficientnet_es_pruned": _EDGE,  # pruned to zeros: the channels are all there
    "efficientnet_el_pruned": replace(_EDGE, **_3),
    **_both("efficientnet_lite0", _LITE0),
    **_both("efficientnet_lite1", replace(_LITE0, **_1)),
    **_both("efficientnet_lite2", replace(_LITE0, **_2)),
    **_both("efficientnet_lite3", replace(_LITE0, **_3)),
    **_both("efficientnet_lite4", replace(_LITE0, **_4)),
    "tf_efficientnetv2_b0": replace(_V2_BASE, **_TF),
    "tf_efficientnetv2_b1": replace(_V2_BASE, **_1, **_TF),
    "tf_efficientnetv2_b2": replace(_V2_BASE, **_2, **_TF),
    "tf_efficientnetv2_b3": replace(_V2_BASE, **_3, **_TF),
    **_both("efficientnetv2_s", _V2_S),
    **_both("efficientnetv2_m", _V2_M),
    **_both("efficientnetv2_l", _V2_L),
    **_both("efficientnetv2_xl", _V2_XL),
    "efficientnetv2_rw_t": replace(_V2_S, width=0.8, depth=0.9),
    "gc_efficientnetv2_rw_t": replace(_V2_S, width=0.8, depth=0.9, se_layer="gc"),
    "efficientnetv2_rw_s": _V2_RW_S,
    "efficientnetv2_rw_m": replace(_V2_RW_S, width=1.2, depth=(1.2, 1.2, 1.2, 1.2, 1.6, 1.6)),
    "efficientnet_x_b3": replace(_X, **_3),
    "efficientnet_x_b5": replace(_X, **_5),
    "efficientnet_h_b5": replace(_X, stages=_x(4), width=1.92, depth=2.2),
    "tinynet_a": replace(_TINYNET, depth=1.2),
    "tinynet_b": replace(_TINYNET, width=0.75, depth=1.1),
    "tinynet_c": replace(_TINYNET, width=0.54, depth=0.85),
    "tinynet_d": replace(_TINYNET, width=0.54, depth=0.695),
    "tinynet_e": replace(_TINYNET, width=0.51, depth=0.6),
    "mobilenetv1_100": _MOBILENET_V1,
    "mobilenetv1_100h": replace(_MOBILENET_V1, head_size=1024),
    "mobilenetv1_125": replace(_MOBILENET_V1, width=1.25),
    "mobilenetv2_035": replace(_MOBILENET_V2, width=0.35),
    "mobilenetv2_050": replace(_MOBILENET_V2, width=0.5),
    "mobilenetv2_075": replace(_MOBILENET_V2, width=0.75),
    "mobilenetv2_100": _MOBILENET_V2,
    "mobilenetv2_140": replace(_MOBILENET_V2, width=1.4, head_size=1792),
    "mobilenetv2_110d": replace(_MOBILENET_V2_DEEP, width=1.1, depth=1.2),
    "mobilenetv2_120d": replace(_MOBILENET_V2_DEEP, width=1.2, depth=1.4),
    "mobilenet_edgetpu_100": _EDGETPU_V1,
    "mobilenet_edgetpu_v2_xs": _EDGETPU_V2_XS,
    "mobilenet_edgetpu_v2_s": _EDGETPU_V2_S,
    "mobilenet_edgetpu_v2_m": replace(
        _EDGETPU_V2_S, stages=_edgetpu_v2((32, 64, 80, 160, 192, 240, 320)), head_size=1344
    ),
    "mobilenet_edgetpu_v2_l": replace(
        _EDGETPU_V2_S,
        stages=_edgetpu_v2((32, 64, 96, 192, 240, 256, 384), group_size=128),
        stem_kernel=7,
        head_size=1408,
    ),
    "mnasnet_050": replace(_MNASNET_B1, width=0.5),
    "mnasnet_075": replace(_MNASNET_B1, width=0.75),
    "mnasnet_100": _MNASNET_B1,
    "mnasnet_140": replace(_MNASNET_B1, width=1.4),
    "semnasnet_050": replace(_MNASNET_A1, width=0.5),
    "semnasnet_075": replace(_MNASNET_A1, width=0.75),
    "semnasnet_100": _MNASNET_A1,
    "semnasnet_140": replace(_MNASNET_A1, width=1.4),
    "mnasnet_small": _MNASNET_SMALL,
    "spnasnet_100": _SPNASNET,
    "fbnetc_100": _FBNET_C,
    **_both("mixnet_s", _MIXNET_S),
    **_both("mixnet_m", _MIXNET_M),
    **_both("mixnet_l", replace(_MIXNET_M, width=1.3)),
    "mixnet_xl": replace(_MIXNET_M, width=1.6, depth=1.2),
    "mixnet_xxl": replace(_MIXNET_M, width=2.4, depth=1.3),
    "test_efficientnet": _TEST,
    "test_efficientnet_gn": replace(_TEST, norm="group"),
    "test_efficientnet_ln": replace(_TEST, norm="layer"),
    "test_efficientnet_evos": replace(_TEST, norm="evo"),
}

FAMILY = Family("efficientnet", VARIANTS, EfficientNet)
