"""Placebos of a sweep: the same edits from other sources or at other places, drawn by pair."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from causaltest.engine.apply import random_stream
from causaltest.engine.model import Model
from causaltest.engine.prompts import Row
from causaltest.engine.sweeps.checking import causal
from causaltest.engine.sweeps.known import known_cells
from causaltest.engine.sweeps.task import Task
from causaltest.errors import InterventionError, PairError
from causaltest.interventions import Intervention
from causaltest.metrics import Metric
from causaltest.pairs import Pair, Pairs, Position, Tokens

Vary = Literal["source", "pos", "layer", "head"]


def at_other_tokens(
    model: Model, pairs: Pairs, positions: Mapping[Hashable, Any], seed: int
) -> tuple[Pairs, dict[Hashable, Any]]:
    """Give each pair positions elsewhere, as many tokens each, for each position that is swept.

    Tokens before the first at which base and source differ are left out: nothing can happen there.

    Raises
    ------
    PairError
        Base and source differ in length, or a pair has no other tokens.
    """
    names = {label: f"placebo_{index}" for index, label in enumerate(positions)}
    made = [
        _with(
            pair,
            {names[label]: _elsewhere(model, pair, pos, seed) for label, pos in positions.items()},
        )
        for pair in pairs
    ]
    return Pairs(made, name=f"{pairs.name}/placebo", cluster=pairs.cluster), dict(names)


def looks_back(model: Model, pairs: Pairs) -> bool:
    """Return whether no token of a model's prompts sees a later one."""
    return causal(model, max((model.prompts.ids(pair.base) for pair in pairs), key=len))


def inert_alike(
    model: Model,
    cells: Sequence[Intervention],
    pairs: Pairs,
    metric: Metric,
    *,
    values: np.ndarray,
    before: Sequence[float],
) -> np.ndarray:
    """Give a placebo the base value wherever the real edit cannot change anything either.

    Before the first token at which base and source differ the real edit does nothing, while
    another source does: their difference would be the placebo's own effect. That holds for models
    that look back only.

    Parameters
    ----------
    model, cells, pairs, metric
        As the real edits are run.
    values
        Of the placebo, (pairs, cells).
    before
        Of the base runs.
    """
    task = Task(model, tuple(cells), pairs, metric, 1)
    alike = values.copy()
    for pair, value in enumerate(before):
        alike[pair, known_cells(task, pair, range(len(cells)))] = value
    return alike


def _elsewhere(model: Model, pair: Pair, pos: Any, seed: int) -> Position:
    base, source = (model.prompts.ids(Row.of(pair, side).prompt) for side in ("base", "source"))
    if len(base) != len(source):
        raise PairError(
            f"pair {pair.id}: base has {len(base)} tokens and source {len(source)}, so there are "
            "no matching other tokens for a placebo; use pairs of equal length"
        )
    taken = set(model.prompts.positions(Row.of(pair, "base"), pos))
    first = next((i for i, (a, b) in enumerate(zip(base, source, strict=True)) if a != b), 0)
    width = len(taken)
    starts = [
        start
        for start in range(first, len(base) - width + 1)
        if not taken & set(range(start, start + width))
    ]
    if not starts:
        raise PairError(
            f"pair {pair.id} has no {width} tokens beside position {pos!r} that a placebo could "
            "take"
        )
    start = starts[int(random_stream("placebo", seed, pair.id, pos).integers(len(starts)))]
    place = Tokens(tuple(range(start, start + width)))
    return Position(place, place)


def _with(pair: Pair, more: Mapping[str, Position]) -> Pair:
    return Pair(
        pair.base,
        pair.source,
        pair.base_answer,
        pair.source_answer,
        positions={**pair.positions, **more},
        labels=pair.labels,
        id=pair.id,
        sources=pair.sources,
    )


def along(values: np.ndarray, axes: Mapping[str, Any], vary: str, pairs: Pairs, seed: int) -> Any:
    """Give each pair and cell the value of another label of an axis, drawn at random.

    Parameters
    ----------
    values
        (pairs, cells).
    axes
        Labels by axis.
    vary
        Which axis.
    pairs, seed
        Say what is drawn.

    Raises
    ------
    InterventionError
        The sweep has no such axis.
    """
    if vary not in axes:
        raise InterventionError(
            f"placebo is {vary!r}, but the sweep has the axes {', '.join(axes)}; draw another "
            "label of one of these"
        )
    shape = tuple(map(len, axes.values()))
    axis, count = list(axes).index(vary), len(axes[vary])
    if count < 2:
        raise InterventionError(f"axis {vary!r} has one label; a placebo needs another")
    whole = values.reshape(len(values), *shape)
    drawn = np.empty_like(whole)
    for row, pair in enumerate(pairs):
        stream = random_stream("placebo", vary, seed, pair.id)
        own = np.indices(shape)[axis]
        other = (own + stream.integers(1, count, size=shape)) % count
        drawn[row] = np.take_along_axis(whole[row], other, axis=axis)
    return drawn.reshape(values.shape)
