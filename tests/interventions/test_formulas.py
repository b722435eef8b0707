"""Every intervention against its formula, in a forward pass written by hand."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from causaltest.interventions import (
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
    partition,
    pca,
    rotated,
    scale,
    scale_features,
    set_features,
    sigmoid_mask,
    skip,
    subtract,
    zero_ablate,
    zero_features,
)
from causaltest.pairs import Pair, Pairs
from causaltest.sites import block_output, head_attention_value_output, module

LAYER = 1
WIDTH = 24
RANDOM = np.random.default_rng(17)


def orthogonal(width: int) -> np.ndarray:
    """Return a random orthogonal matrix."""
    return np.linalg.qr(RANDOM.standard_normal((width, width)))[0]


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Return the logistic function."""
    return 1 / (1 + np.exp(-x))


R = orthogonal(WIDTH)
VECTOR = RANDOM.standard_normal(WIDTH)
MEAN, SPREAD = RANDOM.standard_normal(WIDTH), RANDOM.uniform(0.5, 2, WIDTH)
MASK = RANDOM.standard_normal(WIDTH)
M = 40
ENCODER, DECODER = 0.3 * RANDOM.standard_normal((2, WIDTH, M))
DECODER = DECODER.T.copy()
B_ENC, B_DEC = RANDOM.uniform(1, 2, M), RANDOM.standard_normal(WIDTH)
THRESHOLD = RANDOM.uniform(0, 1, M)
GROUPS = {"singular": (0, 5, 7), "plural": (1, 2)}
CHOSEN = list(range(0, 40, 2))


def swapped(before: np.ndarray, after: np.ndarray, dims) -> np.ndarray:
    """Return `before` with some columns of `after`."""
    result = before.copy()
    result[:, list(dims)] = after[:, list(dims)]
    return result


def features(x: np.ndarray, activation: str, *, centred: bool) -> np.ndarray:
    """Return what an autoencoder makes of activations, entry by entry."""
    p = (x - B_DEC if centred else x) @ ENCODER + B_ENC
    if activation == "jumprelu":
        return p * (p > THRESHOLD)
    if activation == "topk":
        z = np.zeros_like(p)
        for row, each in enumerate(p):
            for index in np.argsort(-each)[:6]:
                z[row, index] = max(each[index], 0)
        return z
    return np.maximum(p, 0) if activation == "relu" else p


def sae(activation: str, *, keep_error: bool = True, centred: bool = False):
    """Return the autoencoder of these numbers."""
    extra = {"jumprelu": {"threshold": THRESHOLD}, "topk": {"top": 6}}.get(activation, {})
    return autoencoder(
        ENCODER, DECODER, encoder_bias=B_ENC, decoder_bias=B_DEC, activation=activation,
        centred=centred, features=CHOSEN, keep_error=keep_error, **extra,
    )  # fmt: skip


def by_sae(activation: str, *, keep_error: bool = True, centred: bool = False):
    """Return the formula of an interchange of features."""

    def formula(e) -> np.ndarray:
        z = features(e.base, activation, centred=centred)
        new = swapped(z, features(e.source, activation, centred=centred), CHOSEN)
        return e.base + (new - z) @ DECODER if keep_error else new @ DECODER + B_DEC

    return formula


def by_feature_edit(change):
    """Return the formula of an edit of features."""

    def formula(e) -> np.ndarray:
        z = features(e.base, "relu", centred=False)
        new = z.copy()
        new[:, [3, 30]] = change(new[:, [3, 30]])
        return e.base + (new - z) @ DECODER

    return formula


def by_rotation(dims):
    """Return the formula of an interchange of rotated dims: rotate, swap, rotate back."""
    return lambda e: swapped(e.base @ R, e.source @ R, dims) @ R.T


