"""What the numbers say, in sentences: the summary, how a claim was tested, what would change it."""

from __future__ import annotations

from statistics import NormalDist

from causaltest.records import Claim, PairSetRecord, Part, Results, Run, VerdictName, count
from causaltest.report.numbers import interval_text, p_text, percent, plain, plural
from causaltest.report.text import visible
from causaltest.stats.judge import units_advised

MARKS: dict[VerdictName, str] = {
    "supported": "✓",
    "refuted": "✗",
    "inconclusive": "?",
    "exploratory": "~",
    "error": "!",
    "not run": "–",
}
"""The sign that stands beside the word of each verdict, never instead of it."""

# Metrics that are all shares of a total may stand on one axis.
_SCALES = {
    "recovery": "fraction",
    "accuracy": "fraction",
    "faithfulness": "fraction",
    "necessity": "fraction",
    "incompleteness": "fraction",
    "minimality": "fraction",
    "logit_diff": "logits",
}


def deciding_part(claim: Claim) -> Part | None:
    """Find the part whose numbers stand for the claim.

    Parameters
    ----------
    claim
        The claim.

    Returns
    -------
    Part or None
        The deciding part; the last part where none is named; None without parts.
    """
    if not claim.parts:
        return None
    return claim.parts[-1 if claim.deciding is None else claim.deciding]


def scale_of(part: Part) -> str:
    """Say what a part is counted in; things counted differently never share an axis.

    Parameters
    ----------
    part
        The part.

    Returns
    -------
    str
        The part's `scale`, or the one its metric's name implies.
    """
    if part.scale:
        return part.scale
    metric = part.subject.lstrip("(|-").partition(" of ")[0].strip()
    return _SCALES.get(metric, metric) or "effect"


