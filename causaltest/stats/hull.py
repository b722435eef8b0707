"""Hull intervals for a mean or a ratio of means: the wider of t and bootstrap-t, side by side.

A bound b is tested through z_g(b) = N_g - b * D_g, one z per unit g, with D_g = 1 where the
effect has no scale. The p-value of a side is the larger of the t and the bootstrap-t p-value.
Each resample r crosses its verdict at one b, its *root*; p-values count roots and confidence
limits are order statistics of roots, so the two are exact duals.

Sources: Hall (1988), Theoretical comparison of bootstrap confidence intervals, Annals of
Statistics 16; Fieller (1954), Some problems in interval estimation, JRSS B 16.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from causaltest.errors import EvidenceError
from causaltest.stats.distributions import t_quantile, t_survival
from causaltest.stats.skewness import skew_p, skewness
from causaltest.stats.streams import resample_counts, resample_indices

Floats = NDArray[np.float64]

SPREAD_FLOOR = 10.0
"""A resample's standard error counts as at least a tenth of the sample's: a resample that
happens to miss every unit that differs would otherwise send a limit to infinity."""

_BISECTIONS = 42
"""Halvings of (-1, 1): roots are exact to 5e-13 spreads, and to 5e-11 at ten spreads."""
_PIECE = 200_000
_TINY = 1e-300


@dataclass(frozen=True, eq=False)
class Hull:
    """Evidence about one mean or ratio of means; p-values and limits for any bound.

    `spread` is the standard deviation of N - estimate * D, `scale_mean` the mean of D,
    `scale_spread` its standard deviation and `covariance` that of the residual with D;
    `numerators` and `denominators` are N and D of each unit.
    """

    estimate: float
    n: int
    resamples: int
    spread: float
    scale_mean: float
    scale_spread: float
    covariance: float
    numerators: Floats
    denominators: Floats
    lower_roots: Floats
    upper_roots: Floats

    def p_above(self, bound: float) -> float:
        """One-sided p-value of the claim that the estimand lies above the bound."""
        crossed = int(np.searchsorted(self.lower_roots, bound, side="right"))
        return max(self._t_p(bound, 1.0), (1 + crossed) / (self.resamples + 1))

    def p_below(self, bound: float) -> float:
        """One-sided p-value of the claim that the estimand lies below the bound."""
        crossed = self.resamples - int(np.searchsorted(self.upper_roots, bound, side="left"))
        return max(self._t_p(bound, -1.0), (1 + crossed) / (self.resamples + 1))

    def skewed(self, bound: float) -> float:
        """Skewness of the units' distances from the bound."""
        return skewness(self.numerators - bound * self.denominators)

    def corrected_above(self, bound: float) -> float:
        """`p_above`, corrected for skewness; never smaller."""
        return self._corrected(self.p_above(bound), self.numerators - bound * self.denominators)

    def corrected_below(self, bound: float) -> float:
        """`p_below`, corrected for skewness; never smaller."""
        return self._corrected(self.p_below(bound), bound * self.denominators - self.numerators)

    def limits(self, alpha: float) -> tuple[float, float]:
        """Two-sided confidence limits with alpha / 2 on each side.

        Raises
        ------
        EvidenceError
            If the resamples cannot resolve `alpha`, or the denominator of a ratio is so weak
            that the confidence set is unbounded.
        """
        k = math.floor((self.resamples + 1) * alpha / 2.0 * (1.0 + 1e-12))
        if k < 1:
            raise EvidenceError(
                f"{self.resamples:,} resamples cannot resolve a two-sided level of {alpha:.3g}"
            )
        low_t, high_t = self._t_limits(alpha)
        low = min(low_t, float(self.lower_roots[k - 1]))
        high = max(high_t, float(self.upper_roots[self.resamples - k]))
        if self.scale_spread > 0.0 and not (math.isfinite(low) and math.isfinite(high)):
            raise EvidenceError(self._weak(alpha))
        return low, high

    def _corrected(self, p: float, z: Floats) -> float:
        flat = _constant(z - math.fsum(z) / self.n, z)
        return p if flat else max(p, skew_p(z))

    def _t_p(self, bound: float, side: float) -> float:
        """The t p-value; never below that of the denominator's being positive (Fieller)."""
        away = bound - self.estimate
        variance = self.spread**2 - 2.0 * away * self.covariance + (away * self.scale_spread) ** 2
        root_n = math.sqrt(self.n)
        t = -side * away * self.scale_mean * root_n / math.sqrt(max(variance, _TINY))
        if self.scale_spread > 0.0:
            t = min(t, self.scale_mean * root_n / self.scale_spread)
        return t_survival(t, self.n - 1)

    def _t_limits(self, alpha: float) -> tuple[float, float]:
        """Fieller's limits, written around the estimate; the t interval where D is constant."""
        t = t_quantile(self.n - 1, alpha / 2.0)
        unit = t / (self.scale_mean * math.sqrt(self.n))
        shrink = 1.0 - (unit * self.scale_spread) ** 2
        if shrink <= 0.0:
            return -math.inf, math.inf
        tilt = -(unit**2) * self.covariance
        reach = unit * math.sqrt(self.spread**2 * shrink + (unit * self.covariance) ** 2)
        return self.estimate + (tilt - reach) / shrink, self.estimate + (tilt + reach) / shrink

    def _weak(self, alpha: float) -> str:
        mean, error = self.scale_mean, self.scale_spread / math.sqrt(self.n)
        return (
            f"total effect too weak to divide by: its mean over {self.n} units is {mean:.3g} with "
            f"standard error {error:.3g}, so the ratio has no finite {100 * (1 - alpha):.4g}% "
            "interval\nadd units, claim the raw effect instead, or choose pairs on which the total "
            "effect is clearly positive"
        )


