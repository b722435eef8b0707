"""Betting on bounded values as they come: evidence that holds however often it is looked at.

Sources: Waudby-Smith and Ramdas (2024), Estimating means of bounded random variables by betting,
JRSS B 86; Ville (1939) for e >= 1/alpha.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from causaltest.errors import EvidenceError

Floats = NDArray[np.float64]

_LARGEST_BET = 0.5
_BISECTIONS = 50


def bets(values: Floats, alpha: float) -> Floats:
    """Predictable plug-in bets for values in [0, 1]; the i-th rests on the values before it.

    Waudby-Smith and Ramdas (2024), the hedged capital process with predictable plug-in bets.

    Parameters
    ----------
    values
        Observations in [0, 1], shape (..., n), in the order in which they came.
    alpha
        Two-sided level at which evidence shall grow fastest.

    Examples
    --------
    >>> bets(np.array([0.5, 0.5, 0.5]), 0.05).round(2).tolist()
    [6.52, 5.18, 4.61]
    """
    i = np.arange(1, values.shape[-1] + 1, dtype=np.float64)
    means = (0.5 + np.cumsum(values, axis=-1)) / (i + 1)
    variances = (0.25 + np.cumsum((values - means) ** 2, axis=-1)) / (i + 1)
    before = np.concatenate([np.full_like(variances[..., :1], 0.25), variances[..., :-1]], axis=-1)
    return np.sqrt(2.0 * math.log(2.0 / alpha) / (before * i * np.log(i + 1.0)))


def betting(values: Floats, bound: float, alpha: float) -> tuple[Floats, Floats]:
    """Log e-processes against "the mean is at most the bound" and "at least the bound".

    Parameters
    ----------
    values
        Observations in [0, 1], shape (..., n), in the order in which they came.
    bound
        In (0, 1).
    alpha
        As for `bets`.

    Returns
    -------
    up, down
        Logarithms of the two processes after each value. Under its hypothesis either exceeds
        log(1 / p) at any time with a probability of at most p.

    Examples
    --------
    >>> up, down = betting(np.full(60, 0.8), 0.5, 0.05)
    >>> bool(up[-1] > math.log(40)), bool(down[-1] < 0)
    (True, True)
    """
    stakes = bets(values, alpha)
    up = np.minimum(stakes, _LARGEST_BET / bound)
    down = np.minimum(stakes, _LARGEST_BET / (1.0 - bound))
    away = values - bound
    return np.cumsum(np.log1p(up * away), axis=-1), np.cumsum(np.log1p(-down * away), axis=-1)


def sign_process(positive: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Log e-processes against "at most half are positive" and "at least half are".

    The Beta-binomial mixture over the claimed side of one half: exact for signs, blind to sizes.

    Parameters
    ----------
    positive
        Whether each value is above 0, shape (..., n), in the order in which they came; leave
        zeros out.

    Examples
    --------
    >>> up, _ = sign_process(np.ones(10, dtype=bool))
    >>> round(float(np.exp(up[-1])), 1)
    186.1
    """
    k = np.cumsum(positive, axis=-1, dtype=np.float64)
    n = np.arange(1, positive.shape[-1] + 1, dtype=np.float64)
    total = special.betaln(k + 1.0, n - k + 1.0) + n * math.log(2.0) + math.log(2.0)
    above = special.betaincc(k + 1.0, n - k + 1.0, 0.5)
    below = special.betainc(k + 1.0, n - k + 1.0, 0.5)
    with np.errstate(divide="ignore"):
        return total + np.log(above), total + np.log(below)


def combined(e_values: Sequence[float]) -> float:
    """Combine e-values of one claim on the same model from pairs that no other run saw.

    Their product is an e-value, and 1 over it a p-value. Take each where its run stopped
    (`Betting.e_above`), not at its largest: the largest over time is no e-value.

    Parameters
    ----------
    e_values
        One per run.

    Examples
    --------
    >>> round(combined([10.0, 5.0]), 3)
    0.02
    """
    return min(1.0, math.exp(-math.fsum(math.log(max(e, 1e-300)) for e in e_values)))


@dataclass(frozen=True, eq=False)
class Betting:
    """Evidence from bounded values that came one by one; valid at any time it is asked.

    P-values are 1 / (largest e so far); limits are the bounds not yet rejected, at any time.
    """

    values: Floats
    low: float
    high: float
    alpha: float
    """Level that the bets are tuned to; p-values are valid whatever it is."""

    @property
    def estimate(self) -> float:
        """The mean of the values so far."""
        return math.fsum(self.values) / len(self.values)

    def p_above(self, bound: float) -> float:
        """Anytime p-value of the claim that the mean lies above the bound."""
        return self._p(bound, 0)

    def p_below(self, bound: float) -> float:
        """Anytime p-value of the claim that the mean lies below the bound."""
        return self._p(bound, 1)

    def limits(self, alpha: float) -> tuple[float, float]:
        """Confidence sequence at this time, with alpha / 2 on each side."""
        return self._limit(alpha / 2.0, 0), self._limit(alpha / 2.0, 1)

    def path(self, bound: float) -> tuple[list[float], list[float]]:
        """Logarithms of both e-values after each value: "above the bound" and "below" it."""
        width = self.high - self.low
        up, down = betting((self.values - self.low) / width, (bound - self.low) / width, self.alpha)
        return up.tolist(), down.tolist()

    def e_above(self, bound: float) -> float:
        """The e-value against "at most the bound" where the values stop."""
        return self._e(bound, 0)

    def e_below(self, bound: float) -> float:
        """The e-value against "at least the bound" where the values stop."""
        return self._e(bound, 1)

    def _e(self, bound: float, side: int) -> float:
        width = self.high - self.low
        at = (bound - self.low) / width
        if not 0.0 < at < 1.0:
            raise EvidenceError(f"no e-value for {bound:g}: it is not inside the limits of values")
        process = betting((self.values - self.low) / width, at, self.alpha)[side]
        return math.exp(min(float(process[-1]), 690.0))

    def _p(self, bound: float, side: int) -> float:
        width = self.high - self.low
        at = (bound - self.low) / width
        if not 0.0 < at < 1.0:
            beyond = at <= 0.0 if side == 0 else at >= 1.0
            # A bound that no value can pass needs no data.
            return 1e-300 if beyond and at not in (0.0, 1.0) else 1.0
        process = betting((self.values - self.low) / width, at, self.alpha)[side]
        return math.exp(-max(0.0, min(float(process.max()), 690.0)))

    def _limit(self, level: float, side: int) -> float:
        """Find where the p-value, monotone in the bound, passes the level."""
        kept, rejected = self.estimate, self.low if side == 0 else self.high
        for _ in range(_BISECTIONS):
            middle = 0.5 * (kept + rejected)
            if self._p(middle, side) <= level:
                rejected = middle
            else:
                kept = middle
        return rejected
