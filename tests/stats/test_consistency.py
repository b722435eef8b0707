"""Whether an effect holds in each template: heterogeneity, prediction, contradictions."""

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from causaltest.errors import EvidenceError, MetricError
from causaltest.stats import Judge
from causaltest.stats.consistency import Consistency, heterogeneity

SUBJECT = "logit_diff of a patch"


def templated(effect_of, means, pairs=8, spread=0.5, seed=0, **more):
    """Return an effect with the given mean in each template."""
    rng = np.random.default_rng(seed)
    values = np.repeat(means, pairs) + rng.normal(0, spread, len(means) * pairs)
    units = np.repeat([f"t{i:02d}" for i in range(len(means))], pairs)
    return effect_of(values, [str(unit) for unit in units], **{"subject": SUBJECT, **more})


def test_on_average_is_not_in_each(effect_of):
    """Twenty templates at 2 and four at -.8: positive on average, not in each."""
    mixed = templated(effect_of, [2.0] * 20 + [-0.8] * 4, pairs=20)
    even = templated(effect_of, [1.0] * 12)
    assert mixed > 0
    assert (Consistency(mixed) > 0).name == "refuted"
    assert (Consistency(even) > 0).name == "supported"
    assert (Consistency(-even) < 0).name == "supported"
    assert (Consistency(even) < 0).name == "refuted"


def test_one_template_refutes_by_itself(effect_of):
    """Nineteen templates near 1 and one clearly below 0: the note names it."""
    effect = templated(effect_of, [1.0] * 19 + [-1.2], pairs=20)
    assert effect > 0
    verdict = Consistency(effect) > 0
    assert verdict.name == "refuted"
    assert verdict.notes[-1].startswith("template 't19' by itself contradicts, with -1.")
    assert verdict.statement == "logit_diff > 0 in each template"
    # Its prediction interval holds the bound, so the interval is not what refutes it.
    assert verdict.interval.low < 0 < verdict.interval.high
    assert verdict.explain()[-1].startswith("template 't19' by itself contradicts, with -1.")
    assert "the other side" not in "\n".join(verdict.explain())


def test_advice_is_about_templates(effect_of):
    """What is undecided asks for templates, not for pairs."""
    means = np.random.default_rng(4).normal(0.6, 0.5, 12)
    verdict = Consistency(templated(effect_of, means, pairs=3, spread=1.0)) > 0
    assert verdict.name == "inconclusive"
    assert verdict.explain()[-1] == (
        "more templates would narrow the prediction, down to how much they differ"
    )


def test_prediction_is_the_textbook_interval(effect_of):
    """It is mean +- t sd sqrt(1 + 1/n) of template means, and dual to the p-values."""
    effect = templated(effect_of, np.random.default_rng(1).normal(1.0, 0.3, 12))
    found = Consistency(effect)
    means = found.effects
    reach = stats.t.ppf(0.975, 11) * means.std(ddof=1) * math.sqrt(1 + 1 / 12)
    assert found.prediction.low == pytest.approx(means.mean() - reach)
    assert found.prediction.high == pytest.approx(means.mean() + reach)
    low = found.prediction.low
    assert (found > low).p_support == pytest.approx(0.025, rel=1e-6)
    assert (found > low - 1e-6).name == "supported"
    assert (found > low + 1e-6).name == "inconclusive"


def test_ratios_in_each_template(effect_of):
    """For a share of the total effect the prediction is Fieller's, around the same estimate."""
    rng = np.random.default_rng(2)
    gap = rng.normal(3.0, 0.3, 96)
    values = 0.8 * gap + rng.normal(0, 0.1, 96)
    effect = effect_of(values, [f"t{i // 8:02d}" for i in range(96)], scale=gap, subject=SUBJECT)
    found = Consistency(effect)
    assert found.prediction.low < effect.interval.low < 0.8 < found.prediction.high
    verdict = found > 0.7
    assert verdict.name == "supported"
    low = found.prediction.low
    assert (found > low).p_support == pytest.approx(0.025, rel=1e-6)


def test_heterogeneity_by_hand():
    """Tau and I^2 of four trials are those of the formula written out."""
    means, variances = np.array([0.1, 0.3, 0.35, 0.65]), np.array([0.01, 0.02, 0.02, 0.04])
    weights = 1 / variances
    centre = np.average(means, weights=weights)
    q = (weights * (means - centre) ** 2).sum()
    c = weights.sum() - (weights**2).sum() / weights.sum()
    found = heterogeneity(means, variances)
    assert found.q == pytest.approx(q)
    assert found.tau == pytest.approx(math.sqrt((q - 3) / c))
    assert found.i2 == pytest.approx((q - 3) / q)
    assert heterogeneity(np.full(4, 0.3), variances).tau == 0.0


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.floats(0.1, 10.0))
def test_heterogeneity_moves_with_the_scale(seed, factor):
    """Tau scales with the values, I^2 does not change."""
    rng = np.random.default_rng(seed)
    means, variances = rng.normal(size=8), rng.uniform(0.05, 0.2, 8)
    one, other = (
        heterogeneity(means, variances),
        heterogeneity(factor * means, factor**2 * variances),
    )
    assert other.tau == pytest.approx(factor * one.tau)
    assert other.i2 == pytest.approx(one.i2)


