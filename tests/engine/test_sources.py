"""Several sources, chains and frozen sites against passes written with plain torch hooks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from causaltest.engine.applied import declared
from causaltest.engine.intervening import intervene
from causaltest.engine.model import Model
from causaltest.engine.prompts import Row
from causaltest.engine.run import score
from causaltest.engine.sources import reads_for
from causaltest.errors import InterventionError, PairError
from causaltest.interventions import (
    Intervention,
    add,
    freeze,
    from_source,
    interchange,
    noise,
    resample_ablate,
    zero_ablate,
)
from causaltest.pairs import Pair, Pairs
from causaltest.sites import (
    Site,
    attention_output,
    block_output,
    head_attention_value_output,
    mlp_output,
)

Change = Callable[[torch.Tensor], torch.Tensor]
FAMILIES = ("gpt2", "llama")

PAIRS = Pairs(
    [
        Pair(
            (5, 9, 17, 4, 30),
            (6, 10, 2),
            sources={"second": (33, 8, 21, 12)},
            positions={"it": {"base": [1, 3], "source": [2, 0], "second": [0, 3]}},
        ),
        Pair(
            (8, 3),
            (41, 12, 9, 5),
            sources={"second": (7, 44)},
            positions={"it": {"base": [0, 1], "source": [3, 1], "second": [1, 0]}},
        ),
        Pair((12, 33, 6), (13, 34, 7), sources={"second": (22, 3, 41)}, positions={"it": [0, 2]}),
    ],
    name="several",
    cluster=None,
)


def part(model: Model, site: Site) -> nn.Module:
    """Return the module that gives a component, by the path of each family."""
    llama = {"block_output": "", "mlp_output": ".mlp", "attention_output": ".self_attn.o_proj"}
    gpt2 = {"block_output": "", "mlp_output": ".mlp.c_proj", "attention_output": ".attn.c_proj"}
    names, stack = (gpt2, "transformer.h") if model.name == "gpt2" else (llama, "model.layers")
    return model.network.get_submodule(f"{stack}.{site.layer}{names[site.component]}")


def passed(
    model: Model, prompt: tuple[int, ...], changes: list[tuple[Site, Change]], keep: list[Site]
) -> tuple[torch.Tensor, dict[Site, torch.Tensor]]:
    """Run a prompt with raw hooks that change (tokens, width) states; keep others."""
    handles, kept = [], {}

    def changing(change: Change) -> Any:
        def hook(_module, _given, output):
            states = output[0] if isinstance(output, tuple) else output
            new = change(states[0].clone())[None]
            return (new, *output[1:]) if isinstance(output, tuple) else new

        return hook

    def keeping(site: Site) -> Any:
        def hook(_module, _given, output):
            kept[site] = (output[0] if isinstance(output, tuple) else output)[0].clone()

        return hook

    for site, change in changes:
        handles.append(part(model, site).register_forward_hook(changing(change)))
    handles += [part(model, site).register_forward_hook(keeping(site)) for site in keep]
    with torch.no_grad():
        logits = model.network(torch.tensor([prompt]), use_cache=False).logits[0]
    for handle in handles:
        handle.remove()
    return logits, kept


def nothing(_output: object) -> float:
    """Score nothing."""
    return 0.0


def tokens(pair: Pair, side: str, name: str | None = "it") -> list[int]:
    """Return the tokens of a position, all of them where it has no name."""
    if name is None:
        return list(range(len(pair.prompt(side))))
    return [index % len(pair.prompt(side)) for index in pair.place(name, side).indices]


def put(values: torch.Tensor, where: list[int]) -> Change:
    """Return the change that puts values at some tokens."""

    def change(states: torch.Tensor) -> torch.Tensor:
        states[where] = values
        return states

    return change


@pytest.mark.parametrize("family", FAMILIES)
def test_two_sources_act_in_one_base_run(tiny, edited, family):
    """Sites of two sources are put into one base run, each from its own places."""
    model = tiny(family)
    low, high = mlp_output(0, pos="it"), block_output(1, pos="it")
    both = interchange(low) + from_source("second", interchange(high))
    found = edited(model, both, PAIRS)
    for pair, logits in zip(PAIRS, found, strict=True):
        _, one = passed(model, pair.source, [], [low])
        _, two = passed(model, pair.sources["second"], [], [high])
        at = tokens(pair, "base")
        changes = [
            (low, put(one[low][tokens(pair, "source")], at)),
            (high, put(two[high][tokens(pair, "second")], at)),
        ]
        wanted, _ = passed(model, pair.base, changes, [])
        torch.testing.assert_close(logits, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_sources_form_a_chain(tiny, edited, family):
    """The second source is patched into the first source's run, and that into the base run."""
    model = tiny(family)
    low, high = block_output(0, pos="it"), block_output(1, pos="it")
    inner = from_source("second", interchange(low))
    chain = from_source("source", interchange(high), under=inner)
    found = edited(model, chain, PAIRS)
    for pair, logits in zip(PAIRS, found, strict=True):
        _, two = passed(model, pair.sources["second"], [], [low])
        into = put(two[low][tokens(pair, "second")], tokens(pair, "source"))
        _, one = passed(model, pair.source, [(low, into)], [high])
        change = put(one[high][tokens(pair, "source")], tokens(pair, "base"))
        wanted, _ = passed(model, pair.base, [(high, change)], [])
        torch.testing.assert_close(logits, wanted, rtol=1e-5, atol=1e-5)
    ledger = score(model, chain, PAIRS, nothing).ledger
    assert [(entry.intervention, entry.rows, entry.positions) for entry in ledger] == [
        (str(chain), 3, 6),
        (str(inner), 3, 6),
    ]


