"""A folder of measured numbers: one file for each key, checked when it is read."""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import msgspec

Value = TypeVar("Value")

SCHEMA = 1
"""Raise it when what entries hold changes its meaning."""
LIMIT = 256 * 1024 * 1024
_FORMAT = "causaltest cache"
_SUFFIX = ".entry"
_OWN_FILES = ".gitignore"


class CacheWarning(UserWarning):
    """Nothing can be kept in the cache."""


@dataclass(frozen=True)
class Entry(Generic[Value]):
    """A value that was kept.

    Parameters
    ----------
    value
        What was measured.
    run
        When the run began that measured it; empty where it is this one.
    """

    value: Value
    run: str


class _Head(msgspec.Struct, forbid_unknown_fields=True):
    """First line of an entry: what the rest is, and a checksum of it."""

    format: str
    schema: int
    key: str
    run: str
    sha256: str


class Cache:
    """Numbers measured before, in a folder; of bounded size, the least recently used go first.

    Files are written whole or not at all, so that several processes can share the folder. An entry
    that is damaged, or that belongs elsewhere, counts as missing and is written anew. The checksum
    finds accidents; it is no signature, so share a folder only with those you trust.

    Parameters
    ----------
    folder
        Where; made when something is kept.
    limit
        Bytes that all entries may take together.

    Examples
    --------
    >>> import tempfile
    >>> cache = Cache(tempfile.mkdtemp())
    >>> cache.put("0" * 64, [0.1, 2.0])
    True
    >>> cache.get("0" * 64, list[float]).value
    [0.1, 2.0]
    """

    def __init__(self, folder: str | Path, *, limit: int = LIMIT) -> None:
        self.folder = Path(folder)
        self.limit = limit
        self._run = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        self._mine: set[str] = set()
        self._writable = True
        self._unpruned = limit

    def __repr__(self) -> str:
        return f"<Cache {self.folder}>"

    def get(self, key: str, form: type[Value]) -> Entry[Value] | None:
        """Return what is kept under a key; None where there is nothing sound.

        Parameters
        ----------
        key
            From `Recall`, 64 hexadecimal digits.
        form
            Type of the value.
        """
        path = self._path(key)
        try:
            first, _, rest = path.read_bytes().partition(b"\n")
            head = msgspec.json.decode(first, type=_Head)
            if (head.format, head.schema, head.key) != (_FORMAT, SCHEMA, key):
                return None
            if head.sha256 != _checksum(head.run, rest):
                return None
            value = msgspec.json.decode(rest, type=form)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return None
        with suppress(OSError):
            os.utime(path)  # the least recently used are dropped first
        return Entry(value, "" if key in self._mine else head.run)

    def put(self, key: str, value: object) -> bool:
        """Keep a value, and return whether it was; where nothing can be kept, warn once."""
        if not self._writable:
            return False
        rest = msgspec.json.encode(value)
        head = _Head(_FORMAT, SCHEMA, key, self._run, _checksum(self._run, rest))
        data = msgspec.json.encode(head) + b"\n" + rest
        if len(data) > self.limit:
            return False
        try:
            self._write(self._path(key), data)
        except OSError as error:
            self._writable = False
            with warnings.catch_warnings():
                # Where warnings are errors, this one must not fail a claim.
                warnings.simplefilter("always", CacheWarning)
                warnings.warn(
                    f"the cache {self.folder} cannot be written ({error.strerror or error}); "
                    "nothing is kept, and the next run measures everything again",
                    CacheWarning,
                    stacklevel=2,
                )
            return False
        self._mine.add(key)
        self._unpruned += len(data)
        if self._unpruned > self.limit // 16:
            self._prune()
        return True

    def drop(self, key: str) -> None:
        """Forget what is kept under a key."""
        with suppress(OSError):
            self._path(key).unlink()

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{_SUFFIX}"

    def _write(self, path: Path, data: bytes) -> None:
        if not (self.folder / _OWN_FILES).exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / _OWN_FILES).write_text("*\n", encoding="utf-8")
        handle, name = tempfile.mkstemp(dir=self.folder, prefix="new-", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            Path(name).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise

    def _prune(self) -> None:
        """Drop the least recently used entries, and leavings of runs that were killed."""
        self._unpruned = 0
        found = sorted(self._files(), key=lambda each: each[1], reverse=True)
        held = 0
        for path, _, size in found:
            held += size
            if held > self.limit:
                with suppress(OSError):
                    path.unlink()

    def _files(self) -> Iterator[tuple[Path, float, int]]:
        """Yield path, time of last use and size of each file."""
        with os.scandir(self.folder) as entries:
            for each in entries:
                if each.name.endswith((_SUFFIX, ".part")):
                    # Another process may have dropped it meanwhile.
                    with suppress(OSError):
                        stat = each.stat()
                        yield Path(each.path), stat.st_mtime, stat.st_size


def digest(asked: object) -> str:
    """Return the key of what was asked: a hash of it as canonical JSON.

    Examples
    --------
    >>> digest({"a": 1, "b": 2.5}) == digest({"b": 2.5, "a": 1})
    True
    """
    return hashlib.sha256(cast("Any", msgspec.json).encode(asked, order="sorted")).hexdigest()


def _checksum(run: str, rest: bytes) -> str:
    return hashlib.sha256(run.encode() + b"\n" + rest).hexdigest()
