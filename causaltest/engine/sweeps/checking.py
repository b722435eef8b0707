"""Checks of a fast plan against plain forward passes, and what must hold of a model for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from causaltest.engine.hooks import Operation, Side
from causaltest.engine.model import Model
from causaltest.engine.output import Output
from causaltest.engine.prompts import Batch, Row
from causaltest.engine.readout import Readout, find_readout
from causaltest.engine.sources import Stored
from causaltest.engine.sweeps.base import Base
from causaltest.engine.sweeps.batched import Run, run_batched
from causaltest.engine.sweeps.beside import Own
from causaltest.engine.sweeps.calling import same_in_rows
from causaltest.engine.sweeps.capture import Unfit, capture
from causaltest.engine.sweeps.opening import Opening
from causaltest.engine.sweeps.outputs import Among, Partial, answers
from causaltest.engine.sweeps.planning import Strip, rows_of
from causaltest.engine.sweeps.prefix import Reached
from causaltest.engine.sweeps.sources import Giver, Sources
from causaltest.engine.sweeps.task import Tally, Task, Watched
from causaltest.engine.turns import callers_hooks
from causaltest.errors import ModelError
from causaltest.sites import Site

_SAME = 1e-5
_ROWS_PER_CHECK = 500

_READOUTS: WeakKeyDictionary[Model, Readout] = WeakKeyDictionary()
_CAUSAL: WeakKeyDictionary[Model, bool] = WeakKeyDictionary()
_TOLD: WeakKeyDictionary[Model, str] = WeakKeyDictionary()


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


def check_arguments(model: Model, ids: Sequence[int]) -> None:
    """Make sure that blocks hear of a prompt through the stream alone.

    What else is handed to them would be that of the base run, whatever is edited further up. What
    they are handed is found out once for each model; hooks come and go.

    Parameters
    ----------
    model
        The model.
    ids
        Some prompt.

    Raises
    ------
    Unfit
        An argument of a block depends on the prompt, or the caller has hooks in the network.
    """
    if any(True for _ in callers_hooks(model.network)):
        raise Unfit("the network has hooks of yours, which may count tokens")
    if model not in _TOLD:
        # Two rows must not look like two tokens.
        ids = (*ids, ids[-1]) if len(ids) == 2 else tuple(ids)
        others = tuple((each + 1) % model.architecture.vocabulary for each in ids)
        track, _ = capture(model, model.batch([Row(ids), Row(others)]), remember=False)
        _TOLD[model] = next(
            (
                name
                for call in track.calls
                for name, value in call.arguments.items()
                if not same_in_rows(name, value, 2)
            ),
            "",
        )
    if _TOLD[model]:
        raise Unfit(f"the block argument {_TOLD[model]} depends on the prompt")


def _causal(model: Model, ids: Sequence[int]) -> bool:
    if len(ids) == 1:
        ids = (*ids, *ids)
    last = Site("block_output", layer=model.n_layers - 1)
    other = next(each for each in range(model.architecture.vocabulary) if each != ids[-1])
    rows = [Row(tuple(ids)), Row((*ids[:-1], other))]
    one, two = (each[:-1].double() for each in model.read(last, rows)[last])
    return bool((one - two).abs().max() <= _SAME * one.abs().max())


def check_windows(model: Model, keys: int) -> None:
    """Make sure that no block hides keys by their distance of its own accord.

    Where rows lie side by side, keys stand further from tokens than in a prompt.

    Parameters
    ----------
    model
        The model.
    keys
        How far a key may stand from a token.

    Raises
    ------
    Unfit
        The model's configuration names a window that is shorter.
    """
    config = getattr(model.network, "config", None)
    inner = getattr(config, "text_config", None) or config
    for name, value in vars(inner).items() if inner is not None else ():
        if name.endswith(("window", "window_size")) and isinstance(value, int) and 1 < value < keys:
            raise Unfit(f"attention is within a window of {value} tokens ({name})")


def to_check(strips: Sequence[tuple[Strip, int]], layers: int) -> list[Watched]:
    """Choose rows to check, which run through half of the blocks at least where there are such.

    Parameters
    ----------
    strips
        Strips with where they join.
    layers
        Number of blocks; rows that only join behind the last one say little.

    Returns
    -------
    list of Watched
        One that runs most blocks and tokens, one of the last tokens, and one in 500 more.
    """
    deep = max(layers - 1, min(join for _, join in strips))
    some = [each for each in strips if each[1] <= deep]
    chosen = [
        min(some, key=lambda each: (each[1], each[0].start)),
        max(some, key=lambda each: (each[0].start, each[1])),
    ]
    more = rows_of(strip for strip, _ in some) // _ROWS_PER_CHECK
    every = max(1, len(some) // (more + 1))
    chosen += some[every // 2 :: every][:more]
    # Of different pairs, where there are several.
    rows = [
        (strip.pairs[at % len(strip.pairs)], strip.cell, strip.draw)
        for at, (strip, _) in enumerate(chosen)
    ]
    return list(dict.fromkeys(rows))


@dataclass
class _WithIdentity:
    """Gives what cells put in, and base runs their own activations in one more cell."""

    sources: Sources
    own: Own
    cell: int

    def stored(self, strip: Strip) -> Stored:
        """Return what each part of a strip's cell puts in."""
        return (self.own if strip.cell == self.cell else self.sources).stored(strip)


