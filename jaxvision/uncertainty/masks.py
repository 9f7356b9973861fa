"""The masks: what is dropped together, and from which key.

Dropped values are 0 and the others divided by the share that is kept, so that the mean over masks is the value itself.

* ``element``: each number by itself (Srivastava et al. 2014);
* ``channel``: all positions of a channel (Tompson et al. 2015);
* ``token``: all channels of a token, or of a pixel of a map; class and register tokens are kept;
* ``head``: an attention head's output, which is the same as its weights;
* ``depth``: the whole tensor of an example, meant for a residual branch (Huang et al. 2016);
* ``connect``: each weight of the kernel (Wan et al. 2013), one mask for all examples of a pass;
* ``gaussian``: multiplies by N(1, p / (1 - p)), with the moments of ``element`` (Srivastava et al. 2014, section 10).

A mask is a uniform (or normal) draw compared with the rate, so that masks of one key are nested in the rate: random
numbers are common to all rates, and the validation loss is a smooth function of the rate. An example's mask depends on
the pass's key, the site's path, which call of a shared module it is, and the example's row number: not on the batch it
is in, nor on which other sites are on.
"""

from math import prod

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxvision.paths import path_hash
from jaxvision.uncertainty.plan import SiteSpec


def mask_shape(spec: SiteSpec, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of one example's mask for a tensor of shape ``(b, ...)``, without the batch axis.

    Raises:
        ValueError: the tensor has too few axes, or its channels cannot be divided into heads.
    """
    inner = shape[1:]
    needed = {"channel": 1, "token": 2, "head": 2}.get(spec.mask, 0)
    if len(inner) < needed:
        raise ValueError(f"a {spec.mask} mask needs {needed + 1} axes at least, but {spec.path!r} has shape {shape}")
    if spec.mask in ("element", "gaussian"):
        return inner
    if spec.mask == "channel":
        return (1,) * (len(inner) - 1) + inner[-1:]
    if spec.mask == "token":
        if inner[0] <= spec.prefix_tokens:
            raise ValueError(f"{spec.path!r} has {inner[0]} tokens, of which {spec.prefix_tokens} are to be kept")
        return (*inner[:-1], 1)
    if spec.mask == "head" and spec.num_heads == 0:
        return (1,) * (len(inner) - 2) + (inner[-2], 1)
    if spec.mask == "head":
        if inner[-1] % spec.num_heads:
            raise ValueError(f"{inner[-1]} channels of {spec.path!r} are not divisible by {spec.num_heads} heads")
        return (1,) * (len(inner) - 1) + (spec.num_heads,)
    return (1,) * len(inner)


def site_key(key: jax.Array, path: str, call: int) -> jax.Array:
    """The key of one call of one site in one pass."""
    return jax.random.fold_in(key, path_hash(f"{path}#{call}" if call else path))


def draw_mask(
    spec: SiteSpec,
    shape: tuple[int, ...],
    rate: Float[Array, ""],
    key: jax.Array,
    rows: Int[Array, " n"],
) -> Float[Array, "b ..."]:
    """The mask of a tensor of a shape ``(b, ...)``; its first axis is 1 if it is shared.

    Args:
        spec: the site.
        shape: of the tensor.
        rate: may be traced.
        key: from `site_key`.
        rows: numbers of the examples. Where the tensor has a multiple of them on its first axis (windows folded into
            the batch, example by example), each example's mask covers its share.

    Raises:
        ValueError: the first axis is no multiple of the number of examples.
    """
    inner = mask_shape(spec, shape)
    if spec.shared:
        return _mask(spec, (1, *inner), rate, key)
    if shape[0] % len(rows):
        raise ValueError(
            f"{spec.path!r} has {shape[0]} rows for {len(rows)} examples, so that it is not known which is whose: "
            "inject with shared=True, or at another module"
        )
    folded = shape[0] // len(rows)
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, rows)
    mask = jax.vmap(lambda row: _mask(spec, (folded, *inner), rate, row))(keys)
    return mask.reshape(shape[0], *inner)


def kernel_mask(shape: tuple[int, ...], rate: Float[Array, ""], key: jax.Array) -> Float[Array, "..."]:
    """The mask of a kernel."""
    return _dropped(shape, rate, key)


def apply_mask(spec: SiteSpec, x: Float[Array, "b ..."], mask: Float[Array, "b ..."]) -> Float[Array, "b ..."]:
    """``x`` times its mask."""
    if spec.mask == "head" and spec.num_heads:
        heads = x.reshape(*x.shape[:-1], spec.num_heads, -1)
        return (heads * mask[..., None].astype(x.dtype)).reshape(x.shape)
    return x * mask.astype(x.dtype)


def _mask(spec: SiteSpec, shape: tuple[int, ...], rate: Float[Array, ""], key: jax.Array) -> Float[Array, "..."]:
    if spec.mask == "gaussian":
        return 1 + jnp.sqrt(rate / (1 - rate)) * jax.random.normal(key, shape)
    mask = _dropped(shape, rate, key)
    if spec.mask == "token" and spec.prefix_tokens:
        mask = mask.at[:, : spec.prefix_tokens].set(1)
    return mask


def _dropped(shape: tuple[int, ...], rate: Float[Array, ""], key: jax.Array) -> Float[Array, "..."]:
    keep = 1 - jnp.asarray(rate, jnp.float32)
    return jnp.where(_uniform(key, shape) < keep, 1 / keep, 0)


def _uniform(key: jax.Array, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Uniform in [0, 1), steps of 2^-24.

    A threefry block has two words. `jax.random.uniform` makes one number of it, new keys have both, and dropping all
    elements of a ViT spends a quarter of its time on random numbers with the former.
    """
    count = prod(shape)
    words = jax.random.key_data(jax.random.split(key, -(-count // 2))).reshape(-1)[:count].reshape(shape)
    return (words >> 8).astype(jnp.float32) * 2.0**-24
