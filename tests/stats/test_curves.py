"""Dose-response curves: what a slope hides and monotony claims; the check C36 of statistics.md."""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from causaltest.errors import EvidenceError, MetricError
from causaltest.stats import Judge
from causaltest.stats.columnwise import hull_p
from causaltest.stats.curves import Curve

DOSES = [0.0, 1.0, 2.0, 3.0, 4.0]
LINE = np.array([0.0, 0.3, 0.6, 0.9, 1.2])
INVERTED_U = np.array([0.0, 0.8, 1.4, 1.2, 0.6])


def curve_of(values, doses=DOSES, units=None, **more):
    """Return a curve of pairs that are their own units, or of the units given."""
    ids = [f"pair {i:03d}" for i in range(len(values))]
    more.setdefault("subject", "logit_diff of steering")
    units = ids if units is None else units
    return Curve(values, doses=doses, units=units, pair_ids=ids, **more)


def noisy(means, n=30, spread=0.5, seed=0):
    """Return n curves around a mean curve."""
    return np.asarray(means) + np.random.default_rng(seed).normal(0, spread, (n, len(means)))


def test_slopes_are_those_of_least_squares():
    """The slope of each pair is numpy's fit, at unequal doses as well."""
    doses = [0.0, 0.5, 2.0, 3.0]
    values = np.random.default_rng(0).normal(size=(8, 4))
    expected = [np.polyfit(doses, row, 1)[0] for row in values]
    assert curve_of(values, doses).slope.values == pytest.approx(expected)


@given(st.lists(st.integers(-30, 30), min_size=5, max_size=5), st.integers(-8, 8))
def test_slopes_of_lines_are_exact(offsets, slope):
    """Whatever a pair's level, the slope of a straight line is found."""
    values = np.add.outer(offsets, slope * np.array(DOSES))
    assert curve_of(values).slope.values == pytest.approx([slope] * 5, abs=1e-9)


def test_a_line_is_monotone_and_an_inverted_u_is_not():
    """Both have a positive slope and total; only one rises at every step."""
    line, hill = curve_of(noisy(LINE, 60, 0.3)), curve_of(noisy(INVERTED_U, 60, 0.3))
    assert line.slope > 0.2
    assert hill.slope > 0.1
    assert line.is_monotone(margin=0.2, at_least=1.0)
    verdict = hill.is_monotone(margin=0.2)
    assert verdict.name == "refuted"
    assert verdict.estimate == pytest.approx(-0.6, abs=0.15)
    assert "step 3 to 4" in "\n".join(verdict.explain())
    assert curve_of(-noisy(LINE, 60, 0.3)).is_monotone(margin=0.2, decreasing=True)
    assert (line.is_monotone(margin=0.2, at_least=2.0)).name == "refuted"


def test_monotony_is_one_observed_claim():
    """Four steps and a total reach the session as one verdict."""
    seen = []
    verdict = curve_of(noisy(LINE), judge=Judge(observe=seen.append)).is_monotone(margin=0.5)
    assert verdict
    assert seen == [verdict]
    assert len(verdict.members) == 5
    assert verdict.statement == "logit_diff rises with the dose (margin 0.5)"


def test_those_who_go_the_other_way():
    """A positive mean slope hides a third of templates that fall; their share does not."""
    values = np.concatenate([noisy(LINE, 24, 0.05), noisy(-0.3 * LINE, 12, 0.05)])
    units = [f"t{i // 3:02d}" for i in range(36)]
    curve = curve_of(values, units=units, unit="template")
    assert curve.slope.estimate > 0.1
    assert curve.anti_steerable.estimate == pytest.approx(1 / 3)
    assert (curve.anti_steerable < 0.05).name == "refuted"
    part, interval = curve.anti_steerable_units
    theirs = stats.binomtest(4, 12).proportion_ci(0.95, method="wilson")
    assert part == pytest.approx(1 / 3)
    assert (interval.low, interval.high) == pytest.approx((theirs.low, theirs.high))


def test_isotonic_fit():
    """The mean curve is pooled where it falls: 1.4, 1.2 and .6 become their mean."""
    values = np.tile(INVERTED_U, (6, 1))
    fit = curve_of(values).isotonic
    assert fit.means == pytest.approx(INVERTED_U)
    assert fit.isotonic == pytest.approx([0.0, 0.8, 16 / 15, 16 / 15, 16 / 15])


