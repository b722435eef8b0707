"""Outputs whose logits are there only where a metric reads them, and how that is found out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from causaltest.engine.model import Model
from causaltest.engine.output import Output
from causaltest.engine.prompts import Row
from causaltest.sites import Pos


class Unread(BaseException):
    """Raised where a metric reads logits that it did not read in the base run.

    No Exception: a metric that catches what goes wrong in it is not to catch this.
    """


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
    chosen
        Classes whose logits were read; None once all of them were.
    """

    read: set[int] | None
    chosen: set[int] | None
    inner: Output

    def __init__(self, output: Output) -> None:
        object.__setattr__(self, "row", output.row)
        object.__setattr__(self, "model", output.model)
        object.__setattr__(self, "inner", output)
        object.__setattr__(self, "read", set())
        object.__setattr__(self, "chosen", set())

    def at(self, pos: Pos = "end") -> Tensor:
        """Return the logits at one position, (classes,)."""
        object.__setattr__(self, "chosen", None)
        return self._noted(pos)

    def of(self, classes: Sequence[int], pos: Pos = "end") -> Tensor:
        """Return the logits of some classes at one position, (number of classes,)."""
        if self.chosen is not None:
            self.chosen.update(classes)
        return self._noted(pos)[list(classes)]

    def apart(self) -> Noting:
        """Return the same with logits that nobody else reads; it notes here what is read."""
        object.__setattr__(self, "inner", self.inner.apart())
        return self

    def _noted(self, pos: Pos) -> Tensor:
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
        object.__setattr__(self, "chosen", None)
        return self.inner.logits


@dataclass(frozen=True)
class Among:
    """Some of a model's classes.

    Parameters
    ----------
    chosen
        Which, ascending.
    every
        How many the model has.
    """

    chosen: tuple[int, ...]
    every: int


class Partial(Output):
    """An output whose logits were computed at some tokens only.

    Parameters
    ----------
    row, model
        As for `Output`.
    computed
        Token to its logits, (classes,).
    among
        Which classes these are; None for all.
    """

    computed: Mapping[int, Tensor]
    among: Among | None

    def __init__(
        self, row: Row, model: Model, computed: Mapping[int, Tensor], among: Among | None = None
    ) -> None:
        object.__setattr__(self, "row", row)
        object.__setattr__(self, "model", model)
        object.__setattr__(self, "computed", computed)
        object.__setattr__(self, "among", among)

    def at(self, pos: Pos = "end") -> Tensor:
        """Return the logits at one position, (classes,).

        Raises
        ------
        Unread
            They were not computed.
        """
        if self.among is not None:
            raise Unread
        return self._computed(pos)

    def of(self, classes: Sequence[int], pos: Pos = "end") -> Tensor:
        """Return the logits of some classes at one position, (number of classes,).

        Raises
        ------
        Unread
            They were not computed.
        """
        if self.among is None:
            return self._computed(pos)[list(classes)]
        if not set(classes).issubset(self.among.chosen):
            raise Unread
        return self._computed(pos)[[self.among.chosen.index(each) for each in classes]]

    def apart(self) -> Partial:
        """Return the same with logits that nobody else reads."""
        own = {place: each.clone() for place, each in self.computed.items()}
        return Partial(self.row, self.model, own, self.among)

    def _computed(self, pos: Pos) -> Tensor:
        places = self.model.prompts.positions(self.row, pos)
        if len(places) != 1 or places[0] not in self.computed:
            raise Unread
        return self.computed[places[0]]

    @property
    def classes(self) -> int:
        """Number of classes."""
        if self.among is not None:
            return self.among.every
        return next(iter(self.computed.values())).shape[-1]

    def __getattr__(self, name: str) -> Tensor:
        raise Unread if name == "logits" else AttributeError(name)


class Deferred(Output):
    """An output whose logits come about where they are asked for.

    Parameters
    ----------
    row, model
        As for `Output`.
    states
        What the unembedding takes, (tokens, width).
    last
        The logits at the last token, (classes,).
    unembedded
        Gives the logits of such states.
    """

    states: Tensor
    unembedded: Callable[[Tensor], Tensor]
    computed: dict[int, Tensor]

    def __init__(
        self,
        row: Row,
        model: Model,
        states: Tensor,
        last: Tensor,
        unembedded: Callable[[Tensor], Tensor],
    ) -> None:
        object.__setattr__(self, "row", row)
        object.__setattr__(self, "model", model)
        object.__setattr__(self, "states", states)
        object.__setattr__(self, "unembedded", unembedded)
        object.__setattr__(self, "computed", {len(states) - 1: last})

    def at(self, pos: Pos = "end") -> Tensor:
        """Return the logits at one position, (classes,)."""
        return self.at_tokens([self.token(pos)])[0]

    def at_tokens(self, tokens: Sequence[int]) -> Tensor:
        """Return the logits at some tokens, (number of tokens, classes)."""
        missing = [token for token in tokens if token not in self.computed]
        if missing:
            found = self.unembedded(self.states[missing])
            self.computed.update(zip(missing, found, strict=True))
        return torch.stack([self.computed[token] for token in tokens])

    def apart(self) -> Deferred:
        """Return the same with logits that nobody else reads."""
        last = self.computed[len(self.states) - 1]
        found = Deferred(self.row, self.model, self.states, last, self.unembedded)
        found.computed.update((at, each.clone()) for at, each in self.computed.items())
        return found

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.computed[len(self.states) - 1].shape[-1]

    def __getattr__(self, name: str) -> Tensor:
        if name != "logits":
            raise AttributeError(name)
        return self.at_tokens(range(len(self.states)))


def answers(output: Output, read: tuple[int, ...] | None, among: Among | None) -> Tensor:
    """Return the logits of an output at the tokens and of the classes that a metric reads.

    Returns
    -------
    Tensor
        (tokens read, classes), or (classes,) for a model that answers once.
    """
    if isinstance(output, Partial):
        assert output.among == among
        places = sorted(output.computed) if read is None else read
        return torch.stack([output.computed[place] for place in places])
    if isinstance(output, Deferred) and read is not None:
        found = output.at_tokens(read)
    elif output.logits.ndim == 1 or read is None:
        found = output.logits.clone()
    else:
        found = output.logits[list(read)]
    return found if among is None else found[..., list(among.chosen)]
