"""The nearest known name, for messages about a name that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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


def listed(names: Iterable[str]) -> str:
    """Return names quoted and separated by commas, or `none`.

    Examples
    --------
    >>> listed(["subject", "end"])
    "'subject', 'end'"
    """
    return ", ".join(repr(name) for name in names) or "none"
