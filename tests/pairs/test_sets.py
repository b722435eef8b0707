"""Pair sets: units, subsets, hashes, and their algebra."""

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causaltest.errors import PairError
from causaltest.pairs import Characters, Pair, Pairs, Tokens


def children(**changes):
    """Return six pairs on three templates with two verbs."""
    rows = [
        ("Lily ran, and", "Tim ran, and", "plain", "ran"),
        ("Ann ran, and", "Bob ran, and", "plain", "ran"),
        ("So Lily ran, and", "So Tim ran, and", "so", "ran"),
        ("So Ann sat, and", "So Bob sat, and", "so", "sat"),
        ("Then Lily sat, and", "Then Tim sat, and", "then", "sat"),
        ("Then Ann sat, and", "Then Bob sat, and", "then", "sat"),
    ]
    pairs = [
        Pair(base, source, " she", " he", labels={"template": template, "verb": verb})
        for base, source, template, verb in rows
    ]
    return Pairs(**({"pairs": pairs, "name": "children", "cluster": "template"} | changes))


def message(call):
    """Return the message of the PairError that a call raises."""
    with pytest.raises(PairError) as caught:
        call()
    return str(caught.value)


# --- Strategies -----------------------------------------------------------------------------

words = st.text(min_size=1, max_size=8)


@st.composite
def places(draw, prompt):
    """Draw a place of a prompt."""
    size = len(prompt)
    if isinstance(prompt, str) and draw(st.booleans()):
        start = draw(st.integers(0, size - 1))
        return Characters(start, draw(st.integers(start + 1, size)))
    indices = draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=3, unique=True))
    return Tokens(tuple(index - draw(st.sampled_from([0, size])) for index in indices))


@st.composite
def any_pair(draw, labels):
    """Draw a pair of text or token ids, with source or without, that carries the labels."""
    kind = draw(st.sampled_from([words, st.lists(st.integers(0, 9), min_size=1).map(tuple)]))
    base = draw(kind)
    source = draw(st.none() | kind.filter(lambda prompt: prompt != base))
    answers = st.none() | draw(st.sampled_from([words, st.integers(0, 9)]))
    base_answer = draw(answers)
    source_answer = draw(answers)
    positions = {}
    for name in draw(st.lists(st.sampled_from(["name", "verb", "object"]), unique=True)):
        at_base = draw(places(base))
        both = {"base": at_base, "source": draw(places(source))} if source else at_base
        positions[name] = both
    return Pair(base, source, base_answer, source_answer, positions=positions, labels=labels(draw))


@st.composite
def any_pairs(draw, **kinds):
    """Draw a set of pairs, clustered or not."""
    template = st.sampled_from(["a", "b", "c"])
    members = st.lists(
        any_pair(lambda draw: {"template": draw(template), "verb": draw(words)}),
        min_size=1,
        max_size=6,
    )
    cluster = draw(st.sampled_from([None, "template", "verb"]))
    return Pairs(draw(members), name=draw(words.filter(str.strip)), cluster=cluster, **kinds)


# --- Units and naming -----------------------------------------------------------------------


def test_units_are_the_labels_of_the_cluster():
    """Each pair's unit is its template; there are three of them."""
    pairs = children()
    assert pairs.units == ("plain", "plain", "so", "so", "then", "then")
    assert (pairs.n_units, pairs.unit) == (3, "template")
    assert repr(pairs) == "<Pairs children: 6 pairs, 3 templates>"


def test_without_clusters_each_pair_is_its_own_unit():
    """`cluster=None` counts pairs by their ids."""
    pairs = children(cluster=None)
    assert pairs.units == tuple(f"children/{index}" for index in range(6))
    assert (pairs.n_units, pairs.unit) == (6, "pair")
    assert repr(pairs) == "<Pairs children: 6 pairs, each its own unit>"


def test_ids_are_filled_in_where_empty():
    """A given id stays; an empty one becomes set and index."""
    pairs = Pairs([Pair("a", id="mine"), Pair("b")], name="set", cluster=None)
    assert [pair.id for pair in pairs] == ["mine", "set/1"]


def test_a_set_is_a_sequence():
    """Length, indices, iteration and membership are those of its pairs."""
    pairs = children()
    assert len(pairs) == 6
    assert pairs[-1] == list(pairs)[5]
    assert pairs[2] in pairs
    assert pairs.index(pairs[3]) == 3


def test_a_set_is_equal_and_hashed_by_content():
    """Two sets with the same content are one element of a set."""
    assert len({children(), children(), children(cluster="verb")}) == 2


# --- Refusals -------------------------------------------------------------------------------


