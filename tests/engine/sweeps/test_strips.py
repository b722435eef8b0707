"""Edits of several cells in one activation: each on its own rows."""

from __future__ import annotations

import pytest
import torch

from causaltest.engine.prompts import Batch, Row
from causaltest.engine.softmax import hidden_keys, hiding
from causaltest.engine.sweeps.strips import Placed, merged
from causaltest.errors import InterventionError

THREE = Batch((Row((1, 2)),) * 3, torch.ones(3, 2, dtype=torch.long), (2, 2, 2))


def test_each_operation_sees_and_changes_its_own_rows():
    """Rows of other cells stay, and a second operation on a row sees what the first left."""
    seen: list[float] = []

    def look(tensor: torch.Tensor) -> None:
        seen.extend(tensor[:, 0, 0].tolist())

    placed = [
        Placed(slice(0, 1), "a", "output", lambda tensor: tensor + 1),
        Placed(slice(1, 3), "b", "input", lambda tensor: tensor * 2),
        Placed(slice(2, 3), "a", "output", lambda tensor: tensor + 5),
        Placed(slice(0, 3), "a", "output", look),
    ]
    operations = {(path, side): each for path, side, each in merged(placed, THREE)}
    given = torch.arange(3.0)[:, None, None].expand(3, 2, 1).clone()
    found = operations["a", "output"](given)
    assert found[:, 1, 0].tolist() == [1.0, 1.0, 7.0]
    assert seen == [1.0, 1.0, 7.0]
    assert operations["b", "input"](given)[:, 0, 0].tolist() == [0.0, 2.0, 4.0]
    assert given[:, 0, 0].tolist() == [0.0, 1.0, 2.0]


def test_an_activation_that_is_only_looked_at_stays_the_same_object():
    """Nothing is copied where nothing is edited."""
    given = torch.zeros(3, 2, 1)
    ((_, _, operation),) = merged([Placed(slice(0, 2), "a", "output", lambda _: None)], THREE)
    assert operation(given) is given


def test_what_a_network_computes_once_for_all_rows_is_edited_row_by_row():
    """Position embeddings have one row; an edit gives each row its own."""
    placed = [Placed(slice(1, 2), "a", "output", lambda tensor: tensor + 1)]
    ((_, _, operation),) = merged(placed, THREE)
    found = operation(torch.zeros(1, 2, 1))
    assert found[:, 0, 0].tolist() == [0.0, 1.0, 0.0]


def test_each_operation_sees_what_a_mask_hides_in_its_own_rows():
    """What is hidden in one row says nothing of another."""
    seen: list[list[bool]] = []

    def look(_: torch.Tensor) -> None:
        hidden = hidden_keys()
        assert hidden is not None
        seen.extend(hidden[:, 0].tolist())

    placed = [Placed(slice(1, 2), "a", "output", look), Placed(slice(0, 1), "a", "output", look)]
    ((_, _, operation),) = merged(placed, THREE)
    hidden = torch.tensor([[[True, False]], [[False, True]], [[True, True]]]).expand(3, 2, 2)
    with hiding(hidden):
        operation(torch.zeros(3, 2, 2))
    assert seen == [[False, True], [True, False]]
    assert hidden_keys() is None


def test_an_activation_without_an_axis_of_rows_is_refused():
    """Rows of cells cannot be told apart where the first axis is something else."""
    placed = [Placed(slice(0, 1), "experts", "output", lambda tensor: tensor)]
    ((_, _, operation),) = merged(placed, THREE)
    with pytest.raises(InterventionError) as caught:
        operation(torch.zeros(6, 4))
    assert str(caught.value) == (
        "experts.output has shape (6, 4); its first axis must be the 3 rows of the pass"
    )
