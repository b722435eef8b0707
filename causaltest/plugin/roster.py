"""What the workers of xdist collected, told to the process that controls them and collects nothing.

It is told in a file, before any test runs: so what a crash takes with it is known by name.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from causaltest.plugin import families
from causaltest.records import Claim

_NAMES = ("model", "causal")


class Roster(msgspec.Struct, frozen=True):
    """The hypotheses of a run, and on which model each test depends."""

    collected: int
    """Hypotheses that were collected, whatever was selected."""
    headline: str
    claims: tuple[Claim, ...]
    """Of the hypotheses that were selected, as if they had not run."""
    models: dict[str, str]
    """What names the model, by node id; tests that use none are left out."""


def write(folder: Path, worker: str, roster: Roster) -> None:
    """Tell what a worker collected; one on another machine cannot, and the run goes on without."""
    if not folder.is_dir():
        return
    path = folder / f"{worker}.json"
    unfinished = path.with_suffix(".part")
    unfinished.write_bytes(msgspec.json.encode(roster))
    unfinished.replace(path)


def read(folder: Path) -> Roster | None:
    """Return what the first worker told that told anything; all collect the same."""
    for path in sorted(folder.glob("*.json")):
        return msgspec.json.decode(path.read_bytes(), type=Roster)
    return None


def models_of(items: list[pytest.Item]) -> dict[str, str]:
    """Name the model of each test that uses one: the fixture it is from, and its parameter."""
    return {item.nodeid: name for item in items if (name := _model_of(item))}


def _model_of(item: pytest.Item) -> str:
    info = getattr(item, "_fixtureinfo", None)
    definitions = {} if info is None else info.name2fixturedefs
    for name in _NAMES:
        if name in definitions:
            return f"{definitions[name][-1].baseid}::{name}[{families.model_key(item)}]"
    return ""
