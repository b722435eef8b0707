"""Stand-ins for a cache of keys, values and states, handed to one block for one call."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

Remembered = tuple[Tensor, Tensor]
"""Keys and values of one block, (rows, heads, tokens, width) each."""
States = dict[tuple[str, int], Tensor]
"""By kind and number, rows first."""


class Reached(Exception):  # noqa: N818 - a signal, not an error
    """Raised inside a block once its keys and values are there and nothing more is wanted."""


class Recorder:
    """Notes what a block remembers of a run from the first token on.

    Parameters
    ----------
    attends
        Whether the block is handed a mask where it was not in the base run.
    """

    def __init__(self, *, attends: bool = True) -> None:
        self.attends = attends
        self.found: list[Remembered] = []
        self.indexed: list[Tensor] = []
        self.states: States = {}

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> Remembered:
        """Note keys and values, and give them back as they are."""
        self.found.append((keys, values))
        return keys, values

    def update_indexer(self, keys: Tensor, *_: Any) -> Tensor:
        """Note an indexer's keys, and give them back as they are."""
        self.indexed.append(keys)
        return keys

    def get_conv_state(self, *_: Any, **__: Any) -> None:
        """Return that there is no earlier token."""

    get_recurrent_state = get_linear_cache = get_conv_state

    def update_conv_state(
        self,
        given: Tensor,
        layer_idx: int,
        state_idx: int = 0,
        conv_kernel_size: int | None = None,
        **_: Any,
    ) -> Tensor:
        """Note the last inputs of a convolution, with zeros before the first token."""
        wide = conv_kernel_size or given.shape[-1]
        padded = torch.nn.functional.pad(given, (max(0, wide - given.shape[-1]), 0))
        self.states["conv", state_idx] = padded[..., -wide:]
        return padded

    def update_recurrent_state(
        self, state: Tensor, layer_idx: int, state_idx: int = 0, **_: Any
    ) -> Tensor:
        """Note the state behind the last token."""
        self.states["recurrent", state_idx] = state
        return state

    def set_linear_cache(self, layer_idx: int, state: Tensor) -> None:
        """Note the state behind the last token."""
        self.states["linear", 0] = state

    def has_previous_state(self, *_: Any) -> bool:
        """Return whether there are earlier tokens."""
        return False

    is_recording_past = has_previous_state

    def get_seq_length(self, *_: Any) -> int:
        """Return the number of earlier tokens."""
        return 0


class Prefix:
    """Puts the keys and values of the base run's first tokens in front of those of each row.

    Parameters
    ----------
    base
        Keys and values of the base run, one row for each pair.
    start
        Number of tokens that are put in front.
    rows
        The pair of each row; None where there is one pair.
    stop
        Whether the block is to be left as soon as keys and values are complete.
    """

    attends = True

    def __init__(
        self, base: Remembered, start: int, rows: Tensor | None, *, stop: bool = False
    ) -> None:
        self._base = base
        self._start = start
        self._rows = rows
        self._stop = stop
        self.whole: Remembered | None = None

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> Remembered:
        """Return keys and values of all tokens."""
        keys, values = (
            in_front(base, new, self._start, self._rows)
            for base, new in zip(self._base, (keys, values), strict=True)
        )
        self.whole = keys, values
        if self._stop:
            raise Reached
        return keys, values

    def get_seq_length(self, *_: Any) -> int:
        """Return the number of earlier tokens."""
        return self._start


def in_front(base: Tensor, new: Tensor, start: int, rows: Tensor | None) -> Tensor:
    """Return the base run's first tokens and those of each row behind them.

    Parameters
    ----------
    base, new
        (rows, heads, tokens, width).
    start
        Number of tokens that are put in front.
    rows
        The pair of each row; None where there is one pair.
    """
    if not start:
        return new
    before = base[:, :, :start]
    count, heads, tokens, width = new.shape
    joined = new.new_empty(count, heads, start + tokens, width)
    if rows is None:
        joined[:, :, :start] = before
    else:
        torch.index_select(before, 0, rows, out=joined[:, :, :start])
    joined[:, :, start:] = new
    return joined


class Held:
    """Gives keys and values that are there already.

    Parameters
    ----------
    whole
        Of all tokens and rows.
    """

    attends = True

    def __init__(self, whole: Remembered) -> None:
        self._whole = whole

    def update(self, *_: Any, **__: Any) -> Remembered:
        """Return keys and values of all tokens."""
        return self._whole

    def get_seq_length(self, *_: Any) -> int:
        """Return the number of earlier tokens."""
        return self._whole[0].shape[2] - 1


def causal_mask(places: Tensor, tokens: int, dtype: torch.dtype) -> Tensor:
    """Return an additive mask (1, 1, queries, tokens): each query sees itself and what precedes.

    Parameters
    ----------
    places
        The token of each query.
    tokens
        Number of keys.
    dtype
        Type of the mask.
    """
    earlier = torch.arange(tokens, device=places.device)[None] <= places[:, None]
    return additive(earlier, dtype)[None, None]


def additive(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """Return what is added to attention scores, so that what is not visible counts for nothing."""
    mask = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
    return mask.masked_fill_(~visible, torch.finfo(dtype).min)
