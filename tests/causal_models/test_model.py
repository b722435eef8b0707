"""Causal models: running, intervening, interchanging, classes and live paths."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causaltest import CausalModelError
from causaltest.causal_models import CausalModel, inputs_of

EQUALITY = CausalModel(
    inputs={name: range(3) for name in "wxyz"},
    mechanisms={
        "answer": lambda left, right: left == right,
        "left": lambda w, x: w == x,
        "right": lambda y, z: y == z,
    },
)


def _by_hand(w, x, y, z):
    return (w == x) == (y == z)


@given(inputs_of(EQUALITY))
def test_running_equals_the_formula(inputs):
    """Hierarchical equality answers as its formula does."""
    assert EQUALITY.run(inputs)["answer"] == _by_hand(**inputs)


@given(inputs_of(EQUALITY), inputs_of(EQUALITY))
def test_an_interchange_equals_the_formula_with_that_part_taken_over(base, source):
    """Taking `left` from a source compares the source's left pair with the base's right pair."""
    changed = EQUALITY.interchange(base, {"left": source})
    assert changed["answer"] == ((source["w"] == source["x"]) == (base["y"] == base["z"]))
    assert [changed[name] for name in "wxyz"] == [base[name] for name in "wxyz"]


@given(inputs_of(EQUALITY))
def test_exchanging_with_oneself_changes_nothing(inputs):
    """An interchange of every variable with the base itself is the base."""
    same = EQUALITY.interchange(inputs, dict.fromkeys(("left", "right", "w"), inputs))
    assert same == EQUALITY.run(inputs)


def test_variables_are_sorted_by_what_they_need():
    """Order, inputs, outputs and parents follow from the mechanisms' parameters."""
    assert EQUALITY.variables == ("w", "x", "y", "z", "left", "right", "answer")
    assert EQUALITY.inputs == ("w", "x", "y", "z")
    assert EQUALITY.intermediate == ("left", "right")
    assert EQUALITY.outputs == ("answer",)
    assert EQUALITY.parents["left"] == ("w", "x")
    assert set(EQUALITY.domains["answer"]) == {True, False}
    assert repr(EQUALITY) == (
        "<CausalModel of w, x, y, z: left(w, x), right(y, z), answer(left, right)>"
    )


def test_setting_an_input_with_do_overrides_it():
    """What is set is not taken from the input, and needs no value there."""
    assert EQUALITY.run({"x": 1, "y": 0, "z": 0}, do={"w": 1})["answer"] is True


def test_every_setting_is_listed_once():
    """`settings` runs the whole product of domains."""
    settings = list(EQUALITY.settings())
    assert len(settings) == EQUALITY.n_inputs == 81
    assert {tuple(each[name] for name in "wxyz") for each in settings} == set(
        itertools.product(range(3), repeat=4)
    )


def test_equivalence_classes_part_the_settings_of_parents():
    """Each setting of the parents is in the class of the value it gives."""
    classes = EQUALITY.equivalence_classes("left")
    assert [sorted(each.items()) for each in classes[True]] == [
        [("w", i), ("x", i)] for i in range(3)
    ]
    assert len(classes[False]) == 6


def test_live_paths_of_a_gate_are_blocked_where_it_is_shut():
    """With `and`, a change passes only where the other input is true."""
    gate = CausalModel(
        {"a": (False, True), "b": (False, True)},
        {"both": lambda a, b: a and b, "answer": lambda both: not both},
    )
    assert gate.live_paths({"a": False, "b": True}) == (
        ("a", "both"), ("both", "answer"), ("a", "both", "answer"),
    )  # fmt: skip
    assert gate.live_paths({"a": False, "b": False}) == (("both", "answer"),)
    assert gate.live_paths({"a": True, "b": True}, do={"both": True}) == (("both", "answer"),)


