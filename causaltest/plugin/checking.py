"""Health of a claim: what makes its evidence unsound fails it before its verdict is believed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from causaltest.plugin import registered, source
from causaltest.plugin.marks import Marks, marks

if TYPE_CHECKING:
    from causaltest.health import Finding
    from causaltest.plugin.hearing import Hearing
    from causaltest.stats import Verdict


def ailing(item: pytest.Item, hearing: Hearing) -> str:
    """Say why a claim's verdict is not to be believed; empty where nothing is wrong.

    Parameters
    ----------
    item
        The hypothesis.
    hearing
        What it asked.
    """
    open_ones = [each for each in _found(item, hearing) if each.check not in _suppressed(item)]
    if not open_ones or not _fails(item) or marks(item).exploratory:
        return ""
    names = sorted({each.check for each in open_ones})
    lines = [f"a health check failed, so the verdict ({hearing.name}) is not given"]
    for each in open_ones:
        lines += [str(each), f"  {each.advice}"]
    shown = repr(names[0]) if len(names) == 1 else repr(tuple(names))
    lines.append(f"if it is meant so: @pytest.mark.causal(suppress={shown})")
    return "\n".join(lines)


def misused(item: pytest.Item, hearing: Hearing, error: BaseException | None) -> str:
    """Say why what a test asked is no claim that has a verdict; empty where it is one.

    Parameters
    ----------
    item
        The hypothesis.
    hearing
        What it asked.
    error
        What its body ended with.
    """
    assert isinstance(item, pytest.Function)
    written = next(filter(hearing.asked_in, source.alternatives(item.function)), None)
    if written is not None:
        return (
            f"{written.text.splitlines()[0]}\n"
            "holds if either comparison does, which is no claim with a verdict: each alternative "
            "is another chance to be right by accident\n"
            "write each alternative as a test of its own, so that the family counts it; or claim "
            "the largest, e.g. grid.mean_over(...)"
        )
    refuted = next((each for each in hearing.verdicts if each.name == "refuted"), None)
    if error is None and refuted is not None and not source.negates(item.function):
        return (
            f"{refuted.statement} was asked and is refuted, but the test passed\n"
            "a comparison is a claim, and what is no claim should not be asked: write it as an "
            "assert, or look at effect.estimate"
        )
    return ""


def notes(item: pytest.Item, hearing: Hearing) -> Iterator[str]:
    """Yield what health checks found, for readers: suppressed ones, too."""
    suppressed = _suppressed(item)
    for each in _found(item, hearing):
        if each.check in suppressed:
            yield f"{each} (suppressed: the test says that it is meant so)"
        else:
            yield f"{each}; {each.advice}"


def _found(item: pytest.Item, hearing: Hearing) -> list[Finding]:
    from causaltest import health

    found = [] if hearing.causal is None else list(hearing.causal.trail.findings)
    least = _least(item, marks(item))
    for verdict in hearing.verdicts:
        pairs = verdict.n_available or verdict.n_pairs
        few = health.too_few_pairs(pairs, verdict.n_units, verdict.unit, least)
        if few is not None and few not in found:
            found.append(few)
    for verdict in _decisive(hearing.verdicts):
        doubted = health.few_units_for_level(verdict)
        if doubted is not None and doubted not in found:
            found.append(doubted)
    return found


def _decisive(verdicts: list[Verdict]) -> list[Verdict]:
    """Those on which the claim's verdict rests: all if they hold, else those that do not."""
    held = {each.name for each in verdicts}
    name = next((name for name in ("refuted", "inconclusive") if name in held), "supported")
    return [each for each in verdicts if each.name == name]


def _least(item: pytest.Item, marked: Marks) -> int:
    from causaltest.health import MIN_PAIRS
    from causaltest.plugin.session import STATE

    least = MIN_PAIRS if marked.min_pairs is None else marked.min_pairs
    most = item.config.stash[STATE].settings.max_pairs
    return least if most is None else min(least, most)


def _suppressed(item: pytest.Item) -> tuple[str, ...]:
    return marks(item).suppress


def _fails(item: pytest.Item) -> bool:
    from causaltest.plugin.session import STATE

    strict = registered.is_strict(item.config)
    return strict or item.config.stash[STATE].settings.health == "fail"
