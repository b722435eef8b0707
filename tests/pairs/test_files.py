"""Pair files: JSON lines, read strictly."""

import json

import pytest

from causaltest.errors import PairError
from causaltest.pairs import Characters, Pair, Pairs, Position, Tokens

GOOD = '{"base": "Lily ran", "source": "Tim ran"}'


@pytest.fixture
def refusal(tmp_path):
    """Return the message with which a file of these bytes is refused."""

    def refuse(content):
        path = tmp_path / "children.jsonl"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(PairError) as caught:
            Pairs.read(path, cluster=None)
        return str(caught.value)

    return refuse


def test_a_file_is_read_as_written_by_hand(tmp_path):
    """Every field and every form of a place is read; the set is called after the file."""
    path = tmp_path / "children.jsonl"
    path.write_text(
        '{"base": "Lily ran", "source": "Tim ran", "base_answer": " she", "source_answer": " he",'
        ' "positions": {"name": {"base": "Lily", "source": "Tim"}, "verb": "ran", "dot": -1,'
        ' "two": [0, 1], "part": {"characters": [0, 2]}}, "labels": {"verb": "ran"}, "id": "x"}\n'
        "\n"
        '{"base": [5, 6], "source": [7, 6], "base_answer": 3, "labels": {"verb": "6"}}\n',
        encoding="utf-8",
    )
    pairs = Pairs.read(path, cluster="verb")
    assert pairs.name == "children"
    assert pairs.units == ("ran", "6")
    assert pairs[0].id == "x"
    assert pairs[1].id == "children/1"
    assert pairs[1].base == (5, 6)
    assert pairs[0].positions == {
        "name": Position(Characters(0, 4), Characters(0, 3)),
        "verb": Position(Characters(5, 8), Characters(4, 7)),
        "dot": Position(Tokens((-1,)), Tokens((-1,))),
        "two": Position(Tokens((0, 1)), Tokens((0, 1))),
        "part": Position(Characters(0, 2), Characters(0, 2)),
    }


def test_files_are_written_in_the_short_forms(tmp_path):
    """A text that occurs once is written as text, one token as an int, other spans in full."""
    path = tmp_path / "pairs.jsonl"
    pair = Pair(
        "Lily saw Lily",
        "Tim saw Tim",
        positions={
            "verb": "saw",
            "name": {"base": {"characters": [9, 13]}, "source": {"characters": [8, 11]}},
            "token": 2,
        },
    )
    Pairs([pair], name="pairs", cluster=None).write(path)
    assert json.loads(path.read_text()) == {
        "base": "Lily saw Lily",
        "source": "Tim saw Tim",
        "positions": {
            "verb": "saw",
            "name": {"base": {"characters": [9, 13]}, "source": {"characters": [8, 11]}},
            "token": 2,
        },
    }


def test_rare_line_ends_inside_a_prompt_do_not_end_the_line(tmp_path):
    """A prompt may hold the separators at which str.splitlines cuts."""
    path = tmp_path / "pairs.jsonl"
    prompt = "one\u2028two\x85three\x0bfour\n"
    Pairs([Pair(prompt)], name="pairs", cluster=None).write(path)
    assert Pairs.read(path, cluster=None)[0].base == prompt


def test_windows_line_ends_and_a_byte_order_mark_are_read(tmp_path):
    """Files saved by Windows editors are read like others."""
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode() + b"\r\n" + GOOD.encode() + b"\r\n")
    assert len(Pairs.read(path, cluster=None)) == 2


