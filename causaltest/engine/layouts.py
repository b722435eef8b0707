"""Activations with other axes than (rows, tokens, width), turned for whoever reads or edits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from causaltest.engine.hooks import Inside, Operation, attach_to


@dataclass(frozen=True)
class Layout:
    """Which axis of an activation is the rows and which the tokens; all others are its width.

    Parameters
    ----------
    rows, tokens
        Indices of the axes; several of tokens where these are cells of a grid, as in images, which
        are counted row by row.
    """

    rows: int = 0
    tokens: int | tuple[int, ...] = 1

    @property
    def _grid(self) -> tuple[int, ...]:
        return (self.tokens,) if isinstance(self.tokens, int) else self.tokens

    def _first(self, tensor: Tensor) -> Tensor:
        """Return an activation with the rows and the axes of tokens first."""
        axes = (self.rows, *self._grid)
        return tensor.movedim(axes, tuple(range(len(axes))))

    def turned(self, tensor: Tensor) -> Tensor:
        """Return an activation as (rows, tokens, width).

        Examples
        --------
        >>> import torch
        >>> Layout(1, 2).turned(torch.zeros(4, 3, 5, 8)).shape
        torch.Size([3, 5, 32])
        >>> Layout(0, (2, 3)).turned(torch.zeros(3, 8, 4, 5)).shape
        torch.Size([3, 20, 8])
        """
        return self._first(tensor).flatten(1, len(self._grid)).flatten(2)

    def returned(self, turned: Tensor, like: Tensor) -> Tensor:
        """Return what `turned` gave, perhaps with other numbers, in the axes that it had.

        Parameters
        ----------
        turned
            (rows, tokens, width).
        like
            The activation as the network computed it.
        """
        axes = (self.rows, *self._grid)
        back = turned.reshape(self._first(like).shape).movedim(tuple(range(len(axes))), axes)
        # In memory as it was: some networks go on to view it, and convolutions round otherwise.
        return torch.empty_like(like).copy_(back)


USUAL = Layout()


@dataclass(frozen=True)
class Turned(Inside):
    """A module's input or output whose axes are not (rows, tokens, width).

    Operations get it with these axes, and the network gets it with its own.

    Parameters
    ----------
    side
        Which of the two.
    layout
        Its axes.
    """

    side: Literal["input", "output"]
    layout: Layout

    def __str__(self) -> str:
        return self.side

    def attach(self, network: nn.Module, path: str, operation: Operation) -> Sequence[Any]:
        """Apply an operation to the turned activation."""

        def turning(tensor: Tensor) -> Tensor:
            given = self.layout.turned(tensor)
            new = operation(given)
            return tensor if new is None or new is given else self.layout.returned(new, tensor)

        return attach_to(network, path, self.side, turning)