def by_pca(components: np.ndarray, k: int, *, keep_error: bool):
    """Return the formula of an interchange of principal components."""

    def formula(e) -> np.ndarray:
        z = (e.base - MEAN) / SPREAD @ components.T
        new = swapped(z, (e.source - MEAN) / SPREAD @ components.T, range(k))
        lost = e.base - (z @ components * SPREAD + MEAN) if keep_error else 0.0
        return new @ components * SPREAD + MEAN + lost

    return formula


def by_boundless(boundary: float, heat: float):
    """Return the formula of boundless DAS, direction by direction."""

    def formula(e) -> np.ndarray:
        rb, rs = e.base @ R, e.source @ R
        for i in range(WIDTH):
            m = sigmoid(i / heat) * sigmoid((boundary * WIDTH - i) / heat)
            rb[:, i] = (1 - m) * rb[:, i] + m * rs[:, i]
        return rb @ R.T

    return formula


def by_mask(basis: np.ndarray):
    """Return the formula of a sigmoid mask in a basis."""
    m = sigmoid(MASK / 0.5)
    return lambda e: ((1 - m) * (e.base @ basis) + m * (e.source @ basis)) @ basis.T


def by_partition(key):
    """Return the formula of dims that differ from pair to pair."""
    return lambda e: swapped(e.base, e.source, key(e.pair))


@dataclass(frozen=True)
class Case:
    """An intervention at a site, and the formula it stands for."""

    make: object
    formula: object


def within(subspace) -> object:
    """Return a function from a site to an interchange within a subspace."""
    return lambda site: interchange(site, subspace=subspace)


def doubled(base, source):
    """Return twice the difference; a function that can be imported."""
    return base + 2 * (source - base)


IDS = {f"random/{index}": (index, 2 * index + 1) for index in range(8)}
COMPONENTS = orthogonal(WIDTH)

