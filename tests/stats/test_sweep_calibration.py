"""Error rates and power of maps on simulated data: the checks C10-C13 and C23.

The process is that of statistics.md, section 3: 12 x 15 cells, an effect of the pair, a smooth
field and noise; skewed variants are lognormal around 0. The fast tier runs N / 4. Where thousands
of maps are drawn, the functions behind `grid.significant()` are called with fewer resamples than
it draws; checks through the public claim stand beside them.
"""

import math

import numpy as np
import pytest
from scipy import ndimage, optimize, stats

from causaltest.errors import EvidenceError
from causaltest.stats import Judge
from causaltest.stats.columnwise import hull_p, t_values
from causaltest.stats.maxima import bootstrap_tail, flipped_tail
from causaltest.stats.significance import upper_quantile
from causaltest.stats.sweep import Grid

CELLS = 180
RESAMPLES = 799
TIERS = pytest.mark.parametrize(
    "quarter", [pytest.param(4, id="quarter"), pytest.param(1, id="full", marks=pytest.mark.slow)]
)


def allowed(limit, full, runs):
    """Convert a limit on a rate at `full` runs to fewer runs (statistics.md, section 4)."""

    def at(nominal, count):
        return nominal + 2 * math.sqrt(nominal * (1 - nominal) / count)

    return at(optimize.brentq(lambda a: at(a, full) - limit, 0.0, limit), runs)


def field(rng, n, process, pair=None):
    """Return n maps, shape (n, 180), whose mean is 0 in every cell."""
    pair = rng.normal(size=(n, 1, 1)) if pair is None else pair
    smooth = ndimage.gaussian_filter(rng.normal(size=(n, 12, 15)), (0, 1, 1), mode="wrap")
    noise = rng.normal(size=(n, 12, 15))
    if process == "t3":
        noise = rng.standard_t(3, (n, 12, 15)) / math.sqrt(3)
    y = math.sqrt(0.3) * pair + math.sqrt(0.5) * smooth / SMOOTH + math.sqrt(0.2) * noise
    if process.startswith("skew"):
        s = float(process.split()[1])
        y = np.exp(s * y) - math.exp(s * s / 2)
    return y.reshape(n, CELLS)


# Standard deviation of white noise after the filter
SMOOTH = math.sqrt(
    (ndimage.gaussian_filter(np.eye(1, 180, 97).reshape(12, 15), 1, mode="wrap") ** 2).sum()
)


def found_by_bootstrap(values, seed, tail=0.025):
    """Return which cells are found, each tail at `tail`."""
    t = t_values(values)
    above = bootstrap_tail(values, t, resamples=RESAMPLES, seed=seed).p
    below = bootstrap_tail(-values, -t, resamples=RESAMPLES, seed=seed).p
    return np.minimum(above, below) <= tail


def found_by_flips(values, seed, tail=0.025):
    """Return which cells are found by joint sign flips."""
    above = flipped_tail(values, resamples=RESAMPLES, seed=seed).p
    below = flipped_tail(-values, resamples=RESAMPLES, seed=seed).p
    return np.minimum(above, below) <= tail


def found_publicly(values, seed, *, differenced=True):
    """Return which cells `grid.significant()` finds."""
    ids = [f"u{i:02d}" for i in range(len(values))]
    grid = Grid(
        values, axes={"cell": range(CELLS)}, units=ids, pair_ids=ids, judge=Judge(seed=seed),
        differenced=differenced,
    )  # fmt: skip
    return grid.significant().p_adjusted <= 0.05


def found_by_t(values, level=0.05, df=None):
    """Return which cells a t-test finds, cell by cell."""
    df = len(values) - 1 if df is None else df
    return np.abs(t_values(values)) > stats.t.ppf(1 - level / 2, df)


def family_wise(maps, find):
    """Return the share of maps in which any cell is found."""
    return float(np.mean([find(values, run).any() for run, values in enumerate(maps)]))


def null_maps(process, n, runs):
    """Yield maps without any effect."""
    rng = np.random.default_rng([10, n, *process.encode()])
    for _ in range(runs):
        yield field(rng, n, process)


def differenced_maps(process, n, runs):
    """Yield maps less the placebo's, both with the same effect of the pair."""
    rng = np.random.default_rng([11, n, *process.encode()])
    for _ in range(runs):
        pair = rng.normal(size=(n, 1, 1))
        yield field(rng, n, process, pair) - field(rng, n, process, pair)


def test_the_grid_finds_what_these_checks_find():
    """The functions simulated here are the ones behind `grid.significant()`."""
    values = field(np.random.default_rng(1), 30, "gauss")
    values[:, :5] += 1.4
    for simulated, differenced in ((found_by_bootstrap, False), (found_by_flips, True)):
        found = found_publicly(values, 0, differenced=differenced)
        assert found.sum() >= 5
        assert (found != simulated(values, 0)).sum() <= 1


PROCESSES = ["gauss", "t3", "skew .3", "skew .5", "skew .8"]


