"""Taking and putting numbers: algebra, gradients, tuples and mappings."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from causaltest.engine.access import (
    Access,
    Places,
    carried,
    only_row,
    primary,
    put,
    take,
    with_primary,
)
from causaltest.errors import InterventionError

WIDTH, HEADS = 12, 3
WHOLE = Access("m", "output", None, WIDTH, HEADS)
SLICE = Access("m", "output", slice(4, 4 + WIDTH), WIDTH, HEADS)
SCATTERED = Access(
    "m", "output", torch.tensor([1, 5, 0, 9, 3, 20, 7, 2, 4, 6, 13, 8]), WIDTH, HEADS
)


@st.composite
def entries(draw: st.DrawFn) -> Places:
    """Some different (row, token) places of a tensor (3, 5, ...)."""
    cells = draw(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4)), min_size=1, unique=True))
    rows, tokens = zip(*cells, strict=True)
    return Places(torch.tensor(rows), torch.tensor(tokens))


@st.composite
def accesses(draw: st.DrawFn) -> tuple[Access, list[int]]:
    """An access to a tensor of width 24 and, worked out apart, the columns it means."""
    access, columns = draw(
        st.sampled_from([
            (SLICE, list(range(4, 16))),
            (SCATTERED, SCATTERED.columns.tolist()),
            (Access("m", "output", None, 24, HEADS), list(range(24))),
        ])
    )  # fmt: skip
    if draw(st.booleans()):
        head = draw(st.integers(0, HEADS - 1))
        size = len(columns) // HEADS
        access, columns = access.head(head), columns[head * size : (head + 1) * size]
    if draw(st.booleans()):
        dims = draw(st.lists(st.integers(0, len(columns) - 1), min_size=1, max_size=4, unique=True))
        access, columns = access.dims(tuple(dims)), [columns[dim] for dim in dims]
    return access, columns


@given(entries(), accesses())
def test_take_is_indexing(where, chosen) -> None:
    """Head and dims of whole, sliced and scattered components are the columns worked out apart."""
    access, columns = chosen
    tensor = torch.randn(3, 5, 24)
    got = take(tensor, where, access)
    assert access.width == len(columns)
    for entry, (row, token) in enumerate(zip(where.rows, where.positions, strict=True)):
        assert got[entry].tolist() == [float(tensor[row, token, column]) for column in columns]


@given(entries(), accesses())
def test_put_after_take_is_the_identity(where, chosen) -> None:
    """What was taken, put back, gives the same tensor bit for bit and touches no input."""
    access, _ = chosen
    tensor = torch.randn(3, 5, 24)
    before = tensor.clone()
    assert torch.equal(put(tensor, where, access, take(tensor, where, access)), tensor)
    assert torch.equal(tensor, before)


@given(entries(), accesses())
def test_take_after_put_gives_what_was_put(where, chosen) -> None:
    """What was put is there, and every other number is as it was."""
    access, columns = chosen
    tensor = torch.randn(3, 5, 24)
    values = torch.randn(len(where.rows), len(columns))
    changed = put(tensor, where, access, values)
    assert torch.equal(take(changed, where, access), values)
    elsewhere = torch.ones(3, 5, 24, dtype=torch.bool)
    for row, token in zip(where.rows, where.positions, strict=True):
        elsewhere[row, token, columns] = False
    assert torch.equal(changed[elsewhere], tensor[elsewhere])


def test_places_without_tokens_are_rows() -> None:
    """Where an activation has no token axis, whole rows are taken and put."""
    tensor = torch.arange(12.0).view(3, 4)
    where = Places(torch.tensor([2, 0]), None)
    access = Access("m", "output").dims((3, 1))
    assert take(tensor, where, access).tolist() == [[11, 9], [3, 1]]
    changed = put(tensor, where, access, torch.zeros(2, 2))
    assert changed.tolist() == [[0, 0, 2, 0], [4, 5, 6, 7], [8, 0, 10, 0]]


@pytest.mark.parametrize("access", [WHOLE, WHOLE.head(1), SLICE.dims((7, 2)), SCATTERED.head(2)])
def test_gradients_flow_through_both(access) -> None:
    """Gradients with respect to tensor and values agree with finite differences."""
    where = Places(torch.tensor([0, 1, 1]), torch.tensor([2, 0, 1]))
    tensor = torch.randn(2, 3, 24, dtype=torch.float64, requires_grad=True)
    width = 24 if access.columns is None else access.width
    values = torch.randn(3, width, dtype=torch.float64, requires_grad=True)

    def through(tensor: Tensor, values: Tensor) -> Tensor:
        return torch.relu(put(torch.relu(tensor), where, access, values)).square()

    assert torch.autograd.gradcheck(through, (tensor, values))
    assert torch.autograd.gradcheck(lambda each: take(each, where, access), (tensor,))


def test_put_keeps_the_type_of_the_tensor() -> None:
    """Single-precision values enter a bfloat16 tensor as bfloat16."""
    where = Places(torch.tensor([0]), torch.tensor([0]))
    changed = put(
        torch.zeros(1, 1, 24, dtype=torch.bfloat16), where, SLICE, torch.full((1, 12), 0.1)
    )
    assert changed.dtype == torch.bfloat16
    assert changed[0, 0, 4] == torch.tensor(0.1).bfloat16()


class Named(NamedTuple):
    """A tuple with names, as some networks return."""

    hidden: Tensor
    other: Tensor


TENSOR, OTHER = torch.ones(2), torch.zeros(3)


@pytest.mark.parametrize(
    "value",
    [
        TENSOR,
        (TENSOR, OTHER, None),
        [TENSOR, OTHER],
        Named(TENSOR, OTHER),
        {"mask": None, "hidden": TENSOR},
        {"loss": OTHER, "logits": TENSOR},
        OrderedDict(hidden=TENSOR, cache=(OTHER,)),
        BaseModelOutputWithPooling(last_hidden_state=TENSOR, pooler_output=OTHER),
    ],
)
def test_the_tensor_meant_is_replaced_and_nothing_else(value) -> None:
    """The new value has the old one's type and other members; the old one is untouched."""
    assert primary(value, "m.output") is TENSOR
    new = torch.full((2,), 5.0)
    changed = with_primary(value, new)
    assert type(changed) is type(value)
    assert carried(changed) is new
    assert carried(value) is TENSOR
    if isinstance(value, (tuple, list)):
        assert all(a is b for a, b in zip(changed[1:], value[1:], strict=True))
    elif not isinstance(value, Tensor):
        assert list(changed) == list(value)
        rest = [key for key in value if value[key] is not TENSOR]
        assert all(changed[key] is value[key] for key in rest)


