"""One counterfactual pair: base, source, answers, positions, labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from causaltest.errors import PairError
from causaltest.pairs.positions import (
    END,
    Place,
    Position,
    PositionForm,
    check_name,
    read_position,
)
from causaltest.pairs.prompts import (
    Prompt,
    check_unicode,
    read_prompt,
    shortened,
    whole_number,
)
from causaltest.spelling import did_you_mean, listed

Value = TypeVar("Value")


class FrozenMapping(Mapping[str, Value], Generic[Value]):
    """A mapping that cannot change, is hashable by content, and can be pickled and copied.

    Examples
    --------
    >>> FrozenMapping({"a": 1}) == {"a": 1}
    True
    """

    __slots__ = ("_items",)
    _items: dict[str, Value]

    def __init__(self, items: Mapping[str, Value]) -> None:
        self._items = dict(items)

    def __getitem__(self, key: str) -> Value:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return repr(self._items)


@dataclass(frozen=True, init=False)
class Pair:
    """A base prompt and the source prompt it is contrasted with.

    Parameters
    ----------
    base
        The prompt the model runs on: text, or token ids for models without a tokenizer.
    source
        The prompt that activations are taken from, of the same kind; None where an
        intervention needs no source.
    base_answer, source_answer
        What the model should answer to each: text, a token id or a class index.
    positions
        Places by name, the same name in base and in source. A place is an int (that token in
        both prompts), a list of ints (several tokens, in both), a text that occurs exactly once
        in each prompt, `{"characters": [start, stop]}`, or `{"base": ..., "source": ...}` of
        these. A list of two ints means two tokens, never base and source. `end`, the last
        token of each prompt, is built in.
    sources
        Further sources by name, of the same kind as the base, for interventions that take from
        several prompts (`from_source`). Positions are given for them by their names, or, in one
        form for all prompts, are in each of them.
    labels
        Factors of the pair by name, e.g. template, verb; one of them is usually the cluster.
    id
        Filled in by `Pairs` where empty, as `<set>/<index>`.

    Raises
    ------
    PairError
        If a prompt, answer, position or label is malformed, or base and source are equal.

    Examples
    --------
    >>> pair = Pair(
    ...     "Lily lost a shoe, and",
    ...     "Tim lost a shoe, and",
    ...     base_answer=" she",
    ...     source_answer=" he",
    ...     positions={"name": {"base": "Lily", "source": "Tim"}, "object": "shoe"},
    ...     labels={"template": "lost"},
    ... )
    >>> pair.place("name", "source")
    Characters(start=0, stop=3)
    >>> pair.place("end")
    Tokens(indices=(-1,))
    """

    base: Prompt
    source: Prompt | None
    base_answer: str | int | None
    source_answer: str | int | None
    positions: Mapping[str, Position]
    labels: Mapping[str, str]
    id: str
    sources: Mapping[str, Prompt]

    def __init__(
        self,
        base: str | tuple[int, ...] | list[int],
        source: str | tuple[int, ...] | list[int] | None = None,
        base_answer: str | int | None = None,
        source_answer: str | int | None = None,
        *,
        positions: Mapping[str, PositionForm] | None = None,
        labels: Mapping[str, str] | None = None,
        id: str = "",  # noqa: A002 - the field's name in every file and message
        sources: Mapping[str, str | tuple[int, ...] | list[int]] | None = None,
    ) -> None:
        if not isinstance(cast("object", id), str):
            raise PairError(f"a pair's id is {id!r} ({type(id).__name__}); expected text")
        try:
            self._set("id", id)
            check_unicode(id, "the id")
            self._set("base", read_prompt(base, "base"))
            self._set("source", None if source is None else read_prompt(source, "source"))
            _check_prompts(self.base, self.source)
            self._set("sources", _read_sources(sources, self.base))
            self._set("base_answer", _read_answer(base_answer, "base_answer"))
            self._set("source_answer", _read_answer(source_answer, "source_answer"))
            _check_answers(self.base_answer, self.source_answer)
            self._set("positions", _read_positions(positions, self))
            self._set("labels", _read_labels(labels))
        except PairError as error:
            raise PairError(f"{_named(id, base)}: {error}") from None

    def place(self, name: str, side: str = "base") -> Place:
        """Return where a named position is, in base or in source.

        Parameters
        ----------
        name
            A name in `positions`, or `end`.
        side
            `base`, `source`, or the name of a further source.

        Raises
        ------
        PairError
            If the pair has no such position, or no source.
        """
        if side == "source" and self.source is None:
            raise PairError(f"{self.name} has no source, so no {name!r} in it")
        self.prompt(side)
        if name == "end":
            return END
        position = self.positions.get(name)
        if position is None:
            known = (*self.positions, "end")
            raise PairError(
                f"{self.name} has no position {name!r}; it has {listed(known)}"
                f"{did_you_mean(name, known)}"
            )
        place = position.place(side)
        if place is None:
            raise PairError(f"position {name!r} of {self.name} is not given for source {side!r}")
        return place

    def prompt(self, side: str) -> Prompt:
        """Return one of the pair's prompts.

        Parameters
        ----------
        side
            `base`, `source`, or the name of a further source.

        Raises
        ------
        PairError
            If the pair has no such prompt.
        """
        if side == "base":
            return self.base
        if side == "source":
            if self.source is None:
                raise PairError(f"{self.name} has no source")
            return self.source
        if not self.sources:
            raise PairError(f"a pair has no side {side!r}; expected 'base' or 'source'")
        if side not in self.sources:
            known = ("base", "source", *self.sources)
            raise PairError(
                f"{self.name} has no source {side!r}{did_you_mean(side, known)}; "
                f"its prompts are {listed(known)}"
            )
        return self.sources[side]

    def swapped(self) -> Pair:
        """Return the pair with base and source exchanged: prompts, answers and positions.

        Raises
        ------
        PairError
            If the pair has no source.
        """
        if self.source is None:
            raise PairError(f"{self.name} has no source to swap with its base")
        return Pair(
            self.source,
            self.base,
            self.source_answer,
            self.base_answer,
            positions={
                name: Position(position.source, position.base, position.others)
                for name, position in self.positions.items()
            },
            labels=self.labels,
            id=self.id,
            sources=self.sources,
        )

    @property
    def name(self) -> str:
        """How messages call this pair: by its id, or by its base prompt."""
        return _named(self.id, self.base)

    def _set(self, field: str, value: object) -> None:
        """Set a field while the pair is being made."""
        object.__setattr__(self, field, value)


def _named(pair_id: str, base: object) -> str:
    """Return how messages call a pair."""
    if pair_id:
        return f"pair {pair_id!r}"
    return f"pair {shortened(base)}" if isinstance(base, str) else f"pair {base!r:.60}"


def _check_prompts(base: Prompt, source: Prompt | None, name: str = "source") -> None:
    """Refuse prompts of two kinds, and a source equal to the base."""
    if source is None:
        return
    if isinstance(base, str) is not isinstance(source, str):
        kinds = {True: "text", False: "token ids"}
        raise PairError(
            f"base is {kinds[isinstance(base, str)]} and {name} is "
            f"{kinds[isinstance(source, str)]}; give both as text or both as token ids"
        )
    if base == source:
        raise PairError(
            f"base and {name} are equal, so no interchange can change anything; "
            f"give a source that differs, or {'source=None' if name == 'source' else 'none'}"
        )


def _read_answer(value: object, what: str) -> str | int | None:
    """Return an answer, checked."""
    if value is None:
        return None
    if isinstance(value, str):
        if not value:
            raise PairError(f"{what} is empty; leave it out where there is none")
        check_unicode(value, what)
        return value
    number = whole_number(value, what)
    if number < 0:
        raise PairError(f"{what} is {number}; token ids and class indices start at 0")
    return number


def _check_answers(base: str | int | None, source: str | int | None) -> None:
    """Refuse one answer as text and the other as a number."""
    if base is None or source is None:
        return
    if isinstance(base, str) is not isinstance(source, str):
        raise PairError(
            f"base_answer is {base!r} and source_answer is {source!r}; "
            "give both as text or both as numbers"
        )


def _read_sources(prompts: object, base: Prompt) -> FrozenMapping[Prompt]:
    """Return further sources, checked: named by words, of the base's kind, and not the base."""
    if prompts is None:
        return FrozenMapping({})
    if not isinstance(prompts, Mapping):
        raise PairError(
            f"sources are {prompts!r} ({type(prompts).__name__}); expected a dict of prompts by "
            "name; the one source of most pairs is source="
        )
    checked: dict[str, Prompt] = {}
    for given, value in sorted(cast("Mapping[str, object]", prompts).items()):
        try:
            name = check_name(given)
        except PairError as error:
            raise PairError(f"a source cannot be named {given!r}: {error}") from None
        prompt = read_prompt(value, name)
        _check_prompts(base, prompt, name)
        checked[name] = prompt
    return FrozenMapping(checked)


