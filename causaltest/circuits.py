"""Circuits: sets of sites that are claimed to do a job together, and who of them reads whom."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, cast, get_args

from causaltest.errors import SiteError
from causaltest.interventions import abbreviate
from causaltest.sites import Site
from causaltest.spelling import did_you_mean

Channel = Literal["", "q", "k", "v"]
End = Site | Literal["input", "logits"]
Drawn = tuple[End, End] | tuple[End, End, Channel]


@dataclass(frozen=True)
class CircuitEdge:
    """Who reads what whom writes, in a circuit.

    Parameters
    ----------
    sender
        A member, or `"input"`: the embeddings.
    receiver
        A member, or `"logits"`.
    channel
        What of a head reads: its queries, keys or values (`"q"`, `"k"`, `"v"`); empty for other
        components, and where nothing is said of it.

    Examples
    --------
    >>> from causaltest.sites import mlp_output
    >>> print(CircuitEdge(mlp_output(0), "logits"))
    mlp_output[0]->logits
    """

    sender: End
    receiver: End
    channel: Channel = ""

    def __str__(self) -> str:
        read = f"<{self.channel}>" if self.channel else ""
        return f"{self.sender}->{self.receiver}{read}"


class ChosenOn(Protocol):
    """Pairs on which the members of a circuit were chosen."""

    def check(self, judged: Any, *, what: str, ids: Any) -> None:
        """Refuse to judge the choice on them."""
        ...


@dataclass(frozen=True, init=False)
class Circuit:
    """A set of sites, with union (`+`, `|`), difference (`-`) and membership.

    Parameters
    ----------
    sites
        The members; order does not matter for equality.
    edges
        Who reads whom, as far as one says so: pairs of members such as `(sender, receiver)`, or
        `(sender, receiver, "q")` where the queries of a head read. A sender may be `"input"`, a
        receiver `"logits"`. Reports draw them; claims about circuits ablate members and do not
        test them.
    chosen_on
        Pairs on which the members were chosen; claims about the circuit on these are refused.
        `EdgeScores.circuit` and `read_circuit` say so of what they give.

    Raises
    ------
    SiteError
        A member is not a site, or an edge does not lead from one member to another.

    Examples
    --------
    >>> from causaltest.sites import mlp_output
    >>> whole = Circuit(mlp_output(0), mlp_output(1), edges=[(mlp_output(0), mlp_output(1))])
    >>> str(whole - mlp_output(1))
    'mlp_output[0]'
    >>> len(whole.edges), len((whole - mlp_output(1)).edges)
    (1, 0)
    """

    sites: tuple[Site, ...]
    edges: tuple[CircuitEdge, ...]
    chosen_on: tuple[ChosenOn, ...] = field(compare=False, repr=False)

    def __init__(
        self,
        *sites: Site,
        edges: Iterable[CircuitEdge | Drawn] = (),
        chosen_on: Iterable[ChosenOn] = (),
    ) -> None:
        for site in sites:
            if not isinstance(site, Site):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise SiteError(
                    f"a circuit is made of sites such as mlp_output(0); got {site!r}"
                    f" ({type(site).__name__})"
                )
        members = tuple(sorted(set(sites), key=str))
        found = {_edge(each, members) for each in edges}
        object.__setattr__(self, "sites", members)
        object.__setattr__(self, "edges", tuple(sorted(found, key=str)))
        object.__setattr__(self, "chosen_on", tuple(dict.fromkeys(chosen_on)))

    def __iter__(self) -> Iterator[Site]:
        return iter(self.sites)

    def __len__(self) -> int:
        return len(self.sites)

    def __contains__(self, site: object) -> bool:
        return site in self.sites

    def __str__(self) -> str:
        return abbreviate([str(site) for site in self.sites]) or "(empty circuit)"

    def __add__(self, other: Site | Iterable[Site]) -> Circuit:
        edges, chosen = (other.edges, other.chosen_on) if isinstance(other, Circuit) else ((), ())
        return Circuit(
            *self.sites,
            *_members(other),
            edges=(*self.edges, *edges),
            chosen_on=(*self.chosen_on, *chosen),
        )

    __or__ = __add__

    def __sub__(self, other: Site | Iterable[Site]) -> Circuit:
        removed = set(_members(other))
        absent = removed - set(self.sites)
        if absent:
            raise SiteError(
                f"cannot remove {', '.join(sorted(map(str, absent)))}: not in the circuit {self}"
            )
        return Circuit(
            *(site for site in self.sites if site not in removed),
            edges=(each for each in self.edges if removed.isdisjoint((each.sender, each.receiver))),
            chosen_on=self.chosen_on,
        )


def _members(other: Site | Iterable[Site]) -> tuple[Site, ...]:
    if isinstance(other, Site):
        return (other,)
    if not isinstance(other, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise SiteError(
            f"a circuit takes sites such as mlp_output(0); got {other!r} ({type(other).__name__})"
        )
    return tuple(other)


def _edge(given: object, members: tuple[Site, ...]) -> CircuitEdge:
    """Return an edge between members.

    Raises
    ------
    SiteError
        It is none.
    """
    edge = given
    if isinstance(given, tuple):
        parts = cast("tuple[object, ...]", given)
        if 2 <= len(parts) <= 3:
            edge = CircuitEdge(*parts)  # pyright: ignore[reportArgumentType]
    if not isinstance(edge, CircuitEdge):
        raise SiteError(
            "an edge of a circuit is (sender, receiver), or (sender, receiver, 'q') for what the "
            f"queries of a head read; got {given!r}"
        )
    if edge.channel not in get_args(Channel):
        raise SiteError(
            f"the edge from {edge.sender} to {edge.receiver} names the channel {edge.channel!r}; "
            "expected 'q', 'k', 'v', or nothing"
        )
    ends = ((edge.sender, "sender", "input"), (edge.receiver, "receiver", "logits"))
    for end, what, other in ends:
        if end != other and end not in members:
            near = did_you_mean(str(end), [other, *map(str, members)])
            raise SiteError(
                f"the edge {edge} has the {what} {end}, which is no member of the circuit; "
                f"expected a member or {other!r}{near}"
            )
    if edge.sender == edge.receiver:
        raise SiteError(f"the edge {edge} leads from {edge.sender} to itself; take it out")
    _check_depth(edge)
    return edge


def _check_depth(edge: CircuitEdge) -> None:
    sender, receiver = edge.sender, edge.receiver
    if isinstance(sender, str) or isinstance(receiver, str) or sender.stack != receiver.stack:
        return
    if sender.layer is None or receiver.layer is None or sender.layer <= receiver.layer:
        return
    raise SiteError(
        f"the edge {edge} leads back, from layer {sender.layer} to layer {receiver.layer}; name "
        "the sender first"
    )
