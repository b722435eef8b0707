"""What fixtures measured: it is part of every hypothesis that asks for them.

A sweep in a fixture runs while some test is set up, and its result is handed to others later. So
what a fixture did is kept by fixture, and laid before each test that depends on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from causaltest.experiment import Causal
    from causaltest.measuring import Trail


class Prepared:
    """What the fixtures of a run measured, in this process."""

    def __init__(self) -> None:
        self._instruments: list[Causal] = []
        self._done: dict[object, list[tuple[Causal, Trail]]] = {}

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
        before = [(causal, causal.trail.take()) for causal in self._instruments]
        known = _definitions(getattr(request, "_pyfuncitem", None))
        for name in definition.argnames:
            for causal, trail in self._of(name, known):
                causal.trail.mapped.update(trail.mapped)
        try:
            yield
        finally:
            self._done[definition] = []
            for causal, earlier in before:
                during = causal.trail.take()
                self._done[definition].append((causal, during))
                causal.trail.add(earlier)
                causal.trail.add(during)
            self._meet(definition)

    def lay(self, item: pytest.Function, causal: Causal) -> None:
        """Add to the trail of a test what the fixtures that it asks for measured."""
        known = _definitions(item)
        for name in item.fixturenames:
            for instrument, trail in self._of(name, known):
                if instrument is causal:
                    causal.trail.add(trail)

    def _meet(self, definition: pytest.FixtureDef[Any]) -> None:
        """Learn of an instrument where the fixture `causal` made one."""
        made = definition.cached_result
        if definition.argname == "causal" and made is not None and hasattr(made[0], "trail"):
            causal: Any = made[0]
            if not any(each is causal for each in self._instruments):
                self._instruments.append(causal)

    def _of(
        self, name: str, known: dict[str, list[pytest.FixtureDef[Any]]]
    ) -> Iterator[tuple[Causal, Trail]]:
        """Yield what the fixture of a name measured, and those of that name that it overrides."""
        for definition in reversed(known.get(name, [])):
            yield from self._done.get(definition, ())
            if name not in definition.argnames:
                return


def _definitions(item: object) -> dict[str, list[pytest.FixtureDef[Any]]]:
    """Return the fixtures that a test can ask for, by name, the one it gets last."""
    info: Any = getattr(item, "_fixtureinfo", None)
    return {} if info is None else {each: [*those] for each, those in info.name2fixturedefs.items()}
