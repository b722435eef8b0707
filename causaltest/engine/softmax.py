"""The softmax inside attention: scores that enter it and patterns that leave it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from causaltest.engine.hooks import Inside, Operation
from causaltest.engine.layouts import USUAL, Layout
from causaltest.errors import InterventionError

_IMPLEMENTATION = "_attn_implementation"
_SOFTMAXES = (F.softmax, torch.softmax, Tensor.softmax, torch.special.softmax)
_DIFFERENCES = (Tensor.sub, torch.sub)
# exp underflows long before; masks add numbers from -1e4 to the smallest of their type, and scores
# of networks without norms may lie as far apart, but in no head as far as the smallest numbers.
_MASKED = -5e3
_OUT_OF_REACH = -5e4

Kind = Literal["scores", "pattern"]
Soft = Callable[[Tensor], Tensor]
Act = Callable[[Tensor, Soft], Tensor]

_hidden: ContextVar[Tensor | None] = ContextVar("hidden", default=None)


def hidden_keys() -> Tensor | None:
    """Return which entries of the scores or patterns being edited a mask hides, or None."""
    return _hidden.get()


@contextmanager
def hiding(hidden: Tensor) -> Iterator[None]:
    """Let edits know which entries a mask hides, for the length of the context."""
    token = _hidden.set(hidden)
    try:
        yield
    finally:
        _hidden.reset(token)


@contextmanager
def eager(network: nn.Module) -> Iterator[None]:
    """Compute attention eagerly for the length of the context, and as before afterwards."""
    before = [(config, getattr(config, _IMPLEMENTATION)) for config in _configs(network)]
    try:
        for config, _ in before:
            setattr(config, _IMPLEMENTATION, "eager")
        yield
    finally:
        for config, implementation in before:
            setattr(config, _IMPLEMENTATION, implementation)


def fused(network: nn.Module) -> str:
    """Return the name of the fused attention that a network uses, or an empty string."""
    names = {str(getattr(config, _IMPLEMENTATION)) for config in _configs(network)}
    return ", ".join(sorted(names - {"eager"}))


def _configs(network: nn.Module) -> list[Any]:
    found: dict[int, Any] = {}
    for module in network.modules():
        config = getattr(module, "config", None)
        if isinstance(getattr(config, _IMPLEMENTATION, None), str):
            found[id(config)] = config
    return list(found.values())


@dataclass(frozen=True)
class Softmax(Inside):
    """What enters or leaves the one softmax over keys that an attention module computes.

    The activation is (rows, queries, heads * keys), the heads one after another. While it is
    attached, attention is computed eagerly, since fused kernels compute no patterns. Keys that a
    mask hides from a query stay hidden: scores are -inf and patterns 0 there, whatever is put in.

    Parameters
    ----------
    kind
        `scores` are what enters it, masks and biases included; `pattern` is what leaves it.
    sinks
        How many columns at its end belong to no key: what they draw weighs nothing. They are no
        part of the activation.
    layout
        Which axes of what the module takes are the rows and the tokens.
    """

    kind: Kind
    sinks: int = 0
    layout: Layout = USUAL

    def __str__(self) -> str:
        return self.kind

    def attach(self, network: nn.Module, path: str, operation: Operation) -> Sequence[Any]:
        """Apply an operation to the scores or the pattern of an attention module."""
        calls: list[int] = []

        def act(scores: Tensor, soft: Soft) -> Tensor:
            calls.append(1)
            if len(calls) > 1:
                raise InterventionError(
                    f"{path} computes more than one softmax over keys, and which of them is meant "
                    "is not known; choose attention_value_output, or another layer"
                )
            keys = scores.shape[-1] - self.sinks
            hidden = hidden_from(scores[..., :keys])
            if self.kind == "pattern":
                pattern = soft(scores)
                own = pattern[..., :keys]
                return self._whole(
                    torch.where(hidden, own, _edited(own, hidden, operation)), pattern
                )
            own = scores[..., :keys]
            new = _edited(own.masked_fill(hidden, -torch.inf), hidden, operation)
            return soft(self._whole(torch.where(hidden, own, new), scores))

        def done() -> None:
            if not calls:
                raise InterventionError(
                    f"{path} computed no softmax over keys that can be seen, even eagerly; its "
                    f"{self.kind} cannot be read or edited\n"
                    "choose attention_value_output, or another layer"
                )
            calls.clear()

        handles = list(listen(network.get_submodule(path), act, done, self.layout))
        switched = eager(network)
        switched.__enter__()
        handles.append(Undo(lambda: switched.__exit__(None, None, None)))
        return handles

    def _whole(self, own: Tensor, before: Tensor) -> Tensor:
        """Put the columns of sinks back behind those of keys."""
        if not self.sinks:
            return own
        return torch.cat([own, before[..., -self.sinks :]], dim=-1)


def hidden_from(scores: Tensor) -> Tensor:
    """Return which scores a mask has put out of reach of any other score of their query.

    Parameters
    ----------
    scores
        (rows, heads, queries, keys), or with the heads in groups.

    Returns
    -------
    Tensor
        True where a score is lower than any that a network computes, or much lower than another of
        its query in every head: what one head alone thinks little of is not hidden.

    Examples
    --------
    >>> hidden_from(torch.tensor([[[[6e3, -3e3]], [[1.0, 2.0]]]])).any()
    tensor(False)
    """
    top = scores.amax(dim=-1, keepdim=True).clamp(min=0)
    low = scores <= top + _MASKED
    everywhere = low.flatten(1, -3).all(dim=1)
    while everywhere.ndim < scores.ndim:
        everywhere = everywhere.unsqueeze(1)
    return (low & everywhere) | (scores <= top + _OUT_OF_REACH)


def flat(heads: Tensor) -> Tensor:
    """Return (rows, heads, queries, keys) as (rows, queries, heads * keys).

    Examples
    --------
    >>> flat(torch.zeros(1, 4, 3, 5)).shape
    torch.Size([1, 3, 20])
    """
    return heads.movedim(-2, 1).flatten(2)


def _edited(whole: Tensor, hidden: Tensor, operation: Operation) -> Tensor:
    before = flat(whole)
    with hiding(flat(hidden)):
        after = operation(before)
    if after is None or after is before:
        return whole
    shape = whole.movedim(-2, 1).shape
    # Contiguous, since some networks go on to view it.
    return after.reshape(shape).movedim(1, -2).contiguous()


@dataclass
class Undo:
    """A handle for what is to be undone; undone once."""

    undo: Callable[[], object] | None

    def remove(self) -> None:
        """Undo it."""
        undo, self.undo = self.undo, None
        if undo is not None:
            undo()


def listen(
    attention: nn.Module,
    act: Act,
    done: Callable[[], None] = lambda: None,
    layout: Layout = USUAL,
) -> tuple[Any, ...]:
    """Have every softmax over keys that a module computes done by another function.

    Parameters
    ----------
    attention
        The module that gets an activation of three axes.
    act
        Gets the scores, (rows, heads, queries, keys) or with the heads in groups, and the softmax
        itself; returns the pattern. Where each query's scores are shifted by one number just before
        the softmax, it gets them before the shift.
    done
        Called when the module has run.
    layout
        Which of the axes are the rows and the queries.

    Returns
    -------
    tuple
        Handles that `remove` it.
    """
    running: list[_Listening] = []

    def begin(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = [*args, kwargs.get("hidden_states"), *kwargs.values()]
        states = next((each for each in given if isinstance(each, Tensor) and each.ndim == 3), None)
        if states is not None and isinstance(layout.tokens, int):
            rows, queries = states.shape[layout.rows], states.shape[layout.tokens]
            listening = _Listening(rows, queries, act)
            listening.__enter__()
            running.append(listening)

    def end() -> None:
        while running:
            running.pop().__exit__(None, None, None)

    def finish(_module: nn.Module, _args: object, _kwargs: object, output: object) -> None:
        end()
        if output is not None:  # None where the module has raised
            done()

    return (
        attention.register_forward_pre_hook(begin, with_kwargs=True),
        attention.register_forward_hook(finish, with_kwargs=True, always_call=True),
        Undo(end),  # an interrupt calls no hooks
    )


class _Listening(TorchFunctionMode):
    """Hands every softmax over keys to another function while it is entered."""

    def __init__(self, rows: int, queries: int, act: Act) -> None:
        super().__init__()
        self.rows, self.queries, self.act = rows, queries, act
        self.shifted: tuple[Tensor, Tensor, Tensor] | None = None

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is F.scaled_dot_product_attention:
            return self._mixed(*args, **kwargs)
        if func in _SOFTMAXES:
            scores = args[0] if args else kwargs.pop("input")
            rest = args[1:]
            dim = rest[0] if rest else kwargs.get("dim")
            soft: Soft = lambda given: func(given, *rest, **kwargs)  # noqa: E731
            if self._over_keys(scores, dim):
                return self.act(*self._before_shift(scores, soft))
            if self._folded(scores, dim):
                apart = scores.unflatten(0, (self.rows, -1))
                pattern = self.act(apart, lambda given: soft(given.flatten(0, 1)).view_as(given))
                return pattern.flatten(0, 1)
            return soft(scores)
        result = func(*args, **kwargs)
        if func in _DIFFERENCES and len(args) == 2 and not kwargs:
            whole, shift = args
            both = isinstance(whole, Tensor) and isinstance(shift, Tensor)
            if both and shift.shape[-1:] == (1,) and shift.ndim == result.ndim:
                self.shifted = result, whole, shift
        return result

    def _folded(self, scores: Tensor, dim: int | None) -> bool:
        """Return whether rows and heads share the first axis: (rows * heads, queries, keys)."""
        folded = scores.ndim == 3 and scores.shape[0] > self.rows
        even = folded and scores.shape[0] % self.rows == 0
        return even and dim in (-1, 2) and scores.shape[1] == self.queries

    def _before_shift(self, scores: Tensor, soft: Soft) -> tuple[Tensor, Soft]:
        """Return scores as they were before one number was taken off those of each query.

        A shift leaves the pattern as it is, but scores of two prompts can only stand for each other
        beside a sink where none is shifted.
        """
        if self.shifted is None or self.shifted[0] is not scores:
            return scores, soft
        _, whole, shift = self.shifted
        return whole, lambda given: soft(given - shift)

    def _over_keys(self, scores: Tensor, dim: int | None) -> bool:
        shape = tuple(scores.shape)
        last = dim in (-1, len(shape) - 1)
        return last and len(shape) in (4, 5) and (shape[0], shape[-2]) == (self.rows, self.queries)

    def _mixed(  # noqa: PLR0917 - as torch has it
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,  # noqa: FBT001, FBT002
        scale: float | None = None,
        enable_gqa: bool = False,  # noqa: FBT001, FBT002
    ) -> Tensor:
        """Compute fused attention by its definition, as torch documents it."""
        if enable_gqa:
            repeats = query.shape[-3] // key.shape[-3]
            key, value = (each.repeat_interleave(repeats, dim=-3) for each in (key, value))
        factor = query.shape[-1] ** -0.5 if scale is None else scale
        scores = query @ key.transpose(-2, -1) * factor
        if is_causal:
            attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attn_mask, -torch.inf)
        elif attn_mask is not None:
            scores = scores + attn_mask
        soft: Soft = lambda given: torch.softmax(given, dim=-1)  # noqa: E731
        over_keys = self._over_keys(scores, -1)
        pattern = self.act(scores, soft) if over_keys else soft(scores)
        return F.dropout(pattern, dropout_p) @ value