def test_a_written_file_replaces_the_old_one_and_leaves_nothing_beside_it(tmp_path):
    """Writing twice leaves one file, with the second content."""
    path = tmp_path / "pairs.jsonl"
    for prompt in ("one", "two"):
        Pairs([Pair(prompt)], name="pairs", cluster=None).write(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["pairs.jsonl"]
    assert Pairs.read(path, cluster=None)[0].base == "two"


@pytest.mark.parametrize(
    "line, expected",
    [
        (
            '{"base": "Lily", "sorce": "Tim"}',
            "children.jsonl line 3: unknown field 'sorce'; did you mean 'source'?\n"
            "a pair has 'base', 'source', 'sources', 'base_answer', 'source_answer', "
            "'positions', 'labels', 'id'",
        ),
        (
            '{"base": "Lily", "sour',
            "children.jsonl line 3: not JSON: Unterminated string starting at at column 18\n"
            'expected one object a line, e.g. {"base": "...", "source": "..."}',
        ),
        (
            '{"base": "Lily",',
            "children.jsonl line 3: not JSON: Expecting property name enclosed in double quotes "
            "at column 17 (is the line cut off?)\n"
            'expected one object a line, e.g. {"base": "...", "source": "..."}',
        ),
        ("base: Lily", "children.jsonl line 3: not JSON: Expecting value at column 1\n"),
        (GOOD + GOOD, "children.jsonl line 3: not JSON: Extra data at column 42\n"),
        ("[1, 2]", "children.jsonl line 3: is a list, not an object; expected"),
        ('"Lily"', "children.jsonl line 3: is a string, not an object"),
        ("null", "children.jsonl line 3: is null, not an object"),
        ("true", "children.jsonl line 3: is true or false, not an object"),
        ("3", "children.jsonl line 3: is a number, not an object"),
        ("3.5", "children.jsonl line 3: is a number, not an object"),
        (
            '{"source": "Tim"}',
            "children.jsonl line 3: field 'base' is missing; the line has 'source'",
        ),
        ("{}", "children.jsonl line 3: field 'base' is missing; the line has none"),
        (
            '{"base": 3}',
            "children.jsonl line 3: pair 3: the base prompt is 3 (int); expected text",
        ),
        (
            '{"base": [1, 2.0]}',
            "line 3: pair [1, 2.0]: number 1 of the base token ids is 2.0 (float)",
        ),
        (
            '{"base": "a", "positions": {"x": true}}',
            "line 3: pair 'a': position 'x': it is True (bool); expected a whole number",
        ),
        (
            '{"base": "a", "positions": {"x": 1.0}}',
            "line 3: pair 'a': position 'x': it is 1.0 (float); expected a token index",
        ),
        (
            '{"base": "a", "positions": {"x": "b"}}',
            "line 3: pair 'a': position 'x': 'b' occurs not in the base prompt 'a'",
        ),
        ('{"base": "a", "labels": {"t": 3}}', "line 3: pair 'a': label 't' is 3 (int)"),
        ('{"base": "a", "id": 3}', "children.jsonl line 3: a pair's id is 3 (int); expected text"),
        ('{"base": "a", "base": "b"}', "line 3: field 'base' is given twice; keep one"),
        (
            '{"base": "a", "positions": {"x": 0, "x": 1}}',
            "line 3: field 'x' is given twice; keep one",
        ),
        ('{"base": [NaN]}', "line 3: NaN is not JSON and is no part of a pair"),
        ("[" * 100_000, "line 3: not a pair: its JSON is nested too deeply"),
    ],
)
def test_a_bad_line_is_refused_with_its_number(refusal, line, expected):
    """Each damaged or foreign line is named by its number, with the cure."""
    assert expected in refusal(f"{GOOD}\n\n{line}\n{GOOD}\n")


def test_a_truncated_file_is_refused_at_every_cut(refusal):
    """No cut through the last line of a file passes for a shorter file."""
    whole = GOOD + "\n" + '{"base": "Ann ran", "source": "Bob ran", "base_answer": " she"}'
    for cut in range(len(GOOD) + 2, len(whole)):
        assert "children.jsonl line 2: not JSON" in refusal(whole[:cut])


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_an_empty_file_is_refused(refusal, content):
    """A file without pairs is no pair set."""
    assert refusal(content).endswith("children.jsonl holds no pairs; write one JSON object a line")


def test_a_file_that_is_not_text_is_refused(refusal):
    """Bytes that are no UTF-8 are named by their offset."""
    assert refusal(b'{"base": "\xff"}').endswith("children.jsonl is not UTF-8 text (byte 10)")


def test_a_missing_file_is_refused_with_the_nearest(tmp_path):
    """The message lists the pair files that are there."""
    (tmp_path / "children.jsonl").write_text(GOOD)
    with pytest.raises(PairError) as caught:
        Pairs.read(tmp_path / "childen.jsonl", cluster=None)
    assert str(caught.value) == (
        f"there is no file {tmp_path / 'childen.jsonl'}; did you mean 'children.jsonl'?\n"
        f"pair files in {tmp_path}: 'children.jsonl'"
    )


def test_a_folder_is_no_file(tmp_path):
    """A folder in place of a file is refused."""
    with pytest.raises(PairError, match="is a folder; expected a file of JSON lines"):
        Pairs.read(tmp_path, cluster=None)


def test_writing_into_a_missing_folder_is_refused(tmp_path):
    """The folder is named; nothing is created."""
    pairs = Pairs([Pair("a")], name="pairs", cluster=None)
    with pytest.raises(PairError, match=r"the folder .*missing does not exist"):
        pairs.write(tmp_path / "missing" / "pairs.jsonl")
    assert not list(tmp_path.iterdir())
