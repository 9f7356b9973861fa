"""``jaxvision finetune``: training that starts from published weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from jaxvision.cli import train


@dataclass(frozen=True, kw_only=True)
class Command(train.Command):
    """Fine-tune a pretrained network: `train`, from the settings of the recipe finetune.

    Other recipes for it are finetune_frozen (a new head on a frozen network), linear_probe (the same on features that
    are computed once: the fastest on a CPU) and covid_ct.
    """

    @classmethod
    def parse(cls, prog: str, words: Sequence[str], base: str | None = "finetune") -> Self:
        """See `jaxvision.cli.train.Command.parse`."""
        return super().parse(prog, words, base)