def test_a_set_without_a_declared_cluster_is_refused():
    """The message names the labels present and the way to say that there is no cluster."""
    assert message(lambda: Pairs(children().pairs, name="children")) == (
        "children declares no cluster: which label's values are independent units?\n"
        "labels present: 'template', 'verb'\n"
        "pass cluster='<label>', or cluster=None to say aloud that each pair is its own unit"
    )


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"pairs": []}, "the pair set 'children' is empty; a claim needs at least one pair"),
        (
            {"cluster": "templat"},
            "the pairs of children have no label 'templat'; did you mean 'template'?\n"
            "labels present: 'template', 'verb'",
        ),
        ({"cluster": 3}, "cluster=3 (int); expected the name of a label, or None"),
        (
            {"pairs": [Pair("a", labels={"template": "x"}), Pair("b", labels={"verb": "y"})]},
            "1 of 2 pairs of children have no label 'template', first pair 'children/1', "
            "which has 'verb'",
        ),
        (
            {"pairs": [Pair("a", id="x"), Pair("b", id="x")], "cluster": None},
            "pairs 0 and 1 of children have the same id 'x'; give each its own, or none",
        ),
        (
            {"pairs": [Pair("a", id="children/1"), Pair("b")], "cluster": None},
            "pairs 0 and 1 of children have the same id 'children/1'; give each its own, or none",
        ),
        ({"pairs": ["Lily"]}, "item 0 of children is 'Lily' (str); expected a Pair"),
        ({"pairs": 3}, "children is made from 3 (int); expected a list of pairs"),
        ({"name": " "}, "a pair set is named ' '; expected a text that is not empty"),
    ],
)
def test_a_malformed_set_is_refused(changes, expected):
    """Empty, unclustered, doubled or foreign input is refused with the cure."""
    assert message(lambda: children(**changes)) == expected


# --- Subsets --------------------------------------------------------------------------------


def test_split_holds_out_whole_values():
    """Train and test share no template, keep the order, and are named after the set."""
    train, test = children().split(by="template", test=["so"])
    assert (train.name, test.name) == ("children/train", "children/test")
    assert [pair.id for pair in test] == ["children/2", "children/3"]
    assert [pair.id for pair in train] == ["children/0", "children/1", "children/4", "children/5"]


@given(pairs=any_pairs(), data=st.data())
def test_split_is_disjoint_and_complete(pairs, data):
    """Every pair is on exactly one side, and no value of the label is on both."""
    values = sorted({pair.labels["template"] for pair in pairs})
    if len(values) == 1:
        assert "nothing is left to train on" in message(
            lambda: pairs.split(by="template", test=values)
        )
        return
    chosen = data.draw(
        st.sets(st.sampled_from(values), min_size=1, max_size=len(values) - 1), label="test"
    )
    train, test = pairs.split(by="template", test=chosen)
    assert {pair.labels["template"] for pair in test} == chosen
    assert not {pair.labels["template"] for pair in train} & chosen
    assert sorted([*train, *test], key=lambda pair: pair.id) == sorted(
        pairs, key=lambda pair: pair.id
    )


@pytest.mark.parametrize(
    "by, test, expected",
    [
        ("templat", ["so"], "have no label 'templat'; did you mean 'template'?"),
        (
            "template",
            ["sow"],
            "no pair of children has template='sow'; did you mean 'so'?\n"
            "values of 'template': 'plain', 'so', 'then'",
        ),
        ("template", "so", "test='so' is str; expected a list of values of 'template'"),
        ("template", [], "test= names no value of 'template'; children has 'plain', 'so', 'then'"),
        ("template", ["plain", "so", "then"], "names every value of 'template' in children"),
    ],
)
def test_a_split_that_makes_no_sense_is_refused(by, test, expected):
    """Unknown labels and values and empty sides are refused."""
    assert expected in message(lambda: children().split(by=by, test=test))


def test_where_selects_by_labels():
    """Labels are joined by 'and', several values of one label by 'or'."""
    pairs = children()
    assert [pair.id for pair in pairs.where(template="so", verb="sat")] == ["children/3"]
    assert len(pairs.where(template=["plain", "then"])) == 4
    assert pairs.where(template="so").name == "children[template=so]"


@pytest.mark.parametrize(
    "labels, expected",
    [
        ({"verbs": "sat"}, "have no label 'verbs'; did you mean 'verb'?"),
        ({"verb": "sit"}, "no pair of children has verb='sit'"),
        ({"verb": 3}, "verb=3 is int; expected a list of values of 'verb'"),
        ({"template": "plain", "verb": "sat"}, "no pair of children has template=plain, verb=sat"),
    ],
)
def test_a_selection_that_finds_nothing_is_refused(labels, expected):
    """A misspelt or empty selection is an error, never an empty set."""
    assert expected in message(lambda: children().where(**labels))


def test_slices_are_sets():
    """A slice keeps cluster and ids and says in its name what it is."""
    part = children()[1:5:2]
    assert isinstance(part, Pairs)
    assert [pair.id for pair in part] == ["children/1", "children/3"]
    assert (part.name, part.cluster) == ("children[1:5:2]", "template")
    assert children()[:2].name == "children[:2]"


def test_an_empty_slice_is_refused():
    """A slice without pairs is an error."""
    assert message(lambda: children()[6:]) == "children[6:] holds no pairs; children has 6"


