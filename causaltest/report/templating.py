"""Templates in which every text from outside is escaped and made visible, without exception."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from causaltest.report.text import shortened, visible

_FOLDER = Path(__file__).parent / "templates"
_LONGEST_BLOCK = 20_000
_LONGEST = 5_000


@cache
def templates() -> jinja2.Environment:
    """Load the templates.

    Returns
    -------
    jinja2.Environment
        Autoescape is on, unknown names are errors, and each text is made visible and is cut.
    """
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )


def fill(name: str, **values: object) -> Markup:
    """Fill a template in.

    Parameters
    ----------
    name
        File name of the template.
    **values
        What it shows.

    Returns
    -------
    Markup
        Safe HTML.
    """
    return Markup(templates().get_template(name).render(**values))  # noqa: S704 (autoescaped)


def asset(name: str) -> str:
    """Read a style sheet or script of the page.

    Parameters
    ----------
    name
        File name in the folder of templates.

    Returns
    -------
    str
        Its text.
    """
    return (_FOLDER / name).read_text(encoding="utf-8").strip()


def block(text: str) -> Markup:
    """Show a text of several lines, at most 20,000 characters of it.

    Parameters
    ----------
    text
        A docstring, a message or source code.

    Returns
    -------
    Markup
        Escaped text with its line ends.
    """
    return escape(visible(shortened(text, _LONGEST_BLOCK), block=True))


def source_code(text: str) -> Markup:
    """Show source code with its asserts set off.

    Parameters
    ----------
    text
        A test function as written.

    Returns
    -------
    Markup
        Escaped source, each line that asserts in `<b>`.
    """
    shown = str(block(text.rstrip()))
    lines = [
        line.replace("assert", "<b>assert", 1) + "</b>"
        if line.lstrip().startswith("assert ")
        else line
        for line in shown.split("\n")
    ]
    return Markup("\n".join(lines))  # noqa: S704 (escaped above)


def _shown(value: object) -> object:
    """Make text visible and no longer than anybody reads; leave markup and numbers alone."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return visible(shortened(value, _LONGEST))
    return value