def test_a_falling_curve_has_a_falling_fit():
    """The approximation goes the way of the means: -2 and 0, which rise, become their mean."""
    values = np.tile([3.0, -2.0, 0.0, -4.0, -5.0], (12, 1))
    assert curve_of(values).isotonic.isotonic == pytest.approx([3.0, -1.0, -1.0, -4.0, -5.0])


@pytest.mark.parametrize(
    "make, error, message",
    [
        (
            lambda: curve_of(noisy(LINE), [0.0, 1.0, 1.0, 2.0, 3.0]),
            MetricError,
            "logit_diff of steering: doses must increase, got 0, 1, 1, 2, 3",
        ),
        (
            lambda: curve_of(noisy(LINE), [0.0, 1.0]),
            MetricError,
            "2 doses need values of shape (pairs, 2) and there must be at least 2; got shape (30,",
        ),
        (
            lambda: curve_of(np.where(noisy(LINE) == noisy(LINE)[3, 2], math.nan, noisy(LINE))),
            EvidenceError,
            "the value is nan at dose 2 for pair 'pair 003'",
        ),
        (
            lambda: curve_of(noisy(LINE), floor=0.1).is_monotone(margin=0.15),
            EvidenceError,
            "a margin of 0.15 is not above the numeric floor of a step, 0.2",
        ),
        (lambda: bool(curve_of(noisy(LINE))), TypeError, "a curve has no truth value; claim"),
    ],
)
def test_refusals(make, error, message):
    """What cannot be meant or judged is refused with what to do instead."""
    with pytest.raises(error, match=re.escape(message)):
        make()


# C36

TIERS = pytest.mark.parametrize(
    "quarter", [pytest.param(4, id="quarter"), pytest.param(1, id="full", marks=pytest.mark.slow)]
)


def allowed(limit, full, runs):
    """Convert a limit on a rate at `full` runs to fewer runs (statistics.md, section 4)."""

    def at(nominal, count):
        return nominal + 2 * math.sqrt(nominal * (1 - nominal) / count)

    return at(optimize.brentq(lambda a: at(a, full) - limit, 0.0, limit), runs)


def supported_shares(means, runs, margin=0.2, n=30):
    """Return how often monotony is supported, and how often the slope and Page's test are."""
    rng = np.random.default_rng(36)
    curves = np.asarray(means) + rng.normal(0, 0.5, (runs, n, len(means)))
    monotone = np.ones(runs, dtype=bool)
    for step in np.moveaxis(np.diff(curves, axis=2), 2, 0):
        monotone &= hull_p(step.T + margin, resamples=1_999, seed=0)[0] <= 0.025
    total = curves[:, :, -1] - curves[:, :, 0]
    monotone &= hull_p(total.T, resamples=1_999, seed=0)[0] <= 0.025
    page = np.mean([stats.page_trend_test(each).pvalue <= 0.05 for each in curves[:40]])
    return monotone.mean(), page


@TIERS
def test_c36_monotony(quarter, calibration):
    """At n = 30 an inverted U is supported in at most .03 of runs, a true line in .80."""
    runs = 500 // quarter
    hill, page = supported_shares(INVERTED_U, runs)
    line, _ = supported_shares(LINE, runs)
    limit, least = allowed(0.03, 500, runs), 1 - allowed(0.20, 500, runs)
    calibration.record("C36", "inverted U, n = 30", hill, bound=limit, runs=runs)
    calibration.record(
        "C36", "line, n = 30", line, bound=least, runs=runs, quantity="power", least=True
    )
    assert hill <= limit
    assert line >= least
    # Mutant: a margin of 0 needs every single step to be seen.
    strict, _ = supported_shares(LINE, runs, margin=0.0)
    calibration.mutant(
        "C36", "every step significant", strict, bound=least, runs=runs, quantity="power",
        least=True,
    )  # fmt: skip
    assert strict < least
    # Mutant: Page's trend test, which "confirms" the inverted U.
    calibration.mutant("C36", "Page's trend test", page, bound=0.5, runs=40)
    assert page > 0.5


def test_c36_through_the_api():
    """The public claim is the one simulated: the same decisions on 30 curves."""
    rng = np.random.default_rng(361)
    for _ in range(30):
        values = LINE + rng.normal(0, 0.5, (30, 5))
        z = np.column_stack([np.diff(values, axis=1) + 0.2, values[:, -1] - values[:, 0]])
        p = hull_p(z, resamples=9_999, seed=0)[0].max()
        found = curve_of(values).is_monotone(margin=0.2)
        assert found.p_support == pytest.approx(p, abs=2e-3)
        if abs(p - 0.025) > 0.002:
            assert (found.name == "supported") == (p <= 0.025)
