"""Attention scores and patterns: read and edited as in forward passes written by hand."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from torch import nn
from torch.overrides import _get_current_function_mode_stack

from causaltest.engine.gradients import differentiable
from causaltest.engine.intervening import intervene
from causaltest.engine.model import Model
from causaltest.engine.run import score, score_identity
from causaltest.engine.softmax import Softmax, eager, fused
from causaltest.errors import InterventionError, PairError, SiteError
from causaltest.experiment import Causal
from causaltest.interventions import (
    Intervention,
    add,
    apply_function,
    constant,
    interchange,
    mean_ablate,
    scale,
    skip,
    zero_ablate,
)
from causaltest.metrics import logit_diff
from causaltest.pairs import Pair, Pairs
from causaltest.sites import (
    Site,
    attention_pattern,
    attention_scores,
    block_output,
    head_attention_value_output,
)

FAMILIES = ("gpt2", "llama", "gpt-oss")
TOLERANCE = {"gpt2": 1e-10, "llama": 1e-6, "gpt-oss": 1e-6}
LAYER, HEAD = 1, 2

BASE, SOURCE = (4, 5, 6, 7, 8), (14, 15, 16, 17, 18)
PAIRS = Pairs([Pair(BASE, SOURCE), Pair((9, 3, 11), (19, 13, 21))], name="two", cluster=None)
PATTERN, SCORES = attention_pattern(LAYER, HEAD), attention_scores(LAYER, HEAD)


def by_hand_logits(hand, site: Site, prompt, edit: Callable[[np.ndarray], np.ndarray]):
    """Return logits with one head's rows at a site edited, by hand: (queries, keys) in and out."""
    n = len(prompt)
    rows = list(range(n)) if site.pos is None else [n - 1 if site.pos == "end" else site.pos]

    def at(name: str, layer: int | None, x: np.ndarray) -> np.ndarray:
        if (f"head_{name}", layer) != (site.component, site.layer):
            return x
        x = x.copy()
        head = site.head or 0
        own = slice(head * n, (head + 1) * n)
        hidden = np.triu(np.ones((n, n), dtype=bool), 1)[rows]
        x[rows, own] = np.where(hidden, x[rows, own], edit(x[rows, own]))
        return x

    return hand.logits(prompt, at)


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_and_patterns_read_as_by_hand(family, tiny, by_hand) -> None:
    """Every head's scores and probabilities are those by hand, in prompts of any length."""
    model, hand = tiny(family, torch.float64), by_hand(tiny(family, torch.float64))
    heads = 4
    sites = [make(n) for n in range(2) for make in (attention_scores, attention_pattern)]
    one = [make(1, h) for h in range(heads) for make in (attention_scores, attention_pattern)]
    read = model.read([*sites, *one], PAIRS)
    for index, pair in enumerate(PAIRS):
        wanted, n = hand.read(pair.base), len(pair.base)
        for site in sites:
            whole = wanted[site.component, site.layer]
            np.testing.assert_allclose(read[site][index].numpy(), whole, atol=TOLERANCE[family])
        for site in one:
            whole = wanted[site.component.removeprefix("head_"), 1].reshape(n, heads, n)
            got = read[site][index].numpy()
            np.testing.assert_allclose(got, whole[:, site.head], atol=TOLERANCE[family])


EDITS: dict[str, tuple[Callable[[Site], Intervention], Callable[[np.ndarray], np.ndarray]]] = {
    "zero": (zero_ablate, np.zeros_like),
    "constant": (lambda site: constant(site, 0.3), lambda x: np.full_like(x, 0.3)),
    "scale": (lambda site: scale(site, 1.7), lambda x: 1.7 * x),
    "function": (
        lambda site: apply_function(site, lambda old, _: old / 2 + 0.1),
        lambda x: x / 2 + 0.1,
    ),
}


@pytest.mark.parametrize("pos", [None, "end", 1])
@pytest.mark.parametrize("site", [PATTERN, SCORES], ids=["pattern", "scores"])
@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("family", FAMILIES)
def test_edits_are_those_by_hand(family, edit, site, pos, tiny, by_hand, edited) -> None:
    """An edit of one head's rows gives the logits of a pass by hand; hidden keys stay hidden."""
    model = tiny(family, torch.float64)
    hand, (make, by) = by_hand(model), EDITS[edit]
    site = site.at(pos)
    for pair, got in zip(PAIRS, edited(model, make(site), PAIRS), strict=True):
        wanted = by_hand_logits(hand, site, pair.base, by)
        np.testing.assert_allclose(got.numpy(), wanted, atol=TOLERANCE[family])


