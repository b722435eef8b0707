"""What comes of a run, in the process that writes: claims as they come in, results at the end."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from causaltest.errors import RecordError
from causaltest.plugin import against, github, keeping, options, recording, registered
from causaltest.plugin.environment import describe_environment
from causaltest.plugin.streaming import Stream

if TYPE_CHECKING:
    from causaltest.baseline import Baseline, Comparison
    from causaltest.plugin.payload import Payload
    from causaltest.plugin.session import Session
    from causaltest.records import Claim, ModelRecord, PairSetRecord, Results, Run


class Outcome:
    """Takes in claims, of this process or those that xdist's workers send, and writes them.

    A plugin of its own: no report of a test passes here where a suite has no hypotheses.

    Parameters
    ----------
    session
        The run's state.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._config = session.config
        self._not_loaded: dict[str, str] = {}
        self._claims: dict[str, Claim] = {}
        self._shares: dict[str, float] = {}
        """Of its family's level by its weight alone, for each claim that was heard."""
        self._models: dict[str, ModelRecord] = {}
        self._pair_sets: dict[str, PairSetRecord] = {}
        self._results: Results | None = None
        self._comparison: Comparison | None = None
        self._stream: Stream | None = None
        self._troubles: list[str] = []
        self._is_due = False
        """Whether a comparison was asked for that could not be made."""
        self._written = False
        self.is_unwritten = False
        """Whether the run could not keep what it was to keep; verdicts are printed all the same."""
        self._kept: list[str] = []

    @property
    def _settings(self) -> options.Settings:
        return self._session.settings

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take in the claim that a report carries; say once in full that a model is not there."""
        said = getattr(report, "causal_not_loaded", "")
        first = self._not_loaded.setdefault(said, report.nodeid) if said else report.nodeid
        if first != report.nodeid:
            report.longrepr = f"its model could not be loaded; {first} says why"
        payload = recording.payload_of(report)
        if payload is not None:
            self._receive(payload)

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(
        self, report: pytest.TestReport
    ) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
        """Show an inconclusive claim as `I`; it stays a failure for pytest."""
        if getattr(report, "causal_verdict", "") == "inconclusive" and report.failed:
            return "failed", "I", ("INCONCLUSIVE", {"yellow": True})
        return None

    def _receive(self, payload: Payload) -> None:
        """Take in one claim, on the process that writes."""
        claim = payload.claim
        self._claims[claim.id] = claim
        if payload.share is not None:
            self._shares[claim.id] = payload.share
        self._models.update({each.name: each for each in payload.models})
        self._pair_sets.update({each.sha256: each for each in payload.pair_sets})
        if self._settings.report is None:
            return
        if self._stream is None:
            self._stream = Stream(self._settings.report / "results.jsonl")
        try:
            self._stream.append(claim, self._run_so_far())
        except RecordError as error:
            self._troubles.append(str(error))

    def lose(self, nodeid: str, said: str) -> str:
        """Note that a crash took a claim, if it was one; return what to tell."""
        from causaltest.plugin.payload import Payload

        roster = self._session.roster
        known = () if roster is None else roster.claims
        lost = next((claim for claim in known if claim.nodeid == nodeid), None)
        if lost is None or lost.id in self._claims:
            return ""
        import msgspec

        error = (
            f"{said}\n"
            "the claim is lost: it has no verdict, and the claims of all other tests stand\n"
            f"run it alone to see the crash: pytest -n0 {shlex.quote(nodeid)}; if memory ran out, "
            "take fewer workers"
        )
        self._receive(
            Payload(msgspec.structs.replace(lost, verdict="error", outcome="error", error=error))
        )
        return error

    def _run_so_far(self) -> Run:
        """Describe the run for the running file, so that a killed run can still be read."""
        from causaltest.records import Run

        return Run(
            alpha=self._settings.alpha,
            correction=self._settings.correction,
            seed=self._settings.seed,
            started=self._session.started.isoformat(timespec="seconds"),
            partial=True,
        )

    def finish(self) -> None:
        """Assemble the results and write them, once, where claims were heard."""
        if not self._claims:
            return
        from causaltest.plugin.results import assemble

        session = self._session
        left_out = session.left_out(self._claims)
        self._results = assemble(
            self._claims.values(),
            left_out,
            settings=self._settings,
            partial=len(self._claims) < session.collected or self._settings.max_pairs is not None,
            models=tuple(self._models.values()),
            pair_sets=tuple(self._pair_sets.values()),
            environment=describe_environment(self._config),
            started=session.started.isoformat(timespec="seconds"),
            seconds=time.perf_counter() - session.clock,
            notes=(*self._looks(), *self._facts()),
            shares=session.shares() | self._shares,
        )
        self._compare()
        self._config.hook.pytest_causal_report(config=self._config, results=self._results)
        kept, troubles = keeping.keep(self._results, self._config)
        self._kept += kept
        self._troubles += troubles
        self.is_unwritten = bool(troubles)
        if self._settings.report is not None:
            self._write(self._results)
        trouble = github.write_summary(self._results, self._comparison)
        if trouble:
            self._troubles.append(trouble)

    @property
    def is_worse(self) -> bool:
        """Whether the run is worse than its baseline, or could not be compared with it."""
        if self._comparison is not None:
            return bool(self._comparison.worse)
        # A selection may well leave out all that the baseline has.
        whole = self._results is not None and not self._results.run.partial
        return whole and self._is_due

    def _compare(self) -> None:
        """Compare with the baseline and note the outcome in the records."""
        assert self._results is not None
        session, kept = self._session, False
        try:
            if session.baseline is None:
                session.baseline = self._kept_baseline()
                kept = session.baseline is not None
            if session.baseline is None:
                return
            self._comparison, self._results = against.compared(
                self._results, session.baseline, against.margin(self._config)
            )
        except (RecordError, pytest.UsageError) as error:
            # Other files have other claims, and nobody asked for the comparison: no failure.
            self._is_due = not kept
            which = f"baseline {against.DEFAULT.as_posix()}" if kept else "baseline"
            self._troubles.append(f"cannot compare with the {which}: {error}")

    def _kept_baseline(self) -> Baseline | None:
        """Return the baseline that the project keeps, if it is of the models of this run."""
        found = against.kept(self._config)
        if found is None or {each.name for each in found.models} >= self._models.keys():
            return found
        names = " and ".join(sorted(each.name for each in found.models))
        self._kept.append(f"not compared with {against.DEFAULT.as_posix()}, which is of {names}")
        return None

    def _facts(self) -> list[str]:
        """Gather what a reader must know of the run as a whole."""
        provenance: dict[str, str] = {}
        self._config.hook.pytest_causal_provenance(config=self._config, provenance=provenance)
        told = [f"{name}: {fact}" for name, fact in provenance.items()]
        most = self._settings.max_pairs
        if most is not None:
            told.append(f"A quick look: {most} pairs of each set at most (--causal-max-pairs).")
        return told

    def _looks(self) -> tuple[str, ...]:
        """Enter this run into the ledger of looks, and say how often its pairs were opened."""
        if self._session.lock is None:
            return ()
        from causaltest.registration import look
        from causaltest.report.numbers import plural

        judged = {
            part.pair_set_sha256: part.pair_set
            for claim in self._claims.values()
            for part in claim.parts
            if part.pair_set_sha256 and claim.verdict != "exploratory"
        }
        started = self._session.started.isoformat(timespec="seconds")
        try:
            looks = look(registered.lock_path(self._config).parent, judged, started)
        except RecordError as error:
            self._troubles.append(str(error))
            return ()
        told = ", ".join(
            f"{judged[sha256]} {plural(number, 'time')}"
            for sha256, number in sorted(looks.items(), key=lambda each: judged[each[0]])
        )
        return (f"Pair sets opened for judged claims so far, this run included: {told}.",)

    def _write(self, results: Results) -> None:
        from causaltest.records import write
        from causaltest.report import html

        assert self._settings.report is not None
        path = self._settings.report / "results.json"
        if self._stream is not None:
            self._stream.close()
        try:
            if path.exists() and path.stat().st_mtime > self._session.started.timestamp():
                self._troubles.append(
                    f"another run wrote {path} while this one ran, and was written over\n"
                    "give each run a folder of its own with --causal-report"
                )
            write(results, path)
            past = keeping.past_of(self._config, self._session.baseline)
            html.write(results, self._settings.report / "report.html", past=past)
            self._written = True
        except (OSError, RecordError) as error:
            self._troubles.append(f"cannot write to {self._settings.report}: {error}")
            self.is_unwritten = True

    def summarise(self, reporter: Any) -> None:
        """Print the table of claims, the comparison with the baseline, where the report is."""
        if self._results is None:
            return
        from causaltest.report.comparison import table
        from causaltest.report.side_by_side import side_by_side
        from causaltest.report.terminal import claims_table
        from causaltest.report.text import visible

        writer = reporter._tw  # noqa: SLF001 - the only way to its width
        encoding = getattr(sys.stdout, "encoding", None) or "ascii"
        unicode = encoding.lower().replace("-", "") == "utf8"
        reporter.section("causal claims")
        claims = claims_table(
            self._results, width=writer.fullwidth, unicode=unicode, colour=writer.hasmarkup
        )
        reporter.write_line(claims)
        models = side_by_side(self._results, width=writer.fullwidth, unicode=unicode)
        if models:
            reporter.section("causal models")
            reporter.write_line(models)
        if self._comparison is not None:
            reporter.section("causal baseline")
            drawn = table(self._comparison, width=writer.fullwidth)
            reporter.write_line(drawn if unicode else _ascii(drawn))
        for trouble in self._troubles:
            shown = visible(trouble, block=True)
            reporter.write_line(f"causaltest: {shown if unicode else _ascii(shown)}", red=True)
        if self._written and self._settings.report is not None:
            reporter.write_line(f"report: {_shown(self._settings.report / 'report.html')}")
        for line in self._kept:
            reporter.write_line(line if unicode else _ascii(line))
        for line in github.marks(self._results, self._config):
            reporter.write_line(line)


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode("ascii")


def _shown(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
