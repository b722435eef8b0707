"""Families: all hypotheses of one test file, counted whatever is selected."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from causaltest.plugin import models
from causaltest.spelling import did_you_mean, listed

VERDICTS = ("supported", "refuted", "inconclusive")
_MARK = {"expect": "supported", "weight": 1.0}


@dataclass(frozen=True)
class Marks:
    """What the `causal` marker of a hypothesis says."""

    expect: str = "supported"
    weight: float = 1.0


@dataclass
class Families:
    """Weights of the hypotheses of each (file, model), by node id."""

    weights: dict[tuple[str, str], dict[str, float]] = field(default_factory=dict)
    classes: dict[str, pytest.Collector] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)


def is_hypothesis(item: object) -> bool:
    """Return whether a test asks for the `causal` fixture."""
    return isinstance(item, pytest.Function) and "causal" in item.fixturenames


def key(item: pytest.Function) -> tuple[str, str]:
    """Return the family of a hypothesis: its file, and the model it runs on."""
    file = item.nodeid.split("::", 1)[0]
    return file, model_key(item)


def model_key(item: pytest.Item) -> str:
    """Return what tells apart runs of one hypothesis on several models."""
    callspec = getattr(item, "callspec", None)
    if callspec is None:
        return ""
    params: Mapping[str, Any] = callspec.params
    if models.FIXTURE in params:
        return str(params[models.FIXTURE])
    if "model" in params:
        return f"model{callspec.indices['model']}"
    return ""


def note(families: Families, collector: pytest.Collector, report: pytest.CollectReport) -> None:
    """Count what a collector found. Called before `::` or `--lf` narrow it down."""
    families.seen.add(collector.nodeid)
    for node in report.result or ():
        if isinstance(node, pytest.Collector):
            families.classes[node.nodeid] = node
        elif is_hypothesis(node):
            _count(families, node)


def _count(families: Families, item: pytest.Item) -> None:
    assert isinstance(item, pytest.Function)
    family = families.weights.setdefault(key(item), {})
    family[item.nodeid] = marks(item).weight


def complete(families: Families) -> None:
    """Collect the classes that a selection passed over, so that their hypotheses count too."""
    files = {file for file, _ in families.weights}
    while waiting := [
        node for nodeid, node in families.classes.items()
        if nodeid not in families.seen and nodeid.split("::", 1)[0] in files and "::" in nodeid
    ]:  # fmt: skip
        for node in waiting:
            families.seen.add(node.nodeid)
            node.ihook.pytest_make_collect_report(collector=node)


def level(families: Families, item: pytest.Function, alpha: float) -> float:
    """Return alpha * w / sum(w), the level at which one hypothesis of a family is decided."""
    weights = families.weights[key(item)]
    return alpha * weights[item.nodeid] / sum(weights.values())


def size(families: Families, item: pytest.Function) -> int:
    """Return the number of hypotheses in the family of one."""
    return len(families.weights[key(item)])


def marks(item: pytest.Item) -> Marks:
    """Read and check the `causal` markers of a hypothesis, the closest first.

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
                f"({listed(_MARK)}); got {mark.args!r}"
            )
        for name, value in mark.kwargs.items():
            if name not in _MARK:
                raise pytest.UsageError(
                    f"{item.nodeid}: the marker causal has no argument {name!r}"
                    f"{did_you_mean(name, _MARK)}; it takes {listed(_MARK)}"
                )
            found.setdefault(name, value)
    expect = found.get("expect", "supported")
    if expect not in VERDICTS:
        raise pytest.UsageError(
            f"{item.nodeid}: expect is {expect!r}{did_you_mean(str(expect), VERDICTS)}; "
            f"expected one of {listed(VERDICTS)}"
        )
    weight = found.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not weight > 0:
        raise pytest.UsageError(f"{item.nodeid}: weight is {weight!r}; expected a number above 0")
    return Marks(expect, float(weight))


def claim_text(item: pytest.Function) -> tuple[str, str]:
    """Return a hypothesis's claim, in one line, and its whole docstring."""
    docstring = inspect.getdoc(item.function) or ""
    if docstring:
        return docstring.splitlines()[0].strip(), docstring
    words = item.originalname.removeprefix("test_").replace("_", " ")
    return words[:1].upper() + words[1:], ""
