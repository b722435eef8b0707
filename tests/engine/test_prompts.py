"""Tokens, positions and answers of real tokenizers, and padded batches."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from causaltest.engine.model import Model
from causaltest.engine.prompts import Batch, Prompts, Row, batch, places
from causaltest.engine.run import score
from causaltest.errors import ModelError, PairError, SiteError
from causaltest.interventions import interchange, zero_ablate
from causaltest.pairs import Characters, Pair, Pairs, Tokens
from causaltest.sites import Site, block_output

TEXT = "Once upon a time, there was a little child named Lily."


@pytest.fixture(scope="module")
def stories(real_models: Path) -> Model:
    """Return a small language model with a sentencepiece tokenizer that sets a BOS token."""
    return Model.load(str(real_models / "stories260k"), device="cpu")


@pytest.fixture(scope="module")
def letters(real_models: Path) -> Model:
    """Return a language model of single characters."""
    return Model.load(str(real_models / "babyllama-105"), device="cpu")


def bert_tokenizer() -> PreTrainedTokenizerFast:
    """Return a WordPiece tokenizer that lower-cases and sets [CLS] and [SEP]."""
    special = "[PAD] [UNK] [CLS] [SEP] [MASK]"
    words = "the cat sat on a mat . lil ##y ran run ##ning is land ##land ,"
    vocabulary = {word: index for index, word in enumerate(f"{special} {words}".split())}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]",
        sep_token="[SEP]", mask_token="[MASK]", clean_up_tokenization_spaces=False,
    )  # fmt: skip


def bytes_tokenizer() -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer as GPT-2's, with few merges."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("Ġ", "c"), ("a", "t"), ("Ġc", "at"), ("c", "at"), ("s", "at"), ("Ġ", "sat")]
    vocabulary = {piece: index for index, piece in enumerate(alphabet)}
    for merge in merges:
        vocabulary["".join(merge)] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False)


def found(prompts: Prompts, pair: Pair, pos, side="base") -> list[str]:
    """Return the tokens, as text, that a position means."""
    row = Row.of(pair, side)
    return [prompts.tokens(row.prompt)[index] for index in prompts.positions(row, pos)]


# Positions in token ids


@pytest.mark.parametrize(
    "pos, indices",
    [
        (None, (0, 1, 2, 3, 4)),
        (0, (0,)),
        (-1, (4,)),
        (-5, (0,)),
        ((3, 1), (3, 1)),
        ((-1, 0), (4, 0)),
        ("end", (4,)),
        ("end.first", (4,)),
        ("span", (1, 3)),
        ("span.first", (1,)),
        ("span.last", (3,)),
        ("last-two", (4, 3)),
    ],
)
def test_positions_are_indices_of_the_unpadded_prompt(pos, indices) -> None:
    """Names, integers from both ends, tuples and suffixes mean these tokens."""
    pair = Pair((5, 6, 7, 8, 9), positions={"span": [1, 3], "last-two": [-1, -2]})
    assert Prompts(None, "toy").positions(Row.of(pair, "base"), pos) == indices


@pytest.mark.parametrize(
    "pos, error, message",
    [
        (5, SiteError, "position 5 does not exist: base of pair p has 5 tokens"),
        (-6, SiteError, "position -6 does not exist: base of pair p has 5 tokens"),
        ((0, 9), SiteError, "position 9 does not exist"),
        (
            (4, -1),
            SiteError,
            "positions [4, -1] name a token of base of pair p (5 tokens) twice",
        ),
        ("spann", PairError, "has no position 'spann'"),
        ("spann", PairError, "did you mean 'span'?"),
        (
            "span.frist",
            SiteError,
            "position 'span.frist': the suffix 'frist' is not known; did you mean 'first'?\n"
            "expected name, name.first or name.last",
        ),
    ],
)
def test_positions_that_do_not_exist(pos, error, message) -> None:
    """A position that the prompt or the pair lacks is refused with what was expected."""
    pair = Pair((5, 6, 7, 8, 9), positions={"span": [1, 3]}, id="p")
    with pytest.raises(error, match=re.escape(message)):
        Prompts(None, "toy").positions(Row.of(pair, "base"), pos)


def test_a_name_needs_a_pair() -> None:
    """A prompt on its own has 'end' and indices, and no names."""
    prompts = Prompts(None, "toy")
    assert prompts.positions(Row((1, 2, 3)), "end") == (2,)
    with pytest.raises(
        SiteError, match="position 'name' has a name, but the prompt is not part of"
    ):
        prompts.positions(Row((1, 2, 3)), "name")
    with pytest.raises(SiteError, match="position 3 does not exist: the prompt has 3 tokens"):
        prompts.positions(Row((1, 2, 3)), 3)


def test_an_empty_prompt_is_refused() -> None:
    """A text without tokens is no prompt."""
    with pytest.raises(PairError, match="the prompt '' has no tokens"):
        Prompts(bytes_tokenizer(), "bytes").ids("")


def test_text_without_a_token_is_refused() -> None:
    """What the model would read as nothing in particular is named, with the nearest word it has."""
    prompts = Prompts(bert_tokenizer(), "bert")
    message = (
        "the prompt 'The cet sat' holds 'cet', for which bert has no token; did you mean 'cat'?\n"
        "it would be read as [UNK], as any other unknown text; write that where it is meant"
    )
    with pytest.raises(PairError) as refused:
        prompts.ids("The cet sat")
    assert str(refused.value) == message
    assert prompts.ids("The [UNK] sat") == (2, 5, 1, 7, 3)
    assert prompts.ids("The cat sat") == (2, 5, 6, 7, 3)


def test_a_tokenizer_that_begins_with_its_unknown_token() -> None:
    """OPT's first token is also the one for unknown text, and stands for none there."""
    tokenizer = bert_tokenizer()
    tokenizer.unk_token = "[CLS]"
    assert Prompts(tokenizer, "opt").ids("The cat") == (2, 5, 6, 3)


