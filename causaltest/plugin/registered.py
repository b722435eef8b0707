"""Registered hypotheses: what a run is compared with, and what `causaltest register` collects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import causaltest
from causaltest.errors import RecordError
from causaltest.plugin import families, gates, identity, models, source
from causaltest.plugin.marks import marks

if TYPE_CHECKING:
    from causaltest.pairs import Pairs
    from causaltest.plugin.hearing import Hearing
    from causaltest.plugin.session import Session
    from causaltest.registration import Entry, Lock, Status


def entry_of(session: Session, item: pytest.Function) -> Entry:
    """Describe a hypothesis as a registration freezes it; after its fixtures, with their hashes.

    Parameters
    ----------
    session
        The run's state.
    item
        The hypothesis.
    """
    from causaltest.registration import Entry, fingerprint

    marked = marks(item)
    text, _ = families.claim_text(item)
    case = models.case_of(item)
    settings = session.settings
    causal: Any = _given(item).get("causal")
    return Entry(
        id=identity.claim_id(item),
        claim=f"{text} [{case}]" if case else text,
        expect=marked.expect,
        weight=marked.weight,
        requires=gates.of(item),
        exploratory=marked.exploratory,
        level=session.level(item),
        test_sha256=fingerprint(source.source_of(item.function), _file(item.path)),
        alpha=settings.alpha,
        seed=settings.seed,
        correction=settings.correction,
        version=causaltest.__version__,
        sequential=settings.sequential,
        pair_sets={pairs.name: pairs.sha256 for pairs in _pair_sets(item)},
        model_sha256=causal.model.sha256 if hasattr(causal, "trail") else "",
    )


def _given(item: pytest.Function) -> dict[str, Any]:
    """Return the values of a test's fixtures, where they are set up."""
    return getattr(item, "funcargs", {})


def _pair_sets(item: pytest.Function) -> Iterator[Pairs]:
    """Yield the pair sets that fixtures give to a test, also in lists and dicts."""
    from causaltest.pairs import Pairs

    for value in _given(item).values():
        if isinstance(value, Pairs):
            yield value
        elif isinstance(value, (list, tuple, dict)):
            members = value.values() if isinstance(value, dict) else value
            yield from (each for each in members if isinstance(each, Pairs))


def _made(item: pytest.Function, hearing: Hearing) -> dict[str, str]:
    """Hash pair sets that a claim was judged on and that are no part of those it was given."""
    if hearing.causal is None:
        return dict(verdict.pair_set for verdict in hearing.verdicts if verdict.pair_set[0])
    given = list(_pair_sets(item))
    known = {pair for pairs in given for pair in pairs}
    judged = {verdict.pair_set for verdict in hearing.verdicts if verdict.pair_set[0]}
    measured = hearing.causal.trail.pair_sets
    return {
        name: sha256
        for name, sha256 in judged
        if sha256 not in {pairs.sha256 for pairs in given}
        and not (sha256 in measured and known.issuperset(measured[sha256]))
    }


def lock_of(config: pytest.Config) -> Lock | None:
    """Read the lock file of a project, where there is one.

    Raises
    ------
    pytest.UsageError
        It is damaged or was edited; or `--causal-strict` asks for one and there is none.
    """
    from causaltest.registration import read

    path = lock_path(config)
    if not path.exists():
        if is_strict(config):
            raise pytest.UsageError(
                f"--causal-strict asks for registered hypotheses, but there is no {path.name}\n"
                "register them first: causaltest register"
            )
        return None
    try:
        return read(path)
    except RecordError as error:
        from causaltest.report.text import visible

        # Names in a lock that was edited may be anything.
        raise pytest.UsageError(visible(str(error), block=True)) from error


def check(config: pytest.Config) -> None:
    """Refuse a lock file that is damaged; do nothing where there is none.

    Raises
    ------
    pytest.UsageError
        It is damaged or was edited.
    """
    if config.getoption("causal_entries", None) is None and lock_path(config).exists():
        lock_of(config)


def lock_path(config: pytest.Config) -> Path:
    """Return where the lock file of a project stands."""
    return config.rootpath / (str(config.getini("causal_lock") or "hypotheses.lock"))


def is_strict(config: pytest.Config) -> bool:
    """Return whether claims must be registered, unchanged and decided."""
    return bool(config.getoption("causal_strict", default=False))


def status_of(session: Session, item: pytest.Function, hearing: Hearing | None) -> Status | None:
    """Say how a hypothesis stands to the lock; None where nothing is registered."""
    if session.lock is None:
        return None
    from causaltest.registration import compare

    made = {} if hearing is None else _made(item, hearing)
    return compare(session.lock, entry_of(session, item), made)


class Collecting:
    """Gathers hypotheses for `causaltest register`: fixtures are set up, no test body runs.

    Parameters
    ----------
    path
        Where to write what was gathered.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._found: dict[str, Entry] = {}

    def add(self, session: Session, item: pytest.Function) -> None:
        """Note a hypothesis, again once its fixtures are there."""
        self._found[item.nodeid] = entry_of(session, item)

    def write(self) -> None:
        """Write what was gathered."""
        import msgspec

        self.path.write_bytes(msgspec.json.encode(list(self._found.values())))


def _file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
