"""The methods of a run, as a paragraph that a paper could carry."""

from __future__ import annotations

from causaltest.records import Results, count
from causaltest.report.numbers import plain
from causaltest.report.text import visible


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
