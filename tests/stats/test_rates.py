"""Rates against scipy's exact tests, and paired differences against McNemar and Agresti-Min."""

import math

import numpy as np
import pytest
from scipy import stats

from causaltest.stats.hull import fit
from causaltest.stats.rates import (
    Binomial,
    PairedFlips,
    UnitRates,
    clopper_pearson,
    mcnemar,
    wilson,
)


@pytest.mark.parametrize("n", [5, 12, 60])
def test_intervals_are_scipys(n):
    """Wilson and Clopper-Pearson agree with scipy for every number of successes."""
    for k in range(n + 1):
        for alpha in (0.05, 0.004):
            test = stats.binomtest(k, n)
            theirs = test.proportion_ci(1 - alpha, method="wilson")
            assert wilson(k, n, alpha) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
            theirs = test.proportion_ci(1 - alpha, method="exact")
            assert clopper_pearson(k, n, alpha) == pytest.approx(
                (theirs.low, theirs.high), abs=1e-9
            )


@pytest.mark.parametrize("k", [0, 1, 7, 11, 12])
@pytest.mark.parametrize("p", [0.02, 0.5, 0.83])
def test_p_values_are_the_binomial_tests(k, p):
    """One-sided p-values are those of scipy's exact binomial test."""
    found = Binomial(k, 12)
    greater = stats.binomtest(k, 12, p, alternative="greater").pvalue
    less = stats.binomtest(k, 12, p, alternative="less").pvalue
    assert found.p_above(p) == pytest.approx(greater, rel=1e-9)
    assert found.p_below(p) == pytest.approx(less, rel=1e-9)


def test_no_p_value_is_zero():
    """Even a certainty, such as one success against a rate of 0, has a positive p-value."""
    assert 0.0 < Binomial(1, 12).p_above(0.0) < 1e-300
    assert 0.0 < PairedFlips(500, 0, 500).p_above(-1.0) < 1e-300


@pytest.mark.parametrize("gained, lost", [(0, 0), (5, 0), (8, 1), (3, 9)])
def test_mcnemar_is_a_sign_test_on_discordant_pairs(gained, lost):
    """McNemar's exact test is the binomial test of gained against lost, p = 1 without either."""
    expected = (
        stats.binomtest(gained, gained + lost, 0.5, alternative="greater").pvalue
        if gained + lost
        else 1.0
    )
    assert mcnemar(gained, lost) == pytest.approx(expected, rel=1e-9)


def test_differences_by_hand():
    """20 gained, 5 lost of 100: limits of both rates, squared and added with their correlation."""
    least, most = float(stats.beta.ppf(0.025, 20, 81)), float(stats.beta.ppf(0.975, 6, 95))
    down, up = 0.2 - least, most - 0.05
    at_estimates = math.sqrt(0.2 * 0.05 / (0.8 * 0.95))
    at_limits = math.sqrt(least * most / ((1 - least) * (1 - most)))
    assert at_limits > at_estimates
    low = 0.15 - math.sqrt(down**2 + up**2 + 2 * at_limits * down * up)
    assert PairedFlips(20, 5, 100).limits(0.05)[0] == pytest.approx(low, rel=1e-8)


def test_agresti_min_by_hand():
    """5 gained, 45 lost of 60 at .01: (-40 / 62) - 2.58 sqrt((51/62 - (40/62)^2) / 62)."""
    centre = -40 / 62
    low = centre - 2.5758293035 * math.sqrt((51 / 62 - centre**2) / 62)
    assert PairedFlips(5, 45, 60).limits(0.01)[0] == pytest.approx(low, rel=1e-8)
    assert PairedFlips(5, 45, 60)._added(0.005) > low


def test_the_difference_interval_keeps_zero_unless_mcnemar_rejects_it():
    """5 gained, 0 lost of 60: Agresti-Min alone excludes 0, McNemar's p of .031 does not."""
    flips = PairedFlips(5, 0, 60)
    centre, error = flips._centre, flips._error
    assert centre - 1.96 * error > 0.0
    assert mcnemar(5, 0) == pytest.approx(1 / 32)
    assert flips.limits(0.05)[0] == 0.0
    assert flips.p_above(0.0) == pytest.approx(1 / 32)


def test_the_other_side_of_a_difference_is_its_mirror():
    """Exchanging gained and lost mirrors limits and p-values."""
    here, there = PairedFlips(9, 3, 40), PairedFlips(3, 9, 40)
    assert here.limits(0.05) == tuple(-x for x in reversed(there.limits(0.05)))
    assert here.p_above(0.1) == there.p_below(-0.1)


def unit_rates(rates):
    """Return the evidence that unit rates of many pairs give."""
    rates = np.asarray(rates, dtype=float)
    hull = fit(rates, resamples=9_999, seed=0, spread_floor=math.inf)
    return UnitRates(hull, Binomial(math.fsum(rates), len(rates)))


def test_a_ceiling_is_judged_by_units():
    """Ten units at 1 and two just below support no more than twelve of twelve would."""
    found = unit_rates([1.0] * 10 + [0.9, 0.8])
    low, high = found.limits(0.05)
    most = clopper_pearson(12, 12, 0.05)[0]
    assert found.hull.limits(0.05)[0] == -math.inf
    assert 0.6 < low < most
    assert high <= 1.0


def test_away_from_a_ceiling_rates_are_judged_by_the_hull():
    """With rates spread around one half the hull is the tighter part on both sides."""
    found = unit_rates(np.random.default_rng(0).binomial(20, 0.5, 15) / 20)
    assert found.limits(0.05) == found.hull.limits(0.05)
    assert found.p_above(0.4) == found.hull.p_above(0.4)


@pytest.mark.parametrize("shape", [(0.4, 0.1), (4.0, 1.0), (8.0, 0.5)])
def test_one_trial_per_unit_bounds_any_distribution_on_the_unit_interval(shape):
    """Clopper-Pearson on a sum of beta-distributed rates misses the mean rarely enough."""
    rng = np.random.default_rng(0)
    runs, n, mean = 4_000, 12, shape[0] / sum(shape)
    sums = rng.beta(*shape, size=(runs, n)).sum(axis=1)
    missed = sum(Binomial(total, n).p_above(mean) <= 0.025 for total in sums)
    assert missed / runs <= 0.025 + 2 * math.sqrt(0.025 * 0.975 / runs)
