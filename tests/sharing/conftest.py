"""A small model, pairs, and one intervention of every kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from causaltest.engine.model import Model
from causaltest.engine.output import Output
from causaltest.engine.run import score
from causaltest.interventions import (
    Intervention,
    adapter,
    add,
    add_features,
    apply_function,
    autoencoder,
    boundless,
    constant,
    from_source,
    interchange,
    low_rank,
    mean_ablate,
    noise,
    partition,
    pca,
    resample_ablate,
    rotated,
    scale,
    scale_features,
    set_features,
    sigmoid_mask,
    skip,
    subtract,
    zero_ablate,
)
from causaltest.pairs import Pair, Pairs
from causaltest.sites import block_output, mlp_activation, module

WIDTH = 16


def network(seed: int = 3, width: int = WIDTH) -> GPT2LMHeadModel:
    """Return a network with random weights."""
    torch.manual_seed(seed)
    config = GPT2Config(
        n_embd=width, n_layer=2, n_head=2, n_positions=16, vocab_size=20,
        bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    made = GPT2LMHeadModel(config)
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return made.eval()


@pytest.fixture(scope="session")
def model() -> Model:
    """Return a model."""
    return Model(network(), name="small")


@pytest.fixture(scope="session")
def pairs() -> Pairs:
    """Return four pairs with labels and positions."""
    return Pairs(
        [
            Pair(
                (3, 4 + i, 5, 6),
                (7, 4, 8 + i, 9),
                labels={"number": "singular" if i % 2 else "plural"},
                positions={"mid": {"base": 1, "source": 2}},
            )
            for i in range(4)
        ],
        name="numbers",
        cluster="number",
    )


@pytest.fixture(scope="session")
def logits() -> Callable[[Model, Intervention, Pairs], list[torch.Tensor]]:
    """Return a function that gives the logits of every pair's base prompt under edits."""

    def run(model: Model, intervention: Intervention, pairs: Pairs) -> list[torch.Tensor]:
        found: list[torch.Tensor] = []

        def keep(output: Output) -> float:
            found.append(output.logits)
            return 0.0

        score(model, intervention, pairs, keep)
        return found

    return run


def halved(base: torch.Tensor, source: torch.Tensor | None) -> torch.Tensor:
    """Return half an activation."""
    return base / 2


def everything(pairs: Pairs) -> dict[str, Intervention]:
    """Return an intervention of every kind."""
    random = np.random.default_rng(11)
    site = block_output(0, pos="mid")
    turn = np.linalg.qr(random.standard_normal((WIDTH, WIDTH)))[0]
    vector = random.standard_normal(WIDTH)
    enter, leave = random.standard_normal((WIDTH, 20)), random.standard_normal((20, WIDTH))
    sae = autoencoder(enter, leave, encoder_bias=np.ones(20))
    jump = autoencoder(enter, leave, activation="jumprelu", threshold=np.full(20, 0.1))
    top = autoencoder(enter, leave, activation="topk", top=3, keep_error=False, centred=True)
    groups = {"singular": (0, 1), "plural": range(2, 5)}
    subspaces = {
        "rotated": rotated(turn, k=4),
        "low rank": low_rank(torch.tensor(turn[:, :2], dtype=torch.float32)),
        "boundless": boundless(turn, boundary=0.3, temperature=2.0),
        "mask": sigmoid_mask(vector),
        "rotated mask": sigmoid_mask(vector, rotation=turn, temperature=0.1),
        "pca": pca(turn[:5], mean=vector, scale=np.full(WIDTH, 2.0), k=3, keep_error=False),
        "partition": partition(groups, by="number"),
        "rotated partition": partition(groups, by="number", basis=turn),
        "sae": sae.features(0, 3, 5),
        "jump": jump,
        "top": top,
    }
    made: dict[str, Intervention] = {
        name: interchange(site, subspace=each) for name, each in subspaces.items()
    }
    made |= {
        "interchange": interchange(site, mlp_activation(1, pos=-1, dims=(3, 1))),
        "zero": zero_ablate(site, block_output(1)),
        "mean": mean_ablate(site, over=pairs),
        "mean of the claim": mean_ablate(site),
        "resample": resample_ablate(site, over=pairs[1:], seed=4, draws=2),
        "noise": noise(site, sd=0.5, seed=9, draws=2),
        "add": add(site, vector, scale=-2.0),
        "subtract": subtract(site, vector),
        "constant": constant(site, vector),
        "number": constant(module("transformer.h.0.mlp", pos=(0, -1)), 2),
        "scale": scale(site, 0.1 + 0.2),
        "skip": skip(block_output(1)),
        "adapter": adapter(module("transformer.h.1.mlp", pos="mid"), enter, leave, scale=0.5),
        "set features": set_features(site, sae, {1: 2.0, 4: -1.0}),
        "add to features": add_features(site, sae, {1: 2.0}),
        "from source": from_source(
            "source", interchange(site), under=subtract(site, vector), optional=True
        ),
        "scale directions": scale_features(site, rotated(turn, k=1), {2: -1.0}),
    }
    made["joint"] = made["rotated"] + made["mean"] + made["rotated mask"] + made["mean"]
    return made


KINDS = [
    "add", "adapter", "add to features", "boundless", "constant", "from source",
    "interchange", "joint", "jump", "low rank", "mask", "mean", "mean of the claim", "noise",
    "number", "partition", "pca",
    "resample", "rotated", "rotated mask", "rotated partition", "sae", "scale", "scale directions",
    "set features", "skip", "subtract", "top", "zero",
]  # fmt: skip


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    """Name each kind in turn."""
    return request.param


@pytest.fixture(scope="session")
def kinds(pairs: Pairs) -> dict[str, Intervention]:
    """Return one intervention of every kind, by name."""
    made = everything(pairs)
    assert sorted(made) == sorted(KINDS)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder that is not there yet."""
    return tmp_path / "saved"


@pytest.fixture
def other() -> Callable[..., Model]:
    """Return a function that makes another model."""
    return lambda name="other", **changes: Model(network(**changes), name=name)


@pytest.fixture
def halving() -> Intervention:
    """Return an intervention by a function of this file."""
    return apply_function(block_output(0, pos="mid"), halved)
