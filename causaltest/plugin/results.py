"""Assembling the results of a run: families, adjusted p-values, provenance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
from causaltest.stats.multiplicity import benjamini_hochberg, holm


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
    notes: tuple[str, ...] = (),
    shares: Mapping[str, float] | None = None,
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
    notes
        Remarks on the whole run.
    shares
        Share of its family's level that each hypothesis has by its weight alone, by id.

    Returns
    -------
    Results
    """
    gated = settings.correction != "none"
    claims = ordered(adjusted([*heard, *left_out], settings.alpha, shares, gated=gated))
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
        notes=notes,
    )
    status = "partial" if partial else "complete"
    return Results(schema_version=SCHEMA_VERSION, status=status, run=run, claims=claims)


def adjusted(
    claims: Iterable[Claim],
    alpha: float = 0.05,
    shares: Mapping[str, float] | None = None,
    *,
    gated: bool = True,
) -> list[Claim]:
    """Add adjusted p-values within each family: Holm, or along the gates where there are any.

    Support and refutation are adjusted apart. Gates pass their level on for support only, so
    refutations are adjusted by Holm with or without gates. Hypotheses that gave no p-value, or
    were left out, count as p = 1, so that a selection buys no significance. Exploratory claims
    stand apart and get q-values.

    Parameters
    ----------
    claims
        Claims of any number of families.
    alpha
        Level of each family.
    shares
        As for `assemble`; by default all of one family have the same.
    gated
        Whether gates passed their level on. Without a correction there was nothing to pass on, and
        Holm says what would have survived one.

    Returns
    -------
    list of Claim
        In the same order.
    """
    claims = list(claims)
    families: dict[tuple[str, bool], list[int]] = {}
    for index, claim in enumerate(claims):
        families.setdefault((claim.family, claim.verdict == "exploratory"), []).append(index)
    for (_, exploratory), members in families.items():
        chosen = [claims[index] for index in members]
        if exploratory:
            changed = _with_q_values(chosen)
        elif gated and any(claim.requires for claim in chosen):
            changed = _along_gates(chosen, alpha)
            changed = _by_holm(changed, _weights(chosen, shares or {}), ("p_refute",))
        else:
            weights = _weights(chosen, shares) if shares else _levels(chosen)
            changed = _by_holm(chosen, weights, ("p_support", "p_refute"))
        for index, claim in zip(members, changed, strict=True):
            claims[index] = claim
    return claims


def _spoken(claim: Claim) -> str:
    """Name the p-value of a claim's own direction."""
    return "p_refute" if claim.verdict == "refuted" else "p_support"


def _weights(claims: Sequence[Claim], shares: Mapping[str, float]) -> list[float]:
    """Return the share of each claim; the mean for one that is not known."""
    known = [shares[claim.id] for claim in claims if claim.id in shares]
    typical = sum(known) / len(known) if known else 1.0
    return [shares.get(claim.id, typical) for claim in claims]


def _levels(claims: Sequence[Claim]) -> list[float]:
    """Return the level of each claim, which is as its weight; the mean for one that asked none."""
    known = [claim.parts[0].alpha for claim in claims if claim.parts]
    typical = sum(known) / len(known) if known else 1.0
    return [claim.parts[0].alpha if claim.parts else typical for claim in claims]


def _by_holm(
    claims: Sequence[Claim], weights: list[float], directions: Sequence[str]
) -> list[Claim]:
    unheard = max(0, max(claim.family_size for claim in claims) - len(claims))
    typical = sum(weights) / len(weights)
    changed = list(claims)
    for direction in directions:
        ps = [getattr(claim, direction) for claim in claims]
        known = [1.0 if p is None else p for p in ps] + [1.0] * unheard
        result = holm(known, weights + [typical] * unheard)
        for index, claim in enumerate(claims):
            if ps[index] is not None and _spoken(claim) == direction:
                changed[index] = msgspec.structs.replace(claim, p_adjusted=result[index])
    return changed


def _along_gates(claims: Sequence[Claim], alpha: float) -> list[Claim]:
    """Adjust each p by its claim's share of the level, and by no less than its gates' are."""
    by_id = {claim.id: claim for claim in claims}

    def adjusted_p(claim: Claim | None) -> float:
        if claim is None or claim.p_support is None or not claim.parts:
            return 1.0
        own = min(1.0, claim.p_support * alpha / claim.parts[0].alpha)
        return max([own, *(adjusted_p(by_id.get(gate)) for gate in claim.requires)])

    return [
        msgspec.structs.replace(claim, p_adjusted=adjusted_p(claim))
        if claim.p_support is not None and _spoken(claim) == "p_support"
        else claim
        for claim in claims
    ]


def _with_q_values(claims: Sequence[Claim]) -> list[Claim]:
    """Add q-values; exploratory hypotheses that did not run count as p = 1."""
    unheard = max(0, max(claim.family_size for claim in claims) - len(claims))
    ps = [1.0 if claim.p_support is None else claim.p_support for claim in claims]
    qs = benjamini_hochberg(ps + [1.0] * unheard)
    return [msgspec.structs.replace(claim, q_value=q) for claim, q in zip(claims, qs, strict=False)]
