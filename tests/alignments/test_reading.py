"""What learned directions are made of: planted ones are found where they were put."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from causaltest.alignments.reading import direction_map
from causaltest.engine.model import Model
from causaltest.errors import InterventionError
from causaltest.interventions import (
    Subspace,
    boundless,
    interchange,
    low_rank,
    partition,
    rotated,
    sigmoid_mask,
    zero_ablate,
)
from causaltest.sites import Site, attention_value_output, block_output, module

WIDTH, HEADS = 24, 4
SIZE = WIDTH // HEADS


@pytest.fixture(scope="module")
def model() -> Model:
    """Return a small GPT-2 of four heads of six dims."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(n_embd=WIDTH, n_layer=2, n_head=HEADS, n_positions=16, vocab_size=20)
    return Model(GPT2LMHeadModel(config), name="planted")


def planted() -> torch.Tensor:
    """Return three directions: in head 1; half in head 0, half in head 3; over all heads."""
    basis = torch.zeros(WIDTH, 3)
    basis[SIZE : 2 * SIZE, 0] = 1 / math.sqrt(SIZE)
    basis[2, 1], basis[3 * SIZE + 5, 1] = math.sqrt(0.5), -math.sqrt(0.5)
    basis[[0, 6, 12, 18], 2] = torch.tensor([0.5, 0.5, -0.5, 0.5])
    # Orthogonal to the first, which it meets at dim 6: taken from head 1 by one more dim.
    basis[7, 2], basis[6, 2] = -math.sqrt(0.125), math.sqrt(0.125)
    return basis


WANTED = [[0, 1, 0, 0], [0.5, 0, 0, 0.5], [0.25, 0.25, 0.25, 0.25]]


def test_planted_directions_are_found_in_their_heads(model) -> None:
    """Shares are those that were planted; together they are the mean."""
    basis = planted()
    torch.testing.assert_close(basis.mT @ basis, torch.eye(3))
    edit = interchange(attention_value_output(1), subspace=low_rank(basis))
    found = direction_map(model, edit)
    assert (found.part, found.parts) == ("head", ("0", "1", "2", "3"))
    np.testing.assert_allclose(found.shares, WANTED, atol=1e-6)
    np.testing.assert_allclose(found.together, np.mean(WANTED, axis=0), atol=1e-6)
    assert repr(found) == (
        "<DirectionMap of attention_value_output[1]: 3 directions, 42% of them in head 1>"
    )


def test_what_directions_share_together_does_not_depend_on_their_basis(model) -> None:
    """Turned within their span, directions differ; the projection onto the span stays."""
    basis = planted()
    turned = basis @ torch.linalg.qr(torch.randn(3, 3, generator=torch.manual_seed(1))).Q
    site = attention_value_output(0)
    one, other = (
        direction_map(model, interchange(site, subspace=low_rank(each))) for each in (basis, turned)
    )
    assert np.abs(np.subtract(one.shares, other.shares)).max() > 0.05
    np.testing.assert_allclose(one.together, other.together, atol=1e-6)
    projection = (basis @ basis.mT).diagonal().reshape(HEADS, SIZE).sum(dim=1) / 3
    np.testing.assert_allclose(other.together, projection, atol=1e-6)


def test_dims_and_equal_parts_stand_for_sites_without_heads(model) -> None:
    """A residual stream is cut into dims, or as many equal parts as are asked for."""
    edit = interchange(block_output(0), subspace=low_rank(planted()))
    dims = direction_map(model, edit)
    assert (dims.part, len(dims.parts)) == ("dim", WIDTH)
    np.testing.assert_allclose(dims.shares, planted().square().T, atol=1e-6)
    four = direction_map(model, edit, parts=4)
    assert (four.part, four.parts) == ("dims", ("0-5", "6-11", "12-17", "18-23"))
    np.testing.assert_allclose(four.shares, WANTED, atol=1e-6)


def test_wide_sites_are_cut_into_at_most_64_parts() -> None:
    """Parts are equal: of 90 dims there are 45 pairs."""
    wide = Model(nn.Sequential(nn.Embedding(5, 90), nn.Linear(90, 5)))
    edit = interchange(module("0"), subspace=low_rank(torch.eye(90)[:, :1]))
    found = direction_map(wide, edit)
    assert len(found.parts) == 45
    assert (found.parts[0], found.parts[-1]) == ("0-1", "88-89")
    assert found.shares[0][0] == 1