def fit(
    numerators: Floats,
    denominators: Floats | None = None,
    *,
    resamples: int,
    seed: int,
    floor: float = 0.0,
    spread_floor: float = SPREAD_FLOOR,
) -> Hull | None:
    """Fit the hull to unit means; None where the units do not differ, so nothing is uncertain.

    Parameters
    ----------
    numerators
        N_g, one per unit, shape (n,), n >= 2.
    denominators
        D_g, shape (n,), or None for a plain mean.
    resamples, seed
        Number and seed of the bootstrap resamples of units.
    floor
        Numeric floor of the numerators: units that differ by no more are equal.
    spread_floor
        A resample's standard error counts as at least 1 / spread_floor of the sample's;
        infinity switches this off.

    Raises
    ------
    EvidenceError
        If the mean denominator is not positive.

    Examples
    --------
    >>> found = fit(np.array([0.2, 0.5, 0.3, 0.6, 0.4, 0.1]), resamples=9999, seed=0)
    >>> found is not None and found.p_above(0.0) < 0.025
    True
    """
    n = len(numerators)
    scale = np.ones(n) if denominators is None else denominators
    scale_mean = math.fsum(scale) / n
    if scale_mean <= 0.0:
        raise EvidenceError(
            f"the total effect is not positive: its mean over {n} units is {scale_mean:.3g}, so "
            "nothing can be expressed as a share of it\n"
            "check that source and base answers are the right way round, or claim the raw effect"
        )
    estimate = math.fsum(numerators) / n / scale_mean
    residuals = numerators - estimate * scale
    residuals = residuals - math.fsum(residuals) / n
    if _constant(residuals, numerators) or float(np.ptp(residuals)) <= floor:
        return None
    shift = scale - scale_mean
    if _constant(shift, scale):
        shift = np.zeros(n)
    spread, scale_spread = _deviation(residuals), _deviation(shift)
    covariance = math.fsum(residuals * shift) / (n - 1)
    roots = _roots(
        residuals / spread,
        shift / scale_mean,
        resamples=resamples,
        seed=seed,
        spread_floor=spread_floor,
    )
    lower, upper = (np.sort(estimate + side * (spread / scale_mean)) for side in roots)
    if not shift.any():
        upper = lower
    return Hull(
        estimate=estimate,
        n=n,
        resamples=resamples,
        spread=spread,
        scale_mean=scale_mean,
        scale_spread=scale_spread,
        covariance=covariance,
        numerators=numerators,
        denominators=scale,
        lower_roots=lower,
        upper_roots=upper,
    )


def bootstrap_t(
    values: Floats, *, resamples: int, seed: int, spread_floor: float = SPREAD_FLOOR
) -> Floats:
    """Studentised bootstrap deviations of column means, shape (resamples, columns).

    Columns are resampled jointly, so a maximum over columns keeps their dependence.

    Parameters
    ----------
    values
        Units x columns; no column may be constant.
    """
    n = len(values)
    centred = values - values.mean(axis=0)
    centred = centred / np.sqrt((centred**2).sum(axis=0) / (n - 1))
    blocks: list[Floats] = []
    for counts in resample_counts(n, resamples, seed):
        mean = counts @ centred / n
        variance = (counts @ centred**2 / n - mean**2) * (n / (n - 1))
        blocks.append(_studentise(mean, np.maximum(variance, 0.0), n, spread_floor))
    return np.concatenate(blocks)


