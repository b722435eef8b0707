"""Interventions over pair sets and in a context: order, draws, ledger, and every refusal."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from causaltest.engine.intervening import intervene
from causaltest.engine.ledger import Entry, check_changed, total
from causaltest.engine.model import Model
from causaltest.engine.run import score, score_identity
from causaltest.errors import InterventionError, PairError, SiteError
from causaltest.interventions import (
    add,
    apply_function,
    interchange,
    mean_ablate,
    noise,
    resample_ablate,
    scale,
    zero_ablate,
)
from causaltest.pairs import Pair, Pairs
from causaltest.sites import (
    attention_value_output,
    block_input,
    block_output,
    embedding,
    head_attention_value_output,
    head_value_output,
    mlp_activation,
    mlp_output,
    module,
    value_output,
)


def some_pairs(order: tuple[int, ...] = (0, 1, 2, 3)) -> Pairs:
    """Return four pairs, in an order."""
    made = [
        Pair((1, 2, 3, 4), (5, 6, 7, 8), positions={"x": 1}, id="a"),
        Pair((9, 8, 7), (6, 5, 4, 3), positions={"x": {"base": 0, "source": 3}}, id="b"),
        Pair((3, 3, 1, 2), (2, 2, 9, 9), positions={"x": [0, 2]}, id="c"),
        Pair((7, 1, 7, 1, 7), (8, 8), positions={"x": {"base": 4, "source": 0}}, id="d"),
    ]
    return Pairs([made[index] for index in order], name="some", cluster=None)


def first_logit(output) -> float:
    """Score an output by one of its logits."""
    return float(output.at()[0])


@pytest.fixture(scope="module")
def toy() -> Model:
    """Return a table of 12 vectors whose rows are the logits."""
    torch.manual_seed(1)
    return Model(nn.Sequential(nn.Embedding(12, 4), nn.Identity()), name="toy")


TABLE = module("0")


def row(model: Model, *ids: int) -> Tensor:
    """Return rows of the toy's table."""
    return model.network[0].weight[list(ids)].detach()


# One forward pass, several parts


def test_parts_of_a_joint_apply_in_their_order(toy, edited) -> None:
    """Interchange then addition differs from addition then interchange, as written."""
    pairs = some_pairs((0,))
    swap, shift = interchange(TABLE.at(1)), add(TABLE.at(1), [1.0, 0, 0, 0])
    (after,) = edited(toy, swap + shift, pairs)
    (before,) = edited(toy, shift + swap, pairs)
    (source,) = row(toy, 6)
    assert torch.equal(before[1], source)
    assert torch.equal(after[1], source + torch.tensor([1.0, 0, 0, 0]))


def test_interchange_and_zero_on_different_dims(toy, edited) -> None:
    """Two parts on one module change their own dims and no other."""
    swap = interchange(module("0", pos=1, dims=(3, 0)))
    cut = zero_ablate(module("0", pos=1, dims=(1,)))
    (logits,) = edited(toy, swap + cut, some_pairs((0,)))
    base, source = row(toy, 2, 6)
    assert logits[1].tolist() == [source[0], 0.0, base[2], source[3]]
    assert torch.equal(logits[[0, 2, 3]], row(toy, 1, 3, 4))


def test_several_sites_in_one_pass_are_edited_together(toy, edited) -> None:
    """Edits at two positions of one module both hold, whatever their order."""
    pairs = some_pairs((0,))
    (one,) = edited(toy, interchange(TABLE.at(0), TABLE.at(-1)), pairs)
    (other,) = edited(toy, interchange(TABLE.at((-1, 0))), pairs)
    assert torch.equal(one, row(toy, 5, 2, 3, 8))
    assert torch.equal(one, other)


def test_all_heads_are_the_whole(tiny, edited) -> None:
    """Interchanging every head is interchanging the concatenation; so for key-value heads."""
    model = tiny("llama")
    heads = [head_attention_value_output(1, head, pos="x") for head in range(4)]
    values = [head_value_output(1, head, pos="x") for head in range(2)]
    for parts, whole in (
        (heads, attention_value_output(1, pos="x")), (values, value_output(1, pos="x")),
    ):  # fmt: skip
        apart = edited(model, interchange(*parts), some_pairs())
        together = edited(model, interchange(whole), some_pairs())
        assert all(torch.equal(a, b) for a, b in zip(apart, together, strict=True))


