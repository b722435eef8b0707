"""Base runs of pairs whose prompts have one length: how they ran, and where metrics read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from causaltest.engine.ledger import Entry
from causaltest.engine.sweeps.beside import Own
from causaltest.engine.sweeps.capture import Track, capture
from causaltest.engine.sweeps.opening import Opening
from causaltest.engine.sweeps.outputs import Among, Noting, answers
from causaltest.engine.sweeps.task import Task
from causaltest.engine.sweeps.under import made_under


@dataclass(frozen=True)
class Base:
    """The base runs of some pairs whose prompts have one length.

    Parameters
    ----------
    pairs
        Indices of the pairs, in the order of the track's rows.
    track
        How they ran.
    values
        The metric of each pair.
    plain
        The same, and what else is scored on plain runs.
    reads
        The tokens of each pair at which the metric reads logits; None for all.
    among
        The classes that it reads, of all pairs; None for all.
    logits
        These logits, (tokens read, classes read) for each pair.
    largest
        The largest logit of any class at these tokens, of each pair.
    ends
        The logits of the classes read at the last token, of each pair.
    own
        Activations to be put back, where the identity control is run in a pass of its own.
    entries
        What was done to the base runs themselves.
    """

    pairs: tuple[int, ...]
    track: Track
    values: Mapping[int, float]
    plain: Mapping[int, tuple[float, ...]]
    reads: Mapping[int, tuple[int, ...] | None]
    among: Among | None
    logits: Mapping[int, Tensor]
    largest: Mapping[int, float]
    ends: Mapping[int, Tensor]
    own: Own | None = None
    entries: tuple[Entry, ...] = ()

    @cached_property
    def place(self) -> dict[int, int]:
        """The row of each pair."""
        return {pair: row for row, pair in enumerate(self.pairs)}


def base_runs(
    task: Task,
    pairs: Sequence[int],
    *,
    everywhere: bool = False,
    remember: bool = True,
    opening: Opening | None = None,
) -> Base:
    """Run base prompts of one length and score them.

    Parameters
    ----------
    task
        The sweep.
    pairs
        Indices of the pairs.
    everywhere
        Whether logits of all tokens are wanted, whatever the metric reads of the base run.
    remember
        Whether keys and values are kept.
    opening
        What runs in the same pass.
    """
    rows = [task.rows[pair] for pair in pairs]
    batch = task.model.batch(rows if opening is None else [*rows, *opening.rows])
    beside = task.beside
    own = None
    if opening is None and not beside.sample.isdisjoint(pairs):
        own = Own(task.model, beside.sites, pairs, batch)
    if opening is not None:
        under, operations = opening.operations(batch)
    else:
        under, operations = made_under(task, batch)
        operations += own.reading.operations if own else []
    track, outputs = capture(
        task.model, batch, remember=remember, operations=operations,
        first=None if opening is None else opening.first,
    )  # fmt: skip
    if opening is not None:
        opening.finish()
    entries = tuple(edit.entry() for edit in under)
    values: dict[int, float] = {}
    plain: dict[int, tuple[float, ...]] = {}
    noted: list[Noting] = []
    reads: dict[int, tuple[int, ...] | None] = {}
    for pair, output in zip(pairs, outputs, strict=True):
        noting = Noting(output)
        values[pair] = task.metric(noting)
        plain[pair] = (values[pair], *beside.scored(output))
        reads[pair] = tuple(sorted(noting.read)) if noting.read and not everywhere else None
        noted.append(noting)
    among = None if everywhere or None in reads.values() else _among(noted)
    logits: dict[int, Tensor] = {}
    ends: dict[int, Tensor] = {}
    largest: dict[int, float] = {}
    chosen = slice(None) if among is None else list(among.chosen)
    for pair, output in zip(pairs, outputs, strict=True):
        whole = answers(output, reads[pair], None)
        largest[pair] = float(whole.abs().max()) if whole.numel() else 0.0
        logits[pair] = whole[..., chosen]
        ends[pair] = answers(output, (track.tokens - 1,), None)[..., chosen]
    return Base(
        tuple(pairs), track, values, plain, reads, among, logits, largest, ends, own, entries
    )


def _among(noted: Sequence[Noting]) -> Among | None:
    """Return the classes that are read of any pair, where these are few."""
    chosen: set[int] = set()
    for noting in noted:
        if noting.chosen is None:
            return None
        chosen |= noting.chosen
    every = noted[0].classes
    return Among(tuple(sorted(chosen)), every) if 2 * len(chosen) <= every else None
