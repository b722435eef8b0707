"""Subspaces of third-party weights: those that a search finds, and those that theory names.

In programs that `tracr` compiled, `circuit.json` says in which dims of the residual stream each
variable is written. In the networks of Zhong et al. 2023 (arXiv 2306.17844) that add modulo 59,
numbers are embedded as waves of a few frequencies. Both are read in their native, norm-free form,
in which part of a residual vector may be replaced by itself.
"""

import json
import os
import random
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from causaltest import Causal, InterventionError, Model, Pair, Pairs, interchange, module
from causaltest.engine.subspaces import as_held
from causaltest.interventions import low_rank, mean_ablate, zero_ablate

_BESIDE = Path(__file__).resolve().parents[3] / "shared" / "models"
MODELS = Path(os.environ.get("CAUSALTEST_MODELS", _BESIDE))
PRIME = 59


class Block(nn.Module):
    """Attention and an MLP on a residual stream without normalisation."""

    def __init__(self, weights, config) -> None:
        super().__init__()
        self.weights, self.mix = weights, config.get("attn_uniform_mix")
        self.heads, self.mlp = nn.Identity(), nn.Identity()

    def forward(self, stream, seen):
        """Return the stream after the block."""
        given = self.weights

        def projected(name):
            bias = given.get(f"attn.b_{name}", torch.zeros(1, 1))
            return torch.einsum("btd,hdk->bhtk", stream, given[f"attn.W_{name}"]) + bias[:, None]

        queries, keys, values = map(projected, "QKV")
        scores = queries @ keys.mT / queries.shape[-1] ** 0.5
        pattern = scores.masked_fill(~seen, -1e30).softmax(-1)
        if self.mix is not None:
            pattern = self.mix * pattern + (1 - self.mix)
        written = torch.einsum("bhtk,hkd->btd", pattern @ values, given["attn.W_O"])
        stream = stream + self.heads(written + given.get("attn.b_O", torch.zeros(1)))
        hidden = torch.relu(stream @ given["mlp.W_in"] + given["mlp.b_in"])
        return stream + self.mlp(hidden @ given["mlp.W_out"] + given["mlp.b_out"])


class Native(nn.Module):
    """A model in the native form of the shared folder."""

    def __init__(self, folder) -> None:
        super().__init__()
        config = json.loads((folder / "toy_config.json").read_text())
        weights = load_file(folder / "model.safetensors")
        self.embed = nn.Embedding.from_pretrained(weights["embed.W_E"])
        self.places, self.readout = weights["pos_embed.W_pos"], weights["unembed.W_U"]
        self.padding = config.get("token_to_id", {}).get(config.get("pad_token"), -1)
        self.blocks = nn.ModuleList(
            Block(
                {
                    name.removeprefix(f"blocks.{layer}."): each
                    for name, each in weights.items()
                    if name.startswith(f"blocks.{layer}.")
                },
                config,
            )
            for layer in range(config["n_layers"])
        )

    def forward(self, ids):
        """Return logits at every token."""
        stream = self.embed(ids) + self.places[: ids.shape[1]]
        seen = (ids != self.padding)[:, None, None].expand(-1, 1, ids.shape[1], -1)
        for block in self.blocks:
            stream = block(stream, seen)
        return stream @ self.readout


def part_of(directions, within):
    """The part of some directions in a subspace, orthonormal; and what is left of them."""
    inside = within @ (within.mT @ directions)
    return (low_rank(torch.linalg.qr(each).Q) for each in (inside, directions - inside))


