"""Positions: named places in a prompt, as tokens or as characters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Literal, TypeAlias, cast

from causaltest.errors import PairError
from causaltest.pairs.prompts import (
    Prompt,
    occurrences,
    shortened,
    whole_number,
    whole_numbers,
)
from causaltest.spelling import did_you_mean, listed

Side: TypeAlias = Literal["base", "source"]

RESERVED = ("end", "start", "first", "last", "all")
"""Names that sites give a meaning of their own, so that no pair may redefine them."""

_SIDES = ("base", "source")


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of a prompt by index.

    Parameters
    ----------
    indices
        Token indices; a negative index counts from the end of the unpadded prompt.

    Raises
    ------
    PairError
        If there is no index, an index twice, or one that is not a whole number.

    Examples
    --------
    >>> Tokens((3, -1))
    Tokens(indices=(3, -1))
    """

    indices: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "indices", whole_numbers(self.indices, "token indices"))
        if not self.indices:
            raise PairError("a position needs at least one token, but its list of tokens is empty")
        if len(set(self.indices)) < len(self.indices):
            raise PairError(
                f"tokens {list(self.indices)} name a token twice; "
                "name each token of a position once"
            )


@dataclass(frozen=True, slots=True)
class Characters:
    """A span of characters of a text prompt, which the engine maps to tokens.

    Parameters
    ----------
    start, stop
        Character offsets, `stop` exclusive, counted from the start of the prompt.

    Raises
    ------
    PairError
        If the offsets are not whole numbers with 0 <= start < stop.

    Examples
    --------
    >>> Characters(0, 4)
    Characters(start=0, stop=4)
    """

    start: int
    stop: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", whole_number(self.start, "a character offset"))
        object.__setattr__(self, "stop", whole_number(self.stop, "a character offset"))
        if not 0 <= self.start < self.stop:
            raise PairError(
                f"characters [{self.start}, {self.stop}] are no span; "
                "expected 0 <= start < stop, counted from the start of the prompt"
            )


Place: TypeAlias = Tokens | Characters


@dataclass(frozen=True, slots=True)
class Position:
    """The same named position in base and in source; the two may differ in size.

    Parameters
    ----------
    base, source
        Where the position is in the base prompt and in the source prompt.
    others
        Where it is in further sources, as (name of the source, place), in the order of names.

    Raises
    ------
    PairError
        If one of them is not a place.
    """

    base: Place
    source: Place
    others: tuple[tuple[str, Place], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "others", tuple(sorted(self.others, key=lambda each: each[0])))
        for side, place in (("base", self.base), ("source", self.source), *self.others):
            _check_is_place(side, place)

    def place(self, side: str) -> Place | None:
        """Return where the position is in one prompt; None where it is not said."""
        return {"base": self.base, "source": self.source, **dict(self.others)}.get(side)


PlaceForm: TypeAlias = int | str | Sequence[int] | Place | Mapping[str, Sequence[int]]
"""A place as users and files write it: an int, a list of ints, a text, or a character span."""

PositionForm: TypeAlias = PlaceForm | Position | Mapping[str, PlaceForm]
"""A position as users and files write it: a place for both prompts, or one for each."""

END = Tokens((-1,))
"""The built-in position `end`: the last token of the unpadded prompt."""


def check_name(name: object) -> str:
    """Return a position's name, checked: a word that no site reserves."""
    if not isinstance(name, str):
        raise PairError(f"a position is named {name!r} ({type(name).__name__}); expected a word")
    if name == "end":
        raise PairError(
            "'end' is built in (the last token of each prompt) and cannot be redefined; "
            "leave it out, or use another name"
        )
    if name in RESERVED:
        raise PairError(f"the position name {name!r} is reserved; use another name")
    if name in _SIDES:
        raise PairError(
            f"{name!r} is a side of the pair, not a position; name the position first: "
            "positions={'name': {'base': ..., 'source': ...}}"
        )
    if not name.replace("-", "_").isidentifier():
        raise PairError(
            f"the position name {name!r} is no word; use letters, digits, '_' and '-', "
            "beginning with a letter"
        )
    return name


