"""Reading one batch: any number of sites in one pass that ends at the last of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from torch import Tensor

from causaltest.engine.access import Access, Places, take
from causaltest.engine.calls import Turns
from causaltest.engine.given import Given
from causaltest.engine.hooks import AllRead, Operation, Side
from causaltest.engine.keys import check_unpadded
from causaltest.engine.prompts import Batch
from causaltest.engine.rows import for_each_row
from causaltest.errors import InterventionError
from causaltest.sites import KEYED, Site

if TYPE_CHECKING:
    from causaltest.engine.model import Model

K = TypeVar("K", bound=Hashable)
Attachment = tuple[str, Side, Operation]

Reads = dict[Site, tuple[Tensor, list[int]]]
"""For each site (entries, width), and the number of entries of each row."""


def read_batch(
    model: Model,
    sites: Sequence[Site],
    rows: Batch,
    edits: Sequence[Attachment] = (),
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
    wanted = {site: (site, model.access(site), rows) for site in sites}
    found = read_during(partial(model.run_batch, rows), model, wanted, edits, stops=stops)
    return {site: (entries, counts) for site, (entries, counts, _) in found.items()}


def read_during(
    run: Callable[[Sequence[Attachment]], object],
    model: Model,
    wanted: Mapping[K, tuple[Site, Access, Batch | Given]],
    edits: Sequence[Attachment] = (),
    *,
    stops: bool,
) -> dict[K, tuple[Tensor, list[int], Places]]:
    """Read sites while something runs, each for the rows that it is meant for.

    Parameters
    ----------
    run
        Runs the network with some operations attached.
    model
        Whose network it is.
    wanted
        What each reading is called, to where, where that lives, and in which rows.
    edits
        As for `attached`; what is read is what they leave.
    stops
        Whether the run may end when everything is read.

    Returns
    -------
    dict
        For each reading (entries, width), the number of entries of each row, and which they are.

    Raises
    ------
    InterventionError
        As for `read_batch`.
    """
    readers = {key: Reader(model, *each) for key, each in wanted.items()}

    def operation_of(reader: Reader) -> Operation:
        def operation(tensor: Tensor) -> None:
            if reader.takes(tensor) and stops and all(each.found for each in readers.values()):
                raise AllRead

        return operation

    operations: list[Attachment] = [
        (each.access.path, each.access.side, operation_of(each)) for each in readers.values()
    ]
    with suppress(AllRead):
        run([*edits, *operations])
    for each in readers.values():
        if wrong := each.turns.missed(each.site, each.access.path, model.name):
            raise InterventionError(wrong)
    unread = [str(each.site) for each in readers.values() if each.found is None]
    if unread:
        raise InterventionError(
            f"{', '.join(unread)} could not be read: {model.name} never called the module"
        )
    return {key: each.found for key, each in readers.items() if each.found is not None}


@dataclass
class Reader:
    """A reading in action: called with the activation, it takes what is meant of it once."""

    model: Model
    site: Site
    access: Access
    rows: Batch | Given
    found: tuple[Tensor, list[int], Places] | None = None
    turns: Turns = field(init=False)

    def __post_init__(self) -> None:
        self.turns = Turns(self.access.call)

    def takes(self, tensor: Tensor) -> bool:
        """Take the numbers if this is the call that is meant, and return whether it is."""
        if not self.turns.comes():
            return False
        if self.found is not None:
            raise InterventionError(
                f"{self.site} cannot be read: {self.access.path} runs several times in one "
                f"forward pass of {self.model.name}, and which of them is meant is not said\n"
                f"{self.rows.say_which(self.access.path)}"
            )
        if self.site.component in KEYED:
            check_unpadded(self.site, self.rows)
        tensor = for_each_row(tensor, self.rows)
        where, counts = self.model.places(self.site, self.access, tensor, self.rows)
        self.found = take(tensor, where, self.access), counts, where
        return True
