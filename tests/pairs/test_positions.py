"""Positions: every form of a place, and every way to get it wrong."""

import numpy as np
import pytest

from causaltest.errors import PairError
from causaltest.pairs import Characters, Pair, Position, Tokens

LILY = "Lily saw a dog and Lily ran"
TIM = "Tim saw a dog and Tim ran"


def position(form, base=LILY, source=TIM):
    """Return the position that a form names on a pair."""
    return Pair(base, source, positions={"place": form}).positions["place"]


def refusal(form, base=LILY, source=TIM):
    """Return the message with which a form is refused."""
    with pytest.raises(PairError) as caught:
        position(form, base, source)
    return str(caught.value)


@pytest.mark.parametrize(
    "form, expected",
    [
        (3, Position(Tokens((3,)), Tokens((3,)))),
        (-2, Position(Tokens((-2,)), Tokens((-2,)))),
        ([1, 2], Position(Tokens((1, 2)), Tokens((1, 2)))),
        ((1, 2, 5), Position(Tokens((1, 2, 5)), Tokens((1, 2, 5)))),
        (np.int64(3), Position(Tokens((3,)), Tokens((3,)))),
        ("dog", Position(Characters(11, 14), Characters(10, 13))),
        ({"characters": [0, 3]}, Position(Characters(0, 3), Characters(0, 3))),
        (Characters(0, 3), Position(Characters(0, 3), Characters(0, 3))),
        (Tokens((4,)), Position(Tokens((4,)), Tokens((4,)))),
        ({"base": 0, "source": [1, 2]}, Position(Tokens((0,)), Tokens((1, 2)))),
        ({"base": "Lily saw", "source": "Tim saw"}, Position(Characters(0, 8), Characters(0, 7))),
        (
            {"base": {"characters": [19, 23]}, "source": 7},
            Position(Characters(19, 23), Tokens((7,))),
        ),
        (Position(Tokens((1,)), Characters(0, 3)), Position(Tokens((1,)), Characters(0, 3))),
    ],
)
def test_every_form_of_a_position_names_its_places(form, expected):
    """Each accepted form names the tokens or characters counted by hand."""
    assert position(form) == expected


def test_a_list_of_two_is_two_tokens_and_never_base_and_source():
    """Two ints in a list are two tokens in both prompts."""
    assert position([4, 5]) == Position(base=Tokens((4, 5)), source=Tokens((4, 5)))


def test_a_text_position_spans_that_text():
    """The span of a text position cuts that text out of either prompt."""
    pair = Pair(LILY, TIM, positions={"verb": "saw"})
    for side, prompt in (("base", LILY), ("source", TIM)):
        span = pair.place("verb", side)
        assert isinstance(span, Characters)
        assert prompt[span.start : span.stop] == "saw"


def test_token_ids_may_end_on_any_token():
    """The first and last token of a prompt of ids exist under both their indices."""
    for index in (0, 2, -1, -3):
        assert position(index, (5, 6, 7), (5, 6, 8)).base == Tokens((index,))


@pytest.mark.parametrize(
    "form, expected",
    [
        (
            "Lily",
            "pair 'Lily saw a dog and Lily ran': position 'place': 'Lily' occurs 2 times in the "
            "base prompt 'Lily saw a dog and Lily ran'; expected exactly once\n"
            "give a longer text, token indices, or {'characters': [start, stop]}",
        ),
        (
            "Lily ran",
            "pair 'Lily saw a dog and Lily ran': position 'place': 'Lily ran' occurs not in the "
            "source prompt 'Tim saw a dog and Tim ran'; expected exactly once\n"
            "give each its own text: {'base': ..., 'source': ...}",
        ),
    ],
)
def test_a_text_must_occur_exactly_once(form, expected):
    """A text that occurs twice or not at all is refused with the way out."""
    assert refusal(form) == expected


def test_overlapping_occurrences_count():
    """'ana' occurs twice in 'banana', so it names no place there."""
    assert "'ana' occurs 2 times in the base prompt 'banana'" in refusal("ana", "banana", "an ana")


