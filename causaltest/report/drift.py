"""How claims came out over the runs of a suite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from causaltest.records import Claim
from causaltest.records.history import History, PastClaim, PastRun, changes, course
from causaltest.report import numbers
from causaltest.report.axes import axis_range
from causaltest.report.drawing import Figure, figure_of, number, rows_of
from causaltest.report.figures import SHAPES
from causaltest.report.palette import LIGHT, colour_of
from causaltest.report.text import visible

FEWEST = 2
"""Runs from which on there is a course to see."""
MOST = 12
"""Claims whose course a page shows, those that moved most first."""
_MOST_RUNS = 60
_MOST_TICKS = 12

Course = Sequence[tuple[PastRun, PastClaim]]


@dataclass(frozen=True)
class Past:
    """The history of a suite, with what it is held against."""

    history: History
    bands: Mapping[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    """The estimate of a baseline less and more what matters, by claim id."""


def drift_figures(past: Past, claims: Sequence[Claim]) -> tuple[list[Figure], str]:
    """Draw the courses of claims over their runs.

    Parameters
    ----------
    past
        The history, and the bands of a baseline where there is one.
    claims
        The claims of the run that is reported.

    Returns
    -------
    (list of Figure, str)
        The courses that moved most, and what was left out, in words.
    """
    courses = [
        (found, claim)
        for claim in claims
        if len(found := _measured(course(past.history, claim.id))) >= FEWEST
    ]
    courses.sort(key=lambda each: -_moved(each[0]))
    left_out = ""
    if len(courses) > MOST:
        left_out = (
            f"The {MOST} claims that moved most are shown, of {len(courses):,}; `causaltest "
            "history` has all."
        )
    return [
        _figure(found[-_MOST_RUNS:], claim, past.bands.get(claim.id))
        for found, claim in courses[:MOST]
    ], left_out


def _measured(found: Course) -> Course:
    return [(run, claim) for run, claim in found if claim.estimate is not None]


def _moved(found: Course) -> float:
    """Say by how much a claim moved, in widths of its intervals."""
    estimates = [claim.estimate for _, claim in found if claim.estimate is not None]
    widths = [c.interval.high - c.interval.low for _, c in found if c.interval is not None]
    width = max(widths, default=0.0) or 1.0
    return (max(estimates) - min(estimates)) / width


def _figure(found: Course, claim: Claim, band: tuple[float, float] | None) -> Figure:
    sentence = visible(claim.claim)
    count = numbers.plural(len(found), "run")
    caption = f"Estimates and intervals of {count}, from old to new; dashed: the bound."
    if band is not None:
        caption += " Band: the baseline's estimate, less and more what matters."
    if any(_changed(found, index) for index in range(len(found))):
        caption += (
            " Dotted: what the claim rests on changed there, so that it is not quite the same."
        )
    first, last = (number(each.estimate) for each in (found[0][1], found[-1][1]))
    rows = [
        [
            run.started[:10],
            run.git_commit[:8] + ("+" if run.git_dirty else ""),
            number(past.estimate),
            "" if past.interval is None else numbers.interval_text(past.interval),
            past.verdict,
            ", ".join(_changed(found, index)),
        ]
        for index, (run, past) in enumerate(found)
    ]
    heads = ["date", "commit", "estimate", "interval", "verdict", "changed"]
    return figure_of(
        _chart(found, band),
        f"Over {count}: {sentence}",
        numbers.typeset(f"The estimate went from {first} to {last}."),
        caption=caption,
        numbers=rows_of(heads, [[numbers.typeset(visible(cell)) for cell in row] for row in rows]),
        scale=found[-1][1].scale,
    )


def _changed(found: Course, index: int) -> tuple[str, ...]:
    return changes(found[index - 1], found[index]) if index else ()


def _rows(found: Course) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for index, (run, claim) in enumerate(found):
        interval = claim.interval
        changed = ", ".join(_changed(found, index))
        told = f"{run.started[:10]} {run.git_commit[:8]}: {number(claim.estimate)}, {claim.verdict}"
        rows.append(
            {
                "run": index + 1,
                "estimate": claim.estimate,
                "low": interval.low if interval else claim.estimate,
                "high": interval.high if interval else claim.estimate,
                "bound": claim.bound,
                "other": -claim.bound
                if claim.relation == "within" and claim.bound
                else claim.bound,
                "colour": colour_of(claim.verdict),
                "shape": SHAPES.get(claim.verdict, "square"),
                "changed": changed,
                "told": numbers.typeset(visible(told)),
            }
        )
    return rows


def _chart(found: Course, band: tuple[float, float] | None) -> Any:
    import altair

    rows = _rows(found)
    title = visible(found[-1][1].scale) or "effect"
    x = altair.X(
        "run:Q",
        title="run",
        axis=altair.Axis(
            values=list(range(1, len(rows) + 1, 1 + len(rows) // _MOST_TICKS)), grid=False
        ),
        scale=altair.Scale(domain=[0.5, len(rows) + 0.5], nice=False),
    )

    needed = [row[name] for row in rows for name in ("low", "high", "bound", "other")]
    low, high = axis_range([each for each in (*needed, *(band or ())) if each is not None])
    domain = altair.Scale(domain=[low, high], nice=False, zero=False)

    def y(name: str) -> altair.Y:
        return altair.Y(f"{name}:Q", title=title, scale=domain)

    colour = altair.Color("colour:N", scale=None)
    base = altair.Chart(altair.Data(values=rows)).encode(x=x)
    changed = base.transform_filter("datum.changed != ''")
    layers: list[Any] = []
    if band is not None:
        shade = altair.Chart(altair.Data(values=[{"from": band[0], "to": band[1]}]))
        layers.append(
            shade.mark_rect(color=LIGHT["line"], opacity=0.6).encode(y=y("from"), y2="to:Q")
        )
    layers += [
        base.mark_line(stroke=LIGHT["muted"], strokeDash=[5, 4], strokeWidth=1).encode(y=y(name))
        for name in ("bound", "other")
    ]
    layers += [
        changed.mark_rule(stroke=LIGHT["control"], strokeDash=[2, 3]),
        changed.mark_text(align="left", dx=4, dy=8, fontSize=10, color=LIGHT["muted"]).encode(
            y=altair.value(0), text="changed:N"
        ),
        base.mark_line(stroke=LIGHT["dot"], strokeWidth=1).encode(y=y("estimate")),
        base.mark_rule(strokeWidth=2).encode(y=y("low"), y2="high:Q", color=colour),
        base.mark_point(filled=True, size=70, opacity=1, aria=True).encode(
            y=y("estimate"),
            color=colour,
            shape=altair.Shape("shape:N", scale=None),
            description="told:N",
        ),
    ]
    return altair.layer(*layers).properties(width=520, height=150)
