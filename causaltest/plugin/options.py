"""Options and ini keys of the plugin: command line before ini before default."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from causaltest.spelling import did_you_mean

Inconclusive = Literal["fail", "xfail", "skip"]
Correction = Literal["bonferroni", "none"]

_CORRECTIONS = ("bonferroni", "none")
_PROGRESS = ("auto", "on", "off")
_HEALTH = ("fail", "warn")
_CACHE = Path(".causaltest") / "cache"
_INCONCLUSIVE = ("fail", "xfail", "skip")


@dataclass(frozen=True)
class Settings:
    """What applies to every hypothesis of the run.

    Parameters
    ----------
    alpha
        Error rate of each family.
    correction
        How it is divided among the family's hypotheses.
    seed
        Root of every random stream.
    report
        Folder of report and results; None for none.
    inconclusive
        What an undecided claim does to its test.
    sequential
        Whether pairs run in looks, and stop where a claim is settled.
    cache
        Folder of numbers kept for later runs; None for none.
    health
        What a failed health check does to its claim.
    max_pairs
        Pairs of each set that are run at most; None for all.
    """

    alpha: float
    correction: Correction
    seed: int
    report: Path | None
    inconclusive: Inconclusive
    sequential: bool = False
    cache: Path | None = None
    health: Literal["fail", "warn"] = "fail"
    max_pairs: int | None = None


def declare(parser: pytest.Parser) -> None:
    """Add the options to pytest's command line and configuration."""
    group = parser.getgroup("causaltest", "causal hypotheses")
    group.addoption(
        "--causal-model",
        action="append",
        metavar="NAME",
        help="run the hypotheses on this model: a folder, a hub name, or BASE+ADAPTER with a PEFT "
        "adapter (may be repeated)",
    )
    parser.addini("causal_models", "models to run the hypotheses on", type="linelist", default=[])
    group.addoption(
        "--causal-strict",
        action="store_true",
        default=False,
        help="fail claims that are inconclusive, not registered, or changed since they were",
    )
    group.addoption(
        "--causal-update-baseline",
        action="store_true",
        default=False,
        help="write the entries of the claims that ran into the baseline, and compare nothing",
    )
    parser.addini(
        "causal_drift",
        "change from the baseline that matters: a number, or a share such as 10% (default)",
        type="string",
        default="10%",
    )
    group.addoption(
        "--causal-sequential",
        action="store_true",
        default=None,
        help="run pairs in growing looks and stop where a claim is settled; errors stay controlled",
    )
    parser.addini(
        "causal_sequential", "as --causal-sequential: true or false", type="bool", default=False
    )
    group.addoption(
        "--causal-no-cache",
        action="store_true",
        default=False,
        help="measure everything anew, and keep nothing in .causaltest/cache for later runs",
    )
    # For `causaltest register`: where to write what was collected.
    group.addoption("--causal-entries", default=None, help=argparse.SUPPRESS)
    parser.addini(
        "causal_lock",
        "the lock file of `causaltest register`; default hypotheses.lock",
        type="string",
        default=None,
    )
    declared = (
        ("alpha", "FLOAT", "error rate of each family (test file); default 0.05"),
        ("correction", "NAME", "bonferroni (default) or none"),
        ("seed", "INT", "root of every random stream; default 0"),
        ("report", "DIR", "folder of report.html and results.json, or none; default reports"),
        (
            "device",
            "NAME",
            "torch device, auto (default), or spread: on all, as accelerate fills them",
        ),
        ("dtype", "NAME", "float32 (default), bfloat16, float16 or float64"),
        (
            "baseline",
            "FILE",
            "compare with this baseline, or none; default hypotheses/baseline.json, if there",
        ),
        ("history", "FILE", "add this run to a history for `causaltest history`; default none"),
        ("health", "MODE", "what a failed health check does to its claim: fail (default) or warn"),
        ("max-pairs", "N", "run N pairs of each set at most; marks the results as partial"),
        ("progress", "MODE", "bars of long sweeps: auto (default, on terminals), on or off"),
    )
    for name, metavar, text in declared:
        group.addoption(f"--causal-{name}", metavar=metavar, default=None, help=text)
        key = f"causal_{name.replace('-', '_')}"
        parser.addini(key, text, type="string", default=None)
    parser.addini(
        "causal_group_by_model",
        "whether xdist keeps the tests of a model together: true (default) or false",
        type="bool",
        default=True,
    )
    parser.addini(
        "causal_inconclusive",
        "what an inconclusive claim does to its test: fail (default), xfail or skip",
        type="string",
        default=None,
    )


def text(config: pytest.Config, name: str, default: str) -> str:
    """Return an option: from the command line, else from the ini file, else the default."""
    given = config.getoption(f"causal_{name}", None)
    if given is None:
        given = config.getini(f"causal_{name}")
    return default if given is None or given == "" else str(given)


def read(config: pytest.Config) -> Settings:
    """Read and check the settings.

    Raises
    ------
    pytest.UsageError
        A value is out of range or unknown.
    """
    report = text(config, "report", "reports")
    _choice("progress", text(config, "progress", "auto"), _PROGRESS)
    return Settings(
        alpha=_alpha(text(config, "alpha", "0.05")),
        correction=_choice("correction", text(config, "correction", "bonferroni"), _CORRECTIONS),
        seed=_seed(text(config, "seed", "0")),
        report=None if report == "none" else config.rootpath / report,
        inconclusive=_choice("inconclusive", _inconclusive(config), _INCONCLUSIVE),
        sequential=bool(
            config.getoption("causal_sequential", None) or config.getini("causal_sequential")
        ),
        cache=None if config.getoption("causal_no_cache", None) else config.rootpath / _CACHE,
        health=_choice("health", text(config, "health", "fail"), _HEALTH),
        max_pairs=_max_pairs(text(config, "max_pairs", "")),
    )


def _inconclusive(config: pytest.Config) -> str:
    return str(config.getini("causal_inconclusive") or "fail")


def _alpha(given: str) -> float:
    try:
        alpha = float(given)
    except ValueError:
        alpha = float("nan")
    if not 0 < alpha < 1:
        raise pytest.UsageError(
            f"causal_alpha is {given!r}; expected an error rate between 0 and 1, such as 0.05"
        )
    return alpha


def _seed(given: str) -> int:
    if given.isdecimal():
        return int(given)
    raise pytest.UsageError(f"causal_seed is {given!r}; expected a whole number from 0")


def _max_pairs(given: str) -> int | None:
    if not given:
        return None
    if given.isdecimal() and int(given) > 0:
        return int(given)
    raise pytest.UsageError(f"causal_max_pairs is {given!r}; expected a whole number from 1")


def _choice(name: str, given: str, allowed: tuple[str, ...]) -> Any:
    if given in allowed:
        return given
    raise pytest.UsageError(
        f"causal_{name} is {given!r}{did_you_mean(given, allowed)}; "
        f"expected {', '.join(allowed[:-1])} or {allowed[-1]}"
    )