@pytest.mark.parametrize(
    "form, expected",
    [
        (True, "it is True (bool); expected a whole number"),
        (2.0, "it is 2.0 (float); expected a token index, a list of them"),
        (None, "it is None (NoneType); expected a token index"),
        ([1, 2.0], "number 1 of the token indices is 2.0 (float); expected a whole number"),
        ([1, False], "number 1 of the token indices is False (bool); expected a whole number"),
        ([], "a position needs at least one token, but its list of tokens is empty"),
        ([1, 1], "tokens [1, 1] name a token twice; name each token of a position once"),
        ("", "'' occurs not in the base prompt"),
        ({"characters": [3, 3]}, "characters [3, 3] are no span; expected 0 <= start < stop"),
        ({"characters": [-4, -1]}, "characters [-4, -1] are no span"),
        ({"characters": [3]}, "characters are [3]; expected [start, stop]"),
        ({"characters": 3}, "characters are 3 (int); expected a list of whole numbers"),
        ({"characters": [0, 2.0]}, "number 1 of the characters is 2.0 (float)"),
        ({"characters": [0, 99]}, "[0, 99] do not exist: the base prompt has 27 characters"),
        ({"base": 3}, "it is given for 'base' only; expected both 'base' and 'source'"),
        ({}, "it is given for none only; expected both 'base' and 'source'"),
        ({"base": 3, "sorce": 4}, "unknown field 'sorce'; did you mean 'source'?"),
        ({"character": [0, 3]}, "unknown field 'character'; did you mean 'characters'?"),
        ({"base": {"chars": [0, 3]}, "source": 1}, "as an object it is {'characters'"),
    ],
)
def test_a_malformed_position_is_refused(form, expected):
    """A form that names no place is refused with its value and what was expected."""
    assert expected in refusal(form)


@pytest.mark.parametrize(
    "form, expected",
    [
        (3, "token 3 does not exist: the base prompt has 3 tokens, -3 to 2"),
        ([0, -4], "token -4 does not exist: the base prompt has 3 tokens, -3 to 2"),
        ([0, -3], "tokens [0, -3] name a token of the base prompt (3 tokens) twice"),
        ({"base": 0, "source": 4}, "token 4 does not exist: the source prompt has 4 tokens"),
        ("dog", "it is the text 'dog', but the base prompt is token ids; give token indices"),
        (Characters(0, 2), "it is a span of characters, but the base prompt is token ids"),
    ],
)
def test_a_place_outside_token_ids_is_refused(form, expected):
    """On prompts of token ids every place is checked against their length."""
    assert expected in refusal(form, (5, 6, 7), (5, 6, 7, 8))


@pytest.mark.parametrize(
    "name, expected",
    [
        ("end", "'end' is built in (the last token of each prompt) and cannot be redefined"),
        ("start", "the position name 'start' is reserved; use another name"),
        ("first", "the position name 'first' is reserved; use another name"),
        ("last", "the position name 'last' is reserved; use another name"),
        ("all", "the position name 'all' is reserved; use another name"),
        ("base", "'base' is a side of the pair, not a position; name the position first"),
        ("name.last", "the position name 'name.last' is no word; use letters, digits"),
        ("a@b", "the position name 'a@b' is no word"),
        ("", "the position name '' is no word"),
        ("3", "the position name '3' is no word"),
        (3, "a position is named 3 (int); expected a word"),
    ],
)
def test_a_reserved_or_unusable_name_is_refused(name, expected):
    """Names that sites reserve or cannot address are refused."""
    with pytest.raises(PairError) as caught:
        Pair(LILY, TIM, positions={name: 0})
    assert expected in str(caught.value)


def test_a_hyphen_may_stand_in_a_name():
    """'last-but-one' is a word."""
    assert "last-but-one" in Pair(LILY, TIM, positions={"last-but-one": -2}).positions


@pytest.mark.parametrize("form", [{"base": 0, "source": 1}, Position(Tokens((0,)), Tokens((1,)))])
def test_without_a_source_no_position_can_differ_in_it(form):
    """A pair without source refuses a position that gives source a place of its own."""
    assert "names a place in the source prompt, but the pair has no source" in refusal(
        form, source=None
    )


@pytest.mark.parametrize(
    "arguments, expected",
    [
        ((3, Tokens((1,))), "the base place is 3 (int); expected Tokens((3,)) or Characters(0, 4)"),
        ((Tokens((1,)), [1]), "the source place is [1] (list); expected Tokens((3,))"),
    ],
)
def test_a_position_is_made_of_places(arguments, expected):
    """`Position` takes places, not their short forms."""
    with pytest.raises(PairError) as caught:
        Position(*arguments)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    "make, expected",
    [
        (lambda: Tokens("12"), "token indices are '12' (str); expected a list of whole numbers"),
        (lambda: Tokens((1.5,)), "number 0 of the token indices is 1.5 (float)"),
        (lambda: Characters(True, 2), "a character offset is True (bool)"),
    ],
)
def test_places_refuse_what_is_no_number(make, expected):
    """A place made by hand is checked like one from a file."""
    with pytest.raises(PairError) as caught:
        make()
    assert expected in str(caught.value)
