"""Error rates on real placebo effects: heads of a trained model, sources with the same answer.

Tim's story is told with Timmy's activations and back, so that no effect on the pronoun is meant to
exist. The effects of each head are centred over templates, which makes the true mean of what is
drawn from them 0; what remains is the shape of real effects: their skew, tails and dependence
between heads. With a random sign for each unit they are symmetric as well.
"""

import math

import numpy as np
import pytest

from causaltest import (
    Causal,
    Grid,
    Model,
    Pairs,
    head_attention_value_output,
    interchange,
    logit_diff,
)
from causaltest.stats.columnwise import hull_p

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
PLACEBOS = "real placebo effects"
TIERS = pytest.mark.parametrize(
    "quarter", [pytest.param(4, id="quarter"), pytest.param(1, id="full", marks=pytest.mark.slow)]
)


def limit_of(nominal, runs):
    """Return a nominal rate and two standard errors."""
    return nominal + 2 * math.sqrt(nominal * (1 - nominal) / runs)


@pytest.fixture(scope="module")
def placebo(real_models):
    """Effects on the pronoun, shape (templates, directions, heads), of no mean over templates."""
    causal = Causal(Model.load(str(real_models / "stories260k")))
    answers = {"base_answer": " He", "source_answer": " She"}
    names = [("Tim", "Timmy"), ("Timmy", "Tim")]
    contrasts = [{"base": {"name": a}, "source": {"name": b}, **answers} for a, b in names]
    pairs = Pairs.from_templates(TEMPLATES, contrasts, name="boys")
    columns = [
        causal.effect(
            interchange(head_attention_value_output(layer, head, pos="end")),
            on=pairs,
            metric=logit_diff,
        ).values
        for layer in range(5)
        for head in range(8)
    ]
    values = np.array(columns).T.reshape(len(TEMPLATES), 2, 40)
    assert values.std() > 0
    return values - values.mean(axis=(0, 1))


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


@TIERS
def test_c7_on_placebos_by_template(placebo, quarter, calibration):
    """Two pairs of each of 15 templates with a common sign: .0597 in both directions together."""
    runs = 2_000 // quarter
    rng = np.random.default_rng(7)
    heads, chosen = rng.integers(40, size=runs), rng.integers(len(placebo), size=(15, runs))
    signed = placebo[chosen, :, heads] * rng.choice([-1.0, 1.0], (15, runs, 1))
    p = hull_p(signed.mean(axis=2), resamples=1_999, seed=0)
    rate, limit = sum((side <= 0.025).mean() for side in p), limit_of(0.05, runs)
    setting = "signs drawn, 15 x 2"
    calibration.record("C7", setting, rate, bound=limit, runs=runs, nominal=0.05, quantity=PLACEBOS)
    assert rate <= limit


def any_head(values, runs, n, *, signs):
    """Return the share of maps of all heads in which the public claim finds one."""
    rng = np.random.default_rng([10, n])
    ids = [f"t{i:02d}" for i in range(n)]
    found = 0
    for _ in range(runs):
        sample = values[rng.integers(len(values), size=n)]
        if signs:
            sample = sample * rng.choice([-1.0, 1.0], (n, 1))
        grid = Grid(sample, axes={"head": range(values.shape[1])}, units=ids, pair_ids=ids)
        found += bool((grid.significant().p_adjusted <= 0.05).any())
    return found / runs


ONE_TEMPLATE = pytest.mark.xfail(
    reason="in two heads of the first layer one template of 40 is 94 % and 98 % of the variation; "
    "three samples of five lack it, and there the other templates agree on a mean that is not 0"
)


@TIERS
@pytest.mark.parametrize(
    "kind", ["signs drawn", "carried by several", pytest.param("all", marks=ONE_TEMPLATE)]
)
def test_c10_on_maps_of_placebos(placebo, kind, quarter, calibration):
    """Over all heads at once, at most .064 of maps of placebos show any.

    As they are, without signs, this takes effects that several templates carry: no procedure knows
    of a response that is not in its sample.
    """
    runs = 1_000 // quarter
    values = placebo[:, 0] - placebo[:, 0].mean(axis=0)
    if kind == "carried by several":
        squares = values**2
        values = values[:, squares.max(axis=0) < 0.5 * squares.sum(axis=0)]
        assert values.shape[1] > 30
    rate, limit = any_head(values, runs, 20, signs=kind == "signs drawn"), limit_of(0.05, runs)
    setting = f"{values.shape[1]} heads, {kind}, n = 20"
    quantity = PLACEBOS + (", heads carried by one template" if kind == "all" else "")
    calibration.record(
        "C10", setting, rate, bound=limit, runs=runs, nominal=0.05, quantity=quantity
    )
    assert rate <= limit
