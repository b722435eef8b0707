"""Gates: hypotheses that must be supported before others are tested (`requires=`)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import pytest

from causaltest.plugin import identity, models
from causaltest.plugin.marks import marks
from causaltest.spelling import did_you_mean, listed


def resolve(members: Mapping[str, pytest.Function]) -> dict[str, tuple[str, ...]]:
    """Find the gates of each hypothesis of a family.

    A gate is named as it stands in the file: `test_x`, `TestGroup::test_x`, or `test_x[2]` for
    one case of several. The bare name of a parametrised test means all of its cases.

    Parameters
    ----------
    members
        The hypotheses of one file and model, by node id.

    Returns
    -------
    dict
        Node ids of the gates, for each hypothesis that has any.

    Raises
    ------
    pytest.UsageError
        A name is unknown, a hypothesis that can never be supported is required, or hypotheses
        wait for each other.
    """
    from causaltest.stats.gatekeeping import cycle_in

    names: dict[str, list[str]] = {}
    for nodeid, item in members.items():
        for name in _names(item):
            names.setdefault(name, []).append(nodeid)
    found: dict[str, tuple[str, ...]] = {}
    for nodeid, item in members.items():
        wanted = marks(item).requires
        if wanted:
            required = [gate for name in wanted for gate in _named(name, names, nodeid)]
            found[nodeid] = tuple(dict.fromkeys(required))
            _check_confirmatory(nodeid, found[nodeid], members)
    circle = cycle_in(found)
    if circle:
        shown = " requires ".join(map(short, circle))
        raise pytest.UsageError(
            f"{circle[0].partition('::')[0]}: hypotheses wait for each other: {shown}\n"
            "take out one `requires`, so that one of them can be tested first"
        )
    return found


def of(item: pytest.Item) -> tuple[str, ...]:
    """Return the ids of the claims that are the gates of a hypothesis."""
    from causaltest.plugin.session import STATE

    families = item.config.stash[STATE].families
    required = families.gates.get(item.nodeid, ())
    members = families.everyone if required else {}
    return tuple(identity.claim_id(members[nodeid]) for nodeid in required)


def short(nodeid: str) -> str:
    """Return a node id without its file."""
    return nodeid.partition("::")[2]


def _names(item: pytest.Function) -> Iterator[str]:
    """Yield what its file may call a hypothesis: the case, or the test with all its cases."""
    full = short(item.nodeid)
    scope = full.removesuffix(item.name)
    bare, case = item.originalname or item.name, models.case_of(item)
    named = f"{bare}[{case}]" if case else bare
    yield from dict.fromkeys((scope + bare, bare, scope + named, named, full))


def _named(name: str, names: Mapping[str, Sequence[str]], nodeid: str) -> Sequence[str]:
    if name in names:
        return names[name]
    known = [each for each in names if each not in _own(nodeid)]
    raise pytest.UsageError(
        f"{nodeid}: requires names {name!r}, which is no hypothesis of this file"
        f"{did_you_mean(name, known)}\n"
        f"a gate is another hypothesis of the same file: {listed(known)}"
    )


def _own(nodeid: str) -> tuple[str, ...]:
    full = short(nodeid)
    bare = full.partition("[")[0]
    return full, bare, full.rpartition("::")[2], bare.rpartition("::")[2]


def _check_confirmatory(
    nodeid: str, required: Collection[str], members: Mapping[str, pytest.Function]
) -> None:
    for gate in required:
        if marks(members[gate]).exploratory:
            raise pytest.UsageError(
                f"{nodeid}: its gate {short(gate)} is exploratory, so it is never supported and "
                "the hypothesis would never be tested"
            )


def with_gates(
    items: Sequence[pytest.Item],
    gates: Mapping[str, Sequence[str]],
    members: Mapping[str, pytest.Function],
) -> tuple[list[pytest.Item], list[pytest.Function]]:
    """Put every gate before what depends on it, also gates that a selection left out.

    Parameters
    ----------
    items
        The selected tests, in order.
    gates
        Node ids of the gates of each hypothesis.
    members
        All hypotheses that were collected, by node id.

    Returns
    -------
    (list of Item, list of Function)
        The tests to run, in order, and the gates among them that were not selected.
    """
    selected = {item.nodeid: item for item in items}
    ordered: dict[str, pytest.Item] = {}
    added: list[pytest.Function] = []

    def place(nodeid: str) -> None:
        if nodeid in ordered:
            return
        for gate in gates.get(nodeid, ()):
            place(gate)
        if nodeid not in selected:
            added.append(members[nodeid])
        ordered[nodeid] = selected.get(nodeid) or members[nodeid]

    for item in items:
        place(item.nodeid)
    return list(ordered.values()), added
