"""A golden vector: a timm architecture, options that both libraries take, and an image size."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    """One golden vector.

    Attributes:
        id: its name in the file.
        model: timm's architecture name.
        size: image height and width.
        options: keyword arguments of ``create_model``, the same for timm and jaxvision.
        in_model: whether the image size is an option of the model too.
        loaded: options of the model that the weights are made for, where they are to be fitted to this one as they are
            loaded; None for this one's.
        gain: of the weights of layers, so that logits depend on the image and not only on biases.
    """

    id: str
    model: str
    size: tuple[int, int]
    options: dict[str, Any] = field(default_factory=dict)
    in_model: bool = False
    loaded: dict[str, Any] | None = None
    gain: float = 1.0
