"""What was fitted to pairs is known again, and not judged on them."""

import re
from pathlib import Path

import pytest
import torch

from causaltest import (
    Causal,
    EvidenceError,
    InterventionError,
    Model,
    Pair,
    PairError,
    Pairs,
    add,
    block_output,
    constant,
    interchange,
    logit_diff,
    low_rank,
    mean_ablate,
    module,
    partition,
    pca,
    rotated,
    subtract,
)
from causaltest.fitted import Seen

SITE = module("0", pos="end")
WIDTH = 6


def pair(base, source, kind):
    """Token `base` against token `source`, with a label."""
    return Pair((0, base), (0, source), base, source, labels={"kind": kind})


def pairs(name, tokens, *, cluster=None, kinds=("a",)):
    """Each token against the next."""
    return Pairs(
        [
            pair(token, token + 1, kinds[index % len(kinds)])
            for index, token in enumerate(tokens[::2])
        ],
        name=name,
        cluster=cluster,
    )


TRAIN = pairs("train", range(1, 9))
TEST = pairs("test", range(11, 19))


@pytest.fixture
def measuring():
    """A table of random vectors, read out by itself."""
    stream = torch.Generator().manual_seed(0)
    table = torch.nn.Embedding.from_pretrained(torch.randn(30, WIDTH, generator=stream))
    out = torch.nn.Linear(WIDTH, 30, bias=False)
    with torch.no_grad():
        out.weight.copy_(table.weight)
    return Causal(Model(torch.nn.Sequential(table, out), name="table"))


def basis(seed=0):
    """An orthogonal matrix."""
    stream = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=stream)).Q


