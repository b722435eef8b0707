"""The result cache in a run: a second run runs nothing, what changed is run, and it is said."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "hypotheses" / "schoolbook"
PAIRS = ROOT / "hypotheses" / "pairs" / "pronouns.jsonl"

_COUNTING = f'''
"""Counts how many modules run, and leaves the number in a file."""

from pathlib import Path

import pytest
from torch.nn.modules.module import register_module_forward_pre_hook

from causaltest import Pairs

ran = [0]


def pytest_sessionstart(session):
    ran[0] = 0
    session.counting = register_module_forward_pre_hook(lambda *_: ran.__setitem__(0, ran[0] + 1))


def pytest_sessionfinish(session):
    session.counting.remove()
    name = getattr(session.config, "workerinput", {{}}).get("workerid", "main")
    (session.config.rootpath / f"ran-{{name}}").write_text(str(ran[0]))


@pytest.fixture(scope="session")
def pronouns():
    return Pairs.read({str(PAIRS)!r}, cluster="template")[::4]
'''

_CLAIMS = """
from causaltest import block_output, interchange, recovery


def test_the_last_block_carries_it(causal, pronouns):
    assert causal.effect(
        interchange(block_output(2, pos="end")), on=pronouns, metric=recovery
    ) > BOUND


def test_the_model_knows(causal, pronouns):
    assert causal.accuracy(on=pronouns) > 0.5


def test_some_block_does(causal, pronouns):
    grid = causal.sweep("block_output", positions="end", on=pronouns, metric=recovery)
    assert grid.mean_over(layer=[2]) > 0.5
"""


class Runs:
    """A folder of hypotheses on a real model, run again and again."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.path = pytester.path
        pytester.makeconftest(_COUNTING)
        pytester.makeini(f"[pytest]\ncausal_models = {MODEL}\n")
        self.write(bound=0.5)

    def write(self, *, bound: float) -> None:
        """Write the hypotheses with a bound."""
        self.pytester.makepyfile(test_claims=_CLAIMS.replace("BOUND", repr(bound)))

    def run(self, *arguments: str, apart: bool = False) -> tuple[int, dict[str, dict]]:
        """Return how many modules ran, and the claims."""
        for path in self.path.glob("ran-*"):
            path.unlink()
        where = self.pytester.runpytest_subprocess if apart else self.pytester.runpytest_inprocess
        where("-p", "no:cacheprovider", *arguments)
        count = sum(int(path.read_text()) for path in self.path.glob("ran-*"))
        results = json.loads((self.path / "reports" / "results.json").read_text())
        return count, {each["id"].split("::")[1]: each for each in results["claims"]}


@pytest.fixture
def runs(pytester) -> Runs:
    """A folder of hypotheses."""
    return Runs(pytester)


def told(claim: dict) -> list[str]:
    """Notes on the cache."""
    return [note for note in claim["notes"] if note.startswith("re-used from the cache")]


def without(claim: dict) -> dict:
    """A claim without what may differ from run to run."""
    notes = [note for note in claim["notes"] if note not in told(claim)]
    return {**claim, "notes": notes, "seconds": 0}


def test_a_second_run_runs_no_forward_pass(runs):
    """With nothing changed no module runs, every number is the same, and each claim says so."""
    ran, first = runs.run(apart=True)
    again, second = runs.run(apart=True)
    assert ran > 0
    assert again == 0
    assert len(first) == 3
    for name, claim in first.items():
        assert claim["verdict"] == "supported"
        assert not told(claim)
        assert without(second[name]) == without(claim)
        (note,) = told(second[name])
        assert re.search(r"the run of \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC measured$", note)


def test_a_changed_bound_uses_the_numbers(runs):
    """Another bound is another verdict on the same numbers."""
    _, first = runs.run()
    runs.write(bound=3.0)
    ran, second = runs.run()
    name = next(name for name in first if name.startswith("test_the_last_block"))
    assert ran == 0
    assert (first[name]["verdict"], second[name]["verdict"]) == ("supported", "refuted")
    assert first[name]["parts"][0]["values"] == second[name]["parts"][0]["values"]


def test_another_precision_is_measured(runs):
    """Numbers of one dtype say nothing about another."""
    runs.run()
    assert runs.run("--causal-dtype", "float64")[0] > 0
    assert runs.run("--causal-dtype", "float64")[0] == 0


def test_it_can_be_switched_off(runs):
    """`--causal-no-cache` neither reads nor writes."""
    ran, _ = runs.run("--causal-no-cache")
    assert not (runs.path / ".causaltest").exists()
    runs.run()
    entries = {path: path.read_bytes() for path in (runs.path / ".causaltest").rglob("*.entry")}
    again, claims = runs.run("--causal-no-cache")
    assert again == ran
    assert not any(map(told, claims.values()))
    assert entries == {
        path: path.read_bytes() for path in (runs.path / ".causaltest").rglob("*.entry")
    }


def test_damaged_entries_are_measured_again(runs):
    """A folder of rubbish costs time, not truth."""
    _, first = runs.run()
    for path in (runs.path / ".causaltest" / "cache").glob("*.entry"):
        path.write_bytes(path.read_bytes()[:40])
    ran, second = runs.run()
    assert ran > 0
    assert {name: without(claim) for name, claim in second.items()} == {
        name: without(claim) for name, claim in first.items()
    }
    assert runs.run()[0] == 0


def test_a_folder_that_cannot_be_written_is_a_warning(runs):
    """The run goes on, and pytest's summary says that nothing was kept."""
    (runs.path / ".causaltest").write_text("in the way")
    result = runs.pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=3, warnings=1)
    result.stdout.fnmatch_lines(["*CacheWarning: the cache * cannot be written *"])


def test_workers_share_it(runs):
    """Under xdist two processes write one folder, and a later run runs nothing."""
    pytest.importorskip("xdist")
    _, first = runs.run("-n", "2", apart=True)
    ran, second = runs.run()
    assert ran == 0
    assert {name: without(claim) for name, claim in second.items()} == {
        name: without(claim) for name, claim in first.items()
    }
