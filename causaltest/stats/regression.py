"""Regression against a baseline: what changed since, pair by pair, and alarms confirmed afresh."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from causaltest.errors import EvidenceError, MetricError
from causaltest.stats.decision import Region
from causaltest.stats.effect import Effect
from causaltest.stats.evidence import Basis, judged
from causaltest.stats.measured import Measured
from causaltest.stats.splits import check_unseen
from causaltest.stats.student import Student
from causaltest.stats.verdict import Name, Verdict


@dataclass(frozen=True)
class Summary:
    """What is left of a baseline whose per-pair values were not kept.

    Parameters
    ----------
    mean
        Mean over units, on the scale of the new effect.
    standard_error
        Its standard error, positive: a stored mean is itself an estimate. Taken as a constant it
        raises false alarms from 5 to 16 %.
    n_units
        Units it rests on.

    Raises
    ------
    EvidenceError
        If the standard error is not positive, or there are fewer than two units.
    """

    mean: float
    standard_error: float
    n_units: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and 0.0 < self.standard_error < math.inf):
            raise EvidenceError(
                f"a baseline of mean {self.mean:g} with standard error {self.standard_error:g} "
                "cannot be compared with: the mean must be finite, the error positive\n"
                "keep the per-pair values of a baseline, then no error needs to be known"
            )
        if self.n_units < 2:
            raise EvidenceError(f"a baseline of {self.n_units} units has no standard error")


class Change:
    """What changed since a baseline.

    Parameters
    ----------
    new
        The effect now.
    old
        The baseline: the effect then, on the same pair ids, or a `Summary` where only that was
        kept.
    higher_is_better
        Which way is worse.

    Raises
    ------
    MetricError
        If the two are in different metrics.
    PairError
        If the pairs are not the same.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> names = [f"pair {i}" for i in range(30)]
    >>> then = rng.normal(1.0, 0.5, 30)
    >>> old = Effect(then, units=names, pair_ids=names)
    >>> new = Effect(then + rng.normal(0.0, 0.05, 30), units=names, pair_ids=names)
    >>> change = Change(new, old)
    >>> bool(change.not_worse(margin=0.1)), bool(change.unchanged(margin=0.1))
    (True, True)
    """

    def __init__(
        self, new: Effect, old: Effect | Summary, *, higher_is_better: bool = True
    ) -> None:
        self._new = new
        self._old = old
        self._side = 1.0 if higher_is_better else -1.0
        self._difference = new - old if isinstance(old, Effect) else None

    def __repr__(self) -> str:
        return f"<Change of {self._new.subject}: {self.estimate:+.3g}>"

    @property
    def estimate(self) -> float:
        """New less old."""
        if self._difference is not None:
            return self._difference.estimate
        assert isinstance(self._old, Summary)
        return self._new.estimate - self._old.mean

    @property
    def retained(self) -> float:
        """New over old, for display."""
        old = self._old.mean if isinstance(self._old, Summary) else self._old.estimate
        return self._new.estimate / old if old else math.nan

    def not_worse(self, *, margin: float) -> Verdict:
        """Claim that the effect has not fallen by as much as the margin (non-inferiority).

        A refutation is an alarm; see `confirmed`.

        Parameters
        ----------
        margin
            Loss that would matter, above the numeric floor.
        """
        self._check(margin)
        worse = -margin * self._side
        if self._difference is not None:
            return self._difference > worse if self._side > 0 else self._difference < worse
        region = Region(worse, math.inf) if self._side > 0 else Region(-math.inf, worse)
        return self._from_summary(region, f"change {region.relation} {worse:g}")

    def unchanged(self, *, margin: float) -> Verdict:
        """Claim that the effect has moved by less than the margin either way (equivalence).

        Parameters
        ----------
        margin
            Change that would matter, above the numeric floor.
        """
        self._check(margin)
        if self._difference is not None:
            return abs(self._difference) < margin
        return self._from_summary(Region(-margin, margin), f"-{margin:g} < change < {margin:g}")

    def _from_summary(self, region: Region, statement: str) -> Verdict:
        """Judge the difference of two independent means.

        Source: Welch (1947), The generalization of Student's problem, Biometrika 34; degrees of
        freedom by Satterthwaite (1946).
        """
        new, old = self._new, self._old
        assert isinstance(old, Summary)
        mine = _standard_error(new)
        squares = mine**2, old.standard_error**2
        shares = squares[0] ** 2 / (new.n_units - 1) + squares[1] ** 2 / (old.n_units - 1)
        counts = f"{new.n_units} {new.unit}s against {old.n_units}"
        return judged(
            Student(self.estimate, math.sqrt(sum(squares)), sum(squares) ** 2 / shares),
            region,
            new.judge,
            basis=Basis(
                values=tuple(new.values.tolist()),
                **new.columns.pairing,
                floor=new.floor,
            ),
            statement=statement,
            subject=f"({new.subject}) - (its baseline)",
            method=f"Welch's t on {counts}, the baseline by its stored error",
            over=f"Welch's t over {counts}",
            notes=(
                "pairs could not be matched: the baseline holds a mean and an error only",
                "by t alone, which knows nothing of skewness: better keep per-pair values",
            ),
        )

    def _check(self, margin: float) -> None:
        floor = self._difference.floor if self._difference is not None else self._new.floor
        if not margin > floor:
            raise EvidenceError(
                f"a margin of {margin:g} is not above the numeric floor {floor:.3g}\n"
                "name the change that would matter"
            )


@dataclass(frozen=True, eq=False, repr=False)
class ConfirmedVerdict(Verdict):
    """A verdict whose refutation was asked for a second time, on fresh pairs."""

    first: Verdict | None = None
    second: Verdict | None = None


def confirmed(first: Verdict, second: Callable[[], Verdict]) -> ConfirmedVerdict:
    """Refute only what fresh pairs refute again; a false alarm of .025 becomes one of .0006.

    Parameters
    ----------
    first
        The verdict on the pairs at hand.
    second
        Measures the same claim on fresh pairs; called only where the first is refuted.

    Returns
    -------
    ConfirmedVerdict
        The first, unless it is refuted; then refuted where the second is, else inconclusive.

    Raises
    ------
    EvidenceError
        If the second batch shares units with the first.
    MetricError
        If it makes another claim.

    Examples
    --------
    >>> names = [f"pair {i}" for i in range(8)]
    >>> values = [0.9, 1.1, 0.7, 1.3, 1.0, 0.8, 1.2, 1.0]
    >>> effect = Effect(values, units=names, pair_ids=names)
    >>> fresh = Effect(values, units=[f"new {n}" for n in names], pair_ids=names)
    >>> confirmed(effect > 2.0, lambda: fresh > 2.0).name
    'refuted'
    """
    if first.name != "refuted":
        return _confirmed(first, first, None, first.name)
    again = second()
    if (again.relation, again.bound) != (first.relation, first.bound):
        raise MetricError(
            f"the second batch claims `{again.statement}`, the first `{first.statement}`; "
            "confirm the same claim"
        )
    check_unseen(first.units, again.units, what="an alarm", unit=first.unit)
    name: Name = "refuted" if again.name == "refuted" else "inconclusive"
    told = "confirmed on" if name == "refuted" else "not confirmed on"
    note = f"alarm {told} {again.n_pairs} fresh pairs, estimate {again.estimate:.3g}"
    # The weaker of the two refutations is what both show.
    weaker = max(first, again, key=lambda each: each.p_refute)
    found = _confirmed(weaker if name == "refuted" else again, first, again, name)
    return replace(
        found,
        notes=(*found.notes, note),
        p_refute=max(first.p_refute, again.p_refute),
        _observe=first._observe,  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        _asked=[False],
    )


def _confirmed(
    shown: Verdict, first: Verdict, second: Verdict | None, name: Name
) -> ConfirmedVerdict:
    inherited: dict[str, Any] = {
        each.name: getattr(shown, each.name) for each in fields(Verdict) if each.init
    }
    inherited |= {"name": name, "first": first, "second": second, "_asked": [False]}
    return ConfirmedVerdict(**inherited)


def _standard_error(effect: Measured) -> float:
    """Standard error of a mean or a ratio of means over units."""
    columns, n = effect.columns, effect.n_units
    if n < 2:
        raise EvidenceError(f"{effect.subject}: {n} {effect.unit}s have no standard error")
    values, scale_mean = columns.means(effect.values), 1.0
    if effect.scale is not None:
        scale = columns.means(effect.scale)
        scale_mean = math.fsum(scale) / n
        values = values - effect.estimate * scale
    return float(values.std(ddof=1)) / math.sqrt(n) / abs(scale_mean)
