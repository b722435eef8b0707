"""What the `causal` marker of a hypothesis says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest

from causaltest.spelling import did_you_mean, listed

VERDICTS = ("supported", "refuted", "inconclusive")
_ARGUMENTS = (
    "id", "expect", "weight", "requires", "exploratory", "min_pairs", "models", "suppress",
    "specification",
)  # fmt: skip
_KEY = re.compile(r"[\w.-]+(/[\w.-]+)*")


@dataclass(frozen=True)
class Marks:
    """What the `causal` markers of a hypothesis say, the closest first.

    Parameters
    ----------
    expect
        The verdict on which its test passes.
    weight
        Its share of the family's error rate.
    requires
        Names of the hypotheses that must be supported before it is tested.
    exploratory
        Whether it only looks: it spends no error rate and is never supported.
    min_pairs
        Fewer pairs than this are too few; None for what the health checks hold.
    models
        Names of the models that it is about; empty for all.
    suppress
        Health checks that it may fail.
    specification
        Where its cases are ways to test one hypothesis: the case that was settled on beforehand.
    key
        What its claim is called, whatever becomes of the name of its test; empty for that name.
    """

    expect: str = "supported"
    weight: float = 1.0
    requires: tuple[str, ...] = ()
    exploratory: bool = False
    min_pairs: int | None = None
    models: tuple[str, ...] = ()
    suppress: tuple[str, ...] = ()
    specification: str = ""
    key: str = ""


def marks(item: pytest.Item) -> Marks:
    """Read and check the `causal` markers of a hypothesis.

    Raises
    ------
    pytest.UsageError
        A marker has an unknown argument or value.
    """
    found: dict[str, Any] = {}
    for mark in item.iter_markers("causal"):
        if mark.args:
            raise pytest.UsageError(
                f"{item.nodeid}: the marker causal takes keywords only "
                f"({listed(_ARGUMENTS)}); got {mark.args!r}"
            )
        for name, value in mark.kwargs.items():
            if name == "alpha":
                raise pytest.UsageError(_no_level_of_its_own(item))
            if name not in _ARGUMENTS:
                raise pytest.UsageError(
                    f"{item.nodeid}: the marker causal has no argument {name!r}"
                    f"{did_you_mean(name, _ARGUMENTS)}; it takes {listed(_ARGUMENTS)}"
                )
            found.setdefault(name, value)
    read = Marks(
        _expect(item, found.get("expect", "supported")),
        _weight(item, found.get("weight", 1.0)),
        _requires(item, found.get("requires", ())),
        _exploratory(item, found.get("exploratory", False)),
        _min_pairs(item, found.get("min_pairs")),
        _listed(item, "models", found.get("models", ()), "models='gpt2'"),
        _suppress(item, found.get("suppress", ())),
        _specification(item, found.get("specification", "")),
        _key(item, found.get("id", "")),
    )
    if read.exploratory and {"expect", "weight"} & set(found):
        raise pytest.UsageError(
            f"{item.nodeid}: an exploratory hypothesis has no verdict to expect and no share of "
            "the error rate; leave out expect and weight, or exploratory"
        )
    return read


def _no_level_of_its_own(item: pytest.Item) -> str:
    """Say how a level is chosen: one that a test sets itself would leave the family's unknown."""
    return (
        f"{item.nodeid}: the marker causal has no argument 'alpha': the hypotheses of a file share "
        "its error rate, each by its weight\n"
        "give this one a larger share with weight=2, or set the rate of every file with "
        "--causal-alpha"
    )


def _key(item: pytest.Item, given: object) -> str:
    if isinstance(given, str) and (not given or _KEY.fullmatch(given)):
        return given
    raise pytest.UsageError(
        f"{item.nodeid}: id is {given!r}; expected a name of letters, digits, '-', '_', '.' and "
        "'/' that stays when the test is renamed: id=\"pronoun/name-token\""
    )


def _expect(item: pytest.Item, expect: object) -> str:
    if expect not in VERDICTS:
        raise pytest.UsageError(
            f"{item.nodeid}: expect is {expect!r}{did_you_mean(str(expect), VERDICTS)}; "
            f"expected one of {listed(VERDICTS)}"
        )
    return str(expect)


def _specification(item: pytest.Item, given: object) -> str:
    if isinstance(given, str):
        return given
    raise pytest.UsageError(
        f"{item.nodeid}: specification is {given!r}; expected the case that was settled on, as it "
        'stands in the brackets of its id: specification="mean-recovery"'
    )


def _weight(item: pytest.Item, weight: object) -> float:
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not weight > 0:
        raise pytest.UsageError(f"{item.nodeid}: weight is {weight!r}; expected a number above 0")
    return float(weight)


def _requires(item: pytest.Item, requires: object) -> tuple[str, ...]:
    names = _names(requires)
    if names is None:
        raise pytest.UsageError(
            f"{item.nodeid}: requires is {requires!r}; expected the name of a test of the same "
            'file, or a list of names: requires="test_the_model_does_the_task"'
        )
    return names


def _listed(item: pytest.Item, name: str, given: object, example: str) -> tuple[str, ...]:
    names = _names(given)
    if names is None:
        raise pytest.UsageError(
            f"{item.nodeid}: {name} is {given!r}; expected a name or a list of names: {example}"
        )
    return names


def _names(given: object) -> tuple[str, ...] | None:
    names = (given,) if isinstance(given, str) else given
    if isinstance(names, (list, tuple)):
        members = [name for name in names if isinstance(name, str)]
        if len(members) == len(names):
            return tuple(dict.fromkeys(members))
    return None


def _min_pairs(item: pytest.Item, given: object) -> int | None:
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise pytest.UsageError(
            f"{item.nodeid}: min_pairs is {given!r}; expected a whole number from 1"
        )
    return given


def _suppress(item: pytest.Item, given: object) -> tuple[str, ...]:
    names = _listed(item, "suppress", given, "suppress='weak_baseline'")
    if not names:
        return ()
    from causaltest.health import CHECKS

    for name in names:
        if name not in CHECKS:
            raise pytest.UsageError(
                f"{item.nodeid}: suppress names {name!r}, which is no health check"
                f"{did_you_mean(name, CHECKS)}\nhealth checks: {listed(CHECKS)}"
            )
    return names


def _exploratory(item: pytest.Item, exploratory: object) -> bool:
    if isinstance(exploratory, bool):
        return exploratory
    raise pytest.UsageError(
        f"{item.nodeid}: exploratory is {exploratory!r}; expected True or False"
    )
