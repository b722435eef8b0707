"""Several models in one run: one line a claim, one column a model."""

from __future__ import annotations

import msgspec

from causaltest.records import Claim, Results, VerdictName, ordered
from causaltest.report import numbers
from causaltest.report.standing import MARKS
from causaltest.report.text import cut, short_name, visible, width_of

_LETTERS: dict[VerdictName, str] = {
    "supported": "S",
    "refuted": "R",
    "inconclusive": "I",
    "exploratory": "-",
    "error": "E",
    "not run": "-",
}
_LEAST_NAME = 16


def side_by_side(results: Results, *, width: int = 100, unicode: bool = True) -> str:
    """Lay out the claims of several models as a table; empty where no two share a claim.

    Parameters
    ----------
    results
        The run's results.
    width
        Columns of the terminal; models that do not fit are counted below the table.
    unicode
        Whether the stream can show the marks; otherwise S R I E stand for the verdicts.

    Returns
    -------
    str
        Mark and estimate of each claim on each model.
    """
    found: dict[tuple[str, str], dict[str, Claim]] = {}
    for claim in ordered(results.claims):
        if claim.model:
            found.setdefault((claim.file, _bare(claim)), {})[claim.model] = claim
    rows = {key: by_model for key, by_model in found.items() if len(by_model) > 1}
    models = list(dict.fromkeys(name for by_model in rows.values() for name in by_model))
    if not rows:
        return ""
    heads = {name: cut(visible(name), 24) for name in models}
    wide = {name: max(10, width_of(head)) + 2 for name, head in heads.items()}
    shown: list[str] = []
    room = width - _LEAST_NAME
    for name in models:
        if room >= wide[name] or len(shown) < 2:
            shown.append(name)
            room -= wide[name]
    least = max(_LEAST_NAME, width - sum(wide[name] for name in shown))
    names = {key: cut(visible(key[1]), least) for key in rows}
    first = max(width_of(name) for name in names.values())
    lines = [" " * first + "".join(_right(heads[name], wide[name]) for name in shown)]
    for key, by_model in rows.items():
        cells = [_cell(by_model.get(name), unicode=unicode) for name in shown]
        text = "".join(_right(cell, wide[name]) for cell, name in zip(cells, shown, strict=True))
        lines.append(names[key] + " " * (first - width_of(names[key])) + text)
    if len(shown) < len(models):
        lines.append(f"and {len(models) - len(shown)} more models, which the report shows")
    return "\n".join(line.rstrip() for line in lines)


def _cell(claim: Claim | None, *, unicode: bool) -> str:
    if claim is None:
        return ""
    mark = MARKS[claim.verdict] if unicode else _LETTERS[claim.verdict]
    if claim.estimate is None:
        return mark
    return f"{mark} {numbers.signed(claim.estimate, 3)}"


def _right(text: str, width: int) -> str:
    return " " * max(1, width - width_of(text)) + text


def _bare(claim: Claim) -> str:
    """Name a claim without its model, which ids may shorten to its last part."""
    last = msgspec.structs.replace(claim, model=claim.model.rsplit("/", 1)[-1])
    return short_name(last, several_models=False)
