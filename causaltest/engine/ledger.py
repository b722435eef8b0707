"""The ledger: proof of where every declared edit happened and what it changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from causaltest.errors import InterventionError


class Done(NamedTuple):
    """What one declared edit did at one site: the numbers of an `Entry`."""

    fired: int = 0
    rows: int = 0
    positions: int = 0
    dims: int = 0
    changed: int = 0

    def and_then(self, later: Done) -> Done:
        """Return what was done in both of two runs."""
        return Done(
            self.fired + later.fired,
            self.rows + later.rows,
            self.positions + later.positions,
            later.dims,
            self.changed + later.changed,
        )


@dataclass(frozen=True)
class Entry:
    """One declared edit at one site.

    Parameters
    ----------
    intervention, site, module
        What was declared, and the module it was applied in.
    fired
        Forward calls in which the edit was applied.
    rows, positions, dims
        Prompts edited; token positions edited over all prompts; numbers edited at each position.
    changed
        Prompts in which at least one number changed.
    note
        What else was done to the network for the length of the run.
    """

    intervention: str
    site: str
    module: str
    fired: int = 0
    rows: int = 0
    positions: int = 0
    dims: int = 0
    changed: int = 0
    note: str = ""


def total(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Add up entries of the same edit over batches and draws."""
    sums: dict[tuple[str, str, str], Entry] = {}
    for entry in entries:
        key = (entry.intervention, entry.site, entry.module)
        known = sums.get(key)
        sums[key] = (
            entry
            if known is None
            else Entry(
                *key,
                fired=known.fired + entry.fired,
                rows=known.rows + entry.rows,
                positions=known.positions + entry.positions,
                dims=entry.dims,
                changed=known.changed + entry.changed,
                note=entry.note,
            )
        )
    return tuple(sums.values())


def check_changed(entries: Iterable[Entry | Done], what: object) -> None:
    """Refuse an intervention, `what` in words, that changed nothing at all.

    Raises
    ------
    InterventionError
        Every edited number equals the one that was there before.
    """
    entries = tuple(entries)
    for entry in entries:
        if entry.changed:
            return
    if entries:
        rows = max(entry.rows for entry in entries)
        raise InterventionError(
            f"{what} changed no activation in any of {rows} runs: the numbers put in equal those"
            " that were there\n"
            "Nothing can be concluded. For an interchange, base and source agree at this site: "
            "choose pairs that differ before it, or another site or position"
        )
