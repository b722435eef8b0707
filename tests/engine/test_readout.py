"""The way from the last block to the logits, where it is a module of several layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from torch import nn

from causaltest.engine.model import Model
from causaltest.engine.readout import find_readout
from causaltest.engine.run import score
from causaltest.engine.sweeps import sweep
from causaltest.errors import ModelError
from causaltest.interventions import interchange
from causaltest.metrics import logit_diff
from causaltest.pairs import Pair, Pairs
from causaltest.sites import block_output

_SMALL = {
    "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
    "num_attention_heads": 4, "max_position_embeddings": 32, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
PAIRS = Pairs(
    [
        Pair((5, 9, 17, 4, 30), (5, 10, 2, 33, 12), base_answer=5, source_answer=7),
        Pair((8, 3, 14, 7, 11), (8, 12, 9, 5, 31), base_answer=6, source_answer=9),
    ],
    name="two", cluster=None,
)  # fmt: skip


def masked(family: str, **changes: object) -> Model:
    """Return a small random masked language model."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**{**_SMALL, **changes})
    network = getattr(transformers, f"{family}ForMaskedLM")(config)
    return Model(network.eval(), name=family)


@pytest.mark.parametrize(
    "family, norm, head",
    [
        ("Roberta", "", "lm_head"),
        ("RobertaPreLayerNorm", "roberta_prelayernorm.LayerNorm", "lm_head"),
        ("MegatronBert", "bert.encoder.ln", "cls"),
    ],
)
def test_heads_of_masked_language_models_are_found(family, norm, head):
    """They give the logits of what the last block gives, and sweeps walk down the blocks."""
    model = masked(family)
    found = find_readout(model)
    assert (found.norm, found.unembedding) == (norm, head)
    states = model.read(block_output(1), PAIRS)[block_output(1)]
    for each, output in zip(states, model.run(PAIRS), strict=True):
        torch.testing.assert_close(found.logits(model.network, each[None])[0], output.logits)
    cells = [interchange(block_output(layer, pos=at)) for layer in (0, 1) for at in range(5)]
    swept = sweep(model, cells, PAIRS, logit_diff)
    assert swept.plan.name == "growing"
    wanted = [score(model, cell, PAIRS, logit_diff, allow_inert=True).values for cell in cells]
    np.testing.assert_allclose(swept.values, np.array(wanted).T, rtol=0, atol=1e-5)


def test_logits_are_not_split_behind_a_head_that_bends():
    """A head of several layers is not linear, and direct attribution says so."""
    with pytest.raises(ModelError, match="the unembedding lm_head is a RobertaLMHead, not linear"):
        masked("Roberta").direct_logit_attribution(PAIRS[0], 7)


class Mixing(nn.Module):
    """A head in which tokens see each other."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(16, 16)
        self.decoder = nn.Linear(16, 40)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return logits of what was summed up so far."""
        return self.decoder(torch.tanh(self.dense(states.cumsum(1))))


def test_a_head_in_which_tokens_see_each_other_is_none():
    """It cannot be run on some tokens alone, so the sweep is batched, and right."""
    model = masked("Roberta")
    torch.manual_seed(1)
    model.network.lm_head = Mixing()
    mixed = Model(model.network, name="mixed")
    with pytest.raises(ModelError, match="mixed: the final norm and the unembedding were not"):
        find_readout(mixed)
    cells = [interchange(block_output(layer, pos=at)) for layer in (0, 1) for at in range(5)]
    swept = sweep(mixed, cells, PAIRS, logit_diff)
    assert swept.plan.name == "batched"
    wanted = [score(mixed, cell, PAIRS, logit_diff, allow_inert=True).values for cell in cells]
    np.testing.assert_allclose(swept.values, np.array(wanted).T, rtol=0, atol=1e-5)


def test_logits_that_are_capped_by_another_name_are_understood():
    """The cap of xLSTM is that of Gemma-2 by another name."""
    torch.manual_seed(0)
    config = transformers.xLSTMConfig(
        vocab_size=40, hidden_size=32, num_hidden_layers=2, num_blocks=2, num_heads=4,
        output_logit_soft_cap=2.0,
    )  # fmt: skip
    network = transformers.xLSTMForCausalLM(config).eval()
    with torch.no_grad():
        network.lm_head.weight.mul_(20.0)
    found = find_readout(Model(network, name="xlstm"))
    assert found.cap == 2.0
    states = torch.randn(1, 3, 32)
    with torch.no_grad():
        plain = network.lm_head(network.backbone.out_norm(states))
    assert float(plain.abs().max()) > 2.0
    torch.testing.assert_close(found.logits(network, states), 2.0 * torch.tanh(plain / 2.0))
