"""Attention patterns: exact probabilities, by switching one call to eager attention and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from causaltest.engine.hooks import evaluating, watched
from causaltest.engine.prompts import Row
from causaltest.engine.softmax import eager
from causaltest.errors import ModelError, SiteError
from causaltest.sites import Site

if TYPE_CHECKING:
    from causaltest.engine.model import Model

_ROWS_SUM_TO = 1e-4


@dataclass(frozen=True, repr=False)
class AttentionPatterns:
    """How much each token attends to each, by query head.

    Read from a run in which attention was computed eagerly; the model itself was switched back.

    Parameters
    ----------
    prompts
        As text.
    tokens
        Tokens of each prompt.
    layer
        Block.
    heads
        Query heads.
    patterns
        One tensor for each prompt, (heads, queries, keys); its rows sum to 1.
    """

    prompts: tuple[str, ...]
    tokens: tuple[tuple[str, ...], ...]
    layer: int
    heads: tuple[int, ...]
    patterns: tuple[Tensor, ...]

    def __repr__(self) -> str:
        heads = f"head {self.heads[0]}" if len(self.heads) == 1 else f"{len(self.heads)} heads"
        return (
            f"<AttentionPatterns: {len(self.prompts)} prompts, layer {self.layer}, {heads}, eager>"
        )

    def to_pandas(self) -> Any:
        """Return a table: one row for each prompt, head, query and key.

        Raises
        ------
        ModuleNotFoundError
            pandas is not installed.
        """
        import pandas

        rows = [
            {
                "prompt": prompt,
                "head": head,
                "query": query,
                "key": key,
                "query_token": tokens[query],
                "key_token": tokens[key],
                "probability": float(pattern[index, query, key]),
            }
            for prompt, tokens, pattern in zip(
                self.prompts, self.tokens, self.patterns, strict=True
            )
            for index, head in enumerate(self.heads)
            for query in range(len(tokens))
            for key in range(len(tokens))
        ]
        return pandas.DataFrame(rows)


def attention_patterns(
    model: Model, rows: Sequence[Row], layer: int, head: int | None
) -> AttentionPatterns:
    """Read attention patterns; see `Model.attention_patterns`."""
    path = model.access(Site("attention_input", layer=layer)).path
    found: dict[int, Tensor] = {}
    given: list[object] = []

    def note(where: str, _given: object, output: object) -> None:
        if where == path:
            given.append(output)

    with torch.no_grad(), evaluating(model.network), eager(model.network):
        for indices, each in model.batches(rows):
            given.clear()
            with watched(model.network, note):
                model.run_batch(each)
            pattern = _pattern(given, tuple(each.ids.shape), f"{model.name}: {path}")
            for place, index in enumerate(indices):
                length = each.lengths[place]
                found[index] = pattern[place, :, :length, :length]
    heads = range(found[0].shape[0])
    if head is not None and head not in heads:
        raise SiteError(f"head {head} does not exist: {model.name} has query heads 0-{heads[-1]}")
    chosen = tuple(heads) if head is None else (head,)
    patterns = tuple(found[index][list(chosen)] for index in range(len(rows)))
    for row, pattern in zip(rows, patterns, strict=True):
        off = float((pattern.double().sum(dim=-1) - 1).abs().max())
        if off > max(_ROWS_SUM_TO, 16 * torch.finfo(pattern.dtype).eps):
            raise ModelError(
                f"{model.name}: rows of the attention pattern in layer {layer} sum to 1 only "
                f"within {off:.3g} for {model.prompts.text(row.prompt)!r}; part of the attention "
                "goes elsewhere (a sink, or padding), so it is no pattern over the tokens"
            )
    return AttentionPatterns(
        prompts=tuple(model.prompts.text(row.prompt) for row in rows),
        tokens=tuple(tuple(model.prompts.tokens(row.prompt)) for row in rows),
        layer=layer,
        heads=chosen,
        patterns=patterns,
    )


def _pattern(given: Sequence[object], shape: tuple[int, ...], where: str) -> Tensor:
    """Return the one tensor in a module's output that has (rows, heads, tokens, tokens) axes."""
    rows, tokens = shape
    fitting: list[Tensor] = []
    for output in given:
        parts = output if isinstance(output, (tuple, list)) else ()
        fitting += [
            part
            for part in parts
            if isinstance(part, Tensor)
            and part.ndim == 4
            and (part.shape[0], part.shape[2], part.shape[3]) == (rows, tokens, tokens)
        ]
    if len(given) != 1 or len(fitting) != 1:
        raise ModelError(
            f"{where} gives no attention pattern, even when attention is computed eagerly; "
            "it ran {} and returned {} tensors of shape (rows, heads, tokens, tokens)".format(
                "once" if len(given) == 1 else f"{len(given)} times", len(fitting)
            )
        )
    return fitting[0]
