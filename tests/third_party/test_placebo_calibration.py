"""Error rates on real placebo effects: heads of a trained model, sources with the same answer.

Tim's story is told with Timmy's activations and back, so that no effect on the pronoun is meant to
exist. The effects of each head are centred over templates, which makes the true mean of what is
drawn from them 0; what remains is the shape of real effects: their skew, tails and dependence
between heads. With a random sign for each unit they are symmetric as well.

In two heads one template of forty is 94 % and 98 % of the variation. Three samples of five lack it;
in them the other templates agree on a mean that is not 0, and nothing in the sample tells. So maps
of raw effects are not for the question whether *anything* is there. What is: the map less the same
edit with another source of the same answer, both drawn for each template and so exchangeable; or a
bound at the smallest effect that matters. Another head is no such placebo: heads differ in spread.
"""

import math

import numpy as np
import pytest
from scipy import stats

from causaltest import (
    Causal,
    Grid,
    Model,
    Pairs,
    block_output,
    head_attention_value_output,
    interchange,
    logit_diff,
)
from causaltest.stats import Judge
from causaltest.stats.columnwise import hull_p, t_values
from causaltest.stats.flips import sign_flips

TEMPLATES = (
    "One day, {name} went to the park.",
    "One day, {name} was playing in the park.",
    "One day, {name} saw a big dog.",
    "One day, {name} found a little key.",
    "One day, {name} was very sad.",
    "One day, {name} woke up early.",
    "One day, {name} made a big cake.",
    "One day, {name} heard a loud noise.",
    "One sunny day, {name} went outside to play.",
    "One rainy day, {name} stayed in the house.",
    "One morning, {name} woke up and felt sick.",
    "One night, {name} could not sleep.",
    "The next day, {name} went to school.",
    "After lunch, {name} went to sleep.",
    "At the park, {name} saw a bird.",
    "Every day, {name} played in the sand.",
    "Then {name} was very brave.",
    "So {name} ran home.",
    "Today {name} is happy.",
    "Once upon a time, {name} went for a walk.",
    "Once upon a time, {name} had a small dog.",
    "There once was a child named {name}.",
    "{name} is a little child.",
    "{name} was three years old.",
    "{name} was very happy.",
    "{name} was hungry.",
    "{name} was playing with a ball.",
    "{name} felt very proud.",
    "{name} had a red ball.",
    "{name} had a new book.",
    "{name} loved to play with toys.",
    "{name} wanted a cookie.",
    "{name} saw a big tree.",
    "{name} opened the box.",
    "{name} went home.",
    "{name} climbed the tree.",
    "{name} sat on the chair.",
    "{name} washed the car.",
    "{name} played all day.",
    "{name} cried.",
)
BOYS = ("Timmy", "Tom", "Ben", "Max", "Sam")
PLACEBOS = "real placebo effects"
TIERS = pytest.mark.parametrize(
    "quarter", [pytest.param(4, id="quarter"), pytest.param(1, id="full", marks=pytest.mark.slow)]
)


def limit_of(nominal, runs):
    """Return a nominal rate and two standard errors."""
    return nominal + 2 * math.sqrt(nominal * (1 - nominal) / runs)


@pytest.fixture(scope="module")
def experiment(real_models):
    """The model under test."""
    return Causal(Model.load(str(real_models / "stories260k")))


def measured(experiment, sites, names):
    """Return effects on the pronoun of putting in names, shape (templates, names, sites)."""
    answers = {"base_answer": " He", "source_answer": " She"}
    contrasts = [{"base": {"name": a}, "source": {"name": b}, **answers} for a, b in names]
    pairs = Pairs.from_templates(TEMPLATES, contrasts, name="children")
    columns = [
        experiment.effect(interchange(site), on=pairs, metric=logit_diff).values for site in sites
    ]
    return np.array(columns).T.reshape(len(TEMPLATES), len(names), len(sites))


HEADS = [
    head_attention_value_output(layer, head, pos="end") for layer in range(5) for head in range(8)
]


