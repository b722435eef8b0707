"""Ratios of means and the circuit claims built on them: faithful, complete, minimal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import NoReturn, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from causaltest.errors import EvidenceError, MetricError
from causaltest.stats.columns import check_magnitude, checked_columns
from causaltest.stats.conjunction import JointVerdict, every, rejudged
from causaltest.stats.each import Each
from causaltest.stats.effect import Effect
from causaltest.stats.judge import Judge
from causaltest.stats.measured import Measured
from causaltest.stats.operands import bound_of, metric_of
from causaltest.stats.shown import Shown
from causaltest.stats.significance import joint, simultaneous
from causaltest.stats.splits import check_unseen
from causaltest.stats.verdict import Interval

Floats = NDArray[np.float64]


class Ratio(Effect):
    """An effect as a share of a total effect: a faithfulness, a necessity, a recovery.

    It is a ratio of two means, tested through z = y - b * total (Fieller) and never through a
    mean of per-pair ratios, whose variance is unbounded. A ratio above 1 is as wrong as one below:
    claim both sides, `abs(1 - ratio) < 0.1` or `ratio.within(0.8, 1.1)`.

    Parameters
    ----------
    values, scale, units, unit, pair_ids, pair_set, subject, metric, floor, judge, name
        As for `Effect`; `scale` is required.

    Raises
    ------
    MetricError
        If there is no scale.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> names = [f"pair {i}" for i in range(30)]
    >>> gap = rng.normal(3.0, 0.5, 30)
    >>> kept = 0.95 * gap + rng.normal(0.0, 0.2, 30)
    >>> ratio = Ratio(kept, scale=gap, units=names, pair_ids=names, subject="faithfulness")
    >>> bool(abs(1 - ratio) < 0.1), bool(ratio.within(0.9, 1.1))
    (True, True)
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
        subject: str = "ratio",
        metric: str = "",
        floor: float = 0.0,
        judge: Judge | Callable[[], Judge] = Judge,
        name: str = "",
    ) -> None:
        if scale is None:
            raise MetricError(
                f"{subject}: a ratio needs the total effect of each pair as scale=...; "
                "use an Effect for values in units of the metric"
            )
        super().__init__(
            values,
            scale=scale,
            units=units,
            unit=unit,
            pair_ids=pair_ids,
            pair_set=pair_set,
            subject=subject,
            metric=metric,
            floor=floor,
            judge=judge,
            name=name,
        )

    def __sub__(self, other: object) -> Effect:
        number = None if isinstance(other, Measured) else bound_of(other, "a ratio")
        if number is None:
            return super().__sub__(other)
        return self._moved(-number, 1.0, f"{self._name} - {number:g}")

    def __rsub__(self, other: object) -> Effect:
        number = bound_of(other, "a ratio")
        if number is None:
            return NotImplemented
        return self._moved(number, -1.0, f"{number:g} - {self._name}")

    def within(self, low: float, high: float) -> JointVerdict:
        """Claim `low < ratio < high` as one comparison.

        Raises
        ------
        EvidenceError
            If `low` is not below `high`.
        """
        if not low < high:
            raise EvidenceError(f"no ratio lies above {low:g} and below {high:g}; exchange them")
        return every(
            lambda shared: [rejudged(self, shared) > low, rejudged(self, shared) < high],
            count=2,
            judge=self._judge,
            statement=f"{low:g} < {self._name} < {high:g}",
            subject=self.subject,
        )

    @property
    def deviation(self) -> Effect:
        """Mean absolute difference from the whole over the mean whole, as an effect.

        Pairs above and below the whole cancel in a ratio of means and not here.
        """
        return Effect(
            np.abs(self.values - self._whole),
            scale=self._whole,
            **self.columns.pairing,
            subject=f"absolute deviation from 1 of {self.subject}",
            metric=f"deviation of {self._name}",
            floor=self.floor,
            judge=self._judge,
        )

    @property
    def per_pair_quartiles(self) -> tuple[float, float, float]:
        """Quartiles of the ratios of single pairs, for display; pairs without any total left out.

        They decide nothing: with small totals single ratios are arbitrary.
        """
        some = self._whole != 0.0
        low, middle, high = np.quantile(self.values[some] / self._whole[some], [0.25, 0.5, 0.75])
        return float(low), float(middle), float(high)

    @property
    def _whole(self) -> Floats:
        assert self.scale is not None
        return self.scale

    def _moved(self, offset: float, side: float, name: str) -> Effect:
        """`offset + side * ratio`, in numerators: offset * total + side * y."""
        found = Effect(
            offset * self._whole + side * self.values,
            scale=self._whole,
            **self.columns.pairing,
            subject=self.subject,
            metric=self.metric,
            floor=self.floor,
            judge=self._judge,
            name=name,
        )
        found.shown = self.shown
        return found


