"""Figures against statsmodels and mne, in an interpreter of their own: the check C32.

`CAUSALTEST_ORACLES_PYTHON` names one with `pip install statsmodels mne`; without it these tests
are skipped, and every figure is compared with scipy or a closed form elsewhere. Each check also
has to fail for a wrong procedure.
"""

import json
import math
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from causaltest.stats import Grid
from causaltest.stats.consistency import heterogeneity
from causaltest.stats.multiplicity import benjamini_hochberg, holm
from causaltest.stats.planning import power
from causaltest.stats.rates import clopper_pearson, mcnemar, wilson

PYTHON = os.environ.get("CAUSALTEST_ORACLES_PYTHON", "")
SCRIPT = Path(__file__).with_name("oracles.py")
RNG = np.random.default_rng(32)
MARGIN = 0.5
EFFECTS = [RNG.normal(0.1, 1.0, n).tolist() for n in (12, 20, 35, 60) for _ in range(10)]
P_VALUES = [(RNG.random(int(m)) ** 3).tolist() for m in RNG.integers(1, 40, 40)]
MAPS = [RNG.normal(0.3, 1.0, (int(n), 7)).tolist() for n in RNG.integers(7, 12, 12)]
LARGE_MAP = RNG.normal(0.25, 1.0, (30, 7)).tolist()
DRAWN = 20_000
PLANS = [(d, n, a) for d in (0.1, 0.5, 1.2) for n in (5, 34, 200) for a in (0.025, 0.0025)]
UNITS = [(RNG.normal(0, s, 12).tolist(), RNG.uniform(0.1, 2, 12).tolist()) for s in range(5)]
FLIPS = [(1, 0), (8, 1), (1, 8), (5, 5), (30, 12)]
RATES = [(method, k, 12) for method in ("wilson", "beta") for k in range(13)]
CASES = {
    "equivalence": [(values, MARGIN) for values in EFFECTS],
    "adjusted": [(method, p) for method in ("holm", "fdr_bh") for p in P_VALUES],
    "largest_t": [(values, 2 ** len(values)) for values in MAPS] + [(LARGE_MAP, DRAWN)],
    "power": PLANS,
    "random_effects": UNITS,
    "discordant": FLIPS,
    "interval": RATES,
}


@pytest.fixture(scope="module")
def theirs():
    """Return what statsmodels and mne answer, by question."""
    if not PYTHON:
        pytest.skip("CAUSALTEST_ORACLES_PYTHON names no interpreter with statsmodels and mne")
    command = [PYTHON, "-W", "ignore", str(SCRIPT)]
    asked = json.dumps(CASES).encode()
    return json.loads(subprocess.run(command, input=asked, capture_output=True, check=True).stdout)


def close(ours, others):
    """Whether all figures agree to 1e-6."""
    return np.allclose(np.concatenate(ours), np.concatenate(others), rtol=1e-6, atol=1e-300)


def singly(function, cases):
    """Return one array for each case."""
    return [np.atleast_1d(function(*case)) for case in cases]


# Procedures and what they must not be mistaken for


def variance_and_share(effects, variances):
    """Return the variance between units and its share in the total."""
    found = heterogeneity(np.array(effects), np.array(variances))
    return [found.tau**2, found.i2]


def unweighted(effects, variances):
    """Mutant: the variance of the effects less the mean error, every unit of the same weight."""
    between = max(0.0, np.var(effects, ddof=1) - np.mean(variances))
    return [between, between / (between + np.mean(variances))]


def without_monotony(p_values):
    """Mutant: Holm's factors, but no running maximum."""
    ranks = np.argsort(np.argsort(p_values, kind="stable"))
    return np.minimum(1.0, np.array(p_values) * (len(p_values) - ranks))


def without_minimum(p_values):
    """Mutant: p m / rank, without the running minimum."""
    ranks = np.argsort(np.argsort(p_values, kind="stable"))
    return np.minimum(1.0, np.array(p_values) * len(p_values) / (ranks + 1))


def normal_power(d, n, alpha):
    """Mutant: normal instead of noncentral t."""
    from scipy import stats

    return stats.norm.sf(stats.norm.isf(alpha) - d * math.sqrt(n))


def wald(successes, n, alpha):
    """Mutant: the textbook interval."""
    rate = successes / n
    reach = 1.959964 * math.sqrt(rate * (1 - rate) / n)
    return max(0.0, rate - reach), min(1.0, rate + reach)


def agree(procedure, cases, expected):
    """Check that a procedure gives the expected figures in all cases."""
    assert close(singly(procedure, cases), [np.atleast_1d(each) for each in expected])


def one_sided(function):
    """Turn a function of a two-sided level into one of a one-sided level."""
    return lambda d, n, alpha: function(d, n, 2 * alpha)


def both_sides(function):
    """Double the smaller tail of a one-sided p-value, at most 1."""
    return lambda gained, lost: min(1.0, 2 * min(function(gained, lost), function(lost, gained)))


