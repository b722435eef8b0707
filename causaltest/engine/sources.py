"""What edits put in: numbers read beforehand, in source runs and over reference prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from causaltest.engine.applied import declared
from causaltest.engine.apply import donors
from causaltest.engine.keys import check_lengths, check_mean
from causaltest.engine.ledger import Entry
from causaltest.engine.model import Model
from causaltest.engine.prompts import Row
from causaltest.engine.reading import read_batch
from causaltest.errors import InterventionError
from causaltest.interventions import (
    FromSource,
    Intervention,
    MeanAblation,
    Noise,
    ResampleAblation,
)
from causaltest.pairs import Pair, Pairs
from causaltest.sites import KEYED, Site


class Stored(dict[Intervention, dict[Site, tuple[Tensor, list[int]]]]):
    """What parts put in at their sites: numbers, and how many entries each row has of them.

    Attributes
    ----------
    ledger
        What was edited in the source runs themselves.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.ledger: list[Entry] = []


def of_rows(flat: Tensor, counts: Sequence[int], rows: Sequence[int]) -> tuple[Tensor, list[int]]:
    """Return what was read of some rows, and how many entries each has.

    Parameters
    ----------
    flat, counts
        What was read of all rows, and the entries of each.
    rows
        Those that are wanted, in their order.
    """
    if list(rows) == list(range(len(counts))):
        return flat, list(counts)
    split = torch.split(flat, list(counts))
    return torch.cat([split[row] for row in rows]), [counts[row] for row in rows]


Known = dict[tuple[object, ...], dict[Site, tuple[Tensor, list[int]]]]
"""What was read for one batch and is the same in every draw."""


def reads_for(
    model: Model,
    intervention: Intervention,
    pairs: Sequence[Pair],
    over: Pairs,
    draw: int,
    *,
    known: Known | None = None,
    gradients: bool = False,
) -> Stored:
    """Read what the parts put in, one pass for all parts that read the same prompts.

    With `known`, what does not depend on the draw is read once for all draws. With `gradients`,
    they flow to what is read.
    """
    wanted: dict[tuple[tuple[Row | None, ...], Intervention | None], list[Intervention]] = {}
    for part in intervention.parts:
        rows = donors(part, pairs, over, draw)
        if rows is not None:
            under = part.under if isinstance(part, FromSource) else None
            wanted.setdefault((tuple(rows), under), []).append(part)
    stored = Stored()
    for (rows, under), parts in wanted.items():
        sites = tuple(dict.fromkeys(site for part in parts for site in part.sites))
        reads = (known or {}).get((rows, under, sites))
        if reads is None:
            present = [row for row in rows if row is not None]
            if under is None:
                read = model.read(sites, present, gradients=gradients)
            elif gradients:
                raise InterventionError(
                    f"{parts[0]} reads runs that are themselves intervened on, through which no "
                    "gradients flow\ntake sources from plain runs, or as constants"
                )
            else:
                read, ledger = _read_under(model, sites, present, under, over=over, draw=draw)
                stored.ledger.extend(ledger)
            reads = {site: _aligned(site, read[site], rows) for site in sites}
            if known is not None and not any(map(drawn, parts)):
                known[rows, under, sites] = reads
        for part in parts:
            stored[part] = {site: reads[site] for site in part.sites}
    return stored


def needs_reading(part: Intervention) -> bool:
    """Return whether a part puts in numbers that are read in some run."""
    return part.needs_source or isinstance(part, (FromSource, MeanAblation, ResampleAblation))


def drawn(part: Intervention) -> bool:
    """Return whether what a part reads is another thing in each draw."""
    if isinstance(part, FromSource):
        inner = () if part.under is None else part.under.parts
        return any(isinstance(each, Noise) or drawn(each) for each in inner)
    return isinstance(part, ResampleAblation)


def _aligned(
    site: Site, found: list[Tensor], rows: Sequence[Row | None]
) -> tuple[Tensor, list[int]]:
    """Join what was read, entries in the order of the rows, none for rows that were not read."""
    lengths = iter([len(each) for each in found])
    counts = [0 if row is None else next(lengths) for row in rows]
    return joined(site, found) if found else torch.empty(0), counts


def _read_under(
    model: Model,
    sites: Sequence[Site],
    rows: Sequence[Row],
    under: Intervention,
    *,
    over: Pairs,
    draw: int,
) -> tuple[dict[Site, list[Tensor]], list[Entry]]:
    """Read sites in runs that are themselves intervened on."""
    means = means_for(model, under, over)
    found: dict[Site, dict[int, Tensor]] = {site: {} for site in sites}
    ledger: list[Entry] = []
    with torch.no_grad():
        for indices, each in model.batches(rows, (*sites, *under.sites)):
            pairs = [row.pair or Pair(row.prompt) for row in each.rows]
            stored = reads_for(model, under, pairs, over, draw)
            edits, operations = declared(model, under, each, draw=draw, stored=stored, means=means)
            for site, (flat, counts) in read_batch(model, sites, each, operations).items():
                parts = torch.split(flat, counts)
                found[site].update(zip(indices, parts, strict=True))
            ledger += [*stored.ledger, *(edit.entry() for edit in edits)]
    whole = range(len(rows))
    return {site: [found[site][index] for index in whole] for site in sites}, ledger


def joined(site: Site, activations: Sequence[Tensor]) -> Tensor:
    """Return what was read of several prompts as one tensor, (entries, width).

    Raises
    ------
    InterventionError
        The shapes do not fit together.
    """
    shapes = sorted({tuple(each.shape[1:]) for each in activations})
    if site.component in KEYED:
        check_lengths(site, [shape[-1] for shape in shapes])
    if len(shapes) > 1:
        raise InterventionError(
            f"{site}: the activation has no (rows, tokens, width) axes, and its shape differs "
            f"between prompts ({', '.join(map(str, shapes))}); use prompts of equal length"
        )
    return torch.cat(list(activations))


def means_for(
    model: Model, intervention: Intervention, pairs: Pairs
) -> dict[tuple[Intervention, Site], Tensor]:
    """Average each mean-ablated site over all prompts and tokens of its reference set."""
    wanted: dict[Pairs, list[MeanAblation]] = {}
    for part in intervention.parts:
        if isinstance(part, MeanAblation):
            wanted.setdefault(part.over or pairs, []).append(part)
    means: dict[tuple[Intervention, Site], Tensor] = {}
    for reference, parts in wanted.items():
        rows = [Row.of(pair, "base") for pair in reference]
        rows += [Row.of(pair, "source") for pair in reference if pair.source is not None]
        sites = dict.fromkeys(site for part in parts for site in part.sites)
        for site, activations in model.read(sites, rows).items():
            entries = joined(site, activations)
            mean = entries.double().mean(dim=0, keepdim=True).to(entries.dtype)
            if site.component in KEYED:
                check_mean(site, entries, mean)
            means.update({(part, site): mean for part in parts if site in part.sites})
    return means
