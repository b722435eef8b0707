"""Pairs: what they hold, refuse, and answer."""

import copy
import dataclasses
import pickle

import pytest

from causaltest.errors import PairError
from causaltest.pairs import Characters, Pair, Position, Tokens


def lily(**changes):
    """Return a pair with everything on it."""
    fields = {
        "base": "Lily lost a shoe, and",
        "source": "Tim lost a shoe, and",
        "base_answer": " she",
        "source_answer": " he",
        "positions": {"name": {"base": "Lily", "source": "Tim"}, "object": "shoe"},
        "labels": {"template": "lost"},
        "id": "children/7",
    }
    return Pair(**(fields | changes))


def refusal(*arguments, **fields):
    """Return the message with which a pair is refused."""
    with pytest.raises(PairError) as caught:
        Pair(*arguments, **fields)
    return str(caught.value)


def test_a_pair_is_equal_and_hashed_by_content():
    """Two pairs with the same content are one element of a set."""
    assert len({lily(), lily(), lily(base_answer=" it")}) == 2


def test_a_pair_cannot_be_changed():
    """Neither its fields nor its mappings take a new value."""
    pair = lily()
    with pytest.raises(dataclasses.FrozenInstanceError):
        pair.base = "Ann"
    with pytest.raises(TypeError):
        pair.labels["template"] = "found"
    with pytest.raises(TypeError):
        pair.positions["name"] = Position(Tokens((0,)), Tokens((0,)))


def test_a_pair_keeps_no_hold_on_the_callers_mappings():
    """Changing the dict that a pair was made from does not change the pair."""
    labels = {"template": "lost"}
    pair = lily(labels=labels)
    labels["template"] = "found"
    assert pair.labels == {"template": "lost"}


def test_a_pair_survives_pickling_and_copying():
    """Jobs on other processes see an equal pair."""
    pair = lily()
    assert pickle.loads(pickle.dumps(pair)) == pair
    assert copy.deepcopy(pair) == pair
    assert dataclasses.replace(pair, id="other").labels == pair.labels


def test_token_ids_become_tuples():
    """Lists of token ids are taken and kept as tuples."""
    pair = Pair([5, 6], [7, 6], 1, 2)
    assert (pair.base, pair.source, pair.base_answer) == ((5, 6), (7, 6), 1)


def test_place_finds_positions_on_either_side():
    """A named place is the one given for that side."""
    assert lily().place("name") == Characters(0, 4)
    assert lily().place("name", "source") == Characters(0, 3)


@pytest.mark.parametrize("side", ["base", "source"])
def test_the_end_is_built_in(side):
    """'end' is the last token of each prompt without being declared."""
    assert Pair("Lily ran", "Tim ran").place("end", side) == Tokens((-1,))


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (
            ("nam",),
            "pair 'children/7' has no position 'nam'; it has 'name', 'object', 'end'; "
            "did you mean 'name'?",
        ),
        (
            ("verb",),
            "pair 'children/7' has no position 'verb'; it has 'name', 'object', 'end'",
        ),
        (("name", "target"), "a pair has no side 'target'; expected 'base' or 'source'"),
    ],
)
def test_an_unknown_position_is_refused_with_those_that_exist(arguments, expected):
    """The message names the pair, its positions and the nearest name."""
    with pytest.raises(PairError) as caught:
        lily().place(*arguments)
    assert str(caught.value) == expected


def test_a_pair_without_source_has_no_place_in_it():
    """Asking for the source side of a pair without source is refused, even for 'end'."""
    with pytest.raises(PairError, match=r"^pair 'Lily ran' has no source, so no 'end' in it$"):
        Pair("Lily ran").place("end", "source")


def test_swapping_exchanges_prompts_answers_and_positions():
    """The swapped pair reads source first; labels and id stay."""
    swapped = lily().swapped()
    assert (swapped.base, swapped.source) == ("Tim lost a shoe, and", "Lily lost a shoe, and")
    assert (swapped.base_answer, swapped.source_answer) == (" he", " she")
    assert swapped.place("name") == Characters(0, 3)
    assert swapped.place("name", "source") == Characters(0, 4)
    assert (swapped.id, swapped.labels) == ("children/7", {"template": "lost"})


def test_a_pair_without_source_cannot_be_swapped():
    """There is nothing to exchange."""
    with pytest.raises(PairError, match=r"^pair 'a' has no source to swap with its base$"):
        Pair("a").swapped()


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (("",), "pair '': the base prompt is empty"),
        (("a", ""), "pair 'a': the source prompt is empty"),
        (((),), "pair (): the base prompt has no token ids"),
        ((3,), "pair 3: the base prompt is 3 (int); expected text or a list of token ids"),
        ((None,), "the base prompt is None (NoneType); expected text or a list of token ids"),
        (((1, 2.0),), "number 1 of the base token ids is 2.0 (float); expected a whole number"),
        (((1, True),), "number 1 of the base token ids is True (bool); expected a whole number"),
        (((1, -2),), "the base prompt holds token id -2; token ids start at 0"),
        (("a", (1,)), "pair 'a': base is text and source is token ids; give both as text or"),
        (((1,), "a"), "base is token ids and source is text; give both as text or"),
        (("a", "a"), "pair 'a': base and source are equal, so no interchange can change"),
        (((1, 2), [1, 2]), "base and source are equal"),
        (("a", "b", True), "base_answer is True (bool); expected a whole number"),
        (("a", "b", 1.0), "base_answer is 1.0 (float); expected a whole number"),
        (("a", "b", -1), "base_answer is -1; token ids and class indices start at 0"),
        (("a", "b", "x", ""), "source_answer is empty; leave it out where there is none"),
        (("a", "b", "x", 1), "base_answer is 'x' and source_answer is 1; give both as text or"),
        (("a\ud800",), "the base prompt is not valid Unicode: character 1 is '\\ud800'"),
    ],
)
def test_a_malformed_pair_is_refused(arguments, expected):
    """Prompts and answers of a wrong type, kind or value are refused where they enter."""
    assert expected in refusal(*arguments)


@pytest.mark.parametrize(
    "fields, expected",
    [
        ({"positions": [3]}, "positions are [3] (list); expected a dict of places by name"),
        ({"labels": ["x"]}, "labels are ['x'] (list); expected a dict of texts by name"),
        ({"labels": {"n": 3}}, "label 'n' is 3 (int); expected a text that is not empty"),
        ({"labels": {"n": ""}}, "label 'n' is '' (str); expected a text that is not empty"),
        ({"labels": {3: "n"}}, "a label is named 3; expected a text that is not empty"),
        ({"id": 3}, "a pair's id is 3 (int); expected text"),
    ],
)
def test_malformed_fields_are_refused(fields, expected):
    """Mappings, labels and ids of a wrong type are refused where they enter."""
    assert expected in refusal("a", "b", **fields)


def test_long_prompts_are_cut_in_messages():
    """A message stays readable when the prompt is a page."""
    assert len(refusal("x" * 5000, "x" * 5000)) < 250
