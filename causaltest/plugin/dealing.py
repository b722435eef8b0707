"""Who runs what under xdist: each model is loaded by as few workers as there are for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

_TURNS = 4
"""Parts that a worker's share of a split file is cut into, so that a slow part costs little."""


@dataclass
class Lane:
    """The tests of one model, and how many more workers may load it.

    Parameters
    ----------
    waiting
        Units of test numbers that go to one worker each, in order.
    slots
        Workers that may still begin here.
    """

    waiting: deque[list[int]] = field(default_factory=deque)
    slots: int = 1

    @property
    def size(self) -> int:
        """Tests that nobody has taken."""
        return sum(map(len, self.waiting))


class Deal:
    """Deals the tests of a run out to workers.

    There are as many loads of models as there are models or workers, whichever is more: with at
    least as many models as workers, one worker does all of a model. Workers beyond that join the
    models (or the tests without one) that have most to do. A unit is a file, or part of a file
    where files are too few.

    Parameters
    ----------
    models
        For each test, in order, what names its model; empty where it uses none.
    files
        For each test, its file.
    workers
        Number of workers.

    Examples
    --------
    >>> deal = Deal(["a", "a", "b", "b"], ["f.py"] * 4, workers=2)
    >>> deal.take("gw0"), deal.take("gw1"), deal.take("gw0")
    ([0, 1], [2, 3], [])
    """

    def __init__(self, models: Sequence[str], files: Sequence[str], *, workers: int) -> None:
        self._models = tuple(models)
        lanes = {model: Lane() for model in models if model}
        tests = {model: _numbers(models, model) for model in lanes}
        plain = _numbers(models, "")
        self._plain = Lane(_cut([plain], max(2, len(plain) // (_TURNS * workers))))
        # Tests without a model compete for the workers that are left over, and need no place.
        sizes = {model: len(numbers) for model, numbers in tests.items()} | {"": len(plain)}
        places = dict.fromkeys(lanes, 1) | {"": 1}
        for _ in range(workers - len(lanes)):
            most = max(places, key=lambda model: sizes[model] / places[model])
            places[most] += 1
        for model, lane in lanes.items():
            lane.slots = min(places[model], sizes[model])
            lane.waiting = _units(tests[model], files, lane.slots)
        self.widest = max((lane.slots for lane in lanes.values()), default=0)
        self._lanes = lanes
        self._holds: dict[Hashable, Lane] = {}

    @property
    def is_over(self) -> bool:
        """Whether every test was taken."""
        return not self._plain.waiting and not any(each.waiting for each in self._lanes.values())

    def take(self, worker: Hashable) -> list[int]:
        """Return the numbers of the tests that a worker runs next; none where it may go.

        Parameters
        ----------
        worker
            The worker: first of the model that it holds, then of the largest that has a place,
            then without a model.
        """
        lane = self._holds.get(worker)
        if lane is None or not lane.waiting:
            free = [each for each in self._lanes.values() if each.slots > 0 and each.waiting]
            if free:
                lane = max(free, key=lambda each: each.size)
                lane.slots -= 1
                self._holds[worker] = lane
            else:
                lane = self._plain
        return lane.waiting.popleft() if lane.waiting else []

    def give_back(self, worker: Hashable, numbers: Sequence[int]) -> None:
        """Take back what a lost worker had not begun, and let another load its model."""
        lane = self._holds.pop(worker, None)
        if lane is not None:
            lane.slots += 1
        for number in reversed(numbers):
            model = self._models[number]
            (self._lanes[model] if model else self._plain).waiting.appendleft([number])


def _numbers(models: Sequence[str], wanted: str) -> list[int]:
    return [number for number, model in enumerate(models) if model == wanted]


def _units(numbers: Sequence[int], files: Sequence[str], slots: int) -> deque[list[int]]:
    """Group tests by file; cut files where workers would find none."""
    by_file: dict[str, list[int]] = {}
    for number in numbers:
        by_file.setdefault(files[number], []).append(number)
    groups = list(by_file.values())
    longest = len(numbers) if len(groups) >= slots else len(numbers) // (_TURNS * slots)
    return _cut(groups, max(1, longest))


def _cut(groups: Sequence[Sequence[int]], longest: int) -> deque[list[int]]:
    return deque(
        list(group[start : start + longest])
        for group in groups
        for start in range(0, len(group), longest)
    )
