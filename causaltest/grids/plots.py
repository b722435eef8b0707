"""Heat maps: what differs is outlined, what is known to be small is hatched, the rest is open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from causaltest.errors import EvidenceError
from causaltest.grids import tables

if TYPE_CHECKING:
    import altair

    from causaltest.grids.grid import SweepGrid

_STEP = 34
_MOST_NUMBERS = 240
"""Cells up to which each has its number written in."""
_WIDEST = 30
"""Cells across up to which panels stand beside each other."""
_HATCH = "M-1,0L0,-1M-1,1L1,-1M0,1L1,0"
_LOW, _MIDDLE, _HIGH = "#2166ac", "#f7f7f7", "#b35806"
_TEXT, _MUTED = "#1c1e21", "#5a5f66"


def chart(
    grid: SweepGrid, *, known_small: float | None, significance: bool, title: str
) -> altair.TopLevelMixin:
    """Draw a grid; see `SweepGrid.plot`."""
    import altair

    panels, down, across = _layout(grid)
    tested = tables.found(grid) if significance else None
    small = set(grid.known_small(known_small)) if known_small is not None else set()
    exact = tables.exact(grid)
    data = [
        _row(row, across, down, panels)
        | {"small": tuple(row[name] for name in grid.axes) in small, "exact": bool(exact[place])}
        for place, row in zip(np.ndindex(*grid.shape), tables.rows(grid, tested), strict=True)
    ]
    most = max((abs(float(str(row["estimate"]))) for row in data), default=0.0) or 1.0
    base = altair.Chart().encode(
        x=_axis(altair.X, "across", across, [str(each) for each in grid.axes[across]]),
        y=_axis(altair.Y, "down", down, [str(each) for each in grid.axes[down]] if down else [""]),
    )
    layered = altair.layer(*_marks(base, grid, most, len(data)), data=altair.Data(values=data))
    layered = layered.properties(width={"step": _STEP}, height={"step": _STEP - 6})
    drawn: Any = layered
    if panels:
        order = [str(each) for each in grid.axes[panels]]
        facet: Any = altair.Facet("panel:N", sort=order, title=panels)
        wide = len(order) * len(grid.axes[across]) > _WIDEST
        drawn = layered.facet(**{"row" if wide else "column": facet})
    heading = altair.TitleParams(
        title or grid.subject,
        subtitle=_legend(
            grid, tested=tested is not None, asked=significance, known_small=known_small
        ),
        anchor="start",
        color=_TEXT,
        subtitleColor=_MUTED,
        fontSize=13,
        subtitleFontSize=11,
    )
    return drawn.properties(title=heading).configure_view(stroke=None)


def _layout(grid: SweepGrid) -> tuple[str, str, str]:
    """Return the axes drawn as panels, down and across; empty where there is none."""
    *rest, across = grid.axes
    down = rest.pop() if rest else ""
    panels = rest.pop() if rest else ""
    wide = [name for name in rest if len(grid.axes[name]) > 1]
    if wide:
        raise EvidenceError(
            f"{grid.subject}: a picture has at most three axes, this grid has {len(grid.axes)} "
            f"({', '.join(grid.axes)})\nsweep fewer at once, or use to_pandas()"
        )
    return panels, down, across


def _row(row: dict[str, object], across: str, down: str, panels: str) -> dict[str, object]:
    made = {key: value for key, value in row.items() if key in _KEPT}
    labels = {"across": str(row[across]), "down": str(row[down]) if down else ""}
    if panels:
        labels["panel"] = str(row[panels])
    return made | labels | {"significant": bool(row.get("significant", False))}


_KEPT = ("estimate", "low", "high", "p_adjusted")


def _axis(kind: Any, field: str, name: str, labels: list[str]) -> Any:
    import altair

    style = altair.Axis(labelAngle=0 if max(map(len, labels)) < 5 else -40) if field == "across" \
        else altair.Axis()  # fmt: skip
    return kind(f"{field}:N", sort=labels, title=name or None, axis=style)


def _marks(base: altair.Chart, grid: SweepGrid, most: float, count: int) -> list[Any]:
    import altair

    unit = f" ({grid.counted_in})" if grid.counted_in else ""
    colour = altair.Color(
        "estimate:Q",
        scale=altair.Scale(domain=[-most, 0, most], range=[_LOW, _MIDDLE, _HIGH]),
        legend=altair.Legend(title=f"{grid.metric or 'effect'}{unit}", gradientLength=120),
    )
    side = _STEP - 6
    marks: list[Any] = [
        base.mark_rect(stroke="white", strokeWidth=1).encode(
            color=colour, tooltip=["across:N", "down:N", "estimate:Q", "low:Q", "high:Q"]
        ),
        base.transform_filter("datum.small")
        .mark_point(shape=_HATCH, size=(side - 2) ** 2, stroke=_MUTED, strokeWidth=0.7)
        .encode(opacity=altair.value(0.8)),
        base.transform_filter("datum.significant").mark_rect(
            fillOpacity=0, stroke=_TEXT, strokeWidth=2
        ),
    ]
    if count <= _MOST_NUMBERS:
        dark = f"abs(datum.estimate) > {0.6 * most}"
        marks.append(
            base.mark_text(fontSize=9).encode(
                text=altair.Text("estimate:Q", format=".2f"),
                color=altair.condition(dark, altair.value("white"), altair.value(_TEXT)),
            )
        )
    if not tables.exact(grid).all():
        marks.append(
            base.transform_filter("datum.exact").mark_rect(
                fillOpacity=0, stroke=_TEXT, strokeWidth=1.5, strokeDash=[3, 2]
            )
        )
    return marks


def _legend(grid: SweepGrid, *, tested: bool, asked: bool, known_small: float | None) -> list[str]:
    over = f"{grid.n_pairs} pairs"
    if grid.n_units < grid.n_pairs:
        over += f", {grid.n_units} {grid.unit}s"
    verification = getattr(grid, "verification", None)
    if verification is not None:
        return [f"{over}; gradient estimates, dashed: exact ({verification})"]
    lines = [over]
    if tested:
        lines.append("outlined: differs from 0, all cells considered (family-wise)")
    elif asked:
        lines.append(f"too few {grid.unit}s to tell which cells differ from 0")
    if known_small is not None:
        lines.append(f"hatched: known to lie within ±{known_small:g}; plain: unknown")
    return lines
