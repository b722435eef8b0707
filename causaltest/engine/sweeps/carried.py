"""What blocks remember beside keys and values, such as states that they carry along the tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from causaltest.engine.sweeps.prefix import Recorder, Remembered, States, in_front


@dataclass(frozen=True)
class Carried:
    """What a block remembers that is more than keys and values of one attention, or less.

    Parameters
    ----------
    kept
        Keys and values, in the order in which the block asks for them.
    indexed
        Keys of indexers, which choose what is attended to, (rows, tokens, width) each.
    stateful
        Whether it carries a state from token to token.
    at
        States by the number of tokens that they are the result of, as these are found out.
    """

    kept: tuple[Remembered, ...]
    indexed: tuple[Tensor, ...]
    stateful: bool
    at: dict[int, States] = field(default_factory=dict)

    @property
    def hindrance(self) -> str:
        """Why rows of this block cannot lie side by side; empty where they can."""
        if self.stateful:
            return "a block carries a state from token to token"
        return "a block chooses the tokens that it attends to" if self.indexed else ""


class Continued:
    """Goes on where the base run's first tokens end, for a block that carries states.

    Parameters
    ----------
    base
        What the block remembers of the base run.
    start
        Number of tokens that are in front.
    rows
        The pair of each row; None where there is one pair.
    count
        Number of rows.
    """

    def __init__(self, base: Carried, start: int, rows: Tensor | None, count: int) -> None:
        self.base = base
        self.attends = bool(base.kept)
        self._kept = iter(base.kept)
        self._indexed = iter(base.indexed)
        self._states = base.at[start]
        self._start = start
        self._rows = rows
        self._count = count

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> Remembered:
        """Return keys and values of all tokens."""
        before = next(self._kept)
        return (
            in_front(before[0], keys, self._start, self._rows),
            in_front(before[1], values, self._start, self._rows),
        )

    def update_indexer(self, keys: Tensor, *_: Any) -> Tensor:
        """Return an indexer's keys of all tokens."""
        before = next(self._indexed)[:, None]
        return in_front(before, keys[:, None], self._start, self._rows)[:, 0]

    def get_conv_state(self, layer_idx: int, state_idx: int = 0) -> Tensor | None:
        """Return the last inputs of a convolution."""
        return self._state("conv", state_idx)

    def get_recurrent_state(self, layer_idx: int, state_idx: int = 0) -> Tensor | None:
        """Return the state behind the token before."""
        return self._state("recurrent", state_idx)

    def get_linear_cache(self, layer_idx: int) -> Tensor | None:
        """Return the state behind the token before."""
        return self._state("linear", 0)

    def update_conv_state(
        self, given: Tensor, layer_idx: int, state_idx: int = 0, **_: Any
    ) -> Tensor:
        """Return inputs of a convolution, with those before them that it sees."""
        before = self._state("conv", state_idx)
        return given if before is None else torch.cat([before, given], dim=-1)

    def update_recurrent_state(self, state: Tensor, *_: Any, **__: Any) -> Tensor:
        """Return the state behind the last token, which nothing asks for again."""
        return state

    def set_linear_cache(self, *_: Any) -> None:
        """Forget the state behind the last token, which nothing asks for again."""

    def has_previous_state(self, *_: Any) -> bool:
        """Return whether there are earlier tokens."""
        return True

    def is_recording_past(self, *_: Any) -> bool:
        """Return whether states are needed again once they are given."""
        return False

    def get_seq_length(self, *_: Any) -> int:
        """Return the number of earlier tokens."""
        return self._start

    def _state(self, kind: str, index: int) -> Tensor | None:
        state = self._states.get((kind, index))
        if state is None:
            return None
        # Of each row its own: some blocks change it in place.
        if self._rows is None:
            return state.expand(self._count, *state.shape[1:]).clone()
        return state[self._rows]


def remembered(
    recorder: Recorder, rows: int, tokens: int, *, first: int
) -> Remembered | Carried | None:
    """Return what one block remembered of the first rows; None if of no known form."""
    kept, indexed = tuple(recorder.found), tuple(recorder.indexed)
    shapes = [tuple(each.shape) for both in kept for each in both if isinstance(each, Tensor)]
    fits = all(len(each) == 4 and (each[0], each[2]) == (rows, tokens) for each in shapes)
    if not fits or len(shapes) != 2 * len(kept):
        return None
    if any(each.ndim != 3 or tuple(each.shape[:2]) != (rows, tokens) for each in indexed):
        return None
    if any(state.shape[0] != rows for state in recorder.states.values()):
        return None
    kept = tuple((keys[:first], values[:first]) for keys, values in kept)
    if len(kept) == 1 and not indexed and not recorder.states:
        return kept[0]
    return Carried(kept, tuple(each[:first] for each in indexed), bool(recorder.states))
