"""RASP programs compiled to weights: the components that compute a variable carry it, exactly.

Each program's `circuit.json` says which head or MLP computes which variable, and which components
are unused. An interchange at a component must change the output as the RASP program says it would,
had the variable taken its value from the source. Whole outputs only: the residual stream of these
models has a dimension that balances the others, and replacing some dims would tip it.

The compiler leaves nothing to chance, so the claims are that nearly every pair behaves: more
than .9, which 60 of 60 pairs show at this file's level. Input words are drawn independently, so
each pair is its own unit (`cluster=None`).
"""

import json
import os
import random
import re
from pathlib import Path
from typing import ClassVar

import pytest

from causaltest import (
    Causal,
    InterventionError,
    Model,
    Pair,
    Pairs,
    head_attention_value_output,
    interchange,
    mlp_output,
)

N = 120
_BESIDE = Path(__file__).resolve().parents[3] / "shared" / "models"
TRACR = Path(os.environ.get("CAUSALTEST_MODELS", _BESIDE)) / "tracr"


def circuit(program):
    """The ground truth of a program; empty where the models are absent, so that tests skip."""
    path = TRACR / program / "circuit.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def unused(program):
    """Components that are identically irrelevant: `L1.head0`, `L3.mlp`."""
    return circuit(program).get("unused_components", [])


def components(program, variable):
    """The sites that compute a variable, at every token."""
    (entry,) = [each for each in circuit(program)["variables"] if each["variable"] == variable]
    return [
        head_attention_value_output(each["layer"], each["head"])
        if each["kind"] == "attn_head"
        else mlp_output(each["layer"])
        for each in entry["components"]
    ]


def variables(program, *names):
    """(variable, site) of every component that computes one of the variables, for parametrize."""
    if not circuit(program):
        return []
    return [
        pytest.param(site, id=f"{name}-{site}")
        for name in names
        for site in components(program, name)
    ]


def named(component):
    """The site of an unused component."""
    layer, head = re.fullmatch(r"L(\d+)\.(?:head(\d+)|mlp)", component).groups()
    if head is None:
        return mlp_output(int(layer))
    return head_attention_value_output(int(layer), int(head))


def load(real_models, program):
    """A compiled program as a stock transformers model."""
    network = Model.load(str(real_models / "tracr" / program / "hf")).network
    return Model(network, name=f"tracr {program}")


def asked(pair, side="base"):
    """The index of the token whose answer is read."""
    return pair.place("asked", side).indices[0]


def drawn(make, *, seed, name):
    """N pairs, all different, from a function that returns None where its draw does not fit."""
    draw = random.Random(seed)
    pairs = []
    while len(pairs) < N:
        pair = make(draw)
        if pair is not None and pair not in pairs:
            pairs.append(pair)
    return Pairs(pairs, name=name, cluster=None)


def assert_inert(model, component, pairs):
    """Every pair's source leaves the component's activation as it is, bit by bit."""
    with pytest.raises(InterventionError, match="changed no activation in any of"):
        Causal(model).accuracy(interchange(named(component)), on=pairs, expect=lambda _pair: 0)


