"""Stopping early: error over all looks, speed, and the checks C27-C29 of statistics.md."""

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from causaltest.errors import EvidenceError
from causaltest.stats import Judge
from causaltest.stats.asymptotic import Asymptotic, asymptotic_sequence
from causaltest.stats.betting import Betting, betting, combined, sign_process
from causaltest.stats.decision import Region
from causaltest.stats.sequential import Stopper, clipped

ABOVE_HALF = Region(0.5, math.inf)
TIERS = pytest.mark.parametrize(
    "quarter", [pytest.param(4, id="quarter"), pytest.param(1, id="full", marks=pytest.mark.slow)]
)


def allowed(limit, full, runs):
    """Convert a limit on a rate at `full` runs to fewer runs (statistics.md, section 4)."""

    def at(nominal, count):
        return nominal + 2 * math.sqrt(nominal * (1 - nominal) / count)

    return at(optimize.brentq(lambda a: at(a, full) - limit, 0.0, limit), runs)


# Processes against something independent


def test_betting_is_a_product_written_out():
    """The process is the product of 1 + bet * (value - bound), bet by bet."""
    values = np.random.default_rng(0).uniform(size=30)
    up, down = betting(values, 0.4, 0.05)
    seen, squares, wealth, against = [], 0.0, 1.0, 1.0
    for i, value in enumerate(values, start=1):
        variance = (0.25 + squares) / i
        bet = math.sqrt(2 * math.log(40) / (variance * i * math.log(i + 1)))
        wealth *= 1 + min(bet, 0.5 / 0.4) * (value - 0.4)
        against *= 1 - min(bet, 0.5 / 0.6) * (value - 0.4)
        assert math.exp(up[i - 1]) == pytest.approx(wealth)
        assert math.exp(down[i - 1]) == pytest.approx(against)
        seen.append(value)
        squares += (value - (0.5 + sum(seen)) / (i + 1)) ** 2


def test_the_sign_process_is_a_mixture():
    """It is the likelihood ratio averaged over all rates above one half."""
    signs = np.random.default_rng(1).random(12) < 0.7
    up, down = sign_process(signs)
    for n in range(1, 13):
        k = int(signs[:n].sum())
        rates = np.linspace(0.5, 1.0, 20_001)
        ratio = 2 * np.trapezoid(rates**k * (1 - rates) ** (n - k), rates) * 2**n
        assert math.exp(up[n - 1]) == pytest.approx(ratio, rel=1e-5)
        mirrored = sign_process(~signs)[0]
        assert down[n - 1] == pytest.approx(mirrored[n - 1])


@given(st.lists(st.integers(0, 16), min_size=1, max_size=6), st.sampled_from([0.25, 0.5, 0.7]))
def test_bets_are_fair_on_average(steps, bound):
    """Whatever came before, the next value with its mean at the bound leaves wealth as it is."""
    past = np.array(steps) / 16
    before = betting(past, bound, 0.05)[0][-1]
    won = betting(np.append(past, 1.0), bound, 0.05)[0][-1]
    lost = betting(np.append(past, 0.0), bound, 0.05)[0][-1]
    after = bound * math.exp(won) + (1 - bound) * math.exp(lost)
    assert after == pytest.approx(math.exp(before))


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from([0.05, 0.01]))
def test_limits_are_dual_to_p(seed, alpha):
    """Bounds inside the limits have p above alpha / 2, bounds outside at most that."""
    values = np.random.default_rng(seed).beta(2, 2, 40) * 3 - 1
    found = Betting(values, -1.0, 2.0, alpha)
    low, high = found.limits(alpha)
    assert -1.0 <= low < found.estimate < high <= 2.0
    for bound in (low + 1e-6, high - 1e-6):
        assert min(found.p_above(bound), found.p_below(bound)) > alpha / 2
    assert found.p_above(low - 1e-6) <= alpha / 2
    assert found.p_below(high + 1e-6) <= alpha / 2


def test_asymptotic_limits_are_dual_to_p():
    """So with the asymptotic sequence, up to bisection."""
    found = Asymptotic(np.random.default_rng(2).normal(0.3, 1.0, 120))
    low, high = found.limits(0.05)
    assert found.p_above(low) == pytest.approx(0.025, rel=1e-3)
    assert found.p_below(high) == pytest.approx(0.025, rel=1e-3)
    assert found.p_above(high) == 1.0


def test_evidence_of_runs_multiplies():
    """Two runs with fresh pairs combine through where they stopped."""
    rng = np.random.default_rng(3)
    runs = [Betting(rng.uniform(0.3, 1.0, 20), 0.0, 1.0, 0.05) for _ in range(2)]
    product = runs[0].e_above(0.5) * runs[1].e_above(0.5)
    assert combined([run.e_above(0.5) for run in runs]) == pytest.approx(min(1.0, 1 / product))
    assert all(1 / run.e_above(0.5) >= run.p_above(0.5) - 1e-12 for run in runs)
    assert combined([0.5, 0.5]) == 1.0


def test_clipping():
    """Values beyond the registered bound count as the bound."""
    assert clipped([0.5, 3.0, -9.0], 1.0).tolist() == [0.5, 1.0, -1.0]


