"""Circuits: the algebra of sets, and refusals."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causaltest.circuits import Circuit
from causaltest.errors import SiteError
from causaltest.sites import Site, attention_output, head_query_output, mlp_output

_sites = st.one_of(
    st.integers(0, 5).map(mlp_output),
    st.integers(0, 5).map(attention_output),
    st.builds(head_query_output, st.integers(0, 2), st.integers(0, 2)),
)
_lists = st.lists(_sites, max_size=8)


@given(_lists, _lists)
def test_union_is_that_of_sets(one, other) -> None:
    """`+` and `|` give every member once, whatever the order and the kind of the other side."""
    union = Circuit(*one) + Circuit(*other)
    assert set(union) == set(one) | set(other)
    assert len(union) == len(set(one) | set(other))
    assert union == Circuit(*other) + Circuit(*one) == Circuit(*one) | other


@given(_lists, _lists)
def test_difference_is_that_of_sets(one, other) -> None:
    """What is added and then removed leaves the members that were not removed."""
    whole = Circuit(*one) + other
    assert set(whole - other) == set(one) - set(other)
    assert (whole - other) + other == whole
    assert len(whole - whole) == 0


@given(_lists, _sites)
def test_a_new_part_added_and_removed_changes_nothing(members, part) -> None:
    """Circuit + part - part is the circuit, for a part that it does not have."""
    circuit = Circuit(*(site for site in members if site != part))
    assert part not in circuit
    assert part in circuit + part
    assert circuit + part - part == circuit


@given(_lists, st.randoms())
def test_order_and_repetition_do_not_matter(members, random) -> None:
    """Circuits are equal and have one hash if their members are the same."""
    shuffled = [*members, *members[:2]]
    random.shuffle(shuffled)
    assert Circuit(*members) == Circuit(*shuffled)
    assert hash(Circuit(*members)) == hash(Circuit(*shuffled))
    assert list(Circuit(*members)) == list(Circuit(*shuffled))


def test_printing_cuts_long_lists() -> None:
    """A circuit prints its members, a long one with their number."""
    assert str(Circuit(mlp_output(1), mlp_output(0))) == "mlp_output[0], mlp_output[1]"
    long = Circuit(*(mlp_output(layer) for layer in range(6)))
    assert str(long) == "mlp_output[0], mlp_output[1], mlp_output[2], ... (6 sites)"
    assert str(Circuit()) == "(empty circuit)"


@pytest.mark.parametrize(
    "make, message",
    [
        (
            lambda: Circuit("mlp"),
            "a circuit is made of sites such as mlp_output(0); got 'mlp' (str)",
        ),
        (
            lambda: Circuit([mlp_output(0)]),
            "a circuit is made of sites such as mlp_output(0); got [",
        ),
        (lambda: Circuit() + 3, "a circuit takes sites such as mlp_output(0); got 3 (int)"),
        (lambda: Circuit() | None, "a circuit takes sites such as mlp_output(0); got None (NoneT"),
        (
            lambda: Circuit(mlp_output(0)) - [mlp_output(1), mlp_output(0), mlp_output(2)],
            "cannot remove mlp_output[1], mlp_output[2]: not in the circuit mlp_output[0]",
        ),
    ],
)
def test_refusals(make, message) -> None:
    """What is no site, and removing what is not there, is refused."""
    with pytest.raises(SiteError, match=re.escape(message)):
        make()


def test_membership_is_of_sites() -> None:
    """A name is no member, and a site at another position is another site."""
    circuit = Circuit(mlp_output(0))
    assert "mlp_output[0]" not in circuit
    assert mlp_output(0, pos="end") not in circuit
    assert Site("mlp_output", layer=0) in circuit
