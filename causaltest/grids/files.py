"""Grids in files: pictures for papers, numbers for other programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from causaltest.errors import RecordError
from causaltest.grids import tables

if TYPE_CHECKING:
    from causaltest.grids.grid import SweepGrid

_SCHEMA = "causaltest.grid/1"
_PICTURES = (".svg", ".png", ".pdf", ".html")
_FIELDS = (
    "axes",
    "values",
    "scale",
    "units",
    "unit",
    "pair_ids",
    "pair_set",
    "subject",
    "metric",
    "counted_in",
    "floor",
    "differenced",
    "plan",
)


def save(grid: SweepGrid, path: Path, *, known_small: float | None = None) -> Path:
    """Write a grid; see `SweepGrid.save`."""
    ending = path.suffix.lower()
    if ending in _PICTURES:
        picture: Any = grid.plot(known_small=known_small)
        path.write_bytes(_drawn(picture.to_dict(), ending))
    elif ending == ".json":
        path.write_text(json.dumps(written(grid), ensure_ascii=False), encoding="utf-8")
    elif ending == ".csv":
        path.write_text(_csv(tables.rows(grid, tables.found(grid))), encoding="utf-8")
    else:
        raise RecordError(
            f"{path.name}: its ending is {ending or 'missing'!r}; a grid is saved as a picture "
            f"({', '.join(_PICTURES)}) or as numbers (.json, .csv)"
        )
    return path


def _drawn(spec: dict[str, Any], ending: str) -> bytes:
    import vl_convert

    if ending == ".png":
        return vl_convert.vegalite_to_png(spec, scale=2)
    if ending == ".pdf":
        return vl_convert.vegalite_to_pdf(spec)
    make = cast(
        "Callable[..., str]",
        vl_convert.vegalite_to_svg if ending == ".svg" else vl_convert.vegalite_to_html,
    )
    # The page carries its script, so that it opens without a network.
    return make(spec, **({"bundle": True} if ending == ".html" else {})).encode()


def _csv(rows: list[dict[str, object]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def written(grid: SweepGrid) -> dict[str, Any]:
    """Return a grid as JSON takes it.

    Raises
    ------
    RecordError
        A label is neither text nor number, nor a tuple of such.
    """
    axes = {name: [_plain(label) for label in labels] for name, labels in grid.axes.items()}
    made: dict[str, Any] = {"schema": _SCHEMA, "axes": axes}
    facts = grid._facts()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    for name in _FIELDS[2:]:
        value = facts[name]
        made[name] = value.tolist() if hasattr(value, "tolist") else value
    made["plan"] = None if grid.plan is None else str(grid.plan)
    exact = getattr(grid, "exact", None)
    if exact is not None:
        made["exact"] = exact.tolist()
        made["estimates"] = grid.estimates.tolist()  # pyright: ignore[reportAttributeAccessIssue]
    return made | {"values": grid.values.tolist()}


def _plain(label: object) -> Any:
    if isinstance(label, tuple):
        return [_plain(each) for each in cast("tuple[object, ...]", label)]
    if isinstance(label, (str, int, float)):
        return label
    raise RecordError(
        f"the label {label!r} ({type(label).__name__}) cannot be written as JSON; label cells by "
        "text, numbers or tuples of these"
    )


def load(path: Path) -> dict[str, Any]:
    """Read what `save` wrote as .json: the arguments of a `SweepGrid`.

    Raises
    ------
    RecordError
        The file is damaged, or none of this kind.
    """
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RecordError(f"{path.name} is no JSON: {error}") from error
    if not isinstance(read, dict) or cast("dict[str, Any]", read).get("schema") != _SCHEMA:
        raise RecordError(f"{path.name} is no grid that causaltest saved as .json")
    made = cast("dict[str, Any]", read)
    missing = [name for name in _FIELDS if name not in made]
    if missing:
        raise RecordError(f"{path.name} is damaged: it lacks {', '.join(missing)}")
    known = {name: made[name] for name in _FIELDS}
    if "exact" in made:
        known |= {"exact": made["exact"], "estimates": made["estimates"]}
    axes = {name: [_label(each) for each in labels] for name, labels in known["axes"].items()}
    return known | {"axes": axes, "pair_set": tuple(known["pair_set"])}


def _label(value: object) -> Any:
    if isinstance(value, list):
        return tuple(_label(each) for each in cast("list[object]", value))
    return value
