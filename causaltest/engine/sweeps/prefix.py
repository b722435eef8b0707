"""Stand-ins for a cache of keys and values, handed to one block for one call."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

Remembered = tuple[Tensor, Tensor]
"""Keys and values of one block, (rows, heads, tokens, width) each."""


class Reached(Exception):  # noqa: N818 - a signal, not an error
    """Raised inside a block once its keys and values are there and nothing more is wanted."""


class Recorder:
    """Notes the keys and values of a run from the first token on."""

    def __init__(self) -> None:
        self.found: list[Remembered] = []

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> Remembered:
        """Note keys and values, and give them back as they are."""
        self.found.append((keys, values))
        return keys, values

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
            self._joined(base, new) for base, new in zip(self._base, (keys, values), strict=True)
        )
        self.whole = keys, values
        if self._stop:
            raise Reached
        return keys, values

    def _joined(self, base: Tensor, new: Tensor) -> Tensor:
        if not self._start:
            return new
        before = base[:, :, : self._start]
        rows, heads, tokens, width = new.shape
        joined = new.new_empty(rows, heads, self._start + tokens, width)
        joined[:, :, : self._start] = before if self._rows is None else before[self._rows]
        joined[:, :, self._start :] = new
        return joined

    def get_seq_length(self, *_: Any) -> int:
        """Return the number of earlier tokens."""
        return self._start


class Held:
    """Gives keys and values that are there already.

    Parameters
    ----------
    whole
        Of all tokens and rows.
    """

    def __init__(self, whole: Remembered) -> None:
        self._whole = whole

    def update(self, *_: Any, **__: Any) -> Remembered:
        """Return keys and values of all tokens."""
        return self._whole

    def get_seq_length(self, *_: Any) -> int:
        """Return the number of earlier tokens."""
        return self._whole[0].shape[2] - 1


def remembered(recorder: Recorder, rows: int, tokens: int, *, first: int) -> Remembered | None:
    """Return the keys and values of the first rows; None where they are not of the known form."""
    if len(recorder.found) != 1:
        return None
    shapes = [tuple(each.shape) for each in recorder.found[0] if isinstance(each, Tensor)]
    fits = all(len(each) == 4 and (each[0], each[2]) == (rows, tokens) for each in shapes)
    keys, values = recorder.found[0]
    return (keys[:first], values[:first]) if len(shapes) == 2 and fits else None


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
