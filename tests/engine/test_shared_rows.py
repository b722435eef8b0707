"""What a network computes once for all rows is edited row by row."""

from __future__ import annotations

import copy

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from causaltest import Model, Pair, Pairs, logit_diff, module, zero_ablate
from causaltest.engine.run import score


def small() -> GPT2LMHeadModel:
    """A random GPT-2, which looks its positions up once for the whole batch."""
    torch.manual_seed(0)
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=20, n_positions=12, n_embd=16, n_layer=2, n_head=2)
    ).eval()


def prompts() -> Pairs:
    """Prompts of three lengths, so that batches are padded."""
    stream = torch.Generator().manual_seed(1)
    return Pairs(
        [
            Pair(
                tuple(torch.randint(0, 20, (5 + i % 3,), generator=stream).tolist()),
                base_answer=1,
                source_answer=2,
            )
            for i in range(9)
        ],
        name="random",
        cluster=None,
    )


def test_position_embeddings_can_be_ablated():
    """Zeroing the position embeddings equals a model whose position weights are zero."""
    network, pairs = small(), prompts()
    without = copy.deepcopy(network)
    torch.nn.init.zeros_(without.transformer.wpe.weight)
    ablated = score(Model(network), zero_ablate(module("transformer.wpe")), pairs, logit_diff)
    expected = [logit_diff(output) for output in Model(without).run(list(pairs))]
    torch.testing.assert_close(torch.tensor(ablated.values), torch.tensor(expected))


def test_a_shared_activation_is_edited_where_each_pair_says():
    """A position of each row is edited in that row alone, though the activation was shared."""
    network, pairs = small(), prompts()
    site = module("transformer.wpe", pos=-2)
    one_by_one = [
        score(Model(network), zero_ablate(site), pairs[i : i + 1], logit_diff).values[0]
        for i in range(len(pairs))
    ]
    together = score(Model(network), zero_ablate(site), pairs, logit_diff).values
    torch.testing.assert_close(torch.tensor(together), torch.tensor(one_by_one))
