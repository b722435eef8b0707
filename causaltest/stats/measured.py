"""What effects and rates share: per-pair data, comparison with a bound, the verdict."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from causaltest.errors import EvidenceError, MetricError
from causaltest.stats.assess import Found
from causaltest.stats.columns import Columns, Paired
from causaltest.stats.decision import Region, decide, needed
from causaltest.stats.exact import ExactValue
from causaltest.stats.judge import Judge
from causaltest.stats.operands import article, bound_of
from causaltest.stats.shown import Shown
from causaltest.stats.sizes import prediction, share, standardised_mean
from causaltest.stats.verdict import Interval, Sizes, Verdict

Floats = NDArray[np.float64]


class Measured(Paired):
    """A measurement of many pairs that can be compared with a bound."""

    __array_ufunc__ = None  # numpy numbers leave `0.5 < effect` to us
    kind = "effect"
    """The word for it in messages."""
    shown: tuple[Shown, ...] = ()
    """What a figure of its comparisons shows beside them."""

    def __init__(
        self,
        columns: Columns,
        *,
        subject: str,
        metric: str,
        name: str,
        floor: float,
        judge: Judge | Callable[[], Judge],
    ) -> None:
        if not 0.0 <= floor < math.inf:
            raise EvidenceError(f"{subject}: the numeric floor is {floor}; expected 0 or more")
        self._columns = columns
        self._subject = subject
        self._metric = metric
        self._name = name
        self._floor = floor
        self._judge = judge

    @property
    def values(self) -> Floats:
        """The measured value of each pair, shape (pairs,)."""
        return self._columns.values

    @property
    def metric(self) -> str:
        """Name of the metric, e.g. `recovery`; empty where unknown."""
        return self._metric

    @property
    def floor(self) -> float:
        """Numeric floor in the unit of the estimate; effects this small count as 0."""
        return self._floor

    @property
    def judge(self) -> Judge:
        """How a comparison made now would be decided."""
        return self._current_judge()

    @property
    def estimate(self) -> float:
        """Mean over units of equal weight; a ratio of two such means where there is a scale."""
        top = math.fsum(self._columns.means(self._counted())) / self.n_units
        bottom = self._scale_mean()
        return top / bottom if bottom else math.nan

    @property
    def interval(self) -> Interval:
        """Confidence interval of the estimate, not adjusted for any family.

        Raises
        ------
        EvidenceError
            If there are fewer than five units, or the total effect is too weak to divide by.
        """
        judge = self._current_judge()
        return _interval(self._assess(judge), judge.alpha)

    def __repr__(self) -> str:
        over = f"{self.n_pairs} pairs"
        if self.n_units < self.n_pairs:
            over += f", {self.n_units} {self.unit}s"
        try:
            found = self.interval
            around = f", {100 * found.level:.4g}% CI [{found.low:.3g}, {found.high:.3g}]"
        except EvidenceError:
            around = ""
        return f"<{type(self).__name__} {self._subject}: {self.estimate:.3g}{around}, {over}>"

    def __bool__(self) -> NoReturn:
        word = type(self).__name__
        raise TypeError(
            f"{article(word)} has no truth value; compare it with a bound, "
            f"e.g. `assert {self.kind.replace(' ', '_')} > 0.5`"
        )

    def __eq__(self, other: object) -> NoReturn:
        word = self.kind.replace(" ", "_")
        raise TypeError(
            f"{article(self.kind)} never equals a value exactly; claim a direction, "
            f"e.g. `assert {word} > 0.5`, or that an effect is negligible, "
            "e.g. `assert abs(effect) < 0.1`"
        )

    __hash__ = object.__hash__

    def __gt__(self, other: object) -> Verdict:
        if isinstance(other, Measured):
            return self._minus(other) > 0.0
        bound = bound_of(other, self.kind)
        if bound is None:
            return NotImplemented
        self._check_bound(bound)
        # Nothing closer to 0 than the numeric floor can be told from 0.
        decided = self._floor if abs(bound) <= self._floor else bound
        return self._verdict(Region(decided, math.inf), bound, f"{self._name} > {bound:g}")

    def __lt__(self, other: object) -> Verdict:
        if isinstance(other, Measured):
            return self._minus(other) < 0.0
        bound = bound_of(other, self.kind)
        if bound is None:
            return NotImplemented
        self._check_bound(bound)
        decided = -self._floor if abs(bound) <= self._floor else bound
        return self._verdict(Region(-math.inf, decided), bound, f"{self._name} < {bound:g}")

    def __ge__(self, other: object) -> NoReturn:
        raise TypeError(
            f"`{self.kind} >= bound` cannot be claimed, since data cannot tell it from `>`; "
            f"write `{self.kind} > bound`"
        )

    def __le__(self, other: object) -> NoReturn:
        raise TypeError(
            f"`{self.kind} <= bound` cannot be claimed, since data cannot tell it from `<`; "
            f"write `{self.kind} < bound`"
        )

    def _verdict(self, region: Region, bound: float, statement: str) -> Verdict:
        judge = self._current_judge()
        return self._reported(self._assess(judge), region, bound, statement, judge)

    def _reported(
        self, found: Found, region: Region, bound: float, statement: str, judge: Judge
    ) -> Verdict:
        """Decide on evidence and fill in the verdict."""
        decision = decide(found.evidence, region, judge)
        unsettled = decision.name == "inconclusive" and not isinstance(found.evidence, ExactValue)
        units = needed(found.evidence, region, judge, self.n_units) if unsettled else None
        notes = found.notes
        if self._floor and abs(bound) <= self._floor:
            notes += (f"a bound of 0 is decided at the numeric floor, {self._floor:.2g}",)
        return Verdict(
            name=decision.name,
            statement=statement,
            subject=self._subject,
            relation=region.relation,
            bound=bound,
            estimate=found.evidence.estimate,
            interval=_interval(found, judge.alpha),
            adjusted_interval=_interval(found, judge.alpha_claim),
            p_support=decision.p_support,
            p_refute=decision.p_refute,
            alpha_claim=judge.alpha_claim,
            n_pairs=self.n_pairs,
            n_units=self.n_units,
            unit=self.unit,
            method=found.method,
            floor=self._floor,
            pairs_needed=None if units is None else math.ceil(units * self.n_pairs / self.n_units),
            sizes=self._sizes(region, bound, judge.alpha),
            values=tuple((self.values / self._scale_mean()).tolist()),
            units=self.units,
            pair_ids=self.pair_ids,
            pair_set=self.pair_set,
            notes=notes,
            over=found.over,
            parts=judge.parts,
            totals=() if self.scale is None else tuple((self.scale / self._scale_mean()).tolist()),
            shown=self.shown,
            doubt=decision.doubt,
            _observe=judge.observe,
        )

    def _sizes(self, region: Region, bound: float, alpha: float) -> Sizes:  # noqa: ARG002 - rates' do
        means = self._columns.means(self._counted())
        part, low, high = share(self._in_direction(means / self._scale_mean(), region), alpha)
        sizes = Sizes(
            share_in_direction=part,
            share_interval=Interval(low, high, 1.0 - alpha),
            fraction_of_total=None if self.scale is None else self.estimate,
        )
        if self.kind != "effect":
            return sizes
        ends = prediction(means / self._scale_mean(), alpha)
        sizes = replace(sizes, prediction=Interval(*ends, 1.0 - alpha))
        found = standardised_mean(means, alpha)
        if found is None:
            return sizes
        certain = math.isfinite(found.low) and math.isfinite(found.high)
        return replace(
            sizes,
            d_z=found.d_z,
            d_z_interval=Interval(found.low, found.high, 1.0 - alpha) if certain else None,
        )

    def _in_direction(self, means: Floats, region: Region) -> NDArray[np.bool_]:
        """Which units lie in the claimed direction from 0, or inside the margin."""
        if region.relation == "within":
            return (means > region.low) & (means < region.high)
        return means > self._floor if region.relation == ">" else means < -self._floor

    def _scale_mean(self) -> float:
        if self.scale is None:
            return 1.0
        return math.fsum(self._columns.means(self.scale)) / self.n_units

    def _floor_of_values(self) -> float:
        return self._floor * abs(self._scale_mean())

    def _counted(self) -> Floats:
        """Values, those within the numeric floor counted as 0."""
        return np.where(np.abs(self.values) <= self._floor_of_values(), 0.0, self.values)

    def _current_judge(self) -> Judge:
        return self._judge if isinstance(self._judge, Judge) else self._judge()

    def _check_bound(self, bound: float) -> None:
        """Refuse bounds that make no sense for this kind of measurement."""

    def _assess(self, judge: Judge) -> Found:
        raise NotImplementedError

    def _minus(self, other: Measured) -> Measured:
        raise self._strangers(other)

    def _strangers(self, other: Measured) -> MetricError:
        return MetricError(
            f"cannot compare {self._subject} with {other.subject}: "
            f"{article(self.kind)} and {article(other.kind)} have no common unit"
        )

    def _check_metric(self, other: Measured) -> None:
        if self._metric and other.metric and self._metric != other.metric:
            raise MetricError(
                f"cannot compare {self._subject} with {other.subject}: "
                f"one is measured in {self._metric}, the other in {other.metric}\n"
                "measure both with the same metric"
            )


def _interval(found: Found, alpha: float) -> Interval:
    low, high = found.evidence.limits(alpha)
    return Interval(low, high, 1.0 - alpha)
