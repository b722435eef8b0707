"""Grids: what is found in a map, what can be claimed of it, and what is refused."""

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causaltest.errors import EvidenceError, Inconclusive, MetricError, PairError
from causaltest.stats import Judge
from causaltest.stats.columnwise import hull_p
from causaltest.stats.hull import fit
from causaltest.stats.sweep import Grid

AXES = {"layer": range(4), "pos": ["name", "verb", "end"]}


def grid_of(values, units=None, axes=AXES, **more):
    """Return a grid of pairs that are their own units, or of the units given."""
    ids = [f"pair {i:03d}" for i in range(len(values))]
    more.setdefault("subject", "logit_diff of a sweep")
    return Grid(
        values,
        axes=axes,
        units=ids if units is None else units,
        unit="pair" if units is None else "template",
        pair_ids=ids,
        **more,
    )


def noise(n=30, seed=0, hot=1.0, spread=0.5):
    """Return noise in 4 x 3 cells with an effect in layer 1 at the end."""
    values = np.random.default_rng(seed).normal(0.0, spread, (n, 4, 3))
    values[:, 1, 2] += hot
    return values


# Reading a grid


def test_means_over_cells():
    """Axes that are not named are averaged over whole, and a label may be one or several."""
    values = noise()
    grid = grid_of(values)
    assert grid.mean_over().estimate == pytest.approx(values.mean())
    assert grid.mean_over(layer=1, pos="end").estimate == pytest.approx(values[:, 1, 2].mean())
    assert grid.mean_over(layer=[0, 1]).estimate == pytest.approx(values[:, :2].mean())
    assert grid.mean_over([(1, "end"), (2, "name")]).estimate == pytest.approx(
        (values[:, 1, 2].mean() + values[:, 2, 0].mean()) / 2
    )
    assert grid.mean_over({"pos": "end"}).values == pytest.approx(values[:, :, 2].mean(axis=1))
    assert grid.mean_over(layer=1, pos="end") > 0.5


def test_one_axis_takes_bare_labels():
    """A sweep over heads alone names a cell by its label."""
    grid = grid_of(noise().reshape(30, 12), axes={"head": range(12)})
    assert grid.mean_over([5]).estimate == grid.mean_over(head=5).estimate
    assert list(grid.significant()) == [(5,)]
    assert 5 in grid.significant()


def test_a_ratio_of_means_in_each_cell():
    """With denominators each cell is a share of the total effect."""
    values = noise()
    gaps = np.random.default_rng(1).normal(2.0, 0.3, 30)
    grid = grid_of(values, scale=gaps)
    assert grid.estimate == pytest.approx(values.mean(axis=0) / gaps.mean())
    assert list(grid.significant()) == [(1, "end")]
    found = grid.significant()
    # One cell's simultaneous interval holds its own interval.
    alone = grid.mean_over(layer=1, pos="end").interval
    assert found.lower[1, 2] < alone.low < alone.high < found.upper[1, 2]


def test_order_and_labels_of_units_do_not_matter():
    """Shuffled pairs give the same map, bit for bit."""
    values, units = noise(36), [f"t{i % 12:02d}" for i in range(36)]
    ids = [f"pair {i:03d}" for i in range(36)]
    order = np.random.default_rng(2).permutation(36)
    one = grid_of(values, units).significant()
    other = Grid(
        values[order],
        axes=AXES,
        units=[units[i] for i in order],
        unit="template",
        pair_ids=[ids[i] for i in order],
    ).significant()
    assert np.array_equal(one.p_adjusted, other.p_adjusted)
    assert np.array_equal(one.lower, other.lower)


# Family-wise significance


def test_step_down_against_a_loop():
    """Adjusted p-values are those of Romano and Wolf's definition written out cell by cell."""
    from causaltest.stats.hull import bootstrap_t
    from causaltest.stats.maxima import bootstrap_tail

    values = np.random.default_rng(3).normal(0.2, 1.0, (20, 6))
    t = values.mean(axis=0) / values.std(axis=0, ddof=1) * math.sqrt(20)
    drawn = bootstrap_t(values, resamples=799, seed=5)
    left, previous, expected = list(range(6)), 0.0, {}
    while left:
        best = max(left, key=lambda cell: t[cell])
        p = (1 + (drawn[:, left].max(axis=1) >= t[best]).sum()) / 800
        previous = expected[best] = max(previous, p)
        left.remove(best)
    found = bootstrap_tail(values, t, resamples=799, seed=5)
    assert found.p == pytest.approx([expected[cell] for cell in range(6)], abs=1e-12)


