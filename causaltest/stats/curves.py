"""Dose-response curves: slope, monotony by intersection-union, and who goes the other way."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize

from causaltest.errors import EvidenceError, MetricError
from causaltest.stats.columns import Paired, check_magnitude, checked_columns
from causaltest.stats.conjunction import JointVerdict, every, rejudged
from causaltest.stats.each import Each
from causaltest.stats.effect import Effect
from causaltest.stats.judge import Judge
from causaltest.stats.operands import metric_of
from causaltest.stats.rate import Rate
from causaltest.stats.shown import OnCurve
from causaltest.stats.significance import joint, unit_table
from causaltest.stats.sizes import share
from causaltest.stats.verdict import Interval, Verdict

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Fit:
    """The mean curve and its best monotone approximation, for display."""

    doses: tuple[float, ...]
    means: tuple[float, ...]
    isotonic: tuple[float, ...]


@dataclass(frozen=True)
class Band:
    """Limits of the mean at each dose that hold for all of them at once, with that level."""

    low: tuple[float, ...]
    high: tuple[float, ...]
    level: float


class Curve(Paired):
    """One metric at several doses of an intervention, for each pair.

    Parameters
    ----------
    values
        Shape (pairs, doses), in the unit of the metric.
    doses
        Strictly increasing, e.g. steering multipliers; at least two, three for monotony to mean
        anything.
    units, unit, pair_ids, pair_set, subject, metric, floor, judge
        As for `Effect`; the floor is that of one value.

    Raises
    ------
    EvidenceError
        If a value is not finite.
    MetricError
        If doses do not increase or do not fit the values.
    PairError
        If the columns differ in length or a pair occurs twice.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> doses = [0.0, 1.0, 2.0, 3.0]
    >>> names = [f"pair {i}" for i in range(30)]
    >>> values = 0.5 * np.array(doses) + rng.normal(0.0, 0.3, (30, 4))
    >>> curve = Curve(values, doses=doses, units=names, pair_ids=names, subject="logit_diff")
    >>> bool(curve.slope > 0.3), bool(curve.is_monotone(margin=0.1))
    (True, True)
    """

    def __init__(
        self,
        values: ArrayLike,
        *,
        doses: Sequence[float],
        units: Sequence[str],
        unit: str = "pair",
        pair_ids: Sequence[str],
        pair_set: tuple[str, str] = ("", ""),
        subject: str = "curve",
        metric: str = "",
        floor: float = 0.0,
        judge: Judge | Callable[[], Judge] = Judge,
    ) -> None:
        array = np.array(values, dtype=np.float64)
        self._doses = np.array(doses, dtype=np.float64)
        if array.ndim != 2 or array.shape[1] != len(self._doses) or len(self._doses) < 2:
            raise MetricError(
                f"{subject}: {len(self._doses)} doses need values of shape (pairs, "
                f"{len(self._doses)}) and there must be at least 2; got shape {array.shape}"
            )
        if not np.isfinite(self._doses).all() or (np.diff(self._doses) <= 0).any():
            raise MetricError(
                f"{subject}: doses must increase, got {', '.join(f'{d:g}' for d in self._doses)}"
            )
        if not np.isfinite(array).all():
            pair, dose = (int(each) for each in np.argwhere(~np.isfinite(array))[0])
            raise EvidenceError(
                f"{subject}: the value is {array[pair, dose]} at dose {self._doses[dose]:g} for "
                f"pair {pair_ids[pair]!r}\nno verdict can rest on it; look at this pair's metric"
            )
        check_magnitude(array, "values", subject)
        self._values = array
        self._columns = checked_columns(
            np.zeros(len(array)),
            scale=None,
            units=units,
            unit=unit,
            pair_ids=pair_ids,
            pair_set=pair_set,
            subject=subject,
        )
        self._subject = subject
        self._metric = metric or metric_of(subject)
        self._floor = floor
        self._judge = judge

    @property
    def doses(self) -> tuple[float, ...]:
        """The doses."""
        return tuple(self._doses.tolist())

    @property
    def values(self) -> Floats:
        """The values, shape (pairs, doses)."""
        return self._values

    def __repr__(self) -> str:
        return f"<Curve {self._subject}: {len(self._doses)} doses, {len(self._values)} pairs>"

    def __bool__(self) -> NoReturn:
        raise TypeError(
            "a curve has no truth value; claim `curve.slope > 0.1` or "
            "`curve.is_monotone(margin=0.1)`"
        )

    @property
    def slope(self) -> Effect:
        """Least-squares slope of each pair's curve per unit of dose, as an effect.

        A positive mean slope does not show a monotone curve: an inverted U has one, too.
        """
        centred = self._doses - self._doses.mean()
        weights = centred / float(centred @ centred)
        # Noise of single values adds up at worst.
        return self._effect(
            self._values @ weights, "slope", self._floor * float(np.abs(weights).sum())
        )

    @property
    def total(self) -> Effect:
        """The last value of each pair less its first, as an effect."""
        return self._effect(self._values[:, -1] - self._values[:, 0], "total", 2.0 * self._floor)

    @property
    def anti_steerable(self) -> Rate:
        """Share of pairs whose own slope is negative: a mean slope hides them."""
        slope = self.slope
        found = Rate(
            (slope.values < -slope.floor).astype(np.float64),
            **self._columns.pairing,
            subject=f"share of negative slopes of {self._subject}",
            judge=self._judge,
        )
        found.shown = (OnCurve(self),)
        return found

    @property
    def anti_steerable_units(self) -> tuple[float, Interval]:
        """Share of units whose mean slope is negative, with Wilson's interval, for display."""
        alpha = self._current_judge().alpha
        slope = self.slope
        hits = self._columns.means(slope.values) < -slope.floor
        part, low, high = share(hits, alpha)
        return part, Interval(low, high, 1.0 - alpha)

    def is_monotone(
        self, *, margin: float, at_least: float = 0.0, decreasing: bool = False
    ) -> JointVerdict:
        """Claim that the curve rises, or falls by no more than a margin at any step.

        Parameters
        ----------
        margin
            Largest fall between neighbouring doses that would not matter, above 0.
        at_least
            What the whole curve rises by.
        decreasing
            Claim the same of the falling curve.

        Returns
        -------
        JointVerdict
            Supported where each step lies above -margin and the total above `at_least`. Trend
            tests and slopes "confirm" an inverted U; this does not.

        Raises
        ------
        EvidenceError
            If the margin is not above the numeric floor.

        Notes
        -----
        Intersection-union over steps: Berger (1982), Technometrics 24; non-inferiority of steps.
        """
        floor = 2.0 * self._floor
        if not margin > floor:
            raise EvidenceError(
                f"a margin of {margin:g} is not above the numeric floor of a step, {floor:.3g}\n"
                "name the largest fall between neighbouring doses that would not matter"
            )
        side = -1.0 if decreasing else 1.0
        steps = Each(
            side * np.diff(self._values, axis=1),
            [f"step {a:g} to {b:g}" for a, b in zip(self.doses, self.doses[1:], strict=False)],
            columns=self._columns,
            subject=self._subject,
            metric=self._metric,
            floor=floor,
            judge=self._judge,
            noun="step",
        )
        now = self._current_judge()

        def members(shared: Judge) -> list[Verdict]:
            parts: list[Verdict] = [steps.one(i, shared) > -margin for i in range(len(steps))]
            total = -self.total if decreasing else self.total
            return [*parts, rejudged(total, shared) > at_least]

        word = "falls" if decreasing else "rises"
        verdict = every(
            members,
            count=len(steps) + 1,
            judge=now,
            statement=f"{self._metric or 'curve'} {word} with the dose (margin {margin:g})",
            subject=f"{self._subject} over {len(self._doses)} doses",
        )
        part, interval = self.anti_steerable_units
        other = (
            f"{part:.0%} of {self._columns.unit}s have a negative slope "
            f"[{interval.low:.0%}, {interval.high:.0%}]"
        )
        return replace(
            verdict, notes=(*verdict.notes, other), shown=(OnCurve(self),), _asked=[False]
        )

    def band(self, judge: Judge | None = None) -> Band:
        """Return limits that hold for the means of all doses at once, by max-T, for display.

        Parameters
        ----------
        judge
            How it is decided; by default as a comparison made now would be.

        Raises
        ------
        EvidenceError
            There are too few units for any verdict.
        """
        now = judge or self._current_judge()
        table = unit_table(self._values, self._columns, floor=self._floor, subject=self._subject)
        found = joint(table, 0.0, "both", now, subject=self._subject)
        return Band(tuple(found.lower.tolist()), tuple(found.upper.tolist()), 1.0 - now.alpha_claim)

    @property
    def isotonic(self) -> Fit:
        """The mean curve and its best rising or falling approximation, for display.

        Whichever comes closer to the means is given.

        Source: Barlow et al. (1972), Statistical Inference under Order Restrictions.
        """
        n = len(self._columns.labels)
        means = [
            math.fsum(self._columns.means(self._values[:, dose])) / n
            for dose in range(len(self._doses))
        ]
        both = [optimize.isotonic_regression(means, increasing=up).x for up in (True, False)]
        fitted = min(both, key=lambda fit: float(np.sum((fit - means) ** 2)))
        return Fit(self.doses, tuple(means), tuple(float(each) for each in fitted))

    def _effect(self, values: Floats, what: str, floor: float) -> Effect:
        found = Effect(
            values,
            **self._columns.pairing,
            subject=f"{what} of {self._subject}",
            metric=f"{what} of {self._metric}" if self._metric else what,
            floor=floor,
            judge=self._judge,
        )
        found.shown = (OnCurve(self),)
        return found

    def _current_judge(self) -> Judge:
        return self._judge if isinstance(self._judge, Judge) else self._judge()