@pytest.mark.parametrize(
    "value, message",
    [
        (None, r"m.output holds no tensor to read or edit \(it is a NoneType\)"),
        ((), "holds no tensor"),
        ((3, TENSOR), "holds no tensor"),
        ({"a": 1}, "holds no tensor"),
        ({"a": TENSOR, "b": OTHER}, r"holds several tensors \(a, b\), any of which could be meant"),
    ],
)
def test_no_tensor_or_several_are_refused(value, message) -> None:
    """Where no tensor or no single one could be meant, none is taken by guess."""
    assert carried(value) is None
    with pytest.raises(InterventionError, match=message) as caught:
        primary(value, "m.output")
    assert "choose the input or output of another module" in str(caught.value)


@st.composite
def spans(draw: st.DrawFn) -> tuple[Places, Places]:
    """Tokens that follow each other in the only row of a batch, as a span and one by one."""
    start = draw(st.integers(0, 3))
    first = draw(st.integers(start, 6))
    tokens = tuple(range(first, draw(st.integers(first + 1, 8))))
    found = only_row(tokens, start, torch.device("cpu"))
    flat = torch.tensor(tokens) - start
    return found, Places(torch.zeros_like(flat), flat)


@given(spans(), accesses())
def test_a_span_is_taken_and_put_like_its_tokens(where, chosen) -> None:
    """Slices give the numbers, and the gradients, that indices give; the input stays as it was."""
    access, _ = chosen
    tensor = torch.randn(1, 8, 24)
    results: list[tuple[Tensor, ...]] = []
    for places in where:
        given, values = tensor.clone().requires_grad_(), None
        old = take(given, places, access)
        values = (2.0 * old.detach() + 1.0).requires_grad_()
        new = put(given, places, access, values)
        (new.square().sum() + old.exp().sum()).backward()
        assert torch.equal(given.detach(), tensor)
        results.append((old.detach(), new.detach(), given.grad, values.grad))
    assert where[0].span is not None
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


def test_tokens_apart_are_no_span() -> None:
    """Tokens that do not follow each other, or in another order, are taken one by one."""
    tensor = torch.arange(8.0)[None, :, None]
    for tokens in ((0, 2), (2, 1), (1,)):
        found = only_row(tokens, 0, tensor.device)
        assert (found.span is None) == (len(tokens) == 2)
        assert take(tensor, found, Access("m", "output")).flatten().tolist() == list(tokens)


def test_what_was_taken_is_a_copy() -> None:
    """Numbers that were read stay, whatever is written on the activation later."""
    tensor = torch.zeros(1, 4, 2)
    access, where = Access("m", "output"), only_row((1, 2), 0, tensor.device)
    copy, view = take(tensor, where, access), take(tensor, where, access, copies=False)
    tensor.fill_(1.0)
    assert not copy.any()
    assert view.all()


def test_places_made_in_inference_mode_serve_autograd_later() -> None:
    """Index tensors of inference mode, which autograd refuses, are not remembered."""
    tokens = (5, 3)  # of no other test
    with torch.inference_mode():
        only_row(tokens, 0, torch.device("cpu"))
    tensor = torch.ones(1, 8, 2, requires_grad=True)
    where = only_row(tokens, 0, tensor.device)
    (take(tensor, where, Access("m", "output")) ** 2).sum().backward()
    assert tensor.grad.sum() == 8


def test_places_are_remembered_within_bounds(monkeypatch) -> None:
    """Positions seen long ago are let go."""
    known: dict[object, Places] = {}
    monkeypatch.setattr("causaltest.engine.access._known", known)
    monkeypatch.setattr("causaltest.engine.access._MOST_KNOWN", 2)
    device = torch.device("cpu")
    first = only_row((1,), 0, device)
    assert only_row((1,), 0, device) is first
    for token in range(2, 7):
        assert only_row((token,), 0, device).positions.tolist() == [token]
        assert len(known) <= 2


def test_a_span_of_one_row_is_not_taken_of_several() -> None:
    """Rows that nobody expects are refused, not left out."""
    where = only_row((1, 2), 0, torch.device("cpu"))
    with pytest.raises(InterventionError) as caught:
        take(torch.zeros(2, 3, 4), where, Access("a", "output"))
    assert str(caught.value) == (
        "an activation of shape (2, 3, 4) has 2 rows where one prompt is run; choose another site"
    )
