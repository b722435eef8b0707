"""Models in bfloat16 and float16: every kind of edit, to within what the type allows."""

from __future__ import annotations

import copy
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from causaltest.engine.gradients import differentiable
from causaltest.engine.model import Model
from causaltest.engine.prompts import Row
from causaltest.engine.run import score_identity
from causaltest.engine.subspaces import within
from causaltest.interventions import (
    adapter,
    add,
    apply_function,
    autoencoder,
    boundless,
    constant,
    freeze,
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
    set_features,
    sigmoid_mask,
    skip,
    subtract,
    zero_ablate,
)
from causaltest.pairs import Pair, Pairs
from causaltest.sites import (
    HEAD_COMPONENTS,
    Site,
    block_output,
    head_query_output,
    mlp_output,
    module,
)

WIDTH = 24
SITE = block_output(1, pos="it")
RANDOM = np.random.default_rng(7)
R = np.linalg.qr(RANDOM.standard_normal((WIDTH, WIDTH)))[0]
V = RANDOM.standard_normal(WIDTH)
TABLE = RANDOM.standard_normal((WIDTH, 30)) / 5
HALVES = [torch.bfloat16, torch.float16]
PAIRS = Pairs(
    [
        Pair((5, 9, 17, 4, 30), (6, 10, 2), positions={"it": {"base": [1, 3], "source": [2, 0]}},
             labels={"number": "one"}, id="a"),
        Pair((8, 3, 44), (41, 12, 9, 5), positions={"it": {"base": [0, 1], "source": [3, 1]}},
             labels={"number": "two"}, id="b"),
    ],
    name="numbers",
    cluster=None,
)  # fmt: skip
EVERY_KIND = {
    "interchange": interchange(SITE),
    "head": interchange(head_query_output(1, 2, pos="it")),
    "zero": zero_ablate(mlp_output(1, pos="it")),
    "mean": mean_ablate(SITE),
    "resample": resample_ablate(SITE, draws=1),
    "noise": noise(SITE, sd=0.5, draws=1),
    "constant": constant(SITE, V),
    "add": add(SITE, V, scale=2.0),
    "subtract": subtract(SITE, V),
    "scale": scale(SITE, -1.5),
    "skip": skip(block_output(1, pos="it")),
    "function": apply_function(SITE, lambda base, source: base.float() * source.abs(), source=True),
    "adapter": adapter(module("transformer.h.1.mlp", pos="it"), TABLE[:, :2], TABLE.T[:2]),
    "rotated": interchange(SITE, subspace=rotated(R, k=5)),
    "low rank": interchange(SITE, subspace=low_rank(R[:, :3])),
    "boundless": interchange(SITE, subspace=boundless(R, boundary=0.4, temperature=2.0)),
    "mask": interchange(SITE, subspace=sigmoid_mask(V, temperature=0.5)),
    "rotated mask": interchange(SITE, subspace=sigmoid_mask(V, rotation=R)),
    "pca": interchange(SITE, subspace=pca(R, mean=V, k=4)),
    "autoencoder": interchange(SITE, subspace=autoencoder(TABLE, TABLE.T)),
    "partition": interchange(
        SITE, subspace=partition({"one": (0, 5), "two": (1, 2)}, by="number", basis=R)
    ),
    "features": set_features(SITE, autoencoder(TABLE, TABLE.T), {2: 3.0}),
    "chain": from_source("source", interchange(SITE), under=scale(block_output(0), 1.5)),
    "path": interchange(block_output(0, pos="it")) + freeze(mlp_output(1)),
}


@cache
def _models(dtype: torch.dtype) -> tuple[Model, Model]:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(5)
    config = GPT2Config(n_embd=WIDTH, n_layer=3, n_head=4, n_positions=64, vocab_size=50,
                        bos_token_id=1, eos_token_id=2, pad_token_id=0)  # fmt: skip
    network = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            drawn = torch.randn_like(weight)
            weight.copy_(1 + 0.2 * drawn if "ln_" in name and "weight" in name else 0.15 * drawn)
    half = network.to(dtype)
    return Model(half, name="half"), Model(copy.deepcopy(half).float(), name="single")


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("kind", EVERY_KIND)
def test_an_edit_is_as_exact_as_a_plain_run(kind, dtype, edited) -> None:
    """Half and single precision differ under an edit by little more than they do without."""
    half, single = _models(dtype)
    assert half.components == single.components
    plain = _off(*([each.logits for each in model.run(list(PAIRS))] for model in (half, single)))
    found = edited(half, EVERY_KIND[kind], PAIRS)
    assert {each.dtype for each in found} == {dtype}
    assert _off(found, edited(single, EVERY_KIND[kind], PAIRS)) <= 3 * plain
    assert half.dtype == dtype


