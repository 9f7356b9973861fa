"""ResNet (He et al. 2016, arXiv:1512.03385) and its family under timm's names.

The stride is in the 3x3 convolution of a bottleneck (v1.5), as in torchvision. The letters are those of He et al. 2019
(arXiv:1812.01187): ``c`` has three 3x3 convolutions for a stem, ``d`` average pooling in the shortcut as well, ``s``
a wider stem, ``t`` a tiered one. ResNeXt (Xie et al. 2017) groups the 3x3 convolution, Wide ResNet (Zagoruyko and
Komodakis 2016) widens it, SE-ResNet (Hu et al. 2018) and ECA-ResNet (Wang et al. 2020) gate each branch, ResNet-RS
(Bello et al. 2021) does that and strides in the stem. ``aa`` and ``blur`` pool in place of strides (Zhang 2019).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Unpack

from flax import nnx
from jaxtyping import Array, Float

from jaxvision.models.family import Family, check_choices
from jaxvision.models.feature_info import FeatureLevel
from jaxvision.models.head import run_classifier
from jaxvision.models.image_model import ImageModel
from jaxvision.models.resnet_pruned import ECARESNET50D_PRUNED, ECARESNET101D_PRUNED, StageWidths
from jaxvision.nn.activations import activation
from jaxvision.nn.blur import BlurPool2d
from jaxvision.nn.conv import Conv2d
from jaxvision.nn.drop import Dropout, DropPath, Rngs, name_sites, site_keys
from jaxvision.nn.eca import EfficientChannelAttention
from jaxvision.nn.group_norm import GroupNorm
from jaxvision.nn.init import draw_torch_bias, kaiming_fan_out, torch_linear
from jaxvision.nn.layer_args import LayerArgs
from jaxvision.nn.linear import Linear
from jaxvision.nn.norm import BatchNorm
from jaxvision.nn.pool import avg_pool, max_pool, shrink
from jaxvision.nn.squeeze_excite import SqueezeExcite
from jaxvision.nn.stack import Stack
from jaxvision.nn.width import make_divisible

Norm = BatchNorm | GroupNorm


@dataclass(frozen=True)
class ResNetConfig:
    """One row of the table below; the fields are the options of timm's ``ResNet``.

    Attributes:
        block: ``"basic"`` (two 3x3 convolutions) or ``"bottleneck"`` (1x1, 3x3, 1x1, four times as wide outside); or
            one for each stage.
        layers: blocks per stage.
        cardinality: groups of the 3x3 convolution.
        base_width: width of a group in the first stage, of 64.
        stem: ``"7x7"``, ``"deep"`` or ``"deep_tiered"`` (widths 3/4, 1 and 2 of ``stem_width``).
        stem_width: channels of the stem; a deep stem ends with twice as many.
        stem_pool: ``"max"``, or ``"conv"`` for a strided 3x3 convolution in its place.
        avg_down: average pooling and a 1x1 convolution in the shortcut, in place of a strided convolution.
        down_kernel_size: kernel of that strided convolution.
        reduce_first: divides the width of each block's first convolution.
        widths: channels left by pruning, see `jaxvision.models.resnet_pruned`; None for those that ``channels`` makes.
        norm: ``"batch"``, or ``"group"`` (Wu and He 2018).
        attn: the gate at the end of each branch: ``"se"`` (squeeze-excite), ``"eca"`` or None.
        se_ratio: width of squeeze-excite's middle as a share of the block's.
        anti_alias: what takes the place of strides: ``"avg"`` pooling, ``"blur"`` pooling or None.
        output_stride: 32, 16 or 8: the last stages dilate instead of striding.
        drop_rate: dropout before the classifier.
        drop_path_rate: stochastic depth of the last block; it grows linearly from 0.
        remat: see `jaxvision.nn.Stack`, as for ``scan``.
    """

    block: str | tuple[str, ...] = "bottleneck"
    layers: tuple[int, ...] = (3, 4, 6, 3)
    channels: tuple[int, ...] = (64, 128, 256, 512)
    in_chans: int = 3
    num_classes: int = 1000
    global_pool: str = "avg"
    cardinality: int = 1
    base_width: int = 64
    stem: str = "7x7"
    stem_width: int = 64
    stem_pool: str = "max"
    avg_down: bool = False
    down_kernel_size: int = 1
    reduce_first: int = 1
    widths: tuple[StageWidths, ...] | None = None
    norm: str = "batch"
    attn: str | None = None
    se_ratio: float = 1 / 16
    anti_alias: str | None = None
    output_stride: int = 32
    act: str = "relu"
    drop_rate: float = 0.0
    drop_path_rate: float = 0.0
    remat: str | None = None
    scan: bool = False

    def __post_init__(self) -> None:
        if len(self.layers) != len(self.channels):
            raise ValueError(f"layers {self.layers} and channels {self.channels} must have one entry per stage")
        if len(self.blocks) != len(self.layers) or not set(self.blocks) <= set(_BLOCKS):
            raise ValueError(f"block must be one of {sorted(_BLOCKS)}, or one for each stage, got {self.block!r}")
        check_choices(
            ("stem", self.stem, ("7x7", "deep", "deep_tiered")),
            ("stem_pool", self.stem_pool, ("max", "conv")),
            ("norm", self.norm, tuple(_NORMS)),
            ("attn", self.attn, ("se", "eca", None)),
            ("anti_alias", self.anti_alias, ("avg", "blur", None)),
            ("output_stride", self.output_stride, (8, 16, 32)),
        )
        if "basic" in self.blocks and (self.cardinality != 1 or self.base_width != 64):
            raise ValueError("cardinality and base_width are for bottleneck blocks")
        if self.widths is not None:
            depths = tuple(len(blocks) for _, blocks in self.widths)
            if "basic" in self.blocks or depths != self.layers:
                raise ValueError(f"widths are of bottleneck blocks, {depths} per stage, but layers are {self.layers}")

    @property
    def blocks(self) -> tuple[str, ...]:
        """The kind of block of each stage."""
        return len(self.layers) * (self.block,) if isinstance(self.block, str) else self.block

    def block_widths(self, stage: int, index: int) -> tuple[int, int, int]:
        """Channels after the first convolution, inside and at the end of a block."""
        if self.widths is not None:
            out_features, blocks = self.widths[stage]
            return (*blocks[index], out_features)
        features = self.channels[stage]
        width = features * self.base_width // 64 * self.cardinality
        return width // self.reduce_first, width, features * _BLOCKS[self.blocks[stage]].expansion


class Downsample(nnx.List):
    """The shortcut where a block changes its input's shape: a projection, numbered as in timm's ``Sequential``."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        stride: int,
        dilation: int = 1,
        first_dilation: int = 1,
        kernel_size: int = 1,
        avg_down: bool = False,
        norm: type[Norm] = BatchNorm,
        **layer: Unpack[LayerArgs],
    ):
        conv = partial(Conv2d, in_features, out_features, use_bias=False, kernel_init=kaiming_fan_out, **layer)
        if avg_down:
            pool = partial(shrink, stride=stride, dilation=dilation)
            super().__init__([pool, conv(1), norm(out_features, **layer)])
            return
        kernel_size = 1 if stride == 1 and dilation == 1 else kernel_size
        first_dilation = first_dilation if kernel_size > 1 else 1
        padding = (stride - 1 + first_dilation * (kernel_size - 1)) // 2
        projection = conv(kernel_size, stride=stride, padding=padding, dilation=first_dilation)
        super().__init__([projection, norm(out_features, **layer)])

    def __call__(self, x: Float[Array, "b h w c"], train: bool = False) -> Float[Array, "b h w c"]:
        """Projects the shortcut."""
        return _run(self, x, train)


