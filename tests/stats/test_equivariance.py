"""What must not matter does not: order, labels, duplicates, units of measurement, sign.

Also the duality of p-values and intervals, on which a verdict and its interval agree (C16, C17).
"""

import math
import random
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import assume, given, reject
from hypothesis import strategies as st
from scipy import stats

from causaltest.errors import EvidenceError
from causaltest.stats import Judge, streams
from causaltest.stats.columns import Columns
from causaltest.stats.decision import Region, decide
from causaltest.stats.exact import SameInAllUnits
from causaltest.stats.hull import Hull, fit
from causaltest.stats.rates import Binomial, PairedFlips, UnitRates

NUMBERS = st.integers(-50, 50).map(lambda k: k / 8)
DATA = st.lists(st.tuples(NUMBERS, st.integers(0, 7)), min_size=8, max_size=30)
GAPS = st.integers(0, 10**6)


def measured(effect_of, data, gap_seed=None, **more):
    """Return an effect of at least five templates, as a ratio where a seed for gaps is given."""
    values = np.array([value for value, _ in data])
    units = [f"t{unit}" for _, unit in data]
    if len(set(units)) < 5:
        reject()
    if gap_seed is not None:
        more["scale"] = np.random.default_rng(gap_seed).uniform(3, 4, len(values))
    effect = effect_of(values, units, **more)
    try:
        assert effect.interval
    except EvidenceError:
        reject()  # too few units for a ratio; another test is about that
    return effect


def checked(test):
    """Return the check inside a property test, to be run on data of our own."""
    return test.hypothesis.inner_test


def caught(check):
    """Return whether a check fails on any of ten data sets of 24 pairs in 8 templates."""
    failures = 0
    for seed in range(10):
        rng = np.random.default_rng([17, seed])
        values = rng.integers(-50, 50, 24) / 8
        data = [(float(value), i % 8) for i, value in enumerate(values)]
        try:
            check(data)
        except AssertionError:
            failures += 1
    return failures > 0


def numbers(verdict):
    """Return every number of a verdict that decides or is reported."""
    return (
        verdict.name,
        verdict.estimate,
        verdict.interval,
        verdict.adjusted_interval,
        verdict.p_support,
        verdict.p_refute,
        verdict.pairs_needed,
        verdict.sizes,
    )


@pytest.mark.calibration("C17")
@given(DATA, NUMBERS, st.none() | GAPS, st.randoms(use_true_random=False))
def test_the_order_of_pairs_does_not_matter(effect_of, data, bound, gap_seed, shuffler):
    """Shuffled pairs give bit-identical verdicts."""
    effect = measured(effect_of, data, gap_seed)
    order = list(range(len(data)))
    shuffler.shuffle(order)
    shuffled = type(effect)(
        effect.values[order],
        scale=None if effect.scale is None else effect.scale[order],
        units=[effect.units[i] for i in order],
        unit="template",
        pair_ids=[effect.pair_ids[i] for i in order],
    )
    assert numbers(effect > bound) == numbers(shuffled > bound)


@pytest.mark.calibration("C17", mutant="units in the order of their first pair")
def test_c17_catches_units_in_the_order_of_the_pairs(effect_of, monkeypatch):
    """Mutant: resamples meet units in the order in which pairs come, as a stream per call does."""
    monkeypatch.setattr(Columns, "labels", property(lambda self: tuple(dict.fromkeys(self.units))))
    check, shuffle = checked(test_the_order_of_pairs_does_not_matter), random.Random(0)
    assert caught(lambda data: check(effect_of, data, 0.5, None, shuffle))


@given(DATA, NUMBERS)
def test_the_names_of_pairs_do_not_matter(effect_of, data, bound):
    """Other ids for the same pairs of the same templates change nothing."""
    effect = measured(effect_of, data)
    renamed = measured(effect_of, data, pair_ids=[f"other {-i}" for i in range(len(data))])
    assert numbers(effect > bound) == numbers(renamed > bound)


@pytest.mark.calibration("C17")
@given(DATA, NUMBERS, st.integers(2, 3))
def test_duplicated_pairs_add_no_evidence(effect_of, data, bound, times):
    """Measuring every pair again under another id leaves verdict, p-values and interval alone."""
    once = measured(effect_of, data) > bound
    again = measured(effect_of, data * times) > bound
    assert (again.name, again.p_support, again.p_refute) == (
        once.name,
        once.p_support,
        once.p_refute,
    )
    assert again.interval == once.interval


@pytest.mark.calibration("C17", mutant="pairs as units")
def test_c17_catches_pairs_as_units(effect_of):
    """Mutant: each pair counts by itself, so that measuring it again narrows the interval."""
    check = checked(test_duplicated_pairs_add_no_evidence)

    def by_pair(values, _, **more):
        return effect_of(values, [f"t{i}" for i in range(len(values))], **more)

    assert caught(lambda data: check(by_pair, data, 0.5, 2))