def test_a_block_overwrites_what_stands_before_it(tiny, edited) -> None:
    """With the block's whole output from the source, earlier edits change nothing after it."""
    model = tiny("gpt2")
    pairs = some_pairs((0,))
    whole = interchange(block_output(1))
    (one,) = edited(model, whole, pairs)
    (two,) = edited(model, zero_ablate(mlp_output(0), embedding(pos=2)) + whole, pairs)
    assert torch.equal(one, two)
    (source,) = model.run([pairs[0].source])
    assert torch.allclose(one, source.logits, atol=1e-5)


def test_an_edit_does_not_reach_back(tiny, edited) -> None:
    """In a causal network an edit at position p changes no logits before p."""
    model = tiny("llama")
    pairs = some_pairs((3,))
    (plain,) = (output.logits for output in model.run(list(pairs)))
    for position in range(5):
        (logits,) = edited(model, zero_ablate(block_input(0, pos=position)), pairs)
        assert torch.equal(logits[:position], plain[:position])
        assert not torch.allclose(logits[position], plain[position], atol=1e-3)


# Order, batches and draws


@given(st.permutations(range(4)))
@settings(max_examples=8)
def test_the_order_of_pairs_does_not_matter(order) -> None:
    """Scores follow their pair, whatever stands before it, random draws included."""
    model = Model(_fixed_network(), name="toy")
    for edit in (
        interchange(TABLE.at("x")),
        noise(TABLE.at("x"), sd=1.0, seed=3, draws=3),
        resample_ablate(TABLE.at("end"), seed=3, draws=3),
        mean_ablate(TABLE.at("x")),
    ):
        plain = dict(zip("abcd", score(model, edit, some_pairs(), first_logit).values, strict=True))
        shuffled = some_pairs(tuple(order))
        again = score(model, edit, shuffled, first_logit).values
        for pair, value in zip(shuffled, again, strict=True):
            assert value == pytest.approx(plain[pair.id], abs=1e-7)


def _fixed_network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Embedding(12, 4), nn.Identity())


def test_draws_are_averaged_within_each_pair(toy) -> None:
    """The score of n draws is the mean of the n scores of one draw each."""
    pairs = some_pairs()
    for make in (
        lambda draws: noise(TABLE.at("end"), sd=2.0, seed=5, draws=draws),
        lambda draws: resample_ablate(TABLE.at("end"), seed=5, draws=draws),
    ):
        seen: list[tuple[str, float]] = []

        def keep(output, seen=seen) -> float:
            seen.append((output.row.pair.id, first_logit(output)))
            return seen[-1][1]

        many = score(toy, make(4), pairs, keep).values
        for pair, value in zip(pairs, many, strict=True):
            singles = [number for name, number in seen if name == pair.id]
            assert len(singles) == 4
            assert len(set(singles)) > 1
            assert value == pytest.approx(sum(singles) / 4)
        (first, *_) = (number for name, number in seen if name == "a")
        assert score(toy, make(1), pairs, first_logit).values[0] == first


@pytest.mark.parametrize("make", [noise, resample_ablate])
def test_streams_depend_on_seed_and_pair(make, toy) -> None:
    """Another seed or another id gives another draw; the same gives the same."""
    more = {"sd": 1.0} if make is noise else {}

    def value(seed: int, name: str) -> float:
        pairs = [Pair((1, 2, 3, 4), id=name), *some_pairs((1, 2, 3))]
        pool = Pairs([*pairs, Pair((5, 5, 6)), Pair((6, 8, 8))], name="p", cluster=None)
        edit = make(TABLE.at(-1), seed=seed, draws=1, **more)
        return score(toy, edit, pool, first_logit).values[0]

    assert value(0, "a") == value(0, "a")
    assert len({value(seed, "a") for seed in range(8)}) > 2
    assert len({value(0, name) for name in "efghijkl"}) > 2


