"""Calling a block again: on other rows and tokens than the base run's, or on packs of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from causaltest.engine.access import carried
from causaltest.engine.sweeps.capture import Cache, Call, Track, Unfit, bind, understood
from causaltest.engine.sweeps.carried import Carried, Continued
from causaltest.engine.sweeps.packing import Packs
from causaltest.engine.sweeps.prefix import Prefix, Recorder, States, additive, causal_mask

_MASKS = ("attention_mask", "causal_mask", "mask")
_MASK_AXES = 4
_ALIBI = "alibi"
_SAME = 1e-5
_PROVEN: WeakKeyDictionary[nn.Module, set[tuple[bool, bool]]] = WeakKeyDictionary()
"""Blocks that go on from what they remember: where one token follows or several, with states."""
_PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class Slice:
    """The rows and tokens of a call: the same tokens of every row.

    Parameters
    ----------
    places
        Which tokens are run.
    rows
        The pair of each row; None where there is one pair.
    count
        Number of rows.
    keys
        Number of tokens that there are to attend to; None for all.
    """

    places: slice | Tensor
    rows: Tensor | None
    count: int
    keys: int | None = None


Part = Slice | Packs


def step(call: Call, track: Track, stream: Tensor, part: Part, cache: Cache | None) -> Tensor:
    """Run one block on some rows and tokens.

    Parameters
    ----------
    call
        Of the block in the base run.
    track
        The base run.
    stream
        (rows, tokens that are run, width).
    part
        Which rows and tokens these are.
    cache
        Gives keys and values of earlier tokens; None where all tokens are run.

    Raises
    ------
    Unfit
        An argument is neither the same for all tokens and rows nor laid out as is known.
    """
    arguments = {
        name: _fitted(name, value, track, part)
        for name, value in call.arguments.items()
        if name not in {call.stream, call.cache}
    }
    mask = next((name for name in _MASKS if name in call.signature.parameters), "")
    if isinstance(part, Packs):
        if isinstance(cache, Continued) and cache.base.hindrance:
            raise Unfit(cache.base.hindrance)
        if not mask:
            raise Unfit("a block takes no mask")
        if arguments.get(mask) is None:
            arguments[mask] = additive(part.visible, stream.dtype)[:, None]
    elif cache is not None and cache.attends and mask and arguments.get(mask) is None:
        every = torch.arange(track.tokens, device=stream.device)
        arguments[mask] = causal_mask(every[part.places], part.keys or track.tokens, stream.dtype)
    args, kwargs = bind(call, {**arguments, call.stream: stream}, cache)
    with understood():
        found = carried(call.block(*args, **kwargs))
    if found is None:
        raise Unfit("a block gives no tensor")
    return found


def behind(
    track: Track, layer: int, start: int, rows: Tensor | None, count: int
) -> Prefix | Continued:
    """Return what a block is handed for rows that go on behind the base run's first tokens.

    Parameters
    ----------
    track
        The base run.
    layer
        Index of the block.
    start
        Number of the base run's tokens in front.
    rows
        The pair of each row; None where there is one pair.
    count
        Number of rows.

    Raises
    ------
    Unfit
        The block cannot go on there.
    """
    memory = track.memory[layer]
    if memory is None:
        raise Unfit("keys and values are not to be had")
    if not isinstance(memory, Carried):
        return Prefix(memory, start, rows)
    if start not in memory.at:
        _begin(track, layer, memory, start)
    return Continued(memory, start, rows, count)


def _begin(track: Track, layer: int, memory: Carried, start: int) -> None:
    """Find the states behind the base run's first tokens; make sure that the block goes on there.

    That it goes on is found out once for each block, and apart where one token follows, which many
    blocks do otherwise.
    """
    recorder = Recorder(attends=bool(memory.kept))
    if memory.stateful:
        first = Slice(slice(0, start), None, track.pairs, keys=start)
        step(track.calls[layer], track, track.states[layer][:, :start], first, recorder)
    proven = _PROVEN.setdefault(track.calls[layer].block, set())
    key = start == track.tokens - 1, memory.stateful
    if key not in proven:
        _prove(track, layer, memory, start, recorder.states)
        proven.add(key)
    memory.at[start] = recorder.states


def _prove(track: Track, layer: int, memory: Carried, start: int, before: States) -> None:
    """Make sure on one row of the base run that a block goes on from the states before."""
    call, states, wanted = track.calls[layer], track.states[layer], track.states[layer + 1]
    tolerance = max(_SAME, 16 * torch.finfo(wanted.dtype).eps)
    tolerance *= max(1.0, float(wanted.double().abs().max()))
    row = torch.zeros(1, dtype=torch.long, device=states.device)

    def off(found: Tensor) -> float:
        return float((found.double() - wanted[:1, start:].double()).abs().max())

    def behind(there: States) -> Tensor:
        cache = Continued(replace(memory, at={start: there}), start, row, 1)
        return step(call, track, states[:1, start:], Slice(slice(start, None), row, 1), cache)

    if not (memory.kept or memory.indexed or memory.stateful):
        # A block that remembers nothing must not see earlier tokens, whatever they are.
        others = states[:1].clone()
        others[:, :start] += 1 + others.abs().max()
        if (
            off(step(call, track, others, Slice(slice(0, None), row, 1), None)[:, start:])
            > tolerance
        ):
            raise Unfit("keys and values are not to be had")
    found = behind(before)
    if off(found) > tolerance:
        raise Unfit("a block does not go on from what it remembers of the tokens before")
    # Where a state makes little difference in the base run, it may in a row that is edited.
    for key, state in before.items():
        if torch.equal(behind({**before, key: state + 1 + state.abs().max()}), found):
            raise Unfit("a block does not read its state where several tokens follow")


def _fitted(name: str, value: Any, track: Track, part: Part) -> Any:
    """Return an argument of a block for some tokens and rows."""
    if isinstance(value, Tensor):
        if isinstance(part, Packs):
            return _of_packs(name, value, track, part)
        value = _of_tokens(name, value, track, part.places)
        if part.keys is not None and name in (*_MASKS, _ALIBI) and value.shape[-1] == track.tokens:
            value = value[..., : part.keys]
        return _of_rows(name, value, track, part)
    if isinstance(value, (tuple, list)):
        kind = type(value)
        return kind(_fitted(name, each, track, part) for each in value)
    if isinstance(value, _PLAIN):
        return value
    raise Unfit(f"the block argument {name} is a {type(value).__name__}")


def _of_tokens(name: str, value: Tensor, track: Track, places: slice | Tensor) -> Tensor:
    tokens, shape = track.tokens, tuple(value.shape)
    if places == slice(0, None) if isinstance(places, slice) else False:
        return value
    if name in _MASKS and value.ndim < _MASK_AXES:
        raise _unfit(name, value)
    if shape[-2:] == (tokens, tokens) or (value.ndim == _MASK_AXES and shape[-2] == tokens):
        return value[..., places, :]
    if value.ndim >= 2 and shape[1] == tokens and shape[0] in {1, track.rows}:
        return value[:, places]
    if value.ndim == 1 and shape[0] == tokens:
        return value[places]
    # What is laid out by keys is the same for all queries.
    if tokens in shape[:-1]:
        raise _unfit(name, value)
    return value


def _of_rows(name: str, value: Tensor, track: Track, part: Slice) -> Tensor:
    if name == _ALIBI:
        heads = value.shape[0] // track.rows
        return value[:heads].repeat(part.count, *[1] * (value.ndim - 1))
    value = _shared(name, value, track)
    if value.ndim == _MASK_AXES and value.shape[0] == 1:
        return value.expand(part.count, *value.shape[1:])
    return value


def _of_packs(name: str, value: Tensor, track: Track, packs: Packs) -> Tensor:
    """Return an argument with a row for each pack, its tokens and keys where they lie there."""
    tokens, count = track.tokens, packs.count
    if name == _ALIBI:
        slopes = value[: value.shape[0] // track.rows]
        if slopes.ndim != 3 or slopes.shape[-1] != tokens:
            raise _unfit(name, value)
        return slopes[:, :, packs.keys].permute(2, 0, 1, 3).flatten(0, 1)
    value = _shared(name, value, track)
    shape, whole = tuple(value.shape), value.ndim == _MASK_AXES and value.shape[0] == 1
    if name in _MASKS and not (whole and shape[-2:] == (tokens, tokens)):
        raise _unfit(name, value)
    if whole and shape[-2:] == (tokens, tokens):
        found = value[0][:, packs.places[:, :, None], packs.keys[:, None]].transpose(0, 1)
        return _hidden(found, packs.visible[:, None]) if name in _MASKS else found
    if whole and shape[-2] == tokens:
        return value[0][:, packs.places].transpose(0, 1)
    if value.ndim >= 2 and shape[:2] == (1, tokens):
        return value[0][packs.places]
    if tokens in shape[:-1] or shape == (tokens,):
        raise _unfit(name, value)
    if value.ndim == _MASK_AXES and value.shape[0] == 1:
        return value.expand(count, *shape[1:])
    return value


def _hidden(mask: Tensor, visible: Tensor) -> Tensor:
    """Hide what columns of packs do not see, in a mask of either kind."""
    if mask.dtype == torch.bool:
        return mask & visible
    return torch.minimum(mask, additive(visible, mask.dtype))


def _shared(name: str, value: Tensor, track: Track) -> Tensor:
    """Return an argument once for all pairs of the base run."""
    if value.ndim > 1 and value.shape[0] == track.rows > 1:
        if not same_in_rows(name, value, track.rows):
            raise Unfit(f"the block argument {name} depends on the prompt")
        return value[:1]
    return value


def _unfit(name: str, value: Tensor) -> Unfit:
    return Unfit(f"the block argument {name} has shape {tuple(value.shape)}")


def same_in_rows(name: str, value: Any, rows: int) -> bool:
    """Return whether an argument of a block is the same for all rows, as masks and positions are.

    Parameters
    ----------
    name
        Of the argument.
    value
        Tensors in it are looked at.
    rows
        Number of rows of the run.
    """
    if isinstance(value, (tuple, list)):
        return all(same_in_rows(name, each, rows) for each in value)
    if not isinstance(value, Tensor) or value.ndim == 0:
        return True
    if name == _ALIBI:
        value = value.unflatten(0, (rows, -1))
    return value.shape[0] != rows or bool((value == value[:1]).all())