@pytest.mark.calibration("C17")
@given(DATA, NUMBERS, st.floats(1e-6, 1e6), st.none() | GAPS)
def test_units_of_measurement_do_not_matter(effect_of, data, bound, factor, gap_seed):
    """Scaling values and bound by c > 0 scales the interval by c, to 1e-9 (C17)."""
    effect = measured(effect_of, data, gap_seed)
    scaled = measured(effect_of, [(value * factor, unit) for value, unit in data], gap_seed)
    here, there = effect > bound, scaled > bound * factor
    size = max(abs(here.interval.low), abs(here.interval.high), 1e-3) * factor
    assert there.interval.low == pytest.approx(here.interval.low * factor, abs=1e-9 * size)
    assert there.interval.high == pytest.approx(here.interval.high * factor, abs=1e-9 * size)
    # A bound may fall on a resample's root exactly, where rounding moves p by a few counts.
    if min(abs(bound - x) for x in (here.interval.low, here.interval.high, here.estimate)) > 1e-6:
        assert there.name == here.name
        assert there.p_support == pytest.approx(here.p_support, abs=0.01)


@pytest.mark.calibration("C17", mutant="a tolerance in absolute units")
def test_c17_catches_an_absolute_tolerance(effect_of):
    """Mutant: values below .001 count as 0 whatever they are measured in."""
    check = checked(test_units_of_measurement_do_not_matter)

    def coarse(values, units, **more):
        return effect_of(values, units, floor=1e-3, **more)

    assert caught(lambda data: check(coarse, data, 0.5, 1e-4, None))


@pytest.mark.calibration("C17")
@given(DATA, NUMBERS, st.none() | GAPS)
def test_the_sign_does_not_matter(effect_of, data, bound, gap_seed):
    """Negating values and claim mirrors the interval and exchanges nothing else."""
    effect = measured(effect_of, data, gap_seed)
    here, there = effect > bound, -effect < -bound
    size = max(abs(here.interval.low), abs(here.interval.high), 1e-3)
    assert there.interval.low == pytest.approx(-here.interval.high, abs=1e-9 * size)
    assert there.interval.high == pytest.approx(-here.interval.low, abs=1e-9 * size)
    assert there.p_support == pytest.approx(here.p_support, abs=0.01)


@pytest.mark.calibration("C17", mutant="one order statistic off on one side")
def test_c17_catches_lopsided_quantiles(effect_of, monkeypatch):
    """Mutant: the upper limit takes the next order statistic, as truncated indices do."""
    right = Hull.limits

    def lopsided(self, alpha):
        low, high = right(self, alpha)
        above = self.upper_roots[np.searchsorted(self.upper_roots, high, side="right") :]
        return low, float(above[0]) if len(above) else high

    monkeypatch.setattr(Hull, "limits", lopsided)
    check = checked(test_the_sign_does_not_matter)
    assert caught(lambda data: check(effect_of, data, 0.5, None))


@pytest.mark.calibration("C16")
@given(DATA, NUMBERS)
def test_exactly_one_verdict(effect_of, data, margin):
    """Supported implies the deciding interval inside the claim, refuted outside, else neither."""
    assume(margin > 0)
    effect = measured(effect_of, data, judge=Judge(alpha_claim=0.02))
    for verdict, low, high in (
        (effect > margin, margin, math.inf),
        (effect < -margin, -math.inf, -margin),
        (abs(effect) < margin, -margin, margin),
    ):
        around = verdict.adjusted_interval
        inside = low < around.low and around.high < high
        outside = around.high <= low or high <= around.low
        if around.low == around.high in (low, high):
            continue
        expected = "supported" if inside else "refuted" if outside else "inconclusive"
        assert verdict.name == expected


@pytest.mark.calibration("C34")
def test_the_same_numbers_in_another_process_and_after_other_work(effect_of):
    """Clearing the kept resamples and drawing others in between changes no bit (C34)."""
    values = np.random.default_rng(0).normal(1, 1, 24)
    effect = effect_of(values, [f"t{i % 12}" for i in range(24)], judge=Judge(seed=77))
    before = numbers(effect > 0.8)
    for seed in range(6):
        _ = effect_of(values, judge=Judge(seed=seed)).interval
    streams._kept.cache_clear()
    assert numbers(effect > 0.8) == before


@pytest.mark.calibration("C34", mutant="a generator without a seed")
def test_c34_catches_a_generator_without_a_seed(effect_of, monkeypatch):
    """Mutant: resamples drawn afresh each time."""

    @lru_cache
    def drawn(units, resamples, _seed):
        return np.random.default_rng().integers(0, units, (resamples, units), dtype=np.intp)

    monkeypatch.setattr(streams, "_kept", drawn)
    with pytest.raises(AssertionError):
        test_the_same_numbers_in_another_process_and_after_other_work(effect_of)


