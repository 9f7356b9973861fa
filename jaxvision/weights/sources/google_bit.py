"""Google's Big Transfer (github.com/google-research/big_transfer): the ``.npz`` files of BiT's ResNets."""

from collections.abc import Collection, Iterator

from jaxvision.weights.entry import Entry
from jaxvision.weights.sources.renames import Renames
from jaxvision.weights.sources.source import Named, Source, Weights

_UNIT = "resnet.block#.unit#"
_RENAME = Renames(
    {
        **{
            f"{_UNIT}.{letter}.standardized_conv2d": f"stages.#-1.blocks.#-1.conv{i}"
            for i, letter in enumerate("abc", 1)
        },
        **{f"{_UNIT}.{letter}.group_norm": f"stages.#-1.blocks.#-1.norm{i}" for i, letter in enumerate("abc", 1)},
        f"{_UNIT}.a.proj.standardized_conv2d": "stages.#-1.blocks.#-1.downsample.conv",
        "resnet.root_block.standardized_conv2d": "stem.conv",
        "resnet.group_norm": "norm",
        "resnet.head.conv2d": "head.fc",
    }
)
_LEAVES = {"kernel": "weight", "gamma": "weight", "beta": "bias"}


def _to_timm(weights: Weights, _variables: Collection[str]) -> Iterator[Named]:
    for key, array in weights.items():
        path, _, leaf = key.replace("/", ".").rpartition(".")
        name = _RENAME(f"{path}.{_LEAVES.get(leaf, leaf)}")
        yield name, Entry(key, array.transpose(3, 2, 0, 1) if leaf == "kernel" and array.ndim == 4 else array)


GOOGLE_BIT = Source(
    "google_bit", "Google's BiT (.npz)", marks=("resnet/root_block/standardized_conv2d/kernel",), to_timm=_to_timm
)
