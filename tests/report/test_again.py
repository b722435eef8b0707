"""The command that runs a claim again: what decided its numbers, and nothing else."""

from __future__ import annotations

import shlex

import pytest

from causaltest.records import Claim, Environment, Run
from causaltest.report.again import command_of, options_of


def claim(name: str) -> Claim:
    """Return the record of a claim."""
    return Claim(
        id=name, claim="B.", file="t.py", line=1,
        verdict="supported", expected="supported", outcome="passed",
    )  # fmt: skip


def run_of(command: str) -> Run:
    """Return the record of a run that was started by a command."""
    environment = Environment(
        python="3.12.1", platform="Linux", packages={}, threads=1, git_commit="",
        git_dirty=None, command=command,
    )  # fmt: skip
    return Run(alpha=0.05, correction="none", seed=0, environment=environment)


@pytest.mark.parametrize(
    "given, kept",
    [
        ("pytest hypotheses", []),
        ("pytest --causal-model gpt2 hypotheses", ["--causal-model=gpt2"]),
        ("pytest --causal-model=a/b --causal-model c", ["--causal-model=a/b", "--causal-model=c"]),
        ("pytest --causal-sequential hypotheses", ["--causal-sequential"]),
        (
            "pytest --causal-alpha 0.01 --causal-seed=7 --causal-correction none "
            "--causal-max-pairs 6 --causal-dtype bfloat16 --causal-device=cuda:0",
            [
                "--causal-alpha=0.01", "--causal-seed=7", "--causal-correction=none",
                "--causal-max-pairs=6", "--causal-dtype=bfloat16", "--causal-device=cuda:0",
            ],
        ),
        (
            "pytest -x -n 4 --lf --causal-report out --causal-baseline=b.json --causal-no-cache "
            "--causal-update-baseline --causal-history h --causal-progress off --causal-strict",
            [],
        ),
        ("pytest '--causal-model=my models/a; rm'", ["--causal-model=my models/a; rm"]),
        ("pytest hypotheses --causal-model", []),
        ("pytest 'unclosed", []),
    ],
)  # fmt: skip
def test_what_decides_numbers_is_set_again(given, kept):
    """A shell reads the command as the test and the options that its numbers depend on."""
    command = command_of(claim("test_a.py::test_b[x y]"), run_of(given))
    assert shlex.split(command) == ["pytest", "test_a.py::test_b[x y]", *kept]


def test_a_run_that_does_not_say_how_it_was_started():
    """Without an environment the command is the test alone."""
    run = Run(alpha=0.05, correction="none", seed=0)
    assert options_of(run) == []
    assert command_of(claim("t.py::test_a"), run) == "pytest t.py::test_a"
