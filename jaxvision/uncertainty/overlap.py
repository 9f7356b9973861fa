"""Whether rows have been seen before, from a few hashes that fit into a JSON file."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt64

_SIZE = 256


class OverlapError(ValueError):
    """Numbers were asked for on rows that the calibration was tuned on: they would flatter it."""


def row_hashes(rows: Shaped[np.ndarray, "n ..."]) -> UInt64[np.ndarray, " n"]:
    """64 bits for each row, from its bytes as float32, so that a row is known again in another float type."""
    block = np.ascontiguousarray(rows, dtype=np.float32)
    digests = [hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in block]
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


@dataclass(frozen=True)
class RowSketch:
    """The smallest hashes of a set of rows (a bottom-k sketch): all of up to 256 rows, else a fair sample.

    Attributes:
        size: how many different rows there were.
        hashes: the smallest ones, ascending.
    """

    size: int
    hashes: tuple[int, ...]

    @classmethod
    def of(cls, hashes: UInt64[np.ndarray, " n"], kept: int | None = _SIZE) -> "RowSketch":
        """The sketch of rows that `row_hashes` has hashed; with ``kept=None`` all of them."""
        different = np.unique(hashes)
        return cls(len(different), tuple(int(number) for number in different[:kept]))

    def seen(self, hashes: UInt64[np.ndarray, " n"]) -> int:
        """How many of other rows are among these: exact for up to 256 of these rows, estimated for more.

        It is 0 only if none of the rows whose hashes were kept occurs.
        """
        matched = int(np.isin(hashes, np.array(self.hashes, np.uint64)).sum())
        return round(matched * self.size / max(len(self.hashes), 1))

    def check(self, hashes: UInt64[np.ndarray, " n"]) -> None:
        """Raises if any of the rows is known.

        Raises:
            OverlapError: some are; it says how many.
        """
        if seen := self.seen(hashes):
            about = "" if self.size == len(self.hashes) else "about "
            raise OverlapError(
                f"{about}{min(seen, len(hashes))} of these {len(hashes)} rows are among the {self.size} that the "
                "calibration was tuned on, where its numbers are optimistic; evaluate on other rows, or say "
                "allow_overlap=True"
            )

    def to_json(self) -> dict[str, Any]:
        """A document that `from_json` reads; hashes as hexadecimal, since JSON readers round large integers."""
        return {"size": self.size, "hashes": [f"{number:016x}" for number in self.hashes]}

    @classmethod
    def from_json(cls, document: Any) -> "RowSketch":
        """Reads a document.

        Raises:
            ValueError: it is not a sketch.
        """
        if not isinstance(document, Mapping) or set(document) != {"size", "hashes"}:
            raise ValueError(f"a sketch has a size and hashes; got {document!r}")
        return cls(int(document["size"]), tuple(int(number, 16) for number in document["hashes"]))
