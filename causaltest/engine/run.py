"""Running interventions over whole pair sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from causaltest.engine.applied import declared
from causaltest.engine.ledger import Entry, check_changed, total
from causaltest.engine.model import Model
from causaltest.engine.output import Output
from causaltest.engine.prompts import Batch, Row
from causaltest.engine.reading import read_batch
from causaltest.engine.sources import Known, Stored, means_for, reads_for
from causaltest.interventions import Interchange, Intervention
from causaltest.pairs import Pair, Pairs
from causaltest.sites import Site

Score = Callable[[Output], float]


@dataclass(frozen=True)
class Scores:
    """One number for each pair, and the proof that the edits happened.

    Parameters
    ----------
    values
        In the order of the pairs; random draws are averaged within each pair.
    ledger
        One entry for each intervention and site.
    """

    values: tuple[float, ...]
    ledger: tuple[Entry, ...]


def score(
    model: Model,
    intervention: Intervention,
    pairs: Pairs,
    metric: Score,
    *,
    allow_inert: bool = False,
) -> Scores:
    """Run an intervention on the base prompt of every pair and score the outputs.

    Parameters
    ----------
    model
        The model.
    intervention
        What to edit.
    pairs
        Where.
    metric
        A number for one output.
    allow_inert
        Accept an intervention that changes nothing (the identity does, on purpose).

    Returns
    -------
    Scores

    Raises
    ------
    InterventionError
        An edit did not fire exactly once for each run, does not fit, or nothing changed.
    """
    means = means_for(model, intervention, pairs)
    sums = [0.0] * len(pairs)
    entries: list[Entry] = []
    sources: list[Entry] = []
    rows = [Row.of(pair, "base") for pair in pairs]
    draws = intervention.draws
    with torch.no_grad():
        for indices, each in model.batches(rows, intervention.sites):
            chosen = [pairs[index] for index in indices]
            known: Known = {}
            for draw in range(draws):
                stored = reads_for(model, intervention, chosen, pairs, draw, known=known)
                sources.extend(stored.ledger)
                outputs, ledger = _edited(
                    model, intervention, each, draw=draw, stored=stored, means=means
                )
                entries.extend(ledger)
                scores = [metric(output) for output in outputs]
                del outputs  # else these logits would be held while the next are computed
                for index, value in zip(indices, scores, strict=True):
                    sums[index] += value / draws
    ledger = total(entries)
    if not allow_inert:
        check_changed(ledger, str(intervention))
        check_changed(total(sources), f"what {intervention} does to its sources")
    return Scores(tuple(sums), ledger + total(sources))


def score_identity(
    model: Model, sites: Sequence[Site], pairs: Sequence[Pair], metric: Score
) -> list[float]:
    """Score the base prompts with every site replaced by its own activation.

    Whatever differs from a plain run is numeric noise or a defect of the hooks.
    """
    rows = [Row.of(pair, "base") for pair in pairs]
    part = Interchange(tuple(sites))
    values: dict[int, float] = {}
    with torch.no_grad():
        for indices, each in model.batches(rows, sites):
            own = read_batch(model, part.sites, each)
            outputs, _ = _edited(model, part, each, draw=0, stored=Stored({part: own}), means={})
            values.update((i, metric(output)) for i, output in zip(indices, outputs, strict=True))
    return [values[index] for index in range(len(rows))]


def _edited(
    model: Model,
    intervention: Intervention,
    rows: Batch,
    *,
    draw: int,
    stored: Stored,
    means: dict[tuple[Intervention, Site], Tensor],
) -> tuple[list[Output], list[Entry]]:
    """Run one batch with all edits and prove that each fired exactly once."""
    edits, operations = declared(model, intervention, rows, draw=draw, stored=stored, means=means)
    outputs = model.run_batch(rows, operations)
    return outputs, [edit.entry() for edit in edits]
