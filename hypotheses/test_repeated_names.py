"""How the model recalls the name that went with another, as induction heads would."""

import pytest

from causaltest import Circuit, interchange, recovery
from causaltest.sites import block_output
from causaltest.sites import head_attention_value_output as head

HEADS = [head(layer, index, pos="end") for layer in range(3) for index in range(4)]
MATCHER = head(0, 0, pos="end")
MOVERS = [head(2, index, pos="end") for index in (0, 2, 3)]
CIRCUIT = Circuit(MATCHER, *MOVERS)


def test_the_model_recalls_the_name_that_followed(causal, repeated_names):
    """The name that went with the repeated one follows, far more often than by chance."""
    assert causal.accuracy(on=repeated_names) > 0.5


def test_the_follower_is_held_where_it_stands(causal, repeated_names):
    """After the first block nine tenths of who followed stand at that name's own token."""
    pairs = repeated_names.where(contrast="follower")
    effect = causal.effect(interchange(block_output(0, pos="follower")), on=pairs, metric=recovery)
    assert effect > 0.9


def test_three_heads_bring_it_to_the_last_token(causal, repeated_names):
    """Heads 0, 2 and 3 of the last block together bring most of who followed."""
    pairs = repeated_names.where(contrast="follower")
    assert causal.effect(interchange(*MOVERS), on=pairs, metric=recovery) > 0.5


def test_four_heads_suffice(causal, repeated_names):
    """Four of twelve heads do what all do at the last token, to within a fifth either way."""
    faithfulness = causal.faithfulness(CIRCUIT, among=HEADS, on=repeated_names)
    assert abs(1 - faithfulness) < 0.2


@pytest.mark.parametrize("part", CIRCUIT, ids=lambda site: f"{site.layer}.{site.head}")
def test_each_of_the_four_is_needed(causal, repeated_names, part):
    """Dropping any one of the four heads makes the circuit less faithful."""
    whole = causal.faithfulness(CIRCUIT, among=HEADS, on=repeated_names)
    assert whole > causal.faithfulness(CIRCUIT - part, among=HEADS, on=repeated_names)


@pytest.mark.causal(expect="refuted")
def test_one_head_is_the_whole_circuit(causal, repeated_names):
    """The strongest head alone keeps half of what all heads do (false: it needs the others)."""
    strongest = Circuit(head(2, 3, pos="end"))
    assert causal.faithfulness(strongest, among=HEADS, on=repeated_names) > 0.5