def test_the_seed_matters_a_little(effect_of):
    """Another seed moves the interval of skewed data, by less than a tenth of its width."""
    values = np.random.default_rng(0).exponential(size=30)
    one, two = (effect_of(values, judge=Judge(seed=seed)).interval for seed in (1, 2))
    assert one != two
    assert abs(one.high - two.high) < 0.1 * (one.high - one.low)


# Duality of p-values and intervals


def evidence(kind, rng):
    """Return random evidence of a kind and a plausible spread of bounds around it."""
    n = int(rng.integers(5, 40))
    if kind == "mean":
        return fit(rng.exponential(size=n) ** rng.uniform(0.5, 2), resamples=9_999, seed=0), 1.0
    if kind == "ratio":
        gap = rng.normal(3, 0.8, n)
        top = rng.uniform(0, 1) * gap + rng.standard_t(3, n)
        return fit(top, gap, resamples=1_999, seed=0), 0.5
    if kind == "unit rates":
        rates = rng.binomial(10, rng.uniform(0.4, 0.99), n) / 10
        hull = fit(rates, resamples=9_999, seed=0, spread_floor=math.inf)
        if hull is None:
            return SameInAllUnits(rates[0], n, 0.0, 1.0), 0.2
        return UnitRates(hull, Binomial(math.fsum(rates), n)), 0.2
    if kind == "binomial":
        return Binomial(int(rng.integers(0, n + 1)), n), 0.2
    a, b, c = rng.multinomial(n, [0.3, 0.1, 0.6])
    return PairedFlips(int(a), int(b), int(a + b + c)), 0.3


@pytest.mark.calibration("C16")
@pytest.mark.parametrize("kind", ["mean", "ratio", "unit rates", "binomial", "flips"])
def test_p_values_and_intervals_are_duals(kind):
    """500 random data sets and bounds: p <= alpha / 2 exactly where the interval excludes b."""
    rng = np.random.default_rng(16)
    decided = 0
    for _ in range(500):
        found, spread = evidence(kind, rng)
        alpha = float(rng.choice([0.05, 0.05 / 7, 0.2]))
        try:
            low, high = found.limits(alpha)
        except EvidenceError:
            continue
        bounds = [found.estimate + spread * rng.normal(), low, high]
        bounds += [np.nextafter(low, -9), np.nextafter(high, 9)] if kind == "mean" else []
        for bound in bounds:
            if kind in ("unit rates", "binomial") and not 0.0 < bound < 1.0:
                continue
            near = min(abs(bound - low), abs(bound - high)) < 1e-7
            if near and kind != "mean":
                # Quantile functions are inverted to about 1e-8 only.
                continue
            for p, beyond in (
                (found.p_above(bound), bound < low),
                (found.p_below(bound), bound > high),
            ):
                if not (near and abs(p - alpha / 2) < 1e-9):
                    assert (p <= alpha / 2 * (1 + 1e-12)) == beyond
                    decided += beyond
    assert decided > 100


@pytest.mark.calibration("C16", mutant="p and interval of different methods")
def test_the_duality_check_catches_a_mixture_of_methods():
    """Mutant: a t-test's p beside a percentile interval contradict each other within 500 tries."""
    rng = np.random.default_rng(16)
    contradictions = 0
    for _ in range(500):
        values = rng.exponential(size=20)
        bound = values.mean() + 0.4 * rng.normal()
        p = stats.ttest_1samp(values, bound, alternative="greater").pvalue
        means = values[rng.integers(0, 20, (200, 20))].mean(axis=1)
        contradictions += (p <= 0.025) != (bound < np.quantile(means, 0.025))
    assert contradictions > 0


@pytest.mark.parametrize("kind", ["mean", "ratio", "unit rates", "binomial", "flips"])
def test_p_values_are_monotone(kind):
    """A higher bound is never easier to exceed, so verdicts of nested claims are consistent."""
    rng = np.random.default_rng(3)
    for _ in range(20):
        found, spread = evidence(kind, rng)
        bounds = np.sort(found.estimate + spread * rng.normal(size=50))
        if kind in ("unit rates", "binomial"):
            bounds = np.clip(bounds, 0, 1)
        above = [found.p_above(float(b)) for b in bounds]
        below = [found.p_below(float(b)) for b in bounds]
        assert all(np.diff(above) >= -1e-12)
        assert all(np.diff(below) <= 1e-12)


def test_a_claim_and_its_opposite_never_both_hold():
    """Whatever the data, `> b` and `< b` are not both supported."""
    rng = np.random.default_rng(4)
    for kind in ("mean", "ratio", "unit rates", "binomial", "flips"):
        for _ in range(50):
            found, spread = evidence(kind, rng)
            bound = float(np.clip(found.estimate + spread * rng.normal(), 0.01, 0.99))
            above = decide(found, Region(bound, math.inf), Judge()).name
            below = decide(found, Region(-math.inf, bound), Judge()).name
            assert (above, below) in {
                ("supported", "refuted"),
                ("refuted", "supported"),
                ("inconclusive", "inconclusive"),
            }
