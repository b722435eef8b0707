"""The sign-flip test: exact where it enumerates, uniform where nothing is there."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from causaltest.errors import EvidenceError
from causaltest.stats.flips import sign_flips, sign_patterns


def t_statistic(x, axis=-1):
    """Return the one-sample t statistic."""
    return np.mean(x, axis=axis) / np.std(x, axis=axis, ddof=1) * math.sqrt(x.shape[axis])


c31_procedure = sign_flips


@pytest.mark.calibration("C31")
def test_c31_exact_enumeration_equals_scipy():
    """On 200 data sets of 5 to 12 units both p-values are scipy's permutation test's to 1e-12.

    Where t is next to 0 scipy's tolerance for ties, relative to t, is below the rounding of sums
    and loses the pattern that flips nothing; there the values are multiples of 1/1024, whose sums
    are exact, and the statistic is the sum.
    """
    rng = np.random.default_rng(31)
    for trial in range(200):
        n = 5 + trial % 8
        values = np.round(1_024 * (rng.standard_t(3, n) + rng.normal(0, 0.5))) / 1_024
        bound = round(1_024 * rng.normal(0, 0.5)) / 1_024
        found = c31_procedure(values, resamples=9_999, seed=0)
        statistic = t_statistic if abs(t_statistic(values - bound)) > 0.01 else np.sum
        for alternative, ours in (("greater", found.p_above), ("less", found.p_below)):
            theirs = stats.permutation_test(
                (values - bound,),
                statistic,
                permutation_type="samples",
                vectorized=True,
                n_resamples=2**n,
                alternative=alternative,
            )
            assert ours(bound) == pytest.approx(theirs.pvalue, abs=1e-12)


@pytest.mark.calibration("C31", mutant="the observed pattern counted twice")
def test_c31_catches_an_observation_too_many(monkeypatch):
    """Mutant: 1 is added to the count and to the patterns though they hold the one observed."""

    def twice(values, **more):
        found = sign_flips(values, **more)
        means = np.append(found.subset_means, -math.inf)
        return replace(found, subset_means=np.sort(means), patterns=found.patterns + 1)

    monkeypatch.setitem(globals(), "c31_procedure", twice)
    with pytest.raises(AssertionError):
        test_c31_exact_enumeration_equals_scipy()


def test_sampling_comes_close_to_enumeration():
    """Of 15 units, beyond enumeration, 39,999 random patterns give p to three standard errors."""
    values = np.random.default_rng(4).normal(0.4, 1.0, 15)
    patterns = 1.0 - 2.0 * ((np.arange(2**15)[:, None] >> np.arange(15)) & 1)
    exact = (patterns @ values >= values.sum() - 1e-9).mean()
    found = sign_flips(values, resamples=39_999, seed=1).p_above(0.0)
    assert abs(found - exact) < 3 * math.sqrt(exact * (1 - exact) / 39_999)


def test_all_patterns_come_once():
    """Ten units have 1,024 different patterns, the first of which flips nothing."""
    (patterns,) = sign_patterns(10, 99, 0)
    assert len(np.unique(patterns, axis=0)) == len(patterns) == 1_024
    assert (patterns[0] == 1.0).all()


@given(
    st.lists(st.integers(-40, 40), min_size=6, max_size=18),
    st.integers(-40, 40),
    st.sampled_from([0.05, 0.1, 0.2]),
)
def test_limits_are_dual_to_p(values, bound, alpha):
    """A bound lies outside the limits exactly where a p-value reaches alpha / 2."""
    found = sign_flips(np.array(values, dtype=float), resamples=999, seed=3)
    at = bound + 1 / 7919  # off the lattice of subset means
    low, high = found.limits(alpha)
    assert (at < low) == (found.p_above(at) <= alpha / 2 * (1 + 1e-12))
    assert (at > high) == (found.p_below(at) <= alpha / 2 * (1 + 1e-12))


def test_too_few_units_for_the_level():
    """Five units cannot be judged at .05, and the message says how many can."""
    found = sign_flips(np.array([1.0, 2.0, 3.0, 4.0, 5.0]), resamples=999, seed=0)
    assert found.p_above(0.0) == 1 / 32
    with pytest.raises(EvidenceError, match=r"at least 6 units are") as caught:
        found.limits(0.05)
    assert "the smallest p-value is 0.0312, and 0.025 is needed" in str(caught.value)


def p_values(process, runs):
    """Return one-sided p-values of symmetric data of 30 units with their centre at 0."""
    rng = np.random.default_rng([30, len(process)])
    draw = rng.standard_normal if process == "gauss" else lambda size: rng.standard_t(3, size)
    return np.array(
        [sign_flips(draw(30), resamples=999, seed=run).p_above(0.0) for run in range(runs)]
    )


@pytest.mark.parametrize(
    "runs",
    [pytest.param(500, id="quarter"), pytest.param(2_000, id="full", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("process", ["gauss", "t3"])
def test_c30_p_values_are_uniform(process, runs, calibration):
    """Where nothing is there p-values are uniform: KS distance .0435 at 2,000 runs."""
    distance = stats.kstest(p_values(process, runs), "uniform").statistic
    limit = 0.0435 * math.sqrt(2_000 / runs)
    calibration.record("C30", f"{process}, n = 30", distance, bound=limit, runs=runs)
    assert distance <= limit


def test_c30_catches_the_smaller_tail(calibration):
    """Mutant: the smaller of both tails without doubling."""
    p = p_values("gauss", 500)
    wrong = stats.kstest(np.minimum(p, 1 - p), "uniform").statistic
    calibration.mutant("C30", "the smaller tail", wrong, bound=0.087, runs=500)
    assert wrong > 0.087


def test_c30_catches_the_missing_observation():
    """Mutant: counts over 9 patterns without the observed one, whose p is 0 in 1 of 10 runs."""
    rng = np.random.default_rng(0)
    wrong = right = 0
    for _ in range(2_000):
        values = rng.normal(size=30)
        signs = rng.choice([-1.0, 1.0], (9, 30))
        count = (signs @ values >= values.sum()).sum()
        wrong += count / 9 <= 0.05
        right += (1 + count) / 10 <= 0.1
    assert wrong / 2_000 > 0.0597
    assert right / 2_000 <= 0.1 + 2 * math.sqrt(0.1 * 0.9 / 2_000)