def _studentise(mean: Floats, variance: Floats, n: int, spread_floor: float) -> Floats:
    """T* of standardised values; without a floor, no spread at all means an infinite T*."""
    if math.isinf(spread_floor):
        flat = variance < 1e-12
        error = np.sqrt(np.where(flat, 1.0, variance) / n)
        far = np.where(np.abs(mean) < 1e-9, 0.0, np.copysign(np.inf, mean))
        return np.where(flat, far, mean / error)
    return mean * math.sqrt(n) / np.sqrt(np.maximum(variance, spread_floor**-2))


def _roots(
    residuals: Floats, shift: Floats, *, resamples: int, seed: int, spread_floor: float
) -> tuple[Floats, Floats]:
    """Find where resamples cross their verdict, from the estimate, in spreads over scale mean."""
    n = len(residuals)
    plain = not shift.any()
    lower: list[Floats] = []
    upper: list[Floats] = []
    for indices in _cached_rows(resample_indices(n, resamples, seed)):
        drawn = residuals[indices]
        mean = drawn.sum(axis=1) / n
        variance = _variance(np.einsum("bn,bn->b", drawn, drawn) / n - mean**2, n)
        if plain:
            lower.append(-_studentise(mean, variance, n, spread_floor) / math.sqrt(n))
            continue
        moved = shift[indices]
        scale = moved.sum(axis=1) / n
        low, high = _bisect(
            _Moments(
                mean=mean,
                scale=scale,
                variance=variance,
                covariance=(np.einsum("bn,bn->b", drawn, moved) / n - mean * scale) * (n / (n - 1)),
                scale_variance=_variance(np.einsum("bn,bn->b", moved, moved) / n - scale**2, n),
                sample_covariance=math.fsum(residuals * shift) / (n - 1),
                sample_scale_variance=math.fsum(shift**2) / (n - 1),
                spread_floor=spread_floor,
            )
        )
        lower.append(low)
        upper.append(high)
    roots = np.concatenate(lower)
    return roots, roots if plain else np.concatenate(upper)


def _cached_rows(blocks: Iterator[NDArray[np.intp]]) -> Iterator[NDArray[np.intp]]:
    """Cut blocks of resamples into pieces that fit a processor's cache: twice as fast."""
    for block in blocks:
        rows = max(1, _PIECE // block.shape[1])
        for start in range(0, len(block), rows):
            yield block[start : start + rows]


def _variance(biased: Floats, n: int) -> Floats:
    return np.maximum(biased, 0.0) * (n / (n - 1))


@dataclass(frozen=True, eq=False)
class _Moments:
    """Moments of each resample (arrays) and of the sample (floats), standardised."""

    mean: Floats
    scale: Floats
    variance: Floats
    covariance: Floats
    scale_variance: Floats
    sample_covariance: float
    sample_scale_variance: float
    spread_floor: float

    def excess(self, near: Floats, far: Floats) -> Floats:
        """T* - t at the bound far / near from the estimate, up to the factor sqrt(n)."""
        nearer, cross, further = near * near, 2.0 * near * far, far * far
        own = nearer - cross * self.sample_covariance + further * self.sample_scale_variance
        drawn = nearer * self.variance - cross * self.covariance + further * self.scale_variance
        error = np.sqrt(np.maximum(drawn, np.maximum(own * self.spread_floor**-2, _TINY)))
        return (near * self.mean - far * self.scale) / error + far / np.sqrt(np.maximum(own, _TINY))


def _bisect(moments: _Moments) -> tuple[Floats, Floats]:
    """Find each resample's root; the whole line of bounds is folded onto (-1, 1).

    A resample in which the denominator itself is not clearly positive has no root of its own:
    it speaks against every bound from either side.
    """
    left, right = np.full_like(moments.mean, -1.0), np.full_like(moments.mean, 1.0)
    zero = np.zeros_like(left)
    lost = (moments.excess(zero, left) >= 0.0) | (moments.excess(zero, right) <= 0.0)
    for _ in range(_BISECTIONS):
        middle = 0.5 * (left + right)
        above = moments.excess(1.0 - np.abs(middle), middle) >= 0.0
        right = np.where(above, middle, right)
        left = np.where(above, left, middle)
    middle = 0.5 * (left + right)
    root = middle / (1.0 - np.abs(middle))
    return np.where(lost, -np.inf, root), np.where(lost, np.inf, root)


def _constant(deviations: Floats, values: Floats) -> bool:
    """Whether values differ by no more than the rounding of their computation."""
    largest = float(np.abs(values).max())
    return float(np.abs(deviations).max()) <= 1e-12 * largest


def _deviation(centred: Floats) -> float:
    return math.sqrt(math.fsum(centred**2) / (len(centred) - 1))
