"""The components of a transformer that write to the residual stream, and who reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from causaltest.circuits import Channel, Circuit, CircuitEdge, End
from causaltest.fitted import Chosen
from causaltest.sites import Site

Kind = Literal["input", "head", "mlp", "logits"]

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


def circuit_of(
    chosen: Sequence[Edge], every: Sequence[Edge], chosen_on: Chosen | None = None
) -> Circuit:
    """Return the components that send along some edges, and those edges that join them.

    Parameters
    ----------
    chosen
        The edges.
    every
        All edges of the graph, which tell how many heads share keys and values.
    chosen_on
        The pairs that were scored, as far as that is known.
    """
    members = {e.sender_site: None for e in chosen if e.sender.kind != "input"}
    joined = (
        CircuitEdge("input" if e.sender.kind == "input" else e.sender_site, end, e.channel)
        for e in chosen
        for end in _ends(e.receiver, every)
        if end == "logits" or end in members
    )
    return Circuit(*members, edges=joined, chosen_on=() if chosen_on is None else (chosen_on,))


def _ends(receiver: Node, every: Sequence[Edge]) -> Iterator[End]:
    """Yield what writes what a node made of what it read: each head that shares it."""
    if receiver.kind == "logits":
        yield "logits"
    elif receiver.kind == "mlp":
        yield Site("mlp_output", layer=receiver.layer)
    else:
        share = 1
        if receiver.shared:
            ends = {node for e in every for node in (e.sender, e.receiver)}
            here = [n.shared for n in ends if n.kind == "head" and n.layer == receiver.layer]
            share = (len(here) - sum(here)) // sum(here)
        for head in range(receiver.head * share, (receiver.head + 1) * share):
            yield Site("head_attention_value_output", layer=receiver.layer, head=head)
