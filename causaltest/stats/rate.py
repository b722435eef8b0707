"""Rates: shares of successes, and differences of two rates on the same pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from causaltest.errors import EvidenceError
from causaltest.stats.assess import Found, assess_rate, assess_rate_difference
from causaltest.stats.columns import checked_columns
from causaltest.stats.decision import Region
from causaltest.stats.judge import Judge
from causaltest.stats.magnitude import Magnitude
from causaltest.stats.measured import Measured
from causaltest.stats.operands import metric_of, refuse_sum
from causaltest.stats.sizes import OddsRatio, odds_against, odds_of_flips
from causaltest.stats.verdict import Interval, Sizes


class Rate(Measured):
    """A share of successes over units, with what is needed to judge it.

    Parameters
    ----------
    values
        1 (success) or 0 per pair, shape (pairs,).
    units, unit, pair_ids, pair_set, subject, metric, judge
        As for `Effect`. With one pair per unit the test is the exact binomial test; else unit
        rates are judged, of equal weight.

    Raises
    ------
    EvidenceError
        If a value is neither 0 nor 1, or there is none.
    PairError
        If the columns differ in length or a pair occurs twice.

    Examples
    --------
    >>> names = [f"pair {i}" for i in range(20)]
    >>> rate = Rate([1] * 20, units=names, pair_ids=names, subject="accuracy of an alignment")
    >>> bool(rate > 0.8)
    True
    """

    kind = "rate"

    def __init__(
        self,
        values: ArrayLike,
        *,
        units: Sequence[str],
        unit: str = "pair",
        pair_ids: Sequence[str],
        pair_set: tuple[str, str] = ("", ""),
        subject: str = "rate",
        metric: str = "",
        judge: Judge | Callable[[], Judge] = Judge,
    ) -> None:
        columns = checked_columns(
            values,
            scale=None,
            units=units,
            unit=unit,
            pair_ids=pair_ids,
            pair_set=pair_set,
            subject=subject,
        )
        wrong = np.flatnonzero((columns.values != 0.0) & (columns.values != 1.0))
        if len(wrong):
            first = int(wrong[0])
            raise EvidenceError(
                f"{subject}: expected 1 or 0 for each pair, got {columns.values[first]:g} for "
                f"pair {columns.pair_ids[first]!r}\nuse an Effect for graded values"
            )
        metric = metric or metric_of(subject)
        super().__init__(
            columns, subject=subject, metric=metric, name=metric or "rate", floor=0.0, judge=judge
        )

    def __sub__(self, other: object) -> RateDifference:
        if not isinstance(other, Measured):
            refuse_sum(other, self.kind)
            return NotImplemented
        return self._minus(other)

    def __abs__(self) -> NoReturn:
        raise TypeError("a rate is never negative; claim `rate < 0.1` instead of `abs(rate) < 0.1`")

    def _minus(self, other: Measured) -> RateDifference:
        if not isinstance(other, Rate):
            raise self._strangers(other)
        self._check_metric(other)
        matched = self.columns.aligned(other.columns)
        return RateDifference(
            replace(self.columns, values=self.values - matched.values),
            subject=f"({self.subject}) - ({other.subject})",
            metric=self.metric,
            name=f"difference in {self._name}",
            floor=0.0,
            judge=self._judge,
        )

    def _in_direction(self, means: NDArray[np.float64], region: Region) -> NDArray[np.bool_]:
        """Which units' rates lie beyond the bound: a rate has no direction from 0."""
        return (means > region.low) & (means < region.high)

    def _sizes(self, region: Region, bound: float, alpha: float) -> Sizes:
        count = int(self.values.sum())
        return _with_odds(
            super()._sizes(region, bound, alpha),
            self.estimate - bound,
            odds_against(count, self.n_pairs, bound, alpha),
            alpha if self.n_units == self.n_pairs else None,
        )

    def _check_bound(self, bound: float) -> None:
        if not 0.0 <= bound <= 1.0:
            meant = f"; did you mean {bound / 100:g}?" if 1.0 < bound <= 100.0 else ""
            raise EvidenceError(f"a rate lies between 0 and 1, the bound is {bound:g}{meant}")

    def _assess(self, judge: Judge) -> Found:
        return assess_rate(self.columns, judge, self.subject)


class RateDifference(Measured):
    """The difference of two rates on the same pairs; made by `rate_a - rate_b`."""

    kind = "rate difference"

    def __neg__(self) -> RateDifference:
        return RateDifference(
            replace(self.columns, values=-self.values),
            subject=f"-({self.subject})",
            metric=self.metric,
            name=f"-{self._name}",
            floor=0.0,
            judge=self._judge,
        )

    def __abs__(self) -> Magnitude:
        return Magnitude(self, self._name, self._verdict)

    def _sizes(self, region: Region, bound: float, alpha: float) -> Sizes:
        gained, lost = int((self.values > 0).sum()), int((self.values < 0).sum())
        return _with_odds(
            super()._sizes(region, bound, alpha),
            self.estimate,
            odds_of_flips(gained, lost, alpha),
            alpha if self.n_units == self.n_pairs else None,
        )

    def _check_bound(self, bound: float) -> None:
        if not -1.0 <= bound <= 1.0:
            raise EvidenceError(
                f"a difference of rates lies between -1 and 1, the bound is {bound:g}"
            )

    def _assess(self, judge: Judge) -> Found:
        return assess_rate_difference(self.columns, judge, self.subject)


def _with_odds(
    sizes: Sizes, difference: float, odds: OddsRatio | None, alpha: float | None
) -> Sizes:
    """Add the sizes of binary outcomes; pairs of one cluster give no interval for odds."""
    interval = None
    if alpha is not None and odds is not None and odds.low is not None and odds.high is not None:
        interval = Interval(odds.low, odds.high, 1.0 - alpha)
    return replace(
        sizes,
        risk_difference=difference,
        odds_ratio=None if odds is None else odds.ratio,
        odds_ratio_interval=interval,
    )
