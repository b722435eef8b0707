"""Sign flips: the exact test for values that are symmetric when nothing is there."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from causaltest.errors import EvidenceError

Floats = NDArray[np.float64]

MOST_ENUMERATED = 2**14
_BLOCK = 2_000_000


def is_exact(units: int) -> bool:
    """Whether all 2^n sign patterns are gone through, rather than a sample of them."""
    return units <= math.log2(MOST_ENUMERATED)


def sign_patterns(units: int, resamples: int, seed: int) -> Iterator[Floats]:
    """Yield blocks of sign patterns, shape (rows, units), each entry -1 or 1.

    Up to 14 units all 2^n patterns come, the first of which flips nothing; beyond, `resamples`
    random ones, a function of `seed` and `units` alone.

    Examples
    --------
    >>> [block.shape for block in sign_patterns(3, 999, seed=0)]
    [(8, 3)]
    """
    if is_exact(units):
        yield _all_patterns(units)
        return
    generator = np.random.default_rng([seed, units, 2])
    rows = max(1, _BLOCK // units)
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        drawn = generator.integers(0, 2, (count, units), dtype=np.int8)
        yield 1.0 - 2.0 * drawn.astype(np.float64)


@lru_cache(maxsize=2)
def _all_patterns(units: int) -> Floats:
    numbers = np.arange(2**units, dtype=np.int64)[:, None]
    bits = (numbers >> np.arange(units, dtype=np.int64)) & 1
    patterns: Floats = 1.0 - 2.0 * bits.astype(np.float64)
    patterns.flags.writeable = False
    return patterns


@dataclass(frozen=True, eq=False)
class SignFlips:
    """Evidence about the centre of symmetry of unit values, by the studentised sign-flip test.

    Flipping the signs of z = u - b gives a t at least as large as the one observed exactly where
    the mean of the flipped units is at most b. So p-values count means of subsets, confidence
    limits are order statistics of them, and the two are exact duals (Hartigan's typical values).
    """

    estimate: float
    n: int
    subset_means: Floats
    """Sorted; one for each pattern that flips something."""
    patterns: int
    """Patterns compared, the one that flips nothing among them."""

    def p_above(self, bound: float) -> float:
        """One-sided p-value of the claim that the centre lies above the bound."""
        crossed = int(np.searchsorted(self.subset_means, bound + self._slack, side="right"))
        return (1 + crossed) / self.patterns

    def p_below(self, bound: float) -> float:
        """One-sided p-value of the claim that the centre lies below the bound."""
        crossed = len(self.subset_means) - int(
            np.searchsorted(self.subset_means, bound - self._slack, side="left")
        )
        return (1 + crossed) / self.patterns

    def limits(self, alpha: float) -> tuple[float, float]:
        """Two-sided confidence limits with at most alpha / 2 on each side.

        Raises
        ------
        EvidenceError
            If there are too few units for the level: with n units no p-value is below 1 / 2^n.
        """
        k = math.floor(self.patterns * alpha / 2.0 * (1.0 + 1e-12))
        if k < 1:
            raise EvidenceError(
                f"{self.n} units cannot be judged by sign flips at a two-sided level of "
                f"{alpha:.3g}: the smallest p-value is {1 / self.patterns:.3g}, and "
                f"{alpha / 2:.3g} is needed\nat least {math.ceil(math.log2(2 / alpha))} units are"
            )
        return float(self.subset_means[k - 1]), float(self.subset_means[-k])

    @property
    def _slack(self) -> float:
        """Rounding of sums: equal means of different subsets must count as equal."""
        return 1e-13 * float(np.abs(self.subset_means[[0, -1]]).max())


def sign_flips(values: Floats, *, resamples: int, seed: int) -> SignFlips:
    """Fit the studentised sign-flip test to unit values.

    Parameters
    ----------
    values
        One per unit, shape (n,), symmetric around their centre; differences from an exchangeable
        placebo are, raw effects need not be.
    resamples, seed
        Number and seed of random sign patterns, where there are more than 2^14.

    Returns
    -------
    SignFlips

    Notes
    -----
    Exact up to 14 units. Among n units the smallest one-sided p-value is 1 / 2^n.
    Sources: Fisher (1935), The Design of Experiments, section 21; Hartigan (1969), Using
    subsample values as typical values, JASA 64.

    Examples
    --------
    >>> found = sign_flips(np.array([0.9, 1.1, 0.7, 1.3, 1.0, 0.8]), resamples=9999, seed=0)
    >>> found.p_above(0.0)
    0.015625
    """
    n = len(values)
    means: list[Floats] = []
    for signs in sign_patterns(n, resamples, seed):
        flipped = signs < 0.0
        counts = flipped.sum(axis=1)
        some = counts > 0  # the pattern that flips nothing is the data themselves
        means.append((flipped[some] @ values) / counts[some])
    found = np.sort(np.concatenate(means))
    return SignFlips(math.fsum(values) / n, n, found, len(found) + 1)