def test_noise_has_its_own_stream_at_each_site(tiny) -> None:
    """The same seed at two sites of one width adds different numbers."""
    model = tiny("gpt2")
    pairs = some_pairs((0,))
    added = []
    for site in (block_output(0, pos=1), block_output(0, pos=2), mlp_output(0, pos=1)):
        with intervene(model, noise(site, sd=1.0, seed=1), pairs[0]) as run:
            run(pairs[0].base)
        added.append(score(model, noise(site, sd=1.0, seed=1, draws=1), pairs, first_logit).values)
    assert len(set(added)) == 3


def test_noise_has_the_standard_deviation_it_says() -> None:
    """Over 4000 numbers mean and standard deviation of the noise are as declared."""
    model = Model(nn.Sequential(nn.Embedding(3, 4000)))
    model.network[0].weight.data.zero_()
    with intervene(model, noise(TABLE.at(0), sd=0.5)) as run:
        added = run((1, 2)).logits
    assert abs(float(added[0].mean())) < 0.5 * 4 / 4000**0.5
    assert float(added[0].std()) == pytest.approx(0.5, rel=0.05)
    assert not added[1].any()


def test_resampling_never_draws_the_prompt_itself(toy, edited) -> None:
    """A draw is the activation of another base prompt, even where a prompt stands twice."""
    pairs = Pairs(
        [Pair((1,), id="a"), Pair((1,), (2,), id="b"), Pair((3,), id="c")], name="p", cluster=None
    )
    for seed in range(12):
        one, two, three = edited(toy, resample_ablate(TABLE, seed=seed, draws=1), pairs)
        assert torch.equal(one, row(toy, 3))
        assert torch.equal(two, row(toy, 3))
        assert torch.equal(three, row(toy, 1))


def test_resampling_draws_from_the_set_it_is_given(toy, edited) -> None:
    """over= names the prompts that are drawn."""
    pool = Pairs([Pair((9, 11))], name="pool", cluster=None)
    for logits in edited(toy, resample_ablate(TABLE.at(-1), over=pool, draws=1), some_pairs()):
        assert torch.equal(logits[-1:], row(toy, 11))


def test_nothing_to_draw_from_is_refused(toy) -> None:
    """A pool of the prompt alone is no pool."""
    pairs = Pairs([Pair((1, 2), (3, 4), id="q")], name="p", cluster=None)
    with pytest.raises(
        InterventionError,
        match=re.escape(
            "resample_ablate(0.output, draws=2): the pairs to draw from hold no prompt other than "
            "that of pair q"
        ),
    ):
        score(toy, resample_ablate(TABLE, draws=2), pairs, first_logit)


def test_resampled_spans_must_fit(toy) -> None:
    """A prompt drawn with another number of tokens is refused, not cut to fit."""
    pairs = Pairs([Pair((1, 2), id="q"), Pair((3, 4, 5), id="r")], name="p", cluster=None)
    with pytest.raises(
        PairError,
        match=re.escape(
            "site 0.output has no pos, but base (2 tokens) and the prompt drawn (3 tokens) differ "
            "in pair q"
        ),
    ):
        score(toy, resample_ablate(TABLE), pairs, first_logit)


def test_the_mean_is_over_prompts_of_the_reference_set(toy, edited) -> None:
    """over= gives base and source prompts; each token named counts once."""
    reference = Pairs(
        [Pair((1, 2), (3, 4)), Pair((5,), positions={})], name="reference", cluster=None
    )
    (logits,) = edited(toy, mean_ablate(TABLE.at(0), over=reference), some_pairs((0,)))
    assert torch.allclose(logits[0], row(toy, 1, 3, 5).mean(0))
    (logits,) = edited(toy, mean_ablate(TABLE, over=reference), some_pairs((0,)))
    assert torch.allclose(logits, row(toy, 1, 2, 3, 4, 5).mean(0).expand(4, 4))


# Identity


