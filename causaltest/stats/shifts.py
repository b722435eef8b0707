"""Hull intervals of thousands of means at once, on resamples that all of them share.

The same intervals as `hull.fit` gives one by one: the wider of t and bootstrap-t. Sharing resamples
makes them dependent, which simultaneous statements by Bonferroni's inequality allow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from causaltest.errors import EvidenceError
from causaltest.stats.distributions import t_quantile
from causaltest.stats.hull import SPREAD_FLOOR
from causaltest.stats.judge import FEWEST_RESAMPLES, FEWEST_UNITS, resamples_asked
from causaltest.stats.streams import resample_counts

Floats = NDArray[np.float64]

_MOST_ROOTS = 200_000_000
"""Roots computed in all: a few seconds of work. Beyond, resamples get fewer, as `limits` tells."""
_PIECE = 2_000_000


def limits(
    samples: Sequence[Sequence[float]], *, level: float, seed: int = 0
) -> list[tuple[float, float]]:
    """Return two-sided confidence limits of the mean of each sample.

    Parameters
    ----------
    samples
        For each mean the values of its units, which must be five or more.
    level
        Two-sided level of each interval: an overall level over the number of samples.
    seed
        Seed of the resamples.

    Returns
    -------
    list of (low, high)
        Where all values of a sample are equal, its limits are that value.

    Raises
    ------
    EvidenceError
        A sample has fewer than five units.

    Notes
    -----
    Each limit is an order statistic of the resamples' roots: the 20th from the end, or a later one
    at higher levels, down to the first where so many intervals are asked for that resamples are
    short. Its level holds with any of them (Hall 1992, The Bootstrap and Edgeworth Expansion,
    appendix III); with fewer the limits depend more on the seed.

    Examples
    --------
    >>> import numpy as np
    >>> draws = np.random.default_rng(0).normal(1.0, 0.1, (3, 12))
    >>> [low < 1.0 < high for low, high in limits(draws.tolist(), level=0.05 / 3)]
    [True, True, True]
    """
    for sample in samples:
        if len(sample) < FEWEST_UNITS:
            raise EvidenceError(
                f"{len(sample)} units give no interval for a mean; {FEWEST_UNITS} are the fewest"
            )
    resamples = _resamples(level, len(samples))
    found: dict[int, tuple[float, float]] = {}
    sizes = sorted({len(sample) for sample in samples})
    for n in sizes:
        places = [i for i, sample in enumerate(samples) if len(sample) == n]
        values = np.array([samples[i] for i in places], dtype=np.float64)
        pairs = _limits(values, level=level, resamples=resamples, seed=seed)
        found.update(zip(places, pairs, strict=True))
    return [found[i] for i in range(len(samples))]


def _resamples(level: float, samples: int) -> int:
    """Return as many as one comparison asks for, or as fit, but never too few for the level."""
    afforded = max(FEWEST_RESAMPLES, _MOST_ROOTS // max(1, samples))
    return max(min(resamples_asked(level), afforded), math.ceil(2.0 / level))


def _limits(
    values: Floats, *, level: float, resamples: int, seed: int
) -> list[tuple[float, float]]:
    """Bound the means of the rows of a matrix, means x units."""
    n = values.shape[1]
    means = np.array([math.fsum(row) / n for row in values])
    residuals = values - means[:, None]
    spread = np.sqrt((residuals**2).sum(axis=1) / (n - 1))
    flat = spread <= 1e-12 * np.abs(values).max(axis=1)
    scaled = residuals / np.where(flat, 1.0, spread)[:, None]
    k = max(1, math.floor((resamples + 1) * level / 2.0 * (1.0 + 1e-12)))
    lowest, highest = _extremes(scaled, k=k, resamples=resamples, seed=seed)
    reach = t_quantile(n - 1, level / 2.0) / math.sqrt(n)
    low = means + spread * np.minimum(-reach, lowest)
    high = means + spread * np.maximum(reach, highest)
    low, high = np.where(flat, means, low), np.where(flat, means, high)
    return [(float(a), float(b)) for a, b in zip(low, high, strict=True)]


def _extremes(scaled: Floats, *, k: int, resamples: int, seed: int) -> tuple[Floats, Floats]:
    """Return the k-th smallest and largest root of each row, in spreads from the mean."""
    n = scaled.shape[1]
    squares = scaled**2
    step = max(1, _PIECE // len(scaled))
    lowest = highest = np.empty((len(scaled), 0))
    for counts in resample_counts(n, resamples, seed):
        for start in range(0, len(counts), step):
            drawn = counts[start : start + step].T
            mean = scaled @ drawn / n
            variance = (squares @ drawn / n - mean**2) * (n / (n - 1))
            roots = -mean / np.sqrt(np.maximum(variance, SPREAD_FLOOR**-2))
            lowest = _smallest(np.concatenate([lowest, roots], axis=1), k)
            highest = -_smallest(np.concatenate([-highest, -roots], axis=1), k)
    return lowest.max(axis=1), highest.min(axis=1)


def _smallest(rows: Floats, k: int) -> Floats:
    """Keep the k smallest of each row, in any order."""
    if k == 1:
        return rows.min(axis=1, keepdims=True)
    return rows if rows.shape[1] <= k else np.partition(rows, k - 1, axis=1)[:, :k]
