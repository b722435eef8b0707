"""The graph of a transformer's components: who writes to the residual stream, and who reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from causaltest.circuits import Circuit
from causaltest.errors import InterventionError, RecordError
from causaltest.grids import Verification
from causaltest.sites import Site

Kind = Literal["input", "head", "mlp", "logits"]
Channel = Literal["", "q", "k", "v"]

_READ = {"q": "head_query_output", "k": "head_key_output", "v": "head_value_output"}


@dataclass(frozen=True)
class Node:
    """A component: `input`, `a1.h3` (a head), `m1` (an MLP) or `logits`.

    Keys and values count key-value heads: where several heads share them, `a1.kv0` reads for all.
    """

    kind: Kind
    layer: int = -1
    head: int = -1
    shared: bool = False

    @property
    def name(self) -> str:
        """As in edge names."""
        if self.kind == "head":
            return f"a{self.layer}.{'kv' if self.shared else 'h'}{self.head}"
        return f"m{self.layer}" if self.kind == "mlp" else self.kind


@dataclass(frozen=True)
class Edge:
    """What one component writes and another reads; heads read by queries, keys and values."""

    sender: Node
    receiver: Node
    channel: Channel = ""

    @property
    def name(self) -> str:
        """Such as `a0.h1->a1.h3<q>`."""
        read = f"<{self.channel}>" if self.channel else ""
        return f"{self.sender.name}->{self.receiver.name}{read}"

    @property
    def sender_site(self) -> Site:
        """Where it begins."""
        node = self.sender
        if node.kind == "input":
            return Site("block_input", layer=0)
        if node.kind == "mlp":
            return Site("mlp_output", layer=node.layer)
        return Site("head_attention_value_output", layer=node.layer, head=node.head)

    @property
    def receiver_site(self) -> Site | Literal["logits"]:
        """Where it ends."""
        node = self.receiver
        if node.kind == "logits":
            return "logits"
        if node.kind == "mlp":
            return Site("mlp_input", layer=node.layer)
        return Site(_READ[self.channel], layer=node.layer, head=node.head)


@dataclass(frozen=True, eq=False)
class EdgeScores:
    """Estimated effects of edges, by pair.

    Parameters
    ----------
    edges
        The edges.
    values
        (pairs, edges): estimated change of the metric where the edge alone carries what the
        source has.
    model, metric, steps, pair_set, pair_ids
        What was scored.
    exact
        Exact effects of some edges, by name.
    """

    edges: tuple[Edge, ...]
    values: np.ndarray
    model: str
    metric: str
    steps: int
    pair_set: tuple[str, str]
    pair_ids: tuple[str, ...]
    exact: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __repr__(self) -> str:
        way = "EAP" if self.steps == 1 else f"EAP-IG, {self.steps} steps"
        checked = f"; {self.verification}" if self.exact else ""
        return f"<EdgeScores of {self.metric} by {way}: {len(self.edges)} edges{checked}>"

    @property
    def estimates(self) -> np.ndarray:
        """Mean estimate of each edge."""
        return self.values.mean(axis=0)

    @property
    def verification(self) -> Verification:
        """How the estimates compare with the exact effects."""
        place = {edge.name: i for i, edge in enumerate(self.edges)}
        guessed = np.array([self.estimates[place[name]] for name in self.exact])
        found = np.array([float(np.mean(values)) for values in self.exact.values()])
        spread = len(found) > 2 and np.ptp(guessed) > 0 and np.ptp(found) > 0
        return Verification(
            len(found),
            float(np.corrcoef(guessed, found)[0, 1]) if spread else None,
            float(np.abs(guessed - found).max()) if len(found) else 0.0,
        )

    def top(self, count: int = 10) -> tuple[Edge, ...]:
        """Return the edges of largest absolute mean estimate, strongest first.

        Raises
        ------
        InterventionError
            There are fewer.
        """
        if not 1 <= count <= len(self.edges):
            raise InterventionError(
                f"cannot choose {count} edges of {len(self.edges)}; choose at least 1"
            )
        order = np.argsort(-np.abs(self.estimates), kind="stable")[:count]
        return tuple(self.edges[i] for i in order)

    def circuit(self, count: int) -> Circuit:
        """Return the components that send along the strongest edges, for `faithfulness`.

        The choice rests on these pairs: claim it on others.
        """
        return Circuit(*(e.sender_site for e in self.top(count) if e.sender.kind != "input"))

    def to_pandas(self) -> Any:
        """Return one row for each edge: its ends, mean estimate, and exact effect where known.

        Raises
        ------
        ModuleNotFoundError
            pandas is not installed.
        """
        try:
            import pandas
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "to_pandas() needs pandas, which is not installed: pip install pandas\n"
                "save('edges.json') does without"
            ) from error
        return pandas.DataFrame(self._rows())

    def save(self, path: str | Path, *, pairs: bool = False) -> Path:
        """Write nodes, edges and scores as JSON.

        Parameters
        ----------
        path
            Where; it ends in `.json`.
        pairs
            Write the estimates of each pair as well.

        Raises
        ------
        RecordError
            The ending is another.
        """
        path = Path(path)
        if path.suffix.lower() != ".json":
            raise RecordError(f"{path.name}: a circuit graph is saved as .json")
        path.write_text(json.dumps(self.as_json(pairs=pairs), ensure_ascii=False), encoding="utf-8")
        return path

    def as_json(self, *, pairs: bool = False) -> dict[str, Any]:
        """Return what `save` writes."""
        nodes = dict.fromkeys(node for e in self.edges for node in (e.sender, e.receiver))
        made: dict[str, Any] = {
            "schema": "causaltest.edges/1",
            "model": self.model,
            "metric": self.metric,
            "steps": self.steps,
            "pair_set": list(self.pair_set),
            "nodes": [
                {"name": n.name, "kind": n.kind}
                | ({"layer": n.layer} if n.layer >= 0 else {})
                | ({"head": n.head} if n.head >= 0 else {})
                for n in nodes
            ],
            "edges": self._rows(),
        }
        if pairs:
            made |= {"pair_ids": list(self.pair_ids), "values": self.values.tolist()}
        return made

    def _rows(self) -> list[dict[str, object]]:
        return [
            {
                "name": edge.name,
                "sender": edge.sender.name,
                "receiver": edge.receiver.name,
                "channel": edge.channel,
                "estimate": float(estimate),
                "exact": float(np.mean(self.exact[edge.name])) if edge.name in self.exact else None,
            }
            for edge, estimate in zip(self.edges, self.estimates, strict=True)
        ]

    def with_exact(self, exact: Mapping[str, Sequence[float] | np.ndarray]) -> EdgeScores:
        """Return the same with exact effects of some edges, by name, one number for each pair."""
        known = {name: np.asarray(values, dtype=float) for name, values in exact.items()}
        return replace(self, exact={**self.exact, **known})
