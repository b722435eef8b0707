"""Small random networks of several families, and forward passes written by hand in NumPy."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from causaltest.engine.model import Model
from causaltest.engine.output import Output
from causaltest.engine.run import score
from causaltest.interventions import Intervention
from causaltest.pairs import Pairs

Array = np.ndarray
Edit = Callable[[str, int | None, Array], Array]

VOCABULARY = 50

# Class, configuration class, and settings that differ from one family to the next.
_COMMON = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_LLAMA = {
    "hidden_size": 32,
    "intermediate_size": 44,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
_NEOX = {
    "hidden_size": 32,
    "intermediate_size": 44,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
FAMILIES: dict[str, tuple[str, str, Mapping[str, object]]] = {
    "gpt2": (
        "GPT2LMHeadModel",
        "GPT2Config",
        {"n_embd": 24, "n_layer": 3, "n_head": 4, "n_positions": 64},
    ),
    "llama": ("LlamaForCausalLM", "LlamaConfig", _LLAMA),
    "llama-wide-heads": ("LlamaForCausalLM", "LlamaConfig", {**_LLAMA, "head_dim": 14}),
    "neox-parallel": (
        "GPTNeoXForCausalLM",
        "GPTNeoXConfig",
        {**_NEOX, "use_parallel_residual": True},
    ),
    "neox-sequential": (
        "GPTNeoXForCausalLM",
        "GPTNeoXConfig",
        {**_NEOX, "use_parallel_residual": False},
    ),
    "bert": ("BertForMaskedLM", "BertConfig", _NEOX),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", {**_LLAMA, "head_dim": 16}),
    "gemma2": (
        "Gemma2ForCausalLM",
        "Gemma2Config",
        {**_LLAMA, "head_dim": 10, "query_pre_attn_scalar": 10},
    ),
    "mistral": ("MistralForCausalLM", "MistralConfig", {**_LLAMA, "sliding_window": 4}),
    "gpt-oss": (
        "GptOssForCausalLM",
        "GptOssConfig",
        {
            **_LLAMA,
            "head_dim": 10,
            "num_local_experts": 3,
            "experts_implementation": "eager",
            "num_experts_per_tok": 2,
            "sliding_window": 4,
            "layer_types": ["sliding_attention", "full_attention"],
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        },
    ),
}


def build(family: str, *, dtype: torch.dtype = torch.float32, **changes: object) -> nn.Module:
    """Return a network of a family with random weights, norms and biases included."""
    import transformers

    network_class, config_class, settings = FAMILIES[family]
    config = getattr(transformers, config_class)(**{**_COMMON, **settings, **changes})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = getattr(transformers, network_class)(config)
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            gain = parameter.ndim == 1 and name.endswith("weight")
            parameter.copy_(1 + 0.2 * noise if gain else 0.15 * noise)
    return network.to(dtype).eval()


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Model]:
    """Return a function that builds a small model of a family, once for each type of number."""
    built: dict[tuple[str, torch.dtype], Model] = {}

    def model(family: str, dtype: torch.dtype = torch.float32) -> Model:
        if (family, dtype) not in built:
            built[family, dtype] = Model(build(family, dtype=dtype), name=family)
        return built[family, dtype]

    return model


@pytest.fixture
def fresh() -> Callable[..., Model]:
    """Return a function that builds a small model which no other test shares."""

    def model(family: str, dtype: torch.dtype = torch.float32, **changes: object) -> Model:
        return Model(build(family, dtype=dtype, **changes), name=family)

    return model


@pytest.fixture(scope="session")
def edited() -> Callable[..., list[torch.Tensor]]:
    """Return a function that gives the logits of every pair's base prompt under edits."""

    def logits(
        model: Model, intervention: Intervention, pairs: Pairs, *, allow_inert: bool = False
    ) -> list[torch.Tensor]:
        found: dict[str, torch.Tensor] = {}

        def keep(output: Output) -> float:
            assert output.row.pair is not None
            found[output.row.pair.id] = output.logits
            return 0.0

        score(model, intervention, pairs, keep, allow_inert=allow_inert)
        return [found[pair.id] for pair in pairs]

    return logits


