"""A network cut down to what makes its feature maps, for detection, segmentation and the like."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from jaxtyping import Array, Float

from jaxvision.models.feature_info import FeatureInfo, take_indices
from jaxvision.models.image_model import ImageModel
from jaxvision.nn.drop import Rngs


class FeatureNet(ImageModel):
    """Mixed into the class of a model by `features_only`: its call gives feature maps instead of logits.

    Attributes:
        levels: all maps of the whole network, and which of them a call gives.
    """

    levels: FeatureInfo

    @property
    def feature_info(self) -> FeatureInfo:
        """Module, channels and reduction of all maps of the whole network, and which of them a call gives."""
        return self.levels

    @property
    def out_indices(self) -> tuple[int, ...]:
        """Which of the network's maps a call gives."""
        return self.levels.out_indices

    def __call__(self, images: Float[Array, "b h w c"], train: bool = False, rngs: Rngs = None) -> Any:
        """The maps, (batch, height / reduction, width / reduction, channels) each, from large to small.

        Raises:
            ValueError: images of another number of channels, or of a size that the model cannot take.
        """
        return self.forward_intermediates(images, self.out_indices, intermediates_only=True, train=train, rngs=rngs)


def features_only(model: ImageModel, out_indices: int | Sequence[int] | None = None) -> FeatureNet:
    """Turns a model, in place, into one whose call gives feature maps; what none of them needs is removed.

    Paths and names of all that remains stay, so that the same weights load; entries of a file for what was removed are
    dropped, as the report of `jaxvision.load_weights` tells.

    Args:
        model: any model of the library. It may be abstract.
        out_indices: which of ``model.feature_info``: positions, or a number for so many of the last. None for timm's
            choice: all of them, and of a ViT the last three blocks'.

    Returns:
        The model.

    Raises:
        ValueError: there is no such map.
    """
    levels = model.feature_levels()
    taken = take_indices(len(levels), model.default_out_indices if out_indices is None else out_indices)
    model.keep_levels(taken[-1] + 1)
    model.__class__ = _feature_class(type(model))
    setattr(model, "levels", FeatureInfo(levels, taken))  # noqa: B010 - the class has just been swapped for one with it
    return model  # type: ignore[return-value]


# One subclass per class, kept: Flax registers every subclass for good.
@cache
def _feature_class(base: type[ImageModel]) -> type[ImageModel]:
    names = {"__module__": base.__module__, "__doc__": f"The feature maps of a {base.__name__}."}
    return type(f"{base.__name__}Features", (FeatureNet, base), names)
