"""Path patching against the same written by hand with plain hooks and plain algebra."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from causaltest import (
    block_input,
    block_output,
    embedding,
    head_attention_value_output,
    head_query_output,
    head_value_output,
    interchange,
    mlp_input,
    mlp_output,
    module,
)
from causaltest.engine.prompts import Row
from causaltest.errors import InterventionError, SiteError

SENDER = head_attention_value_output(1, 0, pos="end")


def plain(model, ids, *, z=None, mlp=None, queries=None):
    """Run GPT-2 with heads' mixed values, MLPs or queries replaced; return what they were.

    Each of z, mlp and queries maps a layer to a function that is given the tensor and returns
    another, or None.
    """
    seen = {"z": {}, "mlp": {}, "queries": {}}
    handles = []
    for layer, block in enumerate(model.network.transformer.h):

        def change_z(_m, args, layer=layer):
            made = (z or {}).get(layer, lambda each: each)(args[0])
            seen["z"][layer] = made.clone()
            return (made,)

        def change_mlp(_m, _args, out, layer=layer):
            made = (mlp or {}).get(layer, lambda each: each)(out)
            seen["mlp"][layer] = made.clone()
            return made

        def change_queries(_m, _args, out, layer=layer):
            made = (queries or {}).get(layer, lambda each: each)(out)
            seen["queries"][layer] = made.clone()
            return made

        handles.append(block.attn.c_proj.register_forward_pre_hook(change_z))
        handles.append(block.mlp.register_forward_hook(change_mlp))
        handles.append(block.attn.c_attn.register_forward_hook(change_queries))
    with torch.no_grad():
        logits = model.network(ids).logits[0, -1].double()
    for handle in handles:
        handle.remove()
    return logits, seen


def sides(model, pair):
    """Return base and source ids and the answers."""
    prompts = model.prompts
    ids = [torch.tensor([prompts.ids(each)]) for each in (pair.base, pair.source)]
    answers = [
        prompts.answer_id(pair.base, each, pair) for each in (pair.base_answer, pair.source_answer)
    ]
    return *ids, answers


def difference(logits, answers):
    """Return the logit difference."""
    return float(logits[answers[0]] - logits[answers[1]])


def test_a_path_into_the_queries_of_a_head(instrument, schoolbook, pronouns):
    """Sender from the source, all else held, the receiver's queries recorded and put in."""
    pairs = pronouns[:3]
    receiver = head_query_output(2, 3, pos="end")
    found = instrument.path(SENDER, receiver, on=pairs)
    for index, pair in enumerate(pairs):
        base, source, answers = sides(schoolbook, pair)
        clean_logits, clean = plain(schoolbook, base)
        _, other = plain(schoolbook, source)

        def sent(tensor, clean=clean, other=other):
            made = clean["z"][1].clone()
            made[0, -1, :16] = other["z"][1][0, -1, :16]
            return made

        held_z = {0: lambda _, c=clean: c["z"][0], 1: sent}
        held_mlp = {layer: lambda _, c=clean, k=layer: c["mlp"][k] for layer in (0, 1)}
        _, under = plain(schoolbook, base, z=held_z, mlp=held_mlp)

        def received(tensor, under=under):
            made = tensor.clone()
            made[0, -1, 48:64] = under["queries"][2][0, -1, 48:64]
            return made

        logits, _ = plain(schoolbook, base, queries={2: received})
        wanted = difference(logits, answers) - difference(clean_logits, answers)
        assert wanted != 0
        assert found.values[index] == pytest.approx(wanted, abs=1e-4)


def test_the_direct_path_to_the_logits_by_algebra(instrument, schoolbook, pronouns):
    """What a head writes is added to the last residual state, normed and unembedded: no more."""
    pairs = pronouns[:4]
    sender = head_attention_value_output(2, 3, pos="end")
    found = instrument.path(sender, "logits", on=pairs)
    network = schoolbook.network
    sites = [block_output(2, pos="end"), sender]
    base = schoolbook.read(sites, [Row.of(pair, "base") for pair in pairs])
    source = schoolbook.read(sites, [Row.of(pair, "source") for pair in pairs])
    columns = network.transformer.h[2].attn.c_proj.weight[48:64]
    for index, pair in enumerate(pairs):
        _, _, answers = sides(schoolbook, pair)
        change = (source[sender][index] - base[sender][index]) @ columns
        with torch.no_grad():
            states = base[sites[0]][index]
            before, after = (
                network.lm_head(network.transformer.ln_f(each))[0].double()
                for each in (states, states + change)
            )
        wanted = difference(after, answers) - difference(before, answers)
        assert found.values[index] == pytest.approx(wanted, abs=1e-4)


def test_paths_from_everything_to_the_last_block_are_everything(instrument, pronouns):
    """With nothing between sender and receiver, the path is the whole effect."""
    sender = block_output(1, pos="end")
    whole = instrument.effect(interchange(sender), on=pronouns)
    path = instrument.path(sender, block_input(2, pos="end"), on=pronouns)
    np.testing.assert_allclose(path.values, whole.values, rtol=1e-4, atol=1e-4)


