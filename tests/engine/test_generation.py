"""Generation under edits against loops written by hand and against transformers' own generate."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from causaltest.engine.intervening import intervene
from causaltest.engine.model import Model
from causaltest.errors import InterventionError, ModelError, SiteError
from causaltest.interventions import (
    add,
    apply_function,
    interchange,
    mean_ablate,
    noise,
    resample_ablate,
    scale,
    skip,
    zero_ablate,
)
from causaltest.pairs import Pair, Pairs
from causaltest.sites import block_output, head_attention_value_output, mlp_output, module

FAMILIES = ("gpt2", "llama", "neox-parallel", "qwen3", "gemma2", "mistral")
BLOCKS = {"gpt2": "transformer.h", "neox-parallel": "gpt_neox.layers"}
NEW = 7
PROMPTS = ((5, 9, 17, 4, 30), (8,), (12, 33, 6), (7, 21, 40, 11, 3, 25, 19))


def block(model: Model, layer: int) -> nn.Module:
    """Return a block of a model by the path that its family gives it."""
    path = BLOCKS.get(model.name, "model.layers")
    return model.network.get_submodule(f"{path}.{layer}")


def hidden(output: Any) -> torch.Tensor:
    """Return the hidden states in a block's output."""
    return output[0] if isinstance(output, tuple) else output


def written_by_hand(model: Model, prompt, change, *, layer=1, count=NEW):
    """Write greedily without cache; `change(states, tokens)` edits a block's output, (T, width)."""
    ids, logits = list(prompt), []

    def hook(_module, _given, output):
        states = hidden(output).clone()
        change(states[0], len(ids))
        return (states, *output[1:]) if isinstance(output, tuple) else states

    handle = block(model, layer).register_forward_hook(hook)
    try:
        for _ in range(count):
            with torch.no_grad():
                found = model.network(torch.tensor([ids]), use_cache=False).logits[0, -1]
            logits.append(found)
            ids.append(int(found.argmax()))
    finally:
        handle.remove()
    return tuple(ids[len(prompt) :]), torch.stack(logits)


def unchanged(_states, _tokens):
    """Edit nothing."""


@pytest.fixture
def vector() -> torch.Tensor:
    """A vector large enough to change what is written."""
    return torch.randn(32, generator=torch.Generator().manual_seed(3))