def read_position(
    form: object, base: Prompt, source: Prompt | None, sources: Mapping[str, Prompt] | None = None
) -> Position:
    """Return the position that a form of it names in these prompts.

    Parameters
    ----------
    form
        An int (that token in every prompt), a list of ints (several tokens, in every prompt), a
        text that occurs exactly once in each prompt, `{"characters": [start, stop]}`, a place, a
        `Position`, or `{"base": ..., "source": ...}` of these where the prompts differ; further
        sources stand there by name, or are left out where the position is not in them.
    base, source
        The prompts; without a source prompt the position is the base's.
    sources
        Further sources by name.

    Raises
    ------
    PairError
        If the form is none of these or does not exist in a prompt.
    """
    named = sources or {}
    if isinstance(form, Position):
        position = form
    elif _gives_sides(form):
        position = _read_sides(cast("Mapping[object, object]", form), base, source, named)
    else:
        position = _read_both(form, base, source, named)
    _check_inside(position.base, base, "base")
    if source is not None:
        _check_inside(position.source, source, "source")
    elif position.source != position.base:
        raise PairError("it names a place in the source prompt, but the pair has no source")
    for name, place in position.others:
        if name not in named:
            raise PairError(f"it names a place in the source {name!r}, which the pair has not")
        _check_inside(place, named[name], name)
    return position


def write_position(
    position: Position,
    base: Prompt,
    source: Prompt | None,
    sources: Mapping[str, Prompt] | None = None,
) -> object:
    """Return the shortest JSON form of a position that `read_position` reads back."""
    named = sources or {}
    forms = {"base": _write_place(position.base, base)}
    if source is not None:
        forms["source"] = _write_place(position.source, source)
    for name, place in position.others:
        forms[name] = _write_place(place, named[name])
    first = forms["base"]
    alike = all(form == first for form in forms.values()) and len(position.others) == len(named)
    return first if alike else forms


def _gives_sides(form: object) -> bool:
    """Return whether a form gives base and source apart."""
    return isinstance(form, Mapping) and set(cast("Mapping[object, object]", form)) != {
        "characters"
    }


def _read_both(
    form: object, base: Prompt, source: Prompt | None, sources: Mapping[str, Prompt]
) -> Position:
    """Return a position that has one form for all prompts."""
    at_base = _read_place(form, base, "base")
    return Position(
        at_base,
        at_base if source is None else _read_place(form, source, "source"),
        tuple((name, _read_place(form, prompt, name)) for name, prompt in sources.items()),
    )


def _read_sides(
    form: Mapping[object, object],
    base: Prompt,
    source: Prompt | None,
    sources: Mapping[str, Prompt],
) -> Position:
    """Return a position that is given for each prompt apart."""
    known = (*_SIDES, *sources)
    for key in form:
        if key not in known:
            raise PairError(
                f"unknown field {key!r}{did_you_mean(str(key), (*known, 'characters'))}\n"
                "expected {'base': ..., 'source': ...} or {'characters': [start, stop]}"
            )
    needed = ("base",) if source is None and sources else _SIDES
    if any(side not in form for side in needed):
        given = listed(str(key) for key in form)
        raise PairError(f"it is given for {given} only; expected both 'base' and 'source'")
    if source is None and "source" in form:
        raise PairError("it names a place in the source prompt, but the pair has no source")
    at_base = _read_place(form["base"], base, "base")
    return Position(
        at_base,
        at_base if source is None else _read_place(form["source"], source, "source"),
        tuple(
            (name, _read_place(form[name], prompt, name))
            for name, prompt in sources.items()
            if name in form
        ),
    )


