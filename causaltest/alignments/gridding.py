"""Alignments at every place of a grid: learned in one call, judged as one family."""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from causaltest.alignments.adapting import Adapting
from causaltest.alignments.alignment import Alignment
from causaltest.errors import InterventionError
from causaltest.grids import SweepGrid
from causaltest.interventions import interchange
from causaltest.metrics import correctness
from causaltest.pairs import Pairs
from causaltest.progress import progress
from causaltest.spelling import listed
from causaltest.stats import Grid
from causaltest.sweeps.cells import Cells, Labels, cells_of
from causaltest.sweeps.mapping import Mapped, Places

Labelled = tuple[Hashable, ...]


class Alignments(Mapping[Labelled, Alignment]):
    """Alignments by labels, one label for each axis; given by `causal.align_over`.

    Parameters
    ----------
    causal
        What measures them.
    axes
        Labels by axis.
    found
        One alignment for each combination of labels, the last axis fastest.
    name
        What was gone over, in words.
    """

    def __init__(
        self,
        causal: AligningOver,
        axes: Mapping[str, Labelled],
        found: Mapping[Labelled, Alignment],
        name: str,
    ) -> None:
        self._causal = causal
        self._axes = dict(axes)
        self._found = dict(found)
        self._name = name

    @property
    def axes(self) -> dict[str, Labelled]:
        """Labels by axis."""
        return dict(self._axes)

    def __getitem__(self, labels: Hashable) -> Alignment:
        wanted = labels if isinstance(labels, tuple) else (labels,)
        if wanted not in self._found:
            known = [each[0] if len(each) == 1 else each for each in self._found]
            raise InterventionError(
                f"no alignment was learned at {labels!r}; labels of {', '.join(self._axes)}: "
                f"{listed(map(repr, known))}"
            )
        return self._found[wanted]

    def __iter__(self) -> Iterator[Labelled]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        axes = " x ".join(f"{len(labels)} {name}" for name, labels in self._axes.items())
        variables = next(iter(self._found.values())).origin.variables
        return f"<Alignments of {' and '.join(variables)} in {self._name}: {axes}>"

    def grid(self, *, on: Pairs) -> Grid:
        """Measure the interchange-intervention accuracy of each on pairs that none has seen.

        Parameters
        ----------
        on
            Pairs that share no value of the splitting label with those they were learned from.

        Returns
        -------
        Grid
            1 or 0 for each pair and cell. `grid.every(layer=3) > 0.9`, `grid.largest < 0.6` and
            the rest are decided with all cells considered.

        Raises
        ------
        EvidenceError
            An alignment has seen some of these pairs.
        """
        return self._measured(on, "accuracy", np.zeros(len(on)))

    def gain(self, *, on: Pairs) -> SweepGrid:
        """Measure by how much each exchange raises the share of counterfactual answers.

        Parameters
        ----------
        on
            As for `grid`.

        Returns
        -------
        SweepGrid
            Accuracy less that with nothing exchanged; 0 where a place holds nothing of the
            variable, so that its picture outlines the places that hold something.

        Raises
        ------
        EvidenceError
            As for `grid`.
        """
        return self._measured(on, "gain in accuracy", None)

    def _measured(self, on: Pairs, name: str, before: np.ndarray | None) -> SweepGrid:
        for alignment in self._found.values():
            alignment.check_unseen(on)
        first = next(iter(self._found.values())).origin
        subject = f"{name} of {' and '.join(first.variables)} aligned in {self._name}"
        return self._causal.grid_of(
            Cells(self._axes, tuple(each.intervention for each in self.values()), self._name),
            on, correctness("source_answer", at=first.at, name=name), before, subject,
        )  # fmt: skip


class AligningOver(Adapting, Mapped):
    """What learns alignments can learn them over a grid of places."""

    def align_over(
        self,
        component: Places,
        *,
        variable: str | Sequence[str],
        on: Pairs,
        dev: Pairs,
        by: str,
        layers: Labels = None,
        heads: Labels = None,
        positions: Labels = None,
        keep_in: str | os.PathLike[str] | None = None,
        **how: Any,
    ) -> Alignments:
        """Learn an alignment at every place of a grid.

        Parameters
        ----------
        component, layers, heads, positions
            Where, as for `sweep`: each that is given as several values is an axis.
        variable, on, dev, by
            As for `align`.
        keep_in
            A folder for finished fits, as for `align`.
        **how
            width, method, seeds, at, and all else that `align` takes.

        Returns
        -------
        Alignments
            By labels: `found[3, "end"]`. `found.grid(on=test)` is a grid of accuracies on pairs
            not seen, for claims in which all places are considered.

        Raises
        ------
        EvidenceError, InterventionError, PairError, SiteError
            As for `align` and `sweep`.
        """
        given = {"layers": layers, "heads": heads, "positions": positions}
        cells = cells_of(self.model, component, on, interchange, **given)
        found: dict[Labelled, Alignment] = {}
        with progress(f"alignments in {cells.name}") as advance:
            for labels, cell in zip(_labels(cells), cells.interventions, strict=True):
                # Labels may be any text; the number keeps what is left of them apart.
                place = re.sub(r"[^\w.-]+", "_", f"{len(found)}-{'-'.join(map(str, labels))}")
                kept = None if keep_in is None else Path(keep_in) / place
                found[labels] = self.align(
                    cell.sites, variable=variable, on=on, dev=dev, by=by, keep_in=kept, **how
                )
                advance(len(found), len(cells.interventions))
        return Alignments(self, cells.axes, found, cells.name)

    def grid_of(
        self,
        cells: Cells,
        on: Pairs,
        metric: Any,
        before: np.ndarray | None,
        subject: str,
    ) -> SweepGrid:
        """Measure interventions over a grid; less what comes before them, None for plain runs."""
        pairs = self._check_pairs(on, at=metric.position)
        swept = self._swept(cells.interventions, pairs, metric, cells.name, plan="auto")
        return self._grid(
            cells, pairs, metric, swept.values, subject=subject, plan=swept.plan, before=before
        )


def _labels(cells: Cells) -> Iterator[Labelled]:
    """Yield the labels of each cell, the last axis fastest."""
    shape = tuple(map(len, cells.axes.values()))
    for place in np.ndindex(*shape):
        yield tuple(names[index] for names, index in zip(cells.axes.values(), place, strict=True))
