"""From asserts to claims: what one hypothesis asked, what came out, what its test does."""

from __future__ import annotations

import math
import sys
import traceback
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

import pytest

from causaltest.errors import CausaltestError, Inconclusive
from causaltest.plugin import (
    checking,
    families,
    gates,
    identity,
    models,
    registered,
    source,
    specifications,
)
from causaltest.plugin.marks import VERDICTS, marks

if TYPE_CHECKING:
    from causaltest.experiment import Causal
    from causaltest.plugin.payload import Payload
    from causaltest.records import Claim, Part, Shown, VerdictName
    from causaltest.registration import Status
    from causaltest.stats import Verdict

_PAYLOAD = "causal_payload"
_NOTHING_LEFT = 1_000_000
"""More shares than any resamples resolve."""
_PACKAGE = str(Path(__file__).parents[1])
_FIXTURES = str(Path(__file__).parent / "__init__.py")


@dataclass
class Hearing:
    """One hypothesis while it runs.

    Parameters
    ----------
    alpha
        Level at which it is decided.
    comparisons
        Comparisons written in its asserts.
    loops
        Whether an assert stands in a loop, so that their number is not known beforehand.
    seed
        Seed of its resamples.
    family_size
        Hypotheses in its family.
    passed_on
        How many times larger its level is than without what its gates passed on.
    causal
        The instrument it measures with; None where a suite brings its own.
    code
        The body of its test; None where it is not known.
    verdicts
        Verdicts whose truth was asked, in order.
    """

    alpha: float
    comparisons: int
    loops: bool
    seed: int
    family_size: int
    causal: Causal | None
    passed_on: float = 1.0
    code: types.CodeType | None = None
    verdicts: list[Verdict] = field(default_factory=list)
    name: VerdictName = "not run"
    deciding: int | None = None
    error: str = ""
    status: Status | None = None
    """How the claim stands to the lock file, where there is one."""

    _lines: list[int | None] = field(default_factory=list)
    """Of the test, from which each verdict was asked; None where the test did not ask itself."""

    def hear(self, verdict: Verdict) -> None:
        """Take in a verdict whose truth is asked."""
        self.verdicts.append(verdict)
        frame = sys._getframe(1)  # noqa: SLF001 - as logging finds who called
        while frame is not None and frame.f_code is not self.code:
            frame = frame.f_back
        self._lines.append(None if frame is None else frame.f_lineno)

    def asked_in(self, lines: range) -> bool:
        """Whether a verdict was asked from some lines of the test, or may have been."""
        return any(line is None or line in lines for line in self._lines)

    @property
    def parts(self) -> int:
        """Share of the error rate for refuting the comparison asked next: one in so many.

        What gates pass on is for support only: a gate that is true is not used up by its own
        support, so that refutations of its dependants would come on top of its own.
        """
        return math.ceil(self.shares(len(self.verdicts)) * self.passed_on - 1e-9)

    def shares(self, index: int) -> float:
        """Return in how many shares the error rate is cut for one comparison to get one.

        Of comparisons whose number is known, each gets an equal share. Else the j-th gets
        6 / (pi j)^2, which add up to 1 however many there are. One that is asked beyond those
        that are written finds nothing left: it can be supported, but refuted by certainty only.
        """
        if self.loops:
            return math.pi**2 / 6 * (index + 1) ** 2
        return self.comparisons if index < self.comparisons else _NOTHING_LEFT


def conclude(item: pytest.Item, hearing: Hearing, error: BaseException | None) -> None:
    """Name the claim's verdict and let the test pass or fail accordingly.

    Raises
    ------
    BaseException
        Whatever the test shall end with.
    """
    marked = marks(item)
    _note_status(item, hearing)
    hearing.name, hearing.deciding = _verdict(hearing, error, exploratory=marked.exploratory)
    unsound = ""
    if hearing.name in VERDICTS:
        unsound = checking.misused(item, hearing, error) or checking.ailing(item, hearing)
    if unsound:
        hearing.name, hearing.deciding, hearing.error = "error", None, unsound
    item.user_properties.extend(_properties(item, hearing))
    if isinstance(error, pytest.skip.Exception):
        raise error
    if unsound:
        pytest.fail(unsound, pytrace=False)
    if hearing.name == "error":
        _end_in_error(hearing, error)
    if hearing.name in (marked.expect, "exploratory"):
        _check_registered(item, hearing)
        return
    if marked.expect != "supported":
        pytest.fail(_unexpected(hearing, marked.expect), pytrace=False)
    if hearing.name == "inconclusive":
        _end_undecided(item, hearing, error)
    if error is not None:
        raise error


def _end_in_error(hearing: Hearing, error: BaseException | None) -> NoReturn:
    if error is not None:
        hearing.error = str(error) or type(error).__name__
        raise error
    hearing.error = (
        "the test asked no claim: it measured, but no comparison's truth was asked\n"
        "write the claim as an assert, e.g. assert effect > 0.5"
    )
    pytest.fail(hearing.error, pytrace=False)


def _end_undecided(item: pytest.Item, hearing: Hearing, error: BaseException | None) -> NoReturn:
    """End as the settings say; lack of evidence never passes, also where the test swallowed it."""
    chosen, explained = _on_inconclusive(item), _explain(hearing)
    if chosen == "skip":
        pytest.skip(explained)
    if chosen == "xfail":
        pytest.xfail(explained)
    raise error or Inconclusive(explained)


