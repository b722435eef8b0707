"""Pairs, cells and small random networks for sweeps."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable

import pytest
import torch

from causaltest.engine.model import Model
from causaltest.interventions import Intervention, interchange, noise, zero_ablate
from causaltest.pairs import Pair, Pairs
from causaltest.sites import Site

VOCABULARY = 50
_COMMON = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_WIDE: dict[str, object] = {
    "hidden_size": 32, "intermediate_size": 44, "num_hidden_layers": 3, "num_attention_heads": 4,
    "max_position_embeddings": 64,
}  # fmt: skip
_GROUPED: dict[str, object] = {**_WIDE, "num_key_value_heads": 2}
_NARROW: dict[str, object] = {"n_embd": 24, "n_layer": 3, "n_head": 4, "n_positions": 64}
_EXPERTS: dict[str, object] = {**_GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2}

MODELS: dict[str, tuple[str, str, dict[str, object]]] = {
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", _NARROW),
    "llama": ("LlamaForCausalLM", "LlamaConfig", _GROUPED),
    "neox": ("GPTNeoXForCausalLM", "GPTNeoXConfig", _WIDE),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", {**_GROUPED, "head_dim": 16}),
    "opt": (
        "OPTForCausalLM", "OPTConfig",
        {"hidden_size": 32, "ffn_dim": 44, "num_hidden_layers": 3, "num_attention_heads": 4,
         "max_position_embeddings": 64, "word_embed_proj_dim": 32},
    ),
    "mistral": ("MistralForCausalLM", "MistralConfig", {**_GROUPED, "sliding_window": 4}),
    "gemma2": (
        "Gemma2ForCausalLM", "Gemma2Config",
        {**_GROUPED, "head_dim": 10, "query_pre_attn_scalar": 10, "sliding_window": 4},
    ),
    "gemma3": (
        "Gemma3ForCausalLM", "Gemma3TextConfig",
        {**_GROUPED, "head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 4},
    ),
    "phi": ("PhiForCausalLM", "PhiConfig", _WIDE),
    "falcon": (
        "FalconForCausalLM", "FalconConfig",
        {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "alibi": True},
    ),
    "bloom": ("BloomForCausalLM", "BloomConfig", {"hidden_size": 32, "n_layer": 3, "n_head": 4}),
    "gptj": ("GPTJForCausalLM", "GPTJConfig", {**_NARROW, "rotary_dim": 4}),
    "stablelm": ("StableLmForCausalLM", "StableLmConfig", {**_WIDE, "num_key_value_heads": 4}),
    "mixtral": ("MixtralForCausalLM", "MixtralConfig", _EXPERTS),
    "gptoss": (
        "GptOssForCausalLM", "GptOssConfig", {**_EXPERTS, "head_dim": 8, "sliding_window": 4},
    ),
    "mpt": ("MptForCausalLM", "MptConfig",
            {"d_model": 32, "n_layers": 3, "n_heads": 4, "max_seq_len": 64}),
    "bert": ("BertForMaskedLM", "BertConfig", _WIDE),
    "mamba": ("MambaForCausalLM", "MambaConfig",
              {"hidden_size": 32, "num_hidden_layers": 3, "state_size": 4}),
    "jamba": (
        "JambaForCausalLM", "JambaConfig",
        {**_GROUPED, "num_experts": 2, "mamba_d_state": 4, "use_mamba_kernels": False,
         "attn_layer_period": 2, "attn_layer_offset": 1},
    ),
}  # fmt: skip
"""Class, configuration and settings of each architecture that is tried."""


def build(name: str, **changes: object) -> Model:
    """Return a small random model of an architecture."""
    import transformers

    network_class, config_class, settings = MODELS[name]
    config = getattr(transformers, config_class)(**{**_COMMON, **settings, **changes})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = getattr(transformers, network_class)(config)
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for path, parameter in network.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            gain = parameter.ndim == 1 and path.endswith("weight")
            parameter.copy_(1 + 0.2 * noise if gain else 0.15 * noise)
    return Model(network.eval(), name=name)


@pytest.fixture(scope="session")
def small() -> Callable[[str], Model]:
    """Return a function that gives a small model of an architecture, built once."""
    built: dict[str, Model] = {}

    def model(name: str) -> Model:
        if name not in built:
            built[name] = build(name)
        return built[name]

    return model


_OFTEN = {"gpt2", "llama", "gemma2", "bloom", "gptoss", "bert", "jamba"}


@pytest.fixture(
    params=[pytest.param(name, marks=() if name in _OFTEN else pytest.mark.slow) for name in MODELS]
)
def architecture(request: pytest.FixtureRequest, small: Callable[[str], Model]) -> Model:
    """Each architecture in turn."""
    return small(request.param)


@pytest.fixture
def own() -> Callable[..., Model]:
    """Return a function that builds a model which no other test shares."""
    return build


@pytest.fixture(scope="session")
def some_pairs() -> Callable[..., Pairs]:
    """Return a function that makes pairs which agree in their first tokens."""

    def pairs(
        count: int = 3, *, tokens: int = 9, same: int = 3, ragged: bool = False, seed: int = 0
    ) -> Pairs:
        draw = random.Random(seed)
        found: list[Pair] = []
        for index in range(count):
            length = tokens - 2 * (index % 2) if ragged else tokens
            base = [draw.randrange(3, VOCABULARY) for _ in range(length)]
            other = [(token - 2 + draw.randrange(40)) % 47 + 3 for token in base]
            source = base[:same] + other[same:]
            found.append(Pair(tuple(base), tuple(source), base_answer=5, source_answer=7))
        return Pairs(found, name="some", cluster=None)

    return pairs


@pytest.fixture(scope="session")
def many_cells() -> Callable[[Model], list[Intervention]]:
    """Return a function that gives cells of every kind of place that a model has."""

    def cells(model: Model) -> list[Intervention]:
        has, last = model.components, model.n_layers - 1
        found: list[Intervention] = [
            interchange(Site(component, layer=layer, pos=pos))
            for component in ("block_output", "block_input", "mlp_output", "attention_output")
            for layer in range(last + 1)
            if component in has and (component, layer) in model.architecture.accesses
            for pos in (-7, 4, -2, "end")
        ]
        found += [
            interchange(Site(f"head_{component}", layer=layer, head=0, pos=pos))
            for component in ("attention_value_output", "key_output")
            for layer in range(last + 1)
            if f"head_{component}" in has and (component, layer) in model.architecture.accesses
            for pos in (4, "end")
        ]
        found += [
            interchange(Site(component, layer=1, head=head))
            for component, head in (("block_output", None), ("head_attention_value_output", 0))
            if component in has
            and (component.removeprefix("head_"), 1) in model.architecture.accesses
        ]
        corrupt = noise(Site("embedding", pos=(2, 3)), sd=0.5, draws=2)
        found += [
            corrupt + interchange(Site("block_output", layer=layer, pos="end"))
            for layer in range(last + 1)
        ]
        found += [
            zero_ablate(Site("block_output", layer=0)),
            interchange(Site("block_output", layer=1, pos=5))
            + zero_ablate(Site("block_output", layer=last, pos="end")),
        ]
        return found

    return cells
