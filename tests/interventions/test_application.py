"""What is refused when an intervention meets a model, and what it leaves alone."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from causaltest.engine.intervening import intervene
from causaltest.engine.model import Model
from causaltest.engine.run import score
from causaltest.errors import InterventionError, PairError
from causaltest.interventions import (
    adapter,
    add,
    apply_function,
    autoencoder,
    boundless,
    constant,
    interchange,
    low_rank,
    partition,
    pca,
    rotated,
    set_features,
    sigmoid_mask,
    skip,
    subtract,
)
from causaltest.sites import attention_value_output, block_output, embedding, mlp_output, module

WIDTH = 24
SITE = block_output(1, pos="span")
RANDOM = np.random.default_rng(23)
R = np.linalg.qr(RANDOM.standard_normal((WIDTH, WIDTH)))[0]
GROUPS = {"singular": (0, 5), "plural": (1, 2)}
MATRIX = RANDOM.standard_normal((WIDTH, WIDTH))


def in_place(base, source):
    """Change what is given."""
    return base.mul_(2)


def scored(model, intervention, pairs):
    """Run an intervention and return its ledger."""
    return score(model, intervention, pairs, lambda _output: 0.0).ledger


REFUSED = [
    (add(SITE, [1.0, 2.0]), "the vector has 2 numbers, but block_output[1]@span is 24 wide"),
    (subtract(SITE, [1.0, 2.0]), "the vector has 2 numbers, but block_output[1]@span is 24 wide"),
    (constant(SITE, [1.0, 2.0]), "the vector has 2 numbers, but block_output[1]@span is 24 wide"),
    (
        interchange(SITE, subspace=rotated(np.eye(4), k=1)),
        "rotated(1 of 4 dims) is made for activations 4 wide, but the site is 24 wide",
    ),
    (
        set_features(SITE, autoencoder(np.eye(4), np.eye(4)), {1: 1.0}),
        "relu autoencoder(1 of 4 features) is made for activations 4 wide, but the site is 24 wide",
    ),
    (
        interchange(SITE, subspace=rotated(MATRIX, k=2)),
        "the columns of a basis of shape (24, 24) are not orthonormal: R^T R is off the identity",
    ),
    (interchange(SITE, subspace=boundless(MATRIX)), "are not orthonormal: R^T R is off"),
    (
        interchange(SITE, subspace=sigmoid_mask(MATRIX[0], rotation=MATRIX)),
        "orthogonalise it first, e.g. torch.linalg.qr(matrix).Q",
    ),
    (interchange(SITE, subspace=pca(MATRIX, k=2)), "(24, 24) are not orthonormal"),
    (
        interchange(SITE, subspace=low_rank(torch.tensor(MATRIX[:, :2]).requires_grad_())),
        "the columns of a basis of shape (24, 2) are not orthonormal",
    ),
    (
        interchange(SITE, subspace=partition({"singular": [0], "plural": [30]}, by="number")),
        "partition(2 groups by number): dim 30 does not exist: there are dims 0-23",
    ),
    (skip(attention_value_output(1)), "is the input of transformer.h.1.attn.c_proj; choose"),
    (skip(mlp_output(1)), "takes an activation of shape (8, 8, 96) and gives one of shape (8, 8"),
    (skip(mlp_output(1)), "or by its path a module such as module('transformer.h.1.mlp')"),
    (
        adapter(embedding(), np.ones((3, 1)), np.ones((1, WIDTH))),
        "takes an activation of shape (8, 8) and gives one of shape (8, 8, 24); an adapter needs",
    ),
    (
        adapter(module("transformer.h.1.mlp"), np.ones((3, 1)), np.ones((1, WIDTH))),
        "the adapter takes 3 numbers, but the module at transformer.h.1.mlp.output takes 24",
    ),
    (
        adapter(module("transformer.h.1.mlp"), np.ones((WIDTH, 1)), np.ones((1, 5))),
        "the adapter gives 5 numbers, but the module at transformer.h.1.mlp.output gives 24",
    ),
    (
        apply_function(SITE, lambda base, source: None if source is None else base),
        "returned None (NoneType); expected a tensor of shape (16, 24)",
    ),
    (apply_function(SITE, lambda base, _source: base[:, :3]), "takes numbers of shape (16"),
    (apply_function(SITE, in_place), "in_place changed the activation it was given in place"),
]  # fmt: skip


@pytest.mark.parametrize("intervention, message", REFUSED, ids=[text for _, text in REFUSED])
def test_what_does_not_fit_the_model_is_refused(intervention, message, model, pairs):
    """The site, what it takes and what was given are named."""
    with pytest.raises(InterventionError) as error:
        scored(model, intervention, pairs)
    assert message in str(error.value)


def test_partitions_need_their_labels(model, pairs):
    """A label that pairs lack, a group without dims and a prompt without a pair are named."""
    lacking = interchange(SITE, subspace=partition(GROUPS, by="nubmer"))
    with pytest.raises(PairError) as error:
        scored(model, lacking, pairs)
    assert str(error.value) == (
        "partition(2 groups by nubmer): pair random/0 has no label 'nubmer'; did you mean 'number'?"
        "\nits labels: 'number'"
    )
    unknown = interchange(SITE, subspace=partition({"plurl": (1,)}, by="number"))
    with pytest.raises(PairError) as error:
        scored(model, unknown, pairs[:1])
    assert "is in group 'plural', for which there are no dims; did you mean 'plurl'?" in str(
        error.value
    )
    alone = constant(block_output(1), 1.0, subspace=partition(GROUPS, by="number"))
    with (
        pytest.raises(InterventionError, match=r"needs pairs, whose labels say which dims are mea"),
        intervene(model, alone) as run,
    ):
        run((3, 4, 5))


@pytest.mark.parametrize("by", ["number", "id"])
def test_each_row_changes_exactly_its_own_dims(by, model, pairs):
    """Dims of a row's group are the source's, and all others bit for bit its own."""
    groups = GROUPS if by == "number" else {pair.id: (i, 2 * i + 1) for i, pair in enumerate(pairs)}
    seen: list[torch.Tensor] = []

    def look(base, source):
        seen.append(base.clone())
        return base + 1

    part = interchange(SITE, subspace=partition(groups, by=by))
    scored(model, part + apply_function(SITE, look), pairs)
    # Base and source in one batch as the engine makes it, so that bits can be compared.
    whole: list[torch.Tensor] = []

    def keep(base, source):
        whole.extend((base.clone(), source.clone()))
        return source

    scored(model, apply_function(SITE, keep, source=True), pairs)
    order = sorted(range(len(pairs)), key=lambda i: len(pairs[i].base))
    base, source = whole
    for entry, index in enumerate(np.repeat(order, 2)):
        pair = pairs[int(index)]
        own = list(groups[pair.labels["number"] if by == "number" else pair.id])
        others = [dim for dim in range(WIDTH) if dim not in own]
        assert torch.equal(seen[0][entry, own], source[entry, own])
        assert torch.equal(seen[0][entry, others], base[entry, others])
        assert not torch.equal(base[entry, own], source[entry, own])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "intervention",
    [
        interchange(SITE, subspace=rotated(R, k=3)),
        interchange(SITE, subspace=sigmoid_mask(MATRIX[0], rotation=R)),
        interchange(SITE, subspace=autoencoder(MATRIX, MATRIX)),
        set_features(SITE, autoencoder(MATRIX, MATRIX), {2: 5.0}),
        adapter(module("transformer.h.1.mlp", pos="span"), MATRIX[:, :2], MATRIX[:2]),
        constant(SITE, MATRIX[0]),
    ],
    ids=lambda each: str(each)[:40],
)
def test_half_precision_models(dtype, intervention, double, pairs):
    """Numbers of any type go into a model of half precision, whose outputs keep their type."""
    half = Model(copy.deepcopy(double.network).to(dtype), name="half")
    kinds: set[torch.dtype] = set()

    def look(output) -> float:
        kinds.add(output.logits.dtype)
        return 0.0

    ledger = score(half, intervention, pairs, look).ledger
    assert kinds == {dtype}
    assert ledger[0].changed == len(pairs)


def test_features_that_do_not_differ_change_nothing(model, pairs):
    """With the error kept, setting a feature to what it is leaves the activation bit for bit."""
    dead = autoencoder(np.zeros((WIDTH, 3)), RANDOM.standard_normal((3, WIDTH)))
    with pytest.raises(InterventionError, match=r"changed no activation in any of 8 runs"):
        scored(model, set_features(SITE, dead, {0: 0.0, 1: 0.0}), pairs)
    with pytest.raises(InterventionError, match=r"changed no activation in any of 8 runs"):
        scored(model, interchange(SITE, subspace=dead), pairs)


def test_the_ledger_counts_rows_positions_and_dims(model, pairs):
    """Each part of a sum has its own entry, in order."""
    first, second = scored(model, add(SITE, np.ones(WIDTH)) + skip(block_output(2)), pairs)
    assert (first.rows, first.positions, first.dims, first.changed) == (8, 16, 24, 8)
    assert second.positions == sum(len(pair.base) for pair in pairs)
    assert (second.intervention, second.module) == (
        "skip(block_output[2])",
        "transformer.h.2.output",
    )


def test_functions_without_source_run_without_pairs(model):
    """A function of base alone runs on any prompt; one of source says that it needs a pair."""
    alone = apply_function(block_output(1), lambda base, source: base * (2 + (source is not None)))
    with intervene(model, alone) as run:
        assert run((3, 4, 5)).logits.shape == (3, 50)
    needs = apply_function(block_output(1), torch.sub, source=True)
    with (
        pytest.raises(InterventionError, match=r"needs a source run: pass a pair, e.g. intervene"),
        intervene(model, needs) as run,
    ):
        run((3, 4, 5))
