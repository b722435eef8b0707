"""Where the arrows of a circuit run: curves that keep clear of the components between."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

COLUMN, ROW = 50, 74
"""Pixels between neighbouring components, where arrows join them."""
_CLEAR = 20.0
"""Pixels around the middle of a component that arrows keep out of."""
_STEPS = 32

Place = tuple[float, float]
"""Column and row, which grow to the right and upwards."""


@dataclass(frozen=True)
class Arrow:
    """A curve from one place to another, and the direction in which it ends."""

    sender: str
    receiver: str
    course: tuple[Place, ...]
    angle: float
    """Degrees clockwise from upwards."""


def arrows(edges: Iterable[tuple[str, str]], places: Mapping[str, Place]) -> list[Arrow]:
    """Lay out the arrows between places, one for each pair of ends.

    Parameters
    ----------
    edges
        Names of sender and receiver.
    places
        Where they stand; edges with an end elsewhere are left out.

    Examples
    --------
    >>> (up,) = arrows([("a", "b")], {"a": (0, 0), "b": (0, 1)})
    >>> up.angle, all(column == 0 for column, _ in up.course)
    (0.0, True)
    """
    known = dict.fromkeys(ends for ends in edges if places.keys() >= set(ends))
    return [_arrow(a, b, places[a], places[b]) for a, b in known]


def _arrow(sender: str, receiver: str, start: Place, end: Place) -> Arrow:
    (x0, y0), (x1, y1) = _pixels(start), _pixels(end)
    far = math.hypot(x1 - x0, y1 - y0)
    if start[1] == end[1]:
        bow = -max(16.0, min(0.22 * far, 0.5 * ROW)) * math.copysign(1, x0 - x1)
    else:
        # From one row to the next nothing stands between.
        bow = 0.0 if abs(end[1] - start[1]) <= 1 else min(0.22 * far, 1.2 * COLUMN)
    middle = (
        (x0 + x1) / 2 - 2 * bow * (y1 - y0) / far,
        (y0 + y1) / 2 + 2 * bow * (x1 - x0) / far,
    )
    course = [
        tuple(
            (1 - t) ** 2 * a + 2 * t * (1 - t) * m + t**2 * b
            for a, m, b in zip((x0, y0), middle, (x1, y1), strict=True)
        )
        for t in (step / _STEPS for step in range(_STEPS + 1))
    ]
    kept = [
        (x, y)
        for x, y in course
        if min(math.hypot(x - x0, y - y0), math.hypot(x - x1, y - y1)) >= _CLEAR
    ]
    (ax, ay), (bx, by) = kept[-2:]
    return Arrow(
        sender,
        receiver,
        tuple((x / COLUMN, y / ROW) for x, y in kept),
        math.degrees(math.atan2(bx - ax, by - ay)),
    )


def _pixels(place: Place) -> Place:
    return place[0] * COLUMN, place[1] * ROW
