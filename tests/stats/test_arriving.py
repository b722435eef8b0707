"""Measuring in looks: errors over all looks, pairs saved, and the same numbers in any order."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest

from causaltest.errors import EvidenceError
from causaltest.stats import Effect, Judge, Rate
from causaltest.stats.arriving import ArrivingEffect, ArrivingRate
from causaltest.stats.betting import Betting
from causaltest.stats.decision import Region, decide
from causaltest.stats.looks import Look, Stream, unit_order


class Bench:
    """Pairs whose values are known, and a count of how often each was measured."""

    def __init__(self, values, units=None, limits=(-1.0, 1.0), name="set", changed=True):
        self.values = np.asarray(values, dtype=float)
        self.ids = tuple(f"p{i}" for i in range(len(self.values)))
        self.units = tuple(units or self.ids)
        self.asked: list[int] = []
        self.changed = changed
        self.whole_asked = 0
        self.stream = Stream(
            self.draw,
            self.units,
            "pair" if units is None else "template",
            self.ids,
            (name, ""),
            *limits,
        )

    def draw(self, indices):
        self.asked += indices
        return Look(self.values[list(indices)], self.changed)

    def whole(self, kind=Effect):
        self.whole_asked += 1
        return kind(
            self.values,
            units=self.units,
            unit=self.stream.unit,
            pair_ids=self.ids,
            pair_set=self.stream.pair_set,
            subject="logit_diff of a patch",
        )

    def effect(self, judge=Judge, floor=0.0):
        return ArrivingEffect(
            self.stream, self.whole, subject="logit_diff of a patch", metric="logit_diff",
            floor=floor, judge=judge,
        )  # fmt: skip

    def rate(self, judge=Judge):
        return ArrivingRate(
            self.stream, lambda: self.whole(Rate), subject="accuracy of a patch", judge=judge
        )


def binomial_limit(alpha, runs):
    """Two standard errors above a nominal rate."""
    return alpha + 2 * math.sqrt(alpha * (1 - alpha) / runs)


@pytest.mark.parametrize(
    "draw, limits",
    [
        (lambda rng: rng.uniform(-0.5, 0.5, 200), (-1.0, 1.0)),
        (lambda rng: rng.choice([-1.0, 1.0], 200), (-1.0, 1.0)),
        (lambda rng: rng.normal(0.0, 1.0, 200), (-math.inf, math.inf)),
    ],
    ids=["uniform", "signs", "normal without limits"],
)
@pytest.mark.parametrize(
    "runs", [pytest.param(150, id="quick"), pytest.param(2000, id="full", marks=pytest.mark.slow)]
)
def test_stopping_when_settled_keeps_the_level(draw, limits, runs):
    """At the bound itself both wrong verdicts together stay below the two-sided level."""
    rng = np.random.default_rng(5)
    names = []
    for _ in range(runs):
        bench = Bench(draw(rng), limits=limits)
        judge = Judge(seed=int(rng.integers(2**31)))
        names.append((bench.effect(judge) > 0.0).name)
    # The asymptotic sequence has its own allowance, C29.
    nominal = 0.05 if math.isfinite(limits[0]) else 0.08
    assert sum(name != "inconclusive" for name in names) / runs <= binomial_limit(nominal, runs)


def test_a_strong_effect_stops_early_and_a_weak_one_goes_on():
    """Fewer pairs are measured where the effect is strong; each pair once."""
    rng = np.random.default_rng(0)
    strong = Bench(rng.uniform(0.5, 0.9, 400))
    verdict = strong.effect() > 0.1
    assert verdict.name == "supported"
    assert len(strong.asked) == verdict.n_pairs < 60
    assert len(set(strong.asked)) == len(strong.asked)
    assert verdict.n_available == 400
    weak = Bench(rng.uniform(-0.4, 0.6, 400))
    assert (weak.effect() > 0.1).n_pairs == 400
    assert strong.whole_asked == weak.whole_asked == 0


def test_the_evidence_is_betting_over_unit_means_in_their_order():
    """The p-value equals that of the betting process over the units as they came."""
    rng = np.random.default_rng(2)
    units = [f"t{i % 60}" for i in range(240)]
    bench = Bench(rng.uniform(0.1, 0.9, 240), units)
    judge = Judge(seed=11)
    verdict = bench.effect(judge) > 0.2
    order = unit_order(bench.units, 11)[: verdict.n_units]
    means = [bench.values[[i for i, u in enumerate(units) if u == unit]].mean() for unit in order]
    by_hand = Betting(np.array(means), -1.0, 1.0, 0.05)
    found = decide(by_hand, Region(0.2, math.inf), judge)
    assert verdict.p_support == pytest.approx(found.p_support, rel=1e-9)
    assert (verdict.interval.low, verdict.interval.high) == pytest.approx(by_hand.limits(0.05))
    assert set(verdict.units) == set(order)


def test_the_verdict_does_not_depend_on_what_was_measured_before():
    """A second comparison of one effect gives what it gives alone."""
    values = np.random.default_rng(3).uniform(0.2, 0.6, 300)
    one = Bench(values).effect()
    first = one > 0.39
    after = one < 0.9
    alone = Bench(values).effect() < 0.9
    assert first.n_pairs > after.n_pairs == alone.n_pairs
    assert (after.p_support, after.values) == (alone.p_support, alone.values)


def test_units_come_in_an_order_of_the_hypothesis():
    """Another seed gives another order; the order of pairs in the set is of no matter."""
    labels = [f"t{i}" for i in range(30)]
    assert unit_order(labels, 1) == unit_order(labels[::-1], 1)
    assert unit_order(labels, 1) != unit_order(labels, 2)


def test_pairs_in_another_order_give_the_same_verdict():
    """A pair set's hash tells the order of its pairs, and decides nothing."""
    values = np.random.default_rng(4).uniform(0.2, 0.6, 200)
    units = [f"t{i}" for i in range(200)]
    here = Bench(values, units).effect() > 0.35
    turned = Bench(values[::-1], units[::-1])
    turned.stream = replace(turned.stream, pair_set=("set", "another hash"))
    there = turned.effect() > 0.35
    assert (here.name, here.p_support, here.n_pairs) == (there.name, there.p_support, there.n_pairs)


