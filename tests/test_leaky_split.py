"""A claim on pairs on which places were looked at is found out, however the pairs are written."""

from __future__ import annotations

import pytest

from causaltest import Pair, Pairs
from causaltest.health import leaky_split
from causaltest.pairs import Prompt

WORDS = {"one": 1, "two": 2, "three": 3, "four": 4}


def ids(prompt: Prompt) -> tuple[int, ...]:
    """Tokens of words."""
    return tuple(WORDS[word] for word in prompt.split()) if isinstance(prompt, str) else prompt


def pairs_of(*prompts: tuple[Prompt, Prompt], name: str = "judged") -> Pairs:
    """Pairs of these prompts."""
    return Pairs([Pair(*each) for each in prompts], name=name, cluster=None)


LOOKED = pairs_of(("one two", "one three"), ("two", "three"), name="looked")


@pytest.mark.parametrize(
    "judged",
    [
        LOOKED,
        LOOKED.swapped(),
        pairs_of(("one  two ", "one three")),
        pairs_of(((1, 3), (1, 2))),
    ],
    ids=["same", "swapped", "spaces", "tokens"],
)
def test_the_same_pair_is_known_again(judged) -> None:
    """Exchanged, with other spaces, or as token ids."""
    found = leaky_split("the edit", judged, [LOOKED], ids)
    assert found is not None
    shared = 2 if len(judged) == 2 else 1
    assert found.check == "leaky_split"
    told = (
        f"looked was mapped before the edit was measured on {judged.name}, and they have {shared}"
    )
    assert found.said.startswith(told)


def test_other_pairs_are_no_leak() -> None:
    """One prompt in common makes no pair the same; nor does what was never looked at."""
    assert leaky_split("the edit", pairs_of(("one two", "four")), [LOOKED], ids) is None
    assert leaky_split("the edit", LOOKED, [], ids) is None