def test_interchange_with_itself_is_a_no_op(tiny) -> None:
    """A source equal to the base in all that comes before the site changes nothing and is said."""
    model = tiny("gpt2")
    pairs = Pairs([Pair((1, 2, 3), (1, 2, 9), id="q")], name="p", cluster=None)
    same = interchange(block_output(1, pos=1))
    with pytest.raises(
        InterventionError,
        match=re.escape(
            "interchange(block_output[1]@1) changed no activation in any of 1 runs: the numbers"
        ),
    ) as caught:
        score(model, same, pairs, first_logit)
    assert "base and source agree at this site: choose pairs that differ" in str(caught.value)
    plain = first_logit(model.run([pairs[0]])[0])
    assert score(model, same, pairs, first_logit, allow_inert=True).values == (plain,)


@given(st.integers(0, 11), st.sampled_from([None, -1, (0, 2)]))
@settings(max_examples=15)
def test_scoring_identity_is_scoring_the_base(token, pos) -> None:
    """Replacing sites by their own activation gives the scores of plain runs."""
    model = Model(_fixed_network())
    pairs = [Pair((token, 3, 5), id="a"), Pair((4, token, 1), id="b")]
    again = score_identity(model, [TABLE.at(pos), module("1", pos=pos)], pairs, first_logit)
    assert again == [first_logit(output) for output in model.run(pairs)]


# The ledger


def test_the_ledger_counts_what_was_done(tiny) -> None:
    """Rows, positions and dims are what was declared; what did not change is not counted."""
    pairs = Pairs(
        [*some_pairs(), Pair((1, 2, 2, 4), (5, 2, 7, 8), positions={"x": 0}, id="e")],
        name="p",
        cluster=None,
    )
    whole = embedding(pos="x")
    neurons = mlp_activation(1, pos=0, dims=(1, 2, 5))
    done = score(tiny("gpt2"), interchange(whole) + zero_ablate(neurons), pairs, first_logit)
    first, second = done.ledger
    assert first == Entry(
        "interchange(embedding@x)", "embedding@x", "transformer.wte.output",
        fired=first.fired, rows=5, positions=6, dims=24, changed=5,
    )  # fmt: skip
    assert (second.rows, second.positions, second.dims) == (5, 5, 3)
    assert second.module == "transformer.h.1.mlp.c_proj.input"


def test_unchanged_rows_are_not_counted_as_changed(toy) -> None:
    """A pair whose base and source agree at the site is edited, and not changed."""
    pairs = Pairs([Pair((1, 2), (3, 2)), Pair((1, 2), (1, 4))], name="p", cluster=None)
    (entry,) = score(toy, interchange(TABLE.at(1)), pairs, first_logit).ledger
    assert (entry.rows, entry.changed) == (2, 1)


def test_entries_add_up_over_batches_and_draws(toy) -> None:
    """Draws and batches of one edit make one entry."""
    (entry,) = score(toy, noise(TABLE.at(0), sd=1.0, draws=3), some_pairs(), first_logit).ledger
    assert (entry.rows, entry.positions, entry.changed) == (12, 12, 12)
    one = Entry("zero", "s", "m", fired=1, rows=2, positions=3, dims=4, changed=1)
    other = Entry("zero", "t", "m", fired=1, rows=1, positions=1, dims=4)
    assert total([one, other, one]) == (
        Entry("zero", "s", "m", fired=2, rows=4, positions=6, dims=4, changed=2),
        other,
    )


def test_nothing_declared_is_nothing_to_check() -> None:
    """Without entries there is nothing that could have changed nothing."""
    check_changed((), "nothing")
    with pytest.raises(InterventionError, match="zero changed no activation in any of 3 runs"):
        check_changed([Entry("zero", "s", "m", rows=3), Entry("zero", "t", "m", rows=2)], "zero")


# In a context


def test_a_pair_in_a_context(toy) -> None:
    """The base run takes the source's activation, at positions of the pair."""
    pair = some_pairs()[1]
    with intervene(toy, interchange(TABLE.at("x")), pair) as run:
        output = run(pair.base)
    assert torch.equal(output.logits, row(toy, 3, 8, 7))
    (entry,) = run.ledger
    assert (entry.fired, entry.rows, entry.changed) == (1, 1, 1)


