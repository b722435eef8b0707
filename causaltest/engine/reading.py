"""Reading one batch: any number of sites in one pass that ends at the last of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from torch import Tensor

from causaltest.engine.access import Access, take
from causaltest.engine.calls import Turns
from causaltest.engine.hooks import AllRead, Operation, Side
from causaltest.engine.prompts import Batch
from causaltest.engine.rows import for_each_row
from causaltest.errors import InterventionError
from causaltest.sites import Site

if TYPE_CHECKING:
    from causaltest.engine.model import Model

Reads = dict[Site, tuple[Tensor, list[int]]]
"""For each site (entries, width), and the number of entries of each row."""


def read_batch(
    model: Model,
    sites: Sequence[Site],
    rows: Batch,
    edits: Sequence[tuple[str, Side, Operation]] = (),
) -> Reads:
    """Read sites in one batch; with edits, what is read is what they leave.

    Parameters
    ----------
    model
        The model.
    sites
        Where.
    rows
        The batch.
    edits
        As for `attached`.

    Raises
    ------
    InterventionError
        A module did not run, or several times without a say which.
    """
    # A module that may run again must be watched to the end.
    stops = model.verify(sites, rows)
    wanted = len(set(sites))
    reads: Reads = {}
    turns: dict[Site, Turns] = {}

    def reader(site: Site, access: Access) -> Operation:
        turn = turns[site] = Turns(access.call)

        def operation(tensor: Tensor) -> None:
            if not turn.comes():
                return
            if site in reads:
                raise InterventionError(
                    f"{site} cannot be read: {access.path} runs several times in one forward "
                    f"pass of {model.name}, and which of them is meant is not said\n"
                    f"say which: module({access.path!r}, call=0), or choose a site whose "
                    "module runs once"
                )
            tensor = for_each_row(tensor, rows)
            where, counts = model.places(site, access, tensor, rows)
            reads[site] = (take(tensor, where, access), counts)
            if stops and len(reads) == wanted:
                raise AllRead

        return operation

    operations = list(edits)
    for site in dict.fromkeys(sites):
        access = model.access(site)
        operations.append((access.path, access.side, reader(site, access)))
    with suppress(AllRead):
        model.run_batch(rows, operations)
    for site, turn in turns.items():
        if wrong := turn.missed(site, model.access(site).path, model.name):
            raise InterventionError(wrong)
    unread = [str(site) for site in sites if site not in reads]
    if unread:
        raise InterventionError(
            f"{', '.join(unread)} could not be read: {model.name} never called the module"
        )
    return reads