class Parts:
    """What incompleteness and minimality share: one effect per subset or component."""

    __array_ufunc__ = None
    noun = "part"
    word = "parts"

    def __init__(
        self,
        values: ArrayLike,
        *,
        names: Sequence[str],
        scale: ArrayLike | None = None,
        units: Sequence[str],
        unit: str = "pair",
        pair_ids: Sequence[str],
        pair_set: tuple[str, str] = ("", ""),
        subject: str = "",
        metric: str = "",
        floor: float = 0.0,
        judge: Judge | Callable[[], Judge] = Judge,
        chosen_on: Iterable[str] = (),
    ) -> None:
        subject = subject or self.word
        array = np.array(values, dtype=np.float64)
        if array.ndim != 2 or array.shape[1] != len(names) or not len(names):
            raise MetricError(
                f"{subject}: {len(names)} {self.noun}s need values of shape (pairs, {len(names)}),"
                f" got {array.shape}"
            )
        if not np.isfinite(array).all():
            pair, part = (int(each) for each in np.argwhere(~np.isfinite(array))[0])
            raise EvidenceError(
                f"{subject}: the value is {array[pair, part]} for {self.noun} {names[part]} and "
                f"pair {pair_ids[pair]!r}\nno verdict can rest on it; look at this pair's metric"
            )
        check_magnitude(array, "values", subject)
        check_unseen(chosen_on, units, what=f"{self.noun}s chosen by their effects", unit=unit)
        columns = checked_columns(
            np.zeros(len(array)),
            scale=scale,
            units=units,
            unit=unit,
            pair_ids=pair_ids,
            pair_set=pair_set,
            subject=subject,
        )
        self._subject = subject
        self._judge = judge
        self._each = Each(
            array,
            names,
            columns=columns,
            subject=subject,
            metric=metric or metric_of(subject) or self.word,
            floor=floor,
            judge=judge,
            noun=self.noun,
        )

    def __len__(self) -> int:
        return len(self._each)

    def __repr__(self) -> str:
        return f"<{self._subject}: {self.estimate:.3g} over {len(self)} {self.noun}s>"

    def showing(self, *shown: Shown) -> Self:
        """Let figures of its comparisons show something beside them."""
        self._each.shown = shown
        return self

    def __bool__(self) -> NoReturn:
        raise TypeError(f"{self.word} has no truth value; {self._idiom}")

    @property
    def estimate(self) -> float:
        """The number that the claim is about."""
        raise NotImplementedError

    @property
    def effects(self) -> dict[str, float]:
        """The estimate of each of them, by name."""
        return dict(zip(self._each.names, self._each.table.estimates.tolist(), strict=True))

    _idiom = ""


