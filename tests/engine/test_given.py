"""Batches that are no prompts: read and edited by the engine itself, against indexing by hand."""

import re

import pytest
import torch
from hypothesis import given as cases
from hypothesis import strategies as st
from torch import nn

from causaltest.engine.access import put, take
from causaltest.engine.applied import Applied, operations_of
from causaltest.engine.given import Given
from causaltest.engine.hooks import attached
from causaltest.engine.model import Model
from causaltest.engine.reading import read_during
from causaltest.errors import CausaltestError, InterventionError
from causaltest.interventions import noise, skip, zero_ablate
from causaltest.sites import Site, module


class Toy(nn.Module):
    """Three linear layers over vectors of any kind, the middle one called twice."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(4, 6)
        self.twice = nn.Linear(6, 6)
        self.last = nn.Linear(6, 3)

    def forward(self, x):
        return self.last(self.twice(self.twice(self.first(x))))


_ALL = Model(Toy()).access(module("first"))


@pytest.fixture
def model():
    """Return the toy as a model."""
    return Model(Toy(), name="toy")


def edited(model, part, batch, inputs):
    """Return what a network gives with an intervention on inputs of its own, and the ledger."""
    (site,) = part.sites
    edit = Applied(model, part, site, model.access(site), batch, 0)
    with torch.no_grad(), attached(model.network, operations_of([edit])):
        return model.network(inputs), edit.entry()


def test_vectors_are_edited_at_positions_of_their_own(model) -> None:
    """Zeros at each row's own positions are those of a run by hand, and the ledger counts them."""
    inputs = torch.randn(2, 5, 4)
    batch = Given(2, positions={"here": ((0, -1), (2, 3))})
    found, entry = edited(model, zero_ablate(module("first", pos="here")), batch, inputs)
    with torch.no_grad():
        hidden = model.network.first(inputs)
        hidden[0, [0, 4]] = 0
        hidden[1, [2, 3]] = 0
        wanted = model.network.last(model.network.twice(model.network.twice(hidden)))
    torch.testing.assert_close(found, wanted)
    assert (entry.fired, entry.rows, entry.positions, entry.changed) == (1, 2, 4, 2)


@pytest.mark.parametrize("shape", [(3, 4), (3, 5, 4), (3, 2, 5, 4)])
def test_an_activation_of_any_axes_is_edited_whole(model, shape) -> None:
    """Without a position all of it is meant, in a given call of a module that runs twice."""
    inputs = torch.randn(shape)
    part = zero_ablate(module("twice", call=1))
    found, entry = edited(model, part, Given(3), inputs)
    assert torch.allclose(found, model.network.last.bias.expand(*shape[:-1], 3))
    assert entry.changed == 3


def test_a_call_is_skipped_by_its_own_input(model) -> None:
    """The input of one call is what it gives, for rows that are no prompts too."""
    inputs = torch.randn(2, 5, 4)
    found, _ = edited(model, skip(module("twice", call=0)), Given(2), inputs)
    with torch.no_grad():
        wanted = model.network.last(model.network.twice(model.network.first(inputs)))
    torch.testing.assert_close(found, wanted)


def test_several_places_are_read_in_one_run_that_ends_with_them(model) -> None:
    """Each reading has rows of its own; the last module never runs."""
    inputs, ran = torch.randn(2, 5, 4), []
    model.network.last.register_forward_hook(lambda *_: ran.append(1))
    one, two = (module("first", pos="here"), module("twice", call=0))
    wanted = {
        "one": (one, model.access(one), Given(2, positions={"here": ((1,), (-2,))})),
        "two": (two, model.access(two), Given(2)),
    }

    def run(operations):
        with torch.no_grad(), attached(model.network, operations):
            model.network(inputs)

    found = read_during(run, model, wanted, stops=True)
    with torch.no_grad():
        hidden = model.network.first(inputs)
        assert torch.equal(found["one"][0], hidden[[0, 1], [1, 3]])
        torch.testing.assert_close(found["two"][0], model.network.twice(hidden).flatten(0, 1))
    assert found["two"][1] == [5, 5]
    assert not ran


