"""Classifiers of more than one layer, in place of the linear one that a network is published with."""

import dataclasses
from collections.abc import Sequence
from typing import TypeVar, Unpack

from flax import nnx
from jaxtyping import Array, Float

from jaxvision.models.image_model import ImageModel
from jaxvision.nn.activations import activation
from jaxvision.nn.drop import Dropout, Rngs, name_sites
from jaxvision.nn.init import kaiming_fan_out, torch_linear
from jaxvision.nn.layer_args import LayerArgs
from jaxvision.nn.linear import Linear
from jaxvision.nn.norm import BatchNorm

Model = TypeVar("Model", bound=ImageModel)


class HiddenLayer(nnx.Module):
    """A linear layer, its activation, batch normalisation if wanted, and dropout, in this order."""

    def __init__(
        self,
        in_features: int,
        features: int,
        *,
        act: str = "relu",
        batch_norm: bool = False,
        drop: float = 0.0,
        **layer: Unpack[LayerArgs],
    ):
        self.linear = Linear(in_features, features, kernel_init=kaiming_fan_out, **layer)
        self.act = activation(act)
        self.norm = BatchNorm(features, **layer) if batch_norm else None
        self.drop = Dropout(drop)

    def __call__(self, x: Float[Array, "b d"], train: bool = False, rngs: Rngs = None) -> Float[Array, "b e"]:
        """Runs the layer."""
        x = self.act(self.linear(x))
        x = x if self.norm is None else self.norm(x, train)
        return self.drop(x, rngs)


class MlpHead(nnx.Module):
    """Hidden layers and an output: what is trained on top of a frozen network (Ledda, Fumera and Roli 2023).

    Args:
        in_features: channels of the pooled features.
        num_classes: outputs.
        hidden: widths of the hidden layers.
        batch_norm: whether each hidden layer has batch normalisation, one value for each, or one for all.
        drop: dropout rate after each hidden layer.
        act: activation of the hidden layers.

    Raises:
        ValueError: ``batch_norm`` has not one value for each hidden layer.
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        hidden: Sequence[int] = (256, 128),
        batch_norm: bool | Sequence[bool] = (True, False),
        drop: float = 0.5,
        act: str = "relu",
        **layer: Unpack[LayerArgs],
    ):
        norms = [batch_norm] * len(hidden) if isinstance(batch_norm, bool) else list(batch_norm)
        if len(norms) != len(hidden):
            raise ValueError(f"batch_norm has {len(norms)} values for {len(hidden)} hidden layers {tuple(hidden)}")
        widths = [in_features, *hidden]
        self.hidden = nnx.List(
            [
                HiddenLayer(before, width, act=act, batch_norm=norm, drop=drop, **layer)
                for before, width, norm in zip(widths, hidden, norms, strict=False)
            ]
        )
        self.out = Linear(widths[-1], num_classes, kernel_init=torch_linear, **layer)

    def __call__(self, x: Float[Array, "b d"], train: bool = False, rngs: Rngs = None) -> Float[Array, "b classes"]:
        """Logits of pooled features."""
        for layer in self.hidden:
            x = layer(x, train, rngs)
        return self.out(x)


def run_classifier(
    classifier: nnx.Module | None, pooled: Float[Array, "b d"], train: bool, rngs: Rngs
) -> Float[Array, "b classes"]:
    """What a family does with its pooled features: nothing, a linear layer, or a head of several."""
    if classifier is None:
        return pooled
    return classifier(pooled, train, rngs) if isinstance(classifier, MlpHead) else classifier(pooled)


class ClassifierHead(nnx.Module):
    """Dropout and the classifier ``fc``, where a network keeps the two in a module of their own."""

    def __init__(self, fc: nnx.Module | None, *, drop_rate: float = 0.0):
        self.drop = Dropout(drop_rate)
        self.fc = fc

    def __call__(
        self, pooled: Float[Array, "b d"], train: bool = False, rngs: Rngs = None
    ) -> Float[Array, "b classes"]:
        """Logits of pooled features."""
        return run_classifier(self.fc, self.drop(pooled, rngs), train, rngs)


def replace_head(model: Model, head: nnx.Module) -> Model:
    """Puts a head in the place of a model's classifier, in place; paths and names of all else stay.

    Args:
        model: a model with one classifier, such as ``create_model("resnet101", num_classes=2)``.
        head: features of ``model.head_hidden_size`` channels to logits, such as an `MlpHead`.

    Returns:
        The model.

    Raises:
        ValueError: the model has no classifier, or two (a distilled ViT).
    """
    if len(model.classifiers) != 1:
        raise ValueError(f"a head takes the place of one classifier, and this model has {len(model.classifiers)}")
    owner, _, leaf = model.classifiers[0].rpartition(".")
    setattr(getattr(model, owner) if owner else model, leaf, head)
    if isinstance(head, MlpHead):
        model.config = dataclasses.replace(model.config, num_classes=head.out.out_features)
    name_sites(model)
    return model
