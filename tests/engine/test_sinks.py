"""Attention with a sink: a score beside those of the keys, whose share weighs nothing."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from causaltest.engine.intervening import intervene
from causaltest.engine.model import Model
from causaltest.errors import SiteError
from causaltest.interventions import interchange, zero_ablate
from causaltest.pairs import Pair
from causaltest.sites import (
    attention_pattern,
    attention_scores,
    attention_value_output,
    head_attention_value_output,
    head_key_output,
    head_query_output,
    head_value_output,
    key_output,
    query_output,
    value_output,
)

BASE, SOURCE = (4, 5, 6, 7, 8), (14, 15, 16, 17, 18)


def test_the_rest_of_each_row_is_the_sinks_share(tiny, by_hand) -> None:
    """Rows sum to 1 but for the share of the sink, and weigh what the heads mix."""
    model = tiny("gpt-oss", torch.float64)
    layer, network = 1, model.network
    (pattern,) = model.attention_patterns(BASE, layer).patterns
    scores = by_hand(model).read(BASE)["attention_scores", layer].reshape(len(BASE), 4, -1)
    kept = torch.tensor(scores).exp().sum(-1).T
    taken = network.model.layers[layer].self_attn.sinks.exp()[:, None]
    torch.testing.assert_close(pattern.sum(-1), kept / (kept + taken), atol=1e-6, rtol=0)
    read = model.read([value_output(layer), attention_value_output(layer)], [BASE])
    values = read[value_output(layer)][0].unflatten(-1, (2, -1)).repeat_interleave(2, dim=1)
    mixed = torch.einsum("hqk,khd->qhd", pattern, values).flatten(1)
    torch.testing.assert_close(mixed, read[attention_value_output(layer)][0])


def test_heads_of_attention_with_a_sink_are_known(tiny, by_hand) -> None:
    """One token's values are mixed but for the sink's share, so heads and groups are verified."""
    model = tiny("gpt-oss", torch.float64)
    hand = by_hand(model).read(BASE)
    for make, whole, count in (
        (head_query_output, query_output, 4),
        (head_key_output, key_output, 2),
        (head_value_output, value_output, 2),
        (head_attention_value_output, attention_value_output, 4),
    ):
        site = make(1, count - 1)
        assert model.n_heads(site.component, 1) == count
        read = model.read(site, [BASE])[site][0]
        wanted = torch.tensor(hand[whole(1).component, 1]).unflatten(-1, (count, -1))[:, -1]
        torch.testing.assert_close(read, wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize("use_cache", [True, False])
def test_patterns_with_a_sink_are_edited_in_generation(use_cache, tiny) -> None:
    """Every step without a head's pattern is every step without its mixed values."""
    model = tiny("gpt-oss")
    written = [
        model.generate(
            [BASE, SOURCE[:3]], max_new_tokens=3, intervention=zero_ablate(site), when="every step",
            use_cache=use_cache, keep_logits=True, eos_token_id=None,
        )
        for site in (attention_pattern(1, 2), head_attention_value_output(1, 2))
    ]  # fmt: skip
    for one, other in zip(*written, strict=True):
        assert torch.allclose(one.logits, other.logits, atol=1e-5)


class Attend(nn.Module):
    """Attention of two heads with a sink, put together in one of several ways."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(8, 8) for _ in range(4))
        self.sinks, self.kind = nn.Parameter(torch.randn(2)), kind

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            each(x).unflatten(-1, (2, 4)).transpose(1, 2)
            for each in (self.q_proj, self.k_proj, self.v_proj)
        )
        n = x.shape[1]
        future = torch.ones(n, n, dtype=torch.bool).triu(1)
        scores = (q @ k.transpose(-1, -2) / 2).masked_fill(future, -torch.inf)
        sinks = self.sinks.view(1, 2, 1, 1).expand(len(x), -1, n, -1)
        if self.kind == "in front":
            pattern = torch.cat([sinks, scores], dim=-1).softmax(-1)[..., 1:]
        elif self.kind == "with a value":
            pattern = torch.cat([scores, sinks], dim=-1).softmax(-1)
            v = torch.cat([v, v[..., :1, :]], dim=-2)
        else:
            joined = torch.cat([scores, sinks], dim=-1)
            if self.kind == "shifted":
                joined = joined - joined.amax(-1, keepdim=True)
            elif self.kind == "shifted otherwise":
                joined = joined + joined.amax(-1, keepdim=True)
            elif self.kind == "folded":
                joined = joined.flatten(0, 1)
            pattern = joined.softmax(-1)[..., :-1].view_as(scores)
        return self.o_proj((pattern @ v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """One block with attention and a small MLP."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.attn = Attend(kind)
        self.mlp = nn.Sequential(nn.Linear(8, 12), nn.Tanh(), nn.Linear(12, 8))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(x)
        return x + self.mlp(x)


class Network(nn.Module):
    """Two blocks between an embedding and an unembedding."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.table, self.out = nn.Embedding(30, 8), nn.Linear(8, 30)
        self.blocks = nn.ModuleList(Block(kind) for _ in range(2))
        self.config = SimpleNamespace(num_attention_heads=2)

    def get_input_embeddings(self) -> nn.Module:
        return self.table

    def forward(self, ids: Tensor) -> Tensor:
        x = self.table(ids)
        for block in self.blocks:
            x = block(x)
        return self.out(x)


def sinking(kind: str) -> Model:
    """Return a model whose attention has a sink."""
    torch.manual_seed(0)
    return Model(Network(kind).double(), name="sinking")


@pytest.mark.parametrize("make", [attention_scores, attention_pattern])
@pytest.mark.parametrize("kind", ["plain", "shifted", "folded"])
def test_scores_are_those_before_a_shift(kind, make) -> None:
    """Neither a shift of each row nor rows and heads on one axis change what is read or edited."""
    model, plain = sinking(kind), sinking("plain")
    site = make(1, 1, pos="end")
    for one, other in ((model, plain), (plain, model)):
        assert torch.allclose(
            torch.stack(one.read(site, [BASE, SOURCE])[site]),
            torch.stack(other.read(site, [BASE, SOURCE])[site]),
            atol=1e-12,
        )
    logits = []
    edit = interchange(site) + zero_ablate(site.at(1))
    for each in (model, plain):
        with intervene(each, edit, Pair(BASE, SOURCE)) as run:
            logits.append(run(BASE).logits)
    assert torch.allclose(*logits, atol=1e-12)
    assert not torch.allclose(logits[0], plain.run([BASE])[0].logits, atol=1e-4)


@pytest.mark.parametrize(
    "kind, site, message",
    [
        (
            "shifted otherwise", attention_scores(0),
            "blocks.0.attn does not enter the scores of its sink as they are",
        ),
        (
            "in front", attention_pattern(0),
            "blocks.0.attn attends to other things than the tokens",
        ),
        (
            "with a value", attention_pattern(0),
            "blocks.0.attn attends to other things than the tokens",
        ),
    ],
)  # fmt: skip
def test_what_is_no_pattern_over_tokens_is_refused(kind, site, message) -> None:
    """A sink in front of the keys, or with a value, is not taken for one behind them."""
    with pytest.raises(SiteError, match=re.escape(message.replace("0.attn", "1.attn"))):
        sinking(kind).access(site)


def test_a_shift_of_scores_leaves_the_pattern() -> None:
    """Where scores are not to be had, patterns still are."""
    one, other = sinking("shifted otherwise"), sinking("plain")
    site = attention_pattern(0)
    assert torch.allclose(
        one.read(site, [BASE])[site][0], other.read(site, [BASE])[site][0], atol=1e-12
    )