def test_a_list_of_ids_is_the_same_prompt(toy) -> None:
    """Ids in a list are the pair's base as well as ids in a tuple."""
    pair = some_pairs()[1]
    with intervene(toy, interchange(TABLE.at("x")), pair) as run:
        assert torch.equal(run([9, 8, 7]).logits, run((9, 8, 7)).logits)


def test_other_prompts_in_a_context(toy) -> None:
    """Any prompt can be run under an edit whose position has no name."""
    with intervene(toy, zero_ablate(TABLE.at(-1))) as run:
        assert not run((4, 2)).logits[-1].any()
        assert not run((3,)).logits[-1].any()
    assert run.ledger[0].fired == 2
    pair = some_pairs()[0]
    with (
        pytest.raises(SiteError, match="position 'x' has a name, but the prompt is not part of a"),
        intervene(toy, zero_ablate(TABLE.at("x")), pair) as run,
    ):
        run((1, 1, 1))


def test_a_context_needs_a_run(toy) -> None:
    """An empty body is an error, since nothing was intervened on."""
    with (
        pytest.raises(
            InterventionError,
            match=re.escape("no prompt was run under zero_ablate(0.output): call the value of `wi"),
        ),
        intervene(toy, zero_ablate(TABLE)),
    ):
        pass


def test_a_context_ends(toy) -> None:
    """After the `with` nothing runs under the intervention any more."""
    with intervene(toy, zero_ablate(TABLE)) as run:
        run((1,))
    with pytest.raises(InterventionError, match="this intervention has ended; run prompts inside"):
        run((1,))


def test_a_context_begins_with_its_with(toy) -> None:
    """What `intervene` returns runs nothing before it is entered."""
    run = intervene(toy, zero_ablate(TABLE))
    with pytest.raises(InterventionError) as error:
        run((1,))
    assert str(error.value) == ("this intervention has not begun; run prompts inside its `with`")


def test_the_ledger_of_a_context_adds_up_runs(toy) -> None:
    """Every edit has one entry, whenever and however often one looks; counts are those of all."""
    edit = zero_ablate(TABLE.at((0, 1))) + add(TABLE.at(-1), [1.0, 2.0, 3.0, 4.0])
    with intervene(toy, edit) as run:
        run((1, 2, 3))
        first = run.ledger
        run((4, 5))
    assert [(each.intervention, each.site) for each in first] == [
        (str(part), str(part.sites[0])) for part in edit.parts
    ]
    assert [(each.fired, each.rows, each.positions, each.dims, each.changed) for each in first] == [
        (1, 1, 2, 4, 1), (1, 1, 1, 4, 1),
    ]  # fmt: skip
    assert run.ledger == run.ledger
    assert [(each.fired, each.positions, each.changed) for each in run.ledger] == [
        (2, 4, 2), (2, 2, 2),
    ]  # fmt: skip


def test_a_function_may_keep_what_it_is_given(fresh) -> None:
    """Numbers that a function kept are those that were there, after the run as well."""
    model, kept = fresh("gpt2"), []
    site = block_output(1, pos=2)

    def keep(base: Tensor, _source: object) -> Tensor:
        kept.append(base)
        return base + 1.0

    before = model.read(site, [(1, 2, 3)])[site][0]
    with intervene(model, apply_function(site, keep)) as run:
        run((1, 2, 3))
    assert torch.equal(kept[0], before)


def test_an_intervention_is_placed_anew_for_another_model(fresh) -> None:
    """One intervention in two models by turns, and two in one, give what they give alone."""
    models = [fresh("gpt2"), fresh("llama")]
    edits = [zero_ablate(block_output(1, pos=0)), zero_ablate(mlp_output(0, pos=-1))]

    def logits(model: Model, edit) -> Tensor:
        with intervene(model, edit) as run:
            return run((1, 2, 3)).logits

    cases = [(model, edit) for edit in edits for model in models]
    alone = [logits(Model(model.network), edit) for model, edit in cases]
    for _ in range(2):
        for case, expected in zip(cases, alone, strict=True):
            assert torch.equal(logits(*case), expected)


