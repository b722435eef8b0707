"""Claims against matched controls: ranks, prediction, and the level under a wrong source of chance.

With them the checks C21 and C22 of statistics.md.
"""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from causaltest.errors import EvidenceError, MetricError
from causaltest.stats import Judge
from causaltest.stats.controls import Controls, Rank
from causaltest.stats.splits import check_unseen
from causaltest.stats.student import Student

TIERS = pytest.mark.parametrize(
    "quarter", [pytest.param(4, id="quarter"), pytest.param(1, id="full", marks=pytest.mark.slow)]
)


def controls_of(effect_of, count=39, seed=0, pairs=20, **more):
    """Return controls without effect."""
    rng = np.random.default_rng(seed)
    return Controls([effect_of(rng.normal(0, 1, pairs)) for _ in range(count)], **more)


def test_an_effect_beats_its_controls(effect_of):
    """Both directions and both orders; a control among controls is not supported."""
    controls = controls_of(effect_of)
    strong = effect_of(np.random.default_rng(1).normal(2, 1, 20))
    one_of_them = effect_of(np.random.default_rng(2).normal(0, 1, 20))
    assert strong > controls
    assert controls < strong
    assert (strong < controls).name == "refuted"
    assert -strong < controls
    assert (one_of_them > controls).name == "inconclusive"


def test_the_record_tells_both_tests(effect_of):
    """The verdict holds a rank and a difference, and says where the effect stands."""
    seen = []
    controls = controls_of(effect_of, kind="random sites")
    values = np.random.default_rng(1).normal(2, 1, 20)
    verdict = effect_of(values, judge=Judge(observe=seen.append)) > controls
    assert verdict
    assert seen == [verdict]
    rank, difference = verdict.members
    assert rank.p_support == 1 / 40
    assert rank.method == "rank among 39 random sites"
    assert difference.subject == "(effect) - (mean of 39 random sites)"
    assert verdict.statement == "effect > 39 random sites"
    assert verdict.notes[-1].startswith("0 of 39 random sites reach the effect; they have mean")


def test_accuracies_beat_refits(rate_of):
    """A rate compares with rates: the alignment's accuracy with that of refits to noise."""
    rng = np.random.default_rng(5)
    units = [f"t{i // 5:02d}" for i in range(60)]

    def rate(p):
        return rate_of((rng.random(60) < p).astype(float), units, subject="accuracy of a map")

    refits = Controls([rate(0.5) for _ in range(39)], kind="label-shuffled refits")
    assert rate(0.9) > refits
    assert (rate(0.5) > refits).name == "inconclusive"


def test_words_for_what_more_pairs_cannot_settle(effect_of):
    """Where controls reach the effect the advice is not to add pairs."""
    controls = controls_of(effect_of)
    verdict = effect_of(np.random.default_rng(1).normal(0.35, 0.1, 20)) > controls
    assert verdict.name == "inconclusive"
    assert verdict.explain()[-1] == (
        "more pairs would not settle it: too many of the 39 controls reach the effect"
    )


def test_the_mean_of_the_controls_is_taken_off_pair_by_pair(effect_of):
    """Shared difficulty of pairs cancels in the difference."""
    rng = np.random.default_rng(3)
    difficulty = rng.normal(0, 5, 20)
    controls = Controls([effect_of(difficulty + rng.normal(0, 0.1, 20)) for _ in range(39)])
    verdict = effect_of(difficulty + rng.normal(0.4, 0.1, 20)) > controls
    assert verdict.name == "supported"
    assert verdict.members[1].estimate == pytest.approx(0.4, abs=0.1)


@given(st.lists(st.integers(-20, 20), min_size=39, max_size=99), st.integers(-25, 25))
def test_ranks_are_dual_to_their_limits(values, site):
    """A bound lies outside the limits exactly where a rank reaches the level."""
    rank = Rank(float(site), np.sort(np.array(values, dtype=float)))
    low, high = rank.limits(0.1)
    for bound in np.arange(-40.5, 41.0):
        assert (bound < low) == (rank.p_above(bound) <= 0.05 * (1 + 1e-12))
        assert (bound > high) == (rank.p_below(bound) <= 0.05 * (1 + 1e-12))


