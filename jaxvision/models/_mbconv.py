"""The blocks of mobile networks: MBConv (Sandler et al. 2018, arXiv:1801.04381) and its relatives.

A block is described in numbers by a `BlockShape`; what its layers are made of, the same for all blocks of a network, by
`BlockLayers`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeAlias, Unpack

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxvision.nn.activations import Activation, activation
from jaxvision.nn.blur import BlurPool2d
from jaxvision.nn.cond_conv import CondConv2d
from jaxvision.nn.conv import Conv2d, Padding
from jaxvision.nn.drop import DropPath, Rngs
from jaxvision.nn.evo_norm import EvoNorm2dS0
from jaxvision.nn.global_context import GlobalContext
from jaxvision.nn.group_norm import GroupNorm
from jaxvision.nn.init import google_routing
from jaxvision.nn.layer_args import LayerArgs
from jaxvision.nn.linear import Linear
from jaxvision.nn.mixed_conv import MixedConv2d
from jaxvision.nn.norm import BatchNorm, LayerNorm2d
from jaxvision.nn.squeeze_excite import SqueezeExcite

KernelSize: TypeAlias = int | tuple[int, ...]
"""Side of a window; several for shares of the channels (`MixedConv2d`)."""

Layer: TypeAlias = Callable[..., Array]


class BlockShape(NamedTuple):
    """One block in numbers.

    Attributes:
        in_features: channels in.
        hidden: channels inside, of the spatial convolution.
        out_features: channels out.
        kernel_size: of the spatial convolution.
        stride: of the spatial convolution.
        dilation: of the spatial convolution.
        group_size: channels that the spatial convolution mixes; None for one in a depthwise convolution and all in a
            fused block's.
        expand_kernel: of the convolution to ``hidden`` channels.
        project_kernel: of the convolution to ``out_features`` channels.
        squeeze: channels in the middle of squeeze-excite; None for no squeeze-excite.
        experts: kernels of every convolution (`CondConv2d`); 0 for plain convolutions.
        act: the activation.
        skip: add the input where it has the output's shape.
        drop_path: rate of stochastic depth.
    """

    in_features: int
    hidden: int
    out_features: int
    kernel_size: KernelSize = 3
    stride: int = 1
    dilation: int = 1
    group_size: int | None = None
    expand_kernel: KernelSize = 1
    project_kernel: KernelSize = 1
    squeeze: int | None = None
    experts: int = 0
    act: str = "silu"
    skip: bool = True
    drop_path: float = 0.0

    @property
    def groups(self) -> int:
        """Groups of a spatial convolution of ``hidden`` channels that is depthwise unless ``group_size`` is given."""
        return self.hidden // (self.group_size or 1)


@dataclass(frozen=True)
class BlockLayers:
    """Makes the layers of a network's blocks.

    Attributes:
        padding: ``"symmetric"`` or ``"SAME"``.
        norm: ``"batch"``, ``"group"``, ``"layer"`` or ``"evo"`` (EvoNorm-S0, which takes the activation's place).
        norm_group_size: channels of a group, for the two norms that have groups.
        norm_eps: epsilon of every norm.
        aa_layer: ``"blurpc"`` to blur and subsample in place of strides (Zhang 2019), with zeros around the image.
        se_layer: ``"se"`` for squeeze-excite, ``"gc"`` for global context in its place.
    """

    padding: str = "symmetric"
    norm: str = "batch"
    norm_group_size: int = 8
    norm_eps: float = 1e-5
    aa_layer: str | None = None
    se_layer: str = "se"

    def __post_init__(self) -> None:
        for field, value, known in (
            ("padding", self.padding, ("symmetric", "SAME")),
            ("norm", self.norm, ("batch", "group", "layer", "evo")),
            ("aa_layer", self.aa_layer, ("blurpc", None)),
            ("se_layer", self.se_layer, ("se", "gc")),
        ):
            if value not in known:
                raise ValueError(f"{field} must be {' or '.join(map(repr, known))}, got {value!r}")

    def make_conv(
        self,
        in_features: int,
        out_features: int,
        kernel_size: KernelSize,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        experts: int = 0,
        **layer: Unpack[LayerArgs],
    ) -> Layer:
        """A convolution without bias; even kernels are padded as TensorFlow does in any network."""
        same = self.padding == "SAME"
        if isinstance(kernel_size, tuple):
            depthwise = groups == in_features
            if experts or (groups != 1 and not depthwise):
                raise ValueError(f"kernels {kernel_size} need a plain or depthwise convolution without experts")
            return MixedConv2d(
                in_features,
                out_features,
                kernel_size,
                stride=stride,
                dilation=dilation,
                same=same,
                depthwise=depthwise,
                **layer,
            )
        conv = (
            partial(CondConv2d, num_experts=experts, **layer) if experts else partial(Conv2d, use_bias=False, **layer)
        )
        padding: Padding = "SAME" if same or kernel_size % 2 == 0 else dilation * (kernel_size // 2)
        made: Layer = conv(
            in_features, out_features, kernel_size, stride=stride, padding=padding, dilation=dilation, groups=groups
        )
        return made

    def make_spatial(
        self,
        in_features: int,
        out_features: int,
        shape: BlockShape,
        *,
        groups: int = 1,
        experts: int = 0,
        **layer: Unpack[LayerArgs],
    ) -> Layer:
        """A block's spatial convolution; where `make_blur` makes something, that strides in its place."""
        return self.make_conv(
            in_features,
            out_features,
            shape.kernel_size,
            stride=1 if self.aa_layer else shape.stride,
            dilation=shape.dilation,
            groups=groups,
            experts=experts,
            **layer,
        )

    def make_norm(self, features: int, *, linear: bool = False, **layer: Unpack[LayerArgs]) -> Layer:
        """A norm ``norm(x, train)``; a ``linear`` one is not followed by an activation."""
        if self.norm == "evo":
            size = self.norm_group_size
            return EvoNorm2dS0(features, group_size=size, eps=self.norm_eps, apply_act=not linear, **layer)
        if self.norm == "group":
            return GroupNorm(features, group_size=self.norm_group_size, eps=self.norm_eps, **layer)
        return (LayerNorm2d if self.norm == "layer" else BatchNorm)(features, eps=self.norm_eps, **layer)

    def make_act(self, name: str) -> Activation:
        """The activation after a norm: none where the norm is one itself."""
        return activation("identity" if self.norm == "evo" else name)

    def make_blur(self, features: int, stride: int) -> BlurPool2d | None:
        """What strides after a convolution in its place."""
        return BlurPool2d(features, stride=stride, pad_mode="constant") if self.aa_layer and stride > 1 else None

    def make_squeeze(self, shape: BlockShape, **layer: Unpack[LayerArgs]) -> SqueezeExcite | GlobalContext | None:
        """Squeeze-excite, or what takes its place."""
        if shape.squeeze is None:
            return None
        if self.se_layer == "gc":
            return GlobalContext(shape.hidden, shape.squeeze, act=shape.act, **layer)
        names = ("conv_reduce", "conv_expand")
        return SqueezeExcite(shape.hidden, shape.squeeze, act=shape.act, names=names, **layer)


_PLAIN = BlockLayers()


class MobileBlock(nnx.Module):
    """What all blocks share: their convolutions, and a shortcut where input and output have the same shape."""

    def __init__(self, shape: BlockShape, make: BlockLayers):
        self.act = make.make_act(shape.act)
        self.has_skip = shape.skip and shape.stride == 1 and shape.in_features == shape.out_features
        self.drop_path = DropPath(shape.drop_path)

    def branch(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w c"]:
        """The convolutions."""
        raise TypeError(f"{type(self).__name__} defines no branch")

    def __call__(self, x: Float[Array, "b h w c"], train: bool = False, rngs: Rngs = None) -> Float[Array, "b h w c"]:
        """Runs the convolutions, and adds the input if it has the output's shape."""
        branch = self.branch(x, train)
        return x + self.drop_path(branch, rngs) if self.has_skip else branch


class ConvBnAct(MobileBlock):
    """A plain convolution: the first stage of EfficientNetV2."""

    def __init__(self, shape: BlockShape, make: BlockLayers = _PLAIN, **layer: Unpack[LayerArgs]):
        super().__init__(shape, make)
        self.aa = make.make_blur(shape.out_features, shape.stride)
        self.conv = make.make_spatial(shape.in_features, shape.out_features, shape, **layer)
        self.bn1 = make.make_norm(shape.out_features, **layer)

    def branch(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w c"]:
        """Convolution, norm, activation."""
        x = self.act(self.bn1(self.conv(x), train))
        return x if self.aa is None else self.aa(x)


class DepthwiseSeparable(MobileBlock):
    """MBConv without expansion: depthwise convolution, squeeze-excite, linear 1x1 convolution."""

    linear_end = True

    def __init__(self, shape: BlockShape, make: BlockLayers = _PLAIN, **layer: Unpack[LayerArgs]):
        super().__init__(shape, make)
        hidden = shape.hidden
        self.aa = make.make_blur(hidden, shape.stride)
        self.conv_dw = make.make_spatial(hidden, hidden, shape, groups=shape.groups, **layer)
        self.bn1 = make.make_norm(hidden, **layer)
        self.se = make.make_squeeze(shape, **layer)
        self.conv_pw = make.make_conv(hidden, shape.out_features, shape.project_kernel, **layer)
        self.bn2 = make.make_norm(shape.out_features, linear=self.linear_end, **layer)

    def branch(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w c"]:
        """Depthwise, squeeze-excite, linear 1x1."""
        x = self.act(self.bn1(self.conv_dw(x), train))
        x = x if self.aa is None else self.aa(x)
        x = x if self.se is None else self.se(x)
        return self.bn2(self.conv_pw(x), train)


class ActivatedSeparable(DepthwiseSeparable):
    """MobileNetV1's block (Howard et al. 2017): an activation after the 1x1 convolution, and no shortcut."""

    linear_end = False

    def __init__(self, shape: BlockShape, make: BlockLayers = _PLAIN, **layer: Unpack[LayerArgs]):
        super().__init__(shape._replace(skip=False), make, **layer)

    def branch(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w c"]:
        """Depthwise, 1x1."""
        return self.act(super().branch(x, train))


class PackedSeparable(DepthwiseSeparable):
    """A depthwise separable block after a 2x2 convolution of stride 2 to four times the channels.

    Space-to-depth as EfficientNet-X has it (Li et al. 2021, arXiv:2102.05610): the kernel of the depthwise
    convolution is half as wide, since the pixels are twice as large.
    """

    def __init__(self, shape: BlockShape, make: BlockLayers = _PLAIN, **layer: Unpack[LayerArgs]):
        packed, kernel_size = 4 * shape.in_features, shape.kernel_size
        if isinstance(kernel_size, tuple):
            raise ValueError(f"kernel_size is {kernel_size}, expected one size: packed pixels halve it")
        inner = shape._replace(hidden=packed, kernel_size=(kernel_size + 1) // 2, stride=1, skip=False)
        super().__init__(inner, make, **layer)
        self.conv_s2d = make.make_conv(shape.in_features, packed, 2, stride=2, **layer)
        self.bn_s2d = make.make_norm(packed, **layer)

    def branch(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w c"]:
        """Space to depth, then depthwise, squeeze-excite, linear 1x1."""
        return super().branch(self.act(self.bn_s2d(self.conv_s2d(x), train)), train)


class InvertedResidual(MobileBlock):
    """MBConv (Sandler et al. 2018): expansion, depthwise convolution, squeeze-excite, linear projection."""

    def __init__(self, shape: BlockShape, make: BlockLayers = _PLAIN, **layer: Unpack[LayerArgs]):
        super().__init__(shape, make)
        hidden, experts = shape.hidden, shape.experts
        conv = partial(make.make_conv, experts=experts, **layer)
        self.aa = make.make_blur(hidden, shape.stride)
        self.conv_pw = conv(shape.in_features, hidden, shape.expand_kernel)
        self.bn1 = make.make_norm(hidden, **layer)
        self.conv_dw = make.make_spatial(hidden, hidden, shape, groups=shape.groups, experts=experts, **layer)
        self.bn2 = make.make_norm(hidden, **layer)
        self.se = make.make_squeeze(shape, **layer)
        self.conv_pwl = conv(hidden, shape.out_features, shape.project_kernel)
        self.bn3 = make.make_norm(shape.out_features, linear=True, **layer)

    def branch(self, x: Float[Array, "b h w c"], train: bool, *routing: Array) -> Float[Array, "b h w c"]:
        """1x1, depthwise, squeeze-excite, linear 1x1; every convolution is given the ``routing``."""
        x = self.act(self.bn1(self.conv_pw(x, *routing), train))
        x = self.act(self.bn2(self.conv_dw(x, *routing), train))
        x = x if self.aa is None else self.aa(x)
        x = x if self.se is None else self.se(x)
        return self.bn3(self.conv_pwl(x, *routing), train)


class CondConvResidual(InvertedResidual):
    """MBConv of CondConvs (Yang et al. 2019), all three of one routing: sigmoids of a linear layer of the means."""

    def __init__(self, shape: BlockShape, make: BlockLayers = _PLAIN, **layer: Unpack[LayerArgs]):
        super().__init__(shape, make, **layer)
        self.routing_fn = Linear(shape.in_features, shape.experts, kernel_init=google_routing, **layer)

    def branch(self, x: Float[Array, "b h w c"], train: bool, *routing: Array) -> Float[Array, "b h w c"]:
        """What `InvertedResidual` does, with kernels mixed for each image."""
        means = jnp.mean(x, (1, 2), dtype=jnp.float32).astype(x.dtype)
        return super().branch(x, train, jax.nn.sigmoid(self.routing_fn(means)))


class EdgeResidual(MobileBlock):
    """Fused MBConv (Tan and Le 2021, figure 2): one full convolution for the expansion and the depthwise one."""

    def __init__(self, shape: BlockShape, make: BlockLayers = _PLAIN, **layer: Unpack[LayerArgs]):
        super().__init__(shape, make)
        hidden = shape.hidden
        self.aa = make.make_blur(hidden, shape.stride)
        groups = 1 if shape.group_size is None else shape.groups
        self.conv_exp = make.make_spatial(shape.in_features, hidden, shape, groups=groups, **layer)
        self.bn1 = make.make_norm(hidden, **layer)
        self.se = make.make_squeeze(shape, **layer)
        self.conv_pwl = make.make_conv(hidden, shape.out_features, shape.project_kernel, **layer)
        self.bn2 = make.make_norm(shape.out_features, linear=True, **layer)

    def branch(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w c"]:
        """Full convolution, squeeze-excite, linear 1x1."""
        x = self.act(self.bn1(self.conv_exp(x), train))
        x = x if self.aa is None else self.aa(x)
        x = x if self.se is None else self.se(x)
        return self.bn2(self.conv_pwl(x), train)
