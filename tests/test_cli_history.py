"""`causaltest history` shows the course of claims, and `python -m causaltest` is the command."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

from causaltest import baseline
from causaltest.cli import main
from causaltest.records import history
from causaltest.records.schema import Interval

NAME = "h/test_a.py::test_a"


def run(*arguments: object):
    """Run the command line in this process."""
    return CliRunner().invoke(main, list(map(str, arguments)))


def past_run(started: str, *estimates: float | None, weights: str = "aa") -> history.PastRun:
    """A run of claims test_a, test_b, ... with these estimates."""
    claims = tuple(
        history.PastClaim(
            id=f"h/test_{letter}.py::test_{letter}", claim="A.", model="m",
            verdict="error" if estimate is None else "supported", expected="supported",
            estimate=estimate,
            interval=None if estimate is None else Interval(estimate - 0.1, estimate + 0.1, 0.95),
        )
        for letter, estimate in zip("abc", estimates, strict=False)
    )  # fmt: skip
    made = history.PastRun(
        1, started, 0.05, git_commit="c0ffee00", models={"m": weights}, claims=claims
    )
    return history.sealed(made)


@pytest.fixture
def path(tmp_path):
    """Three runs: the second claim is gone in the last, the weights changed in it."""
    path = tmp_path / "history.jsonl"
    history.append(past_run("2026-01-01T10:00", 0.5, 0.9), path)
    history.append(past_run("2026-01-02T10:00", 0.6, None), path)
    history.append(past_run("2026-01-03T10:00", 0.9, weights="bb"), path)
    return path


def test_one_line_a_claim(path):
    """Its course as bars, its last estimate and verdict; a claim that is gone is told."""
    result = run("history", path)
    assert result.exit_code == 0
    head, first, second = result.output.splitlines()
    assert head == "3 runs, 2026-01-01 to 2026-01-03"
    assert first.split() == [NAME, "▁▃█", "+0.900", "supported"]
    assert second.split()[1:] == ["▄·", "error", "(not", "in", "the", "last", "run)"]


def test_one_line_a_run(path, tmp_path):
    """Date, commit, weights, numbers; what changed, and what lies off the baseline."""
    part = baseline.kept.KeptPart("x", "supported", ">", 0.5, 0.5, 0.05, 0.0, "pair", (0.5, 0.5))
    claim = baseline.KeptClaim(NAME, "A.", "supported", "supported", "m", "", parts=(part,))
    kept = tmp_path / "baseline.json"
    baseline.write(baseline.Baseline(1, 0.05, False, (), (), (claim,)), kept)
    result = run("history", path, "--claim", "test_a", "--baseline", kept, "--margin", "0.15")
    assert result.exit_code == 0
    head, *lines = result.output.splitlines()
    assert head == NAME
    assert lines[0].split() == [
        "2026-01-01T10:00", "c0ffee00", "aa", "+0.500", "[+0.400,", "+0.600]", "supported",
    ]  # fmt: skip
    assert lines[1].endswith("supported")
    assert lines[2].endswith("supported  weights changed; off the baseline +0.350 to +0.650")


def test_mistakes_are_told(path, tmp_path):
    """An unknown claim, a missing history and a second addition, each with what to do."""
    assert "there is no claim 'test_z'" in run("history", path, "--claim", "test_z").output
    missing = run("history", tmp_path / "none.jsonl")
    assert missing.exit_code == 1
    assert "Begin it with a run: causaltest history" in missing.output
    assert "is no margin; expected a number" in run("history", path, "--margin", "x").output


def test_the_package_is_the_command():
    """`python -m causaltest --version` says name and version."""
    done = subprocess.run(
        [sys.executable, "-m", "causaltest", "--version"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.startswith("causaltest, version ")
