"""The pairs of a claim as a table: prompts, answers and measured values, those against it first."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

from causaltest.records import PairRecord, PairSetRecord, Part, pair_set_of
from causaltest.report import numbers
from causaltest.report.parts import counted
from causaltest.report.templating import fill
from causaltest.report.text import cut, shortened, visible

_LONGEST = 2_000
_MOST_ROWS = 400


def pair_tables(
    parts: Sequence[Part], sets: Sequence[PairSetRecord], *, by_number: bool = False
) -> Markup:
    """Show the pairs of a claim, one table for each pair set.

    Parameters
    ----------
    parts
        The parts of the claim.
    sets
        The pair sets of the run.
    by_number
        Give pairs by number instead of showing their prompts.

    Returns
    -------
    Markup
        Tables that are folded away; empty where no values are recorded.
    """
    grouped: dict[object, list[Part]] = {}
    for part in parts:
        if part.values:
            key = (part.pair_set, part.pair_set_sha256, part.units)
            grouped.setdefault(key, []).append(part)
    return Markup("").join(
        _table(members, None if by_number else pair_set_of(members[0], sets))
        for members in grouped.values()
    )


def prompt_tables(sets: Iterable[PairSetRecord]) -> Markup:
    """Show the prompts of pair sets, once for a page whose claims give pairs by number.

    Parameters
    ----------
    sets
        The pair sets of the run.

    Returns
    -------
    Markup
        One table for each set, folded away.
    """
    tables: list[Markup] = []
    for pair_set in sets:
        shown = pair_set.pairs[:_MOST_ROWS]
        rows: list[dict[str, object]] = [
            {**_prompts(pair), "id": str(index), "cells": (), "unit": pair.unit}
            for index, pair in enumerate(shown)
        ]
        caption = f"{len(shown):,} of {pair_set.n_pairs:,} pairs, in their order."
        unit = pair_set.cluster or ""
        title = f"The pairs of {pair_set.name}"
        table = fill(
            "pairs.html.j2",
            title=title,
            caption=caption,
            rows=rows,
            unit=unit,
            heads=[],
            named=True,
            numbered=True,
        )
        tables.append(table)
    return Markup("").join(tables)


def order_of(part: Part) -> list[int]:
    """Order pairs from the one that speaks most against the claim to the one most in favour.

    Parameters
    ----------
    part
        A part with values.

    Returns
    -------
    list of int
        Indices of the pairs.
    """
    sign = {">": 1.0, "<": -1.0, "within": -1.0}[part.relation]
    size = abs if part.relation == "within" else float
    support = [sign * size(value) for value in part.values]
    return sorted(range(len(support)), key=lambda index: (support[index], index))


def against(part: Part) -> int:
    """Count the pairs whose own value lies outside the claim.

    Parameters
    ----------
    part
        A part with values.

    Returns
    -------
    int
        How many.
    """
    return sum(not _inside(part, value) for value in part.values)


def _inside(part: Part, value: float) -> bool:
    """Tell whether a value alone would satisfy the claim."""
    if part.relation == "within":
        return abs(value) < part.bound
    return value > part.bound if part.relation == ">" else value < part.bound


def _table(parts: Sequence[Part], pair_set: PairSetRecord | None) -> Markup:
    """Build the table of parts that share their pairs."""
    first = parts[-1]
    total = len(first.values)
    # A slice of a pair set may keep its name; prompts are shown only where they surely match.
    pairs = _run_pairs(first, pair_set)
    pairs = pairs if len(pairs) == total else ()
    clustered = bool(pairs) and len(set(first.units)) < total
    columns = [_aligned(part.values) for part in parts]
    rows = [
        {
            **(_prompts(pairs[index]) if pairs else {}),
            "id": first.pair_ids[index] if first.pair_ids else str(index),
            "unit": cut(visible(first.units[index]), 60) if clustered else "",
            "cells": [column[index] for column in columns],
        }
        for index in order_of(first)[:_MOST_ROWS]
    ]
    outside = against(first)
    name = f" of {first.pair_set}" if first.pair_set else ""
    noun = counted(first)
    left_out = f" The first {_MOST_ROWS} are shown." if total > _MOST_ROWS else ""
    return fill(
        "pairs.html.j2",
        title=f"The {numbers.plural(total, noun)}{name}, each with its value",
        caption=f"The {noun}s that speak most against the claim come first; {outside:,} of "
        f"{total:,} lie outside it by themselves.{left_out}",
        named=bool(pairs),
        numbered=not pairs,
        unit=(first.unit or "unit") if clustered else "",
        heads=[part.statement for part in parts] if len(parts) > 1 else ["value"],
        rows=rows,
    )


def _run_pairs(part: Part, pair_set: PairSetRecord | None) -> tuple[PairRecord, ...]:
    """Return the pair of each value; none where they cannot be told."""
    if pair_set is None:
        return ()
    if part.pair_ids:
        by_id = {pair.id: pair for pair in pair_set.pairs}
        return tuple(by_id[name] for name in part.pair_ids if name in by_id)
    return pair_set.pairs if len(pair_set.pairs) == len(part.values) else ()


def _aligned(column: Sequence[float]) -> list[str]:
    """Write a column of numbers with shared decimals."""
    places = numbers.decimals(max(column), min(column), max(column))
    return [numbers.typeset(numbers.signed(value, places)) for value in column]


def _prompts(pair: PairRecord) -> dict[str, object]:
    """Show a pair, with what differs between base and source marked."""
    base, source = shortened(pair.base, _LONGEST), shortened(pair.source, _LONGEST)
    answers = [
        json.dumps(a, ensure_ascii=False) for a in (pair.base_answer, pair.source_answer) if a
    ]
    return {
        "base": _marked(base, source),
        "source": _marked(source, base),
        "answers": " → ".join(answers),
    }


def _marked(text: str, other: str) -> Markup:
    """Mark what of a text differs from another, in whole words."""
    words, others = text.split(" "), other.split(" ")
    shorter = min(len(words), len(others))
    start = next((i for i in range(shorter) if words[i] != others[i]), shorter)
    room = shorter - start
    end = next((i for i in range(room) if words[-1 - i] != others[-1 - i]), room)
    stop = len(words) - end
    pieces = [" ".join(words[a:b]) for a, b in ((0, start), (start, stop), (stop, len(words)))]
    before, middle, after = (escape(visible(piece)) for piece in pieces)
    if middle:
        middle = Markup("<mark>{}</mark>").format(middle)
    return Markup(" ").join(piece for piece in (before, middle, after) if piece)
