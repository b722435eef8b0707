"""Which cells of a sweep differ: family-wise p-values and simultaneous bounds of all cells."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from causaltest.errors import EvidenceError
from causaltest.stats.cells import Cells, Label
from causaltest.stats.columns import Columns
from causaltest.stats.columnwise import column_means, constant_columns, t_values
from causaltest.stats.flips import is_exact
from causaltest.stats.judge import FEWEST_UNITS, Judge
from causaltest.stats.maxima import Tail, bootstrap_tail, flipped_tail

Floats = NDArray[np.float64]
Direction = Literal["both", "above", "below"]

ADVISED_UNITS = 20
MOST_RESAMPLES = 99_999
_MOST_WORK = 8e9
"""Units x cells x resamples up to which resamples are added near the level: some ten seconds."""


@dataclass(frozen=True, eq=False)
class UnitTable:
    """Unit means of all cells: what maxima are taken over.

    Parameters
    ----------
    means
        Units x cells.
    scale
        Unit means of the denominators, shape (units,), or None.
    floor
        Numeric floor in the unit of the means.
    flips
        Whether values are symmetric where nothing is there, so that signs can be flipped.
    """

    means: Floats
    scale: Floats | None
    floor: float
    flips: bool

    @property
    def n(self) -> int:
        """Number of units."""
        return len(self.means)

    @property
    def scale_mean(self) -> float:
        """Mean denominator, 1 without scale."""
        return 1.0 if self.scale is None else math.fsum(self.scale) / self.n

    @property
    def estimates(self) -> Floats:
        """The effect of each cell."""
        return self.means.mean(axis=0) / self.scale_mean

    def shifted(self, bound: float | Floats) -> Floats:
        """Values whose mean is 0 where the effect is at the bound."""
        scale = np.ones(self.n) if self.scale is None else self.scale
        return self.means - np.outer(scale, np.broadcast_to(bound, self.means.shape[1]))

    def studentised(self, bound: float) -> Floats:
        """Distance of each cell's mean from the bound in standard errors; infinite without any."""
        z = self.shifted(bound)
        constant = constant_columns(z, self.floor)
        t = np.copysign(np.inf, z.mean(axis=0) - 1e-300)
        t[~constant] = t_values(z[:, ~constant])
        return np.clip(t, -self._most, self._most)

    @property
    def _most(self) -> float:
        """No share of a total is surer than that the total is positive (Fieller)."""
        if self.scale is None or constant_columns(self.scale[:, None], 0.0)[0]:
            return math.inf
        return float(t_values(self.scale[:, None])[0])


def unit_table(
    values: Floats, columns: Columns, *, floor: float, subject: str, flips: bool = False
) -> UnitTable:
    """Average many columns of values within units.

    Parameters
    ----------
    values
        Pairs x columns.
    columns
        The pairs, their units and their common denominators.
    floor
        Numeric floor in the unit of the estimates: smaller values count as 0.

    Raises
    ------
    EvidenceError
        If there are denominators and their mean is not positive.
    """
    scale = None if columns.scale is None else columns.means(columns.scale)
    scale_mean = 1.0 if scale is None else math.fsum(scale) / len(scale)
    if scale_mean <= 0.0:
        raise EvidenceError(
            f"{subject}: the total effect is not positive (its mean is {scale_mean:.3g}), so "
            "nothing can be expressed as a share of it\ncheck that source and base answers are "
            "the right way round, or claim the raw effect"
        )
    smallest = floor * scale_mean
    counted = np.where(np.abs(values) <= smallest, 0.0, values)
    means = column_means(counted, columns.units, columns.pair_ids)
    return UnitTable(means, scale, smallest, flips)


@dataclass(frozen=True)
class Draws:
    """How many resamples are drawn, from which seed."""

    resamples: int
    seed: int


@dataclass(frozen=True, eq=False)
class Joint:
    """P-values and simultaneous bounds of all cells; arrays of shape (cells,)."""

    p_above: Floats
    p_below: Floats
    lower: Floats
    upper: Floats
    up: Floats
    """Sorted maxima of the centred statistic over all cells; empty where no cell varies."""
    down: Floats
    """The same for the negative statistic."""
    resamples: int
    constant: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Significance:
    """The cells that differ from the bound, with the probability of any false one held down.

    Iterate over it for labels. It makes no claim: it finds. What it found cannot be judged on the
    pairs it was found on.
    """

    cells: Cells
    p_adjusted: Floats
    """Step-down p-values in the shape of the grid; a cell is found where it reaches the level."""
    lower: Floats
    """Simultaneous lower bounds in the shape of the grid."""
    upper: Floats
    """Simultaneous upper bounds in the shape of the grid."""
    level: float
    """Family-wise level of the whole grid."""
    direction: Direction
    bound: float
    method: str
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.cells)

    def __iter__(self) -> Iterator[tuple[Label, ...]]:
        return iter(self.cells)

    def __contains__(self, cell: object) -> bool:
        return cell in self.cells

    def __bool__(self) -> NoReturn:
        raise TypeError(
            "significant cells make no claim; claim `grid.largest > bound` for some cell, "
            "`grid.localised(hot)` or `grid.every(hot) > bound` for cells that you name"
        )

    def __repr__(self) -> str:
        return f"<Significance: {len(self)} of {self.p_adjusted.size} cells; {self.method}>"