# The stopper


def test_a_stopper_settles_and_is_observed_once():
    """It stops early on a clear effect, and its verdict is like any other."""
    seen = []
    stopper = Stopper(
        ABOVE_HALF,
        low=0.0,
        high=1.0,
        unit="template",
        subject="accuracy of an alignment",
        metric="accuracy",
        judge=Judge(observe=seen.append),
    )
    rng = np.random.default_rng(0)
    while not stopper.settled:
        stopper.add(f"t{stopper.count}", rng.uniform(0.6, 1.0))
    assert stopper.count < 40
    verdict = stopper.verdict()
    assert verdict
    assert seen == [verdict]
    assert verdict.statement == "accuracy > 0.5"
    assert verdict.n_units == stopper.count
    assert verdict.method == f"betting e-process over {stopper.count} templates as they came"
    assert verdict.adjusted_interval.low > 0.5


def test_refutation_and_equivalence():
    """A stopper refutes from the other side, and supports a margin once both sides are clear."""
    rng = np.random.default_rng(1)
    refuted = Stopper(ABOVE_HALF, low=0.0, high=1.0)
    while not refuted.settled:
        refuted.add(f"t{refuted.count}", rng.uniform(0.0, 0.4))
    assert refuted.verdict().name == "refuted"
    small = Stopper(Region(-0.3, 0.3), low=-1.0, high=1.0)
    for i in range(200):
        small.add(f"t{i}", rng.uniform(-0.2, 0.2))
    assert small.settled
    assert small.verdict().name == "supported"


def test_futility():
    """A narrow interval around the bound ends the watch without a verdict."""
    stopper = Stopper(ABOVE_HALF, low=0.0, high=1.0)
    rng = np.random.default_rng(2)
    assert not stopper.futile(margin=0.2)
    for i in range(400):
        stopper.add(f"t{i}", rng.uniform(0.4, 0.6))
    assert stopper.futile(margin=0.2)
    assert stopper.verdict().name == "inconclusive"
    assert not stopper.futile(margin=0.001)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Stopper(ABOVE_HALF, low=0.0), "effect: give both limits of the values, or none"),
        (lambda: Stopper(ABOVE_HALF, low=1.0, high=0.0), "the limits 1 and 0 are not in order"),
        (lambda: Stopper(ABOVE_HALF, low=0.0, high=1.0).verdict(), "effect: no pair has come yet"),
        (
            lambda: Stopper(ABOVE_HALF, low=0.0, high=1.0).add("a", 1.5),
            "effect: 1.5 for pair 'a' passes the limits 0 and 1\nlimits must hold for every value",
        ),
        (
            lambda: Stopper(ABOVE_HALF, low=0.0, high=1.0).add("a", math.nan),
            "effect: the value is nan for pair 'a'",
        ),
        (lambda: [s := Stopper(ABOVE_HALF), s.add("a", 1.0), s.add("a", 1.0)], "'a' came before"),
        (
            lambda: [s := Stopper(ABOVE_HALF), s.add("a", 1.0), s.verdict()],
            "1 values without known limits cannot be watched as they come: at least 50 are needed",
        ),
        (
            lambda: asymptotic_sequence(np.zeros(49), 0.05),
            "49 values without known limits cannot be watched",
        ),
        (
            lambda: Betting(np.zeros(3), 0.0, 1.0, 0.05).e_above(1.0),
            "no e-value for 1: it is not inside the limits of values",
        ),
    ],
)
def test_refusals(make, message):
    """What would not stay valid is refused (C29: no watching before the fiftieth value)."""
    with pytest.raises(EvidenceError, match=re.escape(message)):
        make()


# C27: any of 500 looks

BOUNDED = {
    "uniform": lambda rng, shape: rng.random(shape),
    "beta": lambda rng, shape: rng.beta(0.5, 0.5, shape),
    "three points": lambda rng, shape: rng.choice([0.0, 0.5, 1.0], shape, p=[0.1, 0.8, 0.1]),
    "gauss clipped": lambda rng, shape: np.clip(rng.normal(0.5, 0.2, shape), 0.0, 1.0),
}


def ever(process, alpha=0.05):
    """Return the share of runs in which a side is ever decided at alpha / 2."""
    return (np.maximum(*process).max(axis=-1) >= math.log(2 / alpha)).mean()


@TIERS
@pytest.mark.parametrize("process", BOUNDED)
def test_c27_any_of_500_looks(process, quarter, calibration):
    """With the mean on the bound at most .057 of runs are decided, ever, on either side."""
    runs = 4_000 // quarter
    values = BOUNDED[process](np.random.default_rng([27, *process.encode()]), (runs, 500))
    rate, limit = ever(betting(values, 0.5, 0.05)), allowed(0.057, 4_000, runs)
    calibration.record("C27", f"{process}, betting", rate, bound=limit, runs=runs, nominal=0.05)
    assert rate <= limit
    if process != "three points":
        rate = ever(sign_process(values > 0.5))
        calibration.record("C27", f"{process}, signs", rate, bound=limit, runs=runs, nominal=0.05)
        assert rate <= limit


