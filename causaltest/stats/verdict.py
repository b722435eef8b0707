"""The verdict on one comparison: supported, refuted or inconclusive, with its evidence."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from causaltest.errors import Inconclusive

if TYPE_CHECKING:
    from causaltest.stats.shown import Shown

Name = Literal["supported", "refuted", "inconclusive"]
Relation = Literal[">", "<", "within"]


@dataclass(frozen=True)
class Interval:
    """A confidence interval; `level` is its two-sided coverage, e.g. 0.95."""

    low: float
    high: float
    level: float


@dataclass(frozen=True)
class Sizes:
    """Effect sizes that stand beside a verdict and never decide it.

    `share_in_direction` is the share of units on the claimed side of 0 (of the bound for rates,
    inside the margin for equivalence); `d_z_interval` is normal-theory. Of rates, `risk_difference`
    is the difference from the bound, or of the two rates that are compared, and `odds_ratio` the
    ratio of their odds with half a pair added to each count. `prediction` is where the mean of one
    more unit would lie, by normal theory.
    """

    share_in_direction: float | None = None
    share_interval: Interval | None = None
    d_z: float | None = None
    d_z_interval: Interval | None = None
    fraction_of_total: float | None = None
    risk_difference: float | None = None
    odds_ratio: float | None = None
    odds_ratio_interval: Interval | None = None
    prediction: Interval | None = None


@dataclass(frozen=True)
class Doubt:
    """Why a verdict may not hold its level: without what skewness adds, it is not reached."""

    p: float
    """One-sided p-value of the verdict, corrected for skewness."""
    level: float
    """The one-sided level at which it was decided."""
    skewness: float
    """That of the units' values, with what so few tend to miss of it."""


@dataclass(frozen=True, eq=False, repr=False)
class Verdict:
    """What the evidence says about one comparison.

    Its truth can be asked: True where supported, False where refuted; an inconclusive verdict
    raises `Inconclusive`. Asking for the first time hands the verdict to `Judge.observe`.
    """

    name: Name
    statement: str
    """The comparison with its numbers filled in, e.g. `recovery > 0.5`."""
    subject: str
    """What was measured, e.g. `recovery of interchange(block_output[2]@name)`."""
    relation: Relation
    bound: float
    """The bound as written; for `within` the margin m of -m < effect < m."""
    estimate: float
    interval: Interval
    """Unadjusted, at the run's level."""
    adjusted_interval: Interval
    """At `alpha_claim`; the verdict follows from it."""
    p_support: float
    p_refute: float
    alpha_claim: float
    n_pairs: int
    n_units: int
    unit: str
    method: str
    """E.g. `hull on 12 template means, 9,999 resamples`."""
    floor: float
    """Numeric floor in the unit of the estimate; a bound of 0 is decided there."""
    pairs_needed: int | None
    """If inconclusive: pairs that would settle it with 80 % power; None at the bound."""
    sizes: Sizes
    values: tuple[float, ...]
    """One per pair; for a ratio of means y_i / mean(scale), whose unit means average to it."""
    units: tuple[str, ...]
    pair_ids: tuple[str, ...]
    pair_set: tuple[str, str]
    """Name and hash of the pair set."""
    notes: tuple[str, ...] = ()
    """Remarks that a reader must see."""
    over: str = ""
    """The method in short, e.g. `hull over 12 template means (24 pairs)`."""
    parts: int = 1
    """Comparisons in the claim: refutation is decided at `alpha_claim / parts`."""
    totals: tuple[float, ...] = ()
    """For a ratio of means: each pair's denominator over the mean one."""
    n_available: int = 0
    """Pairs there were, where a sequential run may have stopped before the last; else 0."""
    shown: tuple[Shown, ...] = ()
    """What a figure of the comparison shows beside these numbers."""
    doubt: Doubt | None = None
    """Where units are few and skewed for the level at which this was decided."""
    _observe: Callable[[Verdict], None] | None = None
    _asked: list[bool] = field(default_factory=lambda: [False])

    def __bool__(self) -> bool:
        if not self._asked[0]:
            self._asked[0] = True
            if self._observe is not None:
                self._observe(self)
        if self.name == "inconclusive":
            raise Inconclusive("\n".join(self.explain()))
        return self.name == "supported"

    def explain(self) -> list[str]:
        """Say in at most five lines what was found, number and verdict first."""
        lines = [f"{self.name}: {self._headline()}", _shorten(self.subject)]
        corrected = abs(self.adjusted_interval.level - self.interval.level) > 1e-9
        if corrected:
            lines.append(f"{self._written(self.interval)}, {self.over}")
            lines.append(
                f"corrected for its family: {self._written(self.adjusted_interval)}; "
                f"{self._where()}"
            )
        else:
            lines += _joined(f"{self._written(self.interval)}, {self.over}", self._where())
        if self.name == "inconclusive":
            lines.append(self._settling())
        return lines[:5]

    def __repr__(self) -> str:
        return f"<{self.name}: {self._headline()}; {self._written(self.interval)}, {self.over}>"

    def _headline(self) -> str:
        number = self._number(self.estimate, signed=self.name == "inconclusive")
        relation = f"within ±{self.bound:g}" if self.relation == "within" else ""
        if self.name == "supported":
            return (
                f"{number} is {relation}"
                if relation
                else f"{number} {self.relation} {self.bound:g}"
            )
        surely = " clearly" if self.name == "inconclusive" else ""
        return f"{number} is not{surely} {relation or f'{self.relation} {self.bound:g}'}"

    def _number(self, value: float, *, signed: bool) -> str:
        """Write a number to a hundredth of the interval's width."""
        width = (self.interval.high - self.interval.low) or abs(value) or 1.0
        decimals = min(max(2 - math.floor(math.log10(width)), 0), 12)
        return f"{value:{'+' if signed else ''}.{decimals}f}"

    def _written(self, interval: Interval) -> str:
        signed = interval.low < 0.0 < interval.high
        low, high = (self._number(x, signed=signed) for x in (interval.low, interval.high))
        return f"{100.0 * interval.level:.5g}% CI [{low}, {high}]"

    def _where(self) -> str:
        if self.name == "supported":
            return (
                "it lies inside the margin"
                if self.relation == "within"
                else "it excludes the bound"
            )
        if self.name == "refuted":
            return "it lies on the other side"
        if self.p_refute <= self.alpha_claim / 2.0:
            left = 100.0 * (1.0 - self.alpha_claim / self.parts)
            return f"it lies on the other side, but not at the {left:.8g}% left for refuting this"
        return "it straddles the bound"

    def _settling(self) -> str:
        if self.pairs_needed is None:
            return "the estimate sits at the bound: no number of such pairs would settle it"
        return f"about {self.pairs_needed:,} pairs would settle it (80% power at this spread)"


def _joined(first: str, second: str) -> list[str]:
    line = f"{first}; {second}"
    return [line] if len(line) <= 100 else [f"{first};", second]


def _shorten(text: str, width: int = 100) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
