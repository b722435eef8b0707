"""Effect sizes against scipy's noncentral t and closed forms."""

import math

import numpy as np
import pytest
from scipy import special, stats

from causaltest.stats.distributions import noncentral_t_below
from causaltest.stats.sizes import share, standardised_mean


@pytest.mark.calibration("C32")
@pytest.mark.parametrize("n", [5, 12, 100])
@pytest.mark.parametrize("mean", [-2.0, 0.0, 0.3, 5.0])
def test_the_interval_inverts_the_noncentral_t(n, mean):
    """At the limits scipy.stats.nct gives the observed t the tails .975 and .025 (C32)."""
    values = np.random.default_rng(n).normal(mean, 1.0, n)
    found = standardised_mean(values, 0.05)
    t = stats.ttest_1samp(values, 0.0).statistic
    assert stats.nct.cdf(t, n - 1, found.low * math.sqrt(n)) == pytest.approx(0.975, abs=1e-9)
    assert stats.nct.cdf(t, n - 1, found.high * math.sqrt(n)) == pytest.approx(0.025, abs=1e-9)


def test_the_noncentral_t_is_finite_in_every_tail():
    """Where scipy's function gives NaN the probability is 0 or 1; everything else is scipy's."""
    assert math.isnan(special.nctdtr(93, -4.353464993129171, 4.258868522554765))
    assert noncentral_t_below(4.258868522554765, 93, -4.353464993129171) == 1.0
    assert noncentral_t_below(-298.1266937553849, 2, 53.64029318972251) == 0.0
    rng = np.random.default_rng(0)
    for _ in range(2_000):
        values = rng.normal(rng.normal(), 1.0, int(rng.integers(5, 200)))
        found = standardised_mean(values, 0.05)
        assert found.low < found.high


def test_hedges_correction_by_hand():
    """For n = 5 the factor is 1 - 3 / 15 = .8."""
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    assert standardised_mean(values, 0.05).d_z == pytest.approx(0.8 * 3.0 / math.sqrt(2.5))


def test_the_correction_removes_the_bias():
    """Averaged over many samples of five the corrected size is the true one within 3 errors."""
    data = np.random.default_rng(0).normal(0.8, 1.0, size=(4_000, 5))
    found = np.array([standardised_mean(row, 0.05).d_z for row in data])
    raw = found / 0.8
    error = found.std(ddof=1) / math.sqrt(len(found))
    assert abs(found.mean() - 0.8) < 3 * error + 0.01
    assert raw.mean() - 0.8 > 10 * error


def test_equal_values_have_no_standardised_mean():
    """Without spread there is nothing to divide by; with hardly any there is no interval."""
    assert standardised_mean(np.full(6, 0.3), 0.05) is None
    assert standardised_mean(np.zeros(6), 0.05) is None
    nearly = standardised_mean(1.0 + 1e-8 * np.arange(6), 0.05)
    assert nearly.d_z > 1e6
    assert math.isnan(nearly.low)


def test_shares_carry_wilsons_interval():
    """Nine of twelve, with scipy's interval."""
    theirs = stats.binomtest(9, 12).proportion_ci(0.95, method="wilson")
    found = share(np.arange(12) < 9, 0.05)
    assert found == pytest.approx((0.75, theirs.low, theirs.high))


def test_odds_of_rates_by_hand():
    """Odds over odds, with half a pair added; limits are those of the rate, turned into odds."""
    from causaltest.stats import Rate

    names = [f"p{i}" for i in range(20)]
    values = [1.0] * 16 + [0.0] * 4
    sizes = (Rate(values, units=names, pair_ids=names) > 0.25).sizes
    assert sizes.risk_difference == pytest.approx(0.55)
    assert sizes.odds_ratio == pytest.approx((16.5 / 4.5) / (0.25 / 0.75))
    exact = stats.binomtest(16, 20).proportion_ci(method="exact")
    limits = [end / (1 - end) * 3 for end in (exact.low, exact.high)]
    assert sizes.odds_ratio_interval is not None
    assert sizes.odds_ratio_interval.low == pytest.approx(limits[0])
    assert sizes.odds_ratio_interval.high == pytest.approx(limits[1])
    assert sizes.d_z is None


def test_odds_of_paired_rates_are_those_of_flips():
    """Gained over lost pairs; without a limit where nothing is lost, and none with clusters."""
    from causaltest.stats import Rate

    names = [f"p{i}" for i in range(20)]
    one = Rate([1.0] * 15 + [0.0] * 5, units=names, pair_ids=names)
    two = Rate([1.0] * 5 + [0.0] * 13 + [1.0] * 2, units=names, pair_ids=names)
    sizes = (one > two).sizes
    assert sizes.risk_difference == pytest.approx(8 / 20)
    assert sizes.odds_ratio == pytest.approx(10.5 / 2.5)
    exact = stats.binomtest(10, 12).proportion_ci(method="exact")
    assert sizes.odds_ratio_interval is not None
    assert sizes.odds_ratio_interval.low == pytest.approx(exact.low / (1 - exact.low))
    none = Rate([0.0] * 20, units=names, pair_ids=names)
    assert (one > none).sizes.odds_ratio_interval is None
    units = [f"t{i % 10}" for i in range(20)]
    clustered = Rate([1.0] * 15 + [0.0] * 5, units=units, unit="template", pair_ids=names)
    assert (clustered > 0.5).sizes.odds_ratio_interval is None
    assert (clustered > 0.5).sizes.odds_ratio == pytest.approx(15.5 / 5.5)
