"""What a sweep measures on its way, so that it needs no passes of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from causaltest.engine.access import Access, take
from causaltest.engine.calls import Turns
from causaltest.engine.hooks import Operation, Side
from causaltest.engine.model import Model
from causaltest.engine.output import Output
from causaltest.engine.prompts import Batch
from causaltest.engine.rows import for_each_row
from causaltest.engine.run import Score
from causaltest.engine.sources import Stored, of_rows
from causaltest.engine.sweeps.planning import Strip
from causaltest.errors import CausaltestError
from causaltest.interventions import Interchange
from causaltest.sites import Site


@dataclass(frozen=True)
class Beside:
    """What is wanted beside the cells.

    Parameters
    ----------
    scores
        Scored on the plain run of every base prompt, beside the sweep's own metric.
    sites
        Replaced by their own activation in some base prompts, as the identity control.
    sample
        Indices of these pairs.
    """

    scores: tuple[Score, ...] = ()
    sites: tuple[Site, ...] = ()
    sample: frozenset[int] = frozenset()

    def scored(self, output: Output) -> list[float]:
        """Score a plain run; NaN stands for what cannot be scored."""
        found: list[float] = []
        for score in self.scores:
            try:
                found.append(score(output))
            except CausaltestError:
                found.append(math.nan)
        return found


class Reading:
    """Activations of some rows of a pass, read on its way.

    Parameters
    ----------
    model
        The model.
    sites
        Where.
    rows
        What is read.
    """

    def __init__(self, model: Model, sites: Sequence[Site], rows: Batch) -> None:
        self._model = model
        self._sites = tuple(dict.fromkeys(sites))
        self._rows = rows
        self._read: dict[Site, tuple[Tensor, list[int]]] = {}
        self._again = False

    @property
    def operations(self) -> list[tuple[str, Side, Operation]]:
        """What reads them."""
        found: dict[tuple[str, Side], list[tuple[Site, Access, Turns]]] = {}
        for site in self._sites:
            access = self._model.access(site)
            there = found.setdefault((access.path, access.side), [])
            there.append((site, access, Turns(access.call)))
        return [(path, side, self._reader(there)) for (path, side), there in found.items()]

    def _reader(self, sites: Sequence[tuple[Site, Access, Turns]]) -> Operation:
        """Return what reads all sites of one activation."""

        def operation(tensor: Tensor) -> None:
            tensor = for_each_row(tensor, self._rows)
            for site, access, turns in sites:
                if turns.comes():
                    self._again |= site in self._read
                    where, counts = self._model.places(site, access, tensor, self._rows)
                    self._read[site] = take(tensor, where, access), counts

        return operation

    @property
    def complete(self) -> bool:
        """Whether each site was read once."""
        return len(self._read) == len(self._sites) and not self._again

    def of(self, site: Site, rows: Sequence[int]) -> tuple[Tensor, list[int]] | None:
        """Return what was read of some rows, and how many entries each has; None if nothing."""
        return of_rows(*self._read[site], rows) if site in self._read else None


class Own:
    """Activations of base runs, to be put back where they are from.

    Parameters
    ----------
    model
        The model.
    sites
        Where.
    pairs
        Indices of the pairs, in the order of the rows.
    rows
        The batch that is read.
    """

    def __init__(
        self, model: Model, sites: tuple[Site, ...], pairs: Sequence[int], rows: Batch
    ) -> None:
        self.part = Interchange(sites)
        self.reading = Reading(model, sites, rows)
        self.place = {pair: index for index, pair in enumerate(pairs)}

    def stored(self, strip: Strip) -> Stored:
        """Return what is put back in the rows of a strip."""
        rows = [self.place[pair] for pair in strip.pairs]
        read = ((site, self.reading.of(site, rows)) for site in self.part.sites)
        found = Stored()
        found[self.part] = {site: each for site, each in read if each is not None}
        return found