def test_opening_a_sublayer_lets_paths_through(instrument, pronouns):
    """With every sublayer open the path is the whole effect; with one shut it is less."""
    sender = head_attention_value_output(2, 3, pos="end")
    direct = instrument.path(sender, "logits", on=pronouns)
    opened = instrument.path(sender, "logits", on=pronouns, through=[mlp_output(2)])
    whole = instrument.effect(interchange(sender), on=pronouns)
    np.testing.assert_allclose(opened.values, whole.values, rtol=1e-4, atol=1e-4)
    assert abs(direct.estimate) < abs(whole.estimate) / 2


def test_senders_inside_a_sublayer_act_through_it(instrument, pronouns):
    """A head's values reach the logits through its own mixed values, which stay open."""
    values = head_value_output(2, 3)
    path = instrument.path(values, "logits", on=pronouns)
    z = instrument.path(head_attention_value_output(2, 3, pos="end"), "logits", on=pronouns)
    assert path.estimate == pytest.approx(z.estimate, rel=0.2)


def test_a_sweep_over_senders(instrument, pronouns):
    """Each cell is the path from one head; heads of the receiver's own layer are not asked."""
    to = instrument.paths_to(head_attention_value_output(2, 3, pos="end"))
    grid = instrument.sweep(
        head_attention_value_output, layers=[0, 1], intervention=to, on=pronouns
    )
    assert grid.shape == (2, 4)
    one = instrument.path(
        head_attention_value_output(0, 2), head_attention_value_output(2, 3, pos="end"), on=pronouns
    )
    np.testing.assert_allclose(grid.values[:, 0, 2], one.values, rtol=1e-4, atol=1e-5)
    assert "path to head_attention_value_output[2.3]@end" in grid.subject


@pytest.mark.parametrize(
    "senders, receivers, message",
    [
        (
            head_attention_value_output(2, 0),
            head_query_output(1, 0),
            "no path leads from head_attention_value_output[2.0] to head_query_output[1.0]: it is "
            "computed no earlier",
        ),
        (SENDER, SENDER, "it is computed no earlier"),
        (module("transformer.wte"), "logits", "cannot be the end of a path"),
        (SENDER, module("lm_head"), "cannot be the end of a path"),
        (
            SENDER,
            "logit",
            "no path leads to 'logit'; did you mean 'logits'?\nreceivers are sites such as "
            "head_query_output(2, 3), or 'logits'",
        ),
        (
            SENDER,
            ["logits"],
            "a path leads to sites such as head_query_output(2, 3), or 'logits'; got 'logits' "
            "(str)",
        ),
        (SENDER, None, "or 'logits'; got None (NoneType)"),
        (
            "a1.h0",
            "logits",
            "senders are sites such as head_attention_value_output(1, 0); got 'a1.h0' (str)",
        ),
        (SENDER, [], "a path needs at least one receiver, or 'logits'"),
        ([], "logits", "a path needs at least one sender"),
    ],
)
def test_what_is_no_path_is_refused(instrument, pronouns, senders, receivers, message):
    """Each message says which end is wrong."""
    with pytest.raises(InterventionError, match=re.escape(message)):
        instrument.path(senders, receivers, on=pronouns)


@pytest.mark.parametrize(
    "through, error, message",
    [
        (
            "mlp",
            InterventionError,
            "through= takes sites of attentions and MLPs such as mlp_output(2); got 'mlp' (str)",
        ),
        (mlp_output(7), SiteError, "mlp_output[7] does not exist: schoolbook has layers 0-2"),
        (
            [block_output(1)],
            InterventionError,
            "through=block_output[1] is no attention and no MLP, which alone are held fixed; name "
            "e.g. attention_output(2), head_attention_value_output(2, 3) or mlp_output(2)",
        ),
    ],
)
def test_what_cannot_be_opened_is_refused(instrument, through, error, message):
    """A path through what is not there, or is never shut, is no path."""
    with pytest.raises(error, match=re.escape(message)):
        instrument.paths_to("logits", through=through)


def test_one_site_is_opened_without_a_list(instrument, pronouns):
    """A bare site is taken for one."""
    sender = head_attention_value_output(2, 3, pos="end")
    listed = instrument.path(sender, "logits", on=pronouns, through=[mlp_output(2)])
    bare = instrument.path(sender, "logits", on=pronouns, through=mlp_output(2))
    assert (bare.values == listed.values).all()


def test_an_mlp_reads_what_an_earlier_head_wrote(instrument, pronouns):
    """The embedding's path into the first MLP and out again is most of the name's effect."""
    found = instrument.path(embedding(pos="name"), mlp_input(0, pos="name"), on=pronouns)
    assert found.estimate < -5
