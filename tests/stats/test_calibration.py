"""Error rates, coverage and power on simulated data: the checks C1-C8, C14-C15, C18-C20, C33.

Every check has the limit at its full number of runs N. The full tier asks the public API; the fast
tier runs N / 4, with the limit recomputed (`allowed`) and intervals that are computed many at a
time, which one test ties to the public ones. Each check is shown to fail a wrong implementation.
"""

import math
import warnings
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import optimize, stats

from causaltest.errors import EvidenceError
from causaltest.stats import Effect, Judge, rates
from causaltest.stats.hull import bootstrap_t, fit
from causaltest.stats.rates import PairedFlips

RESAMPLES = 9_999
"""As the API draws. The fast tier makes do with 3,999, which moves limits by less than 1 %."""
PUBLIC_FROM = 1_500
TIERS = pytest.mark.parametrize(
    "quarter", [pytest.param(4, id="quarter"), pytest.param(1, id="full", marks=pytest.mark.slow)]
)


def allowed(limit, full, runs):
    """Convert a limit on a rate at `full` runs to fewer runs, at the same implied nominal rate.

    A limit is a + 2 sqrt(a (1 - a) / N) for a nominal rate a (statistics.md, section 4).
    """

    def at(nominal, count):
        return nominal + 2 * math.sqrt(nominal * (1 - nominal) / count)

    return at(optimize.brentq(lambda a: at(a, full) - limit, 0.0, limit), runs)


def test_limits_follow_the_formula():
    """.0299 at 4,000 runs is a nominal .025, hence .0349 at 1,000."""
    assert allowed(0.02994, 4_000, 4_000) == pytest.approx(0.02994)
    assert allowed(0.02994, 4_000, 1_000) == pytest.approx(
        0.025 + 2 * math.sqrt(0.025 * 0.975 / 1_000), abs=1e-4
    )


# Processes: each gives a sample, shape (n, runs), with its true mean and standard deviation


def _sparse(rng, shape):
    return (rng.random(shape) < 0.15).astype(float)


PROCESSES = {
    "gauss": (lambda rng, shape: rng.normal(size=shape), 0.0, 1.0),
    "t3": (lambda rng, shape: rng.standard_t(3, size=shape), 0.0, math.sqrt(3)),
    "exponential": (lambda rng, shape: rng.exponential(size=shape), 1.0, 1.0),
    "lognormal .5": (
        lambda rng, shape: rng.lognormal(0, 0.5, shape),
        math.exp(0.125),
        math.sqrt((math.exp(0.25) - 1) * math.exp(0.25)),
    ),
    "lognormal .8": (
        lambda rng, shape: rng.lognormal(0, 0.8, shape),
        math.exp(0.32),
        math.sqrt((math.exp(0.64) - 1) * math.exp(0.64)),
    ),
    "sparse": (_sparse, 0.15, math.sqrt(0.15 * 0.85)),
}