USES = {
    "added": lambda vector: add(SITE, vector),
    "scaled": lambda vector: add(SITE, 3.0 * vector),
    "negated": lambda vector: add(SITE, -vector),
    "in half precision": lambda vector: add(SITE, vector.bfloat16()),
    "subtracted": lambda vector: subtract(SITE, vector),
    "put in": lambda vector: constant(SITE, vector),
    "as a subspace": lambda vector: interchange(
        SITE, subspace=low_rank((vector / vector.norm())[:, None])
    ),
    "beside another": lambda vector: add(SITE, torch.ones(WIDTH)) + add(SITE, vector),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_steering_vector_is_not_judged_on_what_it_was_made_from(measuring, use):
    """Wherever it is put, the pairs of its mean are refused, and others are not."""
    edit = use(measuring.mean_difference(SITE, on=TRAIN))
    told = (
        "what was fitted to train cannot be judged on the data it rests on: the base prompt of "
        "pair train/0 of train is also a prompt of train: (0, 1)\nsplit by a label that keeps"
    )
    for ask in (measuring.effect, measuring.accuracy):
        with pytest.raises(EvidenceError, match=re.escape(told)):
            ask(edit, on=TRAIN)
        assert len(ask(edit, on=TEST).values) == len(TEST)


def test_doses_and_texts_ask_too(measuring):
    """Curves and what is written are claims as well."""
    steer = add(SITE, measuring.mean_difference(SITE, on=TRAIN))
    with pytest.raises(EvidenceError, match="what was fitted to train cannot be judged"):
        measuring.dose_response(steer, [0, 1, 2], on=TRAIN)
    with pytest.raises(EvidenceError, match="what was fitted to train cannot be judged"):
        measuring.says("3", steer, on=TRAIN, max_new_tokens=1, when="prompt")


def test_maps_ask_of_every_cell(measuring):
    """A sweep is refused where one of its cells was fitted to the pairs."""
    vector = measuring.mean_difference(SITE, on=TRAIN)
    edits = {"a fixed": constant(SITE, torch.ones(WIDTH)), "the fitted": add(SITE, vector)}

    def edit(site):
        return edits["the fitted" if site.path == "0" else "a fixed"]

    places = {"table": SITE, "read out": module("1", pos="end")}
    with pytest.raises(EvidenceError, match="what was fitted to train cannot be judged"):
        measuring.sweep(places, on=TRAIN, intervention=edit, metric=logit_diff)
    assert (
        measuring.sweep(places, on=TEST, intervention=edit, metric=logit_diff).values.shape[1] == 2
    )


@pytest.mark.parametrize(
    "values, edit",
    [
        (rotated(basis(), k=2), interchange(SITE, subspace=rotated(basis(), k=2))),
        (basis(), interchange(SITE, subspace=low_rank(basis()[:, 1:3]))),
        (basis(), interchange(SITE, subspace=partition({"a": [0]}, by="kind", basis=basis()))),
        (pca(basis(), k=2), interchange(SITE, subspace=pca(basis(), k=3))),
        (
            interchange(SITE, subspace=low_rank(basis()[:, :2])),
            interchange(SITE, subspace=low_rank(basis()[:, 1:3])),
        ),
    ],
    ids=["subspace", "some columns", "partition", "components", "intervention"],
)
def test_what_was_made_elsewhere_is_known_again_once_it_is_said(measuring, values, edit):
    """Matrices by their columns, subspaces and interventions by the numbers in them."""
    measuring.accuracy(edit, on=TRAIN)
    assert measuring.fitted(values, on=TRAIN) is values
    with pytest.raises(EvidenceError, match="what was fitted to train cannot be judged on the"):
        measuring.accuracy(edit, on=TRAIN)
    measuring.accuracy(edit, on=TEST)
    assert (
        "numbers fitted to 4 pairs of train, and judged on no pair of it" in measuring.trail.notes
    )


def test_other_numbers_are_free(measuring):
    """Another direction, a reference mean and a plain exchange are no fit to the claim."""
    measuring.fitted(basis(0)[:, :2], on=TRAIN)
    for edit in (
        interchange(SITE, subspace=low_rank(basis(1)[:, :2])),
        add(SITE, basis(1)[:, 0]),
        interchange(SITE),
        mean_ablate(SITE),
        mean_ablate(SITE, over=TRAIN),
    ):
        measuring.accuracy(edit, on=TRAIN)


def test_a_unit_that_was_seen_is_refused_with_its_other_pairs(measuring):
    """Where pairs are clustered, new prompts of a known unit are no new evidence."""
    train = pairs("train", range(1, 9), cluster="kind", kinds=("a", "b"))
    vector = measuring.mean_difference(SITE, on=train)
    told = "cannot be judged on the data it rests on: 1 kind was used for it, e.g. 'b'"
    with pytest.raises(EvidenceError, match=told):
        measuring.effect(add(SITE, vector), on=pairs("test", range(11, 19), kinds=("b", "c")))
    measuring.effect(add(SITE, vector), on=pairs("test", range(11, 19), kinds=("c", "d")))


def test_a_prompt_counts_on_either_side(measuring):
    """A source that was a base in the fit is known; so is one of several sources."""
    vector = measuring.mean_difference(SITE, on=TRAIN)
    turned = Pairs([pair(21, 1, "a")], name="turned", cluster=None)
    told = "the source prompt of pair turned/0 of turned is also a prompt of train: (0, 1)"
    with pytest.raises(EvidenceError, match=re.escape(told)):
        measuring.effect(add(SITE, vector), on=turned)
    several = Pair((0, 21), (0, 22), 21, 22, sources={"other": (0, 2)})
    with pytest.raises(EvidenceError, match="the other prompt of pair more/0 of more is also"):
        measuring.effect(add(SITE, vector), on=Pairs([several], name="more", cluster=None))


def test_a_twin_knows_what_its_model_knows(measuring):
    """The same numbers are judged on the same pairs in neither."""
    vector = measuring.mean_difference(SITE, on=TRAIN)
    with pytest.raises(EvidenceError, match="what was fitted to train"):
        measuring.twin().effect(add(SITE, vector), on=TRAIN)


@pytest.mark.parametrize(
    "values, shown", [("a text", "'a text' (str)"), (3.0, "3.0 (float)"), (None, "None (NoneType)")]
)
def test_what_holds_no_directions_is_refused(measuring, values, shown):
    """A single number or no number at all could not be known again."""
    told = f"an intervention with numbers; got {shown}"
    with pytest.raises(InterventionError, match=re.escape(told)):
        measuring.fitted(values, on=TRAIN)
    with pytest.raises(PairError, match=re.escape("on= takes a pair set (Pairs); got list")):
        measuring.fitted(basis(), on=list(TRAIN))


def test_pairs_are_described_by_their_prompts():
    """As many fingerprints as prompts, whichever side they are on; texts and tokens differ."""
    once = Seen.of(Pairs([pair(1, 2, "a"), pair(2, 3, "a")], name="three", cluster=None), None)
    assert (len(once.prompts), once.pairs, once.values) == (3, 2, ())
    texts = Seen.of(Pairs([Pair("[0, 1]", "[0, 2]")], name="texts", cluster=None), None)
    assert not set(texts.prompts) & set(once.prompts)
    with pytest.raises(PairError, match=r"has no label 'kinds'; did you mean 'kind'\?"):
        Seen.of(TRAIN, "kinds")


def _as_tokens(model: Model, prompt: str) -> tuple[int, ...]:
    return tuple(model.prompts.tokenizer(prompt)["input_ids"])


@pytest.mark.parametrize("rewritten", ["tokens", "space"])
def test_the_same_tokens_are_the_same_prompt(rewritten):
    """A prompt is known again where it is written otherwise and the model reads the same."""
    model = Model.load(str(Path(__file__).parents[1] / "hypotheses" / "schoolbook"))

    def written(text: str) -> str | tuple[int, ...]:
        return _as_tokens(model, text) if rewritten == "tokens" else f"{text} "

    texts = [("Lily went home early because", "Tim went home early because")]
    train = Pairs([Pair(*each) for each in texts], name="train", cluster=None)
    other = Pairs([Pair(*map(written, each)) for each in texts], name="other", cluster=None)
    site = block_output(0, pos="end")
    for fitted_to, judged in ((train, other), (other, train)):
        causal = Causal(model)
        vector = causal.mean_difference(site, on=fitted_to)
        told = f"pair {judged.name}/0 of {judged.name} is also a prompt of {fitted_to.name}: "
        with pytest.raises(EvidenceError, match=re.escape(told)):
            causal.effect(add(site, vector), on=judged)


def test_training_and_dev_pairs_of_the_same_tokens_are_refused():
    """A dev pair is no training pair under another name and in token ids."""
    model = Model.load(str(Path(__file__).parents[1] / "hypotheses" / "schoolbook"))
    prompts = [f"{name} went home early because" for name in ("Lily", "Tim", "Anna", "Jack")]
    made = [
        Pair(one, other, base_answer=5, source_answer=7, labels={"kind": "a"})
        for one, other in zip(prompts[::2], prompts[1::2], strict=True)
    ]
    again = [
        Pair(
            _as_tokens(model, str(each.base)),
            _as_tokens(model, str(each.source)),
            base_answer=5,
            source_answer=7,
            labels={"kind": "b"},
        )
        for each in made
    ]
    train = Pairs(made, name="train", cluster=None)
    dev = Pairs(again, name="dev", cluster=None)
    told = "pair dev/0 of dev is also a prompt of train: ("
    site = block_output(0, pos="end")
    with pytest.raises(EvidenceError, match=re.escape(told)):
        Causal(model).align(site, variable="v", on=train, dev=dev, by="kind", width=1)
    with pytest.raises(EvidenceError, match=re.escape(told)):
        Causal(model).train_adapter(site, rank=1, on=train, dev=dev, by="kind")
    with pytest.raises(EvidenceError, match=re.escape(told)):
        Causal(model).train_by_interchange(
            interchange(site), variable="v", on=train, dev=dev, by="kind"
        )