CASES = {
    "interchange": Case(interchange, lambda e: e.source),
    "interchange, dims": Case(
        lambda site: interchange(block_output(LAYER, pos=site.pos, dims=(4, 1))),
        lambda e: swapped(e.base, e.source, (4, 1)),
    ),
    "constant vector": Case(lambda s: constant(s, VECTOR), lambda e: VECTOR + 0 * e.base),
    "constant number": Case(lambda s: constant(s, 1.5), lambda e: 1.5 + 0 * e.base),
    "constant, rotated": Case(
        lambda s: constant(s, VECTOR, subspace=rotated(R, k=5)),
        lambda e: swapped(e.base @ R, (VECTOR + 0 * e.base) @ R, range(5)) @ R.T,
    ),
    "add": Case(lambda s: add(s, VECTOR, scale=-2.0), lambda e: e.base - 2 * VECTOR),
    "subtract": Case(lambda s: subtract(s, VECTOR), lambda e: e.base - VECTOR),
    "scale": Case(lambda s: scale(s, -0.5), lambda e: -0.5 * e.base),
    "zero, rotated": Case(
        lambda s: zero_ablate(s, subspace=rotated(R, dims=[2, 9])),
        lambda e: swapped(e.base @ R, 0 * e.base, [2, 9]) @ R.T,
    ),
    "skip": Case(skip, lambda e: e.given),
    "function": Case(
        lambda s: apply_function(s, lambda base, source: base.abs() + (source is None)),
        lambda e: np.abs(e.base) + 1,
    ),
    "function of source": Case(
        lambda s: apply_function(s, doubled, source=True), lambda e: 2 * e.source - e.base
    ),
    "rotated": Case(within(rotated(R, k=7)), by_rotation(range(7))),
    "rotated dims": Case(within(rotated(R, dims=(20, 3))), by_rotation((20, 3))),
    "low rank": Case(within(low_rank(R[:, 4:6])), by_rotation((4, 5))),
    "boundless": Case(within(boundless(R, boundary=0.3, temperature=2.0)), by_boundless(0.3, 2.0)),
    "boundless, clamped": Case(within(boundless(R, boundary=7, temperature=9)), by_boundless(1, 9)),
    "sigmoid mask": Case(within(sigmoid_mask(MASK, temperature=0.5)), by_mask(np.eye(WIDTH))),
    "sigmoid mask, rotated": Case(
        within(sigmoid_mask(MASK, temperature=0.5, rotation=R)), by_mask(R)
    ),
    "pca": Case(
        within(pca(COMPONENTS, mean=MEAN, scale=SPREAD, k=6)),
        by_pca(COMPONENTS, 6, keep_error=False),
    ),
    "pca, few": Case(
        within(pca(COMPONENTS[:9], mean=MEAN, scale=SPREAD, k=6)),
        by_pca(COMPONENTS[:9], 6, keep_error=True),
    ),
    "pca, few, no error": Case(
        within(pca(COMPONENTS[:9], mean=MEAN, scale=SPREAD, k=6, keep_error=False)),
        by_pca(COMPONENTS[:9], 6, keep_error=False),
    ),
    "partition by label": Case(
        within(partition(GROUPS, by="number")),
        by_partition(lambda pair: GROUPS[pair.labels["number"]]),
    ),
    "partition by pair": Case(
        within(partition(IDS, by="id")), by_partition(lambda pair: IDS[pair.id])
    ),
    "partition, rotated": Case(
        within(partition(GROUPS, by="number", basis=R)),
        lambda e: swapped(e.base @ R, e.source @ R, GROUPS[e.pair.labels["number"]]) @ R.T,
    ),
    "zero features": Case(
        lambda s: zero_features(s, sae("relu"), [3, 30]), by_feature_edit(lambda z: 0 * z)
    ),
    "set features": Case(
        lambda s: set_features(s, sae("relu"), {3: 2.0, 30: 4.0}),
        by_feature_edit(lambda z: np.add(0 * z, [2.0, 4.0])),
    ),
    "add features": Case(
        lambda s: add_features(s, sae("relu"), {3: 2.0, 30: 4.0}),
        by_feature_edit(lambda z: np.add(z, [2.0, 4.0])),
    ),
    "scale features": Case(
        lambda s: scale_features(s, sae("relu"), {3: 2.0, 30: 4.0}),
        by_feature_edit(lambda z: z * [2.0, 4.0]),
    ),
    "direction projected out": Case(
        lambda s: zero_features(s, rotated(R, k=1), [5]),
        lambda e: e.base - np.outer(e.base @ R[:, 5], R[:, 5]),
    ),
    "component set": Case(
        lambda s: set_features(s, pca(COMPONENTS, mean=MEAN, scale=SPREAD, k=1), {2: 0.7}),
        lambda e: (
            swapped((e.base - MEAN) / SPREAD @ COMPONENTS.T, 0 * e.base + 0.7, [2]) @ COMPONENTS
        ) * SPREAD + MEAN,
    ),
}  # fmt: skip
for name in ("relu", "jumprelu", "topk", "identity"):
    CASES[name] = Case(within(sae(name)), by_sae(name))
    CASES[f"{name}, centred, no error"] = Case(
        within(sae(name, keep_error=False, centred=True)),
        by_sae(name, keep_error=False, centred=True),
    )


def by_hand_logits(hand, component: str, pos: str, pair, formula) -> np.ndarray:
    """Return the logits of a pair's base with one component replaced by a formula."""
    here = list(pair.place(pos, "base").indices)
    there = list(pair.place(pos, "source").indices)
    source = hand.read(pair.source, component, LAYER)[there]

    def edit(name: str, layer: int, x: np.ndarray, given: np.ndarray) -> np.ndarray:
        if (name, layer) != (component, LAYER):
            return x
        x = x.copy()
        x[here] = formula(
            SimpleNamespace(base=x[here], source=source, given=given[here], pair=pair)
        )
        return x

    return hand.logits(pair.base, edit)


