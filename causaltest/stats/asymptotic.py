"""A confidence sequence for values without known limits, from the fiftieth on.

Source: Waudby-Smith et al. (2024), Time-uniform central limit theory, Annals of Statistics 52.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from causaltest.errors import EvidenceError

Floats = NDArray[np.float64]

FEWEST_ASYMPTOTIC = 50
_BISECTIONS = 50


def asymptotic_sequence(values: Floats, alpha: float) -> tuple[Floats, Floats]:
    """Asymptotic confidence sequence for the mean of values without known limits.

    Parameters
    ----------
    values
        Observations in the order in which they came, at least 50.
    alpha
        Two-sided level.

    Returns
    -------
    low, high
        Limits after the 50th value and each later one.

    Raises
    ------
    EvidenceError
        If there are fewer than 50 values: earlier limits miss too often (25 % at n = 5 on
        lognormal data).

    Notes
    -----
    Waudby-Smith et al. (2024), theorem 2.2, with rho tuned to n = 50.

    Examples
    --------
    >>> low, high = asymptotic_sequence(np.random.default_rng(0).normal(1.0, 1.0, 80), 0.05)
    >>> len(low), bool(low[-1] < 1.0 < high[-1])
    (31, True)
    """
    count = len(values)
    if count < FEWEST_ASYMPTOTIC:
        raise EvidenceError(
            f"{count} values without known limits cannot be watched as they come: at least "
            f"{FEWEST_ASYMPTOTIC} are needed first\ngive limits (low=..., high=...) that no value "
            "can pass, or wait"
        )
    n = np.arange(FEWEST_ASYMPTOTIC, count + 1, dtype=np.float64)
    away = values - values[0]  # sums of squares of what lies far from 0 would lose the spread
    sums, squares = np.cumsum(away), np.cumsum(away**2)
    mean = sums[FEWEST_ASYMPTOTIC - 1 :] / n
    spread = np.sqrt(np.maximum(squares[FEWEST_ASYMPTOTIC - 1 :] / n - mean**2, 0.0))
    tuned = 2.0 * math.log(1.0 / alpha)
    rho2 = (tuned + math.log(1.0 + tuned)) / FEWEST_ASYMPTOTIC
    inside = (n * rho2 + 1.0) / (n**2 * rho2) * np.log((n * rho2 + 1.0) / alpha**2)
    rounding = 1e-12 * float(np.abs(values).max())
    reach = spread * np.sqrt(inside) + rounding
    return values[0] + mean - reach, values[0] + mean + reach


@dataclass(frozen=True, eq=False)
class Asymptotic:
    """Evidence from values without known limits, from the fiftieth on."""

    values: Floats

    @property
    def estimate(self) -> float:
        """The mean of the values so far."""
        return math.fsum(self.values) / len(self.values)

    def p_above(self, bound: float) -> float:
        """Anytime p-value of the claim that the mean lies above the bound."""
        return self._p(
            lambda alpha: bool((asymptotic_sequence(self.values, alpha)[0] > bound).any())
        )

    def p_below(self, bound: float) -> float:
        """Anytime p-value of the claim that the mean lies below the bound."""
        return self._p(
            lambda alpha: bool((asymptotic_sequence(self.values, alpha)[1] < bound).any())
        )

    def limits(self, alpha: float) -> tuple[float, float]:
        """Limits of the confidence sequence at this time; all earlier ones hold as well.

        Values that drift may leave nothing that all of them hold: then the last limits count.
        """
        low, high = asymptotic_sequence(self.values, alpha)
        if low.max() > high.min():
            return float(low[-1]), float(high[-1])
        return float(low.max()), float(high.min())

    def path(self, alpha: float) -> tuple[int, list[float], list[float]]:
        """Limits after each value from the fiftieth on, none wider than one before it."""
        low, high = asymptotic_sequence(self.values, alpha)
        narrowed = np.maximum.accumulate(low), np.minimum.accumulate(high)
        return FEWEST_ASYMPTOTIC, narrowed[0].tolist(), narrowed[1].tolist()

    def _p(self, rejects: Callable[[float], bool]) -> float:
        """Smallest one-sided level at which the sequence rejects."""
        low, high = math.log(1e-12), math.log(0.999)
        if not rejects(math.exp(high)):
            return 1.0
        for _ in range(_BISECTIONS):
            middle = 0.5 * (low + high)
            low, high = (low, middle) if rejects(math.exp(middle)) else (middle, high)
        return 0.5 * math.exp(high)