def _off(found: list[Tensor], wanted: list[Tensor]) -> float:
    """Return how far logits are off, relative to the largest."""
    off = max(
        float((a.double() - b.double()).abs().max()) for a, b in zip(found, wanted, strict=True)
    )
    return off / max(float(each.abs().max()) for each in wanted)


@pytest.mark.parametrize("dtype", HALVES)
def test_identity_edits_are_exact(dtype) -> None:
    """Every component replaced by itself leaves every bit of the logits, so the floor is 0."""
    model, _ = _models(dtype)
    sites = [
        Site(name, layer=None if name == "embedding" else layer, pos="it",
             head=1 if name in HEAD_COMPONENTS else None)
        for name in model.components for layer in ((0,) if name == "embedding" else (0, 2))
    ]  # fmt: skip
    # Within attention the kernel is another one, so only places between modules are bit for bit.
    sites = [site for site in sites if isinstance(model.access(site).side, str)]
    found: dict[str, Tensor] = {}
    score_identity(
        model, sites, PAIRS, lambda output: found.update({output.row.pair.id: output.logits}) or 0.0
    )
    for pair, output in zip(PAIRS, model.run(list(PAIRS)), strict=True):
        assert torch.equal(found[pair.id], output.logits)
    read = model.read(sites, [PAIRS[0]])
    assert {each[0].dtype for each in read.values()} == {dtype}


@pytest.mark.parametrize("dtype", HALVES)
def test_subspaces_are_computed_in_single_precision(dtype) -> None:
    """What is put in is the exact mixture of the halves, rounded once."""
    base, source = (torch.randn(4, WIDTH).to(dtype) for _ in range(2))
    rows = (Row((1,), PAIRS[0]),) * 4
    turn = torch.from_numpy(R)
    exact = base.double() + ((source - base.double()) @ turn[:, :5]) @ turn[:, :5].mT
    for subspace in (rotated(R, k=5), low_rank(R[:, :5])):
        found = within(subspace, base, source, (rows, (1, 1, 1, 1)))
        assert found.dtype == dtype
        step = torch.finfo(dtype).eps * exact.abs().clamp(min=torch.finfo(dtype).tiny)
        assert ((found.double() - exact).abs() <= 0.51 * step).all()


@pytest.mark.parametrize("dtype", HALVES)
def test_bases_are_trained_in_their_own_type(dtype) -> None:
    """A basis in single precision gets its gradient in single precision from a half model."""
    half, single = _models(dtype)
    slopes = []
    for model in (half, single):
        basis = torch.from_numpy(R[:, :3]).float().requires_grad_()
        edit = interchange(SITE, subspace=low_rank(basis))
        with differentiable(model, edit, PAIRS[:1]) as (output,):
            output.at().float()[7].backward()
        assert basis.grad.dtype == torch.float32
        slopes.append(basis.grad)
    together = torch.nn.functional.cosine_similarity(*(each.flatten() for each in slopes), dim=0)
    assert together > 0.99


@pytest.mark.parametrize("dtype", HALVES)
def test_texts_are_written_in_the_type(dtype) -> None:
    """Logits of steered texts are numbers of the model's type, though transformers widens them."""
    model, _ = _models(dtype)
    for use_cache in (True, False):
        texts = model.generate(
            [(3, 1, 4)], max_new_tokens=3, intervention=add(block_output(1), V), when="every step",
            use_cache=use_cache, keep_logits=True,
        )  # fmt: skip
        logits = texts[0].logits
        assert logits is not None
        assert torch.equal(logits.to(dtype).to(logits.dtype), logits)
