"""Reads and edits of every component against forward passes written by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import pytest
import torch

from causaltest.interventions import (
    Intervention,
    add,
    interchange,
    mean_ablate,
    noise,
    resample_ablate,
    zero_ablate,
)
from causaltest.pairs import Pair, Pairs
from causaltest.sites import KEYED, Site

# The components of a transformer's block; other kinds of network have others.
IN_A_BLOCK = (
    "block_input", "block_output", "attention_input", "attention_output",
    "attention_value_output", "query_output", "key_output", "value_output", "mlp_input",
    "mlp_activation", "mlp_output",
)  # fmt: skip
FAMILIES = ("gpt2", "llama", "llama-wide-heads")
HEAD_COMPONENTS = (
    "head_attention_value_output", "head_query_output", "head_key_output", "head_value_output",
)  # fmt: skip
COMPONENTS = ("embedding", *IN_A_BLOCK, *HEAD_COMPONENTS)
LAYER = 1
# Llama's norm and rotary embedding compute in single precision whatever the model's type.
TOLERANCE = {"gpt2": 1e-10, "llama": 1e-6, "llama-wide-heads": 1e-6}

Replace = Callable[[np.ndarray, Pair], np.ndarray]


def site_of(component: str, head: int = 1, **where) -> Site:
    """Return the site of a component in the layer that is tested."""
    return Site(
        component,
        layer=None if component == "embedding" else LAYER,
        head=head if component in HEAD_COMPONENTS else None,
        **where,
    )


def columns(site: Site, hand) -> slice | list[int]:
    """Return the columns of the whole component that a site means."""
    config = hand.network.config
    if site.head is None:
        return slice(None) if site.dims is None else list(site.dims)
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    own = np.arange(site.head * size, (site.head + 1) * size)
    return list(own if site.dims is None else own[list(site.dims)])


def tokens_of(site: Site, pair: Pair, side: str) -> list[int]:
    """Return the tokens that a site's position means, by the contract of pairs."""
    length = len(pair.base if side == "base" else pair.source)
    if site.pos is None:
        return list(range(length))
    if isinstance(site.pos, int):
        return [site.pos % length]
    if isinstance(site.pos, tuple):
        return [index % length for index in site.pos]
    return [index % length for index in pair.place(site.pos, side).indices]


def value_at(hand, site: Site, pair: Pair, side: str) -> np.ndarray:
    """Return the activation of one side at a site, (positions, width), by hand."""
    whole = hand.read(pair.base if side == "base" else pair.source)
    name = site.component.removeprefix("head_")
    return whole[name, site.layer][tokens_of(site, pair, side)][:, columns(site, hand)]


def by_hand_logits(hand, site: Site, pair: Pair, replace: Replace) -> np.ndarray:
    """Return the base prompt's logits with one site replaced, by hand."""
    name = site.component.removeprefix("head_")
    width = hand.read(pair.base)[name, site.layer].shape[1]
    where = np.ix_(tokens_of(site, pair, "base"), np.arange(width)[columns(site, hand)])

    def edit(component: str, layer: int | None, x: np.ndarray) -> np.ndarray:
        if (component, layer) != (name, site.layer):
            return x
        x = x.copy()
        x[where] = replace(x[where], pair)
        return x

    return hand.logits(pair.base, edit)


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    """Eight pairs of unequal lengths, with positions that differ in base and source."""
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
            )
        )
    return Pairs(made, name="random", cluster=None)


@pytest.fixture(scope="module")
def alike(pairs: Pairs) -> Pairs:
    """The same pairs with sources cut or filled up to the length of their base."""
    made = []
    for pair in pairs:
        source = (2 * (pair.source or ()))[: len(pair.base)]
        made.append(Pair(pair.base, source, id=pair.id))
    return Pairs(made, name="alike", cluster=None)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_component_reads_as_by_hand(family, tiny, by_hand, pairs) -> None:
    """All components in all layers, read in one padded batch, are the numbers computed by hand."""
    model = tiny(family, torch.float64)
    hand = by_hand(model)
    assert set(model.components) - KEYED == set(COMPONENTS)
    sites = [Site("embedding")]
    sites += [Site(name, layer=n) for name in IN_A_BLOCK for n in range(model.n_layers)]
    read = model.read(sites, pairs)
    for index, pair in enumerate(pairs):
        expected = hand.read(pair.base)
        for site in sites:
            got = read[site][index].numpy()
            want = expected[site.component, site.layer]
            assert got.shape == want.shape
            np.testing.assert_allclose(got, want, atol=TOLERANCE[family], err_msg=str(site))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("component", HEAD_COMPONENTS)
def test_heads_are_slices_computed_by_hand(family, component, tiny, by_hand, pairs) -> None:
    """Head h of a component is its h-th slice, and there are as many as the configuration says."""
    model = tiny(family, torch.float64)
    hand = by_hand(model)
    config = model.network.config
    shared = component in ("head_key_output", "head_value_output")
    groups = getattr(config, "num_key_value_heads", config.num_attention_heads)
    count = groups if shared else config.num_attention_heads
    assert model.n_heads(component, LAYER) == count
    for head in range(count):
        site = site_of(component, head, dims=(2, 0))
        read = model.read(site, list(pairs))[site]
        for pair, got in zip(pairs, read, strict=True):
            want = value_at(hand, site, pair, "base")
            np.testing.assert_allclose(got.numpy(), want, atol=TOLERANCE[family])