def check(model, hand, edited, pairs, intervention, component: str, pos: str, formula) -> None:
    """Compare at batch 8 and batch 1; what changes nothing would agree whatever the engine does."""
    together = edited(model, intervention, pairs)
    (alone,) = edited(model, intervention, pairs[3:4])
    moved = 0.0
    for index, pair in enumerate(pairs):
        want = by_hand_logits(hand, component, pos, pair, formula)
        moved = max(moved, np.abs(want - hand.logits(pair.base)).max())
        for got in [together[index], alone] if index == 3 else [together[index]]:
            assert np.abs(got.numpy() - want).max() <= 1e-6 * np.abs(want).max()
    assert moved > 1e-2


@pytest.mark.parametrize("pos", ["one", "span"])
@pytest.mark.parametrize("name", CASES)
def test_formula_on_the_residual_stream(name, pos, model, hand, edited, pairs):
    """The intervention gives the logits of its formula, at one token and at several."""
    case = CASES[name]
    intervention = case.make(block_output(LAYER, pos=pos))
    check(model, hand, edited, pairs, intervention, "block_output", pos, case.formula)


@pytest.mark.parametrize("pos", ["one", "span"])
def test_subspace_of_a_head(pos, model, hand, edited, pairs):
    """A rotation within one head's six dims leaves the other heads alone."""
    turn = orthogonal(6)
    site = head_attention_value_output(LAYER, 2, pos=pos)

    def formula(e) -> np.ndarray:
        new = e.base.copy()
        own = slice(12, 18)
        new[:, own] = swapped(e.base[:, own] @ turn, e.source[:, own] @ turn, (0, 1)) @ turn.T
        return new

    part = interchange(site, subspace=rotated(turn, k=2))
    check(model, hand, edited, pairs, part, "attention_value_output", pos, formula)


def test_skip_of_a_sublayer(model, hand, edited, pairs):
    """Skipping an MLP writes its normalised input to the stream."""
    check(
        model, hand, edited, pairs, skip(module(f"transformer.h.{LAYER}.mlp", pos="span")),
        "mlp_output", "span", lambda e: e.given,
    )  # fmt: skip


@pytest.mark.parametrize("pos", ["one", "span"])
def test_adapter_on_a_linear_layer(pos, model, hand, edited, pairs):
    """An adapter adds its low-rank map of the layer's input to the layer's output."""
    down, up = RANDOM.standard_normal((WIDTH, 3)), RANDOM.standard_normal((3, 4 * WIDTH))
    site = module(f"transformer.h.{LAYER}.mlp.c_fc", pos=pos)
    part = adapter(site, down, up, scale=0.5)
    check(
        model, hand, edited, pairs, part, "c_fc", pos,
        lambda e: e.base + 0.5 * e.given @ down @ up,
    )  # fmt: skip


def test_mean_within_a_subspace(model, hand, edited, pairs):
    """Mean ablation of rotated dims keeps all others."""
    site = block_output(LAYER, pos="span")
    entries = [
        hand.read(prompt, "block_output", LAYER)[list(pair.place("span", side).indices)]
        for pair in pairs
        for side, prompt in (("base", pair.base), ("source", pair.source))
    ]
    mean = np.concatenate(entries).mean(axis=0)
    part = mean_ablate(site, over=pairs, subspace=rotated(R, k=7))
    check(
        model, hand, edited, pairs, part, "block_output", "span",
        lambda e: swapped(e.base @ R, (mean + 0 * e.base) @ R, range(7)) @ R.T,
    )  # fmt: skip


