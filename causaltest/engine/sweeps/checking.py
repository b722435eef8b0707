"""Checks of a fast plan against plain forward passes, and what must hold of a model for it."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

from causaltest.engine.model import Model
from causaltest.engine.prompts import Row
from causaltest.engine.readout import Readout, find_readout
from causaltest.engine.sweeps.batched import run_batched
from causaltest.engine.sweeps.capture import Unfit
from causaltest.engine.sweeps.planning import Strip
from causaltest.engine.sweeps.sources import Sources
from causaltest.engine.sweeps.task import Tally, Task, Watched
from causaltest.errors import ModelError
from causaltest.sites import Site

_SAME = 1e-5

_READOUTS: WeakKeyDictionary[Model, Readout] = WeakKeyDictionary()
_CAUSAL: WeakKeyDictionary[Model, bool] = WeakKeyDictionary()


def readout_of(model: Model) -> Readout:
    """Return how logits come from the last block's output, found out once for each model.

    Raises
    ------
    Unfit
        There is no one stack of blocks, or the way from it to the logits is not understood.
    """
    if model not in _READOUTS:
        if not model.n_layers:
            raise Unfit("no stack of blocks is recognised")
        if model.architecture.others:
            raise Unfit("the network has several stacks of blocks")
        try:
            _READOUTS[model] = find_readout(model)
        except ModelError as error:
            raise Unfit(str(error).splitlines()[0]) from error
    return _READOUTS[model]


def causal(model: Model, ids: Sequence[int]) -> bool:
    """Return whether a prompt's last token leaves all others alone, found out once for each model.

    Parameters
    ----------
    model
        The model.
    ids
        Some prompt, the longer the better.
    """
    if model not in _CAUSAL:
        one_stack = bool(model.n_layers) and not model.architecture.others
        _CAUSAL[model] = one_stack and _causal(model, ids)
    return _CAUSAL[model]


def _causal(model: Model, ids: Sequence[int]) -> bool:
    if len(ids) == 1:
        ids = (*ids, *ids)
    last = Site("block_output", layer=model.n_layers - 1)
    other = next(each for each in range(model.architecture.vocabulary) if each != ids[-1])
    rows = [Row(tuple(ids)), Row((*ids[:-1], other))]
    one, two = (each[:-1].double() for each in model.read(last, rows)[last])
    return bool((one - two).abs().max() <= _SAME * one.abs().max())


def to_check(strips: Sequence[tuple[Strip, int, int]]) -> list[Watched]:
    """Choose rows to check: of the first and the last block, and of the last tokens.

    Parameters
    ----------
    strips
        Strips with where they join and at which token their pass begins.
    """
    chosen = [
        min(strips, key=lambda each: (each[1], -each[2])),
        max(strips, key=lambda each: each[1]),
        max(strips, key=lambda each: (each[2], -each[1])),
    ]
    rows = [(strip.pairs[0], strip.cell, strip.draw) for strip, _, _ in chosen]
    return list(dict.fromkeys(rows))


def difference(task: Task, sources: Sources, tally: Tally) -> float:
    """Return how far the watched rows are from plain forward passes, relative to their logits.

    Parameters
    ----------
    task
        The sweep.
    sources
        What the cells put in.
    tally
        Holds the logits of the watched rows; the cost of the check is added to it.
    """
    plain = Tally(task, watched=dict.fromkeys(tally.watched), reads=tally.reads)
    strips = [Strip(cell, draw, (pair,)) for pair, cell, draw in tally.watched]
    run_batched(task, strips, sources, plain)
    tally.work += plain.work
    worst = 0.0
    for row, wanted in plain.watched.items():
        found = tally.watched[row]
        assert found is not None
        assert wanted is not None
        size = max(1.0, float(wanted.double().abs().max()))
        worst = max(worst, float((found.double() - wanted.double()).abs().max()) / size)
    return worst
