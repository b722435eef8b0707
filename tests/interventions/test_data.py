"""Interventions as frozen data: arrays, equality, text, and what is refused at once."""

from __future__ import annotations

import copy
import math
import operator
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from causaltest.errors import InterventionError
from causaltest.interventions import (
    Array,
    FeatureEdit,
    Interchange,
    Joint,
    Replacement,
    adapter,
    add,
    add_features,
    apply_function,
    autoencoder,
    boundless,
    constant,
    interchange,
    low_rank,
    partition,
    pca,
    rotated,
    scale,
    scale_features,
    set_features,
    sigmoid_mask,
    skip,
    subtract,
    zero_features,
)
from causaltest.sites import block_output, mlp_output

SITE = block_output(2, pos="name")
EYE = np.eye(4)
SAE = autoencoder(np.ones((4, 6)), np.ones((6, 4)))
PLANE = rotated(EYE, k=2)

finite = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(arrays.arrays(np.float32, arrays.array_shapes(max_dims=3, max_side=4), elements=finite))
def test_arrays_of_every_origin_hold_the_same_numbers(values):
    """NumPy, torch and lists give the same numbers; equal content is equal, whatever its origin."""
    one, two = Array(values), Array(torch.tensor(values))
    assert one == two
    assert hash(one) == hash(two)
    listed = Array(values.tolist())
    assert listed.shape == one.shape == values.shape
    assert list(listed) == list(one) == [float(value) for value in values.ravel()]
    assert one.norm() == pytest.approx(math.sqrt(sum(float(v) ** 2 for v in values.ravel())))
    assert pickle.loads(pickle.dumps(one)) == one
    assert copy.deepcopy(one) == one


@given(
    arrays.arrays(np.float64, (2, 2), elements=st.floats(-4, 4)),
    arrays.arrays(np.float64, (2, 2), elements=st.floats(-4, 4)),
)
def test_arrays_are_equal_exactly_if_their_numbers_are(one, two):
    """Equality and hash follow the bytes."""
    same = one.tobytes() == two.tobytes()
    assert (Array(one) == Array(two)) == same
    assert (hash(Array(one)) == hash(Array(two))) == same


def test_arrays_of_other_shape_or_type_differ():
    """A row is no column, and single precision is not double."""
    row = np.arange(3.0)
    assert Array(row) != Array(row[None])
    assert Array(row) != Array(row.astype(np.float32))
    assert Array(row) != row.tolist()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.int64, torch.bool])
def test_other_types_are_widened_without_loss(dtype):
    """Half precision becomes float32, whole numbers float64, with the same values."""
    values = torch.tensor([0, 1, 1]).to(dtype)
    held = Array(values)
    assert held.dtype == ("float32" if dtype.is_floating_point else "float64")
    assert list(held) == [0.0, 1.0, 1.0]


@pytest.mark.parametrize(
    "values",
    [
        (3.0, 4.0),
        range(3, 5),
        (value for value in (3, 4)),
        [np.float32(3), np.int64(4)],
        [torch.tensor(3), torch.tensor(4.0)],
        np.array([3, 4]),
        torch.tensor([3, 4]),
    ],
    ids=lambda values: type(values).__name__,
)
def test_vectors_come_from_anything_that_yields_numbers(values):
    """Tuples, ranges, generators and scalars of NumPy and torch are numbers as well."""
    assert add(SITE, values) == add(SITE, [3.0, 4.0])


def test_an_array_does_not_follow_its_origin():
    """What is done to a tensor or a list afterwards does not change an array made of it."""
    for origin in (torch.zeros(3), np.zeros(3), [0.0, 0.0, 0.0], torch.zeros(6)[::2]):
        held = Array(origin)
        before = hash(held)
        origin[0] = 5.0
        assert list(held) == [0.0, 0.0, 0.0]
        assert hash(held) == before


