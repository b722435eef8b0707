"""Passes of bounded size; where memory runs out, smaller ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from causaltest.engine.sweeps.planning import Strip, cut, rows_of
from causaltest.engine.sweeps.task import Part, Tally


def in_pieces(
    strips: Sequence[Strip], most: int, run: Callable[[list[Strip]], Part], tally: Tally
) -> None:
    """Run strips in pieces of bounded size; where memory runs out, in halves from then on.

    Parameters
    ----------
    strips
        What is to be run.
    most
        Rows of a piece.
    run
        Runs one piece; it may be called again for a part of the same rows.
    tally
        Takes in what each piece gives.
    """
    pieces = list(cut(strips, max(1, most)))
    while pieces:
        piece = pieces.pop(0)
        try:
            part = run(piece)
        except (RuntimeError, MemoryError) as error:
            size = rows_of(piece)
            if size == 1 or not out_of_memory(error):
                raise
            pieces = list(cut([strip for each in (piece, *pieces) for strip in each], size // 2))
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            continue
        tally.add(part)


def out_of_memory(error: Exception) -> bool:
    """Return whether an error says that memory ran out."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return any(said in str(error) for said in ("can't allocate memory", "not enough memory"))
