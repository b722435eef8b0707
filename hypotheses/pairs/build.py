"""Write the pair sets: for each template of the grammar four pairs that differ in one word.

    python -m hypotheses.pairs.build

writes pronouns.jsonl, indirect_objects.jsonl, repeated_names.jsonl and agreement.jsonl into this
folder, the same bytes each time.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from causaltest.pairs import Characters, Pair, Pairs, Position
from hypotheses.schoolbook import grammar, parts

FOLDER = Path(__file__).parent
SEED = 21


def build(task: str) -> Pairs:
    """The pair set of a task, template by template."""
    rng = random.Random(f"{SEED} {task}")
    pairs = [pair for template in parts.TEMPLATES[task] for pair in _BUILDERS[task](template, rng)]
    return Pairs(pairs, name=task, cluster="template")


def _pair(
    template: str,
    base: Mapping[str, str],
    source: Mapping[str, str],
    *,
    answers: tuple[str, str],
    labels: Mapping[str, str],
    roles: Mapping[str, str],
) -> Pair:
    """One pair; `roles` says which field of the template each named position is."""
    base_spans, source_spans = _spans(template, base), _spans(template, source)
    return Pair(
        template.format(**base),
        template.format(**source),
        *answers,
        positions={
            role: Position(base=base_spans[field], source=source_spans[field])
            for role, field in roles.items()
        },
        labels={"template": template, **labels},
    )


def _spans(template: str, words: Mapping[str, str]) -> dict[str, Characters]:
    """Where each field stands in the filled-in template, as character spans."""
    spans: dict[str, Characters] = {}
    text, rest = "", template
    while "{" in rest:
        before, _, rest = rest.partition("{")
        field, _, rest = rest.partition("}")
        start = len(text) + len(before)
        text += before + words[field]
        spans[field] = Characters(start, len(text))
    return spans


def _pronouns(template: str, rng: random.Random) -> Iterator[Pair]:
    """Two pairs from she to he, two from he to she."""
    females = rng.sample(_fitting(parts.FEMALE, template), 4)
    males = rng.sample(_fitting(parts.MALE, template), 4)
    for i, (female, male) in enumerate(zip(females, males, strict=True)):
        base, source = ((female, " she"), (male, " he"))[:: 1 if i < 2 else -1]
        yield _pair(
            template,
            {"name": base[0]},
            {"name": source[0]},
            answers=(base[1], source[1]),
            labels={"pronoun": base[1].strip(), "name": base[0]},
            roles={"name": "name"},
        )


def _indirect_objects(template: str, rng: random.Random) -> Iterator[Pair]:
    """Twice the giver is changed to the other name, twice the receiver to a third name."""
    for i in range(4):
        contrast, object_first = ("subject", "object")[i // 2], i % 2 == 0
        giver_at = 1 if object_first else 0
        first, second, third = _strangers(template, rng, ((0, 1), (giver_at, 2)), 3)
        giver, receiver = (second, first) if object_first else (first, second)
        base = {"first": first, "second": second, "giver": giver}
        roles = {"io": "first", "s1": "second", "s2": "giver"}
        if not object_first:
            roles |= {"io": "second", "s1": "first"}
        if contrast == "subject":
            source, answer = base | {"giver": receiver}, giver
        else:
            source, answer = base | {roles["io"]: third}, third
        labels = {"contrast": contrast, "order": "ABB" if object_first else "BAB"}
        answers = (f" {receiver}", f" {answer}")
        yield _pair(template, base, source, answers=answers, labels=labels, roles=roles)


def _repeated_names(template: str, rng: random.Random) -> Iterator[Pair]:
    """Twice the name that is mentioned again is changed, twice the name that followed it."""
    for i in range(4):
        contrast, cued_first = ("cue", "follower")[i // 2], i % 2 == 0
        a, b, c, d, x = _strangers(template, rng, ((0, 1), (2, 3), (0 if cued_first else 2, 4)), 5)
        cue, answer, other, other_answer = (a, b, c, d) if cued_first else (c, d, a, b)
        fields = {"a": a, "b": b, "c": c, "d": d, "cue": cue}
        places = ("a", "b", "c", "d") if cued_first else ("c", "d", "a", "b")
        names = ("earlier", "follower", "other", "other_follower", "cue")
        roles: dict[str, str] = dict(zip(names, (*places, "cue"), strict=True))
        if contrast == "cue":
            source, source_answer = fields | {"cue": other}, other_answer
        else:
            source, source_answer = fields | {roles["follower"]: x}, x
        labels = {"contrast": contrast, "couple": "first" if cued_first else "second"}
        answers = (f" {answer}", f" {source_answer}")
        yield _pair(template, fields, source, answers=answers, labels=labels, roles=roles)


def _agreement(template: str, rng: random.Random) -> Iterator[Pair]:
    """Singular and plural subject, each with a second noun of its own number and of the other."""
    for i in range(4):
        plural, same = i // 2 == 1, i % 2 == 0
        while True:
            subject = rng.choice(grammar.subjects(template))
            attractor = rng.choice(grammar.attractors(template))
            if grammar.held_out(subject[0], attractor[0]):
                break
        second = attractor[plural == same]
        base = {"subject": subject[plural], "attractor": second}
        source = {"subject": subject[not plural], "attractor": second}
        answers = (grammar.verb(template, plural=plural), grammar.verb(template, plural=not plural))
        labels = {
            "number": ("singular", "plural")[plural],
            "attractor": ("other number", "same number")[same],
            "tense": "past" if grammar.is_past(template) else "present",
        }
        roles = {field: field for field in base}
        yield _pair(template, base, source, answers=answers, labels=labels, roles=roles)


def _strangers(
    template: str, rng: random.Random, never_met: Sequence[tuple[int, int]], count: int
) -> list[str]:
    """Names of which the given pairs (by index) never met in training."""
    names: list[str] = []
    while len(names) < count:
        partners = [names[i] for i, j in never_met if j == len(names)]
        fitting = [
            name
            for name in _fitting(parts.NAMES, template)
            if name not in names and all(grammar.held_out(name, partner) for partner in partners)
        ]
        # A name without a partner left: begin again.
        names = [*names, rng.choice(fitting)] if fitting else []
    return names


def _fitting(names: Sequence[str], template: str) -> list[str]:
    """The names that suit a template: one that opens the text is a single token in GPT-2, too."""
    split = {"Lily", "Emma", "Lucy", "Helen", "Julia", "Nancy"} if template[0] == "{" else set()
    return [name for name in names if name not in split]


_BUILDERS = {
    "pronouns": _pronouns,
    "indirect_objects": _indirect_objects,
    "repeated_names": _repeated_names,
    "agreement": _agreement,
}


def main() -> None:
    """Write every pair set."""
    for task in parts.TASKS:
        build(task).write(FOLDER / f"{task}.jsonl")


if __name__ == "__main__":
    main()
