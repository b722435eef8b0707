"""The base run, block by block: what each block takes, how it is called, what it remembers."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from causaltest.engine.access import carried
from causaltest.engine.hooks import evaluating
from causaltest.engine.model import Model
from causaltest.engine.output import Output
from causaltest.engine.prompts import Batch
from causaltest.engine.sweeps.pieces import out_of_memory
from causaltest.engine.sweeps.prefix import Recorder, Remembered, causal_mask, remembered
from causaltest.errors import CausaltestError

_CACHES = ("past_key_values", "past_key_value", "layer_past")
_MASKS = ("attention_mask", "causal_mask", "mask")
_MASK_AXES = 4
_ALIBI = "alibi"
_PLAIN = (bool, int, float, str, type(None))


class Unfit(Exception):  # noqa: N818 - a reason for another plan, not an error
    """Raised where the blocks of a model are not called in a way that is understood."""


class Cache(Protocol):
    """What attention asks for keys and values."""

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> Remembered:
        """Return the keys and values to attend to."""
        ...


@dataclass(frozen=True)
class Call:
    """How a block was called.

    Parameters
    ----------
    block
        The module.
    signature
        Of its forward function.
    arguments
        By name; those beyond the signature too.
    stream
        Name of the argument that carries the residual stream.
    cache
        Name of the argument that takes a cache; empty where there is none.
    """

    block: nn.Module
    signature: inspect.Signature
    arguments: Mapping[str, Any]
    stream: str
    cache: str


@dataclass(frozen=True)
class Track:
    """The base run of some pairs whose prompts have one length.

    Parameters
    ----------
    calls
        Of each block.
    states
        What each block took, and what the last one gave, (pairs, tokens, width) each.
    memory
        Keys and values of each block; None where they are not to be had.
    """

    calls: tuple[Call, ...]
    states: tuple[Tensor, ...]
    memory: tuple[Remembered | None, ...]

    @property
    def pairs(self) -> int:
        """Number of pairs."""
        return self.states[0].shape[0]

    @property
    def tokens(self) -> int:
        """Number of tokens of each prompt."""
        return self.states[0].shape[1]


@contextmanager
def understood() -> Iterator[None]:
    """Turn what blocks raise when they are called in a new way into a reason for another plan.

    Raises
    ------
    Unfit
        Something of the model's own failed; memory running out goes on as it is.
    """
    try:
        yield
    except (CausaltestError, torch.OutOfMemoryError):
        raise
    except (AttributeError, LookupError, NotImplementedError, TypeError, ValueError) as error:
        raise Unfit(f"a block failed: {_first_line(error)}") from error
    except RuntimeError as error:
        if out_of_memory(error):
            raise
        raise Unfit(f"a block failed: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error) or '-').splitlines()[0][:120]}"


def capture(model: Model, batch: Batch, *, remember: bool = True) -> tuple[Track, list[Output]]:
    """Run base prompts of one length and keep how each block was called.

    Parameters
    ----------
    model
        The model.
    batch
        The prompts.
    remember
        Whether keys and values are kept, for which blocks are handed a cache.

    Raises
    ------
    Unfit
        The blocks are no chain, or are called in a way that is not understood.
    """
    blocks = [model.network.get_submodule(path) for path in model.architecture.blocks]
    calls: list[Call] = []
    states: list[Tensor] = []
    recorders = [Recorder() for _ in blocks]

    def enter(index: int) -> Any:
        def hook(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            call, stream = _bound(block, args, kwargs)
            if len(calls) != index or (states and not torch.equal(states[-1], stream)):
                raise Unfit("a block does not take what the block before it gives")
            calls.append(call)
            if not states:
                states.append(stream.clone())
            return bind(
                call,
                {**call.arguments, call.stream: stream},
                recorders[index] if remember else None,
            )

        return hook

    def leave(_block: nn.Module, _args: Any, output: object) -> None:
        found = carried(output)
        if found is None or found.shape != states[0].shape:
            raise Unfit("a block does not give what it takes")
        # A copy: some blocks change what they take in place.
        states.append(found.clone())

    handles: list[Any] = []
    try:
        for index, block in enumerate(blocks):
            handles.append(block.register_forward_pre_hook(enter(index), with_kwargs=True))
            handles.append(block.register_forward_hook(leave))
        with evaluating(model.network), understood():
            outputs = model.run_batch(batch)
    finally:
        for handle in handles:
            handle.remove()
    rows, tokens = batch.ids.shape
    if len(calls) != len(blocks) or tuple(states[0].shape[:2]) != (rows, tokens):
        raise Unfit("a block does not run once for each token")
    kept = tuple(remembered(recorder, rows, tokens) for recorder in recorders)
    return Track(tuple(calls), tuple(states), kept), outputs


def _bound(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Call, Tensor]:
    """Return how a block is called, arguments by name, and the stream it is given."""
    signature = inspect.signature(block.forward)
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise Unfit(f"the arguments of a block do not fit its signature: {error}") from error
    arguments = dict(bound.arguments)
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL and arguments.pop(name, ()):
            raise Unfit(f"a block takes *{name}")
        if parameter.kind is parameter.VAR_KEYWORD:
            arguments.update(arguments.pop(name, {}))
    stream = next(iter(signature.parameters)) if args else "hidden_states"
    if not isinstance(arguments.get(stream), Tensor):
        raise Unfit("which argument of a block is the residual stream cannot be told")
    named = (*signature.parameters, *arguments)
    cache = next((name for name in _CACHES if name in named), "")
    given = arguments[stream]
    return Call(block, signature, {**arguments, stream: None}, stream, cache), given


def bind(
    call: Call, arguments: Mapping[str, Any], cache: Cache | None
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a call, by position and by name, with a cache where it takes one."""
    named = dict(arguments)
    if call.cache:
        named[call.cache] = cache
    positional: list[Any] = []
    for name, parameter in call.signature.parameters.items():
        if parameter.kind is not parameter.POSITIONAL_ONLY and name != call.stream:
            break
        positional.append(named.pop(name))
    return tuple(positional), named