def _read_place(form: object, prompt: Prompt, side: str) -> Place:
    """Return the place that a form of it names in one prompt."""
    if isinstance(form, (Tokens, Characters)):
        return form
    if isinstance(form, str):
        return _find_text(form, prompt, side)
    if isinstance(form, Mapping):
        return _read_characters(cast("Mapping[object, object]", form))
    if isinstance(form, Integral):
        return Tokens((whole_number(form, "it"),))
    if isinstance(form, Sequence) and not isinstance(form, bytes):
        return Tokens(whole_numbers(cast("Sequence[object]", form), "token indices"))
    raise PairError(
        f"it is {form!r} ({type(form).__name__}); expected a token index, a list of them, "
        "or a text that occurs once in the prompt"
    )


def _read_characters(form: Mapping[object, object]) -> Characters:
    """Return the span that `{"characters": [start, stop]}` names."""
    if set(form) != {"characters"}:
        raise PairError(
            f"a place is {dict(form)!r}; as an object it is {{'characters': [start, stop]}}"
        )
    span = whole_numbers(form["characters"], "characters")
    if len(span) != 2:
        raise PairError(f"characters are {list(span)}; expected [start, stop]")
    return Characters(*span)


def _find_text(text: str, prompt: Prompt, side: str) -> Characters:
    """Return where a text occurs in a prompt, which must be exactly once."""
    if not isinstance(prompt, str):
        raise PairError(
            f"it is the text {text!r}, but the {side} prompt is token ids; give token indices"
        )
    starts = occurrences(text, prompt)
    if len(starts) == 1:
        return Characters(starts[0], starts[0] + len(text))
    cure = "give each its own text: {'base': ..., 'source': ...}"
    if starts:
        cure = "give a longer text, token indices, or {'characters': [start, stop]}"
    how_often = f"{len(starts)} times" if starts else "not"
    raise PairError(
        f"{text!r} occurs {how_often} in the {side} prompt {shortened(prompt)}; "
        f"expected exactly once\n{cure}"
    )


def _check_inside(place: Place, prompt: Prompt, side: str) -> None:
    """Refuse a place that the prompt does not have, as far as that shows without a tokenizer."""
    if isinstance(place, Characters):
        if not isinstance(prompt, str):
            raise PairError(
                f"it is a span of characters, but the {side} prompt is token ids; "
                "give token indices"
            )
        if place.stop > len(prompt):
            raise PairError(
                f"characters [{place.start}, {place.stop}] do not exist: the {side} prompt "
                f"has {len(prompt)} characters"
            )
    elif not isinstance(prompt, str):
        _check_token_ids(place, len(prompt), side)


def _check_token_ids(place: Tokens, length: int, side: str) -> None:
    """Refuse token indices that a prompt of token ids does not have, or names twice."""
    for index in place.indices:
        if not -length <= index < length:
            raise PairError(
                f"token {index} does not exist: the {side} prompt has {length} tokens, "
                f"{-length} to {length - 1}"
            )
    if len({index % length for index in place.indices}) < len(place.indices):
        raise PairError(
            f"tokens {list(place.indices)} name a token of the {side} prompt "
            f"({length} tokens) twice; name each token of a position once"
        )


def _check_is_place(side: str, place: object) -> None:
    """Refuse what is not a place."""
    if not isinstance(place, (Tokens, Characters)):
        raise PairError(
            f"the {side} place is {place!r} ({type(place).__name__}); "
            "expected Tokens((3,)) or Characters(0, 4)"
        )


def _write_place(place: Place, prompt: Prompt) -> object:
    """Return the shortest JSON form of a place."""
    if isinstance(place, Tokens):
        return place.indices[0] if len(place.indices) == 1 else list(place.indices)
    if isinstance(prompt, str):
        text = prompt[place.start : place.stop]
        if len(occurrences(text, prompt)) == 1:
            return text
    return {"characters": [place.start, place.stop]}
