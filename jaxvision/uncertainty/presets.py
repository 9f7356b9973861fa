"""Where to drop in the models of this library, by name.

* ``"head"``: before the classifier; in a head of several layers, at its own dropouts. A hundred samples cost little
  more than one pass.
* ``"last-stage"``: also where features are made: after the blocks of the last stage (of a ViT, the last quarter).
* ``"all-blocks"``: after every block. Every sample costs a pass.

In a residual network of convolutions whole channels of a block's output are dropped (Ledda, Fumera and Roli 2023 drop
after every activation; dropped elements would average out under pooling). In a transformer elements of what its two
branches, attention and MLP, add to the tokens are dropped, as dropout in a transformer's training does.
"""

from dataclasses import dataclass

from flax import nnx

from jaxvision.models.image_model import ImageModel
from jaxvision.nn.drop import Dropout
from jaxvision.paths import named_modules
from jaxvision.uncertainty.plan import At, Mask

PRESETS = ("head", "last-stage", "all-blocks")


@dataclass(frozen=True)
class Place:
    """A module and how it is masked where nothing else is asked for."""

    path: str
    mask: Mask
    at: At


def preset_sites(model: nnx.Module, name: str) -> list[Place]:
    """The places that a preset means in a model.

    Raises:
        ValueError: the model is not of this library, or has no classifier.
    """
    if not isinstance(model, ImageModel):
        raise ValueError(
            f"{name!r} is known of jaxvision's models only; name the modules of {type(model).__name__} by patterns "
            "such as 'blocks.*' (see jaxvision.paths)"
        )
    modules = named_modules(model)
    if name == "head":
        if not model.classifiers:
            raise ValueError("the model has no classifier (num_classes=0): use 'last-stage', or patterns")
        return [place for path in model.classifiers for place in _before(path, modules)]
    stages = model.block_paths[-1:] if name == "last-stage" else model.block_paths
    return [place for stage in stages for path in stage for place in _after(path, modules)]


def _before(classifier: str, modules: dict[str, nnx.Module]) -> list[Place]:
    inside = [p for p, m in modules.items() if p.startswith(f"{classifier}.") and isinstance(m, Dropout)]
    return [Place(path, "element", "output") for path in inside] or [Place(classifier, "element", "input")]


def _after(block: str, modules: dict[str, nnx.Module]) -> list[Place]:
    branches = [path for path in modules if path.startswith(f"{block}.") and path.endswith((".attn", ".mlp"))]
    if f"{block}.in_proj" in modules:  # attention and MLP have their layers in common: what both add together
        branches = [f"{block}.drop_path"]
    return [Place(path, "element", "output") for path in branches] or [Place(block, "channel", "output")]
