"""High-level causal models: runs, interchanges, samplers, data sets, refusals."""

import collections

import numpy as np
import pytest
import torch

from causaltest.errors import CausalModelError, CausaltestError
from causaltest.pyvene import CausalModel

BOOLEAN = [False, True]


def conjunction(**more):
    """Return C = A and B."""
    return CausalModel(
        ["C", "A", "B"],
        dict.fromkeys("ABC", BOOLEAN),
        {"A": [], "B": [], "C": ["A", "B"]},
        {"A": lambda: True, "B": lambda: False, "C": lambda a, b: a and b},
        seed=0,
        **more,
    )


def equality(**more):
    """Return the hierarchical equality of four shapes: (W == X) == (Y == Z)."""
    shapes = ["a", "b", "c"]
    return CausalModel(
        ["W", "X", "Y", "Z", "WX", "YZ", "O"],
        {**dict.fromkeys("WXYZ", shapes), **dict.fromkeys(["WX", "YZ", "O"], BOOLEAN)},
        {
            **{name: [] for name in "WXYZ"}, "WX": ["W", "X"], "YZ": ["Y", "Z"], "O": ["WX", "YZ"],
        },
        {
            **dict.fromkeys("WXYZ", lambda: "a"),
            **dict.fromkeys(["WX", "YZ", "O"], lambda x, y: x == y),
        },
        seed=0,
        **more,
    )  # fmt: skip


def test_structure_is_found():
    """Inputs, outputs, times and equivalence classes follow from parents and functions."""
    names = ["C", "A", "B"]
    model = conjunction()
    assert names == ["C", "A", "B"]
    assert (model.inputs, model.outputs) == (["A", "B"], ["C"])
    assert model.timesteps == {"A": 0, "B": 0, "C": 1}
    model.generate_equiv_classes()
    sizes = {value: len(found) for value, found in model.equiv_classes["C"].items()}
    assert sizes == {False: 3, True: 1}
    assert equality().timesteps == {
        "W": 0, "X": 0, "Y": 0, "Z": 0, "WX": 1, "YZ": 1, "O": 2,
    }  # fmt: skip


def test_runs_and_interchanges():
    """Variables that are set are not computed; those from a source have the source's values."""
    model = conjunction()
    for a in BOOLEAN:
        for b in BOOLEAN:
            assert model.run_forward({"A": a, "B": b})["C"] == (a and b)
    assert model.run_forward()["C"] is False
    assert model.run_forward({"A": False, "B": False, "C": True})["C"] is True
    source = {"A": False, "B": True}
    assert model.run_interchange({"A": True, "B": False}, {"B": source})["C"] is True
    nothing = {"A": False, "B": False}
    assert model.run_interchange(nothing, {"C": {"A": True, "B": True}})["C"] is True
    assert model.run_interchange(nothing, {"B": {"A": True, "B": True}})["C"] is False


def test_samplers():
    """The tree sampler balances the output, filters hold, one seed gives one sequence."""
    model = conjunction()
    drawn = collections.Counter(
        model.run_forward(model.sample_input_tree_balanced())["C"] for _ in range(100)
    )
    assert 30 <= drawn[True] <= 70
    only = model.get_partial_filter({"C": True})
    assert model.sample_input(only) == {"A": True, "B": True}
    runs = [[equality().sample_intervention() for _ in range(5)] for _ in range(2)]
    assert runs[0] == runs[1]
    assert all(set(each) <= {"WX", "YZ"} for each in runs[0])


def test_live_paths():
    """Only edges along which a change would be passed on are live."""
    model = conjunction()
    assert model.find_live_paths({"A": True, "B": False}) == {2: [["B", "C"]]}
    assert not model.find_live_paths({"A": False, "B": False})
    live = model.get_specific_path_filter("A", "C")
    assert live({"A": False, "B": True, "C": False})
    assert not live({"A": False, "B": False, "C": False})


def test_data_sets():
    """Factual and counterfactual examples have the labels that the model computes."""
    model = conjunction()
    factual = model.generate_factual_dataset(4)
    assert [tuple(each["input_ids"].shape) for each in factual] == [(2,)] * 4
    assert all(each["labels"].item() == float(bool(each["input_ids"].all())) for each in factual)
    tall = equality()
    shapes = {"a": 0.0, "b": 1.0, "c": 2.0}

    def enter(setting):
        return torch.tensor([shapes[setting[name]] for name in tall.inputs])

    found = tall.generate_counterfactual_dataset(12, len, 4, input_function=enter)
    assert len(found) == 12
    assert {tuple(each["source_input_ids"].shape) for each in found} == {(2, 4)}
    for example in tall.generate_counterfactual_dataset(8, len, 4, return_tensors=False):
        sources = [each for each in example["source_input_ids"] if each]
        assert example["base_labels"] == tall.run_forward(example["input_ids"])
        assert len(sources) == example["intervention_id"][0]