@dataclass(frozen=True)
class Slice:
    """The rows and tokens of a call.

    Parameters
    ----------
    places
        Which tokens are run.
    rows
        The pair of each row; None where there is one pair.
    count
        Number of rows.
    """

    places: slice | Tensor
    rows: Tensor | None
    count: int


def step(call: Call, track: Track, stream: Tensor, part: Slice, cache: Cache | None) -> Tensor:
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
    if cache is not None:
        mask = next((name for name in _MASKS if name in call.signature.parameters), "")
        if mask and arguments.get(mask) is None:
            every = torch.arange(track.tokens, device=stream.device)
            arguments[mask] = causal_mask(every[part.places], track.tokens, stream.dtype)
    args, kwargs = bind(call, {**arguments, call.stream: stream}, cache)
    with understood():
        found = carried(call.block(*args, **kwargs))
    if found is None:
        raise Unfit("a block gives no tensor")
    return found


def _fitted(name: str, value: Any, track: Track, part: Slice) -> Any:
    """Return an argument of a block for some tokens and rows."""
    if isinstance(value, Tensor):
        return _of_rows(name, _of_tokens(name, value, track, part.places), track, part)
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
    if name in _MASKS and value.ndim < 4:
        raise Unfit(f"the block argument {name} has shape {shape}")
    if shape[-2:] == (tokens, tokens) or (value.ndim == _MASK_AXES and shape[-2] == tokens):
        return value[..., places, :]
    if value.ndim >= 2 and shape[1] == tokens and shape[0] in {1, track.pairs}:
        return value[:, places]
    if value.ndim == 1 and shape[0] == tokens:
        return value[places]
    # What is laid out by keys is the same for all queries.
    if tokens in shape[:-1]:
        raise Unfit(f"the block argument {name} has shape {shape}")
    return value


def _of_rows(name: str, value: Tensor, track: Track, part: Slice) -> Tensor:
    pairs = track.pairs
    if name == _ALIBI:
        heads = value.shape[0] // pairs
        return value[:heads].repeat(part.count, *[1] * (value.ndim - 1))
    if value.ndim > 1 and value.shape[0] == pairs > 1:
        if not same_in_rows(name, value, pairs):
            raise Unfit(f"the block argument {name} depends on the prompt")
        value = value[:1]
    if value.ndim == _MASK_AXES and value.shape[0] == 1:
        return value.expand(part.count, *value.shape[1:])
    return value


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
