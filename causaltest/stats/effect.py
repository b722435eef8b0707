"""Effects and rates: measurements that compare with a bound and give a verdict."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NoReturn, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from causaltest.errors import EvidenceError, MetricError
from causaltest.stats.assess import Found, assess_effect, assess_rate, assess_rate_difference
from causaltest.stats.columns import Columns, columns
from causaltest.stats.decision import Region, decide, needed
from causaltest.stats.exact import ExactValue
from causaltest.stats.judge import Judge
from causaltest.stats.sizes import share, standardised_mean
from causaltest.stats.verdict import Interval, Sizes, Verdict

Floats = NDArray[np.float64]


class Measured:
    """What effects and rates share: per-pair data and the comparison with a bound."""

    __array_ufunc__ = None  # numpy numbers leave `0.5 < effect` to us
    _kind = "effect"

    def __init__(
        self,
        data: Columns,
        *,
        subject: str,
        metric: str,
        name: str,
        floor: float,
        judge: Judge | Callable[[], Judge],
    ) -> None:
        if not 0.0 <= floor < math.inf:
            raise EvidenceError(f"{subject}: the numeric floor is {floor}; expected 0 or more")
        self._data = data
        self._subject = subject
        self._metric = metric
        self._name = name
        self._floor = floor
        self._judge = judge

    @property
    def values(self) -> Floats:
        """The measured value of each pair, shape (pairs,)."""
        return self._data.values

    @property
    def scale(self) -> Floats | None:
        """The denominator of each pair, shape (pairs,), or None for a plain mean."""
        return self._data.scale

    @property
    def units(self) -> tuple[str, ...]:
        """The unit (cluster label) of each pair."""
        return self._data.units

    @property
    def unit(self) -> str:
        """What the units are, e.g. `template`."""
        return self._data.unit

    @property
    def pair_ids(self) -> tuple[str, ...]:
        """The id of each pair."""
        return self._data.pair_ids

    @property
    def pair_set(self) -> tuple[str, str]:
        """Name and hash of the pair set."""
        return self._data.pair_set

    @property
    def n_pairs(self) -> int:
        """Number of pairs."""
        return self._data.n_pairs

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self._data.labels)

    @property
    def subject(self) -> str:
        """What was measured, in words."""
        return self._subject

    @property
    def metric(self) -> str:
        """Name of the metric, e.g. `recovery`; empty where unknown."""
        return self._metric

    @property
    def floor(self) -> float:
        """Numeric floor in the unit of `values`; values this small count as 0."""
        return self._floor

    @property
    def estimate(self) -> float:
        """Mean over units of equal weight; a ratio of two such means where there is a scale."""
        top = float(self._data.means(self._counted()).mean())
        if self.scale is None:
            return top
        bottom = float(self._data.means(self.scale).mean())
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
        word = "a Rate" if self._kind == "rate" else "an Effect"
        raise TypeError(
            f"{word} has no truth value; compare it with a bound, e.g. `assert {self._kind} > 0.5`"
        )

    def __eq__(self, other: object) -> NoReturn:
        raise TypeError(
            f"a measured {self._kind} never equals a value exactly; claim a direction, e.g. "
            f"`assert {self._kind} > 0.5`, or that it is negligible, "
            "e.g. `assert abs(effect) < 0.1`"
        )

    __hash__ = object.__hash__

    def __gt__(self, other: object) -> Verdict:
        return self._compare(">", other)

    def __lt__(self, other: object) -> Verdict:
        return self._compare("<", other)

    def __ge__(self, other: object) -> NoReturn:
        raise TypeError(f"`{self._kind} >= b` is not a claim that data can support; write `>`")

    def __le__(self, other: object) -> NoReturn:
        raise TypeError(f"`{self._kind} <= b` is not a claim that data can support; write `<`")

    def _compare(self, sign: str, other: object) -> Verdict:
        if isinstance(other, Measured):
            return self._minus(other)._compare(sign, 0.0)
        bound = _bound(other, self._kind)
        if bound is None:
            return NotImplemented
        self._check_bound(bound)
        # Nothing closer to 0 than the numeric floor can be told from 0.
        floor = self._floor_of_estimate()
        decided = bound
        if abs(bound) <= floor:
            decided = floor if sign == ">" else -floor
        region = Region(decided, math.inf) if sign == ">" else Region(-math.inf, decided)
        return self._verdict(region, bound, f"{self._name} {sign} {bound:g}")

    def _verdict(self, region: Region, bound: float, statement: str) -> Verdict:
        judge = self._current_judge()
        found = self._assess(judge)
        decision = decide(found.evidence, region, judge)
        unsettled = decision.name == "inconclusive" and not isinstance(found.evidence, ExactValue)
        units = needed(found.evidence, region, judge, self.n_units) if unsettled else None
        floor = self._floor_of_estimate()
        notes = found.notes
        if floor and abs(bound) <= floor:
            notes += (f"decided at the numeric floor: beyond {floor:.2g} rather than beyond 0",)
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
            floor=floor,
            pairs_needed=None if units is None else math.ceil(units * self.n_pairs / self.n_units),
            sizes=self._sizes(region, judge.alpha),
            values=self._contributions(),
            units=self.units,
            pair_ids=self.pair_ids,
            pair_set=self.pair_set,
            notes=notes,
            over=found.over,
            _observe=judge.observe,
        )

    def _contributions(self) -> tuple[float, ...]:
        if self.scale is None:
            return tuple(self.values.tolist())
        return tuple((self.values / self._data.means(self.scale).mean()).tolist())

    def _sizes(self, region: Region, alpha: float) -> Sizes:
        means = self._data.means(self._counted())
        if region.relation == "within":
            ratios = means if self.scale is None else means / self._data.means(self.scale).mean()
            hits = (ratios > region.low) & (ratios < region.high)
        else:
            zero = self._origin(region)
            hits = means > zero if region.relation == ">" else means < zero
        part, low, high = share(hits, alpha)
        sizes = Sizes(share_in_direction=part, share_interval=Interval(low, high, 1.0 - alpha))
        found = standardised_mean(means, alpha) if self._kind == "effect" else None
        if found is not None:
            sizes = replace(sizes, d_z=found.d_z)
            if math.isfinite(found.low) and math.isfinite(found.high):
                within = Interval(found.low, found.high, 1.0 - alpha)
                sizes = replace(sizes, d_z_interval=within)
        if self.scale is not None:
            sizes = replace(sizes, fraction_of_total=self.estimate)
        return sizes

    def _origin(self, region: Region) -> float:
        """Where the claimed direction starts, for the share of units in it."""
        return self._floor if region.relation == ">" else -self._floor

    def _counted(self) -> Floats:
        """Values, those within the numeric floor counted as 0."""
        return np.where(np.abs(self.values) <= self._floor, 0.0, self.values)

    def _floor_of_estimate(self) -> float:
        if self.scale is None or not self._floor:
            return self._floor
        return self._floor / abs(float(self._data.means(self.scale).mean()))

    def _current_judge(self) -> Judge:
        return self._judge if isinstance(self._judge, Judge) else self._judge()

    def _check_bound(self, bound: float) -> None:
        """Refuse bounds that make no sense for this kind of measurement."""

    def _assess(self, judge: Judge) -> Found:
        raise NotImplementedError

    def _minus(self, other: Measured) -> Measured:
        raise MetricError(
            f"cannot compare {self._subject} with {other._subject}: "
            f"{_article(self._kind)} and {_article(other._kind)} have no common unit"
        )

    def _same_metric(self, other: Measured) -> None:
        if self._metric and other._metric and self._metric != other._metric:
            raise MetricError(
                f"cannot compare {self._subject} with {other._subject}: "
                f"one is measured in {self._metric}, the other in {other._metric}\n"
                "measure both with the same metric"
            )


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
        Numeric floor in the unit of `values`: values this small count as 0.
    judge
        A `Judge`, or a function that gives the one in force when a comparison is made.

    Raises
    ------
    EvidenceError
        If a value is not finite or there is none.
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
        judge: Judge | Callable[[], Judge] = Judge(),
    ) -> None:
        metric = metric or _metric_of(subject)
        super().__init__(
            columns(
                values,
                scale=scale,
                units=units,
                unit=unit,
                pair_ids=pair_ids,
                pair_set=pair_set,
                subject=subject,
            ),
            subject=subject,
            metric=metric,
            name=metric or "effect",
            floor=floor,
            judge=judge,
        )

    def __neg__(self) -> Effect:
        return self._derived(-self.values, f"-({self._subject})", f"-{self._name}", self._floor)

    def __add__(self, other: Effect) -> Effect:
        if not isinstance(other, Effect):
            _refuse(other, self._kind, "added to")
            return NotImplemented
        matched = self._matched(other)
        subject = f"({self._subject}) + ({other._subject})"
        floor = self._floor + other._floor
        return self._derived(self.values + matched.values, subject, self._name, floor)

    def __radd__(self, other: int) -> Effect:
        # sum(effects) starts from 0.
        if other == 0:
            return self
        return NotImplemented

    def __sub__(self, other: Effect) -> Effect:
        if not isinstance(other, Measured):
            _refuse(other, self._kind, "subtracted from")
            return NotImplemented
        return self._minus(other)

    def __abs__(self) -> Magnitude:
        return Magnitude(self)

    def _minus(self, other: Measured) -> Effect:
        if not isinstance(other, Effect):
            super()._minus(other)
            raise AssertionError("unreachable")
        matched = self._matched(other)
        subject = f"({self._subject}) - ({other._subject})"
        name = f"difference in {self._name}"
        floor = self._floor + other._floor
        return self._derived(self.values - matched.values, subject, name, floor)

    def _matched(self, other: Effect) -> Columns:
        self._same_metric(other)
        if (self.scale is None) != (other.scale is None):
            plain, scaled = (self, other) if self.scale is None else (other, self)
            raise MetricError(
                f"cannot combine {plain._subject} with {scaled._subject}: the first is in units "
                "of its metric, the second a share of a total effect\nnormalise both or neither"
            )
        matched = self._data.aligned(other._data)
        if self.scale is not None and not np.array_equal(self.scale, np.asarray(matched.scale)):
            raise MetricError(
                f"cannot combine {self._subject} with {other._subject}: they are shares of "
                "different total effects\nmeasure both against the same base and source runs"
            )
        return matched

    def _derived(self, values: Floats, subject: str, name: str, floor: float) -> Effect:
        made = Effect(
            values,
            scale=self.scale,
            units=self.units,
            unit=self.unit,
            pair_ids=self.pair_ids,
            pair_set=self.pair_set,
            subject=subject,
            metric=self._metric,
            floor=floor,
            judge=self._judge,
        )
        made._name = name
        return made

    def _assess(self, judge: Judge) -> Found:
        return assess_effect(self._data, self._counted(), self._floor, judge, self._subject)


class Rate(Measured):
    """A share of successes over units, with what is needed to judge it.

    Parameters
    ----------
    values
        1 (success) or 0 per pair, shape (pairs,).
    units, unit, pair_ids, pair_set, subject, metric, judge
        As for `Effect`.
    scale, floor
        Taken for symmetry with `Effect`: a rate has no scale, and a count no numeric floor.

    Raises
    ------
    EvidenceError
        If a value is neither 0 nor 1.

    Examples
    --------
    >>> names = [f"pair {i}" for i in range(20)]
    >>> rate = Rate([1] * 20, units=names, pair_ids=names, subject="accuracy of an alignment")
    >>> bool(rate > 0.8)
    True
    """

    _kind = "rate"

    def __init__(
        self,
        values: ArrayLike,
        *,
        scale: None = None,
        units: Sequence[str],
        unit: str = "pair",
        pair_ids: Sequence[str],
        pair_set: tuple[str, str] = ("", ""),
        subject: str = "rate",
        metric: str = "",
        floor: float = 0.0,
        judge: Judge | Callable[[], Judge] = Judge(),
    ) -> None:
        if scale is not None:
            raise TypeError("a Rate has no scale: its values are successes (1) and failures (0)")
        data = columns(
            values,
            scale=None,
            units=units,
            unit=unit,
            pair_ids=pair_ids,
            pair_set=pair_set,
            subject=subject,
        )
        wrong = np.flatnonzero((data.values != 0.0) & (data.values != 1.0))
        if len(wrong):
            first = int(wrong[0])
            raise EvidenceError(
                f"{subject}: expected 1 or 0 for each pair, got {data.values[first]:g} for pair "
                f"{data.pair_ids[first]!r}\nuse an Effect for graded values"
            )
        metric = metric or _metric_of(subject)
        super().__init__(
            data, subject=subject, metric=metric, name=metric or "rate", floor=0.0, judge=judge
        )

    def __sub__(self, other: Rate) -> RateDifference:
        if not isinstance(other, Measured):
            _refuse(other, self._kind, "subtracted from")
            return NotImplemented
        return self._minus(other)

    def __abs__(self) -> NoReturn:
        raise TypeError("a rate is never negative; claim `rate < 0.1` instead of `abs(rate) < 0.1`")

    def _minus(self, other: Measured) -> RateDifference:
        if not isinstance(other, Rate):
            super()._minus(other)
            raise AssertionError("unreachable")
        self._same_metric(other)
        matched = self._data.aligned(other._data)
        return RateDifference(
            replace(self._data, values=self.values - matched.values),
            subject=f"({self._subject}) - ({other._subject})",
            metric=self._metric,
            name=f"difference in {self._name}",
            floor=0.0,
            judge=self._judge,
        )

    def _origin(self, region: Region) -> float:
        return region.low if region.relation == ">" else region.high

    def _check_bound(self, bound: float) -> None:
        if not 0.0 <= bound <= 1.0:
            share = f"; did you mean {bound / 100:g}?" if 1.0 < bound <= 100.0 else ""
            raise EvidenceError(f"a rate lies between 0 and 1, the bound is {bound:g}{share}")

    def _assess(self, judge: Judge) -> Found:
        return assess_rate(self._data, judge, self._subject)


class RateDifference(Measured):
    """The difference of two rates on the same pairs; made by `rate_a - rate_b`."""

    _kind = "rate difference"

    def __neg__(self) -> Self:
        return type(self)(
            replace(self._data, values=-self.values),
            subject=f"-({self._subject})",
            metric=self._metric,
            name=f"-{self._name}",
            floor=0.0,
            judge=self._judge,
        )

    def __abs__(self) -> Magnitude:
        return Magnitude(self)

    def _check_bound(self, bound: float) -> None:
        if not -1.0 <= bound <= 1.0:
            raise EvidenceError(
                f"a difference of rates lies between -1 and 1, the bound is {bound:g}"
            )

    def _assess(self, judge: Judge) -> Found:
        return assess_rate_difference(self._data, judge, self._subject)


class Magnitude:
    """`abs(effect)`: can be claimed to lie below a margin, and nothing else."""

    __array_ufunc__ = None

    def __init__(self, measured: Effect | RateDifference) -> None:
        self._measured = measured

    def __repr__(self) -> str:
        return f"abs({self._measured!r})"

    def __bool__(self) -> NoReturn:
        raise TypeError(
            "abs(effect) has no truth value; compare it with a margin, "
            "e.g. `assert abs(effect) < 0.1`"
        )

    def __eq__(self, other: object) -> NoReturn:
        raise TypeError("abs(effect) never equals a value exactly; claim `abs(effect) < 0.1`")

    __hash__ = object.__hash__

    def __lt__(self, margin: object) -> Verdict:
        bound = _bound(margin, "abs(effect)")
        if bound is None:
            return NotImplemented
        measured = self._measured
        floor = measured._floor_of_estimate()
        if bound <= floor:
            told = f"the numeric floor {floor:.3g}" if floor else "0"
            raise EvidenceError(
                f"abs(effect) < {bound:g} cannot be decided: the margin is not above {told}\n"
                "name the largest effect that would still be negligible"
            )
        return measured._verdict(
            Region(-bound, bound), bound, f"-{bound:g} < {measured._name} < {bound:g}"
        )

    def __gt__(self, margin: object) -> NoReturn:
        raise TypeError(
            "`abs(effect) > m` does not say which way; "
            "name the direction: `effect > m` or `effect < -m`"
        )

    def __le__(self, margin: object) -> NoReturn:
        raise TypeError("`abs(effect) <= m` is not a claim that data can support; write `<`")

    def __ge__(self, margin: object) -> NoReturn:
        raise TypeError(
            "`abs(effect) >= m` does not say which way; "
            "name the direction: `effect > m` or `effect < -m`"
        )


def _bound(other: object, kind: str) -> float | None:
    """Read a bound; None leaves the comparison to the other operand."""
    if isinstance(other, numbers.Real) and not isinstance(other, bool):
        bound = float(other)
        if not math.isfinite(bound):
            raise EvidenceError(
                f"the bound is {bound}; {_article(kind)} compares with a finite number"
            )
        return bound
    _refuse(other, kind, "compared with")
    return None


def _refuse(other: object, kind: str, action: str) -> None:
    """Refuse everyday non-numbers with words; unknown classes may know what to do."""
    home = type(other).__module__.partition(".")[0]
    if home not in {"builtins", "numpy", "torch"}:
        return
    if action == "compared with":
        raise TypeError(
            f"{_article(kind)} compares with a number or with another measurement of the same "
            f"pairs, not with {type(other).__name__} {str(other)[:40]!r}"
        )
    raise TypeError(
        f"a {type(other).__name__} cannot be {action} {_article(kind)}; "
        "put numbers into the bound, e.g. `assert a - b > 0.1`"
    )


def _interval(found: Found, alpha: float) -> Interval:
    low, high = found.evidence.limits(alpha)
    return Interval(low, high, 1.0 - alpha)


def _metric_of(subject: str) -> str:
    metric, of, _ = subject.partition(" of ")
    return metric if of else ""


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "ae" else f"a {kind}"
