"""Functions that make the sites of attention scores and patterns, of one head or of all."""

from __future__ import annotations

from causaltest.sites.checks import Dims, Pos, normalise_dims
from causaltest.sites.site import Site


def attention_scores(
    layer: int, head: int | None = None, *, pos: Pos = None, dims: Dims = None, stack: str = ""
) -> Site:
    """Attention scores of block `layer` before the softmax, masks and biases included.

    Attention is computed eagerly in runs that read or edit them, and the ledger says so. Keys that
    a mask hides from a query read -inf and stay hidden, whatever is put in. Where a head has a
    sink, the sink's own score is left as it is.

    Parameters
    ----------
    layer
        Block index.
    head
        Query head; None for all, one after another.
    pos
        Queries.
    dims
        Keys, as token indices from 0; one head only.
    stack
        As for every site.

    Returns
    -------
    Site

    Examples
    --------
    >>> str(attention_scores(9, 6, pos="end"))
    'head_attention_scores[9.6]@end'
    """
    return _keyed("attention_scores", layer, head, pos, dims, stack=stack)


def attention_pattern(
    layer: int, head: int | None = None, *, pos: Pos = None, dims: Dims = None, stack: str = ""
) -> Site:
    """Attention probabilities of block `layer`, after the softmax: what each key's value weighs.

    What is edited is not normalised again: where one key's probability is set to zero, the others
    stay as they are, and the head mixes less. To have the softmax share it out anew, edit
    `attention_scores`. Attention is computed eagerly in runs that read or edit patterns, and the
    ledger says so. Keys that a mask hides from a query keep probability 0, whatever is put in.
    Where a head has a sink (GPT-OSS), the probabilities are those after the sink's share was taken,
    and sum to less than 1.

    Parameters
    ----------
    layer, head, pos, dims, stack
        As for `attention_scores`.

    Returns
    -------
    Site

    Examples
    --------
    >>> str(attention_pattern(9, 6, pos="end", dims=3))
    'head_attention_pattern[9.6]{3}@end'
    >>> Site.parse("blocks.9.attn.hook_pattern") == attention_pattern(9)
    True
    """
    return _keyed("attention_pattern", layer, head, pos, dims, stack=stack)


def cross_attention_scores(
    layer: int, head: int | None = None, *, pos: Pos = None, dims: Dims = None, stack: str = ""
) -> Site:
    """Cross-attention scores of block `layer`: queries of the decoder, keys of the encoder.

    Parameters
    ----------
    layer, head, pos, dims, stack
        As for `attention_scores`; `pos` are tokens of the decoder, `dims` those of the encoder.

    Returns
    -------
    Site

    Examples
    --------
    >>> str(cross_attention_scores(1, 0, dims=(2, 3)))
    'head_cross_attention_scores[1.0]{2,3}'
    """
    return _keyed("cross_attention_scores", layer, head, pos, dims, stack=stack)


def cross_attention_pattern(
    layer: int, head: int | None = None, *, pos: Pos = None, dims: Dims = None, stack: str = ""
) -> Site:
    """Cross-attention probabilities of block `layer`: how each query weighs the encoder's tokens.

    What is edited is not normalised again, as with `attention_pattern`.

    Parameters
    ----------
    layer, head, pos, dims, stack
        As for `attention_scores`; `pos` are tokens of the decoder, `dims` those of the encoder.

    Returns
    -------
    Site

    Examples
    --------
    >>> str(cross_attention_pattern(1))
    'cross_attention_pattern[1]'
    """
    return _keyed("cross_attention_pattern", layer, head, pos, dims, stack=stack)


def _keyed(
    component: str, layer: int, head: int | None, pos: Pos, dims: Dims, *, stack: str
) -> Site:
    name = component if head is None else f"head_{component}"
    return Site(name, layer, head, pos, normalise_dims(dims), stack=stack)
