"""How evidence grew while pairs came: e-values, or a confidence sequence."""

from __future__ import annotations

import math
from typing import Any

from causaltest.records import EvidencePath
from causaltest.report import numbers
from causaltest.report.drawing import Figure, figure_of, number, rows_of
from causaltest.report.palette import LIGHT
from causaltest.report.text import visible

_LOWEST = -3.0
"""E-values below 1/1000 are drawn at the edge: only large ones speak."""


def path_figure(path: EvidencePath) -> Figure:
    """Draw how the evidence for and against a claim grew.

    Parameters
    ----------
    path
        The path of e-values, or of a confidence sequence.
    """
    title = f"Evidence as {visible(path.unit)}s came: {visible(path.subject)}"
    claim = numbers.typeset(numbers.bound_text(path.relation, path.bound))
    came = path.first + max(len(path.supporting), len(path.low)) - 1
    shown = f"{came:,} of {numbers.plural(path.available, visible(path.unit))}"
    if path.supporting:
        lines = f"the dotted line at {_power(path.supported_at)}"
        if not math.isclose(path.supported_at, path.refuted_at):
            lines = (
                f"{_power(path.supported_at)} (supported) or {_power(path.refuted_at)} (refuted)"
            )
        caption = (
            f"Solid: the e-value for the claim ({claim}), dashed: against it, after each of "
            f"{shown}. It is decided at {lines}, which is 1 / α of its side. Dots: the times at "
            "which was looked; the level holds whenever one stops."
        )
        peak = 10 ** min(max(path.supporting), 12.0)
        description = f"The e-value for the claim reached {peak:,.3g} after {shown}."
    else:
        level = numbers.percent(path.level)
        caption = (
            f"Confidence sequence ({level}) after each of {shown}, from the "
            f"{path.first}th on; the claim is {claim} (dashed). Bars: the times at "
            "which was looked; it holds whenever one stops."
        )
        ends = f"[{number(path.low[-1])}, {number(path.high[-1])}]"
        description = numbers.typeset(f"The confidence sequence ends at {ends} after {shown}.")
    chart = _e_values(path) if path.supporting else _sequence(path)
    return figure_of(
        chart,
        title,
        description,
        caption=caption,
        numbers=_table(path),
        scale=path.scale,
    )


def _e_values(path: EvidencePath) -> Any:
    import altair

    names = {"supporting": "for the claim", "refuting": "against it"}
    rows = [
        {
            "units": path.first + index,
            "e": max(value, _LOWEST),
            "which": names[which],
            "looked": path.first + index in path.looks,
        }
        for which in names
        for index, value in enumerate(getattr(path, which))
    ]
    lines = [
        {"at": path.supported_at, "which": names["supporting"], "name": "supported"},
        {"at": path.refuted_at, "which": names["refuting"], "name": "refuted"},
    ]
    if math.isclose(path.supported_at, path.refuted_at):
        lines = [{"at": path.supported_at, "which": names["supporting"], "name": "1 / α"}]
    domain = list(names.values())
    colours = altair.Scale(domain=domain, range=[LIGHT["supported"], LIGHT["refuted"]])
    dashes = altair.Scale(domain=domain, range=[[1, 0], [5, 4]])
    colour = altair.Color("which:N", scale=colours, legend=None)
    dash = altair.StrokeDash("which:N", scale=dashes, legend=None)
    powers = "format(pow(10, abs(datum.value)), ',')"
    axis = altair.Axis(labelExpr=f"(datum.value < 0 ? '1/' : '') + {powers}", tickMinStep=1)
    y = altair.Y("e:Q", title="e-value (logarithmic)", axis=axis)
    x = altair.X("units:Q", title=f"{visible(path.unit)}s", axis=altair.Axis(tickMinStep=1))
    base = altair.Chart(altair.Data(values=rows)).encode(x=x, y=y, color=colour)
    last = path.first + len(path.supporting) - 1
    thresholds = altair.Chart(altair.Data(values=lines))
    return altair.layer(
        thresholds.mark_rule(stroke=LIGHT["control"], strokeDash=[2, 3]).encode(
            y=altair.Y("at:Q", title="e-value (logarithmic)")
        ),
        thresholds.mark_text(align="left", dx=4, dy=-6, fontSize=11, color=LIGHT["muted"]).encode(
            x=altair.value(0), y="at:Q", text="name:N"
        ),
        base.mark_line(strokeWidth=1.8).encode(strokeDash=dash),
        base.transform_filter("datum.looked").mark_point(filled=True, size=40, opacity=1),
        base.transform_filter(f"datum.units == {last}")
        .mark_text(align="left", dx=9, fontSize=11)
        .encode(text="which:N"),
    ).properties(width=460, height=200)


def _sequence(path: EvidencePath) -> Any:
    import altair

    rows = [
        {
            "units": path.first + index,
            "low": low,
            "high": high,
            "looked": path.first + index in path.looks,
        }
        for index, (low, high) in enumerate(zip(path.low, path.high, strict=True))
        if low is not None and high is not None
    ]
    bounds = [-path.bound, path.bound] if path.relation == "within" else [path.bound]
    scale = visible(path.scale) or "effect"
    x = altair.X("units:Q", title=f"{visible(path.unit)}s", scale=altair.Scale(zero=False))
    y: dict[str, Any] = {"title": scale, "scale": altair.Scale(zero=False)}
    base = altair.Chart(altair.Data(values=rows)).encode(x=x)
    return altair.layer(
        base.mark_area(color=LIGHT["link"], opacity=0.18).encode(
            y=altair.Y("low:Q", **y), y2="high:Q"
        ),
        base.transform_filter("datum.looked")
        .mark_rule(color=LIGHT["link"], strokeWidth=2.5)
        .encode(y=altair.Y("low:Q", **y), y2="high:Q"),
        base.mark_line(color=LIGHT["link"]).encode(y=altair.Y("low:Q", **y)),
        base.mark_line(color=LIGHT["link"]).encode(y=altair.Y("high:Q", **y)),
        altair.Chart(altair.Data(values=[{"at": bound} for bound in bounds]))
        .mark_rule(stroke=LIGHT["text"], strokeDash=[5, 4])
        .encode(y=altair.Y("at:Q", title=scale)),
    ).properties(width=460, height=200)


def _table(path: EvidencePath) -> Any:
    """List the path at the looks, or throughout where none are known."""
    count = max(len(path.supporting), len(path.low))
    chosen = [look - path.first for look in path.looks if 0 <= look - path.first < count]
    chosen = chosen or list(range(count))
    if path.supporting:
        heads = [f"{visible(path.unit)}s", "e-value for", "e-value against"]
        rows = [
            [str(path.first + i), _power(path.supporting[i]), _power(path.refuting[i])]
            for i in chosen
        ]
    else:
        heads = [f"{visible(path.unit)}s", "interval"]
        rows = [
            [
                str(path.first + i),
                numbers.typeset(f"[{number(path.low[i])}, {number(path.high[i])}]"),
            ]
            for i in chosen
        ]
    return rows_of(heads, rows)


def _power(logarithm: float) -> str:
    value = 10 ** min(logarithm, 300.0)
    return f"{value:,.0f}" if 10 <= value < 1e6 else f"{value:.3g}"
