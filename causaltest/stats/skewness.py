"""Skewness of few units: what is left of a verdict once the t is corrected for it.

Where effects have a long tail, a sample of few units tends to miss it, and mean and spread come
out too small together: claims that point away from the tail are then supported too often, and the
more so the smaller the level. The hull corrects for the skewness in the sample; a sample of few
units shows only part of what there is.

Source: Hall (1992), On the removal of skewness by transformation, J. R. Stat. Soc. B 54.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from causaltest.stats.distributions import t_survival

Floats = NDArray[np.float64]

UNSEEN = 8.0
"""A sample of n units shows about n / (n + 8) of the skewness of an exponential distribution."""


def skewness(values: Floats) -> float:
    """Skewness of what values were drawn from: that of the sample, and what it tends to miss.

    Parameters
    ----------
    values
        One per unit, at least three, not all equal.

    Examples
    --------
    >>> round(skewness(np.array([0.0, 0.1, 0.2, 0.3, 2.0])), 1)
    5.6
    >>> abs(skewness(np.array([1.0, 2.0, 3.0]))) < 1e-12
    True
    """
    n = len(values)
    away = values - math.fsum(values) / n
    away = away / np.abs(away).max()
    second, third = math.fsum(away**2) / n, math.fsum(away**3) / n
    adjusted = math.sqrt(n * (n - 1)) / (n - 2) * third / second**1.5
    return adjusted * (1.0 + UNSEEN / n)


def skew_p(values: Floats) -> float:
    """One-sided p-value of "the mean lies above 0" by the t that is corrected for skewness.

    Hall's monotone cubic takes the first effect of skewness on the t statistic away.

    Parameters
    ----------
    values
        One per unit, at least three, not all equal.

    Examples
    --------
    >>> tail_below = np.array([0.5, 1.0, 1.1, 1.2, 1.2, 1.3, 1.3, 1.4])
    >>> skew_p(tail_below) > skew_p(2.25 - tail_below)
    True
    """
    n = len(values)
    values = values / np.abs(values).max()  # squares of tiny numbers would vanish
    mean = math.fsum(values) / n
    spread = math.sqrt(math.fsum((values - mean) ** 2) / (n - 1))
    t = mean / spread * math.sqrt(n)
    bend = skewness(values) / (3.0 * math.sqrt(n))
    corrected = t + bend * t**2 + bend**2 * t**3 / 3.0 + bend / 2.0
    return t_survival(corrected, n - 1)
