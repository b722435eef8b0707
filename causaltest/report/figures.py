"""The forest plot of a run, one figure per scale."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from causaltest.records import Claim, Results, count, ordered
from causaltest.report import numbers
from causaltest.report.axes import axis_range
from causaltest.report.drawing import FONT, Figure, described, rendered
from causaltest.report.palette import LIGHT, colour_of
from causaltest.report.parts import deciding_part, scale_of
from causaltest.report.standing import p_shown
from causaltest.report.summary import count_phrases
from causaltest.report.text import cut, visible

if TYPE_CHECKING:
    import altair

_LABELS, _PLOT, _NUMBERS, _STEP = 340, 360, 440, 31
_COLUMNS = {"estimate_text": 14, "counts": 208, "p": 282, "verdict": 352}
"""How far right of the plot each column of numbers begins."""
_LINE, _LINES, _LEADING = 54, 2, 13
"""Characters of a line of a claim's sentence, lines that a row has room for, and their height."""
_CROSS = "M-1-.55L-.55-1L0-.45L.55-1L1-.55L.45,0L1,.55L.55,1L0,.45L-.55,1L-1,.55L-.45,0Z"
SHAPES = {"supported": "circle", "refuted": _CROSS, "inconclusive": "diamond"}


def forest(results: Results, *, limit: int = 120) -> list[Figure]:
    """Draw the claims of a run as forest plots, one figure for each scale of measurement.

    Parameters
    ----------
    results
        The run's results.
    limit
        Most claims to draw; those that are not supported come first, and the figure says so.

    Returns
    -------
    list of Figure
        Empty where no claim has an estimate.
    """
    measured = [claim for claim in ordered(results.claims) if _drawable(claim)]
    shown = sorted(measured, key=lambda claim: claim.verdict == "supported")[:limit]
    left_out = len(measured) - len(shown)
    scales: dict[str, list[Claim]] = {}
    for claim in ordered(shown):
        part = deciding_part(claim)
        scales.setdefault(scale_of(part) if part else "effect", []).append(claim)
    return [
        _forest_figure(results, claims, scale, left_out)
        for scale, claims in sorted(scales.items(), key=lambda item: -len(item[1]))
    ]


def forest_chart(results: Results, claims: Sequence[Claim], scale: str) -> altair.LayerChart:
    """Build the forest plot of claims that share a scale, as an Altair chart to adapt.

    Parameters
    ----------
    results
        The run's results.
    claims
        Claims with an estimate, an interval and a bound.
    scale
        What the axis counts.

    Returns
    -------
    altair.LayerChart
        The chart.
    """
    import altair

    low, high = axis_range(
        [n for c in claims for n in _needed(c)],
        [n for c in claims if (i := c.adjusted_interval) for n in (i.low, i.high)],
    )
    rows = _rows(results, claims, low, high)
    base = altair.Chart(altair.Data(values=rows))
    y = altair.Y("row:O", axis=None, scale=altair.Scale(paddingInner=0.28))
    return altair.LayerChart(
        layer=[*_marks(base, y, low, high, scale), *_texts(base, y)],
        width=_PLOT,
        height=_STEP * len(rows),
        padding={"left": _LABELS, "right": _NUMBERS, "top": 4, "bottom": 42},
        # The space for words is fixed: it must not depend on the fonts of this machine.
        autosize=altair.AutoSizeParams(type="none"),
        background="transparent",
        config=altair.Config(font=FONT, aria=False, view=altair.ViewConfig(stroke=None)),
    )


def _drawable(claim: Claim) -> bool:
    """Tell whether a claim has the numbers that a row needs."""
    return None not in (claim.estimate, claim.interval, claim.bound)


def _needed(claim: Claim) -> list[float]:
    """List the numbers of a claim that must be inside the axis."""
    if claim.estimate is None or claim.interval is None or claim.bound is None:
        return []
    bounds = [claim.bound, -claim.bound] if claim.relation == "within" else [claim.bound]
    return [claim.estimate, claim.interval.low, claim.interval.high, *bounds]


def _forest_figure(results: Results, claims: Sequence[Claim], scale: str, left_out: int) -> Figure:
    """Render the forest plot of one scale."""
    title = f"Forest plot, {scale}: {numbers.plural(len(claims), 'claim')}"
    counted = count_phrases(count(claims))
    description = (
        "One row per claim: estimate, interval and bound; the shaded part is where the claim is "
        f"true. {', '.join(counted)}. The numbers stand in the table of claims."
    )
    if left_out:
        description += (
            f" {numbers.plural(left_out, 'supported claim')} of the run left out of the figures; "
            "the table has every claim."
        )
    svg = rendered(forest_chart(results, claims, scale))
    return Figure(title, description, described(svg, title, description), scale, len(claims))