def test_c27_catches_repeated_t_tests(calibration):
    """Mutant: a t-test after each value from the tenth."""
    values = np.random.default_rng(27).normal(size=(400, 500))
    n = np.arange(1, 501)
    mean = np.cumsum(values, axis=1) / n
    variance = (np.cumsum(values**2, axis=1) / n - mean**2) * n / np.maximum(n - 1, 1)
    t = np.abs(mean[:, 9:]) / np.sqrt(variance[:, 9:] / n[9:])
    wrong = (t > stats.t.ppf(0.975, n[9:] - 1)).any(axis=1).mean()
    limit = allowed(0.057, 4_000, 400)
    calibration.mutant("C27", "a t-test at each look", wrong, bound=limit, runs=400)
    assert wrong > limit


@TIERS
def test_c28_speed(quarter, calibration):
    """With d = .5 half of the runs stop by the 50th value and .99 by the 500th."""
    runs = 2_000 // quarter
    values = np.clip(np.random.default_rng(28).normal(0.5, 1.0, (runs, 500)), -2.0, 2.0)
    scaled = (values + 2) / 4
    up = np.maximum.accumulate(betting(scaled, 0.5, 0.05)[0], axis=1) >= math.log(40)
    stop, least = (
        np.median(np.where(up[:, -1], up.argmax(axis=1) + 1, 501)),
        1 - allowed(0.01, 2_000, runs),
    )
    power = up[:, -1].mean()
    calibration.record("C28", "d = .5", stop, bound=50, runs=runs, quantity="median stop")
    calibration.record(
        "C28", "d = .5", power, bound=least, runs=runs, quantity="power by 500", least=True
    )
    assert stop <= 50
    assert power >= least
    # Mutant: Hoeffding's bound, which knows the range and nothing of the spread.
    n = np.arange(1, 501)
    reach = 4 * np.sqrt(np.log(2 / 0.05 * n * (n + 1)) / (2 * n))
    slow = np.cumsum(values, axis=1) / n - reach > 0
    wrong = np.median(np.where(slow.any(axis=1), slow.argmax(axis=1) + 1, 501))
    calibration.mutant("C28", "Hoeffding", wrong, bound=50, runs=runs, quantity="median stop")
    assert wrong > 50


@TIERS
def test_c29_values_without_limits(quarter, calibration):
    """Lognormal values watched from the 50th to the 500th: .08; from the fifth more than that."""
    runs = 2_000 // quarter
    values = np.random.default_rng(29).lognormal(0, 0.8, (runs, 500)) - math.exp(0.32)
    limits = [asymptotic_sequence(each, 0.05) for each in values]
    missed = np.mean([(low > 0).any() or (high < 0).any() for low, high in limits])
    limit, setting = allowed(0.08, 2_000, runs), "lognormal .8, from the 50th value"
    calibration.record("C29", setting, missed, bound=limit, runs=runs, nominal=0.05)
    assert missed <= limit
    # Mutant: the same from the fifth value on.
    n = np.arange(1, 501)
    rho2 = (2 * math.log(20) + math.log(1 + 2 * math.log(20))) / 50
    mean = np.cumsum(values, axis=1) / n
    spread = np.sqrt(np.maximum(np.cumsum(values**2, axis=1) / n - mean**2, 0))
    reach = spread * np.sqrt((n * rho2 + 1) / (n**2 * rho2) * np.log((n * rho2 + 1) / 0.0025))
    early = (np.abs(mean) > reach)[:, 4:].any(axis=1).mean()
    calibration.mutant("C29", "from the fifth value", early, bound=limit, runs=runs)
    assert early > limit


@pytest.mark.parametrize("value", [0.0, 0.3, 1e9, -7.1])
def test_values_without_limits_that_do_not_differ(value):
    """Fifty times the same: the interval holds it, up to rounding, and the verdict can be told."""
    stopper = Stopper(Region(value - 1.0, math.inf))
    for i in range(60):
        stopper.add(f"t{i}", value)
    verdict = stopper.verdict()
    assert verdict.name == "supported"
    assert verdict.interval.low <= verdict.estimate <= verdict.interval.high
    assert verdict.interval.high - verdict.interval.low <= 1e-11 * abs(value)
    assert verdict.explain()


def test_values_far_from_zero_keep_their_spread():
    """A common offset moves the sequence and does not change its width."""
    values = np.random.default_rng(0).normal(size=80)
    here, there = asymptotic_sequence(values, 0.05), asymptotic_sequence(values + 1e8, 0.05)
    for one, other in zip(here, there, strict=True):
        assert other - 1e8 == pytest.approx(one, abs=1e-3)


def test_values_that_drift_have_an_interval():
    """No mean is compatible with all limits so far: the last ones are given, in order."""
    drifting = np.concatenate([np.zeros(60) + 0.01 * np.arange(60) % 2, np.full(600, 5.0)])
    low, high = asymptotic_sequence(drifting, 0.05)
    assert low.max() > high.min()
    assert Asymptotic(drifting).limits(0.05) == (low[-1], high[-1])