@dataclass
class ByHand:
    """A forward pass without torch: reads and edits by name, on one prompt at a time."""

    network: nn.Module
    forward: Callable[[dict[str, Array], object, Sequence[int], Edit], Array]
    weights: dict[str, Array] = field(init=False)
    known: dict[tuple[int, ...], dict[tuple[str, int | None], Array]] = field(
        init=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        state = self.network.state_dict()
        self.weights = {name: each.double().numpy() for name, each in state.items()}

    def logits(self, ids: Sequence[int], edit: Edit = lambda _name, _layer, x: x) -> Array:
        """Return logits (tokens, classes)."""
        return self.forward(self.weights, self.network.config, ids, edit)

    def read(self, ids: Sequence[int]) -> dict[tuple[str, int | None], Array]:
        """Return every component, (tokens, width), and the logits under the name `logits`."""
        if tuple(ids) in self.known:
            return self.known[tuple(ids)]
        found: dict[tuple[str, int | None], Array] = {}

        def keep(name: str, layer: int | None, x: Array) -> Array:
            found[name, layer] = x.copy()
            return x

        found["logits", None] = self.logits(ids, keep)
        self.known[tuple(ids)] = found
        return found


def _softmax(x: Array) -> Array:
    shifted = np.exp(x - x.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def _mix(
    q: Array,
    k: Array,
    v: Array,
    edit: Edit,
    layer: int,
    *,
    window: int = 0,
    sinks: Array | None = None,
) -> Array:
    """Causal attention: (tokens, heads, size) each; as many key-value heads as query heads.

    A sink is a score of each head beside those of the keys: it takes a share, and has no value.
    """
    n, heads, size = q.shape
    scores = np.empty((n, heads, n))
    for head in range(heads):
        scores[:, head] = q[:, head] @ k[:, head].T / math.sqrt(size)
        scores[:, head][np.triu_indices(n, 1)] = -np.inf
        if window:
            scores[:, head][np.tril_indices(n, -window)] = -np.inf
    scores = edit("attention_scores", layer, scores.reshape(n, heads * n)).reshape(n, heads, n)
    if sinks is None:
        shares = _softmax(scores)
    else:
        beside = np.broadcast_to(sinks[None, :, None], (n, heads, 1))
        shares = _softmax(np.concatenate([scores, beside], axis=-1))[..., :n]
    pattern = edit("attention_pattern", layer, shares.reshape(n, heads * n))
    weights = pattern.reshape(n, heads, n)
    return np.stack([weights[:, head] @ v[:, head] for head in range(heads)], axis=1)


def _gpt2(w: dict[str, Array], config: object, ids: Sequence[int], edit: Edit) -> Array:
    def norm(x: Array, name: str) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + config.layer_norm_epsilon)
        return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]

    heads, n, d = config.n_head, len(ids), config.n_embd
    x = edit("embedding", None, w["transformer.wte.weight"][list(ids)])
    x = x + w["transformer.wpe.weight"][:n]
    for layer in range(config.n_layer):
        p = f"transformer.h.{layer}"
        x = edit("block_input", layer, x)
        h = edit("attention_input", layer, norm(x, f"{p}.ln_1"))
        qkv = h @ w[f"{p}.attn.c_attn.weight"] + w[f"{p}.attn.c_attn.bias"]
        q = edit("query_output", layer, qkv[:, :d])
        k = edit("key_output", layer, qkv[:, d : 2 * d])
        v = edit("value_output", layer, qkv[:, 2 * d :])
        split = [each.reshape(n, heads, d // heads) for each in (q, k, v)]
        z = edit("attention_value_output", layer, _mix(*split, edit, layer).reshape(n, d))
        a = z @ w[f"{p}.attn.c_proj.weight"] + w[f"{p}.attn.c_proj.bias"]
        x = x + edit("attention_output", layer, a)
        h = edit("mlp_input", layer, norm(x, f"{p}.ln_2"))
        u = h @ w[f"{p}.mlp.c_fc.weight"] + w[f"{p}.mlp.c_fc.bias"]
        g = 0.5 * u * (1 + np.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u**3)))
        g = edit("mlp_activation", layer, g)
        m = g @ w[f"{p}.mlp.c_proj.weight"] + w[f"{p}.mlp.c_proj.bias"]
        x = edit("block_output", layer, x + edit("mlp_output", layer, m))
    return norm(x, "transformer.ln_f") @ w["lm_head.weight"].T


def _rms(x: Array, gain: Array, eps: float) -> Array:
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * gain


