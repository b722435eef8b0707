"""Whether two scores go together within units, or are shown not to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from causaltest.errors import EvidenceError, PairError
from causaltest.stats.effect import Effect
from causaltest.stats.judge import Judge

Floats = NDArray[np.float64]

FEWEST_PAIRS = 4
"""Pairs that a unit needs for a rank correlation of its own."""


def association(
    first: ArrayLike,
    second: ArrayLike,
    *,
    units: Sequence[str],
    unit: str = "template",
    pair_ids: Sequence[str],
    pair_set: tuple[str, str] = ("", ""),
    subject: str = "association",
    judge: Judge | Callable[[], Judge] = Judge,
) -> Effect:
    """Measure the rank correlation of two scores within units, as an effect over units.

    Between units scores go together for the difficulty that they share; only within a unit does
    an association speak of the two. Claim `abs(association(...)) < 0.3` for independence: a
    permutation test that does not reject shows nothing.

    Parameters
    ----------
    first, second
        One score per pair each, e.g. of the model and of a circuit's complement.
    units
        The unit of each pair; units with fewer than four pairs are left out.
    unit, pair_ids, pair_set, subject, judge
        As for `Effect`.

    Returns
    -------
    Effect
        One value per unit, an unbiased estimate of Spearman's rho within it.

    Raises
    ------
    EvidenceError
        If a score is not finite, or is the same for all pairs of a unit, or no unit has four pairs.
    PairError
        If the columns differ in length.

    Notes
    -----
    With n pairs the sample coefficient estimates (3 tau + (n - 2) rho) / (n + 1), which shrinks
    rho and would make equivalence too easy; Hoeffding's correction ((n + 1) r - 3 tau) / (n - 2)
    is unbiased for any n. Hoeffding (1948), A class of statistics with asymptotically normal
    distribution, Ann. Math. Stat. 19, section 9.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> units = [f"t{i // 10}" for i in range(400)]
    >>> ids = [f"pair {i}" for i in range(400)]
    >>> found = association(rng.normal(size=400), rng.normal(size=400), units=units, pair_ids=ids)
    >>> bool(abs(found) < 0.3)
    True
    """
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if not len(x) == len(y) == len(units) == len(pair_ids):
        raise PairError(
            f"{subject}: expected one entry per pair in each column, got {len(x)} and {len(y)} "
            f"scores, {len(units)} units and {len(pair_ids)} pair_ids"
        )
    for values in (x, y):
        if not np.isfinite(values).all():
            wrong = int(np.flatnonzero(~np.isfinite(values))[0])
            raise EvidenceError(
                f"{subject}: a score is {values[wrong]} for pair {pair_ids[wrong]!r}\n"
                "no verdict can rest on it; look at this pair's metric and answers"
            )
    rows: dict[str, list[int]] = {}
    for i in sorted(range(len(x)), key=lambda i: pair_ids[i]):
        rows.setdefault(units[i], []).append(i)
    found = {
        label: _unbiased(x[own], y[own], f"{subject}: {unit} {label!r}")
        for label, own in sorted(rows.items())
        if len(own) >= FEWEST_PAIRS
    }
    if not found:
        raise EvidenceError(
            f"{subject}: no {unit} has {FEWEST_PAIRS} pairs, so none has a correlation of its own"
        )
    labels = tuple(found)
    return Effect(
        list(found.values()),
        units=labels,
        unit=unit,
        pair_ids=labels,
        pair_set=pair_set,
        subject=subject,
        metric="association",
        judge=judge,
    )


def _unbiased(x: Floats, y: Floats, where: str) -> float:
    """Spearman's rho within one unit, with Hoeffding's correction."""
    if np.ptp(x) == 0.0 or np.ptp(y) == 0.0:
        raise EvidenceError(
            f"{where}: a score is the same for all {len(x)} pairs, so it has no correlation\n"
            "leave this unit out, or choose a graded score"
        )
    n = len(x)
    rho = float(stats.spearmanr(x, y).statistic)
    tau = float(stats.kendalltau(x, y).statistic)
    return ((n + 1) * rho - 3.0 * tau) / (n - 2)
