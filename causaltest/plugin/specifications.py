"""Specifications: the cases of a test that are other ways to test the same hypothesis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest

from causaltest.plugin import identity, models
from causaltest.plugin.marks import marks
from causaltest.spelling import did_you_mean, listed

if TYPE_CHECKING:
    from causaltest.records import Specification


def of(item: pytest.Function) -> Specification | None:
    """Return what was chosen in this case; None where the test does not name a registered one."""
    registered = marks(item).specification
    callspec: Any = getattr(item, "callspec", None)
    if not registered or callspec is None:
        return None
    from causaltest.records import Specification

    case = models.case_of(item)
    names = [name for name in callspec.params if name != models.FIXTURE]
    parts = models.parts_of(item)
    # A mark of several arguments has one id for all of them.
    single = parts if len(parts) == len(names) else [""] * len(names)
    choices = {
        name: part or _written(callspec.params[name])
        for name, part in zip(names, single, strict=True)
    }
    return Specification(
        of=identity.claim_id(item).partition("[")[0], choices=choices, registered=case == registered
    )


def check(members: Mapping[str, pytest.Function]) -> None:
    """Refuse a registered specification that is no case of its test.

    Parameters
    ----------
    members
        All hypotheses that were collected, by node id.

    Raises
    ------
    pytest.UsageError
        The test has no cases, or none of that name.
    """
    cases: dict[str, dict[str, str]] = {}
    for nodeid, item in members.items():
        registered = marks(item).specification
        if registered:
            known = cases.setdefault(nodeid.partition("[")[0], {})
            known[models.case_of(item)] = registered
    for test, known in cases.items():
        registered = next(iter(known.values()))
        if set(known) == {""}:
            raise pytest.UsageError(
                f"{test}: specification names the registered one of several cases, but the test "
                "is not parametrised\nadd @pytest.mark.parametrize for each choice, or leave "
                "specification out"
            )
        if registered not in known:
            raise pytest.UsageError(
                f"{test}: specification is {registered!r}, which is no case of the test"
                f"{did_you_mean(registered, known)}\nits cases: {listed(known)}"
            )


def _written(value: object) -> str:
    name = getattr(value, "__name__", None)
    return name if isinstance(name, str) else str(value)
