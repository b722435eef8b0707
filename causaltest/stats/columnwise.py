"""The hull for many columns at once: one-sided p-values of every column's mean against 0."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import special

from causaltest.stats.hull import SPREAD_FLOOR
from causaltest.stats.streams import resample_counts

Floats = NDArray[np.float64]

_ENTRIES = 500_000


def column_means(values: Floats, units: tuple[str, ...], pair_ids: tuple[str, ...]) -> Floats:
    """Average rows within units, units in sorted order; the order of rows does not matter.

    Parameters
    ----------
    values
        Pairs x columns.
    units, pair_ids
        The unit and the id of each row.

    Examples
    --------
    >>> column_means(np.array([[1.0], [3.0], [5.0]]), ("b", "a", "b"), ("p", "q", "r"))
    array([[3.],
           [3.]])
    """
    order = sorted(range(len(units)), key=lambda i: (units[i], pair_ids[i]))
    labels = [units[i] for i in order]
    starts = [i for i, label in enumerate(labels) if i == 0 or label != labels[i - 1]]
    sums = np.add.reduceat(values[order], starts, axis=0)
    return sums / np.diff([*starts, len(labels)])[:, None]


def constant_columns(values: Floats, floor: Floats | float) -> NDArray[np.bool_]:
    """Find the columns whose units do not differ, up to rounding and the numeric floor."""
    width = np.ptp(values, axis=0)
    return (width <= 1e-12 * np.abs(values).max(axis=0)) | (width <= floor)


def t_values(values: Floats) -> Floats:
    """Mean over standard error of every column; no column may be constant."""
    n = len(values)
    return values.mean(axis=0) / values.std(axis=0, ddof=1) * math.sqrt(n)


def hull_p(values: Floats, *, resamples: int, seed: int) -> tuple[Floats, Floats]:
    """One-sided p-values of "the mean lies above 0" and "below 0" by the hull, for each column.

    Parameters
    ----------
    values
        Units x columns, no column constant.
    resamples, seed
        Number and seed of the resamples; the same as for a single effect.

    Examples
    --------
    >>> data = np.random.default_rng(0).normal(0.0, 1.0, (30, 2)) + np.array([0.0, 2.0])
    >>> above, below = hull_p(data, resamples=999, seed=0)
    >>> bool(above[1] < 0.025 < above[0])
    True
    """
    n, columns = values.shape
    t = t_values(values)
    centred = values - values.mean(axis=0)
    centred /= np.sqrt((centred**2).sum(axis=0) / (n - 1))
    squares = centred**2
    above, below = np.zeros(columns, dtype=np.int64), np.zeros(columns, dtype=np.int64)
    rows = max(16, _ENTRIES // columns)
    for block in resample_counts(n, resamples, seed):
        for start in range(0, len(block), rows):
            counts = block[start : start + rows]
            mean = counts @ centred / n
            variance = (counts @ squares / n - mean**2) * (n / (n - 1))
            drawn = mean * math.sqrt(n) / np.sqrt(np.maximum(variance, SPREAD_FLOOR**-2))
            above += (drawn >= t).sum(axis=0)
            below += (drawn <= t).sum(axis=0)
    return (
        np.maximum(special.stdtr(n - 1, -t), (1 + above) / (resamples + 1)),
        np.maximum(special.stdtr(n - 1, t), (1 + below) / (resamples + 1)),
    )