def test_a_module_taken_out_of_the_network_is_missed(fresh) -> None:
    """A second context finds that the module of its path is gone, and one put in its place."""
    model = fresh("gpt2")
    blocks = model.network.transformer.h
    edit, cut = (
        scale(module("transformer.h.1.mlp", pos=1), 0.5),
        zero_ablate(block_output(1, pos=1)),
    )
    for each in (edit, cut):
        with intervene(model, each) as run:
            run((1, 2, 3))
    blocks[1] = copy.deepcopy(blocks[0])
    expected = Model(model.network)
    for each in (edit, cut):
        with intervene(model, each) as run, intervene(expected, each) as anew:
            assert torch.equal(run((1, 2, 3)).logits, anew((1, 2, 3)).logits)
    del blocks[1].mlp
    with (
        pytest.raises(SiteError, match=r"no module 'transformer\.h\.1\.mlp'"),
        intervene(model, edit),
    ):
        pass


def test_an_inert_edit_in_a_context_is_refused(toy) -> None:
    """The source of a pair under its own interchange changes nothing, and says so."""
    pair = some_pairs()[0]
    with (
        pytest.raises(InterventionError, match="changed no activation in any of 1 runs"),
        intervene(toy, interchange(TABLE), pair) as run,
    ):
        run(pair.source)


@pytest.mark.parametrize(
    "edit, pair, message",
    [
        (
            interchange(TABLE),
            None,
            "interchange(0.output) needs a source run: pass a pair, e.g. intervene(interchange(0.",
        ),
        (interchange(TABLE), Pair((1, 2)), "interchange(0.output) needs a source run"),
        (
            mean_ablate(TABLE),
            Pair((1, 2), (3, 4)),
            "mean_ablate(0.output) needs reference prompts for one pair: say over=<pair set>",
        ),
        (zero_ablate(TABLE) + resample_ablate(TABLE), None, "needs reference prompts for one pair"),
        (
            TABLE,
            None,
            "intervene takes an intervention such as interchange(block_output(0)); got Site(",
        ),
    ],
)
def test_what_an_intervention_needs(edit, pair, message, toy) -> None:
    """A missing source, pair or reference set is said before anything runs."""
    with pytest.raises(InterventionError, match=re.escape(message)), intervene(toy, edit, pair):
        pytest.fail("the body must not begin")


def test_sites_are_checked_before_the_body(toy) -> None:
    """A site that does not exist is refused when the context is entered."""
    with (
        pytest.raises(SiteError, match="toy has no module 'nine'"),
        intervene(toy, zero_ablate(module("nine"))),
    ):
        pytest.fail("the body must not begin")


def test_references_in_a_context(toy) -> None:
    """Mean and resampling work on one prompt when the reference set is named."""
    pool = Pairs([Pair((9,), (11,))], name="pool", cluster=None)
    with intervene(toy, mean_ablate(TABLE.at(0), over=pool)) as run:
        assert torch.allclose(run((1, 2)).logits[0], row(toy, 9, 11).mean(0))
    with intervene(toy, resample_ablate(TABLE.at(0), over=pool)) as run:
        assert torch.equal(run((1, 2)).logits, row(toy, 9, 2))


def test_a_vector_of_the_wrong_width_is_refused(toy) -> None:
    """The message has both widths and the site."""
    with pytest.raises(
        InterventionError,
        match=re.escape("the vector has 3 numbers, but 0.output is 4 wide"),
    ):
        score(toy, add(TABLE, [1.0, 2.0, 3.0]), some_pairs(), first_logit)


def test_a_pair_without_source_cannot_be_interchanged(toy) -> None:
    """A set in which one pair has no source names that pair."""
    pairs = Pairs([Pair((1, 2), (3, 4)), Pair((5, 6), id="lone")], name="p", cluster=None)
    with pytest.raises(
        PairError, match="pair lone has no source prompt, and the intervention or m"
    ):
        score(toy, interchange(TABLE), pairs, first_logit)
