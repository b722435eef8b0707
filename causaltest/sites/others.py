"""Functions that make sites of no one layer: the embedding, an expert, any module by its path."""

from __future__ import annotations

from typing import Literal

from causaltest.sites.checks import Dims, Pos, normalise_dims
from causaltest.sites.components import MODULE
from causaltest.sites.site import Site


def embedding(*, pos: Pos = None, dims: Dims = None) -> Site:
    """Token embeddings, before positions are added; an encoder-decoder's are its encoder's."""
    return Site("embedding", pos=pos, dims=normalise_dims(dims))


def expert_output(
    layer: int, expert: int, *, pos: Pos = None, dims: Dims = None, stack: str = ""
) -> Site:
    """What one expert of block `layer` adds to the mixture: its output times its routing weight.

    Tokens that are not routed to the expert have zeros there, and an edit adds to them what it
    puts in. All experts of a block sum to what the mixture gives, but for experts that are shared
    by all tokens.
    """
    return Site(
        "expert_output",
        layer=layer,
        expert=expert,
        pos=pos,
        dims=normalise_dims(dims),
        stack=stack,
    )


def module(
    path: str,
    *,
    side: Literal["input", "output"] = "output",
    pos: Pos = None,
    dims: Dims = None,
    call: int | None = None,
) -> Site:
    """Input or output of any module, by its dotted path.

    Parameters
    ----------
    path
        As in `network.named_modules()`, e.g. `transformer.h.3.mlp`.
    side
        Which end of the module is meant.
    pos, dims
        As for every site.
    call
        Which of its calls in one forward pass, from 0; needed where it runs several times, as a
        recurrent cell or a block whose weights are shared does.

    Returns
    -------
    Site

    Examples
    --------
    >>> str(module("lstm", pos=-1))
    'lstm.output@-1'
    >>> str(module("cell", call=2))
    'cell.output#2'
    """
    return Site(MODULE, path=path, side=side, pos=pos, dims=normalise_dims(dims), call=call)
