"""What an intervened run costs beside the plain one, in operations and calls: no clock is read."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import causaltest
from causaltest.engine.intervening import intervene
from causaltest.engine.model import Model
from causaltest.engine.rows import as_row
from causaltest.errors import InterventionError, SiteError
from causaltest.interventions import Intervention, zero_ablate
from causaltest.sites import block_output

IDS = (3, 14, 15, 9, 26)
PACKAGE = str(Path(causaltest.__file__).parent)


class Operations(TorchDispatchMode):
    """Counts the operations on tensors within the context."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Count an operation and do it."""
        self.counts[func.__name__.partition(".")[0]] += 1
        return func(*args, **(kwargs or {}))


def added(model: Model, edit: Intervention) -> Counter[str]:
    """Return the operations of an intervened run that a plain pass does not need."""
    ids = torch.tensor([IDS])
    for _ in range(2):  # what is found once is found
        with intervene(model, edit) as run:
            run(IDS)
    with torch.no_grad(), Operations() as plain:
        model.network(input_ids=ids, use_cache=False)
    with Operations() as whole, intervene(model, edit) as run:
        run(IDS)
    assert not plain.counts - whole.counts
    return whole.counts - plain.counts


def test_an_edit_of_one_token_needs_six_operations(fresh) -> None:
    """Ids are copied, the token read, its zeros made, compared and put, and the row's logits."""
    edit = zero_ablate(block_output(1, pos=3))
    wanted = {"clone": 1, "select": 2, "zeros_like": 1, "equal": 1, "select_scatter": 1}
    assert added(fresh("gpt2"), edit) == wanted


def test_an_edit_of_some_columns_writes_on_one_copy(fresh) -> None:
    """Columns are compared once, and written where they stand in one copy of the activation."""
    found = added(fresh("gpt2"), zero_ablate(block_output(1, pos=3, dims=[2, 5])))
    assert found["equal"] == found["zeros_like"] == 1
    assert found["clone"] == 2  # of the ids, and of the activation


def test_a_run_makes_few_calls(fresh) -> None:
    """A run under a context of its own calls at most 37 functions of causaltest; it was 66."""
    model, edit = fresh("gpt2"), zero_ablate(block_output(1, pos=3))
    calls: list[str] = []

    def watch(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            calls.append(frame.f_code.co_qualname)

    def once() -> None:
        with intervene(model, edit) as run:
            run(IDS)

    once()
    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        once()
    finally:
        sys.setprofile(before)
    assert len(calls) <= 37, calls


@pytest.mark.parametrize("graded", [True, False])
def test_gradients_are_off_within_a_run_alone(fresh, graded) -> None:
    """What the caller had is in force again after a run, also after one that failed."""
    model, edit = fresh("gpt2"), zero_ablate(block_output(1, pos=3))
    with torch.set_grad_enabled(graded), intervene(model, edit) as run:
        assert not run(IDS).logits.requires_grad
        assert torch.is_grad_enabled() == graded
        with pytest.raises(SiteError, match="position 3 does not exist"):
            run(IDS[:2])
        assert torch.is_grad_enabled() == graded


def test_places_that_are_remembered_are_those_of_row_and_first_token(fresh) -> None:
    """The last token stands elsewhere in another prompt, and where the first ones are not run."""
    model, site = fresh("gpt2"), block_output(1, pos="end")
    access = model.access(site)
    for ids, start in ((IDS, 0), (IDS, 2), (IDS[:4], 0), (IDS[:4], 1), (IDS, 0)):
        rows = model.batch([as_row(ids)])
        rows = rows._replace(ids=rows.ids[:, start:], start=start)
        found, counts = model.placement.places(site, access, torch.zeros(*rows.ids.shape, 3), rows)
        assert (found.span, counts) == (len(ids) - 1 - start, [1])


def test_places_that_are_remembered_are_on_the_device_of_the_activation(fresh) -> None:
    """A network that moved gets index tensors where it is now."""
    model, site = fresh("gpt2"), block_output(1, pos=[1, 2])
    access, rows = model.access(site), model.batch([as_row(IDS)])
    for device in ("cpu", "meta", "cpu"):
        tensor = torch.zeros(*rows.ids.shape, 3, device=device)
        found, _ = model.placement.places(site, access, tensor, rows)
        assert found.rows.device.type == device


def test_places_that_are_remembered_are_those_of_an_activation_with_these_tokens(fresh) -> None:
    """An activation with other axes is refused after one that had tokens, as before it."""
    model, site = fresh("gpt2"), block_output(1, pos=1)
    access, rows = model.access(site), model.batch([as_row(IDS)])
    odd = torch.zeros(1, len(IDS) + 1, 3)
    for _ in range(2):
        with pytest.raises(InterventionError, match="1 positions more than the 5 tokens"):
            model.placement.places(site, access, odd, rows)
        model.placement.places(site, access, odd[:, 1:], rows)


def test_places_found_in_inference_mode_serve_autograd_later(fresh, monkeypatch) -> None:
    """Index tensors of inference mode, which autograd refuses, are not remembered."""
    monkeypatch.setattr("causaltest.engine.access._known", {})  # by whatever ran before
    model, site = fresh("gpt2"), block_output(1, pos=[1, 3])
    access, rows = model.access(site), model.batch([as_row(IDS)])
    tensor = torch.zeros(*rows.ids.shape, 3)
    with torch.inference_mode():
        found, _ = model.placement.places(site, access, tensor, rows)
        assert found.rows.is_inference()
    found, _ = model.placement.places(site, access, tensor, rows)
    assert not found.rows.is_inference()


def test_rows_that_are_remembered_hold_token_ids_alone() -> None:
    """Equal numbers of another kind, asked for before, do not come back in the place of ids."""
    for before in ((901.0, 902), (np.int64(903), 904), (True, 905)):
        as_row(before)  # pyright: ignore[reportArgumentType]
        row = as_row(tuple(map(int, before)))
        assert [type(each) for each in row.prompt] == [int, int]
        assert as_row(tuple(map(int, before))) is row


def test_a_prompt_of_tensors_is_read_anew_after_they_change() -> None:
    """A tensor stays the same object when its number is changed in place."""
    ids = torch.tensor([3, 4, 5])
    prompt = tuple(ids)
    assert as_row(prompt).prompt == (3, 4, 5)  # pyright: ignore[reportArgumentType]
    ids[1] = 9
    assert as_row(prompt).prompt == (3, 9, 5)  # pyright: ignore[reportArgumentType]
