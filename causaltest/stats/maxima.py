"""Step-down max-T: p-values and bounds for many means at once, whatever their dependence."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from causaltest.stats.flips import is_exact, sign_patterns
from causaltest.stats.hull import SPREAD_FLOOR
from causaltest.stats.streams import resample_counts

Floats = NDArray[np.float64]

_ENTRIES = 500_000
"""Numbers in a block of resampled statistics: four such blocks fit a processor's cache."""
_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Tail:
    """Step-down p-values of "the mean of this column lies above 0", and the joint null."""

    p: Floats
    """One per column, adjusted for all of them."""
    maxima: Floats
    """Sorted maxima over all columns of the centred statistic, one per resample."""
    resamples: int


def bootstrap_tail(values: Floats, t: Floats, *, resamples: int, seed: int) -> Tail:
    """Step-down max-T by the studentised bootstrap of units, for values of any shape.

    Parameters
    ----------
    values
        Units x columns, no column constant.
    t
        Studentised distance of each column's mean from its null, shape (columns,).
    resamples, seed
        Number and seed of the resamples.

    Notes
    -----
    Source: Romano and Wolf (2005), Stepwise multiple testing as formalized data snooping,
    Econometrica 73, algorithm 4.2; adjusted p-values as in Romano and Wolf (2016).
    """
    order = np.argsort(-t, kind="stable")
    centred = values[:, order] - values[:, order].mean(axis=0)
    centred /= np.sqrt((centred**2).sum(axis=0) / (len(values) - 1))
    squares = centred**2

    def blocks() -> Iterator[Floats]:
        for counts in _rows(resample_counts(len(values), resamples, seed), values.shape[1]):
            yield _studentised(counts, centred, squares)

    return _step_down(blocks(), t, order, resamples)


def flipped_tail(values: Floats, *, resamples: int, seed: int) -> Tail:
    """Step-down max-T by joint sign flips, for values symmetric around 0 where nothing is there.

    All columns of a unit are flipped together, which keeps their dependence. The p-values are
    exact up to 14 units. The maxima are those of the centred columns, as bounds need them.

    Parameters
    ----------
    values
        Units x columns with their null at 0, no column all zero.
    resamples, seed
        Number and seed of random sign patterns, where there are more than 2^14.

    Notes
    -----
    Source: Westfall and Young (1993), Resampling-Based Multiple Testing, section 2.6.
    """
    n = len(values)
    size = np.sqrt((values**2).mean(axis=0))
    scaled = values / size
    means = scaled.mean(axis=0)
    order = np.argsort(-means, kind="stable")
    scaled = scaled[:, order]
    centred = values - values.mean(axis=0)
    spread = np.sqrt((centred**2).mean(axis=0))
    varied = spread > _ROUNDING * size
    centred = centred[:, varied] / spread[varied]

    # With fixed squares t grows with the mean, and all columns have the same squares: the
    # maximum of t is where the maximum of the scaled mean is.
    def blocks() -> Iterator[Floats]:
        for signs in _rows(sign_patterns(n, resamples, seed), values.shape[1]):
            yield signs @ scaled / n

    found = _step_down(blocks(), means, order, 0 if is_exact(n) else resamples)
    tops = [
        (signs @ centred / n).max(axis=1)
        for signs in _rows(sign_patterns(n, resamples, seed), values.shape[1])
    ]
    top = np.clip(np.sort(np.concatenate(tops)), -1.0, 1.0)
    with np.errstate(divide="ignore"):
        maxima = top * math.sqrt(n - 1) / np.sqrt(1.0 - top**2)
    return Tail(found.p, maxima, found.resamples)


def _step_down(
    blocks: Iterator[Floats], observed: Floats, order: NDArray[np.intp], resamples: int
) -> Tail:
    """Count, for each column, the resamples whose maximum over it and all below is as large."""
    columns = len(observed)
    threshold = observed[order] - _ROUNDING * np.abs(observed[order])
    counts = np.zeros(columns, dtype=np.int64)
    maxima: list[Floats] = []
    total = 0
    for block in blocks:
        backwards = block[:, ::-1]
        np.maximum.accumulate(backwards, axis=1, out=backwards)
        counts += (block >= threshold).sum(axis=0)
        maxima.append(block[:, 0].copy())
        total += len(block)
    # All patterns contain the one observed; a sample of them is joined by it.
    drawn = (counts + 1) / (total + 1) if resamples else counts / total
    adjusted = np.empty(columns)
    adjusted[order] = np.maximum.accumulate(drawn)
    return Tail(adjusted, np.sort(np.concatenate(maxima)), total)


def _studentised(counts: Floats, centred: Floats, squares: Floats) -> Floats:
    """Compute resampled t values with the same floor on their spread as the hull."""
    n = len(centred)
    mean = counts @ centred
    mean /= n
    variance = counts @ squares
    variance /= n
    variance -= mean**2
    variance *= n / (n - 1)
    np.maximum(variance, SPREAD_FLOOR**-2, out=variance)
    np.sqrt(variance, out=variance)
    mean *= math.sqrt(n)
    mean /= variance
    return mean


def _rows(blocks: Iterator[Floats], columns: int) -> Iterator[Floats]:
    rows = max(16, _ENTRIES // columns)
    for block in blocks:
        for start in range(0, len(block), rows):
            yield block[start : start + rows]