class Incompleteness(Parts):
    """How far a circuit and the model part once subsets are taken out of both: the worst subset.

    Parameters
    ----------
    values
        Shape (pairs, subsets): F(circuit without K) - F(model without K), in units of the metric.
    names
        One name per subset K.
    scale
        Total effects, shape (pairs,), to express differences as shares.
    units, unit, pair_ids, pair_set, subject, metric, floor, judge
        As for `Effect`.
    chosen_on
        Units on which subsets were searched for, e.g. greedily; others than these are needed.

    Raises
    ------
    EvidenceError
        If a value is not finite, or subsets were chosen on some of these units.
    MetricError
        If names do not fit the values.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> names = [f"pair {i}" for i in range(30)]
    >>> values = rng.normal(0.0, 0.1, (30, 3))
    >>> found = Incompleteness(values, names=["K1", "K2", "K3"], units=names, pair_ids=names)
    >>> bool(found < 0.1)
    True
    """

    noun = "subset"
    word = "incompleteness"
    _idiom = "claim that no subset parts them: `incompleteness < 0.1`"

    @property
    def estimate(self) -> float:
        """The largest absolute difference over subsets."""
        return float(np.abs(self._each.table.estimates).max())

    @property
    def interval(self) -> Interval:
        """Simultaneous interval of the largest absolute difference, by max-T over subsets."""
        judge = self._judge if isinstance(self._judge, Judge) else self._judge()
        table = self._each.table
        found = joint(table, 0.0, "both", judge, subject=self._subject)
        lower, upper = simultaneous(table, found.up, found.down, judge.alpha)
        least = np.maximum(np.maximum(lower, -upper), 0.0)
        most = np.maximum(np.abs(lower), np.abs(upper))
        return Interval(float(least.max()), float(most.max()), 1.0 - judge.alpha)

    def __lt__(self, margin: object) -> JointVerdict:
        number = bound_of(margin, self.word)
        if number is None:
            return NotImplemented
        verdict = self._each.within(number)
        interval = self.interval
        worst = max(self.effects, key=lambda name: abs(self.effects[name]))
        told = (
            f"largest absolute difference {self.estimate:.3g}, simultaneous "
            f"{100 * interval.level:.4g}% CI [{interval.low:.3g}, {interval.high:.3g}], at {worst}"
        )
        return replace(
            verdict,
            statement=f"{self.word} < {number:g} ({len(self)} subsets)",
            notes=(*verdict.notes, told),
            _asked=[False],
        )

    def __gt__(self, margin: object) -> NoReturn:
        raise TypeError(
            "`incompleteness > margin` is what refutes completeness; claim `incompleteness < "
            "margin` and expect it to be refuted"
        )


class Minimality(Parts):
    """What each component of a circuit adds: the least of all is claimed to be enough.

    Parameters
    ----------
    values
        Shape (pairs, components): F(circuit without K) - F(circuit without K and v), the drop by
        component v beside a declared set K (by default empty), in units of the metric.
    names
        One name per component.
    scale, units, unit, pair_ids, pair_set, subject, metric, floor, judge, chosen_on
        As for `Incompleteness`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> names = [f"pair {i}" for i in range(30)]
    >>> drops = rng.normal([1.0, 0.8, 0.0], 0.2, (30, 3))
    >>> found = Minimality(drops, names=["L9.H6", "L9.H9", "L0.H1"], units=names, pair_ids=names)
    >>> verdict = found > 0.2
    >>> verdict.name, [each.subject for each in verdict.unsupported]
    ('refuted', ['minimality at L0.H1'])
    """

    noun = "component"
    word = "minimality"
    _idiom = "claim that each component adds something: `minimality > 0.05`"

    @property
    def estimate(self) -> float:
        """The smallest drop of all components."""
        return float(self._each.table.estimates.min())

    def __gt__(self, bound: object) -> JointVerdict:
        number = bound_of(bound, self.word)
        if number is None:
            return NotImplemented
        verdict = self._each > number
        missing = [each.subject.rpartition(" at ")[2] for each in verdict.unsupported]
        told = (f"not shown to add more than {number:g}: {', '.join(missing)}",) if missing else ()
        return replace(
            verdict,
            statement=f"{self.word} > {number:g} ({len(self)} components)",
            notes=(*verdict.notes, *told),
            _asked=[False],
        )

    def __lt__(self, bound: object) -> NoReturn:
        raise TypeError(
            "`minimality < bound` is what refutes minimality; claim `minimality > bound` and "
            "expect it to be refuted"
        )