@pytest.fixture(scope="module")
def placebo(experiment):
    """Effects on the pronoun, shape (templates, directions, heads), of no mean over templates."""
    values = measured(experiment, HEADS, [("Tim", "Timmy"), ("Timmy", "Tim")])
    assert values.std() > 0
    return values - values.mean(axis=(0, 1))


@pytest.fixture(scope="module")
def by_source(experiment):
    """Effects of putting other names for Tim's, shape (templates, names, heads); the last is Lily.

    The others have Tim's pronoun.
    """
    return measured(experiment, HEADS, [("Tim", name) for name in (*BOYS, "Lily")])


def drawn(rng, values, n, runs):
    """Return samples of n templates from one head each, shape (n, runs)."""
    heads = rng.integers(values.shape[-1], size=runs)
    return values[rng.integers(len(values), size=(n, runs)), heads]


@TIERS
@pytest.mark.parametrize("n", [10, 20])
def test_c1_on_symmetric_placebos(placebo, n, quarter, calibration):
    """With random signs a placebo is supported in at most .0299 of runs on each side."""
    runs = 4_000 // quarter
    rng = np.random.default_rng([1, n])
    values = drawn(rng, placebo[:, 0] - placebo[:, 0].mean(axis=0), n, runs)
    p = hull_p(values * rng.choice([-1.0, 1.0], (n, runs)), resamples=1_999, seed=0)
    rate, limit = max((side <= 0.025).mean() for side in p), limit_of(0.025, runs)
    setting = f"signs drawn, n = {n}"
    calibration.record(
        "C1", setting, rate, bound=limit, runs=runs, nominal=0.025, quantity=PLACEBOS
    )
    assert rate <= limit


def test_c1_catches_the_whole_level_on_each_side(placebo, calibration):
    """Mutant: a directional claim at .05 instead of .025."""
    rng = np.random.default_rng(1)
    values = drawn(rng, placebo[:, 0] - placebo[:, 0].mean(axis=0), 20, 4_000)
    p = hull_p(values * rng.choice([-1.0, 1.0], values.shape), resamples=1_999, seed=0)
    wrong, limit = max((side <= 0.05).mean() for side in p), limit_of(0.025, 4_000)
    calibration.mutant("C1", "each side at .05", wrong, bound=limit, runs=4_000, quantity=PLACEBOS)
    assert wrong > limit


@TIERS
def test_c2_on_placebos_as_they_are(placebo, quarter, calibration):
    """With the skew and tails they have, in at most .050 of runs on each side."""
    runs = 4_000 // quarter
    values = drawn(np.random.default_rng(2), placebo[:, 0] - placebo[:, 0].mean(axis=0), 20, runs)
    p = hull_p(values, resamples=1_999, seed=0)
    rate = max((side <= 0.025).mean() for side in p)
    limit = 0.0437 + 2 * math.sqrt(0.0437 * 0.9563 / runs)  # .050 at 4,000
    calibration.record(
        "C2", "as they are, n = 20", rate, bound=limit, runs=runs, nominal=0.025,
        quantity=PLACEBOS,
    )  # fmt: skip
    assert rate <= limit


def test_c2_catches_wilcoxon_on_placebos(placebo, calibration):
    """Mutant: Wilcoxon's test, which is not about the mean, on 50 templates."""
    rng, runs = np.random.default_rng(22), 1_000
    values = drawn(rng, placebo[:, 0] - placebo[:, 0].mean(axis=0), 50, runs)
    sides = [
        stats.wilcoxon(values, alternative=side, method="asymptotic").pvalue
        for side in ("greater", "less")
    ]
    wrong = max((p <= 0.025).mean() for p in sides)
    limit = 0.0437 + 2 * math.sqrt(0.0437 * 0.9563 / runs)
    calibration.mutant("C2", "Wilcoxon", wrong, bound=limit, runs=runs, quantity=PLACEBOS)
    assert wrong > limit


