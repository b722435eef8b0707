"""Progress is shown where somebody can see it, and interrupts say how far work had got."""

from __future__ import annotations

import io
import re

import pytest

from causaltest import progress
from causaltest.progress import SETTINGS, as_mode


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


@pytest.fixture(autouse=True)
def settings(monkeypatch):
    """Settings that are put back."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(SETTINGS, "mode", "auto")
    monkeypatch.setattr(SETTINGS, "stream", None)
    return SETTINGS


def run(stream, mode="auto"):
    """Work through three steps and return what was shown."""
    SETTINGS.stream, SETTINGS.mode = stream, mode
    with progress.progress("sweep") as advance:
        for done in (1, 2, 3):
            advance(done, 3)
    return stream.getvalue()


def test_a_terminal_shows_a_bar():
    """The bar says what is done, how much there is, and the time left."""
    shown = run(Terminal())
    assert "sweep" in shown
    assert re.search(r"/3 \[\d\d:\d\d<", shown)


@pytest.mark.parametrize("stream, mode", [(io.StringIO, "auto"), (Terminal, "off")])
def test_files_and_wishes_are_left_in_peace(stream, mode):
    """No bar where nobody watches, or where it is not wanted."""
    assert run(stream(), mode) == ""


def test_ci_is_quiet_unless_asked(monkeypatch):
    """A terminal of a CI is watched by nobody."""
    monkeypatch.setenv("CI", "true")
    assert run(Terminal()) == ""
    assert "sweep" in run(io.StringIO(), "on")


def test_an_interrupt_says_how_far_it_got():
    """The interrupt stays one, and names the work."""

    def work():
        with progress.progress("sweep of x") as advance:
            advance(2, 5)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=re.escape("sweep of x: stopped after 2 of 5")):
        work()


def test_modes_are_checked():
    """An unknown mode names those there are."""
    with pytest.raises(ValueError, match="progress is 'yes'; expected auto, on, off"):
        as_mode("yes")
