"""Batches that are no prompts: whatever a network takes, with indices for each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from causaltest.engine.access import Places
from causaltest.engine.prompts import Row, places
from causaltest.errors import InterventionError, SiteError
from causaltest.sites import Site


@dataclass(frozen=True)
class Given:
    """A batch of which the rows are counted and nothing else is known: no prompts, no lengths.

    A site without a position is all of an activation there, every token where its axes are (rows,
    tokens, width). Where an activation has a multiple of the rows, as in beams, each row's copies
    follow each other.

    Parameters
    ----------
    count
        Number of rows.
    mask
        (rows, tokens) of the texts, 1 on real tokens; None where nothing is padded.
    positions
        Name of a position, as on `Site`, to the token indices of each row. They count from 0 in
        the padded row, negative ones from the end of the row's text.
    stepped
        The rows that are meant where a module computes one time step of every row in each call;
        None for activations of whole rows.
    which_call
        What to say of a module that runs several times, for messages.

    Examples
    --------
    >>> batch = Given(2, positions={"name": ((1,), (-1,))})
    >>> where, counts = batch.places(
    ...     Site("block_output", layer=0, pos="name"), torch.zeros(2, 5, 8)
    ... )
    >>> where.positions.tolist(), counts
    ([1, 4], [1, 1])
    """

    rows: ClassVar[tuple[Row, ...]] = ()

    count: int
    mask: Tensor | None = None
    positions: Mapping[str, Sequence[Sequence[int]]] = field(default_factory=dict)
    stepped: tuple[int, ...] | None = None
    which_call: str = "choose a module that runs once"

    @property
    def padded(self) -> bool:
        """Whether any row is."""
        return self.mask is not None

    @property
    def lengths(self) -> tuple[int, ...]:
        """Unpadded length of each row; empty where none is padded."""
        return () if self.mask is None else tuple(self.mask.sum(dim=1).tolist())

    @property
    def tokens(self) -> int:
        """Length of the longest row with its padding; 0 where none is padded."""
        return 0 if self.mask is None else self.mask.shape[1]

    def say_which(self, _path: str) -> str:
        """Return what to do about a module that runs several times."""
        return self.which_call

    def places(self, site: Site, tensor: Tensor) -> tuple[Places, list[int]]:
        """Return the entries that a site means, and how many each row of the activation has.

        Parameters
        ----------
        site
            Its position is None or one of the batch's names.
        tensor
            The activation.

        Raises
        ------
        InterventionError
            The activation has no such axes.
        SiteError
            A position does not exist in a row.
        """
        if self.stepped is not None:
            return self._of_step(site, self.stepped, tensor)
        if tensor.ndim < (1 if site.pos is None else 3):
            lacks = "rows" if site.pos is None else "tokens; leave its positions out to mean all"
            raise InterventionError(
                f"{site.at(None)} has shape {tuple(tensor.shape)}, without an axis of {lacks}"
            )
        rows, device = tensor.shape[0], tensor.device
        if site.pos is None and tensor.ndim != 3:
            return Places(torch.arange(rows, device=device), None), [1] * rows
        length = tensor.shape[1]
        if site.pos is None:
            index = torch.arange(rows, device=device).repeat_interleave(length)
            return Places(index, torch.arange(length, device=device).repeat(rows)), [length] * rows
        if rows % self.count:
            raise InterventionError(
                f"{site.at(None)} has {rows} rows, but {self.count} were given; "
                "edits cannot be placed"
            )
        found = self.indices(site, length)
        copied = [tuple(each) for each in found for _ in range(rows // self.count)]
        return places(copied, device), [len(each) for each in copied]

    def _of_step(
        self, site: Site, stepped: tuple[int, ...], tensor: Tensor
    ) -> tuple[Places, list[int]]:
        """Return the entries of some rows in one time step, (rows, width) or with an axis of 1."""
        shape = tuple(tensor.shape)
        index = torch.tensor(stepped, device=tensor.device)
        if shape[:-1] == (self.count,):
            where = Places(index, None)
        elif shape[:-1] == (1, self.count):
            where = Places(torch.zeros_like(index), index)
        elif shape[:-1] == (self.count, 1):
            where = Places(index, torch.zeros_like(index))
        else:
            raise InterventionError(
                f"{site.at(None)} has shape {shape}; one time step of {self.count} rows has "
                f"{(self.count,)} and a width"
            )
        return where, [int(row in stepped) for row in range(self.count)]

    def indices(self, site: Site, tokens: int) -> list[list[int]]:
        """Return the positions of each row, counted from 0 in the padded row.

        Parameters
        ----------
        site
            Whose position is meant.
        tokens
            How many there are in an activation, padding included.

        Raises
        ------
        InterventionError
            A position is named twice, or the activation has fewer tokens than the texts.
        SiteError
            A position does not exist.
        """
        if not isinstance(site.pos, str) or site.pos not in self.positions:
            raise SiteError(
                f"{site}: rows that are no prompts have no position {site.pos!r}; they have "
                f"{', '.join(self.positions) or 'none'}"
            )
        found = [
            [self._index(site, each, row, self.tokens or tokens) for each in wanted]
            for row, wanted in enumerate(self.positions[site.pos])
        ]
        for row, each in enumerate(found):
            if len(set(each)) < len(each):
                raise InterventionError(
                    f"{site.at(None)}: row {row} names a position twice: {each}"
                )
            if each and max(each) >= tokens:
                raise InterventionError(
                    f"{site.at(None)} has {tokens} tokens there; positions {each} of row {row} "
                    "are not among them"
                )
        return found

    def _index(self, site: Site, index: int, row: int, total: int) -> int:
        real = None if self.mask is None else self.mask[row].nonzero()
        first, end = 0, total
        if real is not None:
            first, end = (int(real.min()), int(real.max()) + 1) if len(real) else (0, 0)
        found = index if index >= 0 else end + index
        if not 0 <= found < total or (index < 0 and found < first) or first == end:
            raise SiteError(
                f"{site.at(None)}: position {index} does not exist: row {row} has {end - first} "
                "tokens"
            )
        if self.mask is not None and not self.mask[row, found]:
            raise SiteError(
                f"{site.at(None)}: position {index} of row {row} is padding; its tokens are "
                f"{first}-{end - 1}"
            )
        return found