@TIERS
def test_c7_on_placebos_by_template(by_source, quarter, calibration):
    """Five pairs of each of 15 templates with a common sign: .0597 in both directions together."""
    runs = 2_000 // quarter
    rng = np.random.default_rng(7)
    heads, chosen = rng.integers(40, size=runs), rng.integers(len(by_source), size=(15, runs))
    pairs = np.moveaxis(by_source[:, : len(BOYS)], 1, 0)
    signed = pairs[:, chosen, heads] * rng.choice([-1.0, 1.0], (15, runs))
    p = hull_p(signed.mean(axis=0), resamples=1_999, seed=0)
    rate, limit = sum((side <= 0.025).mean() for side in p), limit_of(0.05, runs)
    setting = "signs drawn, 15 x 5"
    calibration.record("C7", setting, rate, bound=limit, runs=runs, nominal=0.05, quantity=PLACEBOS)
    assert rate <= limit
    # Mutant: every pair as a unit of its own.
    wrong = (np.abs(t_values(signed.reshape(75, runs))) > stats.t.ppf(0.975, 74)).mean()
    calibration.mutant("C7", "pairs as units", wrong, bound=limit, runs=runs, quantity=PLACEBOS)
    assert wrong > limit


def a_map(values, judge=Judge):
    """Return a grid of heads from one row of values for each template."""
    ids = [f"t{i:02d}" for i in range(len(values))]
    axes = {"head": range(values.shape[1])}
    return Grid(values, axes=axes, units=ids, pair_ids=ids, judge=judge)


def any_head(draw, runs, n, find=lambda grid: len(grid.significant())):
    """Return the share of maps, drawn as grids of n templates, in which a claim finds a head."""
    rng = np.random.default_rng([10, n])
    return sum(find(draw(rng, n)) > 0 for _ in range(runs)) / runs


def raw(values, *, signs=False):
    """Return what draws maps of effects as they are, or with a random sign for each template."""

    def draw(rng, n):
        sample = values[rng.integers(len(values), size=n)]
        return a_map(sample * rng.choice([-1.0, 1.0], (n, 1)) if signs else sample)

    return draw


@TIERS
@pytest.mark.parametrize("kind", ["signs drawn", "carried by several"])
def test_c10_on_maps_of_placebos(placebo, kind, quarter, calibration):
    """Over all heads at once, at most .064 of maps of placebos show any.

    As they are, without signs, this takes effects that several templates carry.
    """
    runs = 1_000 // quarter
    values = placebo[:, 0] - placebo[:, 0].mean(axis=0)
    if kind == "carried by several":
        squares = values**2
        values = values[:, squares.max(axis=0) < 0.5 * squares.sum(axis=0)]
        assert values.shape[1] > 30
    rate = any_head(raw(values, signs=kind == "signs drawn"), runs, 20)
    limit, setting = limit_of(0.05, runs), f"{values.shape[1]} heads, {kind}, n = 20"
    calibration.record(
        "C10", setting, rate, bound=limit, runs=runs, nominal=0.05, quantity=PLACEBOS
    )
    assert rate <= limit
    # Mutant: a t-test in each head.
    wrong = any_head(raw(values), 100, 20, lambda grid: np.abs(t_values(grid.values)).max() > 2.09)
    limit = limit_of(0.05, 100)
    calibration.mutant("C10", "t in each cell", wrong, bound=limit, runs=100, quantity=PLACEBOS)
    assert wrong > limit


LESS = f"{PLACEBOS} as they are, less a source of the same answer"
BEYOND = f"{PLACEBOS} as they are, beyond 5 % of the total effect"


def less_another_source(values):
    """Return what draws maps of one name less those of another, both drawn for each template."""

    def draw(rng, n):
        templates = rng.integers(len(values), size=n)
        names = rng.permuted(np.tile(np.arange(len(BOYS)), (n, 1)), axis=1)
        ours, theirs = (a_map(values[templates, names[:, i]]) for i in (0, 1))
        return ours.against(theirs)

    return draw


def less_another_head(values):
    """Return what draws maps less the effect of a head drawn for each template and head."""
    count = values.shape[1]

    def draw(rng, n):
        sample = values[rng.integers(len(values), size=n)]
        others = (np.arange(count) + rng.integers(1, count, (n, count))) % count
        return a_map(sample).against(a_map(np.take_along_axis(sample, others, axis=1)))

    return draw


