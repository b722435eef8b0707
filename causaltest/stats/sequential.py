"""Stopping early by hand: units are handed over one by one until the claim is settled."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from causaltest.errors import EvidenceError
from causaltest.stats.asymptotic import FEWEST_ASYMPTOTIC, Asymptotic, asymptotic_sequence
from causaltest.stats.betting import Betting
from causaltest.stats.decision import Region, decide
from causaltest.stats.evidence import Basis, judged
from causaltest.stats.judge import Judge
from causaltest.stats.verdict import Verdict

Floats = NDArray[np.float64]


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
