"""What a sweep measures on its way, so that it needs no passes of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from causaltest.engine.access import take
from causaltest.engine.calls import Turns
from causaltest.engine.hooks import Operation, Side
from causaltest.engine.model import Model
from causaltest.engine.output import Output
from causaltest.engine.prompts import Batch
from causaltest.engine.rows import for_each_row
from causaltest.engine.run import Score
from causaltest.engine.sources import Stored
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
        self._model = model
        self._place = {pair: index for index, pair in enumerate(pairs)}
        self._rows = rows
        self._read: dict[Site, tuple[Tensor, ...]] = {}

    @property
    def operations(self) -> list[tuple[str, Side, Operation]]:
        """What reads them."""
        found: list[tuple[str, Side, Operation]] = []
        for site in self.part.sites:
            access = self._model.access(site)
            found.append((access.path, access.side, self._reader(site)))
        return found

    def _reader(self, site: Site) -> Operation:
        access = self._model.access(site)
        turns = Turns(access.call)

        def operation(tensor: Tensor) -> None:
            if turns.comes():
                tensor = for_each_row(tensor, self._rows)
                where, counts = self._model.places(site, access, tensor, self._rows)
                self._read[site] = torch.split(take(tensor, where, access), list(counts))

        return operation

    def stored(self, strip: Strip) -> Stored:
        """Return what is put back in the rows of a strip."""
        found = Stored()
        found[self.part] = {}
        for site, read in self._read.items():
            chosen = [read[self._place[pair]] for pair in strip.pairs]
            found[self.part][site] = torch.cat(chosen), [len(each) for each in chosen]
        return found
