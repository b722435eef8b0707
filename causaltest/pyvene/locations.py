"""Where in base and source: every way pyvene writes unit locations, read in exactly one way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from causaltest.errors import InterventionError
from causaltest.pyvene.config import RepresentationConfig
from causaltest.spelling import did_you_mean

UNITS = ("pos", "h", "h.pos", "t")


@dataclass(frozen=True)
class Spot:
    """Units of one intervention on one side, a tuple of indices for each row; None means all.

    Parameters
    ----------
    heads, positions, times
        For each row its heads, its token positions, its call numbers.
    """

    heads: tuple[tuple[int, ...], ...] | None = None
    positions: tuple[tuple[int, ...], ...] | None = None
    times: tuple[tuple[int, ...], ...] | None = None

    def take(self, rows: Sequence[int]) -> Spot:
        """Return the spot of some rows, in their order."""
        picked = [
            None if each is None else tuple(each[row] for row in rows)
            for each in (self.heads, self.positions, self.times)
        ]
        return Spot(*picked)

    @property
    def whole(self) -> bool:
        """Whether everything is meant."""
        return self.heads is None and self.positions is None and self.times is None


@dataclass(frozen=True)
class Pairing:
    """Where one intervention reads and where it edits; None where it is skipped on that side."""

    source: Spot | None
    base: Spot | None


def check_unit(representation: RepresentationConfig) -> None:
    """Refuse a unit that does not exist or does not fit the component.

    Raises
    ------
    InterventionError
        With the units there are.
    """
    unit, component = representation.unit, representation.component
    if unit not in UNITS:
        raise InterventionError(
            f"unknown unit {unit!r} of {component}{did_you_mean(str(unit), UNITS)}\n"
            f"units: {', '.join(UNITS)}"
        )
    headed = representation.headed
    if headed != unit.startswith("h"):
        raise InterventionError(
            f"unit {unit!r} does not fit {component}: "
            + ("heads are addressed by 'h' or 'h.pos'" if headed else "it has no heads")
        )


def parallel(
    unit_locations: Any, representations: Sequence[RepresentationConfig], rows: int
) -> list[Pairing]:
    """Return where each intervention reads and edits, when all sources run unedited.

    Parameters
    ----------
    unit_locations
        None, or a mapping with the key `sources->base` or `base`.
    representations
        One for each intervention.
    rows
        Rows of base.

    Raises
    ------
    InterventionError
        An unknown key, a wrong number of interventions or rows, or a spelling with two meanings.
    """
    if unit_locations is None:
        return [Pairing(Spot(), Spot())] * len(representations)
    given = _mapping(unit_locations, ("sources->base", "base"))
    if len(given) > 1:
        raise InterventionError(
            "unit_locations has both 'sources->base' and 'base'; give one: "
            "'base' where no intervention reads a source, else 'sources->base'"
        )
    ((key, value),) = given.items()
    return _pairings(value, representations, rows, key)


def serial(
    unit_locations: Any, groups: Sequence[Sequence[RepresentationConfig]], rows: int
) -> list[list[Pairing]]:
    """Return, for each step of the chain of sources, where its interventions read and edit.

    Raises
    ------
    InterventionError
        As for `parallel`.
    """
    names = [f"source_{step}->source_{step + 1}" for step in range(len(groups) - 1)]
    names.append(f"source_{len(groups) - 1}->base")
    if unit_locations is None:
        return [[Pairing(Spot(), Spot())] * len(group) for group in groups]
    given = _mapping(unit_locations, names)
    missing = [name for name in names if name not in given]
    if missing:
        raise InterventionError(f"unit_locations has no {', '.join(map(repr, missing))}")
    return [
        _pairings(given[name], group, rows, name) for name, group in zip(names, groups, strict=True)
    ]


def _mapping(unit_locations: Any, known: Sequence[str]) -> dict[str, Any]:
    if not isinstance(unit_locations, Mapping) or not unit_locations:
        raise InterventionError(
            f"unit_locations is {unit_locations!r}; expected a dict such as {{{known[0]!r}: 3}}"
        )
    given = dict(cast("Mapping[str, Any]", unit_locations))
    for key in given:
        if key not in known:
            raise InterventionError(
                f"unknown key {key!r} of unit_locations{did_you_mean(str(key), known)}\n"
                f"expected {' or '.join(map(repr, known))}"
            )
    return given


def _plain(value: Any) -> Any:
    """Return tensors, arrays and ranges as lists."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, range):
        return list(value)
    if isinstance(value, (list, tuple)):
        items = [_plain(each) for each in cast("Sequence[Any]", value)]
        return tuple(items) if isinstance(value, tuple) else items
    return value


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _pairings(
    value: Any, representations: Sequence[RepresentationConfig], rows: int, key: str
) -> list[Pairing]:
    value = _plain(value)
    base_only = key == "base"
    if value is None:
        return [Pairing(Spot(), Spot())] * len(representations)
    if _is_int(value):
        return _same(None if base_only else [value], [value], representations, rows)
    if not isinstance(value, (list, tuple)) or not value:
        raise InterventionError(f"unit_locations[{key!r}] is {value!r}; expected indices")
    flat = [each is None or _is_int(each) for each in value]
    if all(flat):
        return _flat(value, representations, rows, key)
    if base_only:
        sides: list[Any] = [None, value]
    elif len(value) == 2:
        sides = list(value)
    else:
        raise InterventionError(
            f"unit_locations[{key!r}] has {len(value)} parts; expected (source, base)"
        )
    source = _side(sides[0], representations, rows, f"{key!r}, source")
    base = _side(sides[1], representations, rows, f"{key!r}, base")
    return [Pairing(one, other) for one, other in zip(source, base, strict=True)]