@TIERS
@pytest.mark.parametrize("n", [10, 20])
def test_c10_less_another_source(by_source, n, quarter, calibration):
    """Less a source of the same answer all heads hold the level, one template's heads as well."""
    runs = 1_000 // quarter
    rate, limit = any_head(less_another_source(by_source), runs, n), limit_of(0.05, runs)
    setting = f"40 heads, n = {n}"
    calibration.record("C10", setting, rate, bound=limit, runs=runs, nominal=0.05, quantity=LESS)
    assert rate <= limit


@pytest.mark.slow
def test_c10_catches_other_heads_as_placebos(placebo, calibration):
    """Mutant, and what was replaced: less another head, which is unlike this one in its spread."""
    draw = less_another_head(placebo[:, 0] - placebo[:, 0].mean(axis=0))
    wrong, limit = any_head(draw, 1_000, 20), limit_of(0.05, 1_000)
    calibration.mutant(
        "C10", "less another head (replaced)", wrong, bound=limit, runs=1_000,
        quantity=f"{PLACEBOS} as they are, less another head",
    )  # fmt: skip
    assert wrong > limit


def test_c10_catches_raw_maps(placebo, calibration):
    """Mutant, and what was replaced: whether the raw effect of any head differs from 0."""
    values, runs = placebo[:, 0] - placebo[:, 0].mean(axis=0), 250
    wrong, limit = any_head(raw(values), runs, 20), limit_of(0.05, runs)
    for quantity in (LESS, BEYOND):
        calibration.mutant(
            "C10", "raw effects against 0 (replaced)", wrong, bound=limit, runs=runs,
            quantity=quantity,
        )  # fmt: skip
    assert wrong > limit


@TIERS
@pytest.mark.parametrize("n", [10, 20])
def test_c10_beyond_the_smallest_effect_that_matters(placebo, experiment, n, quarter, calibration):
    """Raw maps hold the level as well where an effect has to exceed 5 % of the total one."""
    runs = 1_000 // quarter
    total = measured(experiment, [block_output(4, pos="end")], [("Tim", "Lily")]).mean()
    least = 0.05 * abs(total)

    def beyond(grid):
        above = grid.significant(bound=least, direction="above")
        return len(above) + len(grid.significant(bound=-least, direction="below"))

    values = placebo[:, 0] - placebo[:, 0].mean(axis=0)
    side = Judge(alpha_claim=0.025)
    rate = any_head(
        lambda rng, n: a_map(values[rng.integers(len(values), size=n)], side), runs, n, beyond
    )
    limit, setting = limit_of(0.05, runs), f"40 heads, n = {n}"
    calibration.record("C10", setting, rate, bound=limit, runs=runs, nominal=0.05, quantity=BEYOND)
    assert rate <= limit


FINDS = "real effects less a placebo: maps that show one"


@TIERS
@pytest.mark.parametrize("n", [10, 20])
def test_c10_less_a_placebo_finds_what_is_there(by_source, n, quarter, calibration):
    """Lily's activations less another boy's: nine maps of ten show a head that tells the two."""
    runs = 200 // quarter

    def draw(rng, n):
        templates = rng.integers(len(by_source), size=n)
        boys = rng.integers(len(BOYS), size=n)
        return a_map(by_source[templates, -1]).against(a_map(by_source[templates, boys]))

    power = any_head(draw, runs, n)
    calibration.record("C10", f"n = {n}", power, bound=0.9, runs=runs, quantity=FINDS, least=True)
    assert power >= 0.9
    if n == 10:
        # Mutant: heads one by one, then Bonferroni; ten templates allow no p below 1 / 1,024.
        def one_by_one(grid):
            found = [sign_flips(column, resamples=999, seed=0) for column in grid.values.T]
            return sum(min(f.p_above(0.0), f.p_below(0.0)) <= 0.025 / 40 for f in found)

        wrong = any_head(draw, 50, n, one_by_one)
        calibration.mutant(
            "C10", "Bonferroni over heads", wrong, bound=0.9, runs=50, quantity=FINDS, least=True
        )
        assert wrong < 0.9
