"""The claims table at the end of a run: names are cut to fit the terminal, numbers never."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from causaltest.records import Claim, Part, Results, VerdictName, count, ordered
from causaltest.report import numbers
from causaltest.report.parts import deciding_part
from causaltest.report.reasons import settled_by
from causaltest.report.standing import MARKS, standing
from causaltest.report.summary import count_phrases, few_for_level, unadjusted_only
from causaltest.report.text import cut, short_name, visible, width_of

# Letters, since a plus or a minus would be read as part of the number beside it.
_ASCII_MARKS: dict[VerdictName, str] = {
    "supported": "S",
    "refuted": "R",
    "inconclusive": "I",
    "exploratory": "~",
    "error": "E",
    "not run": "-",
}
_COLOURS: dict[VerdictName, str] = {
    "supported": "32",
    "refuted": "31",
    "inconclusive": "33",
    "exploratory": "36",
    "error": "31;1",
    "not run": "2",
}
_LEAST_NAME = 12
"""Columns of a name below which its numbers move to a line of their own."""


@dataclass(frozen=True)
class _Style:
    """How the table may be written on this stream."""

    width: int
    unicode: bool
    colour: bool

    def text(self, text: str) -> str:
        """Write text from outside so that the stream can carry it."""
        shown = visible(text)
        return shown if self.unicode else shown.encode("ascii", "backslashreplace").decode("ascii")

    def cut(self, text: str, width: int) -> str:
        """Cut text from outside to a number of columns."""
        return cut(self.text(text), width, mark="…" if self.unicode else "...")

    def mark(self, verdict: VerdictName) -> str:
        """Give the mark of a verdict."""
        sign = MARKS[verdict] if self.unicode else _ASCII_MARKS[verdict]
        return f"\x1b[{_COLOURS[verdict]}m{sign}\x1b[0m" if self.colour else sign


@dataclass(frozen=True)
class _Row:
    """One line of the table before it is fitted: a name, its cells, a remark."""

    verdict: VerdictName
    name: str
    depth: int = 0
    cells: tuple[str, ...] = ()
    remark: str = ""


def claims_table(
    results: Results, *, width: int = 88, unicode: bool = True, colour: bool = False
) -> str:
    """Draw the claims of a run as a table for the terminal, without its heading.

    Parameters
    ----------
    results
        The run's results.
    width
        Columns of the terminal; the table fits from 60 columns on.
    unicode
        Whether the stream can show ✓ ✗ and …; otherwise S R I E stand for the verdicts.
    colour
        Colour the marks with ANSI codes.

    Returns
    -------
    str
        Lines without a line end at the end; empty where the run has no claims.

    Examples
    --------
    >>> from causaltest.records import Run
    >>> claims_table(Results(1, "complete", Run(alpha=0.05, correction="none", seed=0)))
    ''
    """
    if not results.claims:
        return ""
    style = _Style(max(width, 40), unicode, colour)
    several = len({claim.model for claim in results.claims if claim.model}) > 1
    grouped: dict[str, list[_Row]] = {}
    for claim in ordered(results.claims):
        grouped.setdefault(claim.file, []).extend(_rows(claim, style, several_models=several))
    widths = _widths([row for rows in grouped.values() for row in rows])
    lines: list[str] = []
    for file, rows in grouped.items():
        lines.append(style.cut(file, style.width))
        for row in rows:
            lines.extend(_lines(row, widths, style))
    return "\n".join([*lines, *_closing(results, style)])


def _rows(claim: Claim, style: _Style, *, several_models: bool) -> list[_Row]:
    """Give the rows of a claim: one, or one more for each part where it has several."""
    name = short_name(claim, several_models=several_models)
    remark = standing(claim)
    if claim.verdict in ("error", "not run"):
        first = (claim.error.strip().splitlines() or [""])[0]
        remark = "; ".join(text for text in (f"{claim.verdict}: {first}", remark) if text)
        return [_Row(claim.verdict, name, remark=remark.removesuffix(": "))]
    if len(claim.parts) > 1:
        head = _Row(claim.verdict, name, remark=remark)
        return [head, *(_part_row(part, style) for part in claim.parts)]
    return [_Row(claim.verdict, name, cells=_claim_cells(claim, style), remark=remark)]


def _claim_cells(claim: Claim, style: _Style) -> tuple[str, ...]:
    """Give the numbers of a claim."""
    if claim.estimate is None or claim.interval is None:
        return ()
    shown = numbers.estimate_and_interval(claim.estimate, claim.interval)
    bound = ""
    if claim.bound is not None:
        bound = numbers.bound_text(claim.relation, claim.bound, ascii_only=not style.unicode)
    available = 0 if claim.deciding is None else claim.parts[claim.deciding].n_available
    return (*shown, bound, _counts(claim.n_pairs, claim.n_units, available))


def _part_row(part: Part, style: _Style) -> _Row:
    """Give the row of one part, named by its assert as written."""
    name = part.source_text.removeprefix("assert ") or part.statement
    shown = numbers.estimate_and_interval(part.estimate, part.interval)
    bound = numbers.bound_text(part.relation, part.bound, ascii_only=not style.unicode)
    cells = (*shown, bound, _counts(part.n_pairs, part.n_units, part.n_available))
    return _Row(part.verdict, name, depth=1, cells=cells)


def _counts(pairs: int, units: int, available: int) -> str:
    """Write pairs, units where they are fewer, and how many pairs there were to be run."""
    counts = f"n={pairs}/{units}" if 0 < units != pairs else f"n={pairs}"
    return f"{counts} of {available}" if available > pairs else counts


def _widths(rows: list[_Row]) -> tuple[int, ...]:
    """Measure the columns of numbers."""
    full = [row.cells for row in rows if row.cells]
    return tuple(max(width_of(cell) for cell in column) for column in zip(*full, strict=True))


def _lines(row: _Row, widths: tuple[int, ...], style: _Style) -> list[str]:
    """Fit one row into the terminal, on a second line where its numbers leave no room."""
    indent = "  " * (row.depth + 1)
    start = f"{indent}{style.mark(row.verdict)} "
    used = len(indent) + 2
    if not row.cells:
        return _remark_lines(start + style.cut(row.name, style.width - used), row, used, style)
    estimate, interval, bound, pairs = row.cells
    cells = (
        f"{estimate:>{widths[0]}} {interval:>{widths[1]}} "
        f"{bound}{' ' * (widths[2] - width_of(bound))}  {pairs}"
    )
    numbers_width = sum(widths) + 4
    room = style.width - used - numbers_width - 2
    if room < _LEAST_NAME:
        head = start + style.cut(row.name, style.width - used)
        own = f"{estimate} {interval} {bound}  {pairs}"
        return _remark_lines(head, row, used, style, after=[" " * used + own])
    name = style.cut(row.name, room)
    line = f"{start}{name}{' ' * (room - width_of(name))}  {cells}"
    if not row.remark:
        return [line]
    return [line, " " * used + style.cut(row.remark, style.width - used)]


def _remark_lines(
    head: str, row: _Row, used: int, style: _Style, *, after: list[str] | None = None
) -> list[str]:
    """Add the remark of a row that has no numbers beside its name."""
    lines = [head, *(after or [])]
    if row.remark:
        lines.append(" " * used + style.cut(row.remark, style.width - used))
    return lines


def _closing(results: Results, style: _Style) -> list[str]:
    """Write the lines under the table: counts, what the numbers mean, what is open."""
    counts = count_phrases(count(results.claims))
    lines = [f"{numbers.plural(len(results.claims), 'claim')}: {', '.join(counts)}"]
    decided = [claim for claim in results.claims if claim.interval is not None]
    if decided:
        level = numbers.percent(1 - results.run.alpha)
        legend = [f"brackets: {level} interval, unadjusted", "n: pairs"]
        if any(0 < claim.n_units != claim.n_pairs for claim in decided):
            legend[1] = "n: pairs/units"
        if any(part.n_available for claim in decided for part in claim.parts):
            legend.append("sequential: n run of all, anytime intervals")
        if results.run.correction != "none":
            legend.insert(1, "verdicts: adjusted for the file")
        lines.extend(_packed(legend, style.width))
    weak = unadjusted_only(results)
    if weak:
        held = count(results.claims)["supported"]
        names = ", ".join(short_name(claim, several_models=False) for claim in weak)
        verb = "does" if len(weak) == 1 else "do"
        text = f"{len(weak)} of {numbers.plural(held, 'supported claim')} {verb} not survive Holm"
        lines.append(style.cut(f"{text} at {numbers.plain(results.run.alpha)}: {names}", 10_000))
    few = few_for_level(results)
    if few:
        lines.extend(textwrap.wrap(style.text(few), style.width))
    for claim in ordered(results.claims):
        if claim.verdict == "inconclusive" and claim.expected != "inconclusive":
            lines.append(f"INCONCLUSIVE {style.text(claim.nodeid)}")
            lines.append(style.text(f"  {settled_by(deciding_part(claim))}"))
    lines.extend(style.text(f"note: {note}") for note in results.run.notes)
    return lines


def _packed(phrases: list[str], width: int) -> list[str]:
    """Put phrases on as few lines as the width allows."""
    lines = [phrases[0]]
    for phrase in phrases[1:]:
        if len(lines[-1]) + 3 + len(phrase) <= width:
            lines[-1] += f" | {phrase}"
        else:
            lines.append(phrase)
    return lines