@cases(st.data())
def test_indices_are_those_of_counting_by_hand(data) -> None:
    """Any position in any padded row, in any number of copies, is the entry that Python finds."""
    length, count, copies = (data.draw(st.integers(1, 5)) for _ in range(3))
    spans = [
        sorted(data.draw(st.lists(st.integers(0, length), min_size=2, max_size=2, unique=True)))
        for _ in range(count)
    ]
    reach = torch.arange(length)
    mask = torch.stack([(reach >= first) & (reach < end) for first, end in spans])
    chosen = [data.draw(st.integers(-(end - first), end - first - 1)) for first, end in spans]
    positions = [
        (index if index < 0 else first + index,)
        for index, (first, _) in zip(chosen, spans, strict=True)
    ]
    site = Site("block_output", layer=0, pos="here")
    batch = Given(count, mask, {"here": positions})
    tensor = torch.randn(count * copies, length, 3)
    where, counts = batch.places(site, tensor)
    by_hand = [
        tensor[row * copies + copy][first:end][index]
        for row, (index, (first, end)) in enumerate(zip(chosen, spans, strict=True))
        for copy in range(copies)
    ]
    assert torch.equal(take(tensor, where, _ALL), torch.stack(by_hand))
    assert counts == [1] * (count * copies)


@pytest.mark.parametrize("shape", [(4, 3), (1, 4, 3), (4, 1, 3)])
def test_some_rows_of_a_time_step(shape) -> None:
    """Rows 1 and 3 of one time step are taken and put, whichever axis of length one it has."""
    step = torch.randn(4, 3)
    tensor = step.reshape(shape)
    where, counts = Given(4, stepped=(1, 3)).places(module("first"), tensor)
    assert torch.equal(take(tensor, where, _ALL), step[[1, 3]])
    new = put(tensor, where, _ALL, torch.zeros(2, 3)).reshape(4, 3)
    assert torch.equal(new[[0, 2]], step[[0, 2]])
    assert not new[[1, 3]].any()
    assert counts == [0, 1, 0, 1]


_MASK = torch.tensor([[1, 1, 1, 0], [0, 0, 0, 0]])


@pytest.mark.parametrize(
    "batch, shape, message",
    [
        (
            Given(2, positions={"here": ((4,), (0,))}), (2, 4, 3),
            "first.output: position 4 does not exist: row 0 has 4 tokens",
        ),
        (
            Given(2, _MASK, {"here": ((3,), (0,))}), (2, 4, 3),
            "first.output: position 3 of row 0 is padding; its tokens are 0-2",
        ),
        (
            Given(2, _MASK, {"here": ((-1,), (0,))}), (2, 4, 3),
            "first.output: position 0 does not exist: row 1 has 0 tokens",
        ),
        (
            Given(2, positions={"here": ((1, -3), (0, 1))}), (2, 4, 3),
            "first.output: row 0 names a position twice: [1, 1]",
        ),
        (
            Given(1, _MASK[:1], {"here": ((2,),)}), (1, 2, 3),
            "first.output has 2 tokens there; positions [2] of row 0 are not among them",
        ),
        (
            Given(2, positions={"here": ((1,), (0,))}), (2, 3),
            "first.output has shape (2, 3), without an axis of tokens; leave its positions out to "
            "mean all",
        ),
        (
            Given(2, positions={"here": ((1,), (0,))}), (3, 4, 3),
            "first.output has 3 rows, but 2 were given; edits cannot be placed",
        ),
        (
            Given(2, positions={"there": ((1,), (0,))}), (2, 4, 3),
            "first.output@here: rows that are no prompts have no position 'here'; they have there",
        ),
        (
            Given(2, stepped=(0,)), (2, 4, 3),
            "first.output has shape (2, 4, 3); one time step of 2 rows has (2,) and a width",
        ),
    ],
)  # fmt: skip
def test_places_that_do_not_exist(batch, shape, message) -> None:
    """Each names the site, the row and what there is."""
    with pytest.raises(CausaltestError, match=f"^{re.escape(message)}$"):
        batch.places(module("first", pos="here"), torch.zeros(shape))


def test_what_depends_on_the_prompt_is_refused(model) -> None:
    """Noise is drawn for each prompt, and rows that are none have none."""
    with pytest.raises(InterventionError) as caught:
        edited(model, noise(module("first"), sd=1.0), Given(2), torch.randn(2, 4))
    assert str(caught.value) == (
        "noise(first.output, sd=1, draws=10) is another thing for each prompt, and these 2 rows "
        "are no prompts; choose an edit that is the same for all rows"
    )


def test_an_edit_that_does_not_happen_once_is_refused(model) -> None:
    """What to do about a module that runs twice is said in the caller's own words."""
    batch = Given(2, which_call="say which=")
    with pytest.raises(InterventionError) as caught:
        edited(model, zero_ablate(module("twice")), batch, torch.randn(2, 4))
    assert str(caught.value) == (
        "zero_ablate(twice.output) did not happen as declared: twice ran 2 times in one forward "
        "pass of toy\nEach edit must happen exactly once; say which="
    )