@pytest.mark.parametrize("site", [PATTERN, SCORES], ids=["pattern", "scores"])
@pytest.mark.parametrize("family", FAMILIES)
def test_interchange_is_that_by_hand(family, site, tiny, by_hand, edited) -> None:
    """The source's rows in the place of the base's give the logits of a pass by hand."""
    model = tiny(family, torch.float64)
    hand, name = by_hand(model), site.component.removeprefix("head_")
    for pair, got in zip(PAIRS, edited(model, interchange(site), PAIRS), strict=True):
        n = len(pair.base)
        theirs = hand.read(pair.source)[name, LAYER].reshape(n, -1, n)[:, HEAD]
        wanted = by_hand_logits(hand, site, pair.base, lambda _, theirs=theirs: theirs)
        np.testing.assert_allclose(got.numpy(), wanted, atol=TOLERANCE[family])


def test_one_key_of_one_head(tiny, by_hand) -> None:
    """`dims` names keys: one probability is taken away, and the others stay as they are."""
    model = tiny("gpt2", torch.float64)
    site = attention_pattern(LAYER, HEAD, pos="end", dims=1)
    with intervene(model, zero_ablate(site)) as run:
        got = run(BASE).logits.numpy()

    def without(x: np.ndarray) -> np.ndarray:
        return np.where(np.arange(x.shape[1]) == 1, 0.0, x)

    wanted = by_hand_logits(by_hand(model), PATTERN.at("end"), BASE, without)
    np.testing.assert_allclose(got, wanted, atol=1e-10)
    assert run.ledger[0].dims == 1


def test_the_mean_pattern_is_the_mean_over_prompts(tiny, edited) -> None:
    """Mean ablation puts in the average of all prompts' rows at that position."""
    model = tiny("gpt2", torch.float64)
    pairs = Pairs([Pair(BASE, SOURCE), Pair(SOURCE[::-1], BASE[::-1])], name="even", cluster=None)
    site = PATTERN.at("end")
    prompts = [pair.base for pair in pairs] + [pair.source for pair in pairs]
    mean = torch.stack(model.read(site, prompts)[site]).mean(dim=0)[0]
    got = edited(model, mean_ablate(site), pairs)
    wanted = edited(model, constant(site, mean), pairs)
    for one, other in zip(got, wanted, strict=True):
        assert torch.allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("family", ["gpt2", "llama", "bert", "gemma2", "mistral", "neox-parallel"])
def test_a_head_without_its_pattern_mixes_nothing(family, tiny) -> None:
    """Taking a pattern away is taking the head's mixed values away, in every family."""
    model = tiny(family)
    with intervene(model, zero_ablate(PATTERN.at("end"))) as one:
        got = one(BASE).logits
    with intervene(model, zero_ablate(head_attention_value_output(LAYER, HEAD, pos="end"))) as two:
        wanted = two(BASE).logits
    assert torch.allclose(got, wanted, atol=1e-5)
    assert not torch.allclose(got, model.run([BASE])[0].logits, atol=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "llama", "bert"])
def test_attention_is_eager_for_that_run_only(family, tiny) -> None:
    """The switch to eager attention is said in the ledger and undone, after errors too."""
    model = tiny(family)
    assert fused(model.network) == "sdpa"
    with intervene(model, zero_ablate(PATTERN, SCORES)) as run:
        run(BASE)
    assert run.ledger[0].note == f"attention was computed eagerly, not by sdpa, to edit {PATTERN}"
    assert run.ledger[0].module.endswith(".pattern")
    assert fused(model.network) == "sdpa"

    def fail(_old: torch.Tensor, _there: object) -> torch.Tensor:
        raise KeyboardInterrupt

    with (
        pytest.raises(KeyboardInterrupt),
        intervene(model, zero_ablate(SCORES) + apply_function(PATTERN, fail)) as run,
    ):
        run(BASE)
    assert fused(model.network) == "sdpa"
    plain = model.run([BASE])[0].logits
    assert not _get_current_function_mode_stack()  # nothing listens any longer
    assert torch.equal(plain, model.run([BASE])[0].logits)


def test_a_claim_says_that_attention_was_eager(tiny) -> None:
    """The notes of what was measured name the edit for which attention was switched."""
    pairs = Pairs([Pair(BASE, SOURCE, 3, 4), Pair(SOURCE, BASE, 4, 3)], name="p", cluster=None)
    causal = Causal(tiny("llama"))
    causal.effect(zero_ablate(PATTERN.at("end")), on=pairs, metric=logit_diff)
    assert any(
        "eagerly, not by sdpa, to edit head_attention_pattern" in n for n in causal.trail.notes
    )
    causal = Causal(tiny("llama"))
    causal.effect(zero_ablate(block_output(0, pos="end")), on=pairs, metric=logit_diff)
    assert not any("eagerly" in note for note in causal.trail.notes)


