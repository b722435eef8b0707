"""Association within units: unbiased, blind to what units share, and an equivalence claim."""

import itertools
import math
import re

import numpy as np
import pytest
from scipy import stats

from causaltest.errors import EvidenceError, PairError
from causaltest.stats.association import association
from causaltest.stats.columnwise import hull_p


def scores(units, pairs, rho, shared=0.0, seed=0):
    """Return two scores, units and ids: correlated by rho within units, by `shared` between."""
    rng = np.random.default_rng(seed)
    count = units * pairs
    level = shared * np.repeat(rng.normal(size=units), pairs)
    x = rng.normal(size=count)
    y = rho * x + math.sqrt(1 - rho**2) * rng.normal(size=count)
    labels = [f"t{i // pairs:03d}" for i in range(count)]
    return x + level, y + level, {"units": labels, "pair_ids": [f"p{i:05d}" for i in range(count)]}


def test_what_units_share_does_not_count():
    """Scores that go together between templates only are shown to be unrelated within them."""
    x, y, named = scores(60, 12, 0.0, shared=3.0)
    assert stats.spearmanr(x, y).statistic > 0.8
    found = association(x, y, **named)
    assert abs(found) < 0.2
    assert found.n_units == 60


def test_association_within_units_is_found():
    """A correlation of .6 within templates refutes its absence."""
    x, y, named = scores(40, 12, 0.6)
    assert (abs(association(x, y, **named)) < 0.3).name == "refuted"
    assert association(x, y, **named) > 0.3
    assert association(x, -y, **named) < -0.3


def test_the_correction_is_unbiased_over_all_samples():
    """Averaged over every sample of five from seven points it is their rho without repeats.

    Of distinct points the estimate is a mean over triples (a U-statistic), so its average over
    all samples is its value on the whole.
    """
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=7), rng.normal(size=7)

    def value(rows):
        rows = list(rows)
        named = {"units": ["t"] * len(rows), "pair_ids": [str(i) for i in rows]}
        return association(x[rows], y[rows], **named).values[0]

    samples = [value(rows) for rows in itertools.combinations(range(7), 5)]
    assert np.mean(samples) == pytest.approx(value(range(7)))


@pytest.mark.parametrize(
    "runs",
    [pytest.param(500, id="quarter"), pytest.param(2_000, id="full", marks=pytest.mark.slow)],
)
def test_false_equivalence_at_the_margin(runs):
    """With a true rho of .3, templates of six pairs are called unrelated in at most 5 % of runs."""
    truth = 0.3
    rho = 2 * math.sin(math.pi * truth / 6)  # Pearson's, whose Spearman's is .3
    rng = np.random.default_rng(13)
    x = rng.normal(size=(runs, 40, 6))
    y = rho * x + math.sqrt(1 - rho**2) * rng.normal(size=(runs, 40, 6))
    ranks = [stats.rankdata(each, axis=2) - 3.5 for each in (x, y)]
    plain = (ranks[0] * ranks[1]).sum(axis=2) / 17.5
    signs = [np.sign(each[..., :, None] - each[..., None, :]) for each in (x, y)]
    tau = (signs[0] * signs[1]).sum(axis=(2, 3)) / 30
    ours = (7 * plain - 3 * tau) / 4
    one = association(
        x[0].ravel(),
        y[0].ravel(),
        units=[f"t{i // 6:02d}" for i in range(240)],
        pair_ids=[f"p{i:03d}" for i in range(240)],
    )
    assert one.values == pytest.approx(ours[0])
    limit = 0.05 + 2 * math.sqrt(0.05 * 0.95 / runs)

    def equivalent(values):
        inside = hull_p(values.T + truth, resamples=1_999, seed=0)[0]
        return np.maximum(inside, hull_p(values.T - truth, resamples=1_999, seed=0)[1]) <= 0.025

    assert equivalent(ours).mean() <= limit
    # What statistics.md 2.13 proposes, the mean of plain coefficients: shown to miss.
    assert equivalent(plain).mean() > limit


@pytest.mark.parametrize(
    "make, error, message",
    [
        (
            lambda: association([1.0], [1.0, 2.0], units=["t"], pair_ids=["p"]),
            PairError,
            "got 1 and 2 scores, 1 units and 1 pair_ids",
        ),
        (
            lambda: association([1.0, math.nan], [1.0, 2.0], units=["t"] * 2, pair_ids=["p", "q"]),
            EvidenceError,
            "association: a score is nan for pair 'q'",
        ),
        (
            lambda: association([1.0, 2.0], [1.0, 2.0], units=["t"] * 2, pair_ids=["p", "q"]),
            EvidenceError,
            "no template has 4 pairs, so none has a correlation of its own",
        ),
        (
            lambda: association([1.0] * 4, range(4), units=["t"] * 4, pair_ids=list("abcd")),
            EvidenceError,
            "association: template 't': a score is the same for all 4 pairs",
        ),
    ],
)
def test_refusals(make, error, message):
    """Scores without variation or partner have no correlation."""
    with pytest.raises(error, match=re.escape(message)):
        make()
