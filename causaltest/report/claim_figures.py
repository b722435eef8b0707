"""Figures as HTML: which of a page's claims are drawn, within the time and size a page may take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from causaltest.errors import RecordError
from causaltest.records import Claim, Map
from causaltest.report import numbers
from causaltest.report.drawing import FONT, Figure, again
from causaltest.report.gallery import Picture, drawn, pictures_of
from causaltest.report.maps import MOST_DRAWN
from causaltest.report.palette import themed
from causaltest.report.templating import fill

MOST_FIGURES, MOST_OF_MANY, FEW_CLAIMS = 60, 12, 200
"""Different figures that a page draws of few claims, of many, and how many are few: a figure takes
a tenth of a second and more, and a page of 2,000 claims is to be there within ten."""
_TOO_LARGE = "left out, to keep this page small and quick"
HOW_TO_DRAW = "`causaltest report results.json --figures FOLDER` draws every figure."


@dataclass(frozen=True)
class ClaimFigures:
    """The figures of claims, by claim id, those that matter most first, and how many are absent."""

    html: dict[str, Markup]
    left_out: int = 0

    @property
    def note(self) -> str:
        """Say what was left out; empty where nothing was."""
        if not self.left_out:
            return ""
        verb = "is" if self.left_out == 1 else "are"
        count = numbers.plural(self.left_out, "figure")
        return f"{count} of claims {verb} left out. {HOW_TO_DRAW}"

    def within(self, room: int) -> ClaimFigures:
        """Leave out the figures of the last claims until the rest takes no more than some bytes."""
        kept, left_out, size = dict(self.html), self.left_out, self.size
        for name, html in reversed(self.html.items()):
            if size <= room:
                break
            if "<svg" not in html:
                continue
            kept[name] = _absent(_TOO_LARGE)
            left_out += html.count("<figure")
            size += len(kept[name].encode()) - len(html.encode())
        return ClaimFigures(kept, left_out)

    @property
    def size(self) -> int:
        """Bytes they take."""
        return sum(len(each.encode()) for each in self.html.values())


def figure_html(figure: Figure, *, number: int = 0) -> Markup:
    """Show a figure with its caption, and its numbers as a table that is folded away.

    Parameters
    ----------
    figure
        The figure.
    number
        How many times it stands on the page already.
    """
    svg = themed(again(figure.svg, number) if number else figure.svg)
    # Laid out with the measures of these fonts; those of the page may be wider.
    svg = svg.replace("<svg ", f'<svg font-family="{FONT}" ', 1)
    return fill(
        "figure.html.j2",
        title=figure.title,
        svg=Markup(svg),  # noqa: S704 (figures escape what they show)
        caption=figure.caption,
        numbers=figure.numbers,
    )


def claim_figures(claims: Sequence[Claim], budget: int) -> ClaimFigures:
    """Draw the figures of claims, those that are not supported first, as far as a page allows.

    Parameters
    ----------
    claims
        The claims, in the order of the page.
    budget
        Bytes that the figures may take.

    Returns
    -------
    ClaimFigures
        Where a figure is left out, words in its place say so.
    """
    wanted = sorted(
        (claim for claim in claims if pictures_of(claim)),
        key=lambda claim: claim.verdict == "supported",
    )
    most = MOST_FIGURES if len(claims) <= FEW_CLAIMS else MOST_OF_MANY
    shown: dict[Picture, int] = {}
    html: dict[str, Markup] = {}
    left_out = 0
    for claim in wanted:
        pieces: list[Markup] = []
        for picture in pictures_of(claim):
            piece = None
            if picture in shown or len(shown) < most:
                piece = _piece(picture, shown.get(picture, 0))
            if piece is None or len(piece.encode()) > budget:
                # What is drawn and found too large takes its time as well.
                most -= piece is not None
                left_out += 1
                pieces.append(_absent(_TOO_LARGE))
                continue
            shown[picture] = shown.get(picture, 0) + 1
            budget -= len(piece.encode())
            pieces.append(piece)
        html[claim.id] = Markup("").join(pieces)
    return ClaimFigures(html, left_out)


def _piece(picture: Picture, number: int) -> Markup:
    """Show one figure, or say why it cannot be drawn."""
    if isinstance(picture, Map) and len(picture.estimates) > MOST_DRAWN:
        return _absent(f"a map of {len(picture.estimates):,} cells, too many for this page")
    try:
        return figure_html(drawn(picture), number=number)
    except RecordError as error:
        return _absent(str(error).splitlines()[0].rstrip("."))


def _absent(why: str) -> Markup:
    return Markup('<p class="aside">A figure is not shown: {}. {}</p>').format(why, HOW_TO_DRAW)
