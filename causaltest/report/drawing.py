"""What all figures share: their words, their ink, how they are rendered and saved."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast
from xml.sax.saxutils import escape

from causaltest.errors import RecordError
from causaltest.report.palette import LIGHT
from causaltest.report.text import cut, visible

if TYPE_CHECKING:
    import altair

FONT = "Helvetica, Arial, Liberation Sans, sans-serif"
INK = "#101010"
"""On coloured cells, which are the same on light and on dark pages."""
_LONGEST = 500
"""Characters of a text in a figure; our own expressions and descriptions are shorter."""

Format = Literal["svg", "png", "pdf"]


@dataclass(frozen=True)
class Numbers:
    """The numbers of a figure as a table."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left_out: int = 0
    """Rows that were too many."""


@dataclass(frozen=True)
class Figure:
    """A drawn figure, with the words for those who cannot see it."""

    title: str
    description: str
    svg: str
    scale: str = ""
    """What its axis counts, e.g. `logits`."""
    claims: int = 1
    """How many claims it shows."""
    caption: str = ""
    """What to see in it, in words under it."""
    numbers: Numbers | None = field(default=None, compare=False)


def figure_of(
    chart: altair.TopLevelMixin,
    title: str,
    description: str,
    *,
    caption: str = "",
    numbers: Numbers | None = None,
    scale: str = "",
    claims: int = 1,
) -> Figure:
    """Render a chart.

    Parameters
    ----------
    chart
        The chart; marks with `aria` keep their `description` as a title that a pointer shows.
    title, description
        For those who cannot see it.
    caption
        What to see in it.
    numbers
        Its numbers as a table.
    scale, claims
        As for `Figure`.
    """
    drawn = described(_titled(rendered(styled(chart))), title, description)
    return Figure(title, description, drawn, scale, claims, caption, numbers)


def rendered(chart: altair.TopLevelMixin) -> str:
    """Render a chart, with every text in it made visible and cut to what a figure has room for.

    Parameters
    ----------
    chart
        The chart. Its words may come from outside: hidden characters would stop the renderer, and
        a label of 100,000 characters would keep it busy for minutes.

    Returns
    -------
    str
        An SVG.
    """
    import vl_convert

    # Our own charts need no validation, which takes longer than drawing them.
    return vl_convert.vegalite_to_svg(_presentable(chart.to_dict(validate=False)))


def _presentable(tree: Any) -> Any:
    """Make the texts of a chart visible and short; names of fields stay what refers to them."""
    if isinstance(tree, dict):
        return {_presentable(k): _presentable(v) for k, v in cast("dict[str, Any]", tree).items()}
    if isinstance(tree, list):
        return [_presentable(each) for each in cast("list[Any]", tree)]
    return cut(visible(tree, block=True), _LONGEST) if isinstance(tree, str) else tree


def styled(chart: Any) -> Any:
    """Give a chart the font and the ink of the report."""
    muted, line = LIGHT["muted"], LIGHT["line"]
    axis = {
        "gridColor": line,
        "gridOpacity": 0.6,
        "domainColor": line,
        "tickColor": line,
        "labelColor": muted,
        "titleColor": muted,
        "titleFontWeight": "normal",
    }
    legend = {"labelColor": muted, "titleColor": muted, "titleFontWeight": "normal"}
    head = {"labelColor": muted, "titleColor": muted, "titleFontWeight": "normal"}
    title = {"color": LIGHT["text"], "subtitleColor": muted, "anchor": "start"}
    # At once: each further call would copy the chart with its data.
    return chart.configure(
        background="transparent",
        font=FONT,
        # Room beside it: the fonts of a page may be wider than those it was laid out with.
        padding=12,
        # Only marks that ask for it tell what they are.
        mark={"aria": False},
        view={"stroke": None},
        axis=axis,
        legend=legend,
        header=head,
        title=title | {"fontSize": 13, "subtitleFontSize": 11},
    )


