"""The name decides the pronoun: hypotheses on Karpathy's 260,032-parameter TinyStories model.

The templates are chosen on names of several tokens and judged on Lily, Tim and Timmy, the three
names that are one token to this model. The heads were found on Lily, Tim and Timmy, so they are
judged on eight further names: nothing here is judged on what it was chosen on.

Bounds: .5 where a claim says "most of the effect"; a twentieth of the total effect counts as
negligible throughout.
"""

from collections import defaultdict

import pytest

from causaltest import (
    Causal,
    Model,
    Pairs,
    attention_output,
    block_output,
    head_attention_value_output,
    interchange,
    mean_ablate,
    mlp_output,
    recovery,
)

CANDIDATES = (
    "One day, a child named {name} went to the park.",
    "One day, {name} went to the park.",
    "One day, {name} was playing in the park.",
    "One day, {name} saw a big dog.",
    "One day, {name} found a shiny rock.",
    "One day, {name} found a little key.",
    "One day, {name} was very sad.",
    "One day, {name} was very hungry.",
    "One day, {name} was playing with a toy car.",
    "One day, {name} wanted to play outside.",
    "One day, {name} woke up early.",
    "One day, {name} lost a toy.",
    "One day, {name} made a big cake.",
    "One day, {name} was in the garden.",
    "One day, {name} heard a loud noise.",
    "One sunny day, {name} went outside to play.",
    "One rainy day, {name} stayed in the house.",
    "One morning, {name} woke up and felt sick.",
    "One morning, {name} wanted to eat an apple.",
    "One morning, {name} looked out of the window.",
    "One night, {name} could not sleep.",
    "The next day, {name} went to school.",
    "After lunch, {name} went to sleep.",
    "At night, {name} went to bed.",
    "At the park, {name} saw a bird.",
    "In the garden, {name} found a flower.",
    "Every day, {name} played in the sand.",
    "Every night, {name} read a book.",
    "The little child {name} was very tired.",
    "Then {name} was very brave.",
    "But {name} was not happy.",
    "So {name} ran home.",
    "Today {name} is happy.",
    "Once upon a time, {name} went for a walk.",
    "Once upon a time, {name} lived in a big house.",
    "Once upon a time, {name} had a small dog.",
    "Once upon a time, there was a little child named {name}.",
    "Once upon a time there was a child called {name}.",
    "There once was a child named {name}.",
    "{name} is a little child.",
    "{name} was a very good child.",
    "{name} was a child who loved to sing.",
    "{name} was three years old.",
    "{name} was very happy.",
    "{name} was sad.",
    "{name} was scared.",
    "{name} was hungry.",
    "{name} was tired.",
    "{name} was surprised.",
    "{name} was excited to see the train.",
    "{name} was playing with a ball.",
    "{name} was walking in the park.",
    "{name} felt very proud.",
    "{name} felt bad.",
    "{name} had a red ball.",
    "{name} had a lot of toys.",
    "{name} had a small cat.",
    "{name} had a new book.",
    "{name} loved to play with toys.",
    "{name} liked to run and jump.",
    "{name} liked to eat cake.",
    "{name} liked to draw.",
    "{name} wanted to go outside.",
    "{name} wanted a cookie.",
    "{name} saw a big tree.",
    "{name} found a big box.",
    "{name} opened the box.",
    "{name} looked in the box.",
    "{name} looked up at the sky.",
    "{name} tried to open the door.",
    "{name} went to the store with mom.",
    "{name} went home.",
    "{name} walked to school.",
    "{name} ran to the big tree.",
    "{name} climbed the tree.",
    "{name} jumped into the water.",
    "{name} sat on the chair.",
    "{name} took the ball and ran.",
    "{name} picked up the toy.",
    "{name} put on a hat.",
    "{name} washed the car.",
    "{name} helped the bird.",
    "{name} played all day.",
    "{name} did not want to share.",
    "{name} laughed and clapped.",
    "{name} cried.",
    "{name} fell down.",
)

LAST = 4
NEGLIGIBLE = 0.05
HEADS = [head_attention_value_output(LAST, head, pos="end") for head in range(8)]


def children_in(templates, names, name):
    """Every template with every (girl, boy), each once as base and once as source."""
    contrasts = []
    for girl, boy in names:
        there = {"base": {"name": girl}, "source": {"name": boy}}
        back = {"base": {"name": boy}, "source": {"name": girl}}
        contrasts += [
            {**there, "base_answer": " She", "source_answer": " He"},
            {**back, "base_answer": " He", "source_answer": " She"},
        ]
    return Pairs.from_templates(templates, contrasts, name=name)


@pytest.fixture(scope="session")
def model(real_models):
    """TinyStories, 5 layers, 8 heads, 4 key-value heads."""
    return Model.load(str(real_models / "stories260k"))


