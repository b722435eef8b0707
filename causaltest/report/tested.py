"""How one part of a claim was tested, sentence by sentence."""

from __future__ import annotations

from causaltest.records import Claim, PairSetRecord, Part, Run
from causaltest.report.numbers import plain, plural
from causaltest.report.text import visible


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
    if claim.edits:
        sentences.append(_controls(claim))
    if part.floor:
        sentences.append(f"Numeric floor: effects up to {part.floor:.2g} count as zero.")
    return sentences


def _controls(claim: Claim) -> str:
    """Say what the claim was compared with, or that it was compared with nothing."""
    strips = claim.shown.controls if claim.shown is not None else ()
    if not strips:
        return "No matched controls were run."
    told = " and ".join(f"{len(each.controls):,} {visible(each.kind)}" for each in strips)
    return f"Compared with {told}."
