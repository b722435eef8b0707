"""Markdown for pull requests and step summaries; text from outside stays text."""

from __future__ import annotations

import re

from causaltest.baseline import Compared, Comparison
from causaltest.records import Claim, Results, count, ordered
from causaltest.report import comparison as words_of
from causaltest.report import numbers
from causaltest.report.standing import MARKS
from causaltest.report.summary import count_phrases
from causaltest.report.text import cut, visible

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|~$])")
_LONGEST = 300
"""Characters of a name or a sentence that a table shows."""
SUMMARY_BYTES = 900 * 1024
"""GitHub drops a step summary of more than 1024 KiB whole."""


def escaped(text: str) -> str:
    r"""Write text from outside so that Markdown and GitHub read nothing into it.

    Examples
    --------
    >>> escaped("a|b <img> *c*")
    'a\\|b &lt;img&gt; \\*c\\*'
    """
    plain = cut(visible(text), _LONGEST)
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # An empty comment keeps GitHub from notifying somebody of that name.
    return _SPECIAL.sub(r"\\\1", plain).replace("@", "@<!-- -->")


def code(text: str) -> str:
    r"""Write text from outside as code in a table.

    Examples
    --------
    >>> code("test_a[x|y]")
    '`test_a[x\\|y]`'
    """
    plain = cut(visible(text), _LONGEST).replace("|", "\\|")
    runs = [len(each) for each in re.findall("`+", plain)]
    fence = "`" * (max(runs, default=0) + 1)
    space = " " if plain.startswith("`") or plain.endswith("`") else ""
    return f"{fence}{space}{plain}{space}{fence}"


def compared(comparison: Comparison) -> str:
    """Write a comparison for a pull request: what changed in a table, the rest folded away.

    Parameters
    ----------
    comparison
        The two runs.

    Returns
    -------
    str
        Markdown that ends in a line end.

    Examples
    --------
    >>> print(compared(Comparison((), (), (), (), (), alpha=0.05, tests=0)), end="")
    ### Causal claims: nothing got worse
    <BLANKLINE>
    - 0 claims compared: none was reached
    """
    worse = len(comparison.worse)
    title = f"{numbers.plural(worse, 'claim')} got worse" if worse else "nothing got worse"
    lines = [f"### Causal claims: {title}", ""]
    claims = words_of.shown(comparison)
    if claims:
        lines += [*_head(), *map(_row, claims), ""]
    lines += [f"- {escaped(line)}" for line in words_of.closing(comparison)]
    same = [each for each in comparison.claims if each not in claims]
    if same:
        label = f"{numbers.plural(len(same), 'claim')} not worse"
        lines += ["", f"<details><summary>{label}</summary>", "", *_head(), *map(_row, same)]
        lines += ["", "</details>"]
    return _capped(lines)


def _head() -> list[str]:
    return ["| | claim | before | now | change | verdict |", "|---|---|--:|--:|--:|---|"]


def _row(claim: Compared) -> str:
    told = "".join(f"<br>{escaped(remark)}" for remark in words_of.remarks(claim))
    state = words_of.WORDS[claim.state]
    marked = f"**{state}**" if claim.worse else state
    return f"| {marked} | {code(claim.id)}{told} | {' | '.join(words_of.cells(claim))} |"


def step_summary(results: Results, comparison: Comparison | None = None) -> str:
    """Write the claims of a run for GitHub's step summary, those that need a look first.

    Parameters
    ----------
    results
        The run's results.
    comparison
        With its baseline, where there was one.

    Returns
    -------
    str
        Markdown of at most 900 KiB.

    Examples
    --------
    >>> from causaltest.records import Run
    >>> run = Run(alpha=0.05, correction="none", seed=0)
    >>> print(step_summary(Results(1, "complete", run)).splitlines()[0])
    ## Causal claims
    """
    told = ", ".join(count_phrases(count(results.claims)))
    lines = ["## Causal claims", "", f"{numbers.plural(len(results.claims), 'claim')}: {told}", ""]
    first = [each for each in ordered(results.claims) if not _as_expected(each)]
    rest = [each for each in ordered(results.claims) if _as_expected(each)]
    head = ["| | claim | estimate | interval | bound | pairs |", "|---|---|--:|--:|--:|--:|"]
    if first:
        lines += [*head, *map(_claim_row, first), ""]
    if comparison is not None:
        lines += compared(comparison).splitlines()
        lines.append("")
    if rest:
        label = f"{numbers.plural(len(rest), 'claim')} as expected"
        lines += [f"<details><summary>{label}</summary>", "", *head, *map(_claim_row, rest)]
        lines += ["", "</details>"]
    lines += [f"- {escaped(note)}" for note in results.run.notes]
    return _capped(lines)


def _as_expected(claim: Claim) -> bool:
    return claim.verdict in {claim.expected, "exploratory"}


def _claim_row(claim: Claim) -> str:
    mark = f"{MARKS[claim.verdict]} {claim.verdict}"
    name = f"{escaped(claim.claim)}<br>{code(claim.id)}"
    if claim.estimate is None or claim.interval is None or claim.bound is None:
        reason = escaped(claim.error.split("\n", 1)[0])
        return f"| {mark} | {name} | {reason} | | | |"
    estimate, interval = numbers.estimate_and_interval(claim.estimate, claim.interval)
    bound = numbers.bound_text(claim.relation, claim.bound)
    return f"| {mark} | {name} | {estimate} | {interval} | {escaped(bound)} | {claim.n_pairs} |"


def _capped(lines: list[str], limit: int = SUMMARY_BYTES) -> str:
    """Join lines up to a size, and say what is left out."""
    room = limit - 200
    kept: list[str] = []
    for line in lines:
        room -= len(line.encode("utf-8", "replace")) + 1
        if room < 0:
            opened = sum(each.startswith("<details>") for each in kept)
            folded = opened > kept.count("</details>")
            left = f"... and {len(lines) - len(kept):,} more lines; all of it is in results.json"
            kept += ["", *(["</details>", ""] if folded else []), left]
            break
        kept.append(line)
    return "\n".join(kept) + "\n"
