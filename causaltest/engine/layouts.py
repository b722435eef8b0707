"""Activations with other axes than (rows, tokens, width), turned for whoever reads or edits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from causaltest.engine.hooks import Inside, Operation, attach_to


@dataclass(frozen=True)
class Layout:
    """Which axis of an activation is the rows and which the tokens; all others are its width.

    Parameters
    ----------
    rows, tokens
        Indices of the axes.
    """

    rows: int = 0
    tokens: int = 1

    def turned(self, tensor: Tensor) -> Tensor:
        """Return an activation as (rows, tokens, width).

        Examples
        --------
        >>> import torch
        >>> Layout(1, 2).turned(torch.zeros(4, 3, 5, 8)).shape
        torch.Size([3, 5, 32])
        """
        return tensor.movedim((self.rows, self.tokens), (0, 1)).flatten(2)

    def returned(self, turned: Tensor, like: Tensor) -> Tensor:
        """Return what `turned` gave, perhaps with other numbers, in the axes that it had.

        Parameters
        ----------
        turned
            (rows, tokens, width).
        like
            The activation as the network computed it.
        """
        shape = like.movedim((self.rows, self.tokens), (0, 1)).shape
        # Contiguous, since some networks go on to view it.
        return turned.reshape(shape).movedim((0, 1), (self.rows, self.tokens)).contiguous()


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