def test_a_trained_tensor_is_referred_to():
    """A tensor with gradients is not copied, is equal to itself alone, and freezes by content."""
    one, two = (torch.ones(2, requires_grad=True) for _ in range(2))
    assert Array(one) == Array(one) != Array(two)
    assert hash(Array(one)) == hash(Array(one))
    assert Array(one).frozen() == Array(two).frozen() == Array(torch.ones(2))
    assert repr(Array(one)) == "Array(2, float32, trainable)"
    assert repr(Array(np.zeros((2, 3)))).startswith("Array(2x3, float64, ")
    assert list(pickle.loads(pickle.dumps(Array(one)))) == [1.0, 1.0]


BAD_NUMBERS = [
    ([], "the vector to add: expected numbers; got none"),
    (np.zeros(0), "the vector to add: an array of shape (0,) holds no numbers"),
    ([1.0, math.nan], "the vector to add: expected finite numbers; one is nan"),
    (np.array([1.0, -math.inf]), "the vector to add: expected finite numbers; one is inf"),
    (torch.tensor([math.nan]), "the vector to add: expected finite numbers; one is nan"),
    ([1.0, "a"], "the vector to add: expected numbers; got 'a' (str)"),
    ([1.0, True], "the vector to add: expected numbers; got True (bool)"),
    ("abc", "the vector to add: expected numbers; got 'abc' (str)"),
    ([[1.0], [1.0, 2.0]], "the vector to add: rows are of unequal shape: (1,), (2,)"),
    ([[1.0, 2.0]], "the vector to add must be one-dimensional; got shape (1, 2)"),
    ([10**400], "the vector to add: expected finite numbers; one is inf"),
]


@pytest.mark.parametrize("values, message", BAD_NUMBERS)
def test_numbers_that_are_none_are_refused(values, message):
    """The message says what the numbers were to be and what is wrong with them."""
    with pytest.raises(InterventionError) as error:
        add(SITE, values)
    assert str(error.value) == message


def test_a_trained_tensor_with_nan_is_refused():
    """Training that has diverged stops with a message."""
    with pytest.raises(InterventionError, match=r"expected finite numbers; one is nan$"):
        add(SITE, torch.tensor([math.nan], requires_grad=True))


TEXTS = [
    (subtract(SITE, [3, 4]), "subtract(block_output[2]@name, norm=5)"),
    (constant(SITE, 2), "constant(block_output[2]@name, 2)"),
    (constant(SITE, [3, 4]), "constant(block_output[2]@name, norm=5)"),
    (scale(SITE, 0.5), "scale(block_output[2]@name, factor=0.5)"),
    (skip(SITE), "skip(block_output[2]@name)"),
    (
        apply_function(SITE, operator.sub, source=True),
        "apply_function(block_output[2]@name, _operator:sub, source)",
    ),
    (adapter(SITE, EYE[:, :1], EYE[:1]), "adapter(block_output[2]@name, rank=1, scale=1)"),
    (interchange(SITE, subspace=PLANE), "interchange(block_output[2]@name, rotated(2 of 4 dims))"),
    (
        interchange(SITE, subspace=boundless(EYE)),
        "interchange(block_output[2]@name, boundless(0.5 of 4 dims, temperature=50))",
    ),
    (
        interchange(SITE, subspace=sigmoid_mask([0.0, 1.0])),
        "interchange(block_output[2]@name, sigmoid_mask(2 dims, temperature=1))",
    ),
    (
        interchange(SITE, subspace=pca(EYE, k=1, keep_error=False)),
        "interchange(block_output[2]@name, pca(1 of 4 dims, error dropped))",
    ),
    (
        interchange(SITE, subspace=partition({"a": [1]}, by="id")),
        "interchange(block_output[2]@name, partition(1 groups by id))",
    ),
    (
        interchange(SITE, subspace=SAE.features(1, 2)),
        "interchange(block_output[2]@name, relu autoencoder(2 of 6 features))",
    ),
    (
        zero_features(SITE, SAE, range(6)),
        "set_features(block_output[2]@name, {0: 0, 1: 0, 2: 0, ... (6)}, relu autoencoder(6 of 6 "
        "features))",
    ),
]


