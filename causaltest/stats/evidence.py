"""A verdict on evidence of any kind: what `Measured` does for means, for every other test."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from causaltest.errors import EvidenceError
from causaltest.stats.decision import Evidence, Region, decide, needed
from causaltest.stats.judge import Judge
from causaltest.stats.verdict import Interval, Sizes, Verdict


@dataclass(frozen=True, eq=False)
class Basis:
    """What a verdict rests on: the numbers behind it and where they come from."""

    values: tuple[float, ...]
    units: tuple[str, ...]
    unit: str
    pair_ids: tuple[str, ...]
    pair_set: tuple[str, str] = ("", "")
    floor: float = 0.0


@dataclass(frozen=True, eq=False, repr=False)
class ReasonedVerdict(Verdict):
    """A verdict that says in its own words what decided it and what would settle it."""

    reason: str = ""
    """Why, where the place of the interval does not say it."""
    advice: str = ""
    """What would settle it, where more of the same pairs would not."""

    def _where(self) -> str:
        return self.reason or super()._where()

    def _settling(self) -> str:
        return self.advice or super()._settling()


def judged(
    evidence: Evidence,
    region: Region,
    judge: Judge | Callable[[], Judge],
    *,
    basis: Basis,
    statement: str,
    subject: str,
    method: str,
    over: str,
    bound: float | None = None,
    notes: tuple[str, ...] = (),
    sizes: Sizes | None = None,
    refuted_because: str = "",
    advice: str = "",
) -> ReasonedVerdict:
    """Decide a claim on any evidence and fill in the verdict.

    Parameters
    ----------
    evidence
        P-values from either side and limits dual to them.
    region
        The claimed region.
    bound
        The bound as written, where it is not the finite end of the region.
    refuted_because
        Why, should it be refuted, where the interval does not say it.
    advice
        What would settle it, should it be inconclusive; by default how many pairs.

    Raises
    ------
    EvidenceError
        If the region has no finite end.
    """
    now = judge if isinstance(judge, Judge) else judge()
    written = region.high if region.relation in {"<", "within"} else region.low
    if written in (float("inf"), float("-inf")):
        raise EvidenceError(f"{subject}: a claim needs a finite bound, got {written}")
    decision = decide(evidence, region, now)

    def interval(alpha: float) -> Interval:
        low, high = evidence.limits(alpha)
        return Interval(low, high, 1.0 - alpha)

    unsettled = decision.name == "inconclusive" and not advice
    units = len(set(basis.units))
    needs = needed(evidence, region, now, units) if unsettled and units > 1 else None
    return ReasonedVerdict(
        name=decision.name,
        statement=statement,
        subject=subject,
        relation=region.relation,
        bound=written if bound is None else bound,
        estimate=evidence.estimate,
        interval=interval(now.alpha),
        adjusted_interval=interval(now.alpha_claim),
        p_support=decision.p_support,
        p_refute=decision.p_refute,
        alpha_claim=now.alpha_claim,
        n_pairs=len(basis.values),
        n_units=len(set(basis.units)),
        unit=basis.unit,
        method=method,
        floor=basis.floor,
        pairs_needed=None if needs is None else math.ceil(needs * len(basis.values) / units),
        sizes=sizes or Sizes(),
        values=basis.values,
        units=basis.units,
        pair_ids=basis.pair_ids,
        pair_set=basis.pair_set,
        notes=notes,
        over=over,
        parts=now.parts,
        doubt=decision.doubt,
        _observe=now.observe,
        reason=refuted_because if decision.name == "refuted" else "",
        advice=advice,
    )
