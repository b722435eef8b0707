"""The verdict: its truth, its numbers, its few lines of explanation."""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from causaltest.errors import Inconclusive
from causaltest.stats import Judge
from causaltest.stats.decision import Region, decide, needed
from causaltest.stats.planning import power

PATCH = "recovery of interchange(block_output[2]@name)"


def pronouns(effect_of, **more):
    """Return an effect of .8 over 24 pairs of 12 templates."""
    values = 0.8 + 0.2 * np.cos(np.arange(24) * 2.4)
    return effect_of(values, [f"t{i % 12}" for i in range(24)], subject=PATCH, **more)


def test_the_truth_of_the_three_verdicts(effect_of):
    """Supported is true, refuted is false, inconclusive raises with the explanation."""
    effect = pronouns(effect_of)
    assert bool(effect > 0.5) is True
    assert bool(effect < 0.5) is False
    undecided = effect > 0.8
    with pytest.raises(Inconclusive) as error:
        bool(undecided)
    assert str(error.value) == "\n".join(undecided.explain())
    assert isinstance(error.value, AssertionError)


def test_a_verdict_is_observed_once_and_when_asked(effect_of):
    """Making a verdict records nothing; asking its truth, however often, records it once."""
    seen = []
    effect = pronouns(effect_of, judge=Judge(observe=seen.append))
    verdict, undecided = effect > 0.5, effect > 0.8
    assert seen == []
    assert verdict
    assert verdict
    for _ in range(2):
        with pytest.raises(Inconclusive):
            bool(undecided)
    assert seen == [verdict, undecided]


def test_numbers_are_plain_floats(effect_of, rate_of):
    """No numpy scalar leaves the statistics: xdist and JSON cannot carry one."""
    for verdict in (pronouns(effect_of) > 0.5, rate_of([1] * 12) > 0.5, rate_of([0] * 12) < 0.1):
        for number in (
            verdict.estimate,
            verdict.interval.low,
            verdict.adjusted_interval.high,
            verdict.p_support,
            verdict.p_refute,
            verdict.bound,
            verdict.sizes.share_in_direction,
            *verdict.values,
        ):
            assert type(number) is float


def test_supported_in_three_lines(effect_of):
    """A supported verdict says number, subject and interval."""
    lines = (pronouns(effect_of) > 0.5).explain()
    assert re.fullmatch(r"supported: 0\.8\d+ > 0\.5", lines[0])
    assert lines[1] == PATCH
    assert re.fullmatch(
        r"95% CI \[0\.\d+, 0\.\d+\], hull over 12 template means \(24 pairs\); "
        r"it excludes the bound",
        lines[2],
    )
    assert len(lines) == 3


def test_beyond_the_bound_but_not_at_the_level_left_for_it(effect_of):
    """Where comparisons share the level of refutation, an interval beyond does not straddle."""
    bound = (pronouns(effect_of, judge=Judge(alpha_claim=0.02)) < 0.5).adjusted_interval.low
    shared = pronouns(effect_of, judge=Judge(parts=10)) < bound
    assert (shared.name, (pronouns(effect_of) < bound).name) == ("inconclusive", "refuted")
    told = "\n".join(shared.explain())
    assert "it lies on the other side, but not at the 99.5% left for refuting this" in told
    assert "straddles" not in told


def test_refuted_and_inconclusive(effect_of):
    """A refuted verdict names the side; an inconclusive one says what would settle it."""
    effect = pronouns(effect_of)
    refuted = (effect < 0.5).explain()
    assert re.fullmatch(r"refuted: 0\.8\d+ is not < 0\.5", refuted[0])
    assert refuted[2].endswith("; it lies on the other side")
    lines = (effect > 0.79).explain()
    assert re.fullmatch(r"inconclusive: \+0\.8\d+ is not clearly > 0\.79", lines[0])
    assert lines[2].endswith("; it straddles the bound")
    assert re.fullmatch(
        r"about [\d,]+ pairs would settle it \(80% power at this spread\)", lines[3]
    )


def test_equivalence_in_words(effect_of):
    """A claim of no effect reads as one."""
    small = effect_of(0.01 * np.cos(np.arange(24) * 2.4), subject=PATCH)
    assert re.fullmatch(r"supported: -?0\.\d+ is within ±0\.1", (abs(small) < 0.1).explain()[0])
    assert (abs(small) < 0.1).explain()[2].endswith("; it lies inside the margin")
    large = pronouns(effect_of)
    assert re.fullmatch(r"refuted: 0\.8\d+ is not within ±0\.1", (abs(large) < 0.1).explain()[0])
    undecided = abs(large) < 0.8
    assert undecided.explain()[0].startswith("inconclusive: +0.8")
    assert undecided.explain()[0].endswith("is not clearly within ±0.8")


def test_the_level_of_the_family_is_shown(effect_of):
    """Where the family's correction widens the interval, the deciding interval is the wide one."""
    lines = (pronouns(effect_of, judge=Judge(alpha_claim=0.05 / 20)) > 0.5).explain()
    assert lines[2].startswith("95% CI [")
    assert lines[2].endswith("hull over 12 template means (24 pairs)")
    assert re.fullmatch(
        r"corrected for its family: 99\.75% CI \[0\.\d+, 0\.\d+\]; it excludes the bound", lines[3]
    )