def test_joint_flips_against_a_loop():
    """The exact p of the largest cell counts all 1,024 joint patterns."""
    from causaltest.stats.maxima import flipped_tail

    values = np.random.default_rng(4).normal(0.4, 1.0, (10, 5))
    signs = 1.0 - 2.0 * ((np.arange(1_024)[:, None] >> np.arange(10)) & 1)
    flipped = signs[:, :, None] * values
    t = flipped.mean(axis=1) / flipped.std(axis=1, ddof=1) * math.sqrt(10)
    observed = t[0]
    top = t.max(axis=1)
    found = flipped_tail(values, resamples=99, seed=0)
    best = int(observed.argmax())
    assert found.p[best] == (top >= observed[best] - 1e-9).mean()
    second = int(np.argsort(-observed)[1])
    rest = np.delete(t, best, axis=1).max(axis=1)
    assert found.p[second] == max((rest >= observed[second] - 1e-9).mean(), found.p[best])


def test_the_hull_of_many_columns_is_the_hull_of_each():
    """P-values of all columns at once are those of the interval code one by one."""
    values = np.random.default_rng(6).exponential(size=(15, 5)) - 0.5
    above, below = hull_p(values, resamples=999, seed=7)
    for column in range(5):
        one = fit(np.ascontiguousarray(values[:, column]), resamples=999, seed=7)
        assert one is not None
        assert above[column] == pytest.approx(one.p_above(0.0), abs=1e-3)
        assert below[column] == pytest.approx(one.p_below(0.0), abs=1e-3)


def test_directions_spend_the_whole_level():
    """A direction fixed beforehand halves the p-value of a cell on its side."""
    grid = grid_of(noise(hot=0.25))
    both = grid.significant().p_adjusted[1, 2]
    assert grid.significant(direction="above").p_adjusted[1, 2] == pytest.approx(both / 2, rel=0.1)
    below = grid.significant(direction="below")
    assert len(below) == 0
    assert np.isneginf(below.lower).all()


def test_resamples_are_added_near_the_level():
    """A cell at the very level is looked at with 99,999 resamples, a clear one is not."""
    values = np.random.default_rng(9).normal(0.5, 0.5, (20, 1))
    grid = grid_of(values, axes={"head": [7]})
    clear = grid.significant(bound=-5.0)
    assert clear.method.endswith("9,999 resamples")
    assert not clear.method.endswith("99,999 resamples")
    at = float(clear.lower[0])
    near = grid.significant(bound=at)
    assert near.method.endswith("99,999 resamples")
    assert near.p_adjusted.max() == pytest.approx(0.05, abs=0.01)


def test_cells_without_variation():
    """Exact zeros are never found and take no part in the maximum; constants count by value."""
    values = noise()
    before = grid_of(values).significant()
    padded = np.concatenate([values, np.zeros((30, 4, 2))], axis=2)
    padded[:, 0, 4] = 0.3
    axes = {"layer": range(4), "pos": ["name", "verb", "end", "pad", "bos"]}
    grid = grid_of(padded, axes=axes)
    after = grid.significant()
    assert np.array_equal(before.p_adjusted, after.p_adjusted[:, :3])
    assert set(after) == {(1, "end"), (0, "bos")}
    assert after.lower[2, 3] == after.upper[2, 3] == 0.0
    assert after.notes == ("8 cells are the same in all pairs: their value decides",)
    assert (2, "pad") in grid.known_small(0.05)


def test_a_map_without_any_variation():
    """All cells constant: decided by value, without an exception."""
    values = np.zeros((12, 4, 3))
    values[:, 0, 0] = 1.0
    assert list(grid_of(values).significant()) == [(0, "name")]
    assert (grid_of(values).largest > 0.5).name == "supported"
    assert (grid_of(np.zeros((12, 4, 3))).largest > 0.0).name == "refuted"


def test_effects_below_the_floor_are_zero():
    """Noise within the numeric floor is not found, however regular it is."""
    values = 1e-7 + 1e-9 * np.random.default_rng(0).normal(size=(30, 4, 3))
    assert len(grid_of(values, floor=1e-6).significant()) == 0
    assert len(grid_of(values).significant()) == 12


def test_known_small_is_not_unknown():
    """A cell is known to be small only where its simultaneous interval says so."""
    values = noise(60, spread=0.2)
    values[:, 3, 0] += np.random.default_rng(1).normal(0, 3.0, 60)
    small = grid_of(values).known_small(0.25)
    assert (1, "end") not in small
    assert (3, "name") not in small
    assert len(small) == 10