def models_text(results: Results) -> str:
    """Name the models of a run.

    Parameters
    ----------
    results
        The run's results.

    Returns
    -------
    str
        The model, or how many there are.
    """
    names = [model.name for model in results.run.models]
    names = names or sorted({claim.model for claim in results.claims if claim.model})
    if len(names) > 3:
        return f"{len(names)} models"
    if not names:
        return "the model"
    return visible(" and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names))


def summary(results: Results) -> str:
    """Say in one sentence what the run found.

    Parameters
    ----------
    results
        The run's results.

    Returns
    -------
    str
        e.g. `9 of 12 claims hold on gpt2 at α = 0.05`.
    """
    counts = count(results.claims)
    total = len(results.claims) - counts["not run"] - counts["exploratory"]
    if not total and counts["exploratory"]:
        looked = plural(counts["exploratory"], "exploratory claim")
        return f"{looked} on {models_text(results)}, and none that decides"
    if not total:
        return f"No claim was tested on {models_text(results)}"
    held = counts["supported"]
    verb = "hold" if total > 1 else "holds"
    numbers = f"{held:,} of {plural(total, 'claim')}"
    return f"{numbers} {verb} on {models_text(results)} at α = {plain(results.run.alpha)}"


def count_phrases(counts: dict[VerdictName, int]) -> list[str]:
    """Say how many claims have each verdict, leaving out errors and unrun ones where none are.

    Parameters
    ----------
    counts
        Claims by verdict, from `records.count`.

    Returns
    -------
    list of str
        e.g. `["9 supported", "2 refuted", "1 inconclusive"]`.

    Examples
    --------
    >>> count_phrases(count(()))
    ['0 supported', '0 refuted', '0 inconclusive']
    """
    return [
        f"{number:,} {'errors' if verdict == 'error' and number > 1 else verdict}"
        for verdict, number in counts.items()
        if number or verdict in ("supported", "refuted", "inconclusive")
    ]


def outcome(results: Results) -> str:
    """Say whether the run passes, by the same outcomes that set pytest's exit status.

    Parameters
    ----------
    results
        The run's results.

    Returns
    -------
    str
        One sentence.
    """
    wrong = [claim for claim in results.claims if claim.outcome in ("failed", "error")]
    meant = [c for c in results.claims if c.outcome == "passed" and c.expected != "supported"]
    aside = f" ({len(meant)} of them by not being supported, as announced)" if meant else ""
    if not results.claims:
        return "Nothing was decided."
    if not wrong:
        return f"Every claim came out as its test expects{aside}: the run passes."
    verb = "does" if len(wrong) == 1 else "do"
    return f"{plural(len(wrong), 'claim')} {verb} not come out as expected: the run fails."


def expectation(claim: Claim) -> str:
    """Say how the verdict compares with the one the test announces, where that is not supported.

    Parameters
    ----------
    claim
        The claim.

    Returns
    -------
    str
        e.g. `refuted, as expected`; empty for claims that expect to be supported.
    """
    if claim.expected == "supported":
        return ""
    if claim.expected == claim.verdict:
        return f"{claim.verdict}, as expected"
    return f"expected {claim.expected}"


def standing(claim: Claim) -> str:
    """Say what a reader must know beside a claim's verdict.

    Parameters
    ----------
    claim
        The claim.

    Returns
    -------
    str
        What was expected, whether it was registered after the fact or changed, or an exploratory
        claim's q-value; empty for most claims.
    """
    if claim.verdict != "exploratory":
        frozen = claim.registration if claim.registration in ("post-hoc", "changed") else ""
        return "; ".join(text for text in (expectation(claim), frozen) if text)
    if claim.q_value is None:
        return "exploratory"
    return f"exploratory, q = {p_text(claim.q_value)}".replace("= <", "<")


def unadjusted_only(results: Results) -> tuple[Claim, ...]:
    """Find supported claims that would not survive Holm, where the run did not correct.

    Parameters
    ----------
    results
        The run's results.

    Returns
    -------
    tuple of Claim
        Empty where the run corrected for the family.
    """
    if results.run.correction != "none":
        return ()
    return tuple(
        claim
        for claim in results.claims
        if claim.verdict == "supported"
        and claim.p_adjusted is not None
        and claim.p_adjusted > results.run.alpha / 2
    )


def few_for_level(results: Results) -> str:
    """Say how many claims rest on fewer units than their level asks for; empty where none does.

    Parameters
    ----------
    results
        The run's results.
    """
    parts = [part for claim in results.claims if (part := deciding_part(claim)) is not None]
    few = [
        part
        for part in parts
        if part.method.startswith("hull") and part.n_units < units_advised(part.alpha)
    ]
    if not few:
        return ""
    worst = max(few, key=lambda part: units_advised(part.alpha) - part.n_units)
    return (
        f"{plural(len(few), 'claim')} {'rests' if len(few) == 1 else 'rest'} on few units for "
        f"{'its' if len(few) == 1 else 'their'} level ({plural(worst.n_units, worst.unit)} at "
        f"{worst.alpha:.2g}; {units_advised(worst.alpha)} are advised): on skewed effects that "
        "level may not hold"
    )


def counted(part: Part) -> str:
    """Name what a part's values are: pairs, or units where their means alone are kept.

    Parameters
    ----------
    part
        The part.

    Returns
    -------
    str
        A noun in the singular.
    """
    means = len(part.values) == part.n_units < part.n_pairs
    return (visible(part.unit) or "unit") if means else "pair"


def measured(part: Part) -> str:
    """Say in one sentence what was measured, on how many pairs.

    Parameters
    ----------
    part
        The part.

    Returns
    -------
    str
        The first sentence of `how_tested`.
    """
    place = f" of {visible(part.pair_set)}" if part.pair_set else ""
    pairs = plural(part.n_pairs, "counterfactual pair")
    if part.n_available:
        pairs = f"{part.n_pairs:,} of {plural(part.n_available, 'counterfactual pair')}"
    return f"Measured: {visible(part.subject)}, on {pairs}{place}."


def how_tested(part: Part, claim: Claim, run: Run, pair_set: PairSetRecord | None) -> list[str]:
    """Tell how one part was tested, sentence by sentence.

    Parameters
    ----------
    part
        The part.
    claim
        The claim it belongs to.
    run
        The run's settings.
    pair_set
        The pairs it was measured on, where they are recorded.

    Returns
    -------
    list of str
        Sentences in plain words.
    """
    sentences = [measured(part)]
    if part.unit == "pair" or part.n_units == part.n_pairs:
        sentences.append("Each pair counts as its own unit.")
    else:
        units = plural(part.n_units, visible(part.unit) or "unit")
        sentences.append(
            f"The pairs fall into {units}; they are averaged within each, and the average "
            f"{visible(part.unit) or 'unit'} is what the claim is about."
        )
    if pair_set is not None and pair_set.cluster is None:
        sentences.append("The pair set declares no clusters (cluster=None).")
    shared = ""
    if part.verdict == "exploratory":
        shared = " (nothing is shared: it spends no error rate)"
    elif run.correction != "none" and claim.requires:
        gates = plural(len(claim.requires), "gate")
        shared = f" (passed on by its {gates}, of {plain(run.alpha)} for {visible(claim.family)})"
    elif run.correction != "none" and claim.family_size > 1:
        hypotheses = plural(claim.family_size, "hypothesis")
        shared = f" ({plain(run.alpha)} shared by the {hypotheses} of {visible(claim.family)})"
    sentences.append(f"Interval: {visible(part.method)}.")
    if part.n_available:
        sentences.append(
            "The pairs came in a random order and were looked at as they came; the interval holds "
            "at whatever time one stops."
        )
    verb = "Shown" if part.verdict == "exploratory" else "Decided"
    sentences.append(f"{verb} at α = {part.alpha:.3g}{shared}, two-sided.")
    if part.floor:
        sentences.append(f"Numeric floor: effects up to {part.floor:.2g} count as zero.")
    return sentences


def why(part: Part) -> str:
    """Say what the verdict of a part rests on.

    Parameters
    ----------
    part
        The part.

    Returns
    -------
    str
        One sentence.
    """
    interval = part.adjusted_interval
    shown = f"{interval_text(interval)} ({percent(interval.level)})"
    p = f"p = {p_text(part.p_support)} for, p = {p_text(part.p_refute)} against"
    p = p.replace("= <", "<")
    low, high = _claim_region(part)
    if part.verdict == "supported" and low <= interval.low and interval.high <= high:
        return f"The interval at the deciding level, {shown}, lies inside the claim; {p}."
    if part.verdict == "refuted" and (interval.high <= low or interval.low >= high):
        return f"The interval at the deciding level, {shown}, lies outside the claim; {p}."
    if part.verdict == "inconclusive":
        outside = part.p_refute <= part.alpha / 2.0
        where = (
            "lies outside the claim, but not at the level left for refuting this comparison"
            if outside
            else "reaches across the bound"
        )
        return f"The interval at the deciding level, {shown}, {where}; {p}."
    return f"The interval at the deciding level is {shown}; {p}, one-sided."


def what_would_change(part: Part) -> str:
    """Say which bounds these data would support, and how many pairs would settle the claim.

    Parameters
    ----------
    part
        The part.

    Returns
    -------
    str
        One or two sentences.
    """
    if part.verdict == "exploratory":
        return "It is exploratory: it suggests what to test on fresh data and decides nothing."
    low, high = part.adjusted_interval.low, part.adjusted_interval.high
    if part.relation == "within":
        inner = 0.0 if low <= 0 <= high else min(abs(low), abs(high))
        outer = max(abs(low), abs(high))
        text = f"The same data support any margin above {outer:.3g}"
        text += f" and refute any below {inner:.3g}." if inner else " and refute none."
    else:
        supported, refuted = (low, high) if part.relation == ">" else (high, low)
        below, above = ("below", "above") if part.relation == ">" else ("above", "below")
        text = (
            f"The same data support any bound {below} {supported:.3g} "
            f"and refute any {above} {refuted:.3g}."
        )
    if part.verdict == "inconclusive":
        settled = settled_by(part)
        text += f" {settled[0].upper()}{settled[1:]}. {detectable(part)}".rstrip()
    return text


def detectable(part: Part) -> str:
    """Say which effect these pairs would have shown, whatever they did show.

    Parameters
    ----------
    part
        An inconclusive part.

    Returns
    -------
    str
        One sentence: the smallest effect that is supported with 80 % power at this spread, or the
        smallest margin within which an effect of 0 is. Empty where the interval has no width.

    Examples
    --------
    >>> from causaltest.records import Interval, Part
    >>> wide, half = Interval(0.304, 0.696, 0.95), Interval(0.402, 0.598, 0.6827)
    >>> part = Part(
    ...     "effect > 0.4",
    ...     "effect",
    ...     "inconclusive",
    ...     ">",
    ...     0.4,
    ...     0.5,
    ...     half,
    ...     wide,
    ...     p_support=0.16,
    ...     p_refute=0.84,
    ...     alpha=0.05,
    ...     n_pairs=24,
    ...     n_units=12,
    ...     unit="template",
    ...     method="hull",
    ...     floor=0.0,
    ... )
    >>> detectable(part)
    'An effect of 0.68 or more would be supported by as many pairs with 80 % power.'
    """
    interval, normal = part.adjusted_interval, NormalDist()
    z = normal.inv_cdf((1 + interval.level) / 2)
    below, above = part.estimate - interval.low, interval.high - part.estimate
    if below <= 0 or above <= 0:
        return ""
    if part.relation == "within":
        # Both bounds have to be cleared, each with 90 %.
        reach = max(below, above) * (1 + normal.inv_cdf(0.9) / z)
        return f"An effect of 0 would be shown to lie within ±{reach:.2g} with 80 % power."
    reach = (below if part.relation == ">" else above) * (1 + normal.inv_cdf(0.8) / z)
    effect = part.bound + (reach if part.relation == ">" else -reach)
    which = "more" if part.relation == ">" else "less"
    return (
        f"An effect of {effect:.2g} or {which} would be supported by as many pairs with 80 % power."
    )


def settled_by(part: Part | None) -> str:
    """Say what would settle an inconclusive part.

    Parameters
    ----------
    part
        The part, or None where nothing was measured.

    Returns
    -------
    str
        A phrase without a full stop.
    """
    if part is None or part.pairs_needed is None:
        unit = part.unit if part is not None and part.unit not in ("", "pair") else "pair"
        return f"more {visible(unit)}s or a bound farther from the estimate would settle it"
    pairs = plural(part.pairs_needed, "pair")
    return f"about {pairs} would settle it (80 % power at this spread)"


def methods(results: Results) -> list[str]:
    """Describe the methods of the run as a paragraph a paper could carry.

    Parameters
    ----------
    results
        The run's results.

    Returns
    -------
    list of str
        Sentences.
    """
    run = results.run
    used = sorted({part.method for claim in results.claims for part in claim.parts if part.method})
    sentences = [
        "Each claim compares a mean effect with a bound that its author wrote before the run.",
        (
            "It is supported where the interval at the deciding level lies inside the claim, "
            "refuted where it lies outside, and inconclusive where it does neither."
        ),
        (
            "Pairs of one cluster are averaged first; the clusters are the units of the test, "
            "and a claim generalises to new ones of their kind."
        ),
    ]
    if run.correction == "none":
        sentences.append(
            f"Claims are decided at α = {plain(run.alpha)} each, without correction for their "
            "number; Holm-adjusted p-values stand beside them."
        )
    else:
        sentences.append(
            f"The family of a claim is its test file: every hypothesis collected there shares "
            f"α = {plain(run.alpha)} ({visible(run.correction)}), whichever of them were selected "
            "to run. The intervals in the table are unadjusted; the thin lines in the figure and "
            "the verdicts are adjusted; p is Holm-adjusted and one-sided, and holds at α / 2."
        )
    counts = count(results.claims)
    if counts["exploratory"]:
        sentences.append(
            "Exploratory claims take no share of α and are never supported; q is their "
            "Benjamini-Hochberg value among the exploratory claims of the file."
        )
    if any(claim.requires for claim in results.claims):
        sentences.append(
            "A claim with gates is tested only where its gates are supported, which then pass "
            "their level on to it (serial gatekeeping); its p is adjusted along its gates where it "
            "is supported, and by Holm where it is refuted."
        )
    if any(part.n_available for claim in results.claims for part in claim.parts):
        sentences.append(
            "The run was sequential: pairs came in a random order, a claim stopped where it was "
            "settled, and its interval is a confidence sequence, which keeps its level at "
            "whatever time one stops."
        )
    if any(claim.registration for claim in results.claims):
        words = ("registered", "changed", "post-hoc")
        found = [claim.registration for claim in results.claims]
        counted = ", ".join(f"{found.count(word)} {word}" for word in words if word in found)
        sentences.append(
            f"Against the hypotheses frozen before the run (hypotheses.lock): {counted}."
        )
    if used:
        shown = "; ".join(visible(method) for method in used[:6])
        more = f"; and {len(used) - 6} more" if len(used) > 6 else ""
        sentences.append(f"Intervals: {shown}{more}.")
    sentences.append(f"Seed {run.seed}: the same seed gives the same numbers.")
    return sentences


def _claim_region(part: Part) -> tuple[float, float]:
    """Give the interval of effects for which the claim is true."""
    if part.relation == "within":
        return -part.bound, part.bound
    return (part.bound, float("inf")) if part.relation == ">" else (float("-inf"), part.bound)