def steering(model: Model, vector: torch.Tensor, layer: int = 1):
    """Return the addition of as much of a vector as a model is wide."""
    width = 24 if model.name == "gpt2" else 32
    return add(block_output(layer), vector[:width]), vector[:width]


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_plain_text_is_that_of_transformers(tiny, family, use_cache):
    """Without edits, a padded batch gets the tokens that the network writes for each alone."""
    model = tiny(family)
    found = model.generate(
        PROMPTS, max_new_tokens=NEW, use_cache=use_cache, eos_token_id=None, keep_logits=True
    )
    for prompt, text in zip(PROMPTS, found, strict=True):
        ids, logits = written_by_hand(model, prompt, unchanged)
        assert text.ids == ids
        torch.testing.assert_close(text.logits, logits, rtol=1e-5, atol=1e-5)
        alone = model.network.generate(
            torch.tensor([prompt]), max_new_tokens=NEW, do_sample=False, pad_token_id=0,
            min_new_tokens=NEW,
        )  # fmt: skip
        if 2 not in ids:
            assert tuple(alone[0, len(prompt) :].tolist()) == ids


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_steering_every_step(tiny, vector, family, use_cache):
    """Every step edits the last token of the prompt and each new one, with a cache or without."""
    model = tiny(family)
    edit, added = steering(model, vector)
    found = model.generate(
        PROMPTS, max_new_tokens=NEW, intervention=edit, when="every step", use_cache=use_cache,
        eos_token_id=None, keep_logits=True,
    )  # fmt: skip
    for prompt, text in zip(PROMPTS, found, strict=True):

        def change(states, tokens, prompt=prompt):
            first = len(prompt) - 1
            states[first:tokens] += added

        ids, logits = written_by_hand(model, prompt, change)
        assert text.ids == ids
        torch.testing.assert_close(text.logits, logits, rtol=1e-5, atol=1e-5)
    (entry,) = found.ledger
    assert (entry.fired, entry.rows, entry.positions, entry.changed) == (NEW, 4, 4 * NEW, 4)


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_steering_chosen_steps(tiny, vector, family, use_cache):
    """Only the tokens read at the chosen steps are edited."""
    model = tiny(family)
    edit, added = steering(model, vector)
    found = model.generate(
        PROMPTS, max_new_tokens=NEW, intervention=edit, when=[3, 1], use_cache=use_cache,
        eos_token_id=None, keep_logits=True,
    )  # fmt: skip
    for prompt, text in zip(PROMPTS, found, strict=True):

        def change(states, tokens, prompt=prompt):
            first = len(prompt) - 1
            for step in (1, 3):
                if first + step < tokens:
                    states[first + step] += added

        ids, logits = written_by_hand(model, prompt, change)
        assert text.ids == ids
        torch.testing.assert_close(text.logits, logits, rtol=1e-5, atol=1e-5)
    (entry,) = found.ledger
    assert (entry.fired, entry.positions) == (2, 4 * 2)


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_interchange_on_the_prompt(tiny, family, use_cache):
    """An interchange edits each row's own prompt positions, and no token that is written."""
    model = tiny(family)
    pairs = [
        Pair((5, 9, 17, 4, 30), (6, 10, 2), positions={"it": {"base": [1, 3], "source": [2, 0]}}),
        Pair((8, 3), (41, 12, 9, 5), positions={"it": {"base": [0, 1], "source": [3, 1]}}),
        Pair((12, 33, 6), (13, 34, 7), positions={"it": [0, 2]}),
    ]
    found = model.generate(
        pairs, max_new_tokens=NEW, intervention=interchange(block_output(1, pos="it")),
        when="prompt", use_cache=use_cache, eos_token_id=None, keep_logits=True,
    )  # fmt: skip
    for pair, text in zip(pairs, found, strict=True):
        taken = {}

        def keep(_module, _given, output, taken=taken):
            taken["states"] = hidden(output)[0]

        handle = block(model, 1).register_forward_hook(keep)
        with torch.no_grad():
            model.network(torch.tensor([pair.source]), use_cache=False)
        handle.remove()

        def change(states, tokens, pair=pair, taken=taken):
            place = pair.positions["it"]
            states[list(place.base.indices)] = taken["states"][list(place.source.indices)]

        ids, logits = written_by_hand(model, pair.base, change)
        assert text.ids == ids
        torch.testing.assert_close(text.logits, logits, rtol=1e-5, atol=1e-5)
    (entry,) = found.ledger
    assert (entry.fired, entry.positions, entry.changed) == (1, 6, 3)


def test_an_edit_of_the_prompt_is_not_one_of_the_steps(tiny, vector):
    """The same vector at the end of the prompt alone, and at every step, writes different texts."""
    model = tiny("gpt2")
    edit, _ = steering(model, 3 * vector)
    once = add(block_output(1, pos="end"), edit.vector)
    settings = {"max_new_tokens": NEW, "keep_logits": True, "eos_token_id": None}
    prompt = model.generate(PROMPTS[0], intervention=once, when="prompt", **settings)
    first = model.generate(PROMPTS[0], intervention=edit, when=[0], **settings)
    every = model.generate(PROMPTS[0], intervention=edit, when="every step", **settings)
    assert torch.equal(prompt[0].logits, first[0].logits)
    assert torch.equal(prompt[0].logits[0], every[0].logits[0])
    assert not torch.allclose(prompt[0].logits[1], every[0].logits[1], atol=1e-3)


def with_bias(model: Model, layer: int, added: torch.Tensor) -> Model:
    """Return a copy of a GPT-2 whose MLP writes a vector more."""
    network = copy.deepcopy(model.network)
    with torch.no_grad():
        network.transformer.h[layer].mlp.c_proj.bias += added
    return Model(network, name=model.name)


@pytest.mark.parametrize("beams", [2, 5])
def test_beams_are_all_edited(tiny, vector, beams):
    """Steering one-token prompts under beam search equals beam search of weights with a bias."""
    model, added = tiny("gpt2"), vector[:24]
    prompts = [(token,) for token in (5, 8, 21)]
    settings = {"max_new_tokens": NEW, "num_beams": beams, "num_return_sequences": 2}
    steered = model.generate(
        prompts, intervention=add(mlp_output(1), added), when="every step", keep_logits=True,
        **settings,
    )  # fmt: skip
    biased = with_bias(model, 1, added)
    clean = model.generate(prompts, **settings)
    assert [text.ids for text in steered] != [text.ids for text in clean]
    for index, prompt in enumerate(prompts):
        wanted = biased.network.generate(
            torch.tensor([prompt]), do_sample=False, pad_token_id=0, output_logits=True,
            return_dict_in_generate=True, **settings,
        )  # fmt: skip
        for rank in range(2):
            text = steered[2 * index + rank]
            new = wanted.sequences[rank, 1:].tolist()[: len(text.ids)]
            assert list(text.ids) == new
            rows = wanted.beam_indices[rank].tolist()
            logits = [wanted.logits[k][rows[k]] for k in range(len(new))]
            torch.testing.assert_close(text.logits, torch.stack(logits), rtol=1e-5, atol=1e-5)