def test_differences_sums_and_negation_come_in_looks_too():
    """Both sides are measured pair by pair; the numbers are those of the plain effects."""
    rng = np.random.default_rng(4)
    a, b = Bench(rng.uniform(0.5, 0.9, 300)), Bench(rng.uniform(-0.2, 0.2, 300))
    verdict = a.effect() > b.effect()
    assert verdict.name == "supported"
    assert sorted(a.asked) == sorted(b.asked)
    assert len(a.asked) < 200
    chosen = sorted(a.asked)
    assert verdict.estimate == pytest.approx((a.values - b.values)[chosen].mean())
    assert (-a.effect() < 0.0).name == "supported"
    assert (a.effect() + b.effect() > 0.1).name == "supported"
    assert verdict.subject == "(logit_diff of a patch) - (logit_diff of a patch)"


def test_an_equivalence_claim_stops_early():
    """Values near 0 are found negligible before the last pair."""
    bench = Bench(np.random.default_rng(6).uniform(-0.05, 0.05, 600))
    verdict = abs(bench.effect()) < 0.4
    assert verdict.name == "supported"
    assert verdict.n_pairs < 300


def test_rates_and_their_differences_stop_early():
    """A rate far above its bound needs few pairs; so does a rate far above another."""
    good = Bench(np.ones(300))
    assert (good.rate() > 0.5).name == "supported"
    assert len(good.asked) < 50
    bad = Bench((np.arange(300) % 10 == 0).astype(float))
    verdict = good.rate() > bad.rate()
    assert verdict.name == "supported"
    assert verdict.n_pairs < 150


def test_where_looks_cannot_decide_all_pairs_are_judged_at_once():
    """Few units, or few without limits: the verdict is that of the plain effect, and says so."""
    rng = np.random.default_rng(7)
    few = Bench(rng.uniform(0.5, 0.9, 12))
    plain = few.whole() > 0.1
    verdict = few.effect() > 0.1
    assert (verdict.p_support, verdict.interval) == (plain.p_support, plain.interval)
    assert verdict.n_available == 0
    assert verdict.notes[-1] == (
        "not sequential: half of 12 pairs could not settle this bound at level 0.05 even if all "
        "agreed; all pairs were judged at once"
    )
    unlimited = Bench(rng.normal(2.0, 1.0, 40), limits=(-math.inf, math.inf))
    assert re.match(
        "not sequential: values without known limits need more than 50 units before a first look, "
        "these are 40 pairs",
        (unlimited.effect() > 0.1).notes[-1],
    )


def test_the_note_says_how_many_ran():
    """Record and message carry pairs run, pairs there were, and the kind of interval."""
    bench = Bench(np.linspace(0.4, 0.9, 240), [f"t{i % 120}" for i in range(240)])
    verdict = bench.effect() > 0.0
    ran = f"{verdict.n_units} of 120 templates ({verdict.n_pairs} of 240 pairs)"
    assert verdict.notes == (
        f"sequential: stopped after {ran}, in a random order; the intervals are those of a "
        "confidence sequence, valid at whatever time one stops",
    )
    assert verdict.method == f"betting confidence sequence on {ran}"
    assert f"anytime (betting), {ran}" in "\n".join(verdict.explain())


def test_what_changes_nothing_is_not_called_negligible():
    """An intervention without any change is left to the plain measurement, which refuses it."""
    bench = Bench(np.zeros(300), changed=False)
    verdict = abs(bench.effect()) < 0.4
    assert bench.whole_asked == 1
    assert verdict.n_available == 0


def test_showing_an_effect_measures_nothing():
    """Showing must run nothing: pytest shows the operands of failed asserts."""
    bench = Bench(np.linspace(0.4, 0.9, 100))
    effect = bench.effect()
    assert repr(effect) == "<ArrivingEffect logit_diff of a patch: 100 pairs in looks>"
    assert not bench.asked
    assert effect.estimate == pytest.approx(0.65)
    assert bench.whole_asked == 1
    assert "100 pairs" in repr(effect)


def test_a_value_beyond_its_limits_is_refused():
    """Betting on values that pass their limits would be no evidence."""
    bench = Bench(np.full(100, 1.5))
    with pytest.raises(EvidenceError, match=r"1\.5 for pair 'p\d+' passes the limits -1 and 1"):
        _ = bench.effect() > 0.5
