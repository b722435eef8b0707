"""Effect sizes that stand beside a verdict and never decide it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from causaltest.stats.distributions import noncentrality
from causaltest.stats.rates import wilson


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


def share(hits: NDArray[np.bool_], alpha: float) -> tuple[float, float, float]:
    """Share of units for which something holds, with Wilson's interval.

    For a paired comparison the share of units above zero is the common-language effect size.
    """
    count = int(hits.sum())
    low, high = wilson(count, len(hits), alpha)
    return count / len(hits), low, high
