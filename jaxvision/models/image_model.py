"""What the four families' models have in common: how they are called."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from jaxvision.nn.drop import Rngs, site_keys


class ImageModel(nnx.Module):
    """An image classifier in two halves: features, then a head.

    Attributes:
        config: what it was built from, one row of its family's table.
        num_features: channels of the pooled features.
        input_conv: path of the layer that reads the image.
        classifiers: paths of the layers that give the logits; none if ``num_classes`` is 0.
    """

    config: Any
    num_features: int
    input_conv: str
    classifiers: tuple[str, ...]

    @property
    def stages(self) -> tuple[tuple[str, ...], ...]:
        """Paths of the blocks, stage by stage; a network of one resolution is divided into quarters."""
        raise TypeError(f"{type(self).__name__} defines no stages")

    def __call__(
        self, images: Float[Array, "b h w c"], train: bool = False, rngs: Rngs = None
    ) -> Float[Array, "b classes"]:
        """Logits; or the pooled features if ``num_classes`` is 0.

        Args:
            images: normalised images.
            train: normalise with the batch's statistics, and update the running ones, in models that have any.
            rngs: switches dropout on, all of it; None for a deterministic pass.

        Raises:
            ValueError: images of another number of channels, or of a size that the model cannot take.
        """
        keys = site_keys(rngs)
        return self.forward_head(self.forward_features(images, train=train, rngs=keys), train=train, rngs=keys)

    def forward_features(self, images: Float[Array, "b h w c"], train: bool = False, rngs: Rngs = None) -> Array:
        """What the last block gives, before pooling."""
        raise TypeError(f"{type(self).__name__} defines no forward_features")

    def forward_head(
        self, features: Array, pre_logits: bool = False, train: bool = False, rngs: Rngs = None
    ) -> Float[Array, "b classes"]:
        """Logits of `forward_features`' result; with ``pre_logits`` the pooled features that `classify` would see."""
        raise TypeError(f"{type(self).__name__} defines no forward_head")

    def classify(
        self, pooled: Float[Array, "b d"], train: bool = False, rngs: Rngs = None
    ) -> Float[Array, "b classes"]:
        """Logits of pooled features: dropout and the classifier."""
        raise TypeError(f"{type(self).__name__} defines no classify")

    def adapt_weights(self, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Fits a checkpoint for another image size to this model; as it is, where the size is no matter of weights."""
        return dict(weights)