def test_prediction_is_scipys_two_sample_t():
    """Against one site the prediction t is the two-sample test with a second sample of size one."""
    values = np.random.default_rng(4).normal(0, 1, 12)
    error = values.std(ddof=1) * math.sqrt(1 + 1 / 12)
    found = Student(2.1 - values.mean(), error, 11)
    theirs = stats.ttest_ind([2.1], values, alternative="greater").pvalue
    assert found.p_above(0.0) == pytest.approx(theirs, rel=1e-9)
    low, _ = found.limits(0.05)
    assert found.p_above(low) == pytest.approx(0.025, rel=1e-9)


def test_few_controls_are_judged_by_prediction(effect_of):
    """Ten controls have no rank that counts; their spread is used instead."""
    controls = controls_of(effect_of, 10)
    verdict = effect_of(np.random.default_rng(1).normal(2, 1, 20)) > controls
    assert verdict.name == "supported"
    assert verdict.members[0].method == "prediction t from 10 matched controls"
    assert verdict.notes[-2] == (
        "the prediction t takes the effects of the 10 matched controls to be normal; were they as "
        "skewed as an exponential, one of them would pass 3 times as often as a level of 0.05 "
        "says, and 15 times as often as 0.0025 does; a rank among 39 assumes nothing"
    )
    ranked = effect_of(np.random.default_rng(1).normal(2, 1, 20)) > controls_of(effect_of)
    assert not any("to be normal" in note for note in ranked.notes)


@pytest.mark.parametrize(
    "make, error, message",
    [
        (
            lambda make: make([1.0] * 20) > controls_of(make, 25),
            EvidenceError,
            "25 controls cannot decide at level 0.05: the smallest p of a rank among them is "
            "0.0385, and 0.025 is needed\ntake 39 controls, or say test='prediction'",
        ),
        (
            lambda make: make([1.0] * 20, judge=Judge(alpha_claim=0.005)) > controls_of(make, 39),
            EvidenceError,
            "take 399 controls",
        ),
        (
            lambda make: controls_of(make, 4),
            EvidenceError,
            "4 controls tell nothing about their spread; at least 5 are needed, 39 are advised",
        ),
        (
            lambda make: make([1.0] * 20) > Controls([make([0.5] * 20)] * 9),
            EvidenceError,
            "the 9 controls all have the effect 0.5",
        ),
        (
            lambda make: make([1.0] * 20, subject="recovery of a") > controls_of(make, 39),
            MetricError,
            "cannot compare recovery of a with effect: an effect in recovery and an effect in no",
        ),
        (
            lambda make: make([1.0] * 20, scale=[1.0] * 20) > controls_of(make, 39),
            MetricError,
            "shares of different total effects",
        ),
        (
            lambda make: Controls([make([1.0] * 5, subject=f"m{i} of a") for i in range(6)]),
            MetricError,
            "controls must be alike, these are effect in m0 and m1",
        ),
        (lambda make: bool(controls_of(make)), TypeError, "controls have no truth value"),
    ],
)
def test_refusals(make, error, message, effect_of):
    """Controls that cannot decide say what would."""
    with pytest.raises(error, match=re.escape(message)):
        make(effect_of)


# C21: a site that is one of its controls


def exchangeable(rng, k, spread, runs, pairs=50):
    """Return unit differences of a site from the mean of its controls, and its rank p."""
    sites = rng.normal(0, spread, (k + 1, runs))
    noise = rng.normal(0, 1.0 / math.sqrt(pairs), (k + 1, runs))
    means = sites + noise
    rank = (1 + (means[1:] >= means[0]).sum(axis=0)) / (k + 1)
    difference = means[0] - means[1:].mean(axis=0)
    return difference, rank, means


@TIERS
@pytest.mark.parametrize("k", [39, 199])
@pytest.mark.parametrize("spread", [0.3, 1.0])
def test_c21_ranks_hold_their_level(k, spread, quarter, calibration):
    """A site exchangeable with its controls outranks them, at .025, in .018 to .030 of runs."""
    runs = 4_000 // quarter
    difference, rank, _ = exchangeable(np.random.default_rng([21, k]), k, spread, runs)
    rate = (rank <= 0.025).mean()
    error = math.sqrt(0.025 * 0.975)
    widen = 2 * error / math.sqrt(runs) - 2 * error / math.sqrt(4_000)
    limit, setting = 0.030 + widen, f"{k} controls, spread {spread}"
    calibration.record("C21", setting, rate, bound=limit, runs=runs, nominal=0.025)
    assert 0.018 - widen <= rate <= limit
    # Mutant: a t-test over pairs, which knows nothing of how much sites differ.
    wrong = (difference * math.sqrt(50) / math.sqrt(1 + 1 / k) > 1.96).mean()
    calibration.mutant("C21", "t over pairs alone", wrong, bound=limit, runs=runs)
    assert wrong > limit


