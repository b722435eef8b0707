"""Edits of many cells in one pass: each works on its own rows of a shared activation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from causaltest.engine.hooks import Operation, Side
from causaltest.engine.prompts import Batch
from causaltest.engine.rows import for_each_row
from causaltest.engine.softmax import hidden_keys, hiding
from causaltest.engine.sweeps.capture import Unfit
from causaltest.errors import InterventionError


@dataclass(frozen=True)
class Placed:
    """An operation on a module that concerns some rows of a pass.

    Parameters
    ----------
    own
        Index of their numbers in an activation: of its first axis; or of its first two, where rows
        lie side by side in packs.
    path, side
        The module.
    operation
        What is done with these rows.
    """

    own: slice | tuple[Tensor, Tensor]
    path: str
    side: Side
    operation: Operation


def merged(placed: Sequence[Placed], whole: Batch) -> list[tuple[str, Side, Operation]]:
    """Return one operation for each side of a module, which works on all rows concerned.

    Parameters
    ----------
    placed
        In the order in which they apply.
    whole
        All rows of the pass, or all packs.
    """
    grouped: dict[tuple[str, Side], list[Placed]] = {}
    for each in placed:
        grouped.setdefault((each.path, each.side), []).append(each)
    return [(path, side, _together(chain, whole)) for (path, side), chain in grouped.items()]


def _together(chain: Sequence[Placed], whole: Batch) -> Operation:
    def operation(tensor: Tensor) -> Tensor:
        given = for_each_row(tensor, whole)
        if given.ndim == 0 or given.shape[0] != len(whole.rows):
            raise InterventionError(
                f"{chain[0].path}.{chain[0].side} has shape {tuple(given.shape)}; its first axis "
                f"must be the {len(whole.rows)} rows of the pass"
            )
        result = given
        for each in chain:
            if isinstance(each.own, tuple) and given.shape[:2] != whole.ids.shape:
                raise Unfit(f"{each.path}.{each.side} has no axis of tokens")
            mine = result[each.own]
            new = _done(each, mine, whole)
            if new is None or new is mine:
                continue
            if result is given:
                result = given.clone()
            result[each.own] = new
        return tensor if result is given else result

    return operation


def _done(each: Placed, mine: Tensor, whole: Batch) -> Tensor | None:
    """Let an operation work on its rows, and see what a mask hides in these."""
    hidden = hidden_keys()
    if hidden is None:
        return each.operation(mine)
    with hiding(for_each_row(hidden, whole)[each.own]):
        return each.operation(mine)
