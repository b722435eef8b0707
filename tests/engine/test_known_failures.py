"""Every silent wrong answer and obscure error known of pyvene, and the tests that rule it out."""

import ast
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
WRONG, MESSAGES = "pyvene/test_wrong_answers.py", "pyvene/test_messages.py"

# What goes wrong there, and where it is shown that it does not here: file and test.
SILENT = {
    "B1 every row receives row 0's activation": [
        (WRONG, "test_locations_for_one_row_are_refused_for_four"),
        ("engine/test_prompts.py", "test_a_row_changes_by_its_own_edit_only"),
    ],
    "B2 one call changes the next": [
        (WRONG, "test_an_int_location_does_not_stick"),
        ("engine/test_turns.py", "test_nested_contexts_have_their_own_edits"),
    ],
    "B3 dims of all rows are changed in each": [
        (WRONG, "test_each_row_changes_its_own_dims"),
        ("interventions/test_application.py", "test_each_row_changes_exactly_its_own_dims"),
    ],
    "B4 boundless fails in batches": [
        (WRONG, "test_boundless_takes_batches_and_units"),
        ("interventions/test_formulas.py", "test_formula_on_the_residual_stream"),
    ],
    "B5 several positions are collected in part": [
        (WRONG, "test_several_positions_are_collected_whole"),
        ("engine/test_architecture.py", "test_components_equal_plain_hooks"),
    ],
    "B6 without a source nothing happens": [
        (WRONG, "test_missing_sources_are_an_error"),
        ("engine/test_run.py", "test_a_pair_without_source_cannot_be_interchanged"),
        ("engine/test_run.py", "test_what_an_intervention_needs"),
    ],
    "B7 what the caller gave is emptied": [
        (WRONG, "test_what_the_caller_gave_is_not_touched"),
        ("engine/test_hooks.py", "test_things_of_the_caller_stay_as_they_are"),
    ],
    "B8 source rows beyond those of base are ignored": [
        (WRONG, "test_source_rows_must_be_those_of_base"),
        ("engine/test_prompts.py", "test_unequal_spans_are_refused"),
    ],
    "B9 hooks of others are deleted": [
        (WRONG, "test_hooks_of_others_stay"),
        ("engine/test_hooks.py", "test_the_network_is_left_as_found"),
        ("engine/test_hooks.py", "test_hidden_states_can_still_be_asked_for"),
        ("engine/test_hooks.py", "test_hooks_of_the_caller_see_what_they_saw"),
        ("engine/test_turns.py", "test_an_interrupt_leaves_no_trace"),
    ],
    "B10 attention patterns are not edited": [
        ("engine/test_lens.py", "test_patterns_of_gpt2_by_hand"),
        ("engine/test_patterns.py", "test_edits_are_those_by_hand"),
        ("pyvene/test_sources.py", "test_attention_weights_never_pass_for_edited"),
        ("pyvene/test_sources.py", "test_attention_patterns_are_collected_and_edited"),
    ],
    "B11 part of a head is swapped": [
        (WRONG, "test_wide_heads_are_swapped_whole"),
        ("engine/test_run.py", "test_all_heads_are_the_whole"),
    ],
    "B12 other time steps are set to zero": [
        (WRONG, "test_time_steps_before_an_edit_stay"),
        ("engine/test_model.py", "test_lstm_of_others"),
    ],
    "B13 the model is frozen, and embeddings given are written to": [
        (WRONG, "test_the_model_keeps_its_flags"),
        ("engine/test_hooks.py", "test_the_network_is_left_as_found"),
        ("engine/test_model.py", "test_edits_leave_a_network_trainable"),
    ],
    "B14 two ints have two meanings; unknown units and layer -1 pass": [
        (WRONG, "test_two_ints_in_a_list_have_two_meanings"),
        (WRONG, "test_unknown_units_and_negative_layers_are_refused"),
    ],
    "B15 outputs pile up": [(WRONG, "test_nothing_piles_up_over_calls")],
}

OBSCURE = {
    "a component with a typo": [
        (MESSAGES, "test_wrong_representations_are_refused"),
        ("engine/test_architecture.py", "test_places_that_do_not_exist"),
    ],
    "a side of a path with a typo": [(MESSAGES, "test_wrong_representations_are_refused")],
    "a path from another root": [
        (MESSAGES, "test_wrong_representations_are_refused"),
        ("engine/test_architecture.py", "test_places_that_do_not_exist"),
    ],
    "a basis for another number of units": [
        (MESSAGES, "test_another_number_of_units_than_the_basis_is_refused"),
        ("interventions/test_application.py", "test_what_does_not_fit_the_model_is_refused"),
    ],
    "layer 99": [
        (MESSAGES, "test_wrong_representations_are_refused"),
        ("engine/test_architecture.py", "test_places_that_do_not_exist"),
    ],
    "position 77 of 6, and -7": [
        (MESSAGES, "test_wrong_locations_are_refused"),
        (MESSAGES, "test_negative_positions_count_from_the_end_of_each_row"),
        ("engine/test_prompts.py", "test_positions_that_do_not_exist"),
    ],
    "unequal lengths without positions": [
        (MESSAGES, "test_lengths_that_differ_are_refused"),
        ("engine/test_prompts.py", "test_no_position_with_unequal_lengths_is_refused"),
    ],
    "a wrong key": [(MESSAGES, "test_wrong_locations_are_refused")],
    "the key of base beside sources": [(MESSAGES, "test_wrong_locations_are_refused")],
    "one list of locations for two interventions": [
        (MESSAGES, "test_locations_of_one_intervention_are_refused_for_two")
    ],
    "one source for an interchange and a collect": [
        (MESSAGES, "test_one_source_serves_an_interchange_beside_a_collect")
    ],
    "a module that is called twice": [
        (MESSAGES, "test_a_module_that_runs_twice_is_refused"),
        ("engine/test_model.py", "test_a_module_that_runs_twice_is_not_edited"),
        ("engine/test_model.py", "test_a_module_that_runs_twice_is_not_read"),
    ],
    "gradients under ReLU": [
        (MESSAGES, "test_gradients_flow_under_relu"),
        ("interventions/test_gradients.py", "test_gradients_of_trained_numbers"),
        ("interventions/test_gradients.py", "test_gradients_survive_checkpointing"),
    ],
    "single-precision results in a bf16 model": [
        (MESSAGES, "test_half_precision_is_kept"),
        ("engine/test_half_precision.py", "test_an_edit_is_as_exact_as_a_plain_run"),
    ],
    "a head that grouped keys do not have": [
        (MESSAGES, "test_key_value_heads_are_counted"),
        ("engine/test_architecture.py", "test_places_that_do_not_exist"),
    ],
    "functions that make networks": [(MESSAGES, "test_names_that_are_not_here_say_what_to_write")],
    "printing a model": [
        (MESSAGES, "test_a_model_can_be_printed"),
        ("engine/test_model.py", "test_repr_names_model_and_class"),
    ],
}


@cache
def _tests_in(file: str) -> frozenset[str]:
    tree = ast.parse((TESTS / file).read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("row", [*SILENT, *OBSCURE])
def test_every_known_failure_is_ruled_out(row: str) -> None:
    """The tests that rule a failure out exist under their names."""
    for file, name in {**SILENT, **OBSCURE}[row]:
        assert name in _tests_in(file), f"{file} has no {name}"


def test_every_silent_failure_has_its_row() -> None:
    """B1 to B15 and the seventeen obscure errors, none left out."""
    assert [row.split()[0] for row in SILENT] == [f"B{number}" for number in range(1, 16)]
    assert len(OBSCURE) == 17
