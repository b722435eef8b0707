"""The same pair under two ids is one piece of evidence, and is not counted as two."""

from __future__ import annotations

import pytest
import torch

from causaltest import Causal, Pair, Pairs, interchange, module
from causaltest.errors import PairError


def pairs_of(*labels, cluster=None, name="six"):
    """Pairs of which the last repeats the first, but for a label."""
    bases = [0, 1, 2, 3, 4, 0]
    return Pairs(
        [
            Pair((base,), (5,), base_answer=base, source_answer=5, labels={"t": label})
            for base, label in zip(bases, labels, strict=True)
        ],
        name=name,
        cluster=cluster,
    )


@pytest.fixture
def toy():
    """A network that answers with its last token."""
    return Causal(torch.nn.Sequential(torch.nn.Embedding.from_pretrained(torch.eye(6))))


def test_repeated_names_the_two_pairs():
    """Equal in everything but the id; labels that differ tell pairs apart."""
    assert pairs_of(*"aaaaaa").repeated == ("six/0", "six/5")
    assert pairs_of(*"aaaaab").repeated is None


def test_without_clusters_repeated_pairs_are_refused(toy):
    """The message names both and says what to do; effects and rates alike."""
    pairs = pairs_of(*"aaaaaa")
    message = (
        "pairs 'six/0' and 'six/5' of six are the same pair under two ids, and with cluster=None "
        "each would count as evidence of its own\ntake one out; or, if what they were made from "
        "differs, put that into a label and name it as the cluster"
    )
    for measure in (
        lambda: toy.effect(interchange(module("0")), on=pairs),
        lambda: toy.accuracy(on=pairs),
    ):
        with pytest.raises(PairError) as refused:
            measure()
        assert str(refused.value) == message


def test_within_a_cluster_repeated_pairs_are_one_unit(toy):
    """A unit's mean does not count them twice, so nothing is wrong with them."""
    assert toy.accuracy(on=pairs_of(*"abcdea", cluster="t")).n_units == 5