def _turned(x: Array) -> Array:
    """Rotary embedding of (tokens, heads, size), halves rotated against each other."""
    n, _, size = x.shape
    rates = 10000.0 ** (-np.arange(0, size, 2) / size)
    angles = np.outer(np.arange(n), rates)
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    one, two = x[..., : size // 2], x[..., size // 2 :]
    return np.concatenate([one * cos - two * sin, two * cos + one * sin], axis=-1)


def _llama(w: dict[str, Array], config: object, ids: Sequence[int], edit: Edit) -> Array:
    heads, groups, n, size = (
        config.num_attention_heads, config.num_key_value_heads, len(ids), config.head_dim,
    )  # fmt: skip
    oss = config.model_type == "gpt_oss"

    def linear(x: Array, name: str) -> Array:
        return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0.0)

    x = edit("embedding", None, w["model.embed_tokens.weight"][list(ids)])
    for layer in range(config.num_hidden_layers):
        p = f"model.layers.{layer}"
        x = edit("block_input", layer, x)
        gain = w[f"{p}.input_layernorm.weight"]
        h = edit("attention_input", layer, _rms(x, gain, config.rms_norm_eps))
        q = edit("query_output", layer, linear(h, f"{p}.self_attn.q_proj"))
        k = edit("key_output", layer, linear(h, f"{p}.self_attn.k_proj"))
        v = edit("value_output", layer, linear(h, f"{p}.self_attn.v_proj"))
        q = _turned(q.reshape(n, heads, size))
        k = _turned(k.reshape(n, groups, size)).repeat(heads // groups, axis=1)
        v = v.reshape(n, groups, size).repeat(heads // groups, axis=1)
        slides = oss and config.layer_types[layer] == "sliding_attention"
        z = _mix(
            q, k, v, edit, layer,
            window=config.sliding_window if slides else 0, sinks=w.get(f"{p}.self_attn.sinks"),
        )  # fmt: skip
        z = edit("attention_value_output", layer, z.reshape(n, heads * size))
        x = x + edit("attention_output", layer, linear(z, f"{p}.self_attn.o_proj"))
        gain = w[f"{p}.post_attention_layernorm.weight"]
        h = edit("mlp_input", layer, _rms(x, gain, config.rms_norm_eps))
        if oss:
            m = _experts(w, config, h, f"{p}.mlp")
        else:
            gate = linear(h, f"{p}.mlp.gate_proj")
            g = gate / (1 + np.exp(-gate)) * linear(h, f"{p}.mlp.up_proj")
            m = linear(edit("mlp_activation", layer, g), f"{p}.mlp.down_proj")
        x = edit("block_output", layer, x + edit("mlp_output", layer, m))
    return _rms(x, w["model.norm.weight"], config.rms_norm_eps) @ w["lm_head.weight"].T


def _experts(w: dict[str, Array], config: object, h: Array, path: str) -> Array:
    """Mixture of experts of GPT-OSS: gates and values take turns in the columns."""
    scores = h @ w[f"{path}.router.weight"].T + w[f"{path}.router.bias"]
    mixed = np.zeros_like(h)
    for token, row in enumerate(scores):
        best = np.argsort(-row)[: config.num_experts_per_tok]
        for expert, share in zip(best, _softmax(row[best]), strict=True):
            up, down = (
                w[f"{path}.experts.{name}"][expert] for name in ("gate_up_proj", "down_proj")
            )
            wide = h[token] @ up + w[f"{path}.experts.gate_up_proj_bias"][expert]
            gate, value = np.minimum(wide[::2], 7.0), np.clip(wide[1::2], -7.0, 7.0)
            out = ((value + 1) * gate / (1 + np.exp(-1.702 * gate))) @ down
            mixed[token] += share * (out + w[f"{path}.experts.down_proj_bias"][expert])
    return mixed


@pytest.fixture(scope="session")
def by_hand() -> Callable[[Model], ByHand]:
    """Return a function that gives the forward pass by hand of a GPT-2, Llama or GPT-OSS."""
    made: dict[int, ByHand] = {}

    def forward(model: Model) -> ByHand:
        kind = _gpt2 if type(model.network).__name__.startswith("GPT2") else _llama
        return made.setdefault(id(model), ByHand(model.network, kind))

    return forward


@pytest.fixture
def count_calls() -> Iterator[Callable[[nn.Module], list[int]]]:
    """Return a function that begins to count the forward calls of a module, in a list of one."""
    handles = []

    def begin(target: nn.Module) -> list[int]:
        calls = [0]

        def add(module: nn.Module, *_: object) -> None:
            calls[0] += module is target

        # Not a hook of the module: those of the caller are silent while a network is explored.
        handles.append(register_module_forward_pre_hook(add))
        return calls

    yield begin
    for handle in handles:
        handle.remove()
