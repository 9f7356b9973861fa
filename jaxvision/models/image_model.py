"""What all families' models have in common: how they are called, cut open and given another head."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self, Unpack

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from jaxvision.models.feature_info import FeatureInfo, FeatureLevel, take_indices
from jaxvision.nn.drop import Rngs, name_sites, site_keys
from jaxvision.nn.layer_args import LayerArgs
from jaxvision.nn.pool import POOLS, pooled_width
from jaxvision.nn.pool import global_pool as pool
from jaxvision.nn.position import PositionFit
from jaxvision.paths import fold_path, named_variables


class ImageModel(nnx.Module):
    """An image classifier in two halves: features, then a head.

    A family defines `feature_levels`, `feature_maps`, `keep_levels`, `make_classifier` and `classify`, and
    `final_layers` if anything comes between its last map and the pooling.

    Attributes:
        config: what it was built from, one row of its family's table.
        num_features: channels of the features before pooling.
        input_conv: path of the layer that reads the image.
        heads: paths at which the layers that give the logits are, or would be.
        left_out: paths at which files of this network have weights and this model has nothing, on purpose.
        default_out_indices: which maps `features_only` takes where nothing else is said; None for all.
    """

    config: Any
    num_features: int
    input_conv: str
    heads: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    default_out_indices: int | None = None

    @property
    def classifiers(self) -> tuple[str, ...]:
        """Paths of the layers that give the logits; none if ``num_classes`` is 0."""
        return tuple(path for path in self.heads if _at(self, path) is not None)

    @property
    def num_classes(self) -> int:
        """Outputs of the classifier; 0 where there is none."""
        classes: int = self.config.num_classes
        return classes

    @property
    def head_hidden_size(self) -> int:
        """Channels of the pooled features, which the classifier sees: with ``"catavgmax"`` twice ``num_features``."""
        return pooled_width(self.num_features, self.config.global_pool)

    @property
    def head_widths(self) -> tuple[int, ...]:
        """Channels that a classifier of this network may see: those of every pooling."""
        return tuple(sorted({pooled_width(self.num_features, kind) for kind in POOLS}))

    @property
    def block_paths(self) -> tuple[tuple[str, ...], ...]:
        """Paths of the blocks, stage by stage; a network of one resolution is divided into quarters."""
        raise TypeError(f"{type(self).__name__} defines no block paths")

    def __repr__(self) -> str:
        """The parts with their sizes, a line each; ``str`` shows every variable."""
        variables = named_variables(self)
        total, statistics = _size(variables, nnx.Param), _size(variables, nnx.BatchStat)
        also = f", {statistics:,} running statistics" if statistics else ""
        parts = [
            (name, type(part).__name__, f"{_size(variables, nnx.Param, name):,}")
            for name, part in vars(self).items()
            if any(path == name or path.startswith(f"{name}.") for path in variables)
        ]
        widths = [max((len(part[column]) for part in parts), default=0) for column in range(3)]
        lines = [f"  {name:{widths[0]}}  {kind:{widths[1]}}  {size:>{widths[2]}}" for name, kind, size in parts]
        return "\n".join([f"{type(self).__name__}: {total:,} parameters{also}", *lines])

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
        """The last feature map, before pooling: (batch, height / 32, width / 32, num_features); a ViT's tokens."""
        *_, (_, x) = self.feature_maps(images, train=train, rngs=site_keys(rngs))
        return self.final_layers(x, train)

    def forward_head(
        self, features: Array, pre_logits: bool = False, train: bool = False, rngs: Rngs = None
    ) -> Float[Array, "b classes"]:
        """Logits of `forward_features`' result; with ``pre_logits`` the pooled features that `classify` would see.

        Without pooling (``global_pool=""``) every position is classified.
        """
        x = pool(features, self.config.global_pool)
        return x if pre_logits else self.classify(x, train=train, rngs=site_keys(rngs))

    def classify(
        self, pooled: Float[Array, "b d"], train: bool = False, rngs: Rngs = None
    ) -> Float[Array, "b classes"]:
        """Logits of pooled features: dropout and the classifier."""
        raise TypeError(f"{type(self).__name__} defines no classify")

    @property
    def feature_info(self) -> FeatureInfo:
        """Module, channels and reduction of every feature map, from large to small, as timm's models have it."""
        levels = self.feature_levels()
        return FeatureInfo(levels, tuple(range(len(levels))))

    def forward_intermediates(
        self,
        images: Float[Array, "b h w c"],
        indices: int | Sequence[int] | None = None,
        *,
        norm: bool = False,
        stop_early: bool = False,
        intermediates_only: bool = False,
        output_dict: bool = False,
        train: bool = False,
        rngs: Rngs = None,
    ) -> Any:
        """Feature maps from one pass, as timm's method of this name gives them, but channels last.

        Args:
            images: normalised images.
            indices: positions in ``feature_info``, negative ones from the end; a number for so many of the last; None
                for all.
            norm: apply the last norm, if the network has one, to the maps that have its channels: a ViT's all, the
                last of others.
            stop_early: run nothing that the maps do not need; the result is then what the last that ran gave.
            intermediates_only: return the maps alone; nothing that they do not need runs.
            output_dict: return ``{"image_features": ..., "image_intermediates": [...]}``, as timm's ViTs do.
            train: see `__call__`.
            rngs: see `__call__`.

        Returns:
            `forward_features`' result and the list of maps, (batch, height / reduction, width / reduction, channels)
            each; or the list; or a dict of what would be returned.

        Raises:
            ValueError: there is no such map; or see `__call__`.
        """
        levels = self.feature_levels()
        taken = {levels[index].module: levels[index] for index in take_indices(len(levels), indices)}
        maps: list[Array] = []
        name, x = "", images
        for name, x in self.feature_maps(images, train=train, rngs=site_keys(rngs)):
            if name in taken:
                normed = norm and taken[name].num_chs == self.num_features
                maps.append(self.final_norm(x, train) if normed else x)
                if len(maps) == len(taken) and (stop_early or intermediates_only):
                    break
        if intermediates_only:
            return {"image_intermediates": maps} if output_dict else maps
        x = self.final_layers(x, train) if name == levels[-1].module else x
        return {"image_features": x, "image_intermediates": maps} if output_dict else (x, maps)

    def feature_levels(self) -> tuple[FeatureLevel, ...]:
        """Every feature map that the network makes."""
        raise TypeError(f"{type(self).__name__} defines no feature levels")

    def feature_maps(
        self, images: Float[Array, "b h w c"], train: bool = False, rngs: Rngs = None
    ) -> Iterator[tuple[str, Array]]:
        """What stem and stages give, one after the other, each with its name: those of `feature_levels` among them."""
        raise TypeError(f"{type(self).__name__} defines no feature maps")

    def final_layers(self, x: Array, train: bool = False) -> Array:
        """What comes between the last map and the pooling."""
        return x

    def final_norm(self, x: Array, train: bool = False) -> Array:
        """The norm after the last map, if there is one."""
        norm = getattr(self, "norm", None)
        return x if norm is None else norm(x)

    def keep_levels(self, count: int) -> None:
        """Removes, in place, all that the first ``count`` of `feature_levels` do not need, the classifier included."""
        raise TypeError(f"{type(self).__name__} defines no way to cut it down")

    def get_classifier(self) -> nnx.Module | tuple[nnx.Module | None, ...] | None:
        """The classifier; None if ``num_classes`` is 0; both of a distilled ViT, as in timm."""
        found = tuple(_at(self, path) for path in self.heads)
        return found[0] if len(found) == 1 else found

    def reset_classifier(self, num_classes: int, global_pool: str | None = None, *, seed: int = 0) -> Self:
        """Gives the model a new classifier, in place; ``config`` and `classifiers` follow.

        Args:
            num_classes: its outputs; 0 for none.
            global_pool: another pooling; None keeps the one that is.
            seed: for its initial values, which are the family's.

        Returns:
            The model.

        Raises:
            ValueError: a number of classes below 0, or a pooling that the model cannot have.
        """
        if num_classes < 0:
            raise ValueError(f"num_classes must be 0, for no classifier, or more, got {num_classes}")
        changes: dict[str, Any] = {"num_classes": num_classes}
        if global_pool is not None:
            pooled_width(self.num_features, global_pool)  # raises before anything has changed
            changes["global_pool"] = global_pool
        self.config = dataclasses.replace(self.config, **changes)
        self.draw_classifiers(self.heads, seed)
        return self

    def make_classifier(self, num_classes: int, **layer: Unpack[LayerArgs]) -> nnx.Module | None:
        """A new classifier of this family for `head_hidden_size` channels; None for 0 classes."""
        raise TypeError(f"{type(self).__name__} defines no classifier")

    def draw_classifiers(self, paths: Sequence[str], seed: int = 0) -> None:
        """Puts new classifiers, drawn from ``seed``, at some of ``heads``."""
        conv: Any = _at(self, self.input_conv)
        for path in paths:
            owner, _, leaf = path.rpartition(".")
            layer: LayerArgs = {
                "dtype": conv.dtype,
                "param_dtype": conv.kernel.get_value().dtype,
                "rngs": nnx.Rngs(fold_path(jax.random.key(seed), path)),
            }
            classifier = self.make_classifier(self.config.num_classes, **layer)
            # Flax takes an attribute that was None for one that never holds arrays, unless told.
            setattr(_at(self, owner), leaf, None if classifier is None else nnx.data(classifier))
        name_sites(self)

    def adapt_weights(
        self,
        weights: Mapping[str, np.ndarray],
        img_size: tuple[int, int] | None = None,
        fit: PositionFit | None = None,
    ) -> dict[str, np.ndarray]:
        """Fits a checkpoint for another image size to this model; as it is, where the size is no matter of weights.

        Args:
            weights: arrays by name.
            img_size: height and width of the images that they are for; None to tell it from their shapes.
            fit: how position and patch embeddings are resized, where the weights' source has a way of its own.
        """
        return dict(weights)


def _size(variables: Mapping[str, nnx.Variable], kind: type[nnx.Variable], below: str = "") -> int:
    """Numbers in the variables of a kind, those at or below a path."""
    return sum(
        variable.get_value().size
        for path, variable in variables.items()
        if isinstance(variable, kind) and f"{path}.".startswith(f"{below}." if below else "")
    )


def _at(model: nnx.Module, path: str) -> Any:
    """The attribute at a dotted path."""
    node: Any = model
    for name in path.split(".") if path else ():
        node = node[int(name)] if name.isdigit() else getattr(node, name)
    return node