def turned(width: int) -> torch.Tensor:
    """Return a whole rotation."""
    return torch.linalg.qr(torch.randn(width, width, generator=torch.manual_seed(2))).Q


@pytest.mark.parametrize(
    "subspace, labels, columns",
    [
        (rotated(turned(WIDTH), dims=(4, 1)), ("direction 4", "direction 1"), (4, 1)),
        (
            partition(
                {"singular": [0], "plural": [2]}, by="number", basis=low_rank(turned(WIDTH)[:, :3])
            ),
            ("singular 0", "plural 2"),
            (0, 2),
        ),
        (
            boundless(turned(WIDTH), boundary=0.1, temperature=0.1),
            ("direction 0", "direction 1"),
            (0, 1),
        ),
        (low_rank(turned(WIDTH)[:, :2].requires_grad_()), ("direction 0", "direction 1"), (0, 1)),
    ],
)
def test_each_kind_of_directions_is_named(model, subspace: Subspace, labels, columns) -> None:
    """Directions that are exchanged are shown, those of groups by the group."""
    found = direction_map(model, interchange(block_output(0), subspace=subspace))
    assert found.directions == labels
    np.testing.assert_allclose(found.shares, turned(WIDTH)[:, list(columns)].square().T, atol=1e-6)


def test_dims_of_a_site_keep_their_numbers(model) -> None:
    """Directions in some dims of a site are shown by the numbers that these have in it."""
    site = block_output(0, dims=[3, 8, 20])
    found = direction_map(model, interchange(site, subspace=low_rank([[0.0], [0.6], [0.8]])))
    assert found.parts == ("3", "8", "20")
    np.testing.assert_allclose(found.shares, [[0, 0.36, 0.64]], atol=1e-6)


ONE = interchange(block_output(0), subspace=low_rank(torch.eye(WIDTH)[:, :1]))
TWO = ONE + interchange(block_output(1), subspace=low_rank(torch.eye(WIDTH)[:, :1]))


@pytest.mark.parametrize(
    "edit, site, parts, message",
    [
        (
            ONE,
            None,
            5,
            "block_output[0] is 24 wide, which cannot be cut into 5 equal parts; "
            "1, 2, 3, 4, 6, 8, 12, 24 would fit",
        ),
        (TWO, None, None, "has 2 sites; say site=, one of block_output[0], block_output[1]"),
        (ONE, block_output(1), None, "block_output[1] is no site of "),
        (ONE + ONE, block_output(0), None, "block_output[0] is edited 2 times in "),
        (
            interchange(block_output(0), subspace=sigmoid_mask([1.0] * WIDTH)),
            None,
            None,
            "which has no directions; a map is drawn of rotations, partitions of them, and",
        ),
        (zero_ablate(block_output(0)), None, None, "exchanges a whole site, which has no directi"),
    ],
)
def test_what_has_no_map_is_refused(model, edit, site: Site | None, parts, message) -> None:
    """The message says what there is instead."""
    with pytest.raises(InterventionError) as error:
        direction_map(model, edit, site, parts)
    assert message in str(error.value)


def test_the_picture_has_a_row_for_each_direction_and_their_mean(model, tmp_path) -> None:
    """Its numbers are the shares, and it can be saved."""
    found = direction_map(
        model, interchange(attention_value_output(1), subspace=low_rank(planted()))
    )
    drawn = found.plot()
    spec = drawn.to_dict()
    (cells,) = spec["datasets"].values() if "datasets" in spec else (spec["data"]["values"],)
    shown = {(cell["down"], cell["across"]): cell["share"] for cell in cells}
    assert len(shown) == (3 + 1) * HEADS
    for row, each in zip([*found.directions, "together"], [*WANTED, found.together], strict=True):
        for part, share in zip(found.parts, each, strict=True):
            assert shown[row, part] == pytest.approx(share, abs=1e-6)
    drawn.save(str(tmp_path / "map.svg"))
    assert ">100%<" in (tmp_path / "map.svg").read_text()
