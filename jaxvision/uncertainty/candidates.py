"""What tuning compares: ways to turn passes, or none, into a predictive distribution, each with its likelihood."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from jaxvision.evaluation.tables import Table
from jaxvision.uncertainty.scale import Numbers, Scale

Center = Literal["mc", "deterministic"]
CENTERS: tuple[Center, ...] = ("mc", "deterministic")


@dataclass(frozen=True)
class Candidate:
    """A predictive distribution, fitted on the tuning rows.

    Attributes:
        name: what it is, in words.
        nll: mean negative log-likelihood on the tuning rows, in nats; None where it could not be fitted.
        rate: dropout rate; None for the network without dropout.
        scale: of a regression's variance.
        center: of a regression: the mean of the passes, or the deterministic output.
        temperature: of a classification.
        baseline: whether it is one of the simple things that tuning has to beat.
        test_nll: the same on the test rows; None without any.
        note: why ``nll`` is None, or what else is to be said.
    """

    name: str
    nll: float | None
    rate: float | None = None
    scale: Scale | None = None
    center: Center | None = None
    temperature: float | None = None
    baseline: bool = False
    test_nll: float | None = None
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """A document that `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Any) -> "Candidate":
        """Reads a document.

        Raises:
            ValueError: it is not a candidate.
        """
        known = {field.name for field in fields(cls)}
        if not isinstance(document, Mapping) or set(document) != known:
            raise ValueError(f"a candidate has {', '.join(sorted(known))}; got {document!r}")
        scale = document["scale"]
        return cls(**{**document, "scale": None if scale is None else Scale.from_json(scale)})


def candidate_table(candidates: Sequence[Candidate], chosen: str) -> Table:
    """The candidates side by side, the chosen one with an arrow."""
    tested = any(candidate.test_nll is not None for candidate in candidates)
    rows = [
        [
            f"{'->' if candidate.name == chosen else '  '} {candidate.name}",
            "-" if candidate.rate is None else f"{candidate.rate:g}",
            _parameters(candidate),
            candidate.nll,
            *([candidate.test_nll] if tested else []),
            *([candidate.note] if any(other.note for other in candidates) else []),
        ]
        for candidate in candidates
    ]
    header = ["   method", "rate", "parameters", "NLL (tuning)"]
    header += ["NLL (test)"] if tested else []
    header += ["note"] if any(candidate.note for candidate in candidates) else []
    return Table(header, rows, digits=4)


def _parameters(candidate: Candidate) -> str:
    if candidate.temperature is not None:
        return f"T={candidate.temperature:.3g}"
    scale = candidate.scale
    if scale is None:
        return ""
    named = {"factor": scale.factor, "power": scale.power, "offset": scale.offset}
    usual = {"factor": 0.0, "power": 1.0, "offset": 0.0}
    return " ".join(f"{name}={_shown(value)}" for name, value in named.items() if not _is(value, usual[name]))


def _is(numbers: Numbers, usual: float) -> bool:
    return set(numbers if isinstance(numbers, tuple) else (numbers,)) == {usual}


def _shown(numbers: Numbers) -> str:
    if isinstance(numbers, tuple):
        return f"({', '.join(f'{number:.3g}' for number in numbers)})"
    return f"{numbers:.3g}"