class TestReverse:
    """reverse: BERT form, four layers; length, then the opposite index, then the token there."""

    BOS = 0
    CLASS_OF: ClassVar = {
        1: 0,
        2: 1,
        3: 2,
        5: 3,
    }  # token id of a, b, c, d to class; 4 is the padding

    @pytest.fixture(scope="session")
    @classmethod
    def model(cls, real_models):
        """The compiled program."""
        return load(real_models, "reverse")

    @classmethod
    def word(cls, draw, length):
        """BOS and some letters."""
        return (cls.BOS, *(draw.choice(list(cls.CLASS_OF)) for _ in range(length)))

    @classmethod
    def answer(cls, ids, index, length=None):
        """What `reverse` gives at an index, if it took the word for `length` letters long."""
        length = len(ids) - 1 if length is None else length
        return cls.CLASS_OF[ids[length + 1 - index]]

    @pytest.fixture(scope="session")
    @classmethod
    def lengths(cls):
        """Words of different length: had the base the source's length, another letter were due."""

        def make(draw):
            base_length, source_length = draw.sample(range(2, 6), 2)
            base, source = cls.word(draw, base_length), cls.word(draw, source_length)
            index = draw.randint(1, min(base_length, source_length))
            if source_length + 1 - index > base_length:
                return None  # the letter that would be due is beyond the word
            due = cls.answer(base, index, source_length)
            now, there = cls.answer(base, index), cls.answer(source, index)
            if due in (now, there):
                return None  # the three possible answers must differ
            return Pair(
                base, source, base_answer=now, source_answer=there, positions={"asked": index}
            )

        return drawn(make, seed=21, name="words of different length")

    @pytest.fixture(scope="session")
    @classmethod
    def letters(cls):
        """Words of equal length but other letters."""

        def make(draw):
            length = draw.randint(2, 5)
            base, source = cls.word(draw, length), cls.word(draw, length)
            index = draw.randint(1, length)
            now, there = cls.answer(base, index), cls.answer(source, index)
            if now == there:
                return None
            return Pair(
                base, source, base_answer=now, source_answer=there, positions={"asked": index}
            )

        return drawn(make, seed=22, name="words of equal length")

    @classmethod
    def with_the_length_of_the_source(cls, pair):
        """What the program answers on the base if the variable comes from the source."""
        return cls.answer(pair.base, asked(pair), len(pair.source) - 1)

    def test_the_program_is_solved(self, causal, letters):
        """The compiled model reverses words."""
        assert causal.accuracy(on=letters, at="asked") > 0.9

    @pytest.mark.parametrize("site", variables("reverse", "length", "opp_idx", "opp_idx-1"))
    def test_the_index_is_computed_where_the_circuit_says(self, causal, lengths, site):
        """The source's length at this component sends the base to the letter at that index."""
        rate = causal.accuracy(
            interchange(site.at("asked")),
            on=lengths,
            expect=self.with_the_length_of_the_source,
            at="asked",
        )
        assert rate > 0.9

    @pytest.mark.parametrize("site", variables("reverse", "reverse"))
    def test_the_letter_is_fetched_where_the_circuit_says(self, causal, letters, site):
        """The source's letter at the last head is the answer."""
        assert causal.accuracy(interchange(site.at("asked")), on=letters, at="asked") > 0.9

    @pytest.mark.causal(expect="refuted")
    def test_the_last_head_carries_the_length(self, causal, lengths):
        """A false belief: the last head carries the length, from which the letter is looked up.

        It carries the letter itself, so the base never looks up one of its own.
        """
        (site,) = components("reverse", "reverse")
        rate = causal.accuracy(
            interchange(site.at("asked")),
            on=lengths,
            expect=self.with_the_length_of_the_source,
            at="asked",
        )
        assert rate > 0.5

    def test_no_part_of_the_index_depends_on_the_letters(self, model, letters):
        """Words of equal length leave the opposite index as it is, so nothing can be concluded."""
        (site,) = components("reverse", "opp_idx")
        with pytest.raises(InterventionError, match="base and source agree at this site"):
            Causal(model).accuracy(interchange(site.at("asked")), on=letters, at="asked")

    @pytest.mark.parametrize("component", unused("reverse"))
    def test_unused_components_are_inert(self, model, letters, component):
        """A component that the compiler left empty says so instead of giving an effect of 0."""
        assert_inert(model, component, letters)

    @pytest.mark.parametrize("component", unused("reverse"))
    def test_unused_components_are_inert_on_one_prompt(self, intervene, letters, component):
        """The bare engine refuses an interchange at an empty component, too."""
        edit = interchange(named(component))
        with (
            pytest.raises(InterventionError, match="changed no activation"),
            intervene(edit, letters[0]) as run,
        ):
            run(letters[0].base)


class TestFractionOfPrevious:
    """frac_prevs_causal: GPT-2 form, one number a token; the share of x so far."""

    BOS, X = 0, 3
    OTHERS = (2, 4, 5)

    @pytest.fixture(scope="session")
    @classmethod
    def model(cls, real_models):
        """The compiled program."""
        return load(real_models, "frac_prevs_causal")

    @classmethod
    def share(cls, ids, index):
        """What `frac_prevs` gives at an index."""
        return sum(token == cls.X for token in ids[1 : index + 1]) / index

    @pytest.fixture(scope="session")
    @classmethod
    def words(cls):
        """Words that differ in whether an edited token is an x, and in the answer asked for."""

        def make(draw):
            length = draw.randint(2, 5)
            base, source = (
                (cls.BOS, *(draw.choice((cls.X, cls.X, *cls.OTHERS)) for _ in range(length)))
                for _ in range(2)
            )
            edited = draw.randint(1, length)
            index = draw.randint(edited, length)
            alike = (base[edited] == cls.X) == (source[edited] == cls.X)
            if alike or cls.share(base, index) == cls.share(source, index):
                return None
            return Pair(base, source, positions={"asked": index, "edited": edited})

        return drawn(make, seed=23, name="words with x")

    def test_whether_a_token_is_x_is_computed_where_the_circuit_says(self, causal, words):
        """One token's `is x`, taken from the source at the first MLP, acts as in the program."""

        def as_the_program_says(output, pair):
            edited = pair.place("edited").indices[0]
            mixed = (*pair.base[:edited], pair.source[edited], *pair.base[edited + 1 :])
            wanted = self.share(mixed, asked(pair))
            # Numbers of six tokens differ by at least 1/20; the model is exact to 2e-6.
            return float(abs(float(output.at("asked")[0]) - wanted) < 1e-3)

        (site,) = components("frac_prevs_causal", "map")
        effect = causal.effect(interchange(site.at("edited")), on=words, metric=as_the_program_says)
        assert effect > 0.9

    def test_the_share_is_computed_where_the_circuit_says(self, causal, words):
        """The source's share at the second head is the answer."""

        def as_the_source(output, pair):
            wanted = self.share(pair.source, asked(pair))
            return float(abs(float(output.at("asked")[0]) - wanted) < 1e-3)

        (site,) = components("frac_prevs_causal", "frac_prevs")
        effect = causal.effect(interchange(site.at("asked")), on=words, metric=as_the_source)
        assert effect > 0.9

    @pytest.mark.parametrize("component", unused("frac_prevs_causal"))
    def test_unused_components_are_inert(self, model, words, component):
        """A component that the compiler left empty says so instead of giving an effect of 0."""
        assert_inert(model, component, words)


