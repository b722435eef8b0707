"""Levels passed on by gates keep the family's error rate and waste none of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from causaltest.stats.gatekeeping import cycle_in, serial_levels


@st.composite
def families(draw):
    """Weights, and gates that stand before what they gate."""
    names = [f"h{i}" for i in range(draw(st.integers(1, 7)))]
    weights = {name: draw(st.floats(0.1, 5)) for name in names}
    gates = {
        name: draw(st.lists(st.sampled_from(names[:i]), max_size=2, unique=True)) if i else []
        for i, name in enumerate(names)
    }
    return weights, gates


def test_levels_by_hand():
    """Two gates in a row and one free hypothesis, worked out on paper."""
    weights = {"free": 2.0, "gate": 1.0, "child": 1.0, "grandchild": 2.0}
    gates = {"child": ["gate"], "grandchild": ["child"]}
    levels = serial_levels(weights, gates, 0.06)
    assert levels == pytest.approx({"free": 0.02, "gate": 0.04, "child": 0.04, "grandchild": 0.04})


def test_several_gates_pass_on_a_share_each():
    """A child of two gates gets half its mass from each."""
    levels = serial_levels(
        {"a": 1, "b": 1, "both": 1, "one": 1}, {"both": ["a", "b"], "one": ["a"]}, 1
    )
    # Masses: both 1, one 1, a 2.5, b 1.5. a gives both 0.5 of 1.5, b gives it all.
    assert levels == pytest.approx(
        {"a": 0.625, "b": 0.375, "both": 0.625 / 3 + 0.375, "one": 0.625 * 2 / 3}
    )


@given(families())
def test_a_gate_costs_nothing(family):
    """Every level is at least that of the family without gates, and the roots spend alpha."""
    weights, gates = family
    levels = serial_levels(weights, gates, 0.05)
    flat = {name: 0.05 * weight / sum(weights.values()) for name, weight in weights.items()}
    assert all(levels[name] >= flat[name] * (1 - 1e-9) for name in weights)
    assert sum(levels[name] for name in weights if not gates[name]) == pytest.approx(0.05)


@given(families(), st.integers(0, 2**32 - 1))
def test_rejected_in_any_order_no_more_than_alpha_is_ever_at_stake(family, seed):
    """The levels of false hypotheses that can be tested never add up to more than alpha.

    For any set of true claims (always supported) and false ones, the chance of a false support is
    at most the sum of levels of the false claims all of whose gates are true.
    """
    weights, gates = family
    levels = serial_levels(weights, gates, 0.05)
    true = dict(zip(weights, np.random.default_rng(seed).random(len(weights)) < 0.6, strict=True))

    def reachable(name: str) -> bool:
        return all(true[gate] and reachable(gate) for gate in gates[name])

    at_stake = [levels[name] for name in weights if not true[name] and reachable(name)]
    assert sum(at_stake) <= 0.05 * (1 + 1e-9)


@pytest.mark.parametrize(
    "gates, expected",
    [
        ({"a": ["a"]}, ("a", "a")),
        ({"x": ["a"], "a": ["b"], "b": ["c"], "c": ["a"]}, ("a", "b", "c", "a")),
        ({"a": ["b", "c"], "b": ["c"]}, ()),
    ],
)
def test_circles_are_found(gates, expected):
    """A circle is named in order; a diamond is none."""
    assert cycle_in(gates) == expected
