"""The session: settings, the levels of all hypotheses, and the one that is heard now."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Container, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.runner import runtestprotocol

from causaltest.errors import EvidenceError
from causaltest.plugin import (
    families,
    gates,
    identity,
    models,
    options,
    registered,
    source,
    specifications,
)
from causaltest.plugin.prepared import Prepared
from causaltest.plugin.refusals import Refusals

if TYPE_CHECKING:
    from causaltest.baseline import Baseline
    from causaltest.cache import Cache
    from causaltest.experiment import Causal
    from causaltest.plugin.hearing import Hearing
    from causaltest.plugin.outcome import Outcome
    from causaltest.plugin.roster import Roster
    from causaltest.records import Claim
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
        self.started = datetime.now(UTC)
        self.clock = time.perf_counter()
        self.has_begun = False
        """Whether this process collected a test that uses the plugin."""
        self.baseline: Baseline | None = None
        self.outcome: Outcome | None = None
        """What comes of the run, where this process writes and there may be claims."""

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

    def begin(self) -> None:
        """Watch tests from here on: some use the plugin, and only they shall pay for it."""
        if self.has_begun:
            return
        from causaltest.plugin import running

        self.has_begun = True
        self.config.pluginmanager.register(running, "causaltest-running")
        if not self.is_worker:
            self.listen()

    def listen(self) -> None:
        """Take in claims from here on."""
        if self.outcome is None:
            from causaltest.plugin.outcome import Outcome

            self.outcome = Outcome(self)
            self.config.pluginmanager.register(self.outcome, "causaltest-outcome")

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
        from causaltest.plugin import recording, roster

        headline = self.headline()
        return roster.Roster(
            collected=self._collected,
            headline=headline if isinstance(headline, str) else "",
            claims=tuple(map(recording.claim_not_run, self._items.values())),
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
            observe=hearing.listener(),
        )

    def open(self, item: pytest.Item) -> Hearing:
        """Start to hear one hypothesis."""
        from causaltest.plugin.hearing import Hearing

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

    def left_out(self, ran: Container[str]) -> list[Claim]:
        """Return the claims that were selected and did not run."""
        if self.roster is not None:
            return [claim for claim in self.roster.claims if claim.id not in ran]
        from causaltest.plugin.recording import claim_not_run

        waiting = (item for item in self._items.values() if identity.claim_id(item) not in ran)
        return list(map(claim_not_run, waiting))

    @property
    def collected(self) -> int:
        """Hypotheses that were collected, whatever was selected."""
        return self._collected if self.roster is None else self.roster.collected

    def shares(self) -> dict[str, float]:
        """Return the shares of all claims, of those that did not run too."""
        flat = self.families.flat
        known = self.families.everyone.items()
        return {identity.claim_id(item): flat[name] for name, item in known if name in flat}


def _hypotheses(items: Sequence[pytest.Item]) -> dict[str, pytest.Function]:
    return {
        item.nodeid: item
        for item in items
        if isinstance(item, pytest.Function) and families.is_hypothesis(item)
    }


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _seed(root: int, item: pytest.Function) -> int:
    """Derive a hypothesis's seed from its id, so that order and selection do not matter."""
    digest = hashlib.sha256(f"{root}|{identity.claim_id(item)}".encode()).digest()
    return int.from_bytes(digest[:6], "big")