class TestSortUnique:
    """sort_unique: BERT form; each token's rank, then the token of each rank."""

    BOS = 6

    @pytest.fixture(scope="session")
    @classmethod
    def model(cls, real_models):
        """The compiled program."""
        return load(real_models, "sort_unique")

    @staticmethod
    def ranks(ids):
        """How many tokens are smaller than each."""
        return [sorted(ids[1:]).index(token) for token in ids[1:]]

    @classmethod
    def with_the_ranks_of_the_source(cls, pair):
        """What the program answers on the base if the tokens had the ranks of the source's."""
        return pair.base[1 + cls.ranks(pair.source).index(asked(pair) - 1)]

    @pytest.fixture(scope="session")
    @classmethod
    def words(cls):
        """Words of equal length and distinct tokens whose orders disagree at the answer."""

        def make(draw):
            length = draw.randint(2, 5)
            base, source = ((cls.BOS, *draw.sample(range(6), length)) for _ in range(2))
            index = draw.randint(1, length)
            now = sorted(base[1:])[index - 1]
            if base == source or base[1 + cls.ranks(source).index(index - 1)] == now:
                return None
            return Pair(base, source, base_answer=now, positions={"asked": index})

        return drawn(make, seed=24, name="words to sort")

    def test_the_program_is_solved(self, causal, words):
        """The compiled model sorts words."""
        assert causal.accuracy(on=words, at="asked") > 0.9

    @pytest.mark.parametrize("site", variables("sort_unique", "target_pos"))
    def test_ranks_are_computed_where_the_circuit_says(self, causal, words, site):
        """The source's ranks at this component put the base's tokens into the source's order."""
        rate = causal.accuracy(
            interchange(site), on=words, expect=self.with_the_ranks_of_the_source, at="asked"
        )
        assert rate > 0.9

    @pytest.mark.parametrize("component", unused("sort_unique"))
    def test_unused_components_are_inert(self, model, words, component):
        """A component that the compiler left empty says so instead of giving an effect of 0."""
        assert_inert(model, component, words)


class TestLength:
    """length: BERT form, one layer; every component is used."""

    BOS = 0

    @pytest.fixture(scope="session")
    @classmethod
    def model(cls, real_models):
        """The compiled program."""
        return load(real_models, "length")

    @pytest.fixture(scope="session")
    @classmethod
    def words(cls):
        """Words of different length; the class of the answer is the length."""

        def make(draw):
            base, source = (
                (cls.BOS, *(draw.randint(1, 3) for _ in range(length)))
                for length in draw.sample(range(2, 7), 2)
            )
            index, spared = draw.sample(range(1, min(len(base), len(source))), 2)
            return Pair(
                base,
                source,
                base_answer=len(base) - 1,
                source_answer=len(source) - 1,
                positions={"asked": index, "spared": spared},
            )

        return drawn(make, seed=25, name="words of any length")

    @pytest.mark.parametrize("site", variables("length", "length"))
    def test_the_length_is_computed_where_the_circuit_says(self, causal, words, site):
        """The source's length at this component is the answer."""
        assert causal.accuracy(interchange(site.at("asked")), on=words, at="asked") > 0.9

    @pytest.mark.parametrize("site", variables("length", "length"))
    def test_tokens_answer_for_themselves(self, causal, words, site):
        """The source's length at one token leaves the answer at another token as it was."""
        rate = causal.accuracy(
            interchange(site.at("asked")), on=words, expect="base_answer", at="spared"
        )
        assert rate > 0.9
