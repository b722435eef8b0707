"""Pairs in files: JSON lines, one pair a line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import cast

from causaltest.errors import PairError
from causaltest.pairs.pair import Pair
from causaltest.pairs.positions import write_position
from causaltest.spelling import did_you_mean, listed

FIELDS = (
    "base", "source", "sources", "base_answer", "source_answer", "positions", "labels", "id",
)  # fmt: skip


def read_lines(path: Path) -> tuple[Pair, ...]:
    """Return the pairs of a file of JSON lines; empty lines count for nothing.

    Raises
    ------
    PairError
        If the file is missing or empty, or a line is no pair; the message has the line's number.
    """
    # Only "\n" ends a line: prompts may hold the other line ends that str.splitlines knows.
    lines = _read_text(path).split("\n")
    pairs: list[Pair] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            pairs.append(read_line(line))
        except PairError as error:
            raise PairError(f"{path.name} line {number}: {error}") from None
    if not pairs:
        raise PairError(f"{path} holds no pairs; write one JSON object a line")
    return tuple(pairs)


def read_line(line: str) -> Pair:
    """Return the pair that one line of JSON describes.

    Raises
    ------
    PairError
        If the line is not JSON, or not a pair.

    Examples
    --------
    >>> read_line('{"base": "Lily ran, and", "source": "Tim ran, and"}').source
    'Tim ran, and'
    """
    try:
        value: object = json.loads(
            line, object_pairs_hook=_distinct, parse_constant=_refuse_constant
        )
    except json.JSONDecodeError as error:
        ending = " (is the line cut off?)" if error.pos >= len(line.rstrip()) else ""
        raise PairError(
            f"not JSON: {error.msg} at column {error.colno}{ending}\n"
            'expected one object a line, e.g. {"base": "...", "source": "..."}'
        ) from None
    except RecursionError:
        raise PairError("not a pair: its JSON is nested too deeply") from None
    if not isinstance(value, dict):
        raise PairError(
            f'is {_kind(value)}, not an object; expected {{"base": "...", "source": "..."}}'
        )
    fields = cast("dict[str, object]", value)
    for name in fields:
        if name not in FIELDS:
            raise PairError(
                f"unknown field {name!r}{did_you_mean(name, FIELDS)}\na pair has {listed(FIELDS)}"
            )
    if "base" not in fields:
        raise PairError(f"field 'base' is missing; the line has {listed(fields)}")
    # The constructor is the one place that validates; it takes whatever a file may hold.
    return Pair(**fields)  # pyright: ignore[reportArgumentType]


def write_lines(pairs: Iterable[Pair], path: Path, *, name: str) -> None:
    """Write pairs as JSON lines, atomically; ids that `Pairs` fills in are left out.

    Parameters
    ----------
    pairs
        The pairs, in order.
    path
        The file to write; its folder must exist.
    name
        Name of the set, from which `Pairs` makes the ids it fills in.

    Raises
    ------
    PairError
        If the folder does not exist.
    """
    if not path.parent.is_dir():
        raise PairError(f"cannot write {path}: the folder {path.parent} does not exist")
    text = "".join(
        write_line(pair, without_id=pair.id == f"{name}/{index}") + "\n"
        for index, pair in enumerate(pairs)
    )
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(text.encode())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_line(pair: Pair, *, without_id: bool = False) -> str:
    """Return a pair as one line of JSON that `read_line` reads back.

    Examples
    --------
    >>> write_line(Pair("Lily ran", "Tim ran", positions={"verb": "ran", "end-of-name": 0}))
    '{"base": "Lily ran", "source": "Tim ran", "positions": {"verb": "ran", "end-of-name": 0}}'
    """
    fields: dict[str, object] = {
        "base": pair.base,
        "source": pair.source,
        "sources": dict(pair.sources),
        "base_answer": pair.base_answer,
        "source_answer": pair.source_answer,
        "positions": {
            name: write_position(position, pair.base, pair.source, pair.sources)
            for name, position in pair.positions.items()
        },
        "labels": dict(pair.labels),
        "id": "" if without_id else pair.id,
    }
    kept = {name: value for name, value in fields.items() if value not in (None, {}, "")}
    return json.dumps(kept, ensure_ascii=False)


def _read_text(path: Path) -> str:
    """Return a file's text, or say what is there instead."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        others = sorted(other.name for other in path.parent.glob("*.jsonl"))
        raise PairError(
            f"there is no file {path}{did_you_mean(path.name, others)}\n"
            f"pair files in {path.parent}: {listed(others)}"
        ) from None
    except IsADirectoryError:
        raise PairError(f"{path} is a folder; expected a file of JSON lines") from None
    except UnicodeDecodeError as error:
        raise PairError(f"{path} is not UTF-8 text (byte {error.start})") from None


def _distinct(items: list[tuple[str, object]]) -> dict[str, object]:
    """Return a JSON object; a name given twice is an error, where json would drop the first."""
    fields: dict[str, object] = {}
    for name, value in items:
        if name in fields:
            raise PairError(f"field {name!r} is given twice; keep one")
        fields[name] = value
    return fields


def _refuse_constant(constant: str) -> object:
    """Refuse NaN and infinities, which Python's reader takes though JSON has none."""
    raise PairError(f"{constant} is not JSON and is no part of a pair")


def _kind(value: object) -> str:
    """Return what a JSON value is, in JSON's words."""
    for kind, name in ((list, "a list"), (str, "a string"), (bool, "true or false")):
        if isinstance(value, kind):
            return name
    return "null" if value is None else "a number"
