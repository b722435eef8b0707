"""What fixtures measured: it is part of every hypothesis that asks for them.

A sweep in a fixture runs while some test is set up, and its result is handed to others later. So
what a fixture did is kept by fixture, and laid before each test that depends on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

import pytest

if TYPE_CHECKING:
    from causaltest.experiment import Causal
    from causaltest.measuring import Trail

Definitions = dict[str, list[pytest.FixtureDef[Any]]]


class Prepared:
    """What the fixtures of a run measured, in this process."""

    def __init__(self) -> None:
        # Weakly: a model that is no longer tested must not be kept in memory by what it did.
        self._done: WeakKeyDictionary[Causal, dict[object, Trail]] = WeakKeyDictionary()

    @contextmanager
    def noted(
        self, definition: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Iterator[None]:
        """Keep what is measured while a fixture is set up, and show it what its own fixtures saw.

        Parameters
        ----------
        definition
            The fixture.
        request
            Who asked for it.
        """
        before = [(ref(causal), causal.trail.take()) for causal in self._done]
        self._show(definition, _definitions(getattr(request, "_pyfuncitem", None)))
        try:
            yield
        finally:
            for instrument, earlier in before:
                self._keep(definition, instrument(), earlier)
            self._meet(definition)

    def lay(self, item: pytest.Function, causal: Causal) -> None:
        """Add to the trail of a test what the fixtures that it asks for measured."""
        known = _definitions(item)
        for name in item.fixturenames:
            for instrument, trail in self._of(name, known):
                if instrument is causal:
                    causal.trail.add(trail)

    def _show(self, definition: pytest.FixtureDef[Any], known: Definitions) -> None:
        """Let a fixture see which pairs the fixtures that it asks for have looked at."""
        for name in definition.argnames:
            for causal, trail in self._of(name, known):
                causal.trail.mapped.update(trail.mapped)

    def _keep(
        self, definition: pytest.FixtureDef[Any], causal: Causal | None, earlier: Trail
    ) -> None:
        """Keep what a fixture measured, and put back what was there before."""
        if causal is None:
            return
        during = self._done[causal][definition] = causal.trail.take()
        causal.trail.add(earlier)
        causal.trail.add(during)

    def _meet(self, definition: pytest.FixtureDef[Any]) -> None:
        """Learn of an instrument where the fixture `causal` made one."""
        made: Any = definition.cached_result
        if definition.argname == "causal" and made is not None and hasattr(made[0], "trail"):
            self._done.setdefault(made[0], {})

    def _of(self, name: str, known: Definitions) -> Iterator[tuple[Causal, Trail]]:
        """Yield what the fixture of a name measured, and those of that name that it overrides."""
        for definition in reversed(known.get(name, [])):
            for causal, done in self._done.items():
                if definition in done:
                    yield causal, done[definition]
            if name not in definition.argnames:
                return


def _definitions(item: object) -> Definitions:
    """Return the fixtures that a test can ask for, by name, the one it gets last."""
    info: Any = getattr(item, "_fixtureinfo", None)
    return {} if info is None else {each: [*those] for each, those in info.name2fixturedefs.items()}
