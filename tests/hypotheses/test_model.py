"""The committed default model: small, loadable offline, accurate as its card says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from causaltest.pairs import Pairs
from hypotheses.schoolbook.train import accuracy, fit, make_tokenizer


def stated_accuracy(folder: Path, task: str) -> float:
    """The model card's accuracy on a task's pair set, as a share."""
    card = (folder / "README.md").read_text(encoding="utf-8")
    row = re.search(rf"\| `{task}` \| [\d.]+ % \| ([\d.]+) % \|", card)
    assert row is not None
    return float(row[1]) / 100


def test_the_files_are_small(folder: Path) -> None:
    """Weights and tokenizer together stay under 2 MB."""
    files = [*folder.glob("*.safetensors"), *folder.glob("*.json")]
    assert sum(file.stat().st_size for file in files) < 2_000_000


def test_the_weights_are_single_precision_without_dropout(model: PreTrainedModel) -> None:
    """All parameters are float32, and training mode would change nothing."""
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    config = model.config
    assert config.resid_pdrop == config.embd_pdrop == config.attn_pdrop == 0


def test_accuracy_on_the_pair_set(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    task: str,
    pairs: Pairs,
) -> None:
    """The most likely next word is the answer as often as the card says, and at least in 99 %."""
    base = [(str(pair.base), str(pair.base_answer)) for pair in pairs]
    source = [(str(pair.source), str(pair.source_answer)) for pair in pairs]
    share = accuracy(model, tokenizer, base + source)
    assert share == pytest.approx(stated_accuracy(folder, task), abs=5e-4)
    assert share >= 0.99


def test_padding_changes_nothing(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pairs: Pairs
) -> None:
    """A batch padded on the right gives the logits that each prompt gives alone."""
    prompts = [str(pair.base) for pair in pairs[:8]]
    with torch.inference_mode():
        batch = tokenizer(prompts, return_tensors="pt", padding=True)
        together = model(**batch).logits
        for row, prompt in enumerate(prompts):
            alone = model(**tokenizer(prompt, return_tensors="pt")).logits[0]
            torch.testing.assert_close(together[row, : len(alone)], alone, atol=1e-4, rtol=1e-4)


def test_text_survives_the_tokenizer(tokenizer: PreTrainedTokenizerBase, pairs: Pairs) -> None:
    """Decoding gives back every prompt as it was written, punctuation included."""
    for pair in pairs:
        assert tokenizer.decode(tokenizer(str(pair.base)).input_ids) == pair.base


def test_offsets_are_the_words(tokenizer: PreTrainedTokenizerBase) -> None:
    """Character offsets cover exactly the words, so that positions given in characters hold."""
    text = "In short, Mary helped"
    offsets = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    assert [text[a:b] for a, b in offsets] == ["In", "short", ",", "Mary", "helped"]


def test_an_answer_is_one_token_with_or_without_its_space(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    """The leading space of an answer, which GPT-2 needs, does no harm here."""
    assert tokenizer(" she").input_ids == tokenizer("she").input_ids
    assert len(tokenizer(" she").input_ids) == 1


def test_the_tokenizer_is_what_the_script_makes(tokenizer: PreTrainedTokenizerBase) -> None:
    """The committed vocabulary is that of the grammar, in the same order."""
    assert tokenizer.get_vocab() == make_tokenizer().get_vocab()


def test_generation_ends_the_sentence(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Greedy generation answers, closes the sentence and stops by itself."""
    prompt = tokenizer(
        "When Mary and John went to the park, John gave a drink to", return_tensors="pt"
    )
    output = model.generate(**prompt, max_new_tokens=8, do_sample=False)[0]
    new = tokenizer.decode(output[prompt.input_ids.shape[1] :], skip_special_tokens=True)
    assert new == "Mary."


def test_training_is_reproducible() -> None:
    """The same seed gives the same weights, bit for bit, and another seed gives others."""
    first, again, other = (
        fit(seed=seed, layers=1, heads=2, width=8, steps=3, batch=4, rate=1e-3, decay=0.1)
        for seed in (5, 5, 6)
    )
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])
    assert not torch.equal(first.lm_head.weight, other.lm_head.weight)
