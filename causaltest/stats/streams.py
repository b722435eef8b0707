"""Resamples of units: the same for the same seed, whatever the data, order or process."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

# 16 MB of indices a block. The size is part of the stream's definition: it never depends on
# the machine, so neither do the numbers.
_BLOCK = 2_000_000
_KEPT = 4


def resample_indices(units: int, resamples: int, seed: int) -> Iterator[NDArray[np.intp]]:
    """Yield blocks of index rows; each row draws `units` units with replacement.

    Parameters
    ----------
    units
        Number of units to draw from.
    resamples
        Total number of rows over all blocks.
    seed
        Non-negative seed; the stream is a function of `seed` and `units` alone.

    Examples
    --------
    >>> [block.shape for block in resample_indices(12, 99, seed=3)]
    [(99, 12)]
    """
    if units * resamples <= _BLOCK:
        yield _kept(units, resamples, seed)
        return
    generator = np.random.default_rng([seed, units])
    rows = max(1, _BLOCK // units)
    for start in range(0, resamples, rows):
        yield generator.integers(0, units, (min(rows, resamples - start), units), dtype=np.intp)


@lru_cache(maxsize=_KEPT)
def _kept(units: int, resamples: int, seed: int) -> NDArray[np.intp]:
    """Draw one block and keep it: all comparisons of a claim share their resamples."""
    block = np.random.default_rng([seed, units]).integers(
        0, units, (resamples, units), dtype=np.intp
    )
    block.flags.writeable = False
    return block


def resample_counts(units: int, resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Yield the same resamples as counts: row b says how often each unit was drawn.

    A product of these with a units x cells matrix gives the resampled sums of all cells.

    Examples
    --------
    >>> [int(block.sum()) for block in resample_counts(12, 99, seed=3)]
    [1188]
    """
    for indices in resample_indices(units, resamples, seed):
        rows = len(indices)
        flat = indices + units * np.arange(rows, dtype=np.intp)[:, None]
        counts = np.bincount(flat.ravel(), minlength=rows * units)
        yield counts.reshape(rows, units).astype(np.float64)
