"""The record of a claim, put on its test's report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from causaltest.plugin import checking, families, gates, identity, models, source, specifications
from causaltest.plugin.marks import marks
from causaltest.plugin.session import STATE

if TYPE_CHECKING:
    from causaltest.experiment import Causal
    from causaltest.plugin.hearing import Hearing
    from causaltest.plugin.payload import Payload
    from causaltest.records import Claim, Part, Shown
    from causaltest.stats import Verdict

_PAYLOAD = "causal_payload"


def attach(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
    """Put the claim on the report of the phase that settles it."""
    import msgspec

    from causaltest.plugin.payload import Payload, encode

    assert isinstance(item, pytest.Function)
    session = item.config.stash[STATE]
    if report.when == "call" and session.hearing is not None:
        hearing, session.hearing = session.hearing, None
        report.causal_verdict = hearing.name  # pyright: ignore[reportAttributeAccessIssue]
        payload = _payload(item, hearing, report)
    elif report.when == "setup" and not report.passed:
        payload = Payload(_claim_without_verdict(item, call, report))
    else:
        return
    payload = msgspec.structs.replace(payload, share=session.families.flat.get(item.nodeid))
    session.verdicts[item.nodeid] = payload.claim.verdict
    item.config.hook.pytest_causal_claim(item=item, claim=payload.claim)
    setattr(report, _PAYLOAD, encode(payload))


def payload_of(report: pytest.TestReport) -> Payload | None:
    """Return the claim that travelled with a report, if any."""
    text = getattr(report, _PAYLOAD, None)
    if text is None:
        return None
    from causaltest.plugin.payload import decode

    return decode(text)


def _payload(item: pytest.Function, hearing: Hearing, report: pytest.TestReport) -> Payload:
    import msgspec

    from causaltest.engine.ledger import total
    from causaltest.plugin.environment import describe_model, describe_pairs
    from causaltest.plugin.payload import Payload
    from causaltest.records import Edit

    causal = hearing.causal
    claim = _claim(item, hearing, report)
    if causal is None:
        return Payload(claim)
    edits = tuple(
        Edit(
            intervention=each.intervention, site=each.site, module=each.module, fired=each.fired,
            rows=each.rows, positions=each.positions, dims=each.dims, changed=each.changed,
        )
        for each in total(causal.trail.edits)
    )  # fmt: skip
    claim = msgspec.structs.replace(claim, edits=edits, notes=_notes(item, hearing, causal))
    return Payload(
        claim,
        models=(describe_model(causal.model, claim.model),),
        pair_sets=tuple(map(describe_pairs, causal.trail.pair_sets.values())),
    )


def _notes(item: pytest.Item, hearing: Hearing, causal: Causal) -> tuple[str, ...]:
    """Gather remarks on what was measured and on how it was judged, each once."""
    judged = (note for verdict in hearing.verdicts for note in verdict.notes)
    status = hearing.status
    differs: tuple[str, ...] = ()
    if status is not None and status.standing == "changed":
        differs = (f"changed since it was registered: {', '.join(status.changes)}",)
    if status is not None and status.unfrozen:
        missing = ", ".join(status.unfrozen)
        told = (
            f"registered without a hash of {missing}, so a change of it would not be seen; "
            "let a fixture give pair sets, or register with --results"
        )
        differs += (told,)
    return tuple(
        dict.fromkeys((*differs, *causal.trail.notes, *checking.notes(item, hearing), *judged))
    )


def _claim(item: pytest.Function, hearing: Hearing, report: pytest.TestReport) -> Claim:
    from causaltest.records import Claim

    parts = tuple(_part(verdict, item, hearing) for verdict in hearing.verdicts)
    numbers: dict[str, Any] = {}
    if hearing.deciding is not None:
        chosen = parts[hearing.deciding]
        numbers = {
            name: getattr(chosen, name)
            for name in (
                "estimate", "interval", "adjusted_interval", "relation", "bound", "n_pairs",
                "n_units", "unit", "p_support", "p_refute",
            )
        }  # fmt: skip
        # Any comparison may fail: as for one joint claim, the p-value counts them.
        shares = hearing.shares(hearing.deciding)
        numbers["p_refute"] = min(1.0, chosen.p_refute * shares)
    return Claim(
        **_identity(item),
        verdict=hearing.name,
        outcome=_outcome(hearing, report),
        parts=parts,
        deciding=hearing.deciding,
        family_size=hearing.family_size,
        error=hearing.error,
        shown=_shown(item, hearing),
        seconds=report.duration,
        registration="" if hearing.status is None else hearing.status.standing,
        **numbers,
    )


def _shown(item: pytest.Function, hearing: Hearing) -> Shown | None:
    """Record what figures show beside the numbers of the comparisons, judged as they were."""
    if not any(verdict.shown for verdict in hearing.verdicts):
        return None
    from causaltest.records.making import shown_by
    from causaltest.stats import Judge

    causal = hearing.causal
    judge = Judge(
        alpha=item.config.stash[STATE].settings.alpha,
        alpha_claim=hearing.alpha,
        seed=hearing.seed,
    )
    return shown_by(
        hearing.verdicts, judge, (lambda _: "") if causal is None else causal.trail.unit_of
    )


def _outcome(hearing: Hearing, report: pytest.TestReport) -> Any:
    if hearing.name == "error":
        return "error"
    return report.outcome


def _identity(item: pytest.Function) -> dict[str, Any]:
    file, model = families.key(item)
    text, docstring = families.claim_text(item)
    name = identity.claim_id(item)
    return {
        "id": name,
        "test": "" if name == item.nodeid else item.nodeid,
        "claim": text + _parameters(item),
        "file": file,
        "line": (item.reportinfo()[1] or 0) + 1,
        "expected": marks(item).expect,
        "model": _model_name(item, model),
        "docstring": docstring,
        "source": source.source_of(item.function),
        "family": f"{file} [{_model_name(item, model)}]" if model else file,
        "requires": gates.of(item),
        "specification": specifications.of(item),
    }


def _parameters(item: pytest.Function) -> str:
    case = models.case_of(item)
    return f" [{case}]" if case else ""


def _model_name(item: pytest.Function, model: str) -> str:
    # After a test its fixtures are gone.
    causal: Any = (getattr(item, "funcargs", None) or {}).get("causal")
    if causal is not None and hasattr(causal, "model"):
        return str(causal.model.name)
    return Path(model).name if model else ""


def _part(verdict: Verdict, item: pytest.Function, hearing: Hearing) -> Part:
    from causaltest.records import Interval, Part, Sizes

    def interval(given: Any) -> Interval:
        return Interval(low=given.low, high=given.high, level=given.level)

    sizes = verdict.sizes
    return Part(
        statement=verdict.statement,
        subject=verdict.subject,
        verdict="exploratory" if hearing.name == "exploratory" else verdict.name,
        relation=verdict.relation,
        bound=verdict.bound,
        estimate=verdict.estimate,
        interval=interval(verdict.interval),
        adjusted_interval=interval(verdict.adjusted_interval),
        p_support=verdict.p_support,
        p_refute=verdict.p_refute,
        alpha=verdict.alpha_claim,
        n_pairs=verdict.n_pairs,
        n_units=verdict.n_units,
        unit=verdict.unit,
        method=verdict.method,
        floor=verdict.floor,
        pairs_needed=verdict.pairs_needed,
        sizes=Sizes(
            share_in_direction=sizes.share_in_direction,
            share_interval=None if sizes.share_interval is None else interval(sizes.share_interval),
            fraction_of_total=sizes.fraction_of_total,
            d_z=sizes.d_z,
            d_z_interval=None if sizes.d_z_interval is None else interval(sizes.d_z_interval),
            risk_difference=sizes.risk_difference,
            odds_ratio=sizes.odds_ratio,
            odds_ratio_interval=(
                None if sizes.odds_ratio_interval is None else interval(sizes.odds_ratio_interval)
            ),
            prediction=None if sizes.prediction is None else interval(sizes.prediction),
        ),
        source_text=_source_text(item),
        values=tuple(verdict.values),
        units=tuple(verdict.units),
        totals=tuple(verdict.totals),
        scale="" if hearing.causal is None else hearing.causal.trail.unit_of(verdict.subject),
        pair_set=verdict.pair_set[0],
        pair_set_sha256=verdict.pair_set[1],
        n_available=verdict.n_available,
        pair_ids=tuple(verdict.pair_ids) if verdict.n_pairs < verdict.n_available else (),
    )


def _source_text(item: pytest.Function) -> str:
    """Return the assert as written, where there is just one it can have been."""
    written = source.asserts(item.function)
    return written[0][1] if len(written) == 1 else ""


def _claim_without_verdict(
    item: pytest.Function, call: pytest.CallInfo[None], report: pytest.TestReport
) -> Claim:
    from causaltest.records import Claim

    skipped = report.skipped
    message = "" if call.excinfo is None else str(call.excinfo.value)
    return Claim(
        **_identity(item),
        verdict="not run" if skipped else "error",
        outcome="skipped" if skipped else "error",
        error=message,
        seconds=report.duration,
    )


def claim_not_run(item: pytest.Function) -> Claim:
    """Return the record of a selected hypothesis that was never reached."""
    from causaltest.records import Claim

    return Claim(**_identity(item), verdict="not run", outcome="skipped")
