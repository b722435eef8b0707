"""Every pair of a claim as a dot, in rows by unit: drawn directly, since a page may need thousands.

One figure through vl-convert takes about 80 ms; one here takes a fraction of a millisecond.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from causaltest.records import Interval, Part
from causaltest.report import numbers
from causaltest.report.axes import axis_range, round_numbers
from causaltest.report.drawing import FONT, Figure, described
from causaltest.report.palette import LIGHT, colour_of
from causaltest.report.parts import counted, scale_of
from causaltest.report.text import cut, visible

_WIDTH, _LABELS, _RIGHT = 640.0, 214.0, 14.0
_TOP, _ROW, _AXIS, _DOT = 22.0, 17.0, 38.0, 3.6
_MOST_ROWS = 30
_ROOM = 4.0
"""How far single pairs may stretch the axis, in ranges of what has to be on it."""


def strip(part: Part) -> Figure | None:
    """Draw the pairs of one part, a row for each unit, over the estimate and the bound.

    Parameters
    ----------
    part
        A part with values.

    Returns
    -------
    Figure or None
        None where the part has no values.
    """
    pairs = list(zip(part.values, _units(part), strict=True))
    if not pairs:
        return None
    canvas = _Canvas(part, [value for value, _ in pairs])
    grouped: dict[str, list[float]] = {}
    for value, unit in pairs:
        grouped.setdefault(unit, []).append(value)
    by_unit = 1 < len(grouped) <= _MOST_ROWS and len(grouped) < len(pairs)
    if by_unit:
        canvas.unit_rows(grouped)
    else:
        canvas.pile([value for value, _ in pairs])
    canvas.estimate()
    scale = scale_of(part)
    noun = counted(part)
    title = f"{numbers.plural(len(pairs), noun)} of {part.subject}"
    shown = " ".join(numbers.estimate_and_interval(part.estimate, part.interval))
    description = (
        f"Each dot is a {noun}{', each row a ' + (part.unit or 'unit') if by_unit else ''}. "
        f"Mean and interval {shown}; the claim is true in the shaded part, "
        f"{numbers.bound_text(part.relation, part.bound)}."
    )
    if canvas.beyond:
        outside = numbers.plural(canvas.beyond, noun)
        description += f" {outside} beyond the axis stand at its edge."
    if part.sizes.prediction is not None:
        within = numbers.interval_text(part.sizes.prediction)
        description += f" The mean of a new {part.unit or 'unit'} would lie in {within}."
    return Figure(title, description, described(canvas.svg(scale), title, description), scale)


def _units(part: Part) -> Sequence[str]:
    """Give the unit of each value."""
    return part.units or tuple(str(index) for index in range(len(part.values)))


class _Canvas:
    """An SVG that grows downwards."""

    def __init__(self, part: Part, values: Sequence[float]) -> None:
        self.part = part
        bounds = [part.bound, -part.bound] if part.relation == "within" else [part.bound]
        low, high = part.interval.low, part.interval.high
        new = part.sizes.prediction
        may = [*values, *((new.low, new.high) if new else ())]
        self.low, self.high = axis_range([part.estimate, low, high, *bounds], may, room=_ROOM)
        self.beyond = sum(not self.low <= value <= self.high for value in values)
        self.marks: list[str] = []
        self.bottom = _TOP

    def x(self, value: float) -> float:
        """Place a value, at the edge where it lies outside the axis."""
        inside = min(max(value, self.low), self.high)
        share = (inside - self.low) / (self.high - self.low)
        return round(_LABELS + share * (_WIDTH - _LABELS - _RIGHT), 1)

    def text(self, x: float, y: float, text: str, anchor: str = "start", role: str = "text") -> str:
        """Write one line of text."""
        return (
            f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{LIGHT[role]}">'
            f"{escape(visible(text))}</text>"
        )

    def unit_rows(self, grouped: dict[str, list[float]]) -> None:
        """Draw a row of dots for each unit, with a tick at the unit's mean."""
        names, means, places = "", "", list[tuple[float, float]]()
        for unit, values in grouped.items():
            y = self.bottom + _ROW / 2
            shown = escape(cut(visible(unit), 29))
            names += f'<text x="{_LABELS - 12:g}" y="{y + 4:g}">{shown}</text>'
            means += f"M{self.x(sum(values) / len(values)):g} {y - 6:g}v12"
            places.extend((self.x(value), y) for value in values)
            self.bottom += _ROW
        self.marks.append(f'<g text-anchor="end" fill="{LIGHT["muted"]}">{names}</g>')
        self.marks.append(_dots(places, 2 * _DOT))
        self.marks.append(f'<path d="{means}" stroke="{LIGHT["text"]}" stroke-width="1.5"/>')

    def pile(self, values: Sequence[float]) -> None:
        """Pile the dots up where units would be too many, or are the pairs themselves."""
        columns: dict[int, int] = {}
        places: list[tuple[float, int]] = []
        for value in sorted(values):
            column = round(self.x(value) / (2 * _DOT))
            columns[column] = columns.get(column, 0) + 1
            places.append((column * 2 * _DOT, columns[column]))
        step = min(2 * _DOT, 130 / max(columns.values()))
        height = max(40.0, step * max(columns.values()) + _DOT)
        floor = self.bottom + height
        name = numbers.plural(len(values), counted(self.part))
        self.marks.append(self.text(_LABELS - 12, floor - 6, name, "end", "muted"))
        self.marks.append(
            _dots(
                [(x, round(floor - step * (rank - 0.5), 1)) for x, rank in places], 2 * _DOT - 0.4
            )
        )
        self.bottom = floor + 4

    def estimate(self) -> None:
        """Draw the estimate with both intervals under the dots."""
        part, colour = self.part, colour_of(self.part.verdict)
        y = self.bottom + 14
        thin = f"M{self.x(part.adjusted_interval.low):g} {y:g}"
        thin += f"H{self.x(part.adjusted_interval.high):g}"
        thick = f"M{self.x(part.interval.low):g} {y:g}H{self.x(part.interval.high):g}"
        middle = self.x(part.estimate)
        self.marks.append(
            self.text(_LABELS - 12, y + 4, "estimate", "end")
            + f'<path d="{thin}" stroke="{colour}"/>'
            f'<path d="{thick}" stroke="{colour}" stroke-width="4"/>'
            f'<path d="M{middle:g} {y - 7:g}l6 7l-6 7l-6-7z" fill="{colour}"/>'
        )
        self.bottom = y + 12
        if part.sizes.prediction is not None:
            self.prediction(part.sizes.prediction)

    def prediction(self, interval: Interval) -> None:
        """Draw where the mean of one more unit would lie."""
        y = self.bottom + 6
        low, high = self.x(interval.low), self.x(interval.high)
        ends = f"M{low:g} {y - 4:g}v8M{high:g} {y - 4:g}v8"
        name = cut(f"a new {visible(self.part.unit) or 'unit'}", 29)
        self.marks.append(
            self.text(_LABELS - 12, y + 4, name, "end", "muted")
            + f'<path d="M{low:g} {y:g}H{high:g}" stroke="{LIGHT["muted"]}" '
            f'stroke-dasharray="2 3"/><path d="{ends}" stroke="{LIGHT["muted"]}"/>'
        )
        self.bottom = y + 11

    def svg(self, scale: str) -> str:
        """Put shading, bound and axis behind the marks."""
        part, floor = self.part, self.bottom
        left, right = self.x(self.low), self.x(self.high)
        within = part.relation == "within"
        first = self.x(-part.bound) if within else left if part.relation == "<" else None
        start = first if first is not None else self.x(part.bound)
        end = right if part.relation == ">" else self.x(part.bound)
        height = floor - _TOP + 6
        edges = [start, end] if within else [self.x(part.bound)]
        place = f'x="{start:g}" y="{_TOP - 6:g}" width="{end - start:g}" height="{height:g}"'
        behind = [f'<rect {place} fill="{LIGHT["region"]}"/>']
        behind.extend(
            f'<path d="M{edge:g} {_TOP - 6:g}V{floor:g}" stroke="{LIGHT["muted"]}" '
            'stroke-dasharray="4 3"/>'
            for edge in edges
        )
        label = numbers.typeset(numbers.bound_text(part.relation, part.bound))
        middle = (start + end) / 2 if within else edges[0]
        behind.append(self.text(middle, _TOP - 11, label, "middle", "muted"))
        behind.append(f'<path d="M{left:g} {floor:g}H{right:g}" stroke="{LIGHT["line"]}"/>')
        ticks = round_numbers(self.low, self.high)
        lines = "".join(f"M{self.x(tick):g} {floor:g}v4" for tick in ticks)
        names = "".join(
            f'<text x="{self.x(tick):g}" y="{floor + 16:g}">'
            f"{numbers.typeset(numbers.plain(tick))}</text>"
            for tick in ticks
        )
        names += (
            f'<text x="{(left + right) / 2:g}" y="{floor + 32:g}">{escape(visible(scale))}</text>'
        )
        behind.append(f'<path d="{lines}" stroke="{LIGHT["control"]}"/>')
        behind.append(f'<g text-anchor="middle" fill="{LIGHT["muted"]}">{names}</g>')
        if self.beyond:
            verb = "lies" if self.beyond == 1 else "lie"
            note = f"{self.beyond:,} {verb} beyond the axis, drawn at its edge"
            behind.append(self.text(_LABELS - 12, floor + 32, note, "end", "muted"))
        total = floor + _AXIS
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH:g}" height="{total:g}" '
            f'viewBox="0 0 {_WIDTH:g} {total:g}" font-family="{FONT}" font-size="11.5" '
            f'fill="none">{"".join(behind)}{"".join(self.marks)}</svg>'
        )


def _dots(places: Sequence[tuple[float, float]], size: float) -> str:
    """Draw dots as points of one path with round ends, a quarter of the bytes of circles."""
    points = "".join(f"M{x:g} {y:g}h0" for x, y in places)
    return (
        f'<path d="{points}" stroke="{LIGHT["dot"]}" stroke-opacity=".75" '
        f'stroke-width="{size:g}" stroke-linecap="round"/>'
    )
