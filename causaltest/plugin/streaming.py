"""The running file of a run, which belongs to one run only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, TYPE_CHECKING

from causaltest.errors import RecordError

if TYPE_CHECKING:
    from causaltest.records import Claim, Run


class Stream:
    """Writes claims to `results.jsonl` while the run goes, and sees if another run takes it over.

    Parameters
    ----------
    path
        The running file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # Held open, so that the file's number cannot pass to another file.
        self._held: IO[bytes] | None = None
        self._ended = False

    def append(self, record: Claim, run: Run) -> None:
        """Add a claim; the first starts the file anew with the run's settings.

        Raises
        ------
        RecordError
            The file cannot be written, or another run writes there; said once.
        """
        if self._ended:
            return
        try:
            self._append(record, run)
        except (OSError, RecordError) as error:
            self.close()
            self._ended = True
            if isinstance(error, RecordError):
                raise
            raise RecordError(
                f"cannot write {self._path} ({error.strerror or error}), so claims are not kept "
                "while the run goes"
            ) from error

    def _append(self, record: Claim, run: Run) -> None:
        from causaltest.records import append_jsonl

        if self._held is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.unlink(missing_ok=True)
            append_jsonl(self._path, run)
            self._held = self._path.open("rb")
        elif not self._is_ours():
            raise RecordError(
                f"another run writes to {self._path.parent} at the same time and replaced "
                f"{self._path.name}\n"
                "give each run a folder of its own with --causal-report"
            )
        append_jsonl(self._path, record)

    def _is_ours(self) -> bool:
        assert self._held is not None
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(self._held.fileno()))

    def close(self) -> None:
        """Let go of the file."""
        if self._held is not None:
            self._held.close()
            self._held = None
