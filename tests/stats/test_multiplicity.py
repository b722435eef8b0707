"""Holm and Bonferroni against the closure of all intersection tests."""

import itertools

import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from causaltest.stats.multiplicity import benjamini_hochberg, bonferroni, holm

P = st.floats(0.0, 1.0)
WEIGHT = st.floats(0.1, 5.0)


def closure(p_values, weights):
    """Adjust p-values by testing every intersection by weighted Bonferroni."""
    adjusted = []
    for i in range(len(p_values)):
        others = [j for j in range(len(p_values)) if j != i]
        subsets = (
            (i, *rest)
            for size in range(len(p_values))
            for rest in itertools.combinations(others, size)
        )
        worst = max(
            min(p_values[j] * sum(weights[k] for k in subset) / weights[j] for j in subset)
            for subset in subsets
        )
        adjusted.append(min(1.0, worst))
    return adjusted


@pytest.mark.calibration("C32")
@given(st.lists(st.tuples(P, WEIGHT), min_size=1, max_size=6))
def test_holm_is_the_closure_of_weighted_bonferroni(cases):
    """The step-down shortcut equals testing every intersection that contains a hypothesis."""
    p_values, weights = [p for p, _ in cases], [w for _, w in cases]
    assert holm(p_values, weights) == pytest.approx(closure(p_values, weights), rel=1e-9)


def test_a_textbook_example():
    """Four p-values of Holm (1979), unweighted, by hand."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.tuples(P, WEIGHT), min_size=1, max_size=8))
def test_holm_rejects_whatever_bonferroni_rejects(cases):
    """A claim decided at its own share stays decided at the end of the session."""
    p_values, weights = [p for p, _ in cases], [w for _, w in cases]
    for p, weight, adjusted in zip(p_values, weights, holm(p_values, weights), strict=True):
        if p <= bonferroni(0.05, weight, weights):
            assert adjusted <= 0.05 * (1 + 1e-9)


@given(st.lists(WEIGHT, min_size=1, max_size=20))
def test_shares_spend_the_level_exactly(weights):
    """The shares of a family add up to its level."""
    assert sum(bonferroni(0.05, w, weights) for w in weights) == pytest.approx(0.05)


def test_weights_must_be_positive_and_complete():
    """A weight of nothing, or one weight too few, is an error that says so."""
    with pytest.raises(ValueError, match="weights of hypotheses are positive"):
        holm([0.1, 0.2], [1.0, 0.0])
    with pytest.raises(ValueError, match="2 p-values, but 1 weights"):
        holm([0.1, 0.2], [1.0])
    with pytest.raises(ValueError, match="weights of hypotheses are positive"):
        bonferroni(0.05, -1.0, [1.0])
    assert holm([]) == []


@pytest.mark.calibration("C32")
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=30))
def test_q_values_match_scipy(p_values):
    """Benjamini-Hochberg agrees with scipy's."""
    expected = scipy.stats.false_discovery_control(p_values, method="bh")
    assert benjamini_hochberg(p_values) == pytest.approx(list(expected), rel=1e-12, abs=1e-300)
