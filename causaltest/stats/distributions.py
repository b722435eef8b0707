"""Typed doors to the few distribution functions that the verdicts need."""

from __future__ import annotations

import math
import sys

from scipy import optimize, special

SMALLEST = sys.float_info.min
"""Exact p-values never go below this: a p of 0 is a claim that no data can make."""


def t_survival(t: float, df: float) -> float:
    """P(T > t) for Student's t."""
    return float(special.stdtr(df, -t))


def t_quantile(df: float, upper: float) -> float:
    """Find the value that Student's t exceeds with probability `upper`."""
    return -float(special.stdtrit(df, upper))


def normal_survival(z: float) -> float:
    """P(Z > z) for the standard normal."""
    return float(special.ndtr(-z))


def normal_quantile(upper: float) -> float:
    """Find the value that the standard normal exceeds with probability `upper`."""
    return -float(special.ndtri(upper))


def beta_quantile(a: float, b: float, p: float) -> float:
    """Find the value below which Beta(a, b) lies with probability `p`."""
    return float(special.betaincinv(a, b, p))


def binomial_at_least(k: float, n: int, p: float) -> float:
    """P(X >= k) for X ~ Binomial(n, p), continued to fractional k by the incomplete beta."""
    if k <= 0.0:
        return 1.0
    return max(float(special.betainc(k, n - k + 1.0, p)), SMALLEST)


def binomial_at_most(k: float, n: int, p: float) -> float:
    """P(X <= k) for X ~ Binomial(n, p), continued to fractional k by the incomplete beta."""
    return binomial_at_least(n - k, n, 1.0 - p)


def noncentral_t_below(t: float, df: int, shift: float) -> float:
    """P(T < t) for noncentral t with noncentrality `shift`."""
    below = float(special.nctdtr(df, shift, t))
    # scipy gives NaN in some far tails, where the probability is 0 or 1 to 1e-13.
    return float(t > shift) if math.isnan(below) else below


def noncentrality(t: float, df: int, below: float) -> float:
    """Find the noncentrality at which P(T < t) is `below`; NaN beyond |t| = 500."""
    if abs(t) > 500.0:
        return math.nan

    def excess(shift: float) -> float:
        return noncentral_t_below(t, df, shift) - below

    # scipy's own inverse, nctdtrinc, is off by up to 1e-4 and takes minutes for large t.
    reach = 5.0 + 0.8 * abs(t)
    return float(optimize.brentq(excess, t - reach, t + reach, xtol=1e-12, full_output=False))