@TIERS
@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("n", [20, 50])
def test_c10_family_wise_error_of_raw_effects(process, n, quarter, calibration):
    """However skewed, at most .064 of maps without effect show one, by the bootstrap max-T."""
    runs = 1_000 // quarter
    rate = family_wise(null_maps(process, n, runs), found_by_bootstrap)
    limit = allowed(0.064, 1_000, runs)
    calibration.record("C10", f"{process}, n = {n}", rate, bound=limit, runs=runs, nominal=0.05)
    assert rate <= limit


@pytest.mark.slow
def test_c10_through_the_api(calibration):
    """The public claim on the most skewed maps, with as many resamples as it draws."""
    maps = null_maps("skew .8", 20, 1_000)
    rate = family_wise(maps, lambda values, seed: found_publicly(values, seed, differenced=False))
    setting = "skew .8, n = 20, grid.significant()"
    calibration.record("C10", setting, rate, bound=0.064, runs=1_000, nominal=0.05)
    assert rate <= 0.064


@TIERS
@pytest.mark.parametrize("n", [20, 50])
def test_c10_where_few_pairs_respond(n, quarter, calibration):
    """Cells to which 15 % of pairs respond hold the level as well, though t is far off there."""
    runs = 400 // quarter
    rng = np.random.default_rng([101, n])
    found = 0
    for run in range(runs):
        values = (rng.random((n, CELLS)) < 0.15) - 0.15
        varied = np.ascontiguousarray(values[:, np.ptp(values, axis=0) > 0.5])
        found += found_by_bootstrap(varied, run).any()
    limit, setting = allowed(0.064, 1_000, runs), f"15 % respond, n = {n}"
    calibration.record("C10", setting, found / runs, bound=limit, runs=runs, nominal=0.05)
    assert found / runs <= limit


def test_c10_catches_cells_tested_one_by_one(calibration):
    """Mutant: a t-test in each cell finds something in nearly every map."""
    wrong = family_wise(null_maps("gauss", 20, 100), lambda v, _: found_by_t(v))
    calibration.mutant("C10", "t in each cell", wrong, bound=0.5, runs=100)
    assert wrong > 0.5


@pytest.mark.parametrize("process, n", [("skew .5", 20), ("skew .8", 50)])
def test_c10_catches_sign_flips_of_raw_effects(process, n, calibration):
    """Mutant: sign-flip max-T on skewed raw effects, the usual recipe of neuroimaging."""
    wrong, limit = (
        family_wise(null_maps(process, n, 150), found_by_flips),
        allowed(0.064, 1_000, 150),
    )
    calibration.mutant("C10", "sign flips of raw effects", wrong, bound=limit, runs=150)
    assert wrong > limit


@TIERS
@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("n", [8, 10, 20, 50])
def test_c11_family_wise_error_against_placebos(process, n, quarter, calibration):
    """Less a placebo of the same pair, sign flips hold .064 for any n, and are no less than .02."""
    runs = 1_000 // quarter
    find = found_publicly if n <= 10 else found_by_flips
    rate = family_wise(differenced_maps(process, n, runs), find)
    limit, least = allowed(0.064, 1_000, runs), 0.02 - 2 * math.sqrt(0.02 * 0.98 / runs)
    setting = f"{process}, n = {n}"
    calibration.record("C11", setting, rate, bound=limit, runs=runs, nominal=0.05)
    assert rate <= limit
    if n == 20:
        calibration.record(
            "C11", setting, rate, bound=least, runs=runs, quantity="not too careful", least=True
        )
        assert rate >= least


def test_c11_catches_separate_flips(calibration):
    """Mutant: cells of a unit flipped separately lose their dependence, and with it the level.

    With cells as alike as layers of one stream the joint test rejects at its level, the other
    hardly ever.
    """
    rng = np.random.default_rng(111)

    def separate(values, seed):
        flips = np.random.default_rng(seed).choice([-1.0, 1.0], (199, *values.shape))
        scaled = values / np.sqrt((values**2).mean(axis=0))
        null = np.einsum("bnc,nc->bc", flips, scaled)
        threshold = np.sort(np.abs(null).max(axis=1))[-10]
        return np.abs(scaled.sum(axis=0)) > threshold

    maps = [0.99 * rng.normal(size=(20, 1)) + 0.14 * rng.normal(size=(20, 60)) for _ in range(200)]
    joint = family_wise(maps, found_by_flips)
    assert joint >= 0.02
    assert joint <= allowed(0.064, 1_000, 200)
    wrong = family_wise(maps, separate)
    calibration.mutant(
        "C11", "separate flips", wrong, bound=0.02, runs=200, quantity="not too careful", least=True
    )
    assert wrong < 0.02


def hot_maps(n, d, runs, seed):
    """Yield maps with an effect of d standard deviations in six cells."""
    rng = np.random.default_rng([seed, n])
    for _ in range(runs):
        values = field(rng, n, "gauss")
        values[:, HOT] += d
        yield values


HOT = [62, 63, 64, 77, 78, 79]


