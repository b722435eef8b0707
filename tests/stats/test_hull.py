"""The hull against the t-test, a plain bootstrap-t, Fieller's equation and brute force."""

import math

import numpy as np
import pytest
from scipy import optimize, stats

from causaltest.errors import EvidenceError
from causaltest.stats import streams
from causaltest.stats.hull import SPREAD_FLOOR, bootstrap_t, fit

B = 9_999


def slow_bootstrap_t(values, seed=0, resamples=B):
    """Studentise resample by resample, as a textbook writes it."""
    n, mean = len(values), values.mean()
    error = values.std(ddof=1) / math.sqrt(n)
    (indices,) = streams.resample_indices(n, resamples, seed)
    found = []
    for row in indices:
        again = values[row]
        least = error / SPREAD_FLOOR
        found.append((again.mean() - mean) / max(again.std(ddof=1) / math.sqrt(n), least))
    return np.array(found)


@pytest.mark.parametrize("n", [5, 12, 40])
@pytest.mark.parametrize("skewed", [False, True])
def test_p_values_are_the_larger_of_t_and_bootstrap_t(n, skewed):
    """Each side's p-value equals the larger of scipy's t-test and a hand-written bootstrap-t."""
    rng = np.random.default_rng(n)
    values = rng.exponential(size=n) if skewed else rng.normal(0.4, 1, n)
    found, starred = fit(values, resamples=B, seed=0), slow_bootstrap_t(values)
    for bound in (0.0, 0.3, 0.9, 1.5):
        t = (values.mean() - bound) / (values.std(ddof=1) / math.sqrt(n))
        above = stats.ttest_1samp(values, bound, alternative="greater").pvalue
        below = stats.ttest_1samp(values, bound, alternative="less").pvalue
        assert found.p_above(bound) == pytest.approx(
            max(above, (1 + np.sum(starred >= t)) / (B + 1)), abs=1e-12
        )
        assert found.p_below(bound) == pytest.approx(
            max(below, (1 + np.sum(starred <= t)) / (B + 1)), abs=1e-12
        )


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 7, 0.01])
def test_limits_are_the_wider_of_t_and_bootstrap_t(alpha):
    """Each limit is the outer one of scipy's t interval and the order statistic of T*."""
    values = np.random.default_rng(1).exponential(size=25)
    found, starred = fit(values, resamples=B, seed=0), np.sort(slow_bootstrap_t(values))
    error = values.std(ddof=1) / 5
    k = math.floor((B + 1) * alpha / 2 + 1e-9)
    t_low, t_high = stats.t.interval(1 - alpha, 24, values.mean(), error)
    low, high = found.limits(alpha)
    assert low == pytest.approx(min(t_low, values.mean() - starred[B - k] * error), rel=1e-12)
    assert high == pytest.approx(max(t_high, values.mean() - starred[k - 1] * error), rel=1e-12)


def test_columns_are_studentised_jointly():
    """The matrix form gives, column by column, what single columns give."""
    values = np.random.default_rng(2).exponential(size=(15, 3))
    starred = bootstrap_t(values, resamples=999, seed=4)
    for column in range(3):
        assert starred[:, column] == pytest.approx(
            slow_bootstrap_t(values[:, column], seed=4, resamples=999), abs=1e-9
        )


def ratio_data(n, seed):
    """Return numerators and denominators of a recovery near 0.8."""
    rng = np.random.default_rng(seed)
    gap = rng.normal(3.0, 1.0, n)
    return 0.8 * gap + rng.normal(0, 0.8, n), gap


@pytest.mark.parametrize("seed", range(6))
def test_ratios_are_tested_on_their_differences(seed):
    """The p-value of rho > b is that of the plain hull on N - b D (statistics.md 2.6)."""
    top, gap = ratio_data(20, seed)
    ratio = fit(top, gap, resamples=B, seed=0)
    assert ratio.estimate == pytest.approx(top.mean() / gap.mean())
    for bound in (0.4, 0.6, 0.75, 0.8, 0.9, 1.1):
        plain = fit(top - bound * gap, resamples=B, seed=0)
        assert ratio.p_above(bound) == pytest.approx(plain.p_above(0.0), abs=1.5 / (B + 1))
        assert ratio.p_below(bound) == pytest.approx(plain.p_below(0.0), abs=1.5 / (B + 1))