def test_edits_at_one_site_compose_in_order(model, hand, edited, pairs):
    """Dims 1 and 3 from the source, then dims 0 and 1 from a second one: the second has dim 1."""
    first = block_output(LAYER, pos="span", dims=(1, 3))
    second = block_output(LAYER, pos="span", dims=(0, 1))
    stored = np.array([5.0, -3.0])

    def formula(e) -> np.ndarray:
        new = e.base.copy()
        new[:, [1, 3]] = e.source[:, [1, 3]]
        new[:, [0, 1]] = stored
        return new

    def reverse(e) -> np.ndarray:
        new = e.base.copy()
        new[:, [0, 1]] = stored
        new[:, [1, 3]] = e.source[:, [1, 3]]
        return new

    one, other = interchange(first), constant(second, stored)
    check(model, hand, edited, pairs, one + other, "block_output", "span", formula)
    check(model, hand, edited, pairs, other + one, "block_output", "span", reverse)


def test_subspaces_of_different_bases_compose_in_order(model, hand, edited, pairs):
    """A rotation's dims, then a mask on the result: the mask sees what the rotation left."""
    site = block_output(LAYER, pos="span")
    linked = interchange(site, subspace=rotated(R, dims=(1, 3)))
    linked += interchange(site, subspace=sigmoid_mask(MASK, temperature=0.5))
    linked += zero_features(site, rotated(R, k=1), [0, 1])

    def formula(e) -> np.ndarray:
        x = swapped(e.base @ R, e.source @ R, (1, 3)) @ R.T
        m = sigmoid(MASK / 0.5)
        x = (1 - m) * x + m * e.source
        return swapped(x @ R, 0 * x, (0, 1)) @ R.T

    check(model, hand, edited, pairs, linked, "block_output", "span", formula)


def test_two_parts_of_one_basis_are_the_whole_of_both(model, edited, pairs):
    """Dims 0-2 and dims 3-6 of one rotation, in either order, are dims 0-6 of it."""
    site = block_output(LAYER, pos="span")
    low = interchange(site, subspace=rotated(R, dims=range(3)))
    high = interchange(site, subspace=rotated(R, dims=range(3, 7)))
    whole = edited(model, interchange(site, subspace=rotated(R, k=7)), pairs)
    for order in (low + high, high + low):
        for got, want in zip(edited(model, order, pairs), whole, strict=True):
            np.testing.assert_allclose(got.numpy(), want.numpy(), atol=1e-5)


def test_skip_sees_what_the_module_gets(model, hand, edited, pairs):
    """An edit of a module's input, written before or after the skip, comes out of the module."""
    block = f"transformer.h.{LAYER}"
    entered, left = add(module(block, side="input"), VECTOR), skip(module(block))

    def edit(name: str, layer: int, x: np.ndarray, given: np.ndarray) -> np.ndarray:
        return given + VECTOR if (name, layer) == ("block_output", LAYER) else x

    for both in (entered + left, left + entered):
        for logits, pair in zip(edited(model, both, pairs), pairs, strict=True):
            want = hand.logits(pair.base, edit)
            assert np.abs(logits.numpy() - want).max() <= 1e-6 * np.abs(want).max()


def test_two_sources_in_one_learned_basis(model, hand, edited):
    """Rotated dims 1 and 3 from the source, then 0 and 1 from a second one, compose in order."""
    linked = Pairs(
        [
            Pair(
                tuple(range(3 + i, 9 + i)),
                tuple(range(20 + i, 27 + i)),
                sources={"second": tuple(range(40, 34, -1))},
                positions={"span": {"base": [1, 4], "source": [2, 0], "second": [3, 5]}},
            )
            for i in range(8)
        ],
        name="linked",
        cluster=None,
    )
    site = block_output(LAYER, pos="span")
    first = interchange(site, subspace=rotated(R, dims=(1, 3)))
    second = from_source("second", interchange(site, subspace=rotated(R, dims=(0, 1))))

    def formula(e) -> np.ndarray:
        other = hand.read(e.pair.sources["second"], "block_output", LAYER)[[3, 5]]
        turned = swapped(e.base @ R, e.source @ R, (1, 3))
        return swapped(turned, other @ R, (0, 1)) @ R.T

    check(model, hand, edited, linked, first + second, "block_output", "span", formula)
