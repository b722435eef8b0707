"""GitHub Actions: a step summary and annotations, where a run happens there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from causaltest.baseline import Comparison
    from causaltest.records import Claim, Results

_MOST = 10
"""Annotations of each kind that GitHub shows for a step."""
_LONGEST = 300
"""Characters of a name or a sentence in an annotation."""
_OTHERS = "pytest_github_actions_annotate_failures"
"""A plugin that annotates every failed test, ours included."""


def write_summary(results: Results, comparison: Comparison | None) -> str:
    """Append the claims to the step summary, where there is one; return what went wrong.

    Parameters
    ----------
    results
        The run's results.
    comparison
        With its baseline, where there was one.
    """
    given = os.environ.get("GITHUB_STEP_SUMMARY")
    if not given:
        return ""
    from causaltest.report.markdown import SUMMARY_BYTES, step_summary

    path = Path(given)
    text = step_summary(results, comparison)
    try:
        used = path.stat().st_size if path.exists() else 0
        if used + len(text.encode("utf-8", "replace")) > SUMMARY_BYTES:
            return (
                f"the step summary would pass {SUMMARY_BYTES // 1024} KiB and GitHub would drop "
                "it whole, so the claims are not in it; they are in results.json"
            )
        with path.open("a", encoding="utf-8", errors="replace", newline="\n") as file:
            file.write(text)
    except OSError as error:
        return f"cannot write the step summary {path}: {error.strerror or error}"
    return ""


def marks(results: Results, config: pytest.Config) -> list[str]:
    """Return the workflow commands that mark claims which came out against what was expected.

    Parameters
    ----------
    results
        The run's results.
    config
        pytest's configuration.
    """
    if os.environ.get("GITHUB_ACTIONS") != "true" or config.pluginmanager.hasplugin(_OTHERS):
        return []
    found: dict[str, list[str]] = {"error": [], "warning": []}
    for kind, line in _commands(results, config.rootpath):
        found[kind].append(line)
    return [line for lines in found.values() for line in lines[:_MOST]]


def _commands(results: Results, root: Path) -> Iterator[tuple[str, str]]:
    from causaltest.records import ordered

    for claim in ordered(results.claims):
        if claim.verdict not in {"refuted", "inconclusive"} or claim.verdict == claim.expected:
            continue
        kind = "error" if claim.outcome == "failed" else "warning"
        place = f"file={_value(_in_repository(claim.file, root))},line={claim.line}"
        title = f"title={_value(f'causal claim {claim.verdict}')}"
        yield kind, f"::{kind} {place},{title}::{_text(_message(claim))}"


def _message(claim: Claim) -> str:
    from causaltest.report import numbers
    from causaltest.report.parts import deciding_part
    from causaltest.report.reasons import settled_by
    from causaltest.report.text import cut, short_name, visible

    name, sentence = short_name(claim, several_models=True), claim.claim
    lines = [": ".join(cut(visible(text), _LONGEST) for text in (name, sentence))]
    if claim.estimate is not None and claim.interval is not None and claim.bound is not None:
        shown = " ".join(numbers.estimate_and_interval(claim.estimate, claim.interval))
        bound = numbers.bound_text(claim.relation, claim.bound)
        lines.append(f"{shown}, claimed {bound}, {numbers.plural(claim.n_pairs, 'pair')}")
    if claim.verdict == "inconclusive":
        lines.append(visible(settled_by(deciding_part(claim))))
    return "\n".join(lines)


def _in_repository(file: str, root: Path) -> str:
    """Return a file as GitHub names it: from the top of the checkout."""
    checkout = os.environ.get("GITHUB_WORKSPACE")
    if checkout:
        try:
            return (root / file).relative_to(checkout).as_posix()
        except ValueError:
            pass
    return file


def _text(text: str) -> str:
    """Escape the message of a workflow command, as GitHub's toolkit does."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _value(text: str) -> str:
    """Escape a property of a workflow command."""
    return _text(text).replace(":", "%3A").replace(",", "%2C")
