"""Heat maps: what differs is outlined, what is known to be small is hatched, the rest is open."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from causaltest.errors import RecordError
from causaltest.records import Axis, Map
from causaltest.report import numbers
from causaltest.report.drawing import INK, Figure, figure_of, number, plus_minus, rows_of
from causaltest.report.text import cut, visible

if TYPE_CHECKING:
    import altair

MOST_DRAWN = 2_000
"""Cells up to which a page draws a map."""
_STEP, _NARROWEST, _WIDTH = 32, 9, 760
_ROOMY = 44
"""Width of a cell of a small map."""
_SMALL = 12
"""Cells across up to which a map is small."""
_MOST_NUMBERS = 240
"""Cells up to which each has its number written in."""
_WIDEST = 30
"""Cells across up to which panels stand beside each other."""
_HATCH = "M-1,0L0,-1M-1,1L1,-1M0,1L1,0"
_CORNER = "M-1,-1L-.1,-1L-1,-.1Z"
_LOW, _MIDDLE, _HIGH = "#2166ac", "#f7f7f7", "#b35806"
_HATCHED = "#4d4d4d"


def map_figure(shown: Map) -> Figure:
    """Draw a map for a page.

    Parameters
    ----------
    shown
        The map.

    Returns
    -------
    Figure
        With the number of each cell in its title, and all of them in its table.

    Raises
    ------
    RecordError
        It has more than three axes with several labels.
    """
    title = f"Map of {visible(shown.subject)}"
    lines = legend_of(shown)
    caption = "; ".join(lines) + "."
    return figure_of(
        map_chart(shown),
        title,
        _described(shown),
        caption=caption[0].upper() + caption[1:],
        numbers=_table(shown),
        scale=shown.scale,
    )


def map_chart(shown: Map, *, title: str = "", subtitle: Sequence[str] = ()) -> altair.TopLevelMixin:
    """Build a map as an Altair chart to adapt.

    Parameters
    ----------
    shown
        The map. Its last two axes are drawn down and across, the one before them as panels.
    title, subtitle
        Written over it.

    Raises
    ------
    RecordError
        It has more than three axes with several labels.
    """
    import altair

    panels, down, across = _layout(shown)
    data = _cells(shown, panels, down, across)
    most = max((abs(each) for each in shown.estimates), default=0.0) or 1.0
    base = altair.Chart().encode(
        x=_axis(altair.X, "across", across), y=_axis(altair.Y, "down", down)
    )
    step = _step(len(across.labels))
    layered: Any = altair.layer(*_marks(base, shown, most, step), data=altair.Data(values=data))
    layered = layered.properties(width={"step": step}, height={"step": step})
    if panels.name:
        order = _labels(panels)
        facet: Any = altair.Facet("panel:N", sort=order, title=visible(panels.name))
        wide = len(order) * len(across.labels) > _WIDEST
        layered = layered.facet(**{"row" if wide else "column": facet})
    if title:
        heading = altair.TitleParams(visible(title), subtitle=list(map(visible, subtitle)))
        layered = layered.properties(title=heading)
    return layered


def legend_of(shown: Map) -> list[str]:
    """Say what the marks of a map mean.

    Parameters
    ----------
    shown
        The map.

    Returns
    -------
    list of str
        Phrases, the number of pairs first.
    """
    over = numbers.plural(shown.n_pairs, "pair")
    if shown.n_units < shown.n_pairs:
        over += f", {numbers.plural(shown.n_units, visible(shown.unit))}"
    if shown.exact is not None:
        told = f" ({visible(shown.remark)})" if shown.remark else ""
        return [f"{over}; gradient estimates, dashed: exact{told}"]
    lines = [over]
    if shown.p_adjusted:
        lines.append("outlined: differs from 0, all cells considered (family-wise)")
    elif not shown.low:
        lines.append(f"too few {visible(shown.unit)}s to tell which cells differ from 0")
    if shown.margin is not None and shown.low:
        lines.append(f"hatched: known to lie within {plus_minus(shown.margin)}; neither: unknown")
    if shown.named:
        lines.append("marked corner: the cells that the claim names")
    return lines


def _layout(shown: Map) -> tuple[Axis, Axis, Axis]:
    """Return the axes drawn as panels, down and across; without a name where there is none."""
    none = Axis("", ("",))
    *rest, across = shown.axes or (none,)
    down = rest.pop() if rest else none
    panels = rest.pop() if rest else none
    if any(len(axis.labels) > 1 for axis in rest):
        raise RecordError(
            f"{shown.subject}: a picture has at most three axes, this map has {len(shown.axes)} "
            f"({', '.join(axis.name for axis in shown.axes)}).\nSweep fewer at once."
        )
    return panels, down, across


def _labels(axis: Axis) -> list[str]:
    """Write the labels of an axis, told apart where cutting makes them alike."""
    short = [cut(visible(each), 24) for each in axis.labels]
    return short if len(set(short)) == len(short) else list(map(visible, axis.labels))


def _cells(shown: Map, panels: Axis, down: Axis, across: Axis) -> list[dict[str, object]]:
    """Lay the cells out as rows; axes of one label before the last three need no place."""
    places = itertools.product(_labels(panels), _labels(down), _labels(across))
    named, exact = set(shown.named), set(shown.exact or ())
    return [
        {
            **({"panel": panel} if panels.name else {}),
            "down": row,
            "across": column,
            "estimate": shown.estimates[index],
            "told": _told(shown, index),
            "small": is_small(shown, index),
            "significant": is_different(shown, index),
            "named": index in named,
            "exact": index in exact,
        }
        for index, (panel, row, column) in enumerate(places)
    ]


def is_different(shown: Map, index: int) -> bool:
    """Tell whether a cell differs from 0, all cells considered."""
    return bool(shown.p_adjusted) and shown.p_adjusted[index] <= shown.level * (1.0 + 1e-12)


def is_small(shown: Map, index: int) -> bool:
    """Tell whether a cell is known to lie within the margin."""
    if shown.margin is None or not shown.low:
        return False
    low, high = shown.low[index], shown.high[index]
    return low is not None and high is not None and -shown.margin < low and high < shown.margin


def _name(shown: Map, index: int) -> list[str]:
    """Give the labels of a cell."""
    labels: list[str] = []
    for axis in reversed(shown.axes):
        index, place = divmod(index, len(axis.labels))
        labels.append(visible(axis.labels[place]))
    return labels[::-1]


def _told(shown: Map, index: int) -> str:
    """Say the number of a cell in words."""
    names = zip((axis.name for axis in shown.axes), _name(shown, index), strict=True)
    where = ", ".join(f"{visible(axis)} {label}" for axis, label in names)
    text = f"{where}: {_interval(shown, index)}"
    if is_different(shown, index):
        text += ", differs from 0"
    if is_small(shown, index) and shown.margin is not None:
        text += f", within {plus_minus(shown.margin)}"
    return numbers.typeset(text)


def _interval(shown: Map, index: int) -> str:
    estimate = number(shown.estimates[index])
    if not shown.low:
        return estimate
    return f"{estimate} [{number(shown.low[index])}, {number(shown.high[index])}]"


def _step(columns: int) -> int:
    """Choose the width of a cell."""
    return max(_NARROWEST, min(_ROOMY if columns <= _SMALL else _STEP, _WIDTH // columns))


def _axis(kind: Any, field: str, axis: Axis) -> Any:
    import altair

    labels = _labels(axis)
    style = altair.Axis()
    if field == "across":
        style = altair.Axis(labelAngle=0 if max(map(len, labels)) < 5 else -40)
    return kind(f"{field}:N", sort=labels, title=visible(axis.name) or None, axis=style)


def _marks(base: altair.Chart, shown: Map, most: float, step: int) -> list[Any]:
    """Draw cells, hatching, outlines, numbers and corners, back to front."""
    import altair

    unit = f" ({visible(shown.scale)})" if shown.scale else ""
    title = f"{visible(shown.metric) or 'effect'}{unit}"
    colour = altair.Color(
        "estimate:Q",
        scale=altair.Scale(domain=[-most, 0, most], range=[_LOW, _MIDDLE, _HIGH]),
        legend=altair.Legend(title=title, titleLimit=160, gradientLength=90),
    )
    side = step
    marks: list[Any] = [
        base.mark_rect(stroke="white", strokeWidth=1, aria=True).encode(
            color=colour, description="told:N"
        ),
        base.transform_filter("datum.small")
        .mark_point(shape=_HATCH, size=(side - 2) ** 2, stroke=_HATCHED, strokeWidth=0.7)
        .encode(opacity=altair.value(0.8)),
        # Inside the cell: on a dark page a line between cells could not be seen.
        base.transform_filter("datum.significant").mark_point(
            shape="square", size=(side - 3) ** 2, stroke=INK, strokeWidth=2, opacity=1
        ),
        base.transform_filter("datum.named").mark_point(
            shape=_CORNER, size=(side - 3) ** 2, fill=INK, strokeWidth=0, opacity=1
        ),
    ]
    if len(shown.estimates) <= _MOST_NUMBERS and step >= _STEP - 4:
        dark = f"abs(datum.estimate) > {0.6 * most}"
        marks.append(
            base.mark_text(fontSize=9 if step <= _STEP else 11).encode(
                text=altair.Text("estimate:Q", format=".2f"),
                color=altair.condition(dark, altair.value("white"), altair.value(INK)),
            )
        )
    if shown.exact is not None:
        marks.append(
            base.transform_filter("datum.exact").mark_rect(
                fillOpacity=0, stroke=INK, strokeWidth=1.5, strokeDash=[3, 2]
            )
        )
    return marks


def _described(shown: Map) -> str:
    """Say in words what the map shows."""
    count = len(shown.estimates)
    strongest = max(range(count), key=lambda index: abs(shown.estimates[index]))
    text = (
        f"{numbers.plural(count, 'cell')} by {' and '.join(visible(a.name) for a in shown.axes)}. "
        f"Strongest: {_told(shown, strongest)}."
    )
    if shown.p_adjusted:
        different = sum(is_different(shown, index) for index in range(count))
        small = sum(is_small(shown, index) for index in range(count))
        known = f", {small} are known to be small" if shown.margin is not None else ""
        text += f" {different} differ from 0, all cells considered{known}."
    return text


def _table(shown: Map) -> Any:
    """List the cells, the strongest first."""
    order = sorted(range(len(shown.estimates)), key=lambda index: -abs(shown.estimates[index]))
    heads = [visible(axis.name) for axis in shown.axes] + ["estimate"]
    if shown.low:
        heads += ["simultaneous interval"]
    if shown.p_adjusted:
        heads += ["p, family-wise"]
    rows: list[list[str]] = []
    for index in order:
        estimate, _, interval = _interval(shown, index).partition(" ")
        row = [*_name(shown, index), numbers.typeset(estimate)]
        if shown.low:
            row.append(numbers.typeset(interval))
        if shown.p_adjusted:
            row.append(numbers.p_text(shown.p_adjusted[index]))
        rows.append(row)
    return rows_of(heads, rows)
