"""A circuit among the components that were considered, by depth."""

from __future__ import annotations

from typing import Any

from causaltest.records import CircuitGraph, CircuitNode
from causaltest.report import numbers
from causaltest.report.drawing import Figure, figure_of, number, rows_of
from causaltest.report.palette import LIGHT
from causaltest.report.text import cut, visible

_MOST = 600
"""Components up to which those outside the circuit are drawn, too."""
_COLUMN, _ROW = 34, 46
_FIRST, _LAST = "input", "other"


def circuit_figure(graph: CircuitGraph) -> Figure:
    """Draw a circuit, the first layer at the bottom.

    Parameters
    ----------
    graph
        The components that were considered, and which of them are members.
    """
    members = [node for node in graph.nodes if node.member]
    among = numbers.plural(len(graph.nodes), "component")
    listed = ", ".join(_short(node) for node in members[:30])
    more = f" and {len(members) - 30} more" if len(members) > 30 else ""
    which = "member" if len(members) == 1 else f"{len(members)} members"
    title = f"A circuit of {len(members)} among {among}"
    caption = (
        f"Filled: the {which}. Hollow: the other components considered, which were "
        "ablated or are compared with. Circles are heads, squares MLPs, diamonds anything else; "
        "depth grows upwards."
    )
    if graph.edges:
        caption += f" Lines: the {numbers.plural(len(graph.edges), 'edge')} of the claim."
    else:
        caption += " The claim names components, not edges: nothing is said of who reads whom."
    return figure_of(
        _chart(graph),
        title,
        f"Members: {listed}{more}.",
        caption=caption,
        numbers=_table(graph),
    )


def _short(node: CircuitNode) -> str:
    """Name a component in a few characters."""
    if node.layer is None:
        return cut(visible(node.name), 18)
    if node.head is not None:
        return f"{node.layer}.{node.head}"
    kinds = {"mlp": "m", "attention": "a"}
    found = (letter for word, letter in kinds.items() if word in node.component)
    return f"{next(found, 'b')}{node.layer}"


def _row(node: CircuitNode) -> str:
    if node.layer is not None:
        return str(node.layer)
    return _FIRST if "embedding" in node.component else _LAST


def _shape(node: CircuitNode) -> str:
    if node.head is not None:
        return "circle"
    return "square" if node.component.startswith("mlp") else "diamond"


def _column(node: CircuitNode) -> tuple[str, int, str, int]:
    """Order the components of a layer: by position, then heads before the rest."""
    rank = 0 if node.head is not None else 2 if node.component.startswith("mlp") else 1
    return node.position, rank, node.component, -1 if node.head is None else node.head


def _places(nodes: list[CircuitNode]) -> tuple[dict[str, tuple[int, str]], list[str], int]:
    """Place components in columns and rows; give the rows from the top, and the columns."""
    columns = {key: index for index, key in enumerate(sorted({_column(each) for each in nodes}))}
    layers = sorted({each.layer for each in nodes if each.layer is not None}, reverse=True)
    found = {_row(each) for each in nodes}
    rows = (
        [_LAST] * (_LAST in found) + [str(layer) for layer in layers] + [_FIRST] * (_FIRST in found)
    )
    loose = {_LAST: 0, _FIRST: 0}
    places: dict[str, tuple[int, str]] = {}
    for each in nodes:
        row = _row(each)
        column = columns[_column(each)]
        if row in loose:
            column = loose[row]
            loose[row] += 1
        places[each.name] = (column, row)
    return places, rows, 1 + max(column for column, _ in places.values())


def _chart(graph: CircuitGraph) -> Any:
    import altair

    nodes = [n for n in graph.nodes if n.member or len(graph.nodes) <= _MOST]
    places, order, columns = _places(nodes)
    several = len({node.position for node in nodes}) > 1
    rows: list[dict[str, Any]] = []
    for node in nodes:
        column, row = places[node.name]
        told = visible(node.name)
        if node.effect is not None:
            told += f": {numbers.typeset(number(node.effect))}"
        rows.append(
            {"column": column, "layer": row, "shape": _shape(node), "member": node.member}
            | {"told": told, "name": _short(node), "position": cut(visible(node.position), 14)}
        )
    edges = [
        {"column": places[a][0], "layer": places[a][1], "to": places[b][0], "up": places[b][1]}
        for a, b in graph.edges
        if a in places and b in places
    ]
    x = altair.X(
        "column:Q", axis=None, scale=altair.Scale(domain=[-0.7, columns - 0.3], nice=False)
    )
    y = altair.Y("layer:O", sort=order, title="layer", axis=altair.Axis(grid=True, domain=False))
    shape = altair.Shape("shape:N", scale=None)
    base = altair.Chart(altair.Data(values=rows)).encode(x=x, y=y, description="told:N")
    members = base.transform_filter("datum.member")
    layers: list[Any] = [
        base.transform_filter("!datum.member")
        .mark_point(size=110, stroke=LIGHT["control"], strokeWidth=1, opacity=1, aria=True)
        .encode(shape=shape),
        members.mark_point(filled=True, size=560, color=LIGHT["link"], opacity=1, aria=True).encode(
            shape=shape
        ),
        members.transform_filter("length(datum.name) < 5")
        .mark_text(color=LIGHT["paper"], fontSize=10)
        .encode(text="name:N"),
        members.transform_filter("length(datum.name) == 5")
        .mark_text(color=LIGHT["paper"], fontSize=8)
        .encode(text="name:N"),
        # Names that a node has no room for stand beside it.
        members.transform_filter("length(datum.name) > 5")
        .mark_text(color=LIGHT["text"], fontSize=10, align="left", dx=16)
        .encode(text="name:N"),
    ]
    if edges:
        lines = altair.Chart(altair.Data(values=edges)).mark_rule(stroke=LIGHT["control"])
        layers.insert(0, lines.encode(x=x, y=y, x2="to:Q", y2="up:O"))
    if several:
        layers.append(
            members.mark_text(color=LIGHT["muted"], fontSize=9, dy=19).encode(text="position:N")
        )
    drawn = altair.layer(*layers)
    return drawn.properties(width=max(180, _COLUMN * columns), height=_ROW * len(order))


def _table(graph: CircuitGraph) -> Any:
    members = [node for node in graph.nodes if node.member]
    measured = any(node.effect is not None for node in members)
    heads = ["member"] + (["adds"] if measured else [])
    rows = [
        [visible(node.name)]
        + ([numbers.typeset(number(node.effect))] if node.effect is not None else [""] * measured)
        for node in members
    ]
    return rows_of(heads, rows)
