"""The committed pair sets: what build.py writes, and contrasts that differ in one word."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from causaltest.pairs import Characters, Pair, Pairs
from hypotheses.pairs import build
from hypotheses.schoolbook.grammar import held_out
from hypotheses.schoolbook.parts import FEMALE, MALE, NAMES, NOUNS

CHANGED = {
    "pronouns": {"": "name"},
    "indirect_objects": {"subject": "s2", "object": "io"},
    "repeated_names": {"cue": "cue", "follower": "follower"},
    "agreement": {"": "subject"},
}
"""The position at which base and source differ, by task and by the label `contrast`."""


def words(text: str) -> list[str]:
    """The words and punctuation marks of a text."""
    return re.findall(r"\w+|[^\w\s]", text)


def at(pair: Pair, position: str, side: str) -> str:
    """The text that stands at a named position."""
    place = pair.place(position, "base" if side == "base" else "source")
    assert isinstance(place, Characters)
    return str(getattr(pair, side))[place.start : place.stop]


def test_files_are_what_the_script_writes(task: str, folder: Path, tmp_path: Path) -> None:
    """The committed file of each task equals, byte for byte, what build.py writes."""
    build.build(task).write(tmp_path / "written.jsonl")
    committed = folder.parent / "pairs" / f"{task}.jsonl"
    assert committed.read_bytes() == (tmp_path / "written.jsonl").read_bytes()


def test_every_template_has_four_pairs(pairs: Pairs) -> None:
    """Sixteen templates have four pairs each, and no pair stands twice."""
    assert Counter(Counter(pairs.units).values()) == {4: 16}
    assert len({(pair.base, pair.source) for pair in pairs}) == len(pairs)


def test_base_and_source_differ_in_one_word(task: str, pairs: Pairs) -> None:
    """Base and source have equally many words and differ only at the intended position."""
    for pair in pairs:
        changed = CHANGED[task][pair.labels.get("contrast", "")]
        base, source = words(str(pair.base)), words(str(pair.source))
        differing = [(a, b) for a, b in zip(base, source, strict=True) if a != b]
        assert differing == [(at(pair, changed, "base"), at(pair, changed, "source"))]


def test_positions_are_whole_words(pairs: Pairs) -> None:
    """Every named position is one word, with nothing of its neighbours."""
    for pair in pairs:
        for name in pair.positions:
            for side in ("base", "source"):
                place = pair.place(name, side)
                assert isinstance(place, Characters)
                text = str(getattr(pair, side))
                spans = [match.span() for match in re.finditer(r"\w+", text)]
                assert (place.start, place.stop) in spans


@pytest.mark.parametrize("side", ["base", "source"])
def test_answers_follow_from_the_prompt(task: str, pairs: Pairs, side: str) -> None:
    """Each answer is what the words of the prompt call for, read independently of the grammar."""
    for pair in pairs:
        prompt, answer = words(str(getattr(pair, side))), getattr(pair, f"{side}_answer")
        assert answer == " " + expected_answer(task, prompt)


def expected_answer(task: str, prompt: list[str]) -> str:
    """The answer to a prompt, from its words alone."""
    names = [word for word in prompt if word in NAMES]
    if task == "pronouns":
        return "she" if names[0] in FEMALE else "he"
    if task == "indirect_objects":
        return next(name for name in names if names.count(name) == 1)
    if task == "repeated_names":
        return names[names.index(names[-1]) + 1]
    forms = {form: number for noun in NOUNS for number, form in enumerate(noun)}
    past = prompt[0] in {"Yesterday", "Last", "When"}
    plural = next(forms[word] for word in prompt if word in forms)
    return {(0, 0): "is", (0, 1): "are", (1, 0): "was", (1, 1): "were"}[past, plural]


def test_roles_of_the_indirect_object() -> None:
    """`io` is the base's answer and `s1`, `s2` are the name that the base repeats."""
    for pair in build.build("indirect_objects"):
        assert " " + at(pair, "io", "base") == pair.base_answer
        assert at(pair, "s1", "base") == at(pair, "s2", "base") != at(pair, "io", "base")


def test_roles_of_the_repeated_name() -> None:
    """`follower` is the base's answer, `earlier` its cue, `other` the couple not asked for."""
    for pair in build.build("repeated_names"):
        names = [word for word in words(str(pair.base)) if word in NAMES]
        earlier, follower, other, other_follower, cue = (
            at(pair, name, "base")
            for name in ("earlier", "follower", "other", "other_follower", "cue")
        )
        assert " " + follower == pair.base_answer
        assert earlier == cue
        assert sorted(names) == sorted([earlier, follower, other, other_follower, cue])


@pytest.mark.parametrize(
    "task_with_two, roles",
    [("indirect_objects", ("io", "s2")), ("repeated_names", ("cue", "follower"))],
)
def test_names_are_strangers(task_with_two: str, roles: tuple[str, str]) -> None:
    """The two names that a prompt turns on never met in training."""
    for pair in build.build(task_with_two):
        assert held_out(at(pair, roles[0], "base"), at(pair, roles[1], "base"))


def test_nouns_are_strangers() -> None:
    """The subject of an agreement prompt never met its second noun in training."""
    for pair in build.build("agreement"):
        assert held_out(at(pair, "subject", "base"), at(pair, "attractor", "base"))


def test_contrasts_are_balanced() -> None:
    """Half of the pairs go each way: she and he, both orders, both numbers of either noun."""
    pronouns = Counter(pair.labels["pronoun"] for pair in build.build("pronouns"))
    assert pronouns == {"she": 32, "he": 32}
    for task_with_two, label in (("indirect_objects", "order"), ("repeated_names", "couple")):
        cells = Counter((p.labels["contrast"], p.labels[label]) for p in build.build(task_with_two))
        assert len(cells) == 4
        assert set(cells.values()) == {16}
    numbers = Counter(
        (pair.labels["number"], pair.labels["attractor"]) for pair in build.build("agreement")
    )
    assert len(numbers) == 4
    assert set(numbers.values()) == {16}


def test_every_word_is_known(pairs: Pairs, tokenizer: PreTrainedTokenizerBase) -> None:
    """Prompts are one token a word, answers one token, and none of them unknown."""
    for pair in pairs:
        for text in (pair.base, pair.source, pair.base_answer, pair.source_answer):
            ids = tokenizer(str(text)).input_ids
            assert len(ids) == len(words(str(text)))
            assert tokenizer.unk_token_id not in ids


def test_names_divide_into_two_genders() -> None:
    """No name is both female and male, and none stands twice."""
    assert len(set(FEMALE) | set(MALE)) == len(FEMALE) + len(MALE) == len(NAMES)
