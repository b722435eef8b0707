"""Edge scores are derivatives of exact path effects; the graph is complete; files hold it."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
import transformers

from causaltest import (
    Causal,
    Circuit,
    Model,
    Pair,
    Pairs,
    apply_function,
    from_source,
    head_attention_value_output,
    interchange,
    mlp_output,
    read_circuit,
)
from causaltest.errors import EvidenceError, InterventionError, ModelError, PairError, RecordError
from causaltest.sweeps.components import circuit_of

STEP = 0.02


def nudged(base, source):
    """Go a small way to the source."""
    return base + STEP * (source - base)


@pytest.fixture(scope="module")
def scores(schoolbook, pronouns):
    """Scores of all edges on three pairs."""
    return Causal(schoolbook).edge_attribution(on=pronouns[:3])


def test_the_graph_has_every_edge_once(scores):
    """Readers of layer l: 12 channels and one MLP; writers before them: embedding, heads, MLPs."""
    heads, layers = 4, 3
    expected = sum(
        (1 + (heads + 1) * layer) * 3 * heads + (1 + (heads + 1) * layer + heads)
        for layer in range(layers)
    ) + (1 + (heads + 1) * layers)
    names = [edge.name for edge in scores.edges]
    assert len(names) == len(set(names)) == expected
    assert {"input->a0.h0<q>", "a0.h1->m0", "m0->a1.h3<v>", "m2->logits"} <= set(names)
    assert "m0->a0.h1<q>" not in names
    assert "a1.h0->a1.h1<q>" not in names


@pytest.mark.parametrize(
    "name",
    ["a2.h3->m2", "m0->a2.h3<v>", "a1.h0->a2.h3<q>", "input->m0", "a2.h3->logits", "m1->logits",
     "a0.h1->a2.h3<k>"],
)  # fmt: skip
def test_scores_are_derivatives_of_path_effects(instrument, pronouns, scores, name):
    """A small step of the sender, all else held, recorded at the receiver: the exact path."""
    pairs = pronouns[:3]
    edge = {each.name: each for each in scores.edges}[name]
    sender, receiver = edge.sender_site, edge.receiver_site
    path = instrument.paths_to(receiver)(sender)
    parts = path.under.parts if receiver != "logits" else path.parts
    small = apply_function(sender, nudged, source=True)
    under = small
    for part in reversed(parts[:-1]):
        under = part + under
    assert parts[-1] == interchange(sender)
    edit = (
        under if receiver == "logits" else from_source("base", interchange(receiver), under=under)
    )
    found = instrument.effect(edit, on=pairs).values / STEP
    column = [each.name for each in scores.edges].index(name)
    np.testing.assert_allclose(
        scores.values[:, column], found, rtol=0.06, atol=2e-3 * np.abs(scores.values).max()
    )


def test_strong_edges_are_computed_exactly(instrument, pronouns):
    """Exact effects are those of path patching, and more steps come closer to them."""
    pairs = pronouns[:4]
    one = instrument.edge_attribution(on=pairs, verify=6)
    many = instrument.edge_attribution(on=pairs, verify=6, steps=8)
    edge = one.top(1)[0]
    alone = instrument.path(edge.sender_site, edge.receiver_site, on=pairs)
    np.testing.assert_allclose(one.exact[edge.name], alone.values, rtol=1e-4)
    assert many.verification.worst < one.verification.worst
    assert many.verification.correlation > 0.95
    assert "EAP-IG, 8 steps" in repr(many)


def test_a_circuit_of_the_strongest_edges(scores):
    """The senders of the edges, as sites."""
    circuit = scores.circuit(10)
    assert "head_attention_value_output[2.3]" in {str(site) for site in circuit}


def test_a_circuit_carries_the_edges_between_its_components(scores, tmp_path):
    """All of the chosen edges but those into components that send along none; the same by file."""
    circuit = scores.circuit(10)
    chosen = scores.top(10)
    inside = [e for e in chosen if e.receiver.name in {c.sender.name for c in chosen} | {"logits"}]
    told = sorted(f"{e.sender.name}->{e.receiver.name}{e.channel}" for e in inside)
    assert 0 < len(told) <= 10

    def name(end):
        if isinstance(end, str):
            return end
        return f"m{end.layer}" if end.head is None else f"a{end.layer}.h{end.head}"

    drawn = (f"{name(e.sender)}->{name(e.receiver)}{e.channel}" for e in circuit.edges)
    assert sorted(drawn) == told
    assert read_circuit(scores.save(tmp_path / "edges.json"), edges=10) == circuit


@pytest.mark.parametrize("way", ["scores", "file", "more", "less"])
def test_a_circuit_is_not_judged_on_the_pairs_it_was_chosen_on(
    instrument, pronouns, scores, tmp_path, way
):
    """Whether it comes from the scores or their file, with members added or taken away."""
    circuit = scores.circuit(10)
    added = head_attention_value_output(0, 0)
    circuit = {
        "scores": lambda: circuit,
        "file": lambda: read_circuit(scores.save(tmp_path / "edges.json"), edges=10),
        "more": lambda: Circuit(added) + circuit,
        "less": lambda: circuit - circuit.sites[0],
    }[way]()
    among = [head_attention_value_output(layer, head) for layer in range(3) for head in range(4)]
    among += [mlp_output(layer) for layer in range(3)]
    for claim in (
        instrument.faithfulness, instrument.necessity, instrument.incompleteness,
        instrument.minimality,
    ):  # fmt: skip
        with pytest.raises(EvidenceError, match=r"^a circuit chosen on .* cannot be judged on"):
            claim(circuit, among=among, on=pronouns[2:5])
    fresh = instrument.faithfulness(circuit, among=among, on=pronouns[3:])
    assert len(fresh.values) == len(pronouns) - 3


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "edges.json is no graph of edges; expected what edge_attribution(...).save wrote (J"),
        ('{"edges": []}', "edges.json is no graph of edges; expected what edge_attribution(...)"),
        (
            '{"schema": "causaltest.edges/2", "edges": []}',
            "edges.json: its schema is 'causaltest.edges/2', not 'causaltest.edges/1'",
        ),
        (
            '{"schema": "causaltest.edges/1", "edges": [{"sender": "b1", "receiver": "m1"}]}',
            "'b1' is no node, such as 'input', 'a1.h3', 'm1' or 'logits'",
        ),
    ],
)
def test_files_of_another_kind_are_refused(tmp_path, text, message):
    """A damaged file, and one of another program, say what was expected."""
    path = tmp_path / "edges.json"
    path.write_text(text)
    with pytest.raises(RecordError, match=re.escape(message)):
        read_circuit(path, edges=1)


def test_grouped_query_heads_read_by_key_value_heads():
    """Where heads share keys and values, an edge leads to what reads for all of them."""
    config = transformers.LlamaConfig(
        vocab_size=20, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2,
    )  # fmt: skip
    torch.manual_seed(0)
    model = Model(transformers.LlamaForCausalLM(config).eval(), name="grouped")
    pairs = Pairs(
        [Pair((1, 2, i), (3, 4, i), base_answer=5, source_answer=6) for i in range(5, 9)],
        name="ids",
        cluster=None,
    )
    found = Causal(model).edge_attribution(on=pairs, verify=5, steps=5)
    names = {edge.name for edge in found.edges}
    assert "a0.h3->a1.kv1<v>" in names
    assert "a0.h3->a1.h3<q>" in names
    # Heads 2 and 3 read by the second key-value head, and both are drawn.
    edges = {each.name: each for each in found.edges}
    chosen = [edges[name] for name in ("a0.h3->a1.kv1<v>", "a1.h2->logits", "a1.h3->logits")]
    drawn = [str(edge) for edge in circuit_of([*chosen, edges["a1.h1->logits"]], found.edges).edges]
    assert [name for name in drawn if name.endswith("<v>")] == [
        f"head_attention_value_output[0.3]->head_attention_value_output[1.{head}]<v>"
        for head in (2, 3)
    ]
    assert (found.verification.correlation or 0.0) > 0.9


def test_files_hold_the_graph(scores, tmp_path):
    """JSON has nodes, edges and scores, and those of each pair where asked."""
    path = scores.save(tmp_path / "edges.json", pairs=True)
    read = json.loads(path.read_text())
    assert read["schema"] == "causaltest.edges/1"
    assert {node["kind"] for node in read["nodes"]} == {"input", "head", "mlp", "logits"}
    estimates = {edge["name"]: edge["estimate"] for edge in read["edges"]}
    assert estimates["m2->logits"] == pytest.approx(np.mean([row[-1] for row in read["values"]]))
    assert len(scores.to_pandas()) == len(scores.edges)
    with pytest.raises(RecordError, match=re.escape("edges.csv: a circuit graph is saved as")):
        scores.save(tmp_path / "edges.csv")


def test_the_strongest_edges_as_text(scores):
    """One line each, strongest first, with the exact effect where it is known."""
    first, second = scores.top(2)
    known = scores.with_exact({second.name: np.full(len(scores.values), -1.25)})
    lines = [line.split() for line in known.table(2).splitlines()]
    places = [scores.edges.index(edge) for edge in (first, second)]
    shown = [f"{float(scores.values[:, place].mean()):.3f}" for place in places]
    assert lines == [
        ["edge", "estimate", "exact"],
        [first.name, shown[0], "-"],
        [second.name, shown[1], "-1.250"],
    ]
    assert len({len(line) for line in known.table(2).splitlines()}) == 1
    assert "1 edge computed exactly: largest difference" in repr(known)


def test_what_cannot_be_scored_is_refused(instrument, scores):
    """Uneven pairs, a stream that is no sum, and more edges than there are."""
    uneven = Pairs(
        [Pair("Rachel went home because", "John went home early because", " she", " he")],
        name="uneven",
        cluster=None,
    )
    with pytest.raises(PairError, match="base has 4 tokens and source 5; edges are scored token"):
        instrument.edge_attribution(on=uneven)
    for count in (999, 0, 2.5, "3", True):
        wanted = f"cannot choose {count!r} edges of 262; choose a whole number from 1"
        with pytest.raises(InterventionError, match=re.escape(wanted)):
            scores.top(count)
    config = transformers.BertConfig(
        vocab_size=20, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=4,
    )  # fmt: skip
    bert = Model(transformers.BertForMaskedLM(config).eval(), name="bert")
    pairs = Pairs([Pair((1, 2), (3, 2), base_answer=5, source_answer=6)], name="b", cluster=None)
    with pytest.raises(ModelError, match="does not just add its attention and its MLP"):
        Causal(bert).edge_attribution(on=pairs)
