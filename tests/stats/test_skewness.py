"""Verdicts at small levels are doubted where skewed units would not carry them."""

import math

import numpy as np
import pytest
from scipy import stats

from causaltest.stats import Judge, all_of
from causaltest.stats.judge import units_advised
from causaltest.stats.skewness import skew_p, skewness

FEW = Judge(alpha_claim=0.05 / 20)
TAIL_BELOW = 1.0 - np.array([0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.8, 1.2])
"""Twelve units with a long tail downwards."""


def by_hall(values):
    """Return Hall's corrected t test with numpy and scipy alone; 8 / n of skewness is added."""
    n = len(values)
    g = stats.skew(values, bias=False) * (1 + 8 / n)
    t = stats.ttest_1samp(values, 0.0).statistic
    # The same cubic in Hall's own form: ((1 + a t)^3 - 1) / (3 a) + a / 2, a = g / (3 sqrt n).
    a = g / (3 * math.sqrt(n))
    return stats.t.sf(((1 + a * t) ** 3 - 1) / (3 * a) + a / 2, n - 1)


@pytest.mark.parametrize("seed", range(5))
def test_the_corrected_p_is_halls(seed):
    """Against numpy and scipy, for either side and any scale of the values."""
    values = np.random.default_rng(seed).exponential(1.0, 15) - 0.4
    for side in (1.0, -1.0, 1e-200):
        assert skew_p(side * values) == pytest.approx(by_hall(np.sign(side) * values), rel=1e-9)


@pytest.mark.parametrize("n", [12, 20, 40])
def test_skewness_is_that_of_what_was_drawn_from(n):
    """What samples of exponential data miss of their skewness of 2 is added on average."""
    data = np.random.default_rng(n).exponential(size=(n, 4_000))
    assert np.mean([skewness(each) for each in data.T]) == pytest.approx(2.0, abs=0.12)


def test_a_verdict_that_points_away_from_a_tail_is_doubted(effect_of):
    """Twelve skewed units at the level of one claim in twenty: the doubt says by how much."""
    effect = effect_of(TAIL_BELOW, judge=FEW)
    verdict = effect > -0.2
    assert verdict.name == "supported"
    assert verdict.doubt is not None
    assert verdict.doubt.p == pytest.approx(by_hall(TAIL_BELOW + 0.2), rel=1e-9)
    assert verdict.doubt.p > verdict.doubt.level == 0.00125
    assert verdict.doubt.skewness == pytest.approx(
        stats.skew(TAIL_BELOW, bias=False) * (1 + 8 / 12), rel=1e-9
    )
    refuted = effect < -0.2
    assert refuted.name == "refuted"
    assert refuted.doubt == verdict.doubt


def test_what_is_not_doubted(effect_of):
    """Not the same units towards their tail, far from the bound, or at the run's own level."""
    away = effect_of(2.0 - TAIL_BELOW, judge=FEW) > 0.9
    assert (away.name, away.doubt) == ("supported", None)
    far = effect_of(TAIL_BELOW, judge=FEW) > -9.0
    assert (far.name, far.doubt) == ("supported", None)
    alone = effect_of(TAIL_BELOW) > -0.2
    assert (alone.name, alone.doubt) == ("supported", None)
    undecided = effect_of(TAIL_BELOW, judge=FEW) > 0.5
    assert (undecided.name, undecided.doubt) == ("inconclusive", None)
    same = effect_of([0.3] * 12, judge=FEW) > 0.2
    assert (same.name, same.doubt) == ("supported", None)


def test_parts_of_a_claim_lower_the_level_of_refuting_only(effect_of):
    """Two comparisons in one claim at the run's level: a refutation is looked at, support not."""
    effect = effect_of(TAIL_BELOW + 0.2, judge=Judge(parts=20))
    assert (effect > 0).doubt is None
    doubt = (effect < 0).doubt
    assert doubt is not None
    assert doubt.level == 0.00125