def halves(name):
    """Return for which cases of a question the first and the second procedure answer."""
    first = [i for i, case in enumerate(CASES[name]) if case[0] in ("holm", "wilson")]
    return first, [i for i in range(len(CASES[name])) if i not in first]


QUESTIONS = [
    ("power", one_sided(power), one_sided(lambda d, n, a: normal_power(d, n, a / 2)), None),
    ("random_effects", variance_and_share, unweighted, None),
    ("discordant", both_sides(mcnemar), both_sides(lambda b, c: 0.5 * mcnemar(b, c)), None),
    ("adjusted", lambda _, p: holm(p), lambda _, p: without_monotony(p), 0),
    ("adjusted", lambda _, p: benjamini_hochberg(p), lambda _, p: without_minimum(p), 1),
    ("interval", lambda _, k, n: wilson(k, n, 0.05), lambda _, k, n: wald(k, n, 0.05), 0),
    ("interval", lambda _, k, n: clopper_pearson(k, n, 0.05), lambda _, k, n: wald(k, n, 0.05), 1),
]  # fmt: skip
NAMES = ["power", "DerSimonian-Laird", "McNemar", "Holm", "BH", "Wilson", "Clopper-Pearson"]
ASKED = pytest.mark.parametrize("name, ours, wrong, half", QUESTIONS, ids=NAMES)


def of(theirs, name, half):
    """Return the cases and expected answers of one procedure."""
    chosen = range(len(CASES[name])) if half is None else halves(name)[half]
    return [CASES[name][i] for i in chosen], [theirs[name][i] for i in chosen]


@pytest.mark.calibration("C32")
@ASKED
def test_figures_equal_those_of_statsmodels(theirs, name, ours, wrong, half):
    """Every figure of every case agrees to 1e-6."""
    agree(ours, *of(theirs, name, half))


@pytest.mark.calibration("C32", mutant="a wrong formula for each figure")
@ASKED
def test_wrong_formulas_are_caught(theirs, name, ours, wrong, half):
    """Mutants: a near miss of each procedure fails the same check."""
    with pytest.raises(AssertionError):
        agree(wrong, *of(theirs, name, half))


# Equivalence against two one-sided t-tests


def equivalence_agrees(p_of, expected):
    """Check p-values: never below those of the t-tests, and equal where these are the wider."""
    ours = np.array([p_of(np.array(values)) for values in EFFECTS])
    assert (ours >= np.array(expected) * (1 - 1e-6)).all()
    assert np.isclose(ours, expected, rtol=1e-6).sum() >= len(EFFECTS) / 5


@pytest.mark.calibration("C32")
def test_equivalence_is_no_easier_than_two_t_tests(theirs, effect_of):
    """`abs(effect) < m` has the p-value of `ttost_paired`, or that of the bootstrap if larger."""
    equivalence_agrees(
        lambda values: (abs(effect_of(values)) < MARGIN).p_support, theirs["equivalence"]
    )


@pytest.mark.calibration("C32", mutant="equivalence by the smaller tail")
def test_the_smaller_of_two_tails_is_caught(theirs, effect_of):
    """Mutant: the smaller of the two one-sided p-values."""

    def smaller(values):
        effect = effect_of(values)
        return min((effect > -MARGIN).p_support, (effect < MARGIN).p_support)

    with pytest.raises(AssertionError):
        equivalence_agrees(smaller, theirs["equivalence"])


# The largest t over columns, by joint sign flips


def adjusted_p(values):
    """Return our p-values of each column and of its negative; the largest of both is abs(t)."""
    mirrored = np.hstack([values, -np.array(values)])
    ids = [f"u{i:02d}" for i in range(len(mirrored))]
    axes = {"column": range(mirrored.shape[1])}
    grid = Grid(mirrored, axes=axes, units=ids, pair_ids=ids, differenced=True)
    p = grid.significant(direction="above").p_adjusted
    return np.minimum(*np.split(p, 2))


def maxima_agree(p_of, expected):
    """Check the largest cell's p, the same step down or not; step-down p are never larger."""
    for values, p in zip(MAPS, expected[:-1], strict=True):
        ours = p_of(values)
        assert ours.min() == pytest.approx(min(p), abs=1e-12)
        assert (ours <= np.array(p) + 1e-12).all()
    ours, p = p_of(LARGE_MAP), min(expected[-1])
    error = math.sqrt(p * (1 - p) * (1 / DRAWN + 1 / 9_999))
    assert abs(ours.min() - p) < 3 * error


@pytest.mark.calibration("C32")
def test_maxima_equal_those_of_mne(theirs):
    """Joint sign flips give mne's p: exactly where all patterns are gone through, else nearly."""
    maxima_agree(adjusted_p, theirs["largest_t"])


@pytest.mark.calibration("C32", mutant="columns flipped one by one")
def test_separate_flips_are_caught(theirs):
    """Mutant: each column by itself, then Bonferroni."""

    def separately(values):
        return np.array([7 * adjusted_p(np.array(values)[:, [k]])[0] for k in range(7)])

    with pytest.raises(AssertionError):
        maxima_agree(separately, theirs["largest_t"])
