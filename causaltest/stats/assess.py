"""From per-pair columns to evidence: which method judges which data, and how it is called."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from causaltest.errors import EvidenceError
from causaltest.stats.columns import Columns
from causaltest.stats.decision import Evidence
from causaltest.stats.exact import ExactValue, SameInAllUnits
from causaltest.stats.hull import fit
from causaltest.stats.judge import ADVISED_UNITS, FEWEST_UNITS, Judge, units_advised
from causaltest.stats.rates import Binomial, PairedFlips, UnitRates

Floats = NDArray[np.float64]

RESPONDERS = 5


@dataclass(frozen=True)
class Found:
    """Evidence, and how it was come by: for the record, in short, and with remarks."""

    evidence: Evidence
    method: str
    over: str
    notes: tuple[str, ...] = ()


def assess_effect(
    data: Columns, counted: Floats, floor: float, judge: Judge, subject: str
) -> Found:
    """Judge a mean or a ratio of means by the hull over unit means.

    Parameters
    ----------
    data
        Pairs and units.
    counted
        The values, those within the numeric floor set to 0.
    floor
        Numeric floor in the unit of the values.
    """
    n = _enough(data, subject)
    means = data.means(counted)
    scale = None if data.scale is None else data.means(data.scale)
    resamples = judge.resamples
    hull = fit(means, scale, resamples=resamples, seed=judge.seed, floor=floor)
    if hull is None:
        divisor = 1.0 if scale is None else math.fsum(scale) / n
        value = math.fsum(means) / n / divisor
        exact = ExactValue(value, floor / divisor, resamples)
        what = "zero" if value == 0.0 else "value"
        same = f"exact {what}: all {_units(data, 'mean')} are equal"
        return Found(exact, f"{same}, the value decides", f"{same} ({data.n_pairs} pairs)")
    return Found(
        hull,
        _method(data, "mean", resamples),
        _over(data, "mean"),
        _remarks(data, means, floor, judge.alpha_claim),
    )


def assess_rate(data: Columns, judge: Judge, subject: str) -> Found:
    """Judge a rate: exactly where pairs are independent, by the hull over unit rates else."""
    n = _enough(data, subject)
    if n == data.n_pairs:
        exact = Binomial(float(data.values.sum()), n)
        return Found(
            exact,
            f"exact binomial test, Clopper-Pearson interval on {n} {data.unit}s",
            f"Clopper-Pearson over {n} {data.unit}s",
            _few(data),
        )
    rates = data.means(data.values)
    resamples = judge.resamples
    # Without a floor on the resampled spread: near a ceiling the trials below take over.
    hull = fit(rates, resamples=resamples, seed=judge.seed, spread_floor=math.inf)
    if hull is None:
        same = SameInAllUnits(float(rates[0]), n, 0.0, 1.0)
        return Found(
            same,
            f"Clopper-Pearson on {n} {data.unit}s: all their rates are equal",
            f"Clopper-Pearson over {n} {data.unit}s of equal rate ({data.n_pairs} pairs)",
            _few(data),
        )
    evidence = UnitRates(hull, Binomial(math.fsum(rates), n))
    notes = _few(data, judge.alpha_claim)
    return Found(evidence, _method(data, "rate", resamples), _over(data, "rate"), notes)


def assess_rate_difference(data: Columns, judge: Judge, subject: str) -> Found:
    """Judge a paired difference of rates: exact flips, or the hull over unit differences."""
    n = _enough(data, subject)
    if n == data.n_pairs:
        flips = PairedFlips(int((data.values > 0).sum()), int((data.values < 0).sum()), n)
        return Found(
            flips,
            "the farther limit of Agresti-Min and of Clopper-Pearson's added, with McNemar's exact "
            f"test at 0, on {n} {data.unit}s",
            f"Agresti-Min, Clopper-Pearson and McNemar over {n} {data.unit}s",
            _few(data),
        )
    differences = data.means(data.values)
    resamples = judge.resamples
    hull = fit(differences, resamples=resamples, seed=judge.seed)
    if hull is None:
        same = SameInAllUnits(float(differences[0]), n, -1.0, 1.0)
        return Found(
            same,
            f"exact bound on {n} {data.unit}s: all their differences are equal",
            f"exact bound over {n} {data.unit}s of equal difference ({data.n_pairs} pairs)",
            _few(data),
        )
    return Found(
        hull,
        _method(data, "difference", resamples),
        _over(data, "difference"),
        _remarks(data, differences, 0.0, judge.alpha_claim),
    )


def _enough(data: Columns, subject: str) -> int:
    n = len(data.labels)
    if n < FEWEST_UNITS:
        raise EvidenceError(
            f"{subject}: {n} {data.unit}{'s' if n != 1 else ''} cannot carry a verdict; at least "
            f"{FEWEST_UNITS} are needed, {ADVISED_UNITS} or more are advised\n"
            f"{_advice(data)}"
        )
    return n


def _advice(data: Columns) -> str:
    if data.unit == "pair":
        return "add pairs"
    return (
        f"add pairs from new {data.unit}s: more pairs of the same {data.unit}s "
        f"do not tell how the effect varies between {data.unit}s"
    )


def _few(data: Columns, alpha: float | None = None) -> tuple[str, ...]:
    """Say where units are few; for a small level where the test is not exact, more are needed."""
    n = len(data.labels)
    advised = ADVISED_UNITS if alpha is None else units_advised(alpha)
    if n >= advised:
        return ()
    if advised == ADVISED_UNITS:
        return (f"only {n} {data.unit}s: {ADVISED_UNITS} or more are advised",)
    told = f"only {n} {data.unit}s for a level of {alpha:.2g}: {advised} or more are advised"
    return (f"{told}, since few {data.unit}s tell little of rare ones",)


def _remarks(data: Columns, means: Floats, floor: float, alpha: float) -> tuple[str, ...]:
    notes = _few(data, alpha)
    responding = int((np.abs(means) > floor).sum())
    if responding < RESPONDERS:
        found = f"only {responding} of {len(means)} {data.unit}s respond at all"
        notes += (f"{found}: a rare effect can be missed or misjudged",)
    return notes


def _units(data: Columns, what: str) -> str:
    n = len(data.labels)
    return f"{n} pairs" if data.unit == "pair" and n == data.n_pairs else f"{n} {data.unit} {what}s"


def _method(data: Columns, what: str, resamples: int) -> str:
    return f"hull on {_units(data, what)}, {resamples:,} resamples"


def _over(data: Columns, what: str) -> str:
    units = _units(data, what)
    return (
        f"hull over {units}"
        if units.endswith(" pairs")
        else f"hull over {units} ({data.n_pairs} pairs)"
    )
