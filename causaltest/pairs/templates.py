"""Pairs from templates: every template filled in with every contrast."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import TypeAlias, cast

from causaltest.errors import PairError
from causaltest.pairs.pair import Pair
from causaltest.pairs.positions import Characters, Position, PositionForm
from causaltest.pairs.prompts import shortened
from causaltest.spelling import did_you_mean, listed

Template: TypeAlias = str | Mapping[str, object]
"""A text with {field}s, or {"base": text, "source": text, "labels": {...}}."""

Contrast: TypeAlias = Mapping[str, object]
"""{"base": fields, "source": fields, "base_answer": ..., "source_answer": ..., "labels": ...}"""

_TEMPLATE_PARTS = ("base", "source", "labels")
_CONTRAST_PARTS = ("base", "source", "base_answer", "source_answer", "labels")


@dataclass(frozen=True, slots=True)
class _Field:
    """One {field} or {field:position} of a template, and the literal text before it."""

    before: str
    name: str
    position: str


@dataclass(frozen=True, slots=True)
class _Text:
    """A template's text, parsed."""

    text: str
    fields: tuple[_Field, ...]
    after: str

    def fill(self, values: Mapping[str, str]) -> tuple[str, dict[str, Characters]]:
        """Return the prompt and the character span of each position in it."""
        prompt = ""
        spans: dict[str, Characters] = {}
        for field in self.fields:
            if field.name not in values:
                raise PairError(
                    f"no value for the field {field.name!r}; the contrast has {listed(values)}"
                    f"{did_you_mean(field.name, values)}"
                )
            prompt += field.before
            start = len(prompt)
            prompt += values[field.name]
            spans[field.position] = Characters(start, len(prompt))
        return prompt + self.after, spans


@dataclass(frozen=True, slots=True)
class _Parsed:
    """A template: one text for base, one for source, and labels."""

    base: _Text
    source: _Text
    labels: Mapping[str, str]

    @property
    def names(self) -> set[str]:
        """The fields of both texts."""
        return {field.name for text in (self.base, self.source) for field in text.fields}


@dataclass(frozen=True, slots=True)
class _Filling:
    """A contrast: the field values of base and source, their answers, and labels."""

    base: Mapping[str, str]
    source: Mapping[str, str]
    base_answer: str | int | None
    source_answer: str | int | None
    labels: Mapping[str, str]


def pairs_from_templates(
    templates: Iterable[Template],
    contrasts: Iterable[Contrast],
    *,
    labels: Mapping[str, str] | None = None,
) -> tuple[Pair, ...]:
    """Return every template filled in with every contrast, template by template.

    Parameters
    ----------
    templates
        Texts with {field}s, or dicts with a `base` and a `source` text (and `labels`). A field
        that stands several times in a text names each place: `{name:first_name}`.
    contrasts
        Dicts with the field values of `base` and `source`, `base_answer`, `source_answer` and
        `labels`. A field left out of `source` is as in `base`.
    labels
        Labels that all pairs share.

    Returns
    -------
    tuple of Pair
        Each with a position for every field that stands in both prompts, the label `template`
        (the template's text) and one label for each field (its value in base).

    Raises
    ------
    PairError
        If a template or contrast is malformed, or they do not fit together.

    Examples
    --------
    >>> [pair] = pairs_from_templates(
    ...     ["{name} lost a shoe, and"],
    ...     [{"base": {"name": "Lily"}, "source": {"name": "Tim"}, "base_answer": " she"}],
    ... )
    >>> pair.source, pair.place("name", "source"), pair.labels["name"]
    ('Tim lost a shoe, and', Characters(start=0, stop=3), 'Lily')
    """
    parsed = [
        _parse_template(template, f"template {index}")
        for index, template in enumerate(_several(templates, "templates"))
    ]
    fillings = [
        _parse_contrast(contrast, f"contrast {index}")
        for index, contrast in enumerate(_several(contrasts, "contrasts"))
    ]
    _check_fields_are_used(parsed, fillings)
    return tuple(
        _fill(template, filling, labels or {}, f"template {row}, contrast {column}")
        for row, template in enumerate(parsed)
        for column, filling in enumerate(fillings)
    )


def _several(values: object, what: str) -> Sequence[object]:
    """Return templates or contrasts as a list that is not empty."""
    if isinstance(values, (str, Mapping)) or not isinstance(values, Iterable):
        kind = type(cast("object", values)).__name__
        raise PairError(f"{what} are {values!r:.60} ({kind}); expected a list")
    several = list(cast("Iterable[object]", values))
    if not several:
        raise PairError(f"there are no {what}; give at least one")
    return several


def _parse_template(template: object, where: str) -> _Parsed:
    """Return a template, parsed and checked."""
    if isinstance(template, str):
        text = _parse_text(template, where)
        return _Parsed(base=text, source=text, labels={"template": template})
    parts = _parts(template, _TEMPLATE_PARTS, where)
    texts: dict[str, str] = {}
    for side in ("base", "source"):
        text = parts.get(side)
        if not isinstance(text, str):
            raise PairError(f"{where}: {side!r} is {text!r}; expected a text with {{field}}s")
        texts[side] = text
    base, source = texts["base"], texts["source"]
    shown = base if base == source else f"{base} | {source}"
    given = _texts(parts.get("labels", {}), f"{where}: labels")
    return _Parsed(
        base=_parse_text(base, where),
        source=_parse_text(source, where),
        labels={"template": shown} | given,
    )


