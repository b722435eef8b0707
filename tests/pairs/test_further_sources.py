"""Further sources of a pair: checked, placed, hashed, written and read."""

import pytest

from causaltest.errors import PairError
from causaltest.pairs import Characters, Pair, Pairs, Position, Tokens


def several() -> Pair:
    """Return a pair with two further sources."""
    return Pair(
        "Lily ran home",
        "Tim ran home",
        sources={"cat": "a cat ran home", "dog": "the dog ran"},
        positions={
            "verb": "ran",
            "who": {"base": "Lily", "source": "Tim", "dog": "dog"},
            "start-0": 0,
        },
    )


def test_positions_are_placed_in_every_source():
    """One form is found in each prompt; sources that are left out of a form have no place."""
    pair = several()
    assert pair.prompt("dog") == "the dog ran"
    assert pair.place("verb", "cat") == Characters(6, 9)
    assert pair.place("verb", "dog") == Characters(8, 11)
    assert pair.place("who", "dog") == Characters(4, 7)
    assert pair.place("start-0", "dog") == Tokens((0,))
    assert pair.place("end", "cat") == Tokens((-1,))
    with pytest.raises(PairError, match=r"position 'who' of pair .* is not given for source 'cat'"):
        pair.place("who", "cat")


def test_a_file_gives_back_what_it_was_given(tmp_path):
    """Further sources and their places survive a file."""
    pairs = Pairs([several(), Pair("a b", "c b")], name="s", cluster=None)
    pairs.write(tmp_path / "s.jsonl")
    assert Pairs.read(tmp_path / "s.jsonl", cluster=None) == pairs
    assert '"verb": "ran"' in (tmp_path / "s.jsonl").read_text()


def test_the_hash_covers_further_sources_and_their_places():
    """Another prompt or place changes the hash; pairs without further sources keep theirs."""

    def hashed(**changes) -> str:
        given = {"base": (1, 2), "source": (3, 4), **changes}
        return Pairs([Pair(**given)], name="h", cluster=None).sha256

    where = {"it": {"base": 0, "source": 1, "more": 1}}
    there = {"it": {"base": 0, "source": 1, "more": 0}}
    found = {
        hashed(),
        hashed(sources={"more": (5, 6)}),
        hashed(sources={"more": (5, 7)}),
        hashed(sources={"other": (5, 6)}),
        hashed(sources={"more": (5, 6)}, positions=where),
        hashed(sources={"more": (5, 6)}, positions=there),
    }
    assert len(found) == 6
    assert hashed(sources={}) == hashed()


def test_swapping_keeps_further_sources():
    """Base and source change places; the others stay where they are."""
    swapped = several().swapped()
    assert swapped.sources == several().sources
    assert swapped.place("who", "dog") == several().place("who", "dog")
    assert swapped.place("who", "base") == Characters(0, 3)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"sources": {"base": (5,)}}, "a source cannot be named 'base'"),
        ({"sources": {"end": (5,)}}, "a source cannot be named 'end'"),
        ({"sources": {"more": ()}}, "the more prompt has no token ids"),
        ({"sources": {"more": "text"}}, "base is token ids and more is text"),
        ({"sources": {"more": (1, 2)}}, "base and more are equal, so no interchange can change"),
        ({"sources": [(5,)]}, r"sources are \[\(5,\)\] \(list\); expected a dict of prompts"),
        (
            {"sources": {"more": (5,)}, "positions": {"it": 1}},
            "position 'it': token 1 does not exist: the more prompt has 1 tokens",
        ),
        (
            {"sources": {"more": (5, 6)}, "positions": {"it": {"base": 0, "source": 0, "mor": 1}}},
            "unknown field 'mor'; did you mean 'more'",
        ),
        (
            {"positions": {"it": Position(Tokens((0,)), Tokens((0,)), (("more", Tokens((0,))),))}},
            "it names a place in the source 'more', which the pair has not",
        ),
    ],
)
def test_sources_that_do_not_fit_are_refused(arguments, message):
    """Names, prompts and places of further sources are checked as those of base and source."""
    with pytest.raises(PairError, match=message):
        Pair((1, 2), (3, 4), **arguments)


def test_an_unknown_source_is_answered_with_those_there_are():
    """A name that no source has meets the names that there are."""
    with pytest.raises(PairError, match=r"has no source 'dgo'; did you mean 'dog'.*'cat'"):
        several().prompt("dgo")