@pytest.fixture(scope="session")
def templates(model):
    """The candidates in which all twelve names of several tokens get their pronoun."""
    names = zip(
        ("Mia", "Anna", "Sue", "Lucy", "Sara", "Jane"),
        ("Tom", "Ben", "Max", "Sam", "Bob", "Jack"),
        strict=True,
    )
    chosen_on = children_in(CANDIDATES, names, "names of several tokens")
    rate = Causal(model).accuracy(on=chosen_on)
    right = defaultdict(list)
    for template, value in zip(rate.units, rate.values, strict=True):
        right[template].append(value)
    return [template for template in CANDIDATES if all(right[template])]


@pytest.fixture(scope="session")
def children(templates):
    """The pairs that claims are judged on: names of one token, none used in the choice."""
    return children_in(templates, [("Lily", "Tim"), ("Lily", "Timmy")], "children")


@pytest.fixture(scope="session")
def other_children(templates):
    """Names of several tokens that took no part in any choice."""
    names = [("Emma", "Dan"), ("Molly", "Peter"), ("Amy", "John"), ("Rose", "Mike")]
    return children_in(templates, names, "other names")


def test_the_model_knows_the_pronoun(causal, children):
    """The model continues with the pronoun of the name in more than 90 % of cases."""
    assert causal.accuracy(on=children) > 0.9


@pytest.mark.causal(expect="refuted")
def test_the_model_knows_the_pronoun_of_every_name(causal, other_children):
    """The templates also work for names that they were not chosen on.

    They do not: Rose is taken for a boy and Dan often for a girl. What is found here is said of
    the three names that the model has tokens for.
    """
    assert causal.accuracy(on=other_children) > 0.9


def test_the_name_carries_the_gender_up_to_the_last_layer(causal, children):
    """Before the last layer most of the gender is still at the name, not where the answer is."""
    carried = interchange(block_output(LAST - 1, pos="name"))
    assert causal.effect(carried, on=children, metric=recovery) > 0.5
    assert causal.accuracy(carried, on=children) > 0.5


def test_the_name_carries_nothing_after_the_last_layer(causal, children):
    """After the last layer the name's residual stream has no part in the answer."""
    effect = causal.effect(
        interchange(block_output(LAST, pos="name")), on=children, metric=recovery
    )
    assert abs(effect) < NEGLIGIBLE


def test_the_end_takes_over_in_the_last_layer(causal, children):
    """The gender moves to the end position in the last layer: it is there after, not before."""
    before = causal.effect(
        interchange(block_output(LAST - 1, pos="end")), on=children, metric=recovery
    )
    after = causal.effect(interchange(block_output(LAST, pos="end")), on=children, metric=recovery)
    assert after - before > 0.5


@pytest.mark.causal(expect="refuted")
def test_the_end_knows_early(causal, children):
    """The end position has gathered most of the gender by the middle layer.

    A common belief about where such facts are read out; here a sixth of it is there.
    """
    effect = causal.effect(interchange(block_output(2, pos="end")), on=children, metric=recovery)
    assert effect > 0.5


def test_one_head_moves_more_than_all_others_of_its_layer(causal, other_children):
    """Head 2 of the last layer moves more of the gender than its seven neighbours together."""
    mover = causal.effect(interchange(HEADS[2]), on=other_children, metric=recovery)
    others = [head for head in HEADS if head != HEADS[2]]
    neighbours = causal.effect(interchange(*others), on=other_children, metric=recovery)
    assert mover > neighbours


def test_attention_moves_it_rather_than_the_mlp(causal, children):
    """In the last layer attention brings the gender to the end; the MLP adds less."""
    attention = causal.effect(
        interchange(attention_output(LAST, pos="end")), on=children, metric=recovery
    )
    mlp = causal.effect(interchange(mlp_output(LAST, pos="end")), on=children, metric=recovery)
    assert attention > mlp


def test_the_head_is_necessary(causal, other_children):
    """Without head 2 most of what the last layer's heads contribute is lost."""
    assert causal.necessity([HEADS[2]], among=HEADS, on=other_children) > 0.5


def test_two_heads_are_enough(causal, other_children):
    """Heads 0 and 2 alone keep nine tenths of what the last layer's heads contribute."""
    assert causal.faithfulness([HEADS[0], HEADS[2]], among=HEADS, on=other_children) > 0.9


def test_without_the_name_the_lead_is_gone(causal, children):
    """With the name's residual stream at its mean, the right pronoun loses its lead.

    The bound is one logit, a factor of e in the odds; the lead is more than three.
    """
    assert causal.effect(mean_ablate(block_output(0, pos="name")), on=children) < -1


def test_the_layer_before_attends_to_nothing_that_matters(causal, children):
    """Attention of the layer before the last has a negligible part at the end position."""
    effect = causal.effect(
        interchange(attention_output(LAST - 1, pos="end")), on=children, metric=recovery
    )
    assert abs(effect) < NEGLIGIBLE


def test_the_last_token_of_a_longer_name_gathers_it(causal, other_children):
    """A name of several tokens is gathered at its last token by the middle layer."""
    last = causal.effect(
        interchange(block_output(2, pos="name.last")), on=other_children, metric=recovery
    )
    assert last > 0.5
