"""Measurements from plain arrays, as tests of the statistics need them."""

from collections.abc import Callable

import pytest

from causaltest.stats import Effect, Rate


def _columns(count, units):
    """Return the keyword arguments that place values in pairs and units."""
    ids = tuple(f"pair {i:04d}" for i in range(count))
    if units is None:
        return {"units": ids, "unit": "pair", "pair_ids": ids}
    return {"units": tuple(units), "unit": "template", "pair_ids": ids}


@pytest.fixture(scope="session")
def effect_of() -> Callable[..., Effect]:
    """Return a maker of effects: values, and optionally a unit label for each."""

    def make(values, units=None, **more):
        return Effect(values, **{**_columns(len(values), units), **more})

    return make


@pytest.fixture(scope="session")
def rate_of() -> Callable[..., Rate]:
    """Return a maker of rates: values, and optionally a unit label for each."""

    def make(values, units=None, **more):
        return Rate(values, **{**_columns(len(values), units), **more})

    return make