@settings(max_examples=8)
@given(st.integers(0, 10**6), st.sampled_from([0.25, 4.0]))
def test_scale_and_sign_move_along(seed, factor):
    """Scaled values keep their p-values; mirrored ones exchange lower and upper bounds."""
    values = np.random.default_rng(seed).normal(0.2, 1.0, (16, 4, 3))
    judge = Judge(seed=1)
    found = grid_of(values, judge=judge).significant()
    scaled = grid_of(factor * values, judge=judge).significant()
    assert np.array_equal(found.p_adjusted, scaled.p_adjusted)
    assert scaled.lower == pytest.approx(factor * found.lower)
    mirrored = grid_of(-values, judge=judge).significant()
    assert np.array_equal(found.p_adjusted, mirrored.p_adjusted)
    assert mirrored.upper == pytest.approx(-found.lower)


# Claims


def test_localised_effects():
    """Hot cells hold the effect, the rest is small: supported; elsewhere: refuted."""
    grid = grid_of(noise())
    claim = grid.localised({"layer": 1, "pos": "end"}, at_least=0.5, contrast=0.5, cold_within=0.6)
    assert claim.name == "supported"
    assert len(claim.members) == 3
    assert any("of the positive effect; the peak is among them in" in n for n in claim.notes)
    wrong = grid.localised([(0, "name")], contrast=0.5)
    assert wrong.name == "refuted"
    assert "not: logit_diff of a sweep at" in "\n".join(wrong.explain())
    half = grid.localised([(1, "end"), (2, "end")], at_least=0.4)
    assert half.name == "refuted"
    assert [each.subject for each in half.unsupported] == [
        "logit_diff of a sweep at layer=2 pos='end'"
    ]


def test_localised_is_observed_once():
    """The claim reaches the session as one verdict, with the parts inside."""
    seen = []
    grid = grid_of(noise(), judge=Judge(observe=seen.append))
    claim = grid.localised({"layer": 1, "pos": "end"})
    assert claim
    assert seen == [claim]


def test_every_cell_and_the_largest():
    """`every` asks all cells of a choice, `largest` whether any or none of the map exceeds."""
    grid = grid_of(noise())
    assert grid.every(layer=1, pos="end") > 0.5
    assert (grid.every(layer=1) > 0.5).name == "refuted"
    assert abs(grid.every(layer=[0, 2, 3])) < 0.6
    assert grid.largest > 0.5
    assert grid.largest < 2.0
    assert (grid.largest > 1.5).name == "refuted"
    assert (grid.largest > 1.0).name == "inconclusive"
    with pytest.raises(Inconclusive):
        assert grid.largest > 1.0


def test_the_largest_is_dual_to_its_interval():
    """Support and refutation of a bound follow the adjusted interval."""
    grid = grid_of(noise(hot=0.5))
    interval = (grid.largest > 0.4).adjusted_interval
    for bound in np.linspace(0.05, 1.0, 13):
        verdict = grid.largest > bound
        assert (verdict.name == "supported") == (interval.low > bound)
        assert (verdict.name == "refuted") == (interval.high < bound)


def test_more_cells_than_are_shown_decide_alike():
    """With eighty cells the verdict keeps the extreme ones; its p-values are those of all."""
    values = np.random.default_rng(8).normal(0.5, 1.0, (30, 80))
    ids = [f"p{i:02d}" for i in range(30)]
    grid = Grid(values, axes={"head": range(80)}, units=ids, pair_ids=ids)
    verdict = grid.every() > 0.2
    judge = Judge(parts=80)
    alone = [
        grid_of(values[:, [i]], axes={"head": [0]}, judge=judge).mean_over() > 0.2
        for i in range(80)
    ]
    assert verdict.p_support == pytest.approx(max(each.p_support for each in alone))
    assert verdict.p_refute == pytest.approx(min(1, 80 * min(e.p_refute for e in alone)))
    weak = sum(each.name != "supported" for each in alone)
    assert f"{weak} of 80 cells are not supported" in verdict.notes


# Discovery and confirmation