def test_at_the_bound_nothing_settles_it(effect_of):
    """With the estimate on the bound there is no number of pairs, and the line says so."""
    values = np.concatenate([np.arange(12.0), -np.arange(12.0)])
    verdict = effect_of(values) > 0.0
    assert verdict.name == "inconclusive"
    assert verdict.pairs_needed is None
    assert verdict.explain()[-1] == (
        "the estimate sits at the bound: no number of such pairs would settle it"
    )


@given(
    st.lists(st.floats(-1e3, 1e3), min_size=5, max_size=30),
    st.floats(-1e3, 1e3),
    st.sampled_from([0.05, 0.05 / 300]),
    st.booleans(),
)
def test_explanations_are_short(effect_of, values, bound, level, within):
    """Whatever the numbers: at most five lines of at most 100 characters, verdict first."""
    effect = effect_of(
        np.round(values, 3),
        subject="recovery of " + "interchange(head_attention_value_output[9.6]@end), " * 9,
        judge=Judge(alpha_claim=level),
    )
    verdict = abs(effect) < abs(bound) + 0.1 if within else effect > bound
    lines = verdict.explain()
    assert len(lines) <= 5
    assert max(map(len, lines)) <= 100
    assert lines[0].startswith(verdict.name + ": ")
    assert repr(verdict).startswith(f"<{verdict.name}: ")


def test_parts_tighten_refutation_only(effect_of):
    """Three comparisons in a claim: support at alpha, refutation at alpha / 3 (2.1)."""
    values = np.random.default_rng(0).normal(0.0, 1.0, 40)
    alone, of_three = (effect_of(values, judge=Judge(parts=parts)) for parts in (1, 3))
    centre, half = alone.estimate, alone.interval.high - alone.estimate
    bound = centre + 1.08 * half
    assert (alone > bound).name == "refuted"
    assert (of_three > bound).name == "inconclusive"
    assert (of_three < bound).name == "supported"


class Flat:
    """Evidence with p-values fixed by hand."""

    estimate = 0.0

    def __init__(self, above, below):
        self.above, self.below = above, below

    def p_above(self, bound):
        """Return the p-value set for this bound."""
        return self.above[bound]

    def p_below(self, bound):
        """Return the p-value set for this bound."""
        return self.below[bound]

    def limits(self, alpha):
        """Return any interval."""
        return -1.0, 1.0


@pytest.mark.parametrize(
    "p_above, p_below, expected",
    [(0.025, 0.99, "supported"), (0.0251, 0.98, "inconclusive"), (0.98, 0.025, "refuted")],
)
def test_the_verdict_rule(p_above, p_below, expected):
    """A one-sided p of at most alpha / 2 decides, on either side (statistics.md 2.1)."""
    found = decide(Flat({0.0: p_above}, {0.0: p_below}), Region(0.0, math.inf), Judge())
    assert found.name == expected


def test_equivalence_takes_the_larger_and_the_smaller():
    """Inside must be shown on both sides, outside on one (statistics.md 2.1)."""
    evidence = Flat({-1.0: 0.001, 1.0: 0.9}, {-1.0: 0.99, 1.0: 0.02})
    found = decide(evidence, Region(-1.0, 1.0), Judge())
    assert (found.p_support, found.p_refute) == (0.02, 0.9)


@pytest.mark.parametrize("bound", [0.0, 0.5])
def test_the_number_of_pairs_has_its_power(effect_of, bound):
    """Fresh Gaussian samples of the planned size settle the claim in 80 % of cases or more."""
    rng = np.random.default_rng(1)
    values = 0.25 + rng.normal(0, 1, 40)
    values = 0.25 + (values - values.mean()) / values.std(ddof=1)
    verdict = effect_of(values) > bound
    assert verdict.name == "inconclusive"
    # The planned spread is read off the hull, a little wider than t: at most 10 % more units.
    assert 0.8 <= power(0.25, verdict.pairs_needed, 0.05) < 0.86


def test_plans_count_pairs_not_units(effect_of):
    """Two pairs a template: twice as many pairs as templates are needed."""
    values = np.repeat(0.2 + np.cos(np.arange(20) * 2.4), 2)
    by_template = effect_of(values, np.repeat([f"t{i:02d}" for i in range(20)], 2)) > 0
    by_pair = effect_of(values[::2]) > 0
    assert by_template.pairs_needed == 2 * by_pair.pairs_needed


def test_plans_always_ask_for_more(effect_of):
    """An inconclusive verdict never says that the pairs at hand would do."""
    rng = np.random.default_rng(0)
    checked = 0
    for _ in range(60):
        values = rng.exponential(size=int(rng.integers(5, 40)))
        verdict = effect_of(values) > values.mean() - rng.uniform(-1, 1) * values.std()
        if verdict.name == "inconclusive" and verdict.pairs_needed is not None:
            checked += 1
            assert verdict.pairs_needed > verdict.n_pairs
    assert checked > 20


def test_refuting_an_equivalence_is_planned_from_outside():
    """With the estimate beyond the margin only the margin that was passed counts."""

    class Wide(Flat):
        estimate = 1.5

        def limits(self, alpha):
            return 0.5, 2.5

    units = needed(Wide({}, {}), Region(-1.0, 1.0), Judge(), 20)
    assert units is not None
    assert units == needed(Wide({}, {}), Region(-math.inf, 1.0), Judge(), 20)
    assert units > 20