def _note_status(item: pytest.Item, hearing: Hearing) -> None:
    from causaltest.plugin.session import STATE

    assert isinstance(item, pytest.Function)
    hearing.status = registered.status_of(item.config.stash[STATE], item, hearing)


def _on_inconclusive(item: pytest.Item) -> str:
    from causaltest.plugin.session import STATE

    if registered.is_strict(item.config):
        return "fail"
    return item.config.stash[STATE].settings.inconclusive


def _check_registered(item: pytest.Item, hearing: Hearing) -> None:
    """Fail a claim that holds but was not frozen before, where that is asked for."""
    status = hearing.status
    if status is None or status.standing == "registered" or hearing.name == "exploratory":
        return
    if registered.is_strict(item.config):
        pytest.fail(
            f"the claim is {hearing.name}, but {status.standing}: {', '.join(status.changes)}\n"
            "--causal-strict takes registered claims only; register it, then judge it on pairs "
            "that it was not fitted to",
            pytrace=False,
        )


def _verdict(
    hearing: Hearing, error: BaseException | None, *, exploratory: bool
) -> tuple[VerdictName, int | None]:
    """Name the verdict; what only looks is never supported or refuted."""
    name, deciding = _decided(hearing, error)
    return ("exploratory" if exploratory and name in VERDICTS else name), deciding


def _decided(hearing: Hearing, error: BaseException | None) -> tuple[VerdictName, int | None]:
    """Decide the whole claim: all parts must hold, and the first that does not decides."""
    if isinstance(error, pytest.skip.Exception):
        return "not run", None
    names = [verdict.name for verdict in hearing.verdicts]
    failed = next((i for i, name in enumerate(names) if name != "supported"), None)
    if error is not None:
        # An assertion that has nothing to do with a verdict is no evidence about the claim.
        if isinstance(error, AssertionError) and failed is not None:
            return cast("VerdictName", names[failed]), failed
        return "error", None
    if not names:
        return "error", None
    if failed is not None:
        return cast("VerdictName", names[failed]), failed
    weakest = max(range(len(names)), key=lambda i: hearing.verdicts[i].p_support)
    return "supported", weakest


def _explain(hearing: Hearing) -> str:
    if hearing.deciding is None:
        return hearing.name
    return "\n".join(hearing.verdicts[hearing.deciding].explain())


def _unexpected(hearing: Hearing, expected: str) -> str:
    return f"the claim was expected to be {expected}, but it is {hearing.name}\n{_explain(hearing)}"


def _properties(item: pytest.Item, hearing: Hearing) -> list[tuple[str, object]]:
    """Return what JUnit files hold of a claim: one line for people, fields for machines."""
    found: list[tuple[str, object]] = [(f"causal:{_identifier(item)}", _property(hearing))]
    found.append(("causal.verdict", hearing.name))
    if hearing.deciding is not None:
        verdict = hearing.verdicts[hearing.deciding]
        low, high = verdict.interval.low, verdict.interval.high
        found.append(("causal.estimate", f"{verdict.estimate:.6g}"))
        found.append(("causal.interval", f"[{low:.6g}, {high:.6g}]"))
    return found


def _identifier(item: pytest.Item) -> str:
    assert isinstance(item, pytest.Function)
    return identity.claim_id(item)


def _property(hearing: Hearing) -> str:
    if hearing.deciding is None:
        return hearing.name
    verdict = hearing.verdicts[hearing.deciding]
    low, high = verdict.interval.low, verdict.interval.high
    return f"{hearing.name} {verdict.estimate:+.3f} [{low:+.3f}, {high:+.3f}] n={verdict.n_pairs}"


def explanation(hearing: Hearing | None, op: str, left: object, right: object) -> list[str] | None:
    """Return the lines that pytest prints below a comparison that was refuted."""
    if hearing is None or not hearing.verdicts or op not in (">", "<"):
        return None
    if not any(type(side).__module__.startswith("causaltest.stats") for side in (left, right)):
        return None
    return list(hearing.verdicts[-1].explain())


def attach(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
    """Put the claim on the report of the phase that settles it."""
    import msgspec

    from causaltest.plugin.payload import Payload, encode
    from causaltest.plugin.session import STATE

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
    from causaltest.plugin.session import STATE
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


def shorten_traceback(call: pytest.CallInfo[None]) -> None:
    """Cut a deliberate error down to the user's own lines: the message says the rest."""
    excinfo = call.excinfo
    if excinfo is None or not isinstance(excinfo.value, (CausaltestError, Inconclusive)):
        return
    entries = list(traceback.walk_tb(excinfo.tb))
    own = [index for index, (frame, _) in enumerate(entries) if _is_users(frame)]
    if not own:  # a fixture of ours: show that, not what it called
        own = [i for i, (frame, _) in enumerate(entries) if frame.f_code.co_filename == _FIXTURES]
    kept = entries[: own[-1] + 1] if own else entries[-1:]
    shortened = None
    for frame, line in reversed(kept):
        shortened = types.TracebackType(shortened, frame, frame.f_lasti, line)
    error = excinfo.value.with_traceback(shortened)
    # What led to it is in the message; the stack of a library below helps nobody.
    error.__cause__ = None
    error.__suppress_context__ = True
    call.excinfo = pytest.ExceptionInfo.from_exception(error)


def _is_users(frame: types.FrameType) -> bool:
    if frame.f_globals.get("__name__", "").partition(".")[0] == __name__.partition(".")[0]:
        return False  # code that dataclasses make has no file
    path = Path(frame.f_code.co_filename)
    return not path.is_relative_to(_PACKAGE) and "site-packages" not in path.parts
