"""The upper part of a network: the same logits as the whole of it, for every pair."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from causaltest import Model, Pair, Pairs, block_output, interchange
from causaltest.engine.run import score
from causaltest.engine.upper import Upper
from causaltest.interventions import low_rank


class Block(nn.Module):
    """Mixes each token with those before it, moved by what it gets beside the stream."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(8, 8)
        self.down = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor, beside: torch.Tensor) -> torch.Tensor:
        """Return the stream with a running mean of it added."""
        counts = torch.arange(1, x.shape[1] + 1)[None, :, None]
        return x + self.down(torch.tanh(self.up(x.cumsum(1) / counts))) * (1 + beside)


class Network(nn.Module):
    """Embedding, three blocks, unembedding; blocks may hear of the prompt beside the stream."""

    def __init__(self, *, heard: bool) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.table = nn.Embedding(20, 8)
        self.blocks = nn.ModuleList([Block(), Block(), Block()])
        self.head = nn.Linear(8, 20)
        self.heard = heard

    def get_output_embeddings(self) -> nn.Module:
        """Return the unembedding."""
        return self.head

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        x = self.table(ids)
        beside = x[..., :1] * self.heard
        for block in self.blocks:
            x = block(x, beside)
        return self.head(x)


def _pair(base: tuple[int, ...], edited: int, read: int) -> Pair:
    places = {"edited": [edited], "read": [read]}
    return Pair(base, (15, 16, 17, 18, 19, 3), source_answer=7, positions=places)


PAIRS = Pairs(
    [
        _pair((5, 6, 7, 8, 9, 10), 3, 4),
        _pair((6, 6, 1, 2, 9, 11), 4, 1),
        _pair((5, 6, 7, 8, 9, 10), 3, 5),
    ],
    name="ragged",
    cluster=None,
)
HALF = interchange(block_output(0, pos="edited"), subspace=low_rank(torch.eye(8)[:, :4]))


def _wanted(model: Model) -> torch.Tensor:
    """Return the logits of plain intervened runs where they are read."""
    rows: list[list[float]] = []
    for index in range(len(PAIRS)):
        rows.append([])
        for token in range(20):
            metric = lambda output, token=token: float(output.at("read")[token])  # noqa: E731
            rows[-1] += score(model, HALF, PAIRS[index : index + 1], metric).values
    return torch.tensor(rows)


@pytest.mark.parametrize(
    "heard, plan",
    [
        (False, "2 of 3 blocks in every step, tokens from 0 on"),
        (True, "the whole network in every step: the block argument beside depends on the prompt"),
    ],
)
def test_each_pair_has_the_logits_of_a_plain_run(heard, plan):
    """Also a pair between the first and the last that hears of other tokens beside the stream."""
    model = Model(Network(heard=heard), name="toy")
    upper = Upper(model, HALF, PAIRS, "read")
    assert upper.plan == plan
    found = upper.logits([0, 1, 2], HALF).detach()
    assert torch.allclose(found, _wanted(model), atol=1e-5)


def test_an_answer_may_be_read_before_another_pair_is_edited(transformer):
    """Tokens are run from the first that any pair is edited or read at."""
    upper = Upper(transformer, HALF, PAIRS, "read")
    assert upper.plan == "2 of 3 blocks in every step, tokens from 1 on"
    found = upper.logits([0, 1, 2], HALF).detach()
    assert torch.allclose(found, _wanted(transformer), atol=1e-4)


@pytest.mark.parametrize(
    "room, plan",
    [
        # Of each of three prompts: 5 of 6 states of width 8, and one earlier token's keys and
        # values in two blocks, 4 bytes a number.
        (3 * 4 * (5 * 8 + 2 * 2 * 8), "2 of 3 blocks in every step, tokens from 1 on"),
        (
            3 * 4 * (5 * 8 + 2 * 2 * 8) - 1,
            "2 of 3 blocks in every step, tokens from 0 on, since to keep what precedes the edits "
            "would take 8e-07 GiB",
        ),
        (
            3 * 4 * 6 * 8 - 1,
            "the whole network in every step: to keep what 3 prompts give below would take "
            "5.4e-07 GiB",
        ),
    ],
)
def test_no_more_is_kept_than_there_is_room_for(transformer, room, plan):
    """First earlier keys and values go, then all that was run below; the logits stay."""
    upper = Upper(transformer, HALF, PAIRS, "read", room=room)
    assert upper.plan == plan
    found = upper.logits([0, 1, 2], HALF).detach()
    assert torch.allclose(found, _wanted(transformer), atol=1e-4)


@pytest.fixture
def transformer() -> Model:
    """A small transformer, whose keys and values are to be had."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=20, hidden_size=8, intermediate_size=12, num_hidden_layers=3,
        num_attention_heads=2, max_position_embeddings=32, pad_token_id=0, initializer_range=0.5,
    )  # fmt: skip
    return Model(LlamaForCausalLM(config).eval(), name="llama")
