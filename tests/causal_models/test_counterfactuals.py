"""Counterfactual pairs of causal models, and the pair sets written from them."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given

from causaltest import CausalModelError, PairError, Pairs
from causaltest.causal_models import CausalModel, counterfactuals_of

EQUALITY = CausalModel(
    inputs={name: range(4) for name in "wxyz"},
    mechanisms={
        "left": lambda w, x: w == x,
        "right": lambda y, z: y == z,
        "answer": lambda left, right: left == right,
    },
)
SUM = CausalModel({"a": range(5), "b": range(5)}, {"sum": lambda a, b: a + b})


def test_kinds_of_pairs_are_equally_frequent():
    """Pairs are shared out among variables, and half of each variable's change the output."""
    drawn = EQUALITY.counterfactuals(["left", "right"], 60, seed=3)
    kinds = Counter((each.variable, each.changes_output) for each in drawn)
    assert kinds == dict.fromkeys(
        [("left", True), ("left", False), ("right", True), ("right", False)], 15
    )
    assert len({each.key() for each in drawn}) == 60
    assert all(each.base != each.source for each in drawn)
    assert drawn == EQUALITY.counterfactuals(["left", "right"], 60, seed=3)


@given(counterfactuals_of(EQUALITY, "left"))
def test_the_changed_setting_is_the_interchange(pair):
    """What a counterfactual says is what the model's own interchange gives."""
    assert pair.changed == EQUALITY.interchange(pair.base, {"left": pair.source})
    assert pair.changes_output == (pair.changed["answer"] != pair.base_setting["answer"])
    assert pair.differs == pair.changes_output  # the answer depends on `left` everywhere


@pytest.mark.parametrize(
    "arguments, message",
    [
        (((), 4), "of= names no variable; name one that is exchanged"),
        (("answer", 4), "'answer' is an output; exchanging it says nothing of how it is computed"),
        (("lft", 4), "of= names 'lft', which is no variable; did you mean 'left'?"),
        (("left", 0), "count is 0; draw at least one pair"),
    ],
)
def test_what_cannot_be_exchanged_is_refused(arguments, message):
    """Outputs, unknown variables and empty draws are errors."""
    with pytest.raises(CausalModelError, match=re.escape(message)):
        EQUALITY.counterfactuals(*arguments)


def test_too_few_pairs_of_a_kind_are_refused():
    """Where no more pairs exist the error says of which kind."""
    small = CausalModel({"a": (0, 1)}, {"copy": lambda a: a, "answer": lambda copy: copy})
    with pytest.raises(
        CausalModelError,
        match=r"only 2 of 5 pairs were found in which exchanging 'copy' would change the output",
    ):
        small.counterfactuals("copy", 5, changing=1.0)
    with pytest.raises(CausalModelError, match=r"changing is 1.5; expected a share from 0 to 1"):
        small.counterfactuals("copy", 1, changing=1.5)


def test_templates_become_a_pair_set_with_positions():
    """Fields are positions, the source answer is the counterfactual one, templates are units."""
    pairs = Pairs.from_causal_model(
        SUM, "a", 20, prompt=["{a} + {b} =", "{a} and {b} make"],
        answer=lambda setting: f" {setting['sum']}", name="sums", cluster="template",
    )  # fmt: skip
    assert pairs.n_units == 2
    assert Counter(pair.labels["output"] for pair in pairs) == {"changes": 10, "stays": 10}
    for pair in pairs:
        assert isinstance(pair.base, str)
        assert isinstance(pair.source, str)
        a, b = (int(pair.labels[name]) for name in "ab")
        taken = int(re.findall(r"\d", pair.source)[0])
        assert (pair.base_answer, pair.source_answer) == (f" {a + b}", f" {taken + b}")
        assert pair.labels["exchanged"] == "a"
        assert pair.place("a", "base") is not None


def test_a_function_writes_prompts_of_token_ids_with_positions():
    """A function of a setting gives ids, and places where it says so."""
    pairs = Pairs.from_causal_model(
        EQUALITY, "left", 12,
        prompt=lambda s: ((s["w"], s["x"], s["y"], s["z"]), {"pair": [0, 1]}),
        answer=lambda s: int(s["answer"]), name="equality", cluster=None,
    )  # fmt: skip
    for pair in pairs:
        w, x, y, z = pair.base
        assert pair.source is not None
        v, u, *_ = pair.source
        assert pair.base_answer == int((w == x) == (y == z))
        assert pair.source_answer == int((v == u) == (y == z))
        assert pair.place("pair").indices == (0, 1)


def test_an_answer_that_is_neither_text_nor_class_is_refused():
    """A truth value needs a function that says how the model writes it."""
    with pytest.raises(PairError, match=r"the answer 'answer' is (True|False) \(bool\); a model"):
        Pairs.from_causal_model(
            EQUALITY, "left", 2, prompt=["{w}{x}{y}{z}"], answer="answer", name="e", cluster=None
        )
    with pytest.raises(PairError, match=r"answer='som' is no variable .* did you mean 'sum'\?"):
        Pairs.from_causal_model(
            SUM, "a", 2, prompt=["{a}{b}"], answer="som", name="s", cluster=None
        )
    with pytest.raises(PairError, match=r"prompt is '\{a\}'; expected a list of templates"):
        Pairs.from_causal_model(SUM, "a", 2, prompt="{a}", answer="sum", name="s", cluster=None)


def test_an_input_is_not_taken_for_a_label_of_the_pairs():
    """Inputs named like the labels that say what was exchanged are refused, however written."""
    taken = CausalModel(
        {"exchanged": range(3), "b": range(3)},
        {"total": lambda exchanged, b: (exchanged + b) % 3, "even": lambda total: int(total == 0)},
    )
    writers = (lambda s: (s["exchanged"], s["b"]), ["{exchanged} and {b}"])
    for prompt in writers:
        with pytest.raises(PairError, match=r"label 'exchanged' is set twice, to '\d'.*rename"):
            Pairs.from_causal_model(
                taken, "total", 2, prompt=prompt, answer="even", name="taken", cluster=None
            )
