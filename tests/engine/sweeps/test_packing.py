"""Rows side by side in packs: none overlaps another, and each sees what it would see alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from causaltest.engine.model import Model
from causaltest.engine.output import Output
from causaltest.engine.sweeps import calling, fast, sweep
from causaltest.engine.sweeps.packing import best_length, packs, seats
from causaltest.interventions import interchange
from causaltest.metrics import logit_diff
from causaltest.pairs import Pair, Pairs
from causaltest.sites import Site, block_output, head_attention_value_output, mlp_activation

ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 7)), min_size=1, max_size=20)


@given(rows=ROWS, longer=st.integers(0, 5))
def test_rows_of_one_pair_share_packs_without_overlap(rows, longer):
    """Each row lies whole within one pack, whose other rows are of its pair and elsewhere."""
    capacity = max(tokens for _, tokens in rows) + longer
    held: set[tuple[int, int]] = set()
    owner: dict[int, int] = {}
    for (pair, tokens), seat in zip(rows, seats(rows, capacity), strict=True):
        assert 0 <= seat.first <= capacity - tokens
        assert owner.setdefault(seat.pack, pair) == pair
        for column in range(seat.first, seat.first + tokens):
            assert (seat.pack, column) not in held
            held.add((seat.pack, column))
    assert len(held) == sum(tokens for _, tokens in rows)
    assert sorted(owner) == list(range(len(owner)))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9))
def test_packs_are_as_long_as_wastes_least(lengths):
    """No other length within reach would take fewer tokens."""

    def taken(length: int) -> int:
        rows = [(0, each) for each in lengths]
        return length * len({seat.pack for seat in seats(rows, length)})

    chosen = best_length([lengths])
    longest = max(lengths)
    assert taken(chosen) == min(map(taken, range(longest, longest + min(longest, 8) + 1)))


@given(rows=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5)), min_size=1, max_size=12))
@settings(deadline=None)
def test_a_column_sees_the_base_run_before_its_row_and_its_row_up_to_itself(rows):
    """What is visible is spelled out token by token."""
    tokens = 6
    first, prefix = min(start for _, start in rows), max(start for _, start in rows)
    columns = tokens - first
    taken = seats([(row, tokens - start) for row, start in rows], columns)
    made, owners = packs(
        rows, taken, tokens=tokens, columns=columns, prefix=prefix, device=torch.device("cpu")
    )
    for index, ((row, start), seat) in enumerate(zip(rows, taken, strict=True)):
        assert made.rows[seat.pack] == row
        for place in range(start, tokens):
            column = seat.first + place - start
            assert (made.places[seat.pack, column], owners[seat.pack, column]) == (place, index)
            seen = made.visible[seat.pack, column].nonzero()[:, 0].tolist()
            own = range(prefix + seat.first, prefix + column + 1)
            assert seen == [*range(start), *own]
            assert made.keys[seat.pack, seen].tolist() == list(range(place + 1))
    assert made.visible.any(-1).all()


SMALL = {"hidden_size": 32, "intermediate_size": 48, "vocab_size": 60, "num_hidden_layers": 3}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
TOKENS = 9


def network(kind: str) -> torch.nn.Module:
    """Return a small network with random weights."""
    torch.manual_seed(1)
    if kind == "rotary":
        return LlamaForCausalLM(LlamaConfig(**SMALL, **HEADS))
    if kind == "eager":
        return LlamaForCausalLM(LlamaConfig(**SMALL, **HEADS, attn_implementation="eager"))
    if kind == "window":
        return MistralForCausalLM(MistralConfig(**SMALL, **HEADS, sliding_window=64))
    if kind == "short window":
        return MistralForCausalLM(MistralConfig(**SMALL, **HEADS, sliding_window=4))
    if kind == "window of its own":
        types = [[["global", "local"], 1], [["local"], 1]]
        return GPTNeoForCausalLM(
            GPTNeoConfig(
                hidden_size=32, num_layers=3, num_heads=4, vocab_size=60, window_size=4,
                attention_types=types, intermediate_size=48,
            )
        )  # fmt: skip
    return BloomForCausalLM(BloomConfig(hidden_size=32, n_layer=3, n_head=4, vocab_size=60))


@pytest.mark.parametrize(
    "kind, packed",
    [
        ("rotary", True),
        ("eager", True),
        ("window", True),
        ("alibi", True),
        ("short window", False),
        ("window of its own", False),
    ],
)
def test_packs_give_what_one_run_for_each_cell_gives(kind, packed):
    """Positions, biases by key, heads and windows are those of the prompt, not of the pack."""
    model = Model(network(kind))
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(1, 60, (3, 2, TOKENS), generator=generator)
    ids[1, 1, :4] = ids[1, 0, :4]
    pairs = Pairs(
        [
            Pair(tuple(base), tuple(source), base_answer=1, source_answer=2)
            for base, source in ids.tolist()
        ],
        name="random",
        cluster=None,
    )
    cells = [
        interchange(site)
        for layer in range(3)
        for at in range(TOKENS)
        for site in (
            block_output(layer, pos=at),
            head_attention_value_output(layer, 1, pos=at),
            mlp_activation(layer, pos=at),
        )
    ]
    found = sweep(model, cells, pairs, logit_diff)
    slow = sweep(model, cells, pairs, logit_diff, plan="loop")
    torch.testing.assert_close(
        torch.tensor(found.values), torch.tensor(slow.values), rtol=0, atol=2e-6
    )
    reason = "rows run only the blocks and tokens behind their first edit"
    assert (found.plan.name, reason in found.plan.reasons) == ("growing", packed), found.plan


def test_metrics_may_read_several_tokens_of_rows_that_share_a_pack():
    """Attention with a mask of its own takes the last query for the last token."""
    network = GPTNeoForCausalLM(
        GPTNeoConfig(
            hidden_size=32, num_layers=2, num_heads=4, vocab_size=60, intermediate_size=48,
            attention_types=[[["global"], 2]],
        )
    )  # fmt: skip
    model = Model(network)
    pairs = Pairs([Pair((1, 2, 3, 4, 5, 6), (9, 8, 7, 6, 5, 4))], name="one", cluster=None)
    cells = [
        interchange(Site(name, layer=layer, pos=at))
        for name in ("block_output", "mlp_output", "attention_output")
        for layer in range(2)
        for at in (0, 3, 4, 5)
    ]

    def two_tokens(output: Output) -> float:
        return float(output.at(4)[3] - output.at("end")[7])

    found = sweep(model, cells, pairs, two_tokens)
    slow = sweep(model, cells, pairs, two_tokens, plan="loop")
    np.testing.assert_allclose(found.values, slow.values, rtol=0, atol=2e-6)
    assert found.plan.reasons == ("rows run only the blocks and tokens behind their first edit",)


def test_what_comes_out_otherwise_in_a_probe_is_not_packed(monkeypatch):
    """Rows that see each other are noticed before any row of a sweep is run."""
    model = Model(network("rotary"))
    monkeypatch.setattr(calling, "additive", lambda seen, _: torch.zeros(seen.shape))
    monkeypatch.setattr(fast, "to_check", lambda *_: [])
    pairs = Pairs([Pair((1, 2, 3, 4, 5, 6), (9, 8, 7, 6, 5, 4))], name="one", cluster=None)
    cells = [interchange(block_output(0, pos=at)) for at in range(6)]
    found = sweep(model, cells, pairs, lambda output: float(output.at("end")[3]))
    slow = sweep(model, cells, pairs, lambda output: float(output.at("end")[3]), plan="loop")
    np.testing.assert_allclose(found.values, slow.values, rtol=0, atol=2e-6)
    (reason,) = found.plan.reasons
    assert reason.startswith(
        "rows run the blocks behind their first edit, tokens from a few places on: side by side "
        "they came out otherwise, by "
    )