def test_tau_is_recovered(effect_of):
    """With 200 templates tau is the standard deviation of their true effects, to a tenth."""
    means = np.random.default_rng(3).normal(1.0, 0.4, 200)
    true = means.std(ddof=1)
    found = Consistency(templated(effect_of, means, pairs=10)).heterogeneity
    assert found is not None
    assert found.tau == pytest.approx(true, rel=0.1)
    assert found.i2 == pytest.approx(true**2 / (true**2 + 0.025), abs=0.05)


def test_shares_of_templates(effect_of):
    """The share of templates in direction is a rate over templates."""
    found = Consistency(templated(effect_of, [1.0] * 18 + [-1.0] * 2, spread=0.1))
    assert found.share.estimate == 0.9
    assert found.share.n_pairs == 20
    assert found.share > 0.6
    assert (found.share > 0.95).name == "inconclusive"


def test_the_judge_observes_once(effect_of):
    """The verdict reaches the session like any other."""
    seen = []
    effect = templated(effect_of, [1.0] * 12, judge=Judge(observe=seen.append))
    verdict = Consistency(effect) > 0.1
    assert verdict
    assert seen == [verdict]


def test_refusals(effect_of):
    """Pairs without templates, and too few templates, cannot be consistent."""
    with pytest.raises(MetricError, match="each pair is its own pair, so there is nothing to be"):
        Consistency(effect_of([1.0] * 12))
    with pytest.raises(EvidenceError, match="4 templates cannot tell how a further one would be"):
        Consistency(templated(effect_of, [1.0] * 4))
    with pytest.raises(TypeError, match=re.escape("e.g. `Consistency(effect) > 0`")):
        bool(Consistency(templated(effect_of, [1.0] * 12)))


def prediction_misses(templates, pairs, tau, runs):
    """Return how often a further template's true effect lies outside, for both intervals."""
    rng = np.random.default_rng([21, templates, pairs, round(100 * tau)])
    truth = tau * rng.normal(size=(runs, templates + 1))
    means = truth[:, :-1] + rng.normal(size=(runs, templates)) / math.sqrt(pairs)
    ours = stats.t.ppf(0.975, templates - 1) * means.std(axis=1, ddof=1)
    ours *= math.sqrt(1 + 1 / templates)
    outside = np.abs(truth[:, -1] - means.mean(axis=1)) > ours
    variances = rng.chisquare(pairs - 1, (runs, templates)) / (pairs - 1) / pairs
    usual = []
    for row, variance, new in zip(means, variances, truth[:, -1], strict=True):
        tau2 = heterogeneity(row, variance).tau ** 2
        weights = 1 / (variance + tau2)
        reach = stats.t.ppf(0.975, templates - 2) * math.sqrt(tau2 + 1 / weights.sum())
        usual.append(abs(new - np.average(row, weights=weights)) > reach)
    return outside.mean(), np.mean(usual)


@pytest.mark.parametrize(
    "runs",
    [pytest.param(1_000, id="quarter"), pytest.param(4_000, id="full", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("tau", [0.0, 0.1, 0.3, 1.0])
def test_prediction_covers_and_the_usual_one_does_not(tau, runs):
    """A further template lies inside in 95 %; inside DerSimonian and Laird's in as few as 87 %."""
    ours, usual = prediction_misses(12, 20, tau, runs)
    limit = 0.05 + 2 * math.sqrt(0.05 * 0.95 / runs)
    assert ours <= limit
    if tau == 0.1:
        # What statistics.md 2.21 proposes: shown to miss its own target.
        assert usual > limit


def refuted(effect_of, pairs, runs, seed=0):
    """Return how often exponential pairs of twelve templates contradict what holds in each."""
    rng = np.random.default_rng([40, pairs, seed])
    units = [f"t{i // pairs:02d}" for i in range(12 * pairs)]
    found = 0
    for _ in range(runs):
        values = 0.01 + rng.exponential(size=12 * pairs) - 1.0
        found += (Consistency(effect_of(values, units)) > 0).name == "refuted"
    return found / runs


def test_c40_skewed_pairs_of_a_template(effect_of, calibration):
    """Each template is above 0, its pairs mostly below: refuted in about the nominal rate."""
    rate = refuted(effect_of, 20, 600)
    calibration.record("C40", "exponential, 12 x 20", rate, bound=0.05, runs=600, nominal=0.025)
    assert rate <= 0.05


def test_c40_catches_a_t_test_in_each_template(effect_of, calibration, monkeypatch):
    """Mutant: from three pairs on, and by t alone."""
    monkeypatch.setattr("causaltest.stats.consistency._FEWEST_PAIRS", 3)
    monkeypatch.setattr("causaltest.stats.consistency.skew_p", lambda _: 0.0)
    rate = refuted(effect_of, 8, 200)
    calibration.mutant("C40", "t from three pairs on", rate, bound=0.05, runs=200)
    assert rate > 0.2


def test_few_pairs_do_not_speak_for_their_template(effect_of):
    """Nineteen pairs of a template below the bound are too few, twenty are enough."""
    names = []
    for pairs in (19, 20):
        effect = templated(effect_of, [1.0] * 19 + [-1.2], pairs=pairs)
        names.append((Consistency(effect) > 0).name)
    assert names == ["inconclusive", "refuted"]