# --- Algebra --------------------------------------------------------------------------------


@given(pairs=any_pairs())
def test_swapping_twice_is_the_identity(pairs):
    """Swapping exchanges base and source; swapping again restores the very set."""
    if any(pair.source is None for pair in pairs):
        assert "has no source to swap" in message(pairs.swapped)
        return
    swapped = pairs.swapped()
    assert [(pair.base, pair.source) for pair in swapped] == [
        (pair.source, pair.base) for pair in pairs
    ]
    assert swapped.name != pairs.name
    assert swapped.swapped() == pairs


@given(pairs=any_pairs())
def test_what_is_written_is_read_back(pairs):
    """Reading a written file gives an equal set with an equal hash."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.jsonl"
        pairs.write(path)
        again = Pairs.read(path, cluster=pairs.cluster, name=pairs.name)
    assert again == pairs
    assert again.sha256 == pairs.sha256


@given(pairs=any_pairs())
def test_parts_are_written_and_read_back(pairs):
    """The ids of a part survive its file, though they are not its own indices."""
    part = pairs[len(pairs) // 2 :]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.jsonl"
        part.write(path)
        assert Pairs.read(path, cluster=part.cluster, name=part.name) == part


# --- The hash -------------------------------------------------------------------------------


def test_the_hash_is_that_of_the_documented_bytes():
    """The hash is the SHA-256 of these lines of JSON, written out by hand."""
    pair = Pair(
        "Lily ran",
        "Tim ran",
        " she",
        positions={"verb": "ran", "dot": [-1, 0]},
        labels={"verb": "ran", "age": "young"},
    )
    lines = (
        '["causaltest pairs 1","verb"]\n'
        '["Lily ran","Tim ran"," she",null,'
        '{"dot":[["tokens",-1,0],["tokens",-1,0]],"verb":[["characters",5,8],["characters",4,7]]},'
        '{"age":"young","verb":"ran"}]\n'
    )
    pairs = Pairs([pair], name="children", cluster="verb")
    assert pairs.sha256 == hashlib.sha256(lines.encode()).hexdigest()


def test_the_hash_does_not_depend_on_names_or_on_how_positions_were_written():
    """Name, ids and the form of a position are no content."""
    one = Pairs([Pair("Lily ran", positions={"verb": "ran"}, id="x")], name="one", cluster=None)
    other = Pairs([Pair("Lily ran", positions={"verb": Characters(5, 8)})], name="2", cluster=None)
    assert one.sha256 == other.sha256


def test_the_hash_is_the_same_in_another_process():
    """No hash seed of Python enters the hash."""
    program = (
        "from causaltest.pairs import Pair, Pairs\n"
        "labels = {'a': 'x', 'b': 'y', 'c': 'z'}\n"
        "pair = Pair('Lily ran', labels=labels, positions={'verb': 'ran', 'dot': -1})\n"
        "print(Pairs([pair], name='n', cluster=None).sha256)"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(hashes) == 1


FIELDS = {
    "base": "Lily ran",
    "source": "Tim ran",
    "base_answer": "5",
    "source_answer": "6",
    "positions": {"verb": "ran"},
    "labels": {"verb": "ran"},
}


@pytest.mark.parametrize(
    "changes",
    [
        {"base": "Lily ran "},
        {"source": "Tom ran"},
        {"source": None},
        {"base_answer": "6"},
        {"base_answer": 5, "source_answer": 6},
        {"base_answer": None},
        {"source_answer": None},
        {"base_answer": "6", "source_answer": "5"},
        {"base": "Tim ran", "source": "Lily ran"},
        {"positions": {}},
        {"positions": {"verbs": "ran"}},
        {"positions": {"verb": 1}},
        {"positions": {"verb": {"base": "ran", "source": "Tim"}}},
        {"labels": {"verb": "sat"}},
        {"labels": {"verb": "ran", "name": "Lily"}},
    ],
)
def test_the_hash_changes_with_every_part_of_a_pair(changes):
    """Prompts, answers, positions and labels all enter the hash."""

    def sha256(fields):
        return Pairs([Pair(**fields)], name="n", cluster="verb").sha256

    assert sha256(FIELDS | changes) != sha256(FIELDS)


def test_the_hash_changes_with_cluster_order_and_number():
    """The declared cluster and the order and number of pairs enter the hash."""
    pairs = children()
    others = [
        children(cluster="verb"),
        children(cluster=None),
        children(pairs=reversed(pairs.pairs)),
        pairs[:5],
    ]
    assert len({pairs.sha256, *(other.sha256 for other in others)}) == 5


@given(one=any_pairs(), other=any_pairs())
def test_equal_hashes_mean_equal_content(one, other):
    """Two sets have one hash exactly when cluster and pairs agree but for their ids."""

    def content(pairs):
        return pairs.cluster, [
            (p.base, p.source, p.base_answer, p.source_answer, p.positions, p.labels) for p in pairs
        ]

    assert (one.sha256 == other.sha256) == (content(one) == content(other))