def check_readout(task: Task, readout: Readout, base: Base) -> None:
    """Make sure that logits come out as the network itself gives them.

    It gave those of the last token; and others, where nothing ran beside the base runs.

    Parameters
    ----------
    task
        The sweep.
    readout
        How logits come about.
    base
        The base runs.

    Raises
    ------
    Unfit
        They do not.
    """
    chosen = None if base.among is None else base.among.chosen
    for pair, end in base.ends.items():
        places, wanted = [base.track.tokens - 1], end
        if base.among is not None and (read := base.reads[pair]):
            places, wanted = [*places, *read], torch.cat([end, base.logits[pair]])
        states = base.track.states[-1][base.place[pair], places]
        found = readout.logits(task.model.network, states, chosen)
        off = float((found.double() - wanted.double()).abs().max())
        check_agreement(task, off / max(1.0, base.largest[pair]))


def check_agreement(task: Task, off: float) -> None:
    """Refuse a plan whose logits differ from a plain pass's, relative to the largest.

    Raises
    ------
    Unfit
        They differ by more than rounding explains.
    """
    if off > task.tolerance:
        raise Unfit(
            f"its logits differ from those of a plain forward pass by {off:.2g} of the largest"
        )


def _short_of_logits(task: Task, readout: Readout, base: Base, among: Among) -> Run:
    """Return how to run a batch up to the unembedding, and that where the metric reads alone."""
    places = sorted({at for read in base.reads.values() for at in read or ()})

    def run(batch: Batch, operations: Sequence[tuple[str, Side, Operation]]) -> list[Output]:
        found: list[Tensor] = []

        def reach(tensor: Tensor) -> None:
            found.append(tensor)
            raise Reached

        end: tuple[str, Side, Operation] = (readout.unembedding, "input", reach)
        with suppress(Reached):
            task.model.run_batch(batch, [*operations, end])
        (states,) = found
        logits = readout.unembedded(task.model.network, states[:, places], among.chosen)
        return [
            Partial(row, task.model, dict(zip(places, own, strict=True)), among)
            for row, own in zip(batch.rows, logits, strict=True)
        ]

    return run


def plain_logits(
    task: Task, sources: Sources, tally: Tally, base: Base, readout: Readout
) -> dict[Watched, Tensor | None]:
    """Return the logits of the watched rows in plain forward passes of their own.

    The identity control is run in the same passes.

    Parameters
    ----------
    task
        The sweep.
    sources
        What the cells put in.
    tally
        Holds the watched rows; takes in the identity control, and what the passes cost.
    base
        The base runs.
    readout
        How logits come about.
    """
    strips = [Strip(cell, draw, (pair,)) for pair, cell, draw in tally.watched]
    giver: Giver = sources
    sample = tuple(pair for pair in base.pairs if pair in task.beside.sample)
    identity = len(task.cells)
    if base.own is not None:
        giver = _WithIdentity(sources, base.own, identity)
        task = task.with_cell(base.own.part)
        strips.append(Strip(identity, 0, sample))
    watched = dict.fromkeys(tally.watched)
    plain = Tally(task, watched=watched, reads=tally.reads, among=tally.among)
    run = _short_of_logits(task, readout, base, base.among) if base.among else None
    run_batched(task, strips, giver, plain, run)
    tally.work += plain.work
    if base.own is not None:
        tally.identity[list(sample)] = plain.sums[list(sample), identity]
    return plain.watched


def logits_beside(
    task: Task, opening: Opening, tally: Tally, base: Base
) -> dict[Watched, Tensor | None]:
    """Return the logits of the watched rows in the job's first pass; arguments as above."""
    watched = opening.outputs(base.reads, base.among)
    for pair in task.beside.sample.intersection(base.pairs):
        tally.identity[pair] = base.values[pair]
    tally.work += len(watched)
    return {row: answers(out, base.reads[row[0]], base.among) for row, out in watched.items()}


def difference(
    tally: Tally, plain: Mapping[Watched, Tensor | None], base: Base
) -> tuple[float, float]:
    """Return how far the watched rows are from plain forward passes, relative to their logits.

    Returns
    -------
    tuple of float
        The difference, and the largest logit.
    """
    worst = largest = 0.0
    for row, wanted in plain.items():
        found = tally.watched[row]
        assert found is not None
        assert wanted is not None
        size = max(1.0, base.largest[row[0]], float(wanted.double().abs().max()))
        worst = max(worst, float((found.double() - wanted.double()).abs().max()) / size)
        largest = max(largest, size)
    return worst, largest
