"""The HTML report: one file that needs no network, no server and no scripts to be read."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
from markupsafe import Markup

from causaltest.errors import RecordError
from causaltest.records import Claim, Results, count, ordered
from causaltest.report import figures, numbers
from causaltest.report.cards import Card, anchor_of, cards_of
from causaltest.report.claim_figures import figure_html
from causaltest.report.drift import Past, drift_figures
from causaltest.report.environment import environment_of, pair_sets_of
from causaltest.report.health import health_figure, too_few
from causaltest.report.methods import methods
from causaltest.report.palette import DARK, LIGHT, role_of, themed, variables
from causaltest.report.parts import deciding_part, scale_of
from causaltest.report.specifications import specification_figures
from causaltest.report.standing import MARKS, p_shown
from causaltest.report.summary import few_for_level, outcome, summary, unadjusted_only
from causaltest.report.templating import asset, fill
from causaltest.report.text import short_name, shortened, visible

BUDGET = 5_000_000
"""Most bytes of a page; beyond it single pairs are left out, first those of supported claims."""

_COLUMNS = (
    ("claim", "claim", False),
    ("verdict", "verdict", False),
    ("effect", "effect", True),
    ("low", "interval", True),
    ("bound", "bound", False),
    ("pairs", "pairs / units", True),
    ("p", "p, adjusted", True),
)


def render(results: Results, *, budget: int = BUDGET, past: Past | None = None) -> str:
    """Render the results of a run as one self-contained HTML page.

    Parameters
    ----------
    results
        The run's results; they may be partial.
    budget
        Most bytes of the page. Where it does not suffice, the values of single pairs are left out,
        first those of supported claims, and the page says so.
    past
        The history of the suite, to show how claims came out before.

    Returns
    -------
    str
        The page. Nothing in it is loaded from elsewhere, and nothing in the records can execute.

    Examples
    --------
    >>> from causaltest.records import Run
    >>> page = render(Results(1, "complete", Run(alpha=0.05, correction="none", seed=0)))
    >>> page.startswith("<!doctype html>")
    True
    """
    claims = ordered(results.claims)
    decided = [claim for claim in claims if claim.verdict not in ("error", "not run")]
    apart = [claim for claim in claims if claim.verdict in ("error", "not run")]
    table = [(file, [_row(c, results) for c in group]) for file, group in _by_file(decided)]
    frame = _frame(results, decided) | _drift(past, decided)
    apart_cards = {card.anchor: card for card in cards_of(results, apart, budget // 4).cards}
    # The page without its cards is rendered once to know what they may take.
    page = {
        **frame,
        "rows": table,
        "apart": _filed(apart, apart_cards),
    }
    bare = fill("report.html.j2", **page, cards="", details_note=" " * 400, pair_sets="")
    cards = cards_of(results, decided, budget - len(bare.encode()) - 40 * len(claims))
    html = {card.anchor: card for card in cards.cards}
    page = {**page, "details_note": cards.note, "pair_sets": cards.pair_sets}
    return str(fill("report.html.j2", **page, cards=_filed(decided, html)))


def write(results: Results, path: Path, *, past: Past | None = None) -> None:
    """Render the results of a run and put the page in place, whole or not at all.

    Parameters
    ----------
    results
        The run's results.
    path
        Where the page goes, e.g. `reports/report.html`; missing folders are made.
    past
        As for `render`.

    Raises
    ------
    RecordError
        The page cannot be written there.
    """
    page = render(results, past=past)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_text(page, encoding="utf-8", newline="\n")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise RecordError(
            f"{path} cannot be written: {error.strerror or error}.\n"
            "Choose another folder for the report, or make this one writable."
        ) from error


def _by_file(claims: Sequence[Claim]) -> list[tuple[str, list[Claim]]]:
    """Group claims, which are in order, by their file."""
    grouped: dict[str, list[Claim]] = {}
    for claim in claims:
        grouped.setdefault(claim.file, []).append(claim)
    return list(grouped.items())


def _filed(claims: Sequence[Claim], cards: dict[str, Card]) -> Markup:
    """Put the cards under the names of their files."""
    pieces: list[Markup] = []
    for file, members in _by_file(claims):
        name = shortened(visible(file), 500)
        pieces.append(Markup("<h3><code>{}</code></h3>").format(name))
        pieces.extend(cards[anchor_of(claim)].html for claim in members)
    return Markup("\n").join(pieces)


def _frame(results: Results, decided: Sequence[Claim]) -> dict[str, object]:
    """Prepare everything on the page but its claims."""
    script = asset("report.js")
    style = asset("report.css").replace("\n", "")
    style = style.replace("@LIGHT@", variables(LIGHT)).replace("@DARK@", variables(DARK))
    style = style.replace("@MARKS@", _marks())
    drawn = figures.forest(results)
    health = health_figure(results)
    shown = sum(figure.claims for figure in drawn)
    measured = sum(claim.interval is not None for claim in decided)
    left_out = ""
    if shown < measured:
        left_out = (
            f"The figures show {shown:,} of {measured:,} claims: those that are not supported "
            "first. The table has every claim."
        )
    return {
        "summary": summary(results),
        "outcome": outcome(results),
        "run": results.run,
        "notes": _notes(results),
        "counts": _counts(results),
        "bar": _bar(results),
        "figures": [
            {
                "title": f.title,
                "heading": f"Scale: {f.scale}",
                "svg": Markup(themed(f.svg)),  # noqa: S704 (figures escape what they show)
            }
            for f in drawn
        ],
        "left_out": left_out,
        "specifications": [figure_html(each) for each in specification_figures(results)],
        "health": None if health is None else figure_html(health),
        "health_note": too_few(results),
        "level": numbers.percent(1 - results.run.alpha),
        "caption": _caption(results),
        "columns": _COLUMNS,
        "numbers": _sort_keys(decided),
        "methods": " ".join(methods(results)),
        "environment": environment_of(results),
        "data": pair_sets_of(results),
        "style": Markup(style),  # noqa: S704 (our own file)
        "style_hash": _hash(style),
        "script": Markup(script),  # noqa: S704 (our own file)
        "script_hash": _hash(script),
    }


def _drift(past: Past | None, decided: Sequence[Claim]) -> dict[str, object]:
    """Prepare the courses of claims over the runs on record."""
    if past is None:
        return {"drift": [], "drift_note": ""}
    drawn, left_out = drift_figures(past, decided)
    notes = [*past.history.notes, left_out]
    return {
        "drift": [figure_html(figure) for figure in drawn],
        "drift_note": " ".join(note for note in notes if note),
    }


def _marks() -> str:
    """Put the mark before each verdict's word; to a screen reader the word is enough."""
    return "\n".join(
        f'.{role_of(verdict)} .v::before{{content:"{mark}";content:"{mark}"/""}}'
        for verdict, mark in MARKS.items()
    )


