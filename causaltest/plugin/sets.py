"""Pair sets of a suite: the fixture `pairs`, and fewer pairs for a quick look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from causaltest.plugin.session import STATE
from causaltest.spelling import did_you_mean, listed

if TYPE_CHECKING:
    from causaltest.pairs import Pairs

_READ: pytest.StashKey[dict[tuple[Path, str | None], Pairs]] = pytest.StashKey()
_ARGUMENTS = ("cluster",)


def of(request: pytest.FixtureRequest) -> Pairs:
    """Read the pair set that the marker `pairs` of a test names; each file once.

    Raises
    ------
    pytest.UsageError
        There is no marker, or it does not say which file or which label is the unit.
    """
    mark = request.node.get_closest_marker("pairs")
    asked = f"{request.node.nodeid}: the fixture `pairs`"
    example = '@pytest.mark.pairs("ioi.jsonl", cluster="template")'
    if mark is None:
        raise pytest.UsageError(f"{asked} reads the file that a marker names: {example}")
    unknown = [name for name in mark.kwargs if name not in _ARGUMENTS]
    if unknown:
        raise pytest.UsageError(
            f"{asked}: the marker pairs has no argument {unknown[0]!r}"
            f"{did_you_mean(unknown[0], _ARGUMENTS)}; it takes a file and {listed(_ARGUMENTS)}"
        )
    if (
        len(mark.args) != 1
        or not isinstance(mark.args[0], (str, Path))
        or "cluster" not in mark.kwargs
    ):
        raise pytest.UsageError(
            f"{asked} needs one file, beside the test, and the label that is the unit: {example}; "
            "cluster=None says that each pair is"
        )
    from causaltest.pairs import Pairs

    path, cluster = request.path.parent / mark.args[0], mark.kwargs["cluster"]
    known = request.config.stash.setdefault(_READ, {})
    if (path, cluster) not in known:
        known[path, cluster] = Pairs.read(path, cluster=cluster)
    return known[path, cluster]


def shortened(value: Any, most: int) -> Any:
    """Return a fixture's value with no more than so many pairs in each pair set.

    Parameters
    ----------
    value
        What a fixture gave; pair sets in lists, tuples and dicts are shortened, too.
    most
        Pairs at most, from as many units as there can be.
    """
    from causaltest.pairs import Pairs

    if isinstance(value, Pairs):
        if len(value) <= most:
            return value
        seen: Counter[str] = Counter()
        turns: list[tuple[int, int]] = []
        for place, unit in enumerate(value.units):
            turns.append((seen[unit], place))
            seen[unit] += 1
        chosen = sorted(place for _, place in sorted(turns)[:most])
        return Pairs([value[i] for i in chosen], name=value.name, cluster=value.cluster)
    if type(value) in (list, tuple):
        return type(value)(shortened(each, most) for each in value)
    if type(value) is dict:
        return {key: shortened(each, most) for key, each in value.items()}
    return value


class Shortening:
    """Shortens the pair sets that fixtures give; registered where `--causal-max-pairs` asks."""

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        """Shorten the pair sets in what a fixture has just given, for all that ask for it."""
        value = yield
        most = request.config.stash[STATE].settings.max_pairs
        if most is None or fixturedef.cached_result is None:
            return value
        value = shortened(value, most)
        fixturedef.cached_result = (value, *fixturedef.cached_result[1:])  # pyright: ignore[reportAttributeAccessIssue]
        return value