def test_tokens_beyond_the_network_are_refused() -> None:
    """Token ids, and those of another model's tokenizer, that have no embedding."""
    network = torch.nn.Module()
    table = torch.nn.Embedding(12, 4)
    network.get_input_embeddings = lambda: table  # type: ignore[assignment]
    prompts = Model(network, tokenizer=bert_tokenizer(), name="small").prompts
    assert prompts.ids((3, 11)) == (3, 11)
    told = "the prompt (3, 12) holds token 12, but small has tokens 0-11; give other token ids"
    with pytest.raises(PairError, match=re.escape(told)):
        prompts.ids((3, 12))
    told = "'The land' holds token 18, but small has tokens 0-11; does this tokenizer belong to it?"
    with pytest.raises(PairError, match=re.escape(told)):
        prompts.ids("The land")
    # A placeholder of another medium may lie beyond the embeddings.
    network.config = SimpleNamespace(image_token_id=18, vocab_size=12)  # type: ignore[assignment]
    assert prompts.ids("The land") == (2, 5, 18, 3)


# Positions in text


def test_names_in_sentencepiece(stories: Model) -> None:
    """With a BOS token and pieces that hold a leading space, names are their own tokens."""
    pair = Pair(
        TEXT,
        TEXT.replace("Lily", "Tim"),
        positions={
            "name": {"base": "Lily", "source": "Tim"},
            "kid": "child",
            "bos": Tokens((0,)),
        },
    )
    assert found(stories.prompts, pair, "name") == ["▁Lily"]
    assert found(stories.prompts, pair, "name", "source") == ["▁Tim"]
    assert found(stories.prompts, pair, "kid") == ["▁c", "h", "il", "d"]
    assert found(stories.prompts, pair, "kid.last") == ["d"]
    assert found(stories.prompts, pair, "bos") == ["<s>"]
    assert found(stories.prompts, pair, "end") == ["."]
    assert found(stories.prompts, pair, -2) == ["▁Lily"]


def test_every_word_is_found_in_every_tokenizer(stories: Model, letters: Model) -> None:
    """Whatever the tokenizer, the tokens of a word spell that word."""
    for tokenizer in (stories.prompts, letters.prompts, Prompts(bytes_tokenizer(), "bytes")):
        start = 0
        for word in TEXT.split():
            place = Characters(TEXT.index(word, start), TEXT.index(word, start) + len(word))
            start = place.stop
            pair = Pair(TEXT, positions={"word": place})
            pieces = found(tokenizer, pair, "word")
            assert "".join(pieces).replace("▁", "").replace("Ġ", "") == word


def test_a_word_of_characters_is_a_span(letters: Model) -> None:
    """A word covers its letters alone, at a prompt's start and within it."""
    pair = Pair("Lily ran", "So Lily ran", positions={"name": "Lily"})
    assert found(letters.prompts, pair, "name") == ["L", "i", "l", "y"]
    assert found(letters.prompts, pair, "name", "source") == ["L", "i", "l", "y"]


def test_names_between_special_tokens_of_bert() -> None:
    """[CLS] and [SEP] stand nowhere in the text; a word is all its pieces."""
    prompts = Prompts(bert_tokenizer(), "bert")
    pair = Pair("The cat, running.", positions={"verb": "running", "cat": "cat"})
    assert prompts.tokens(pair.base)[0] == "[CLS]"
    assert found(prompts, pair, "verb") == ["run", "##ning"]
    assert found(prompts, pair, "cat") == ["cat"]
    assert found(prompts, pair, "end") == ["[SEP]"]
    lily = Pair("Lily sat on a mat.", positions={"name": "Lily"})
    assert found(prompts, lily, "name") == ["lil", "##y"]
    assert prompts.positions(Row.of(lily, "base"), "name") == (1, 2)