def test_beams_without_a_cache_find_the_same(tiny, vector):
    """Beam search does not depend on the cache, where prompts are edited in a padded batch."""
    model = tiny("llama")
    edit = add(block_output(1, pos=(0, -1)), 2 * vector)
    prompts = PROMPTS[2:] + PROMPTS[:1]
    found = [
        model.generate(
            prompts, max_new_tokens=NEW, num_beams=3, intervention=edit, when="prompt",
            use_cache=use_cache,
        )
        for use_cache in (True, False)
    ]  # fmt: skip
    assert [text.ids for text in found[0]] == [text.ids for text in found[1]]
    for prompt, text in zip(prompts, found[0], strict=True):
        alone = model.generate(
            prompt, max_new_tokens=NEW, num_beams=3, intervention=edit, when="prompt"
        )
        assert alone[0].ids == text.ids


def test_samples_are_those_of_edited_weights(tiny, vector):
    """Samples of a steered model are those of the same seed from weights with a bias."""
    model, added = tiny("gpt2"), vector[:24]
    settings = {
        "max_new_tokens": NEW, "do_sample": True, "temperature": 1.3, "num_return_sequences": 5,
        "seed": 4,
    }  # fmt: skip
    prompts = [(5,), (8,)]
    steered = model.generate(
        prompts, intervention=add(mlp_output(1), added), when="every step", **settings
    )
    biased = with_bias(model, 1, added).generate(prompts, **settings)
    assert [text.ids for text in steered] == [text.ids for text in biased]
    assert len({text.ids for text in steered[:5]}) > 1


def test_samples_depend_on_seed_and_prompt_alone(tiny):
    """The same seed draws the same text in any company; the caller's random state is untouched."""
    model = tiny("gpt2")
    settings = {"max_new_tokens": NEW, "do_sample": True}
    before = torch.random.get_rng_state()
    together = model.generate(PROMPTS, seed=1, **settings)
    assert torch.equal(torch.random.get_rng_state(), before)
    alone = [model.generate(prompt, seed=1, **settings)[0] for prompt in reversed(PROMPTS)]
    assert [text.ids for text in together] == [text.ids for text in reversed(alone)]
    other = model.generate(PROMPTS, seed=2, **settings)
    assert [text.ids for text in together] != [text.ids for text in other]


def test_samples_follow_the_distribution(tiny):
    """First tokens of 4,000 samples are as frequent as their probabilities, with nothing cut."""
    from scipy import stats

    model = tiny("gpt2")
    found = model.generate(PROMPTS[0], max_new_tokens=1, do_sample=True, num_return_sequences=4000)
    counts = np.bincount([text.ids[0] for text in found], minlength=50)
    expected = torch.softmax(model.run([PROMPTS[0]])[0].logits[-1].double(), 0).numpy() * 4000
    assert expected.min() > 1
    assert stats.chisquare(counts, expected).pvalue > 1e-3


@pytest.mark.parametrize(
    "make",
    [
        lambda: noise(block_output(1), sd=0.5, seed=3),
        lambda: scale(block_output(1), 1.5),
        lambda: zero_ablate(head_attention_value_output(1, 2)),
        lambda: skip(mlp_block()),
        lambda: apply_function(mlp_output(0), double),
        lambda: mean_ablate(mlp_output(1), over=Pairs([Pair((4, 9))], name="one", cluster=None)),
        lambda: zero_ablate(module("transformer.h.0.mlp.act")),
    ],
    ids=["noise", "scale", "head", "skip", "function", "mean", "path"],
)
def test_every_kind_is_the_same_with_and_without_cache(tiny, make):
    """Steps edited by any kind of intervention give the same logits with and without a cache."""
    model = tiny("gpt2")
    found = [
        model.generate(
            PROMPTS, max_new_tokens=NEW, intervention=make(), when=when, use_cache=use_cache,
            keep_logits=True, eos_token_id=None,
        )
        for use_cache in (True, False)
        for when in ("every step", [0, 2, 5])
    ]  # fmt: skip
    for one, other in ((found[0], found[2]), (found[1], found[3])):
        assert one.ledger == other.ledger
        for a, b in zip(one, other, strict=True):
            assert a.ids == b.ids
            torch.testing.assert_close(a.logits, b.logits, rtol=1e-5, atol=1e-5)
    assert [t.ids for t in found[0]] != [t.ids for t in model.generate(PROMPTS, max_new_tokens=NEW)]


