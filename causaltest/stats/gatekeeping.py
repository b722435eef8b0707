"""Serial gatekeeping: a gate's level is passed on to what depends on it, where it is supported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def serial_levels(
    weights: Mapping[str, float], gates: Mapping[str, Sequence[str]], alpha: float
) -> dict[str, float]:
    """Divide a family's level among hypotheses of which some are tested only after others.

    The level is first divided among those without gates, each counted with all that hangs on it;
    a hypothesis that is supported passes its whole level on to its dependants, in the same
    proportions. So a gate costs its dependants nothing, and every level is at least alpha * w /
    sum(w), that of an ungated family.

    Parameters
    ----------
    weights
        Positive weight of each hypothesis.
    gates
        Names of the hypotheses that must be supported before one is tested; of several, each
        passes on its share and all must be supported. Without cycles.
    alpha
        Level of the family.

    Returns
    -------
    dict
        Level at which each is decided, given that its gates are supported.

    Notes
    -----
    A graphical procedure without recycling of the leaves: family-wise error is controlled
    strongly. Bretz, Maurer, Brannath and Posch (2009), A graphical approach to sequentially
    rejective multiple test procedures, Statistics in Medicine 28; serial gatekeeping: Dmitrienko,
    Offen and Westfall (2003), Statistics in Medicine 22.

    Examples
    --------
    >>> serial_levels({"gate": 1, "a": 1, "b": 1}, {"a": ["gate"], "b": ["gate"]}, 0.05)
    {'gate': 0.05, 'a': 0.025, 'b': 0.025}
    """
    parents = {name: tuple(dict.fromkeys(gates.get(name, ()))) for name in weights}
    children: dict[str, list[str]] = {name: [] for name in weights}
    for name, above in parents.items():
        for gate in above:
            children[gate].append(name)
    order = _from_gates_down(parents)
    mass: dict[str, float] = {}
    for name in reversed(order):
        hanging = (mass[child] / len(parents[child]) for child in children[name])
        mass[name] = weights[name] + sum(hanging)
    roots = [name for name in order if not parents[name]]
    whole = sum(mass[name] for name in roots)
    levels = {name: alpha * (mass[name] / whole) if not parents[name] else 0.0 for name in weights}
    for name in order:
        shares = {child: mass[child] / len(parents[child]) for child in children[name]}
        for child, share in shares.items():
            levels[child] += levels[name] * share / sum(shares.values())
    return levels


def cycle_in(gates: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return names that wait for each other in a circle, first and last the same; or nothing.

    Examples
    --------
    >>> cycle_in({"a": ["b"], "b": ["a"]})
    ('a', 'b', 'a')
    >>> cycle_in({"a": ["b"]})
    ()
    """
    done: set[str] = set()

    def follow(name: str, path: tuple[str, ...]) -> tuple[str, ...]:
        if name in path:
            return (*path[path.index(name) :], name)
        if name in done:
            return ()
        for gate in gates.get(name, ()):
            if found := follow(gate, (*path, name)):
                return found
        done.add(name)
        return ()

    return next((found for name in gates if (found := follow(name, ()))), ())


def _from_gates_down(parents: Mapping[str, Sequence[str]]) -> list[str]:
    """Order names so that each stands behind its gates."""
    order: dict[str, None] = {}

    def place(name: str) -> None:
        if name not in order:
            for gate in parents[name]:
                place(gate)
            order[name] = None

    for name in parents:
        place(name)
    return list(order)
