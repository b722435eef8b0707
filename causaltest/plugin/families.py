"""Families: all hypotheses of one test file, counted whatever is selected."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from causaltest.plugin import gates, models
from causaltest.plugin.marks import marks


@dataclass
class Families:
    """The hypotheses of each (file, model), by node id, whatever is selected."""

    members: dict[tuple[str, str], dict[str, pytest.Function]] = field(default_factory=dict)
    levels: dict[str, float] = field(default_factory=dict)
    """Share of the family's level for each hypothesis, its gates being supported."""
    flat: dict[str, float] = field(default_factory=dict)
    """The same if nothing were passed on by gates."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Hypotheses that share a level, or a list of q-values, with each."""
    gates: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Node ids that must be supported before one is tested."""
    classes: dict[str, pytest.Collector] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)

    @property
    def everyone(self) -> dict[str, pytest.Function]:
        """All hypotheses that were collected, by node id."""
        return {
            nodeid: item for members in self.members.values() for nodeid, item in members.items()
        }


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


def note(families: Families, collector: pytest.Collector, report: pytest.CollectReport) -> bool:
    """Count what a collector found, and return whether any of it asks for a fixture of ours.

    Called before `::` or `--lf` narrow it down. A test that asks for none costs no call.
    """
    families.seen.add(collector.nodeid)
    found = False
    for node in report.result or ():
        names = getattr(node, "fixturenames", None)
        if names is None:
            if isinstance(node, pytest.Collector):
                families.classes[node.nodeid] = node
        elif "causal" in names or "intervene" in names:
            found = True
            if "causal" in names and isinstance(node, pytest.Function):
                families.members.setdefault(key(node), {})[node.nodeid] = node
    return found


def complete(families: Families) -> None:
    """Collect the classes that a selection passed over, so that their hypotheses count too."""
    files = {file for file, _ in families.members}
    while waiting := [
        node for nodeid, node in families.classes.items()
        if nodeid not in families.seen and nodeid.split("::", 1)[0] in files and "::" in nodeid
    ]:  # fmt: skip
        for node in waiting:
            families.seen.add(node.nodeid)
            node.ihook.pytest_make_collect_report(collector=node)
    for members in families.members.values():
        _divide(families, members)


def _divide(families: Families, members: Mapping[str, pytest.Function]) -> None:
    """Find the gates of a family and divide its level."""
    from causaltest.stats.gatekeeping import serial_levels

    found = gates.resolve(members)
    families.gates.update(found)
    marked = {nodeid: marks(item) for nodeid, item in members.items()}
    weights = {nodeid: each.weight for nodeid, each in marked.items() if not each.exploratory}
    confirmed = {nodeid: each for nodeid, each in found.items() if nodeid in weights}
    whole = sum(weights.values())
    for nodeid, each in marked.items():
        looks = each.exploratory
        families.sizes[nodeid] = len(marked) - len(weights) if looks else len(weights)
        families.flat[nodeid] = 1.0 if looks else each.weight / whole
        families.levels[nodeid] = 1.0
    if weights:
        families.levels.update(serial_levels(weights, confirmed, 1.0))


def level(families: Families, item: pytest.Function, alpha: float) -> float:
    """Return the level at which one hypothesis is decided; exploratory ones spend nothing."""
    return alpha * families.levels[item.nodeid]


def passed_on(families: Families, item: pytest.Function) -> float:
    """Return how many times its level without gates, alpha * w / sum(w), a hypothesis has."""
    return families.levels[item.nodeid] / families.flat[item.nodeid]


def size(families: Families, item: pytest.Function) -> int:
    """Return the number of hypotheses that share a level, or a list of q-values, with one."""
    return families.sizes[item.nodeid]


def claim_text(item: pytest.Function) -> tuple[str, str]:
    """Return a hypothesis's claim, in one line, and its whole docstring."""
    docstring = inspect.getdoc(item.function) or ""
    if docstring:
        return docstring.splitlines()[0].strip(), docstring
    words = item.originalname.removeprefix("test_").replace("_", " ")
    return words[:1].upper() + words[1:], ""
