"""Stopping early: evidence that stays valid however often it is looked at.

Sources: Waudby-Smith and Ramdas (2024), Estimating means of bounded random variables by betting,
JRSS B 86; Waudby-Smith et al. (2024), Time-uniform central limit theory, Annals of Statistics 52;
Ville (1939) for e >= 1/alpha.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from causaltest.errors import EvidenceError
from causaltest.stats.decision import Region, decide
from causaltest.stats.evidence import Basis, judged
from causaltest.stats.judge import Judge
from causaltest.stats.verdict import Verdict

Floats = NDArray[np.float64]

FEWEST_ASYMPTOTIC = 50
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
    sums, squares = np.cumsum(values), np.cumsum(values**2)
    mean = sums[FEWEST_ASYMPTOTIC - 1 :] / n
    spread = np.sqrt(np.maximum(squares[FEWEST_ASYMPTOTIC - 1 :] / n - mean**2, 0.0))
    tuned = 2.0 * math.log(1.0 / alpha)
    rho2 = (tuned + math.log(1.0 + tuned)) / FEWEST_ASYMPTOTIC
    inside = (n * rho2 + 1.0) / (n**2 * rho2) * np.log((n * rho2 + 1.0) / alpha**2)
    reach = spread * np.sqrt(inside)
    return mean - reach, mean + reach


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
        return self._p(lambda alpha: self.limits(alpha)[0] > bound)

    def p_below(self, bound: float) -> float:
        """Anytime p-value of the claim that the mean lies below the bound."""
        return self._p(lambda alpha: self.limits(alpha)[1] < bound)

    def limits(self, alpha: float) -> tuple[float, float]:
        """Limits of the confidence sequence at this time; all earlier ones hold as well."""
        low, high = asymptotic_sequence(self.values, alpha)
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


class Stopper:
    """Takes unit means as they come and says when the claim is settled.

    Look after every unit, as often as you like: the probability of a wrong verdict at any time is
    at most the claim's level. Units, e.g. templates, must be independent and come in an order
    fixed beforehand.

    Parameters
    ----------
    region
        The claimed region, e.g. `Region(0.5, math.inf)` for `> 0.5`.
    low, high
        Limits that no value can pass; None for both where there are none, then nothing is decided
        before the fiftieth unit.
    unit, subject, metric, pair_set, judge
        As for `Effect`.

    Raises
    ------
    EvidenceError
        If only one limit is given, they are not in order, or no value between them decides.

    Examples
    --------
    >>> stopper = Stopper(Region(0.5, math.inf), low=0.0, high=1.0, subject="accuracy")
    >>> rng = np.random.default_rng(0)
    >>> while not stopper.settled and stopper.count < 500:
    ...     stopper.add(f"template {stopper.count}", float(rng.uniform(0.6, 1.0)))
    >>> stopper.verdict().name, stopper.count < 60
    ('supported', True)
    """

    def __init__(
        self,
        region: Region,
        *,
        low: float | None = None,
        high: float | None = None,
        unit: str = "pair",
        subject: str = "effect",
        metric: str = "",
        pair_set: tuple[str, str] = ("", ""),
        judge: Judge | Callable[[], Judge] = Judge,
    ) -> None:
        if (low is None) != (high is None):
            raise EvidenceError(f"{subject}: give both limits of the values, or none")
        if low is not None and high is not None and not low < high:
            raise EvidenceError(f"{subject}: the limits {low:g} and {high:g} are not in order")
        self._region = region
        self._limits = None if low is None or high is None else (low, high)
        self._unit = unit
        self._subject = subject
        self._metric = metric
        self._pair_set = pair_set
        self._judge = judge
        self._labels: list[str] = []
        self._values: list[float] = []

    @property
    def count(self) -> int:
        """Units taken so far."""
        return len(self._values)

    def add(self, label: str, value: float) -> None:
        """Take the mean of one finished unit.

        Raises
        ------
        EvidenceError
            If the value is not finite or passes a limit, the unit came before, or the claim is
            settled already.
        """
        if not math.isfinite(value):
            raise EvidenceError(f"{self._subject}: the value is {value} for {self._unit} {label!r}")
        if self._limits is not None and not self._limits[0] <= value <= self._limits[1]:
            raise EvidenceError(
                f"{self._subject}: {value:g} for {self._unit} {label!r} passes the limits "
                f"{self._limits[0]:g} and {self._limits[1]:g}\nlimits must hold for every value; "
                "clip the metric, or watch without limits"
            )
        if label in self._labels:
            raise EvidenceError(f"{self._subject}: {self._unit} {label!r} came before")
        self._labels.append(label)
        self._values.append(float(value))

    @property
    def settled(self) -> bool:
        """Whether the claim is supported or refuted by now."""
        if self.count == 0 or (self._limits is None and self.count < FEWEST_ASYMPTOTIC):
            return False
        judge = self._current_judge()
        return decide(self._evidence(judge), self._region, judge).name != "inconclusive"

    def futile(self, *, margin: float) -> bool:
        """Whether the interval is narrower than a margin and still undecided: stop without verdict.

        Parameters
        ----------
        margin
            Width below which a further unit would not change anything that matters.
        """
        if self.count == 0 or (self._limits is None and self.count < FEWEST_ASYMPTOTIC):
            return False
        low, high = self._evidence(self._current_judge()).limits(self._current_judge().alpha_claim)
        return not self.settled and high - low < margin

    def verdict(self) -> Verdict:
        """Decide on what has come so far.

        Raises
        ------
        EvidenceError
            If nothing has come, or too little without limits.
        """
        judge = self._current_judge()
        if self.count == 0:
            raise EvidenceError(f"{self._subject}: no {self._unit} has come yet")
        region = self._region
        bounds = {
            ">": f"> {region.low:g}",
            "<": f"< {region.high:g}",
            "within": f"within {region.low:g} and {region.high:g}",
        }
        way = "betting e-process" if self._limits else "asymptotic confidence sequence"
        labels = tuple(self._labels)
        return judged(
            self._evidence(judge),
            region,
            judge,
            basis=Basis(
                values=tuple(self._values),
                units=labels,
                unit=self._unit,
                pair_ids=labels,
                pair_set=self._pair_set,
            ),
            statement=f"{self._metric or 'effect'} {bounds[region.relation]}",
            subject=self._subject,
            method=f"{way} over {self.count} {self._unit}s as they came",
            over=f"{way} over {self.count} {self._unit}s",
            advice=f"more {self._unit}s may settle it; go on as they come",
            notes=(f"stopped after {self.count} {self._unit}s; valid at any time of looking",),
        )

    def _evidence(self, judge: Judge) -> Betting | Asymptotic:
        values = np.array(self._values)
        if self._limits is None:
            if self.count < FEWEST_ASYMPTOTIC:
                asymptotic_sequence(values, judge.alpha)
            return Asymptotic(values)
        return Betting(values, *self._limits, judge.alpha_claim)

    def _current_judge(self) -> Judge:
        return self._judge if isinstance(self._judge, Judge) else self._judge()


def clipped(values: ArrayLike, bound: float) -> Floats:
    """Clip unit means to a bound that was fixed beforehand, so that betting applies.

    The estimand is then the mean of the clipped values.

    Parameters
    ----------
    values
        Unit means.
    bound
        Largest absolute value kept, positive.

    Examples
    --------
    >>> clipped([0.5, -3.0], 2.0).tolist()
    [0.5, -2.0]
    """
    return np.clip(np.asarray(values, dtype=np.float64), -bound, bound)
