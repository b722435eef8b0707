"""Circuits: the algebra of sets, and refusals."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causaltest.circuits import Circuit, CircuitEdge
from causaltest.errors import SiteError
from causaltest.sites import (
    Site,
    attention_output,
    head_attention_value_output,
    head_query_output,
    mlp_output,
)

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


HEAD, EARLY, LATE = head_attention_value_output(1, 0), mlp_output(0), mlp_output(2)


def test_edges_join_members() -> None:
    """Edges are a set; a circuit with and one without are not equal, but have the same members."""
    drawn = [(EARLY, HEAD, "q"), ("input", EARLY), (LATE, "logits"), (EARLY, HEAD, "q")]
    circuit = Circuit(EARLY, HEAD, LATE, edges=drawn)
    assert [str(edge) for edge in circuit.edges] == [
        "input->mlp_output[0]",
        "mlp_output[0]->head_attention_value_output[1.0]<q>",
        "mlp_output[2]->logits",
    ]
    assert circuit == Circuit(LATE, HEAD, EARLY, edges=reversed(drawn))
    assert circuit != Circuit(EARLY, HEAD, LATE)
    assert list(circuit) == list(Circuit(EARLY, HEAD, LATE))


def test_edges_stay_while_both_ends_do() -> None:
    """A union has the edges of both; what is taken out takes its edges along."""
    one = Circuit(EARLY, HEAD, edges=[(EARLY, HEAD)])
    other = Circuit(HEAD, LATE, edges=[(HEAD, LATE), (LATE, "logits")])
    both = one + other
    assert set(both.edges) == set(one.edges) | set(other.edges)
    assert (both - HEAD).edges == (CircuitEdge(LATE, "logits"),)
    assert (one + LATE).edges == one.edges


@pytest.mark.parametrize(
    "edge, message",
    [
        (
            EARLY,
            "an edge of a circuit is (sender, receiver), or (sender, receiver, 'q') for what the "
            "queries of a head read; got Site(",
        ),
        ((EARLY,), "an edge of a circuit is (sender, receiver), or (sender, receiver, 'q')"),
        (
            (EARLY, HEAD, "query"),
            "the edge from mlp_output[0] to head_attention_value_output[1.0] names the channel "
            "'query'; expected 'q', 'k', 'v', or nothing",
        ),
        (
            (mlp_output(1), HEAD),
            "the edge mlp_output[1]->head_attention_value_output[1.0] has the sender "
            "mlp_output[1], which is no member of the circuit; expected a member or 'input'; did "
            "you mean 'mlp_output[2]'?",
        ),
        (
            (EARLY, "logit"),
            "has the receiver logit, which is no member of the circuit; expected a member or "
            "'logits'; did you mean 'logits'?",
        ),
        (("logits", HEAD), "has the sender logits, which is no member of the circuit"),
        (
            (EARLY, EARLY),
            "the edge mlp_output[0]->mlp_output[0] leads from mlp_output[0] to itself; take it out",
        ),
        (
            (LATE, HEAD),
            "the edge mlp_output[2]->head_attention_value_output[1.0] leads back, from layer 2 to "
            "layer 1; name the sender first",
        ),
    ],
)
def test_edges_that_join_nothing_are_refused(edge, message) -> None:
    """An edge has two members, or an end of the network, and leads forwards."""
    with pytest.raises(SiteError, match=re.escape(message)):
        Circuit(EARLY, HEAD, LATE, edges=[edge])


def test_membership_is_of_sites() -> None:
    """A name is no member, and a site at another position is another site."""
    circuit = Circuit(mlp_output(0))
    assert "mlp_output[0]" not in circuit
    assert mlp_output(0, pos="end") not in circuit
    assert Site("mlp_output", layer=0) in circuit