def save_figure(figure: Figure, path: Path) -> None:
    """Save a figure for a page or a paper.

    Parameters
    ----------
    figure
        A figure of a run.
    path
        Where to save it; the ending decides the format: `.svg`, `.pdf`, or `.png` at 300 dpi.

    Raises
    ------
    RecordError
        The ending names no format, or the file cannot be written.
    """
    ending = path.suffix.lower()
    if ending not in (".svg", ".png", ".pdf"):
        raise RecordError(
            f"{path.name} names no figure format: its ending is {ending or 'missing'!r}.\n"
            "End the name in .svg, .pdf or .png."
        )
    try:
        path.write_bytes(_in_format(figure.svg, ending))
    except OSError as error:
        raise RecordError(
            f"{path} cannot be written: {error.strerror or error}.\n"
            "Choose another folder for the figures, or make this one writable."
        ) from error


def described(svg: str, title: str, description: str) -> str:
    """Give an SVG its title and description, and let it shrink with the page.

    Parameters
    ----------
    svg
        An SVG with `width`, `height` and `viewBox`.
    title, description
        Plain text.

    Returns
    -------
    str
        The SVG as one image to a screen reader, with ids of its own, since a page holds many.
    """
    title, description = (cut(visible(text), _LONGEST) for text in (title, description))
    words_in = f"<title>{escape(title)}</title><desc>{escape(description)}</desc>"
    head, _, rest = svg.partition(">")
    head = re.sub(r' (class|version|xmlns:xlink)="[^"]*"', "", head)
    label = escape(title, {'"': "&quot;"})
    return f'{head} role="img" aria-label="{label}">{words_in}{_own_ids(rest)}'


def again(svg: str, number: int) -> str:
    """Give a figure that stands on a page a second time ids of its own."""
    return re.sub(r"(\bid=\"|url\(#)(f[0-9a-f]{8})", rf"\1\2-{number}-", svg)


def plus_minus(margin: float) -> str:
    """Write a margin around 0.

    Examples
    --------
    >>> plus_minus(0.1)
    '±0.1'
    """
    return f"±{margin:g}"


def number(value: float | None) -> str:
    """Write a number with its sign, but none where it is 0; None is infinite.

    Examples
    --------
    >>> number(0.62), number(-9e-9), number(None)
    ('+0.620', '0.000', '∞')
    """
    if value is None:
        return "∞"
    if abs(value) >= 1e5:
        return f"{value:+.3g}"
    return "0.000" if abs(value) < 0.0005 else f"{value:+.3f}"


def rows_of(heads: Sequence[str], rows: Sequence[Sequence[str]], *, most: int = 400) -> Numbers:
    """Make the table of a figure, of its first rows where they are many."""
    kept = tuple(tuple(row) for row in rows[:most])
    return Numbers(tuple(heads), kept, len(rows) - len(kept))


def _in_format(svg: str, ending: str) -> bytes:
    # A viewer may be dark, and the ink is not.
    head, _, rest = svg.partition(">")
    svg = f'{head}><rect width="100%" height="100%" fill="{LIGHT["card"]}"/>{rest}'
    if ending == ".svg":
        return svg.encode()
    import vl_convert

    if ending == ".pdf":
        return vl_convert.svg_to_pdf(svg)
    return vl_convert.svg_to_png(svg, ppi=300)


_MARK = re.compile(r'<(path|text)((?: [\w:-]+="[^"]*")*?) aria-label="([^"]*)"([^>]*?)/>')
_TAG = re.compile(r"<[^>]*>")
_ARIA = re.compile(r' (?:aria-[\w]+|role)="[^"]*"')


def _titled(svg: str) -> str:
    """Turn the descriptions of marks into titles, and drop what else speaks of single marks."""
    svg = _MARK.sub(
        lambda found: f"<{found[1]}{found[2]}{found[4]}><title>{found[3]}</title></{found[1]}>",
        svg,
    )
    # Only inside tags: the text of a figure may quote anything.
    return _TAG.sub(lambda tag: _ARIA.sub("", tag[0]), svg)


def _own_ids(svg: str) -> str:
    mark = f"f{zlib.crc32(svg.encode()):08x}"
    svg = re.sub(r' id="([\w-]+)"', rf' id="{mark}\1"', svg)
    return re.sub(r"url\(#([\w-]+)\)", rf"url(#{mark}\1)", svg)
