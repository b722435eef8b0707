"""Progress of long work, shown past pytest's capture while a test runs."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import pytest

from causaltest.plugin import options
from causaltest.progress import SETTINGS, as_mode


class Uncaptured(io.TextIOBase):
    """Standard error as it is without pytest's capture.

    Parameters
    ----------
    config
        pytest's configuration, which knows who captures.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._capture: Any = config.pluginmanager.getplugin("capturemanager")

    def _open(self) -> AbstractContextManager[None]:
        # As pytest's own live log does.
        if self._capture is None:
            return nullcontext()
        return self._capture.global_and_fixture_disabled()

    def write(self, text: str, /) -> int:
        """Write past the capture."""
        with self._open():
            sys.stderr.write(text)
            sys.stderr.flush()
        return len(text)

    def isatty(self) -> bool:
        """Whether somebody watches."""
        with self._open():
            return sys.stderr.isatty()


@contextmanager
def shown(config: pytest.Config) -> Iterator[None]:
    """Show progress for the length of a test, as `--causal-progress` says."""
    before = SETTINGS.mode, SETTINGS.stream
    SETTINGS.mode = as_mode(options.text(config, "progress", "auto"))
    SETTINGS.stream = Uncaptured(config)
    if hasattr(config, "workerinput") and SETTINGS.mode == "auto":
        SETTINGS.mode = "off"  # bars of several processes would write over each other
    try:
        yield
    finally:
        SETTINGS.mode, SETTINGS.stream = before