def test_names_in_bytes() -> None:
    """Byte-level pieces with a leading space, and letters of several bytes, are found whole."""
    prompts = Prompts(bytes_tokenizer(), "bytes")
    pair = Pair("a cat är", positions={"cat": "cat", "verb": "är"})
    assert found(prompts, pair, "cat") == ["Ġcat"]
    assert prompts.positions(Row.of(pair, "base"), "verb")[-1] == len(prompts.ids(pair.base)) - 1
    assert len(found(prompts, pair, "verb")) >= 3  # two bytes for ä


@pytest.mark.parametrize(
    "text, place, message",
    [
        (
            "a cat",
            Characters(2, 3),
            "'c' in base of pair p shares the token ' cat' with other text",
        ),
        ("a  b", Characters(1, 2), "' ' in base of pair p falls on no token of bytes"),
    ],
)
def test_places_that_are_no_tokens(text, place, message) -> None:
    """A place within a token, or on none, is refused."""
    pair = Pair(text, positions={"place": place}, id="p")
    with pytest.raises(PairError, match=re.escape(message)):
        Prompts(bytes_tokenizer(), "bytes").positions(Row.of(pair, "base"), "place")


def test_text_places_need_a_tokenizer_that_knows_offsets() -> None:
    """Without a tokenizer, or with one that does not tell offsets, indices are asked for."""
    pair = Pair("a cat", positions={"cat": "cat"}, id="p")
    row = Row.of(pair, "base")

    class Slow:
        is_fast = False

        def __call__(self, _text: str) -> dict[str, list[int]]:
            return {"input_ids": [1, 2]}

        def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
            return ["x"] * len(ids)

    with pytest.raises(
        PairError, match="the tokenizer of slow does not tell where its tokens stand"
    ):
        Prompts(Slow(), "slow").positions(row, "cat")
    with pytest.raises(ModelError, match="toy has no tokenizer, but the prompt 'a cat' is text"):
        Prompts(None, "toy").positions(row, "cat")


# Answers


def test_answers_are_the_token_that_follows(stories: Model) -> None:
    """An answer is cut as it stands after the prompt: the token is the one the model gives."""
    base = Pair(TEXT, base_answer=" She", id="p")
    index = stories.prompts.answer_id(TEXT, " She", base)
    assert stories.prompts.tokenizer.convert_ids_to_tokens([index]) == ["▁She"]
    (output,) = stories.run([base])
    assert output.answer_id(" She") == int(output.at().argmax())
    assert stories.top(output) == " She"


@pytest.mark.parametrize(
    "prompt, answer, message",
    [
        (
            TEXT,
            "She",
            "pair p: answer 'She' is 2 tokens for stories260k ('S', 'he'); answers are compared",
        ),
        (
            TEXT + " ",
            "She",
            "pair p: answer 'She' is no token that can follow the prompt for stories260k: together",
        ),
    ],
)
def test_answers_that_are_not_one_token(prompt, answer, message, stories: Model) -> None:
    """An answer of several tokens, or one that melts into the prompt, is refused."""
    with pytest.raises(PairError, match=re.escape(message)):
        stories.prompts.answer_id(prompt, answer, Pair(prompt, id="p"))


def test_an_answer_after_a_bare_space_is_its_own_token() -> None:
    """Where pieces hold no space of their own, the answer after a space is the bare word."""
    prompts = Prompts(bytes_tokenizer(), "bytes")
    pair = Pair("a ", id="p")
    index = prompts.answer_id("a ", "cat", pair)
    assert prompts.tokenizer.convert_ids_to_tokens([index]) == ["cat"]


def test_answers_of_bert() -> None:
    """A word after a masked prompt is its own token; one that joins the last word is refused."""
    prompts = Prompts(bert_tokenizer(), "bert")
    pair = Pair("the cat is", id="p")
    assert prompts.answer_id("the cat is", " Land", pair) == 18
    with pytest.raises(PairError, match="pair p: answer ' dog' is not in the vocabulary of bert"):
        prompts.answer_id("the cat is", " dog", pair)


def test_answers_without_a_tokenizer() -> None:
    """Ids are answers as they are; text is not."""
    prompts = Prompts(None, "toy")
    pair = Pair((1, 2), id="p")
    assert prompts.answer_id((1, 2), 3, pair) == 3
    with pytest.raises(
        PairError, match=re.escape("pair p: answer 'x' is text, but toy has no tokenizer; give ans")
    ):
        prompts.answer_id((1, 2), "x", pair)


