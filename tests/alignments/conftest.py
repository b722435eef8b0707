"""Pair sets of hierarchical equality, for all tests of alignments."""

import pytest

from causaltest import Pair, Pairs
from causaltest.causal_models import CausalModel


@pytest.fixture(scope="session")
def pairs_of():
    """Return what draws pairs among some entities."""
    return _pairs_of


def _pairs_of(name, entities, count, *, of=("left",), seed=0):
    """Draw pairs among some entities; the label `entities` says which."""
    hypothesis = CausalModel(
        dict.fromkeys("wxyz", entities),
        {
            "left": lambda w, x: w == x,
            "right": lambda y, z: y == z,
            "answer": lambda left, right: left == right,
        },
    )
    drawn = Pairs.from_causal_model(
        hypothesis, of, count,
        prompt=lambda s: (s["w"], s["x"], s["y"], s["z"]),
        answer=lambda s: int(s["answer"]), name=name, cluster=None, seed=seed,
    )  # fmt: skip
    labelled = [
        Pair(
            pair.base, pair.source, pair.base_answer, pair.source_answer,
            labels={**pair.labels, "entities": name},
        )
        for pair in drawn
    ]  # fmt: skip
    return Pairs(labelled, name=name, cluster=None)
