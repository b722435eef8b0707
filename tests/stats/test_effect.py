"""What can be claimed of an effect or a rate, and the words in which the rest is refused."""

import math
import operator
import re

import numpy as np
import pytest

from causaltest.errors import EvidenceError, MetricError, PairError
from causaltest.stats import Curve, Effect, Grid, Judge, Minimality, Rate, assess

VALUES = [0.9, 1.1, 0.7, 1.3, 1.0, 0.8, 1.2, 1.0, 0.95, 1.05, 0.85, 1.15]
PATCH = "recovery of interchange(block_output[2]@name)"


def names(*labels):
    """Return verdict names of comparisons."""
    return [verdict.name for verdict in labels]


# Claims that can be made


def test_both_directions_and_both_orders(effect_of):
    """An effect near 1 lies above .5 and not below it, however the comparison is written."""
    effect = effect_of(VALUES)
    assert names(effect > 0.5, operator.lt(0.5, effect)) == ["supported"] * 2
    assert names(effect < 0.5, operator.gt(0.5, effect)) == ["refuted"] * 2
    assert names(effect > 1.0, effect < 1.0) == ["inconclusive"] * 2
    assert names(np.float64(0.5) < effect, effect > np.float32(0.5)) == ["supported"] * 2
    assert names(effect > 0, effect > np.int64(1)) == ["supported", "inconclusive"]


def test_negligible_effects(effect_of):
    """A margin that holds the interval supports, one that misses it refutes, in both forms."""
    effect = effect_of(np.array(VALUES) - 1.0)
    assert names(abs(effect) < 0.3, operator.gt(0.3, abs(effect)), abs(effect) < 0.05) == [
        "supported",
        "supported",
        "inconclusive",
    ]
    assert -0.3 < effect < 0.3
    far = effect_of(VALUES)
    assert (abs(far) < 0.3).name == "refuted"
    assert (abs(-far) < 0.3).name == "refuted"
    assert (abs(effect) < 0.3).relation == "within"
    assert (abs(effect) < 0.3).statement == "-0.3 < effect < 0.3"


def test_chained_comparisons_ask_twice(effect_of):
    """`-m < effect < m` is two comparisons of one claim: both are observed."""
    seen = []
    effect = effect_of(np.array(VALUES) - 1.0, judge=Judge(observe=seen.append))
    assert -0.3 < effect < 0.3
    assert [verdict.statement for verdict in seen] == ["effect > -0.3", "effect < 0.3"]


def test_paired_differences_match_pairs_by_id():
    """The order of pairs does not matter to a difference, and shared variation cancels."""
    ids = [f"p{i}" for i in range(12)]
    difficulty = np.random.default_rng(0).normal(0, 10, 12)
    a = Effect(difficulty + VALUES, units=ids, pair_ids=ids, subject="recovery of a")
    b = Effect(difficulty[::-1], units=ids[::-1], pair_ids=ids[::-1], subject="recovery of b")
    verdict = a > b
    assert verdict.name == "supported"
    assert verdict.estimate == pytest.approx(1.0)
    assert verdict.statement == "difference in recovery > 0"
    assert verdict.subject == "(recovery of a) - (recovery of b)"
    assert names(b < a, a < b, a - b > 0.5, a - b > 1.5) == [
        "supported",
        "refuted",
        "supported",
        "refuted",
    ]
    assert (abs(a - b) < 2.0).name == "supported"


def test_sums_and_negatives(effect_of):
    """Effects add pair by pair, also by `sum`; a negative mirrors interval and statement."""
    effect = effect_of(VALUES, subject=PATCH, floor=0.01)
    assert (effect + effect).estimate == pytest.approx(2.0)
    assert sum([effect, effect, effect]).estimate == pytest.approx(3.0)
    assert (effect + effect).floor == pytest.approx(0.02)
    negative = -effect
    assert negative.interval.low == pytest.approx(-effect.interval.high)
    assert (negative < -0.5).statement == "-recovery < -0.5"
    assert (negative < -0.5).name == "supported"


def test_units_have_equal_weight(effect_of):
    """A template with many pairs counts as much as one with few (decision 1 of statistics.md)."""
    effect = effect_of([1.0] * 20 + [3.0, 5.0, 3.0, 5.0], ["a"] * 20 + ["b", "c", "d", "e"])
    assert effect.estimate == pytest.approx((1 + 3 + 5 + 3 + 5) / 5)
    assert (effect.n_pairs, effect.n_units) == (24, 5)


