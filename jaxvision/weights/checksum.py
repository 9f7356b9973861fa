"""Checksums of files."""

import hashlib
import re
from pathlib import Path


def sha256(path: Path) -> str:
    """The SHA-256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksum_in_name(name: str) -> str | None:
    """The leading digits of the SHA-256 that PyTorch's convention puts in a file's name, ``name-<digits>.pth``."""
    match = re.search(r"-([0-9a-f]{8,64})\.\w+$", name)
    return match[1] if match else None
