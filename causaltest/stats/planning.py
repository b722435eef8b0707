"""How many units a comparison needs before it is likely to be settled."""

from __future__ import annotations

import math

from causaltest.stats.distributions import (
    noncentral_t_below,
    normal_quantile,
    normal_survival,
    t_quantile,
)

MOST_UNITS = 1_000_000
_NORMAL_FROM = 10_000


def power(d: float, n: int, alpha: float) -> float:
    """Power of a one-sample t-test at one-sided level alpha / 2 against d standard deviations.

    Examples
    --------
    >>> round(power(0.5, 34, 0.05), 2)
    0.81
    """
    shift = min(d, 50.0) * math.sqrt(n)
    if n >= _NORMAL_FROM:
        return normal_survival(normal_quantile(alpha / 2.0) - shift)
    return 1.0 - noncentral_t_below(t_quantile(n - 1, alpha / 2.0), n - 1, shift)


def units_needed(*distances: float, alpha: float, wanted: float = 0.8) -> int | None:
    """Smallest number of units with the wanted power; None where over a million are needed.

    Parameters
    ----------
    distances
        Distance of the truth from each bound that must be excluded, in standard deviations of
        the unit values. Two distances ask for both at once, as an equivalence claim does.
    alpha
        Two-sided level; each bound is tested at half of it.
    wanted
        Power, by default 80 %.

    Examples
    --------
    >>> [units_needed(d, alpha=0.05) for d in (0.2, 0.5, 0.8)]
    [199, 34, 15]
    """
    if min(distances) <= 0.0:
        return None

    def enough(n: int) -> bool:
        return 1.0 - sum(1.0 - power(d, n, alpha) for d in distances) >= wanted

    low, high = 1, 2
    while not enough(high):
        low, high = high, high * 2
        if low > MOST_UNITS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
