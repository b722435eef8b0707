"""Health checks: what a claim rests on, looked at before it is believed.

Each has a name and can be suppressed by it where what it sees is meant. What makes every verdict
impossible (nothing changed at all, fewer than five units, a total effect of zero) is no matter of
health but an error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from causaltest.pairs import Pair, Pairs, Prompt
from causaltest.sites import Pos
from causaltest.stats import Verdict

CHECKS = {
    "weak_baseline": "the model gives the base answer on fewer than half of the base prompts",
    "misaligned_positions": "a token index stands for different words in base and source",
    "flat_pairs": "a fifth of the pairs have next to no total effect, or one of the other sign",
    "too_few_pairs": "a claim rests on fewer pairs than `min_pairs`",
    "inert_intervention": "an edit changed nothing in more than half of the runs",
    "leaky_split": "a site was looked at on the pairs that its claim is judged on",
    "saturated_metric": "probabilities are at 0 or 1 before and after the edit",
    "few_units_for_level": "units are few and skewed for the level at which the claim is decided",
}
"""Every check by name, and what it sees."""

MIN_PAIRS = 12
"""Pairs below which `too_few_pairs` fires, unless a marker says otherwise."""

_RIGHT = 0.5
_STUCK = 0.8
_FLAT = 0.1
_FLAT_SHARE = 0.2
_END = 0.01


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Parameters
    ----------
    check
        A name in `CHECKS`.
    said
        What was seen, with numbers.
    advice
        What to do about it.
    """

    check: str
    said: str
    advice: str

    def __str__(self) -> str:
        return f"{self.check}: {self.said}"


def weak_baseline(model: str, right: Sequence[float], pairs: str) -> Finding | None:
    """Look whether the model does the task at all; `right` is 1 where it gives the base answer.

    Examples
    --------
    >>> weak_baseline("gpt2", [1.0, 1.0, 1.0, 1.0], "pronouns")
    >>> print(weak_baseline("gpt2", [1.0, 0.0, 0.0, 0.0], "pronouns"))
    weak_baseline: gpt2 gives the base answer on 1 of 4 base prompts of pronouns; a claim about how
    it does a task it mostly fails at is weak
    """
    if math.fsum(right) >= _RIGHT * len(right):
        return None
    return Finding(
        "weak_baseline",
        f"{model} gives the base answer on {int(math.fsum(right))} of {len(right)} base prompts of "
        f"{pairs}; a claim about how it does a task it mostly fails at is weak",
        "leave out the pairs that it gets wrong, or take a model that does the task",
    )


def misaligned_positions(pos: Pos | None, base: Sequence[int], source: Sequence[int]) -> int | None:
    """Return a token index that stands behind a difference in length of two prompts.

    Counted from the start an index means the same word as long as no word before it differs in
    length; counted from the end, as long as none after it does.

    Parameters
    ----------
    pos
        Position of a site.
    base, source
        Token ids of the prompts.

    Examples
    --------
    >>> misaligned_positions(2, [5, 6, 7], [5, 8, 9, 7])
    2
    >>> misaligned_positions(-1, [5, 6, 7], [5, 8, 9, 7]) is None
    True
    """
    if len(base) == len(source) or pos is None or isinstance(pos, str):
        return None
    front = _shared(base, source)
    back = _shared(base[::-1], source[::-1])
    for index in (pos,) if isinstance(pos, int) else pos:
        if index > front or index < -back - 1:
            return index
    return None


def misaligned(pos: int, site: str, pair: str, lengths: tuple[int, int]) -> Finding:
    """Report an index that `misaligned_positions` found."""
    return Finding(
        "misaligned_positions",
        f"{site} is at token {pos} in base and source of pair {pair}, which have {lengths[0]} and "
        f"{lengths[1]} tokens and differ in length on the way there, so it is not the same word",
        "name the position on the pairs: positions={'name': {'base': ..., 'source': ...}}",
    )