class TestReverse:
    """`reverse` of tracr: length, then the opposite index, then the token there."""

    LETTERS = (1, 2, 3, 5)
    HOW: ClassVar = {
        "by": "part", "at": "asked", "seeds": (0, 1, 2), "epochs": 30, "batch": 32,
        "learning_rate": 0.03,
    }  # fmt: skip
    WRITTEN = ((0, "length", 3), (1, "opp_idx", 4), (2, "opp_idx-1", 4))
    """After which block, which variable, and in how many directions its values differ."""

    @pytest.fixture(scope="class")
    @classmethod
    def network(cls, real_models):
        """The compiled program."""
        return Causal(Model(Native(real_models / "tracr" / "reverse"), name="reverse"))

    @pytest.fixture(scope="class")
    @classmethod
    def circuit(cls, real_models):
        """What the compiler says."""
        return json.loads((real_models / "tracr" / "reverse" / "circuit.json").read_text())

    @classmethod
    def due(cls, ids, index, length):
        """What the program answers at an index of a word that it takes for `length` long."""
        return cls.LETTERS.index(ids[length + 1 - index])

    @classmethod
    def words(cls, name, count, seed, seen=()):
        """Words of different lengths; the source answer is due if the base had its length."""
        known = {each for pairs in seen for pair in pairs for each in (pair.base, pair.source)}
        draw = random.Random(seed)
        pairs = {}
        while len(pairs) < count:
            lengths = draw.sample(range(2, 6), 2)
            base, source = ((0, *draw.choices(cls.LETTERS, k=each)) for each in lengths)
            index = draw.randint(1, min(lengths))
            if lengths[1] + 1 - index > lengths[0]:
                continue
            now, then = (cls.due(base, index, each) for each in lengths)
            if now != then and not known & {base, source}:
                pairs[base, source, index] = Pair(
                    base, source, now, then, positions={"asked": index}, labels={"part": name}
                )
        return Pairs(pairs.values(), name=name, cluster=None)

    @pytest.fixture(scope="class")
    @classmethod
    def split(cls):
        """Training, dev and test pairs, none with a prompt of an earlier one."""
        train = cls.words("train", 300, 1)
        dev = cls.words("dev", 60, 2, (train,))
        return train, dev, cls.words("test", 120, 3, (train, dev))

    def test_the_native_form_reverses_words(self, network, split):
        """The form that is read here does what the program says."""
        assert network.accuracy(on=split[2], at="asked").estimate == 1.0

    @pytest.mark.slow
    @pytest.mark.parametrize("block, variable, width", WRITTEN)
    def test_a_search_finds_the_compiled_subspace(
        self, network, circuit, split, block, variable, width
    ):
        """What it finds works through the dims that the compiler names, and through no others.

        The program decides by thresholds, so a cosine above sqrt(1/2) is all that can be learned:
        exact is that the part of the found subspace within the compiled one does everything, and
        the rest nothing.
        """
        train, dev, test = split
        site = module(f"blocks.{block}", pos="asked")
        found = network.align(site, variable=variable, on=train, dev=dev, width=width, **self.HOW)
        assert bool(found.accuracy(on=test) > 0.9)
        directions = as_held(found.intervention.subspace.basis)
        whole = torch.eye(len(directions))
        shares = {
            name: float(torch.linalg.svdvals(whole[dims] @ directions).square().sum()) / width
            for name, dims in circuit["variable_to_residual_dims"].items()
        }
        own = shares.pop(variable)
        assert own > 0.5 > 2 * max(shares.values()) - 0.1
        compiled = whole[:, circuit["variable_to_residual_dims"][variable]]
        inside, outside = part_of(directions, compiled)
        for subspace, right in ((inside, 1.0), (outside, 0.0)):
            rate = network.accuracy(interchange(site, subspace=subspace), on=test, at="asked")
            assert rate.estimate == pytest.approx(right, abs=0.05)

    def test_before_it_is_computed_there_is_nothing_to_find(self, network, split):
        """The length is not in the asked token's embedding."""
        train, dev, test = split
        found = network.align(
            module("embed", pos="asked"), variable="length", on=train, dev=dev, width=3,
            **{**self.HOW, "epochs": 5},
        )  # fmt: skip
        assert not bool(found.accuracy(on=test) > 0.5)

    @pytest.mark.slow
    def test_a_twin_that_learned_nothing_is_refuted(self, network, split):
        """The same search among shuffled weights finds no length."""
        train, dev, test = split
        found = network.align(
            module("blocks.0", pos="asked"), variable="length", on=train, dev=dev, width=3,
            **self.HOW,
        )  # fmt: skip
        twin = found.untrained(on=test, weights="shuffled")
        assert not bool(twin > 0.5)
        assert bool(found.accuracy(on=test) > twin)

    @pytest.mark.parametrize("unused", ["blocks.1.heads", "blocks.2.heads", "blocks.3.mlp"])
    def test_unused_components_fail(self, network, circuit, split, unused):
        """What a search gives at a component that writes nothing cannot even be measured."""
        named = unused.replace("blocks.", "L").replace("heads", "head0")
        assert named in circuit["unused_components"]
        train, dev, test = split
        found = network.align(
            module(unused, pos="asked"), variable="length", on=train, dev=dev, width=3,
            **{**self.HOW, "epochs": 1, "seeds": (0,)},
        )  # fmt: skip
        with pytest.raises(InterventionError, match="changed no activation"):
            found.accuracy(on=test)


