"""Progress of long work: a bar with the time left, where somebody can see it."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TextIO, get_args

Mode = Literal["auto", "on", "off"]
Advance = Callable[[int, int], None]
"""Called with how much is done, and how much there is."""


@dataclass
class Settings:
    """Where progress is shown, for the whole process.

    Parameters
    ----------
    mode
        `auto` shows it where the stream is a terminal and no CI runs the process.
    stream
        Where to; None is standard error. A test runner that captures that gives its own.
    """

    mode: Mode = "auto"
    stream: TextIO | io.TextIOBase | None = None

    @property
    def visible(self) -> bool:
        """Whether a bar is drawn."""
        if self.mode != "auto":
            return self.mode == "on"
        return (self.stream or sys.stderr).isatty() and not os.environ.get("CI")


SETTINGS = Settings()


def as_mode(text: str) -> Mode:
    """Return a mode by name.

    Raises
    ------
    ValueError
        There is no such mode.

    Examples
    --------
    >>> as_mode("off")
    'off'
    """
    for mode in get_args(Mode):
        if text == mode:
            return mode
    raise ValueError(f"progress is {text!r}; expected {', '.join(get_args(Mode))}")


@contextmanager
def progress(what: str) -> Iterator[Advance]:
    """Show how far work has got, and say so where it is interrupted.

    Parameters
    ----------
    what
        What is being done.

    Yields
    ------
    callable
        To be called with (done, total).

    Raises
    ------
    KeyboardInterrupt
        As it came, with how far the work had got.

    Examples
    --------
    >>> with progress("count") as advance:
    ...     advance(1, 2)
    """
    bar = None
    done = total = 0

    def advance(now: int, whole: int) -> None:
        nonlocal bar, done, total
        if bar is None and SETTINGS.visible:
            from tqdm import tqdm

            stream = SETTINGS.stream or sys.stderr
            bar = tqdm(total=whole, desc=what, file=stream, leave=False, dynamic_ncols=True)
        if bar is not None:
            bar.total = whole
            bar.update(now - done)
        done, total = now, whole

    try:
        yield advance
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(f"{what}: stopped after {done} of {total or '?'}") from stop
    finally:
        if bar is not None:
            bar.close()
