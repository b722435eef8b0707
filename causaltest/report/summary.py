"""What a run found, in sentences: how many claims hold, whether it passes."""

from __future__ import annotations

from causaltest.records import Claim, Results, VerdictName, count
from causaltest.report.numbers import plain, plural
from causaltest.report.parts import deciding_part
from causaltest.report.text import visible
from causaltest.stats.judge import units_advised


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