@pytest.mark.parametrize("intervention, text", TEXTS)
def test_text_equality_and_copies(intervention, text):
    """Each prints what it does, is hashable, and equals a copy of itself."""
    assert str(intervention) == text
    assert {intervention: 1}[copy.deepcopy(intervention)] == 1
    assert pickle.loads(pickle.dumps(intervention)) == intervention
    assert intervention.frozen() is intervention


def test_a_subspace_that_knows_its_site_needs_no_other():
    """interchange(subspace) and interchange(site, subspace=...) are the same intervention."""
    placed = PLANE.at(SITE)
    assert interchange(placed) == interchange(SITE, subspace=PLANE)
    assert interchange(placed) == interchange(SITE, subspace=placed)
    assert hash(interchange(placed)) == hash(interchange(SITE, subspace=PLANE))


def make(function, *args, **kwargs):
    """Return a function that makes an intervention, and its name."""
    return lambda: function(*args, **kwargs)


REFUSED = [
    (make(rotated, EYE, k=4), "all 4 of 4 directions would be replaced: then the activation becom"),
    (make(rotated, EYE, dims=range(4)), "choose fewer than 4, or interchange the whole site"),
    (make(low_rank, EYE), "all 4 of 4 directions would be replaced"),
    (make(rotated, EYE), "rotated() needs either k, for the first k directions, or dims"),
    (make(rotated, EYE, k=1, dims=[2]), "rotated() needs either k, for the first k directions"),
    (make(rotated, EYE, k=0), "k is 0; expected a whole number from 1 to 4"),
    (make(rotated, EYE, k=5), "k is 5; expected a whole number from 1 to 4"),
    (make(rotated, EYE, k=1.0), "k is 1.0; expected a whole number from 1 to 4"),
    (make(rotated, EYE, dims=[]), "no direction is chosen; choose at least one"),
    (make(rotated, EYE, dims=[4]), "direction 4 does not exist: there are directions 0-3"),
    (make(rotated, EYE, dims=[-1]), "direction -1 is no whole number from 0"),
    (make(rotated, EYE, dims=[1, 1]), "direction 1 is named twice"),
    (make(rotated, EYE[:3], k=1), "a rotation has shape (3, 4); expected a square matrix"),
    (make(rotated, [1.0], k=1), "a rotation must be two-dimensional; got shape (1,)"),
    (make(low_rank, np.ones((2, 3))), "a rotation has a basis of shape (2, 3); expected (width"),
    (make(boundless, EYE, boundary=[0.1, 0.2]), "boundary must be one number; got (2,)"),
    (make(boundless, EYE, temperature=0), "temperature is 0.0; expected a positive number"),
    (make(sigmoid_mask, [1.0], temperature=math.nan), "temperature is nan; expected a positive"),
    (make(sigmoid_mask, EYE), "the mask must be one-dimensional; got shape (4, 4)"),
    (make(sigmoid_mask, [1.0], rotation=EYE), "the mask has 1 numbers, but the rotation is 4 wide"),
    (make(pca, EYE, mean=[1.0], k=1), "pca: mean has shape (1,), but the components are 4 wide"),
    (make(pca, EYE, scale=[1, 1, 0, 1], k=1), "pca: a scale is not positive"),
    (make(pca, EYE, dims=[7]), "component 7 does not exist: there are components 0-3"),
    (make(partition, {}, by="x"), "a partition needs a label and dims for each of its values"),
    (make(partition, {"a": [1, 1]}, by="x"), "partition, group 'a': dim 1 is named twice"),
    (make(partition, {"a": [9]}, by="x", basis=EYE), "partition, group 'a': dim 9 does not exist"),
    (make(partition, {"a": [9]}, by="x", basis=SAE), "dim 9 does not exist: there are dims 0-5"),
    (make(partition, {"a": range(4)}, by="x", basis=EYE), "group 'a': all 4 of 4 directions would"),
    (
        make(partition, {"a": [1]}, by="x", basis=boundless(EYE)),
        "a partition cannot choose dims of boundless(0.5 of 4 dims, temperature=50)",
    ),
    (make(autoencoder, EYE, EYE[:3]), "autoencoder: decoder has shape (3, 4); with an encoder of"),
    (make(autoencoder, EYE, EYE, encoder_bias=[1.0]), "autoencoder: encoder_bias has shape (1,)"),
    (
        make(autoencoder, EYE, EYE, activation="rleu"),
        "'rleu' of an autoencoder; did you mean 'relu'",
    ),
    (make(autoencoder, EYE, EYE, activation="jumprelu"), "a JumpReLU autoencoder has a threshold"),
    (make(autoencoder, EYE, EYE, threshold=EYE[0]), "a JumpReLU autoencoder has a threshold"),
    (
        make(autoencoder, EYE, EYE, activation="jumprelu", threshold=[1.0]),
        "autoencoder: threshold has shape (1,); expected (4,), one number for each feature",
    ),
    (make(autoencoder, EYE, EYE, activation="topk"), "a TopK autoencoder keeps a fixed number of"),
    (make(autoencoder, EYE, EYE, activation="topk", top=5), "top is 5; expected a whole number"),
    (make(SAE.features, 6), "feature 6 does not exist: there are features 0-5"),
    (make(zero_features, SITE, SAE, []), "no feature is chosen; choose at least one"),
    (make(set_features, SITE, SAE, {8: 1.0}), "feature 8 does not exist: there are features 0-5"),
    (make(add_features, SITE, SAE, {1: math.inf}), "feature values: expected finite numbers"),
    (make(scale_features, SITE, 3, {1: 1.0}), "features are those of an autoencoder, a rotation"),
    (make(FeatureEdit, (SITE,), SAE, "sett"), "unknown change 'sett' of features; expected one of"),
    (make(FeatureEdit, (SITE,), SAE), "6 features are chosen, but the values have shape (1,)"),
    (make(interchange, PLANE), "interchange(rotated(2 of 4 dims)) does not say where: name a site"),
    (make(interchange, PLANE.at(SITE), subspace=PLANE), "does not say where: name a site"),
    (make(interchange, SITE, PLANE), "interchange takes one subspace, or sites; add up several"),
    (
        make(interchange, mlp_output(0), subspace=PLANE.at(SITE)),
        "the subspace rotated(2 of 4 dims) belongs to block_output[2]@name, not to mlp_output[0]",
    ),
    (make(interchange, SITE, subspace=3), "subspace is 3 (int); expected one such as rotated(R"),
    (make(constant, SITE, EYE), "the value of constant must be one-dimensional; got shape (4, 4)"),
    (make(scale, SITE, math.inf), "factor is inf; expected a finite number"),
    (make(add, SITE, [1.0], scale=math.nan), "scale is nan; expected a finite number"),
    (make(skip), "skip() needs at least one site, e.g. skip(block_output(0))"),
    (make(apply_function, SITE, 3), "apply_function takes a function of (base, source); got 3"),
    (make(adapter, SITE, EYE, EYE[:2]), "an adapter has matrices of shapes (4, 4) and (2, 4)"),
    (make(adapter, SITE, EYE, EYE, scale=math.nan), "scale is nan; expected a finite number"),
    (make(Interchange, ()), "Interchange names no site"),
    (make(Joint, parts_of_joint=(skip(SITE),)), "a joint intervention is the sum of two or more"),
]


@pytest.mark.parametrize("call, message", REFUSED, ids=[message for _, message in REFUSED])
def test_what_does_not_make_sense_is_refused_at_once(call, message):
    """Before any model runs, with the values and what was expected."""
    with pytest.raises(InterventionError) as error:
        call()
    assert message in str(error.value)


def test_the_abstract_kinds_have_no_text():
    """A replacement that is none of the known kinds does not pretend to be one."""
    with pytest.raises(TypeError, match=r"^Replacement is abstract; use interchange\(\)"):
        str(Replacement((SITE,)))