def test_counterfactuals_that_turn_the_output():
    """With bases whose output is false and both halves set to true, every label is true."""
    model = equality()

    def sampler(**wanted):
        return model.sample_input(None if wanted else lambda setting: not setting["O"], **wanted)

    found = model.generate_counterfactual_dataset(
        6, len, 3, sampler=sampler, return_tensors=False,
        intervention_sampler=lambda: {"WX": True, "YZ": True},
    )  # fmt: skip
    assert [each["base_labels"]["O"] for each in found] == [False] * 6
    assert [each["labels"]["O"] for each in found] == [True] * 6
    assert all(
        model.run_forward(source)[name]
        for each in found
        for name, source in zip(("WX", "YZ"), each["source_input_ids"], strict=True)
    )


@pytest.mark.parametrize(
    "change, message",
    [
        ({"parents": {"A": ["C"], "B": [], "C": ["A", "B"]}}, "the variables A, C form a cycle"),
        (
            {"parents": {"A": [], "B": [], "C": ["A", "D"]}},
            "unknown variable 'D' in the parents of 'C'",
        ),
        ({"values": {"A": BOOLEAN, "B": BOOLEAN}}, "variable 'C' has no entry in values"),
        (
            {"functions": {"A": lambda: 3, "B": lambda: True, "C": lambda *both: both[1]}},
            "its function gives 'A' the value 3; it takes False, True",
        ),
        ({"timesteps": {"A": 0, "B": 1, "C": 1}}, "'B' is a parent of 'C', but its time is 1"),
    ],
)
def test_models_that_cannot_be_are_refused(change, message):
    """A cycle, an unknown name, a missing entry, a wrong value and a wrong order are errors."""
    given = {
        "values": dict.fromkeys("ABC", BOOLEAN),
        "parents": {"A": [], "B": [], "C": ["A", "B"]},
        "functions": {"A": lambda: True, "B": lambda: True, "C": lambda a, b: a and b},
        **change,
    }
    with pytest.raises(CausaltestError) as caught:
        CausalModel(["A", "B", "C"], **given)
    assert str(caught.value).startswith(message)


def test_interventions_that_cannot_be_are_refused():
    """Unknown variables and values out of the domain are errors, and so is sampling nothing."""
    model = conjunction()
    with pytest.raises(CausaltestError, match="unknown variable 'a' in the intervention"):
        model.run_forward({"a": True})
    with pytest.raises(CausaltestError, match="the intervention gives 'A' the value 7"):
        model.run_forward({"A": 7})
    with pytest.raises(CausaltestError, match="there are no variables between inputs and outputs"):
        model.sample_intervention()


def test_variables_are_added_or_refused_whole():
    """A new variable is registered; one that makes a cycle leaves the model as it was."""
    model = conjunction()
    model.add_variable("D", BOOLEAN, ["C"], [], lambda c: not c)
    assert model.run_forward({"A": True, "B": True})["D"] is False
    with pytest.raises(CausaltestError, match="form a cycle"):
        model.add_variable("E", BOOLEAN, ["C"], ["A"], lambda c: c)
    assert "E" not in model.variables
    assert model.run_forward()["D"] is True


def test_values_may_be_arrays():
    """Domains of vectors, as of entities with features, are run, sampled and made tensors."""
    entities = [np.array([each, -each]) for each in (0.5, 0.25, 0.75)]
    model = CausalModel(
        ["x", "y", "same"],
        {"x": entities, "y": entities, "same": BOOLEAN},
        {"x": [], "y": [], "same": ["x", "y"]},
        {
            "x": lambda: entities[0], "y": lambda: entities[1],
            "same": lambda x, y: bool(np.array_equal(x, y)),
        },
        seed=0,
    )  # fmt: skip
    assert model.run_forward({"y": np.array([0.5, -0.5])})["same"] is True
    assert model.run_forward()["same"] is False
    drawn = model.sample_input(output_var="same", output_var_value=True)
    assert np.array_equal(drawn["x"], drawn["y"])
    (example,) = model.generate_factual_dataset(1)
    assert example["input_ids"].shape == (4,)
    only = model.get_partial_filter({"x": entities[2]})
    assert np.array_equal(model.sample_input(only)["x"], entities[2])
    with pytest.raises(CausalModelError, match="the intervention gives 'x' the value array"):
        model.run_forward({"x": np.array([9.0, 9.0])})


def test_variables_without_a_domain_take_any_value():
    """They are run as they are given; what lists or draws their values is refused."""
    model = CausalModel(
        ["cost", "dear"],
        {"cost": None, "dear": BOOLEAN},
        {"cost": [], "dear": ["cost"]},
        {"cost": lambda: 0.0, "dear": lambda cost: cost > 5},
    )
    assert model.run_forward({"cost": 7.25}) == {"cost": 7.25, "dear": True}
    for call in (model.sample_input, model.generate_equiv_classes):
        with pytest.raises(CausalModelError, match="'cost' takes any value, so its values cannot"):
            call()


def test_pictures_are_those_of_the_native_model():
    """Structure and settings are drawn, with the values of the model itself."""
    model = conjunction()
    points = model.print_setting(model.run_forward()).layer[1].data.values
    assert {point["variable"]: point["value"] for point in points} == {
        "A": "True", "B": "False", "C": "False",
    }  # fmt: skip
    assert len(model.print_structure().layer[0].data.values) == 2
    with pytest.raises(CausalModelError, match="unknown variable 'a' in the setting"):
        model.print_setting({"a": True})
