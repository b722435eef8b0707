"""The history of a suite: what each run said of each claim, one line a run, only ever added to.

A line of `history.jsonl` is a `PastRun`: when it ran, on which commit and weights, and for each
claim a `PastClaim` with estimate, interval and verdict. Readers that draw a claim's course take
`course(history, id)`: pairs of run and claim from old to new. Times stand in the run, never in a
claim. Where `changes(old, new)` names weights, pairs or test, a claim is not quite the one that it
was, and a reader must be told. Runs add themselves with `pytest --causal-history FILE`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import cast

import msgspec

from causaltest.errors import RecordError
from causaltest.records.checks import plain, typed
from causaltest.records.files import append_line
from causaltest.records.schema import Claim, Interval, Results, VerdictName, ordered

HISTORY_VERSION = 1


class PastClaim(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one run said of one claim."""

    id: str
    """As in the results."""
    claim: str
    verdict: VerdictName
    expected: VerdictName
    model: str = ""
    """Name of the model; its weights are in the run's `models`."""
    relation: str = ""
    bound: float | None = None
    estimate: float | None = None
    interval: Interval | None = None
    """Unadjusted, at the run's alpha."""
    subject: str = ""
    scale: str = ""
    """What the estimate is counted in, e.g. `fraction` or `logits`."""
    n_pairs: int = 0
    pairs_sha256: str = ""
    source_sha256: str = ""
    """Of the test as written."""


