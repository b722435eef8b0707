"""Per-pair measurements with their units: checked once, aligned by pair, averaged by unit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from causaltest.errors import EvidenceError, PairError

Floats = NDArray[np.float64]

_LARGEST = 1e75
"""Beyond it, or below its inverse, fourth powers leave the range of double precision."""


class Pairing(TypedDict):
    """Which pairs and units values are of, as every measurement takes it."""

    units: tuple[str, ...]
    unit: str
    pair_ids: tuple[str, ...]
    pair_set: tuple[str, str]


@dataclass(frozen=True, eq=False)
class Columns:
    """One value per pair, the pairs' ids and the unit that each pair belongs to."""

    values: Floats
    scale: Floats | None
    units: tuple[str, ...]
    unit: str
    pair_ids: tuple[str, ...]
    pair_set: tuple[str, str]

    @property
    def n_pairs(self) -> int:
        """Number of pairs."""
        return len(self.values)

    @property
    def pairing(self) -> Pairing:
        """The pairs and their units, for another measurement of them: `Effect(v, **pairing)`."""
        return {
            "units": self.units,
            "unit": self.unit,
            "pair_ids": self.pair_ids,
            "pair_set": self.pair_set,
        }

    @property
    def labels(self) -> tuple[str, ...]:
        """The units in sorted order: resampling must not depend on the order of pairs."""
        return tuple(sorted(set(self.units)))

    def means(self, values: Floats) -> Floats:
        """Average values within units, in the order of `labels`; exact, whatever the order."""
        groups: dict[str, list[float]] = {label: [] for label in self.labels}
        for unit, value in zip(self.units, values.tolist(), strict=True):
            groups[unit].append(value)
        return np.array([math.fsum(group) / len(group) for group in groups.values()])

    def shares_scale(self, other: Columns) -> bool:
        """Whether both are raw, or shares of the same total effects; pairs in the same order."""
        if self.scale is None or other.scale is None:
            return self.scale is other.scale
        return np.array_equal(self.scale, other.scale)

    def aligned(self, other: Columns) -> Columns:
        """Bring another measurement of the same pairs into the order of this one.

        Raises
        ------
        PairError
            If the two do not cover the same pairs, or group them differently.
        """
        here, there = set(self.pair_ids), set(other.pair_ids)
        if here != there:
            only = sorted(here ^ there)
            example = only[0]
            side = self if example in here else other
            raise PairError(
                f"a comparison needs the same pairs on both sides: {_called(self)} against "
                f"{_called(other)}\n{len(only)} pairs are on one side only, e.g. {example!r} in "
                f"{_named(side)}\nmeasure both on the same pair set"
            )
        place = {pair: i for i, pair in enumerate(other.pair_ids)}
        order = [place[pair] for pair in self.pair_ids]
        units = tuple(other.units[i] for i in order)
        if units != self.units or other.unit != self.unit:
            raise PairError(
                f"{_called(self)} and {_called(other)} group the same pairs differently "
                f"({self.unit} against {other.unit})\ndeclare the same cluster for both"
            )
        return replace(
            other,
            values=_frozen(other.values[order]),
            scale=None if other.scale is None else _frozen(other.scale[order]),
            units=units,
            pair_ids=self.pair_ids,
        )


class Paired:
    """What is measured on pairs: in words, on which ones, and the units that they belong to."""

    _columns: Columns
    _subject: str

    @property
    def subject(self) -> str:
        """What was measured, in words."""
        return self._subject

    @property
    def columns(self) -> Columns:
        """The pairs and their units, with one value for each where there is one."""
        return self._columns

    @property
    def scale(self) -> Floats | None:
        """The denominator of each pair, shape (pairs,), or None for a plain mean."""
        return self._columns.scale

    @property
    def units(self) -> tuple[str, ...]:
        """The unit (cluster label) of each pair."""
        return self._columns.units

    @property
    def unit(self) -> str:
        """What the units are, e.g. `template`."""
        return self._columns.unit

    @property
    def pair_ids(self) -> tuple[str, ...]:
        """The id of each pair."""
        return self._columns.pair_ids

    @property
    def pair_set(self) -> tuple[str, str]:
        """Name and hash of the pair set."""
        return self._columns.pair_set

    @property
    def n_pairs(self) -> int:
        """Number of pairs."""
        return self._columns.n_pairs

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self._columns.labels)


def checked_columns(
    values: ArrayLike,
    *,
    scale: ArrayLike | None,
    units: Sequence[str],
    unit: str,
    pair_ids: Sequence[str],
    pair_set: tuple[str, str],
    subject: str,
) -> Columns:
    """Check measurements and freeze them.

    Raises
    ------
    EvidenceError
        If a value is not a finite number, or there is none.
    PairError
        If the columns differ in length or a pair occurs twice.
    """
    checked = _floats(values, "values", pair_ids, subject)
    divisors = None if scale is None else _floats(scale, "scale", pair_ids, subject)
    lengths = {"values": len(checked), "units": len(units), "pair_ids": len(pair_ids)}
    if divisors is not None:
        lengths["scale"] = len(divisors)
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{count} {name}" for name, count in lengths.items())
        raise PairError(f"{subject}: expected one entry per pair in each column, got {listed}")
    if not len(checked):
        raise EvidenceError(f"{subject}: there are no pairs to measure")
    if len(set(pair_ids)) < len(pair_ids):
        twice = next(pair for i, pair in enumerate(pair_ids) if pair in pair_ids[:i])
        raise PairError(f"{subject}: pair {twice!r} is measured twice; give each pair its own id")
    return Columns(checked, divisors, tuple(units), unit, tuple(pair_ids), pair_set)


def _floats(values: ArrayLike, name: str, pair_ids: Sequence[str], subject: str) -> Floats:
    array = np.array(values, dtype=np.float64)
    if array.ndim != 1:
        raise PairError(
            f"{subject}: expected one number per pair, got {name} of shape {array.shape}"
        )
    wrong = np.flatnonzero(~np.isfinite(array))
    if len(wrong):
        first = int(wrong[0])
        pair = repr(pair_ids[first]) if first < len(pair_ids) else f"number {first}"
        more = f" and for {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise EvidenceError(
            f"{subject}: {name} is {array[first]} for pair {pair}{more}\n"
            "no verdict can rest on it; look at this pair's metric and answers"
        )
    check_magnitude(array, name, subject)
    return _frozen(array)


def check_magnitude(values: Floats, name: str, subject: str) -> None:
    """Refuse numbers whose spread cannot be computed in double precision.

    Parameters
    ----------
    values
        Finite numbers of pairs, or pairs x columns that are each looked at.

    Raises
    ------
    EvidenceError
        If the largest is beyond 1e75, or below 1e-75 without being 0.
    """
    for largest in np.atleast_1d(np.abs(values).max(axis=0, initial=0.0)).tolist():
        if largest and not 1.0 / _LARGEST <= largest <= _LARGEST:
            what = "large" if largest > 1.0 else "small"
            raise EvidenceError(
                f"{subject}: the largest of the {name} is {largest:.3g}, too {what} to compute a "
                "spread of\nmeasure on another scale, e.g. log_probability for a probability"
            )


def _frozen(array: Floats) -> Floats:
    array.flags.writeable = False
    return array


def _named(side: Columns) -> str:
    return repr(side.pair_set[0] or "an unnamed set")


def _called(side: Columns) -> str:
    digest = f", {side.pair_set[1][:8]}" if side.pair_set[1] else ""
    return f"{_named(side)} ({side.n_pairs} pairs{digest})"
