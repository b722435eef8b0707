"""What the test of a claim says of its placebos, of which nothing is claimed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from causaltest.stats.columnwise import column_means, constant_columns, hull_p
from causaltest.stats.judge import FEWEST_RESAMPLES, FEWEST_UNITS

Floats = NDArray[np.float64]


def placebo_p(
    values: Floats,
    units: Sequence[str],
    pair_ids: Sequence[str],
    *,
    upwards: bool = True,
    floor: float = 0.0,
    seed: int = 0,
) -> tuple[float, ...]:
    """One-sided p-values of each placebo against the mean of the others, pair by pair.

    The same test places an effect against the mean of all of them. Where placebos are alike but for
    chance its p-values are uniform. Where they differ among themselves, p-values pile up at both
    ends: pairs alone would then call any placebo special, and only a rank among placebos is valid.

    Parameters
    ----------
    values
        Pairs x placebos.
    units, pair_ids
        Of the pairs.
    upwards
        Whether the claim is that the effect is larger; its placebos are tested the same way.
    floor
        Numeric floor: a placebo whose units differ by no more from the others gets no p-value.
    seed
        Seed of the resamples.

    Returns
    -------
    tuple of float
        Sorted; empty where there are fewer than five units or three placebos.

    Examples
    --------
    >>> draws = np.random.default_rng(0).normal(0.0, 1.0, (24, 39))
    >>> names = [f"pair {i}" for i in range(24)]
    >>> found = placebo_p(draws, names, names)
    >>> len(found), sum(p < 0.5 for p in found)
    (39, 22)
    """
    count = values.shape[1]
    if len(set(units)) < FEWEST_UNITS or count < 3:
        return ()
    others = (values.sum(axis=1, keepdims=True) - values) / (count - 1)
    means = column_means(values - others, tuple(units), tuple(pair_ids))
    # Equal placebos differ by rounding only, which their own size tells.
    rounding = 1e-12 * float(np.abs(values).max())
    means = means[:, ~constant_columns(means, max(floor, rounding))]
    if not means.shape[1]:
        return ()
    above, below = hull_p(means, resamples=FEWEST_RESAMPLES, seed=seed)
    return tuple(np.sort(above if upwards else below).tolist())
