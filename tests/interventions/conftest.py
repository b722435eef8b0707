"""A small GPT-2 with random weights, and its forward pass written by hand in NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from causaltest.engine.model import Model
from causaltest.engine.output import Output
from causaltest.engine.run import score
from causaltest.interventions import Intervention
from causaltest.pairs import Pair, Pairs

Array = np.ndarray
# Called with a component's name, its layer, its value and what its module took.
Edit = Callable[[str, int, Array, Array], Array]

WIDTH, LAYERS, HEADS = 24, 3, 4


def build(dtype: torch.dtype = torch.float32) -> Model:
    """Return the model, with no weight at a value that hides mistakes, such as 0 or 1."""
    config = GPT2Config(
        n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, n_positions=32, vocab_size=50,
        bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    network = GPT2LMHeadModel(config)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            weight.copy_(1 + 0.2 * noise if "ln_" in name and "weight" in name else 0.3 * noise)
    return Model(network.to(dtype).eval(), name="small")


@pytest.fixture(scope="session")
def model() -> Model:
    """Return the model in single precision."""
    return build()


@pytest.fixture(scope="session")
def double() -> Model:
    """Return the model in double precision."""
    return build(torch.float64)


@pytest.fixture(scope="session")
def pairs() -> Pairs:
    """Return eight pairs of unequal lengths, with positions that differ in base and source."""
    random = np.random.default_rng(5)
    made = []
    for index in range(8):
        base = random.integers(3, 50, size=6 + index % 3)
        source = random.integers(3, 50, size=5 + index % 4)
        made.append(
            Pair(
                tuple(map(int, base)),
                tuple(map(int, source)),
                positions={
                    "one": {"base": index % 4, "source": 4 - index % 4},
                    "span": {"base": [1, 3 + index % 2], "source": [2, 0]},
                },
                labels={"number": "singular" if index % 3 else "plural"},
            )
        )
    return Pairs(made, name="random", cluster=None)


def _softmax(x: Array) -> Array:
    shifted = np.exp(x - x.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


@dataclass
class ByHand:
    """A forward pass on one prompt without torch, in double precision."""

    weights: dict[str, Array]

    def _norm(self, x: Array, name: str) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def _linear(self, x: Array, name: str) -> Array:
        return x @ self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def logits(self, ids: tuple[int, ...], edit: Edit = lambda _n, _l, x, _given: x) -> Array:
        """Return logits, (tokens, classes)."""
        n, size = len(ids), WIDTH // HEADS
        x = self.weights["transformer.wte.weight"][list(ids)]
        x = x + self.weights["transformer.wpe.weight"][:n]
        for layer in range(LAYERS):
            p, start = f"transformer.h.{layer}", x
            h = self._norm(x, f"{p}.ln_1")
            q, k, v = np.split(self._linear(h, f"{p}.attn.c_attn"), 3, axis=1)
            mixed = np.empty_like(q)
            for head in range(HEADS):
                own = slice(head * size, (head + 1) * size)
                scores = q[:, own] @ k[:, own].T / math.sqrt(size)
                scores[np.triu_indices(n, 1)] = -np.inf
                mixed[:, own] = _softmax(scores) @ v[:, own]
            mixed = edit("attention_value_output", layer, mixed, h)
            x = x + edit("attention_output", layer, self._linear(mixed, f"{p}.attn.c_proj"), h)
            h = self._norm(x, f"{p}.ln_2")
            u = edit("c_fc", layer, self._linear(h, f"{p}.mlp.c_fc"), h)
            g = 0.5 * u * (1 + np.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u**3)))
            g = edit("mlp_activation", layer, g, u)
            x = x + edit("mlp_output", layer, self._linear(g, f"{p}.mlp.c_proj"), h)
            x = edit("block_output", layer, x, start)
        return self._norm(x, "transformer.ln_f") @ self.weights["lm_head.weight"].T

    def read(self, ids: tuple[int, ...], component: str, layer: int) -> Array:
        """Return one component, (tokens, width)."""
        found: list[Array] = []

        def keep(name: str, where: int, x: Array, _given: Array) -> Array:
            if (name, where) == (component, layer):
                found.append(x.copy())
            return x

        self.logits(ids, keep)
        return found[0]


@pytest.fixture(scope="session")
def hand(double: Model) -> ByHand:
    """Return the forward pass by hand."""
    state = double.network.state_dict()
    # Single precision is what the model under test computes with.
    return ByHand({name: each.float().double().numpy() for name, each in state.items()})


@pytest.fixture(scope="session")
def edited() -> Callable[[Model, Intervention, Pairs], list[torch.Tensor]]:
    """Return a function that gives the logits of every pair's base prompt under edits."""

    def logits(model: Model, intervention: Intervention, pairs: Pairs) -> list[torch.Tensor]:
        found: dict[str, torch.Tensor] = {}

        def keep(output: Output) -> float:
            assert output.row.pair is not None
            found[output.row.pair.id] = output.logits
            return 0.0

        score(model, intervention, pairs, keep)
        return [found[pair.id] for pair in pairs]

    return logits
