"""Confirming an alarm: what got worse on one set of pairs is looked at again on fresh ones.

Both looks at the same pairs would add nothing: models are deterministic, so a second run gives the
same values, and halves of one set are worth no more than a smaller error rate on the whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import msgspec

from causaltest.baseline.comparing import Comparison, Margin, compare
from causaltest.baseline.comparison import Compared, Confirmation
from causaltest.baseline.kept import Baseline, KeptClaim, KeptPairSet, KeptPart
from causaltest.errors import RecordError

Runs = tuple[Baseline, Baseline]


def confirm(
    found: Comparison, first: Runs, fresh: Runs, *, margin: Margin | None = None
) -> Comparison:
    """Look at the alarms of a comparison again, on pairs that it has not seen.

    An alarm stands where the same comparison of the same claim got worse on the fresh pairs too,
    each tested at alpha over the number of alarms. The chance of a false alarm is thus the square
    of what it was, or less: .0006 for one of .025.

    Parameters
    ----------
    found
        What `compare` said of the first two runs.
    first
        Those two runs, old and new.
    fresh
        The same two models on other pairs, old and new.
    margin
        The change that matters, as for `compare`.

    Returns
    -------
    Comparison
        With a `Confirmation` at each claim that was worse. One that cannot be confirmed, since the
        fresh runs lack the claim or share its units, stays worse and says why.

    Raises
    ------
    RecordError
        The fresh runs are of other models.

    Examples
    --------
    >>> run = Baseline(1, 0.05, False, (), (), ())
    >>> nothing = Comparison((), (), (), (), (), alpha=0.05, tests=0)
    >>> confirm(nothing, (run, run), (run, run)) is nothing
    True
    """
    alarms = {each.id for each in found.claims if each.alarm}
    if not alarms:
        return found
    for side, run, other in zip(("old", "new"), first, fresh, strict=True):
        _check_models(side, run, other)
    new = msgspec.structs.replace(
        fresh[1], claims=tuple(each for each in fresh[1].claims if each.id in alarms)
    )
    try:
        again = compare(fresh[0], new, margin=margin, alpha=found.alpha).claims
    except RecordError:  # they have none of the claims, which each of them says below
        again = ()
    second = {each.id: each for each in again}
    seen = {each.id: _seen_before(each, first[1], fresh[1]) for each in first[1].claims}
    return replace(
        found,
        claims=tuple(
            replace(each, confirmation=_outcome(each, second.get(each.id), seen[each.id]))
            if each.alarm
            else each
            for each in found.claims
        ),
    )


def _outcome(first: Compared, again: Compared | None, seen: str) -> Confirmation:
    if again is None:
        return Confirmation("open", "the fresh runs do not have this claim")
    if seen:
        return Confirmation("open", seen)
    untested = {each.reason for each in again.drifts if each.name == "untested"}
    if untested and not again.alarm:
        return Confirmation("open", "; ".join(sorted(untested)), again)
    places = [i for i, each in enumerate(first.drifts) if each.name == "worse"]
    stands = any(i < len(again.drifts) and again.drifts[i].name == "worse" for i in places)
    # A lost verdict may show as one lost again, or as the fall that lost it.
    stands = stands or (first.lost and again.alarm)
    return Confirmation("confirmed" if stands else "not confirmed", again=again)


def _seen_before(claim: KeptClaim, first: Baseline, fresh: Baseline) -> str:
    """Say what the fresh pairs of a claim share with the first ones; empty where nothing."""
    other = next((each for each in fresh.claims if each.id == claim.id), None)
    sets = [{each.sha256: each for each in run.pair_sets} for run in (first, fresh)]
    for then, now in zip(claim.parts, () if other is None else other.parts, strict=False):
        if then.subject != now.subject:
            return f"it measured {then.subject}, and the fresh runs {now.subject}"
        for what, names in ((now.unit, _units), ("pair", _pairs)):
            shared = len(set(names(then, sets[0])) & set(names(now, sets[1])))
            if shared:
                were = f"{what} was" if shared == 1 else f"{what}s were"
                return f"{shared} of the fresh {were} in the first comparison too"
    return ""


def _pairs(part: KeptPart, sets: Mapping[str, KeptPairSet]) -> tuple[str, ...]:
    """Return the content of a comparison's pairs, hashed."""
    known = sets.get(part.pair_set_sha256)
    return () if known is None else known.digests


def _units(part: KeptPart, sets: Mapping[str, KeptPairSet]) -> tuple[str, ...]:
    """Return the units of a comparison; pairs that are their own are told by their content."""
    if part.unit == "pair":
        return ()
    known = sets.get(part.pair_set_sha256)
    return part.units if known is None else known.units


def _check_models(side: str, run: Baseline, other: Baseline) -> None:
    then, now = ({each.name: each.sha256 for each in one.models} for one in (run, other))
    for name, sha256 in then.items():
        other_hash = now.get(name)
        if other_hash != sha256:
            there = "not there" if other_hash is None else other_hash[:8]
            raise RecordError(
                f"the fresh {side} run is of other weights: {name} is {sha256[:8]} in the first "
                f"comparison and {there} in the fresh one\n"
                "Run the same two models on fresh pairs."
            )
