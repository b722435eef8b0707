"""An effect beside its matched controls, or an alignment's accuracy beside that of refits."""

from __future__ import annotations

from typing import Any

from causaltest.records import ControlStrip
from causaltest.report import numbers
from causaltest.report.axes import axis_range
from causaltest.report.drawing import Figure, figure_of, number, rows_of
from causaltest.report.palette import LIGHT
from causaltest.report.text import visible

_WIDTH, _DOT = 520, 8


def control_figure(strip: ControlStrip) -> Figure:
    """Draw an effect and its controls on one axis.

    Parameters
    ----------
    strip
        The effect and its controls.
    """
    kind = visible(strip.kind)
    reach = sum(control >= strip.estimate for control in strip.controls)
    mean = sum(strip.controls) / len(strip.controls)
    title = f"{visible(strip.subject)} beside {len(strip.controls)} {kind}"
    description = numbers.typeset(
        f"The effect is {number(strip.estimate)}; the controls reach from "
        f"{number(min(strip.controls))} to {number(max(strip.controls))}, mean {number(mean)}. "
        f"{reach} of {len(strip.controls)} reach the effect."
    )
    how = "by its rank" if strip.test == "rank" else "by a prediction interval (normal theory)"
    level = numbers.percent(strip.level)
    caption = (
        f"Diamond: the effect, with its {level} interval. Dots: {len(strip.controls)} {kind}; "
        f"bar: their mean. {reach} of them reach the effect, which is placed among them {how}."
    )
    rows = [["the effect", number(strip.estimate)]]
    rows += [[f"control {i}", number(c)] for i, c in enumerate(sorted(strip.controls), start=1)]
    table = [[name, numbers.typeset(value)] for name, value in rows]
    return figure_of(
        _chart(strip, mean),
        title,
        description,
        caption=caption,
        numbers=rows_of(["", "estimate"], table),
        scale=strip.scale,
    )


def _chart(strip: ControlStrip, mean: float) -> Any:
    import altair

    low, high = axis_range([strip.estimate, strip.low, strip.high, *strip.controls])
    piled = _piled(strip.controls, low, high)
    tallest = max(row["rank"] for row in piled)
    domain = altair.Scale(domain=[low, high], nice=False, zero=False)

    def x(field: str) -> altair.X:
        return altair.X(f"{field}:Q", scale=domain, title=visible(strip.scale) or "effect")

    top = tallest + 3.0
    y = altair.Y("rank:Q", axis=None, scale=altair.Scale(domain=[-0.5, top + 1.0]))
    told = numbers.typeset(
        f"the effect: {number(strip.estimate)} [{number(strip.low)}, {number(strip.high)}]"
    )
    effect = altair.Chart(
        altair.Data(
            values=[
                {"x": strip.estimate, "low": strip.low, "high": strip.high, "rank": top}
                | {"told": told, "name": "the effect"}
            ]
        )
    )
    controls = altair.Chart(altair.Data(values=piled))
    names = altair.Chart(
        altair.Data(values=[{"x": mean, "rank": tallest + 1.4, "name": "controls"}])
    )
    layers = [
        effect.mark_rule(stroke=LIGHT["line"]).encode(x=x("x")),
        controls.mark_point(
            filled=True, size=_DOT**2 * 0.75, color=LIGHT["dot"], opacity=1, aria=True
        ).encode(x=x("x"), y=y, description="told:N"),
        names.mark_tick(color=LIGHT["text"], thickness=2, size=14).encode(x=x("x"), y=y),
        names.mark_text(align="center", dy=-13, color=LIGHT["muted"], fontSize=11).encode(
            x=x("x"), y=y, text="name:N"
        ),
        effect.mark_rule(strokeWidth=4, stroke=LIGHT["link"]).encode(x=x("low"), x2="high:Q", y=y),
        effect.mark_point(
            filled=True, shape="diamond", size=130, color=LIGHT["link"], opacity=1, aria=True
        ).encode(x=x("x"), y=y, description="told:N"),
        effect.mark_text(dy=-13, color=LIGHT["text"], fontSize=11).encode(
            x=x("x"), y=y, text="name:N"
        ),
    ]
    return altair.layer(*layers).properties(width=_WIDTH, height=max(90, _DOT * (tallest + 7)))


def _piled(values: tuple[float, ...], low: float, high: float) -> list[dict[str, Any]]:
    """Pile controls up in columns as wide as a dot."""
    columns: dict[int, int] = {}
    rows: list[dict[str, Any]] = []
    for value in sorted(values):
        column = round((value - low) / (high - low) * _WIDTH / _DOT)
        rank = columns[column] = columns.get(column, 0) + 1
        rows.append({"x": value, "rank": rank - 0.5, "told": numbers.typeset(number(value))})
    return rows
