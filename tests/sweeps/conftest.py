"""The default model with one pair of each template, and a network that is linear throughout."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from causaltest import Causal, Model, Pair, Pairs

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def schoolbook() -> Model:
    """Three blocks of four heads."""
    return Model.load(str(ROOT / "hypotheses" / "schoolbook"))


@pytest.fixture
def instrument(schoolbook) -> Causal:
    """Measures on the default model, with a trail of its own."""
    return Causal(schoolbook)


@pytest.fixture(scope="session")
def pronouns() -> Pairs:
    """She or he by the name: one pair of each template, of several lengths."""
    return Pairs.read(ROOT / "hypotheses" / "pairs" / "pronouns.jsonl", cluster="template")[::4]


@pytest.fixture(scope="session")
def even(schoolbook, pronouns) -> Pairs:
    """Pairs of six tokens."""
    kept = [pair for pair in pronouns if len(schoolbook.prompts.ids(pair.base)) == 6]
    return Pairs(kept, name="six tokens", cluster="template")


class Linear(torch.nn.Module):
    """Two linear maps over embeddings, mixed over tokens by a causal mean; no bend anywhere."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.embed = torch.nn.Embedding(11, 6)
        self.first = torch.nn.Linear(6, 6)
        self.second = torch.nn.Linear(6, 11)

    def forward(self, ids):
        """Return logits, (rows, tokens, 11)."""
        states = self.first(self.embed(ids))
        count = torch.arange(1, ids.shape[1] + 1)[None, :, None]
        return self.second(states.cumsum(dim=1) / count)


@pytest.fixture
def linear() -> Model:
    """A linear network."""
    return Model(Linear(), name="linear")


@pytest.fixture
def digits() -> Pairs:
    """Pairs of three token ids that differ in every place."""
    return Pairs(
        [
            Pair((i, i + 1, i + 2), (i + 3, i, i + 4), base_answer=i, source_answer=i + 2)
            for i in range(6)
        ],
        name="digits",
        cluster=None,
    )
