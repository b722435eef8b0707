"""The id of a claim: the key that its test gives it, else the name that pytest has for the test."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from causaltest.plugin.marks import marks


def claim_id(item: pytest.Function) -> str:
    """Return what a claim is called in results, baselines and histories.

    A key from `@pytest.mark.causal(id=)` stands in the place of file and test; what tells apart
    the cases and models of one test follows it in brackets, as in the name that pytest has.
    """
    key = marks(item).key
    _, bracket, case = item.name.partition("[")
    return f"{key}{bracket}{case}" if key else item.nodeid


def check(members: Mapping[str, pytest.Function]) -> None:
    """Refuse two claims of one id.

    Parameters
    ----------
    members
        All hypotheses that were collected, by node id.

    Raises
    ------
    pytest.UsageError
        Two tests give their claims the same key.
    """
    first: dict[str, str] = {}
    for nodeid, item in members.items():
        other = first.setdefault(claim_id(item), nodeid)
        if other != nodeid:
            raise pytest.UsageError(
                f"two claims have the id {claim_id(item)!r}: {other} and {nodeid}\n"
                "give each test an id of its own; a mark of a class or a file gives its id to "
                "every test in it"
            )