def _flat(
    value: Sequence[Any], representations: Sequence[RepresentationConfig], rows: int, key: str
) -> list[Pairing]:
    """Read a flat list of positions, or a tuple of a source and a base position."""
    if len(value) == 2 and isinstance(value, tuple) and key != "base":
        source, base = (None if each is None else [each] for each in value)
        return _same(source, base, representations, rows)
    if len(value) == 2 and None in value:
        if key == "base":
            raise InterventionError(f"unit_locations['base'] is {value!r}; it has no source side")
        source, base = (None if each is None else [each] for each in value)
        return _same(source, base, representations, rows)
    if None in value:
        raise InterventionError(
            f"unit_locations[{key!r}] is {value!r}; for one intervention's places write a list for "
            "each row, and None for an intervention that is skipped"
        )
    if len(value) == 2:
        i, j = value
        both = f"{{{key!r}: [[[{i}, {j}]] * {rows}] * {len(representations)}}}"
        if key != "base":
            side = f"[[[{i}, {j}]] * {rows}] * {len(representations)}"
            both = f"{{{key!r}: ({side}, {side})}}"
        pair = "" if key == "base" else f"; for source {i} into base {j} write the tuple ({i}, {j})"
        raise InterventionError(
            f"unit_locations[{key!r}] = {value!r} has two meanings: positions {i} and {j}, or "
            f"source {i} into base {j}\nfor both positions write {both}{pair}"
        )
    listed = list(value)
    return _same(None if key == "base" else listed, listed, representations, rows)


def _same(
    source: list[int] | None,
    base: list[int] | None,
    representations: Sequence[RepresentationConfig],
    rows: int,
) -> list[Pairing]:
    for each in representations:
        if each.unit == "h.pos":
            raise InterventionError(
                f"{each.component} with unit 'h.pos' needs heads and positions: for each "
                "intervention [heads, positions], each a list for each row"
            )
    return [
        Pairing(_everywhere(each, source, rows), _everywhere(each, base, rows))
        for each in representations
    ]


def _everywhere(
    representation: RepresentationConfig, units: list[int] | None, rows: int
) -> Spot | None:
    return None if units is None else _spot(representation.unit, [units] * rows)


def _spot(unit: str, indices: Any) -> Spot:
    frozen = tuple(tuple(each) for each in indices)
    return {
        "pos": Spot(positions=frozen),
        "h": Spot(heads=frozen),
        "t": Spot(times=frozen),
    }[unit]


def _side(
    value: Any, representations: Sequence[RepresentationConfig], rows: int, what: str
) -> list[Spot | None]:
    if value is None:
        return [None] * len(representations)
    if not isinstance(value, (list, tuple)) or len(value) != len(representations):
        count = len(value) if isinstance(value, (list, tuple)) else repr(value)
        raise InterventionError(
            f"unit_locations[{what}]: locations for {count} interventions, but there are "
            f"{len(representations)}; give one entry for each, None to skip one"
        )
    return [
        None if each is None else _one(each, representation, rows, f"{what}, {index}")
        for index, (each, representation) in enumerate(zip(value, representations, strict=True))
    ]


def _one(value: Any, representation: RepresentationConfig, rows: int, what: str) -> Spot:
    if representation.unit != "h.pos":
        return _spot(representation.unit, _indices(value, rows, what))
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise InterventionError(
            f"unit_locations[{what}] is {value!r}; unit 'h.pos' takes [heads, positions], each a "
            "list for each row"
        )
    heads = _indices(value[0], rows, f"{what}, heads")
    positions = _indices(value[1], rows, f"{what}, positions")
    return Spot(
        heads=tuple(map(tuple, heads)),
        positions=tuple(map(tuple, positions)),
    )


def _indices(value: Any, rows: int, what: str) -> list[list[int]]:
    good = isinstance(value, (list, tuple)) and all(
        isinstance(row, (list, tuple)) and row and all(map(_is_int, row)) for row in value
    )
    if not good:
        raise InterventionError(
            f"unit_locations[{what}] is {value!r}; expected a list of indices for each row, "
            "e.g. [[3], [5]] for two rows"
        )
    if len(value) != rows:
        raise InterventionError(
            f"unit_locations[{what}] is written for {len(value)} rows, but base has {rows}; give a "
            "list for each row, or one int for all of them"
        )
    counts = sorted({len(row) for row in value})
    if len(counts) > 1:
        raise InterventionError(
            f"unit_locations[{what}] has rows of {', '.join(map(str, counts))} units; the rows of "
            "one call need equally many"
        )
    return [list(row) for row in value]