def _read_positions(forms: object, pair: Pair) -> FrozenMapping[Position]:
    """Return positions in their normal form."""
    if forms is None:
        return FrozenMapping({})
    if not isinstance(forms, Mapping):
        raise PairError(
            f"positions are {forms!r} ({type(forms).__name__}); expected a dict of places by name"
        )
    positions: dict[str, Position] = {}
    for given, form in cast("Mapping[object, object]", forms).items():
        name = check_name(given)
        try:
            positions[name] = read_position(form, pair.base, pair.source, pair.sources)
        except PairError as error:
            raise PairError(f"position {name!r}: {error}") from None
    return FrozenMapping(positions)


def _read_labels(labels: object) -> FrozenMapping[str]:
    """Return labels, checked: names and values are texts that are not empty."""
    if labels is None:
        return FrozenMapping({})
    if not isinstance(labels, Mapping):
        raise PairError(
            f"labels are {labels!r} ({type(labels).__name__}); expected a dict of texts by name"
        )
    checked: dict[str, str] = {}
    for name, value in cast("Mapping[object, object]", labels).items():
        if not isinstance(name, str) or not name:
            raise PairError(f"a label is named {name!r}; expected a text that is not empty")
        if not isinstance(value, str) or not value:
            raise PairError(
                f"label {name!r} is {value!r} ({type(value).__name__}); "
                "expected a text that is not empty"
            )
        check_unicode(name, "a label's name")
        check_unicode(value, f"label {name!r}")
        checked[name] = value
    return FrozenMapping(checked)
