"""Effects: graded measurements, judged through their mean or a ratio of means."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from causaltest.errors import MetricError
from causaltest.stats.assess import Found, assess_effect
from causaltest.stats.columns import Columns, checked_columns
from causaltest.stats.judge import Judge
from causaltest.stats.magnitude import Magnitude
from causaltest.stats.measured import Measured
from causaltest.stats.operands import metric_of, refuse_sum
from causaltest.stats.shown import together


class Effect(Measured):
    """A mean effect over units, with what is needed to judge it.

    Parameters
    ----------
    values
        One measurement per pair, shape (pairs,), in the unit of the metric.
    scale
        Denominators, shape (pairs,): the estimand is then the ratio of the two means, e.g. a
        recovery. The mean of per-pair ratios is never taken: with small denominators its
        variance is unbounded.
    units
        The unit (cluster label) of each pair: units, not pairs, are the independent draws.
    unit
        What the units are, e.g. `template`.
    pair_ids
        The id of each pair; comparisons between effects match on it.
    pair_set
        Name and hash of the pair set.
    subject
        What was measured, e.g. `recovery of interchange(block_output[2]@name)`.
    metric
        Name of the metric; by default what stands before ` of ` in the subject.
    floor
        Numeric floor in the unit of the estimate: effects this small count as 0.
    judge
        A `Judge`, or a function that gives the one in force when a comparison is made.
    name
        What statements call it, by default the metric.

    Raises
    ------
    EvidenceError
        If a value is not finite or there is none, or values are too large or small (beyond 1e75)
        to compute a spread of.
    PairError
        If the columns differ in length or a pair occurs twice.

    Examples
    --------
    >>> names = [f"pair {i}" for i in range(8)]
    >>> values = [0.9, 1.1, 0.7, 1.3, 1.0, 0.8, 1.2, 1.0]
    >>> effect = Effect(values, units=names, pair_ids=names, subject="logit_diff of a patch")
    >>> bool(effect > 0.5)
    True
    """

    def __init__(
        self,
        values: ArrayLike,
        *,
        scale: ArrayLike | None = None,
        units: Sequence[str],
        unit: str = "pair",
        pair_ids: Sequence[str],
        pair_set: tuple[str, str] = ("", ""),
        subject: str = "effect",
        metric: str = "",
        floor: float = 0.0,
        judge: Judge | Callable[[], Judge] = Judge,
        name: str = "",
    ) -> None:
        metric = metric or metric_of(subject)
        columns = checked_columns(
            values,
            scale=scale,
            units=units,
            unit=unit,
            pair_ids=pair_ids,
            pair_set=pair_set,
            subject=subject,
        )
        super().__init__(
            columns,
            subject=subject,
            metric=metric,
            name=name or metric or "effect",
            floor=floor,
            judge=judge,
        )

    def __neg__(self) -> Effect:
        return self._derived(-self.values, f"-({self.subject})", f"-{self._name}", self.floor, self)

    def __add__(self, other: object) -> Effect:
        if not isinstance(other, Measured):
            refuse_sum(other, self.kind)
            return NotImplemented
        matched = self._matched(other)
        subject = f"({self.subject}) + ({other.subject})"
        # Noise of two measurements adds up at worst.
        floor = self.floor + other.floor
        return self._derived(self.values + matched.values, subject, self._name, floor, self, other)

    def __radd__(self, other: object) -> Effect:
        # sum(effects) starts from 0.
        if isinstance(other, int) and other == 0:
            return self
        refuse_sum(other, self.kind)
        return NotImplemented

    def __sub__(self, other: object) -> Effect:
        if not isinstance(other, Measured):
            refuse_sum(other, self.kind)
            return NotImplemented
        return self._minus(other)

    def __abs__(self) -> Magnitude:
        return Magnitude(self, self._name, self._verdict)

    def _minus(self, other: Measured) -> Effect:
        matched = self._matched(other)
        subject = f"({self.subject}) - ({other.subject})"
        floor = self.floor + other.floor
        name = f"difference in {self._name}"
        return self._derived(self.values - matched.values, subject, name, floor, self, other)

    def _matched(self, other: Measured) -> Columns:
        """Bring another effect's columns into the order of this one's pairs."""
        if not isinstance(other, Effect):
            raise self._strangers(other)
        self._check_metric(other)
        if (self.scale is None) != (other.scale is None):
            plain, scaled = (self, other) if self.scale is None else (other, self)
            raise MetricError(
                f"cannot combine {plain.subject} with {scaled.subject}: the first is in units of "
                "its metric, the second a share of a total effect\nnormalise both or neither"
            )
        matched = self.columns.aligned(other.columns)
        if self.scale is not None and not np.array_equal(self.scale, np.asarray(matched.scale)):
            raise MetricError(
                f"cannot combine {self.subject} with {other.subject}: they are shares of "
                "different total effects\nmeasure both against the same base and source runs"
            )
        return matched

    def _derived(
        self, values: NDArray[np.float64], subject: str, name: str, floor: float, *of: Measured
    ) -> Effect:
        found = Effect(
            values,
            scale=self.scale,
            **self.columns.pairing,
            subject=subject,
            metric=self.metric,
            floor=floor,
            judge=self._judge,
            name=name,
        )
        found.shown = together(*(each.shown for each in of))
        return found

    def _assess(self, judge: Judge) -> Found:
        floor = self._floor_of_values()
        return assess_effect(self.columns, self._counted(), floor, judge, self.subject)
