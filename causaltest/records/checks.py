"""Strictness in both directions: what may be written, and what is believed when read."""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Sequence
from typing import SupportsIndex, TypeVar, cast

import msgspec

from causaltest.errors import RecordError
from causaltest.records.figures import Shown
from causaltest.records.schema import RECORDS, SCHEMA_VERSION, Claim, Results

T = TypeVar("T")


def name_of(claim: Claim) -> str:
    """Name a claim in an error message."""
    return f"claim {claim.id}"


def plain(value: object, place: str) -> object:
    """Reduce records to JSON types, floats to six digits; `place` names the field in errors."""
    if isinstance(value, msgspec.Struct):
        return {
            name: plain(cast(object, getattr(value, name)), f"{place}.{name}")
            for name in value.__struct_fields__
        }
    if isinstance(value, dict):
        entries = cast("dict[str, object]", value)
        return {str(key): plain(entry, f"{place}.{key}") for key, entry in entries.items()}
    if isinstance(value, (tuple, list)):
        return [
            plain(entry, f"{place}[{index}]")
            for index, entry in enumerate(cast("tuple[object, ...]", value))
        ]
    if isinstance(value, str):
        # Half of a surrogate pair has no UTF-8 form; keep it readable instead of losing the run.
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if value is None or isinstance(value, (bool, int)):
        return value
    return _number(value, place)


