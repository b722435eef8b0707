"""Functions that make the sites of a layer: one for each component that a block can have."""

from __future__ import annotations

from typing import Any, Protocol

from causaltest.sites.checks import Dims, Pos, normalise_dims
from causaltest.sites.components import COMPONENTS
from causaltest.sites.site import Site


class LayerSite(Protocol):
    """Makes the site of one component in a layer."""

    __name__: str

    def __call__(self, layer: int, *, pos: Pos = None, dims: Dims = None, stack: str = "") -> Site:
        """Return the site; what `pos`, `dims` and `stack` mean stands at `Site`."""
        ...


class HeadSite(Protocol):
    """Makes the site of one component in a head of a layer."""

    __name__: str

    def __call__(
        self, layer: int, head: int, *, pos: Pos = None, dims: Dims = None, stack: str = ""
    ) -> Site:
        """Return the site; what `pos`, `dims` and `stack` mean stands at `Site`."""
        ...


def _of_layer(component: str) -> LayerSite:
    def make(layer: int, *, pos: Pos = None, dims: Dims = None, stack: str = "") -> Site:
        return Site(component, layer, pos=pos, dims=normalise_dims(dims), stack=stack)

    return _named(make, component)


def _of_head(component: str) -> HeadSite:
    def make(layer: int, head: int, *, pos: Pos = None, dims: Dims = None, stack: str = "") -> Site:
        return Site(component, layer, head, pos, normalise_dims(dims), stack=stack)

    return _named(make, component)


def _named(make: Any, component: str) -> Any:
    """Give a function the name and the words of its component, for `help` and for pickles."""
    told = COMPONENTS[component]
    make.__name__ = make.__qualname__ = component
    make.__doc__ = f"{told[0].upper()}{told[1:]}."
    return make


block_input = _of_layer("block_input")
"""Residual stream entering block `layer`."""

block_output = _of_layer("block_output")
"""Residual stream leaving block `layer`."""

attention_input = _of_layer("attention_input")
"""What the attention sublayer of block `layer` reads, after its norm."""

attention_output = _of_layer("attention_output")
"""What the attention sublayer of block `layer` writes to the residual stream."""

attention_value_output = _of_layer("attention_value_output")
"""All heads' mixed values in block `layer`, concatenated, before the output projection."""

query_output = _of_layer("query_output")
"""All heads' queries in block `layer`, before any rotary embedding."""

key_output = _of_layer("key_output")
"""All key-value heads' keys in block `layer`, before any rotary embedding."""

value_output = _of_layer("value_output")
"""All key-value heads' values in block `layer`."""

mlp_input = _of_layer("mlp_input")
"""What the MLP of block `layer` reads, after its norm."""

mlp_activation = _of_layer("mlp_activation")
"""The MLP neurons of block `layer`, before the output projection; `dims` picks neurons."""

mlp_output = _of_layer("mlp_output")
"""What the MLP of block `layer` writes to the residual stream."""

head_attention_value_output = _of_head("head_attention_value_output")
"""Mixed values of one attention head, before the output projection."""

head_query_output = _of_head("head_query_output")
"""Queries of one attention head, before any rotary embedding."""

head_key_output = _of_head("head_key_output")
"""Keys of one key-value head, before any rotary embedding."""

head_value_output = _of_head("head_value_output")
"""Values of one key-value head."""

head_attention_scores = _of_head("head_attention_scores")
"""Scores of one query head, before the softmax; see `attention_scores`."""

head_attention_pattern = _of_head("head_attention_pattern")
"""Attention probabilities of one query head; see `attention_pattern`."""

head_cross_attention_scores = _of_head("head_cross_attention_scores")
"""Scores of one head of cross-attention, before the softmax; see `cross_attention_scores`."""

head_cross_attention_pattern = _of_head("head_cross_attention_pattern")
"""Probabilities of one head of cross-attention; see `cross_attention_pattern`."""

cross_attention_output = _of_layer("cross_attention_output")
"""What the cross-attention of block `layer` writes to the residual stream."""

cross_attention_value_output = _of_layer("cross_attention_value_output")
"""All cross-attention heads' mixed values in block `layer`, before the output projection."""

cross_query_output = _of_layer("cross_query_output")
"""All cross-attention queries of block `layer`; positions are tokens of the decoder."""

cross_key_output = _of_layer("cross_key_output")
"""All cross-attention keys of block `layer`; positions are tokens of the encoder."""

cross_value_output = _of_layer("cross_value_output")
"""All cross-attention values of block `layer`; positions are tokens of the encoder."""

head_cross_attention_value_output = _of_head("head_cross_attention_value_output")
"""Mixed values of one cross-attention head, before the output projection."""

head_cross_query_output = _of_head("head_cross_query_output")
"""Queries of one cross-attention head; positions are tokens of the decoder."""

head_cross_key_output = _of_head("head_cross_key_output")
"""Keys of one cross-attention key-value head; positions are tokens of the encoder."""

head_cross_value_output = _of_head("head_cross_value_output")
"""Values of one cross-attention key-value head; positions are tokens of the encoder."""

mixer_input = _of_layer("mixer_input")
"""What the state-space, recurrent or convolution mixer of block `layer` reads."""

mixer_output = _of_layer("mixer_output")
"""What the state-space, recurrent or convolution mixer of block `layer` gives."""

router_output = _of_layer("router_output")
"""Score of each expert of block `layer`, as the router computes it; `dims` picks experts.

The score is the number that comes out of the router's linear map, for most models a logit:
before softmax or sigmoid, before a correction, before experts are chosen. An edit of it
changes which experts are chosen and their weights as the model itself computes them.
"""