def test_answers_to_token_ids_with_a_tokenizer(stories: Model) -> None:
    """A text answer to a prompt of ids is cut on its own, and must be one token so."""
    ids = stories.prompts.ids(TEXT)
    pair = Pair(ids, id="p")
    index = stories.prompts.answer_id(ids, "She", pair)
    assert stories.prompts.tokenizer.convert_ids_to_tokens([index]) == ["▁She"]
    with pytest.raises(PairError, match="pair p: answer 'Shea' is 2 tokens"):
        stories.prompts.answer_id(ids, "Shea", pair)


# Batches


def test_a_batch_is_padded_on_the_right() -> None:
    """A token's index is the same in and out of a batch, and the mask covers real tokens."""
    made = batch([Row((1, 2, 3)), Row((4,))], Prompts(None, "toy"), torch.device("cpu"), 9)
    assert made.ids.tolist() == [[1, 2, 3], [4, 9, 9]]
    assert made.lengths == (3, 1)
    assert made.mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert made.ragged
    assert not Batch(made.rows[:1], made.ids[:1], (3,)).ragged


def test_places_of_ragged_rows() -> None:
    """Rows may have different numbers of positions."""
    made = places([(2, 0), (), (1,)], torch.device("cpu"))
    assert made.rows.tolist() == [0, 0, 2]
    assert made.positions.tolist() == [2, 0, 1]


# Rows change by their own edit only


@pytest.mark.parametrize("family", ["gpt2", "llama", "bert"])
def test_a_row_changes_by_its_own_edit_only(family, tiny, edited) -> None:
    """What stands in one pair, its source and positions included, changes no other pair's run."""
    model = tiny(family, torch.float64)
    pairs = [
        Pair((1, 2, 3, 4), (5, 6, 7, 8), positions={"x": 1}, id="a"),
        Pair((9, 8, 7), (6, 5, 4, 3), positions={"x": {"base": 0, "source": 3}}, id="b"),
        Pair(
            (3, 3, 1, 2), (2, 2, 9, 9), positions={"x": {"base": [0, 2], "source": [3, 1]}}, id="c"
        ),
    ]
    other = Pair((9, 8, 7), (1, 1, 2), positions={"x": {"base": -1, "source": 0}}, id="b")
    swap = interchange(block_output(0, pos="x"))
    first = edited(model, swap, Pairs(pairs, name="p", cluster=None))
    second = edited(model, swap, Pairs([pairs[0], other, pairs[2]], name="p", cluster=None))
    assert torch.allclose(first[0], second[0], atol=1e-12)
    assert torch.allclose(first[2], second[2], atol=1e-12)
    assert not torch.allclose(first[1], second[1], atol=1e-3)


def test_unequal_spans_are_refused(tiny) -> None:
    """An interchange across spans of different size names the pair and both sizes."""
    pairs = Pairs(
        [Pair((1, 2, 3), (4, 5, 6), positions={"x": {"base": [0, 1], "source": 2}}, id="q")],
        name="p", cluster=None,
    )  # fmt: skip
    with pytest.raises(
        PairError,
        match=re.escape(
            "position 'x' covers 2 tokens in base and 1 in source of pair q; use 'x.last' or "
            "'x.first', or pairs of equal span"
        ),
    ):
        score(tiny("gpt2"), interchange(block_output(0, pos="x")), pairs, lambda _output: 0.0)
    for pos in ("x.first", "x.last"):
        edit = interchange(block_output(0, pos=pos))
        assert len(score(tiny("gpt2"), edit, pairs, lambda output: float(output.at()[0])).values)


def test_no_position_with_unequal_lengths_is_refused(tiny) -> None:
    """Whole activations of prompts of different length cannot be interchanged."""
    pairs = Pairs([Pair((1, 2, 3), (4, 5), id="q")], name="p", cluster=None)
    with pytest.raises(
        PairError,
        match=re.escape(
            "site block_output[0] has no pos, but base (3 tokens) and source (2 tokens) differ in "
            "pair q; give pos= or positions of equal span"
        ),
    ):
        score(tiny("gpt2"), interchange(block_output(0)), pairs, lambda _output: 0.0)


def test_text_pairs_change_the_token_they_name(stories: Model, edited) -> None:
    """Zeroing the embedding at a named word equals zeroing it at that token's index."""
    pair = Pair(TEXT, positions={"name": "Lily"})
    pairs = Pairs([pair], name="p", cluster=None)
    index = stories.prompts.tokens(TEXT).index("▁Lily")
    (named,) = edited(stories, zero_ablate(Site("embedding", pos="name")), pairs)
    (counted,) = edited(stories, zero_ablate(Site("embedding", pos=index)), pairs)
    (plain,) = stories.run([pair])
    assert torch.equal(named, counted)
    assert torch.equal(named[:index], plain.logits[:index])
    assert not torch.allclose(named[index:], plain.logits[index:], atol=1e-3)