def _number(value: object, place: str) -> float | int:
    """Check and round one number; numpy scalars become Python numbers."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise RecordError(
                f"{place} is {float(value)}; a record holds finite numbers only.\n"
                "A claim whose numbers cannot be computed is an `error`, with its message in "
                "`error` and no estimate."
            )
        return float(f"{value:.6g}") + 0.0  # + 0.0 turns -0.0 into 0.0
    try:
        return operator.index(cast(SupportsIndex, value))
    except TypeError:
        raise RecordError(
            f"{place} is a {type(value).__name__}, which a record cannot hold.\n"
            "Records hold str, bool, int, float, None, tuples and dicts; convert it first."
        ) from None


def typed(tree: object, kind: type[T], place: str) -> T:
    """Decode plain data strictly; say where it does not fit."""
    try:
        return msgspec.convert(tree, kind, strict=True)
    except msgspec.ValidationError as error:
        text = str(error)
        unknown = re.search(r"unknown field `(.*?)`", text)
        hint = "The file was edited, or written by another version of causaltest; run again."
        if unknown:
            names = sorted({name for record in RECORDS for name in record.__struct_fields__})
            close = difflib.get_close_matches(unknown[1], names, n=1)
            hint = (f"Did you mean `{close[0]}`? " if close else "") + hint
        raise RecordError(f"{place} does not fit the records: {text}.\n{hint}") from error


def check(results: Results, place: str) -> None:
    """Refuse results that contradict themselves, which no type can show."""
    if results.schema_version != SCHEMA_VERSION:
        raise RecordError(
            f"{place}: schema_version is {results.schema_version}, expected {SCHEMA_VERSION}.\n"
            "Build results with records.SCHEMA_VERSION."
        )
    seen: set[str] = set()
    for claim in results.claims:
        check_claim(claim, f"{place}, {name_of(claim)}")
        if claim.id in seen:
            raise RecordError(
                f"{place}: two claims have the id {claim.id}; ids are unique within a run.\n"
                "Keep the last record of a test that ran twice."
            )
        seen.add(claim.id)


def check_claim(claim: Claim, place: str) -> None:
    """Refuse a claim whose parts do not fit together."""
    if claim.deciding is not None and not 0 <= claim.deciding < len(claim.parts):
        raise RecordError(
            f"{place}: deciding is {claim.deciding}, but the claim has {len(claim.parts)} parts.\n"
            "deciding counts the parts from 0; it is None where nothing was decided."
        )
    for index, part in enumerate(claim.parts):
        if part.units and len(part.units) != len(part.values):
            raise RecordError(
                f"{place}: parts[{index}] has {len(part.values)} values but {len(part.units)} "
                "units.\nEach pair has one value and one unit."
            )
        if part.totals and len(part.totals) != len(part.values):
            raise RecordError(
                f"{place}: parts[{index}] has {len(part.values)} values but {len(part.totals)} "
                "totals.\nEach pair of a ratio of means has one value and one denominator."
            )
    if claim.shown is not None:
        check_shown(claim.shown, place)


def _check_placebos(shown: Shown, place: str) -> None:
    for index, each in enumerate(shown.controls):
        wrong = [p for p in each.placebo_p if not 0.0 <= p <= 1.0]
        if wrong or len(each.placebo_p) > len(each.controls):
            raise RecordError(
                f"{place}: shown.controls[{index}] has {len(each.placebo_p)} p-values of "
                f"{len(each.controls)} placebos, {len(wrong)} of them outside 0 to 1.\n"
                "Each placebo has one p-value at most."
            )


def check_shown(shown: Shown, place: str) -> None:
    """Refuse what figures show where its arrays are empty or do not fit together."""
    filled = {
        "maps": [each.estimates for each in shown.maps],
        "curves": [each.doses for each in shown.curves],
        "controls": [each.controls for each in shown.controls],
        "paths": [each.supporting or each.low for each in shown.paths],
        "circuits": [each.nodes for each in shown.circuits],
    }
    for name, arrays in filled.items():
        if () in arrays:
            raise RecordError(
                f"{place}: shown.{name}[{arrays.index(())}] is empty.\n"
                "A figure shows at least one number; leave it out where there is none."
            )
    _check_placebos(shown, place)
    for index, each in enumerate(shown.maps):
        cells = math.prod(len(axis.labels) for axis in each.axes)
        labels = " x ".join(f"{len(axis.labels)} {axis.name}" for axis in each.axes) or "none"
        here = f"{place}: shown.maps[{index}]"
        _fit(here, cells, f"cells ({labels})", estimates=each.estimates)
        known = {"low": each.low, "high": each.high, "p_adjusted": each.p_adjusted}
        _fit(here, cells, f"cells ({labels})", **{name: n for name, n in known.items() if n})
        chosen = (*each.named, *(each.exact or ()))
        if chosen and not 0 <= min(chosen) <= max(chosen) < cells:
            raise RecordError(
                f"{here} names cells {min(chosen)} to {max(chosen)}, but has {cells} cells.\n"
                "Cells count from 0, the last axis running fastest."
            )
    for index, each in enumerate(shown.curves):
        arrays = {"means": each.means}
        known = {"isotonic": each.isotonic, "low": each.low, "high": each.high}
        arrays |= {name: numbers for name, numbers in known.items() if numbers}
        _fit(f"{place}: shown.curves[{index}]", len(each.doses), "doses", **arrays)
    for index, each in enumerate(shown.circuits):
        known = {node.name for node in each.nodes} | {"input", "logits"}
        stray = next((end for edge in each.edges for end in edge[:2] if end not in known), None)
        if stray is not None:
            raise RecordError(
                f"{place}: shown.circuits[{index}] has an edge at {stray}, none of its nodes.\n"
                "An edge leads from a node or `input` to a node or `logits`."
            )
    for index, each in enumerate(shown.paths):
        here = f"{place}: shown.paths[{index}]"
        _fit(here, len(each.supporting), "supporting e-values", refuting=each.refuting)
        _fit(here, len(each.low), "lower limits", high=each.high)


def _fit(place: str, count: int, what: str, **arrays: Sequence[float | None]) -> None:
    for name, numbers in arrays.items():
        if len(numbers) != count:
            raise RecordError(
                f"{place} has {count} {what} but {len(numbers)} numbers in `{name}`.\n"
                "Every array of a figure has one number for each."
            )