class _Block(nnx.Module):
    """What both blocks share: a residual branch, gated or dropped or neither, and a shortcut, projected or not."""

    expansion: int

    def __init__(
        self,
        features: int,
        out_features: int,
        shortcut: Downsample | None,
        config: ResNetConfig,
        drop_path: float,
        **layer: Unpack[LayerArgs],
    ):
        self.act = activation(config.act)
        self.se = _gate(config, features * self.expansion, out_features, **layer)
        self.downsample = shortcut
        self.drop_path = DropPath(drop_path)

    def branch(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w c"]:
        """The convolutions."""
        raise TypeError(f"{type(self).__name__} defines no residual branch")

    def __call__(self, x: Float[Array, "b h w c"], train: bool = False, rngs: Rngs = None) -> Float[Array, "b h w c"]:
        """Adds the branch to the shortcut."""
        branch = self.branch(x, train)
        if self.se is not None:
            branch = self.se(branch)
        shortcut = x if self.downsample is None else self.downsample(x, train)
        if branch.shape != shortcut.shape:  # averaging leaves out the last pixel of an odd side
            raise ValueError(
                f"anti_alias='avg' halves maps of even height and width, got {x.shape[1]}x{x.shape[2]}: "
                "make the image's height and width multiples of the model's largest stride, 32 with output_stride=32"
            )
        return self.act(shortcut + self.drop_path(branch, rngs))


class BasicBlock(_Block):
    """Two 3x3 convolutions (He et al. 2016, figure 5, left)."""

    expansion = 1

    def __init__(
        self,
        in_features: int,
        features: int,
        widths: tuple[int, int, int],
        config: ResNetConfig,
        *,
        stride: int = 1,
        dilation: int = 1,
        first_dilation: int = 1,
        shortcut: Downsample | None = None,
        drop_path: float = 0.0,
        **layer: Unpack[LayerArgs],
    ):
        first, _, out_features = widths
        super().__init__(features, out_features, shortcut, config, drop_path, **layer)
        conv = partial(Conv2d, use_bias=False, kernel_init=kaiming_fan_out, **layer)
        norm = partial(_NORMS[config.norm], **layer)
        conv_stride, self.aa = _anti_aliased(config, first, stride, first_dilation != dilation)
        self.conv1 = conv(in_features, first, 3, stride=conv_stride, padding=first_dilation, dilation=first_dilation)
        self.bn1 = norm(first)
        self.conv2 = conv(first, out_features, 3, padding=dilation, dilation=dilation)
        self.bn2 = norm(out_features, zero_scale=True)

    def branch(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w c"]:
        """3x3, 3x3."""
        x = self.aa(self.act(self.bn1(self.conv1(x), train)))
        return self.bn2(self.conv2(x), train)


class Bottleneck(_Block):
    """1x1, 3x3 and 1x1 convolutions (He et al. 2016, figure 5, right)."""

    expansion = 4

    def __init__(
        self,
        in_features: int,
        features: int,
        widths: tuple[int, int, int],
        config: ResNetConfig,
        *,
        stride: int = 1,
        dilation: int = 1,
        first_dilation: int = 1,
        shortcut: Downsample | None = None,
        drop_path: float = 0.0,
        **layer: Unpack[LayerArgs],
    ):
        first, width, out_features = widths
        super().__init__(features, out_features, shortcut, config, drop_path, **layer)
        conv = partial(Conv2d, use_bias=False, kernel_init=kaiming_fan_out, **layer)
        norm = partial(_NORMS[config.norm], **layer)
        conv_stride, self.aa = _anti_aliased(config, width, stride, first_dilation != dilation)
        self.conv1 = conv(in_features, first, 1)
        self.bn1 = norm(first)
        self.conv2 = conv(
            first,
            width,
            3,
            stride=conv_stride,
            padding=first_dilation,
            dilation=first_dilation,
            groups=config.cardinality,
        )
        self.bn2 = norm(width)
        self.conv3 = conv(width, out_features, 1)
        self.bn3 = norm(out_features, zero_scale=True)

    def branch(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w c"]:
        """1x1, 3x3, 1x1."""
        x = self.act(self.bn1(self.conv1(x), train))
        x = self.aa(self.act(self.bn2(self.conv2(x), train)))
        return self.bn3(self.conv3(x), train)


_BLOCKS: dict[str, type[BasicBlock] | type[Bottleneck]] = {"basic": BasicBlock, "bottleneck": Bottleneck}
_NORMS: dict[str, type[Norm]] = {"batch": BatchNorm, "group": GroupNorm}


class ResNet(ImageModel):
    """ResNet."""

    heads = ("fc",)

    def __init__(self, config: ResNetConfig, **layer: Unpack[LayerArgs]):
        c = self.config = config
        self.act = activation(c.act)
        stem_features = 64 if c.stem == "7x7" else 2 * c.stem_width
        self.conv1 = _stem(c, stem_features, **layer)
        self.input_conv = "conv1" if c.stem == "7x7" else "conv1.0"
        self.bn1 = _NORMS[c.norm](stem_features, **layer)
        self.maxpool = _stem_pool(c, stem_features, **layer)
        features = stem_features
        stride_so_far, dilation, done = 4, 1, 0
        for stage, (width, depth) in enumerate(zip(c.channels, c.layers, strict=True)):
            stride, first_dilation = 1 if stage == 0 else 2, dilation
            if stride_so_far >= c.output_stride:
                stride, dilation = 1, dilation * stride
            stride_so_far *= stride
            blocks = []
            for index in range(depth):
                widths = c.block_widths(stage, index)
                out_features = widths[-1]
                first = index == 0
                shortcut = None
                if first and (stride != 1 or features != out_features):
                    shortcut = Downsample(
                        features,
                        out_features,
                        stride=stride,
                        dilation=dilation,
                        first_dilation=first_dilation,
                        kernel_size=c.down_kernel_size,
                        avg_down=c.avg_down,
                        norm=_NORMS[c.norm],
                        **layer,
                    )
                blocks.append(
                    _BLOCKS[c.blocks[stage]](
                        features,
                        width,
                        widths,
                        c,
                        stride=stride if first else 1,
                        dilation=dilation,
                        first_dilation=first_dilation if first else dilation,
                        shortcut=shortcut,
                        drop_path=c.drop_path_rate * done / max(sum(c.layers) - 1, 1),
                        **layer,
                    )
                )
                features, done = out_features, done + 1
            setattr(self, f"layer{stage + 1}", Stack(blocks, remat=c.remat, scan=c.scan))
        self.num_features = features
        self.head_drop = Dropout(c.drop_rate)
        self.fc = self.make_classifier(c.num_classes, **layer)
        name_sites(self)

    @property
    def block_paths(self) -> tuple[tuple[str, ...], ...]:
        """Paths of the blocks, stage by stage."""
        return tuple(tuple(f"{name}.{index}" for index in range(len(blocks))) for name, blocks in self._stages())

    def feature_levels(self) -> tuple[FeatureLevel, ...]:
        """Every feature map that the network makes."""
        c, reduction = self.config, 4
        levels = [FeatureLevel("act1", self.bn1.scale.shape[0], 2)]
        for stage, (name, _) in enumerate(self._stages()):
            levels.append(FeatureLevel(name, c.block_widths(stage, 0)[-1], reduction))
            reduction = min(2 * reduction, c.output_stride)
        return tuple(levels)

    def feature_maps(
        self, images: Float[Array, "b h w c"], train: bool = False, rngs: Rngs = None
    ) -> Iterator[tuple[str, Float[Array, "b H W d"]]]:
        """What the stem, before its pooling, and the stages give, one after the other."""
        keys = site_keys(rngs)
        x = self.conv1(images, train) if isinstance(self.conv1, _Layers) else self.conv1(images)
        x = self.act(self.bn1(x, train))
        yield "act1", x
        x = self.maxpool(x, train) if isinstance(self.maxpool, _Layers) else self.maxpool(x)
        for name, blocks in self._stages():
            x = blocks(x, train=train, rngs=keys)
            yield name, x

    def keep_levels(self, count: int) -> None:
        """Removes all that the first ``count`` feature maps do not need."""
        self.reset_classifier(0)
        removed = tuple(name for name, _ in self._stages()[count - 1 :])
        for name in removed:
            setattr(self, name, None)
        self.left_out, self.num_features = removed, self.feature_levels()[-1].num_chs

    def make_classifier(self, num_classes: int, **layer: Unpack[LayerArgs]) -> Linear | None:
        """A linear layer, initialised as PyTorch's; None for 0 classes."""
        width = self.head_hidden_size
        if not num_classes:
            return None
        classifier = Linear(width, num_classes, kernel_init=torch_linear, **layer)
        draw_torch_bias(classifier, layer["rngs"])
        return classifier

    def classify(
        self, pooled: Float[Array, "b d"], train: bool = False, rngs: Rngs = None
    ) -> Float[Array, "b classes"]:
        """Logits of pooled features."""
        keys = site_keys(rngs)
        return run_classifier(self.fc, self.head_drop(pooled, keys), train, keys)

    def _stages(self) -> list[tuple[str, Stack]]:
        """The stages by name: those that are there, of a network that was cut down."""
        names = [f"layer{stage}" for stage in range(1, len(self.config.layers) + 1)]
        return [(name, getattr(self, name)) for name in names if getattr(self, name) is not None]


class _Layers(nnx.List):
    """Layers numbered as in timm's ``Sequential``, activations and pooling included."""

    def __call__(self, x: Float[Array, "b h w c"], train: bool = False) -> Float[Array, "b h w c"]:
        return _run(self, x, train)


def _run(layers: nnx.List, x: Array, train: bool) -> Array:
    for layer in layers:
        x = layer(x, train) if isinstance(layer, Norm) else layer(x)
    return x


def _stem(c: ResNetConfig, out_features: int, **layer: Unpack[LayerArgs]) -> Conv2d | _Layers:
    conv = partial(Conv2d, use_bias=False, kernel_init=kaiming_fan_out, **layer)
    if c.stem == "7x7":
        return conv(c.in_chans, out_features, 7, stride=2, padding=3)
    first = 3 * (c.stem_width // 4) if c.stem == "deep_tiered" else c.stem_width
    act, norm = activation(c.act), partial(_NORMS[c.norm], **layer)
    return _Layers(
        [
            conv(c.in_chans, first, 3, stride=2, padding=1),
            norm(first),
            act,
            conv(first, c.stem_width, 3, padding=1),
            norm(c.stem_width),
            act,
            conv(c.stem_width, out_features, 3, padding=1),
        ]
    )


def _stem_pool(c: ResNetConfig, features: int, **layer: Unpack[LayerArgs]) -> Any:
    stride, pool = _anti_aliased(c, features, 2)
    if c.stem_pool == "conv":
        conv = Conv2d(
            features, features, 3, stride=stride, padding=1, use_bias=False, kernel_init=kaiming_fan_out, **layer
        )
        norm, act = _NORMS[c.norm](features, **layer), activation(c.act)
        return _Layers([conv, pool, norm, act] if c.anti_alias else [conv, norm, act])
    if c.anti_alias == "avg":  # alone, without the maximum
        return pool
    maximum = partial(max_pool, window=3, stride=stride, padding=1)
    return _Layers([maximum, pool]) if c.anti_alias else maximum


def _gate(
    c: ResNetConfig, nominal: int, features: int, **layer: Unpack[LayerArgs]
) -> SqueezeExcite | EfficientChannelAttention | None:
    if c.attn == "se":
        gate = SqueezeExcite(features, make_divisible(features * c.se_ratio, 8, keep=0.0), **layer)
        for name in gate.names:
            draw_torch_bias(getattr(gate, name), layer["rngs"])
        return gate
    # Pruning takes channels away and leaves the attention's kernel as wide as it was.
    return EfficientChannelAttention(nominal, **layer) if c.attn == "eca" else None


def _anti_aliased(
    c: ResNetConfig, features: int, stride: int, dilating: bool = False
) -> tuple[int, Callable[[Array], Array]]:
    """The stride left to a convolution and the pooling after it, which also is where dilation replaces a stride."""
    if c.anti_alias is None or not (stride > 1 or dilating):
        return stride, _same
    if c.anti_alias == "blur":
        return 1, BlurPool2d(features, stride=stride)
    return 1, partial(avg_pool, window=stride, stride=stride)


def _same(x: Array) -> Array:
    return x


def _bottleneck(*layers: int, **options: Any) -> ResNetConfig:
    return ResNetConfig(layers=layers, **options)


def _basic(*layers: int, **options: Any) -> ResNetConfig:
    return ResNetConfig(block="basic", layers=layers, **options)


_18, _34 = _basic(2, 2, 2, 2), _basic(3, 4, 6, 3)
_26, _50, _101 = _bottleneck(2, 2, 2, 2), _bottleneck(3, 4, 6, 3), _bottleneck(3, 4, 23, 3)
_152, _200, _269 = _bottleneck(3, 8, 36, 3), _bottleneck(3, 24, 36, 3), _bottleneck(3, 30, 48, 8)

_C: dict[str, Any] = {"stem": "deep", "stem_width": 32}
_D: dict[str, Any] = {**_C, "avg_down": True}
_S: dict[str, Any] = {"stem": "deep", "stem_width": 64}
_T: dict[str, Any] = {"stem": "deep_tiered", "stem_width": 32, "avg_down": True}
_SE: dict[str, Any] = {"attn": "se"}
_ECA: dict[str, Any] = {"attn": "eca"}
_AA: dict[str, Any] = {"anti_alias": "avg"}
_BLUR: dict[str, Any] = {"anti_alias": "blur"}
_RS: dict[str, Any] = {**_D, **_SE, "stem_pool": "conv", "se_ratio": 0.25}
_32X4D: dict[str, Any] = {"cardinality": 32, "base_width": 4}
_32X8D: dict[str, Any] = {"cardinality": 32, "base_width": 8}
_64X4D: dict[str, Any] = {"cardinality": 64, "base_width": 4}

VARIANTS: dict[str, ResNetConfig] = {
    "resnet10t": _basic(1, 1, 1, 1, **_T),
    "resnet14t": _bottleneck(1, 1, 1, 1, **_T),
    "resnet18": _18,
    "resnet18d": replace(_18, **_D),
    "resnet26": _26,
    "resnet26d": replace(_26, **_D),
    "resnet26t": replace(_26, **_T),
    "resnet34": _34,
    "resnet34d": replace(_34, **_D),
    "resnet50": _50,
    "resnet50_gn": replace(_50, norm="group"),
    "resnet50c": replace(_50, **_C),
    "resnet50d": replace(_50, **_D),
    "resnet50s": replace(_50, **_S),
    "resnet50t": replace(_50, **_T),
    "resnet101": _101,
    "resnet101c": replace(_101, **_C),
    "resnet101d": replace(_101, **_D),
    "resnet101s": replace(_101, **_S),
    "resnet152": _152,
    "resnet152c": replace(_152, **_C),
    "resnet152d": replace(_152, **_D),
    "resnet152s": replace(_152, **_S),
    "resnet200": _200,
    "resnet200d": replace(_200, **_D),
    "wide_resnet50_2": replace(_50, base_width=128),
    "wide_resnet101_2": replace(_101, base_width=128),
    "resnext50_32x4d": replace(_50, **_32X4D),
    "resnext50d_32x4d": replace(_50, **_32X4D, **_D),
    "resnext101_32x4d": replace(_101, **_32X4D),
    "resnext101_32x8d": replace(_101, **_32X8D),
    "resnext101_32x16d": replace(_101, cardinality=32, base_width=16),
    "resnext101_32x32d": replace(_101, cardinality=32, base_width=32),
    "resnext101_64x4d": replace(_101, **_64X4D),
    "resnetaa34d": replace(_34, **_AA, **_D),
    "resnetaa50": replace(_50, **_AA),
    "resnetaa50d": replace(_50, **_AA, **_D),
    "resnetaa101d": replace(_101, **_AA, **_D),
    "resnetblur18": replace(_18, **_BLUR),
    "resnetblur50": replace(_50, **_BLUR),
    "resnetblur50d": replace(_50, **_BLUR, **_D),
    "resnetblur101d": replace(_101, **_BLUR, **_D),
    "ecaresnet26t": replace(_26, **_ECA, **_T),
    "ecaresnet50d": replace(_50, **_ECA, **_D),
    "ecaresnet50d_pruned": replace(_50, **_ECA, **_D, widths=ECARESNET50D_PRUNED),
    "ecaresnet50t": replace(_50, **_ECA, **_T),
    "ecaresnet101d": replace(_101, **_ECA, **_D),
    "ecaresnet101d_pruned": replace(_101, **_ECA, **_D, widths=ECARESNET101D_PRUNED),
    "ecaresnet200d": replace(_200, **_ECA, **_D),
    "ecaresnet269d": replace(_269, **_ECA, **_D),
    "ecaresnetlight": _bottleneck(1, 1, 11, 3, **_ECA, avg_down=True),
    "ecaresnext26t_32x4d": replace(_26, **_ECA, **_32X4D, **_T),
    "ecaresnext50t_32x4d": replace(_50, **_ECA, **_32X4D, **_T),
    "seresnet18": replace(_18, **_SE),
    "seresnet34": replace(_34, **_SE),
    "seresnet50": replace(_50, **_SE),
    "seresnet50t": replace(_50, **_SE, **_T),
    "seresnet101": replace(_101, **_SE),
    "seresnet152": replace(_152, **_SE),
    "seresnet152d": replace(_152, **_SE, **_D),
    "seresnet200d": replace(_200, **_SE, **_D),
    "seresnet269d": replace(_269, **_SE, **_D),
    "seresnetaa50d": replace(_50, **_SE, **_AA, **_D),
    "seresnext26d_32x4d": replace(_26, **_SE, **_32X4D, **_D),
    "seresnext26t_32x4d": replace(_26, **_SE, **_32X4D, **_T),
    "seresnext50_32x4d": replace(_50, **_SE, **_32X4D),
    "seresnext101_32x4d": replace(_101, **_SE, **_32X4D),
    "seresnext101_32x8d": replace(_101, **_SE, **_32X8D),
    "seresnext101d_32x8d": replace(_101, **_SE, **_32X8D, **_D),
    "seresnext101_64x4d": replace(_101, **_SE, **_64X4D),
    "seresnextaa101d_32x8d": replace(_101, **_SE, **_32X8D, **_AA, **_D),
    "seresnextaa201d_32x8d": _bottleneck(3, 24, 36, 4, **_SE, **_32X8D, **_AA, **_S, avg_down=True),
    "senet154": replace(_152, **_SE, **_64X4D, stem="deep", down_kernel_size=3, reduce_first=2),
    "resnetrs50": replace(_50, **_RS),
    "resnetrs101": replace(_101, **_RS),
    "resnetrs152": replace(_152, **_RS),
    "resnetrs200": replace(_200, **_RS),
    "resnetrs270": _bottleneck(4, 29, 53, 4, **_RS),
    "resnetrs350": _bottleneck(4, 36, 72, 4, **_RS),
    "resnetrs420": _bottleneck(4, 44, 87, 4, **_RS),
    "test_resnet": ResNetConfig(
        block=("basic", "basic", "bottleneck", "basic"),
        layers=(1, 1, 1, 1),
        channels=(32, 48, 48, 96),
        stem="deep",
        stem_width=16,
        avg_down=True,
    ),
}

FAMILY = Family("resnet", VARIANTS, ResNet)
