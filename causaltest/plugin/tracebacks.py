"""Tracebacks of errors that were raised on purpose."""

from __future__ import annotations

import sysconfig
import traceback
import types
from pathlib import Path

import pytest

from causaltest.errors import CausaltestError, Inconclusive

_PACKAGE = str(Path(__file__).parents[1])
_STANDARD = sysconfig.get_path("stdlib")
_FIXTURES = str(Path(__file__).parent / "__init__.py")


def shorten(call: pytest.CallInfo[None]) -> None:
    """Cut a deliberate error down to the user's own lines: the message says the rest."""
    excinfo = call.excinfo
    if excinfo is None or not isinstance(excinfo.value, (CausaltestError, Inconclusive)):
        return
    entries = list(traceback.walk_tb(excinfo.tb))
    own = [index for index, (frame, _) in enumerate(entries) if _is_users(frame)]
    if not own:  # a fixture of ours: show that, not what it called
        own = [i for i, (frame, _) in enumerate(entries) if frame.f_code.co_filename == _FIXTURES]
    kept = entries[: own[-1] + 1] if own else entries[-1:]
    shortened = None
    for frame, line in reversed(kept):
        shortened = types.TracebackType(shortened, frame, frame.f_lasti, line)
    error = excinfo.value.with_traceback(shortened)
    # What led to it is in the message; the stack of a library below helps nobody.
    error.__cause__ = None
    error.__suppress_context__ = True
    call.excinfo = pytest.ExceptionInfo.from_exception(error)


def _is_users(frame: types.FrameType) -> bool:
    if frame.f_globals.get("__name__", "").partition(".")[0] == __name__.partition(".")[0]:
        return False  # code that dataclasses make has no file
    path = Path(frame.f_code.co_filename)
    others = path.is_relative_to(_PACKAGE) or path.is_relative_to(_STANDARD)
    return not others and "site-packages" not in path.parts
