"""What directions of a site are made of: a heat map, directions down, parts of the site across."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from causaltest.report.drawing import INK, styled
from causaltest.report.text import visible

if TYPE_CHECKING:
    import altair

_COLOURS = ("#f7f7f7", "#0b5cad")
_DARK = 0.6
"""Part of the largest share from which numbers are written in white."""
_MOST_LEVEL = 16
"""Parts up to which their labels are written level."""
_MOST_NUMBERS = 240
_STEP, _NARROWEST, _WIDTH = 44, 6, 760


def direction_chart(
    rows: Sequence[str],
    parts: Sequence[str],
    shares: Sequence[Sequence[float]],
    *,
    across: str,
    title: str,
    subtitle: Sequence[str] = (),
) -> altair.TopLevelMixin:
    """Draw the shares of directions that lie in the parts of a site.

    Parameters
    ----------
    rows, parts
        Labels down and across.
    shares
        A number from 0 to 1 for each row and part.
    across
        What the parts are.
    title, subtitle
        Written over it.
    """
    import altair

    values: list[dict[str, Any]] = [
        {
            "down": row,
            "across": part,
            "share": share,
            "told": f"{row}, {across} {part}: {share:.1%}",
            "written": f"{share:.0%}",
        }
        for row, each in zip(rows, shares, strict=True)
        for part, share in zip(parts, each, strict=True)
    ]
    largest = max((value["share"] for value in values), default=0.0) or 1.0
    axis = altair.Axis(labelAngle=0 if len(parts) <= _MOST_LEVEL else -90)
    base: Any = altair.Chart(altair.Data(values=values)).encode(
        x=altair.X("across:N", sort=list(parts), title=visible(across), axis=axis),
        y=altair.Y("down:N", sort=list(rows), title=None),
    )
    scale = altair.Scale(domain=[0, largest], range=list(_COLOURS))
    colour = altair.Color(
        "share:Q", scale=scale, title="share", legend=altair.Legend(format=".0%", tickCount=4)
    )
    layers: list[Any] = [base.mark_rect(aria=True).encode(color=colour, description="told:N")]
    if len(values) <= _MOST_NUMBERS:
        ink = altair.condition(
            altair.datum.share >= _DARK * largest, altair.value("white"), altair.value(INK)
        )
        layers.append(base.mark_text(fontSize=11).encode(text="written:N", color=ink))
    step = max(_NARROWEST, min(_STEP, _WIDTH // max(1, len(parts))))
    heading = altair.TitleParams(visible(title), subtitle=list(map(visible, subtitle)))
    drawn = altair.layer(*layers).properties(
        width={"step": step}, height={"step": 26}, title=heading
    )
    return styled(drawn)
