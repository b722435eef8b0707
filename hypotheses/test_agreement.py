"""How the model makes the verb agree with its subject, past a noun of the other number."""

from causaltest import interchange, noise, recovery
from causaltest.sites import block_output, embedding
from causaltest.sites import head_attention_value_output as head


def test_the_model_makes_verbs_agree(causal, agreement):
    """Singular subjects get is or was and plural ones are or were, far above chance."""
    assert causal.accuracy(on=agreement) > 0.5


def test_the_subject_token_carries_its_number(causal, agreement):
    """After the first block nine tenths of the number stand at the subject."""
    effect = causal.effect(
        interchange(block_output(0, pos="subject")), on=agreement, metric=recovery
    )
    assert effect > 0.9


def test_the_noun_between_carries_nothing_of_it(causal, agreement):
    """The noun between subject and verb holds next to nothing of the subject's number."""
    effect = causal.effect(
        interchange(block_output(1, pos="attractor")), on=agreement, metric=recovery
    )
    assert abs(effect) < 0.1


def test_one_head_brings_the_number_to_the_verb(causal, agreement):
    """Head 3 of the last block alone brings most of the number to where the verb is chosen."""
    effect = causal.effect(interchange(head(2, 3, pos="end")), on=agreement, metric=recovery)
    assert effect > 0.5


def test_noise_on_the_subject_costs_the_right_verb(causal, agreement):
    """Gaussian noise on the subject's embedding costs the right verb at least one logit."""
    assert causal.effect(noise(embedding(pos="subject"), sd=1.0), on=agreement) < -1


def test_the_last_residual_stream_decides_the_verb(causal, agreement):
    """Taking over the last token's final residual stream flips the verb nearly always."""
    assert causal.accuracy(interchange(block_output(2, pos="end")), on=agreement) > 0.5
