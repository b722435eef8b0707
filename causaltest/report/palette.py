"""The colours of the report, light and dark; a test computes their contrast."""

from __future__ import annotations

import re

from causaltest.records import VerdictName

LIGHT: dict[str, str] = {
    "paper": "#fdfdfc",
    "card": "#ffffff",
    "sunken": "#f4f4f1",
    "line": "#dcdcd6",
    "control": "#858580",
    "text": "#1c1e21",
    "muted": "#5a5f66",
    "link": "#0b5cad",
    "supported": "#1a7f37",
    "refuted": "#b3261e",
    "inconclusive": "#8a5a00",
    "error": "#6b3fa0",
    "region": "#e3eee4",
    "mark": "#fff0c2",
    "dot": "#6a7079",
}
"""Colours by role, on a light page."""

DARK: dict[str, str] = {
    "paper": "#111316",
    "card": "#181b1f",
    "sunken": "#1f2328",
    "line": "#343a41",
    "control": "#7d858e",
    "text": "#e8eaed",
    "muted": "#9ea6af",
    "link": "#6cb2ff",
    "supported": "#3fb950",
    "refuted": "#ff7b72",
    "inconclusive": "#d29922",
    "error": "#c49bff",
    "region": "#1d3224",
    "mark": "#4a3c10",
    "dot": "#a0a8b1",
}
"""The same roles, on a dark page."""

_ROLES: dict[VerdictName, str] = {
    "supported": "supported",
    "refuted": "refuted",
    "inconclusive": "inconclusive",
    "exploratory": "muted",
    "error": "error",
    "not run": "muted",
}
_ROLE_OF = {colour: role for role, colour in LIGHT.items()}
_TAG = re.compile(r"<[^>]*>")
_PAINT = re.compile(r'(fill|stroke)="(#[0-9a-f]{6})"')
# A figure is one image to a screen reader, so what the roles inside it are says nothing.
_ALONE = re.compile(
    r' (?:font-family|xmlns|pointer-events|class|aria-roledescription|aria-hidden)="[^"]*"'
    r'| role="graphics-[^"]*"| opacity="1"'
)


def colour_of(verdict: VerdictName) -> str:
    """Give the light colour of a verdict; `themed` makes it follow the page.

    Parameters
    ----------
    verdict
        The verdict.

    Returns
    -------
    str
        A colour, e.g. `#1a7f37`.

    Examples
    --------
    >>> colour_of("supported")
    '#1a7f37'
    """
    return LIGHT[_ROLES[verdict]]


def role_of(verdict: VerdictName) -> str:
    """Give the CSS class of a verdict.

    Parameters
    ----------
    verdict
        The verdict.

    Returns
    -------
    str
        A class name.

    Examples
    --------
    >>> role_of("not run")
    'not-run'
    """
    return verdict.replace(" ", "-")


def themed(svg: str) -> str:
    """Make a figure follow the page it stands in: its colours, light or dark, its font, its roles.

    Parameters
    ----------
    svg
        An SVG whose colours are those of `LIGHT`.

    Returns
    -------
    str
        The SVG with each colour as a CSS variable, and neither a font nor roles of its own.

    Examples
    --------
    >>> themed('<path fill="#1a7f37" font-family="Arial"/>')
    '<path fill="var(--supported)"/>'
    """
    # Only inside tags: the text of a figure may quote anything.
    return _TAG.sub(lambda tag: _PAINT.sub(_variable, _ALONE.sub("", tag[0])), svg)


def _variable(paint: re.Match[str]) -> str:
    """Write one colour as a variable, where it is one of ours."""
    role = _ROLE_OF.get(paint[2])
    return f'{paint[1]}="var(--{role})"' if role else paint[0]


def variables(colours: dict[str, str]) -> str:
    """Write colours as CSS custom properties.

    Parameters
    ----------
    colours
        `LIGHT` or `DARK`.

    Returns
    -------
    str
        Declarations without braces.

    Examples
    --------
    >>> variables({"text": "#000000"})
    '--text:#000000'
    """
    return ";".join(f"--{role}:{colour}" for role, colour in colours.items())
