"""Leaving out patches."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxvision.nn.drop import DropSite, Rngs


class PatchDropout(DropSite):
    """Trains on some of the patches of every image only (Liu et al. 2022, arXiv:2208.07220): fewer tokens, less work.

    Args:
        rate: share of the patches that are left out. It decides a shape, so that it cannot be traced.
        num_prefix_tokens: tokens before the patches, which stay.
    """

    def __init__(self, rate: float = 0.0, num_prefix_tokens: int = 0):
        super().__init__(rate)
        self.num_prefix_tokens = num_prefix_tokens

    def __call__(self, x: Float[Array, "b n c"], rngs: Rngs = None) -> Float[Array, "b m c"]:
        """Leaves patches out if ``rngs`` is given, at least one stays; returns ``x`` otherwise.

        Raises:
            ValueError: the rate is traced.
        """
        if not self.active(rngs):
            return x
        if not isinstance(self.rate, int | float):
            raise ValueError("the rate of PatchDropout decides how many tokens there are: it cannot be traced")
        prefix, patches = x[:, : self.num_prefix_tokens], x[:, self.num_prefix_tokens :]
        batch, count, _ = patches.shape
        order = jnp.argsort(jax.random.uniform(self.key(rngs), (batch, count)), axis=1)
        kept = order[:, : max(1, int(count * (1 - self.rate))), None]
        return jnp.concatenate([prefix, jnp.take_along_axis(patches, kept, axis=1)], axis=1)