@pytest.mark.parametrize("seed", range(4))
def test_ratio_limits_solve_fiellers_equation(seed):
    """Where t is the wider part, the limits are the roots of t(b) = +-t_.975 found by brentq."""
    top, gap = ratio_data(40, seed)
    found = fit(top, gap, resamples=B, seed=0)
    quantile = stats.t.ppf(0.975, 39)

    def excess(bound):
        z = top - bound * gap
        return abs(z.mean()) / (z.std(ddof=1) / math.sqrt(40)) - quantile

    low_t = optimize.brentq(excess, found.estimate - 2, found.estimate, xtol=1e-14)
    high_t = optimize.brentq(excess, found.estimate, found.estimate + 2, xtol=1e-14)
    assert found._t_limits(0.05) == pytest.approx((low_t, high_t), rel=1e-9)
    low, high = found.limits(0.05)
    assert low <= low_t + 1e-12
    assert high >= high_t - 1e-12


def test_a_constant_denominator_is_a_plain_mean():
    """Dividing every value by 4 or measuring against a scale of 4 gives the same evidence."""
    values = np.random.default_rng(5).normal(1, 1, 15)
    scaled = fit(values, np.full(15, 4.0), resamples=B, seed=0)
    plain = fit(values / 4.0, resamples=B, seed=0)
    assert scaled.limits(0.05) == pytest.approx(plain.limits(0.05), rel=1e-12)
    assert scaled.p_above(0.1) == plain.p_above(0.1)


def test_a_weak_denominator_is_refused():
    """Where the total effect is itself uncertain the ratio has no interval, as the error says."""
    rng = np.random.default_rng(0)
    gap = rng.normal(0.3, 1.2, 15)
    found = fit(rng.normal(0.5, 1, 15), gap - gap.mean() + 0.2, resamples=B, seed=0)
    with pytest.raises(EvidenceError) as error:
        found.limits(0.05)
    lines = str(error.value).splitlines()
    assert lines[0].startswith("total effect too weak to divide by: its mean over 15 units is 0.2 ")
    assert lines[0].endswith("so the ratio has no finite 95% interval")
    assert lines[1].startswith("add units, claim the raw effect instead, or choose pairs")


def test_a_negative_denominator_is_refused():
    """A total effect that is not positive has no share, and the error names its mean."""
    with pytest.raises(
        EvidenceError, match="the total effect is not positive: its mean over 6 uni"
    ):
        fit(np.arange(6.0), np.full(6, -1.0) + 0.1 * np.arange(6), resamples=B, seed=0)


def test_p_never_falls_below_that_of_the_denominator():
    """However far the bound, a ratio is no better established than its denominator is positive."""
    rng = np.random.default_rng(3)
    gap = rng.normal(1.0, 1.0, 20)
    top = gap * 2.0 + rng.normal(0, 0.1, 20)
    positive = fit(gap, resamples=B, seed=0)
    ratio = fit(top, gap, resamples=B, seed=0)
    assert ratio.p_above(-1e9) == pytest.approx(positive.p_above(0.0), abs=1.5 / (B + 1))
    assert ratio.p_above(-1e9) > 1 / (B + 1)


def test_units_that_do_not_differ_have_no_hull():
    """Equal units, also equal only up to rounding or to the floor, leave nothing to resample."""
    assert fit(np.full(6, 0.1), resamples=B, seed=0) is None
    assert fit(np.full(6, 0.1) * (1 + 1e-15 * np.arange(6)), resamples=B, seed=0) is None
    assert fit(0.1 + 1e-7 * np.arange(6), resamples=B, seed=0, floor=1e-6) is None
    assert fit(0.1 + 1e-5 * np.arange(6), resamples=B, seed=0, floor=1e-6) is not None
    gap = np.arange(1.0, 7.0)
    assert fit(0.7 * gap, gap, resamples=B, seed=0) is None


def test_rare_responders_leave_finite_limits():
    """One unit of twelve responds: the interval is finite and reaches far beyond the t interval."""
    values = np.zeros(12)
    values[3] = 1.0
    low, high = fit(values, resamples=B, seed=0).limits(0.05)
    t_low, t_high = stats.t.interval(0.95, 11, values.mean(), stats.sem(values))
    assert low == pytest.approx(t_low)
    assert t_high + 0.2 < high < 1.0 + 1e-12


def test_levels_beyond_the_resamples_are_refused():
    """A level that 9,999 resamples cannot resolve is an error, not an extreme order statistic."""
    found = fit(np.random.default_rng(0).normal(size=12), resamples=B, seed=0)
    with pytest.raises(EvidenceError, match="9,999 resamples cannot resolve a two-sided level of"):
        found.limits(1e-4)


def test_nearly_equal_units_keep_a_p_value_of_the_resolution():
    """Eight values of 1e-7 +- 1e-9 do not give the p of 1e-15 that a t-test alone gives."""
    values = 1e-7 + 1e-9 * np.random.default_rng(0).normal(size=8)
    assert stats.ttest_1samp(values, 0.0).pvalue < 1e-12
    assert fit(values, resamples=B, seed=0).p_above(0.0) == 1 / (B + 1)
