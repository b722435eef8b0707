"""Effect sizes that stand beside a verdict and never decide it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from causaltest.stats.distributions import noncentrality, t_quantile
from causaltest.stats.rates import clopper_pearson, wilson


@dataclass(frozen=True)
class Standardised:
    """Cohen's d_z of unit values with Hedges' correction; the interval is normal-theory.

    The limits are NaN where the values hardly differ beside their mean (|t| above 500).
    """

    d_z: float
    low: float
    high: float


def standardised_mean(values: NDArray[np.float64], alpha: float) -> Standardised | None:
    """Mean over standard deviation of unit values; None where they do not differ.

    The point estimate carries Hedges' correction J = 1 - 3 / (4 (n - 1) - 1). The interval
    inverts the noncentral t distribution: exact for Gaussian units, too narrow for heavy tails.

    Sources: Hedges (1981), Distribution theory for Glass's estimator, J. Educ. Stat. 6;
    Steiger and Fouladi (1997), Noncentrality interval estimation.

    Examples
    --------
    >>> found = standardised_mean(np.array([0.5, 1.5, 1.0, 2.0, 0.0, 1.0]), 0.05)
    >>> found is not None and found.low < found.d_z < found.high
    True
    """
    n = len(values)
    mean = math.fsum(values) / n
    spread = math.sqrt(math.fsum((values - mean) ** 2) / (n - 1))
    if spread <= 1e-12 * float(np.abs(values).max()):
        return None
    t = mean / spread * math.sqrt(n)
    low = noncentrality(t, n - 1, 1.0 - alpha / 2.0) / math.sqrt(n)
    high = noncentrality(t, n - 1, alpha / 2.0) / math.sqrt(n)
    return Standardised((1.0 - 3.0 / (4.0 * (n - 1) - 1.0)) * mean / spread, low, high)


def prediction(values: NDArray[np.float64], alpha: float) -> tuple[float, float]:
    """Interval in which the mean of one more unit would lie, by normal theory.

    The spread between units does not shrink with their number, and so neither does it: an effect
    may be positive on average and still be expected to be negative in the next template.

    Source: Higgins, Thompson and Spiegelhalter (2009), A re-evaluation of random-effects
    meta-analysis, J. R. Stat. Soc. A 172.

    Examples
    --------
    >>> low, high = prediction(np.array([0.5, 1.5, 1.0, 2.0, 0.0, 1.0]), 0.05)
    >>> round(low, 2), round(high, 2)
    (-0.96, 2.96)
    """
    n = len(values)
    mean = math.fsum(values) / n
    spread = math.sqrt(math.fsum((values - mean) ** 2) / (n - 1))
    reach = t_quantile(n - 1, alpha / 2.0) * spread * math.sqrt(1.0 + 1.0 / n)
    return mean - reach, mean + reach


def share(hits: NDArray[np.bool_], alpha: float) -> tuple[float, float, float]:
    """Share of units for which something holds, with Wilson's interval.

    For a paired comparison the share of units above zero is the common-language effect size.
    """
    count = int(hits.sum())
    low, high = wilson(count, len(hits), alpha)
    return count / len(hits), low, high


@dataclass(frozen=True)
class OddsRatio:
    """A ratio of odds; the interval is None where units are no pairs, or it has no finite end."""

    ratio: float
    low: float | None = None
    high: float | None = None


def odds_against(successes: int, n: int, bound: float, alpha: float) -> OddsRatio | None:
    """Odds of a rate over the odds of its bound; None for a bound of 0 or 1.

    Half a pair is added to either count, so that the ratio is finite; the interval is that of
    Clopper and Pearson.

    Source: Haldane (1956), The estimation and significance of the logarithm of a ratio of
    frequencies, Annals of Human Genetics 20.

    Examples
    --------
    >>> found = odds_against(9, 10, 0.5, 0.05)
    >>> found is not None and round(found.ratio, 2)
    6.33
    """
    if not 0.0 < bound < 1.0:
        return None
    against = bound / (1.0 - bound)
    ratio = (successes + 0.5) / (n - successes + 0.5) / against
    return _with_limits(ratio, clopper_pearson(successes, n, alpha), against)


def odds_of_flips(gained: int, lost: int, alpha: float) -> OddsRatio:
    """Conditional odds ratio of paired rates: pairs gained over pairs lost, half a pair added.

    The interval is pi / (1 - pi) of the share pi of gains among flips, by Clopper and Pearson.

    Source: Agresti (2013), Categorical Data Analysis, section 11.1; Haldane (1956).

    Examples
    --------
    >>> round(odds_of_flips(10, 2, 0.05).ratio, 2)
    4.2
    """
    ratio = (gained + 0.5) / (lost + 0.5)
    if gained + lost == 0:
        return OddsRatio(ratio)
    return _with_limits(ratio, clopper_pearson(gained, gained + lost, alpha), 1.0)


def _with_limits(ratio: float, rates: tuple[float, float], against: float) -> OddsRatio:
    low, high = rates
    if high >= 1.0:
        return OddsRatio(ratio)
    return OddsRatio(ratio, low / (1.0 - low) / against, high / (1.0 - high) / against)
