"""The process that writes: what it refuses before any test, and how it steers xdist."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest

from causaltest.plugin import against, refusals, registered
from causaltest.plugin.session import STATE, Session

if TYPE_CHECKING:
    from causaltest.plugin.roster import Roster

FOLDER = "causaltest_roster"
"""Where workers tell what they collected, in what xdist hands to them."""
CHOSEN: pytest.StashKey[bool] = pytest.StashKey()
"""Whether somebody chose how xdist distributes."""


def note_distribution(config: pytest.Config) -> None:
    """Note whether `--dist` was given; xdist fills it in later."""
    option = config.option
    chosen = getattr(option, "dist", "no") != "no" or getattr(option, "distload", False)
    config.stash[CHOSEN] = chosen


class Controller:
    """Steers a run from the process that writes; workers only send claims.

    Parameters
    ----------
    config
        pytest's configuration.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._folder: TemporaryDirectory[str] | None = None

    @property
    def _state(self) -> Session:
        return self._config.stash[STATE]

    def pytest_sessionstart(self) -> None:
        """Refuse a damaged lock or baseline here: an xdist worker could not say it as clearly."""
        registered.check(self._config)
        self._state.baseline = against.read(self._config)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell each worker where to say what it collected; any of them may send claims."""
        self._state.listen()
        if self._folder is None:
            self._folder = TemporaryDirectory(prefix="causaltest-", ignore_cleanup_errors=True)
        node.workerinput[FOLDER] = self._folder.name

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        """Group tests by model, unless the command line says how to distribute them."""
        chosen = config.stash.get(CHOSEN, True)
        if chosen or config.getvalue("dist") != "load":
            return None
        if not config.getini("causal_group_by_model"):
            return None
        from causaltest.plugin.scheduling import ByModel

        return ByModel(config, log, self._roster, self._announce)

    def _roster(self) -> Roster | None:
        """Return what the workers told, once they have."""
        if self._state.roster is None and self._folder is not None:
            from causaltest.plugin import roster

            self._state.roster = roster.read(Path(self._folder.name))
        return self._state.roster

    def _announce(self, workers: int, widest: int) -> None:
        """Say what will be tested, as a run in one process does, and by how many."""
        roster = self._state.roster
        reporter: Any = self._config.pluginmanager.getplugin("terminalreporter")
        if roster is None or not roster.headline or reporter is None:
            return
        shared = "one worker a model" if widest == 1 else f"up to {widest} workers a model"
        reporter.ensure_newline()
        reporter.write_line(f"{roster.headline}\nxdist: {workers} workers, {shared}")
        if workers > 1 and "OMP_NUM_THREADS" not in os.environ:
            cores = os.cpu_count() or 1
            reporter.write_line(
                f"xdist: each worker uses all {cores} cores; OMP_NUM_THREADS="
                f"{max(1, cores // workers)} keeps them out of each other's way"
            )

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self) -> None:
        """Read what the workers told, whoever distributes the tests."""
        self._roster()

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem: str, report: pytest.TestReport) -> None:
        """Name the claim that a crashed worker took with it."""
        outcome = self._state.outcome
        told = "" if outcome is None else outcome.lose(crashitem, str(report.longrepr))
        if told:
            report.longrepr = told

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Refuse here what an xdist worker refused at collection."""
        _ = error
        refusals.raise_sent(node)

    def pytest_unconfigure(self) -> None:
        """Take away what workers told."""
        if self._folder is not None:
            self._folder.cleanup()


def tell_roster(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tell the controlling process what this worker collected, where hypotheses are among it."""
    given: dict[str, Any] = getattr(config, "workerinput", {})
    state = config.stash[STATE]
    if FOLDER not in given or not state.has_hypotheses:
        return
    from causaltest.plugin import roster

    roster.write(Path(given[FOLDER]), given["workerid"], state.as_roster(items))
