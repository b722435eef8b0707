"""Comparing two runs claim by claim, on the pairs that both have, under family-wise control."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from causaltest.baseline.comparison import Compared, Drift, DriftName
from causaltest.baseline.kept import Baseline, KeptClaim, KeptPairSet, KeptPart
from causaltest.errors import RecordError
from causaltest.stats.judge import FEWEST_UNITS
from causaltest.stats.shifts import limits

RELATIVE = 0.1
"""Share of the old estimate (of the bound, for claims of a negligible effect) that matters."""
_DIGITS = 5e-6
"""Half a unit in the last of six digits that records keep: of 1.00000 that is 5e-6."""


@dataclass(frozen=True)
class Margin:
    """The change that matters: absolute, or a share of the old estimate."""

    value: float = RELATIVE
    relative: bool = True

    @staticmethod
    def parse(text: str) -> Margin | None:
        """Read a margin; None where the text is none.

        Examples
        --------
        >>> Margin.parse("10%")
        Margin(value=0.1, relative=True)
        """
        number, share = text.strip().removesuffix("%"), text.strip().endswith("%")
        try:
            value = float(number) / (100 if share else 1)
        except ValueError:
            return None
        return Margin(value, relative=share) if 0 <= value < math.inf else None

    def of(self, part: KeptPart) -> float:
        """Return the margin in the unit of a comparison."""
        if not self.relative:
            return self.value
        return self.value * abs(part.bound if part.relation == "within" else part.estimate)


@dataclass(frozen=True)
class Comparison:
    """Two runs side by side.

    Parameters
    ----------
    claims
        Claims of both, in reading order.
    appeared, vanished
        Ids of claims that only the new, or only the old run has.
    left_out
        Ids of claims that the new run did not reach or did not select.
    notes
        What differs between the runs as a whole.
    alpha
        Error rate of the whole comparison.
    tests
        Comparisons tested, which share it.
    """

    claims: tuple[Compared, ...]
    appeared: tuple[str, ...]
    vanished: tuple[str, ...]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]
    alpha: float
    tests: int

    @property
    def worse(self) -> tuple[Compared, ...]:
        """Claims that got worse."""
        return tuple(each for each in self.claims if each.worse)


@dataclass(frozen=True)
class _Ground:
    """What all comparisons share: pair sets by hash, and the margin."""

    then: Mapping[str, KeptPairSet]
    now: Mapping[str, KeptPairSet]
    margin: Margin


class _Asked(NamedTuple):
    """One comparison to test: new less old for each unit that both runs have."""

    old: KeptPart
    new: KeptPart
    differences: tuple[float, ...]
    margin: float
    grew: bool
    """Whether the mean is now further from 0."""


class _Paired(NamedTuple):
    """The values of one comparison in both runs, on the pairs that both have."""

    old: list[float]
    new: list[float]
    units: list[str]


def compare(
    old: Baseline, new: Baseline, *, margin: Margin | None = None, alpha: float | None = None
) -> Comparison:
    """Compare a run with a baseline.

    Each comparison of each claim is tested on the differences of the pairs that both runs have
    (non-inferiority by the margin), each at alpha / m, m being the
    number of comparisons tested. Where nothing changed, the chance that any of them is called worse
    is alpha at most, and half of it where each claim has one way to get worse. A verdict that is
    lost counts as worse by itself. Where an estimate is a ratio of means, its linearisation is
    compared, so that what changed in the denominators counts as well.

    Parameters
    ----------
    old, new
        What was kept of the runs.
    margin
        The change that matters; a tenth of the old estimate by default.
    alpha
        Error rate of the comparison; by default that of the new run.

    Raises
    ------
    RecordError
        The runs have no claim in common.

    Examples
    --------
    >>> part = KeptPart("x", "supported", ">", 0.5, 1.0, 0.05, 0.0, "pair", (1.0, 1.2))
    >>> claim = KeptClaim("a.py::test_a", "A.", "supported", "supported", "m", "", parts=(part,))
    >>> run = Baseline(1, 0.05, False, (), (), (claim,))
    >>> compare(run, run).claims[0].state
    'same'
    """
    alpha = new.alpha if alpha is None else alpha
    before, after = _by_key(old), _by_key(new)
    both = [name for name in after if name in before]
    if not both:
        raise RecordError(
            f"the runs have no claim in common: one has {_some(before)}, the other {_some(after)}\n"
            "Compare two runs of the same hypotheses."
        )
    missing = [name for name in before if name not in after]
    reached = [name for name in both if after[name].verdict != "not run"]
    left_out = [after[name].id for name in both if after[name].verdict == "not run"]
    gone = [before[name].id for name in missing]
    then, now = ({each.sha256: each for each in run.pair_sets} for run in (old, new))
    ground = _Ground(then, now, margin or Margin())
    asked = {
        name: [
            _asked(*parts, ground)
            for parts in zip(before[name].parts, after[name].parts, strict=False)
        ]
        for name in reached
    }
    tested = [each for every in asked.values() for each in every if isinstance(each, _Asked)]
    tests = len(tested)
    found = limits([each.differences for each in tested], level=alpha / max(1, tests))
    intervals = {id(each): interval for each, interval in zip(tested, found, strict=True)}
    return Comparison(
        claims=tuple(
            _claim(before[name], after[name], ground, asked[name], intervals) for name in reached
        ),
        appeared=tuple(after[name].id for name in after if name not in before),
        vanished=() if new.partial else tuple(gone),
        left_out=(*left_out, *(gone if new.partial else ())),
        notes=_differences(old, new),
        alpha=alpha,
        tests=tests,
    )


def _claim(
    old: KeptClaim,
    new: KeptClaim,
    ground: _Ground,
    asked: Sequence[_Asked | Drift],
    intervals: Mapping[int, tuple[float, float]],
) -> Compared:
    notes = ["the test was edited"] if old.source_sha256 != new.source_sha256 else []
    counts = len(old.parts), len(new.parts)
    if all(counts) and counts[0] != counts[1]:
        notes.append(f"it made {_comparisons(counts[0])} and makes {_comparisons(counts[1])}")
    for then, now in zip(old.parts, new.parts, strict=False):
        notes += _part_notes(then, now, ground)
    bounds = [[(part.relation, part.bound) for part in each.parts] for each in (old, new)]
    return Compared(
        id=new.id,
        claim=new.claim,
        old=old.verdict,
        new=new.verdict,
        expected=new.expected,
        drifts=tuple(
            each if isinstance(each, Drift) else _drift(each, new, intervals[id(each)])
            for each in asked
        ),
        notes=tuple(dict.fromkeys(notes)),
        otherwise=all(bounds) and bounds[0] != bounds[1],
    )


def _comparisons(count: int) -> str:
    return f"{count} comparison{'' if count == 1 else 's'}"


def _asked(old: KeptPart, new: KeptPart, ground: _Ground) -> _Asked | Drift:
    """Return what to test of one comparison, or its outcome where there is nothing to test."""
    paired = _paired(old, new, ground)
    if isinstance(paired, str):
        return Drift("untested", old.estimate, new.estimate, reason=paired)
    floor = sum(_floors(old, new, paired))
    matters = max(ground.margin.of(old), 1.001 * floor, 1e-12)
    if _same(paired, floor):
        if abs(new.estimate - old.estimate) > matters:
            reason = "its values are as before and its estimate is not: a file was edited"
            return Drift("untested", old.estimate, new.estimate, reason=reason)
        return Drift("same", old.estimate, new.estimate, change=0.0, margin=matters)
    grouped: dict[str, tuple[list[float], list[float]]] = {}
    for unit, then, now in zip(paired.units, paired.old, paired.new, strict=True):
        before, after = grouped.setdefault(unit, ([], []))
        before.append(then)
        after.append(now)
    sides = [
        tuple(math.fsum(each) / len(each) for each in of)
        for of in zip(*grouped.values(), strict=True)
    ]
    differences = tuple(now - then for then, now in zip(*sides, strict=True))
    if len(differences) < FEWEST_UNITS:
        reason = (
            f"{len(differences)} {new.unit}{'' if len(differences) == 1 else 's'} in common give "
            f"no interval; {FEWEST_UNITS} are the fewest"
        )
        return Drift("untested", old.estimate, new.estimate, reason=reason)
    if max(differences) - min(differences) <= floor:
        # As for any effect: units that differ by no more than the floor are equal.
        differences = (math.fsum(differences) / len(differences),) * len(differences)
    grew = abs(math.fsum(sides[1])) > abs(math.fsum(sides[0]))
    return _Asked(old, new, differences, matters, grew=grew)


def _drift(asked: _Asked, claim: KeptClaim, interval: tuple[float, float]) -> Drift:
    """Name the outcome of one test."""
    better = _better(asked.new, claim)
    return Drift(
        _named(interval, asked.margin, better, grew=asked.grew),
        asked.old.estimate,
        asked.new.estimate,
        change=math.fsum(asked.differences) / len(asked.differences),
        interval=interval,
        margin=asked.margin,
    )


def _named(interval: tuple[float, float], margin: float, better: str, *, grew: bool) -> DriftName:
    """Name a drift by where the simultaneous interval of the change lies."""
    low, high = interval
    down, up = high < -margin, low > margin
    if better in {"higher", "lower"}:
        bad, good = (down, up) if better == "higher" else (up, down)
        kept = low > -margin if better == "higher" else high < margin
        held: DriftName = "held" if kept else "unclear"
        return "worse" if bad else "better" if good else held
    if down or up:
        # A claim of a negligible effect gets worse where the effect grows, whichever way.
        return "moved" if better == "neither" else "worse" if grew else "better"
    return "held" if low > -margin and high < margin else "unclear"


def _better(part: KeptPart, claim: KeptClaim) -> str:
    """Say which way is better for what the test expects: higher, lower, smaller or neither."""
    if claim.exploratory or claim.expected not in ("supported", "refuted"):
        return "neither"
    if part.relation == "within":
        return "smaller" if claim.expected == "supported" else "neither"
    upwards = (part.relation == ">") == (claim.expected == "supported")
    return "higher" if upwards else "lower"


def _floors(old: KeptPart, new: KeptPart, paired: _Paired) -> tuple[float, float]:
    """Return the numeric floor of each side, which is no less than what records round off."""
    return max(old.floor, _rounding(paired.old)), max(new.floor, _rounding(paired.new))


def _paired(old: KeptPart, new: KeptPart, ground: _Ground) -> _Paired | str:
    """Match the pairs of two runs, or say in words why that cannot be done."""
    if old.subject != new.subject:
        return f"it measured {old.subject}, and now {new.subject}"
    if _alike(old, new):
        # Nothing to test, however the pairs are called.
        names = [str(i) for i in range(len(old.values))]
        return _Paired(list(old.values), list(new.values), names)
    if old.stopped or new.stopped:
        return "a run that stopped early chose its pairs by their values"
    then, now = ground.then.get(old.pair_set_sha256), ground.now.get(new.pair_set_sha256)
    places: list[tuple[int, int]] = []
    if then is None or now is None:
        return "the records do not say which pair each value belongs to"
    means = _is_mean(old, then) and _is_mean(new, now)
    if means:
        places = list(_common(then, now))
    if not places:
        told = f"the pair set {now.name} changed and has no pair in common with the old one"
        return told if means else "its estimate is not a mean over pairs"
    linear = bool(old.totals and new.totals)
    before, after = (_linear(each) if linear else list(each.values) for each in (old, new))
    return _Paired(
        [before[i] for i, _ in places],
        [after[i] for _, i in places],
        [now.units[i] for _, i in places],
    )


def _linear(part: KeptPart) -> list[float]:
    """Return values whose mean is the estimate and whose spread is that of the estimate.

    For a ratio of means b they are v - b (s - 1), s being a pair's denominator over the mean one:
    its linearisation. Source: Cochran (1977), Sampling Techniques, 3rd edition, section 6.3.
    """
    return [v - part.estimate * (s - 1.0) for v, s in zip(part.values, part.totals, strict=True)]


def _common(old: KeptPairSet, new: KeptPairSet) -> Iterator[tuple[int, int]]:
    """Yield the places of pairs that both sets have: all by id, or in a changed set by content."""
    if old.sha256 == new.sha256:
        yield from ((i, i) for i in range(len(new.ids)))
        return
    often = Counter(old.digests), Counter(new.digests)
    places = {digest: i for i, digest in enumerate(old.digests)}
    for i, digest in enumerate(new.digests):
        if often[0][digest] == often[1][digest] == 1:
            yield places[digest], i


def _alike(old: KeptPart, new: KeptPart) -> bool:
    """Whether both runs have the same values on the same pairs, by the hash or by the units."""
    kept = [(each.values, each.totals, each.units, each.pair_set_sha256) for each in (old, new)]
    return kept[0] == kept[1] and bool(old.values)


def _is_mean(part: KeptPart, pairs: KeptPairSet) -> bool:
    """Whether the estimate is the mean over units of the values, to the digits that are kept.

    Denominators have the mean 1.
    """
    if len(part.values) != len(pairs.ids) or not part.values:
        return False
    most = max(map(abs, part.totals), default=1.0)
    if part.totals and abs(_mean_of(part.totals, pairs.units) - 1.0) > 1e-5 * most:
        return False
    scale = max(abs(value) for value in part.values)
    mean = _mean_of(part.values, pairs.units)
    return abs(mean - part.estimate) <= max(part.floor, 1e-5 * scale)


def _mean_of(values: Sequence[float], units: Sequence[str]) -> float:
    """Return the mean over units of their means."""
    grouped: dict[str, list[float]] = {}
    for unit, value in zip(units, values, strict=True):
        grouped.setdefault(unit, []).append(value)
    return math.fsum(math.fsum(each) / len(each) for each in grouped.values()) / len(grouped)


def _same(paired: _Paired, floor: float) -> bool:
    return all(abs(a - b) <= floor for a, b in zip(paired.old, paired.new, strict=True))


def _rounding(values: Sequence[float]) -> float:
    return _DIGITS * max(map(abs, values), default=0.0)


def _part_notes(old: KeptPart, new: KeptPart, ground: _Ground) -> list[str]:
    """Say what differs in how a comparison was asked."""
    notes: list[str] = []
    if (old.relation, old.bound) != (new.relation, new.bound):
        notes.append(
            f"the bound was {old.relation} {old.bound:g} and is {new.relation} {new.bound:g}"
        )
    if old.alpha != new.alpha:
        notes.append(f"it was decided at level {old.alpha:.3g} and is at {new.alpha:.3g}")
    then, now = ground.then.get(old.pair_set_sha256), ground.now.get(new.pair_set_sha256)
    if then is not None and now is not None and then.sha256 != now.sha256:
        shared = len(set(then.digests) & set(now.digests))
        notes.append(
            f"the pair set {now.name} changed: {len(then.ids)} pairs before, {len(now.ids)} now, "
            f"{shared} in common"
        )
    return notes


def _differences(old: Baseline, new: Baseline) -> tuple[str, ...]:
    """Say what differs between the runs as a whole."""
    notes: list[str] = []
    then = {each.name: each.sha256 for each in old.models}
    now = {each.name: each.sha256 for each in new.models}
    if _crosses(old, new):
        ((was, _),) = then.items()
        ((name, _),) = now.items()
        notes.append(f"the model was {was} and is {name}")
    notes += [
        f"the weights of {name} changed ({then[name][:8]} before, {sha256[:8]} now)"
        for name, sha256 in now.items()
        if name in then and then[name] != sha256
    ]
    return tuple(notes)


def _crosses(old: Baseline, new: Baseline) -> bool:
    """Whether each run is about one model, and they are two."""
    names = [{each.name for each in run.models} for run in (old, new)]
    return len(names[0]) == len(names[1]) == 1 and names[0] != names[1]


def _by_key(run: Baseline) -> dict[str, KeptClaim]:
    """Key claims by id, without the model's name where there is only one."""
    single = len(run.models) == 1
    return {_key(each) if single else each.id: each for each in run.claims}


def _key(claim: KeptClaim) -> str:
    head, bracket, inside = claim.id.partition("[")
    case = inside.removesuffix("]")
    if not bracket or not claim.model:
        return claim.id
    if case == claim.model:
        return head
    case = case.removeprefix(f"{claim.model}-").removesuffix(f"-{claim.model}")
    return f"{head}[{case}]"


def _some(claims: Mapping[str, KeptClaim]) -> str:
    names = sorted(each.id for each in claims.values())
    if not names:
        return "none"
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
