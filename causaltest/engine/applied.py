"""Edits in action: what the hooks of one run do with activations, and the proof that they did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from causaltest.engine.access import Access, Places, put, take
from causaltest.engine.apply import Edit, edited, own_input
from causaltest.engine.calls import Turns
from causaltest.engine.given import Given
from causaltest.engine.hooks import Operation, Side
from causaltest.engine.keys import check_keys, check_unpadded, seen_only, switched
from causaltest.engine.ledger import Done, Entry
from causaltest.engine.model import Model
from causaltest.engine.prompts import Batch
from causaltest.engine.rows import for_each_row
from causaltest.errors import InterventionError, PairError
from causaltest.interventions import FromSource, Intervention
from causaltest.sites import KEYED, MODULE, Site

if TYPE_CHECKING:
    from causaltest.engine.sources import Stored


def declared(
    model: Model,
    intervention: Intervention,
    rows: Batch,
    *,
    draw: int,
    stored: Stored | None = None,
    means: dict[tuple[Intervention, Site], Tensor] | None = None,
    targets: Sequence[Target] = (),
) -> tuple[list[Applied], list[tuple[str, Side, Operation]]]:
    """Return the edits of one batch, and the operations on modules that make them.

    Parameters
    ----------
    model, intervention, rows, draw
        What is to be run.
    stored, means
        What `reads_for` and `means_for` read for it.
    targets
        What `targets_of` gives, where it is known already.
    """
    edits: list[Applied] = []
    operations: list[tuple[str, Side, Operation]] = []
    notes: list[tuple[str, Side, Operation]] = []
    for part, site, access in targets or targets_of(model, intervention):
        if site.component == MODULE:
            model.placement.verify((site,), rows)
        applied = Applied(model, part, site, access, rows, draw)
        # Asked first whether there are any: hashing an intervention takes a while.
        if stored and part in stored:
            applied.values, applied.value_counts = stored[part][site]
        elif means and (part, site) in means:
            applied.values = means[part, site]
        edits.append(applied)
        operations.append((access.path, access.side, applied))
        if part.needs_input:
            notes.append(applied.note())
    # After all edits of inputs, so that what is noted is what the modules really get.
    operations += notes
    return edits, operations


def operations_of(edits: Sequence[Applied]) -> list[tuple[str, Side, Operation]]:
    """Return the operations on modules that make some edits, in their order."""
    operations: list[tuple[str, Side, Operation]] = [
        (edit.access.path, edit.access.side, edit) for edit in edits
    ]
    # After all edits of inputs, so that what is noted is what the modules really get.
    operations += [edit.note() for edit in edits if edit.part.needs_input]
    return operations


Target = tuple[Intervention, Site, Access]
"""One part of an intervention, one of its sites, and where that lives."""


def targets_of(model: Model, intervention: Intervention) -> list[Target]:
    """Return where the parts of an intervention are made, in the order in which they are.

    Raises
    ------
    SiteError
        The network has no such component, layer, head, dim or module.
    """
    return [(part, site, model.access(site)) for part in intervention.parts for site in part.sites]


@dataclass
class Applied:
    """An edit in action: called by a hook with the activation, it keeps count of what it did.

    Attributes
    ----------
    around
        Path of the module whose input the part needs, where that is not the site's own.
    """

    model: Model
    part: Intervention
    site: Site
    access: Access
    rows: Batch | Given
    draw: int
    values: Tensor | None = field(default=None, init=False)
    value_counts: list[int] | None = field(default=None, init=False)
    fired: int = field(default=0, init=False)
    counts: Sequence[int] = field(default=(), init=False)
    width: int = field(default=0, init=False)
    changed: int = field(default=0, init=False)
    given: Tensor | None = field(default=None, init=False)
    around: str = field(default="", init=False)

    @cached_property
    def turns(self) -> Turns:
        """The calls of the module so far; not counted where it is to run once."""
        return Turns(self.access.call)

    def note(self) -> tuple[str, Side, Operation]:
        """Return what must be noted before the edit: the module's input, which the part needs."""
        if not self.around and self.access.side != "output":
            raise InterventionError(
                f"{self.part}: {self.site} is the {self.access.side} of {self.access.path}; choose "
                "the output of a module"
            )
        turns = Turns(self.access.call)

        def note(tensor: Tensor) -> None:
            if turns.comes():
                self.given = for_each_row(tensor, self.rows)

        return self.around or self.access.path, "input", note

    def __call__(self, tensor: Tensor) -> Tensor:
        """Return the activation with the edit made."""
        if self.access.call is not None and not self.turns.comes():
            return tensor
        self.fired += 1
        if len(self.rows.rows) > 1:
            tensor = for_each_row(tensor, self.rows)
        if self.site.component in KEYED:
            check_unpadded(self.site, self.rows)
        where, self.counts = self.model.placement.places(self.site, self.access, tensor, self.rows)
        if self.value_counts is not None:
            where = self._without_skipped(where)
            self.check_spans()
        if not any(self.counts):
            return tensor
        edit = Edit(self.site, self.rows.rows, tuple(self.counts), self.draw, self.values)
        new, changed = self.rewritten(tensor, where, edit)
        self.changed += len(changed)
        return new

    def rewritten(self, tensor: Tensor, where: Places, edit: Edit) -> tuple[Tensor, set[int]]:
        """Return the activation with new numbers at some places, and the rows that changed."""
        part = self.part.taken if isinstance(self.part, FromSource) else self.part
        keyed = self.site.component in KEYED
        old = take(tensor, where, self.access, copies=False)
        self.width = prod(old.shape[1:]) if old.ndim != 2 else old.shape[1]
        if where.positions is None:
            edit = edit._replace(tokens=False)
        if keyed:
            check_keys(part, self.site, edit.stored, old)
        if self.given is not None:
            edit = edit._replace(whole=tuple(tensor.shape))
            edit = own_input(part, edit, self.access, self.given, where)
        new = edited(part, old, edit)
        if new is old:
            return tensor, set()
        if new.shape != old.shape:
            raise InterventionError(
                f"{self.part}: {self.site} takes numbers of shape {tuple(old.shape)}, but got "
                f"{tuple(new.shape)}"
            )
        if keyed:
            elsewhere = part.needs_source or edit.stored is not None
            new = seen_only(
                part, self.site, elsewhere=elsewhere, access=self.access, where=where,
                old=old, new=new,
            )  # fmt: skip
        return put(tensor, where, self.access, new), _changed(old, new, where, len(edit.rows))

    def skips(self, row: int) -> bool:
        """Return whether a row is left alone, for want of a source that is optional."""
        optional = isinstance(self.part, FromSource) and self.part.optional
        return optional and self.value_counts is not None and not self.value_counts[row]

    def _without_skipped(self, where: Places) -> Places:
        skipped = [row for row in range(len(self.counts)) if self.skips(row)]
        if not skipped:
            return where
        self.counts = [0 if self.skips(row) else count for row, count in enumerate(self.counts)]
        kept = ~torch.isin(where.rows, torch.tensor(skipped, device=where.rows.device))
        positions = None if where.positions is None else where.positions[kept]
        return Places(where.rows[kept], positions)

    def check_spans(self) -> None:
        """Refuse numbers read at more or fewer tokens than they are to be put at."""
        if self.value_counts is None or self.value_counts == self.counts:
            return
        for row, given, wanted in zip(self.rows.rows, self.value_counts, self.counts, strict=True):
            if given == wanted:
                continue
            pair = row.pair.id if row.pair is not None else "?"
            giver = "source" if self.part.needs_source else "the prompt drawn"
            giver = self.part.source if isinstance(self.part, FromSource) else giver
            if self.site.pos is None:
                raise PairError(
                    f"site {self.site} has no pos, but base ({wanted} tokens) and {giver} ({given} "
                    f"tokens) differ in pair {pair}; give pos= or positions of equal span"
                )
            raise PairError(
                f"position {self.site.pos!r} covers {wanted} tokens in base and {given} in {giver} "
                f"of pair {pair}; use '{self.site.pos}.last' or '{self.site.pos}.first', or pairs "
                "of equal span"
            )

    def check(self) -> None:
        """Refuse to go on if the edit was not made exactly once."""
        if self.access.call is not None and (
            wrong := self.turns.missed(self.site, self.access.path, self.model.name)
        ):
            raise InterventionError(f"{self.part} did not happen as declared\n{wrong}")
        if self.fired != 1:
            how = "was never reached" if self.fired == 0 else f"ran {self.fired} times"
            raise InterventionError(
                f"{self.part} did not happen as declared: {self.access.path} {how} in one forward "
                f"pass of {self.model.name}\n"
                f"Each edit must happen exactly once; {self.rows.say_which(self.access.path)}"
            )

    def did(self) -> Done:
        """Return how much was done, where it was done once."""
        edited = len(self.counts) - self.counts.count(0)
        return Done(1, edited, sum(self.counts), self.width, self.changed)

    def entry(self) -> Entry:
        """Return what was done in words, or refuse to go on if it was not done exactly once."""
        self.check()
        return self.said(self.did())

    def said(self, done: Done) -> Entry:
        """Return in words what this edit did, in one run or several."""
        return Entry(
            str(self.part),
            str(self.site),
            f"{self.access.path}.{self.access.side}{self.turns}",
            *done,
            note=switched(self.access, self.site, self.model.network),
        )


def _changed(old: Tensor, new: Tensor, where: Places, rows: int) -> set[int]:
    """Return the rows in which some number changed."""
    if rows == 1 and old.dtype == new.dtype:
        return set() if torch.equal(old, new) else {0}
    differs = (new.detach() != old.detach()).flatten(1).any(dim=1)
    return set(where.rows[differs].tolist())
