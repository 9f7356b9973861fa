"""Normalisation, mixup and cutmix on the device: pure functions for the compiled training step."""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, UInt8

from jaxvision.paths import suggestion

_MODES = ("batch", "elem")


def normalize(
    images: UInt8[Array, "*b h w c"],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, "*b h w c"]:
    """``(x / 255 - mean) / std``, computed in float32, as `Preprocess.normalize` does on the host.

    Args:
        images: 8-bit pixels.
        mean: of each channel, in [0, 1].
        std: of each channel.
        dtype: of the result.
    """
    pixels = images.astype(jnp.float32) / 255
    return ((pixels - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)).astype(dtype)


@dataclass(frozen=True)
class Mix:
    """Mixup (Zhang et al. 2018, arXiv:1710.09412) and cutmix (Yun et al. 2019, arXiv:1905.04899), as timm's ``Mixup``.

    Example i is mixed with example b - 1 - i. Mixup blends the pictures, ``lam x_i + (1 - lam) x_j``; cutmix copies a
    rectangle of picture j, whose sides are ``sqrt(1 - lam)`` of the picture's before they are cut at its border, and
    sets ``lam`` to the share of picture i that is left. Targets are blended with the same ``lam``, which is drawn
    from Beta(alpha, alpha). Shapes do not depend on what is drawn, so nothing is compiled again.

    Attributes:
        mixup_alpha: mixup's alpha; 0 for cutmix only.
        cutmix_alpha: cutmix's alpha; 0 for mixup only.
        prob: probability of mixing at all.
        switch_prob: probability of cutmix where both are on.
        mode: ``"batch"`` draws once for all examples, ``"elem"`` for each.

    Raises:
        ValueError: a field is out of range, or both alphas are 0.
    """

    mixup_alpha: float = 0.8
    cutmix_alpha: float = 1.0
    prob: float = 1.0
    switch_prob: float = 0.5
    mode: Literal["batch", "elem"] = "batch"

    def __post_init__(self) -> None:
        if min(self.mixup_alpha, self.cutmix_alpha) < 0 or max(self.mixup_alpha, self.cutmix_alpha) == 0:
            raise ValueError(
                "mixup_alpha and cutmix_alpha must not be negative, and one must be greater than 0 (without mixing, "
                f"use no Mix), got {self.mixup_alpha} and {self.cutmix_alpha}"
            )
        for name in ("prob", "switch_prob"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be a probability between 0 and 1, got {getattr(self, name)}")
        if self.mode not in _MODES:
            raise ValueError(
                f"mode must be one of {', '.join(_MODES)}, got {self.mode!r}{suggestion(self.mode, _MODES)}"
            )

    def __call__(
        self, key: jax.Array, images: Float[Array, "b h w c"], targets: Float[Array, "b ..."]
    ) -> tuple[Float[Array, "b h w c"], Float[Array, "b ..."]]:
        """Mixed pictures and targets, a pure function of the arguments.

        Args:
            key: the source of all randomness.
            images: pictures, normalised.
            targets: dense targets.

        Returns:
            ``(images, targets)`` of the same shapes and dtypes.
        """
        kept, lam = self._draw(key, *images.shape[:3])
        lam = lam.reshape(-1, *(1,) * (targets.ndim - 1))
        return _blend(images, kept), _blend(targets, lam)

    def _draw(
        self, key: jax.Array, batch: int, height: int, width: int
    ) -> tuple[Float[Array, "n y x 1"], Float[Array, " n"]]:
        """How much of each pixel is kept, and of each target; n is the batch size, or 1 for the whole batch."""
        shape = (1 if self.mode == "batch" else batch,)
        mix_key, switch_key, lam_key, y_key, x_key = jax.random.split(key, 5)
        mixed = jax.random.uniform(mix_key, shape) < self.prob
        cut = jax.random.uniform(switch_key, shape) < self._cutmix_share
        alpha = jnp.where(cut, self.cutmix_alpha, self.mixup_alpha).astype(jnp.float32)
        lam = jnp.where(mixed, jax.random.beta(lam_key, alpha, alpha, dtype=jnp.float32), 1)

        side = jnp.sqrt(1 - lam)
        rows = _inside(height, side, jax.random.randint(y_key, shape, 0, height))
        columns = _inside(width, side, jax.random.randint(x_key, shape, 0, width))
        box = (rows[:, :, None] & columns[:, None, :])[..., None]
        lam_of_box = 1 - box.mean((1, 2, 3), dtype=jnp.float32)

        kept = jnp.where(cut[:, None, None, None], 1 - box.astype(jnp.float32), lam[:, None, None, None])
        return kept, jnp.where(cut, lam_of_box, lam)

    @property
    def _cutmix_share(self) -> float:
        if self.mixup_alpha > 0 and self.cutmix_alpha > 0:
            return self.switch_prob
        return 1.0 if self.cutmix_alpha > 0 else 0.0


def _inside(side: int, share: Float[Array, " n"], centre: jax.Array) -> Bool[Array, "n side"]:
    """Which rows (columns) the box covers: ``share`` of them around ``centre``, cut at the border."""
    half = (side * share).astype(jnp.int32) // 2
    position = jnp.arange(side)
    return (position >= (centre - half)[:, None]) & (position < (centre + half)[:, None])


def _blend(x: Float[Array, "b ..."], kept: Float[Array, "#b ..."]) -> Float[Array, "b ..."]:
    """``x`` with its flipped batch, in float32: where all or nothing is kept, values are exact copies."""
    own = x.astype(jnp.float32)
    return (own * kept + own[::-1] * (1 - kept)).astype(x.dtype)