@pytest.mark.parametrize(
    "inputs, mechanisms, domains, message",
    [
        ({}, {}, None, "a causal model needs inputs and mechanisms; got 0 and 0"),
        ({"a": [1]}, {"a": lambda a: a}, None, "'a' cannot be input and computed at once"),
        (
            {"a": [1]}, {"b": lambda c: c, "c": lambda b, a: a + b}, None,
            "the variables b, c form a cycle, or follow from one",
        ),
        (
            {"name": [1]}, {"b": lambda nme: nme}, None,
            "the mechanism of 'b' takes 'nme', which is no variable; did you mean 'name'?\n"
            "variables: name, b",
        ),
        ({"a": [1]}, {"b": 3}, None, "the mechanism of 'b' is 3; expected a function of variables"),
        ({"a": [1]}, {"b": lambda *a: a}, None, "takes *a; name each variable it uses"),
        (
            {"a": [1]}, {"b": lambda: 1}, None,
            "the mechanism of 'b' takes no variable; a constant explains nothing",
        ),
        ({"a": []}, {"b": lambda a: a}, None, "the domain of 'a' is empty"),
        ({"a": [1, 1]}, {"b": lambda a: a}, None, "the domain of 'a' holds a value twice"),
        (
            {"a": [1]}, {"sum": lambda a: a}, {"som": [1]},
            "domains= names 'som', which is no variable of the model; did you mean 'sum'?",
        ),
        ({"a": [1]}, {"b": lambda a: a}, {"a": [1]}, "domains= names 'a', which is an input"),
        (
            {"a": range(1000), "b": range(1000)}, {"c": lambda a, b: a + b}, None,
            "'c' has 1,000,000 settings of its parents, too many to run one by one; give its "
            "values in domains={'c': ...}",
        ),
    ],
)  # fmt: skip
def test_what_is_no_model_is_refused(inputs, mechanisms, domains, message):
    """Cycles, unknown names, constants and empty domains are errors that name them."""
    with pytest.raises(CausalModelError, match=re.escape(message)):
        CausalModel(inputs, mechanisms, domains=domains)


@pytest.mark.parametrize(
    "run, message",
    [
        (
            lambda: EQUALITY.run({"w": 1, "x": 1, "y": 1}),
            "the input gives no value to 'z'\na model of w, x, y, z needs a value for each",
        ),
        (
            lambda: EQUALITY.run({"w": 7, "x": 1, "y": 1, "z": 0}),
            "the input gives 'w' the value 7; it takes 0, 1, 2",
        ),
        (
            lambda: EQUALITY.run({"left": True}),
            "the input sets 'left', which is computed; set it with do={'left': ...}",
        ),
        (
            lambda: EQUALITY.run(dict.fromkeys("wxyz", 0), do={"lefd": True}),
            "do= names 'lefd', which is no variable; did you mean 'left'?",
        ),
        (
            lambda: EQUALITY.run(dict.fromkeys("wxyz", 0), do={"left": "yes"}),
            "do= gives 'left' the value 'yes'; it takes True, False",
        ),
        (lambda: EQUALITY.interchange({}, {"q": {}}), "the sources names 'q'"),
        (lambda: EQUALITY.equivalence_classes("w"), "'w' is an input; it is not computed from"),
    ],
)
def test_what_does_not_fit_the_model_is_refused(run, message):
    """Missing, unknown and impossible values are errors that say what is possible."""
    with pytest.raises(CausalModelError, match=re.escape(message)):
        run()


def test_a_mechanism_that_leaves_its_domain_is_refused():
    """A value that a declared domain does not hold is the mechanism's mistake."""
    total = CausalModel(
        {"a": range(3), "b": range(3)}, {"sum": lambda a, b: a + b}, domains={"sum": range(4)}
    )
    assert total.run({"a": 1, "b": 2})["sum"] == 3
    with pytest.raises(CausalModelError, match=r"its mechanism gives 'sum' the value 4; it takes"):
        total.run({"a": 2, "b": 2})


def test_too_many_inputs_are_not_listed():
    """Listing all inputs of a large model is refused, sampling is not."""
    large = CausalModel({name: range(100) for name in "abcd"}, {"same": lambda a, b: a == b})
    with pytest.raises(CausalModelError, match=r"there are 100,000,000 inputs, too many"):
        next(large.settings())
    assert len(large.sample(3)) == 3


@given(st.integers(0, 5))
def test_samples_are_seeded(seed):
    """The same seed gives the same inputs, another one others."""
    assert EQUALITY.sample(20, seed=seed) == EQUALITY.sample(20, seed=seed)
    assert EQUALITY.sample(20, seed=seed) != EQUALITY.sample(20, seed=seed + 1)