class TestModularAddition:
    """(a + b) mod 59 by waves: 'The Clock and the Pizza', the authors' model A."""

    KEYS = 6

    @pytest.fixture(scope="class")
    @classmethod
    def network(cls, real_models):
        """The trained network."""
        folder = real_models / "clock-pizza" / "model-a-pizza"
        return Causal(Model(Native(folder), name="pizza"))

    @pytest.fixture(scope="class")
    @classmethod
    def waves(cls, network):
        """The directions of each frequency in the embedding, the strongest frequency first."""
        embedding = network.model.network.embed.weight
        angles = 2 * torch.pi * torch.arange(PRIME) / PRIME
        planes = [
            torch.stack([(k * angles).cos(), (k * angles).sin()]) @ embedding
            for k in range(1, (PRIME + 1) // 2)
        ]
        return sorted(planes, key=lambda plane: -float(plane.norm()))

    @staticmethod
    def span(planes):
        """The subspace that some frequencies span, and an orthonormal basis of the rest."""
        kept = torch.cat(planes).T.double()
        whole = torch.linalg.svd(kept, full_matrices=True)[0].float()
        return low_rank(whole[:, : kept.shape[1]]), low_rank(whole[:, kept.shape[1] :])

    @pytest.fixture(scope="class")
    @classmethod
    def sums(cls):
        """Pairs of sums that differ in their first number."""
        draw = random.Random(0)
        drawn = {tuple(draw.choices(range(PRIME), k=3)) for _ in range(200)}
        pairs = [
            Pair((a, b), (c, b), (a + b) % PRIME, (c + b) % PRIME)
            for a, b, c in sorted(drawn)
            if a != c
        ]
        return Pairs(pairs, name="sums", cluster=None)

    def test_the_key_frequencies_are_sufficient(self, network, waves, sums):
        """Twelve directions of the first number's embedding are the number, for the network."""
        keys, rest = self.span(waves[: self.KEYS])
        first = module("embed", pos=0)
        assert network.accuracy(interchange(first, subspace=keys), on=sums) > 0.95
        assert network.accuracy(interchange(first, subspace=rest), on=sums) < 0.05

    def test_as_many_other_directions_are_not(self, network, waves, sums):
        """Six frequencies that are no key, and twelve directions drawn at random, do nothing."""
        first = module("embed", pos=0)
        others, _ = self.span(waves[self.KEYS : 2 * self.KEYS])
        stream = torch.Generator().manual_seed(0)
        drawn = low_rank(torch.linalg.qr(torch.randn(128, 12, generator=stream)).Q)
        for subspace in (others, drawn):
            rate = network.accuracy(interchange(first, subspace=subspace), on=sums)
            assert rate.estimate < 0.05

    def test_a_twin_that_learned_nothing_is_refuted(self, network, waves, sums):
        """Among shuffled weights the key frequencies are no number, and nothing adds."""
        keys, _ = self.span(waves[: self.KEYS])
        twin = network.twin("shuffled")
        assert not bool(twin.accuracy(on=sums) > 0.5)
        assert not bool(
            twin.accuracy(interchange(module("embed", pos=0), subspace=keys), on=sums) > 0.5
        )

    @pytest.mark.parametrize("ablate", [zero_ablate, mean_ablate])
    def test_removing_them_destroys_the_sum(self, network, waves, sums, ablate):
        """Without the key frequencies the network guesses; without all else it adds as before."""
        keys, rest = self.span(waves[: self.KEYS])
        numbers = module("embed")
        removed = network.accuracy(ablate(numbers, subspace=keys), on=sums, expect="base_answer")
        assert removed < 0.15
        kept = network.accuracy(ablate(numbers, subspace=rest), on=sums, expect="base_answer")
        assert kept > 0.95
