"""Which sites share numbers: known by hand for a small network."""

from __future__ import annotations

import pytest
import torch

from causaltest import Model, Pair, Pairs
from causaltest import head_attention_value_output as head
from causaltest.engine.overlap import overlap
from causaltest.sites import (
    attention_output,
    attention_pattern,
    attention_value_output,
    block_output,
    head_attention_pattern,
    head_query_output,
    mlp_output,
    module,
    query_output,
    value_output,
)

PAIRS = Pairs(
    [
        Pair((1, 2, 3), (4, 2, 3), positions={"begin": 0, "rest": 2}),
        Pair((1, 2, 3, 4), (5, 2, 3, 4), positions={"begin": 0, "rest": [1, 2]}, id="long"),
    ],
    name="some",
    cluster=None,
)


@pytest.fixture(scope="module")
def model() -> Model:
    """GPT-2 with two blocks of two heads."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=12, n_embd=8, n_layer=2, n_head=2, n_positions=8)
    return Model(GPT2LMHeadModel(config).eval())


@pytest.mark.parametrize(
    "one, other, where",
    [
        (head(0, 1, pos="end"), head(0, 1, pos=-1), ("some/0", 2)),
        (head(0, 1), head(0, 1, pos="end"), ("some/0", 2)),
        (head(0, 1), attention_value_output(0, pos=0), ("some/0", 0)),
        (head(0, 1, pos="rest"), head(0, 1, pos="end"), ("some/0", 2)),
        (head(0, 1, pos=-2), head(0, 1, pos="rest"), ("long", 2)),
        (head(0, 1, pos="rest"), head(0, 1, pos=1), ("long", 1)),
        (block_output(1, dims=(0, 3)), block_output(1, dims=(3, 4)), ("some/0", 0)),
        (block_output(1, dims=(0, 3)), block_output(1, pos=1), ("some/0", 1)),
        (block_output(1), module("transformer.h.1", pos=0), ("some/0", 0)),
        (head_query_output(1, 0), query_output(1, pos=2), ("some/0", 2)),
        (head_attention_pattern(0, 1), attention_pattern(0, pos=1), ("some/0", 1)),
    ],
    ids=str,
)
def test_sites_that_share_numbers(model, one, other, where) -> None:
    """One place under two names is found, and where it is, in either order."""
    found = overlap(model, [mlp_output(0), one, other], PAIRS)
    assert found is not None
    assert (found.one, found.other, found.pair.id, found.token) == (one, other, *where)
    again = overlap(model, [other, one], PAIRS)
    assert again is not None
    assert (again.one, again.other) == (other, one)


@pytest.mark.parametrize(
    "sites",
    [
        [head(0, 0), head(0, 1), head(1, 0), head(1, 1)],
        [head(0, 1, pos="begin"), head(0, 1, pos="end"), head(0, 1, pos=1)],
        [block_output(1, dims=(0, 3)), block_output(1, dims=(1, 2))],
        [query_output(0), value_output(0), attention_output(0), attention_value_output(0)],
        [head_attention_pattern(0, 0), head_attention_pattern(0, 1), attention_pattern(1)],
        [block_output(0), block_output(1), mlp_output(1)],
    ],
    ids=lambda sites: str(sites[0]),
)
def test_sites_of_their_own(model, sites) -> None:
    """Heads, dims and tokens that differ, and what one computes from another, are no overlap."""
    assert overlap(model, sites, PAIRS) is None
