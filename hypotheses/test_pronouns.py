"""How the model decides between she and he."""

import pytest

from causaltest import interchange, mean_ablate, recovery
from causaltest.sites import attention_output, block_output
from causaltest.sites import head_attention_value_output as head

MOVER = head(2, 3, pos="end")


def test_the_model_gives_the_right_pronoun(causal, pronouns):
    """A girl's name is followed by she and a boy's by he, far more often than by chance."""
    assert causal.accuracy(on=pronouns) > 0.5


def test_the_name_token_carries_the_gender(causal, pronouns):
    """After the first block nine tenths of the gender stand at the name."""
    effect = causal.effect(interchange(block_output(0, pos="name")), on=pronouns, metric=recovery)
    assert effect > 0.9


def test_one_head_brings_the_gender_to_the_last_token(causal, pronouns):
    """Head 3 of the last block alone brings most of the gender to the last token."""
    assert causal.effect(interchange(MOVER), on=pronouns, metric=recovery) > 0.5


def test_that_head_is_necessary(causal, pronouns):
    """Without head 3 of the last block the right pronoun loses at least two logits."""
    assert causal.effect(mean_ablate(MOVER), on=pronouns) < -2


@pytest.mark.parametrize("other", [0, 1, 2])
def test_that_head_does_more_than_its_neighbours(causal, pronouns, other):
    """Head 3 of the last block carries more of the gender than any other head beside it."""
    neighbour = head(2, other, pos="end")
    mover = causal.effect(interchange(MOVER), on=pronouns, metric=recovery)
    assert mover > causal.effect(interchange(neighbour), on=pronouns, metric=recovery)


def test_the_first_attention_brings_nothing_to_the_last_token(causal, pronouns):
    """What the first block's attention writes at the last token has next to no effect."""
    effect = causal.effect(
        interchange(attention_output(0, pos="end")), on=pronouns, metric=recovery
    )
    assert abs(effect) < 0.1


@pytest.mark.causal(expect="refuted")
def test_the_gender_has_arrived_by_the_middle_block(causal, pronouns):
    """Most of the gender stands at the last token after the middle block (false: it comes late)."""
    effect = causal.effect(interchange(block_output(1, pos="end")), on=pronouns, metric=recovery)
    assert effect > 0.5