def flat_pairs(totals: Sequence[float], metric: str, pairs: str) -> Finding | None:
    """Look whether there is an effect to recover: `totals` are source minus base for each pair."""
    mean = math.fsum(totals) / len(totals)
    flat = sum(total * math.copysign(1.0, mean) < _FLAT * abs(mean) for total in totals)
    if flat < _FLAT_SHARE * len(totals):
        return None
    return Finding(
        "flat_pairs",
        f"in {flat} of {len(totals)} pairs of {pairs} base and source hardly differ in what "
        f"{metric} is a share of, or differ the other way; the mean total effect is {mean:.3g}",
        "leave out pairs in which the model does not tell base from source, or claim a change in "
        "logit_diff, which divides by nothing",
    )


def too_few_pairs(n_pairs: int, n_units: int, unit: str, least: int) -> Finding | None:
    """Look whether a claim rests on as many pairs as it should."""
    if n_pairs >= least:
        return None
    of = "" if unit == "pair" else f" of {n_units} {unit}{'' if n_units == 1 else 's'}"
    return Finding(
        "too_few_pairs",
        f"the claim rests on {n_pairs} pair{'' if n_pairs == 1 else 's'}{of}; at least {least} are "
        "asked for",
        f"add pairs, or say that so few will do: @pytest.mark.causal(min_pairs={n_pairs})",
    )


def few_units_for_level(verdict: Verdict) -> Finding | None:
    """Look whether a verdict at the small level of a large family would survive skewed units.

    Few units tell little of a long tail. Where the test, corrected for the skewness that they
    show, no longer reaches the level, the verdict may come up more often than the level says.
    """
    doubt = verdict.doubt
    if doubt is None:
        return None
    return Finding(
        "few_units_for_level",
        f"{verdict.n_units} {verdict.unit}s as skewed as these do not carry a verdict at level "
        f"{verdict.alpha_claim:.2g}: corrected for a skewness of {doubt.skewness:.2g}, p is "
        f"{doubt.p:.2g}, and {doubt.level:.2g} is asked for",
        f"add pairs from new {verdict.unit}s, put fewer hypotheses into the file, or give this "
        "one more weight",
    )


def inert_intervention(edit: str, site: str, changed: int, rows: int) -> Finding | None:
    """Look in how many runs an edit changed anything."""
    if 2 * changed >= rows:
        return None
    return Finding(
        "inert_intervention",
        f"{edit} changed nothing at {site} in {rows - changed} of {rows} runs, whose effects are 0 "
        "whatever the model does there",
        "leave out pairs in which base and source agree up to that place, or edit a later one",
    )


def leaky_split(
    edit: str, pairs: Pairs, looked: Sequence[Pairs], ids: Callable[[Prompt], tuple[int, ...]]
) -> Finding | None:
    """Look whether an edit is judged on pairs on which places were looked at for the same test.

    A pair is the same where base and source are exchanged, and where it is written otherwise in the
    same tokens.
    """

    def content(pair: Pair) -> frozenset[tuple[int, ...]]:
        sides = [pair.base] if pair.source is None else [pair.base, pair.source]
        return frozenset(map(ids, sides))

    contents = set(map(content, pairs)) if looked else set()
    for seen in looked:
        shared = sum(content(pair) in contents for pair in seen)
        if shared:
            return Finding(
                "leaky_split",
                f"{seen.name} was mapped before {edit} was measured on {pairs.name}, and they "
                f"have {shared} pairs in common; a place chosen by its effect looks stronger on "
                "the pairs that chose it",
                "split the pairs (pairs.split(by=..., test=...)), look at one part and claim on "
                "the other; or claim on the grid itself, which corrects for the choice",
            )
    return None


def saturated_metric(
    before: Sequence[float], after: Sequence[float], metric: str, pairs: str
) -> Finding | None:
    """Look whether a probability could move at all."""
    for end in (0.0, 1.0):
        stuck = sum(
            abs(one - end) <= _END and abs(other - end) <= _END
            for one, other in zip(before, after, strict=True)
        )
        if stuck >= _STUCK * len(before):
            return Finding(
                "saturated_metric",
                f"{metric} is within {_END:g} of {end:g} before and after the edit in {stuck} of "
                f"{len(before)} pairs of {pairs}, where it can hardly move",
                "claim a change in logit_diff or log_probability, which have no such end",
            )
    return None


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """Count the tokens with which both begin."""
    for count, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return count
    return min(len(one), len(other))