def test_shares_of_a_total_are_looked_at_against_their_bound(effect_of):
    """The test variable of a ratio is y - b * total, and so is what may be skewed."""
    totals = np.linspace(1.2, 0.8, 12)
    verdict = effect_of(TAIL_BELOW, scale=totals, judge=FEW) > -0.2
    assert verdict.name == "supported"
    assert verdict.doubt is not None
    assert verdict.doubt.p == pytest.approx(by_hall(TAIL_BELOW + 0.2 * totals), rel=1e-9)
    # On the bound of a ratio units may agree although their ratios do not.
    exact = effect_of(0.5 * totals + 1.0, scale=totals, judge=FEW) > 0.5
    assert (exact.name, exact.doubt) == ("supported", None)


def test_rates_are_backed_by_one_trial_per_unit(rate_of):
    """Where Clopper-Pearson over units supports a rate by itself, skewness does not matter."""
    units = np.repeat([f"t{i:02d}" for i in range(12)], 40)
    shares = 0.5 + TAIL_BELOW / 2
    right = np.arange(40) < 40 * shares[:, None] - 0.5
    assert right.mean(axis=1) == pytest.approx(shares)
    rate = rate_of(right.ravel(), units, judge=FEW)
    sure, unsure = rate > 0.2, rate > 0.4
    # One trial a unit, with the sum of rates for successes.
    successes = shares.sum()
    alone = [stats.beta.cdf(bound, successes, 13 - successes) for bound in (0.2, 0.4)]
    assert alone[0] < 0.00125 < alone[1]
    assert (sure.name, sure.doubt) == ("supported", None)
    assert unsure.name == "supported"
    assert unsure.doubt is not None
    assert unsure.doubt.p == pytest.approx(min(by_hall(shares - 0.4), alone[1]), rel=1e-9)


def test_joint_claims_are_doubted_as_what_they_rest_on(effect_of):
    """Support rests on all comparisons, a refutation on the one that is refuted."""
    doubtful = effect_of(TAIL_BELOW, judge=FEW)
    clear = effect_of(np.linspace(0.9, 1.1, 12), judge=FEW)
    both = all_of(clear > 0.2, doubtful > -0.2)
    assert both.name == "supported"
    assert both.doubt == (doubtful > -0.2).doubt
    refuted = all_of(clear < 0.2, doubtful > -0.2)
    assert (refuted.name, refuted.doubt) == ("refuted", None)
    undecided = all_of(clear > 1.0, doubtful > -0.2)
    assert (undecided.name, undecided.doubt) == ("inconclusive", None)


def test_negligible_effects_are_looked_at_on_both_sides(effect_of):
    """The bound that decides is the one whose corrected p is largest."""
    shifted = TAIL_BELOW - TAIL_BELOW.mean()
    verdict = abs(effect_of(shifted, judge=FEW)) < 0.775
    assert verdict.name == "supported"
    assert verdict.doubt is not None
    assert verdict.doubt.p == pytest.approx(
        max(by_hall(shifted + 0.775), by_hall(0.775 - shifted)), rel=1e-9
    )


def test_units_that_a_level_asks_for_are_remarked(effect_of, rate_of):
    """Twelve are enough for one claim in five, not for one in twenty; exact tests need ten."""
    advised = (
        "only 12 pairs for a level of 0.0025: 23 or more are advised, since few pairs tell little "
        "of rare ones"
    )
    assert (effect_of(TAIL_BELOW, judge=FEW) > -0.2).notes == (advised,)
    assert (effect_of(TAIL_BELOW, judge=Judge(alpha_claim=0.01)) > -0.2).notes == ()
    assert (rate_of([1] * 11 + [0], judge=FEW) > 0.2).notes == ()
    units = [f"t{i % 12}" for i in range(24)]
    rates = rate_of([1] * 20 + [0] * 4, units, judge=FEW)
    told = advised.replace("pairs", "templates")
    assert (rates > 0.1).notes == (told,)
    assert told in ((rates - rate_of([0] * 24, units)) > 0.1).notes


def test_units_advised_grow_with_the_family():
    """Never below ten, and monotone in the level."""
    levels = [0.05 / m for m in range(1, 1_001)]
    advised = [units_advised(level) for level in levels]
    assert advised == sorted(advised)
    assert (advised[0], advised[-1]) == (10, 57)
