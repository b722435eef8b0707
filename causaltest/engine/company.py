"""Proof that rows which share a batch get the answers that they get alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from causaltest.engine.prompts import Row
from causaltest.engine.turns import callers_hooks
from causaltest.errors import ModelError

if TYPE_CHECKING:
    from causaltest.engine.model import Model


class Company:
    """Says which rows of a model may share a batch, and proves it on the first that are to.

    The proof holds for the hooks that the caller has on the network; with others it is made anew.

    Parameters
    ----------
    model
        The model.
    pads
        Whether it takes a mask at all.

    Attributes
    ----------
    pads
        Whether rows of unequal length can share a batch.
    """

    def __init__(self, model: Model, *, pads: bool) -> None:
        self._model = model
        self._may_pad = pads
        self._proved: set[str] = set()
        self._hooks: frozenset[int] = frozenset()
        self.pads = pads

    def prove(self, rows: Sequence[Row]) -> None:
        """Prove once that a row of a batch gets the answer it gets alone, and once with padding.

        Parameters
        ----------
        rows
            Those that are to be run, in the order in which they are.

        Raises
        ------
        ModelError
            Rows of one length depend on each other. Where only padding is at fault, rows of
            unequal length are run apart from then on.
        """
        hooks = frozenset(key for _, key in callers_hooks(self._model.network))
        if hooks != self._hooks:
            self._proved.clear()
            self.pads, self._hooks = self._may_pad, hooks
        by_length: dict[int, Row] = {}
        for row in rows:
            first = by_length.setdefault(len(self._model.prompts.ids(row.prompt)), row)
            if "equal" not in self._proved and first.prompt != row.prompt:
                off, size = self._moved((first, row))
                if off > self._tolerance * size:
                    raise ModelError(
                        f"{self._model.name} answers a prompt differently in a batch than alone "
                        f"(by {off:.3g}, where logits reach {size:.3g})\n"
                        "Rows of a batch must not touch each other. A recurrent module without "
                        "batch_first=True takes rows for tokens; a network that is not "
                        "deterministic in eval mode cannot be tested"
                    )
                self._proved.add("equal")
        if self.pads and len(by_length) > 1 and "padded" not in self._proved:
            kinds = list(by_length.values())
            off, size = self._moved((kinds[0], kinds[-1]))
            self.pads = off <= self._tolerance * size
            self._proved.add("padded")

    @property
    def _tolerance(self) -> float:
        return max(1e-3, 32 * torch.finfo(self._model.dtype).eps)

    def _moved(self, rows: Sequence[Row]) -> tuple[float, float]:
        """Return how far logits move if rows share a batch, and how large logits are."""
        model = self._model
        moved = size = 0.0
        with torch.no_grad():
            for row, shared in zip(rows, model.run_batch(model.batch(rows)), strict=True):
                alone = model.run_batch(model.batch([row]))[0].logits.double()
                moved = max(moved, float((alone - shared.logits.double()).abs().max()))
                size = max(size, float(alone.abs().max()))
        return moved, size
