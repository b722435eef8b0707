"""Cutting prompts into batches of bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from causaltest.engine.prompts import Batch, Row
from causaltest.sites import KEYED, Site

if TYPE_CHECKING:
    from causaltest.engine.model import Model

_MOST_ROWS = 256
_LOGIT_BYTES = {"cpu": 64 * 1024 * 1024}
_ACCELERATED_LOGIT_BYTES = 128 * 1024 * 1024
"""Larger batches are no faster on a processor, but on an accelerator."""


def cut(
    model: Model, rows: Sequence[Row], sites: Sequence[Site] = ()
) -> Iterator[tuple[list[int], Batch]]:
    """Cut rows into batches, as `Model.batches` does."""
    order = sorted(range(len(rows)), key=lambda i: len(model.prompts.ids(rows[i].prompt)))
    model.company.prove([rows[index] for index in order])
    classes = max(1, int(getattr(getattr(model.network, "config", None), "vocab_size", 1) or 1))
    room = _LOGIT_BYTES.get(model.device.type, _ACCELERATED_LOGIT_BYTES)
    pads = model.company.pads and not any(site.component in KEYED for site in sites)
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and stop - start < _MOST_ROWS:
            tokens = len(model.prompts.ids(rows[order[stop]].prompt))
            first = len(model.prompts.ids(rows[order[start]].prompt))
            if tokens != first and not pads:
                break
            if (stop - start + 1) * tokens * classes * 4 > room:
                break
            stop += 1
        chosen = order[start:stop]
        yield chosen, model.batch([rows[i] for i in chosen])
        start = stop
