"""Blocks that carry states along their tokens: rows begin with the base run's, or say why not."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from causaltest.engine.model import Model
from causaltest.engine.run import score
from causaltest.engine.sweeps import fast, sweep
from causaltest.engine.sweeps.carried import Continued, remembered
from causaltest.engine.sweeps.prefix import Recorder
from causaltest.interventions import interchange, zero_ablate
from causaltest.metrics import logit_diff
from causaltest.pairs import Pair, Pairs
from causaltest.sites import Site, block_output

_BOTH = {"layer_types": ["linear_attention", "full_attention", "linear_attention"]}
_WIDE: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 44, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "vocab_size": 50, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
_MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1}
_DELTA = {
    "head_dim": 8, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "linear_num_key_heads": 2, "linear_num_value_heads": 4,
}  # fmt: skip

HYBRIDS: dict[str, tuple[str, dict[str, Any]]] = {
    "bamba": ("Bamba", {"attn_layer_indices": [1], **_MAMBA}),
    "falcon_h1": ("FalconH1", {**_MAMBA, "mamba_d_ssm": 64}),
    "granite": (
        "GraniteMoeHybrid",
        {**_BOTH, **_MAMBA, "num_local_experts": 2, "num_experts_per_tok": 1},
    ),
    "lfm2": ("Lfm2", {"layer_types": ["conv", "full_attention", "conv"]}),
    "mamba2": (
        "Mamba2", {"num_heads": 4, "head_dim": 16, "state_size": 8, "n_groups": 1, "chunk_size": 4},
    ),
    "qwen3_next": (
        "Qwen3Next",
        {**_BOTH, **_DELTA, "num_experts": 2, "num_experts_per_tok": 1,
         "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16},
    ),
}  # fmt: skip


def hybrid(name: str) -> Model:
    """Return a small random hybrid whose states matter."""
    import transformers

    family, settings = HYBRIDS[name]
    config = getattr(transformers, f"{family}Config")(**{**_WIDE, **settings})
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = getattr(transformers, f"{family}ForCausalLM")(config)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for path, parameter in network.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1:
                parameter.copy_(0.1 * noise)
            elif path.endswith("weight"):
                parameter.copy_(1 + 0.2 * noise)
    return Model(network.eval(), name=name)


@pytest.fixture
def anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin a pass at each first edited token, however short prompts are."""
    monkeypatch.setattr(fast, "buckets", partial(fast.buckets, overhead=0.0))


def pairs_of(tokens: int, count: int = 2) -> Pairs:
    """Return pairs that differ everywhere."""
    ids = torch.randint(3, 50, (count, 2, tokens), generator=torch.Generator().manual_seed(5))
    return Pairs(
        [Pair(tuple(a), tuple(b), base_answer=5, source_answer=7) for a, b in ids.tolist()],
        name="random", cluster=None,
    )  # fmt: skip


def cells_of(model: Model) -> list[Any]:
    """Return edits of blocks and of what is in them, at several tokens."""
    has = model.architecture.accesses
    return [
        interchange(Site(component, layer=layer, pos=at))
        for component in ("block_output", "block_input", "mlp_output", "mixer_output")
        for layer in range(model.n_layers)
        if (component, layer) in has
        for at in (0, 3, 6, "end")
    ] + [zero_ablate(block_output(0, pos=4))]


def loop(model: Model, cells: Any, pairs: Pairs) -> np.ndarray:
    """Return (pairs, cells): each cell by a run of its own."""
    columns = [score(model, cell, pairs, logit_diff, allow_inert=True).values for cell in cells]
    return np.array(columns).T


