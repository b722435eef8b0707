"""Plans against published sample sizes, scipy's noncentral t, and simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from causaltest.stats.planning import power, units_needed

TABLE = {
    0.05: {0.2: 199, 0.3: 90, 0.5: 34, 0.8: 15, 1.0: 10},
    0.005: {0.2: 337, 0.3: 152, 0.5: 58, 0.8: 25, 1.0: 18},
}
"""Units for 80 % power of a paired two-sided t-test, as `TTestPower` of statsmodels gives."""


@pytest.mark.parametrize(
    "alpha, d, units",
    [(alpha, d, units) for alpha, row in TABLE.items() for d, units in row.items()],
)
def test_sample_sizes_are_the_published_ones(alpha, d, units):
    """The number of units is that of the usual tables."""
    assert units_needed(d, alpha=alpha) == units


@pytest.mark.calibration("C32")
@pytest.mark.parametrize("n", [5, 34, 500, 20_000])
@pytest.mark.parametrize("d", [0.02, 0.3, 1.5])
def test_power_is_the_noncentral_ts(n, d):
    """Power agrees with scipy's noncentral t, and beyond 10,000 units with the normal limit."""
    exact = stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, d * math.sqrt(n))
    assert power(d, n, 0.05) == pytest.approx(exact, abs=2e-4)


def test_two_bounds_need_more_than_one():
    """An equivalence claim with the truth in the middle needs both sides at once, by simulation."""
    units = units_needed(0.5, 0.5, alpha=0.05)
    assert units is not None
    assert units > units_needed(0.5, alpha=0.05)
    data = np.random.default_rng(0).normal(size=(20_000, units))
    reach = stats.t.ppf(0.975, units - 1) * data.std(axis=1, ddof=1) / math.sqrt(units)
    inside = np.abs(data.mean(axis=1)) + reach < 0.5
    assert 0.79 < inside.mean() < 0.85


def test_hopeless_plans_are_none():
    """At the bound, beyond it, or so near that a million units would not do, there is no number."""
    assert units_needed(0.0, alpha=0.05) is None
    assert units_needed(-0.1, 0.5, alpha=0.05) is None
    assert units_needed(1e-4, alpha=0.05) is None
    assert units_needed(1e6, alpha=0.05) == 2
