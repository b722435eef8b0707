"""A published account of a periodic-pattern GPT-2, tested claim by claim.

The author of `periodic-induction-gpt2` says of this checkpoint: (1) accuracy is about 100 % from
the second period on; (2) removing the position embeddings collapses it to near random; (3) the
attention edges i -> i-8 carry little, hence nothing is copied from the previous occurrence; (4) the
model uses a position-dependent shortcut, not token matching.

Found here: (1) holds. (2) holds in that the task breaks, but not down to chance: about a tenth is
left where chance is a twentieth. (3) The edge to the same symbol, i -> i-8, carries
nothing; the conclusion drawn from it is refuted, since in the second period the answer is copied
from i-7, the symbol after the previous occurrence. (4) holds, and more sharply than published: in
the second half of each period the answer is copied from one absolute position, in the first
period, whatever stands everywhere else.

Patterns are drawn independently, so each pair is its own unit (`cluster=None`). Which positions are
read was explored on patterns of other seeds. Bounds: .5 is most cases, .9 nearly all.
"""

import random

import pytest
import torch

from causaltest import (
    Model,
    Pair,
    Pairs,
    attention_output,
    embedding,
    head_attention_value_output,
    interchange,
    mean_ablate,
    module,
    recovery,
    value_output,
    zero_ablate,
)

PERIOD = 8
SYMBOLS = 20
LONGEST = 31
NEGLIGIBLE = 0.05
POSITION_EMBEDDINGS = module("transformer.wpe")


def repeated(pattern, length):
    """The pattern again and again, up to a length."""
    return tuple(pattern[i % len(pattern)] for i in range(length))


def patterns(lengths, each, *, seed, name):
    """Prompts of every length, `each` of them, with a source of an unrelated pattern.

    Positions count from the token whose successor is asked for, i = length - 1: `same` is the
    previous occurrence of its symbol (i-8), `after` the symbol behind that (i-7), which is the
    answer; `first` is the answer's place in the first period; `elsewhere` is all but `first`.
    """
    draw = random.Random(seed)
    pairs = []
    for length in lengths:
        for _ in range(each):
            base = [draw.randrange(SYMBOLS) for _ in range(PERIOD)]
            # Another symbol everywhere, so that every interchange could change the answer.
            source = [(symbol + draw.randrange(1, SYMBOLS)) % SYMBOLS for symbol in base]
            first = length % PERIOD
            pairs.append(
                Pair(
                    repeated(base, length),
                    repeated(source, length),
                    base_answer=base[first],
                    source_answer=source[first],
                    positions={
                        "same": length - 1 - PERIOD,
                        "after": length - PERIOD,
                        "earliest": first,
                        "elsewhere": [i for i in range(length) if i != first],
                    },
                )
            )
    return Pairs(pairs, name=name, cluster=None)


@pytest.fixture(scope="session")
def model(real_models):
    """Two layers, four heads, no tokenizer.

    Position ids are given for each row: by default GPT-2 looks positions up once for the whole
    batch, and an activation that rows share cannot be edited row by row.
    """
    network = Model.load(str(real_models / "periodic-induction-gpt2")).network

    def forward(network, ids, mask):
        positions = torch.arange(ids.shape[1], device=ids.device).expand(ids.shape)
        return network(input_ids=ids, attention_mask=mask, position_ids=positions).logits

    return Model(network, name="periodic-induction-gpt2", forward=forward)


@pytest.fixture(scope="session")
def all_lengths():
    """Every length from the second period on."""
    return patterns(range(PERIOD + 1, LONGEST + 1), 22, seed=11, name="from the second period on")


@pytest.fixture(scope="session")
def second_period():
    """One occurrence to copy from: the previous one is the first one."""
    return patterns(range(PERIOD + 1, 2 * PERIOD), 30, seed=12, name="second period")