def _rows(
    results: Results, claims: Sequence[Claim], low: float, high: float
) -> list[dict[str, object]]:
    """Lay the claims out as rows, with a row for the heads and one for each file."""
    several = len({claim.file for claim in results.claims}) > 1
    level = numbers.percent(1 - results.run.alpha)
    rows: list[dict[str, object]] = [
        {
            "kind": "head",
            "row": 0,
            "estimate_text": f"estimate [{level} interval]",
            "verdict": "verdict",
            "counts": "pairs / units",
            "p": "p, adj.",
            "label": ["claim"],
        }
    ]
    file = ""
    models = {claim.model for claim in results.claims if claim.model}
    for claim in claims:
        if several and claim.file != file:
            file = claim.file
            rows.append({"kind": "file", "row": len(rows), "label": [cut(visible(file), 48)]})
        label = _label(claim, several_models=len(models) > 1)
        rows.append({**_row(claim, len(rows), low, high), "label": label})
    return rows


def _label(claim: Claim, *, several_models: bool) -> list[str]:
    """Break a claim's sentence into lines, the last with its model where there are several."""
    model = f" ({cut(visible(claim.model), 24)})" if several_models and claim.model else ""
    room = _LINE * _LINES - len(model) - 8
    text = cut(visible(claim.claim), room) + model
    return textwrap.wrap(text, _LINE, max_lines=_LINES, placeholder=" …") or [""]


def _row(claim: Claim, index: int, low: float, high: float) -> dict[str, object]:
    """Lay one claim out as a row."""
    interval, estimate, bound = claim.interval, claim.estimate, claim.bound
    if interval is None or estimate is None or bound is None:
        return {}
    adjusted = claim.adjusted_interval or interval
    within = claim.relation == "within"
    shown = numbers.typeset(" ".join(numbers.estimate_and_interval(estimate, interval)))
    return {
        "kind": "claim",
        "row": index,
        "estimate": estimate,
        "low": interval.low,
        "high": interval.high,
        "adjusted_low": max(adjusted.low, low),
        "adjusted_high": min(adjusted.high, high),
        "bound": bound,
        "other_bound": -bound if within else bound,
        "region_low": -bound if within else bound if claim.relation == ">" else low,
        "region_high": bound if claim.relation in ("within", "<") else high,
        "estimate_text": shown,
        "counts": f"{claim.n_pairs:,} / {claim.n_units:,}",
        "p": p_shown(claim),
        "verdict": claim.verdict,
        "colour": colour_of(claim.verdict),
        "shape": SHAPES.get(claim.verdict, "square"),
    }


def _marks(base: altair.Chart, y: altair.Y, low: float, high: float, scale: str) -> list[Any]:
    """Draw the claim's region, its bounds, both intervals and the estimate, back to front."""
    import altair

    axis = altair.Axis(
        title=scale,
        grid=True,
        gridColor=LIGHT["line"],
        gridOpacity=0.6,
        domain=False,
        tickColor=LIGHT["line"],
        labelColor=LIGHT["muted"],
        titleColor=LIGHT["muted"],
        titleFontWeight="normal",
        tickCount=6,
    )
    claim = base.transform_filter("datum.kind == 'claim'")

    def x(field: str) -> altair.X:
        domain = altair.Scale(domain=[low, high], nice=False, zero=False)
        return altair.X(f"{field}:Q", scale=domain, axis=axis)

    line: dict[str, Any] = {"y": y, "color": altair.Color("colour:N", scale=None)}
    bound = claim.mark_tick(color=LIGHT["muted"], thickness=1.5, size=_STEP - 9)
    return [
        claim.mark_rect(color=LIGHT["region"]).encode(x=x("region_low"), x2="region_high:Q", y=y),
        bound.encode(x=x("bound"), y=y),
        bound.encode(x=x("other_bound"), y=y),
        claim.mark_rule(strokeWidth=1).encode(x=x("adjusted_low"), x2="adjusted_high:Q", **line),
        claim.mark_rule(strokeWidth=4, opacity=0.85).encode(x=x("low"), x2="high:Q", **line),
        claim.mark_point(
            filled=True, size=90, opacity=1, stroke=LIGHT["paper"], strokeWidth=1
        ).encode(x=x("estimate"), shape=altair.Shape("shape:N", scale=None), **line),
    ]


def _texts(base: altair.Chart, y: altair.Y) -> list[Any]:
    """Write the words left and right of the plot."""
    import altair

    kinds: dict[str, dict[str, Any]] = {
        "head": {"color": LIGHT["muted"], "fontSize": 11},
        "file": {"color": LIGHT["muted"], "fontSize": 12, "fontWeight": "bold"},
        "claim": {"color": LIGHT["text"], "fontSize": 12},
    }
    places = {"label": 4 - _LABELS} | {name: _PLOT + at for name, at in _COLUMNS.items()}
    layers: list[Any] = []
    for kind, style in kinds.items():
        rows = base.transform_filter(f"datum.kind == '{kind}'")
        for field, place in places.items():
            if kind == "file" and field != "label":
                continue
            coloured = kind == "claim" and field == "verdict"
            # Lines hang from the first, whose middle is that of the row.
            for lines in (1, 2) if field == "label" else (0,):
                some = rows.transform_filter(f"length(datum.label) == {lines}") if lines else rows
                text = some.mark_text(
                    align="left",
                    baseline="middle",
                    lineHeight=_LEADING,
                    dy=-_LEADING / 2 if lines == 2 else 0,
                    **style,
                ).encode(x=altair.value(place), y=y, text=f"{field}:N")
                layers.append(
                    text.encode(color=altair.Color("colour:N", scale=None)) if coloured else text
                )
    return layers
