"""The nearest known name, for messages about a name that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

_PATHS_ALIKE = 0.75
"""Stricter than for names of one list: what lies beside a file may be anything."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name most like `name`, or None where none is like it.

    Examples
    --------
    >>> nearest("mlp_ouput", ["mlp_input", "mlp_output"])
    'mlp_output'
    >>> nearest("zebra", ["mlp_input"]) is None
    True
    """
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return close[0]
    return next((each for each in known if name and each.startswith(name)), None)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of a message that offers the nearest name, or an empty string.

    Examples
    --------
    >>> "unknown field 'bass'" + did_you_mean("bass", ["base", "source"])
    "unknown field 'bass'; did you mean 'base'?"
    """
    match = nearest(name, known)
    return "" if match is None else f"; did you mean {match!r}?"


def did_you_mean_path(path: Path, known: Iterable[Path]) -> str:
    """Return the end of a message that offers the path whose last part is nearest, if one is near.

    Examples
    --------
    >>> "no folder" + did_you_mean_path(Path("runs/gtp2"), [Path("runs/gpt2")])
    "no folder; did you mean 'runs/gpt2'?"
    >>> did_you_mean_path(Path("runs/nowhere"), [Path("runs/pvwheel")])
    ''
    """
    paths = {each.name: each for each in known}
    close = difflib.get_close_matches(path.name, paths, n=1, cutoff=_PATHS_ALIKE)
    return f"; did you mean {str(paths[close[0]])!r}?" if close else ""


def listed(names: Iterable[str]) -> str:
    """Return names quoted and separated by commas, or `none`.

    Examples
    --------
    >>> listed(["subject", "end"])
    "'subject', 'end'"
    """
    return ", ".join(repr(name) for name in names) or "none"