class Intervals:
    """Limits of many samples by the hull, and by t: the public ones from 1,500 samples on."""

    def __init__(self, data, alpha=0.05, resamples=None):
        self.n, self.runs = data.shape
        self.mean = data.mean(axis=0)
        self.error = data.std(axis=0, ddof=1) / math.sqrt(self.n)
        self.t = stats.t.ppf(1 - alpha / 2, self.n - 1)
        if self.runs >= PUBLIC_FROM and resamples is None:
            self.low, self.high = self._public(data, alpha)
        else:
            self.low, self.high = self._vectorised(data, alpha, resamples or 3_999)

    def _public(self, data, alpha):
        """Ask an Effect for each sample; each hundred share the seed of their resamples."""
        ids = [f"unit {i:03d}" for i in range(self.n)]
        found = [
            Effect(each, units=ids, pair_ids=ids, judge=Judge(alpha=alpha, seed=i // 100)).interval
            for i, each in enumerate(data.T)
        ]
        return np.array([(each.low, each.high) for each in found]).T

    def _vectorised(self, data, alpha, drawn):
        low, high = self.mean.copy(), self.mean.copy()
        varied = self.error > 0
        k = math.floor((drawn + 1) * alpha / 2 + 1e-9)
        columns = np.flatnonzero(varied)
        for piece, chosen in enumerate(np.array_split(columns, -(-len(columns) // 100))):
            # Fresh resamples for each piece: their error must not be common to all runs.
            starred = bootstrap_t(data[:, chosen], resamples=drawn, seed=piece)
            starred = np.partition(starred, (k - 1, drawn - k), axis=0)
            outer, inner = starred[drawn - k], starred[k - 1]
            low[chosen] -= np.maximum(self.t, outer) * self.error[chosen]
            high[chosen] -= np.minimum(-self.t, inner) * self.error[chosen]
        return low, high

    def t_limits(self, quantile=None):
        """Return the limits of the t interval, or those with another quantile."""
        reach = (self.t if quantile is None else quantile) * self.error
        return self.mean - reach, self.mean + reach


@cache
def simulated(process, n, runs):
    """Return samples and their intervals; kept, since several checks look at the same ones."""
    draw, _, _ = PROCESSES[process]
    rng = np.random.default_rng([20250104, n, runs, *process.encode()])
    data = draw(rng, (n, runs))
    return data, Intervals(data)


def misses(limits, truth):
    """Return the rates at which the lower limit lies above and the upper below the truth."""
    low, high = limits
    return float((low > truth).mean()), float((high < truth).mean())


def percentile_limits(data, resamples=999):
    """Return percentile bootstrap limits of column means: too narrow for few units."""
    rng = np.random.default_rng(0)
    n = len(data)
    counts = rng.multinomial(n, np.full(n, 1 / n), size=resamples)
    means = np.sort(counts @ data / n, axis=0)
    return means[24], means[974]


def test_vectorised_intervals_are_those_of_the_api(effect_of):
    """For every process the simulation's limits are the public interval's, to 1e-9."""
    for process, (draw, _, spread) in PROCESSES.items():
        data = draw(np.random.default_rng(5), (20, 3)) + 0.01 * spread
        data = data[:, data.std(axis=0) > 0]
        intervals = Intervals(data, resamples=RESAMPLES)
        for run in range(data.shape[1]):
            # Sorted labels: resamples meet units in the order of the rows.
            interval = effect_of(data[:, run]).interval
            assert interval.low == pytest.approx(intervals.low[run], abs=1e-9), process
            assert interval.high == pytest.approx(intervals.high[run], abs=1e-9), process


# False support at the bound: C1, C2


@TIERS
@pytest.mark.parametrize("process", ["gauss", "t3"])
@pytest.mark.parametrize("n", [10, 20, 50])
def test_c1_false_support_on_symmetric_data(process, n, quarter, calibration):
    """With the truth on the bound at most .0299 of claims are supported, on each side."""
    runs = 4_000 // quarter
    _, found = simulated(process, n, runs)
    above, below = misses((found.low, found.high), PROCESSES[process][1])
    limit = allowed(0.0299, 4_000, runs)
    calibration.record(
        "C1", f"{process}, n = {n}", max(above, below), bound=limit, runs=runs, nominal=0.025
    )
    assert max(above, below) <= limit


def test_c1_catches_a_z_test(calibration):
    """Mutant: normal instead of t quantiles, n = 10, at the full number of runs."""
    data = np.random.default_rng(1).normal(size=(10, 4_000))
    z = data.mean(axis=0) / (data.std(axis=0, ddof=1) / math.sqrt(10))
    wrong = max((z > 1.96).mean(), (z < -1.96).mean())
    calibration.mutant("C1", "normal quantiles", wrong, bound=0.0299, runs=4_000)
    assert wrong > 0.0299


@TIERS
@pytest.mark.parametrize("process", ["exponential", "lognormal .5"])
@pytest.mark.parametrize("n", [20, 50])
def test_c2_false_support_on_skewed_data(process, n, quarter, calibration):
    """At most .050 on each side, so in both orientations of the data, and .055 in sum."""
    runs = 4_000 // quarter
    _, found = simulated(process, n, runs)
    above, below = misses((found.low, found.high), PROCESSES[process][1])
    side, both = allowed(0.050, 4_000, runs), allowed(0.055, 4_000, runs)
    setting = f"{process}, n = {n}"
    calibration.record(
        "C2", setting, max(above, below), bound=side, runs=runs, nominal=0.025, quantity="a side"
    )
    calibration.record(
        "C2", setting, above + below, bound=both, runs=runs, nominal=0.05, quantity="both sides"
    )
    assert max(above, below) <= side
    assert above + below <= both


def test_c2_catches_the_plain_t_interval(calibration):
    """Mutant: t alone, exponential data, n = 20."""
    _, found = simulated("exponential", 20, 1_000)
    wrong, limit = max(misses(found.t_limits(), 1.0)), allowed(0.050, 4_000, 1_000)
    calibration.mutant("C2", "t alone", wrong, bound=limit, runs=1_000, quantity="a side")
    assert wrong > limit
    both, limit = sum(misses(found.t_limits(), 1.0)), allowed(0.055, 4_000, 1_000)
    calibration.mutant("C2", "t alone", both, bound=limit, runs=1_000, quantity="both sides")
    assert both > limit


# Coverage and width: C3 to C5

ORDINARY = [(process, n) for process in ("gauss", "t3") for n in (10, 20, 50, 100)]
ORDINARY += [(process, n) for process in ("exponential", "lognormal .5") for n in (20, 50, 100)]
HARD = [("lognormal .8", 30), ("lognormal .8", 50), ("lognormal .8", 100)]
HARD += [("sparse", 20), ("sparse", 50), ("sparse", 100)]


@TIERS
@pytest.mark.parametrize(
    "process, n, coverage",
    [(*cell, 0.943) for cell in ORDINARY] + [(*cell, 0.935) for cell in HARD],
)
def test_c3_c4_coverage(process, n, coverage, quarter, calibration):
    """The 95 % interval covers the mean in 94.3 % of samples, on hard data in 93.5 %."""
    runs = 4_000 // quarter
    _, found = simulated(process, n, runs)
    missed = sum(misses((found.low, found.high), PROCESSES[process][1]))
    check, limit = "C3" if coverage == 0.943 else "C4", allowed(1 - coverage, 4_000, runs)
    calibration.record(check, f"{process}, n = {n}", missed, bound=limit, runs=runs, nominal=0.05)
    assert missed <= limit


def test_c3_catches_the_percentile_bootstrap(calibration):
    """Mutant: percentile limits on Gaussian data, n = 10."""
    data, _ = simulated("gauss", 10, 1_000)
    wrong, limit = sum(misses(percentile_limits(data), 0.0)), allowed(0.057, 4_000, 1_000)
    calibration.mutant("C3", "percentile bootstrap", wrong, bound=limit, runs=1_000)
    assert wrong > limit


def test_c3_catches_bca(calibration):
    """Mutant: scipy's BCa limits on exponential data, n = 20."""
    data, _ = simulated("exponential", 20, 1_000)
    found = stats.bootstrap(
        (data[:, :400],),
        np.mean,
        axis=0,
        n_resamples=999,
        method="BCa",
        rng=np.random.default_rng(0),
        batch=100,
    ).confidence_interval
    wrong, limit = sum(misses((found.low, found.high), 1.0)), allowed(0.057, 4_000, 400)
    calibration.mutant("C3", "BCa", wrong, bound=limit, runs=400)
    assert wrong > limit


def test_c4_catches_the_plain_t_interval(calibration):
    """Mutant: t alone on lognormal data, n = 30."""
    _, found = simulated("lognormal .8", 30, 1_000)
    truth = PROCESSES["lognormal .8"][1]
    wrong, limit = sum(misses(found.t_limits(), truth)), allowed(0.065, 4_000, 1_000)
    calibration.mutant("C4", "t alone", wrong, bound=limit, runs=1_000)
    assert wrong > limit


@TIERS
def test_c5_width(quarter, calibration):
    """On Gaussian data of 30 units the interval is at most 6 % wider than t on average."""
    _, found = simulated("gauss", 30, 4_000 // quarter)
    ratio = (found.high - found.low).mean() / (2 * found.t * found.error).mean()
    calibration.record("C5", "gauss, n = 30", ratio, bound=1.06, runs=4_000 // quarter)
    assert 1.0 <= ratio <= 1.06


def test_c5_catches_an_interval_that_is_always_wide(calibration):
    """Mutant: covering 98 % instead of 95 %."""
    _, found = simulated("gauss", 30, 1_000)
    wide = Intervals(simulated("gauss", 30, 1_000)[0], alpha=0.02)
    ratio = (wide.high - wide.low).mean() / (2 * found.t * found.error).mean()
    calibration.mutant("C5", "the 98 % interval", ratio, bound=1.06, runs=1_000)
    assert ratio > 1.06


# The power of directional claims (C6)


def supported_at_zero(n, d, runs, alpha=0.05):
    """Return how often `effect > 0` is supported for Gaussian units of mean d."""
    data = np.random.default_rng([6, n]).normal(d, 1.0, (n, runs))
    return float((Intervals(data, alpha).low > 0).mean())


@TIERS
@pytest.mark.parametrize("n, d, power", [(20, 0.8, 0.89), (34, 0.5, 0.74), (90, 0.3, 0.76)])
def test_c6_power(n, d, power, quarter, calibration):
    """Power is at least that of the t-test less the price of the hull."""
    runs = 1_500 // quarter
    found, least = supported_at_zero(n, d, runs), 1 - allowed(1 - power, 1_500, runs)
    calibration.record("C6", f"n = {n}, d = {d}", found, bound=least, runs=runs, least=True)
    assert found >= least


def test_c6_catches_an_over_careful_test(calibration):
    """Mutant: half the level."""
    found, least = supported_at_zero(20, 0.8, 375, alpha=0.025), 1 - allowed(0.11, 1_500, 375)
    calibration.mutant("C6", "half the level", found, bound=least, runs=375, least=True)
    assert found < least


# Templates are the units: C7, C8


def templated(rng, sizes, icc, runs):
    """Return rows of templates of the given sizes, shape (rows, runs), and the unit means."""
    template = math.sqrt(icc) * rng.normal(size=(len(sizes), runs))
    noise = math.sqrt(1 - icc) * rng.normal(size=(sum(sizes), runs))
    rows = np.repeat(template, sizes, axis=0) + noise
    edges = np.cumsum([0, *sizes[:-1]])
    return rows, np.add.reduceat(rows, edges, axis=0) / np.array(sizes)[:, None]


@TIERS
@pytest.mark.parametrize("templates, pairs", [(8, 25), (15, 20), (30, 10)])
@pytest.mark.parametrize("icc", [0.0, 0.1, 0.3])
def test_c7_clustered_type_one_error(templates, pairs, icc, quarter, calibration):
    """However strongly pairs of a template agree, a null effect is found in 5 % of runs."""
    runs = 2_000 // quarter
    rng = np.random.default_rng([7, templates, round(10 * icc)])
    _, means = templated(rng, [pairs] * templates, icc, runs)
    found = Intervals(means)
    rate, limit = sum(misses((found.low, found.high), 0.0)), allowed(0.0597, 2_000, runs)
    setting = f"{templates} x {pairs}, ICC {icc}"
    calibration.record("C7", setting, rate, bound=limit, runs=runs, nominal=0.05)
    assert rate <= limit


@pytest.mark.parametrize("templates, pairs", [(8, 25), (15, 20), (30, 10)])
def test_c7_catches_pairs_as_units(templates, pairs, calibration):
    """Mutants: a t-test on rows, and the percentile bootstrap of 8 template means."""
    rng = np.random.default_rng([7, templates, 1])
    rows, means = templated(rng, [pairs] * templates, 0.1, 500)
    error = rows.std(axis=0, ddof=1) / math.sqrt(len(rows))
    by_row = np.abs(rows.mean(axis=0) / error) > 1.97
    limit = allowed(0.0597, 2_000, 500)
    calibration.mutant("C7", "pairs as units", by_row.mean(), bound=limit, runs=500)
    assert by_row.mean() > limit
    if templates == 8:
        assert sum(misses(percentile_limits(means), 0.0)) > allowed(0.0597, 2_000, 500)


def test_c7_through_the_api(effect_of):
    """Rows with labels in, verdicts out: type I error of `effect > 0` and `< 0` over 250 runs."""
    rng = np.random.default_rng(77)
    rows, _ = templated(rng, [20] * 15, 0.3, 250)
    units = np.repeat([f"t{i:02d}" for i in range(15)], 20)
    decided = sum((effect_of(rows[:, run], units) > 0).name != "inconclusive" for run in range(250))
    assert decided / 250 <= allowed(0.0597, 2_000, 250)


@TIERS
def test_c8_a_dominant_template(quarter, calibration):
    """One of ten templates holds half of the rows, and the level is kept."""
    runs = 2_000 // quarter
    _, means = templated(np.random.default_rng(8), [90] + [10] * 9, 0.3, runs)
    found = Intervals(means)
    rate, limit = sum(misses((found.low, found.high), 0.0)), allowed(0.0597, 2_000, runs)
    calibration.record("C8", "90 + 9 x 10, ICC 0.3", rate, bound=limit, runs=runs, nominal=0.05)
    assert rate <= limit


def test_c8_catches_row_weights(calibration):
    """Mutant: row-weighted mean with the cluster-robust (CR1) error and t(G - 1)."""
    sizes = np.array([90] + [10] * 9)
    rows, means = templated(np.random.default_rng(8), list(sizes), 0.3, 500)
    overall = rows.mean(axis=0)
    scores = sizes[:, None] * (means - overall)
    error = np.sqrt(10 / 9 * (scores**2).sum(axis=0)) / sizes.sum()
    wrong, limit = (
        (np.abs(overall / error) > stats.t.ppf(0.975, 9)).mean(),
        allowed(0.0597, 2_000, 500),
    )
    calibration.mutant("C8", "weights by rows, CR1", wrong, bound=limit, runs=500)
    assert wrong > limit


# Equivalence: C14, C15


@TIERS
@pytest.mark.parametrize("process", ["gauss", "exponential"])
@pytest.mark.parametrize("n", [20, 50, 100])
@pytest.mark.parametrize("side", [1, -1])
def test_c14_false_equivalence(process, n, side, quarter, calibration):
    """With the truth on either margin, at .3 standard deviations, 5 % are called negligible."""
    runs = 4_000 // quarter
    _, found = simulated(process, n, runs)
    _, mean, spread = PROCESSES[process]
    shift, margin = side * 0.3 * spread - mean, 0.3 * spread
    inside = (found.low + shift > -margin) & (found.high + shift < margin)
    limit = allowed(0.050, 4_000, runs)
    setting = f"{process}, n = {n}, {side * 0.3:+} sd"
    calibration.record("C14", setting, inside.mean(), bound=limit, runs=runs, nominal=0.025)
    assert inside.mean() <= limit


def test_c14_catches_absence_of_significance(calibration):
    """Mutant: "p > .05, so no effect"."""
    _, found = simulated("gauss", 20, 1_000)
    low, high = found.t_limits()
    wrong, limit = ((low + 0.3 < 0) & (high + 0.3 > 0)).mean(), allowed(0.050, 4_000, 1_000)
    calibration.mutant("C14", "p > .05, so no effect", wrong, bound=limit, runs=1_000)
    assert wrong > limit


@TIERS
def test_c15_power_of_equivalence(quarter, calibration):
    """No effect, margin half a standard deviation, 50 units: supported in 80 % of runs."""
    runs = 4_000 // quarter
    _, found = simulated("gauss", 50, runs)
    inside = (found.low > -0.5) & (found.high < 0.5)
    least = 1 - allowed(0.20, 4_000, runs)
    calibration.record("C15", "gauss, n = 50", inside.mean(), bound=least, runs=runs, least=True)
    assert inside.mean() >= least


def test_c15_catches_an_over_careful_claim(calibration):
    """Mutant: the 99 % interval must lie inside the margin."""
    wide = Intervals(simulated("gauss", 50, 1_000)[0], alpha=0.01)
    found = ((wide.low > -0.5) & (wide.high < 0.5)).mean()
    least = 1 - allowed(0.20, 4_000, 1_000)
    calibration.mutant("C15", "the 99 % interval", found, bound=least, runs=1_000, least=True)
    assert found < least


# Ratios of means (C18)

GAPS = {"strong": (3.5, 1.5), "weak": (1.0, 1.2)}
RHO = 0.87


def recoveries(rng, gap, n, runs):
    """Return numerators and gaps: E[y] / E[gap] = RHO, half of the gap's variation not in y."""
    mean, spread = GAPS[gap]
    gaps = rng.normal(mean, spread, (n, runs))
    return RHO * (mean + 0.5 * (gaps - mean)) + rng.normal(0, 0.5 * spread, (n, runs)), gaps


@TIERS
@pytest.mark.parametrize("gap", GAPS)
@pytest.mark.parametrize("n", [30, 100])
def test_c18_false_support_of_a_ratio(gap, n, quarter, calibration):
    """With rho on the bound `rho > x` is supported in at most .032 of runs."""
    runs = 2_000 // quarter
    top, gaps = recoveries(np.random.default_rng([18, n]), gap, n, runs)
    found = Intervals(top - RHO * gaps)
    rate, limit = (found.low > 0).mean(), allowed(0.032, 2_000, runs)
    calibration.record("C18", f"{gap} gap, n = {n}", rate, bound=limit, runs=runs, nominal=0.025)
    assert rate <= limit


def test_c18_catches_the_mean_of_ratios(calibration):
    """Mutant: a t-test on per-pair ratios."""
    top, gaps = recoveries(np.random.default_rng([18, 100]), "strong", 100, 500)
    low, _ = Intervals(top / gaps).t_limits()
    wrong, limit = (low > RHO).mean(), allowed(0.032, 2_000, 500)
    calibration.mutant("C18", "mean of ratios", wrong, bound=limit, runs=500)
    assert wrong > limit


def test_c18_a_weak_total_effect_is_an_error(calibration):
    """At n = 15 with the weak gap at least 5 % of runs end in the error, and no run in nonsense."""
    top, gaps = recoveries(np.random.default_rng([18, 15]), "weak", 15, 120)
    errors = 0
    for run in range(120):
        try:
            low, high = fit(top[:, run], gaps[:, run], resamples=1_999, seed=run).limits(0.05)
        except EvidenceError:
            errors += 1
        else:
            assert low < high
    calibration.record(
        "C18", "weak gap, n = 15", errors / 120, bound=0.05, runs=120,
        quantity="refused for a weak total effect", least=True,
    )  # fmt: skip
    assert errors >= 6
    # Mutant: the percentile bootstrap of the ratio, which has an answer to everything.
    counts = np.random.default_rng(0).multinomial(15, np.full(15, 1 / 15), size=999)
    found = np.quantile((counts @ top) / (counts @ gaps), [0.025, 0.975], axis=0)
    refused = 1 - np.isfinite(found).all(axis=0).mean()
    calibration.mutant(
        "C18", "percentiles of the ratio", refused, bound=0.05, runs=120,
        quantity="refused for a weak total effect", least=True,
    )  # fmt: skip
    assert refused < 0.05


# Rates by template: C19


@TIERS
@pytest.mark.parametrize("templates, pairs", [(8, 25), (15, 20), (30, 10)])
def test_c19_false_support_of_a_rate(templates, pairs, quarter, rate_of, calibration):
    """Template rates of mean .8 with ICC .2: `rate > 0.8` is supported in at most .045 of runs."""
    runs = 2_000 // quarter
    supported, by_rows = 0, 0
    units = np.repeat([f"t{i:02d}" for i in range(templates)], pairs)
    for right in template_outcomes(templates, pairs, runs):
        verdict = rate_of(right, units) > 0.8
        supported += verdict.p_support <= 0.025
        by_rows += stats.binom.sf(right.sum() - 1, len(right), 0.8) <= 0.025
    limit = allowed(0.045, 2_000, runs)
    setting = f"{templates} x {pairs}, mean .8, ICC .2"
    calibration.record("C19", setting, supported / runs, bound=limit, runs=runs, nominal=0.025)
    assert supported / runs <= limit
    # Mutant: the binomial test on rows.
    calibration.mutant("C19", "binomial test on rows", by_rows / runs, bound=limit, runs=runs)
    assert by_rows / runs > limit


def template_outcomes(templates, pairs, runs):
    """Yield beta-binomial outcomes, one row of 0 and 1 per run: mean .8, ICC .2."""
    rng = np.random.default_rng([19, templates])
    for _ in range(runs):
        rates = rng.beta(3.2, 0.8, templates)
        yield (rng.random((templates, pairs)) < rates[:, None]).astype(float).ravel()


@TIERS
def test_c19_near_the_ceiling(quarter, rate_of, calibration):
    """Template rates of mean .95, half of them 1: `rate > 0.95` keeps its level of .025."""
    runs = 2_000 // quarter
    rng = np.random.default_rng(195)
    units = np.repeat([f"t{i:02d}" for i in range(12)], 20)
    supported = 0
    for _ in range(runs):
        rates = np.where(rng.random(12) < 0.5, 1.0, rng.beta(9.0, 1.0, 12))
        right = (rng.random((12, 20)) < rates[:, None]).astype(float).ravel()
        supported += (rate_of(right, units) > 0.95).p_support <= 0.025
    limit = allowed(0.032, 2_000, runs)
    calibration.record(
        "C19", "12 x 20, mean .95", supported / runs, bound=limit, runs=runs, nominal=0.025
    )
    assert supported / runs <= limit


# Paired flips, exactly: C20


def coverage(limits, p10, p01, n):
    """Return the exact probability that limits cover p10 - p01, over all outcomes of n pairs."""
    covered = 0.0
    for gained in range(n + 1):
        for lost in range(n + 1 - gained):
            low, high = limits(gained, lost, n)
            if low <= p10 - p01 <= high:
                counts = [gained, lost, n - gained - lost]
                covered += stats.multinomial.pmf(counts, n, [p10, p01, 1 - p10 - p01])
    return covered


def wald(gained, lost, n):
    """Return the textbook interval of a paired difference."""
    difference = (gained - lost) / n
    reach = 1.96 * math.sqrt(max((gained + lost) / n - difference**2, 0.0) / n)
    return difference - reach, difference + reach


@pytest.mark.parametrize("n", [20, 40])
@pytest.mark.parametrize("p10, p01", [(0.05, 0.05), (0.2, 0.05), (0.9, 0.02)])
def test_c20_paired_differences(p10, p01, n, calibration):
    """The interval covers the difference of two rates with .94, exactly; no effect with .95."""
    exact = coverage(lambda b, c, n: PairedFlips(b, c, n).limits(0.05), p10, p01, n)
    least, setting = 0.95 if p10 == p01 else 0.94, f"rates {p10} and {p01}, n = {n}, all outcomes"
    calibration.record("C20", setting, exact, bound=least, runs=1, nominal=0.95, least=True)
    assert exact >= least


def test_c20_catches_wald(calibration):
    """Mutant: Wald's interval at n = 20 with rates of .9 and .02."""
    wrong = coverage(wald, 0.9, 0.02, 20)
    calibration.mutant("C20", "Wald's interval", wrong, bound=0.94, runs=1, least=True)
    assert wrong < 0.94


def wrong_side(limits, p10, p01, n, alpha):
    """Return how often, exactly, the lower limit lies above p10 - p01, over alpha / 2."""
    gained, lost = (each.ravel() for each in np.mgrid[: n + 1, : n + 1])
    possible = gained + lost <= n
    gained, lost = gained[possible], lost[possible]
    counts = np.column_stack([gained, lost, n - gained - lost])
    above = [limits(b, c, n, alpha)[0] > p10 - p01 + 1e-12 for b, c in counts[:, :2].tolist()]
    return stats.multinomial.pmf(counts[above], n, [p10, p01, 1 - p10 - p01]).sum() / (alpha / 2)


def agresti_min(gained, lost, n, alpha):
    """Return the limits of Agresti and Min alone."""
    centre, flips = (gained - lost) / (n + 2), (gained + lost + 1) / (n + 2)
    reach = stats.norm.isf(alpha / 2) * math.sqrt((flips - centre**2) / (n + 2))
    return centre - reach, centre + reach


FLIPS = [(0.005, 0.2), (0.02, 0.3), (0.05, 0.4), (0.1, 0.5), (0.5, 0.3), (0.7, 0.2), (0.95, 0.005)]


@pytest.mark.parametrize("level, times", [(0.05, 1.0), (0.01, 1.0), (0.0025, 1.2)])
@pytest.mark.parametrize("n", [15, 30])
def test_c20_either_side_at_any_level(level, times, n, calibration):
    """`a - b > c` with the truth at c: rare flips of one kind and small levels, exactly."""
    for p10, p01 in FLIPS:
        found = wrong_side(lambda b, c, n, a: PairedFlips(b, c, n).limits(a), p10, p01, n, level)
        calibration.record(
            "C20", f"rates {p10} and {p01}, n = {n}, level {level}", found, bound=times, runs=1,
            nominal=1.0, quantity="false support, in shares of the level",
        )  # fmt: skip
        assert found <= times, (p10, p01)


def test_c20_catches_agresti_min_alone(calibration):
    """Mutant: of 15 pairs without any flip it knows, at .0025, that fewer than a fifth flip."""
    wrong = wrong_side(agresti_min, 0.005, 0.2, 15, 0.0025)
    calibration.mutant(
        "C20", "Agresti-Min alone", wrong, bound=1.2, runs=1,
        quantity="false support, in shares of the level",
    )  # fmt: skip
    assert wrong > 20


# Degenerate data: C33


@pytest.mark.calibration("C33")
@pytest.mark.parametrize(
    "values, floor, above_zero, negligible",
    [
        ([0.0] * 12, 0.0, "refuted", "supported"),
        ([0.3] * 12, 0.0, "supported", "refuted"),
        ([-0.3] * 12, 0.0, "refuted", "refuted"),
        (list(1e-7 + 1e-9 * np.arange(12)), 1e-6, "refuted", "supported"),
        (list(1e-7 + 1e-9 * np.arange(12)), 0.0, "supported", "supported"),
    ],
    ids=["zeros", "equal", "equal and negative", "noise below the floor", "noise without a floor"],
)
def test_c33_degenerate_effects(values, floor, above_zero, negligible, effect_of):
    """Constant data are decided by their value, never with a p-value of 0 (statistics.md 2.0)."""
    effect = effect_of(values, floor=floor)
    first, second = effect > 0, abs(effect) < 0.1
    assert (first.name, second.name) == (above_zero, negligible)
    for verdict in (first, second):
        assert min(verdict.p_support, verdict.p_refute) >= 1 / (RESAMPLES + 1)
        assert len(verdict.explain()) <= 5


class PlainT:
    """Mutant: a t-test of the values, with no word about values that do not vary."""

    def __init__(self, values, floor=0.0):
        self.values = np.asarray(values)

    def __gt__(self, bound):
        return self._verdict(self._p(bound, "greater"), self._p(bound, "less"))

    def __abs__(self):
        return self

    def __lt__(self, margin):
        inside = max(self._p(-margin, "greater"), self._p(margin, "less"))
        outside = min(self._p(-margin, "less"), self._p(margin, "greater"))
        return self._verdict(inside, outside)

    def _p(self, bound, alternative):
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return stats.ttest_1samp(self.values, bound, alternative=alternative).pvalue

    def _verdict(self, support, refute):
        name = "supported" if support <= 0.025 else "refuted" if refute <= 0.025 else "inconclusive"
        return SimpleNamespace(name=name, p_support=support, p_refute=refute, explain=list)


@pytest.mark.calibration("C33", mutant="a t-test without a guard")
@pytest.mark.parametrize(
    "values, floor, above_zero, negligible",
    [
        ([0.0] * 12, 0.0, "refuted", "supported"),
        ([0.3] * 12, 0.0, "supported", "refuted"),
        (list(1e-7 + 1e-9 * np.arange(12)), 1e-6, "refuted", "supported"),
    ],
    ids=["zeros", "equal", "noise below the floor"],
)
def test_c33_catches_a_t_test(values, floor, above_zero, negligible):
    """Mutant: p is NaN, 0, or far below the level for rounding noise."""
    with pytest.raises(AssertionError):
        test_c33_degenerate_effects(values, floor, above_zero, negligible, PlainT)


@pytest.mark.calibration("C33")
@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("clustered", [False, True])
def test_c33_rates_without_variation(value, clustered, rate_of):
    """All successes or all failures: Clopper-Pearson over units, never of zero width."""
    units = [f"t{i % 12}" for i in range(36)] if clustered else None
    rate = rate_of([value] * 36, units)
    n = 12 if clustered else 36
    theirs = stats.binomtest(round(value * n), n).proportion_ci(0.95, method="exact")
    found = rate.interval
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    difference = (rate - rate_of([value] * 36, units)).interval
    assert difference.low < -0.03
    assert difference.high > 0.03


@pytest.mark.calibration("C33", mutant="Wald's interval")
def test_c33_catches_intervals_of_no_width(rate_of, monkeypatch):
    """Mutant: the textbook interval of a rate, which shrinks to a point."""
    monkeypatch.setattr(rates, "clopper_pearson", lambda k, n, _alpha: (k / n, k / n))
    with pytest.raises(AssertionError):
        test_c33_rates_without_variation(1.0, clustered=False, rate_of=rate_of)
