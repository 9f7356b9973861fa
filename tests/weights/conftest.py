from collections.abc import Callable
from pathlib import Path

import pytest

from tests.weights.torch_files import Archive


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes an archive, or bytes, to a file called weights.pth or another name."""

    def write_file(content: Archive | bytes, name: str = "weights.pth") -> Path:
        path = tmp_path / name
        if isinstance(content, Archive):
            return content.write(path)
        path.write_bytes(content)
        return path

    return write_file