@pytest.fixture(scope="session")
def late_phases():
    """Third and fourth period, answers in the second half of the pattern: several to copy from."""
    lengths = [i for i in range(2 * PERIOD + 1, LONGEST + 1) if i % PERIOD >= PERIOD // 2]
    return patterns(lengths, 25, seed=13, name="second half of later periods")


@pytest.fixture(scope="session")
def other_periods():
    """Patterns of 9 distinct symbols, seen at least twice; whoever matches tokens goes on."""
    draw = random.Random(14)
    pairs = []
    for length in [length for length in range(2 * 9, LONGEST + 1) for _ in range(10)]:
        pattern = draw.sample(range(SYMBOLS), 9)
        pairs.append(Pair(repeated(pattern, length), base_answer=pattern[length % 9]))
    return Pairs(pairs, name="period of 9", cluster=None)


def test_claim_1_accuracy_from_the_second_period_on(causal, all_lengths):
    """Author's claim 1: from the second period on the next symbol is right in about 100 % of cases.

    "About 100 %" is read as more than 98 %.
    """
    assert causal.accuracy(on=all_lengths) > 0.98


def test_claim_2_the_task_breaks_without_positions(causal, all_lengths):
    """Author's claim 2, the collapse: without position embeddings accuracy falls below a quarter.

    Guessing one of the pattern's symbols gives 1/8 + 7/8 * 1/20 = .169; a quarter is the rate of
    guessing among four of the eight.
    """
    zeroed = zero_ablate(POSITION_EMBEDDINGS)
    assert causal.accuracy(zeroed, on=all_lengths, expect="base_answer") < 0.25
    averaged = mean_ablate(POSITION_EMBEDDINGS)
    assert causal.accuracy(averaged, on=all_lengths, expect="base_answer") < 0.25


@pytest.mark.causal(expect="refuted")
def test_claim_2_random_without_positions(causal, all_lengths):
    """Author's claim 2, random: without position embeddings accuracy is no more than chance, 1/20.

    Refuted: about a tenth is left, clearly more than chance.
    """
    left = causal.accuracy(zero_ablate(POSITION_EMBEDDINGS), on=all_lengths, expect="base_answer")
    assert left < 1 / SYMBOLS


@pytest.mark.causal(expect="inconclusive")
def test_claim_2_near_random_without_positions(causal, all_lengths):
    """Author's claim 2, near random: without position embeddings accuracy is below twice chance.

    Open: what is left lies so close to a tenth that 5,980 pairs did not settle it either (.104,
    95 % interval .096 to .112).
    """
    left = causal.accuracy(zero_ablate(POSITION_EMBEDDINGS), on=all_lengths, expect="base_answer")
    assert left < 2 / SYMBOLS


def test_claim_3_the_same_symbol_carries_nothing(causal, all_lengths):
    """Author's claim 3, the observation: the previous occurrence of the same symbol has no part."""
    effect = causal.effect(interchange(embedding(pos="same")), on=all_lengths, metric=recovery)
    assert abs(effect) < NEGLIGIBLE


@pytest.mark.causal(expect="refuted")
def test_claim_3_no_copying_from_the_previous_occurrence(causal, second_period):
    """Author's claim 3, the conclusion: the answer does not follow what came after last time.

    Refuted: in the second period it follows in every case. The author looked at the edge i -> i-8;
    the copy comes over i -> i-7.
    """
    follows = causal.accuracy(interchange(embedding(pos="after")), on=second_period)
    assert follows < 0.5


def test_claim_3_later_the_copy_is_an_older_one(causal, late_phases):
    """In later periods the answer is copied from the first period, not from the previous one."""
    first = causal.accuracy(interchange(embedding(pos="earliest")), on=late_phases)
    previous = causal.accuracy(interchange(embedding(pos="after")), on=late_phases)
    assert first > 0.9
    assert previous < 0.1


def test_claim_4_one_position_decides_whatever_the_rest_says(causal, late_phases):
    """Author's claim 4, the shortcut: one position decides, whatever stands everywhere else."""
    stays = causal.accuracy(
        interchange(embedding(pos="elsewhere")), on=late_phases, expect="base_answer"
    )
    assert stays > 0.9


@pytest.mark.causal(expect="refuted")
def test_claim_4_token_matching_would_continue_any_period(causal, other_periods):
    """The rival of claim 4, token matching: the model continues patterns of another period.

    Refuted: it all but never does, so claim 4 holds.
    """
    assert causal.accuracy(on=other_periods) > 0.5


def test_the_copy_runs_through_the_values_of_the_second_layer(causal, late_phases):
    """Most of the copied symbol passes through the second layer's values at that one position."""
    effect = causal.effect(
        interchange(value_output(1, pos="earliest")), on=late_phases, metric=recovery
    )
    assert effect > 0.5


def test_the_second_layer_copies_not_the_first(causal, all_lengths):
    """Attention of the second layer brings more of the answer to the end than that of the first."""
    second = causal.effect(
        interchange(attention_output(1, pos="end")), on=all_lengths, metric=recovery
    )
    first = causal.effect(
        interchange(attention_output(0, pos="end")), on=all_lengths, metric=recovery
    )
    assert second - first > 0.5


@pytest.mark.parametrize("head", range(4))
def test_no_head_copies_alone(causal, all_lengths, head):
    """No single head of the second layer carries most of the answer."""
    effect = causal.effect(
        interchange(head_attention_value_output(1, head, pos="end")),
        on=all_lengths,
        metric=recovery,
    )
    assert effect < 0.5
