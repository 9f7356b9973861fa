"""The layers that the families are made of, for use in one's own models; no layer knows a family."""

from jaxvision.nn.activations import activation
from jaxvision.nn.attention import Attention, attend
from jaxvision.nn.blur import BlurPool2d
from jaxvision.nn.conv import Conv2d, conv2d
from jaxvision.nn.drop import Dropout, DropPath, Rngs, SiteKeys, name_sites, site_keys
from jaxvision.nn.eca import EfficientChannelAttention
from jaxvision.nn.evo_norm import EvoNorm2dS0
from jaxvision.nn.filter_response_norm import FilterResponseNorm
from jaxvision.nn.group_norm import GroupNorm
from jaxvision.nn.layer_args import LayerArgs
from jaxvision.nn.mlp import GluMlp, Mlp
from jaxvision.nn.norm import BatchNorm, LayerNorm
from jaxvision.nn.patch import PatchEmbed, PatchMerging
from jaxvision.nn.pool import AttentionPoolLatent, avg_pool, global_pool, max_pool
from jaxvision.nn.position import resize_pos_embed, resize_relative_position_bias
from jaxvision.nn.scale import LayerScale
from jaxvision.nn.squeeze_excite import SqueezeExcite
from jaxvision.nn.stack import Stack
from jaxvision.nn.stack_layout import stack_blocks, unstack_blocks
from jaxvision.nn.std_conv import StdConv2d

__all__ = [
    "Attention",
    "AttentionPoolLatent",
    "BatchNorm",
    "BlurPool2d",
    "Conv2d",
    "DropPath",
    "Dropout",
    "EfficientChannelAttention",
    "EvoNorm2dS0",
    "FilterResponseNorm",
    "GluMlp",
    "GroupNorm",
    "LayerArgs",
    "LayerNorm",
    "LayerScale",
    "Mlp",
    "PatchEmbed",
    "PatchMerging",
    "Rngs",
    "SiteKeys",
    "SqueezeExcite",
    "Stack",
    "StdConv2d",
    "activation",
    "attend",
    "avg_pool",
    "conv2d",
    "global_pool",
    "max_pool",
    "name_sites",
    "resize_pos_embed",
    "resize_relative_position_bias",
    "site_keys",
    "stack_blocks",
    "unstack_blocks",
]