@pytest.mark.parametrize("family", FAMILIES)
def test_identity_edits_leave_eager_logits_bit_equal(family, tiny) -> None:
    """Replacing scores and patterns by themselves changes no bit of eager logits."""
    model = tiny(family)
    found: list[torch.Tensor] = []

    def keep(output) -> float:
        found.append(output.logits)
        return 0.0

    sites = [attention_scores(0), attention_pattern(0), PATTERN, SCORES.at("end")]
    score_identity(model, sites, list(PAIRS), keep)
    with eager(model.network):
        wanted = [model.run([pair.base])[0].logits for pair in PAIRS]
    assert all(any(torch.equal(one, other) for other in wanted) for one in found)


def test_gradients_flow_through_scores(tiny) -> None:
    """The gradient of a logit by what is added to scores agrees with finite differences."""
    model = tiny("gpt2", torch.float64)
    pairs = Pairs([Pair(BASE)], name="one", cluster=None)
    site = SCORES.at("end")
    step = torch.zeros(len(BASE), dtype=torch.float64, requires_grad=True)
    with differentiable(model, add(site, step), pairs) as (output,):
        output.at()[3].backward()
    assert step.grad is not None
    for key in range(len(BASE)):
        logits = []
        for sign in (1, -1):
            moved = torch.zeros(len(BASE), dtype=torch.float64)
            moved[key] = sign * 1e-5
            with intervene(model, add(site, moved)) as run:
                logits.append(float(run(BASE).at()[3]))
        assert float(step.grad[key]) == pytest.approx((logits[0] - logits[1]) / 2e-5, abs=1e-8)


@pytest.mark.parametrize("use_cache", [True, False])
def test_patterns_are_edited_in_generation(use_cache, tiny) -> None:
    """Every step without one head's pattern is every step without its mixed values."""
    model = tiny("gpt2")
    mixed = head_attention_value_output(LAYER, HEAD)
    written = [
        model.generate(
            BASE, max_new_tokens=4, intervention=zero_ablate(site), when="every step",
            use_cache=use_cache, keep_logits=True, eos_token_id=None,
        )
        for site in (PATTERN, mixed)
    ]  # fmt: skip
    one, other = (each[0].logits for each in written)
    assert torch.allclose(one, other, atol=1e-5)
    assert "eagerly" in written[0].ledger[0].note


@pytest.mark.parametrize("forward", [None, lambda network, ids, _mask: network(ids).logits])
@pytest.mark.parametrize("when", ["prompt", "every step", [1]])
@pytest.mark.parametrize("site", [PATTERN, SCORES], ids=["pattern", "scores"])
def test_prompts_of_unequal_length_write_what_each_writes_alone(site, when, forward, tiny) -> None:
    """Under edits of patterns a text does not depend on the length of the others of the call."""
    model = Model(tiny("gpt2").network, forward=forward)
    prompts = [BASE, BASE[:3], SOURCE, SOURCE[:3][::-1]]

    def written(prompts):
        return model.generate(
            prompts, max_new_tokens=3, intervention=scale(site, 0.3), when=when, keep_logits=True,
            eos_token_id=None,
        )  # fmt: skip

    together = written(prompts)
    for prompt, text in zip(prompts, together, strict=True):
        (alone,) = written(prompt)
        assert text.ids == alone.ids
        assert torch.allclose(text.logits, alone.logits, atol=1e-6)
    assert together.ledger[0].rows == len(prompts)
    plain = model.generate(prompts, max_new_tokens=3, keep_logits=True, eos_token_id=None)
    assert not torch.allclose(plain[0].logits, together[0].logits, atol=1e-3)


class Attend(nn.Module):
    """Fused attention of two heads."""

    def __init__(self, *, twice: bool = False) -> None:
        super().__init__()
        self.qkv, self.twice = nn.Linear(8, 24), twice

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (
            each.unflatten(-1, (2, 4)).transpose(1, 2) for each in self.qkv(x).chunk(3, dim=-1)
        )
        for _ in range(1 + self.twice):
            v = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return v.transpose(1, 2).flatten(2)