def test_ratios_are_ratios_of_means(effect_of):
    """The estimate is mean over mean, and the values of the verdict average to it."""
    rng = np.random.default_rng(0)
    gap = rng.normal(3, 1, 24)
    effect = effect_of(
        0.8 * gap + rng.normal(0, 0.3, 24), [f"t{i % 12}" for i in range(24)], scale=gap
    )
    verdict = effect > 0.5
    assert verdict.estimate == pytest.approx(effect.values.mean() / gap.mean())
    assert np.mean(verdict.values) == pytest.approx(verdict.estimate)
    assert verdict.sizes.fraction_of_total == pytest.approx(verdict.estimate)


def test_rates(rate_of):
    """A rate is judged exactly where pairs are independent and by unit rates where they are not."""
    plain = rate_of([1] * 19 + [0])
    assert names(plain > 0.7, plain < 0.7, plain > 0.9) == ["supported", "refuted", "inconclusive"]
    assert (plain > 0.7).method == "exact binomial test, Clopper-Pearson interval on 20 pairs"
    units = [f"t{i % 10}" for i in range(60)]
    right = [int(i % 7 != 0) for i in range(60)]
    clustered = rate_of(right, units)
    assert (clustered > 0.5).method == "hull on 10 template rates, 9,999 resamples"
    assert (clustered > 0.5).name == "supported"


def test_rate_differences(rate_of):
    """Two rates on the same pairs are compared pair by pair, with and without templates."""
    better, worse = [1] * 40, [1] * 25 + [0] * 15
    plain = rate_of(better) - rate_of(worse)
    assert plain.estimate == pytest.approx(15 / 40)
    assert names(plain > 0.1, rate_of(better) > rate_of(worse), plain < 0) == [
        "supported",
        "supported",
        "refuted",
    ]
    assert (-plain < -0.1).name == "supported"
    assert (abs(plain) < 0.9).name == "supported"
    units = [f"t{i % 10}" for i in range(40)]
    clustered = rate_of(better, units) > rate_of(worse, units)
    assert clustered.method == "hull on 10 template differences, 9,999 resamples"
    assert clustered.name == "supported"


# The numeric floor


def test_zero_means_beyond_the_floor(effect_of):
    """`> 0` is decided at + floor, `< 0` at - floor, other bounds where they stand."""
    values = np.array(VALUES) * 1e-3
    effect = effect_of(values, floor=0.5e-3)
    sharp = effect_of(values)
    assert (effect > 0).p_support == (sharp > 0.5e-3).p_support
    assert (effect < 0).p_refute == (sharp < -0.5e-3).p_refute
    assert (effect > 0.9e-3).p_support == (sharp > 0.9e-3).p_support
    assert (effect > 0).bound == 0.0
    assert (effect > 0).notes == ("a bound of 0 is decided at the numeric floor, 0.0005",)


def test_values_within_the_floor_are_zero(effect_of):
    """Noise below the floor is no effect: refuted as an effect, supported as none."""
    noise = 1e-7 * (1 + 0.1 * np.random.default_rng(0).normal(size=12))
    effect = effect_of(noise, floor=1e-6)
    assert effect.estimate == 0.0
    assert names(effect > 0, abs(effect) < 1e-3) == ["refuted", "supported"]
    assert (effect > 0).method == "exact zero: all 12 pairs are equal, the value decides"


def test_the_floor_of_a_ratio_is_a_fraction(effect_of):
    """A floor of .01 of a total effect of 100 makes values of .5 count as 0."""
    effect = effect_of([0.5] * 6, scale=[100.0] * 6, floor=0.01)
    assert effect.estimate == 0.0


def test_margins_below_the_floor_are_errors(effect_of):
    """What cannot be measured cannot be claimed to be smaller still."""
    with pytest.raises(EvidenceError) as error:
        _ = abs(effect_of(VALUES, floor=0.01)) < 0.005
    assert str(error.value) == (
        "abs(effect) < 0.005 cannot be decided: the margin is not above the numeric floor 0.01\n"
        "name the largest effect that would still be negligible"
    )
    with pytest.raises(EvidenceError, match="the margin is not above 0"):
        _ = abs(effect_of(VALUES)) < 0


@pytest.mark.parametrize("floor", [-1.0, math.nan, math.inf])
def test_impossible_floors_are_errors(effect_of, floor):
    """A floor is a size."""
    with pytest.raises(EvidenceError, match=f"the numeric floor is {floor}; expected 0 or more"):
        effect_of(VALUES, floor=floor)


# What is refused