def test_what_was_found_is_judged_on_other_pairs():
    """Cells chosen on some units are refused on these and taken on others."""
    values = noise(60)
    units = [f"t{i % 20:02d}" for i in range(60)]
    first = np.array([int(u[1:]) < 10 for u in units])
    ids = [f"pair {i}" for i in range(60)]

    def part(mask):
        chosen = np.flatnonzero(mask)
        return Grid(
            values[chosen],
            axes=AXES,
            units=[units[i] for i in chosen],
            unit="template",
            pair_ids=[ids[i] for i in chosen],
        )

    discover, confirm = part(first), part(~first)
    hot = discover.strongest()
    assert list(hot) == [(1, "end")]
    assert confirm.mean_over(hot) > 0.5
    assert confirm.localised(hot)
    for claim in (discover.mean_over, discover.localised, discover.every):
        with pytest.raises(EvidenceError, match="cannot be judged on the data it rests on"):
            claim(hot)
    found = discover.significant()
    for same in (found, found.cells):
        with pytest.raises(EvidenceError) as caught:
            discover.every(same)
    message = str(caught.value)
    assert message.startswith("1 cell chosen by grid.significant() cannot be judged on the data")
    assert "10 templates were used for it, e.g. 't00'" in message


def test_pairs_in_other_units_are_the_pairs_that_were_seen():
    """Cells chosen with templates as units are refused on the same pairs as units of their own."""
    values = noise(60)
    ids = [f"pair {i}" for i in range(60)]
    units = [f"t{i % 20:02d}" for i in range(60)]
    hot = Grid(values, axes=AXES, units=units, unit="template", pair_ids=ids).strongest()
    with pytest.raises(EvidenceError, match=r"on: 60 pairs were used for it, e\.g\. 'pair 0'"):
        Grid(values, axes=AXES, units=ids, pair_ids=ids).mean_over(hot)
    new = [f"new {i}" for i in range(60)]
    assert Grid(values, axes=AXES, units=new, pair_ids=new).mean_over(hot).n_pairs == 60


# Placebos


def test_placebos_come_off_pair_by_pair():
    """Differences match pairs by id, add up floors, and are judged by sign flips."""
    values, placebo = noise(10), noise(10, seed=1, hot=0.0)
    ids = [f"pair {i:03d}" for i in range(10)]
    more = {"axes": AXES, "subject": "logit_diff of a sweep", "floor": 0.01}
    grid = Grid(values, units=ids, pair_ids=ids, **more)
    other = Grid(placebo[::-1], units=ids[::-1], pair_ids=ids[::-1], **more)
    difference = grid.against(other)
    assert difference.values == pytest.approx(values - placebo)
    found = difference.significant()
    assert list(found) == [(1, "end")]
    assert found.method == (
        "step-down sign-flip max-T over 12 cells and 10 pairs, all 1,024 sign patterns"
    )
    assert difference.mean_over(layer=1, pos="end").floor == pytest.approx(0.02)


def test_placebos_must_match():
    """Other axes, pairs or total effects are refused."""
    grid = grid_of(noise())
    with pytest.raises(MetricError, match="axes and metric must be the same"):
        grid.against(grid_of(noise().reshape(30, 12), axes={"head": range(12)}))
    with pytest.raises(PairError, match="same pairs on both sides"):
        grid.against(grid_of(noise(20)))
    with pytest.raises(MetricError, match="shares of different total effects"):
        grid.against(grid_of(noise(), scale=np.ones(30)))


# Refusals


