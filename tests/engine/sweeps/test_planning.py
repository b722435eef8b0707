"""Cuts, buckets and what tokens tell, against brute force."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import chain, combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causaltest.engine.sweeps.plan import Job, Plan
from causaltest.engine.sweeps.planning import (
    Strip,
    buckets,
    by_pairs,
    cut,
    portions,
    rows_of,
    runs,
    same_so_far,
)

strips = st.lists(
    st.builds(
        Strip,
        st.integers(0, 3),
        st.integers(0, 1),
        st.lists(st.integers(0, 20), min_size=1, max_size=9).map(tuple),
    ),
    max_size=6,
)


@given(strips, st.integers(1, 12))
def test_pieces_hold_all_rows_in_order_and_none_is_too_large(wanted, most):
    """Cutting loses no row, keeps the order, and fills every piece but the last."""
    pieces = list(cut(wanted, most))
    rows = [(s.cell, s.draw, pair) for s in wanted for pair in s.pairs]
    assert [(s.cell, s.draw, p) for each in pieces for s in each for p in s.pairs] == rows
    assert [rows_of(each) for each in pieces[:-1]] == [most] * max(0, len(pieces) - 1)
    assert all(0 < rows_of(each) <= most for each in pieces)


@given(strips, st.integers(1, 60))
def test_groups_hold_whole_pairs_and_as_many_as_fit(wanted, most):
    """Splitting loses no row; a group that holds more than asked for holds one pair."""
    length = 5
    groups = list(by_pairs(wanted, length, most))
    rows = sorted((s.cell, s.draw, pair) for s in wanted for pair in s.pairs)
    assert sorted((s.cell, s.draw, p) for g in groups for s in g for p in s.pairs) == rows
    held = [{pair for strip in group for pair in strip.pairs} for group in groups]
    assert sum(map(len, held)) == len(set().union(*held)) if held else not rows
    for group, pairs in zip(groups, held, strict=True):
        assert rows_of(group) * length <= most or len(pairs) == 1


def _cost(starts, weights, length, layers, overhead, width=None):
    tokens = 0.0
    for place, weight in weights.items():
        start = max(s for s in starts if s <= place)
        longest = length - start
        if width is None:
            tokens += weight * longest
            continue
        stop = max(p for p in weights if max(s for s in starts if s <= p) == start)
        alone = (length - place) + (length - stop) > longest
        taken = longest if alone else length - place
        tokens += weight * taken * (1 + (stop + longest) / (6 * width))
    return tokens + overhead * layers * len(starts)


@given(
    st.dictionaries(st.integers(0, 7), st.integers(1, 60), min_size=1),
    st.integers(1, 4),
    st.integers(0, 40),
    st.sampled_from([None, 4, 64]),
)
def test_buckets_cost_least_of_all_choices(weights, layers, overhead, width):
    """No other set of starts is cheaper, tried one by one."""
    places, length = sorted(weights), 8
    choices = chain.from_iterable(combinations(places, n) for n in range(1, len(places) + 1))
    least = min(
        _cost(starts, weights, length, layers, overhead, width)
        for starts in choices
        if starts[0] == places[0]
    )
    found = buckets(weights, length, layers=layers, overhead=overhead, width=width)
    assert found == tuple(sorted(set(found)))
    assert _cost(found, weights, length, layers, overhead, width) == pytest.approx(least)


def test_no_rows_need_no_pass():
    """Where nothing is to be run no pass begins."""
    assert buckets({}, 5, layers=2) == ()


@given(st.lists(st.integers(0, 2), max_size=20))
def test_runs_put_together_give_the_keys(keys):
    """Runs cover all keys, and neighbouring runs differ."""
    found = list(runs(keys))
    assert [key for key, start, stop in found for _ in range(start, stop)] == keys
    assert all(one[0] != other[0] for one, other in pairwise(found))


@pytest.mark.parametrize(
    "base, source, edited, taken, same",
    [
        ((1, 2, 3), (1, 2, 4), (1,), (1,), True),
        ((1, 2, 3), (1, 2, 4), (2,), (2,), False),
        ((1, 2, 3), (1, 2, 4), (0, 2), (0, 2), False),
        ((1, 1, 3), (1, 1, 4), (0,), (1,), False),
        ((1, 2, 3), (9, 2, 3), (2,), (2,), False),
        ((1, 2), (1, 2, 3), (1,), (1,), True),
    ],
)
def test_activations_are_known_to_be_the_same_only_up_to_the_first_other_token(
    base, source, edited, taken, same
):
    """A causal model has one state at a place if all tokens up to it, and the place, agree."""
    assert same_so_far(base, source, edited, taken) is same


def test_a_job_is_plain_data():
    """A job can be written down and read again."""
    job = Job((0, 2), (1, 3), "growing")
    read = json.loads(json.dumps(asdict(job)))
    assert Job(tuple(read["pairs"]), tuple(read["cells"]), read["plan"]) == job


def test_a_plan_says_what_was_run():
    """A plan shows its name, reasons, cost, check and inert cells, a line each."""
    plan = Plan(
        name="growing", reasons=("the model is causal",), pairs=2, cells=6, rows=9,
        forward_equivalents=4.25, known=3, checked=(0, 5), difference=4e-7, inert=(1, 2),
    )  # fmt: skip
    assert str(plan).splitlines() == [
        "growing: one walk down the blocks; rows join where they are first edited",
        "  the model is causal",
        "  6 cells on 2 pairs, 3 of 12 values known to be those of the base run",
        "  at most 9 rows in a pass; arithmetic of 4.2 forward passes, where one for each value "
        "takes 12",
        "  2 cells checked by a plain forward pass: within 4e-07 of the largest logit",
        "  2 cells changed nothing in any pair: 1, 2",
    ]


def test_a_plan_shortens_a_long_list_of_inert_cells():
    """Eight inert cells are named, the rest is counted."""
    plan = Plan(name="loop", reasons=(), pairs=1, cells=12, inert=tuple(range(10)))
    assert str(plan).splitlines()[-1] == (
        "  10 cells changed nothing in any pair: 0, 1, 2, 3, 4, 5, 6, 7, ..."
    )


@given(
    works=st.lists(st.integers(0, 9), min_size=1, max_size=12),
    pairs=st.integers(1, 30),
    most=st.integers(1, 40),
    enough=st.floats(0.5, 300),
)
def test_portions_hold_each_pair_and_cell_once(works, pairs, most, enough):
    """Nothing is left out or twice, and no portion is more than is worth keeping."""
    found = list(
        portions(dict(enumerate(works)), range(pairs), most=most, enough=enough)
    )  # fmt: skip
    held = sorted((pair, cell) for group, cells in found for pair in group for cell in cells)
    assert held == [(pair, cell) for pair in range(pairs) for cell in range(len(works))]
    size = max(enough, sum(works) * pairs / 20)
    for group, cells in found:
        assert len(group) <= most
        work = len(group) * sum(works[cell] for cell in cells)
        # Cells cannot be cut, and parts are as even as they can be.
        assert work <= 1.5 * size + max(works)
    if sum(works) * pairs <= enough and pairs <= most:
        assert len(found) == 1
