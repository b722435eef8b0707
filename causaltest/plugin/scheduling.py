"""The scheduler of xdist for suites with hypotheses; suites without keep xdist's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pytest
from xdist.scheduler import LoadScheduling

from causaltest.plugin.dealing import Deal

if TYPE_CHECKING:
    from causaltest.plugin.roster import Roster

Node = Any
"""xdist's handle of a worker."""


class ByModel:
    """Groups tests by model; does what `--dist load` does until it is known that there are models.

    Parameters
    ----------
    config, log
        What xdist gives to a scheduler.
    roster
        Returns what the workers collected; None where no hypothesis is among it.
    announce
        Called once with the number of workers and the most that share a model.
    """

    def __init__(
        self,
        config: pytest.Config,
        log: Any,
        roster: Callable[[], Roster | None],
        announce: Callable[[int, int], None],
    ) -> None:
        self._load = LoadScheduling(config, log)
        self._roster = roster
        self._announce = announce
        self._deal: Deal | None = None
        self._collection: list[str] = []
        self._pending: dict[Node, list[int]] = {}
        self._ready: set[Node] = set()

    @property
    def nodes(self) -> list[Node]:
        """Workers that are there."""
        return self._load.nodes if self._deal is None else list(self._pending)

    @property
    def collection_is_completed(self) -> bool:
        """Whether all first workers have collected."""
        return self._load.collection_is_completed

    @property
    def tests_finished(self) -> bool:
        """Whether all is sent out and each worker has at most the test that it waits with."""
        if self._deal is None:
            return self._load.tests_finished
        return self._deal.is_over and all(len(each) < 2 for each in self._pending.values())

    @property
    def has_pending(self) -> bool:
        """Whether tests are still to be run."""
        if self._deal is None:
            return self._load.has_pending
        return not self._deal.is_over or any(self._pending.values())

    def add_node(self, node: Node) -> None:
        """Take in a worker."""
        self._load.add_node(node)
        if self._deal is not None:
            self._pending[node] = []

    def add_node_collection(self, node: Node, collection: Sequence[str]) -> None:
        """Note what a worker collected; one that comes later must have collected the same."""
        self._load.add_node_collection(node, collection)
        if node in self._load.node2collection:
            self._ready.add(node)

    def schedule(self) -> None:
        """Deal tests out, once all workers have collected; later on to workers that are new."""
        if self._deal is None:
            self._deal = self._dealt()
        if self._deal is None:
            self._load.schedule()
            return
        for node in self.nodes:
            self._feed(node)

    def _dealt(self) -> Deal | None:
        """Prepare the deal; None where there is none to make, or the workers disagree."""
        collections = list(self._load.node2collection.values())
        roster = self._roster() if self._load.collection is None else None
        if roster is None or any(each != collections[0] for each in collections[1:]):
            return None
        # xdist refuses a later worker that collected anything else than this.
        self._load.collection = self._collection = collections[0]
        self._pending = {node: [] for node in self._load.nodes}
        models = [roster.models.get(nodeid, "") for nodeid in self._collection]
        files = [nodeid.split("::", 1)[0] for nodeid in self._collection]
        deal = Deal(models, files, workers=len(self._pending))
        self._announce(len(self._pending), deal.widest)
        return deal

    def _feed(self, node: Node) -> None:
        """Keep two tests with a worker: it begins one only when it knows the next, or the end."""
        assert self._deal is not None
        while node in self._ready and not node.shutting_down and len(self._pending[node]) < 2:
            numbers = self._deal.take(node)
            if not numbers:
                node.shutdown()
                return
            self._pending[node].extend(numbers)
            node.send_runtest_some(numbers)

    def mark_test_complete(self, node: Node, item_index: int, duration: float = 0) -> None:
        """Note that a test ran, and send the next."""
        if self._deal is None:
            self._load.mark_test_complete(node, item_index, duration)
            return
        self._pending[node].remove(item_index)
        self._feed(node)

    def mark_test_pending(self, item: str) -> None:
        """Run a test again, for plugins that do so after a crash."""
        if self._deal is None:
            self._load.mark_test_pending(item)
            return
        self._deal.give_back(None, [self._collection.index(item)])
        for node in self.nodes:
            self._feed(node)

    def remove_pending_tests_from_node(self, node: Node, indices: Sequence[int]) -> None:
        """Answer to a theft, which this scheduler never asks for."""
        raise NotImplementedError

    def remove_node(self, node: Node) -> str | None:
        """Forget a worker; return the test on which it crashed, the rest goes to others."""
        if self._deal is None:
            return self._load.remove_node(node)
        pending = self._pending.pop(node)
        self._deal.give_back(node, pending[1:])
        if not pending:
            return None
        for other in self.nodes:
            self._feed(other)
        return self._collection[pending[0]]
