"""Whether a claim that was run again came out as it is on record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from causaltest.baseline.kept import Baseline, KeptClaim, KeptPart

How = Literal["bit for bit", "within the floor", "not reproduced", "changed", "not run"]


@dataclass(frozen=True)
class Reproduced:
    """How a claim came out when it was run again.

    Parameters
    ----------
    id
        The claim.
    how
        `bit for bit`: every recorded digit is the same; `within the floor`: the verdicts are, and
        no value differs by more than the numeric floor and the last recorded digit; `not
        reproduced`; `changed`: test, model or pairs are not those on record, and the numbers
        differ; `not run`.
    reasons
        What differs, in words.
    """

    id: str
    how: How
    reasons: tuple[str, ...] = ()


def reproduced(old: Baseline, new: Baseline, names: tuple[str, ...]) -> tuple[Reproduced, ...]:
    """Compare claims on record with the same claims run again.

    Parameters
    ----------
    old, new
        What was kept of the two runs.
    names
        Ids of the claims that were to be run again.
    """
    before = {each.id: each for each in old.claims}
    after = {each.id: each for each in new.claims}
    then = {each.name: each.sha256 for each in old.models}
    now = {each.name: each.sha256 for each in new.models}
    found: list[Reproduced] = []
    for name in names:
        again = after.get(name)
        if again is None or (again.verdict == "not run" != before[name].verdict):
            found.append(Reproduced(name, "not run", ("pytest did not run it again",)))
            continue
        claim = before[name]
        changes = _changes(claim, again)
        if then.get(claim.model, "") != now.get(again.model, ""):
            changes.append(
                f"the weights of {claim.model} are {then.get(claim.model, 'none')[:8]} on record "
                f"and {now.get(again.model, 'none')[:8]} here"
            )
        found.append(_outcome(claim, again, tuple(changes)))
    return tuple(found)


def _changes(old: KeptClaim, new: KeptClaim) -> list[str]:
    """Say which of the things that a claim rests on are not those on record."""
    changes: list[str] = []
    if old.source_sha256 != new.source_sha256:
        changes.append("the test was edited")
    sets = [{part.pair_set_sha256 for part in each.parts} for each in (old, new)]
    if sets[0] != sets[1]:
        changes.append("its pairs changed")
    return changes


def _outcome(old: KeptClaim, new: KeptClaim, changes: tuple[str, ...]) -> Reproduced:
    """Name the outcome: what changed and came out the same all the same is told as well."""
    if (old.verdict, old.parts) == (new.verdict, new.parts):
        return Reproduced(new.id, "bit for bit", changes)
    if old.verdict == new.verdict and len(old.parts) == len(new.parts):
        pairs = list(zip(old.parts, new.parts, strict=True))
        if all(_within_floor(*each) for each in pairs):
            return Reproduced(new.id, "within the floor", changes)
    reasons = (*changes, *_numbers(old, new))
    return Reproduced(new.id, "changed" if changes else "not reproduced", reasons)


def _within_floor(old: KeptPart, new: KeptPart) -> bool:
    if len(old.values) != len(new.values) or old.verdict != new.verdict:
        return False
    return all(
        abs(a - b) <= max(old.floor, new.floor) + 1e-5 * max(abs(a), abs(b))
        for a, b in zip((old.estimate, *old.values), (new.estimate, *new.values), strict=True)
    )


def _numbers(old: KeptClaim, new: KeptClaim) -> list[str]:
    told: list[str] = []
    if old.verdict != new.verdict:
        told.append(f"{old.verdict} on record, {new.verdict} here")
    if len(old.parts) != len(new.parts):
        told.append(f"{len(old.parts)} comparisons on record, {len(new.parts)} here")
    for then, now in zip(old.parts, new.parts, strict=False):
        if (then.estimate, then.values) == (now.estimate, now.values):
            continue
        differences = [abs(a - b) for a, b in zip(then.values, now.values, strict=False)]
        furthest = f", pairs by up to {max(differences):.2g}" if differences else ""
        told.append(
            f"estimate {then.estimate:g} on record, {now.estimate:g} here{furthest}; "
            f"floor {max(then.floor, now.floor):.2g}"
        )
    return told