def test_c21_prediction_holds_its_level():
    """So does the prediction t from ten controls, over 40,000 runs; a z-score does not."""
    runs = 40_000
    _, _, means = exchangeable(np.random.default_rng(21), 10, 0.3, runs)
    spread = means[1:].std(axis=0, ddof=1)
    score = (means[0] - means[1:].mean(axis=0)) / spread
    limit = 0.025 + 2 * math.sqrt(0.025 * 0.975 / runs)
    assert (score / math.sqrt(1.1) > stats.t.ppf(0.975, 9)).mean() <= limit
    assert (score > 1.96).mean() > limit


@pytest.mark.parametrize("level, times", [(0.05, 3.2), (0.0025, 18.0)])
def test_c21_prediction_from_skewed_controls(level, times, calibration):
    """It takes effects to be normal: of exponential ones it passes as many as its remark says."""
    runs, k = 200_000, 11
    effects = np.random.default_rng([21, k]).exponential(size=(k + 1, runs))
    score = effects[0] - effects[1:].mean(axis=0)
    score /= effects[1:].std(axis=0, ddof=1) * math.sqrt(1 + 1 / k)
    rate, bound = (score > stats.t.isf(level / 2, k - 1)).mean(), times * level / 2
    calibration.record(
        "C21", f"exponential, {k} controls, level {level}", rate, bound=bound, runs=runs,
        nominal=level / 2, quantity="prediction t, hard data",
    )  # fmt: skip
    assert 0.8 * bound <= rate <= bound
    # A rank that could reach .025 takes nothing: 39 controls.
    ranked = np.random.default_rng(39).exponential(size=(40, 4_000)).argmax(axis=0) == 0
    assert ranked.mean() <= 0.025 + 2 * math.sqrt(0.025 * 0.975 / 4_000)


def test_c21_through_the_api(effect_of):
    """`effect > controls` for an exchangeable site is supported in at most 2.5 % of 120 runs."""
    rng = np.random.default_rng(210)
    supported = 0
    for _ in range(120):
        sites = rng.normal(0, 1, 40)[:, None] + rng.normal(0, 1, (40, 12))
        supported += (
            effect_of(sites[0]) > Controls([effect_of(values) for values in sites[1:]])
        ).name == "supported"
    assert supported / 120 <= 0.025 + 2 * math.sqrt(0.025 * 0.975 / 120)


# C22: a flexible map fitted to random labels


@TIERS
def test_c22_a_fitted_map_is_judged_on_new_pairs(quarter, rate_of, calibration):
    """256 dimensions fit 200 random labels perfectly; on new pairs no more than 5 % hold."""
    runs = 200 // quarter
    rng = np.random.default_rng(22)
    held_out = in_sample = 0
    for _ in range(runs):
        features, labels = rng.normal(size=(400, 256)), rng.integers(0, 2, 400) * 2 - 1
        train = features[:200]
        weights = train.T @ np.linalg.solve(train @ train.T, labels[:200])
        right = (np.sign(features @ weights) == labels).astype(float)
        held_out += (rate_of(right[200:]) > 0.5).name == "supported"
        in_sample += (rate_of(right[:200]) > 0.5).name == "supported"
    limit, setting = 0.05 + 2 * math.sqrt(0.05 * 0.95 / runs), "256 dimensions, 200 + 200 pairs"
    calibration.record("C22", setting, held_out / runs, bound=limit, runs=runs, nominal=0.025)
    assert held_out / runs <= limit
    # Mutant: accuracy on the pairs it was fitted to.
    calibration.mutant("C22", "accuracy where fitted", in_sample / runs, bound=limit, runs=runs)
    assert in_sample == runs


def test_c22_the_fitted_pairs_are_refused():
    """Judging a map on templates it was fitted to is an error that names one."""
    check_unseen(["a", "b"], ["c", "d"], what="an alignment", unit="template")
    with pytest.raises(EvidenceError) as caught:
        check_unseen(["a", "b", "c"], ["c", "d"], what="an alignment", unit="template")
    assert str(caught.value) == (
        "an alignment cannot be judged on the data it rests on: 1 template was used for it, e.g. "
        "'c'\nsplit the pairs first (pairs.split(by=..., test=...)), fit or choose on one part and "
        "judge on the other"
    )
