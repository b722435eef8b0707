"""Dose-response curves, with the band that holds for all doses at once."""

from __future__ import annotations

from typing import Any

from causaltest.records import DoseCurve
from causaltest.report import numbers
from causaltest.report.drawing import Figure, figure_of, number, rows_of
from causaltest.report.palette import LIGHT
from causaltest.report.text import visible

_MOST_TICKS = 9


def curve_figure(curve: DoseCurve) -> Figure:
    """Draw a dose-response curve.

    Parameters
    ----------
    curve
        The curve.
    """
    title = f"Dose-response curve of {visible(curve.subject)}"
    over = numbers.plural(curve.n_pairs, "pair")
    if curve.n_units < curve.n_pairs:
        over += f", {numbers.plural(curve.n_units, visible(curve.unit))}"
    caption = f"Dots: means over {over}."
    if curve.low:
        level = numbers.percent(curve.level)
        caption += f" Band: limits that hold for all doses at once ({level})."
    if curve.isotonic:
        turn = "rises" if curve.isotonic[-1] < curve.isotonic[0] else "falls"
        caption += (
            f" Dashed: the best curve that never {turn}; where dots leave it, the curve {turn}."
        )
    first, last = number(curve.means[0]), number(curve.means[-1])
    description = numbers.typeset(
        f"{numbers.plural(len(curve.doses), 'dose')} from {curve.doses[0]:g} to "
        f"{curve.doses[-1]:g}; the mean goes from {first} to {last}."
    )
    return figure_of(
        _chart(curve),
        title,
        description,
        caption=caption,
        numbers=_table(curve),
        scale=curve.scale,
    )


def _chart(curve: DoseCurve) -> Any:
    import altair

    rows: list[dict[str, Any]] = [
        {"dose": dose, "mean": mean, "told": f"dose {dose:g}: {numbers.typeset(number(mean))}"}
        for dose, mean in zip(curve.doses, curve.means, strict=True)
    ]
    for name in ("low", "high", "isotonic"):
        for row, value in zip(rows, getattr(curve, name), strict=False):
            row[name] = value
    scale = visible(curve.scale) or "effect"
    # Ticks at the doses themselves, where they are few.
    few = list(curve.doses) if len(curve.doses) <= _MOST_TICKS else altair.Undefined
    axis = altair.Axis(values=few, tickCount=6, format="~g")
    base = altair.Chart(altair.Data(values=rows)).encode(
        x=altair.X("dose:Q", title="dose", axis=axis)
    )
    y: dict[str, Any] = {"title": scale}
    layers: list[Any] = [
        altair.Chart(altair.Data(values=[{"at": 0}]))
        .mark_rule(stroke=LIGHT["control"])
        .encode(y=altair.Y("at:Q", title=scale)),
    ]
    if curve.low and None not in (*curve.low, *curve.high):
        layers.append(
            base.mark_area(color=LIGHT["link"], opacity=0.18).encode(
                y=altair.Y("low:Q", **y), y2="high:Q"
            )
        )
    if curve.isotonic:
        layers.append(
            base.mark_line(color=LIGHT["muted"], strokeDash=[5, 4], strokeWidth=1.2).encode(
                y=altair.Y("isotonic:Q", **y)
            )
        )
    layers.append(
        base.mark_line(color=LIGHT["link"], strokeWidth=2).encode(y=altair.Y("mean:Q", **y))
    )
    layers.append(
        base.mark_point(filled=True, size=60, color=LIGHT["link"], opacity=1, aria=True).encode(
            y=altair.Y("mean:Q", **y), description="told:N"
        )
    )
    return altair.layer(*layers).properties(width=460, height=220)


def _table(curve: DoseCurve) -> Any:
    heads = ["dose", "mean"] + (["simultaneous interval"] if curve.low else [])
    rows: list[list[str]] = []
    for index, dose in enumerate(curve.doses):
        row = [f"{dose:g}", number(curve.means[index])]
        if curve.low:
            row.append(f"[{number(curve.low[index])}, {number(curve.high[index])}]")
        rows.append([numbers.typeset(text) for text in row])
    return rows_of(heads, rows)
