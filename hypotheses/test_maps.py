"""Where in the model it happens: claims about whole maps, all cells considered."""

from causaltest import block_output, recovery
from causaltest import head_attention_value_output as head


def test_the_number_moves_from_the_subject_to_the_end(causal, agreement):
    """The number stands at the subject up to the middle block, then at the end, only there."""
    grid = causal.sweep(
        block_output, positions=["subject", "attractor", "end"], on=agreement, metric=recovery
    )
    hot = [(0, "subject"), (1, "subject"), (2, "end")]
    assert grid.localised(hot, at_least=0.5, contrast=0.5, cold_within=0.3)


def test_the_gender_moves_through_one_head(causal, pronouns):
    """Of all twelve heads, head 3 of the last block alone brings the gender to the last token."""
    grid = causal.sweep(head, positions="end", on=pronouns, metric=recovery)
    assert grid.localised({"layer": 2, "head": 3}, at_least=0.5, contrast=0.5, cold_within=0.3)


def test_it_is_the_gender_and_not_the_name(causal, pronouns):
    """Up to the middle block a name of the other gender does what one of the same does not."""
    place = {"layers": [0, 1], "positions": ["name"], "on": pronouns, "metric": recovery}
    placebo = causal.sweep(block_output, placebo="source", **place)
    assert causal.sweep(block_output, **place).against(placebo).every() > 0.5


def test_restoring_the_subject_restores_the_verb(causal, agreement):
    """With noise on the subject, its state behind the first block restores most of the verb."""
    grid = causal.trace(on=agreement, corrupt="subject", positions=["subject", "end"], draws=4)
    assert grid.mean_over(layer=0, pos="subject") > 0.5
