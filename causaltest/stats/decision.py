"""The verdict rule: evidence and levels in, a named verdict with p-values out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from causaltest.stats.distributions import t_quantile
from causaltest.stats.judge import Judge
from causaltest.stats.planning import units_needed
from causaltest.stats.verdict import Doubt, Name, Relation


class Evidence(Protocol):
    """Anything that can test a bound from either side and invert its own tests."""

    @property
    def estimate(self) -> float:
        """The point estimate."""
        ...

    def p_above(self, bound: float) -> float:
        """One-sided p-value of the claim that the estimand lies above the bound."""
        ...

    def p_below(self, bound: float) -> float:
        """One-sided p-value of the claim that the estimand lies below the bound."""
        ...

    def limits(self, alpha: float) -> tuple[float, float]:
        """Two-sided confidence limits, dual to the p-values."""
        ...


@runtime_checkable
class OnUnits(Protocol):
    """Evidence from unit means, whose verdicts at small levels depend on their skewness."""

    def skewed(self, bound: float) -> float:
        """Skewness of the units' distances from the bound."""
        ...

    def corrected_above(self, bound: float) -> float:
        """`p_above`, corrected for skewness; never smaller."""
        ...

    def corrected_below(self, bound: float) -> float:
        """`p_below`, corrected for skewness; never smaller."""
        ...


@dataclass(frozen=True)
class Region:
    """The claimed region: everything strictly between two bounds, one of them maybe infinite."""

    low: float
    high: float

    @property
    def relation(self) -> Relation:
        """How the claim was written."""
        if math.isinf(self.high):
            return ">"
        return "<" if math.isinf(self.low) else "within"


@dataclass(frozen=True)
class Decision:
    """A verdict's name and the p-values behind it."""

    name: Name
    p_support: float
    p_refute: float
    doubt: Doubt | None = None


def decide(evidence: Evidence, region: Region, judge: Judge) -> Decision:
    """Decide a claim: supported, refuted, or inconclusive where neither p-value is small enough.

    `p_support` is the larger over the region's finite bounds, since all must be cleared;
    `p_refute` the smaller, since the truth can lie beyond one of them only.
    """
    support: list[float] = []
    refute: list[float] = []
    if math.isfinite(region.low):
        support.append(evidence.p_above(region.low))
        refute.append(evidence.p_below(region.low))
    if math.isfinite(region.high):
        support.append(evidence.p_below(region.high))
        refute.append(evidence.p_above(region.high))
    p_support, p_refute = max(support), min(refute)
    name: Name = "inconclusive"
    if reaches(p_support, judge.alpha_claim):
        name = "supported"
    elif reaches(p_refute, judge.alpha_claim / judge.parts):
        name = "refuted"
    doubt = None if name == "inconclusive" else _doubt(evidence, region, name, judge)
    return Decision(name, p_support, p_refute, doubt)


def _doubt(evidence: Evidence, region: Region, name: Name, judge: Judge) -> Doubt | None:
    """Look whether a verdict at a level below the run's, where the hull is proved, would stand.

    Of several bounds it looks at the one that decided.
    """
    supported = name == "supported"
    alpha = judge.alpha_claim if supported else judge.alpha_claim / judge.parts
    if not isinstance(evidence, OnUnits) or alpha >= judge.alpha * (1.0 - 1e-12):
        return None
    found: list[tuple[float, float]] = []
    if math.isfinite(region.low):
        test = evidence.corrected_above if supported else evidence.corrected_below
        found.append((test(region.low), region.low))
    if math.isfinite(region.high):
        test = evidence.corrected_below if supported else evidence.corrected_above
        found.append((test(region.high), region.high))
    p, bound = max(found) if supported else min(found)
    return None if reaches(p, alpha) else Doubt(p, alpha / 2.0, evidence.skewed(bound))


def reaches(p: float, alpha: float) -> bool:
    """Whether a one-sided p-value reaches a two-sided level, up to rounding."""
    return p <= alpha / 2.0 * (1.0 + 1e-12)


def needed(evidence: Evidence, region: Region, judge: Judge, n_units: int) -> int | None:
    """Units at which a claim would be settled with 80 % power, if the estimate were the truth.

    The spread is read off the width of the deciding interval, so that whatever makes the test
    careful (skewness, few units) enters the plan. None where the estimate sits at the bound.
    """
    estimate = evidence.estimate
    inside = region.low < estimate < region.high
    alpha = judge.alpha_claim if inside else judge.alpha_claim / judge.parts
    low, high = evidence.limits(alpha)
    per_unit = math.sqrt(n_units) / t_quantile(n_units - 1, alpha / 2.0)
    # Inside, every finite bound must be cleared; outside, only the one that was passed.
    pairs = (
        [(estimate - region.low, estimate - low), (region.high - estimate, high - estimate)]
        if inside
        else [(region.low - estimate, high - estimate), (estimate - region.high, estimate - low)]
    )
    distances = [
        distance / (reach * per_unit)
        for distance, reach in pairs
        if math.isfinite(distance) and (inside or distance >= 0.0) and reach > 0.0
    ]
    if not distances:
        return None
    return units_needed(*distances, alpha=alpha)
