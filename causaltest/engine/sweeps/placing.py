"""Where in the chain of blocks a cell edits, and so where its rows join a walk down the blocks."""

from __future__ import annotations

from functools import cached_property

import torch

from causaltest.engine.model import Model
from causaltest.engine.softmax import Softmax
from causaltest.engine.survey import survey
from causaltest.interventions import Intervention

BEFORE = -1
"""In front of the first block."""


class Places:
    """Tells the block of a module.

    Parameters
    ----------
    model
        One whose blocks are known.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._blocks = model.architecture.blocks
        self._shared = len(set(self._blocks)) < len(self._blocks)
        self._layers: dict[str, int | None] = {}

    @cached_property
    def _front(self) -> frozenset[str]:
        """Modules on the way to the first block: done before it begins, and as wide as it is."""
        ids = torch.zeros((1, 2), dtype=torch.long, device=self._model.device)
        network, first = self._model.network, self._blocks[0]
        seen = survey(network, lambda given: self._model.forward(given, None), ids)
        stream = seen[first, "input"].tensor
        assert stream is not None
        found: list[str] = []
        for (path, side), each in seen.items():
            if path == first or path.startswith(f"{first}."):
                break
            # What else is done there, as rotary angles, is handed to the blocks beside the stream.
            if side == "output" and each.tensor is not None:
                found += [path] if each.tensor.shape[1:] == stream.shape[1:] else []
        return frozenset(found)

    def layer(self, path: str) -> int | None:
        """Return the block that holds a module, `BEFORE`, or None for one behind or beside them."""
        if path not in self._layers:
            self._layers[path] = self._found(path)
        return self._layers[path]

    def _found(self, path: str) -> int | None:
        for index, block in enumerate(self._blocks):
            if path == block or path.startswith(f"{block}."):
                return index
        return BEFORE if path in self._front else None

    def join(self, cell: Intervention) -> int | None:
        """Return where rows of a cell join: twice the block, and one more for behind it.

        Returns
        -------
        int or None
            `BEFORE` for rows that are edited before the first block; None where a cell edits
            something that is no part of the way from the first to the last block.
        """
        found: list[int] = []
        for part in cell.parts:
            for site in part.sites:
                access = self._model.access(site)
                layer = self.layer(access.path)
                # Blocks that are run apart are given the masks of the usual attention.
                if layer is None or self._shared or isinstance(access.side, Softmax):
                    return None
                behind = (
                    layer != BEFORE and access.path == self._blocks[layer]
                    and access.side == "output" and not part.needs_input
                )  # fmt: skip
                found.append(layer if layer == BEFORE else 2 * layer + behind)
        return min(found)
