"""Networks of one's own: which can be walked down block by block, and why others cannot."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from causaltest.engine.model import Model
from causaltest.engine.run import score
from causaltest.engine.sweeps import fast, sweep
from causaltest.interventions import interchange
from causaltest.metrics import logit_diff
from causaltest.pairs import Pair, Pairs
from causaltest.sites import block_output

PAIRS = Pairs(
    [
        Pair((1, 2, 3, 4), (1, 5, 6, 7), base_answer=1, source_answer=2),
        Pair((8, 2, 9, 4), (3, 5, 9, 7), base_answer=3, source_answer=2),
    ],
    name="two",
    cluster=None,
)


class Block(nn.Module):
    """Mixes each token with those before it, as plainly as can be."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(8, 8)
        self.down = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the stream with a running mean of it added."""
        counts = torch.arange(1, x.shape[1] + 1)[None, :, None]
        return x + self.down(torch.tanh(self.up(x.cumsum(1) / counts)))


class Careful(Block):
    """Refuses to run on other rows than those of the network's last run."""

    rows = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what a block gives."""
        if x.shape[0] != self.rows:
            raise ValueError("rows of another run\nand more")
        return super().forward(x)


class Sideways(Block):
    """Takes a number of the first token beside the stream."""

    def forward(self, x: torch.Tensor, beside: torch.Tensor | float = 0.0) -> torch.Tensor:
        """Return what a block gives, moved by what it got beside the stream."""
        return super().forward(x) * (1 + beside)


class Network(nn.Module):
    """Embedding, three blocks, unembedding."""

    def __init__(self, kind: type[Block] = Block, scale: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.table = nn.Embedding(10, 8)
        self.blocks = nn.ModuleList([kind(), kind(), kind()])
        self.head = nn.Linear(8, 10)
        self.scale = scale

    def get_output_embeddings(self) -> nn.Module:
        """Return the unembedding."""
        return self.head

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        x = self.table(ids)
        for block in self.blocks:
            block.rows = ids.shape[0]
            x = block(x)
            x = x * self.scale if block is self.blocks[0] else x
        return self.head(x)


class Shared(Network):
    """Tells each block what the one before it made of the stream."""

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        x = self.table(ids)
        beside = torch.zeros(x.shape[0], x.shape[1], 1)
        for block in self.blocks:
            x = block(x, beside)
            beside = x.mean(-1, keepdim=True)
        return self.head(x)


def swept(network: nn.Module) -> Any:
    """Return a sweep over all blocks and tokens, found equal to one run for each cell."""
    model = Model(network, name="toy")
    cells = [interchange(block_output(layer, pos=at)) for layer in range(3) for at in range(4)]
    found = sweep(model, cells, PAIRS, logit_diff)
    wanted = [score(model, cell, PAIRS, logit_diff, allow_inert=True).values for cell in cells]
    np.testing.assert_allclose(found.values, np.array(wanted).T, rtol=0, atol=1e-5)
    return found.plan


def test_blocks_without_a_cache_are_walked_down_on_all_tokens(monkeypatch):
    """A network of one's own needs blocks that follow each other, and nothing else."""
    monkeypatch.setattr(fast, "buckets", partial(fast.buckets, overhead=0.0))  # begins anywhere
    plan = swept(Network())
    assert (plan.name, plan.reasons) == (
        "growing",
        (
            "rows run all tokens of the blocks behind their first edit: keys and values are not "
            "to be had",
        ),
    )
    assert plan.known > 0


@pytest.mark.parametrize(
    "network, reason",
    [
        (Network(scale=0.5), "a block does not take what the block before it gives"),
        (Network(Careful), "a block failed: ValueError: rows of another run"),
        (Shared(Sideways), "the block argument beside depends on the prompt"),
    ],
    ids=["scaled between", "rows", "beside"],
)
def test_networks_that_cannot_be_walked_down_are_batched(network, reason):
    """The plan says what stands in the way."""
    plan = swept(network)
    assert (plan.name, plan.reasons) == ("batched", (f"not growing: {reason}",))
