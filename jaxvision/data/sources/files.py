"""Pictures that are files of their own."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxvision.data.dataset import checked_labels


class FileDataset:
    """Picture files with labels.

    Args:
        root: the folder that the names are relative to.
        names: the files, with ``/`` between folders.
        labels: as for `ImageDataset`.
        class_names: one for each class; empty for regression.
        groups: what each file belongs to, if anything.

    Raises:
        DatasetError: a label is wrong.
    """

    def __init__(
        self,
        root: str,
        names: Sequence[str],
        labels: Any,
        class_names: Sequence[str],
        groups: np.ndarray | None = None,
    ) -> None:
        self.root = root
        self.names: Sequence[str] = tuple(names)
        self.class_names = tuple(class_names)
        self.labels = checked_labels(labels, self.class_names, len(self.names))
        self.groups = groups

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int) -> str:
        """The path of one file."""
        return os.path.join(self.root, self.names[index])