_OFTEN = {"lfm2", "granite", "qwen3_next"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in _OFTEN else pytest.mark.slow) for n in HYBRIDS]
)
def test_rows_of_hybrids_begin_with_the_states_of_the_base_run(name, anywhere):
    """Passes that begin at any token give what one run for each cell gives."""
    model, pairs = hybrid(name), pairs_of(9)
    cells = cells_of(model)
    found = sweep(model, cells, pairs, logit_diff)
    assert found.plan.name == "growing"
    assert "all tokens" not in str(found.plan)
    np.testing.assert_allclose(found.values, loop(model, cells, pairs), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", sorted(_OFTEN))
def test_rows_of_hybrids_do_not_lie_side_by_side(name):
    """Where passes begin at few places rows start there together, and the plan says why."""
    model, pairs = hybrid(name), pairs_of(40, 1)
    cells = [
        interchange(block_output(layer, pos=at)) for layer in range(3) for at in (20, 25, 30, 38)
    ]
    found = sweep(model, cells, pairs, logit_diff)
    assert found.plan.reasons == (
        "rows run the blocks behind their first edit, tokens from a few places on: a block carries "
        "a state from token to token",
    )
    np.testing.assert_allclose(found.values, loop(model, cells, pairs), rtol=0, atol=1e-5)
    whole = sweep(model, [interchange(block_output(0, pos=0))], pairs, logit_diff)
    assert found.plan.forward_equivalents < len(cells) * whole.plan.forward_equivalents


class Carrying(nn.Module):
    """Adds a decaying sum of what came before, which it carries in a cache."""

    reads = True
    remembers = True
    opens = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(8, 8)
        self.down = nn.Linear(8, 8)

    def forward(self, hidden_states: torch.Tensor, cache_params: Any = None) -> torch.Tensor:
        """Return the stream with the state behind each token added."""
        given = torch.tanh(self.up(hidden_states))
        state = torch.zeros_like(given[:, 0])
        if self.remembers and self.reads and cache_params is not None:
            before = cache_params.get_recurrent_state(0)
            state = state if before is None else before
        states = []
        for at in range(given.shape[1]):
            state = 0.5 * state + given[:, at]
            states.append(state)
        if self.remembers and cache_params is not None:
            cache_params.update_recurrent_state(state, 0)
        return hidden_states + self.opens * self.down(torch.stack(states, dim=1))


class Forgetful(Carrying):
    """Begins anew in each call, as some mixers do where several tokens follow."""

    reads = False


class Nearly(Forgetful):
    """The same, where that makes no difference that could be seen."""

    opens = 1e-8


class Silent(Carrying):
    """Remembers nothing in a cache."""

    remembers = False


class Apart(nn.Module):
    """Works on each token by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(8, 8)
        self.down = nn.Linear(8, 8)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Return the stream with something of each token added."""
        return hidden_states + self.down(torch.tanh(self.up(hidden_states)))


class Network(nn.Module):
    """Embedding, blocks that are handed a cache where they take one, unembedding."""

    def __init__(self, *kinds: type[nn.Module]) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.table = nn.Embedding(50, 8)
        self.blocks = nn.ModuleList([kind() for kind in kinds])
        self.head = nn.Linear(8, 50)

    def get_output_embeddings(self) -> nn.Module:
        """Return the unembedding."""
        return self.head

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        x = self.table(ids)
        for block in self.blocks:
            x = block(hidden_states=x)
        return self.head(x)


_SUFFIX = "rows run only the blocks and tokens behind their first edit"
_WHOLE = "rows run all tokens of the blocks behind their first edit: "


@pytest.mark.parametrize(
    "kind, reason",
    [
        (Carrying, _SUFFIX),
        (Forgetful, _WHOLE + "a block does not go on from what it remembers of the tokens before"),
        (Nearly, _WHOLE + "a block does not read its state where several tokens follow"),
        (Silent, _WHOLE + "keys and values are not to be had"),
        (Apart, _SUFFIX),
    ],
)
def test_what_a_block_does_with_its_state_is_found_out(kind, reason, anywhere):
    """A block that goes on is let go on; one that forgets, or tells nothing, runs all tokens."""
    model = Model(Network(kind, kind, kind), name="toy")
    pairs = pairs_of(6)
    cells = [interchange(block_output(layer, pos=at)) for layer in range(3) for at in range(6)]
    found = sweep(model, cells, pairs, logit_diff)
    assert found.plan.reasons == (reason,)
    np.testing.assert_allclose(found.values, loop(model, cells, pairs), rtol=0, atol=1e-5)


def test_a_recorder_keeps_what_caches_of_transformers_keep():
    """Inputs of a convolution, with zeros before the first token, and states, are those of its."""
    from transformers.cache_utils import LinearAttentionLayer

    given = torch.randn(2, 5, 3)
    state = torch.randn(2, 4)
    for tokens, kernel in ((2, 4), (4, 4), (5, 2), (5, None)):
        layer, recorder = LinearAttentionLayer(), Recorder()
        part = given[:, :tokens].transpose(1, 2)
        wanted = layer.update_conv_state(part, conv_kernel_size=kernel)
        assert torch.equal(recorder.update_conv_state(part, 0, conv_kernel_size=kernel), wanted)
        assert torch.equal(recorder.states["conv", 0], layer.conv_states[0])
        layer.update_recurrent_state(state)
        recorder.update_recurrent_state(state, layer_idx=0)
        assert torch.equal(recorder.states["recurrent", 0], layer.recurrent_states[0])
        # What follows sees the last inputs before it, of its own pair.
        made = remembered(recorder, 2, tokens, first=2)
        assert not isinstance(made, tuple)
        assert made is not None
        made.at[tokens] = recorder.states
        rows = torch.tensor([1, 0, 1])
        following = torch.randn(3, 3, 2)
        goes_on = Continued(made, tokens, rows, 3)
        joined = goes_on.update_conv_state(following, 0, conv_kernel_size=kernel)
        assert torch.equal(joined[0], torch.cat([layer.conv_states[0][1], following[0]], dim=-1))
        given_state = goes_on.get_recurrent_state(0)
        assert given_state is not None
        assert torch.equal(given_state, state[rows])
        given_state += 1  # a block may change its own in place
        assert torch.equal(recorder.states["recurrent", 0], state)
