"""The grammar: seeded, closed under its vocabulary, and blind to what is held out."""

from __future__ import annotations

import random
import re
from itertools import combinations, islice

from hypotheses.schoolbook import grammar, parts
from hypotheses.schoolbook.parts import FEMALE, NAMES, NOUNS, TASKS, TEMPLATES

FORMS = {form: number for noun in NOUNS for number, form in enumerate(noun)}


def words(text: str) -> list[str]:
    """The words and punctuation marks of a text."""
    return re.findall(r"\w+|[^\w\s]", text)


def drawn(task: str, count: int = 2000) -> list[grammar.Example]:
    """Training examples of one task."""
    rng = random.Random(7)
    return [grammar.sample(task, rng) for _ in range(count)]


def test_the_same_seed_gives_the_same_texts() -> None:
    """Two streams with one seed are equal, and another seed gives another stream."""
    shares = dict.fromkeys(TASKS, 1.0)
    first, again, other = (
        list(islice(grammar.examples(shares, random.Random(seed)), 50)) for seed in (3, 3, 4)
    )
    assert first == again
    assert first != other


def test_training_avoids_the_pair_sets_templates(task: str) -> None:
    """No training example has a template of the pair sets."""
    assert not {example.template for example in drawn(task)} & set(TEMPLATES[task])


def test_training_avoids_held_out_words(task: str) -> None:
    """No training text holds two names, or two nouns of an agreement, that are kept apart."""
    for example in drawn(task):
        in_question = [word for word in words(example.text) if word in NAMES]
        if task == "agreement":
            in_question = [word for word in words(example.prompt) if word in FORMS]
        assert not any(grammar.held_out(a, b) for a, b in combinations(in_question, 2))


def test_how_much_is_held_out() -> None:
    """One pair of names in 20 and one of nouns in 5 are kept apart, in either order."""
    for words_of_a_kind, share in ((NAMES, 1 / 20), ([noun[0] for noun in NOUNS], 1 / 5)):
        both = list(combinations(words_of_a_kind, 2))
        apart = [(a, b) for a, b in both if grammar.held_out(a, b)]
        assert all(grammar.held_out(b, a) for a, b in apart)
        assert abs(len(apart) / len(both) - share) < 0.01
        assert {word for pair in apart for word in pair} == set(words_of_a_kind)


def test_every_text_is_in_the_vocabulary(task: str) -> None:
    """No training text has a word that the tokenizer does not know."""
    known = set(grammar.vocabulary())
    assert not {word for example in drawn(task) for word in words(example.text)} - known


def test_the_vocabulary_has_no_idle_words() -> None:
    """Every word of the vocabulary occurs in a training text."""
    used = {word for task in TASKS for example in drawn(task, 8000) for word in words(example.text)}
    assert set(grammar.vocabulary()) - used == set()


def test_answers_are_right(task: str) -> None:
    """The answer of each training example follows from its words."""
    for example in drawn(task):
        prompt = words(example.prompt)
        names = [word for word in prompt if word in NAMES]
        if task == "pronouns":
            right = "she" if names[0] in FEMALE else "he"
        elif task == "indirect_objects":
            right = next(name for name in names if names.count(name) == 1)
        elif task == "repeated_names":
            right = names[names.index(names[-1]) + 1]
        else:
            plural = next(FORMS[word] for word in prompt if word in FORMS)
            past = example.template.startswith(parts.PAST_OPENINGS)
            right = (("is", "are"), ("was", "were"))[past][plural]
        assert example.answer == f" {right}"