class PastRun(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of the history."""

    history_version: int
    started: str
    alpha: float
    git_commit: str = ""
    git_dirty: bool | None = None
    partial: bool = False
    models: dict[str, str] = {}
    """Hash of the weights by the model's name."""
    packages: dict[str, str] = {}
    claims: tuple[PastClaim, ...] = ()
    sha256: str = ""
    """Of all of the above, so that an edit is seen."""


class History(msgspec.Struct, frozen=True):
    """All runs on record, from old to new."""

    runs: tuple[PastRun, ...]
    notes: tuple[str, ...] = ()
    """What could not be read, in words."""


def past(results: Results) -> PastRun:
    """Reduce the results of a run to what its history keeps.

    Parameters
    ----------
    results
        The run's results.

    Returns
    -------
    PastRun
        With every claim that ran.

    Examples
    --------
    >>> from causaltest.records import Run
    >>> past(Results(1, "complete", Run(alpha=0.05, correction="none", seed=0))).claims
    ()
    """
    run, place = results.run, results.run.environment
    found = PastRun(
        history_version=HISTORY_VERSION,
        started=run.started,
        alpha=run.alpha,
        git_commit="" if place is None else place.git_commit,
        git_dirty=None if place is None else place.git_dirty,
        partial=run.partial,
        models={each.name: each.sha256 for each in run.models},
        packages={} if place is None else place.packages,
        claims=tuple(
            _past_claim(claim) for claim in ordered(results.claims) if claim.verdict != "not run"
        ),
    )
    # The digits that are kept, so that a run in memory and the same run on disk are one.
    rounded = msgspec.convert(plain(found, "the run"), PastRun)
    return msgspec.structs.replace(rounded, sha256=_seal(rounded))


def append(run: PastRun, path: Path) -> None:
    """Add a run to the history, which is made where it is missing.

    Parameters
    ----------
    run
        From `past`.
    path
        Where the history lies, e.g. `hypotheses/history.jsonl`.

    Raises
    ------
    RecordError
        The run is on record already or has no claim, the history is damaged, or it cannot be
        written.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> path = Path(mkdtemp()) / "history.jsonl"
    >>> claim = PastClaim("a.py::test_a", "A.", "supported", "supported", estimate=0.9)
    >>> append(sealed(PastRun(1, "2026-01-01", 0.05, claims=(claim,))), path)
    >>> [past.estimate for _, past in course(read(path), "a.py::test_a")]
    [0.9]
    """
    if not run.claims:
        raise RecordError(
            f"the run of {run.started or 'unknown date'} has no claim that ran, so {path} would "
            "say nothing of it\nGive the results of a run in which hypotheses ran."
        )
    if path.exists() and any(each.sha256 == run.sha256 for each in read(path).runs):
        raise RecordError(
            f"the run of {run.started} is in {path} already\n"
            "Run the hypotheses again, or give other results; a run counts once."
        )
    try:
        append_line(path, run)
    except OSError as error:
        raise RecordError(
            f"{path} cannot be written: {error.strerror or error}.\n"
            "Choose another place for the history, or make this one writable."
        ) from error


def read(path: Path) -> History:
    """Read a history back, checking version and seal of each line.

    Parameters
    ----------
    path
        A file written by `append`.

    Returns
    -------
    History
        The runs in the order in which they were added; half a line left by a killed run is skipped
        and said.

    Raises
    ------
    RecordError
        The file is missing, or a whole line is foreign, of another version, or was edited.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise RecordError(
            f"there is no history {path}\n"
            f"Begin it with a run: causaltest history {path} --add reports/results.json"
        ) from error
    except OSError as error:
        raise RecordError(
            f"{path} cannot be read: {error.strerror or error}.\nGive the path of a history file."
        ) from error
    runs: list[PastRun] = []
    notes: list[str] = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            tree = cast(object, msgspec.json.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            notes.append(
                f"line {number} of {path.name} is cut off, so the run on it is left out; a killed "
                "run, or a merge that was not resolved"
            )
            continue
        runs.append(_run(tree, f"{path}, line {number}"))
    return History(tuple(runs), tuple(notes))


def course(history: History, name: str) -> tuple[tuple[PastRun, PastClaim], ...]:
    """Return what each run said of one claim, from old to new.

    Parameters
    ----------
    history
        From `read`.
    name
        The id of the claim.
    """
    return tuple((run, claim) for run in history.runs for claim in run.claims if claim.id == name)


def changes(old: tuple[PastRun, PastClaim], new: tuple[PastRun, PastClaim]) -> tuple[str, ...]:
    """Say in words what a claim rests on that changed between two runs.

    Examples
    --------
    >>> claim = PastClaim("a.py::test_a", "A.", "supported", "supported", "m", source_sha256="1")
    >>> one = PastRun(1, "", 0.05, models={"m": "12ab"}, claims=(claim,))
    >>> other = PastRun(1, "", 0.05, models={"m": "34cd"}, claims=(claim,))
    >>> changes((one, claim), (other, claim))
    ('weights',)
    """
    (before, then), (after, now) = old, new
    found = {
        "weights": before.models.get(then.model) != after.models.get(now.model),
        "pairs": then.pairs_sha256 != now.pairs_sha256,
        "test": then.source_sha256 != now.source_sha256,
    }
    return tuple(name for name, changed in found.items() if changed)


def sealed(run: PastRun) -> PastRun:
    """Return a run with the hash of its content, without which it is not read back."""
    return msgspec.structs.replace(run, sha256=_seal(run))


def _run(tree: object, place: str) -> PastRun:
    if not isinstance(tree, dict) or "history_version" not in tree:
        raise RecordError(
            f"{place} was not written by `causaltest history`: it has no history_version\n"
            "Give a history file; results.jsonl is the running file of one run."
        )
    version = cast("dict[str, object]", tree)["history_version"]
    if version != HISTORY_VERSION:
        raise RecordError(
            f"{place} has history version {version!r}; this causaltest reads {HISTORY_VERSION}\n"
            "Install the version of causaltest that wrote it, or begin a new history."
        )
    run = typed(cast(object, tree), PastRun, place)
    if _seal(run) != run.sha256:
        raise RecordError(
            f"{place} was edited: it does not have the hash written in it\n"
            "Restore the line from version control, or take it out."
        )
    return run


def _past_claim(claim: Claim) -> PastClaim:
    part = claim.parts[claim.deciding or 0] if claim.parts else None
    return PastClaim(
        id=claim.id,
        claim=claim.claim,
        verdict=claim.verdict,
        expected=claim.expected,
        model=claim.model,
        relation=claim.relation,
        bound=claim.bound,
        estimate=claim.estimate,
        interval=claim.interval,
        subject="" if part is None else part.subject,
        scale="" if part is None else part.scale,
        n_pairs=claim.n_pairs,
        pairs_sha256="" if part is None else part.pair_set_sha256,
        source_sha256=hashlib.sha256(claim.source.encode("utf-8", "replace")).hexdigest(),
    )


def _seal(run: PastRun) -> str:
    content = msgspec.structs.replace(run, sha256="")
    return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()