def mlp_block():
    """A module that gives what it takes."""
    return module("transformer.h.0.mlp.act")


def double(states, _source):
    """Return twice the activation."""
    return 2 * states


def test_texts_end_where_the_model_ends_them(tiny):
    """A text ends at its end token, alone as in a batch, and the token belongs to it."""
    model = tiny("gpt2")
    free = model.generate(PROMPTS, max_new_tokens=NEW, eos_token_id=None)
    end = free[0].ids[2]
    found = model.generate(PROMPTS, max_new_tokens=NEW, eos_token_id=end)
    for text, whole in zip(found, free, strict=True):
        stop = whole.ids.index(end) + 1 if end in whole.ids else NEW
        assert text.ids == whole.ids[:stop]


def test_stored_sampling_settings_are_put_aside_and_back(fresh):
    """Greedy is greedy whatever a model's own settings say, and they stay as they were."""
    model = fresh("gpt2")
    plain = model.generate(PROMPTS, max_new_tokens=NEW)
    own = model.network.generation_config
    own.do_sample, own.temperature, own.repetition_penalty = True, 5.0, 9.0
    again = model.generate(PROMPTS, max_new_tokens=NEW)
    assert [text.ids for text in again] == [text.ids for text in plain]
    assert model.network.generation_config is own
    assert (own.do_sample, own.temperature, own.repetition_penalty) == (True, 5.0, 9.0)


def test_the_network_is_left_as_found_after_an_error(fresh, vector):
    """A generation that fails midway leaves no hooks, no settings and no training flag behind."""
    model = fresh("gpt2")
    model.network.train()
    own = model.network.generation_config

    calls: list[int] = []

    def fail(states, _source):
        calls.append(len(states))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return states + 1

    with pytest.raises(KeyboardInterrupt):
        model.generate(
            PROMPTS[0], max_new_tokens=NEW, intervention=apply_function(block_output(1), fail),
            when="every step",
        )  # fmt: skip
    hooks = [
        len(each._forward_hooks) + len(each._forward_pre_hooks) for each in model.network.modules()
    ]
    assert sum(hooks) == 0
    assert model.network.generation_config is own
    assert all(each.training for each in model.network.modules())


def test_other_modules_write_greedily():
    """A module without generate writes by plain passes; a steered bigram table, by hand."""
    table = torch.randn(9, 9, generator=torch.Generator().manual_seed(1))
    network = nn.Sequential(nn.Embedding.from_pretrained(table), nn.Identity())
    model = Model(network, name="bigrams")
    push = torch.zeros(9)
    push[4] = 2.0
    found = model.generate(
        [(0,), (3, 2), (5, 1, 7)], max_new_tokens=5, intervention=add(module("1"), push),
        when=[0, 2], keep_logits=True,
    )  # fmt: skip
    for start, text in zip((0, 2, 7), found, strict=True):
        token, wanted = start, []
        for step in range(5):
            token = int((table[token] + (push if step in (0, 2) else 0)).argmax())
            wanted.append(token)
        assert list(text.ids) == wanted
        assert text.text == " ".join(map(str, wanted))
    end = found[0].ids[1]
    short = model.generate(
        (0,), max_new_tokens=5, eos_token_id=end, intervention=add(module("1"), push), when=[0]
    )
    assert short[0].ids[-1] == end
    assert len(short[0].ids) <= 2


