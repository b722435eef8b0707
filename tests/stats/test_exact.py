"""Units that all agree: no spread to judge by, and still no interval of zero width for counts."""

import pytest

from causaltest.stats.exact import ExactValue, SameInAllUnits
from causaltest.stats.rates import clopper_pearson


def test_the_value_decides_at_the_resolution():
    """Above, below and at the bound; a p-value is the resolution or 1, and never 0."""
    value = ExactValue(0.5, 0.0, 9_999)
    assert (value.p_above(0.4), value.p_below(0.4)) == (1e-4, 1.0)
    assert (value.p_above(0.6), value.p_below(0.6)) == (1.0, 1e-4)
    assert (value.p_above(0.5), value.p_below(0.5)) == (1.0, 1e-4)


def test_the_floor_widens_the_value():
    """Within the numeric floor of the bound neither side is decided."""
    value = ExactValue(0.5, 0.01, 9_999)
    assert value.limits(0.05) == (0.49, 0.51)
    assert (value.p_above(0.495), value.p_below(0.495)) == (1.0, 1.0)


@pytest.mark.parametrize("n", [5, 12, 40])
@pytest.mark.parametrize("alpha", [0.05, 0.002])
def test_all_successes_give_clopper_pearson(n, alpha):
    """A rate of 1, or 0, in all n units has the interval of n successes, or none, in n trials."""
    assert SameInAllUnits(1.0, n, 0.0, 1.0).limits(alpha) == pytest.approx(
        clopper_pearson(n, n, alpha)
    )
    assert SameInAllUnits(0.0, n, 0.0, 1.0).limits(alpha) == pytest.approx(
        clopper_pearson(0, n, alpha)
    )


@pytest.mark.parametrize("value", [-1.0, -0.3, 0.0, 0.5, 1.0])
def test_limits_and_p_values_of_equal_units_are_duals(value):
    """At a limit the p-value is half the level; beyond it smaller, within it larger."""
    same = SameInAllUnits(value, 12, -1.0, 1.0)
    low, high = same.limits(0.05)
    assert high > low
    if value > -1.0:
        assert same.p_above(low) == pytest.approx(0.025)
        assert same.p_above(low - 0.01) < 0.025 < same.p_above(low + 0.001)
    if value < 1.0:
        assert same.p_below(high) == pytest.approx(0.025)
        assert same.p_below(high + 0.01) < 0.025 < same.p_below(high - 0.001)


def test_a_bound_out_of_reach_is_certain_but_not_zero():
    """Beyond every possible value the p-value is tiny and positive."""
    same = SameInAllUnits(1.0, 12, 0.0, 1.0)
    assert 0.0 < same.p_above(0.0) < 1e-300
    assert 0.0 < same.p_above(-0.5) < 1e-300
