"""A comparison of two runs in words: the table for the terminal, and lines that records keep."""

from __future__ import annotations

from collections import Counter

from causaltest.baseline import Compared, Comparison, Drift
from causaltest.records import Interval
from causaltest.report import numbers
from causaltest.report.text import cut, visible, width_of

ORDER = ("worse", "better", "changed", "unclear", "untested", "same")
WORDS = {
    "worse": "worse",
    "better": "better",
    "changed": "changed",
    "unclear": "unclear",
    "untested": "not comparable",
    "same": "not worse",
}
_LEAST_NAME = 16


def shown(comparison: Comparison, *, everything: bool = False) -> list[Compared]:
    """List the claims that a table shows, those that got worse first.

    Parameters
    ----------
    comparison
        The two runs.
    everything
        Show those that did not change and are claimed as they were, too.
    """
    chosen = [
        each for each in comparison.claims if everything or each.state != "same" or each.otherwise
    ]
    return sorted(chosen, key=lambda each: ORDER.index(each.state))


def cells(claim: Compared) -> tuple[str, str, str, str]:
    """Give the numbers of one claim: before, now, the change with its interval, the verdicts."""
    verdicts = claim.new if claim.old == claim.new else f"{claim.old} -> {claim.new}"
    drift = claim.drift
    if drift is None:
        return "", "", "", verdicts
    places = numbers.decimals(drift.new, drift.old, drift.new)
    change = "" if drift.change is None else numbers.signed(drift.change, places)
    if drift.change is not None and drift.interval is not None:
        interval = Interval(*drift.interval, level=0.95)
        change = " ".join(numbers.estimate_and_interval(drift.change, interval))
    return numbers.signed(drift.old, places), numbers.signed(drift.new, places), change, verdicts


def remarks(claim: Compared) -> list[str]:
    """List what a reader must know of one claim beside its numbers."""
    found: list[str] = list(dict.fromkeys(each.reason for each in claim.drifts if each.reason))
    found = [f"not compared pair by pair: {reason}" for reason in found]
    if claim.lost and claim.drift is not None and claim.drift.name in {"unclear", "held", "same"}:
        found.append("the verdict was lost, but no change of its estimate was shown")
    return [*found, *_confirmation(claim), *claim.notes]


def _confirmation(claim: Compared) -> list[str]:
    """Say what fresh pairs made of an alarm."""
    given = claim.confirmation
    if given is None:
        return []
    if given.outcome == "open":
        return [f"not confirmed: {given.reason}"]
    drift = None if given.again is None else given.again.drift
    told = "" if drift is None else drift_text(drift)
    said = "confirmed" if given.outcome == "confirmed" else "no alarm: not confirmed"
    return [f"{said} on fresh pairs{told and ', '}{told.replace(' since the baseline', '')}"]


def counted(comparison: Comparison) -> str:
    """Count the claims compared by what became of them."""
    counts = Counter(each.state for each in comparison.claims)
    told = [f"{counts[state]} {WORDS[state]}" for state in ORDER if counts[state]]
    compared = numbers.plural(len(comparison.claims), "claim")
    return f"{compared} compared: {', '.join(told) or 'none was reached'}"


def closing(comparison: Comparison) -> list[str]:
    """Write the lines under a table: what appeared and vanished, what the numbers mean."""
    lines = [counted(comparison)]
    for names, word in ((comparison.appeared, "new"), (comparison.vanished, "gone")):
        lines += [f"{word}: {name}" for name in names[:20]]
        if len(names) > 20:
            lines.append(f"{word}: and {len(names) - 20} more")
    if comparison.left_out:
        total = len(comparison.claims) + len(comparison.left_out)
        lines.append(f"{len(comparison.left_out)} of {total} claims were not run")
    open_alarms = [each for each in comparison.claims if each.alarm and each.confirmation is None]
    if open_alarms:
        lines.append(
            f"{numbers.plural(len(open_alarms), 'alarm')} not confirmed; on fresh pairs: "
            "compare OLD NEW --confirm OLD2 NEW2"
        )
    lines += comparison.notes
    if comparison.tests:
        level = numbers.percent(1 - comparison.alpha)
        tests = numbers.plural(comparison.tests, "comparison")
        together = "" if comparison.tests == 1 else " for all at once"
        lines.append(f"brackets: the change on the same pairs, {level}{together} ({tests})")
    return lines


def table(comparison: Comparison, *, width: int = 100, everything: bool = False) -> str:
    """Draw a comparison for the terminal, names cut to fit, numbers never.

    Parameters
    ----------
    comparison
        The two runs.
    width
        Columns of the terminal.
    everything
        Show claims that did not change as well.

    Returns
    -------
    str
        Lines without a line end at the end, everything in them made visible.

    Examples
    --------
    >>> table(Comparison((), ("a.py::test_a",), (), (), (), alpha=0.05, tests=0)).splitlines()
    ['0 claims compared: none was reached', 'new: a.py::test_a']
    """
    claims = shown(comparison, everything=everything)
    lines: list[str] = []
    if claims:
        rows = [(WORDS[each.state], *cells(each)[:3]) for each in claims]
        head = ("", "before", "now", "change")
        widths = [max(map(width_of, column)) for column in zip(head, *rows, strict=True)]
        room = max(_LEAST_NAME, width - sum(widths) - 2 * len(widths))
        names = [cut(visible(each.id), room) for each in claims]
        room = max(len("claim"), *map(width_of, names))
        lines.append(_row(head, "claim", widths, room))
        for claim, row, name in zip(claims, rows, names, strict=True):
            lines.append(_row(row, name, widths, room))
            changed = [f"{claim.old} -> {claim.new}"] if claim.old != claim.new else []
            said = [*changed, *remarks(claim)]
            lines += [f"{'':{widths[0]}}  {visible(remark)}" for remark in said]
    return "\n".join([*lines, *(visible(line) for line in closing(comparison))])


def _row(row: tuple[str, ...], name: str, widths: list[int], room: int) -> str:
    state, *texts = row
    middle = "  ".join(f"{text:>{width}}" for text, width in zip(texts, widths[1:], strict=True))
    padded = name + " " * (room - width_of(name))
    return f"{state:<{widths[0]}}  {padded}  {middle}".rstrip()


def drift_text(drift: Drift) -> str:
    """Say one drift in a line.

    Examples
    --------
    >>> drift_text(Drift("worse", 0.5, 0.25, -0.25, (-0.3, -0.2), 0.05))
    'changed by -0.250 [-0.300, -0.200] since the baseline; 0.05 matters'
    """
    if drift.change is None or drift.interval is None:
        return ""
    change, interval = numbers.estimate_and_interval(
        drift.change, Interval(*drift.interval, level=0.95)
    )
    return (
        f"changed by {change} {interval} since the baseline; {numbers.plain(drift.margin)} matters"
    )