def _parse_text(text: str, where: str) -> _Text:
    """Return a template's text, cut at its fields."""
    fields: list[_Field] = []
    before = ""
    try:
        pieces = list(Formatter().parse(text))
    except ValueError as error:
        raise PairError(
            f"{where}: {shortened(text)} cannot be read: {error}; write {{{{ and }}}} for braces"
        ) from None
    for literal, name, position, conversion in pieces:
        before += literal
        if name is None:
            continue
        if not name.isidentifier() or conversion:
            raise PairError(
                f"{where}: {{{name}{'!' + conversion if conversion else ''}}} is no field; "
                "expected a name in braces, e.g. {name}"
            )
        fields.append(_Field(before, name, position or name))
        before = ""
    _check_places_are_distinct(fields, where)
    return _Text(text, tuple(fields), before)


def _check_places_are_distinct(fields: Sequence[_Field], where: str) -> None:
    """Refuse a text that gives two places one name."""
    seen: set[str] = set()
    for field in fields:
        if field.position in seen:
            raise PairError(
                f"{where}: the position {field.position!r} stands in it twice; name each place, "
                f"e.g. {{{field.name}:first_{field.name}}} and {{{field.name}:second_{field.name}}}"
            )
        seen.add(field.position)


def _parse_contrast(contrast: object, where: str) -> _Filling:
    """Return a contrast, checked; source fields that are left out are those of base."""
    parts = _parts(contrast, _CONTRAST_PARTS, where)
    for side in ("base", "source"):
        if side not in parts:
            raise PairError(f"{where}: {side!r} is missing; the contrast has {listed(parts)}")
    base = _texts(parts["base"], f"{where}: base")
    source = _texts(parts["source"], f"{where}: source")
    return _Filling(
        base=base,
        source=base | source,
        # Pair checks the answers, as it does for those that come from files.
        base_answer=cast("str | int | None", parts.get("base_answer")),
        source_answer=cast("str | int | None", parts.get("source_answer")),
        labels=_texts(parts.get("labels", {}), f"{where}: labels"),
    )


def _parts(value: object, known: Sequence[str], where: str) -> Mapping[str, object]:
    """Return a dict all of whose keys are known."""
    if not isinstance(value, Mapping):
        raise PairError(
            f"{where} is {value!r:.60} ({type(value).__name__}); expected a dict with "
            f"{listed(known)}"
        )
    for name in cast("Mapping[object, object]", value):
        if name not in known:
            raise PairError(
                f"{where}: unknown part {name!r}{did_you_mean(str(name), known)}\n"
                f"expected {listed(known)}"
            )
    return cast("Mapping[str, object]", value)


def _texts(value: object, where: str) -> dict[str, str]:
    """Return a dict of texts by name, none of them empty."""
    if not isinstance(value, Mapping):
        raise PairError(f"{where} is {value!r:.60} ({type(value).__name__}); expected a dict")
    texts: dict[str, str] = {}
    for name, text in cast("Mapping[object, object]", value).items():
        if not isinstance(name, str) or not isinstance(text, str) or not text:
            raise PairError(f"{where}: {name!r} is {text!r}; expected a text that is not empty")
        texts[name] = text
    return texts


def _check_fields_are_used(templates: Sequence[_Parsed], fillings: Sequence[_Filling]) -> None:
    """Refuse a contrast's field that stands in no template, which is mostly a misspelling."""
    known = sorted(set[str]().union(*(template.names for template in templates)))
    for index, filling in enumerate(fillings):
        for name in filling.source:
            if name not in known:
                raise PairError(
                    f"contrast {index}: the field {name!r} stands in no template"
                    f"{did_you_mean(name, known)}\nthe templates have {listed(known)}"
                )


def _fill(template: _Parsed, filling: _Filling, shared: Mapping[str, str], where: str) -> Pair:
    """Return one template filled in with one contrast."""
    try:
        base, base_spans = template.base.fill(filling.base)
        source, source_spans = template.source.fill(filling.source)
        positions: dict[str, PositionForm] = {
            name: Position(span, source_spans[name])
            for name, span in base_spans.items()
            if name in source_spans
        }
        fields = {name: filling.base[name] for name in sorted(template.names & set(filling.base))}
        return Pair(
            base,
            source,
            filling.base_answer,
            filling.source_answer,
            positions=positions,
            labels=_merged(template.labels, fields, filling.labels, _texts(shared, "labels")),
        )
    except PairError as error:
        raise PairError(f"{where}: {error}") from None


def _merged(*parts: Mapping[str, str]) -> dict[str, str]:
    """Return all labels; one that two parts set differently is an error."""
    labels: dict[str, str] = {}
    for part in parts:
        for name, value in part.items():
            if labels.setdefault(name, value) != value:
                raise PairError(
                    f"label {name!r} is set twice, to {labels[name]!r} and to {value!r}; rename one"
                )
    return labels
