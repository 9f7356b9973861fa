"""Dropout and DropPath whose rate may be traced and whose mask depends on where they stand, not on what ran before.

Flax's `nnx.Dropout` compares its rate with 0 in Python, so that a rate cannot be traced, and draws from a counter, so
that switching one dropout off changes the masks of all later ones. Here the key of a site is the pass's key with the
site's path folded in.
"""

from typing import TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, UInt32

from jaxvision.paths import named_modules, path_hash

Rate: TypeAlias = float | Float[Array, ""]
PathHash: TypeAlias = int | UInt32[Array, ""]


class SiteKeys:
    """The key of one forward pass, from which every random site derives its own.

    A model makes one from the ``rngs`` it is called with and hands it down in their place.
    """

    def __init__(self, key: jax.Array):
        self.key = key
        self._calls: dict[int, int] = {}
        self._unnamed = 0

    def at(self, site: PathHash | None) -> jax.Array:
        """The key of a site, from its path's hash; in a shared module's second call of a pass, another one."""
        if site is None:
            self._unnamed += 1
            return jax.random.fold_in(self.key, path_hash(f"unnamed.{self._unnamed}"))
        key = jax.random.fold_in(self.key, site)
        if isinstance(site, int):
            call = self._calls.get(site, 0)
            self._calls[site] = call + 1
            if call:
                key = jax.random.fold_in(key, call)
        return key


class PassRngs(nnx.Rngs):
    """The streams of one pass for modules of any library, with the keys of our sites: what `to_functional` passes."""

    def __init__(self, key: jax.Array):
        super().__init__(dropout=key)
        self.sites = SiteKeys(self.dropout())


Rngs: TypeAlias = nnx.Rngs | SiteKeys | None
"""What a call takes as ``rngs``: None for a deterministic pass."""


def site_keys(rngs: Rngs) -> SiteKeys | None:
    """One key for a whole pass, from the stream ``dropout`` (or ``default``) of ``rngs``; None stays None."""
    if isinstance(rngs, PassRngs):
        return rngs.sites
    return SiteKeys(rngs.dropout()) if isinstance(rngs, nnx.Rngs) else rngs


class DropSite(nnx.Module):
    """A random site: it knows its rate and the hash of its path."""

    def __init__(self, rate: Rate = 0.0):
        if isinstance(rate, int | float) and not 0 <= rate <= 1:
            raise ValueError(f"a dropout rate is a probability between 0 and 1, got {rate}")
        self.rate = rate
        self.path_hash: PathHash | None = None

    def active(self, rngs: Rngs) -> bool:
        """Whether a call with these ``rngs`` drops anything."""
        return rngs is not None and not (isinstance(self.rate, int | float) and self.rate == 0)

    def key(self, rngs: Rngs) -> jax.Array:
        """The key for one mask of this site."""
        if isinstance(rngs, nnx.Rngs) and not isinstance(rngs, PassRngs):
            return rngs.dropout()  # a layer used by itself: the stream's counter tells the sites apart
        keys = site_keys(rngs)
        if keys is None:
            raise ValueError("a mask was asked for without rngs")
        return keys.at(self.path_hash)


class Dropout(DropSite):
    """Dropout (Srivastava et al. 2014): each element is 0 with probability ``rate``, else divided by ``1 - rate``.

    Attributes:
        rate: a float, or a traced scalar. With the same key the masks of a smaller rate keep what those of a larger
            keep.
    """

    def __call__(self, x: Float[Array, "..."], rngs: Rngs = None) -> Float[Array, "..."]:
        """Drops if ``rngs`` is given; returns ``x`` otherwise."""
        return drop(x, self.rate, self.key(rngs), x.shape) if self.active(rngs) else x


class DropPath(DropSite):
    """Stochastic depth (Huang et al. 2016): the whole residual branch of an example is 0 with probability ``rate``."""

    def __call__(self, x: Float[Array, "b ..."], rngs: Rngs = None) -> Float[Array, "b ..."]:
        """Drops if ``rngs`` is given; returns ``x`` otherwise."""
        return drop(x, self.rate, self.key(rngs), (x.shape[0],) + (1,) * (x.ndim - 1)) if self.active(rngs) else x


def drop(x: Float[Array, "..."], rate: Rate, key: jax.Array, mask_shape: tuple[int, ...]) -> Float[Array, "..."]:
    """``x`` times a mask of ``mask_shape`` that is ``1 / (1 - rate)`` with probability ``1 - rate``, else 0.

    The mask is a uniform draw compared with the rate, so that masks of one key are nested in the rate, and rate 1
    gives 0.
    """
    keep = 1 - jnp.asarray(rate, jnp.float32)
    kept = jax.random.uniform(key, mask_shape) < keep
    return x * jnp.where(kept, 1 / jnp.where(keep > 0, keep, 1), 0).astype(x.dtype)


def name_sites(model: nnx.Module) -> None:
    """Tells every `Dropout` and `DropPath` in a model its path.

    Models do it when built, `to_functional` on its copy.
    """
    for path, module in reversed(named_modules(model).items()):
        if isinstance(module, DropSite):
            module.path_hash = path_hash(path)