def test_an_effect_has_no_truth(effect_of, rate_of):
    """`assert effect` is a TypeError that shows the idiom."""
    with pytest.raises(TypeError) as error:
        bool(effect_of(VALUES))
    assert str(error.value) == (
        "an Effect has no truth value; compare it with a bound, e.g. `assert effect > 0.5`"
    )
    with pytest.raises(TypeError, match=re.escape("a Rate has no truth value; compare it with a")):
        bool(rate_of([1] * 6))
    with pytest.raises(TypeError, match=re.escape("abs(effect) has no truth value; compare it wi")):
        bool(abs(effect_of(VALUES)))


def test_nothing_equals_an_effect(effect_of):
    """`==` and `!=` are TypeErrors, against numbers and effects alike; effects can be hashed."""
    effect = effect_of(VALUES)
    for compare in (
        lambda: effect == 0.3,
        lambda: effect != 0.3,
        lambda: effect == effect_of(VALUES),
        lambda: abs(effect) == 0.3,
    ):
        with pytest.raises(TypeError, match=re.escape("never equals a value exactly; claim ")):
            compare()
    assert len({effect, effect_of(VALUES)}) == 2


@pytest.mark.parametrize(
    "compare, message",
    [
        (lambda e: e >= 0.5, "`effect >= bound` cannot be claimed, since data cannot tell it from"),
        (lambda e: e <= 0.5, "write `effect < bound`"),
        (lambda e: abs(e) > 0.5, "name the direction: `effect > margin` or `effect < -margin`"),
        (lambda e: abs(e) >= 0.5, "name the direction: `effect > margin` or `effect < -margin`"),
        (lambda e: abs(e) <= 0.5, "write `abs(effect) < margin`"),
        (lambda e: e > "0.5", "an effect compares with a number or with another measurement of"),
        (lambda e: e > None, "not with NoneType 'None'"),
        (lambda e: e > True, "not with bool 'True'"),
        (lambda e: e > np.array([0.5]), "not with ndarray '[0.5]'"),
        (lambda e: e > [0.5], "not with list '[0.5]'"),
        (lambda e: abs(e) < "small", "abs(effect) compares with a number"),
        (lambda e: e - 0.1, "an effect and a float do not add up; put numbers into the bound"),
        (lambda e: e + 0.1, "an effect and a float do not add up; put numbers into the bound"),
        (lambda e: 1 + e, "an effect and an int do not add up; put numbers into the bound"),
    ],
)
def test_wrong_comparisons_are_type_errors(effect_of, compare, message):
    """Each wrong operator or operand is answered with what to write instead."""
    with pytest.raises(TypeError, match=re.escape(message)):
        compare(effect_of(VALUES))


@pytest.mark.parametrize("bound", [math.nan, math.inf, -math.inf])
def test_bounds_are_finite(effect_of, bound):
    """A bound of NaN or infinity is an error that names it."""
    with pytest.raises(
        EvidenceError, match=re.escape(f"the bound is {bound}; an effect compares with a finite")
    ):
        _ = effect_of(VALUES) > bound


def test_other_classes_may_compare_themselves(effect_of):
    """A class that knows effects, such as matched controls, decides the comparison."""

    class Controls:
        def __lt__(self, other):
            return "asked"

    assert (effect_of(VALUES) > Controls()) == "asked"


def test_rates_have_bounds_between_0_and_1(rate_of):
    """A percentage is recognised; a rate is never negative."""
    rate = rate_of([1] * 20)
    with pytest.raises(EvidenceError) as error:
        _ = rate > 80
    assert str(error.value) == "a rate lies between 0 and 1, the bound is 80; did you mean 0.8?"
    with pytest.raises(EvidenceError, match=r"a rate lies between 0 and 1, the bound is -0\.1$"):
        _ = rate < -0.1
    with pytest.raises(EvidenceError, match="a difference of rates lies between -1 and 1, the bou"):
        _ = rate - rate_of([0] * 20) > 2
    with pytest.raises(TypeError, match=r"a rate is never negative; claim `rate < 0\.1`"):
        abs(rate)


