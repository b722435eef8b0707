"""Interventions as data: text, equality, sums, and refusals."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from causaltest.errors import InterventionError
from causaltest.interventions import (
    Intervention,
    add,
    interchange,
    mean_ablate,
    noise,
    resample_ablate,
    zero_ablate,
)
from causaltest.pairs import Pair, Pairs
from causaltest.sites import block_output, mlp_output

SITE, OTHER = block_output(2, pos="name"), mlp_output(0)
POOL = Pairs([Pair((1,), (2,))], name="pool", cluster=None)
VERBS = (interchange, zero_ablate, mean_ablate, resample_ablate)

_single = st.sampled_from(
    [
        interchange(SITE),
        zero_ablate(OTHER),
        mean_ablate(SITE, over=POOL),
        resample_ablate(OTHER, draws=3),
        noise(SITE, sd=0.5, draws=4),
        add(OTHER, [1.0, 2.0]),
    ]
)


@pytest.mark.parametrize(
    "intervention, text",
    [
        (interchange(SITE), "interchange(block_output[2]@name)"),
        (zero_ablate(SITE, OTHER), "zero_ablate(block_output[2]@name, mlp_output[0])"),
        (mean_ablate(OTHER), "mean_ablate(mlp_output[0])"),
        (mean_ablate(OTHER, over=POOL), "mean_ablate(mlp_output[0], over=pool)"),
        (resample_ablate(OTHER, draws=3), "resample_ablate(mlp_output[0], draws=3)"),
        (
            resample_ablate(OTHER, over=POOL, seed=4),
            "resample_ablate(mlp_output[0], seed=4, over=pool, draws=10)",
        ),
        (noise(OTHER, sd=0.5, seed=2), "noise(mlp_output[0], seed=2, sd=0.5, draws=10)"),
        (add(OTHER, [3.0, 4.0]), "add(mlp_output[0], norm=5)"),
        (add(OTHER, [3.0, 4.0], scale=-2.0), "add(mlp_output[0], norm=10)"),
        (
            interchange(*(mlp_output(layer) for layer in range(9))),
            "interchange(mlp_output[0], mlp_output[1], mlp_output[2], ... (9 sites))",
        ),
        (
            interchange(SITE) + zero_ablate(OTHER),
            "interchange(block_output[2]@name) + zero_ablate(mlp_output[0])",
        ),
    ],
)
def test_text(intervention, text) -> None:
    """An intervention prints as what makes it."""
    assert str(intervention) == text


@given(_single, _single, _single)
def test_sums_are_associative_and_ordered(one, two, three) -> None:
    """A sum lists its parts in the order written, however it was bracketed."""
    left, right = (one + two) + three, one + (two + three)
    assert left == right
    assert hash(left) == hash(right)
    assert left.parts == (one, two, three)
    assert set(left.sites) == {*one.sites, *two.sites, *three.sites}
    assert left.draws == max(one.draws, two.draws, three.draws)
    assert (one + two == two + one) == (one == two)


@pytest.mark.parametrize("verb", VERBS)
def test_interventions_are_values(verb) -> None:
    """Equal descriptions are equal, hash alike, and cannot be changed."""
    assert verb(SITE) == verb(SITE)
    assert len({verb(SITE), verb(SITE), verb(OTHER)}) == 2
    assert verb(SITE) != verb(SITE, OTHER)
    with pytest.raises(AttributeError):
        verb(SITE).sites = ()


@pytest.mark.parametrize("kind", [list, tuple, np.array, torch.DoubleTensor])
def test_a_vector_may_be_of_any_kind(kind) -> None:
    """Lists, arrays and tensors of the same numbers make the same edit."""
    assert add(OTHER, kind([1.0, 2.0])) == add(OTHER, [1.0, 2.0])


@pytest.mark.parametrize("verb", [*VERBS, lambda *sites: noise(*sites, sd=1.0)])
def test_sites_are_checked(verb) -> None:
    """No site, the same site twice, and what is no site are refused by every verb."""
    with pytest.raises(InterventionError, match=r"\(\) needs at least one site, e\.g\. "):
        verb()
    with pytest.raises(InterventionError, match=re.escape("names mlp_output[0] twice")):
        verb(OTHER, SITE, OTHER)
    with pytest.raises(
        InterventionError, match=re.escape("takes sites such as block_output(0); got 'mlp' (str)")
    ):
        verb("mlp")
    with pytest.raises(InterventionError, match="takes sites such as"):
        verb([SITE, OTHER])


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: noise(SITE, sd=0), "noise sd is 0.0; expected a positive number in units of the"),
        (lambda: noise(SITE, sd=float("nan")), "noise sd is nan; expected a positive number"),
        (lambda: noise(SITE, sd=1, draws=0), "draws is 0; expected a whole number from 1"),
        (lambda: resample_ablate(SITE, draws=1.5), "draws is 1.5; expected a whole number from 1"),
        (lambda: resample_ablate(SITE, draws=True), "draws is True; expected a whole number"),
        (lambda: add(SITE, [[1.0], [2.0]]), "one-dimensional"),
        (lambda: add(SITE, torch.tensor(1.0)), "one-dimensional"),
        (lambda: add(SITE, [1.0, float("inf")]), "finite numbers"),
        (lambda: add(SITE, torch.tensor([1.0, float("nan")])), "finite numbers"),
        (lambda: add(SITE, []), "numbers"),
        (lambda: add(SITE, [1.0], scale=float("inf")), "scale is inf; expected a finite number"),
    ],
)
def test_numbers_are_checked(make, message) -> None:
    """Numbers that make no edit are refused when the intervention is made."""
    with pytest.raises(InterventionError, match=re.escape(message)):
        make()


def test_only_interventions_add_up() -> None:
    """A sum with anything else is a TypeError, as for numbers and text."""
    with pytest.raises(TypeError):
        _ = interchange(SITE) + OTHER
    with pytest.raises(TypeError, match="Intervention is abstract; use interchange"):
        str(Intervention((SITE,)))
