"""The base run, block by block: what each block takes, how it is called, what it remembers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from causaltest.engine.access import carried
from causaltest.engine.hooks import Operation, Side, attached, evaluating
from causaltest.engine.model import Model
from causaltest.engine.output import Output
from causaltest.engine.prompts import Batch
from causaltest.engine.sweeps.carried import Carried, remembered
from causaltest.engine.sweeps.pieces import out_of_memory
from causaltest.engine.sweeps.prefix import Reached, Recorder, Remembered
from causaltest.errors import CausaltestError

_CACHES = ("past_key_values", "past_key_value", "layer_past", "cache_params")


class Unfit(Exception):  # noqa: N818 - a reason for another plan, not an error
    """Raised where the blocks of a model are not called in a way that is understood."""


class Cache(Protocol):
    """What a block asks for what it remembers."""

    attends: bool
    """Whether it attends to keys, so that a mask has a meaning."""

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
        What each block remembers: keys and values, or more; None where that is not to be had.
    rows
        Number of rows of the pass, in which others may have run behind these.
    """

    calls: tuple[Call, ...]
    states: tuple[Tensor, ...]
    memory: tuple[Remembered | Carried | None, ...]
    rows: int

    @property
    def pairs(self) -> int:
        """Number of pairs."""
        return self.states[0].shape[0]

    @property
    def tokens(self) -> int:
        """Number of tokens of each prompt."""
        return self.states[0].shape[1]


@dataclass(frozen=True)
class First:
    """The first rows of a pass, where operations let no others through to the logits.

    Parameters
    ----------
    rows
        How many.
    outputs
        Returns what they said, given the logits that came out.
    """

    rows: int
    outputs: Callable[[Tensor], list[Output]]


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


def capture(
    model: Model,
    batch: Batch,
    *,
    remember: bool = True,
    logits: bool = True,
    operations: Sequence[tuple[str, Side, Operation]] = (),
    first: First | None = None,
) -> tuple[Track, list[Output]]:
    """Run base prompts of one length and keep how each block was called.

    Parameters
    ----------
    model
        The model.
    batch
        The prompts.
    remember
        Whether keys and values are kept, for which blocks are handed a cache.
    logits
        Whether the run goes on behind the last block; else there are no outputs.
    operations
        What else is done on the way.
    first
        The rows that are kept; None for all.

    Raises
    ------
    Unfit
        The blocks are no chain, or are called in a way that is not understood.
    """
    blocks = [model.network.get_submodule(path) for path in model.architecture.blocks]
    rows, tokens = batch.ids.shape
    kept = rows if first is None else first.rows
    watch = _Watch(len(blocks), kept, remember=remember, logits=logits)
    handles: list[Any] = []
    outputs: list[Output] = []
    with evaluating(model.network), understood():
        try:
            for index, block in enumerate(blocks):
                enter = watch.enter(index)
                handles.append(block.register_forward_pre_hook(enter, with_kwargs=True))
                handles.append(block.register_forward_hook(watch.leave))
            with suppress(Reached):
                if first is None:
                    outputs = model.run_batch(batch, operations)
                else:
                    with attached(model.network, operations, evaluates=True):
                        outputs = first.outputs(model.forward(batch.ids, None))
        finally:
            for handle in handles:
                handle.remove()
    calls, states = watch.calls, watch.states
    if len(calls) != len(blocks) or tuple(states[0].shape[:2]) != (kept, tokens):
        raise Unfit("a block does not run once for each token")
    memory = tuple(remembered(each, rows, tokens, first=kept) for each in watch.recorders)
    return Track(tuple(calls), tuple(states), memory, rows), outputs


class _Watch:
    """Notes how each of some blocks is called and what it gives."""

    def __init__(self, blocks: int, rows: int, *, remember: bool, logits: bool) -> None:
        self.calls: list[Call] = []
        self.states: list[Tensor] = []
        self.recorders = [Recorder() for _ in range(blocks)]
        self._rows = rows
        self._remember = remember
        self._logits = logits

    def enter(self, index: int) -> Any:
        """Return the hook in front of a block."""

        def hook(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            call, stream = _bound(block, args, kwargs)
            calls, states, kept = self.calls, self.states, stream[: self._rows]
            if len(calls) != index or (states and not torch.equal(states[-1], kept)):
                raise Unfit("a block does not take what the block before it gives")
            calls.append(call)
            if not states:
                states.append(kept.clone())
            recorder = self.recorders[index] if self._remember else None
            return bind(call, {**call.arguments, call.stream: stream}, recorder)

        return hook

    def leave(self, _block: nn.Module, _args: Any, output: object) -> None:
        """Note what a block gives."""
        found = carried(output)
        found = None if found is None or not found.ndim else found[: self._rows]
        if found is None or found.shape != self.states[0].shape:
            raise Unfit("a block does not give what it takes")
        # A copy: some blocks change what they take in place.
        self.states.append(found.clone())
        if not self._logits and len(self.states) > len(self.recorders):
            raise Reached


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
