"""Assembling the results of a run: families, adjusted p-values, provenance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec

from causaltest.plugin.options import Settings
from causaltest.records import (
    SCHEMA_VERSION,
    Claim,
    Environment,
    ModelRecord,
    PairSetRecord,
    Results,
    Run,
    ordered,
)
from causaltest.stats.multiplicity import holm


def assemble(
    heard: Iterable[Claim],
    left_out: Sequence[Claim],
    *,
    settings: Settings,
    partial: bool,
    models: tuple[ModelRecord, ...],
    pair_sets: tuple[PairSetRecord, ...],
    environment: Environment,
    started: str,
    seconds: float,
) -> Results:
    """Put together the results of a run.

    Parameters
    ----------
    heard
        Claims that ran.
    left_out
        Selected hypotheses that were never reached, e.g. after `-x`.
    settings
        The run's settings.
    partial
        Whether collected hypotheses were left out.
    models, pair_sets, environment
        Provenance.
    started, seconds
        When the run began, and how long it took.

    Returns
    -------
    Results
    """
    claims = ordered(adjusted([*heard, *left_out]))
    run = Run(
        alpha=settings.alpha,
        correction=settings.correction,
        seed=settings.seed,
        started=started,
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=seconds,
        partial=partial,
        models=tuple(sorted(models, key=lambda each: each.name)),
        pair_sets=tuple(sorted(pair_sets, key=lambda each: (each.name, each.sha256))),
        environment=environment,
    )
    status = "partial" if partial else "complete"
    return Results(schema_version=SCHEMA_VERSION, status=status, run=run, claims=claims)


def adjusted(claims: Iterable[Claim]) -> list[Claim]:
    """Add Holm-adjusted p-values within each family.

    Support and refutation are adjusted apart. Hypotheses that gave no p-value, or were left out,
    count as p = 1, so that a selection buys no significance.

    Parameters
    ----------
    claims
        Claims of any number of families.

    Returns
    -------
    list of Claim
        In the same order.
    """
    claims = list(claims)
    families: dict[str, list[int]] = {}
    for index, claim in enumerate(claims):
        families.setdefault(claim.family, []).append(index)
    for members in families.values():
        size = max(claims[index].family_size for index in members)
        unheard = max(0, size - len(members))
        # A claim's share of the error rate is its weight; one that asked nothing counts as typical.
        shares = [claims[index].parts[0].alpha for index in members if claims[index].parts]
        typical = sum(shares) / len(shares) if shares else 1.0
        weights = [
            claims[index].parts[0].alpha if claims[index].parts else typical for index in members
        ]
        for direction in ("p_support", "p_refute"):
            ps = [getattr(claims[index], direction) for index in members]
            known = [1.0 if p is None else p for p in ps] + [1.0] * unheard
            result = holm(known, weights + [typical] * unheard)
            for index, p, holm_p in zip(members, ps, result, strict=False):
                spoken = "p_refute" if claims[index].verdict == "refuted" else "p_support"
                if p is not None and spoken == direction:
                    claims[index] = msgspec.structs.replace(claims[index], p_adjusted=holm_p)
    return claims