def check(model, hand, intervention: Intervention, pairs: Pairs, edited, replace: Replace) -> None:
    """Compare an intervention at batch 1 and at batch 8 with the same edit by hand."""
    (site,) = intervention.sites
    tolerance = TOLERANCE[model.name]
    together = edited(model, intervention, pairs)
    moved = 0.0
    for index, pair in enumerate(pairs):
        want = by_hand_logits(hand, site, pair, replace)
        np.testing.assert_allclose(together[index].numpy(), want, atol=tolerance)
        moved = max(moved, float(np.abs(want - hand.read(pair.base)["logits", None]).max()))
    if not intervention.parts[0].__class__.__name__.startswith(("Mean", "Resample")):
        (alone,) = edited(model, intervention, pairs[3:4])
        np.testing.assert_allclose(
            alone.numpy(), by_hand_logits(hand, site, pairs[3], replace), atol=tolerance
        )
    # Edits that change nothing would agree whatever the engine does.
    assert moved > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("pos", ["one", "span", -2, (0, -1), None], ids=str)
def test_interchange(family, component, pos, tiny, by_hand, edited, pairs, alike) -> None:
    """Interchange at any component and position gives the logits computed by hand."""
    model = tiny(family, torch.float64)
    hand = by_hand(model)
    site = site_of(component, pos=pos)

    def replace(_old: np.ndarray, pair: Pair) -> np.ndarray:
        return value_at(hand, site, pair, "source")

    chosen = alike if pos is None else pairs
    check(model, hand, interchange(site), chosen, edited, replace)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("pos", ["span", None], ids=str)
def test_zero(family, component, pos, tiny, by_hand, edited, pairs) -> None:
    """Zero ablation at any component gives the logits computed by hand."""
    model = tiny(family, torch.float64)
    site = site_of(component, pos=pos)
    check(
        model,
        by_hand(model),
        zero_ablate(site),
        pairs,
        edited,
        lambda old, _pair: np.zeros_like(old),
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("pos", ["span", None], ids=str)
def test_mean(family, component, pos, tiny, by_hand, edited, pairs) -> None:
    """The mean is one vector over all prompts and named tokens, computed by hand."""
    model = tiny(family, torch.float64)
    hand = by_hand(model)
    site = site_of(component, pos=pos)
    entries = [value_at(hand, site, pair, side) for pair in pairs for side in ("base", "source")]
    mean = np.concatenate(entries).mean(axis=0)
    check(
        model, hand, mean_ablate(site), pairs, edited,
        lambda old, _pair: np.broadcast_to(mean, old.shape),
    )  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("component", COMPONENTS)
def test_add(family, component, tiny, by_hand, edited, pairs) -> None:
    """Adding a vector times a scale at two dims gives the logits computed by hand."""
    model = tiny(family, torch.float64)
    site = site_of(component, pos="span", dims=(4, 1))
    steer = add(site, [0.5, -2.0], scale=3.0)
    check(
        model, by_hand(model), steer, pairs, edited,
        lambda old, _pair: old + np.array([1.5, -6.0]),
    )  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("component", COMPONENTS)
def test_noise(family, component, tiny, by_hand, edited, pairs) -> None:
    """Noise is the stream of SHA-256 over seed, pair, site and draw, whatever the batch."""
    model = tiny(family, torch.float64)
    site = site_of(component, pos="span")

    def replace(old: np.ndarray, pair: Pair) -> np.ndarray:
        key = f"7\x1f{pair.id}\x1f{site}\x1f0".encode()
        words = np.frombuffer(hashlib.sha256(key).digest(), dtype=np.uint32)
        return old + 0.5 * np.random.default_rng(words).standard_normal(old.shape)

    corrupt = noise(site, sd=0.5, seed=7, draws=1)
    check(model, by_hand(model), corrupt, pairs, edited, replace)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("component", ["block_output", "mlp_activation", "head_key_output"])
def test_resample(family, component, tiny, by_hand, edited, pairs) -> None:
    """Resampling puts in the activation of the prompt that the stream draws from the others."""
    model = tiny(family, torch.float64)
    hand = by_hand(model)
    site = site_of(component, pos="span")

    def replace(_old: np.ndarray, pair: Pair) -> np.ndarray:
        key = f"7\x1f{pair.id}\x1f0".encode()
        words = np.frombuffer(hashlib.sha256(key).digest(), dtype=np.uint32)
        others = [other for other in pairs if other.id != pair.id]
        drawn = others[int(np.random.default_rng(words).integers(len(others)))]
        return value_at(hand, site, drawn, "base")

    check(model, hand, resample_ablate(site, seed=7, draws=1), pairs, edited, replace)


@pytest.mark.parametrize("component", COMPONENTS)
def test_interchange_in_single_precision(component, tiny, by_hand, edited, pairs) -> None:
    """Single-precision logits stay within 1e-6 of their size of those computed by hand."""
    model = tiny("gpt2")
    hand = by_hand(model)
    site = site_of(component, pos="span")
    got = edited(model, interchange(site), pairs)
    for pair, logits in zip(pairs, got, strict=True):
        want = by_hand_logits(
            hand, site, pair, lambda _old, pair: value_at(hand, site, pair, "source")
        )
        assert np.abs(logits.numpy() - want).max() <= 1e-6 * np.abs(want).max()
