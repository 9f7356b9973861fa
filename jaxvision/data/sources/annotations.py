"""The labels of a data set that has them inside its records, remembered between runs."""

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from jaxvision.weights.download import cache_folder

CACHE_FROM = 20_000
"""Number of examples from which the pass over the records is worth remembering: a few seconds."""


class Annotations(NamedTuple):
    """All of a data set but its pictures."""

    labels: np.ndarray
    names: tuple[str, ...]
    groups: np.ndarray | None


def cached(identity: Sequence[str], count: int, read: Callable[[], Annotations]) -> Annotations:
    """What ``read`` gives, from the cache folder where it was read before.

    Args:
        identity: says which data these are; other data must have another one.
        count: the number of examples; few are read anew each time.
        read: reads them.
    """
    if count < CACHE_FROM:
        return read()
    digest = hashlib.sha256("\0".join(identity).encode("utf-8", "surrogateescape")).hexdigest()
    file = cache_folder() / "annotations" / f"{digest[:32]}.npz"
    try:
        with np.load(file, allow_pickle=False) as stored:
            labels, names = stored["labels"], stored["names"].tobytes().decode("utf-8", "surrogateescape").split("\0")
            if len(labels) == len(names) == count:
                return Annotations(labels, tuple(names), stored["groups"] if "groups" in stored.files else None)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # none yet, or damaged: it is written anew
    found = read()
    names_bytes = np.frombuffer("\0".join(found.names).encode("utf-8", "surrogateescape"), np.uint8)
    arrays = {"labels": found.labels, "names": names_bytes}
    if found.groups is not None:
        arrays["groups"] = found.groups
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type]
        os.replace(stream.name, file)
    except OSError:
        pass  # a full or closed cache folder costs time only
    return found