def joint(
    table: UnitTable, bound: float, direction: Direction, judge: Judge, *, subject: str
) -> Joint:
    """Test all cells against a bound at once.

    Raises
    ------
    EvidenceError
        If there are too few units for any verdict, or too few for the level by sign flips.
    """
    level = judge.alpha_claim
    tail = level / 2.0 if direction == "both" else level
    _enough(table, tail, subject)
    found = _tested(table, bound, direction, tail, Draws(judge.resamples, judge.seed))
    if (table.flips and is_exact(table.n)) or not _near(found, tail):
        return found
    # One look further, at a fixed number: p-values stay a function of data and seed.
    more = min(MOST_RESAMPLES, 40 * (int(_MOST_WORK / table.means.size) // 40) - 1)
    if more <= judge.resamples:
        return found
    return _tested(table, bound, direction, tail, Draws(more, judge.seed))


def simultaneous(table: UnitTable, up: Floats, down: Floats, alpha: float) -> tuple[Floats, Floats]:
    """Two-sided simultaneous limits of all cells from the maxima of either tail."""
    return (
        lower_bounds(table, 1.0, upper_quantile(up, alpha / 2.0)),
        -lower_bounds(table, -1.0, upper_quantile(down, alpha / 2.0)),
    )


def method_of(table: UnitTable, resamples: int, unit: str) -> str:
    """Describe how cells were judged."""
    over = f"{table.means.shape[1]:,} cells and {table.n} {unit}s"
    if not table.flips:
        return f"step-down bootstrap max-T over {over}, {resamples:,} resamples"
    drawn = f"all {2**table.n:,}" if is_exact(table.n) else f"{resamples:,}"
    return f"step-down sign-flip max-T over {over}, {drawn} sign patterns"


def notes_of(table: UnitTable, constant: NDArray[np.bool_], unit: str) -> tuple[str, ...]:
    """Say what a reader of a map must know."""
    notes: tuple[str, ...] = ()
    if not table.flips and table.n < ADVISED_UNITS:
        few = f"{table.n} {unit}s are few for a bootstrap over cells, which then finds little"
        notes += (f"{few}: take {ADVISED_UNITS}, or a placebo for each pair (grid.against)",)
    if not table.flips and (count := _carried_by_one(table, constant)):
        cells = "cell responds" if count == 1 else "cells respond"
        alone = f"{count} {cells} to one {unit} more than to all others together"
        notes += (f"{alone}: take a placebo for each pair (grid.against), or name a bound",)
    if constant.any():
        notes += (f"{int(constant.sum())} cells are the same in all {unit}s: their value decides",)
    return notes


def _carried_by_one(table: UnitTable, constant: NDArray[np.bool_]) -> int:
    """Count the cells in which one unit holds more than half of the variation."""
    live = table.shifted(table.estimates)[:, ~constant]
    squares = (live - live.mean(axis=0)) ** 2
    return int((squares.max(axis=0, initial=0.0) > 0.5 * squares.sum(axis=0)).sum())


def _enough(table: UnitTable, tail: float, subject: str) -> None:
    if table.n < FEWEST_UNITS:
        raise EvidenceError(
            f"{subject}: {table.n} units cannot carry a verdict; at least {FEWEST_UNITS} are "
            f"needed\nadd pairs from new units"
        )
    if table.flips and 0.5**table.n > tail:
        raise EvidenceError(
            f"{subject}: {table.n} units cannot be judged by sign flips at a level of {tail:.3g} a "
            f"side: the smallest p-value is {0.5**table.n:.3g}\n"
            f"at least {math.ceil(-math.log2(tail))} units are needed"
        )


def _near(found: Joint, tail: float) -> bool:
    """Whether a cell's p-value is within three Monte Carlo errors of the level."""
    p = np.concatenate([found.p_above, found.p_below])
    return bool((np.abs(p - tail) < 3.0 * np.sqrt(p * (1.0 - p) / found.resamples)).any())


def _tested(
    table: UnitTable, bound: float, direction: Direction, tail: float, draws: Draws
) -> Joint:
    far = np.full(table.means.shape[1], np.inf)
    floor = table.floor if abs(bound) * table.scale_mean <= table.floor else 0.0
    z = table.shifted(bound)
    above, up = _one_side(table, z - floor, draws) if direction != "below" else (None, None)
    below, down = _one_side(table, -z - floor, draws) if direction != "above" else (None, None)
    tops = _null(table, up, 1.0, draws)
    bottoms = _null(table, down, -1.0, draws)
    return Joint(
        p_above=np.ones(len(far)) if above is None else above,
        p_below=np.ones(len(far)) if below is None else below,
        lower=-far if above is None else lower_bounds(table, 1.0, upper_quantile(tops, tail)),
        upper=far if below is None else -lower_bounds(table, -1.0, upper_quantile(bottoms, tail)),
        up=tops,
        down=bottoms,
        resamples=draws.resamples,
        constant=constant_columns(z, table.floor),
    )


def _one_side(table: UnitTable, z: Floats, draws: Draws) -> tuple[Floats, Tail | None]:
    """Test "the mean lies above 0" for every column; a column without variation by its value."""
    constant = constant_columns(z, table.floor)
    p = np.where(z.mean(axis=0) > 0.0, 1.0 / (draws.resamples + 1), 1.0)
    if constant.all():
        return p, None
    live = np.ascontiguousarray(z[:, ~constant])
    if table.flips:
        found = flipped_tail(live, resamples=draws.resamples, seed=draws.seed)
    else:
        t = t_values(live)
        found = bootstrap_tail(live, t, resamples=draws.resamples, seed=draws.seed)
    p[~constant] = found.p
    return p, found


def _null(table: UnitTable, tail: Tail | None, side: float, draws: Draws) -> Floats:
    """Maxima of the statistic centred at the estimates, from which bounds are made."""
    if tail is None:
        return np.empty(0)
    if table.scale is None:
        return tail.maxima
    # The bound of a ratio moves its denominator along: its null is that of the residuals.
    live = _residuals(table)[1] * side
    live = np.ascontiguousarray(live - live.mean(axis=0))
    if table.flips:
        return flipped_tail(live, resamples=draws.resamples, seed=draws.seed).maxima
    t = np.zeros(live.shape[1])
    return bootstrap_tail(live, t, resamples=draws.resamples, seed=draws.seed).maxima


def _residuals(table: UnitTable) -> tuple[NDArray[np.bool_], Floats]:
    """Find which cells vary around their estimate, and by how much in each unit."""
    residuals = table.shifted(table.estimates)
    rounding = 1e-12 * float(np.abs(table.means).max())
    varied = ~constant_columns(residuals, max(table.floor, rounding))
    return varied, residuals[:, varied]


def upper_quantile(maxima: Floats, level: float) -> float:
    """Value that a maximum exceeds in at most a share `level` of resamples; else infinity."""
    if not maxima.size:
        return 0.0
    k = math.floor((len(maxima) + 1) * level * (1.0 + 1e-12))
    return float(maxima[-k]) if k >= 1 else math.inf


def lower_bounds(table: UnitTable, side: float, quantile: float) -> Floats:
    """Simultaneous lower bounds of the effects (of their negatives for side -1)."""
    estimates = side * table.estimates
    varied, residuals = _residuals(table)
    lower = estimates - table.floor / table.scale_mean
    if varied.any():
        lower[varied] = _fieller(
            estimates[varied], side * residuals, table.scale, table.scale_mean, quantile
        )
    return lower


def _fieller(
    estimates: Floats, residuals: Floats, scale: Floats | None, scale_mean: float, quantile: float
) -> Floats:
    """Solve t(b) = quantile for b below the estimate; -infinity where the denominator is weak."""
    if math.isinf(quantile):
        return np.full_like(estimates, -np.inf)
    n = len(residuals)
    spread = residuals.std(axis=0, ddof=1)
    unit = quantile / (scale_mean * math.sqrt(n))
    if scale is None:
        return estimates - unit * spread
    shift = scale - scale_mean
    covariance = (residuals - residuals.mean(axis=0)).T @ shift / (n - 1)
    shrink = 1.0 - unit**2 * float(shift @ shift) / (n - 1)
    if shrink <= 0.0:
        return np.full_like(estimates, -np.inf)
    reach = unit * np.sqrt(spread**2 * shrink + (unit * covariance) ** 2)
    return estimates + (-(unit**2) * covariance - reach) / shrink
