"""Whether a claim that was run again came out as it is on record."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from causaltest.baseline.kept import Baseline, KeptClaim, KeptPart, rounded
from causaltest.records import Claim, Interval, Part, Results

_APART = 0.05
"""Share of an interval's width by which its ends may differ where values differ by rounding."""
_P_APART = 0.01
"""What p-values from resamples may differ by there."""

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


def with_limits(
    found: tuple[Reproduced, ...], old: Results, new: Results
) -> tuple[Reproduced, ...]:
    """Compare intervals and p-values as well, of claims whose verdicts and values are the same.

    Parameters
    ----------
    found
        How the claims came out by their verdicts and values.
    old, new
        The two runs.
    """
    before = {each.id: each for each in old.claims}
    after = {each.id: each for each in new.claims}
    return tuple(
        _limited(each, before[each.id], after[each.id])
        if each.how in ("bit for bit", "within the floor")
        else each
        for each in found
    )


def _limited(found: Reproduced, old: Claim, new: Claim) -> Reproduced:
    if old.source != new.source:
        return found  # It may ask for another bound, with p-values of its own.
    parts = list(zip(old.parts, new.parts, strict=True))
    told = tuple(said for then, now in parts for said in _limits_told(then, now, exactly=False))
    if told:
        return replace(found, how="not reproduced", reasons=(*found.reasons, *told))
    if any(_limits_told(then, now, exactly=True) for then, now in parts):
        return replace(found, how="within the floor")
    return found


def _limits_told(old: Part, new: Part, *, exactly: bool) -> list[str]:
    """Say which intervals and p-values are not those on record, to their own noise or exactly."""
    most = max(_APART * (new.adjusted_interval.high - new.adjusted_interval.low), new.floor)
    told: list[str] = []
    for name, far, known, found in (
        ("interval", most, _ends(old.interval), _ends(new.interval)),
        ("adjusted interval", most, _ends(old.adjusted_interval), _ends(new.adjusted_interval)),
        ("p of support", _P_APART, (old.p_support,), (new.p_support,)),
        ("p of refutation", _P_APART, (old.p_refute,), (new.p_refute,)),
    ):
        furthest = max(abs(rounded(a) - rounded(b)) for a, b in zip(known, found, strict=True))
        if furthest > (0.0 if exactly else far):
            here, there = (", ".join(f"{end:g}" for end in ends) for ends in (known, found))
            told.append(f"{name} {here} on record, {there} here")
    return told


def _ends(interval: Interval) -> tuple[float, float]:
    return interval.low, interval.high


def _changes(old: KeptClaim, new: KeptClaim) -> list[str]:
    """Say which of the things that a claim rests on are not those on record."""
    changes: list[str] = []
    if old.source_sha256 != new.source_sha256:
        changes.append("the test was edited")
    sets = [{part.pair_set_sha256 for part in each.parts} for each in (old, new)]
    if sets[0] != sets[1]:
        changes.append("its pairs changed")
    return changes


def _asked(part: KeptPart) -> str:
    """Say what a comparison asks."""
    return f"{part.subject} {part.relation} {part.bound:g}"


def _outcome(old: KeptClaim, new: KeptClaim, changes: tuple[str, ...]) -> Reproduced:
    """Name the outcome: what changed and came out the same all the same is told as well."""
    if (old.verdict, old.parts) == (new.verdict, new.parts):
        return Reproduced(new.id, "bit for bit", changes)
    if old.verdict == new.verdict and len(old.parts) == len(new.parts):
        pairs = list(zip(old.parts, new.parts, strict=True))
        # A test that was edited may ask for another bound; the same test asks what is on record.
        asked = old.source_sha256 != new.source_sha256 or all(
            _asked(then) == _asked(now) for then, now in pairs
        )
        if asked and all(_within_floor(*each) for each in pairs):
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
        if _asked(then) != _asked(now):
            told.append(f"{_asked(then)} on record, {_asked(now)} here")
        if (then.estimate, then.values) == (now.estimate, now.values):
            continue
        differences = [abs(a - b) for a, b in zip(then.values, now.values, strict=False)]
        furthest = f", pairs by up to {max(differences):.2g}" if differences else ""
        told.append(
            f"estimate {then.estimate:g} on record, {now.estimate:g} here{furthest}; "
            f"floor {max(then.floor, now.floor):.2g}"
        )
    return told
