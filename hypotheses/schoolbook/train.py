"""Train the default model: a small GPT-2 on the grammar beside this file, from a seed.

    OMP_NUM_THREADS=1 python -m hypotheses.schoolbook.train

writes config.json, model.safetensors, tokenizer.json and tokenizer_config.json into this folder
(`--out` chooses another) and reports the accuracy on held-out prompts. On one machine, with one
version of torch and one thread, the weights come out bit for bit the same.
"""

from __future__ import annotations

import argparse
import logging
import random
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from hypotheses.pairs.build import build
from hypotheses.schoolbook import grammar, parts

FOLDER = Path(__file__).parent
SHARES = {"pronouns": 0.1, "indirect_objects": 0.25, "repeated_names": 0.5, "agreement": 0.15}
LENGTH = 64
LOG = logging.getLogger(__name__)
END, PAD, UNKNOWN = "<|endoftext|>", "<|pad|>", "<|unk|>"


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A word-level tokenizer of the grammar: one word or punctuation mark, one token."""
    words = [END, PAD, UNKNOWN, *grammar.vocabulary()]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END,
        eos_token=END,
        pad_token=PAD,
        unk_token=UNKNOWN,
        model_max_length=LENGTH,
        clean_up_tokenization_spaces=False,
    )


def make_model(vocabulary_size: int, layers: int, heads: int, width: int) -> GPT2LMHeadModel:
    """A GPT-2 of the given size with fresh weights and no dropout."""
    config = GPT2Config(
        vocab_size=vocabulary_size,
        n_positions=LENGTH,
        n_embd=width,
        n_layer=layers,
        n_head=heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        # GPT-2's 0.02 suits wide models; at this width recall of names forms many times later.
        initializer_range=0.12,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=1,
    )
    return GPT2LMHeadModel(config)


def batches(
    tokenizer: PreTrainedTokenizerFast, size: int, rng: random.Random
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Token ids, validity of each token, and the index of each text's answer."""
    stream = grammar.examples(SHARES, rng)
    backend = tokenizer.backend_tokenizer
    while True:
        chosen = list(islice(stream, size))
        rows = [encoding.ids for encoding in backend.encode_batch([e.text + END for e in chosen])]
        prompts = backend.encode_batch([e.prompt for e in chosen])
        answers = [len(encoding.ids) for encoding in prompts]
        width = max(map(len, rows))
        ids = torch.tensor([row + [1] * (width - len(row)) for row in rows])
        yield ids, ids != 1, torch.tensor(answers)


def loss_of(
    logits: torch.Tensor, ids: torch.Tensor, valid: torch.Tensor, answers: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy from the answer on, plus a third of the cross-entropy of what comes before."""
    losses = functional.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")
    valid = valid[:, 1:]
    determined = valid & (torch.arange(1, ids.shape[1]) >= answers[:, None])
    return losses[determined].mean() + losses[valid & ~determined].mean() / 3


def fit(
    *,
    seed: int,
    layers: int,
    heads: int,
    width: int,
    steps: int,
    batch: int,
    rate: float,
    decay: float,
) -> GPT2LMHeadModel:
    """Train a fresh model with AdamW, a linear warm-up and a cosine to zero."""
    torch.manual_seed(seed)
    tokenizer = make_tokenizer()
    model = make_model(len(tokenizer), layers, heads, width)
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=rate, total_steps=steps, pct_start=0.05, cycle_momentum=False
    )
    started = time.monotonic()
    stream = islice(batches(tokenizer, batch, random.Random(seed)), steps)
    for step, (ids, valid, answers) in enumerate(stream, start=1):
        logits = model(input_ids=ids, attention_mask=valid, use_cache=False).logits
        loss = loss_of(logits, ids, valid, answers)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 500 == 0:
            LOG.info("step %d  loss %.3f  %.0f s", step, loss, time.monotonic() - started)
            show(model, tokenizer)
    return model.eval()


@torch.inference_mode()
def accuracy(
    model: GPT2LMHeadModel,
    tokenizer: PreTrainedTokenizerFast,
    questions: Iterable[tuple[str, str]],
) -> float:
    """Share of (prompt, answer) where the answer is the most likely next word of the vocabulary."""
    prompts, answers = zip(*questions, strict=True)
    correct = 0
    for prompt, answer in zip(prompts, answers, strict=True):
        logits = model(**tokenizer(prompt, return_tensors="pt")).logits
        correct += int(logits[0, -1].argmax()) == tokenizer(answer).input_ids[0]
    return correct / len(prompts)


def fresh_questions(task: str, rng: random.Random, count: int = 300) -> list[tuple[str, str]]:
    """Templates of the training distribution, drawn anew."""
    drawn = (grammar.sample(task, rng) for _ in range(count))
    return [(example.prompt, example.answer) for example in drawn]


def pair_questions(task: str) -> list[tuple[str, str]]:
    """Base and source prompts of the pair set: templates and word pairs never trained on."""
    pairs = build(task)
    return [
        *((str(pair.base), str(pair.base_answer)) for pair in pairs),
        *((str(pair.source), str(pair.source_answer)) for pair in pairs),
    ]


def show(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Log the accuracy of each task on fresh prompts and on its pair set."""
    rng = random.Random(1)
    for task in parts.TASKS:
        fresh = accuracy(model, tokenizer, fresh_questions(task, rng))
        held_out = accuracy(model, tokenizer, pair_questions(task))
        LOG.info(
            "  %-18s fresh prompts %.2f %%  pair set %.2f %%", task, 100 * fresh, 100 * held_out
        )


def main() -> None:
    """Train and save."""
    parser = argparse.ArgumentParser(description="Train the default model.")
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=2.5e-3)
    parser.add_argument("--decay", type=float, default=0.1)
    options = parser.parse_args()

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    model = fit(
        seed=options.seed,
        layers=options.layers,
        heads=options.heads,
        width=options.width,
        steps=options.steps,
        batch=options.batch,
        rate=options.rate,
        decay=options.decay,
    )
    model.save_pretrained(options.out)
    make_tokenizer().save_pretrained(options.out)


if __name__ == "__main__":
    main()
