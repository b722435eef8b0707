"""Consistency: whether an effect holds in each unit, not only on average."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from causaltest.errors import EvidenceError, MetricError
from causaltest.stats.decision import Region
from causaltest.stats.distributions import t_quantile, t_survival
from causaltest.stats.effect import Effect
from causaltest.stats.evidence import Basis, judged
from causaltest.stats.judge import FEWEST_UNITS
from causaltest.stats.operands import bound_of
from causaltest.stats.rate import Rate
from causaltest.stats.significance import UnitTable, lower_bounds, unit_table
from causaltest.stats.skewness import skew_p
from causaltest.stats.verdict import Interval, Sizes, Verdict

Floats = NDArray[np.float64]

_FEWEST_PAIRS = 20
"""Pairs that one unit needs to speak for itself: at the level that is left to one of many units,
fewer skewed pairs contradict a true claim in a third of all runs."""


@dataclass(frozen=True)
class Heterogeneity:
    """How much units differ beyond what pairs within them explain.

    `tau` is the standard deviation of the true effects of units, `i2` the share of the variance
    of unit means that it makes up, `q` Cochran's statistic on `df` degrees of freedom.

    Sources: DerSimonian and Laird (1986), Meta-analysis in clinical trials, Control. Clin.
    Trials 7; Higgins and Thompson (2002), Quantifying heterogeneity, Stat. Med. 21.
    """

    tau: float
    i2: float
    q: float
    df: int


def heterogeneity(means: Floats, variances: Floats) -> Heterogeneity:
    """DerSimonian and Laird's moment estimate from unit means and their sampling variances.

    Parameters
    ----------
    means
        One per unit.
    variances
        Squared standard error of each, positive.

    Examples
    --------
    >>> found = heterogeneity(np.array([0.1, 0.3, 0.35, 0.65]), np.full(4, 0.02))
    >>> round(found.tau**2, 4), round(found.i2, 2)
    (0.0317, 0.61)
    """
    weights = 1.0 / variances
    total = float(weights.sum())
    centre = float(weights @ means) / total
    q = float(weights @ (means - centre) ** 2)
    df = len(means) - 1
    variance = max(0.0, (q - df) / (total - float((weights**2).sum()) / total))
    return Heterogeneity(math.sqrt(variance), max(0.0, 1.0 - df / q) if q > 0 else 0.0, q, df)


@dataclass(frozen=True, eq=False)
class NextUnit:
    """Evidence about the effect in a unit that was not measured: the prediction interval.

    t(b) = mean(z) / (sd(z) sqrt(1 + 1/n)) on unit means z at the bound b. It predicts the mean of
    a further unit of like size, which varies more than its true effect does, so that it covers
    the latter at least as often. An interval from DerSimonian and Laird's tau, the usual one,
    covers in 87 to 95 % instead of 95 %.

    Refutation is also open to each measured unit of twenty pairs or more by itself: if they put
    it on the other side, corrected for their skewness, the effect does not hold in each.
    """

    table: UnitTable
    values: Floats
    scale: Floats | None
    groups: tuple[NDArray[np.intp], ...]
    """Rows of the pairs of each unit, in the order of the table."""

    @property
    def estimate(self) -> float:
        """The mean effect."""
        return float(self.table.estimates[0])

    def p_above(self, bound: float) -> float:
        """P-value of the prediction that a further unit lies above the bound."""
        return max(self._predicted(bound), 1e-300)

    def p_below(self, bound: float) -> float:
        """P-value of the claim that not every unit lies above the bound."""
        return self._against(bound, 1.0)

    def limits(self, alpha: float) -> tuple[float, float]:
        """Prediction limits for a further unit."""
        reach = t_quantile(self.table.n - 1, alpha / 2.0) * math.sqrt(self.table.n + 1)
        low, high = lower_bounds(self.table, 1.0, reach), -lower_bounds(self.table, -1.0, reach)
        if not (math.isfinite(low[0]) and math.isfinite(high[0])):
            raise EvidenceError(
                "total effect too weak to divide by in a single unit: its prediction interval has "
                "no end\nclaim the raw effect, or choose pairs with a clear total effect"
            )
        return float(low[0]), float(high[0])

    def worst(self, bound: float, side: float) -> tuple[int, float]:
        """Find the unit whose own pairs speak most against the side of the bound, with its p."""
        scale = np.ones(len(self.values)) if self.scale is None else self.scale
        z = side * (self.values - bound * scale)
        found = [1.0]
        for rows in self.groups:
            own = z[rows]
            if len(own) < _FEWEST_PAIRS:
                found.append(1.0)
                continue
            spread = float(own.std(ddof=1))
            if spread <= 1e-12 * max(float(np.abs(own).max()), 1e-300):
                # All pairs of this unit are equal: too little to speak for itself.
                found.append(1.0)
                continue
            t = -float(own.mean()) / spread * math.sqrt(len(own))
            found.append(max(t_survival(t, len(own) - 1), skew_p(-own)))
        place = int(np.argmin(found[1:]))
        return place, found[1:][place]

    def _against(self, bound: float, side: float) -> float:
        eligible = sum(len(rows) >= _FEWEST_PAIRS for rows in self.groups)
        predicted = 1.0 - self._predicted(bound) if side > 0 else self._predicted(bound)
        p = min(predicted, self.worst(bound, side)[1])
        return min(1.0, max((1 + eligible) * p, 1e-300))

    def _predicted(self, bound: float) -> float:
        t = float(self.table.studentised(bound)[0]) / math.sqrt(self.table.n + 1)
        return t_survival(t, self.table.n - 1)


@dataclass(frozen=True, eq=False)
class Mirrored:
    """The same evidence for claims from below: every unit lies below the bound."""

    inner: NextUnit

    @property
    def estimate(self) -> float:
        """The mean effect."""
        return self.inner.estimate

    def p_above(self, bound: float) -> float:
        """P-value of the claim that not every unit lies below the bound."""
        return self.inner._against(bound, -1.0)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    def p_below(self, bound: float) -> float:
        """P-value of the prediction that a further unit lies below the bound."""
        return max(1.0 - self.inner._predicted(bound), 1e-300)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    def limits(self, alpha: float) -> tuple[float, float]:
        """Prediction limits for a further unit."""
        return self.inner.limits(alpha)


class Consistency:
    """An effect unit by unit: compare it with a bound that every unit shall meet.

    Parameters
    ----------
    effect
        An effect with several pairs in each unit.

    Raises
    ------
    EvidenceError
        If there are fewer than five units.
    MetricError
        If each pair is its own unit.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> units = [f"template {i // 6}" for i in range(72)]
    >>> effect = Effect(
    ...     rng.normal(1.0, 0.2, 72),
    ...     units=units,
    ...     unit="template",
    ...     pair_ids=[f"pair {i}" for i in range(72)],
    ... )
    >>> bool(Consistency(effect) > 0.5)
    True
    """

    __array_ufunc__ = None

    def __init__(self, effect: Effect) -> None:
        columns = effect.columns
        labels = columns.labels
        if len(labels) == effect.n_pairs:
            raise MetricError(
                f"{effect.subject}: each pair is its own {columns.unit}, so there is nothing to be "
                "consistent within\ndeclare a cluster, e.g. the template, for the pair set"
            )
        if len(labels) < FEWEST_UNITS:
            raise EvidenceError(
                f"{effect.subject}: {len(labels)} {columns.unit}s cannot tell how a further one "
                f"would be; at least {FEWEST_UNITS} are needed"
            )
        rows: dict[str, list[int]] = {label: [] for label in labels}
        for i in sorted(range(effect.n_pairs), key=lambda i: columns.pair_ids[i]):
            rows[columns.units[i]].append(i)
        self._effect = effect
        self._labels = labels
        self._groups = tuple(np.array(rows[label], dtype=np.intp) for label in labels)
        self._table = unit_table(
            columns.values[:, None], columns, floor=effect.floor, subject=effect.subject
        )

    def __repr__(self) -> str:
        return f"<{self._effect.subject} in each of {len(self._labels)} {self._effect.unit}s>"

    def __bool__(self) -> NoReturn:
        raise TypeError(
            "consistency has no truth value; compare it with a bound that every unit shall meet, "
            "e.g. `Consistency(effect) > 0`"
        )

    @property
    def heterogeneity(self) -> Heterogeneity | None:
        """How much units differ; None where a unit has one pair, or pairs that do not differ."""
        variances: list[float] = []
        for rows in self._groups:
            if len(rows) < 2:
                return None
            variances.append(float(self._residuals[rows].var(ddof=1)) / len(rows))
        if min(variances) <= 0.0:
            return None
        return heterogeneity(self.effects, np.array(variances))

    @property
    def effects(self) -> Floats:
        """The effect of each unit, in the order of sorted labels; they average to the effect."""
        return self._table.means[:, 0] / self._table.scale_mean

    @property
    def labels(self) -> tuple[str, ...]:
        """The units, sorted."""
        return self._labels

    @property
    def prediction(self) -> Interval:
        """Prediction interval for a further unit at the run's level."""
        alpha = self._effect.judge.alpha
        low, high = self._evidence().limits(alpha)
        return Interval(low, high, 1.0 - alpha)

    @property
    def share(self) -> Rate:
        """Share of units whose effect is above 0 (above the numeric floor), as a rate."""
        return Rate(
            (self.effects > self._effect.floor).astype(np.float64),
            units=self._labels,
            unit=self._effect.unit,
            pair_ids=self._labels,
            pair_set=self._effect.pair_set,
            subject=f"share of {self._effect.unit}s with positive {self._effect.subject}",
            judge=lambda: self._effect.judge,
        )

    def __gt__(self, bound: object) -> Verdict:
        number = bound_of(bound, "consistency")
        if number is None:
            return NotImplemented
        return self._verdict(number, 1.0)

    def __lt__(self, bound: object) -> Verdict:
        number = bound_of(bound, "consistency")
        if number is None:
            return NotImplemented
        return self._verdict(number, -1.0)

    def _evidence(self) -> NextUnit:
        return NextUnit(self._table, self._effect.values, self._effect.scale, self._groups)

    @property
    def _residuals(self) -> Floats:
        """Values on the scale of the effect, without what their own totals explain."""
        effect, mean = self._effect, self._table.scale_mean
        if effect.scale is None:
            return effect.values
        return (effect.values - effect.estimate * (effect.scale - mean)) / mean

    def _verdict(self, bound: float, side: float) -> Verdict:
        effect = self._effect
        decided = side * effect.floor if abs(bound) <= effect.floor else bound
        sign = ">" if side > 0 else "<"
        inner = self._evidence()
        region = Region(decided, math.inf) if side > 0 else Region(-math.inf, decided)
        count = f"{len(self._labels)} {effect.unit}s"
        part = self.share
        return judged(
            inner if side > 0 else Mirrored(inner),
            region,
            effect.judge,
            basis=Basis(
                values=tuple((effect.values / self._table.scale_mean).tolist()),
                **effect.columns.pairing,
                floor=effect.floor,
            ),
            statement=f"{effect.metric or 'effect'} {sign} {bound:g} in each {effect.unit}",
            subject=effect.subject,
            bound=bound,
            method=f"prediction interval for a further {effect.unit} from {count}, normal theory",
            over=f"prediction interval from {count}",
            notes=self._notes(inner, decided, side),
            refuted_because=self._contradiction(inner, decided, side),
            advice=f"more {effect.unit}s would narrow the prediction, down to how much they differ",
            sizes=Sizes(share_in_direction=part.estimate, share_interval=part.interval),
        )

    def _notes(self, inner: NextUnit, bound: float, side: float) -> tuple[str, ...]:
        unit, notes = self._effect.unit, ()
        found = self.heterogeneity
        if found is not None:
            real = f"I^2 = {found.i2:.0%} of the variance between their means is real"
            notes += (f"{unit}s differ by tau = {found.tau:.3g}; {real}",)
        contradiction = self._contradiction(inner, bound, side)
        return (*notes, contradiction) if contradiction else notes

    def _contradiction(self, inner: NextUnit, bound: float, side: float) -> str:
        """Name the unit whose own pairs refute the claim, where one does."""
        place, p = inner.worst(bound, side)
        if p * (1 + len(self._groups)) > self._effect.judge.alpha_claim / 2.0:
            return ""
        unit, value = self._effect.unit, self.effects[place]
        return f"{unit} {self._labels[place]!r} by itself contradicts, with {value:.3g}"
