"""Registration: hypotheses frozen before the data are seen, and a ledger of how often they were."""

from __future__ import annotations

import ast
import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import msgspec

from causaltest.errors import RecordError

LOCK_VERSION = 2
LOCK_NAME = "hypotheses.lock"
LEDGER = Path(".causaltest") / "looks.jsonl"

Standing = Literal["registered", "post-hoc", "changed"]


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One hypothesis as it was frozen."""

    id: str
    """As in the results: the key that the test gives it, else the pytest node id."""
    claim: str
    expect: str
    weight: float
    requires: tuple[str, ...]
    exploratory: bool
    level: float
    """Two-sided level at which it is decided; it depends on the family."""
    test_sha256: str
    """Hash of the test's syntax tree and of what it uses from its file."""
    alpha: float
    seed: int
    correction: str
    version: str
    """Of causaltest."""
    sequential: bool = False
    """Whether it stops where it is settled."""
    pair_sets: dict[str, str] = {}
    """Hash of each pair set that its fixtures give it, or that a run measured, by name."""
    model_sha256: str = ""
    """Hash of the model's weights."""
    sha256: str = ""
    """Hash of all of the above."""


class Lock(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of `hypotheses.lock`."""

    lock_version: int
    hypotheses: tuple[Entry, ...]
    sha256: str
    """Hash over the hashes of the hypotheses, so that none can be taken out."""


@dataclass(frozen=True)
class Status:
    """How a hypothesis of a run stands to the lock.

    Parameters
    ----------
    standing
        `registered`, `post-hoc` (not in the lock) or `changed`.
    changes
        What differs, in words.
    unfrozen
        What the lock says nothing about, in words.
    """

    standing: Standing
    changes: tuple[str, ...] = ()
    unfrozen: tuple[str, ...] = ()


def fingerprint(function: str, module: str = "") -> str:
    r"""Hash what a test does: comments, layout and docstrings do not count, bounds do.

    Parameters
    ----------
    function
        Source of the test, decorators included.
    module
        Source of its file: whatever the test uses from there counts too (sites in constants,
        functions), and what that uses.

    Returns
    -------
    str
        A sha256.

    Examples
    --------
    >>> one = fingerprint("def test():  # why\n    assert effect > 0.5")
    >>> one == fingerprint("def test():\n    'It is.'\n    assert (effect > .5)")
    True
    >>> one == fingerprint("def test():\n    assert effect > 0.4")
    False
    """
    try:
        tree = ast.parse(function)
        definitions = _definitions(ast.parse(module))
    except SyntaxError:
        return _digest(function + module)
    used: dict[str, ast.stmt] = {}
    waiting = _names(tree)
    while waiting:
        name = waiting.pop()
        if name in definitions and name not in used:
            used[name] = definitions[name]
            waiting |= _names(definitions[name])
    own = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    parts = [_dumped(tree), *(f"{n}={_dumped(used[n])}" for n in sorted(used.keys() - own))]
    return _digest("\n".join(parts))


def sealed(entry: Entry) -> Entry:
    """Return an entry with its own hash."""
    tree = cast("dict[str, object]", msgspec.to_builtins(entry))
    tree.pop("sha256")
    data = msgspec.json.encode(tree, order="sorted")
    return msgspec.structs.replace(entry, sha256=hashlib.sha256(data).hexdigest())


def write(entries: Iterable[Entry], path: Path) -> Lock:
    """Freeze hypotheses in a lock file, sorted, atomically.

    Parameters
    ----------
    entries
        The hypotheses.
    path
        Where to write, e.g. `hypotheses.lock`.

    Raises
    ------
    RecordError
        The file cannot be written.
    """
    frozen = tuple(sorted(map(sealed, entries), key=lambda entry: entry.id))
    lock = Lock(LOCK_VERSION, frozen, _over(frozen))
    data = msgspec.json.format(msgspec.json.encode(lock, order="sorted"), indent=2) + b"\n"
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RecordError(
            f"{path} cannot be written: {error.strerror or error}\n"
            "choose another place with --lock, or make this one writable"
        ) from error
    return lock


def read(path: Path) -> Lock:
    """Read a lock file back, checking every hash.

    Parameters
    ----------
    path
        A file written by `causaltest register`.

    Raises
    ------
    RecordError
        The file is missing, truncated, foreign, of another version, or was edited.
    """
    again = "write it anew with: causaltest register"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror or error}\n{again}") from error
    try:
        tree = cast("object", msgspec.json.decode(data))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(f"{path} is not whole JSON: {error}\n{again}") from error
    if not isinstance(tree, dict) or "lock_version" not in tree:
        raise RecordError(f"{path} was not written by causaltest: it has no lock_version\n{again}")
    version = cast("dict[str, object]", tree)["lock_version"]
    if version != LOCK_VERSION:
        raise RecordError(
            f"{path} has lock version {version!r}; this causaltest reads {LOCK_VERSION}\n{again}"
        )
    try:
        lock = msgspec.convert(tree, Lock, strict=True)
    except msgspec.ValidationError as error:
        raise RecordError(f"{path} does not fit a lock file: {error}\n{again}") from error
    for entry in lock.hypotheses:
        if sealed(entry).sha256 != entry.sha256:
            raise RecordError(
                f"{path} was edited: {entry.id} does not have the hash written beside it\n"
                f"a registration cannot be changed by hand; restore the file, or {again}"
            )
    if _over(lock.hypotheses) != lock.sha256:
        raise RecordError(
            f"{path} was edited: hypotheses were added or taken out\n"
            f"a registration cannot be changed by hand; restore the file, or {again}"
        )
    return lock


def compare(lock: Lock, now: Entry, made: Mapping[str, str] | None = None) -> Status:
    """Say how a hypothesis stands to the lock.

    Parameters
    ----------
    lock
        What was frozen.
    now
        The hypothesis as it is, with the pair sets that its fixtures give it.
    made
        Hash by name of further pair sets it was judged on, which the test made itself and not out
        of those: they count where a run's results were frozen, else they are told.

    Examples
    --------
    >>> compare(Lock(1, (), ""), Entry("a", "", "", 1, (), False, 1, "", 1, 0, "", "")).standing
    'post-hoc'
    """
    frozen = next((entry for entry in lock.hypotheses if entry.id == now.id), None)
    if frozen is None:
        return Status("post-hoc", ("it was not registered",))
    changes: list[str] = []
    for name, word in _WORDS.items():
        before, after = getattr(frozen, name), getattr(now, name)
        if before != after:
            told = "" if name == "test_sha256" else f" ({before} before, {after} now)"
            changes.append(f"{word}{told}")
    unfrozen: list[str] = []
    for name, sha256 in {**(made or {}), **now.pair_sets}.items():
        missing = name not in frozen.pair_sets
        if missing and (not frozen.pair_sets or name not in now.pair_sets):
            unfrozen.append(f"the pair set {name}")
        elif frozen.pair_sets.get(name) != sha256:
            changes.append(f"the pair set {name}")
    if now.model_sha256 and not frozen.model_sha256:
        unfrozen.append("the model's weights")
    elif now.model_sha256 and frozen.model_sha256 != now.model_sha256:
        changes.append("the model's weights")
    return Status("changed" if changes else "registered", tuple(changes), tuple(unfrozen))


_WORDS = {
    "claim": "the claim's sentence",
    "expect": "the expected verdict",
    "weight": "its weight",
    "requires": "its gates",
    "exploratory": "whether it is exploratory",
    "level": "the level it is decided at",
    "test_sha256": "the test",
    "alpha": "alpha",
    "seed": "the seed",
    "correction": "the correction",
    "sequential": "whether it stops early",
    "version": "the version of causaltest",
}


class _Look(msgspec.Struct, frozen=True):
    """One run that opened a pair set for judged claims."""

    sha256: str
    name: str
    time: str


def look(folder: Path, pair_sets: Mapping[str, str], time: str) -> dict[str, int]:
    """Note that a run judged claims on pair sets, and count how many runs have.

    Parameters
    ----------
    folder
        Where the lock stands; the ledger is `.causaltest/looks.jsonl` beside it.
    pair_sets
        Name of each pair set by its hash.
    time
        When the run began.

    Returns
    -------
    dict
        Runs that opened each pair set, by hash, this one included.

    Raises
    ------
    RecordError
        The ledger cannot be written, or holds something else.
    """
    path = folder / LEDGER
    lines = [
        msgspec.json.encode(_Look(sha256, name, time)) + b"\n"
        for sha256, name in sorted(pair_sets.items())
    ]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # One write to a file opened for appending: runs at the same time lose no look.
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, b"".join(lines))
        finally:
            os.close(handle)
        looks = [
            msgspec.json.decode(line, type=_Look) for line in path.read_bytes().splitlines() if line
        ]
    except OSError as error:
        raise RecordError(f"{path} cannot be written: {error.strerror or error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(
            f"{path} is no ledger of looks: {error}\n"
            "it counts how often held-out pairs were opened; restore it from version control"
        ) from error
    return {sha256: sum(each.sha256 == sha256 for each in looks) for sha256 in pair_sets}


def _definitions(module: ast.Module) -> dict[str, ast.stmt]:
    """Find what a file defines at its top level, by name."""
    found: dict[str, ast.stmt] = {}
    for node in module.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found[node.name] = node
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                found[(alias.asname or alias.name).partition(".")[0]] = node
        elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                for each in ast.walk(target):
                    if isinstance(each, ast.Name):
                        found[each.id] = node
    return found


def _names(tree: ast.AST) -> set[str]:
    """List names that are read in a tree, fixtures asked for as arguments included."""
    read = {each.id for each in ast.walk(tree) if isinstance(each, ast.Name)}
    return read | {each.arg for each in ast.walk(tree) if isinstance(each, ast.arg)}


def _dumped(tree: ast.AST) -> str:
    """Write a tree without positions and docstrings."""
    copied = ast.parse(ast.unparse(tree))
    for node in ast.walk(copied):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            first = node.body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(copied)


def _over(entries: Iterable[Entry]) -> str:
    return _digest("\n".join(entry.sha256 for entry in entries))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
