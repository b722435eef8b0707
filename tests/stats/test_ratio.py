"""Circuit claims: two-sided faithfulness, completeness over subsets, minimality over components."""

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causaltest.errors import EvidenceError, MetricError
from causaltest.stats import Judge
from causaltest.stats.columnwise import hull_p
from causaltest.stats.ratio import Incompleteness, Minimality, Ratio

SUBJECT = "faithfulness of 3 heads"


def named(count):
    """Return the keyword arguments of pairs that are their own units."""
    ids = [f"pair {i:03d}" for i in range(count)]
    return {"units": ids, "pair_ids": ids}


def ratio_of(share, n=40, seed=0, **more):
    """Return a faithfulness around `share` with gaps of 3.5 +- 1."""
    rng = np.random.default_rng(seed)
    gap = rng.normal(3.5, 1.0, n)
    kept = share * gap + rng.normal(0, 0.3, n)
    return Ratio(kept, scale=gap, subject=SUBJECT, **named(n), **more)


def test_over_recovery_fails_a_two_sided_claim():
    """A circuit that does 1.3 of the model's work is as unfaithful as one that does .7."""
    good, over, under = ratio_of(0.98), ratio_of(1.3), ratio_of(0.7)
    assert over > 0.9
    for ratio, name in ((good, "supported"), (over, "refuted"), (under, "refuted")):
        assert (abs(1 - ratio) < 0.1).name == name
        assert (abs(ratio - 1) < 0.1).name == name
        assert ratio.within(0.9, 1.1).name == name
    assert 0.9 < good < 1.1


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.sampled_from([0.05, 0.1, 0.3]))
def test_both_ways_of_writing_two_sides_decide_alike(seed, margin):
    """`abs(1 - ratio) < m` and `1 - m < ratio < 1 + m` have the same p-values."""
    ratio = ratio_of(1.0, 12, seed)
    one, other = abs(1 - ratio) < margin, ratio.within(1 - margin, 1 + margin)
    assert one.p_support == pytest.approx(other.p_support, abs=3e-4)
    assert min(1.0, 2 * one.p_refute) == pytest.approx(other.p_refute, abs=6e-4)


def test_the_distance_from_one_is_fiellers():
    """The interval of 1 - ratio is the ratio's, mirrored."""
    ratio = ratio_of(0.9)
    distance = 1 - ratio
    assert distance.estimate == pytest.approx(1 - ratio.estimate)
    assert distance.interval.low == pytest.approx(1 - ratio.interval.high, abs=1e-6)
    assert distance.interval.high == pytest.approx(1 - ratio.interval.low, abs=1e-6)
    assert (distance < 0.2).statement == "1 - faithfulness < 0.2"
    assert (ratio - ratio).estimate == 0.0


def test_cancellation_shows_in_the_deviation():
    """Half of the pairs far above and half far below: faithful on average, and not in any pair."""
    gap = np.full(40, 2.0)
    kept = np.where(np.arange(40) % 2 == 0, 0.2, 3.8) + np.random.default_rng(0).normal(0, 0.1, 40)
    ratio = Ratio(kept, scale=gap, subject=SUBJECT, **named(40))
    assert ratio.estimate == pytest.approx(1.0, abs=0.02)
    assert ratio.deviation.estimate == pytest.approx(np.abs(kept - gap).mean() / 2.0)
    assert (ratio.deviation < 0.3).name == "refuted"
    low, middle, high = ratio.per_pair_quartiles
    assert low < 0.2 < middle < 1.8 < high + 0.2
    assert (ratio_of(0.98).deviation < 0.2).name == "supported"


def test_within_is_one_observed_claim():
    """Two comparisons reach the session as one verdict."""
    seen = []
    verdict = ratio_of(1.0, judge=Judge(observe=seen.append)).within(0.9, 1.1)
    assert verdict
    assert seen == [verdict]
    assert verdict.statement == "0.9 < faithfulness < 1.1"


@pytest.mark.parametrize(
    "runs", [pytest.param(200, id="tenth"), pytest.param(2_000, id="full", marks=pytest.mark.slow)]
)
def test_c18_through_the_api(runs):
    """With rho = .87 on the bound `ratio > .87` is supported in at most .032 of runs."""
    rng = np.random.default_rng(18)
    supported = by_pair = 0
    for _ in range(runs):
        gap = rng.normal(3.5, 1.5, 30)
        kept = 0.87 * (3.5 + 0.5 * (gap - 3.5)) + rng.normal(0, 0.75, 30)
        supported += (Ratio(kept, scale=gap, **named(30)) > 0.87).name == "supported"
        each = kept / gap
        by_pair += each.mean() - 2.045 * each.std(ddof=1) / math.sqrt(30) > 0.87
    limit = 0.025 + 2 * math.sqrt(0.025 * 0.975 / runs)  # .032 at N = 2,000
    assert supported / runs <= limit
    # Mutant: the mean of per-pair ratios.
    assert by_pair / runs > limit


# Incompleteness and minimality


