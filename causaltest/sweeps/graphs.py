"""Scores of the edges between a transformer's components, and files of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np

from causaltest.circuits import Circuit
from causaltest.errors import InterventionError, RecordError
from causaltest.fitted import Chosen
from causaltest.grids import Verification
from causaltest.sweeps.components import Edge, Kind, Node, circuit_of

_SCHEMA = "causaltest.edges/1"


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
    chosen_on
        The pairs, for what is chosen by these scores.
    """

    edges: tuple[Edge, ...]
    values: np.ndarray
    model: str
    metric: str
    steps: int
    pair_set: tuple[str, str]
    pair_ids: tuple[str, ...]
    exact: Mapping[str, np.ndarray] = field(default_factory=dict)
    chosen_on: Chosen | None = None

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
            what="edge",
        )

    def top(self, count: int = 10) -> tuple[Edge, ...]:
        """Return the edges of largest absolute mean estimate, strongest first.

        Raises
        ------
        InterventionError
            There are fewer.
        """
        return tuple(self.edges[i] for i in _strongest(self.estimates, count))

    def table(self, count: int = 10) -> str:
        """Return the strongest edges as text: mean estimate, and exact effect where known.

        Raises
        ------
        InterventionError
            There are fewer.
        """
        lines = [["edge", "estimate", "exact"]]
        for index in _strongest(self.estimates, count):
            name = self.edges[index].name
            exact = f"{np.mean(self.exact[name]):.3f}" if name in self.exact else "-"
            lines.append([name, f"{self.estimates[index]:.3f}", exact])
        wide = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            f"{name.ljust(wide[0])}  {estimate.rjust(wide[1])}  {exact.rjust(wide[2])}"
            for name, estimate, exact in lines
        )

    def circuit(self, count: int) -> Circuit:
        """Return the components that send along the strongest edges, for `faithfulness`.

        It carries those edges, as far as they lead to another of these components or the logits.
        The choice rests on these pairs: claims about it on them are refused.
        """
        return circuit_of(self.top(count), self.edges, self.chosen_on)

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
            "schema": _SCHEMA,
            "model": self.model,
            "metric": self.metric,
            "steps": self.steps,
            "pair_set": list(self.pair_set),
            "chosen_on": msgspec.to_builtins(self.chosen_on),
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


def read_circuit(path: str | Path, *, edges: int) -> Circuit:
    """Read the circuit of the strongest edges of a graph, as `EdgeScores.save` wrote it.

    Parameters
    ----------
    path
        The `.json` of `causal.edge_attribution(...).save(path)`.
    edges
        How many edges: those of largest absolute mean estimate.

    Returns
    -------
    Circuit
        The components that send along them, and the edges between these; the same as
        `EdgeScores.circuit`. The choice rests on the pairs of the graph: claims on these are
        refused.

    Raises
    ------
    RecordError
        The file is damaged, or none of this kind.
    InterventionError
        There are fewer edges.

    Examples
    --------
    >>> import json, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "edges.json"
    >>> edge = {"sender": "m0", "receiver": "logits", "channel": "", "estimate": 0.3}
    >>> graph = {"schema": "causaltest.edges/1", "chosen_on": None, "edges": [edge]}
    >>> _ = path.write_text(json.dumps(graph))
    >>> print(*read_circuit(path, edges=1).edges)
    mlp_output[0]->logits
    """
    path = Path(path)
    try:
        made = cast("dict[str, Any]", json.loads(path.read_text(encoding="utf-8")))
        if made["schema"] != _SCHEMA:
            raise RecordError(f"{path.name}: its schema is {made['schema']!r}, not {_SCHEMA!r}")
        read = [
            Edge(_node(row["sender"]), _node(row["receiver"]), row["channel"])
            for row in made["edges"]
        ]
        estimates = np.array([row["estimate"] for row in made["edges"]], dtype=float)
        chosen_on = msgspec.convert(made["chosen_on"], Chosen | None)
    except (ValueError, KeyError, TypeError, msgspec.ValidationError) as error:
        raise RecordError(
            f"{path.name} is no graph of edges; expected what edge_attribution(...).save wrote "
            f"({type(error).__name__}: {error})"
        ) from error
    return circuit_of([read[i] for i in _strongest(estimates, edges)], read, chosen_on)


def _node(name: str) -> Node:
    """Read the name of a node."""
    if name in ("input", "logits"):
        return Node(cast("Kind", name))
    found = re.fullmatch(r"m(?P<mlp>\d+)|a(?P<layer>\d+)\.(?P<kind>h|kv)(?P<head>\d+)", name)
    if found is None:
        raise ValueError(f"{name!r} is no node, such as 'input', 'a1.h3', 'm1' or 'logits'")
    if found["mlp"]:
        return Node("mlp", int(found["mlp"]))
    return Node("head", int(found["layer"]), int(found["head"]), shared=found["kind"] == "kv")


def _strongest(estimates: np.ndarray, count: int) -> list[int]:
    """Return where the estimates of largest size are, the largest first."""
    whole = isinstance(count, int) and not isinstance(count, bool)  # pyright: ignore[reportUnnecessaryIsInstance]
    if not whole or not 1 <= count <= len(estimates):
        raise InterventionError(
            f"cannot choose {count!r} edges of {len(estimates)}; choose a whole number from 1"
        )
    return np.argsort(-np.abs(estimates), kind="stable")[:count].tolist()
