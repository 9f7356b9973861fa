"""The layers that the families are made of, for use in one's own models; no layer knows a family."""

from jaxvision.nn.activations import activation
from jaxvision.nn.attention import Attention, Heads, attend
from jaxvision.nn.blur import BlurPool2d
from jaxvision.nn.cond_conv import CondConv2d
from jaxvision.nn.conv import Conv2d, conv2d
from jaxvision.nn.diff_attention import DiffAttention, DiffHeads
from jaxvision.nn.drop import Dropout, DropPath, Rngs, SiteKeys, name_sites, site_keys
from jaxvision.nn.eca import EfficientChannelAttention
from jaxvision.nn.evo_norm import EvoNorm2dS0
from jaxvision.nn.filter_response_norm import FilterResponseNorm
from jaxvision.nn.global_context import GlobalContext
from jaxvision.nn.group_norm import GroupNorm
from jaxvision.nn.layer_args import LayerArgs
from jaxvision.nn.linear import Linear
from jaxvision.nn.mixed_conv import MixedConv2d
from jaxvision.nn.mlp import GluMlp, Mlp, SwiGLU
from jaxvision.nn.norm import BatchNorm, LayerNorm, LayerNorm2d
from jaxvision.nn.parallel_scaling import DiffParallelScalingBlock, ParallelScalingBlock
from jaxvision.nn.patch import PatchEmbed, PatchMerging, resample_patch_embed
from jaxvision.nn.patch_drop import PatchDropout
from jaxvision.nn.pool import AttentionPoolLatent, avg_pool, global_pool, max_pool
from jaxvision.nn.position import resize_pos_embed, resize_relative_position_bias
from jaxvision.nn.rms_norm import RMSNorm
from jaxvision.nn.scale import LayerScale
from jaxvision.nn.squeeze_excite import SqueezeExcite
from jaxvision.nn.stack import Stack
from jaxvision.nn.stack_layout import stack_blocks, unstack_blocks
from jaxvision.nn.std_conv import StdConv2d
from jaxvision.nn.transformer import Block, BlockParts, ParallelThingsBlock, ResPostBlock

__all__ = [
    "Attention",
    "AttentionPoolLatent",
    "BatchNorm",
    "Block",
    "BlockParts",
    "BlurPool2d",
    "CondConv2d",
    "Conv2d",
    "DiffAttention",
    "DiffHeads",
    "DiffParallelScalingBlock",
    "DropPath",
    "Dropout",
    "EfficientChannelAttention",
    "EvoNorm2dS0",
    "FilterResponseNorm",
    "GlobalContext",
    "GluMlp",
    "GroupNorm",
    "Heads",
    "LayerArgs",
    "LayerNorm",
    "LayerNorm2d",
    "LayerScale",
    "Linear",
    "MixedConv2d",
    "Mlp",
    "ParallelScalingBlock",
    "ParallelThingsBlock",
    "PatchDropout",
    "PatchEmbed",
    "PatchMerging",
    "RMSNorm",
    "ResPostBlock",
    "Rngs",
    "SiteKeys",
    "SqueezeExcite",
    "Stack",
    "StdConv2d",
    "SwiGLU",
    "activation",
    "attend",
    "avg_pool",
    "conv2d",
    "global_pool",
    "max_pool",
    "name_sites",
    "resample_patch_embed",
    "resize_pos_embed",
    "resize_relative_position_bias",
    "site_keys",
    "stack_blocks",
    "unstack_blocks",
]
