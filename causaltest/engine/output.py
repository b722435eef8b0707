"""Output: what a model said about one prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor

from causaltest.engine.prompts import Row
from causaltest.errors import MetricError
from causaltest.sites import Pos

if TYPE_CHECKING:
    from causaltest.engine.model import Model


@dataclass(frozen=True)
class Output:
    """What the model said about one prompt.

    Parameters
    ----------
    logits
        (tokens, classes) for a model that answers at every token, (classes,) for one that answers
        once for each prompt.
    row
        The prompt it belongs to.
    model
        The model that said it.
    """

    logits: Tensor
    row: Row
    model: Model

    def at(self, pos: Pos = "end") -> Tensor:
        """Return the logits at one position, (classes,).

        Raises
        ------
        MetricError
            The position covers several tokens.
        """
        return self.logits if self.logits.ndim == 1 else self.logits[self.token(pos)]

    def token(self, pos: Pos) -> int:
        """Return the one token that a position means.

        Raises
        ------
        MetricError
            The position covers several tokens.
        """
        found = self.model.prompts.positions(self.row, pos)
        if len(found) != 1:
            text = self.model.prompts.text(self.row.prompt)
            raise MetricError(
                f"position {pos!r} covers {len(found)} tokens of {text!r}; a metric reads the "
                "answer at one: use '<name>.first' or '<name>.last'"
            )
        return found[0]

    def of(self, classes: Sequence[int], pos: Pos = "end") -> Tensor:
        """Return the logits of some classes at one position, (number of classes,).

        A sweep computes no others where a metric reads its logits by this alone.
        """
        return self.at(pos)[list(classes)]

    def apart(self) -> Output:
        """Return the same with logits that nobody else reads."""
        return replace(self, logits=self.logits.clone())

    def answer_id(self, answer: str | int) -> int:
        """Return the class index of an answer: a token, or a class number."""
        pair = self.row.pair
        assert pair is not None
        index = self.model.prompts.answer_id(self.row.prompt, answer, pair)
        if not 0 <= index < self.classes:
            raise MetricError(
                f"pair {pair.id}: answer {answer!r} is class {index}, but {self.model.name} has "
                f"classes 0-{self.classes - 1}"
            )
        return index

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.logits.shape[-1]
