"""The command that runs a claim again as it was run."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator

from causaltest.records import Claim, Run

_DECIDING = frozenset(
    f"--causal-{name}"
    for name in (
        "model", "device", "dtype", "alpha", "correction", "seed", "max-pairs", "sequential",
    )
)  # fmt: skip
"""Options that numbers or verdicts depend on. What the project's files set is set there again."""
_FLAGS = frozenset({"--causal-sequential"})


def command_of(claim: Claim, run: Run) -> str:
    """Return the command that runs a claim again: its test, and what was set for the run.

    Parameters
    ----------
    claim
        The claim.
    run
        The run that it is of.

    Examples
    --------
    >>> from causaltest.records import Environment
    >>> command = "pytest hypotheses -x --causal-model gpt2 --causal-seed=3"
    >>> environment = Environment(python="3.12.1", platform="Linux", packages={}, command=command)
    >>> run = Run(alpha=0.05, correction="none", seed=3, environment=environment)
    >>> claim = Claim(
    ...     id="test_a.py::test_b",
    ...     claim="B.",
    ...     file="test_a.py",
    ...     line=1,
    ...     verdict="supported",
    ...     expected="supported",
    ...     outcome="passed",
    ... )
    >>> command_of(claim, run)
    'pytest test_a.py::test_b --causal-model=gpt2 --causal-seed=3'
    """
    return shlex.join(["pytest", claim.nodeid, *options_of(run)])


def options_of(run: Run, names: Collection[str] = _DECIDING) -> list[str]:
    """Return options of the command of a run, each in one word.

    Parameters
    ----------
    run
        The run.
    names
        Which: all that numbers or verdicts depend on, unless it is said.
    """
    if run.environment is None:
        return []
    try:
        words = shlex.split(run.environment.command)
    except ValueError:  # edited: what it names cannot be known
        return []
    return list(_options(words, names))


def _options(words: list[str], names: Collection[str]) -> Iterator[str]:
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, equals, _ = word.partition("=")
        if name not in names:
            continue
        if equals or name in _FLAGS:
            yield word
        elif following:
            yield f"{name}={following}"