def test_a_chain_is_read_where_it_is_edited(tiny, edited):
    """What is read at the very site that is edited in the source run is what the edit left."""
    model = tiny("gpt2")
    site = block_output(1, pos="it")
    copied = from_source(
        "source", interchange(site), under=from_source("second", interchange(site))
    )
    straight = from_source("second", interchange(site))
    for one, other in zip(
        edited(model, copied, PAIRS), edited(model, straight, PAIRS), strict=True
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize("family", FAMILIES)
def test_edits_at_one_site_compose_in_order(tiny, edited, family):
    """Dims from two sources at one site both hold; where they overlap the later one does."""
    model = tiny(family)
    site = block_output(1, pos="it")
    few, more = block_output(1, pos="it", dims=range(6)), block_output(1, pos="it", dims=(3, 4, 9))
    found = edited(model, interchange(few) + from_source("second", interchange(more)), PAIRS)
    for pair, logits in zip(PAIRS, found, strict=True):
        _, one = passed(model, pair.source, [], [site])
        _, two = passed(model, pair.sources["second"], [], [site])

        def change(states, pair=pair, one=one[site], two=two[site]):
            new = states[tokens(pair, "base")]
            new[:, :6] = one[tokens(pair, "source")][:, :6]
            new[:, [3, 4, 9]] = two[tokens(pair, "second")][:, [3, 4, 9]]
            states[tokens(pair, "base")] = new
            return states

        wanted, _ = passed(model, pair.base, [(site, change)], [])
        torch.testing.assert_close(logits, wanted, rtol=1e-5, atol=1e-5)


def test_pairs_without_an_optional_source_are_left_alone(tiny, edited):
    """A pair without the source keeps its plain run where that is said, and is an error if not."""
    model = tiny("gpt2")
    site = block_output(1, pos="end")
    some = Pairs(
        [Pair((5, 9, 17), (6, 2)), Pair((8, 3), (1, 4), sources={"more": (30, 31)}), Pair((9, 9))],
        name="some",
        cluster=None,
    )
    optional = from_source("more", interchange(site), optional=True)
    found = edited(model, optional, some)
    plain = [output.logits for output in model.run(some)]
    assert torch.equal(found[0], plain[0])
    assert torch.equal(found[2], plain[2])
    _, read = passed(model, (30, 31), [], [site])
    wanted, _ = passed(model, (8, 3), [(site, put(read[site][[1]], [1]))], [])
    torch.testing.assert_close(found[1], wanted, rtol=1e-5, atol=1e-5)
    (entry,) = score(model, optional, some, nothing).ledger
    assert (entry.rows, entry.positions, entry.changed) == (1, 1, 1)
    with pytest.raises(PairError, match="a pair has no side 'more'; expected 'base' or 'source'"):
        score(model, from_source("more", interchange(site)), some, nothing)
    texts = model.generate(some, max_new_tokens=4, intervention=optional, when="prompt")
    clean = model.generate(some, max_new_tokens=4)
    assert [texts[0].ids, texts[2].ids] == [clean[0].ids, clean[2].ids]
    assert texts.ledger[0].rows == 1


def test_one_pass_for_all_sites_of_a_source(fresh, count_calls):
    """Eight sites of two sources cost two source runs and one base run; sources stop early."""
    model = fresh("gpt2")
    pair = PAIRS[0]
    sites = [
        head_attention_value_output(0, 1, pos="it"), mlp_output(0, pos="it"),
        attention_output(1, pos="it"), mlp_output(1, pos="it"),
    ]  # fmt: skip
    one = [interchange(site) for site in sites]
    two = [from_source("second", interchange(site.at("end"))) for site in sites]
    total = one[0]
    for each in (*one[1:], *two):
        total = total + each
    with intervene(model, total, pair) as run:
        run(pair.base)
        whole, last = count_calls(model.network), count_calls(model.network.transformer.h[2])
        run(pair.base)
    assert whole == [3]
    assert last == [1]


def drawn(name: str) -> Intervention:
    """Return an intervention with eight draws."""
    swap, site = interchange(block_output(1, pos="it")), mlp_output(0, pos="end")
    return {
        "noise beside a source": swap + noise(site, sd=1.0, draws=8),
        "noise in another source": swap
        + from_source("second", swap, under=noise(site, sd=1.0, draws=8)),
        "noise of one draw in a source": from_source(
            "second", swap, under=noise(site, sd=1.0, draws=1)
        )
        + noise(site, sd=1.0, draws=8),
        "prompts drawn beside a source": swap + resample_ablate(site, draws=8),
        "a chain beside noise": from_source("second", swap, under=swap)
        + noise(site, sd=1.0, draws=8),
    }[name]


@pytest.mark.parametrize(
    "name, passes",
    [
        ("noise beside a source", 1 + 8),
        ("noise in another source", 1 + 8 + 8),
        ("noise of one draw in a source", 8 + 8),
        ("prompts drawn beside a source", 1 + 8 + 8),
        ("a chain beside noise", 1 + 1 + 8),
    ],
)
def test_draws_share_the_source_runs_that_are_the_same(name, passes, fresh, count_calls):
    """A source is run once for all draws, unless something in its run is drawn."""
    model, pairs = fresh("gpt2"), PAIRS[:1]
    if "drawn" in name:
        others = [replace(PAIRS[0], id=str(n), base=(n, 9, 17, 4, 30)) for n in (6, 7)]
        pairs = Pairs([PAIRS[0], *others], name="three", cluster=None)
    score(model, drawn(name), pairs, nothing)
    calls = count_calls(model.network)
    score(model, drawn(name), pairs, nothing)
    assert calls == [passes]


@pytest.mark.parametrize("name", ["noise beside a source", "noise in another source"])
def test_shared_source_runs_give_what_each_draw_gives(name, fresh):
    """The score over draws is the mean of scores whose sources are read anew in each draw."""
    model = fresh("gpt2")
    whole = drawn(name)
    shared = score(model, whole, PAIRS[:1], lambda output: float(output.at()[3])).values
    row = Row.of(PAIRS[0], "base")
    alone = []
    with torch.no_grad():
        for draw in range(8):
            stored = reads_for(model, whole, [PAIRS[0]], PAIRS[:1], draw)
            _, operations = declared(
                model, whole, model.batch([row]), draw=draw, stored=stored, means={}
            )
            (output,) = model.run_batch(model.batch([row]), operations)
            alone.append(float(output.at()[3]))
    assert len(set(alone)) == 8
    assert shared[0] == pytest.approx(sum(alone) / 8, abs=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_freezing_everything_else_leaves_the_direct_path(tiny, edited, family):
    """Sender from the source, all later sublayers as in the base: only the direct path acts."""
    model = tiny(family)
    sender = attention_output(0, pos="it")
    rest = [mlp_output(0)]
    for layer in range(1, model.n_layers):
        rest += [attention_output(layer), mlp_output(layer)]
    found = edited(model, interchange(sender) + freeze(*rest), PAIRS)
    plain = [output.logits for output in model.run(PAIRS)]
    for pair, logits, clean in zip(PAIRS, found, plain, strict=True):
        _, one = passed(model, pair.source, [], [sender])
        _, base = passed(model, pair.base, [], rest)
        changes = [(sender, put(one[sender][tokens(pair, "source")], tokens(pair, "base")))]
        every = tokens(pair, "base", None)
        changes += [(site, put(base[site], every)) for site in rest]
        wanted, _ = passed(model, pair.base, changes, [])
        torch.testing.assert_close(logits, wanted, rtol=1e-5, atol=1e-5)
        other = [index for index in every if index not in tokens(pair, "base")]
        # Attention is frozen, so no token without the sender can have changed.
        torch.testing.assert_close(logits[other], clean[other], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_path_patching_in_two_stages(tiny, edited, family):
    """A receiver takes what it is when only the sender changed and all between them is frozen."""
    model = tiny(family)
    sender, receiver = attention_output(0, pos="it"), attention_output(1, pos="end")
    between = mlp_output(0)
    path = from_source("base", interchange(receiver), under=interchange(sender) + freeze(between))
    found = edited(model, path, PAIRS)
    for pair, logits in zip(PAIRS, found, strict=True):
        _, one = passed(model, pair.source, [], [sender])
        _, base = passed(model, pair.base, [], [between])
        changes = [
            (sender, put(one[sender][tokens(pair, "source")], tokens(pair, "base"))),
            (between, put(base[between], tokens(pair, "base", None))),
        ]
        _, seen = passed(model, pair.base, changes, [receiver])
        change = put(seen[receiver][[-1]], [-1])
        wanted, _ = passed(model, pair.base, [(receiver, change)], [])
        torch.testing.assert_close(logits, wanted, rtol=1e-5, atol=1e-5)


def test_groups_of_edits_share_a_source(tiny, edited):
    """A sum of interventions takes from one source as its parts do each."""
    model = tiny("gpt2")
    low, high = mlp_output(0, pos="it"), mlp_output(2, pos="it")
    together = from_source("second", interchange(low) + interchange(high))
    apart = from_source("second", interchange(low)) + from_source("second", interchange(high))
    assert together == apart
    assert str(together) == (
        "interchange(mlp_output[0]@it) from second + interchange(mlp_output[2]@it) from second"
    )
    assert str(freeze(low)) == "freeze(mlp_output[0]@it)"
    assert str(from_source("base", interchange(low), under=add(high, [1.0]))).endswith(
        "from base under (add(mlp_output[2]@it, norm=1))"
    )
    assert len(edited(model, together, PAIRS)) == 3


def test_frozen_alone_changes_nothing(tiny):
    """Freezing without anything to freeze against is an error, as is a chain that does nothing."""
    model = tiny("gpt2")
    with pytest.raises(InterventionError, match=r"freeze\(mlp_output\[0\]\) changed no activation"):
        score(model, freeze(mlp_output(0)), PAIRS, nothing)
    inert = from_source(
        "source", interchange(block_output(1, pos="it")), under=add(mlp_output(0), [0.0] * 24)
    )
    with pytest.raises(InterventionError, match="does to its sources changed no activation"):
        score(model, inert, PAIRS, nothing)


def test_an_edit_behind_what_is_read_is_an_error(tiny):
    """An edit of the source run that cannot reach what is read from it did not happen."""
    late = from_source("source", interchange(mlp_output(0)), under=zero_ablate(mlp_output(2)))
    with pytest.raises(InterventionError, match=r"zero_ablate\(mlp_output\[2\]\) did not happen"):
        score(tiny("gpt2"), late, PAIRS, nothing)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: from_source("one", zero_ablate(mlp_output(0))), "takes nothing from a source run"),
        (
            lambda: from_source("", interchange(mlp_output(0))),
            "the source is ''; expected 'source'",
        ),
        (lambda: from_source("one", mlp_output(0)), "takes an intervention such as interchange"),
        (
            lambda: from_source("one", interchange(mlp_output(0)), under=3),
            "under= takes an intervention on the source run; got 3",
        ),
        (
            lambda: from_source("two", from_source("one", interchange(mlp_output(0)))),
            "takes an intervention such as interchange",
        ),
        (freeze, r"freeze\(\) needs at least one site"),
    ],
)
def test_what_takes_from_no_source_is_refused(make, message):
    """Only what takes from a source can be told which one."""
    with pytest.raises(InterventionError, match=message):
        make()


def test_a_context_says_which_source_is_missing(tiny):
    """One prompt without the source that is named is refused before anything runs."""
    edit = from_source("second", interchange(mlp_output(0)))
    with (
        pytest.raises(InterventionError, match=r"needs a prompt 'second': pass a pair that has it"),
        intervene(tiny("gpt2"), edit, Pair((1, 2), (3, 4))),
    ):
        pass


def test_spans_are_compared_with_the_source_that_is_meant(tiny):
    """A position of unequal span names the source in which it is."""
    pair = Pair(
        (5, 9, 17), (6, 2), sources={"second": (4, 8, 15)},
        positions={"it": {"base": [0, 1], "source": [0, 1], "second": 2}},
    )  # fmt: skip
    edit = from_source("second", interchange(mlp_output(0, pos="it")))
    with (
        pytest.raises(PairError, match="covers 2 tokens in base and 1 in second of pair"),
        intervene(tiny("gpt2"), edit, pair) as run,
    ):
        run(pair.base)
