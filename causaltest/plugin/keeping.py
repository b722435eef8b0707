"""What a run leaves for later ones where it is asked to: its baseline, its line in the history."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from causaltest.errors import RecordError
from causaltest.plugin import against, options

if TYPE_CHECKING:
    from causaltest.baseline import Baseline
    from causaltest.records import Results
    from causaltest.report.drift import Past


def updates_baseline(config: pytest.Config) -> bool:
    """Whether the run becomes the baseline."""
    return bool(config.getoption("causal_update_baseline", default=False))


def history_of(config: pytest.Config) -> Path | None:
    """Return where the history lies; None where none is kept.

    On the command line a path starts from where pytest was called, in a file from the root.
    """
    given = options.text(config, "history", "none")
    if given == "none":
        return None
    if config.getoption("causal_history", None):
        return config.invocation_params.dir / given
    return config.rootpath / given


def keep(results: Results, config: pytest.Config) -> tuple[list[str], list[str]]:
    """Keep what is asked for, and say what was kept and what could not be.

    Parameters
    ----------
    results
        The run's results.
    config
        pytest's configuration.
    """
    asked: list[Callable[[], str]] = []
    if updates_baseline(config):
        baseline = against.path_of(config) or config.rootpath / against.DEFAULT
        asked.append(partial(_update, results, baseline))
    history = history_of(config)
    if history is not None:
        asked.append(partial(_add, results, history))
    said: list[str] = []
    troubles: list[str] = []
    for each in asked:
        try:
            said.append(each())
        except RecordError as error:
            troubles.append(str(error))
    return said, troubles


def past_of(config: pytest.Config, baseline: Baseline | None) -> Past | None:
    """Return the history with this run in it, for the report; None where none is kept.

    Raises
    ------
    RecordError
        It cannot be read.
    """
    path = history_of(config)
    if path is None or not path.exists():
        return None
    from causaltest.records import history
    from causaltest.report.drift import Past

    least, bands = against.margin(config), dict[str, tuple[float, float]]()
    for claim in () if baseline is None else baseline.claims:
        if claim.parts:
            reach = least.of(claim.parts[0])
            middle = claim.parts[0].estimate
            bands[claim.id] = middle - reach, middle + reach
    return Past(history.read(path), bands)


def _add(results: Results, path: Path) -> str:
    """Add the run to the history."""
    from causaltest.records import history

    history.append(history.past(results), path)
    runs = len(history.read(path).runs)
    return f"history: {_shown(path)} ({runs} {'run' if runs == 1 else 'runs'})"


def _shown(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _update(results: Results, path: Path) -> str:
    """Write the entries of the claims that ran, and leave all others of the baseline alone."""
    from causaltest.baseline import keep, merged, read, write

    kept, before = keep(results), {}
    if path.exists():
        old = read(path)
        before = {each.id: each for each in old.claims}
        kept, _ = merged(old, kept)
    write(kept, path)
    after = {each.id: each for each in kept.claims if each.verdict not in ("error", "not run")}
    new = len(after.keys() - before.keys())
    gone = sorted(before.keys() - after.keys())
    changed = sum(before[name] != after[name] for name in after.keys() & before.keys())
    told = (
        f"baseline: {_shown(path)} ({len(after)} claims: {new} new, {changed} changed, "
        f"{len(gone)} gone)"
    )
    return "\n".join([told, *(f"no longer in it: {name}" for name in gone)])