@pytest.mark.parametrize(
    "make, error, message",
    [
        (
            lambda: grid_of(noise()).mean_over(layre=1),
            MetricError,
            "the sweep has no axis 'layre' (it has layer, pos); did you mean 'layer'?",
        ),
        (
            lambda: grid_of(noise()).mean_over(pos="nmae"),
            MetricError,
            "axis 'pos' has no label 'nmae' (it has 'name', 'verb', 'end'); did you mean 'name'?",
        ),
        (
            lambda: grid_of(noise()).mean_over([(1,)]),
            MetricError,
            "a cell of this sweep has 2 labels (layer, pos), got (1,)",
        ),
        (
            lambda: grid_of(noise()).localised({}),
            MetricError,
            "every cell is hot: name fewer, so that there is something beside",
        ),
        (
            lambda: grid_of(noise(), axes={"layer": range(3), "pos": AXES["pos"]}),
            MetricError,
            "logit_diff of a sweep: the axes have layer: 3, pos: 3 labels, but each pair has "
            "values of shape (4, 3)",
        ),
        (
            lambda: grid_of(noise(), axes={"layer": range(4), "pos": ["a", "b", "a"]}),
            MetricError,
            "axis 'pos' has the label 'a' twice",
        ),
        (
            lambda: grid_of(np.where(noise() == noise().max(), np.nan, noise())),
            EvidenceError,
            "logit_diff of a sweep: the value is nan at layer=1 pos='end' for pair",
        ),
        (
            lambda: grid_of(noise(4)).significant(),
            EvidenceError,
            "logit_diff of a sweep: 4 units cannot carry a verdict; at least 5 are needed",
        ),
        (
            lambda: grid_of(noise(5)).against(grid_of(noise(5, seed=1))).significant(),
            EvidenceError,
            "5 units cannot be judged by sign flips at a level of 0.025 a side",
        ),
        (
            lambda: grid_of(noise(), scale=-np.ones(30)).significant(),
            EvidenceError,
            "the total effect is not positive (its mean is -1)",
        ),
        (
            lambda: grid_of(noise(), scale=np.tile([3.0, -2.9], 15)).largest > 0.0,
            EvidenceError,
            "total effect too weak to divide by: the largest share of it has no finite 95%",
        ),
        (
            lambda: grid_of(noise()).known_small(0.0),
            EvidenceError,
            "a margin of 0 is not above the numeric floor 0",
        ),
        (
            lambda: bool(grid_of(noise()).significant()),
            TypeError,
            "significant cells make no claim; claim `grid.largest > bound` for some cell",
        ),
        (lambda: bool(grid_of(noise())), TypeError, "a grid has no truth value; claim"),
        (
            lambda: bool(grid_of(noise()).every()),
            TypeError,
            "cells have no truth value; compare them with a bound that each must meet",
        ),
    ],
)
def test_refusals(make, error, message):
    """What cannot be meant or judged is refused with what to do instead."""
    with pytest.raises(error, match=re.escape(message)):
        make()


def test_few_units_are_said():
    """A raw map of 12 units carries the advice to measure placebos."""
    (note,) = grid_of(noise(12)).significant().notes
    assert note == (
        "12 pairs are few for a bootstrap over cells, which then finds little: take 20, or a "
        "placebo for each pair (grid.against)"
    )


def test_cells_carried_by_one_unit_are_said():
    """A raw map counts cells in which one unit outweighs the others; less a placebo it need not."""
    values = noise()
    values[7, 1, 2] = 40.0
    grid = grid_of(values)
    assert grid.significant().notes == (
        "1 cell responds to one pair more than to all others together: take a placebo for each "
        "pair (grid.against), or name a bound",
    )
    values[3, 0, 0] = -40.0
    assert (grid_of(values).largest > 0.1).notes[1].startswith("2 cells respond to one pair")
    assert grid_of(values).against(grid_of(noise(seed=1))).significant().notes == ()


def test_the_largest_cell_counts_pairs_and_units():
    """Its verdict rests on unit means, and says how many pairs they are of."""
    values = np.random.default_rng(0).normal(0.3, 0.5, (48, 2, 2))
    units = [f"template {i % 12}" for i in range(48)]
    ids = [f"pair {i}" for i in range(48)]
    axes = {"layer": [0, 1], "pos": ["name", "end"]}
    grid = Grid(values, axes=axes, units=units, unit="template", pair_ids=ids)
    verdict = grid.largest > 0.35
    assert (verdict.n_pairs, verdict.n_units) == (48, 12)
    alone = Grid(values[:12], axes=axes, units=ids[:12], pair_ids=ids[:12]).largest > 0.35
    assert (alone.n_pairs, alone.n_units) == (12, 12)
    assert verdict.name == "inconclusive"
    assert verdict.pairs_needed is not None
    assert verdict.pairs_needed % 4 == 0


def test_the_largest_share_of_a_weak_total_is_no_surer_than_the_total():
    """No share of a total is shown that its interval does not show: the interval has no end."""
    seen = set()
    for seed in range(60):
        rng = np.random.default_rng(seed)
        names = [f"p{i}" for i in range(5)]
        values = np.column_stack([rng.normal(size=(5, 3)), np.zeros(5), np.full(5, 0.5)])
        grid = Grid(
            values, axes={"layer": range(5)}, scale=np.abs(rng.normal(size=5)) + 0.1, units=names,
            pair_ids=names,
        )  # fmt: skip
        try:
            verdict = grid.largest > 0.2
        except EvidenceError:
            seen.add("weak")
            continue
        seen.add(verdict.name)
        assert (verdict.name == "supported") == (verdict.adjusted_interval.low > 0.2), seed
    assert seen >= {"inconclusive", "weak"}
