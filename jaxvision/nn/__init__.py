"""The layers that the families are made of, for use in one's own models; no layer knows a family."""

from jaxvision.nn.activations import activation
from jaxvision.nn.attention import Attention, attend
from jaxvision.nn.conv import Conv2d, conv2d
from jaxvision.nn.drop import Dropout, DropPath, Rngs, SiteKeys, name_sites, site_keys
from jaxvision.nn.layer_args import LayerArgs
from jaxvision.nn.mlp import GluMlp, Mlp
from jaxvision.nn.norm import BatchNorm, LayerNorm
from jaxvision.nn.patch import PatchEmbed, PatchMerging
from jaxvision.nn.pool import AttentionPoolLatent, avg_pool, global_pool, max_pool
from jaxvision.nn.position import resize_pos_embed, resize_relative_position_bias
from jaxvision.nn.scale import LayerScale
from jaxvision.nn.squeeze_excite import SqueezeExcite
from jaxvision.nn.stack import Stack

__all__ = [
    "Attention",
    "AttentionPoolLatent",
    "BatchNorm",
    "Conv2d",
    "DropPath",
    "Dropout",
    "GluMlp",
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
]
