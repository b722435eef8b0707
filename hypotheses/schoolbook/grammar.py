"""A small English grammar with known answers: what the default model is trained and asked on.

Four tasks, each a family of prompts that stop right before a word that the text determines:

- `pronouns`: a name decides between " she" and " he".
- `indirect_objects`: of two names, the one not repeated (Wang et al. 2022, arXiv 2211.00593).
- `repeated_names`: a name is mentioned again, and the name that went with it follows.
- `agreement`: the subject's number decides the verb, past a noun that may differ in number.

A *template* is a prompt whose names or nouns are left open as {fields}. `TEMPLATES` are the ones
that the pair sets use. Training never sees them: `sample` composes other templates from the same
parts, and it never puts two words that are `held_out` from each other into one text.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hypotheses.schoolbook import parts
from hypotheses.schoolbook.parts import FEMALE, NAMES, NOUNS, PEOPLE, TEMPLATES, THINGS


@dataclass(frozen=True)
class Example:
    """One text with a known answer: the template, what fills it, the answer, and how it goes on."""

    task: str
    template: str
    fields: tuple[tuple[str, str], ...]
    answer: str
    ending: str

    @property
    def prompt(self) -> str:
        """The text up to the answer."""
        return self.template.format(**dict(self.fields))

    @property
    def text(self) -> str:
        """The whole text, as it is trained on."""
        return f"{self.prompt}{self.answer}{self.ending}"


def held_out(a: str, b: str) -> bool:
    """Whether two words never meet in training: one pair of names in 20, of nouns in 5."""
    if a in _NAME_PLACES:
        return a != b and (_NAME_PLACES[a] + _NAME_PLACES[b]) % 20 == 0
    return a != b and (_NOUN_PLACES[a] + _NOUN_PLACES[b]) % 5 == 0


_NAME_PLACES = {name: place for place, name in enumerate(NAMES)}
_NOUN_PLACES = {form: place for place, noun in enumerate(NOUNS) for form in noun}


def is_past(template: str) -> bool:
    """Whether an agreement template is about the past and wants was/were instead of is/are."""
    return template.startswith(parts.PAST_OPENINGS)


def subjects(template: str) -> tuple[tuple[str, str], ...]:
    """The nouns that an agreement template can be about, as (singular, plural)."""
    return PEOPLE if "} who " in template or "} of the" in template else THINGS


def attractors(template: str) -> tuple[tuple[str, str], ...]:
    """The nouns that can stand between subject and verb, as (singular, plural)."""
    people = (" who ", " of the {", " of the young", parts.BOUGHT_LINK)
    return PEOPLE if any(part in template for part in people) else NOUNS


def verb(template: str, *, plural: bool) -> str:
    """The verb that agrees with the subject, with its leading space."""
    return ((" is", " are"), (" was", " were"))[is_past(template)][plural]


def sample(task: str, rng: random.Random) -> Example:
    """Draw one training example of a task: no template of `TEMPLATES`, no held-out pair."""
    while True:
        example = _SAMPLERS[task](rng)
        if example.template in TEMPLATES[task]:
            continue
        words = [word for _, word in example.fields]
        if not any(held_out(a, b) for i, a in enumerate(words) for b in words[:i]):
            return example


def examples(weights: Mapping[str, float], rng: random.Random) -> Iterator[Example]:
    """Draw training examples for ever, with the tasks in the given proportions."""
    tasks, shares = list(weights), list(weights.values())
    while True:
        yield sample(rng.choices(tasks, shares)[0], rng)


def vocabulary() -> list[str]:
    """Every word and punctuation mark of the language, sorted."""
    texts = [text for group in (*TEMPLATES.values(), *parts.PARTS) for text in group]
    words = {word for text in texts for word in _plain(text).split()}
    words |= {word.capitalize() for word in words & parts.SENTENCE_STARTS}
    return sorted(words)


def _plain(text: str) -> str:
    """The text without {fields}, and with punctuation set off by spaces."""
    while "{" in text:
        before, _, rest = text.partition("{")
        text = before + " " + rest.partition("}")[2]
    return text.replace(",", " , ").replace(".", " . ")


def _join(opening: str, rest: str) -> str:
    """A sentence that starts with a capital, unless a field opens it."""
    text = f"{opening} {rest}".strip()
    return text if text.startswith("{") else text[0].upper() + text[1:]


def _fill(template: str, rng: random.Random, **words: Sequence[str]) -> str:
    """The template with each field of `words` replaced by a draw of its list; other fields stay."""
    for field, choices in words.items():
        while "{" + field + "}" in template:
            template = template.replace("{" + field + "}", rng.choice(choices), 1)
    return template


def _pronouns(rng: random.Random) -> Example:
    """A name, later she or he."""
    if rng.random() < 0.3:
        rest = rng.choice(parts.PRONOUN_SAYINGS)
    else:
        rest = rng.choice(parts.PRONOUN_CLAUSES) + rng.choice(parts.PRONOUN_LINKS)
    template = _join(rng.choice(parts.OPENINGS), rest)
    name = rng.choice(NAMES)
    answer = " she" if name in FEMALE else " he"
    ending = " " + rng.choice(parts.PRONOUN_ENDINGS)
    return Example("pronouns", template, (("name", name),), answer, ending)


def _indirect_objects(rng: random.Random) -> Example:
    """Two names, one of them repeated as the giver; the other receives."""
    meeting, giving = rng.choice(parts.MEETINGS), rng.choice(parts.GIVINGS)
    if rng.random() < 0.4:
        template = f"{rng.choice(parts.MEETING_SUBORDINATORS)} {meeting}, {giving}"
    else:
        start = _join(rng.choice(parts.MEETING_OPENINGS), meeting)
        template = f"{start}{rng.choice(parts.MEETING_PAUSES)} {giving}"
    template = _fill(template, rng, place=parts.PLACES, thing=parts.GIFTS, message=parts.MESSAGES)
    first, second = rng.sample(NAMES, 2)
    giver, receiver = rng.sample((first, second), 2)
    fields = (("first", first), ("second", second), ("giver", giver))
    return Example("indirect_objects", template, fields, f" {receiver}", ".")


def _repeated_names(rng: random.Random) -> Example:
    """Names in a list or in couples; one is mentioned again, and what followed it follows."""
    if rng.random() < 0.35:
        return _listed_names(rng)
    bond, join = rng.choice(parts.BONDS), rng.choice(parts.BOND_JOINS)
    couples = rng.choice((2, 2, 2, 3))
    letters = "abcdef"[: 2 * couples]
    names = rng.sample(NAMES, 2 * couples)
    said = [f"{{{left}}} {bond} {{{right}}}" for left, right in _couples(letters)]
    if bond == "and" and rng.random() < 0.5:
        said = [f"{couple} {rng.choice(parts.COUPLE_DEEDS)}" for couple in said]
    start = _join(rng.choice(parts.BOND_OPENINGS), f"{join} ".join(said))
    template = f"{start}{rng.choice(parts.RECALLS)} {{cue}} {bond}"
    (cue, answer), *others = rng.sample(_couples(names), couples)
    ending = "".join(f"{join} {left} {bond} {right}" for left, right in others) + "."
    fields = (*zip(letters, names, strict=True), ("cue", cue))
    return Example("repeated_names", template, fields, f" {answer}", ending)


def _couples(items: Sequence[str]) -> list[tuple[str, str]]:
    """First and second, third and fourth, and so on."""
    return list(zip(items[::2], items[1::2], strict=True))


def _listed_names(rng: random.Random) -> Example:
    """A list that starts again from one of its names, with commas or without."""
    count = rng.randint(3, 9)
    names = _acquaintances(rng, count)
    letters = "abcdefghi"[:count]
    cued = rng.choice((0, rng.randrange(count - 1)))
    comma = rng.choice((",", ",", ""))
    listed = f"{comma} ".join(f"{{{letter}}}" for letter in letters)
    recall = rng.choice(parts.LIST_RECALLS) or comma
    template = f"{_join(rng.choice(parts.LIST_OPENINGS), listed)}{recall} {{cue}}{comma}"
    fields = (*zip(letters, names, strict=True), ("cue", names[cued]))
    ending = "".join(f"{comma} {name}" for name in names[cued + 2 :]) + "."
    return Example("repeated_names", template, fields, f" {names[cued + 1]}", ending)


def _acquaintances(rng: random.Random, count: int) -> list[str]:
    """Names of which no two are held out from each other, without trying long."""
    names: list[str] = []
    for name in rng.sample(NAMES, len(NAMES)):
        if len(names) < count and not any(held_out(name, other) for other in names):
            names.append(name)
    return names


def _agreement(rng: random.Random) -> Example:
    """A subject, a second noun, and the verb that agrees with the subject."""
    opening = rng.choice(parts.PRESENT_OPENINGS if rng.random() < 0.6 else parts.PAST_OPENINGS)
    link = rng.choice(
        (*parts.LINKS, parts.BOUGHT_LINK) if rng.random() < 0.6 else parts.PERSON_LINKS
    )
    adjective = rng.choice(parts.ADJECTIVES)
    rest = f"the {adjective}{{subject}} {link} {rng.choice(parts.ADJECTIVES)}{{attractor}}"
    template = _join(opening, f"{rest} {rng.choice(parts.ADVERBS)}")
    subject, attractor = rng.choice(subjects(template)), rng.choice(attractors(template))
    plural = rng.random() < 0.5
    fields = (("subject", subject[plural]), ("attractor", rng.choice(attractor)))
    ending = " " + rng.choice(parts.AGREEMENT_ENDINGS)
    return Example("agreement", template, fields, verb(template, plural=plural), ending)


_SAMPLERS = {
    "pronouns": _pronouns,
    "indirect_objects": _indirect_objects,
    "repeated_names": _repeated_names,
    "agreement": _agreement,
}
