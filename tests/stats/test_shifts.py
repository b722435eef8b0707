"""Many intervals at once are those that are computed one by one."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from causaltest.errors import EvidenceError
from causaltest.stats import shifts
from causaltest.stats.hull import fit
from causaltest.stats.judge import resamples_asked


def samples(seed: int, sizes: list[int]) -> list[list[float]]:
    """Skewed samples of several sizes."""
    rng = np.random.default_rng(seed)
    return [(rng.exponential(1.0, size) - 0.5 * i).tolist() for i, size in enumerate(sizes)]


@pytest.mark.parametrize("level", [0.05, 0.05 / 3, 0.05 / 40])
def test_they_are_the_hull_of_each(level):
    """With as many resamples as one claim asks for, every limit is that of the hull."""
    drawn = samples(1, [12, 5, 12, 20])
    for sample, (low, high) in zip(drawn, shifts.limits(drawn, level=level, seed=7), strict=True):
        one = fit(np.array(sample), resamples=resamples_asked(level), seed=7)
        assert one is not None
        assert (low, high) == pytest.approx(one.limits(level), abs=1e-12)


def test_they_are_those_of_all_resamples_sorted(monkeypatch):
    """Where resamples are short, the limit is the outermost root or Student's, if that is wider."""
    monkeypatch.setattr(shifts, "_MOST_ROOTS", 1)
    drawn = samples(2, [12] * 6)
    level = 1e-4
    resamples = 20_000  # 2 / level: the fewest that resolve it
    for sample, found in zip(drawn, shifts.limits(drawn, level=level, seed=3), strict=True):
        one = fit(np.array(sample), resamples=resamples, seed=3)
        assert one is not None
        student = scipy.stats.t.interval(1 - level, 11, np.mean(sample), scipy.stats.sem(sample))
        wanted = min(one.lower_roots[0], student[0]), max(one.upper_roots[-1], student[1])
        assert found == pytest.approx(wanted, abs=1e-12)


def test_a_sample_without_spread_is_its_value():
    """Nothing is uncertain where all units agree, and a constant among others disturbs none."""
    drawn = samples(3, [12])
    alone = shifts.limits(drawn, level=0.05)
    assert shifts.limits([[0.25] * 12, *drawn], level=0.05) == [(0.25, 0.25), *alone]


def test_fewer_than_five_units_are_refused():
    """The message says how many there were and how many it takes."""
    with pytest.raises(EvidenceError, match="4 units give no interval for a mean; 5 are the few"):
        shifts.limits([[1.0, 2.0, 3.0, 4.0]], level=0.05)


@pytest.mark.slow
def test_many_unchanged_claims_raise_no_alarm_but_rarely():
    """Of 20 families of 200 means that are 0, hardly more than a twentieth exclude 0 anywhere."""
    wrong = 0
    for seed in range(20):
        drawn = np.random.default_rng(seed).normal(0.0, 1.0, (200, 12)).tolist()
        found = shifts.limits(drawn, level=0.05 / 200, seed=seed)
        wrong += any(low > 0.0 or high < 0.0 for low, high in found)
    assert scipy.stats.binomtest(wrong, 20, 0.05, alternative="greater").pvalue > 0.001