def test_a_balanced_sample_has_every_value_equally_often():
    """Equality is rare among random inputs and half of a balanced sample."""
    drawn = EQUALITY.sample(60, balanced="left", where=lambda s: s["right"])
    settings = [EQUALITY.run(each) for each in drawn]
    assert sum(each["left"] for each in settings) == 30
    assert all(each["right"] for each in settings)


def test_a_sample_that_cannot_be_drawn_is_refused():
    """A filter that nothing passes is an error, not a loop without end."""
    with pytest.raises(CausalModelError, match="no input as where= asks among 2,000 random ones"):
        EQUALITY.sample(1, where=lambda s: s["w"] > 9)
    with pytest.raises(CausalModelError, match="no input with left = True as where= asks"):
        EQUALITY.sample(1, balanced="left", where=lambda s: s["w"] != s["x"])
    with pytest.raises(CausalModelError, match="balanced= names 'lef', which is no variable"):
        EQUALITY.sample(1, balanced="lef")


def test_a_drawing_shows_every_variable_and_edge():
    """Inputs stand left of what is computed from them, and each parent has a line."""
    chart = EQUALITY.draw(EQUALITY.run(dict.fromkeys("wxyz", 0))).to_dict()
    lines, points = (chart["layer"][index]["data"]["values"] for index in (0, 1))
    assert {each["variable"]: each["value"] for each in points}["answer"] == "True"
    at = {each["variable"]: each["x"] for each in points}
    assert at["w"] < at["left"] < at["answer"]
    assert len(lines) == sum(map(len, EQUALITY.parents.values()))
    assert all(line["x"] < line["x2"] for line in lines)


def test_parents_may_be_named_apart_from_parameters():
    """`parents=` passes values in its order, to functions whose parameters have other names."""
    model = CausalModel(
        {"left side": range(3), "right side": range(3)},
        {"greater": lambda one, other: one > other, "both": max},
        parents={"greater": ["right side", "left side"], "both": ["left side", "right side"]},
    )
    assert model.parents["greater"] == ("right side", "left side")
    for left, right in itertools.product(range(3), repeat=2):
        found = model.run({"left side": left, "right side": right})
        assert (found["greater"], found["both"]) == (right > left, max(left, right))
    classes = model.equivalence_classes("greater")
    assert {value: len(settings) for value, settings in classes.items()} == {False: 6, True: 3}


@pytest.mark.parametrize(
    "parents, message",
    [
        ({"sun": ["a"]}, "parents= names 'sun', which is no variable of the model; did you mean"),
        ({"a": ["b"]}, "parents= names 'a', which is an input"),
        ({"sum": ["a", "c"]}, "parents= computes 'sum' from 'c', which is no variable"),
        ({"sum": []}, "parents= computes 'sum' from nothing; make it an input"),
        (
            {"sum": ["a"]},
            "the mechanism of 'sum' does not take the values of 'a': missing a required argument",
        ),
    ],
)
def test_parents_that_do_not_fit_are_refused(parents, message):
    """Unknown names, inputs, nothing, and functions of another number of values are errors."""
    with pytest.raises(CausalModelError, match=re.escape(message)):
        CausalModel({"a": range(2), "b": range(2)}, {"sum": lambda x, y: x + y}, parents=parents)


def test_variables_may_take_any_value():
    """A domain of None holds everything: it is run and set, and refused where it is listed."""
    model = CausalModel(
        {"price": None, "low": range(3)},
        {"over": lambda price, low: price - low, "dear": lambda over: over > 2},
        domains={"over": None, "dear": [False, True]},
    )
    assert model.run({"price": 4.75, "low": 2}) == {
        "price": 4.75, "low": 2, "over": 2.75, "dear": True,
    }  # fmt: skip
    assert model.run({"price": 4.75, "low": 2}, do={"over": -1.5})["dear"] is False
    assert model.interchange({"price": 0, "low": 0}, {"over": {"price": 9, "low": 1}})["dear"]
    message = "'price' takes any value, so its values cannot be listed or drawn; give it a domain"
    for call in (
        lambda: model.sample(1),
        lambda: next(model.settings()),
        lambda: model.equivalence_classes("over"),
        lambda: CausalModel({"price": None}, {"dear": lambda price: price > 2}),
        lambda: model.live_paths({"price": 1, "low": 1}),
    ):
        with pytest.raises(CausalModelError, match=re.escape(message).replace("price", r"\w+")):
            call()