@TIERS
def test_c12_power(quarter, calibration):
    """Of six cells with an effect of .7, at n = 50, .82 are found by one tail, .78 by two."""
    runs = 200 // quarter
    maps = list(hot_maps(50, 0.7, runs, 12))
    one = np.mean(
        [
            (bootstrap_tail(v, t_values(v), resamples=RESAMPLES, seed=run).p <= 0.05)[HOT].mean()
            for run, v in enumerate(maps)
        ]
    )
    two = np.mean([found_by_bootstrap(v, run)[HOT].mean() for run, v in enumerate(maps)])
    least = [1 - allowed(miss, 200, runs) for miss in (0.18, 0.22)]
    for tails, power, bound in (("one tail", one, least[0]), ("two tails", two, least[1])):
        calibration.record(
            "C12", "n = 50, d = .7", power, bound=bound, runs=runs, quantity=tails, least=True
        )
    assert one >= least[0]
    assert two >= least[1]
    # Mutant: Bonferroni with the degrees of freedom of the hot cells.
    wrong = np.mean([found_by_t(v, 0.05 / CELLS, df=5)[HOT].mean() for v in maps])
    for tails, bound in (("one tail", least[0]), ("two tails", least[1])):
        calibration.mutant(
            "C12", "Bonferroni, wrong df", wrong, bound=bound, runs=runs, quantity=tails, least=True
        )
        assert wrong < bound


@TIERS
@pytest.mark.parametrize("process", ["gauss", "skew .5"])
def test_c13_simultaneous_lower_bounds(process, quarter, calibration):
    """All 180 lower bounds lie below the truth in 94 % of maps."""
    runs = 400 // quarter
    rng = np.random.default_rng([13, *process.encode()])
    covered = marginal = 0
    for run in range(runs):
        values = field(rng, 50, process)
        truth = np.zeros(CELLS)
        truth[HOT] = 0.7
        values += truth
        tail = bootstrap_tail(values, t_values(values), resamples=RESAMPLES, seed=run)
        mean, error = values.mean(axis=0), values.std(axis=0, ddof=1) / math.sqrt(50)
        covered += (mean - upper_quantile(tail.maxima, 0.05) * error <= truth).all()
        marginal += (mean - stats.t.ppf(0.95, 49) * error <= truth).all()
    limit, missed = allowed(0.06, 400, runs), 1 - covered / runs
    calibration.record("C13", f"{process}, n = 50", missed, bound=limit, runs=runs, nominal=0.05)
    assert missed <= limit
    if process == "gauss":
        # Mutant: bounds that hold for one cell at a time.
        wrong = 1 - marginal / runs
        calibration.mutant("C13", "marginal bounds", wrong, bound=limit, runs=runs)
        assert wrong > limit


@TIERS
@pytest.mark.parametrize("n", [8, 10, 20])
def test_c13_simultaneous_bounds_by_flips(n, quarter, calibration):
    """So do bounds from sign flips, with few units: a miss of either tail in at most .064."""
    runs = 400 // quarter
    misses = 0
    for run, values in enumerate(differenced_maps("skew .5", n, runs)):
        mean, error = values.mean(axis=0), values.std(axis=0, ddof=1) / math.sqrt(n)
        low = upper_quantile(flipped_tail(values, resamples=RESAMPLES, seed=run).maxima, 0.025)
        misses += (np.abs(mean) > low * error).any()
    limit, setting = allowed(0.064, 400, runs), f"sign flips, skew .5, n = {n}"
    calibration.record("C13", setting, misses / runs, bound=limit, runs=runs, nominal=0.05)
    assert misses / runs <= limit


@TIERS
def test_c23_the_best_of_many_on_other_pairs(quarter, calibration):
    """The best of 180 cells, judged on other pairs: supported in at most .032 of maps."""
    runs = 2_000 // quarter
    rng = np.random.default_rng(23)
    same, other = np.empty((20, runs)), np.empty((20, runs))
    for run in range(runs):
        discover, confirm = field(rng, 20, "gauss"), field(rng, 20, "gauss")
        best = int(discover.mean(axis=0).argmax())
        same[:, run], other[:, run] = discover[:, best], confirm[:, best]
    supported = hull_p(other, resamples=1_999, seed=0)[0] <= 0.025
    rate, limit = supported.mean(), allowed(0.032, 2_000, runs)
    calibration.record("C23", "180 cells, n = 20", rate, bound=limit, runs=runs, nominal=0.025)
    assert rate <= limit
    # Mutant: judging it on the pairs it was chosen on.
    wrong = (hull_p(same, resamples=1_999, seed=0)[0] <= 0.025).mean()
    calibration.mutant("C23", "judged where chosen", wrong, bound=0.3, runs=runs)
    assert wrong > 0.3


def test_c23_the_same_pairs_are_refused():
    """A cell chosen by its effect cannot be judged on the same pairs through the public API."""
    values = field(np.random.default_rng(1), 20, "gauss")
    ids = [f"p{i:02d}" for i in range(20)]
    grid = Grid(values, axes={"cell": range(CELLS)}, units=ids, pair_ids=ids)
    with pytest.raises(EvidenceError, match="cannot be judged on the data it rests on: 20 pairs"):
        grid.mean_over(grid.strongest())
