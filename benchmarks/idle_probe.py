"""A pytest plugin that adds up what causaltest itself costs, inside one process.

Processor time of the thread, so that a busy machine does not count; loaded with `-p idle_probe`
before the plugins of installed packages, so that it sees causaltest being imported and registered.
"""

from __future__ import annotations

import importlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy
import pytest
from _pytest.fixtures import FixtureManager

_now = time.thread_time_ns
_REPEATS = 2_000


class Clock:
    """Time spent in causaltest, whatever calls what inside it."""

    def __init__(self) -> None:
        self.spent = self.calls = self._depth = self._since = 0

    def __enter__(self) -> None:
        self._depth += 1
        if self._depth == 1:
            self.calls += 1
            self._since = _now()

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            self.spent += _now() - self._since


hooks, imports, fixtures = Clock(), Clock(), Clock()


def timed(function: Callable[..., Any], clock: Clock) -> Callable[..., Any]:
    """Time a function that is called."""

    def called(*args: Any) -> Any:
        with clock:
            return function(*args)

    return called


def timed_around(function: Callable[..., Any], clock: Clock) -> Callable[..., Any]:
    """Time what a wrapper does before and after the hook that it is around."""

    def around(*args: Any) -> Generator[Any, Any, Any]:
        with clock:
            inner = function(*args)
            next(inner)
        raised = given = None
        try:
            given = yield
        except BaseException as error:  # noqa: BLE001 (handed on, as pluggy does)
            raised = error
        with clock:
            try:
                inner.send(given) if raised is None else inner.throw(raised)
            except StopIteration as ended:
                return ended.value
        raise RuntimeError("a wrapper yields once")

    return around


def is_ours(plugin: object) -> bool:
    """Tell whether a plugin is causaltest's."""
    name = plugin.__name__ if isinstance(plugin, ModuleType) else type(plugin).__module__
    return name.split(".")[0] == "causaltest"


def instrument() -> None:
    """Time every hook of causaltest from its registration on, and the search for its fixtures."""
    plain = pluggy.HookImpl.__init__

    def made(self: pluggy.HookImpl, plugin: object, *args: Any) -> None:
        plain(self, plugin, *args)
        if is_ours(plugin):
            wrap = timed_around if self.wrapper else timed
            # What pluggy calls is final to type checkers alone.
            setattr(self, "function", wrap(self.function, hooks))  # noqa: B010

    setattr(pluggy.HookImpl, "__init__", made)  # noqa: B010
    search = FixtureManager.parsefactories

    def searched(self: FixtureManager, *args: Any, **more: Any) -> None:
        if not is_ours(more.get("holder", args[0] if args else None)):
            return search(self, *args, **more)
        with fixtures:
            return search(self, *args, **more)

    FixtureManager.parsefactories = searched


def dispatch_ns() -> float:
    """Return what one more wrapper around a hook costs pluggy itself."""
    spec, mark = pluggy.HookspecMarker("idle"), pluggy.HookimplMarker("idle")

    class Spec:
        @spec
        def hook(self, item: object) -> None:
            """Take an item."""

    class Plain:
        @mark
        def hook(self, item: object) -> None:
            """Do nothing."""

    class Around:
        @mark(wrapper=True)
        def hook(self, item: object) -> Generator[None, object, object]:  # noqa: ARG002
            """Do nothing around it."""
            return (yield)

    def cost(*plugins: object) -> float:
        manager = pluggy.PluginManager("idle")
        manager.add_hookspecs(Spec)
        for plugin in plugins:
            manager.register(plugin)
        rounds: list[float] = []
        for _ in range(9):
            before = _now()
            for _ in range(_REPEATS):
                manager.hook.hook(item=None)
            rounds.append((_now() - before) / _REPEATS)
        return statistics.median(rounds)

    return max(0.0, cost(Plain(), Around()) - cost(Plain()))


def clock_ns() -> float:
    """Return what an empty measurement reads, which every call has too much."""
    empty = Clock()
    nothing = timed(lambda: None, empty)
    for _ in range(10 * _REPEATS):
        nothing()
    return empty.spent / empty.calls


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """Write what was added up to the file that IDLE_PROBE names."""
    total, unmeasured = time.process_time_ns(), clock_ns()
    found = {
        "imports": imports.spent / 1e6,
        "modules": _IMPORTED,
        "hooks": max(0.0, hooks.spent - hooks.calls * unmeasured) / 1e6,
        "fixtures": fixtures.spent / 1e6,
        "calls": hooks.calls,
        "dispatch": hooks.calls * dispatch_ns() / 1e6,
        "total": total / 1e6,
    }
    Path(os.environ["IDLE_PROBE"]).write_text(json.dumps(found), encoding="utf-8")


def import_the_plugin() -> int:
    """Import the plugin as pytest would, timed; return how many modules that brought."""
    before = set(sys.modules)
    with imports:
        importlib.import_module("causaltest.plugin")
    return len(set(sys.modules) - before)


_IMPORTED = 0
if "IDLE_PROBE" in os.environ:
    # At once: pytest registers the plugins of installed packages after those named by -p.
    _IMPORTED = import_the_plugin()
    instrument()