def test_fused_attention_that_a_module_calls_itself() -> None:
    """Fused attention is computed by its definition where it cannot be switched off."""
    torch.manual_seed(0)
    attend, x = Attend().double(), torch.randn(2, 5, 8, dtype=torch.float64)
    network = nn.ModuleDict({"attend": attend})
    seen: list[torch.Tensor] = []
    handles = Softmax("pattern").attach(network, "attend", seen.append)
    got = attend(x)
    for handle in reversed(handles):
        handle.remove()
    assert torch.allclose(got, attend(x), atol=1e-12)
    q, k, _ = (each.unflatten(-1, (2, 4)).transpose(1, 2) for each in attend.qkv(x).chunk(3, -1))
    causal = torch.ones(5, 5, dtype=torch.bool).tril()
    wanted = (q @ k.transpose(-1, -2) / 2).masked_fill(~causal, -torch.inf).softmax(-1)
    assert torch.allclose(seen[0].unflatten(-1, (2, 5)).transpose(1, 2), wanted, atol=1e-12)
    assert len(seen) == 1


@pytest.mark.parametrize(
    "module, message",
    [
        (Attend(twice=True), "attend computes more than one softmax over keys, and which of them"),
        (nn.Linear(8, 8), "attend computed no softmax over keys that can be seen, even eagerly"),
    ],
)
def test_attention_with_no_one_softmax_is_refused(module, message) -> None:
    """Two softmaxes, or none, are no pattern."""
    network = nn.ModuleDict({"attend": module})
    handles = Softmax("pattern").attach(network, "attend", lambda x: x)
    try:
        with pytest.raises(InterventionError, match=re.escape(message)):
            module(torch.randn(2, 5, 8))
    finally:
        for handle in reversed(handles):
            handle.remove()


UNEQUAL = Pairs([Pair(BASE, SOURCE[:3])], name="unequal", cluster=None)


@pytest.mark.parametrize(
    "intervention, pairs, error, message",
    [
        (
            interchange(PATTERN.at("end")), UNEQUAL, InterventionError,
            "has one number for each key: 5 here, but 3 where they were read; base and source must",
        ),
        (
            interchange(PATTERN), UNEQUAL, (InterventionError, PairError),
            "differ in pair",
        ),
        (
            mean_ablate(PATTERN.at("end")), PAIRS, InterventionError,
            "the prompts that are read together have 3, 5 numbers there; use prompts of equal",
        ),
        (
            mean_ablate(SCORES), PAIRS[:1], InterventionError,
            "has no mean over these queries: a mask hides keys from some of them that others see",
        ),
        (
            interchange(PATTERN.at("late")),
            Pairs(
                [Pair(BASE, SOURCE, positions={"late": {"base": 1, "source": 4}})],
                name="late", cluster=None,
            ),
            InterventionError,
            "reaches a key (number 2) that the mask hides from the query at token 1",
        ),
        (
            zero_ablate(attention_pattern(1, 0, dims=7)), PAIRS, InterventionError,
            "key 7 does not exist: this prompt has keys 0-2",
        ),
        (
            zero_ablate(attention_pattern(1, dims=1)), PAIRS, SiteError,
            "dims are keys of one head; say which, e.g. attention_pattern(1, 0, dims=...)",
        ),
        (
            zero_ablate(attention_pattern(1, 4)), PAIRS, SiteError,
            "head_attention_pattern[1.4] does not exist: gpt2 has heads 0-3",
        ),
        (
            skip(PATTERN), PAIRS, InterventionError,
            "head_attention_pattern[1.2] is the pattern of transformer.h.1.attn; choose the output",
        ),
    ],
)  # fmt: skip
def test_what_patterns_refuse(intervention, pairs, error, message, tiny) -> None:
    """Lengths, masks, keys and heads that do not fit are named."""
    with pytest.raises(error, match=re.escape(message)):
        score(tiny("gpt2"), intervention, pairs, lambda _: 0.0)


def test_a_function_of_hidden_scores_cannot_see_ahead(tiny) -> None:
    """Scores that a mask hides stay hidden, so no earlier logit moves with a later token."""
    model = tiny("gpt2")
    flat = zero_ablate(SCORES)
    logits = []
    for prompt in (BASE, (*BASE[:3], 30, 31)):
        with intervene(model, flat) as run:
            logits.append(run(prompt).logits)
    assert torch.allclose(logits[0][:3], logits[1][:3], atol=1e-6)
    assert not torch.allclose(logits[0][3:], logits[1][3:], atol=1e-3)


@pytest.mark.parametrize(
    "text, site",
    [
        ("blocks.8.attn.hook_pattern", attention_pattern(8)),
        ("blocks.8.attn.hook_attn_scores@end", attention_scores(8, pos="end")),
        ("head_attention_pattern[9.6]{0,3}@end", attention_pattern(9, 6, pos="end", dims=(0, 3))),
        ("encoder.head_attention_scores[1.0]", attention_scores(1, 0, stack="encoder")),
    ],
)
def test_names_of_patterns(text, site) -> None:
    """TransformerLens names and causaltest's own are read."""
    assert Site.parse(text) == site
