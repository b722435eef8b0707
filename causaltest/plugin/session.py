"""The session: levels of all hypotheses, claims as they come in, results at the end."""

from __future__ import annotations

import hashlib
import shlex
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.runner import runtestprotocol

from causaltest.errors import EvidenceError, RecordError
from causaltest.plugin import (
    against,
    families,
    gates,
    github,
    identity,
    keeping,
    models,
    options,
    registered,
    source,
    specifications,
)
from causaltest.plugin.claims import Hearing, claim_not_run
from causaltest.plugin.environment import describe_environment
from causaltest.plugin.prepared import Prepared
from causaltest.plugin.refusals import Refusals
from causaltest.plugin.streaming import Stream

if TYPE_CHECKING:
    from causaltest.baseline import Baseline, Comparison
    from causaltest.cache import Cache
    from causaltest.experiment import Causal
    from causaltest.plugin.payload import Payload
    from causaltest.plugin.roster import Roster
    from causaltest.records import Claim, ModelRecord, PairSetRecord, Results, Run
    from causaltest.registration import Lock

STATE: pytest.StashKey[Session] = pytest.StashKey()


class Session:
    """What the plugin knows in one process.

    Parameters
    ----------
    config
        pytest's configuration.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.families = families.Families()
        self.refusals = Refusals(config)
        self.hearing: Hearing | None = None
        self.prepared = Prepared()
        self.verdicts: dict[str, str] = {}
        entries = config.getoption("causal_entries", None)
        self.collecting = registered.Collecting(Path(entries)) if entries else None
        self._settings: options.Settings | None = None
        self.roster: Roster | None = None
        """What the workers of xdist collected, where there are any."""
        self._items: dict[str, pytest.Function] = {}
        self._sizes: dict[str, int] = {}
        self._added: list[pytest.Function] = []
        self._collected = 0
        self._claims: dict[str, Claim] = {}
        self._shares: dict[str, float] = {}
        """Of its family's level by its weight alone, for each claim that was heard."""
        self._models: dict[str, ModelRecord] = {}
        self._pair_sets: dict[str, PairSetRecord] = {}
        self._started = datetime.now(UTC)
        self._clock = time.perf_counter()
        self._results: Results | None = None
        self.baseline: Baseline | None = None
        self._comparison: Comparison | None = None
        self._stream: Stream | None = None
        self._troubles: list[str] = []
        self._written = False
        self.is_unwritten = False
        """Whether the run could not keep what it was to keep; verdicts are printed all the same."""
        self._kept: list[str] = []

    @property
    def settings(self) -> options.Settings:
        """Checked settings, read on first use: a suite without hypotheses never reads them."""
        if self._settings is None:
            self._settings = options.read(self.config)
        return self._settings

    @cached_property
    def lock(self) -> Lock | None:
        """What was registered, where anything was."""
        return registered.lock_of(self.config)

    @property
    def is_worker(self) -> bool:
        """Whether this process is an xdist worker, which writes nothing."""
        return hasattr(self.config, "workerinput")

    def settle(self, items: list[pytest.Item]) -> None:
        """Fix levels after selection: they depend on what was collected, not on what is left.

        Gates are put before what depends on them, and run even where they were not selected.

        Raises
        ------
        pytest.UsageError
            A setting or a gate is wrong, or a level is too small for any verdict.
        """
        self._items = _hypotheses(items)
        if not self._items:
            return
        families.complete(self.families)
        specifications.check(self.families.everyone)
        identity.check(self.families.everyone)
        if any(self.families.gates.get(nodeid) for nodeid in self._items):
            everyone = self.families.everyone
            items[:], self._added = gates.with_gates(items, self.families.gates, everyone)
            self._items = _hypotheses(items)
        if self.collecting is not None:
            for item in self._items.values():
                self.collecting.add(self, item)
            self.collecting.write()
            # Nothing but hypotheses is set up for a registration.
            items[:] = list(self._items.values())
        else:
            _ = self.lock  # A damaged lock is told before any model runs.
        from causaltest.stats.judge import check_resolution

        for nodeid, item in self._items.items():
            try:
                check_resolution(self.level(item), parts=source.count_comparisons(item.function))
            except EvidenceError as error:
                raise pytest.UsageError(f"{nodeid}: {error}") from error
        self._collected = sum(map(len, self.families.members.values()))

    @property
    def has_hypotheses(self) -> bool:
        """Whether any hypothesis will run here."""
        return bool(self._items)

    def as_roster(self, items: list[pytest.Item]) -> Roster:
        """Return what was collected here, for the process that writes."""
        from causaltest.plugin import roster

        headline = self.headline()
        return roster.Roster(
            collected=self._collected,
            headline=headline if isinstance(headline, str) else "",
            claims=tuple(map(claim_not_run, self._items.values())),
            models=roster.models_of(items),
        )

    def level(self, item: pytest.Function) -> float:
        """Return the level at which a hypothesis is decided."""
        if self.settings.correction == "none":
            return self.settings.alpha
        return families.level(self.families, item, self.settings.alpha)

    def headline(self) -> str | list[str]:
        """Return the line after collection."""
        if not self._items or (self.config.getoption("verbose", 0) or 0) < 0:
            return []
        names = {families.model_key(item) for item in self._items.values()}
        # A suite that brings its own models does not say at collection how many there are.
        models = "" if "" in names else f" on {_counted(len(names), 'model', 'models')}"
        settings = self.settings
        more = ""
        if self._added:
            also = ", ".join(gates.short(item.nodeid) for item in self._added)
            more = f"\ncausaltest: not selected, but required by what is: {also}"
        return (
            f"causaltest: {_counted(len(self._items), 'hypothesis', 'hypotheses')}{models}, "
            f"alpha {settings.alpha:g} a file ({settings.correction}), seed {settings.seed}"
            f"{', sequential' if settings.sequential else ''}{more}"
        )

    def causal(self, model: Any) -> Causal:
        """Return the measuring instrument of one model."""
        from causaltest.experiment import Causal

        return Causal(
            models.wrap(model),
            judge=self._judge,
            sequential=self.settings.sequential,
            cache=self.cache,
        )

    @cached_property
    def cache(self) -> Cache | None:
        """Where numbers are kept for later runs; a registration measures nothing."""
        from causaltest.cache import Cache

        folder = self.settings.cache
        return None if folder is None or self.collecting is not None else Cache(folder)

    def _judge(self) -> Any:
        from causaltest.stats import Judge

        hearing = self.hearing
        if hearing is None:
            return Judge(alpha=self.settings.alpha, alpha_claim=self.settings.alpha)
        return Judge(
            alpha=self.settings.alpha,
            alpha_claim=hearing.alpha,
            parts=hearing.parts,
            seed=hearing.seed,
            observe=hearing.hear,
        )

    def open(self, item: pytest.Item) -> Hearing:
        """Start to hear one hypothesis."""
        assert isinstance(item, pytest.Function)
        causal: Any = item.funcargs.get("causal")
        self.hearing = Hearing(
            alpha=self.level(item),
            comparisons=source.count_comparisons(item.function),
            loops=source.has_loop(item.function),
            seed=_seed(self.settings.seed, item),
            family_size=families.size(self.families, item),
            causal=causal if hasattr(causal, "trail") else None,
            code=source.code_of(item.function),
            passed_on=self._passed_on(item),
        )
        if self.hearing.causal is not None:
            self.hearing.causal.trail.clear()
            self.prepared.lay(item, self.hearing.causal)
        return self.hearing

    def _passed_on(self, item: pytest.Function) -> float:
        none = self.settings.correction == "none"
        return 1.0 if none else families.passed_on(self.families, item)

    def decide_gates(self, item: pytest.Item) -> None:
        """Decide gates that this process has not seen decided: under xdist another one has.

        Their results are deterministic, so deciding them again is exact; nothing is reported.
        """
        for gate in () if self.collecting else self.families.gates.get(item.nodeid, ()):
            if gate in self.verdicts:
                continue
            again = self.families.everyone[gate]
            self.decide_gates(again)
            item.session._setupstate.teardown_exact(again)  # noqa: SLF001 - the next test is this
            runtestprotocol(again, log=False, nextitem=item)

    def check_gates(self, item: pytest.Item) -> None:
        """Skip a hypothesis whose gates are not all supported; it spends none of the level."""
        for gate in () if self.collecting else self.families.gates.get(item.nodeid, ()):
            verdict = self.verdicts.get(gate, "not run")
            if verdict != "supported":
                pytest.skip(f"not tested: gate {gates.short(gate)} is {verdict}")

    def receive(self, payload: Payload) -> None:
        """Take in one claim, on the process that writes."""
        claim = payload.claim
        self._claims[claim.id] = claim
        if payload.share is not None:
            self._shares[claim.id] = payload.share
        self._models.update({each.name: each for each in payload.models})
        self._pair_sets.update({each.sha256: each for each in payload.pair_sets})
        if self.settings.report is None:
            return
        if self._stream is None:
            self._stream = Stream(self.settings.report / "results.jsonl")
        try:
            self._stream.append(claim, self._run_so_far())
        except RecordError as error:
            self._troubles.append(str(error))

    def lose(self, nodeid: str, said: str) -> str:
        """Note that a crash took a claim, if it was one; return what to tell."""
        from causaltest.plugin.payload import Payload

        known = () if self.roster is None else self.roster.claims
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
        self.receive(
            Payload(msgspec.structs.replace(lost, verdict="error", outcome="error", error=error))
        )
        return error

    def _run_so_far(self) -> Run:
        """Describe the run for the running file, so that a killed run can still be read."""
        from causaltest.records import Run

        return Run(
            alpha=self.settings.alpha,
            correction=self.settings.correction,
            seed=self.settings.seed,
            started=self._started.isoformat(timespec="seconds"),
            partial=True,
        )

    def finish(self) -> None:
        """Assemble the results and write them, once, where claims were heard."""
        if self.collecting is not None:
            self.collecting.write()
        if self.is_worker or not self._claims:
            return
        from causaltest.plugin.results import assemble

        ran = set(self._claims)
        if self.roster is None:
            waiting = (item for item in self._items.values() if identity.claim_id(item) not in ran)
            left_out, collected = list(map(claim_not_run, waiting)), self._collected
        else:
            left_out = [claim for claim in self.roster.claims if claim.id not in ran]
            collected = self.roster.collected
        self._results = assemble(
            self._claims.values(),
            left_out,
            settings=self.settings,
            partial=len(ran) < collected or self.settings.max_pairs is not None,
            models=tuple(self._models.values()),
            pair_sets=tuple(self._pair_sets.values()),
            environment=describe_environment(self.config),
            started=self._started.isoformat(timespec="seconds"),
            seconds=time.perf_counter() - self._clock,
            notes=(*self._looks(), *self._facts()),
            shares=self._all_shares(),
        )
        self._compare()
        self.config.hook.pytest_causal_report(config=self.config, results=self._results)
        self._kept, troubles = keeping.keep(self._results, self.config)
        self._troubles += troubles
        self.is_unwritten = bool(troubles)
        if self.settings.report is not None:
            self._write(self._results)
        trouble = github.write_summary(self._results, self._comparison)
        if trouble:
            self._troubles.append(trouble)

    def _all_shares(self) -> dict[str, float]:
        """Return the shares of all claims, of those that did not run too."""
        flat = self.families.flat
        known = self.families.everyone.items()
        shares = {identity.claim_id(item): flat[name] for name, item in known if name in flat}
        return shares | self._shares

    @property
    def is_worse(self) -> bool:
        """Whether the run is worse than its baseline, or could not be compared with it."""
        if self._comparison is not None:
            return bool(self._comparison.worse)
        # A selection may well leave out all that the baseline has.
        whole = self._results is not None and not self._results.run.partial
        return whole and self.baseline is not None

    def _compare(self) -> None:
        """Compare with the baseline and note the outcome in the records."""
        if self.baseline is None or self._results is None:
            return
        try:
            self._comparison, self._results = against.compared(
                self._results, self.baseline, against.margin(self.config)
            )
        except RecordError as error:
            self._troubles.append(f"cannot compare with the baseline: {error}")

    def _facts(self) -> list[str]:
        """Gather what a reader must know of the run as a whole."""
        provenance: dict[str, str] = {}
        self.config.hook.pytest_causal_provenance(config=self.config, provenance=provenance)
        told = [f"{name}: {fact}" for name, fact in provenance.items()]
        most = self.settings.max_pairs
        if most is not None:
            told.append(f"A quick look: {most} pairs of each set at most (--causal-max-pairs).")
        return told

    def _looks(self) -> tuple[str, ...]:
        """Enter this run into the ledger of looks, and say how often its pairs were opened."""
        if self.lock is None:
            return ()
        from causaltest.registration import look

        judged = {
            part.pair_set_sha256: part.pair_set
            for claim in self._claims.values()
            for part in claim.parts
            if part.pair_set_sha256 and claim.verdict != "exploratory"
        }
        started = self._started.isoformat(timespec="seconds")
        try:
            looks = look(registered.lock_path(self.config).parent, judged, started)
        except RecordError as error:
            self._troubles.append(str(error))
            return ()
        told = ", ".join(
            f"{judged[sha256]} {_counted(number, 'time', 'times')}"
            for sha256, number in sorted(looks.items(), key=lambda each: judged[each[0]])
        )
        return (f"Pair sets opened for judged claims so far, this run included: {told}.",)

    def _write(self, results: Results) -> None:
        from causaltest.records import write
        from causaltest.report import html

        assert self.settings.report is not None
        path = self.settings.report / "results.json"
        if self._stream is not None:
            self._stream.close()
        try:
            if path.exists() and path.stat().st_mtime > self._started.timestamp():
                self._troubles.append(
                    f"another run wrote {path} while this one ran, and was written over\n"
                    "give each run a folder of its own with --causal-report"
                )
            write(results, path)
            past = keeping.past_of(self.config, self.baseline)
            html.write(results, self.settings.report / "report.html", past=past)
            self._written = True
        except (OSError, RecordError) as error:
            self._troubles.append(f"cannot write to {self.settings.report}: {error}")
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
        if self._written and self.settings.report is not None:
            reporter.write_line(f"report: {_shown(self.settings.report / 'report.html')}")
        for line in self._kept:
            reporter.write_line(line if unicode else _ascii(line))
        for line in github.marks(self._results, self.config):
            reporter.write_line(line)


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode("ascii")


def _hypotheses(items: Sequence[pytest.Item]) -> dict[str, pytest.Function]:
    return {
        item.nodeid: item
        for item in items
        if isinstance(item, pytest.Function) and families.is_hypothesis(item)
    }


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _shown(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _seed(root: int, item: pytest.Function) -> int:
    """Derive a hypothesis's seed from its id, so that order and selection do not matter."""
    digest = hashlib.sha256(f"{root}|{identity.claim_id(item)}".encode()).digest()
    return int.from_bytes(digest[:6], "big")
