"""Checks of what a site is made of: indices, positions and dims, each in one form."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import cast

from causaltest.errors import SiteError

Pos = str | int | tuple[int, ...] | None
Dims = tuple[int, ...] | range | list[int] | int | None

INDICES = r"-?\d+(,-?\d+)*"


def check_index(what: str, value: object, component: str, *, wanted: bool) -> None:
    """Refuse an index that a component does not take, lacks, or cannot have."""
    if value is None and wanted:
        raise SiteError(
            f"{component} needs {'an' if what == 'expert' else 'a'} {what}, e.g. "
            f"{component}(0{', 0' * (what != 'layer')})"
        )
    if value is None:
        return
    if not wanted:
        raise SiteError(f"{component} takes no {what}; got {what}={value!r}")
    if isinstance(value, bool) or not isinstance(value, int):
        raise SiteError(f"{what} of {component} is {value!r}; expected a whole number from 0")
    if value < 0:
        raise SiteError(f"{what} of {component} is {value}; {what}s count from 0, never negative")


def check_call(call: object) -> None:
    """Refuse what is no call of a module."""
    if call is None:
        return
    if isinstance(call, bool) or not isinstance(call, int) or call < 0:
        raise SiteError(
            f"call is {call!r}; the calls of a module in one forward pass are counted from 0"
        )


def normalise_pos(pos: object) -> Pos:
    """Return a position in its one form, or refuse it."""
    if pos is None or (isinstance(pos, int) and not isinstance(pos, bool)):
        return pos
    if isinstance(pos, str):
        if not pos or "@" in pos:
            raise SiteError(f"pos is {pos!r}; expected a position's name such as 'end'")
        if re.fullmatch(INDICES, pos):
            raise SiteError(f"pos is the text {pos!r}; a token index is a number: pos={pos}")
        return pos
    if isinstance(pos, (list, tuple)) and pos:
        indices = tuple(cast("Sequence[object]", pos))
        if all(isinstance(index, int) and not isinstance(index, bool) for index in indices):
            if len(set(indices)) < len(indices):
                raise SiteError(f"pos {list(indices)} names a token twice")
            # One index in a list is that token; one form of it makes equal sites equal.
            first, *others = cast("tuple[int, ...]", indices)
            return (first, *others) if others else first
    raise SiteError(
        f"pos is {pos!r}; expected a name of the pair's positions, a token index, "
        "several token indices, or None for every token"
    )


def normalise_dims(dims: object) -> tuple[int, ...] | None:
    """Return dims in their one form, or refuse them."""
    if dims is None:
        return None
    values = (dims,) if isinstance(dims, int) else dims
    if isinstance(values, (list, tuple, range)) and values:
        indices = tuple(cast("Sequence[object]", values))
        if all(isinstance(i, int) and not isinstance(i, bool) and i >= 0 for i in indices):
            if len(set(indices)) < len(indices):
                raise SiteError(f"dims {list(indices)} name a dimension twice")
            return cast("tuple[int, ...]", indices)
    raise SiteError(f"dims is {dims!r}; expected indices from 0, e.g. dims=(3, 17) or range(64)")
