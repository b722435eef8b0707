"""Intervals and tests for rates, and for differences of two rates on the same pairs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from causaltest.stats.distributions import (
    SMALLEST,
    beta_quantile,
    binomial_at_least,
    binomial_at_most,
    normal_quantile,
    normal_survival,
)
from causaltest.stats.hull import Hull

_BISECTIONS = 70


def wilson(successes: float, n: int, alpha: float) -> tuple[float, float]:
    """Wilson's score interval for a rate.

    Source: Wilson (1927), Probable inference, JASA 22, 209-212.

    Examples
    --------
    >>> low, high = wilson(12, 12, 0.05)
    >>> round(low, 3), high
    (0.758, 1.0)
    """
    z2 = normal_quantile(alpha / 2.0) ** 2
    rate = successes / n
    centre = (rate + z2 / (2 * n)) / (1 + z2 / n)
    reach = math.sqrt(z2 * (rate * (1 - rate) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return (
        0.0 if successes <= 0 else max(0.0, centre - reach),
        1.0 if successes >= n else min(1.0, centre + reach),
    )


def clopper_pearson(successes: float, n: int, alpha: float) -> tuple[float, float]:
    """Exact interval for a rate; `successes` may be fractional (a sum of unit rates).

    Source: Clopper and Pearson (1934), The use of confidence or fiducial limits, Biometrika 26.

    Examples
    --------
    >>> low, high = clopper_pearson(12, 12, 0.05)
    >>> round(low, 3), high
    (0.735, 1.0)
    """
    k, tail = successes, alpha / 2.0
    low = 0.0 if k <= 0 else beta_quantile(k, n - k + 1, tail)
    high = 1.0 if k >= n else 1.0 - beta_quantile(n - k, k + 1, tail)
    return low, high


@dataclass(frozen=True)
class Binomial:
    """Evidence about a rate from independent trials: the exact binomial test and its interval."""

    successes: float
    n: int

    @property
    def estimate(self) -> float:
        """The observed rate."""
        return self.successes / self.n

    def p_above(self, bound: float) -> float:
        """One-sided p-value of the claim that the rate lies above the bound."""
        return binomial_at_least(self.successes, self.n, bound)

    def p_below(self, bound: float) -> float:
        """One-sided p-value of the claim that the rate lies below the bound."""
        return binomial_at_most(self.successes, self.n, bound)

    def limits(self, alpha: float) -> tuple[float, float]:
        """Clopper-Pearson limits."""
        return clopper_pearson(self.successes, self.n, alpha)


@dataclass(frozen=True, eq=False)
class UnitRates:
    """Evidence about a rate from unit rates: the hull, backed by one trial per unit.

    Near a ceiling many resamples have no spread and the bootstrap limit runs off to infinity.
    No distribution on [0, 1] varies more than successes and failures with the same mean, so
    Clopper-Pearson with one trial per unit bounds each side; the tighter of the two is taken.
    """

    hull: Hull
    trials: Binomial

    @property
    def estimate(self) -> float:
        """The mean of the unit rates."""
        return self.hull.estimate

    def p_above(self, bound: float) -> float:
        """One-sided p-value of the claim that the rate lies above the bound."""
        return min(self.hull.p_above(bound), self.trials.p_above(bound))

    def p_below(self, bound: float) -> float:
        """One-sided p-value of the claim that the rate lies below the bound."""
        return min(self.hull.p_below(bound), self.trials.p_below(bound))

    def skewed(self, bound: float) -> float:
        """Skewness of the unit rates."""
        return self.hull.skewed(bound)

    def corrected_above(self, bound: float) -> float:
        """`p_above`, corrected for skewness, of which one trial per unit depends on none."""
        return min(self.hull.corrected_above(bound), self.trials.p_above(bound))

    def corrected_below(self, bound: float) -> float:
        """`p_below`, corrected for skewness, of which one trial per unit depends on none."""
        return min(self.hull.corrected_below(bound), self.trials.p_below(bound))

    def limits(self, alpha: float) -> tuple[float, float]:
        """Confidence limits inside [0, 1]."""
        (low, high), (least, most) = self.hull.limits(alpha), self.trials.limits(alpha)
        return max(low, least), min(high, most)


@dataclass(frozen=True)
class PairedFlips:
    """Evidence about the difference of two rates on the same independent pairs.

    `gained` counts pairs right under the first only, `lost` under the second only. Each limit is
    the farther of two: that of Agresti and Min (half a pair added to each discordant cell, two to
    n), which is too near where flips of one kind are rare and at small levels; and the limits of
    Clopper and Pearson of both kinds of flips, squared and added. It is widened to include 0
    where McNemar's exact test does not reject 0; the p-value is its dual.

    Sources: McNemar (1947), Psychometrika 12; Agresti and Min (2005), Simple improved
    confidence intervals for comparing matched proportions, Statistics in Medicine 24; Newcombe
    (1998), Improved confidence intervals for the difference between binomial proportions based on
    paired data, Statistics in Medicine 17; Zou and Donner (2008), Statistics in Medicine 27.
    """

    gained: int
    lost: int
    n: int

    @property
    def estimate(self) -> float:
        """The observed difference of the rates."""
        return (self.gained - self.lost) / self.n

    def p_above(self, bound: float) -> float:
        """One-sided p-value of the claim that the difference lies above the bound."""
        p = max(normal_survival((self._centre - bound) / self._error), self._added_p(bound))
        return max(p, mcnemar(self.gained, self.lost) if bound >= 0.0 else 0.0, SMALLEST)

    def p_below(self, bound: float) -> float:
        """One-sided p-value of the claim that the difference lies below the bound."""
        return PairedFlips(self.lost, self.gained, self.n).p_above(-bound)

    def limits(self, alpha: float) -> tuple[float, float]:
        """Confidence limits inside [-1, 1], dual to the p-values."""
        reach = normal_quantile(alpha / 2.0) * self._error
        swapped = PairedFlips(self.lost, self.gained, self.n)
        low = min(self._centre - reach, self._added(alpha / 2.0))
        high = max(self._centre + reach, -swapped._added(alpha / 2.0))
        if low > 0.0 and mcnemar(self.gained, self.lost) > alpha / 2.0:
            low = 0.0
        if high < 0.0 and mcnemar(self.lost, self.gained) > alpha / 2.0:
            high = 0.0
        return max(low, -1.0), min(high, 1.0)

    def _added(self, tail: float) -> float:
        """Lower limit from those of the two kinds of flips, which exclude each other."""
        more, fewer = self.gained / self.n, self.lost / self.n
        least = clopper_pearson(self.gained, self.n, 2.0 * tail)[0]
        most = clopper_pearson(self.lost, self.n, 2.0 * tail)[1]
        # At the estimates and at the limits: either alone is at times too small.
        together = max(_exclusion(more, fewer), _exclusion(least, most))
        down, up = more - least, most - fewer
        return more - fewer - math.sqrt(down**2 + up**2 + 2.0 * together * down * up)

    def _added_p(self, bound: float) -> float:
        """The level at which that limit reaches the bound, up to a half."""
        if self._added(0.5) <= bound:
            return 0.5
        low, high = math.log(SMALLEST), math.log(0.5)
        for _ in range(_BISECTIONS):
            middle = 0.5 * (low + high)
            low, high = (low, middle) if self._added(math.exp(middle)) > bound else (middle, high)
        return math.exp(high)

    @property
    def _centre(self) -> float:
        return (self.gained - self.lost) / (self.n + 2)

    @property
    def _error(self) -> float:
        discordant = (self.gained + self.lost + 1) / (self.n + 2)
        return math.sqrt((discordant - self._centre**2) / (self.n + 2))


def _exclusion(one: float, other: float) -> float:
    """Correlation, without its sign, of the shares of two outcomes that exclude each other."""
    if one >= 1.0 or other >= 1.0:
        return 1.0
    return min(1.0, math.sqrt(one * other / ((1.0 - one) * (1.0 - other))))


def mcnemar(gained: int, lost: int) -> float:
    """McNemar's exact one-sided p-value for more gained than lost.

    Examples
    --------
    >>> round(mcnemar(8, 1), 4)
    0.0195
    """
    if gained + lost == 0:
        return 1.0
    return binomial_at_least(gained, gained + lost, 0.5)