def test_rates_are_made_of_successes(rate_of):
    """A graded value is named with its pair."""
    with pytest.raises(EvidenceError) as error:
        rate_of([1, 0, 0.5, 1, 1], subject="accuracy of x")
    assert str(error.value) == (
        "accuracy of x: expected 1 or 0 for each pair, got 0.5 for pair 'pair 0002'\n"
        "use an Effect for graded values"
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_are_finite(effect_of, value):
    """A value that is no number is an error that names the pair, in values and in scale."""
    with pytest.raises(EvidenceError) as error:
        effect_of([1.0, value, 2.0, value], subject=PATCH)
    assert str(error.value) == (
        f"{PATCH}: values is {value} for pair 'pair 0001' and for 1 more\n"
        "no verdict can rest on it; look at this pair's metric and answers"
    )
    with pytest.raises(EvidenceError, match=f"scale is {value} for pair 'pair 0002'"):
        effect_of([1.0, 2.0, 3.0], scale=[1.0, 1.0, value])


@pytest.mark.calibration("C9")
@pytest.mark.parametrize("n", [1, 4])
def test_few_units_carry_no_verdict(effect_of, rate_of, n):
    """Fewer than five units are an error that says what to add (C9)."""
    for measured in (effect_of(VALUES, [f"t{i % n}" for i in range(12)], subject=PATCH),):
        with pytest.raises(EvidenceError) as error:
            _ = measured > 0
        assert str(error.value) == (
            f"{PATCH}: {n} template{'s' if n > 1 else ''} cannot carry a verdict; at least 5 are "
            "needed, 10 or more are advised\n"
            "add pairs from new templates: more pairs of the same templates do not tell how the "
            "effect varies between templates"
        )
    with pytest.raises(EvidenceError, match=f"{n} pairs? cannot carry a verdict.*\nadd pairs$"):
        _ = rate_of([1] * n) > 0.5
    with pytest.raises(EvidenceError, match="cannot carry a verdict"):
        _ = (rate_of([1] * n) - rate_of([0] * n)) > 0.5


@pytest.mark.calibration("C9", mutant="a verdict without a word")
def test_c9_catches_a_silent_verdict(effect_of, rate_of, monkeypatch):
    """Mutant: two units are enough for any verdict."""
    monkeypatch.setattr(assess, "FEWEST_UNITS", 2)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        test_few_units_carry_no_verdict(effect_of, rate_of, 4)


def test_few_or_rare_units_are_remarked(effect_of, rate_of):
    """Between five and ten units, and where few respond at all, the reader is told."""
    assert (effect_of(VALUES[:7]) > 0).notes == ("only 7 pairs: 10 or more are advised",)
    assert (rate_of([1] * 7) > 0.1).notes == ("only 7 pairs: 10 or more are advised",)
    rare = effect_of([0.0] * 10 + [1.0, 2.0]) > 0
    assert rare.notes == (
        "only 2 of 12 pairs respond at all: a rare effect can be missed or misjudged",
    )
    assert (effect_of(VALUES) > 0).notes == ()


@pytest.mark.parametrize("size, word", [(3e200, "large"), (3e-200, "small")])
def test_values_have_a_spread_that_can_be_computed(effect_of, size, word):
    """Where squares over- or underflow, the verdict would rest on nothing: it is refused."""
    with pytest.raises(EvidenceError) as error:
        effect_of(np.array(VALUES) * size / max(VALUES), subject="x")
    assert str(error.value) == (
        f"x: the largest of the values is {size:.3g}, too {word} to compute a spread of\n"
        "measure on another scale, e.g. log_probability for a probability"
    )
    with pytest.raises(EvidenceError, match=f"the largest of the scale is .*too {word}"):
        effect_of(VALUES, scale=np.full(12, size))
    many = {"units": [str(i) for i in range(12)], "pair_ids": [str(i) for i in range(12)]}
    columns = np.column_stack([np.ones(12), np.array(VALUES) * size])
    for make in (
        lambda: Grid(columns, axes={"layer": range(2)}, **many),
        lambda: Curve(columns, doses=[0, 1], **many),
        lambda: Minimality(columns, names=["a", "b"], **many),
    ):
        with pytest.raises(EvidenceError, match=f"the largest of the values is .*too {word}"):
            make()
    small = effect_of(np.array(VALUES) * 1e-70)
    assert (small > 0).name == (effect_of(VALUES) > 0).name
    assert small.interval.low == pytest.approx(1e-70 * effect_of(VALUES).interval.low)


def test_columns_must_fit():
    """Lengths that differ, pairs that occur twice and shapes that are no column are errors."""
    ids = ["a", "b", "c"]
    with pytest.raises(PairError) as error:
        Effect([1.0, 2.0], units=ids, pair_ids=ids, subject="x")
    assert str(error.value) == (
        "x: expected one entry per pair in each column, got 2 values, 3 units, 3 pair_ids"
    )
    with pytest.raises(PairError, match="x: pair 'a' is measured twice; give each pair its own id"):
        Effect([1.0] * 3, units=ids, pair_ids=["a", "b", "a"], subject="x")
    with pytest.raises(PairError, match=re.escape("got values of shape (1, 3)")):
        Effect([[1.0] * 3], units=ids, pair_ids=ids)
    with pytest.raises(EvidenceError, match="x: there are no pairs to measure"):
        Effect([], units=[], pair_ids=[], subject="x")


def test_differences_need_the_same_pairs():
    """Two pair sets are both named, with an example of what one lacks."""
    ids = [f"p{i}" for i in range(6)]
    a = Effect([1.0] * 6, units=ids, pair_ids=ids, pair_set=("pronouns", "0123456789ab"))
    b = Effect([1.0] * 5, units=ids[:5], pair_ids=ids[:5], pair_set=("verbs", "ba9876543210"))
    with pytest.raises(PairError) as error:
        _ = a > b
    assert str(error.value) == (
        "a comparison needs the same pairs on both sides: 'pronouns' (6 pairs, 01234567) against "
        "'verbs' (5 pairs, ba987654)\n1 pairs are on one side only, e.g. 'p5' in 'pronouns'\n"
        "measure both on the same pair set"
    )
    c = Effect([1.0] * 6, units=["t"] * 6, unit="template", pair_ids=ids)
    with pytest.raises(
        PairError, match=r"group the same pairs differently \(pair against template"
    ):
        _ = a - c


def test_differences_need_the_same_kind(effect_of, rate_of):
    """Raw and normalised effects, other metrics, other totals and rates do not mix."""
    raw = effect_of(VALUES, subject="logit_diff of x")
    share = effect_of(VALUES, subject="recovery of x", scale=[2.0] * 12)
    with pytest.raises(MetricError) as error:
        _ = raw > share
    assert str(error.value) == (
        "cannot compare logit_diff of x with recovery of x: one is measured in logit_diff, the "
        "other in recovery\nmeasure both with the same metric"
    )
    unnamed = effect_of(VALUES, subject="y")
    with pytest.raises(MetricError, match="the first is in units of its metric, the second a shar"):
        _ = share - unnamed
    other = effect_of(VALUES, subject="recovery of z", scale=[3.0] * 12)
    with pytest.raises(MetricError, match="they are shares of different total effects"):
        _ = share + other
    with pytest.raises(MetricError, match="an effect and a rate have no common unit"):
        _ = unnamed > rate_of([1] * 12)
    with pytest.raises(MetricError, match="a rate and an effect have no common unit"):
        _ = rate_of([1] * 12) - unnamed
    half = effect_of(np.array(VALUES) / 2, subject="recovery of z", scale=[2.0] * 12)
    assert (share - half).estimate == pytest.approx(0.25)


# Notebook and session


def test_the_repr_is_one_short_line(effect_of, rate_of):
    """An effect in a notebook shows what, how much, how sure and on what."""
    effect = effect_of(VALUES, [f"t{i % 6}" for i in range(12)], subject=PATCH)
    assert re.fullmatch(
        r"<Effect recovery of interchange\(block_output\[2\]@name\): 1, 95% CI \[0\.\d+, 1\.\d+\], "
        r"12 pairs, 6 templates>",
        repr(effect),
    )
    assert repr(effect_of([1.0, 2.0])) == "<Effect effect: 1.5, 2 pairs>"
    assert repr(rate_of([1] * 12)) == "<Rate rate: 1, 95% CI [0.735, 1], 12 pairs>"
    assert repr(abs(effect)).startswith("abs(<Effect recovery of ")


def test_the_judge_in_force_decides(effect_of):
    """A function given as judge is asked when a comparison is made, not before."""
    level = {"alpha_claim": 0.05}
    effect = effect_of(VALUES, judge=lambda: Judge(**level))
    assert (effect > 0.87).name == "supported"
    level["alpha_claim"] = 0.05 / 100
    verdict = effect > 0.87
    assert verdict.name == "inconclusive"
    assert verdict.alpha_claim == 0.05 / 100
    assert verdict.interval.level == pytest.approx(0.95)
    assert verdict.adjusted_interval.level == pytest.approx(0.9995)
    assert verdict.adjusted_interval.low < 0.87 < verdict.interval.low


def test_values_are_read_only(effect_of):
    """Measured numbers cannot be changed after the fact, nor through the caller's array."""
    mine = np.array(VALUES)
    effect = effect_of(mine)
    mine[0] = 99.0
    assert effect.values[0] == 0.9
    with pytest.raises(ValueError, match="read-only"):
        effect.values[0] = 99.0


def test_constructors_are_public():
    """Both classes come from the top of the statistics package."""
    assert Effect.__module__ == "causaltest.stats.effect"
    assert Rate.__module__ == "causaltest.stats.rate"