def test_a_context_writes_too(tiny, vector):
    """`run.generate` writes under the intervention of the context and keeps its ledger."""
    model = tiny("gpt2")
    pair = Pair(PROMPTS[0], PROMPTS[3], positions={"it": {"base": 1, "source": 5}})
    edit = interchange(block_output(0, pos="it"))
    with intervene(model, edit, pair) as run:
        inside = run.generate(pair.base, max_new_tokens=4, when="prompt")
        assert run.ledger == inside.ledger
    outside = model.generate(pair, max_new_tokens=4, intervention=edit, when="prompt")
    assert inside[0].ids == outside[0].ids
    with pytest.raises(InterventionError, match="this intervention has ended"):
        run.generate(pair.base, max_new_tokens=4, when="prompt")


@pytest.mark.parametrize(
    "call, error, message",
    [
        (
            {"intervention": zero_ablate(mlp_output(0))},
            InterventionError,
            r"say when to edit: when='prompt' .* 'every step' .* or steps, e.g. \[0, 3\]",
        ),
        ({"when": "prompt"}, InterventionError, "says when to edit, but there is no intervention"),
        (
            {"intervention": zero_ablate(mlp_output(0)), "when": "every stop"},
            InterventionError,
            "when is 'every stop'; did you mean 'every step'",
        ),
        (
            {"intervention": zero_ablate(mlp_output(0)), "when": [1, 1]},
            InterventionError,
            r"when is \[1, 1\]; expected 'prompt', 'every step' or a list of different steps",
        ),
        (
            {"intervention": zero_ablate(mlp_output(0)), "when": [1, 7]},
            InterventionError,
            r"step 7 never happens: with max_new_tokens=7 the steps are 0-6",
        ),
        (
            {"intervention": zero_ablate(mlp_output(0, pos=1)), "when": "every step"},
            SiteError,
            "position 1 names tokens of the prompt, but steps are edited at the token they read",
        ),
        (
            {"intervention": interchange(mlp_output(0)), "when": "every step"},
            InterventionError,
            r"interchange\(mlp_output\[0\]\) takes activations of another prompt, which has no new",
        ),
        (
            {"intervention": resample_ablate(mlp_output(0)), "when": [0]},
            InterventionError,
            "takes activations of another prompt, which has no new tokens",
        ),
        (
            {"intervention": interchange(mlp_output(0)), "when": "prompt"},
            InterventionError,
            "needs a source run: pass a pair",
        ),
        (
            {"intervention": zero_ablate(mlp_output(9)), "when": "prompt"},
            SiteError,
            "gpt2 has layers 0-2",
        ),
        (
            {"intervention": scale(mlp_output(0), 1.0), "when": "prompt"},
            InterventionError,
            "changed no activation",
        ),
        ({"temperature": 2.0}, ModelError, "temperature has no effect on greedy generation"),
        ({"num_beam": 2}, ModelError, "no setting 'num_beam'; did you mean 'num_beams'"),
        ({"max_new_tokens": 0}, ModelError, "max_new_tokens is 0; expected a number from 1"),
    ],
)
def test_what_cannot_be_done_is_refused(tiny, call, error, message):
    """What would be silently wrong in generation is an error that says what to do."""
    with pytest.raises(error, match=message):
        tiny("gpt2").generate(PROMPTS[0], **{"max_new_tokens": NEW, **call})


def test_a_step_after_the_end_of_a_text_is_an_error(tiny):
    """An edit of a step that a text does not reach is an error, alone as in a batch."""
    model = tiny("gpt2")
    edit = add(block_output(2), [1e-6] * 24)
    free = model.generate(PROMPTS, max_new_tokens=NEW, eos_token_id=None)
    end = free[0].ids[2]
    assert any(end not in text.ids for text in free)
    for prompts in (PROMPTS[0], PROMPTS):
        with pytest.raises(InterventionError, match=r"did not happen at step 5 for .*: the text"):
            model.generate(
                prompts, max_new_tokens=NEW, eos_token_id=end, intervention=edit, when=[0, 5]
            )


def test_models_that_write_no_text_are_refused(tiny):
    """A masked language model and a classifier are not run token after token."""
    with pytest.raises(ModelError, match="does not write text"):
        tiny("bert").generate(PROMPTS[0], max_new_tokens=3)
    pooled = Model(nn.Sequential(nn.EmbeddingBag(9, 4), nn.Linear(4, 9)), name="pooled")
    with pytest.raises(ModelError, match="pooled answers once for each prompt"):
        pooled.generate((1, 2), max_new_tokens=3)
    plain = Model(nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9)), name="plain")
    with pytest.raises(ModelError, match=r"plain has no generate of its own.*num_beams is not"):
        plain.generate((1, 2), max_new_tokens=3, num_beams=2)
