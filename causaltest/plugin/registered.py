"""Registered hypotheses: what a run is compared with, and what `causaltest register` collects."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import causaltest
from causaltest.errors import RecordError
from causaltest.plugin import families, models, source
from causaltest.plugin.marks import marks

if TYPE_CHECKING:
    from causaltest.plugin.claims import Hearing
    from causaltest.plugin.session import Session
    from causaltest.registration import Entry, Lock, Status


def entry_of(session: Session, item: pytest.Function, hearing: Hearing | None = None) -> Entry:
    """Describe a hypothesis as a registration freezes it.

    Parameters
    ----------
    session
        The run's state.
    item
        The hypothesis.
    hearing
        Its hearing, which says on which pairs and model; None before it ran.
    """
    from causaltest.registration import Entry, fingerprint

    marked = marks(item)
    text, _ = families.claim_text(item)
    case = models.case_of(item)
    settings = session.settings
    sets = {} if hearing is None else dict(verdict.pair_set for verdict in hearing.verdicts)
    measured = None if hearing is None else hearing.causal
    return Entry(
        id=item.nodeid,
        claim=f"{text} [{case}]" if case else text,
        expect=marked.expect,
        weight=marked.weight,
        requires=session.families.gates.get(item.nodeid, ()),
        exploratory=marked.exploratory,
        level=session.level(item),
        test_sha256=fingerprint(source.source_of(item.function), _file(item.path)),
        alpha=settings.alpha,
        seed=settings.seed,
        correction=settings.correction,
        version=causaltest.__version__,
        pair_sets={name: sha256 for name, sha256 in sets.items() if name},
        model_sha256="" if measured is None else measured.model.sha256,
    )


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
        raise pytest.UsageError(str(error)) from error


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

    return compare(session.lock, entry_of(session, item, hearing))


def dump(session: Session, items: list[pytest.Function], path: Path) -> None:
    """Write what was collected for `causaltest register`."""
    import msgspec

    path.write_bytes(msgspec.json.encode([entry_of(session, item) for item in items]))


def _file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