def test_the_worst_subset_decides_completeness():
    """Two subsets agree and one does not: refuted, naming it, with a simultaneous interval."""
    values = np.random.default_rng(0).normal([0.0, -0.9, 0.05], 0.2, (40, 3))
    found = Incompleteness(values, names=["K1", "K2", "K3"], **named(40))
    assert found.estimate == pytest.approx(np.abs(values.mean(axis=0)).max())
    verdict = found < 0.3
    assert verdict.name == "refuted"
    assert [each.subject for each in verdict.unsupported] == ["incompleteness at K2"]
    assert verdict.statement == "incompleteness < 0.3 (3 subsets)"
    assert (
        re.match(
            r"largest absolute difference 0\.9\d*, simultaneous 95% CI \[0\.\d+, 0\.\d+\], at K2",
            verdict.notes[-1],
        )
        or "at K2" in verdict.notes[-1]
    )
    assert found.interval.low < 0.9 < found.interval.high
    assert (found < 1.2).name == "supported"
    assert (Incompleteness(values[:, [0, 2]], names=["K1", "K3"], **named(40)) < 0.3).name == (
        "supported"
    )


def test_subsets_as_shares_of_the_total_effect():
    """With a scale differences are shares of the total."""
    values = np.random.default_rng(0).normal([0.4, -0.2], 0.1, (30, 2))
    found = Incompleteness(values, names=["K1", "K2"], scale=np.full(30, 4.0), **named(30))
    assert found.estimate == pytest.approx(values[:, 0].mean() / 4)
    assert found < 0.15


def test_subsets_searched_for_are_judged_on_other_units():
    """The greedy search's own pairs cannot show completeness."""
    values = np.random.default_rng(0).normal(0, 0.1, (10, 2))
    with pytest.raises(EvidenceError) as caught:
        Incompleteness(values, names=["K1", "K2"], chosen_on=["pair 003"], **named(10))
    assert str(caught.value).startswith(
        "subsets chosen by their effects cannot be judged on the data it rests on: 1 pair was used"
    )
    assert Incompleteness(values, names=["K1", "K2"], chosen_on=["other"], **named(10)) < 0.5


def test_components_that_add_nothing_are_listed():
    """Minimality needs every component; the verdict lists those without evidence."""
    drops = np.random.default_rng(1).normal([1.0, 0.6, 0.0, 0.12], 0.2, (30, 4))
    found = Minimality(drops, names=["L9.H6", "L9.H9", "L0.H1", "L5.H5"], **named(30))
    verdict = found > 0.1
    assert verdict.name == "refuted"
    assert found.estimate == pytest.approx(drops.mean(axis=0).min())
    assert verdict.notes[-1] == "not shown to add more than 0.1: L0.H1, L5.H5"
    assert found.effects["L9.H6"] == pytest.approx(drops[:, 0].mean())
    assert Minimality(drops[:, :2], names=["a", "b"], **named(30)) > 0.1


def false_minimality(runs, components=6, n=20):
    """Return how often a circuit with one idle component is called minimal, two ways."""
    rng = np.random.default_rng(12)
    drops = rng.normal(0.0, 1.0, (runs, n, components))
    drops[:, :, 1:] += 1.5
    above = np.array([hull_p(each, resamples=799, seed=0)[0] for each in drops])
    t = drops.mean(axis=1) / drops.std(axis=1, ddof=1) * math.sqrt(n)
    return (above.max(axis=1) <= 0.025).mean(), (t > -2.09).all(axis=1).mean()


@pytest.mark.parametrize(
    "runs",
    [pytest.param(500, id="quarter"), pytest.param(2_000, id="full", marks=pytest.mark.slow)],
)
def test_an_idle_component_is_found_out(runs):
    """A circuit with one component that adds nothing is called minimal in at most 2.5 % of runs."""
    ours, mutant = false_minimality(runs)
    limit = 0.025 + 2 * math.sqrt(0.025 * 0.975 / runs)
    assert ours <= limit
    # Mutant: "not significantly superfluous, so minimal".
    assert mutant > 0.8


@pytest.mark.parametrize(
    "make, error, message",
    [
        (
            lambda: Ratio([1.0] * 5, **named(5)),
            MetricError,
            "ratio: a ratio needs the total effect of each pair as scale=...",
        ),
        (lambda: ratio_of(1.0).within(1.1, 0.9), EvidenceError, "above 1.1 and below 0.9"),
        (
            lambda: Minimality(np.zeros((5, 2)), names=["a"], **named(5)),
            MetricError,
            "minimality: 1 components need values of shape (pairs, 1), got (5, 2)",
        ),
        (
            lambda: Minimality(np.full((5, 1), np.nan), names=["a"], **named(5)),
            EvidenceError,
            "minimality: the value is nan for component a and pair 'pair 000'",
        ),
        (
            lambda: Incompleteness(np.zeros((5, 1)), names=["a"], **named(5)) > 0.1,
            TypeError,
            "`incompleteness > margin` is what refutes completeness",
        ),
        (
            lambda: Minimality(np.zeros((5, 1)), names=["a"], **named(5)) < 0.1,
            TypeError,
            "`minimality < bound` is what refutes minimality",
        ),
        (
            lambda: bool(Incompleteness(np.zeros((5, 1)), names=["a"], **named(5))),
            TypeError,
            "incompleteness has no truth value; claim that no subset parts them",
        ),
        (
            lambda: bool(Minimality(np.zeros((5, 1)), names=["a"], **named(5))),
            TypeError,
            "minimality has no truth value; claim that each component adds something",
        ),
    ],
)
def test_refusals(make, error, message):
    """What cannot be meant or judged is refused with what to do instead."""
    with pytest.raises(error, match=re.escape(message)):
        make()
