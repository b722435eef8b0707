"""Attention patterns of prompts, by layer and head, with their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from causaltest.engine.prompts import Row
from causaltest.errors import ModelError, SiteError
from causaltest.sites import Site

if TYPE_CHECKING:
    from causaltest.engine.model import Model


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
        One tensor for each prompt, (heads, queries, keys); its rows sum to 1, or to less where a
        sink takes a share.
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
    site = Site("attention_pattern", layer=layer)
    heads = range(model.access(site).heads or 1)
    if head is not None and head not in heads:
        raise SiteError(f"head {head} does not exist: {model.name} has query heads 0-{heads[-1]}")
    chosen = tuple(heads) if head is None else (head,)
    tokens = tuple(tuple(model.prompts.tokens(row.prompt)) for row in rows)
    patterns: list[Tensor] = []
    for each, read in zip(tokens, model.read(site, rows)[site], strict=True):
        pattern = read.reshape(-1, len(heads), read.shape[-1] // len(heads)).transpose(0, 1)
        if pattern.shape[1:] != (len(each), len(each)):
            raise ModelError(
                f"{model.name}: the attention of layer {layer} has {pattern.shape[1]} queries and "
                f"{pattern.shape[2]} keys for a prompt of {len(each)} tokens, so they are not its "
                f"tokens; read {site} itself, or that of another stack"
            )
        patterns.append(pattern[list(chosen)])
    return AttentionPatterns(
        prompts=tuple(model.prompts.text(row.prompt) for row in rows),
        tokens=tokens,
        layer=layer,
        heads=chosen,
        patterns=tuple(patterns),
    )