def _hash(text: str) -> str:
    """Hash an inline script or style, so that the page allows this one and no other."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _notes(results: Results) -> list[str]:
    """List what a reader must know before believing the summary."""
    notes = list(results.run.notes)
    if results.run.partial or results.status == "partial":
        notes.insert(
            0,
            "Not every hypothesis that was collected ran. Verdicts are what they would be in a "
            "full run, since the level of each is fixed when the hypotheses are collected.",
        )
    if results.status == "started":
        notes.insert(0, "The run had not ended when this page was written.")
    weak = unadjusted_only(results)
    if weak:
        held = numbers.plural(count(results.claims)["supported"], "supported claim")
        verb = "does" if len(weak) == 1 else "do"
        names = ", ".join(short_name(claim, several_models=False) for claim in weak[:12])
        notes.append(
            f"{len(weak)} of {held} {verb} not survive Holm at α = "
            f"{numbers.plain(results.run.alpha)}: {names}{' …' if len(weak) > 12 else ''}."
        )
    few = few_for_level(results)
    if few:
        notes.append(f"{few}.")
    return notes


def _counts(results: Results) -> list[dict[str, object]]:
    """Prepare the counts of verdicts."""
    return [
        {
            "number": number,
            "verdict": verdict,
            "word": "errors" if verdict == "error" and number > 1 else verdict,
            "role": role_of(verdict),
            "decided": verdict not in ("error", "not run"),
        }
        for verdict, number in count(results.claims).items()
        if results.claims and (number or verdict in ("supported", "refuted", "inconclusive"))
    ]


def _bar(results: Results) -> Markup:
    """Draw the counts as one bar of 1,000 units, with gaps between its parts."""
    counts = count(results.claims)
    room = 1000 - 4 * (sum(number > 0 for number in counts.values()) - 1)
    pieces: list[Markup] = []
    at = 0.0
    for verdict, number in counts.items():
        if not number:
            continue
        width = room * number / len(results.claims)
        pieces.append(
            Markup('<rect class="{}" x="{}" width="{}" height="10"/>').format(
                role_of(verdict), f"{at:.1f}", f"{width:.1f}"
            )
        )
        at += width + 4
    return Markup("").join(pieces)


def _caption(results: Results) -> str:
    """Explain the columns of the table."""
    level = numbers.percent(1 - results.run.alpha)
    text = f"Effects with {level} intervals, unadjusted."
    if results.run.correction != "none":
        text += (
            " Verdicts are decided at a level adjusted for the hypotheses of the file, "
            "so an interval here may clear its bound while the claim is still inconclusive."
        )
    apart = [claim for claim in results.claims if claim.verdict in ("error", "not run")]
    if apart:
        verb = "is" if len(apart) == 1 else "are"
        text += f" {numbers.plural(len(apart), 'test')} without a verdict {verb} listed apart."
    return text


def _row(claim: Claim, results: Results) -> dict[str, str]:
    """Prepare one row of the table."""
    part = deciding_part(claim)
    scale = scale_of(part) if part else ""
    estimate, interval = "–", "–"
    if claim.estimate is not None and claim.interval is not None:
        shown = numbers.estimate_and_interval(claim.estimate, claim.interval)
        estimate, interval = (numbers.typeset(text) for text in shown)
    return {
        "anchor": anchor_of(claim),
        "sentence": claim.claim,
        "name": short_name(claim, several_models=len(results.run.models) > 1),
        "verdict": claim.verdict,
        "expected": _expected(claim),
        "estimate": estimate,
        "scale": "" if scale == "fraction" else f" {scale}",
        "interval": interval,
        "bound": "–" if claim.bound is None else _bound(claim.relation, claim.bound),
        "counts": f"{claim.n_pairs:,} / {claim.n_units:,}",
        "p": p_shown(claim),
    }


def _bound(relation: str, bound: float) -> str:
    """Write a bound for the table."""
    return numbers.typeset(numbers.bound_text(relation, bound))


def _expected(claim: Claim) -> str:
    """Say beside the verdict how it compares with the expected one."""
    told: list[str] = []
    if claim.expected != "supported":
        same = claim.expected == claim.verdict
        told.append("as expected" if same else f"expected {claim.expected}")
    if claim.registration:
        told.append(claim.registration)
    return ", ".join(told)


def _sort_keys(claims: Sequence[Claim]) -> Markup:
    """Give the numbers that the table sorts by, as JSON that cannot end its script."""
    columns = {
        "verdict": [claim.verdict for claim in claims],
        "effect": [claim.estimate for claim in claims],
        "low": [claim.interval.low if claim.interval else None for claim in claims],
        "bound": [claim.bound for claim in claims],
        "pairs": [claim.n_pairs for claim in claims],
        "p": [claim.p_adjusted if claim.q_value is None else claim.q_value for claim in claims],
    }
    text = msgspec.json.encode(columns).decode()
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 (no character of it can be markup)
