"""Outputs whose logits are there only where a metric reads them, and how that is found out."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from causaltest.engine.model import Model
from causaltest.engine.output import Output
from causaltest.engine.prompts import Row
from causaltest.sites import Pos


class Unread(Exception):  # noqa: N818 - a signal, not an error
    """Raised where a metric reads logits that it did not read in the base run."""


class Noting(Output):
    """An output that notes where its logits are read.

    Parameters
    ----------
    output
        The output of a base run.

    Attributes
    ----------
    read
        Tokens at which logits were read; None once all of them were.
    """

    read: set[int] | None
    inner: Output

    def __init__(self, output: Output) -> None:
        object.__setattr__(self, "row", output.row)
        object.__setattr__(self, "model", output.model)
        object.__setattr__(self, "inner", output)
        object.__setattr__(self, "read", set())

    def at(self, pos: Pos = "end") -> Tensor:
        """Return the logits at one position, (classes,)."""
        found = self.inner.at(pos)
        if self.read is not None:
            self.read.update(self.model.prompts.positions(self.row, pos))
        return found

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.inner.classes

    def __getattr__(self, name: str) -> Tensor:
        if name != "logits":
            raise AttributeError(name)
        object.__setattr__(self, "read", None)
        return self.inner.logits


class Partial(Output):
    """An output whose logits were computed at some tokens only.

    Parameters
    ----------
    row, model
        As for `Output`.
    computed
        Token to its logits, (classes,).
    """

    computed: Mapping[int, Tensor]

    def __init__(self, row: Row, model: Model, computed: Mapping[int, Tensor]) -> None:
        object.__setattr__(self, "row", row)
        object.__setattr__(self, "model", model)
        object.__setattr__(self, "computed", computed)

    def at(self, pos: Pos = "end") -> Tensor:
        """Return the logits at one position, (classes,).

        Raises
        ------
        Unread
            They were not computed.
        """
        places = self.model.prompts.positions(self.row, pos)
        if len(places) != 1 or places[0] not in self.computed:
            raise Unread
        return self.computed[places[0]]

    @property
    def classes(self) -> int:
        """Number of classes."""
        return next(iter(self.computed.values())).shape[-1]

    def __getattr__(self, name: str) -> Tensor:
        raise Unread if name == "logits" else AttributeError(name)


def answers(output: Output, read: tuple[int, ...] | None) -> Tensor:
    """Return the logits of an output at the tokens that a metric reads; None for all.

    Returns
    -------
    Tensor
        (tokens read, classes), or (classes,) for a model that answers once.
    """
    if isinstance(output, Partial):
        places = sorted(output.computed) if read is None else read
        return torch.stack([output.computed[place] for place in places])
    if output.logits.ndim == 1 or read is None:
        return output.logits.clone()
    return output.logits[list(read)]
