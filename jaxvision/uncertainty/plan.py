"""Which sites of a network are stochastic, and how: plain data that JSON can hold."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from jaxvision.paths import suggestion

Mask = Literal["element", "channel", "token", "head", "depth", "connect", "gaussian"]
At = Literal["input", "output"]
MASKS: tuple[Mask, ...] = get_args(Mask)


@dataclass(frozen=True)
class SiteSpec:
    """One module whose input, output or kernel is masked.

    Attributes:
        path: dotted path of the module.
        mask: what is dropped together, see `jaxvision.uncertainty.masks`.
        at: before or after the module; ``connect`` masks neither but the kernel.
        rate: the probability of being dropped, at least 0 and below 1.
        shared: one mask for all examples of a pass.
        prefix_tokens: with ``token``: class and register tokens at the front, which are kept.
        num_heads: with ``head``: into how many the channels are divided; 0 if heads are the last axis but one.
    """

    path: str
    mask: Mask = "element"
    at: At = "output"
    rate: float = 0.05
    shared: bool = False
    prefix_tokens: int = 0
    num_heads: int = 1

    def __post_init__(self) -> None:
        if self.mask not in MASKS:
            raise ValueError(f"unknown mask {self.mask!r}{suggestion(self.mask, MASKS)}; there are {', '.join(MASKS)}")
        if self.at not in get_args(At):
            raise ValueError(f"at must be 'input' or 'output', got {self.at!r}")
        check_rate(self.rate)


@dataclass(frozen=True)
class Plan:
    """All the sites of a network, in the order of their paths."""

    sites: tuple[SiteSpec, ...]

    @property
    def rate(self) -> float:
        """The largest rate of any site."""
        return max((site.rate for site in self.sites), default=0.0)

    @property
    def active(self) -> tuple[SiteSpec, ...]:
        """The sites that drop anything, without their rates: what a computation is compiled for.

        A rate of exactly 0 takes a site out of it.
        """
        return tuple(replace(site, rate=0.0) for site in self.sites if site.rate > 0)

    @property
    def active_rates(self) -> tuple[float, ...]:
        """Their rates."""
        return tuple(site.rate for site in self.sites if site.rate > 0)

    def with_rate(self, rate: float) -> "Plan":
        """The same sites, the largest rate set to ``rate`` and the others kept in proportion.

        Raises:
            ValueError: not a rate, or all rates are 0.
        """
        check_rate(rate)
        return Plan(tuple(replace(s, rate=rate * share) for s, share in zip(self.sites, self.shares, strict=True)))

    @property
    def shares(self) -> tuple[float, ...]:
        """Each site's rate as a share of the largest; all 1 where all rates are 0."""
        top = self.rate
        return tuple(site.rate / top if top else 1.0 for site in self.sites)

    def to_json(self) -> list[dict[str, Any]]:
        """A document that `from_json` reads."""
        return [asdict(site) for site in self.sites]

    @classmethod
    def from_json(cls, document: Any) -> "Plan":
        """Reads a document.

        Raises:
            ValueError: it is not a plan.
        """
        known = {field.name for field in fields(SiteSpec)}
        if not isinstance(document, list) or not all(isinstance(site, Mapping) for site in document):
            raise ValueError("a plan is a list of sites")
        for site in document:
            if "path" not in site or not set(site) <= known:
                raise ValueError(f"a site has a path and some of {', '.join(sorted(known))}; got {', '.join(site)}")
        return cls(tuple(SiteSpec(**site) for site in document))


def check_rate(rate: float) -> None:
    """Whether a number is a dropout rate.

    Raises:
        ValueError: it is not at least 0 and below 1.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"a dropout rate is at least 0 and below 1 (at 1 nothing would be left), got {rate}")
