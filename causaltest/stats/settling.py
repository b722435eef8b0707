"""Measurements that come in looks: a comparison measures until it is settled, and stays valid.

Units come in a random order that the judge's seed fixes. After each look the evidence is an
anytime one (betting where values have limits, the asymptotic confidence sequence where they have
none), so stopping as soon as it is settled costs no error (`betting`, `asymptotic`). Where
that cannot decide, e.g. on few units, all pairs are measured and judged at once; whether it can
depends on the number of units, the bound and the level, never on what is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causaltest.errors import EvidenceError
from causaltest.stats.assess import Found
from causaltest.stats.asymptotic import FEWEST_ASYMPTOTIC, Asymptotic
from causaltest.stats.betting import Betting
from causaltest.stats.columns import Columns
from causaltest.stats.decision import Region, decide
from causaltest.stats.judge import Judge
from causaltest.stats.looks import Stream, unit_order
from causaltest.stats.measured import Measured
from causaltest.stats.shown import Watched
from causaltest.stats.verdict import Verdict

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Stop:
    """What there is when measuring stops: the part measured, its evidence, how many units."""

    measured: Measured
    evidence: Betting | Asymptotic
    units: int


class Arriving(Measured):
    """What arriving effects and rates share: the columns are measured only if asked for."""

    _stream: Stream
    _whole: Callable[[], Measured]

    def _arrive(
        self,
        stream: Stream,
        whole: Callable[[], Measured],
        *,
        subject: str,
        metric: str,
        name: str,
        floor: float,
        judge: Judge | Callable[[], Judge],
    ) -> None:
        self._stream = stream
        self._whole = whole
        self._subject = subject
        self._metric = metric
        self._name = name
        self._floor = floor
        self._judge = judge

    @property
    def stream(self) -> Stream:
        """What measures the pairs."""
        return self._stream

    def __getattr__(self, name: str) -> Any:
        # Only reached for what is not there yet: whatever but a comparison needs all pairs.
        if name == "_columns":
            self._columns = self._whole().columns
            return self._columns
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        if "_columns" in vars(self):
            return super().__repr__()
        # pytest shows the operands of a failed assertion: that must not measure the rest.
        return f"<{type(self).__name__} {self._subject}: {len(self._stream.units)} pairs in looks>"

    def _verdict(self, region: Region, bound: float, statement: str) -> Verdict:
        judge = self._current_judge()
        why_not = _at_once(self._stream, region, judge)
        stopped = None if why_not else self._stopped(region, judge)
        if stopped is None:
            whole = self._whole()
            verdict = whole._verdict(region, bound, statement)  # noqa: SLF001
            return replace(verdict, notes=(*verdict.notes, why_not), _asked=[False])
        found = self._found(stopped)
        verdict = stopped.measured._reported(found, region, bound, statement, judge)  # noqa: SLF001
        return self._told(verdict, stopped, region, judge)

    def _stopped(self, region: Region, judge: Judge) -> _Stop | None:
        """Measure until the claim is settled; None where nothing changed in any pair."""
        order = unit_order(self._stream.units, judge.seed)
        indices: list[int] = []
        values: list[float] = []
        changed = False
        stop: _Stop | None = None
        for more, units in self._stream.looks(judge.seed):
            look = self._stream.draw(more)
            self._check_limits(more, look.values)
            changed = changed or look.changed
            indices += more
            values += look.values.tolist()
            part = self._part(indices, values)
            counted = part.columns.means(part._counted())  # noqa: SLF001
            by_label = dict(zip(part.columns.labels, counted, strict=True))
            came = np.array([by_label[label] for label in order[:units]])
            stop = _Stop(part, _evidence(came, self._stream, judge), units)
            if changed and decide(stop.evidence, region, judge).name != "inconclusive":
                break
        return stop if changed else None

    def _check_limits(self, indices: Sequence[int], values: Floats) -> None:
        low, high = self._stream.low, self._stream.high
        wrong = np.flatnonzero((values < low) | (values > high) | ~np.isfinite(values))
        if len(wrong):
            pair = self._stream.pair_ids[indices[int(wrong[0])]]
            raise EvidenceError(
                f"{self._subject}: {values[wrong[0]]:g} for pair {pair!r} passes the limits "
                f"{low:g} and {high:g} of {self._metric or 'the metric'}\n"
                "a sequential run rests on these limits; mend the metric, or run without "
                "--causal-sequential"
            )

    def _part(self, indices: Sequence[int], values: Sequence[float]) -> Measured:
        """Return what was measured so far, in the order of the pair set."""
        stream = self._stream
        placed = sorted(zip(indices, values, strict=True))
        array = np.array([value for _, value in placed])
        columns = Columns(
            array,
            None,
            tuple(stream.units[index] for index, _ in placed),
            stream.unit,
            tuple(stream.pair_ids[index] for index, _ in placed),
            stream.pair_set,
        )
        return self._of(columns)

    def _of(self, columns: Columns) -> Measured:
        """Return a plain measurement of the same kind."""
        raise NotImplementedError

    def _ran(self, stop: _Stop) -> str:
        """Say how many units and pairs were run of how many."""
        stream = self._stream
        total, all_units = len(stream.units), len(set(stream.units))
        ran = f"{stop.measured.n_pairs} of {total} pairs"
        return ran if all_units == total else f"{stop.units} of {all_units} {stream.unit}s ({ran})"

    def _found(self, stop: _Stop) -> Found:
        way, ran = "betting" if self._stream.bounded else "asymptotic", self._ran(stop)
        return Found(
            stop.evidence, f"{way} confidence sequence on {ran}", f"anytime ({way}), {ran}"
        )

    def _told(self, verdict: Verdict, stop: _Stop, region: Region, judge: Judge) -> Verdict:
        """Add what is particular to a verdict reached in looks."""
        early = stop.units < len(set(self._stream.units))
        note = (
            f"sequential: {'stopped after' if early else 'not settled before'} {self._ran(stop)}, "
            "in a random order; the intervals are those of a confidence sequence, valid at "
            "whatever time one stops"
        )
        looks = (units for _, units in self._stream.looks(judge.seed))
        shown = Watched(
            stop.evidence,
            region,
            tuple(count for count in looks if count <= stop.units),
            len(set(self._stream.units)),
        )
        return replace(
            verdict,
            n_available=len(self._stream.units),
            shown=(shown,),
            notes=(*verdict.notes, note),
            _asked=[False],
        )

    def _with(self, other: object, sign: float) -> Stream | None:
        """Return the stream combined with another's, where both are of the same pairs."""
        if not isinstance(other, Arriving):
            return None
        mine, theirs = self._stream, other.stream
        same = mine.pair_ids == theirs.pair_ids and mine.units == theirs.units
        return mine.combined(theirs, sign) if same else None


def _evidence(came: Floats, stream: Stream, judge: Judge) -> Betting | Asymptotic:
    if stream.bounded:
        return Betting(came, stream.low, stream.high, judge.alpha_claim)
    return Asymptotic(came)


def _at_once(stream: Stream, region: Region, judge: Judge) -> str:
    """Say why all pairs are judged at once, where looks could not save any; decided beforehand."""
    units = len(set(stream.units))
    noun = f"{units} {stream.unit}s"
    if not stream.bounded:
        if units > FEWEST_ASYMPTOTIC:
            return ""
        return (
            f"not sequential: values without known limits need more than {FEWEST_ASYMPTOTIC} "
            f"units before a first look, these are {noun}; all pairs were judged at once"
        )
    best = {">": stream.high, "<": stream.low}.get(region.relation)
    value = (region.low + region.high) / 2.0 if best is None else best
    evidence = Betting(np.full(units // 2, value), stream.low, stream.high, judge.alpha_claim)
    if units // 2 and decide(evidence, region, judge).name == "supported":
        return ""
    return (
        f"not sequential: half of {noun} could not settle this bound at level "
        f"{judge.alpha_claim:.3g} even if all agreed; all pairs were judged at once"
    )
